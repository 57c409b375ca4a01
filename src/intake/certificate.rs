//! PayPal's signature: RSA-SHA256 over `transmission id|transmission time|webhook id|crc32(body)`, the
//! checksum in decimal (<https://developer.paypal.com/api/rest/webhooks/rest/>).
//!
//! Nothing is fetched: the certificates that `PAYPAL-CERT-URL` names are part of the source's secret.
//! The first is the signing one; it must be of paypal.com, valid at the time of receipt, and vouched
//! for by the others.

use std::time::Duration;

use base64::Engine as _;
use http::HeaderMap;
use ring::rand::SystemRandom;
use ring::rsa::KeyPair;
use ring::signature::RSA_PKCS1_SHA256;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime,
};
use url::Url;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert, ring as algorithms};

use super::signature::{BASE64, Secret, SignatureError, value};

const SIGNATURE: &str = "paypal-transmission-sig";
const ALGORITHM: &str = "SHA256withRSA";

/// What certification authorities sign certificates with.
const CHAIN_ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P384_SHA384,
];

pub(super) fn verify(
    headers: &HeaderMap,
    body: &[u8],
    secrets: &[Secret],
    now_ms: i64,
) -> Result<(), SignatureError> {
    let algorithm = value(headers, "paypal-auth-algo")?;
    if !algorithm.eq_ignore_ascii_case(ALGORITHM) {
        return Err(SignatureError::MalformedHeader { header: "paypal-auth-algo", expected: ALGORITHM });
    }
    if !is_paypal_url(value(headers, "paypal-cert-url")?) {
        return Err(SignatureError::CertificateHost);
    }
    let signature = BASE64
        .decode(value(headers, SIGNATURE)?)
        .map_err(|_| SignatureError::MalformedHeader { header: SIGNATURE, expected: "base64" })?;
    let id = value(headers, "paypal-transmission-id")?;
    let time = value(headers, "paypal-transmission-time")?;

    let mut refusal = SignatureError::UnusableSecret(EXPECTED_SECRET);
    for secret in secrets {
        let verified = Bundle::read(secret).and_then(|bundle| {
            let message = message(id, time, bundle.webhook_id, body);
            bundle.verify(message.as_bytes(), &signature, now_ms)
        });
        match verified {
            Ok(()) => return Ok(()),
            Err(error) => refusal = error,
        }
    }
    Err(refusal)
}

/// Signs as PayPal does, with the private key (PKCS #8, PEM) that stands in the secret as well.
pub(super) fn sign(
    secret: &Secret,
    id: &str,
    body: &[u8],
    now_ms: i64,
) -> Result<Vec<(&'static str, String)>, SignatureError> {
    const NO_KEY: SignatureError =
        SignatureError::UnusableSecret("a private key: PayPal's own stays with PayPal");
    let bundle = Bundle::read(secret)?;
    let key = PrivatePkcs8KeyDer::from_pem_slice(secret.text().as_bytes()).map_err(|_| NO_KEY)?;
    let key = KeyPair::from_pkcs8(key.secret_pkcs8_der()).map_err(|_| NO_KEY)?;
    let time = crate::domain::time::rfc3339(now_ms);
    let message = message(id, &time, bundle.webhook_id, body);
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature)
        .map_err(|_| NO_KEY)?;
    Ok(vec![
        ("paypal-transmission-id", id.to_owned()),
        ("paypal-transmission-time", time),
        ("paypal-cert-url", "https://api.paypal.com/v1/notifications/certs/CERT-1".to_owned()),
        ("paypal-auth-algo", ALGORITHM.to_owned()),
        (SIGNATURE, BASE64.encode(signature)),
    ])
}

const EXPECTED_SECRET: &str =
    "the webhook id, then the PEM certificates behind PAYPAL-CERT-URL, at least two, the signing one first";

/// A PayPal source's secret, taken apart.
struct Bundle<'a> {
    webhook_id: &'a str,
    signing: CertificateDer<'static>,
    issuers: Vec<CertificateDer<'static>>,
}

impl<'a> Bundle<'a> {
    fn read(secret: &'a Secret) -> Result<Self, SignatureError> {
        const UNUSABLE: SignatureError = SignatureError::UnusableSecret(EXPECTED_SECRET);
        let (webhook_id, pem) = secret.text().split_once("-----BEGIN").ok_or(UNUSABLE)?;
        let pem = format!("-----BEGIN{pem}");
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        let mut certificates = certificates.map_err(|_| UNUSABLE)?;
        if webhook_id.trim().is_empty() || certificates.len() < 2 {
            return Err(UNUSABLE);
        }
        let signing = certificates.remove(0);
        Ok(Self { webhook_id: webhook_id.trim(), signing, issuers: certificates })
    }

    fn verify(&self, message: &[u8], signature: &[u8], now_ms: i64) -> Result<(), SignatureError> {
        let refused = |error: webpki::Error| SignatureError::Certificate(error.to_string());
        let certificate = EndEntityCert::try_from(&self.signing).map_err(refused)?;
        if !certificate.valid_dns_names().any(is_paypal_host) {
            return Err(SignatureError::Certificate("it is not of paypal.com".into()));
        }
        let anchors: Vec<TrustAnchor<'_>> =
            self.issuers.iter().map(anchor_from_trusted_cert).collect::<Result<_, _>>().map_err(refused)?;
        let now = UnixTime::since_unix_epoch(Duration::from_millis(now_ms.try_into().unwrap_or(0)));
        certificate
            .verify_for_usage(CHAIN_ALGORITHMS, &anchors, &[], now, KeyUsage::server_auth(), None, None)
            .map_err(refused)?;
        certificate
            .verify_signature(algorithms::RSA_PKCS1_2048_8192_SHA256, message, signature)
            .map_err(|_| SignatureError::Mismatch(SIGNATURE))
    }
}

fn message(id: &str, time: &str, webhook_id: &str, body: &[u8]) -> String {
    format!("{id}|{time}|{webhook_id}|{}", crc32fast::hash(body))
}

fn is_paypal_url(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| url.scheme() == "https" && url.host_str().is_some_and(is_paypal_host))
}

fn is_paypal_host(host: &str) -> bool {
    host.to_ascii_lowercase().ends_with(".paypal.com")
}
