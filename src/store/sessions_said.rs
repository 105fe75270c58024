//! What was heard and said in sessions.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::{Result, Store, StoreError};
use crate::audio::Encoding;
use crate::session::{Speaker, SpokenWord, Transcript};

/// A recording that was heard.
#[derive(Debug)]
pub struct HeardChunk<'a> {
    pub encoding: Encoding,
    /// The bytes as they came.
    pub audio: &'a [u8],
    /// Whether those are kept.
    pub keep_audio: bool,
    pub duration_ms: u64,
    /// Sound is missing that the file promised.
    pub truncated: bool,
    pub transcript: &'a Transcript,
    pub engine: &'a str,
}

/// A chunk as it was stored.
#[derive(Debug, Clone, Copy)]
pub struct StoredChunk {
    pub chunk_id: Uuid,
    /// `None`: nothing was said.
    pub turn_id: Option<Uuid>,
}

/// What was spoken to the user.
#[derive(Debug)]
pub struct Spoken<'a> {
    pub text: &'a str,
    pub duration_ms: u64,
    pub language: &'a str,
    pub voice: Option<&'a str>,
    pub engine: &'a str,
}

/// A turn of a conversation.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Turn {
    pub turn_id: Uuid,
    /// From 1.
    pub n: i32,
    #[schema(value_type = Speaker)]
    pub speaker: String,
    pub text: String,
    /// The sound that it was heard in.
    pub chunk_id: Option<Uuid>,
    /// On the session's clock of sound; null where it is not part of that sound.
    pub start_ms: Option<i64>,
    pub end_ms: Option<i64>,
    pub duration_ms: i64,
    /// 0 to 1; null where the engine does not say.
    pub confidence: Option<f64>,
    /// On the session's clock of sound.
    #[schema(value_type = Vec<SpokenWord>)]
    pub words: Value,
    pub language: Option<String>,
    /// The person spoke, and the rest was not played.
    pub interrupted: bool,
    pub at: DateTime<Utc>,
}

impl Store {
    /// Stores a chunk, and a turn where something was said. `None`: the session has ended meanwhile, or is not this owner's.
    pub async fn store_chunk(&self, owner: &str, session: Uuid, chunk: &HeardChunk<'_>) -> Result<Option<StoredChunk>> {
        let transcript = chunk.transcript;
        let chunk_id = Uuid::now_v7();
        let turn_id = (!transcript.is_empty()).then(Uuid::now_v7);
        let duration_ms = whole(chunk.duration_ms);
        self.unit(async {
            let mut conn = self.conn().await?;
            let mut tx = sqlx::Connection::begin(&mut *conn).await?;
            let place = sqlx::query!(
                r#"update call_sessions set heard_ms = heard_ms + $3, chunks = chunks + 1, turns = turns + $4, last_active_at = clock_timestamp()
                   where id = $1 and owner = $2 and status in ('active', 'paused')
                   returning heard_ms - $3 as "start_ms!", chunks, turns"#,
                session,
                owner,
                duration_ms,
                i32::from(turn_id.is_some()),
            )
            .fetch_optional(&mut *tx)
            .await?;
            let Some(place) = place else {
                tx.rollback().await?;
                conn.done();
                return Ok(None);
            };
            sqlx::query!(
                "insert into audio_chunks (id, session_id, owner, n, source, format, bytes, start_ms, duration_ms, truncated,
                     transcription, confidence, words, language, engine, billed_ms, audio)
                 values ($1, $2, $3, $4, 'upload', $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
                chunk_id,
                session,
                owner,
                place.chunks,
                chunk.encoding.name(),
                whole(chunk.audio.len() as u64),
                place.start_ms,
                duration_ms,
                chunk.truncated,
                transcript.text,
                transcript.confidence,
                words(&transcript.words)?,
                transcript.language,
                chunk.engine,
                whole(transcript.billed_ms),
                chunk.keep_audio.then_some(chunk.audio),
            )
            .execute(&mut *tx)
            .await?;
            if let Some(turn_id) = turn_id {
                let said = transcript.end_ms.saturating_sub(transcript.start_ms);
                sqlx::query!(
                    "insert into conversation_turns (id, session_id, owner, n, speaker, text, chunk_id, start_ms, end_ms, duration_ms,
                         confidence, words, language, engine)
                     values ($1, $2, $3, $4, 'user', $5, $6, $7, $8, $9, $10, $11, $12, $13)",
                    turn_id,
                    session,
                    owner,
                    place.turns,
                    transcript.text,
                    chunk_id,
                    place.start_ms + whole(transcript.start_ms),
                    place.start_ms + whole(transcript.start_ms + said),
                    whole(said),
                    transcript.confidence,
                    words(&transcript.words_at(place.start_ms.unsigned_abs()))?,
                    transcript.language,
                    chunk.engine,
                )
                .execute(&mut *tx)
                .await?;
            }
            tx.commit().await?;
            conn.done();
            Ok(Some(StoredChunk { chunk_id, turn_id }))
        })
        .await
    }

    /// Stores what was spoken to the user; gives the turn's id. `None`: the session has ended meanwhile, or is not this
    /// owner's.
    pub async fn store_speech(&self, owner: &str, session: Uuid, spoken: &Spoken<'_>) -> Result<Option<Uuid>> {
        let id = Uuid::now_v7();
        self.unit(async {
            let mut conn = self.conn().await?;
            let stored = sqlx::query!(
                "with place as (
                     update call_sessions set turns = turns + 1, last_active_at = clock_timestamp()
                     where id = $2 and owner = $3 and status in ('active', 'paused') returning turns
                 )
                 insert into conversation_turns (id, session_id, owner, n, speaker, text, duration_ms, language, voice, engine)
                 select $1, $2, $3, turns, 'assistant', $4, $5, $6, $7, $8 from place",
                id,
                session,
                owner,
                spoken.text,
                whole(spoken.duration_ms),
                spoken.language,
                spoken.voice,
                spoken.engine,
            )
            .execute(&mut *conn)
            .await?
            .rows_affected();
            conn.done();
            Ok((stored == 1).then_some(id))
        })
        .await
    }

    /// The latest turns of a session, oldest first.
    pub async fn latest_turns(&self, owner: &str, session: Uuid, limit: i64) -> Result<Vec<Turn>> {
        self.unit(async {
            let mut conn = self.conn().await?;
            let mut turns = sqlx::query_as!(
                Turn,
                "select id as turn_id, n, speaker, text, chunk_id, start_ms, end_ms, duration_ms, confidence, words, language, interrupted, at
                 from conversation_turns where session_id = $1 and owner = $2 order by n desc limit $3",
                session,
                owner,
                limit,
            )
            .fetch_all(&mut *conn)
            .await?;
            conn.done();
            turns.reverse();
            Ok(turns)
        })
        .await
    }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn words(words: &[SpokenWord]) -> Result<Value> {
    serde_json::to_value(words).map_err(|error| StoreError::Refused(error.to_string()))
}
