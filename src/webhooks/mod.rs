//! Webhooks out: what happens here is told to others.
//!
//! ```text
//! worker --results and messages, one transaction--> ledger (outbox) --deliver--> the subscriber's URL
//! ```
//!
//! A message is written with the results that it tells of, so there is exactly one for each; it is sent until
//! somebody takes it, with the same id and body every time, signed as <https://www.standardwebhooks.com> says.

pub mod address;
pub mod attempts;
pub mod client;
pub mod deliver;
pub mod outbox;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use ipnet::IpNet;
use sha2::Sha256;

/// Clicks, many in one message.
pub const LINK_CLICKED: &str = "link.clicked";
pub const CONVERSION_ATTRIBUTED: &str = "conversion.attributed";
pub const CONVERSION_REFUNDED: &str = "conversion.refunded";
/// Sent on request only; nobody subscribes to it.
pub const WEBHOOK_TEST: &str = "webhook.test";

/// What one may subscribe to.
pub const EVENTS: [&str; 3] = [LINK_CLICKED, CONVERSION_ATTRIBUTED, CONVERSION_REFUNDED];

/// The configuration's section `webhooks`.
#[derive(Debug, Clone)]
pub struct WebhooksConfig {
    /// Networks that are no public ones and may be called all the same.
    pub allow_networks: Vec<IpNet>,
    /// For a whole attempt.
    pub timeout: Duration,
    /// Attempts at once per webhook.
    pub parallel: usize,
    pub first_retry: Duration,
    /// From a message's first attempt on; and for how long a webhook may fail until it is disabled.
    pub give_up: Duration,
}

const SECRET_PREFIX: &str = "whsec_";
const SECRET_BYTES: usize = 32;

/// A new signing secret.
pub fn generate_secret() -> String {
    let bytes: [u8; SECRET_BYTES] = rand::random();
    format!("{SECRET_PREFIX}{}", BASE64.encode(bytes))
}

/// One signature of `id.timestamp.body`. None: the secret is none of ours.
fn sign(secret: &str, id: &str, at_s: i64, body: &str) -> Option<String> {
    let key = BASE64.decode(secret.strip_prefix(SECRET_PREFIX)?).ok()?;
    let mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    let mac = mac.chain_update(format!("{id}.{at_s}.")).chain_update(body);
    Some(format!("v1,{}", BASE64.encode(mac.finalize().into_bytes())))
}

/// The header `webhook-signature`: one signature per secret, so that receivers may change theirs at leisure.
pub fn signatures<'a>(secrets: impl Iterator<Item = &'a str>, id: &str, at_s: i64, body: &str) -> String {
    let signatures: Vec<String> = secrets.filter_map(|secret| sign(secret, id, at_s, body)).collect();
    signatures.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that the specification's own libraries are tested with.
    #[test]
    fn signatures_are_those_of_the_specification() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let signed = |secrets: &[&str]| {
            let body = r#"{"test": 2432232314}"#;
            signatures(secrets.iter().copied(), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body)
        };
        assert_eq!(signed(&[secret]), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let both = signed(&[&generate_secret(), secret]);
        assert!(
            both.starts_with("v1,") && both.ends_with(" v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
        );
        assert_eq!(signed(&["none of ours"]), "");
    }
}
