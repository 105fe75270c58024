//! API keys: `vx_<id>_<secret>`, of which only the SHA-256 of the secret is stored.

use std::time::Duration;

use aws_lc_rs::{digest, rand};
use chrono::{DateTime, Utc};
use serde::Serialize;
use subtle::ConstantTimeEq as _;

use super::{Result, Store, StoreError};
use crate::call::status::text_enum;
use crate::config::Secret;

/// Room for a prefix where an owner becomes part of a job's source.
pub const MAX_OWNER_CHARS: usize = 200;

text_enum! {
    /// What a key may do.
    Role {
        /// A person's live sessions.
        User = "user",
        /// Looks at calls and decides about them.
        Operator = "operator",
        /// A producer: sends messages.
        Service = "service",
    }
}

/// A key as it is given out: once, at creation.
#[derive(Debug)]
pub struct NewKey {
    pub id: String,
    /// The whole, `vx_<id>_<secret>`.
    pub key: Secret,
    pub expires_at: Option<DateTime<Utc>>,
}

/// A key without its secret.
#[derive(Debug, Clone, Serialize)]
pub struct KeyInfo {
    pub id: String,
    pub role: Role,
    pub owner: String,
    pub created_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
    pub last_used_at: Option<DateTime<Utc>>,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub key_id: String,
    pub role: Role,
    pub owner: String,
}

impl Store {
    /// Makes a key that works for `lifetime`, or for ever.
    pub async fn create_key(&self, role: Role, owner: &str, lifetime: Option<Duration>) -> Result<NewKey> {
        let chars = owner.chars().count();
        if !(1..=MAX_OWNER_CHARS).contains(&chars) || owner.chars().any(char::is_control) {
            return Err(StoreError::Refused(format!(
                "an owner has 1 to {MAX_OWNER_CHARS} printable characters, this one {chars}"
            )));
        }
        let (id, secret) = (random_hex::<8>()?, random_hex::<32>()?);
        self.unit(async {
            let mut conn = self.conn().await?;
            let expires_at = sqlx::query_scalar!(
                "insert into api_keys (id, secret_sha256, role, owner, expires_at)
                 values ($1, $2, $3, $4, clock_timestamp() + make_interval(secs => $5)) returning expires_at",
                id,
                &sha256(&secret)[..],
                role.as_str(),
                owner,
                lifetime.map(|lifetime| lifetime.as_secs_f64()),
            )
            .fetch_one(&mut *conn)
            .await?;
            conn.done();
            Ok(NewKey { key: Secret::new(format!("vx_{id}_{secret}")), id, expires_at })
        })
        .await
    }

    /// All keys, newest first.
    pub async fn list_keys(&self) -> Result<Vec<KeyInfo>> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let rows = sqlx::query!(
                "select id, role, owner, created_at, expires_at, revoked_at, last_used_at from api_keys order by created_at desc, id"
            )
            .fetch_all(&mut *conn)
            .await?;
            conn.done();
            rows.into_iter()
                .map(|row| {
                    Ok(KeyInfo {
                        id: row.id,
                        role: row.role.parse().map_err(StoreError::Refused)?,
                        owner: row.owner,
                        created_at: row.created_at,
                        expires_at: row.expires_at,
                        revoked_at: row.revoked_at,
                        last_used_at: row.last_used_at,
                    })
                })
                .collect()
        })
        .await
    }

    /// From now on the key opens nothing. `false`: there is no such key, or it was revoked before.
    pub async fn revoke_key(&self, id: &str) -> Result<bool> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let revoked = sqlx::query!(
                "update api_keys set revoked_at = clock_timestamp() where id = $1 and revoked_at is null",
                id
            )
            .execute(&mut *conn)
            .await?
            .rows_affected();
            conn.done();
            Ok(revoked == 1)
        })
        .await
    }

    /// Whose key this is; `None` where it is unknown, wrong, expired or revoked, which nobody outside can tell apart.
    pub async fn authenticate(&self, key: &str) -> Result<Option<Identity>> {
        let Some((id, secret)) = parts(key) else { return Ok(None) };
        self.unit(async {
            let mut conn = self.conn().await?;
            let row = sqlx::query!(
                r#"select secret_sha256, role, owner,
                       revoked_at is null and coalesce(expires_at > clock_timestamp(), true) as "usable!",
                       coalesce(last_used_at < clock_timestamp() - interval '1 minute', true) as "stale!"
                   from api_keys where id = $1"#,
                id,
            )
            .fetch_optional(&mut *conn)
            .await?;
            // An unknown id costs the same comparison.
            let stored = row.as_ref().map_or([0; 32].as_slice(), |row| &row.secret_sha256);
            let same: bool = sha256(secret).ct_eq(stored).into();
            let Some(row) = row.filter(|row| same && row.usable) else {
                conn.done();
                return Ok(None);
            };
            if row.stale {
                sqlx::query!("update api_keys set last_used_at = clock_timestamp() where id = $1", id)
                    .execute(&mut *conn)
                    .await?;
            }
            conn.done();
            let role = row.role.parse().map_err(StoreError::Refused)?;
            Ok(Some(Identity { key_id: id.to_owned(), role, owner: row.owner }))
        })
        .await
    }
}

/// `vx_<id>_<secret>` → id and secret.
fn parts(key: &str) -> Option<(&str, &str)> {
    let (id, secret) = key.strip_prefix("vx_")?.split_once('_')?;
    let id_fits = (8..=32).contains(&id.len()) && id.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9'));
    (id_fits && (16..=256).contains(&secret.len())).then_some((id, secret))
}

pub(super) fn sha256(text: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    hash
}

/// From the operating system's source: these are secrets, which a seeded source must not make.
pub(super) fn random_hex<const BYTES: usize>() -> Result<String> {
    use std::fmt::Write as _;
    let mut bytes = [0; BYTES];
    rand::fill(&mut bytes).map_err(|_| StoreError::Refused("the operating system gives no random numbers".into()))?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_three_parts() {
        assert_eq!(parts("vx_abcdef0123456789_0123456789abcdef"), Some(("abcdef0123456789", "0123456789abcdef")));
        for bad in [
            "",
            "vx_",
            "vx_abcdefgh",
            "vy_abcdefgh_0123456789abcdef",
            "vx_ABCDEFGH_0123456789abcdef",
            "vx_abcdefgh_short",
        ] {
            assert_eq!(parts(bad), None, "{bad}");
        }
    }

    #[test]
    fn made_keys_differ_and_parse() {
        let (one, two) = (random_hex::<32>().unwrap(), random_hex::<32>().unwrap());
        assert_ne!(one, two);
        assert!(parts(&format!("vx_{}_{one}", random_hex::<8>().unwrap())).is_some());
    }
}
