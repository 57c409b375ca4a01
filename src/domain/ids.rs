//! Identifiers. Each has one binary form (storage, token) and one text form (API, streams).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

/// Crockford base32, lower case: the text form survives tools that change the case of UTM values.
const BASE32: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The value of each digit, in either case; 255 for what is none.
const DIGITS: [u8; 256] = {
    let mut digits = [255; 256];
    let mut value = 0;
    while value < BASE32.len() {
        digits[BASE32[value] as usize] = value as u8;
        digits[BASE32[value].to_ascii_uppercase() as usize] = value as u8;
        value += 1;
    }
    digits
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {0}")]
pub struct InvalidId(pub &'static str);

/// A link: 63 bits (fits a signed BIGINT), made by the API, ordered by creation time.
/// Text form: 13 characters of lower-case Crockford base32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(u64);

impl LinkId {
    /// 41 bits of milliseconds since 2026-01-01 and 22 random bits.
    pub fn generate(now_ms: i64) -> Self {
        const EPOCH_MS: i64 = 1_767_225_600_000;
        let since = u64::try_from(now_ms - EPOCH_MS).unwrap_or(0) & ((1 << 41) - 1);
        Self((since << 22) | u64::from(rand::random::<u32>() >> 10))
    }

    /// `count` ids that differ: single ones of one millisecond are too likely to meet.
    pub fn generate_many(now_ms: i64, count: usize) -> impl Iterator<Item = Self> {
        let first = Self::generate(now_ms).0;
        // The random bits may overflow into the time: these ids are then a millisecond ahead.
        (0..count as u64).map(move |i| Self((first + i) & (u64::MAX >> 1)))
    }

    /// From its stored form. Negative numbers are no link.
    pub fn from_i64(stored: i64) -> Result<Self, InvalidId> {
        u64::try_from(stored).map(Self).map_err(|_| InvalidId("link id"))
    }

    pub fn as_i64(self) -> i64 {
        // 63 bits by construction, so this never wraps.
        self.0.cast_signed()
    }

    pub fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    pub fn from_bytes(bytes: [u8; 8]) -> Result<Self, InvalidId> {
        Self::from_i64(i64::from_be_bytes(bytes))
    }

    /// The text form, without allocating.
    pub fn to_text(self) -> [u8; 13] {
        std::array::from_fn(|i| BASE32[(self.0 >> (60 - 5 * i)) as usize & 31])
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.to_text()).expect("base32 is ASCII"))
    }
}

impl FromStr for LinkId {
    type Err = InvalidId;

    /// Accepts any case.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if text.len() != 13 {
            return Err(InvalidId("link id"));
        }
        let mut n: u64 = 0;
        for (i, c) in text.bytes().enumerate() {
            let digit = DIGITS[usize::from(c)];
            if digit > 31 || (i == 0 && digit > 7) {
                return Err(InvalidId("link id"));
            }
            n = (n << 5) | u64::from(digit);
        }
        Ok(Self(n))
    }
}

/// A click: a UUIDv7, so its time is part of it.
/// Text form: 32 hexadecimal digits, no hyphens (hyphens are accepted).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClickId(Uuid);

impl ClickId {
    /// A new id for a click at `now_ms` (UTC, milliseconds since 1970).
    pub fn generate(now_ms: i64) -> Self {
        let millis = u64::try_from(now_ms).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid())
    }

    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// When the click happened, in milliseconds since 1970 (UTC).
    pub fn at_ms(&self) -> i64 {
        let b = self.0.as_bytes();
        i64::from_be_bytes([0, 0, b[0], b[1], b[2], b[3], b[4], b[5]])
    }
}

impl fmt::Display for ClickId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.simple().fmt(f)
    }
}

impl FromStr for ClickId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Uuid::parse_str(text).map(Self).map_err(|_| InvalidId("click id"))
    }
}

/// A visitor of one workspace: 96 bits, derived from the cookie by a key, so that
/// two workspaces cannot recognise one another's visitors.
/// Text form: 16 characters of base64url.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VisitorId([u8; 12]);

impl VisitorId {
    pub fn from_bytes(bytes: [u8; 12]) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; 12] {
        &self.0
    }

    /// The text form, without allocating.
    pub fn to_text(self) -> [u8; 16] {
        let mut text = [0; 16];
        URL_SAFE_NO_PAD.encode_slice(self.0, &mut text).expect("12 bytes are 16 characters");
        text
    }
}

impl fmt::Display for VisitorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.to_text()).expect("base64 is ASCII"))
    }
}

impl FromStr for VisitorId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let mut bytes = [0u8; 12];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(12) => Ok(Self(bytes)),
            _ => Err(InvalidId("visitor id")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms_round_trip() {
        let now_ms = 1_795_000_000_123;
        let link = LinkId::generate(now_ms);
        assert_eq!(link.to_string().parse(), Ok(link));
        assert_eq!(link.to_string().to_uppercase().parse(), Ok(link));
        assert_eq!(LinkId::from_bytes(link.to_bytes()), Ok(link));
        assert_eq!(LinkId::from_i64(link.as_i64()), Ok(link));

        let click = ClickId::generate(now_ms);
        assert_eq!(click.to_string().parse(), Ok(click));
        assert_eq!(click.at_ms(), now_ms);

        let visitor = VisitorId::from_bytes(rand::random());
        assert_eq!(visitor.to_string().len(), 16);
        assert_eq!(visitor.to_string().parse(), Ok(visitor));
    }

    #[test]
    fn many_ids_differ() {
        let ids: std::collections::HashSet<LinkId> = LinkId::generate_many(1_795_000_000_123, 1000).collect();
        assert_eq!(ids.len(), 1000);
    }

    #[test]
    fn junk_is_refused() {
        for text in ["", "zzzzzzzzzzzzz", "0000000000000u", "00000000000-0", "ünïcödé13"] {
            assert_eq!(text.parse::<LinkId>(), Err(InvalidId("link id")), "{text}");
        }
        assert!("nope".parse::<ClickId>().is_err());
        assert!("AAAA".parse::<VisitorId>().is_err());
        assert!(LinkId::from_i64(-1).is_err());
    }
}
