//! What follows an attempt that has ended, where something does.

use super::*;

/// The attempt after one that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// The call's retry policy covers the outcome.
    Retry(Duration),
    /// It was never dialled.
    Resend(Duration),
    /// It waited in the platform's queue until it might not be called any more, and was taken back.
    Withdrawn,
}

impl Again {
    pub(super) fn after(
        update: &CallUpdate,
        from: AttemptState,
        retry: Option<&RetryPolicy>,
        outcomes: i32,
        tries: i32,
    ) -> Option<Self> {
        use AttemptState::{Failed, InDoubt, Placed, Sending, Unknown};
        let state = update.state.filter(|state| state.is_outcome())?;
        // A phone that rang was dialled, whatever is said later.
        if let (Some(wait), Failed, Sending | InDoubt | Unknown | Placed) = (update.resend_after, state, from)
            && tries + 1 < MAX_SEND_TRIES
        {
            let doubled = wait.saturating_mul(1 << tries.clamp(0, 10));
            return Some(Again::Resend(doubled.min(LONGEST_RESEND_WAIT.max(wait))));
        }
        retry?.next_wait(state, outcomes as u32 + 1).map(Again::Retry)
    }

    pub(super) fn wait(self) -> Duration {
        match self {
            Again::Retry(wait) | Again::Resend(wait) => wait,
            // The next send asks when it may be.
            Again::Withdrawn => Duration::ZERO,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Again::Retry(_) => "retry",
            Again::Resend(_) => "resend",
            Again::Withdrawn => "withdrawn",
        }
    }
}
