//! Live sessions of users. Every handler passes its caller's owner on; another's session is not there.

pub mod audio;
pub mod config;
pub mod sessions;
pub mod speech;

use http::header::{HeaderValue, RETRY_AFTER};

use super::errors::{Kind, Problem};
use crate::call::FieldError;
use crate::realtime::SessionError;
use crate::speech::{SpeechError, SpeechErrorKind};

impl From<SessionError> for Problem {
    fn from(error: SessionError) -> Self {
        let text = error.to_string();
        let later =
            |kind, seconds| Self::new(kind, text.clone()).with_header(RETRY_AFTER, HeaderValue::from_static(seconds));
        match error {
            SessionError::Missing(_) => Self::new(Kind::NotFound, text),
            SessionError::NotActive(_) => Self::new(Kind::SessionStatus, text),
            SessionError::OwnerFull(_) => later(Kind::TooManySessions, "30"),
            SessionError::AllFull(_) => later(Kind::Unavailable, "30"),
            SessionError::Busy => later(Kind::SessionBusy, "2"),
            SessionError::Stopping => later(Kind::Unavailable, "1"),
            SessionError::SpeechOff(_) => Self::new(Kind::SpeechOff, text),
            SessionError::Speech(error) => speech_problem(&error),
            SessionError::Store(error) => error.into(),
        }
    }
}

fn speech_problem(error: &SpeechError) -> Problem {
    let text = error.to_string();
    match error.kind {
        SpeechErrorKind::Request => Problem::invalid(vec![FieldError::new("", text)]),
        SpeechErrorKind::Busy | SpeechErrorKind::Unavailable => {
            tracing::warn!(engine = error.engine, detail = error.detail, "the speech engine is not available");
            Problem::new(Kind::Unavailable, text).with_header(RETRY_AFTER, HeaderValue::from_static("5"))
        }
        SpeechErrorKind::Account | SpeechErrorKind::Unreadable => {
            tracing::error!(engine = error.engine, detail = error.detail, "the speech engine failed");
            Problem::new(Kind::SpeechFailed, text)
        }
    }
}
