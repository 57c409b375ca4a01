//! Signing in: a key is shown once, and a signed cookie stands for it until it ends or the key is revoked.

use std::sync::Arc;

use axum::Form;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::{PageError, layout};
use crate::api::{Api, Caller, Scope};
use crate::domain::time::now_ms;

const COOKIE: &str = "utmost_session";
const LASTS_MS: i64 = 7 * 24 * 3_600_000;
/// Longer than any key.
const KEY_MAX: usize = 256;

/// Whoever is signed in, and the workspace that the page is about.
pub struct Session {
    pub workspace: String,
    /// All workspaces, where the key may see more than one.
    pub choices: Vec<(String, String)>,
}

impl FromRequestParts<Arc<Api>> for Session {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, PageError> {
        let key_id =
            cookie(&parts.headers).and_then(|token| verified(api, token)).ok_or(PageError::SignIn)?;
        let key = api.keys.by_id(key_id).await?.ok_or(PageError::SignIn)?;
        let query = parts.uri.query().unwrap_or_default();
        let asked = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "workspace");
        let asked = asked.map(|(_, id)| id.into_owned()).filter(|id| !id.is_empty());
        let caller = api.keys.acting(key, asked.as_deref()).await?;
        let workspace = caller.may(Scope::Reports)?.to_owned();
        Ok(Self { choices: choices(api, &caller).await?, workspace })
    }
}

/// More workspaces than this are reached by `?workspace=` alone.
const CHOICES_MAX: i64 = 100;

async fn choices(api: &Api, caller: &Caller) -> Result<Vec<(String, String)>, PageError> {
    if !caller.is_of_platform() {
        return Ok(Vec::new());
    }
    let all = crate::ledger::workspaces::list(&api.ledger, "", CHOICES_MAX).await?;
    Ok(if all.len() > 1 { all.into_iter().map(|row| (row.id, row.name)).collect() } else { Vec::new() })
}

pub async fn form() -> Response {
    layout::sign_in(None).into_response()
}

#[derive(Deserialize)]
pub struct SignIn {
    key: String,
}

pub async fn sign_in(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Form(form): Form<SignIn>,
) -> Result<Response, PageError> {
    let sent = form.key.trim();
    let refused = |why| (StatusCode::UNAUTHORIZED, layout::sign_in(Some(why))).into_response();
    if sent.len() > KEY_MAX {
        return Ok(refused("That is no key."));
    }
    let Some(key) = api.keys.find(sent).await? else {
        return Ok(refused("This key is not known, or it was revoked."));
    };
    let id = key.id.clone();
    if api.keys.acting(key, None).await?.may(Scope::Reports).is_err() {
        return Ok(refused("This key may not read reports. Use one with the scope reports."));
    }
    let until_ms = now_ms() + LASTS_MS;
    let token = format!("{until_ms}.{id}.{}", signature(&api, until_ms, &id).to_hex());
    Ok(with_cookie(&api, &headers, &token, LASTS_MS / 1000, "/app"))
}

pub async fn sign_out(State(api): State<Arc<Api>>, headers: HeaderMap) -> Response {
    with_cookie(&api, &headers, "", 0, "/app/sign-in")
}

fn with_cookie(api: &Api, headers: &HeaderMap, token: &str, seconds: i64, to: &'static str) -> Response {
    // Behind TLS the cookie must not travel in clear; on the bare port there is no TLS to ask for.
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let tls = api.config.server.public_url.as_ref().is_some_and(|url| {
        url.scheme() == "https" && host.is_some_and(|host| host.eq_ignore_ascii_case(url.authority()))
    });
    let secure = if tls { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={token}; Path=/app; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    let mut response = Redirect::to(to).into_response();
    if let Ok(value) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    response
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|text| text.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value)
}

/// The key's id, if the token is ours and has not ended.
fn verified<'a>(api: &Api, token: &'a str) -> Option<&'a str> {
    let (until, rest) = token.split_once('.')?;
    let (id, signed) = rest.rsplit_once('.')?;
    let until_ms: i64 = until.parse().ok()?;
    // Comparing hashes takes the same time whatever is in them.
    let ours = blake3::Hash::from_hex(signed).is_ok_and(|signed| signature(api, until_ms, id) == signed);
    (ours && now_ms() < until_ms).then_some(id)
}

fn signature(api: &Api, until_ms: i64, id: &str) -> blake3::Hash {
    blake3::keyed_hash(api.keys.session_secret(), format!("{until_ms}.{id}").as_bytes())
}
