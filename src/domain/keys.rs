//! The secret keys of an installation. Token keys rotate; the keys that derive visitors and customers
//! do not, since a new one would make strangers of everybody.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ids::VisitorId;
use super::token::TokenKeys;

/// Everything that `keys.toml` holds. Every process of an installation needs the same ring.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRing {
    visitor: Secret,
    customer: Secret,
    salt: Secret,
    pub token: TokenKeys,
}

impl KeyRing {
    /// A new ring with random keys.
    pub fn generate(now_ms: i64) -> Self {
        Self {
            visitor: Secret::generate(),
            customer: Secret::generate(),
            salt: Secret::generate(),
            token: TokenKeys::generate(now_ms),
        }
    }

    /// The visitor that a cookie stands for in one workspace: the first 12 bytes of
    /// BLAKE3-keyed(visitor key, workspace, 0, cookie).
    pub fn visitor_id(&self, workspace: &str, cookie: &[u8]) -> VisitorId {
        VisitorId::from_bytes(self.visitor.derive(&[workspace.as_bytes(), cookie]))
    }

    /// What is kept of a customer's e-mail or platform id: 32 hexadecimal digits, the first 16 bytes of
    /// BLAKE3-keyed(customer key, workspace, 0, kind, 0, value). The caller normalises the value.
    pub fn customer_hash(&self, workspace: &str, kind: &str, value: &str) -> String {
        let hash: [u8; 16] = self.customer.derive(&[workspace.as_bytes(), kind.as_bytes(), value.as_bytes()]);
        hex::encode(hash)
    }

    /// The signature token of an API key, for callers that send a hash of it in place of the key:
    /// 32 hexadecimal digits, the first 16 bytes of BLAKE3-keyed(salt, "signature token", 0, key id).
    pub fn signature_token(&self, key_id: &str) -> String {
        // No workspace has a space in its id, so this meets no daily hash.
        let token: [u8; 16] = self.salt.derive(&[b"signature token", key_id.as_bytes()]);
        hex::encode(token)
    }

    /// Tells clicks without a cookie apart for one local day, and says nothing on the next:
    /// the first 16 bytes of BLAKE3-keyed(salt, workspace, 0, day, 0, address, 0, user agent).
    pub fn daily_hash(&self, workspace: &str, day: i32, address: &str, user_agent: &str) -> [u8; 16] {
        self.salt.derive(&[
            workspace.as_bytes(),
            day.to_string().as_bytes(),
            address.as_bytes(),
            user_agent.as_bytes(),
        ])
    }
}

/// 32 secret bytes, hexadecimal in files, never shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Secret([u8; 32]);

impl Secret {
    pub fn generate() -> Self {
        Self(rand::random())
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first N bytes of BLAKE3-keyed over the parts, with a zero byte between them.
    fn derive<const N: usize>(&self, parts: &[&[u8]]) -> [u8; N] {
        const { assert!(N <= blake3::OUT_LEN) };
        let hash = blake3::keyed_hash(&self.0, &parts.join(&0));
        std::array::from_fn(|i| hash.as_bytes()[i])
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl From<Secret> for String {
    fn from(secret: Secret) -> Self {
        hex::encode(secret.0)
    }
}

impl TryFrom<String> for Secret {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| "a key is 64 hexadecimal digits")?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_survives_its_file() {
        let ring = KeyRing::generate(1_795_000_000_000);
        let text = toml::to_string(&ring).unwrap();
        let read: KeyRing = toml::from_str(&text).unwrap();
        assert_eq!(read.visitor_id("w", b"cookie"), ring.visitor_id("w", b"cookie"));
        assert_eq!(read.customer_hash("w", "email", "a@b.c"), ring.customer_hash("w", "email", "a@b.c"));
        assert_eq!(read.signature_token("key_1"), ring.signature_token("key_1"));
        assert_ne!(read.signature_token("key_1"), ring.signature_token("key_2"));
        assert_eq!(read.daily_hash("w", 1, "a", "u"), ring.daily_hash("w", 1, "a", "u"));
        assert!(toml::from_str::<KeyRing>(&text.replacen("= \"", "= \"zz", 1)).is_err());
        assert!(!format!("{ring:?}").contains(&hex::encode(ring.visitor.0)));
    }

    #[test]
    fn workspaces_and_kinds_do_not_meet() {
        let ring = KeyRing::generate(0);
        assert_ne!(ring.visitor_id("a", b"c"), ring.visitor_id("b", b"c"));
        assert_ne!(ring.customer_hash("a", "email", "x"), ring.customer_hash("a", "id", "x"));
        assert_ne!(ring.daily_hash("a", 1, "i", "u"), ring.daily_hash("a", 2, "i", "u"));
        assert_eq!(ring.customer_hash("a", "email", "x").len(), 32);
    }

    #[test]
    fn the_derivation_is_fixed() {
        let key = Secret([7; 32]);
        let expected = blake3::keyed_hash(&[7; 32], b"w\0cookie");
        assert_eq!(key.derive::<12>(&[b"w", b"cookie"]), expected.as_bytes()[..12]);
    }
}
