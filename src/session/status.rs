//! The states of sessions, and the one table of their transitions; `legal_session_transition` in Postgres holds the same.

use crate::call::status::text_enum;

text_enum! {
    /// Where a session stands.
    SessionStatus {
        Active = "active",
        /// Nobody listens; the time does not count.
        Paused = "paused",
        Ended = "ended",
        /// It could not go on: the replica that held it died.
        Failed = "failed",
    }
}

text_enum! {
    /// Who said something.
    Speaker {
        User = "user",
        Assistant = "assistant",
    }
}

text_enum! {
    /// Why a session ended.
    EndReason {
        /// Its client said so.
        Client = "client",
        /// `sessions.idle_timeout` without a sound or a command.
        Idle = "idle",
        /// `sessions.longest_session`.
        TooLong = "too_long",
        /// The replica that held it was stopped in order.
        ReplicaStopped = "replica_stopped",
        /// The replica that held it died.
        ReplicaLost = "replica_lost",
    }
}

impl SessionStatus {
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Active | Self::Paused)
    }

    /// The one transition table of sessions.
    pub const fn may_become(self, to: Self) -> bool {
        match self {
            Self::Active => matches!(to, Self::Paused | Self::Ended | Self::Failed),
            Self::Paused => matches!(to, Self::Active | Self::Ended | Self::Failed),
            Self::Ended | Self::Failed => false,
        }
    }
}
