//! Coupon codes bound to a post or to a link: an order that carries one came from there.

use std::sync::Arc;

use axum::Json as JsonAnswer;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, put};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::auth::{Caller, Scope};
use super::error::{Answer, Problem, Problems};
use super::extract::{Json, Query, Segment};
use super::links::link_id;
use super::page::{Page, Window};
use crate::domain::flaw::Flaws;
use crate::domain::ids::LinkId;
use crate::domain::time::{now_ms, rfc3339};
use crate::ledger::coupons::{self, CouponRow};
use crate::ledger::{links, posts};

pub fn routes() -> Router<Arc<Api>> {
    Router::new().route("/coupons", get(list)).route("/coupons/{code}", put(bind).get(read).delete(remove))
}

/// Exactly one of post and link.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CouponInput {
    /// Id of a post.
    post: Option<String>,
    /// Id of a link.
    link: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Coupon {
    /// In upper case, as codes are compared.
    code: String,
    post: Option<String>,
    link: Option<String>,
    created_at: String,
}

fn show(row: CouponRow) -> Coupon {
    Coupon {
        code: row.code,
        post: row.post,
        link: row.link.map(link_id),
        created_at: rfc3339(row.created_ms),
    }
}

/// Bind a coupon code to a post or to a link, or bind it anew.
#[utoipa::path(put, path = "/api/v1/coupons/{code}", tag = "posts", params(("code" = String, Path)),
    request_body = CouponInput, responses((status = 200, body = Coupon), Problems))]
pub async fn bind(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(code): Segment,
    Json(input): Json<CouponInput>,
) -> Answer<JsonAnswer<Coupon>> {
    let workspace = caller.may(Scope::Links)?;
    let mut flaws = Flaws::default();
    let code = flaws.id("code", &code).to_uppercase();
    let post = input.post.map(|post| flaws.id("post", &post));
    let link = match input.link.map(|link| link.parse::<LinkId>().map_err(|_| link)) {
        None => None,
        Some(Ok(link)) if links::get(&api.ledger, workspace, link.as_i64()).await?.is_some() => Some(link),
        Some(link) => {
            let link = link.map_or_else(|text| text, |link| link.to_string());
            flaws.add("link", format!("there is no link {link} in this workspace"));
            None
        }
    };
    if post.is_some() == link.is_some() {
        flaws.add("post", "say what the code stands for: either a post or a link");
    }
    flaws.check()?;

    let now_ms = now_ms();
    let created_ms = coupons::get(&api.ledger, workspace, &code).await?.map_or(now_ms, |old| old.created_ms);
    let mut tx = api.ledger.begin_alone().await?;
    if let Some(post) = &post {
        posts::ensure(&mut tx, workspace, &[post], now_ms).await?;
    }
    let row = CouponRow { code, post, link: link.map(LinkId::as_i64), created_ms };
    coupons::put(&mut tx, workspace, &row).await?;
    tx.commit().await?;
    Ok(JsonAnswer(show(row)))
}

/// What a coupon code stands for.
#[utoipa::path(get, path = "/api/v1/coupons/{code}", tag = "posts", params(("code" = String, Path)),
    responses((status = 200, body = Coupon), Problems))]
pub async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(code): Segment,
) -> Answer<JsonAnswer<Coupon>> {
    let workspace = caller.may_any(&[Scope::Links, Scope::Reports])?;
    let row = coupons::get(&api.ledger, workspace, &code.trim().to_uppercase()).await?;
    Ok(JsonAnswer(show(row.ok_or_else(|| Problem::not_found("coupon", code))?)))
}

/// Unbind a coupon code.
#[utoipa::path(delete, path = "/api/v1/coupons/{code}", tag = "posts", params(("code" = String, Path)),
    responses((status = 204), Problems))]
pub async fn remove(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segment(code): Segment,
) -> Answer<StatusCode> {
    let workspace = caller.may(Scope::Links)?;
    let mut tx = api.ledger.begin_alone().await?;
    let removed = coupons::delete(&mut tx, workspace, &code.trim().to_uppercase()).await?;
    tx.commit().await?;
    if removed { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::not_found("coupon", code)) }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListCoupons {
    /// 1 to 1000, 100 if absent.
    limit: Option<u32>,
    cursor: Option<String>,
}

/// Coupon codes, by code.
#[utoipa::path(get, path = "/api/v1/coupons", tag = "posts", params(ListCoupons),
    responses((status = 200, body = Page<Coupon>), Problems))]
pub async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(query): Query<ListCoupons>,
) -> Answer<JsonAnswer<Page<Coupon>>> {
    let workspace = caller.may_any(&[Scope::Links, Scope::Reports])?;
    let window = Window::new(query.limit, query.cursor.as_deref(), 1)?;
    let rows = coupons::list(&api.ledger, workspace, window.after_text(0), window.fetch()).await?;
    Ok(JsonAnswer(window.page(rows, |row| vec![row.code.clone()], show)))
}
