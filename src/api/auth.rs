//! Who is asking, and for which workspace. A workspace's id is only to be had through [`Caller::may`], so
//! that no handler can forget to ask for the scope.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quick_cache::sync::Cache;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use super::Api;
use super::error::{Answer, Kind, Problem};
use crate::domain::keys::KeyRing;
use crate::ledger::keys::KeyRow;
use crate::ledger::{Ledger, LedgerError, keys, workspaces};

/// The workspace that is there from the first start, and that a platform key acts for when it names none.
pub const DEFAULT_WORKSPACE: &str = "default";
/// Names the workspace that a platform key acts for.
pub const WORKSPACE_HEADER: &str = "utmost-workspace";

/// A revoked key works no longer than this.
const CACHED: Duration = Duration::from_secs(2);
const CACHE_ENTRIES: usize = 10_000;
/// Keys that may sign with a token; those made last are left out beyond it.
const SIGNING_KEYS_MAX: i64 = 100_000;
/// Requests of one key at once; more are answered 429.
const IN_FLIGHT_MAX: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Links,
    Conversions,
    Reports,
    /// All of the above, and keys, sources and settings.
    Admin,
    /// For all to see in a shop's pages: good for the script's reports and nothing else.
    Publishable,
}

impl Scope {
    pub const ALL: [Self; 5] =
        [Self::Links, Self::Conversions, Self::Reports, Self::Admin, Self::Publishable];

    pub fn word(self) -> &'static str {
        match self {
            Self::Links => "links",
            Self::Conversions => "conversions",
            Self::Reports => "reports",
            Self::Admin => "admin",
            Self::Publishable => "publishable",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.word() == word)
    }
}

/// A key that was found valid.
#[derive(Debug)]
pub struct Key {
    pub id: String,
    /// None: a platform key.
    pub workspace: Option<String>,
    scopes: Vec<Scope>,
}

impl Key {
    fn has(&self, scope: Scope) -> bool {
        self.scopes.iter().any(|held| *held == scope || *held == Scope::Admin)
    }

    /// Whether everybody may know the key. Such a key has no other scope.
    pub(super) fn is_publishable(&self) -> bool {
        self.scopes.contains(&Scope::Publishable)
    }
}

/// A new key, to be shown once: `um_` and 256 random bits.
pub fn generate_key() -> String {
    format!("um_{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()))
}

/// The form in which keys are stored. They are random, so one round of SHA-256 is enough.
pub fn hash_key(key: &str) -> String {
    let digest = Sha256::digest(key.as_bytes());
    digest.iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

type ByToken = Vec<(String, Arc<Key>)>;

/// Looks keys and workspaces up, and remembers them for a moment.
#[derive(Debug)]
pub struct Keys {
    ledger: Ledger,
    ring: Arc<KeyRing>,
    admin: Arc<Key>,
    admin_hash: String,
    session_secret: [u8; 32],
    keys: Cache<String, (Instant, Option<Arc<Key>>)>,
    workspaces: Cache<String, (Instant, bool)>,
    slots: Cache<String, Arc<Semaphore>>,
    /// Keys by their signature tokens.
    signing: Mutex<Option<(Instant, ByToken)>>,
}

impl Keys {
    /// `admin_key`: the platform's administration key.
    pub fn new(ledger: Ledger, admin_key: &str, ring: Arc<KeyRing>) -> Self {
        let admin = Key { id: "admin".into(), workspace: None, scopes: vec![Scope::Admin] };
        Self {
            ledger,
            ring,
            admin: Arc::new(admin),
            admin_hash: hash_key(admin_key),
            session_secret: blake3::derive_key("utmost 2026 dashboard session", admin_key.as_bytes()),
            keys: Cache::new(CACHE_ENTRIES),
            workspaces: Cache::new(CACHE_ENTRIES),
            slots: Cache::new(CACHE_ENTRIES),
            signing: Mutex::new(None),
        }
    }

    /// The signature token of a key, see [`KeyRing::signature_token`].
    pub fn signature_token(&self, key_id: &str) -> String {
        self.ring.signature_token(key_id)
    }

    /// The key whose signature token fits. All keys are tried, one caller at a time.
    pub(super) async fn find_by_token(
        &self,
        fits: impl Fn(&str) -> bool,
    ) -> Result<Option<Arc<Key>>, LedgerError> {
        let mut signing = self.signing.lock().await;
        let (at, keys) = match signing.take().filter(|(at, _)| at.elapsed() < CACHED) {
            Some(cached) => cached,
            None => {
                let rows = keys::all(&self.ledger, SIGNING_KEYS_MAX).await?;
                let with_token = |row: KeyRow| (self.signature_token(&row.id), Arc::new(read_key(row)));
                (Instant::now(), rows.into_iter().map(with_token).collect())
            }
        };
        let found = keys.iter().find(|(token, _)| fits(token)).map(|(_, key)| Arc::clone(key));
        *signing = Some((at, keys));
        Ok(found)
    }

    /// The key behind what a caller sent, whichever way: None if there is none or it was revoked.
    pub async fn find(&self, sent: &str) -> Result<Option<Arc<Key>>, LedgerError> {
        // Hashes are compared, never keys, so timing tells nothing about a key.
        let hash = hash_key(sent);
        if hash == self.admin_hash {
            return Ok(Some(Arc::clone(&self.admin)));
        }
        if let Some((at, key)) = self.keys.get(&hash)
            && at.elapsed() < CACHED
        {
            return Ok(key);
        }
        let key = keys::by_hash(&self.ledger, &hash).await?.map(|row| Arc::new(read_key(row)));
        self.keys.insert(hash, (Instant::now(), key.clone()));
        Ok(key)
    }

    /// The key with this id, for a session that its key has begun: None if it was revoked.
    pub async fn by_id(&self, id: &str) -> Result<Option<Arc<Key>>, LedgerError> {
        if id == self.admin.id {
            return Ok(Some(Arc::clone(&self.admin)));
        }
        Ok(keys::by_id(&self.ledger, id).await?.map(|row| Arc::new(read_key(row))))
    }

    /// Signs sessions: the same in every process of an installation, and a new administration key ends all.
    pub fn session_secret(&self) -> &[u8; 32] {
        &self.session_secret
    }

    /// Makes a revocation known to this process at once.
    pub fn forget(&self) {
        self.keys.clear();
        // Where it is locked it is in use, and old in a moment.
        if let Ok(mut signing) = self.signing.try_lock() {
            *signing = None;
        }
    }

    /// Makes a removed workspace known to this process at once.
    pub fn forget_workspace(&self, id: &str) {
        self.workspaces.remove(id);
    }

    async fn workspace_exists(&self, id: &str) -> Result<bool, LedgerError> {
        if let Some((at, exists)) = self.workspaces.get(id)
            && at.elapsed() < CACHED
            && exists
        {
            return Ok(true);
        }
        let exists = workspaces::get(&self.ledger, id).await?.is_some();
        self.workspaces.insert(id.to_owned(), (Instant::now(), exists));
        Ok(exists)
    }

    /// The caller behind a key, acting for the workspace that `headers` name.
    pub async fn caller(&self, key: Arc<Key>, headers: &HeaderMap) -> Answer<Caller> {
        let asked = match headers.get(WORKSPACE_HEADER) {
            None => None,
            Some(value) => Some(value.to_str().map_err(|_| {
                Problem::invalid("Utmost-Workspace", "give the id of a workspace in the header")
            })?),
        };
        self.acting(key, asked).await
    }

    /// The caller behind a key, acting for the workspace asked for.
    pub async fn acting(&self, key: Arc<Key>, asked: Option<&str>) -> Answer<Caller> {
        if key.is_publishable() {
            let detail = "a publishable key is for POST /api/v1/events only; use a secret one";
            return Err(Problem::new(Kind::Forbidden, detail));
        }
        let workspace = match (&key.workspace, asked) {
            (Some(own), None) => own.clone(),
            (Some(own), Some(asked)) if own == asked => own.clone(),
            (Some(_), Some(_)) => {
                return Err(Problem::field(
                    Kind::Forbidden,
                    "Utmost-Workspace",
                    "this key belongs to another workspace; leave the header out or use a platform key",
                ));
            }
            (None, asked) => {
                let id = asked.unwrap_or(DEFAULT_WORKSPACE);
                if !self.workspace_exists(id).await? {
                    let detail = format!("there is no workspace {id}; make it with POST /api/v1/workspaces");
                    return Err(Problem::field(Kind::NotFound, "Utmost-Workspace", detail));
                }
                id.to_owned()
            }
        };
        Ok(Caller { key, workspace, has_chosen: asked.is_some() })
    }

    /// The same caller, acting for another workspace; None if its key may not.
    pub(super) async fn acting_for(&self, caller: &Caller, workspace: &str) -> Answer<Option<Caller>> {
        if caller.workspace == workspace {
            return Ok(Some(caller.clone()));
        }
        if caller.key.workspace.is_some() {
            return Ok(None);
        }
        if !self.workspace_exists(workspace).await? {
            return Err(Problem::new(Kind::NotFound, format!("there is no workspace {workspace}")));
        }
        Ok(Some(Caller { key: Arc::clone(&caller.key), workspace: workspace.to_owned(), has_chosen: true }))
    }

    /// A place among a key's requests under way, given back when it is dropped.
    pub(super) fn enter(&self, key: &Key) -> Answer<OwnedSemaphorePermit> {
        self.slot(key).try_acquire_owned().map_err(|_| {
            let detail = format!("this key has {IN_FLIGHT_MAX} requests under way; wait for some to end");
            Problem::new(Kind::TooManyRequests, detail).retry_after(1)
        })
    }

    fn slot(&self, key: &Key) -> Arc<Semaphore> {
        let make = || Ok::<_, std::convert::Infallible>(Arc::new(Semaphore::new(IN_FLIGHT_MAX)));
        match self.slots.get_or_insert_with(&key.id, make) {
            Ok(slot) => slot,
            Err(never) => match never {},
        }
    }
}

fn read_key(row: KeyRow) -> Key {
    Key {
        id: row.id,
        workspace: row.workspace,
        scopes: row.scopes.split(' ').filter_map(Scope::parse).collect(),
    }
}

/// A valid key and the workspace it acts for.
#[derive(Debug, Clone)]
pub struct Caller {
    key: Arc<Key>,
    workspace: String,
    /// Whether the caller named the workspace, rather than leaving it to the key.
    has_chosen: bool,
}

impl Caller {
    /// The workspace, if the key has the scope.
    pub fn may(&self, scope: Scope) -> Answer<&str> {
        self.may_any(&[scope])
    }

    /// The workspace, if the key has one of the scopes.
    pub fn may_any(&self, scopes: &[Scope]) -> Answer<&str> {
        if scopes.iter().any(|scope| self.key.has(*scope)) {
            return Ok(&self.workspace);
        }
        let words: Vec<&str> = scopes.iter().map(|scope| scope.word()).collect();
        let detail = format!("this needs a key with the scope {}", words.join(" or "));
        Err(Problem::new(Kind::Forbidden, detail))
    }

    /// Whether the key may act for any workspace.
    pub fn is_of_platform(&self) -> bool {
        self.key.workspace.is_none()
    }

    /// Whether the key administrates the platform, so all workspaces.
    pub fn is_platform_admin(&self) -> bool {
        self.key.workspace.is_none() && self.key.has(Scope::Admin)
    }

    /// Whether what belongs to a workspace is for the caller to see: a platform key that names no workspace
    /// sees all of them.
    pub(super) fn sees(&self, workspace: &str) -> bool {
        self.workspace == workspace || (self.key.workspace.is_none() && !self.has_chosen)
    }

    pub fn must_be_platform_admin(&self) -> Answer<()> {
        match self.is_platform_admin() {
            true => Ok(()),
            false => Err(Problem::new(Kind::Forbidden, "this needs the platform's administration key")),
        }
    }

    /// What keeps the idempotency keys of callers apart.
    pub(super) fn workspace_unchecked(&self) -> &str {
        &self.workspace
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Answer<Self> {
        parts.extensions.get::<Self>().cloned().ok_or_else(unauthorized)
    }
}

fn unauthorized() -> Problem {
    Problem::new(Kind::Unauthorized, "send a valid key with the header Authorization: Bearer um_...")
}

/// Lets only requests with a valid key through, and tells the handlers who is asking.
pub async fn authenticate(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Answer<Response> {
    let headers = request.headers();
    let (caller, _permit) = admit(&api, bearer(headers), headers).await?;
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// The caller behind the key that was sent, whichever way, and the permit that its request needs while it
/// runs.
pub(super) async fn admit(
    api: &Api,
    sent: Option<&str>,
    headers: &HeaderMap,
) -> Answer<(Caller, OwnedSemaphorePermit)> {
    let sent = sent.ok_or_else(unauthorized)?;
    let key = api.keys.find(sent).await?;
    admit_key(api, key, headers).await
}

/// The same for a key that was found otherwise.
pub(super) async fn admit_key(
    api: &Api,
    key: Option<Arc<Key>>,
    headers: &HeaderMap,
) -> Answer<(Caller, OwnedSemaphorePermit)> {
    let key = key.ok_or_else(unauthorized)?;
    let permit = api.keys.slot(&key).try_acquire_owned().map_err(|_| {
        let detail = format!("this key has {IN_FLIGHT_MAX} requests under way; wait for some to end");
        Problem::new(Kind::TooManyRequests, detail).retry_after(1)
    })?;
    Ok((api.keys.caller(key, headers).await?, permit))
}

/// The token of an `Authorization: Bearer` header.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
