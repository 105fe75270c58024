//! Budgets: what calls may cost in a day and in a month (UTC). Pure.

use chrono::{DateTime, Datelike as _, Days, Months, NaiveTime, Utc};
use rust_decimal::Decimal;

use super::money::Money;
use super::status::text_enum;

text_enum! {
    Period { Day = "day", Month = "month" }
}

impl Period {
    /// When the period that `now` is in ends.
    pub fn end(self, now: DateTime<Utc>) -> DateTime<Utc> {
        let today = now.date_naive();
        let next = match self {
            Period::Day => today.checked_add_days(Days::new(1)),
            Period::Month => today.with_day(1).and_then(|first| first.checked_add_months(Months::new(1))),
        };
        next.unwrap_or(today).and_time(NaiveTime::MIN).and_utc()
    }
}

/// What somebody's calls may cost. `None`: as much as they do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    pub currency: String,
    pub per_day: Option<Decimal>,
    pub per_month: Option<Decimal>,
}

/// What of a budget is used: costs that are known, and what calls under way are counted as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    pub spent_today: Decimal,
    pub spent_this_month: Decimal,
    pub reserved_today: Decimal,
    pub reserved_this_month: Decimal,
}

/// Why a call does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Full {
    pub period: Period,
    pub limit: Decimal,
    pub spent: Decimal,
    pub reserved: Decimal,
    /// It would not fit either if no call were under way: it waits for the period's end.
    pub for_good: bool,
}

impl Budget {
    /// `None` where nothing is limited.
    pub fn new(currency: &str, per_day: Option<Decimal>, per_month: Option<Decimal>) -> Option<Self> {
        let limited = per_day.is_some() || per_month.is_some();
        limited.then(|| Self { currency: currency.to_owned(), per_day, per_month })
    }

    pub fn limits(&self) -> impl Iterator<Item = (Period, Decimal)> {
        let limits = [(Period::Month, self.per_month), (Period::Day, self.per_day)];
        limits.into_iter().filter_map(|(period, limit)| Some((period, limit?)))
    }

    /// Whether one more call fits that is counted as `reserve`; the longer period speaks first. What costs in another
    /// currency is no matter of this budget.
    pub fn refuses(&self, used: &Used, reserve: &Money) -> Option<Full> {
        if reserve.currency != self.currency {
            return None;
        }
        self.limits().find_map(|(period, limit)| {
            let (spent, reserved) = used.of(period);
            let full = spent + reserved + reserve.amount > limit;
            full.then(|| Full { period, limit, spent, reserved, for_good: spent + reserve.amount > limit })
        })
    }
}

impl Used {
    /// (spent, reserved)
    pub fn of(&self, period: Period) -> (Decimal, Decimal) {
        match period {
            Period::Day => (self.spent_today, self.reserved_today),
            Period::Month => (self.spent_this_month, self.reserved_this_month),
        }
    }

    pub fn reserve(&mut self, amount: Decimal) {
        self.reserved_today += amount;
        self.reserved_this_month += amount;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    fn usd(text: &str) -> Money {
        Money::usd(amount(text))
    }

    #[test]
    fn a_call_fits_up_to_the_limit_and_waits_for_what_holds_it() {
        let budget = Budget::new("USD", Some(amount("1")), Some(amount("10"))).unwrap();
        let mut used = Used { spent_today: amount("0.5"), spent_this_month: amount("0.5"), ..Used::default() };
        assert_eq!(budget.refuses(&used, &usd("0.5")), None);
        used.reserve(amount("0.3"));
        let full = budget.refuses(&used, &usd("0.3")).unwrap();
        assert_eq!((full.period, full.for_good), (Period::Day, false));
        assert!(budget.refuses(&used, &usd("0.6")).unwrap().for_good);
        used.spent_this_month = amount("9.9");
        assert_eq!(budget.refuses(&used, &usd("0.2")).unwrap().period, Period::Month);
        assert_eq!(budget.refuses(&used, &Money { currency: "CREDITS".into(), ..usd("500") }), None);
        assert_eq!(Budget::new("USD", None, None), None);
    }

    #[test]
    fn periods_end_at_midnight_utc() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        assert_eq!(Period::Day.end(at("2026-02-28T23:59:59Z")), at("2026-03-01T00:00:00Z"));
        assert_eq!(Period::Month.end(at("2026-12-31T00:00:00Z")), at("2027-01-01T00:00:00Z"));
    }
}
