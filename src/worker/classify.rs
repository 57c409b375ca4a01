//! What a click is: a person, a bot, a preview, a prefetch. Nothing is discarded, everything is named.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use foldhash::fast::RandomState;
use regex::bytes::{RegexSet, RegexSetBuilder};

/// Who sent a click. `Duplicate` is decided later, from the journey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    Human,
    Duplicate,
    Bot,
    Preview,
    Prefetch,
}

impl Class {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Duplicate => "duplicate",
            Self::Bot => "bot",
            Self::Preview => "preview",
            Self::Prefetch => "prefetch",
        }
    }
}

/// A kind of device, as far as a user agent tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Device {
    Mobile,
    Tablet,
    Desktop,
    Tv,
    Other,
}

impl Device {
    pub const ALL: [Self; 5] = [Self::Mobile, Self::Tablet, Self::Desktop, Self::Tv, Self::Other];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mobile => "mobile",
            Self::Tablet => "tablet",
            Self::Desktop => "desktop",
            Self::Tv => "tv",
            Self::Other => "other",
        }
    }
}

/// A classification with the rule that said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classified {
    pub class: Class,
    pub rule: &'static str,
    pub device: Device,
}

/// Classifies by request and user agent, and reads referrers. Remembers both, since the same few send most
/// clicks.
#[derive(Default)]
pub struct Classifier {
    seen: HashMap<Box<str>, Classified, RandomState>,
    hosts: HashMap<Box<str>, Arc<str>, RandomState>,
}

/// Bounds the memory for user agents, and that for referrers; beyond it the memory is emptied.
const SEEN_MAX: usize = 10_000;

/// The compiled-in list: `class<TAB>regular expression` per line (`scripts/update-lists` renews it).
const CRAWLER_LIST: &str = include_str!("lists/crawlers.tsv");

struct Crawlers {
    patterns: RegexSet,
    /// Parallel to `patterns`: whether the pattern is of a social preview.
    is_preview: Vec<bool>,
}

/// Built once: that takes longer than classifying a hundred thousand clicks.
static CRAWLERS: LazyLock<Crawlers> = LazyLock::new(|| {
    let entries: Vec<(&str, &str)> = CRAWLER_LIST
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('\t'))
        .collect();
    let patterns = RegexSetBuilder::new(entries.iter().map(|(_, pattern)| *pattern))
        .unicode(false)
        .size_limit(64 << 20)
        .build()
        .expect("the compiled-in list holds valid expressions");
    Crawlers { patterns, is_preview: entries.iter().map(|(class, _)| *class == "preview").collect() }
});

impl Classifier {
    /// `head`: the request was a HEAD. `prefetch`: it carried `Sec-Purpose: prefetch`.
    pub fn classify(&mut self, head: bool, prefetch: bool, user_agent: &str) -> Classified {
        let by_agent = match self.seen.get(user_agent) {
            Some(known) => *known,
            None => {
                let fresh = self.by_user_agent(user_agent);
                if self.seen.len() >= SEEN_MAX {
                    self.seen.clear();
                }
                self.seen.insert(user_agent.into(), fresh);
                fresh
            }
        };
        match by_agent.class {
            // A known machine keeps its name; otherwise the way of asking decides.
            Class::Human if prefetch => {
                Classified { class: Class::Prefetch, rule: "prefetch header", ..by_agent }
            }
            // X, for one, checks a pasted link by HEAD with a browser's user agent.
            Class::Human if head => Classified { class: Class::Preview, rule: "head request", ..by_agent },
            _ => by_agent,
        }
    }

    /// As [`referrer_host`].
    pub fn referrer_host(&mut self, referrer: &str) -> Arc<str> {
        if let Some(known) = self.hosts.get(referrer) {
            return Arc::clone(known);
        }
        let host: Arc<str> = referrer_host(referrer).into();
        if self.hosts.len() >= SEEN_MAX {
            self.hosts.clear();
        }
        self.hosts.insert(referrer.into(), Arc::clone(&host));
        host
    }

    fn by_user_agent(&self, user_agent: &str) -> Classified {
        let device = device(user_agent);
        let is = |class, rule| Classified { class, rule, device };
        if user_agent.trim().is_empty() {
            return is(Class::Bot, "empty user agent");
        }
        let mut matched = CRAWLERS.patterns.matches(user_agent.as_bytes()).into_iter().peekable();
        if matched.peek().is_some() {
            return match matched.any(|i| CRAWLERS.is_preview[i]) {
                true => is(Class::Preview, "preview list"),
                false => is(Class::Bot, "crawler list"),
            };
        }
        let lower = user_agent.to_ascii_lowercase();
        if ["bot", "crawl", "spider", "scrape", "headless", "http-client", "httpclient"]
            .iter()
            .any(|word| lower.contains(word))
            // A phone maker, not a machine.
            && !lower.contains("cubot")
        {
            return is(Class::Bot, "generic word");
        }
        if !lower.starts_with("mozilla/") && !lower.starts_with("opera/") {
            return is(Class::Bot, "not a browser");
        }
        is(Class::Human, "browser")
    }
}

/// By the words that browsers put into their user agents for this purpose
/// (MDN, "Browser detection using the user agent").
pub fn device(user_agent: &str) -> Device {
    let has = |words: &[&str]| words.iter().any(|word| user_agent.contains(word));
    if has(&[
        "SmartTV", "SMART-TV", "Smart-TV", "AppleTV", "Apple TV", "HbbTV", "BRAVIA", "CrKey", "Roku",
        "GoogleTV", "Web0S", "AFTS", "AFTM",
    ]) {
        Device::Tv
    } else if has(&["iPad", "Tablet", "Kindle", "Silk/"]) || (has(&["Android"]) && !has(&["Mobi"])) {
        Device::Tablet
    } else if has(&["Mobi", "iPhone", "iPod"]) {
        Device::Mobile
    } else if has(&["Windows NT", "Macintosh", "X11", "CrOS"]) {
        Device::Desktop
    } else {
        Device::Other
    }
}

/// The host of a referrer, lower case, without `www.`; empty where there is none.
fn referrer_host(referrer: &str) -> String {
    url::Url::parse(referrer)
        .ok()
        .and_then(|url| url.host_str().map(|host| host.strip_prefix("www.").unwrap_or(host).to_lowercase()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1";
    const CHROME: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";
    const INSTAGRAM: &str = "Mozilla/5.0 (Linux; Android 15; SM-S921B) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/142.0.0.0 Mobile Safari/537.36 Instagram 400.0.0.0.0 Android";
    const FACEBOOK_APP: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/22F76 [FBAN/FBIOS;FBAV/512.0.0.0]";

    #[test]
    fn people_and_machines_are_told_apart() {
        let mut classifier = Classifier::default();
        let mut check = |user_agent: &str, class, device| {
            for _ in 0..2 {
                let found = classifier.classify(false, false, user_agent);
                assert_eq!((found.class, found.device), (class, device), "{user_agent}");
            }
        };
        check(IPHONE, Class::Human, Device::Mobile);
        check(CHROME, Class::Human, Device::Desktop);
        check(INSTAGRAM, Class::Human, Device::Mobile);
        check(FACEBOOK_APP, Class::Human, Device::Mobile);
        check("", Class::Bot, Device::Other);
        check("curl/8.5.0", Class::Bot, Device::Other);
        check(
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            Class::Bot,
            Device::Other,
        );
        check(
            "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
            Class::Preview,
            Device::Other,
        );
        check("WhatsApp/2.23.20.0", Class::Preview, Device::Other);
        check("Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", Class::Preview, Device::Other);
        check("Twitterbot/1.0", Class::Preview, Device::Other);
        check("Mozilla/5.0 (X11; Linux x86_64) SomethingNewCrawler", Class::Bot, Device::Desktop);
    }

    #[test]
    fn the_way_of_asking_counts_too() {
        let mut classifier = Classifier::default();
        let mut class = |head, prefetch, agent: &str| classifier.classify(head, prefetch, agent).class;
        assert_eq!(class(true, false, IPHONE), Class::Preview);
        assert_eq!(class(false, true, IPHONE), Class::Prefetch);
        assert_eq!(class(true, true, "Twitterbot/1.0"), Class::Preview);
        assert_eq!(class(true, false, "curl/8.5.0"), Class::Bot);
    }

    #[test]
    fn devices_and_referrers() {
        let ipad = "Mozilla/5.0 (iPad; CPU OS 18_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148";
        assert_eq!(device(ipad), Device::Tablet);
        assert_eq!(
            device("Mozilla/5.0 (Linux; Android 14; SM-X910) Chrome/142 Safari/537.36"),
            Device::Tablet
        );
        assert_eq!(device("Mozilla/5.0 (SMART-TV; Linux; Tizen 7.0)"), Device::Tv);
        assert_eq!(referrer_host("https://www.Instagram.com/p/1?x"), "instagram.com");
        assert_eq!(referrer_host("android-app://com.slack"), "com.slack");
        assert_eq!(referrer_host("junk"), "");
    }
}
