//! Why a request to SQS failed, sorted by what can be done about it.

use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};

/// A failed request. The text names the operation and the reason, never a body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SqsError {
    /// SQS said no and will say no again: a queue that is not there, no permission, a key that cannot be used, a value that
    /// is out of range.
    #[error("{operation}: {code}: {message}")]
    Refused { operation: &'static str, code: String, message: String },
    /// Too much at once; later will do.
    #[error("{operation}: throttled: {code}")]
    Throttled { operation: &'static str, code: String },
    /// No answer, or one that says nothing (time-out, connection, 5xx). The request may have been carried out.
    #[error("{operation}: {detail}")]
    Unreachable { operation: &'static str, detail: String, timed_out: bool },
}

impl SqsError {
    pub fn is_retryable(&self) -> bool {
        !matches!(self, SqsError::Refused { .. })
    }

    /// SQS's error code, where it gave one.
    pub fn code(&self) -> Option<&str> {
        match self {
            SqsError::Refused { code, .. } | SqsError::Throttled { code, .. } => Some(code),
            SqsError::Unreachable { .. } => None,
        }
    }

    /// For the label `result` of request metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            SqsError::Throttled { .. } => "throttled",
            SqsError::Unreachable { timed_out: true, .. } => "timeout",
            SqsError::Unreachable { .. } | SqsError::Refused { .. } => "error",
        }
    }

    pub(super) fn from_sdk<E>(operation: &'static str, error: SdkError<E>) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        match &error {
            SdkError::ServiceError(answer) => {
                let status = answer.raw().status().as_u16();
                let code = answer.err().code().unwrap_or("unknown error");
                // The older protocol's codes carry a prefix.
                let code = code.rsplit('.').next().unwrap_or(code);
                Self::from_answer(operation, status, code, answer.err().message().unwrap_or_default())
            }
            SdkError::TimeoutError(_) => {
                Self::Unreachable { operation, detail: "no answer in time".into(), timed_out: true }
            }
            SdkError::DispatchFailure(failure) => {
                Self::Unreachable { operation, detail: chain(&error), timed_out: failure.is_timeout() }
            }
            _ => Self::Unreachable { operation, detail: chain(&error), timed_out: false },
        }
    }

    /// From what an answer, or a failed entry of a batch, says.
    pub(super) fn from_answer(operation: &'static str, status: u16, code: &str, message: &str) -> Self {
        if is_throttle(code) || status == 429 {
            return Self::Throttled { operation, code: code.into() };
        }
        if status >= 500 {
            return Self::Unreachable { operation, detail: format!("HTTP {status} {code}"), timed_out: false };
        }
        Self::Refused { operation, code: code.into(), message: message.trim_end_matches('.').into() }
    }
}

fn is_throttle(code: &str) -> bool {
    matches!(
        code,
        "OverLimit"
            | "RequestThrottled"
            | "KmsThrottled"
            | "Throttling"
            | "ThrottlingException"
            | "ThrottledException"
            | "TooManyRequestsException"
            | "RequestLimitExceeded"
            | "SlowDown"
    )
}

/// The error and its causes in one line, each said once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut parts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        cause = error.source();
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_sorted_by_what_can_be_done() {
        let sorted = |status, code| SqsError::from_answer("receive", status, code, "text.");
        assert!(sorted(503, "ServiceUnavailable").is_retryable());
        assert!(sorted(400, "RequestThrottled").is_retryable());
        assert!(sorted(403, "OverLimit").is_retryable());
        assert!(!sorted(400, "QueueDoesNotExist").is_retryable());
        assert_eq!(sorted(403, "AccessDenied").to_string(), "receive: AccessDenied: text");
    }
}
