//! What a call costs by our own price table, for calls of which the platform tells no cost.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::money::Money;
use super::status::AttemptState;
use crate::config::{BilledBy, Costs};

/// The price table of one platform. All amounts are of `currency`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    pub currency: String,
    pub per_minute: Decimal,
    pub billed_by: BilledBy,
    /// Least price of a call that was answered, by a person or a machine; the fee per attempt comes on top.
    pub minimum: Decimal,
    /// Of every attempt that reached the line, answered or not.
    pub per_attempt: Decimal,
}

/// The price tables, by platform.
pub type Prices = BTreeMap<String, Price>;

/// The tables that the settings hold.
pub fn prices(costs: &BTreeMap<String, Costs>) -> Prices {
    costs.iter().filter_map(|(name, costs)| Some((name.clone(), Price::from_settings(costs)?))).collect()
}

/// Beyond this an estimate is no estimate, and would not fit the ledger's column.
const MOST: i64 = 90_000_000;

impl Price {
    /// `None` where the settings hold no price.
    pub fn from_settings(costs: &Costs) -> Option<Self> {
        Some(Self {
            currency: costs.currency.clone(),
            per_minute: costs.per_minute?,
            billed_by: costs.billed_by,
            minimum: costs.minimum.unwrap_or_default(),
            per_attempt: costs.per_attempt.unwrap_or_default(),
        })
    }

    /// What an attempt costs that ended in `outcome` after `seconds` of talk. `None`: it reached no line.
    pub fn of(&self, outcome: AttemptState, seconds: Option<u32>) -> Option<Money> {
        if !outcome.is_outcome() {
            return None;
        }
        let seconds = seconds.unwrap_or(0);
        let answered = seconds > 0 || matches!(outcome, AttemptState::Completed | AttemptState::Voicemail);
        let talk = self.talk(seconds);
        let cost = self.money(if answered { talk.max(self.minimum) } else { talk });
        Some(cost).filter(|cost| cost.amount < Decimal::from(MOST))
    }

    /// What an attempt is held for that may talk for so many minutes.
    pub fn reserve(&self, minutes: u32) -> Money {
        let reserve = self.money(self.talk(minutes.saturating_mul(60)).max(self.minimum));
        Money { amount: reserve.amount.min(Decimal::from(MOST)), ..reserve }
    }

    fn talk(&self, seconds: u32) -> Decimal {
        let unit = match self.billed_by {
            BilledBy::Minute => 60,
            BilledBy::Second => 1,
        };
        let billed = u64::from(seconds.div_ceil(unit)) * u64::from(unit);
        self.per_minute * Decimal::from(billed) / Decimal::from(60)
    }

    fn money(&self, talk: Decimal) -> Money {
        Money { amount: (talk + self.per_attempt).round_dp(6).normalize(), currency: self.currency.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use AttemptState::*;

    fn price(billed_by: BilledBy) -> Price {
        let amount = |text: &str| text.parse().unwrap();
        Price {
            currency: "USD".into(),
            per_minute: amount("0.09"),
            billed_by,
            minimum: amount("0.04"),
            per_attempt: amount("0.015"),
        }
    }

    #[test]
    fn started_units_count_whole_and_an_answered_call_costs_at_least_the_minimum() {
        for (billed_by, outcome, seconds, expected) in [
            (BilledBy::Minute, Completed, Some(60), "0.105"),
            (BilledBy::Minute, Completed, Some(61), "0.195"),
            (BilledBy::Second, Completed, Some(61), "0.1065"),
            (BilledBy::Second, Completed, Some(1), "0.055"),
            (BilledBy::Second, Completed, None, "0.055"),
            (BilledBy::Second, Voicemail, Some(0), "0.055"),
            (BilledBy::Minute, NoAnswer, None, "0.015"),
            (BilledBy::Minute, Failed, Some(0), "0.015"),
        ] {
            let cost = price(billed_by).of(outcome, seconds).unwrap();
            assert_eq!(cost.to_string(), format!("{expected} USD"), "{billed_by:?} {outcome} {seconds:?}");
        }
    }

    #[test]
    fn what_reached_no_line_costs_nothing() {
        for state in [Sending, NotSent, Refused, InDoubt, Absent, Unknown, Placed, Ringing, InProgress] {
            assert_eq!(price(BilledBy::Minute).of(state, Some(60)), None, "{state}");
        }
    }

    #[test]
    fn a_reserve_is_never_less_than_the_call_it_is_for() {
        for minutes in [0, 1, 5, 60] {
            let reserve = price(BilledBy::Second).reserve(minutes);
            let cost = price(BilledBy::Second).of(Completed, Some(minutes * 60)).unwrap();
            assert!(reserve.amount >= cost.amount, "{minutes}: {reserve} {cost}");
        }
    }

    #[test]
    fn nothing_overflows() {
        let dear = Price { per_minute: Decimal::from(1_000_000), ..price(BilledBy::Second) };
        assert_eq!(dear.of(Completed, Some(u32::MAX)), None);
        assert!(dear.reserve(u32::MAX).amount > Decimal::ZERO);
    }
}
