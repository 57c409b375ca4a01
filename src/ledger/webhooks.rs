//! Webhooks out: who wants to be told what, and the outbox of what is still to be said.

use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::{Ledger, LedgerError, Tx, sql};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookRow {
    pub id: String,
    pub workspace: String,
    pub url: String,
    pub events: Vec<String>,
    pub description: Option<String>,
    /// The newest first; all sign.
    pub secrets: Vec<SigningSecret>,
    /// Since when no attempt has succeeded. None: the last one did, or there was none.
    pub failing_ms: Option<i64>,
    pub disabled_ms: Option<i64>,
    pub disabled_reason: Option<String>,
    pub created_ms: i64,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningSecret {
    /// `whsec_` and base64.
    pub secret: String,
    /// From then on it signs no more. None: the current one.
    pub until_ms: Option<i64>,
}

impl std::fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningSecret").field("until_ms", &self.until_ms).finish_non_exhaustive()
    }
}

const COLUMNS: &str =
    "id, workspace, url, events, description, secrets, failing_ms, disabled_ms, disabled_reason, created_ms";

fn read(row: &AnyRow) -> Result<WebhookRow, LedgerError> {
    let id: String = row.try_get(0)?;
    let events: String = row.try_get(3)?;
    Ok(WebhookRow {
        workspace: row.try_get(1)?,
        url: row.try_get(2)?,
        events: events.split(' ').map(str::to_owned).collect(),
        description: row.try_get(4)?,
        secrets: serde_json::from_str(row.try_get(5)?)
            .map_err(|error| LedgerError::Damaged(format!("secrets of webhook {id}: {error}")))?,
        failing_ms: row.try_get(6)?,
        disabled_ms: row.try_get(7)?,
        disabled_reason: row.try_get(8)?,
        created_ms: row.try_get(9)?,
        id,
    })
}

/// Writes the whole row, new or not.
pub async fn put(tx: &mut Tx, row: &WebhookRow) -> Result<(), LedgerError> {
    let text = format!(
        "INSERT INTO webhooks ({COLUMNS}) VALUES ({}) ON CONFLICT (id) DO UPDATE SET url = excluded.url, \
         events = excluded.events, description = excluded.description, secrets = excluded.secrets, \
         failing_ms = excluded.failing_ms, disabled_ms = excluded.disabled_ms, \
         disabled_reason = excluded.disabled_reason",
        sql::list_from(1, 10)
    );
    let secrets = serde_json::to_string(&row.secrets).expect("texts and numbers are always valid JSON");
    sqlx::query(AssertSqlSafe(text))
        .bind(row.id.clone())
        .bind(row.workspace.clone())
        .bind(row.url.clone())
        .bind(row.events.join(" "))
        .bind(row.description.clone())
        .bind(secrets)
        .bind(row.failing_ms)
        .bind(row.disabled_ms)
        .bind(row.disabled_reason.clone())
        .bind(row.created_ms)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// The webhook, locked until the transaction ends.
pub async fn lock(
    ledger: &Ledger,
    tx: &mut Tx,
    workspace: &str,
    id: &str,
) -> Result<Option<WebhookRow>, LedgerError> {
    let text =
        format!("SELECT {COLUMNS} FROM webhooks WHERE workspace = $1 AND id = $2{}", ledger.for_update());
    let query = sqlx::query(AssertSqlSafe(text)).bind(workspace.to_owned()).bind(id.to_owned());
    query.fetch_optional(&mut **tx).await?.as_ref().map(read).transpose()
}

pub async fn get(ledger: &Ledger, workspace: &str, id: &str) -> Result<Option<WebhookRow>, LedgerError> {
    let text = format!("SELECT {COLUMNS} FROM webhooks WHERE workspace = $1 AND id = $2");
    let query = sqlx::query(AssertSqlSafe(text)).bind(workspace.to_owned()).bind(id.to_owned());
    query.fetch_optional(&ledger.read).await?.as_ref().map(read).transpose()
}

/// By id, after `after`.
pub async fn list(
    ledger: &Ledger,
    workspace: &str,
    after: &str,
    limit: i64,
) -> Result<Vec<WebhookRow>, LedgerError> {
    let text =
        format!("SELECT {COLUMNS} FROM webhooks WHERE workspace = $1 AND id > $2 ORDER BY id LIMIT $3");
    let query =
        sqlx::query(AssertSqlSafe(text)).bind(workspace.to_owned()).bind(after.to_owned()).bind(limit);
    query.fetch_all(&ledger.read).await?.iter().map(read).collect()
}

/// Removes a webhook and what it was still to be told; whether it was there.
pub async fn delete(tx: &mut Tx, workspace: &str, id: &str) -> Result<bool, LedgerError> {
    let done = sqlx::query("DELETE FROM webhooks WHERE workspace = $1 AND id = $2")
        .bind(workspace.to_owned())
        .bind(id.to_owned())
        .execute(&mut **tx)
        .await?;
    if done.rows_affected() > 0 {
        sqlx::query("DELETE FROM webhook_messages WHERE webhook = $1")
            .bind(id.to_owned())
            .execute(&mut **tx)
            .await?;
    }
    Ok(done.rows_affected() > 0)
}

/// A webhook that is to be told of what happens.
#[derive(Debug, Clone)]
pub struct Subscriber {
    pub webhook: String,
    pub workspace: String,
    pub events: Vec<String>,
}

/// Who in these workspaces wants to know.
pub async fn subscribers(tx: &mut Tx, workspaces: &[&str]) -> Result<Vec<Subscriber>, LedgerError> {
    let mut subscribers = Vec::new();
    for workspaces in workspaces.chunks(500) {
        let text = format!(
            "SELECT id, workspace, events FROM webhooks WHERE disabled_ms IS NULL AND workspace IN ({}) ORDER BY id",
            sql::list_from(1, workspaces.len())
        );
        let mut query = sqlx::query(AssertSqlSafe(text));
        for workspace in workspaces {
            query = query.bind((*workspace).to_owned());
        }
        for row in query.fetch_all(&mut **tx).await? {
            let events: String = row.try_get(2)?;
            subscribers.push(Subscriber {
                webhook: row.try_get(0)?,
                workspace: row.try_get(1)?,
                events: events.split(' ').map(str::to_owned).collect(),
            });
        }
    }
    Ok(subscribers)
}

/// A message on its way into the outbox.
#[derive(Debug, Clone)]
pub struct NewMessage {
    pub id: String,
    pub webhook: String,
    pub workspace: String,
    pub event: String,
    pub body: String,
}

/// Lays messages into the outbox. They leave it once this transaction is committed.
pub async fn push(tx: &mut Tx, messages: &[NewMessage], now_ms: i64) -> Result<(), LedgerError> {
    for messages in messages.chunks(100) {
        let text = format!(
            "INSERT INTO webhook_messages (webhook, id, workspace, event, body, result, attempts, next_ms, created_ms) \
             VALUES {}",
            sql::values(tx, messages.len(), 9)
        );
        let mut query = sqlx::query(AssertSqlSafe(text));
        for message in messages {
            query = query
                .bind(message.webhook.clone())
                .bind(message.id.clone())
                .bind(message.workspace.clone())
                .bind(message.event.clone())
                .bind(message.body.clone())
                .bind("waiting")
                .bind(0i64)
                .bind(now_ms)
                .bind(now_ms);
        }
        query.execute(&mut **tx).await?;
    }
    Ok(())
}

/// Webhooks for which a message is due.
pub async fn due(ledger: &Ledger, now_ms: i64) -> Result<Vec<WebhookRow>, LedgerError> {
    let text = format!(
        "SELECT {COLUMNS} FROM webhooks w WHERE w.disabled_ms IS NULL AND EXISTS (SELECT 1 FROM webhook_messages m \
         WHERE m.webhook = w.id AND m.result = 'waiting' AND m.next_ms <= $1) ORDER BY w.id"
    );
    let query = sqlx::query(AssertSqlSafe(text)).bind(now_ms);
    query.fetch_all(&ledger.read).await?.iter().map(read).collect()
}

/// A message that this process is to send.
#[derive(Debug, Clone)]
pub struct Claimed {
    pub id: String,
    pub body: String,
    /// Before this one.
    pub attempts: i64,
    pub created_ms: i64,
}

/// Takes up to `limit` due messages. Until `lease_ms` nobody else does; what became of none of them by then, as
/// when this process died, is due again.
pub async fn claim(
    ledger: &Ledger,
    webhook: &str,
    now_ms: i64,
    lease_ms: i64,
    limit: i64,
) -> Result<Vec<Claimed>, LedgerError> {
    let mut tx = ledger.begin().await?;
    // Of two who read the same rows, the second finds them moved when it comes to write.
    let rows = sqlx::query(
        "UPDATE webhook_messages SET next_ms = $1 WHERE webhook = $2 AND result = 'waiting' AND next_ms <= $3 \
         AND id IN (SELECT id FROM webhook_messages WHERE webhook = $2 AND result = 'waiting' AND next_ms <= $3 \
           ORDER BY next_ms, id LIMIT $4) RETURNING id, body, attempts, created_ms",
    )
    .bind(lease_ms)
    .bind(webhook.to_owned())
    .bind(now_ms)
    .bind(limit)
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    rows.iter()
        .map(|row| {
            Ok(Claimed {
                id: row.try_get(0)?,
                body: row.try_get(1)?,
                attempts: row.try_get(2)?,
                created_ms: row.try_get(3)?,
            })
        })
        .collect()
}

/// What became of an attempt.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub webhook: String,
    pub message: String,
    /// The HTTP status, if there was an answer.
    pub status: Option<i64>,
    /// None: delivered.
    pub problem: Option<String>,
    pub then: Then,
}

/// What follows an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    Delivered,
    RetryAt(i64),
    Dead,
    /// Nothing is sent to the webhook any more, and the reason.
    Disable(String),
}

/// Writes what became of an attempt.
pub async fn settle(ledger: &Ledger, attempt: &Attempt, now_ms: i64) -> Result<(), LedgerError> {
    let mut tx = ledger.begin().await?;
    let (result, next_ms) = match &attempt.then {
        Then::Delivered => ("delivered", now_ms),
        Then::RetryAt(next_ms) => ("waiting", *next_ms),
        Then::Dead | Then::Disable(_) => ("dead", now_ms),
    };
    sqlx::query(
        "UPDATE webhook_messages SET result = $1, next_ms = $2, attempts = attempts + 1, status = $3, problem = $4, \
         settled_ms = $5 WHERE webhook = $6 AND id = $7 AND result = 'waiting'",
    )
    .bind(result)
    .bind(next_ms)
    .bind(attempt.status)
    .bind(attempt.problem.clone())
    .bind(now_ms)
    .bind(attempt.webhook.clone())
    .bind(attempt.message.clone())
    .execute(&mut *tx)
    .await?;
    let failing = match attempt.then {
        Then::Delivered => {
            "UPDATE webhooks SET failing_ms = NULL WHERE id = $1 AND failing_ms IS NOT NULL AND $2 > 0"
        }
        _ => "UPDATE webhooks SET failing_ms = $2 WHERE id = $1 AND failing_ms IS NULL",
    };
    sqlx::query(failing).bind(attempt.webhook.clone()).bind(now_ms).execute(&mut *tx).await?;
    if let Then::Disable(reason) = &attempt.then {
        disable(&mut tx, &attempt.webhook, reason, now_ms).await?;
    }
    tx.commit().await?;
    Ok(())
}

async fn disable(tx: &mut Tx, webhook: &str, reason: &str, now_ms: i64) -> Result<(), LedgerError> {
    sqlx::query(
        "UPDATE webhooks SET disabled_ms = $1, disabled_reason = $2 WHERE id = $3 AND disabled_ms IS NULL",
    )
    .bind(now_ms)
    .bind(reason.to_owned())
    .bind(webhook.to_owned())
    .execute(&mut **tx)
    .await?;
    sqlx::query(
        "UPDATE webhook_messages SET result = 'dead', settled_ms = $1, problem = COALESCE(problem, 'the webhook was disabled') \
         WHERE webhook = $2 AND result = 'waiting'",
    )
    .bind(now_ms)
    .bind(webhook.to_owned())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Forgets what was delivered and what is long dead, and disables webhooks for which too much waits.
pub async fn tidy(
    ledger: &Ledger,
    delivered_before_ms: i64,
    dead_before_ms: i64,
    waiting_max: i64,
    now_ms: i64,
) -> Result<(), LedgerError> {
    let mut tx = ledger.begin().await?;
    for (result, before_ms) in [("delivered", delivered_before_ms), ("dead", dead_before_ms)] {
        sqlx::query("DELETE FROM webhook_messages WHERE result = $1 AND settled_ms < $2")
            .bind(result)
            .bind(before_ms)
            .execute(&mut *tx)
            .await?;
    }
    let full = sqlx::query(
        "SELECT webhook FROM webhook_messages WHERE result = 'waiting' GROUP BY webhook HAVING COUNT(*) > $1",
    )
    .bind(waiting_max)
    .fetch_all(&mut *tx)
    .await?;
    for row in full {
        let webhook: String = row.try_get(0)?;
        let reason = format!("more than {waiting_max} messages waited to be taken");
        tracing::warn!(webhook, reason, "a webhook was disabled");
        disable(&mut tx, &webhook, &reason, now_ms).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// A message as people look at it.
#[derive(Debug, Clone)]
pub struct MessageRow {
    pub id: String,
    pub event: String,
    pub body: String,
    /// waiting | delivered | dead
    pub result: String,
    pub attempts: i64,
    pub next_ms: i64,
    pub status: Option<i64>,
    pub problem: Option<String>,
    pub created_ms: i64,
    pub settled_ms: Option<i64>,
}

/// Newest first.
pub async fn messages(
    ledger: &Ledger,
    webhook: &str,
    result: Option<&str>,
    before: Option<&str>,
    limit: i64,
) -> Result<Vec<MessageRow>, LedgerError> {
    let mut texts = vec![webhook.to_owned()];
    let mut conditions = String::from("webhook = $1");
    for (condition, value) in [("result =", result), ("id <", before)] {
        if let Some(value) = value {
            texts.push(value.to_owned());
            conditions.push_str(&format!(" AND {condition} ${}", texts.len()));
        }
    }
    let text = format!(
        "SELECT id, event, body, result, attempts, next_ms, status, problem, created_ms, settled_ms \
         FROM webhook_messages WHERE {conditions} ORDER BY id DESC LIMIT ${}",
        texts.len() + 1
    );
    let query = texts.into_iter().fold(sqlx::query(AssertSqlSafe(text)), |query, text| query.bind(text));
    let rows = query.bind(limit).fetch_all(&ledger.read).await?;
    rows.iter()
        .map(|row| {
            Ok(MessageRow {
                id: row.try_get(0)?,
                event: row.try_get(1)?,
                body: row.try_get(2)?,
                result: row.try_get(3)?,
                attempts: row.try_get(4)?,
                next_ms: row.try_get(5)?,
                status: row.try_get(6)?,
                problem: row.try_get(7)?,
                created_ms: row.try_get(8)?,
                settled_ms: row.try_get(9)?,
            })
        })
        .collect()
}

/// Makes dead messages due anew, one or (None) all; how many. They live as long as new ones do.
pub async fn replay(
    tx: &mut Tx,
    webhook: &str,
    message: Option<&str>,
    now_ms: i64,
) -> Result<u64, LedgerError> {
    let done = sqlx::query(
        "UPDATE webhook_messages SET result = 'waiting', next_ms = $1, created_ms = $1, settled_ms = NULL \
         WHERE webhook = $2 AND result = 'dead' AND ($3 = '' OR id = $3)",
    )
    .bind(now_ms)
    .bind(webhook.to_owned())
    .bind(message.unwrap_or_default().to_owned())
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected())
}

/// What was told of a conversion, as far as it decides whether there is news.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    pub status: Option<String>,
    /// Place, link and the sale's amounts by model of every credited touch.
    pub credits: Vec<(i64, Option<i64>, [i64; 5])>,
    /// Kind, refund id, signed amount, time.
    pub refunds: Vec<(String, Option<String>, i64, i64)>,
}

pub async fn standing(tx: &mut Tx, conversion: i64) -> Result<Standing, LedgerError> {
    let status = sqlx::query("SELECT status FROM conversions WHERE id = $1")
        .bind(conversion)
        .fetch_optional(&mut **tx)
        .await?
        .map(|row| row.try_get(0))
        .transpose()?
        .flatten();
    let credits = sqlx::query(
        "SELECT n, link, first_touch, last_touch, linear, time_decay, position_based FROM credits \
         WHERE conversion = $1 AND change_no = 0 ORDER BY n",
    )
    .bind(conversion)
    .fetch_all(&mut **tx)
    .await?;
    let refunds = sqlx::query(
        "SELECT kind, refund_id, amount_minor, at_ms FROM changes \
         WHERE conversion = $1 AND kind IN ('refund', 'cancelled') ORDER BY change_no",
    )
    .bind(conversion)
    .fetch_all(&mut **tx)
    .await?;
    let credit = |row: &AnyRow| -> Result<_, sqlx::Error> {
        let mut amounts = [0i64; 5];
        for (i, amount) in amounts.iter_mut().enumerate() {
            *amount = row.try_get(2 + i)?;
        }
        Ok((row.try_get(0)?, row.try_get(1)?, amounts))
    };
    let refund = |row: &AnyRow| -> Result<_, sqlx::Error> {
        Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))
    };
    Ok(Standing {
        status,
        credits: credits.iter().map(credit).collect::<Result<_, _>>()?,
        refunds: refunds.iter().map(refund).collect::<Result<_, _>>()?,
    })
}

/// Post and network of links' revisions: (link, revision, post, network).
pub async fn stands_for(
    tx: &mut Tx,
    links: &[i64],
) -> Result<Vec<(i64, i64, Option<String>, Option<String>)>, LedgerError> {
    let mut found = Vec::new();
    for links in links.chunks(500) {
        let text = format!(
            "SELECT link, revision, post, network FROM link_revisions WHERE link IN ({})",
            sql::list_from(1, links.len())
        );
        let query = links.iter().fold(sqlx::query(AssertSqlSafe(text)), |query, link| query.bind(*link));
        for row in query.fetch_all(&mut **tx).await? {
            found.push((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?));
        }
    }
    Ok(found)
}
