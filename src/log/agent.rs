//! User agents in streams: most of each is boilerplate that every browser sends, and Redis keeps streams
//! in memory. Known phrases are written as short words after a tilde, which other programs can put back
//! by the table in `docs/STREAMS.md`; `~~` is a tilde. Nothing is lost.

use std::borrow::Cow;

/// Word and phrase. No word begins another; of two phrases that fit, the first counts.
const PHRASES: [(&str, &str); 17] = [
    ("~Windows ", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "),
    ("~Windows-", "Mozilla/5.0 (Windows NT 10.0; Win64; x64; "),
    ("~Mac ", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) "),
    ("~MacOS ", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "),
    ("~Linux ", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "),
    ("~Android ", "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "),
    ("~Android-", "Mozilla/5.0 (Linux; Android "),
    ("~iPhone ", "Mozilla/5.0 (iPhone; CPU iPhone OS "),
    ("~iPad ", "Mozilla/5.0 (iPad; CPU OS "),
    ("~M(", "Mozilla/5.0 ("),
    ("~WebKit ", " like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "),
    ("~Safari", " Mobile/15E148 Safari/604.1"),
    ("~Mobile", " Mobile Safari/537.36"),
    ("~Desktop", " Safari/537.36"),
    ("~Blink ", ") AppleWebKit/537.36 (KHTML, like Gecko) "),
    ("~Gecko ", ") Gecko/20100101 "),
    ("~~", "~"),
];

/// Appends the short form of a user agent.
pub(super) fn shorten(agent: &str, out: &mut Vec<u8>) {
    let mut rest = agent.as_bytes();
    let mut kept = 0;
    while let Some(first) = rest.get(kept) {
        // The bytes with which phrases begin.
        let phrase = match first {
            b'M' | b' ' | b')' | b'~' => {
                PHRASES.iter().find(|(_, phrase)| rest[kept..].starts_with(phrase.as_bytes()))
            }
            _ => None,
        };
        match phrase {
            None => kept += 1,
            Some((word, phrase)) => {
                out.extend_from_slice(&rest[..kept]);
                out.extend_from_slice(word.as_bytes());
                rest = &rest[kept + phrase.len()..];
                kept = 0;
            }
        }
    }
    out.extend_from_slice(rest);
}

/// The user agent as it was sent. A tilde that begins no word stands for itself.
pub(super) fn expand(short: &str) -> Cow<'_, str> {
    if !short.contains('~') {
        return Cow::Borrowed(short);
    }
    let mut agent = String::with_capacity(short.len() + 128);
    let mut rest = short;
    while let Some(at) = rest.find('~') {
        agent.push_str(&rest[..at]);
        rest = &rest[at..];
        // One letter tells most words apart.
        let letter = rest.as_bytes().get(1);
        let is_here = |word: &str| word.as_bytes().get(1) == letter && rest.starts_with(word);
        let (word, phrase) = PHRASES.iter().find(|(word, _)| is_here(word)).unwrap_or(&("~", "~"));
        agent.push_str(phrase);
        rest = &rest[word.len()..];
    }
    agent.push_str(rest);
    Cow::Owned(agent)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn short(agent: &str) -> String {
        let mut out = Vec::new();
        shorten(agent, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn common_user_agents_become_short() {
        let check = |agent: &str, expected: &str| {
            assert_eq!(short(agent), expected);
            assert_eq!(expand(expected), agent);
        };
        check("", "");
        check("curl/8.5.0", "curl/8.5.0");
        check(
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36",
            "~Windows Chrome/139.0.0.0~Desktop",
        );
        check(
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1",
            "~iPhone 18_6~WebKit Version/18.6~Safari",
        );
        check(
            "Mozilla/5.0 (Linux; Android 14; SM-S918B) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Mobile Safari/537.36",
            "~Android-14; SM-S918B~Blink Chrome/139.0.0.0~Mobile",
        );
        check(
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:141.0) Gecko/20100101 Firefox/141.0",
            "~Windows-rv:141.0~Gecko Firefox/141.0",
        );
        check("a~b~Windows ", "a~~b~~Windows ");
    }

    #[test]
    fn no_word_begins_another() {
        for (i, (one, _)) in PHRASES.iter().enumerate() {
            for (j, (other, _)) in PHRASES.iter().enumerate() {
                assert!(i == j || !one.starts_with(other), "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn the_table_is_published() {
        let published = include_str!("../../docs/STREAMS.md");
        for (word, phrase) in PHRASES {
            assert!(published.contains(&format!("| `{word}` | `{phrase}` |")), "{word}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost(parts in proptest::collection::vec((0..PHRASES.len(), "[~a-zA-Z() ä]{0,9}"), 0..6)) {
            let agent: String = parts.iter().flat_map(|(n, text)| [PHRASES[*n].1, text]).collect();
            prop_assert_eq!(expand(&short(&agent)).into_owned(), agent);
            let words: String = parts.iter().flat_map(|(n, text)| [PHRASES[*n].0, text]).collect();
            prop_assert_eq!(expand(&short(&words)).into_owned(), words);
        }
    }
}
