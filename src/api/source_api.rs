//! How orders are fetched that a shop only names: the token of its API, which is never shown again, and where
//! that API is.

use super::Api;
use super::webhooks::check_url;
use crate::domain::flaw::Flaws;
use crate::intake::Platform;
use crate::ledger::sources::ApiAccess;

const TOKEN_MAX_BYTES: usize = 1024;

/// What a caller says: nothing, null for none, or a value.
pub type Said = Option<Option<String>>;

/// What is known from now on. A new address alone forgets the token: whoever may change the one need not be
/// somebody to whom the other was ever shown.
pub fn changed(
    api: &Api,
    platform: Platform,
    before: ApiAccess,
    token: Said,
    url: Said,
    flaws: &mut Flaws,
) -> ApiAccess {
    if platform != Platform::Bigcommerce {
        for (field, said) in [("api_token", &token), ("api_url", &url)] {
            if said.as_ref().is_some_and(Option::is_some) {
                flaws.add(field, format!("{field} is for bigcommerce alone: {platform} sends whole orders"));
            }
        }
        return before;
    }
    let url = match url {
        None => before.url.clone(),
        Some(None) => None,
        Some(Some(given)) => {
            let mut url = check_url(api, "api_url", &given, flaws);
            if !url.ends_with('/') {
                url.push('/');
            }
            Some(url)
        }
    };
    let token = match token {
        None => before.token.filter(|_| url == before.url),
        Some(None) => None,
        Some(Some(given)) => {
            let given = given.trim();
            let is_plain = given.bytes().all(|byte| byte.is_ascii_graphic());
            if !(1..=TOKEN_MAX_BYTES).contains(&given.len()) || !is_plain {
                let detail = format!("api_token must have 1 to {TOKEN_MAX_BYTES} visible ASCII characters");
                flaws.add("api_token", detail);
            }
            Some(given.to_owned())
        }
    };
    ApiAccess { url, token }
}
