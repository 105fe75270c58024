//! The states of calls and attempts, and the one table of their transitions.
//!
//! Forward jumps are legal (an early webhook may take `sending` straight to an outcome); backward moves never are. The
//! functions `legal_call_transition` and `legal_attempt_transition` in Postgres hold the same table, and a test compares.

macro_rules! text_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, ::serde::Serialize, ::serde::Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
        pub enum $name { $($(#[$vmeta])* #[serde(rename = $text)] $variant),+ }
        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            /// As it stands in the database, in JSON and in metric labels.
            pub const fn as_str(self) -> &'static str { match self { $($name::$variant => $text),+ } }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.pad(self.as_str()) }
        }
        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> ::std::result::Result<Self, String> {
                match text {
                    $($text => Ok($name::$variant),)+
                    _ => Err(format!("{text:?} is not one of {}", [$($text),+].join(", "))),
                }
            }
        }
    };
}
pub(crate) use text_enum;

text_enum! {
    /// Where a call stands.
    CallStatus {
        /// Taken from the queue or the API, not yet sent.
        Accepted = "accepted",
        /// Waits for a reason (`status_reason`) until `scheduled_for`.
        Scheduled = "scheduled",
        /// The right to send is spent: an attempt is committed, the request may be under way.
        Sending = "sending",
        /// A request went out and we cannot know whether it made a call.
        InDoubt = "in_doubt",
        /// Doubt that looking up did not settle; an operator decides.
        Unknown = "unknown",
        /// The platform accepted the call.
        Placed = "placed",
        Ringing = "ringing",
        InProgress = "in_progress",
        Completed = "completed",
        NoAnswer = "no_answer",
        Busy = "busy",
        Voicemail = "voicemail",
        Failed = "failed",
        Cancelled = "cancelled",
        /// Could never be sent: platform off, unknown voice configuration, a payload that the platform would refuse.
        Rejected = "rejected",
        /// `expires_at` passed before it was sent.
        Expired = "expired",
    }
}

text_enum! {
    /// Where one attempt to place a call stands.
    AttemptState {
        Sending = "sending",
        NotSent = "not_sent",
        Refused = "refused",
        InDoubt = "in_doubt",
        /// Looked up completely, twice, and not there.
        Absent = "absent",
        Unknown = "unknown",
        Placed = "placed",
        Ringing = "ringing",
        InProgress = "in_progress",
        Completed = "completed",
        NoAnswer = "no_answer",
        Busy = "busy",
        Voicemail = "voicemail",
        Failed = "failed",
        Cancelled = "cancelled",
    }
}

text_enum! {
    /// What the answer to a create-call request means.
    Verdict {
        /// Proven that no request was accepted: it may be sent again.
        NotSent = "not_sent",
        /// The platform said no.
        Refused = "refused",
        /// It may or may not have made a call.
        InDoubt = "in_doubt",
        Placed = "placed",
    }
}

impl CallStatus {
    /// A terminal status is never left.
    pub const fn is_terminal(self) -> bool {
        use CallStatus::*;
        matches!(self, Completed | NoAnswer | Busy | Voicemail | Failed | Cancelled | Rejected | Expired)
    }

    /// Not yet sent: may be cancelled without asking the platform.
    pub const fn is_unsent(self) -> bool {
        matches!(self, CallStatus::Accepted | CallStatus::Scheduled)
    }

    /// The one transition table of calls.
    pub const fn may_become(self, to: CallStatus) -> bool {
        use CallStatus::*;
        let outcome = matches!(to, Completed | NoAnswer | Busy | Voicemail | Failed | Cancelled);
        match self {
            Accepted => matches!(to, Scheduled | Sending | Rejected | Expired | Failed | Cancelled),
            // `scheduled` to a platform's state: a webhook disproves the absence that a redial was scheduled on.
            Scheduled => outcome || matches!(to, Sending | Rejected | Expired | Placed | Ringing | InProgress),
            Sending => outcome || matches!(to, Scheduled | Expired | InDoubt | Placed | Ringing | InProgress),
            InDoubt => outcome || matches!(to, Scheduled | Unknown | Placed | Ringing | InProgress),
            Unknown => outcome || matches!(to, Scheduled | Placed | Ringing | InProgress),
            // Back to `scheduled`: an outcome that the call's retry policy covers.
            Placed => outcome || matches!(to, Scheduled | Ringing | InProgress),
            Ringing => outcome || matches!(to, Scheduled | InProgress),
            InProgress => outcome || matches!(to, Scheduled),
            Completed | NoAnswer | Busy | Voicemail | Failed | Cancelled | Rejected | Expired => false,
        }
    }
}

impl AttemptState {
    pub const fn is_terminal(self) -> bool {
        use AttemptState::*;
        matches!(self, NotSent | Refused | Completed | NoAnswer | Busy | Voicemail | Failed | Cancelled)
    }

    /// May be a phone that rings or a person who talks, as far as we know: no second attempt beside it.
    pub const fn is_live(self) -> bool {
        use AttemptState::*;
        matches!(self, Sending | InDoubt | Unknown | Placed | Ringing | InProgress)
    }

    /// How a call ended, as a platform tells it.
    pub const fn is_outcome(self) -> bool {
        use AttemptState::*;
        matches!(self, Completed | NoAnswer | Busy | Voicemail | Failed | Cancelled)
    }

    /// The one transition table of attempts.
    pub const fn may_become(self, to: AttemptState) -> bool {
        use AttemptState::*;
        let outcome = to.is_outcome();
        match self {
            Sending => outcome || matches!(to, NotSent | Refused | InDoubt | Placed | Ringing | InProgress),
            InDoubt => outcome || matches!(to, Absent | Unknown | Placed | Ringing | InProgress),
            Unknown => outcome || matches!(to, Absent | Placed | Ringing | InProgress),
            // Proof of absence can be disproved by the platform itself.
            Absent => outcome || matches!(to, Placed | Ringing | InProgress),
            Placed => outcome || matches!(to, Ringing | InProgress),
            Ringing => outcome || matches!(to, InProgress),
            InProgress => outcome,
            NotSent | Refused | Completed | NoAnswer | Busy | Voicemail | Failed | Cancelled => false,
        }
    }

    /// The status that a call takes with this state of its attempt; `None` where the call's policy decides
    /// (`not_sent`, `refused`, `absent`).
    pub const fn call_status(self) -> Option<CallStatus> {
        Some(match self {
            AttemptState::Sending => CallStatus::Sending,
            AttemptState::InDoubt => CallStatus::InDoubt,
            AttemptState::Unknown => CallStatus::Unknown,
            AttemptState::Placed => CallStatus::Placed,
            AttemptState::Ringing => CallStatus::Ringing,
            AttemptState::InProgress => CallStatus::InProgress,
            AttemptState::Completed => CallStatus::Completed,
            AttemptState::NoAnswer => CallStatus::NoAnswer,
            AttemptState::Busy => CallStatus::Busy,
            AttemptState::Voicemail => CallStatus::Voicemail,
            AttemptState::Failed => CallStatus::Failed,
            AttemptState::Cancelled => CallStatus::Cancelled,
            AttemptState::NotSent | AttemptState::Refused | AttemptState::Absent => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_a_terminal_status() {
        for &from in CallStatus::ALL {
            for &to in CallStatus::ALL {
                assert!(!(from.is_terminal() && from.may_become(to)), "{from} -> {to}");
                assert!(!(from == to && from.may_become(to)), "{from} -> itself");
            }
        }
    }

    #[test]
    fn the_order_of_a_live_call_never_runs_backwards() {
        use AttemptState::*;
        let order = [Sending, Placed, Ringing, InProgress, Completed];
        for (i, &from) in order.iter().enumerate() {
            for (j, &to) in order.iter().enumerate() {
                assert_eq!(from.may_become(to), i < j, "{from} -> {to}");
            }
        }
    }

    #[test]
    fn names_parse_back() {
        for &status in CallStatus::ALL {
            assert_eq!(status.as_str().parse::<CallStatus>().unwrap(), status);
        }
        assert!("done".parse::<CallStatus>().unwrap_err().contains("completed"));
    }
}
