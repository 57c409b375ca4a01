//! The APIs of other shorteners, spoken over the same links, so that a scheduler which knows one of them
//! needs nothing but another base URL. docs/SCHEDULERS.md says what each understands.
//!
//! A dialect reads requests as its clients write them, calls the native operations, and shows the results
//! in its own words. It has no rules of its own: a link made here is a link like any other.

mod bitly;
mod dub;
mod fields;
mod kutt;
mod links;
mod shlink;
mod yourls;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response};
use axum::response::Response;
use serde_json::Value;

use super::Api;
use super::auth::admit;
use super::error::{Answer, Problem};
use super::idempotency::idempotent;

/// The routes of all dialects that the configuration enables.
pub fn router(api: &Arc<Api>) -> Router<Arc<Api>> {
    let enabled = &api.config.dialects;
    let mut router = Router::new();
    if enabled.dub {
        router = router.merge(dub::routes(api));
    }
    if enabled.yourls {
        router = router.merge(yourls::routes());
    }
    if enabled.kutt {
        router = router.merge(kutt::routes(api));
    }
    if enabled.shlink {
        router = router.merge(shlink::routes(api));
    }
    if enabled.bitly {
        router = router.merge(bitly::routes(api));
    }
    router
}

/// What tells one dialect's door from another's.
#[derive(Clone, Copy)]
struct Door {
    /// The key that a caller sent.
    key: fn(&HeaderMap) -> Option<&str>,
    /// A problem in the dialect's words.
    say: fn(&Problem) -> (StatusCode, Value),
    /// Of those words.
    content_type: &'static str,
}

impl Door {
    /// Puts the routes behind the door: callers need a key, `Idempotency-Key` counts, and problems are told
    /// in the dialect's words.
    fn guard(self, api: &Arc<Api>, routes: Router<Arc<Api>>) -> Router<Arc<Api>> {
        let state = Arc::clone(api);
        let authenticate = move |mut request: Request, next: Next| {
            let api = Arc::clone(&state);
            async move {
                let headers = request.headers();
                let (caller, _permit) = admit(&api, (self.key)(headers), headers).await?;
                request.extensions_mut().insert(caller);
                Answer::Ok(next.run(request).await)
            }
        };
        let routes = routes
            .method_not_allowed_fallback(super::method_not_allowed)
            // Inside, so that answers are kept for repetition as they were told.
            .layer(map_response(move |response| self.tell(response)))
            .layer(from_fn_with_state(Arc::clone(api), idempotent))
            .layer(from_fn(authenticate));
        self.open(routes)
    }

    /// Tells problems in the dialect's words, for routes that need no key.
    fn open(self, routes: Router<Arc<Api>>) -> Router<Arc<Api>> {
        routes.layer(map_response(move |response| self.tell(response)))
    }

    async fn tell(self, mut response: Response) -> Response {
        let Some(problem) = response.extensions_mut().remove::<Arc<Problem>>() else { return response };
        let (status, body) = (self.say)(&problem);
        *response.status_mut() = status;
        *response.body_mut() = body.to_string().into();
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        response
    }
}

/// All that is wrong, in one text: what dialects say of a problem.
fn whole_detail(problem: &Problem) -> String {
    let body = problem.body();
    match body.errors.len() {
        0 | 1 => body.detail,
        _ => body.errors.into_iter().map(|error| error.detail).collect::<Vec<_>>().join("; "),
    }
}
