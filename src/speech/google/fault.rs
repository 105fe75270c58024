//! What an error of the API means, and what to do about it.
//!
//! Codes alone do not tell: `OUT_OF_RANGE` is Google's word for an old stream and tonic's for an answer that is too long,
//! `ABORTED` stands for an idle stream and for an old one. Texts as reported by users of the API.

use tonic::{Code, Status};

use crate::speech::{SpeechError, SpeechErrorKind};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub kind: FaultKind,
    /// Google's words.
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The stream was sent nothing for too long.
    Idle,
    /// The stream reached its greatest age.
    Old,
    /// Sound came faster than it is taken.
    Fast,
    /// The stream is over, nothing is wrong: a short model's end.
    Over,
    /// The token is not taken; another may be.
    Token,
    Error(SpeechErrorKind),
}

impl Fault {
    pub fn new(kind: FaultKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }

    /// Whether the same sound on a new stream may be heard.
    pub fn is_passing(&self) -> bool {
        match self.kind {
            FaultKind::Error(kind) => kind.is_passing() && kind != SpeechErrorKind::Unreadable,
            _ => true,
        }
    }

    pub fn error(&self) -> SpeechError {
        let kind = match self.kind {
            FaultKind::Error(kind) => kind,
            FaultKind::Token => SpeechErrorKind::Account,
            FaultKind::Idle | FaultKind::Old | FaultKind::Fast | FaultKind::Over => SpeechErrorKind::Unavailable,
        };
        SpeechError { engine: super::NAME, kind, detail: self.detail.clone() }
    }
}

impl From<&Status> for Fault {
    fn from(status: &Status) -> Self {
        let text = status.message();
        let says = |part: &str| text.contains(part);
        let error = FaultKind::Error;
        let kind = match status.code() {
            Code::Aborted if says("no more client requests") => FaultKind::Idle,
            Code::Aborted if says("Max duration") => FaultKind::Old,
            Code::OutOfRange if says("message length too large") => error(SpeechErrorKind::Unreadable),
            Code::OutOfRange if says("Audio Timeout") => FaultKind::Idle,
            Code::OutOfRange if says("too fast") => FaultKind::Fast,
            Code::OutOfRange if says("maximum allowed stream duration") => FaultKind::Old,
            Code::Ok | Code::Cancelled => FaultKind::Over,
            Code::Unauthenticated => FaultKind::Token,
            Code::PermissionDenied => error(SpeechErrorKind::Account),
            Code::ResourceExhausted => error(SpeechErrorKind::Busy),
            Code::InvalidArgument
            | Code::NotFound
            | Code::FailedPrecondition
            | Code::AlreadyExists
            | Code::OutOfRange
            | Code::Unimplemented => error(SpeechErrorKind::Request),
            Code::Aborted
            | Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Internal
            | Code::Unknown
            | Code::DataLoss => error(SpeechErrorKind::Unavailable),
        };
        // A status made of a broken connection has its reason further inside.
        let inner = std::error::Error::source(status).map(crate::text::causes);
        let detail = match inner {
            Some(inner) if !inner.is_empty() => format!("{:?}: {text}: {inner}", status.code()),
            _ => format!("{:?}: {text}", status.code()),
        };
        Self { kind, detail: detail.chars().take(500).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_texts_are_told_apart() {
        use SpeechErrorKind::{Account, Busy, Request, Unavailable, Unreadable};
        let error = FaultKind::Error;
        for (code, text, kind) in [
            (Code::Aborted, "Stream timed out after receiving no more client requests.", FaultKind::Idle),
            (Code::Aborted, "Max duration of 5 minutes reached for stream.", FaultKind::Old),
            (Code::Aborted, "Something else.", error(Unavailable)),
            (
                Code::OutOfRange,
                "Audio Timeout Error: Long duration elapsed without audio. Audio should be sent close to real time.",
                FaultKind::Idle,
            ),
            (Code::OutOfRange, "Exceeded maximum allowed stream duration of 305 seconds.", FaultKind::Old),
            (
                Code::OutOfRange,
                "Error, decoded message length too large: found 5000000 bytes, the limit is: 4194304 bytes",
                error(Unreadable),
            ),
            (
                Code::OutOfRange,
                "Audio data is being streamed too fast. Please stream audio data approximately at real time.",
                FaultKind::Fast,
            ),
            (Code::InvalidArgument, "The model \"m\" does not exist in the location named \"l\".", error(Request)),
            (Code::PermissionDenied, "API disabled", error(Account)),
            (Code::Unauthenticated, "expired", FaultKind::Token),
            (Code::ResourceExhausted, "quota", error(Busy)),
            (Code::Unavailable, "408:Request Timeout", error(Unavailable)),
            (Code::Cancelled, "", FaultKind::Over),
        ] {
            assert_eq!(Fault::from(&Status::new(code, text)).kind, kind, "{code:?} {text}");
        }
    }

    #[test]
    fn an_unknown_detail_does_not_disturb() {
        let status =
            Status::with_details(Code::Aborted, "Max duration of 5 minutes", bytes::Bytes::from_static(b"\xff\xfe"));
        assert_eq!(Fault::from(&status).kind, FaultKind::Old);
    }
}
