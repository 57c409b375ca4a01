//! The click token: a link's destination receives it, and a conversion that carries it back proves its
//! click even when the click's record is gone.
//!
//! 48 bytes, 64 characters of base64url:
//!
//! ```text
//! | 1 version | 16 click id | 8 link id | 12 visitor, zero for none | 11 MAC |
//! ```
//!
//! The version names the key; the MAC is the first 11 bytes of BLAKE3-keyed over the 37 before it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::ids::{ClickId, LinkId, VisitorId};
use super::keys::Secret;

/// The query parameter that carries the token unless a link names another.
pub const DEFAULT_CLICK_PARAM: &str = "um_click";

/// Characters of a token, all of `[A-Za-z0-9_-]`.
pub const TOKEN_LEN: usize = 64;

/// A retired key verifies for as long as journeys live.
pub const TOKEN_LIFETIME_MS: i64 = 400 * 24 * 60 * 60 * 1000;

const SIGNED_LEN: usize = 37;
const BINARY_LEN: usize = 48;
const NO_VISITOR: [u8; 12] = [0; 12];

/// What a verified token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    pub click: ClickId,
    pub link: LinkId,
    pub visitor: Option<VisitorId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("not a click token")]
    Malformed,
    #[error("the click token is of a key that is not known here")]
    UnknownKey,
    #[error("the click token was not made by this installation")]
    Forged,
}

/// The MAC keys, newest last; the newest mints, all verify.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Vec<TokenKey>", into = "Vec<TokenKey>")]
pub struct TokenKeys(Vec<TokenKey>);

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenKey {
    version: u8,
    made_at_ms: i64,
    key: Secret,
}

impl TokenKeys {
    pub fn generate(now_ms: i64) -> Self {
        Self(vec![TokenKey { version: 1, made_at_ms: now_ms, key: Secret::generate() }])
    }

    /// Adds a key that mints from now on, and drops those that nothing alive was minted with.
    pub fn rotate(&mut self, now_ms: i64) {
        let version = self.newest().version.wrapping_add(1);
        // A key was in use until its successor was made.
        let retired = self.0.windows(2).take_while(|w| w[1].made_at_ms < now_ms - TOKEN_LIFETIME_MS);
        self.0.drain(..retired.count());
        self.0.retain(|key| key.version != version);
        self.0.push(TokenKey { version, made_at_ms: now_ms, key: Secret::generate() });
    }

    /// The token of a click, without allocating.
    pub fn mint(&self, click: ClickId, link: LinkId, visitor: Option<VisitorId>) -> [u8; TOKEN_LEN] {
        let newest = self.newest();
        let mut binary = [0; BINARY_LEN];
        binary[0] = newest.version;
        binary[1..17].copy_from_slice(click.as_bytes());
        binary[17..25].copy_from_slice(&link.to_bytes());
        if let Some(visitor) = visitor {
            binary[25..SIGNED_LEN].copy_from_slice(visitor.as_bytes());
        }
        let mac = blake3::keyed_hash(newest.key.as_bytes(), &binary[..SIGNED_LEN]);
        binary[SIGNED_LEN..].copy_from_slice(&mac.as_bytes()[..BINARY_LEN - SIGNED_LEN]);

        let mut text = [0; TOKEN_LEN];
        let written = URL_SAFE_NO_PAD.encode_slice(binary, &mut text);
        debug_assert_eq!(written, Ok(TOKEN_LEN));
        text
    }

    /// Reads a token back. The comparison of the MAC takes the same time wherever it differs.
    pub fn verify(&self, text: &str) -> Result<Token, TokenError> {
        let mut binary = [0; BINARY_LEN];
        if text.len() != TOKEN_LEN || URL_SAFE_NO_PAD.decode_slice(text, &mut binary) != Ok(BINARY_LEN) {
            return Err(TokenError::Malformed);
        }
        let key = self.0.iter().find(|key| key.version == binary[0]).ok_or(TokenError::UnknownKey)?;
        let mac = blake3::keyed_hash(key.key.as_bytes(), &binary[..SIGNED_LEN]);
        if !bool::from(mac.as_bytes()[..BINARY_LEN - SIGNED_LEN].ct_eq(&binary[SIGNED_LEN..])) {
            return Err(TokenError::Forged);
        }
        let visitor: [u8; 12] = array(&binary[25..SIGNED_LEN]);
        Ok(Token {
            click: ClickId::from_bytes(array(&binary[1..17])),
            link: LinkId::from_bytes(array(&binary[17..25])).map_err(|_| TokenError::Malformed)?,
            visitor: (visitor != NO_VISITOR).then(|| VisitorId::from_bytes(visitor)),
        })
    }

    fn newest(&self) -> &TokenKey {
        self.0.last().expect("there is always a key")
    }
}

impl From<TokenKeys> for Vec<TokenKey> {
    fn from(keys: TokenKeys) -> Self {
        keys.0
    }
}

impl TryFrom<Vec<TokenKey>> for TokenKeys {
    type Error = &'static str;

    fn try_from(mut keys: Vec<TokenKey>) -> Result<Self, Self::Error> {
        keys.sort_by_key(|key| key.made_at_ms);
        let mut versions: Vec<u8> = keys.iter().map(|key| key.version).collect();
        versions.sort_unstable();
        versions.dedup();
        if keys.is_empty() {
            return Err("at least one token key is needed");
        }
        if versions.len() != keys.len() {
            return Err("two token keys have the same version");
        }
        Ok(Self(keys))
    }
}

/// Whether a text could be a token; only [`TokenKeys::verify`] says whether it is one.
pub fn has_token_shape(text: &str) -> bool {
    text.len() == TOKEN_LEN && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn array<const N: usize>(slice: &[u8]) -> [u8; N] {
    slice.try_into().expect("the layout fixes the lengths")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY_MS: i64 = 24 * 60 * 60 * 1000;

    fn text(token: [u8; TOKEN_LEN]) -> String {
        String::from_utf8(token.to_vec()).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_minted_verifies(click: [u8; 16], link: u64, visitor: Option<[u8; 12]>) {
            let keys = TokenKeys::generate(0);
            let click = ClickId::from_bytes(click);
            let link = LinkId::from_i64((link >> 1).cast_signed()).unwrap();
            let visitor = visitor.filter(|v| *v != NO_VISITOR).map(VisitorId::from_bytes);
            let token = text(keys.mint(click, link, visitor));
            prop_assert!(has_token_shape(&token));
            prop_assert_eq!(keys.verify(&token), Ok(Token { click, link, visitor }));
        }

        #[test]
        fn strangers_text_is_refused(text in "\\PC{0,80}") {
            prop_assert!(TokenKeys::generate(0).verify(&text).is_err());
        }
    }

    #[test]
    fn a_changed_token_is_refused() {
        let keys = TokenKeys::generate(0);
        let link = LinkId::generate(1_795_000_000_000);
        let token = text(keys.mint(ClickId::generate(1_795_000_000_000), link, None));
        for i in 0..TOKEN_LEN {
            let mut changed = token.clone().into_bytes();
            changed[i] = if changed[i] == b'A' { b'B' } else { b'A' };
            assert!(keys.verify(std::str::from_utf8(&changed).unwrap()).is_err(), "position {i}");
        }
        assert_eq!(TokenKeys::generate(0).verify(&token), Err(TokenError::Forged));
        assert_eq!(keys.verify(""), Err(TokenError::Malformed));
        assert_eq!(keys.verify(&token[1..]), Err(TokenError::Malformed));
    }

    #[test]
    fn retired_keys_verify_for_their_time() {
        let mut keys = TokenKeys::generate(0);
        let link = LinkId::generate(1_795_000_000_000);
        let old = text(keys.mint(ClickId::generate(0), link, None));
        keys.rotate(DAY_MS);
        let new = text(keys.mint(ClickId::generate(0), link, None));
        assert!(keys.verify(&old).is_ok() && keys.verify(&new).is_ok());
        keys.rotate(DAY_MS + TOKEN_LIFETIME_MS);
        assert!(keys.verify(&old).is_ok());
        keys.rotate(2 * DAY_MS + TOKEN_LIFETIME_MS);
        assert_eq!(keys.verify(&old), Err(TokenError::UnknownKey));
        assert!(keys.verify(&new).is_ok());
    }

    #[test]
    fn versions_wrap_without_two_of_a_kind() {
        let mut keys = TokenKeys::generate(0);
        for _ in 0..600 {
            keys.rotate(1);
        }
        let read = TokenKeys::try_from(Vec::from(keys.clone())).unwrap();
        assert_eq!(read.newest().version, keys.newest().version);
        assert!(keys.0.len() <= 256);
        assert!(TokenKeys::try_from(Vec::new()).is_err());
    }
}
