//! YOURLS' signatures that hold for some hours: a hash of a timestamp and a token, in either order.

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq as _;

/// Seconds for which YOURLS takes a timestamp, either way: its nonces live for 12 hours.
const VALID_S: i64 = 12 * 3600;

/// A signature as a caller sent it.
pub struct Signed {
    timestamp: String,
    signature: String,
    hash: fn(&str) -> String,
}

impl Signed {
    /// None if the timestamp is too old or the hash is unknown (`md5` if not named).
    pub fn new(timestamp: &str, signature: &str, hash: Option<&str>, now_ms: i64) -> Option<Self> {
        let at_s: i64 = timestamp.trim().parse().ok()?;
        if now_ms / 1000 - at_s > VALID_S || at_s - now_ms / 1000 > VALID_S {
            return None;
        }
        let hash = match hash.unwrap_or("md5") {
            "md5" => hex_of::<Md5>,
            "sha1" => hex_of::<Sha1>,
            "sha256" => hex_of::<Sha256>,
            "sha512" => hex_of::<Sha512>,
            _ => return None,
        };
        let signature = signature.trim().to_ascii_lowercase();
        Some(Self { timestamp: timestamp.to_owned(), signature, hash })
    }

    pub fn fits(&self, token: &str) -> bool {
        [format!("{}{token}", self.timestamp), format!("{token}{}", self.timestamp)]
            .iter()
            .any(|text| (self.hash)(text).as_bytes().ct_eq(self.signature.as_bytes()).into())
    }
}

fn hex_of<D: Digest>(text: &str) -> String {
    hex::encode(D::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: i64 = 1_795_000_000;

    #[test]
    fn signatures_fit_in_either_order_and_for_a_time() {
        // In what is hashed, @ stands for the timestamp.
        let check = |age_s: i64, hashed: &str, hash: Option<&str>, expected: bool| {
            let timestamp = (NOW_S - age_s).to_string();
            let hashed = hashed.replace('@', &timestamp);
            let signature = match hash {
                Some("sha256") => hex_of::<Sha256>(&hashed),
                _ => hex_of::<Md5>(&hashed),
            };
            let signed = Signed::new(&timestamp, &signature, hash, NOW_S * 1000);
            assert_eq!(signed.is_some_and(|signed| signed.fits("token")), expected, "{age_s} {hash:?}");
        };
        check(0, "@token", None, true);
        check(0, "token@", Some("md5"), true);
        check(43_200, "@token", Some("sha256"), true);
        check(-600, "token@", Some("sha256"), true);
        check(43_201, "@token", None, false);
        check(-43_201, "@token", None, false);
        check(0, "@token", Some("crc32"), false);
        check(0, "@other", None, false);
        assert!(Signed::new("soon", "", None, 0).is_none());
    }
}
