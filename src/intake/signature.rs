//! Signatures of webhooks, over the raw bytes of the body.
//!
//! | platform | header | signature |
//! |---|---|---|
//! | Shopify | `x-shopify-hmac-sha256` | base64 HMAC-SHA256(secret, body) |
//! | WooCommerce | `x-wc-webhook-signature` | the same; the secret's HTML entities are decoded first |
//! | Stripe | `stripe-signature: t=,v1=` | hex HMAC-SHA256(the whole `whsec_...`, `t.body`) |
//! | Standard Webhooks, Svix | `webhook-signature`, `svix-signature` | `v1,` base64 HMAC-SHA256(decoded secret, `id.timestamp.body`) |
//! | BigCommerce | the same | the same, key as it stands |
//! | Paddle | `paddle-signature: ts=;h1=` | hex HMAC-SHA256(secret, `ts:body`) |
//! | Lemon Squeezy | `x-signature` | hex HMAC-SHA256(secret, body) |
//! | Segment, RudderStack | `x-signature` | hex HMAC-SHA1(secret, body); their libraries send the secret as a write key |
//! | PayPal | `paypal-transmission-sig` | RSA-SHA256 by a certificate, see `certificate.rs` |
//!
//! A header counts with and without a leading `x-`: Shopify sends both kinds of name.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderMap;
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use super::{Platform, certificate};

/// How far a signed time may be from the clock here, where a platform signs one.
pub const CLOCK_TOLERANCE_S: i64 = 300;

/// Signatures looked at in one delivery; a rotation needs two.
const MAX_SIGNATURES: usize = 16;

/// Base64 as platforms write it; some leave out the padding.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a platform signs with, as its user pasted it. Never shown by `Debug`.
///
/// For PayPal: the webhook id, then the PEM certificates behind `PAYPAL-CERT-URL`, the signing one first.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// White space around it is dropped.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self(text.as_ref().trim().into())
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Why a delivery is not believed. Holds no secret and no signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("header {0} is missing")]
    MissingHeader(&'static str),
    #[error("header {header} is malformed: expected {expected}")]
    MalformedHeader { header: &'static str, expected: &'static str },
    #[error("header {0} fits no secret of this source")]
    Mismatch(&'static str),
    #[error("header {header} is {off_s} s off the clock here; {CLOCK_TOLERANCE_S} s are allowed")]
    Clock { header: &'static str, off_s: i64 },
    #[error("a secret of this source cannot be used: expected {0}")]
    UnusableSecret(&'static str),
    #[error("header paypal-cert-url is not of paypal.com")]
    CertificateHost,
    #[error("the certificate on file cannot vouch for this delivery: {0}")]
    Certificate(String),
    #[error("deliveries of this kind come with an API key, not with a signature")]
    NotSigned,
    #[error("batches with a write key are for sources of the platforms segment and rudderstack")]
    NotBatched,
}

/// Verifies a delivery against every secret of its source. `now_ms` is the time of receipt.
pub fn verify(
    platform: Platform,
    headers: &HeaderMap,
    body: &[u8],
    secrets: &[Secret],
    now_ms: i64,
) -> Result<(), SignatureError> {
    if platform == Platform::Paypal {
        return certificate::verify(headers, body, secrets, now_ms);
    }
    let claim = Claim::read(platform, headers)?;
    let keys: Vec<Vec<u8>> = secrets.iter().flat_map(|secret| keys(platform, secret)).collect();
    if keys.is_empty() {
        return Err(SignatureError::UnusableSecret(expected_secret(platform)));
    }
    let genuine = keys.iter().any(|key| {
        let expected = mac(platform, key, &claim.prefix, body);
        claim.given.iter().any(|given| bool::from(given.ct_eq(&expected)))
    });
    if !genuine {
        return Err(SignatureError::Mismatch(claim.header));
    }
    match claim.signed_at {
        Some((header, at_s)) => within_tolerance(header, at_s, now_ms),
        None => Ok(()),
    }
}

/// Looks for a secret of the source in `Authorization: Basic`, as its user.
pub fn verify_write_key(
    platform: Platform,
    headers: &HeaderMap,
    secrets: &[Secret],
) -> Result<(), SignatureError> {
    const HEADER: &str = "authorization";
    if !matches!(platform, Platform::Segment | Platform::Rudderstack) {
        return Err(SignatureError::NotBatched);
    }
    let basic =
        value(headers, HEADER)?.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
    let given = basic.and_then(|(_, given)| base64_bytes(given.trim()));
    let expected = "Basic and the write key as its user";
    let given = given.ok_or(SignatureError::MalformedHeader { header: HEADER, expected })?;
    let user = given.split(|byte| *byte == b':').next().unwrap_or_default();
    match secrets.iter().any(|secret| bool::from(secret.text().as_bytes().ct_eq(user))) {
        true => Ok(()),
        false => Err(SignatureError::Mismatch(HEADER)),
    }
}

/// The headers that a platform would send with this body, for tests and demonstrations.
///
/// `id` names the delivery where the platform signs one. PayPal's needs its private key in the secret.
pub fn sign(
    platform: Platform,
    secret: &Secret,
    id: &str,
    body: &[u8],
    now_ms: i64,
) -> Result<Vec<(&'static str, String)>, SignatureError> {
    let key = || {
        let usable = keys(platform, secret).pop();
        usable.ok_or(SignatureError::UnusableSecret(expected_secret(platform)))
    };
    let at_s = now_ms.div_euclid(1000);
    let signed = |prefix: String| Ok(mac(platform, &key()?, prefix.as_bytes(), body));
    Ok(match platform {
        Platform::Shopify => vec![("x-shopify-hmac-sha256", BASE64.encode(signed(String::new())?))],
        Platform::Woocommerce => vec![("x-wc-webhook-signature", BASE64.encode(signed(String::new())?))],
        Platform::Lemonsqueezy | Platform::Segment | Platform::Rudderstack => {
            vec![("x-signature", hex::encode(signed(String::new())?))]
        }
        Platform::Stripe => {
            let signature = hex::encode(signed(format!("{at_s}."))?);
            vec![("stripe-signature", format!("t={at_s},v1={signature}"))]
        }
        Platform::Paddle => {
            let signature = hex::encode(signed(format!("{at_s}:"))?);
            vec![("paddle-signature", format!("ts={at_s};h1={signature}"))]
        }
        Platform::Standard | Platform::Bigcommerce => {
            let signature = BASE64.encode(signed(format!("{id}.{at_s}."))?);
            vec![
                ("webhook-id", id.to_owned()),
                ("webhook-timestamp", at_s.to_string()),
                ("webhook-signature", format!("v1,{signature}")),
            ]
        }
        Platform::Paypal => certificate::sign(secret, id, body, now_ms)?,
        Platform::Api => return Err(SignatureError::NotSigned),
    })
}

/// All values of a header, under its name and the name without a leading `x-`.
pub(super) fn values<'a>(headers: &'a HeaderMap, name: &'static str) -> impl Iterator<Item = &'a str> {
    let bare = name.strip_prefix("x-").unwrap_or(name);
    let other = (bare != name).then_some(bare);
    [Some(name), other]
        .into_iter()
        .flatten()
        .flat_map(|name| headers.get_all(name))
        .filter_map(|value| value.to_str().ok())
        .map(str::trim)
}

pub(super) fn value<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, SignatureError> {
    values(headers, name).next().ok_or(SignatureError::MissingHeader(name))
}

/// What a delivery's headers claim.
struct Claim {
    header: &'static str,
    /// What is signed before the body.
    prefix: Vec<u8>,
    given: Vec<Vec<u8>>,
    /// The signed time with its header, in seconds since 1970.
    signed_at: Option<(&'static str, i64)>,
}

impl Claim {
    fn read(platform: Platform, headers: &HeaderMap) -> Result<Self, SignatureError> {
        match platform {
            Platform::Shopify => Self::bare(headers, "x-shopify-hmac-sha256", base64_bytes),
            Platform::Woocommerce => Self::bare(headers, "x-wc-webhook-signature", base64_bytes),
            Platform::Lemonsqueezy | Platform::Segment | Platform::Rudderstack => {
                Self::bare(headers, "x-signature", hex_bytes)
            }
            Platform::Stripe => Self::timed(headers, "stripe-signature", [",", "t", "v1", "."]),
            Platform::Paddle => Self::timed(headers, "paddle-signature", [";", "ts", "h1", ":"]),
            Platform::Standard | Platform::Bigcommerce => Self::standard(headers),
            Platform::Paypal | Platform::Api => Err(SignatureError::NotSigned),
        }
    }

    /// The signature alone.
    fn bare(
        headers: &HeaderMap,
        header: &'static str,
        decode: fn(&str) -> Option<Vec<u8>>,
    ) -> Result<Self, SignatureError> {
        value(headers, header)?;
        let given: Vec<_> = values(headers, header).take(MAX_SIGNATURES).filter_map(decode).collect();
        if given.is_empty() {
            return Err(SignatureError::MalformedHeader { header, expected: "an encoded HMAC" });
        }
        Ok(Self { header, prefix: Vec::new(), given, signed_at: None })
    }

    /// `t=1492774577,v1=5257...,v1=...`: a time and one signature or more, during a rotation.
    fn timed(
        headers: &HeaderMap,
        header: &'static str,
        [separator, time, version, joint]: [&str; 4],
    ) -> Result<Self, SignatureError> {
        let pairs = || {
            values(headers, header)
                .flat_map(|text| text.split(separator))
                .filter_map(|pair| pair.trim().split_once('='))
        };
        value(headers, header)?;
        let malformed = SignatureError::MalformedHeader { header, expected: "a time and an HMAC" };
        let at = pairs().find(|(name, _)| *name == time).map(|(_, text)| text).ok_or(malformed.clone())?;
        let at_s = at.parse().map_err(|_| malformed.clone())?;
        let given: Vec<_> = pairs()
            .filter(|(name, _)| *name == version)
            .take(MAX_SIGNATURES)
            .filter_map(|(_, text)| hex_bytes(text))
            .collect();
        if given.is_empty() {
            return Err(malformed);
        }
        let prefix = format!("{at}{joint}").into_bytes();
        Ok(Self { header, prefix, given, signed_at: Some((header, at_s)) })
    }

    /// <https://www.standardwebhooks.com>: three headers; `v1,...` signatures, separated by spaces.
    fn standard(headers: &HeaderMap) -> Result<Self, SignatureError> {
        const WEBHOOK: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];
        const SVIX: [&str; 3] = ["svix-id", "svix-timestamp", "svix-signature"];
        let is_svix = !headers.contains_key(WEBHOOK[2]) && headers.contains_key(SVIX[2]);
        let [id_header, time_header, header] = if is_svix { SVIX } else { WEBHOOK };
        let signatures = value(headers, header)?;
        let id = value(headers, id_header)?;
        let at = value(headers, time_header)?;
        let at_s = at.parse().map_err(|_| SignatureError::MalformedHeader {
            header: time_header,
            expected: "seconds since 1970",
        })?;
        let given: Vec<_> = signatures
            .split_ascii_whitespace()
            .filter_map(|signature| signature.strip_prefix("v1,"))
            .take(MAX_SIGNATURES)
            .filter_map(base64_bytes)
            .collect();
        if given.is_empty() {
            return Err(SignatureError::MalformedHeader { header, expected: "v1,<base64>" });
        }
        let prefix = format!("{id}.{at}.").into_bytes();
        Ok(Self { header, prefix, given, signed_at: Some((time_header, at_s)) })
    }
}

fn within_tolerance(header: &'static str, at_s: i64, now_ms: i64) -> Result<(), SignatureError> {
    let off_s = at_s.saturating_sub(now_ms.div_euclid(1000));
    if off_s.saturating_abs() > CLOCK_TOLERANCE_S {
        return Err(SignatureError::Clock { header, off_s });
    }
    Ok(())
}

/// The HMAC keys that a secret's text may stand for; the last is the likeliest. None is empty.
fn keys(platform: Platform, secret: &Secret) -> Vec<Vec<u8>> {
    let text = secret.text();
    let as_it_stands = || text.as_bytes().to_vec();
    let mut keys = match platform {
        // WordPress keeps `a&b` as `a&amp;b` and decodes it to sign; people paste either.
        Platform::Woocommerce => vec![as_it_stands(), decode_entities(text).into_bytes()],
        Platform::Standard => match text.strip_prefix("whsec_") {
            Some(encoded) => base64_bytes(encoded).into_iter().collect(),
            None => std::iter::once(as_it_stands()).chain(base64_bytes(text)).collect(),
        },
        _ => vec![as_it_stands()],
    };
    keys.retain(|key| !key.is_empty());
    keys
}

fn expected_secret(platform: Platform) -> &'static str {
    match platform {
        Platform::Standard => "whsec_ and base64",
        _ => "at least one character",
    }
}

fn mac(platform: Platform, key: &[u8], prefix: &[u8], body: &[u8]) -> Vec<u8> {
    const ANY_LENGTH: &str = "HMAC takes keys of any length";
    if matches!(platform, Platform::Segment | Platform::Rudderstack) {
        let mac = Hmac::<Sha1>::new_from_slice(key).expect(ANY_LENGTH);
        return mac.chain_update(prefix).chain_update(body).finalize().into_bytes().to_vec();
    }
    let mac = Hmac::<Sha256>::new_from_slice(key).expect(ANY_LENGTH);
    mac.chain_update(prefix).chain_update(body).finalize().into_bytes().to_vec()
}

/// What `wp_specialchars_decode(secret, ENT_QUOTES)` decodes, in one pass.
fn decode_entities(text: &str) -> String {
    const ENTITIES: [(&str, char); 14] = [
        ("&amp;", '&'),
        ("&#038;", '&'),
        ("&#38;", '&'),
        ("&lt;", '<'),
        ("&#060;", '<'),
        ("&#60;", '<'),
        ("&gt;", '>'),
        ("&#062;", '>'),
        ("&#62;", '>'),
        ("&quot;", '"'),
        ("&#034;", '"'),
        ("&#34;", '"'),
        ("&#039;", '\''),
        ("&#39;", '\''),
    ];
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let entity = ENTITIES.iter().find(|(entity, _)| rest.starts_with(entity));
        let (read, meant) =
            entity.map_or((first.len_utf8(), first), |(entity, meant)| (entity.len(), *meant));
        decoded.push(meant);
        rest = &rest[read..];
    }
    decoded
}

fn base64_bytes(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    hex::decode(text).ok()
}

#[cfg(test)]
mod tests;
