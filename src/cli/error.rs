//! Why a command did not end well: one line on standard error, and the exit code.

use std::process::ExitCode;

use crate::app::Failure;
use crate::config::ConfigError;
use crate::queue::{ConnectError, ResolveError, SqsError};
use crate::store::StoreError;

/// The variants are the exit codes.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// 1
    #[error("{0}")]
    Failed(String),
    /// 2
    #[error("{0}")]
    Usage(String),
    /// 64: the text names the key, its source and the accepted values.
    #[error("{0}")]
    BadConfiguration(String),
    /// 69
    #[error("{0}")]
    Unavailable(String),
}

impl CommandError {
    fn code(&self) -> u8 {
        match self {
            CommandError::Failed(_) => 1,
            CommandError::Usage(_) => 2,
            CommandError::BadConfiguration(_) => 64,
            CommandError::Unavailable(_) => 69,
        }
    }

    /// Says it, and gives the code.
    pub(super) fn report(self) -> ExitCode {
        eprintln!("voxd: {self}");
        ExitCode::from(self.code())
    }
}

impl From<ConfigError> for CommandError {
    fn from(error: ConfigError) -> Self {
        Self::BadConfiguration(error.to_string())
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::Unavailable(error.to_string()),
            StoreError::NotDurable(_) | StoreError::NotMigrated(_) | StoreError::Refused(_) => {
                Self::Failed(error.to_string())
            }
        }
    }
}

impl From<SqsError> for CommandError {
    fn from(error: SqsError) -> Self {
        let text = format!("SQS: {error}");
        if error.is_retryable() { Self::Unavailable(text) } else { Self::Failed(text) }
    }
}

impl From<ResolveError> for CommandError {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::Bad(_) => Self::BadConfiguration(error.to_string()),
            ResolveError::Unavailable { queue, error } => match Self::from(error) {
                Self::Unavailable(text) => Self::Unavailable(format!("queue {queue}: {text}")),
                other => Self::Failed(format!("queue {queue}: {other}")),
            },
        }
    }
}

impl From<ConnectError> for CommandError {
    fn from(error: ConnectError) -> Self {
        Self::BadConfiguration(error.to_string())
    }
}

impl From<Failure> for CommandError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::BadConfiguration(text) => Self::BadConfiguration(text),
            Failure::Unavailable(text) => Self::Unavailable(text),
            Failure::Failed(text) => Self::Failed(text),
        }
    }
}

/// A panic is one line (in the log, where there is one), unless somebody asks for the whole by `RUST_BACKTRACE`.
pub(super) fn one_line_panics() {
    if std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
        return;
    }
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
        let text = text.unwrap_or("no text").replace('\n', " ");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        if tracing::dispatcher::has_been_set() {
            tracing::error!(place, "bug: {text}");
        } else {
            eprintln!("voxd: bug at {place}: {text} (RUST_BACKTRACE=1 shows the way there)");
        }
    }));
}
