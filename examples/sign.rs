//! Prints the webhooks that the tests send, as a shop's platform would sign them now: for its own library to judge
//! (scripts/acceptance). One JSON object a line: `platform`, `secret`, `fixture`, `headers`, `body`.

use std::path::Path;

use serde_json::{Map, Value, json};
use utmost::domain::time::now_ms;
use utmost::intake::{Platform, Secret, sign};

const SECRETS: [(Platform, &str); 2] = [
    (Platform::Shopify, "shpss_0123456789abcdef0123456789abcdef"),
    (Platform::Paddle, "pdl_ntfset_01hkpjb9jbh6qn9jzgkbkw3dk1_0123456789abcdef"),
];

fn main() -> anyhow::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/webhooks");
    let mut names: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    for (platform, secret) in SECRETS {
        for name in names.iter().filter(|name| name.starts_with(platform.as_str())) {
            let body = std::fs::read_to_string(folder.join(name))?;
            let signed = sign(platform, &Secret::new(secret), "id", body.as_bytes(), now_ms())?;
            let headers: Map<String, Value> =
                signed.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
            let platform = platform.as_str();
            println!(
                "{}",
                json!({"platform": platform, "secret": secret, "fixture": name, "headers": headers, "body": body})
            );
        }
    }
    Ok(())
}
