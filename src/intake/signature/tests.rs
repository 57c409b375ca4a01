use http::HeaderMap;

use super::super::{Platform, header_map, kept_headers};
use super::*;

const BODY: &[u8] = br#"{"test": 2432232314}"#;

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    header_map(&pairs)
}

fn check(
    platform: Platform,
    secret: &str,
    given: &[(&str, &str)],
    now_s: i64,
    expected: Result<(), SignatureError>,
) {
    let verdict = verify(platform, &headers(given), BODY, &[Secret::new(secret)], now_s * 1000);
    assert_eq!(verdict, expected, "{platform} {given:?}");
}

// The expected signatures were computed with openssl; the one of Standard Webhooks is the published
// example, the one of Stripe was made by its own library.
const SHOPIFY: &str = "GSMkouYq910XCW7wBeiXYHW1KhmYc/L3xj5h5r26zw4=";
const WOOCOMMERCE: &str = "c9zrvVpXPxYuepwF/4WK7Vkm25mbY5zRJp0wCScUMn4=";
const STRIPE: &str = "6ffa2e2044f538cc5b8eab3914b7b825a84e3cdb20d52f6e6a6b5ec278b71f52";
const STANDARD: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
const BIGCOMMERCE: &str = "v1,+YPPaY07/dyiFf9LrP+CYAen5BByzlrSLlRvCF+1JOg=";
const PADDLE: &str = "3ed1714f3ec974b24a2116aaf83b8bcc1cbc260619d18e69d52fdeca286727fb";
const LEMONSQUEEZY: &str = "192324a2e62af75d17096ef005e8976075b52a199873f2f7c63e61e6bdbacf0e";
const SEGMENT: &str = "c68b01470b86ac36c5ba801a543c89d83b71f131";
const PAYPAL: &str = "KO0kDINuPLVyz0VV2AiNmVA4iWTJ1+gN4pxMvNpyXHleyN+FxWy9111QGp/gAziGCgPuoO3tz1hthJKbHoA+6CxjEccTOnREXzKI+AoSpT6WZrKtz/HTwzN69eFjcgs+tx7npzSlikuYDQjDVFi9enrPqMreKCkJxy/BciwM3Mbr+kUaBbweLKAvvdni4uE5JkeYnoETbiA4plkuHAcF0IGKFv9WmOuEj+eteORaOEH5SX2VQUHaIbTkiE1xrivQJUKyckOXgWl/zTZ58/vNKDIG1VxHigOaFIzGJhl6g6zfMZK88vhoSy+0aNpHYH/mVqbLzWomAFy3vUr66fmwSw==";

const PAYPAL_SECRET: &str = include_str!("../../../tests/fixtures/webhooks/paypal_secret.pem");
const STRANGER_SECRET: &str = include_str!("../../../tests/fixtures/webhooks/paypal_stranger_secret.pem");
/// A time within the test certificates' validity.
const PAYPAL_NOW_S: i64 = 1_800_000_000;

const STANDARD_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const STANDARD_ID: (&str, &str) = ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek");
const STANDARD_TIME: (&str, &str) = ("webhook-timestamp", "1614265330");

#[test]
fn bare_signatures_are_verified() {
    let shopify = |name| check(Platform::Shopify, "hush", &[(name, SHOPIFY)], 0, Ok(()));
    shopify("X-Shopify-Hmac-Sha256");
    shopify("shopify-hmac-sha256");
    check(Platform::Lemonsqueezy, "hush", &[("x-signature", LEMONSQUEEZY)], 0, Ok(()));
    check(Platform::Segment, "hush", &[("x-signature", SEGMENT)], 0, Ok(()));
    check(Platform::Rudderstack, "hush", &[("x-signature", &SEGMENT.to_uppercase())], 0, Ok(()));
    for secret in ["a&b<c>\"'", "a&amp;b&lt;c&gt;&quot;&#039;", " a&#38;b&lt;c&#062;\"&#039;\n"] {
        check(Platform::Woocommerce, secret, &[("x-wc-webhook-signature", WOOCOMMERCE)], 0, Ok(()));
    }
    let mismatch = Err(SignatureError::Mismatch("x-signature"));
    check(Platform::Lemonsqueezy, "other", &[("x-signature", LEMONSQUEEZY)], 0, mismatch.clone());
    check(Platform::Lemonsqueezy, "hush", &[("x-signature", SEGMENT)], 0, mismatch);
}

#[test]
fn signed_times_must_be_near() {
    let signed = format!("t=1492774577,v1={STRIPE},v0=00");
    let stripe = |now_s, expected| {
        check(Platform::Stripe, "whsec_test_secret", &[("stripe-signature", &signed)], now_s, expected);
    };
    let off = |off_s| Err(SignatureError::Clock { header: "stripe-signature", off_s });
    stripe(1492774577, Ok(()));
    stripe(1492774577 + 300, Ok(()));
    stripe(1492774577 - 300, Ok(()));
    stripe(1492774577 + 301, off(-301));
    stripe(1492774577 - 301, off(301));

    let rotated = format!("ts=1671552777;h1={};h1={PADDLE}", "00".repeat(32));
    check(Platform::Paddle, "pdl_ntfset_01", &[("paddle-signature", &rotated)], 1671552800, Ok(()));
    let untimely = format!("t={},v1={STRIPE}", i64::MIN);
    let mismatch = Err(SignatureError::Mismatch("stripe-signature"));
    check(
        Platform::Stripe,
        "whsec_test_secret",
        &[("stripe-signature", &untimely)],
        i64::MAX / 1000,
        mismatch,
    );
}

#[test]
fn standard_webhooks_are_verified() {
    let standard = |signature: &str, secret: &str, expected| {
        let given = [STANDARD_ID, STANDARD_TIME, ("webhook-signature", signature)];
        check(Platform::Standard, secret, &given, 1614265330, expected);
    };
    standard(STANDARD, STANDARD_SECRET, Ok(()));
    standard(STANDARD, &STANDARD_SECRET["whsec_".len()..], Ok(()));
    standard(STANDARD.trim_end_matches('='), STANDARD_SECRET, Ok(()));
    standard(&format!("v1,AAAA v1a,xyz {STANDARD}"), STANDARD_SECRET, Ok(()));
    standard("v1,AAAA", STANDARD_SECRET, Err(SignatureError::Mismatch("webhook-signature")));
    standard(STANDARD, "whsec_%%%", Err(SignatureError::UnusableSecret("whsec_ and base64")));

    let svix =
        [("svix-id", STANDARD_ID.1), ("svix-timestamp", STANDARD_TIME.1), ("svix-signature", STANDARD)];
    check(Platform::Standard, STANDARD_SECRET, &svix, 1614265330, Ok(()));
    let late = Err(SignatureError::Clock { header: "svix-timestamp", off_s: -500 });
    check(Platform::Standard, STANDARD_SECRET, &svix, 1614265830, late);

    let bigcommerce = [("webhook-id", "msg_1"), STANDARD_TIME, ("webhook-signature", BIGCOMMERCE)];
    check(Platform::Bigcommerce, "hush", &bigcommerce, 1614265330, Ok(()));
}

#[test]
fn paypals_certificate_is_held_to_account() {
    const TIME: (&str, &str) = ("paypal-transmission-time", "2016-02-18T20:01:35Z");
    const ID: (&str, &str) = ("paypal-transmission-id", "69cd13f0-d67a-11e5-baa3-778b53f4ae55");
    const ALGORITHM: (&str, &str) = ("paypal-auth-algo", "SHA256withRSA");
    const SIGNATURE: (&str, &str) = ("paypal-transmission-sig", PAYPAL);
    const URL: &str = "https://api.paypal.com/v1/notifications/certs/CERT-360caa42";
    let by = |secret: &str, url: &str, now_s, expected| {
        let given = [TIME, ID, ALGORITHM, SIGNATURE, ("paypal-cert-url", url)];
        check(Platform::Paypal, secret, &given, now_s, expected);
    };
    let certificate = |cause: &str| Err(SignatureError::Certificate(cause.into()));
    by(PAYPAL_SECRET, URL, PAYPAL_NOW_S, Ok(()));
    by(PAYPAL_SECRET, "https://api.sandbox.paypal.com/x", PAYPAL_NOW_S, Ok(()));
    for url in [
        "http://api.paypal.com/x",
        "https://paypal.com.evil.example/x",
        "https://evilpaypal.com/x",
        "https://evil.example/.paypal.com",
        "junk",
    ] {
        by(PAYPAL_SECRET, url, PAYPAL_NOW_S, Err(SignatureError::CertificateHost));
    }
    let other_webhook = PAYPAL_SECRET.replacen("1JE4291016473214C", "OTHER", 1);
    by(&other_webhook, URL, PAYPAL_NOW_S, Err(SignatureError::Mismatch("paypal-transmission-sig")));
    by(STRANGER_SECRET, URL, PAYPAL_NOW_S, certificate("it is not of paypal.com"));
    let too_early = verify_at(PAYPAL_SECRET, URL, 1_600_000_000);
    assert!(matches!(too_early, Err(SignatureError::Certificate(_))), "{too_early:?}");
    let unusable = by_text("1JE4291016473214C");
    assert!(matches!(unusable, Err(SignatureError::UnusableSecret(_))), "{unusable:?}");

    // A certificate whose chain ends elsewhere.
    let foreign = swap_issuer(PAYPAL_SECRET, STRANGER_SECRET);
    let foreign = verify_at(&foreign, URL, PAYPAL_NOW_S);
    assert!(matches!(foreign, Err(SignatureError::Certificate(_))), "{foreign:?}");

    fn verify_at(secret: &str, url: &str, now_s: i64) -> Result<(), SignatureError> {
        let given = headers(&[TIME, ID, ALGORITHM, SIGNATURE, ("paypal-cert-url", url)]);
        verify(Platform::Paypal, &given, BODY, &[Secret::new(secret)], now_s * 1000)
    }
    fn by_text(secret: &str) -> Result<(), SignatureError> {
        verify_at(secret, URL, PAYPAL_NOW_S)
    }
    /// The first certificate of one secret with the first of another as its issuer.
    fn swap_issuer(secret: &str, other: &str) -> String {
        let first = |text: &str| format!("-----BEGIN{}", text.split("-----BEGIN").nth(1).unwrap());
        format!("1JE4291016473214C\n{}{}", first(secret), first(other))
    }
}

#[test]
fn what_we_sign_we_verify() {
    let now_ms = PAYPAL_NOW_S * 1000;
    for platform in Platform::ALL {
        let secret = match platform {
            Platform::Paypal => Secret::new(PAYPAL_SECRET),
            Platform::Standard => Secret::new(STANDARD_SECRET),
            _ => Secret::new("a&b"),
        };
        let signed = sign(platform, &secret, "msg_1", BODY, now_ms);
        if platform == Platform::Api {
            assert_eq!(signed, Err(SignatureError::NotSigned));
            continue;
        }
        let given = headers(&signed.unwrap().iter().map(|(n, v)| (*n, v.as_str())).collect::<Vec<_>>());
        let stale = Secret::new(if platform == Platform::Paypal { STRANGER_SECRET } else { "old" });
        let both = [stale.clone(), secret];
        assert_eq!(verify(platform, &given, BODY, &both, now_ms), Ok(()), "{platform}");
        assert!(verify(platform, &given, BODY, &[stale], now_ms).is_err(), "{platform}");
        assert!(verify(platform, &given, b"{}", &both, now_ms).is_err(), "{platform}");
        // A kept delivery is verified again from what was kept of it.
        let kept = header_map(&kept_headers(platform, &given));
        assert_eq!(verify(platform, &kept, BODY, &both, now_ms), Ok(()), "{platform}");
    }
}

#[test]
fn the_library_signs_as_the_platforms_do() {
    let signed = |platform, secret: &str, id: &str, at_s: i64| {
        sign(platform, &Secret::new(secret), id, BODY, at_s * 1000).unwrap().pop().unwrap()
    };
    assert_eq!(signed(Platform::Shopify, "hush", "", 0).1, SHOPIFY);
    assert_eq!(signed(Platform::Woocommerce, "a&amp;b<c>\"'", "", 0).1, WOOCOMMERCE);
    let stripe = signed(Platform::Stripe, "whsec_test_secret", "", 1492774577).1;
    assert_eq!(stripe, format!("t=1492774577,v1={STRIPE}"));
    assert_eq!(signed(Platform::Standard, STANDARD_SECRET, STANDARD_ID.1, 1614265330).1, STANDARD);
    assert_eq!(signed(Platform::Bigcommerce, "hush", "msg_1", 1614265330).1, BIGCOMMERCE);
    let paddle = signed(Platform::Paddle, "pdl_ntfset_01", "", 1671552777).1;
    assert_eq!(paddle, format!("ts=1671552777;h1={PADDLE}"));
    assert_eq!(signed(Platform::Lemonsqueezy, "hush", "", 0).1, LEMONSQUEEZY);
    assert_eq!(signed(Platform::Segment, "hush", "", 0).1, SEGMENT);
}

#[test]
fn errors_name_the_header() {
    let missing = |platform, given: &[(&str, &str)], header| {
        check(platform, "hush", given, 0, Err(SignatureError::MissingHeader(header)));
    };
    missing(Platform::Shopify, &[], "x-shopify-hmac-sha256");
    missing(Platform::Woocommerce, &[], "x-wc-webhook-signature");
    missing(Platform::Stripe, &[], "stripe-signature");
    missing(Platform::Standard, &[], "webhook-signature");
    missing(Platform::Standard, &[("webhook-signature", STANDARD)], "webhook-id");
    missing(Platform::Standard, &[("svix-signature", STANDARD), ("svix-id", "a")], "svix-timestamp");
    missing(Platform::Paddle, &[], "paddle-signature");
    missing(Platform::Lemonsqueezy, &[], "x-signature");
    missing(Platform::Segment, &[], "x-signature");
    missing(Platform::Paypal, &[], "paypal-auth-algo");
    check(Platform::Api, "hush", &[], 0, Err(SignatureError::NotSigned));

    let malformed = |platform, given: &[(&str, &str)], header| {
        let verdict = verify(platform, &headers(given), BODY, &[Secret::new("hush")], 0);
        assert!(
            matches!(verdict, Err(SignatureError::MalformedHeader { header: h, .. }) if h == header),
            "{given:?}: {verdict:?}"
        );
    };
    malformed(Platform::Shopify, &[("x-shopify-hmac-sha256", "%%%")], "x-shopify-hmac-sha256");
    malformed(Platform::Lemonsqueezy, &[("x-signature", "xyz")], "x-signature");
    for text in ["", "t=1", "v1=00", "t=soon,v1=00", "t=1,v1=zz", "t=1;v1=00", ",,=,"] {
        malformed(Platform::Stripe, &[("stripe-signature", text)], "stripe-signature");
    }
    malformed(
        Platform::Standard,
        &[STANDARD_ID, STANDARD_TIME, ("webhook-signature", "v2,a")],
        "webhook-signature",
    );
    malformed(
        Platform::Standard,
        &[STANDARD_ID, ("webhook-timestamp", "now"), ("webhook-signature", STANDARD)],
        "webhook-timestamp",
    );
    check(
        Platform::Shopify,
        "",
        &[("x-shopify-hmac-sha256", SHOPIFY)],
        0,
        Err(SignatureError::UnusableSecret("at least one character")),
    );
    let mismatch = SignatureError::Mismatch("x-signature").to_string();
    assert_eq!(mismatch, "header x-signature fits no secret of this source");
    assert_eq!(format!("{:?}", Secret::new("hush")), "Secret");
}

#[test]
fn write_keys_are_the_user_of_basic_authentication() {
    let check = |platform, authorization: &str, expected: Result<(), SignatureError>| {
        let secrets = [Secret::new("older"), Secret::new("write-key")];
        let headers = headers(&[("authorization", authorization)]);
        assert_eq!(verify_write_key(platform, &headers, &secrets), expected, "{authorization}");
    };
    let basic = |text: &str| format!("Basic {}", BASE64.encode(text));
    let mismatch = Err(SignatureError::Mismatch("authorization"));
    for platform in [Platform::Segment, Platform::Rudderstack] {
        check(platform, &basic("write-key:"), Ok(()));
        check(platform, &basic("older:whatever").replace("Basic", "basic"), Ok(()));
        check(platform, &basic("write-key"), Ok(()));
        check(platform, &basic("write-ke:"), mismatch.clone());
        check(platform, &basic(":write-key"), mismatch.clone());
    }
    check(Platform::Shopify, &basic("write-key:"), Err(SignatureError::NotBatched));
    let expected = "Basic and the write key as its user";
    for text in ["Bearer write-key", "Basic", "Basic %%%"] {
        check(
            Platform::Segment,
            text,
            Err(SignatureError::MalformedHeader { header: "authorization", expected }),
        );
    }
    let missing = verify_write_key(Platform::Segment, &headers(&[]), &[]);
    assert_eq!(missing, Err(SignatureError::MissingHeader("authorization")));
    let unknown =
        verify_write_key(Platform::Segment, &headers(&[("authorization", &basic("write-key:"))]), &[]);
    assert_eq!(unknown, mismatch);
}
