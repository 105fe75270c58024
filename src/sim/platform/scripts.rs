//! Scripts: how a simulated platform answers a create request, how the call goes, and what becomes of its webhooks.
//!
//! A script set for a number at run time wins. Else the number's last four digits choose it:
//!
//! | digits | answer to the create request | | digits | the call, or its webhooks |
//! |---|---|---|---|---|
//! | 0110 | invalid number | | 0100 | completed |
//! | 0111 | do-not-call list | | 0101 | no answer |
//! | 0112 | 429, blacklisted for good | | 0102 | busy |
//! | 0113 | 429 | | 0103 | voicemail |
//! | 0114 | 429 with `Retry-After: 2` | | 0104 | blocked as spam (SIP 608) |
//! | 0115 | payment required | | 0105 | number not found (SIP 404) |
//! | 0116 | account blocked | | 0106 | unavailable (SIP 480) |
//! | 0117 | agent not found | | 0107 | completed, after an hour unless stopped |
//! | 0118 | 500 that is permanent | | 0108 | ends without a known status |
//! | 0119 | a proxy's 404 page | | 0109 | fails inside the platform |
//! | 0120 / 0121 | 500, no call / call made | | 0140 | webhooks lost |
//! | 0122 | 504, call made | | 0141 | webhooks doubled |
//! | 0123 / 0124 | hangs, no call / call made | | 0142 | webhooks late |
//! | 0125 / 0126 | reset, no call / call made | | 0143 | webhooks in the wrong order |
//! | 0127 | answer cut off, call made | | 0144 | webhooks before the create answer |
//! | 0128 | success without an id, call made | | 0145 | forged webhooks before the genuine ones |
//! | 0129 | redirect | | | |
//! | 0130 | slow answer | | | |
//! | 0131 / 0132 | ambiguous refusal, call made / no call | | | |
//! | 0133 | answer longer than 256 KiB, call made | | | |
//! | 0134 | a success that says that no call was made | | | |
//! | 0135 | refused: this number was called a moment ago | | | |
//!
//! A vendor that has no such answer says so ([`super::Simulator::plays`]) and accepts instead.
//!
//! Any other number takes its script from the weighted mix by the seed, the number and how often it was called; the
//! default mix is: completed.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

macro_rules! scripted {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vmeta])* $variant),+ }
        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
        }
    };
}

scripted! {
    /// How a create request is answered.
    Answer {
        #[default]
        Accepted,
        InvalidNumber,
        DoNotCall,
        Blacklisted,
        RateLimited,
        RateLimitedWithWait,
        PaymentRequired,
        AccountBlocked,
        AgentNotFound,
        PermanentServerError,
        ProxyPage,
        ServerErrorBefore,
        ServerErrorAfter,
        GatewayTimeoutAfter,
        HangBefore,
        HangAfter,
        ResetBefore,
        ResetAfter,
        CutOffAfter,
        NoIdAfter,
        Redirect,
        Slow,
        AmbiguousAfter,
        AmbiguousBefore,
        OverlongAfter,
        SaysNo,
        SameNumber,
    }
}

impl Answer {
    /// Whether a call is made, whatever is answered.
    pub fn makes_call(self) -> bool {
        use Answer::*;
        matches!(
            self,
            Accepted
                | ServerErrorAfter
                | GatewayTimeoutAfter
                | HangAfter
                | ResetAfter
                | CutOffAfter
                | NoIdAfter
                | Slow
                | AmbiguousAfter
                | OverlongAfter
        )
    }

    pub fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

scripted! {
    /// How a call that was made goes.
    Outcome {
        #[default]
        Completed,
        NoAnswer,
        Busy,
        Voicemail,
        SpamBlocked,
        NumberNotFound,
        Unavailable,
        EndsUnknown,
        PlatformFailure,
    }
}

impl Outcome {
    /// Whether somebody (or a machine) picks up.
    pub fn is_answered(self) -> bool {
        matches!(self, Outcome::Completed | Outcome::Voicemail)
    }
}

scripted! {
    /// What goes wrong with the webhooks of a call.
    WebhookFault {
        #[default]
        None,
        Lost,
        Doubled,
        Late,
        Reordered,
        BeforeAnswer,
        Forged,
    }
}

/// One call's script. Durations are those of a person's clock; the simulator's time scale is put on them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Script {
    pub answer: Answer,
    pub outcome: Outcome,
    pub webhook: WebhookFault,
    #[serde(with = "crate::config::duration")]
    pub ring: Duration,
    #[serde(with = "crate::config::duration")]
    pub talk: Duration,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            answer: Answer::default(),
            outcome: Outcome::default(),
            webhook: WebhookFault::default(),
            ring: Duration::from_secs(2),
            talk: Duration::from_secs(6),
        }
    }
}

impl Script {
    pub fn answering(answer: Answer) -> Self {
        Self { answer, ..Self::default() }
    }

    pub fn ending(outcome: Outcome) -> Self {
        Self { outcome, ..Self::default() }
    }

    pub fn with_webhooks(webhook: WebhookFault) -> Self {
        Self { webhook, ..Self::default() }
    }

    /// The table of the module's text.
    pub fn by_last_digits(number: &str) -> Option<Self> {
        let digits = number.len().checked_sub(4).and_then(|start| number.get(start..))?;
        TABLE.iter().find(|(known, _)| *known == digits).map(|(_, play)| play.script())
    }

    /// The table, for documentation and for tests that go through all of it.
    pub fn table() -> impl Iterator<Item = (&'static str, Script)> {
        TABLE.iter().map(|(digits, play)| (*digits, play.script()))
    }
}

enum Play {
    Answer(Answer),
    Outcome(Outcome),
    Long,
    Webhooks(WebhookFault),
}

impl Play {
    fn script(&self) -> Script {
        match self {
            Play::Answer(answer) => Script::answering(*answer),
            Play::Outcome(outcome) => Script::ending(*outcome),
            Play::Long => Script { talk: Duration::from_secs(3600), ..Script::default() },
            Play::Webhooks(fault) => Script::with_webhooks(*fault),
        }
    }
}

const TABLE: &[(&str, Play)] = &[
    ("0100", Play::Outcome(Outcome::Completed)),
    ("0101", Play::Outcome(Outcome::NoAnswer)),
    ("0102", Play::Outcome(Outcome::Busy)),
    ("0103", Play::Outcome(Outcome::Voicemail)),
    ("0104", Play::Outcome(Outcome::SpamBlocked)),
    ("0105", Play::Outcome(Outcome::NumberNotFound)),
    ("0106", Play::Outcome(Outcome::Unavailable)),
    ("0107", Play::Long),
    ("0108", Play::Outcome(Outcome::EndsUnknown)),
    ("0109", Play::Outcome(Outcome::PlatformFailure)),
    ("0110", Play::Answer(Answer::InvalidNumber)),
    ("0111", Play::Answer(Answer::DoNotCall)),
    ("0112", Play::Answer(Answer::Blacklisted)),
    ("0113", Play::Answer(Answer::RateLimited)),
    ("0114", Play::Answer(Answer::RateLimitedWithWait)),
    ("0115", Play::Answer(Answer::PaymentRequired)),
    ("0116", Play::Answer(Answer::AccountBlocked)),
    ("0117", Play::Answer(Answer::AgentNotFound)),
    ("0118", Play::Answer(Answer::PermanentServerError)),
    ("0119", Play::Answer(Answer::ProxyPage)),
    ("0120", Play::Answer(Answer::ServerErrorBefore)),
    ("0121", Play::Answer(Answer::ServerErrorAfter)),
    ("0122", Play::Answer(Answer::GatewayTimeoutAfter)),
    ("0123", Play::Answer(Answer::HangBefore)),
    ("0124", Play::Answer(Answer::HangAfter)),
    ("0125", Play::Answer(Answer::ResetBefore)),
    ("0126", Play::Answer(Answer::ResetAfter)),
    ("0127", Play::Answer(Answer::CutOffAfter)),
    ("0128", Play::Answer(Answer::NoIdAfter)),
    ("0129", Play::Answer(Answer::Redirect)),
    ("0130", Play::Answer(Answer::Slow)),
    ("0131", Play::Answer(Answer::AmbiguousAfter)),
    ("0132", Play::Answer(Answer::AmbiguousBefore)),
    ("0133", Play::Answer(Answer::OverlongAfter)),
    ("0134", Play::Answer(Answer::SaysNo)),
    ("0135", Play::Answer(Answer::SameNumber)),
    ("0140", Play::Webhooks(WebhookFault::Lost)),
    ("0141", Play::Webhooks(WebhookFault::Doubled)),
    ("0142", Play::Webhooks(WebhookFault::Late)),
    ("0143", Play::Webhooks(WebhookFault::Reordered)),
    ("0144", Play::Webhooks(WebhookFault::BeforeAnswer)),
    ("0145", Play::Webhooks(WebhookFault::Forged)),
];

/// Chooses the script of each create request.
pub struct ScriptBook {
    seed: u64,
    mix: Vec<(u32, Script)>,
    use_table: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    set: HashMap<String, VecDeque<Script>>,
    asked: HashMap<String, u64>,
}

impl ScriptBook {
    /// `mix` has weights; empty means: completed. Without `use_table` the last digits mean nothing (load tests, in which
    /// numbers are counted up).
    pub fn new(seed: u64, mix: Vec<(u32, Script)>, use_table: bool) -> Self {
        Self { seed, mix, use_table, state: Mutex::default() }
    }

    /// The number's requests play these scripts in order; the last one stays. An empty list takes the setting back.
    pub fn set(&self, number: &str, scripts: Vec<Script>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if scripts.is_empty() {
            state.set.remove(number);
        } else {
            state.set.insert(number.to_owned(), scripts.into());
        }
    }

    /// The script for the next request to this number.
    pub fn next(&self, number: &str) -> Script {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = state.asked.entry(number.to_owned()).or_default();
        *asked += 1;
        let time = *asked;
        if let Some(scripts) = state.set.get_mut(number) {
            let next = if scripts.len() > 1 { scripts.pop_front() } else { scripts.front().cloned() };
            return next.unwrap_or_default();
        }
        let by_digits = if self.use_table { Script::by_last_digits(number) } else { None };
        by_digits.unwrap_or_else(|| self.mixed(number, time))
    }

    fn mixed(&self, number: &str, time: u64) -> Script {
        let total: u64 = self.mix.iter().map(|(weight, _)| u64::from(*weight)).sum();
        if total == 0 {
            return Script::default();
        }
        let mut hasher = DefaultHasher::new();
        (self.seed, number, time).hash(&mut hasher);
        let mut left = hasher.finish() % total;
        for (weight, script) in &self.mix {
            match left.checked_sub(u64::from(*weight)) {
                Some(rest) => left = rest,
                None => return script.clone(),
            }
        }
        Script::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_script_wins_and_the_last_of_several_stays() {
        let book = ScriptBook::new(1, Vec::new(), true);
        let busy = || Script::ending(Outcome::Busy);
        assert_eq!(book.next("+14155550101").outcome, Outcome::NoAnswer);
        book.set("+14155550101", vec![busy(), Script::default()]);
        let played: Vec<_> = (0..3).map(|_| book.next("+14155550101").outcome).collect();
        assert_eq!(played, [Outcome::Busy, Outcome::Completed, Outcome::Completed]);
        book.set("+14155550101", Vec::new());
        assert_eq!(book.next("+14155550101").outcome, Outcome::NoAnswer);
    }

    #[test]
    fn the_mix_follows_weights_and_seed() {
        let mix = vec![(3, Script::default()), (1, Script::ending(Outcome::Busy))];
        let play = |seed| -> Vec<Outcome> {
            let book = ScriptBook::new(seed, mix.clone(), true);
            (0..400).map(|n| book.next(&format!("+1415556{n:04}")).outcome).collect()
        };
        let busy = play(7).iter().filter(|&&outcome| outcome == Outcome::Busy).count();
        assert!((50..150).contains(&busy), "{busy}");
        assert_eq!(play(7), play(7));
        assert_ne!(play(7), play(8));
    }

    #[test]
    fn every_answer_and_outcome_has_a_number() {
        let scripts: Vec<Script> = Script::table().map(|(_, script)| script).collect();
        for &answer in Answer::ALL {
            assert!(scripts.iter().any(|script| script.answer == answer), "{answer:?}");
        }
        for &outcome in Outcome::ALL {
            assert!(scripts.iter().any(|script| script.outcome == outcome), "{outcome:?}");
        }
        for &fault in WebhookFault::ALL {
            assert!(scripts.iter().any(|script| script.webhook == fault), "{fault:?}");
        }
    }
}
