//! Stored voice configurations.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

use super::{Result, Store, StoreError};
use crate::call::VoiceConfig;

/// A voice configuration under its name.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct StoredConfig {
    pub name: String,
    pub config: VoiceConfig,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// Whether a name can be given: 1 to 128 letters, digits, `.`, `_`, `-`, not beginning with one of the last three.
pub fn is_config_name(name: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    name.len() <= 128
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && name.bytes().all(rest)
}

impl Store {
    /// By name, those after `after`.
    pub async fn list_configs(&self, after: &str, limit: i64) -> Result<Vec<StoredConfig>> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let rows = sqlx::query!(
                r#"select name, config, created_at, updated_at from voice_configs where name collate "C" > $1 order by name collate "C" limit $2"#,
                after,
                limit,
            )
            .fetch_all(&mut *conn)
            .await?;
            conn.done();
            rows.into_iter().map(|row| stored(row.name, row.config, row.created_at, row.updated_at)).collect()
        })
        .await
    }

    pub async fn get_config(&self, name: &str) -> Result<Option<StoredConfig>> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let row =
                sqlx::query!("select name, config, created_at, updated_at from voice_configs where name = $1", name)
                    .fetch_optional(&mut *conn)
                    .await?;
            conn.done();
            row.map(|row| stored(row.name, row.config, row.created_at, row.updated_at)).transpose()
        })
        .await
    }

    /// Stores a configuration under a name, in place of what stood there. Jobs accepted before keep what they took.
    ///
    /// Also says whether the name is new.
    pub async fn put_config(&self, name: &str, config: &VoiceConfig) -> Result<(StoredConfig, bool)> {
        let json = serde_json::to_value(config).map_err(|error| StoreError::Refused(error.to_string()))?;
        self.unit(async {
            let mut conn = self.conn().await?;
            let row = sqlx::query!(
                r#"insert into voice_configs as v (name, config) values ($1, $2)
                   on conflict (name) do update set config = excluded.config, updated_at = clock_timestamp()
                   returning v.name, v.config, v.created_at, v.updated_at, v.xmax = 0 as "is_new!""#,
                name,
                json,
            )
            .fetch_one(&mut *conn)
            .await?;
            conn.done();
            Ok((stored(row.name, row.config, row.created_at, row.updated_at)?, row.is_new))
        })
        .await
    }

    /// Whether there was one.
    pub async fn delete_config(&self, name: &str) -> Result<bool> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let deleted = sqlx::query!("delete from voice_configs where name = $1", name)
                .execute(&mut *conn)
                .await?
                .rows_affected();
            conn.done();
            Ok(deleted == 1)
        })
        .await
    }
}

fn stored(name: String, config: Value, created_at: DateTime<Utc>, updated_at: DateTime<Utc>) -> Result<StoredConfig> {
    let config = serde_json::from_value(config)
        .map_err(|error| StoreError::Refused(format!("voice configuration {name:?}: {error}")))?;
    Ok(StoredConfig { name, config, created_at, updated_at })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_fit_into_an_address() {
        for good in ["a", "appointment-reminder", "Welcome_2.1"] {
            assert!(is_config_name(good), "{good}");
        }
        for bad in ["", "-a", ".a", "a/b", "a b", "ä", &"a".repeat(129)] {
            assert!(!is_config_name(bad), "{bad}");
        }
    }
}
