//! The script for shop pages, `/js/utmost.js`: one file, served as it is written (docs/SCRIPT.md).

use std::io::Write as _;
use std::sync::LazyLock;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256, Sha384};

const PATH: &str = "/js/utmost.js";
const SOURCE: &str = include_str!("utmost.js");

/// Serves the script; needs no key and no state.
pub fn router() -> Router {
    Router::new().route(PATH, get(serve))
}

/// What a page may pin the script to, in the `integrity` attribute of its tag and in a
/// Content-Security-Policy: `sha384-` and base64 (<https://www.w3.org/TR/sri-2/>).
pub fn integrity() -> String {
    format!("sha384-{}", STANDARD.encode(Sha384::digest(SOURCE)))
}

/// One form of the script and its strong ETag, which differs by encoding (RFC 9110, 8.8.3.3).
struct Encoded {
    bytes: Vec<u8>,
    etag: String,
}

static PLAIN: LazyLock<Encoded> = LazyLock::new(|| Encoded::new(SOURCE.as_bytes().to_vec()));
static GZIPPED: LazyLock<Encoded> = LazyLock::new(|| {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let bytes = encoder.write_all(SOURCE.as_bytes()).and_then(|()| encoder.finish());
    Encoded::new(bytes.expect("memory takes all that is written"))
});

impl Encoded {
    fn new(bytes: Vec<u8>) -> Self {
        let etag = format!("\"{}\"", hex::encode(&Sha256::digest(&bytes)[..12]));
        Self { bytes, etag }
    }
}

async fn serve(headers: HeaderMap) -> Response {
    let is_gzipped = accepts_gzip(&headers);
    let script: &'static Encoded = if is_gzipped { &GZIPPED } else { &PLAIN };
    let shared = [
        (header::ETAG, script.etag.as_str()),
        (header::CACHE_CONTROL, "public, max-age=3600"),
        (header::VARY, "accept-encoding"),
        // A page that pins the script by integrity reads it across origins.
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ];
    if has_copy(&headers, &script.etag) {
        return (StatusCode::NOT_MODIFIED, shared).into_response();
    }
    let content = [
        (header::CONTENT_TYPE, "text/javascript; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    let encoding = is_gzipped.then_some([(header::CONTENT_ENCODING, "gzip")]);
    (shared, content, encoding, Body::from(script.bytes.as_slice())).into_response()
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    listed(headers, header::ACCEPT_ENCODING).any(|item| {
        let (coding, weight) = item.split_once(';').unwrap_or((item, ""));
        let weight = weight.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse::<f32>);
        coding.trim().eq_ignore_ascii_case("gzip") && weight.is_ok_and(|weight| weight > 0.0)
    })
}

/// Whether the caller has this very form already. Proxies mark the tags of what they compress as weak.
fn has_copy(headers: &HeaderMap, etag: &str) -> bool {
    listed(headers, header::IF_NONE_MATCH).any(|known| known == "*" || known.trim_start_matches("W/") == etag)
}

fn listed(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use http_body_util::BodyExt as _;

    use super::*;

    const GZIPPED_MAX_BYTES: usize = 3072;

    async fn get(pairs: &[(header::HeaderName, &str)]) -> (StatusCode, HeaderMap, Vec<u8>) {
        let headers = pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        let (parts, body) = serve(headers).await.into_parts();
        (parts.status, parts.headers, body.collect().await.unwrap().to_bytes().to_vec())
    }

    #[test]
    fn the_script_is_small() {
        let bytes = GZIPPED.bytes.len();
        assert!(bytes < GZIPPED_MAX_BYTES, "{bytes} bytes gzipped, at most {GZIPPED_MAX_BYTES} are allowed");
    }

    #[test]
    fn the_guide_shows_the_integrity_of_this_script() {
        let guide = include_str!("../../docs/SCRIPT.md");
        assert!(guide.contains(&integrity()), "docs/SCRIPT.md must show {}", integrity());
    }

    #[tokio::test]
    async fn it_is_served_plain_or_gzipped() {
        let (status, headers, body) = get(&[]).await;
        assert_eq!((status, body.as_slice()), (StatusCode::OK, SOURCE.as_bytes()));
        assert_eq!(headers[header::CONTENT_TYPE], "text/javascript; charset=utf-8");
        assert_eq!(headers[header::CACHE_CONTROL], "public, max-age=3600");
        assert!(!headers.contains_key(header::CONTENT_ENCODING));

        let (_, gzip_headers, body) = get(&[(header::ACCEPT_ENCODING, "br, GZIP;q=0.5")]).await;
        assert_eq!(gzip_headers[header::CONTENT_ENCODING], "gzip");
        assert_ne!(gzip_headers[header::ETAG], headers[header::ETAG]);
        let mut text = String::new();
        GzDecoder::new(body.as_slice()).read_to_string(&mut text).unwrap();
        assert_eq!(text, SOURCE);

        for refused in ["br", "gzip;q=0", "gzip; q=0.0", "xgzip"] {
            let (_, headers, _) = get(&[(header::ACCEPT_ENCODING, refused)]).await;
            assert!(!headers.contains_key(header::CONTENT_ENCODING), "{refused}");
        }
    }

    #[tokio::test]
    async fn who_has_it_gets_it_not_again() {
        let (_, headers, _) = get(&[]).await;
        let etag = headers[header::ETAG].to_str().unwrap();
        for known in [etag, "*", &format!("W/{etag}"), &format!("\"other\", {etag}")] {
            let (status, headers, body) = get(&[(header::IF_NONE_MATCH, known)]).await;
            assert_eq!((status, body.len()), (StatusCode::NOT_MODIFIED, 0), "{known}");
            assert_eq!(headers[header::ETAG], etag);
        }
        let (status, ..) = get(&[(header::IF_NONE_MATCH, etag), (header::ACCEPT_ENCODING, "gzip")]).await;
        assert_eq!(status, StatusCode::OK);
    }
}
