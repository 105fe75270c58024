//! The webhook inbox: what platforms told, kept before anything is made of it, then applied exactly once.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::updates::{Applied, Teller, ToldBy, apply};
use super::{Result, Store, StoreError};
use crate::call::CallUpdate;

/// A webhook whose signature is good.
#[derive(Debug)]
pub struct NewWebhook<'a> {
    pub platform: &'a str,
    pub body: &'a [u8],
    pub verified_by: &'a str,
    /// From the address that the platform called, which no signature covers: it serves where the body names no attempt.
    pub address_attempt_id: Option<Uuid>,
    /// The body in our words, or why it could not be read.
    pub updates: std::result::Result<&'a [CallUpdate], &'a str>,
}

/// What keeping a webhook led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    New(Uuid),
    /// The same bytes came before; nothing changed.
    Repeat,
}

/// A webhook that was taken into account.
#[derive(Debug)]
pub struct AppliedWebhook {
    pub platform: String,
    pub received_at: DateTime<Utc>,
    /// In the order of the body.
    pub updates: Vec<(CallUpdate, Applied)>,
}

impl Store {
    /// Keeps a webhook, and a line in the timeline of the call that it is about, in one transaction.
    ///
    /// One that cannot be read, or says nothing, is done with at once.
    pub async fn keep_webhook(&self, webhook: &NewWebhook<'_>) -> Result<Kept> {
        let id = Uuid::now_v7();
        let updates = webhook.updates.unwrap_or_default();
        let in_body = updates.iter().find_map(|update| update.attempt_id);
        let platform_call_id = updates.iter().find_map(|update| update.platform_call_id.as_deref()).map(storable_text);
        let stored = match webhook.updates {
            Ok(updates) => {
                Some(storable(serde_json::to_value(updates).map_err(|error| StoreError::Refused(error.to_string()))?))
            }
            Err(_) => None,
        };
        let differs = in_body.is_some() && webhook.address_attempt_id.is_some_and(|address| Some(address) != in_body);
        let detail = json!({
            "inbox_id": id, "verified_by": webhook.verified_by, "updates": updates.len(),
            "address_attempt_id": webhook.address_attempt_id.filter(|_| differs),
        });
        self.unit(async {
            let mut conn = self.conn().await?;
            let kept = sqlx::query_scalar!(
                r#"
                with kept as (
                    insert into webhook_inbox (id, platform, body, verified_by, attempt_id, updates, applied_at, error, platform_call_id)
                    values ($1, $2, $3, $4, coalesce($5::uuid, $6), $7, case when $8 then clock_timestamp() end, $9, $10)
                    on conflict (platform, body_sha256) do nothing
                    returning id
                ), known as (
                    -- What the signed body names comes before what the address names.
                    select id, call_id from call_attempts
                    where platform = $2 and (id = coalesce($5, $6) or ($5 is null and platform_call_id = $10))
                    order by platform_call_id is not distinct from $10 desc, n desc limit 1
                ), noted as (
                    insert into call_events (call_id, attempt_id, kind, source, detail)
                    select known.call_id, known.id, 'webhook_received', 'webhook', jsonb_strip_nulls($11::jsonb) from known, kept
                )
                select id from kept
                "#,
                id,
                webhook.platform,
                webhook.body,
                webhook.verified_by,
                in_body,
                webhook.address_attempt_id,
                stored,
                updates.is_empty(),
                webhook.updates.err(),
                platform_call_id,
                detail,
            )
            .fetch_optional(&mut *conn)
            .await?;
            conn.done();
            Ok(kept.map_or(Kept::Repeat, Kept::New))
        })
        .await
    }

    /// Takes a kept webhook into account: all its updates in their order and the mark on its row, in one transaction.
    ///
    /// `None`: it was done before, another replica is at it, or it has to wait: it names only the platform's id of a call, and a
    /// create request is unanswered that may have made this call. `look_in` as in [`Store::apply`].
    pub async fn apply_webhook(&self, id: Uuid, look_in: Duration) -> Result<Option<AppliedWebhook>> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let mut tx = sqlx::Connection::begin(&mut *conn).await?;
            let Some(row) = sqlx::query!(
                "select platform, attempt_id, updates, received_at from webhook_inbox
                 where id = $1 and applied_at is null for update skip locked",
                id,
            )
            .fetch_optional(&mut *tx)
            .await?
            else {
                tx.commit().await?;
                conn.done();
                return Ok(None);
            };
            let told: Vec<CallUpdate> = serde_json::from_value(row.updates.unwrap_or_default())
                .map_err(|error| StoreError::Refused(format!("its updates cannot be read back: {error}")))?;
            let platform = row.platform.as_str();
            let teller = Teller { platform, told_by: ToldBy::Webhook, look_in, price: self.price_of(platform) };
            let mut updates = Vec::with_capacity(told.len());
            for mut update in told {
                let mut applied = apply(&mut tx, &update, teller).await?;
                if applied == Applied::NoSuchAttempt && update.attempt_id.is_none() && row.attempt_id.is_some() {
                    update.attempt_id = row.attempt_id;
                    applied = apply(&mut tx, &update, teller).await?;
                }
                updates.push((update, applied));
            }
            let attempt_id = updates.iter().find_map(|(_, applied)| applied.attempt_id());
            if attempt_id.is_none() && row.attempt_id.is_none() && wait_for_its_call(&mut tx, id).await? {
                tx.commit().await?;
                conn.done();
                return Ok(None);
            }
            sqlx::query!(
                "update webhook_inbox set applied_at = clock_timestamp(), attempt_id = coalesce($2, attempt_id), error = $3 where id = $1",
                id,
                attempt_id,
                updates.iter().find_map(|(_, applied)| applied.webhook_error()),
            )
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            conn.done();
            updates.iter().for_each(|(_, applied)| self.tell_of(applied));
            Ok(Some(AppliedWebhook { platform: row.platform, received_at: row.received_at, updates }))
        })
        .await
    }

    /// Kept webhooks that nobody took into account within `age`: what a crash left. Oldest first.
    pub async fn unapplied_webhooks(&self, age: Duration, limit: i64) -> Result<Vec<Uuid>> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let ids = sqlx::query_scalar!(
                "select id from webhook_inbox
                 where applied_at is null and greatest(received_at + make_interval(secs => $1), retry_at) < statement_timestamp()
                 order by received_at limit $2 for update skip locked",
                age.as_secs_f64(),
                limit,
            )
            .fetch_all(&mut *conn)
            .await?;
            conn.done();
            Ok(ids)
        })
        .await
    }

    /// Marks a webhook that the ledger refuses, so that it does not come up again. Its body stays for a person to look at.
    pub async fn give_up_webhook(&self, id: Uuid, error: &str) -> Result<()> {
        self.unit(async {
            let mut conn = self.conn().await?;
            sqlx::query!(
                "update webhook_inbox set applied_at = clock_timestamp(), error = $2 where id = $1 and applied_at is null",
                id,
                error,
            )
            .execute(&mut *conn)
            .await?;
            conn.done();
            Ok(())
        })
        .await
    }
}

/// Puts a webhook off that may come before the answer to its call's create request. False: it is nobody's, as far as can be
/// known now; should an attempt get its call's id later, the trigger `take_early_webhooks` opens it again.
///
/// The wait covers the moment in which that trigger has run but its transaction has not ended.
async fn wait_for_its_call(tx: &mut sqlx::PgConnection, id: Uuid) -> Result<bool> {
    let put_off = sqlx::query!(
        "update webhook_inbox w set retry_at = clock_timestamp() + greatest(clock_timestamp() - received_at, interval '1 second')
         where id = $1 and platform_call_id is not null and received_at > clock_timestamp() - interval '1 minute'
           and exists (select from call_attempts a where a.platform = w.platform and a.platform_call_id is null
                       and a.state in ('sending', 'in_doubt', 'unknown'))",
        id,
    )
    .execute(tx)
    .await?;
    Ok(put_off.rows_affected() > 0)
}

impl Applied {
    fn attempt_id(&self) -> Option<Uuid> {
        match self {
            Applied::Moved { attempt_id, .. }
            | Applied::Facts { attempt_id, .. }
            | Applied::Contradiction { attempt_id, .. } => Some(*attempt_id),
            Applied::NoSuchAttempt => None,
        }
    }

    fn webhook_error(&self) -> Option<&'static str> {
        match self {
            Applied::NoSuchAttempt => Some("no attempt of ours has this id"),
            Applied::Contradiction { .. } => Some("contradicts the ledger"),
            Applied::Moved { .. } | Applied::Facts { .. } => None,
        }
    }
}

/// Postgres cannot hold NUL in text or in `jsonb`, and a platform's words may.
pub(super) fn storable(value: Value) -> Value {
    match value {
        Value::String(text) if text.contains('\0') => Value::String(storable_text(&text)),
        Value::Array(items) => items.into_iter().map(storable).collect(),
        Value::Object(map) => map.into_iter().map(|(key, item)| (storable_text(&key), storable(item))).collect(),
        other => other,
    }
}

fn storable_text(text: &str) -> String {
    text.replace('\0', "\u{FFFD}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nul_is_taken_out_wherever_it_stands() {
        let value = json!({ "a\0": ["x\0y", { "b": "\0" }], "n": 1 });
        let clean = storable(value);
        assert_eq!(clean, json!({ "a\u{FFFD}": ["x\u{FFFD}y", { "b": "\u{FFFD}" }], "n": 1 }));
    }
}
