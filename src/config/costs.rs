//! Price tables and budgets. Amounts are decimals written as text: money is never a float.

use std::fmt;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What calls on one platform cost where it does not say so itself, and what they may cost.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Costs {
    /// ISO 4217, or the platform's own unit.
    pub currency: String,
    #[serde(with = "decimal")]
    #[schemars(with = "String")]
    pub per_minute: Option<Decimal>,
    pub billed_by: BilledBy,
    #[serde(with = "decimal")]
    #[schemars(with = "String")]
    pub minimum: Option<Decimal>,
    #[serde(with = "decimal")]
    #[schemars(with = "String")]
    pub per_attempt: Option<Decimal>,
    pub reserve_minutes: u32,
    #[serde(with = "decimal")]
    #[schemars(with = "String")]
    pub budget_per_day: Option<Decimal>,
    #[serde(with = "decimal")]
    #[schemars(with = "String")]
    pub budget_per_month: Option<Decimal>,
}

/// What is counted: each one started costs its whole price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BilledBy {
    Minute,
    Second,
}

/// What the calls of one `user.id` may cost where nobody set a budget of their own.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budgets {
    #[serde(with = "decimal")]
    #[schemars(with = "String")]
    pub user_per_day: Option<Decimal>,
    #[serde(with = "decimal")]
    #[schemars(with = "String")]
    pub user_per_month: Option<Decimal>,
    pub currency: String,
    #[serde(with = "super::duration")]
    #[schemars(with = "String")]
    pub look_again: std::time::Duration,
}

/// Amounts beyond this are typing errors, and would not fit the ledger's columns.
const MOST: i64 = 10_000_000;

/// A decimal of at most six places, e.g. `0.09`.
pub fn parse_amount(text: &str) -> Result<Decimal, String> {
    let amount = Decimal::from_str_exact(text.trim()).ok();
    let fits = |amount: &Decimal| {
        *amount >= Decimal::ZERO && *amount <= Decimal::from(MOST) && amount.normalize().scale() <= 6
    };
    amount
        .filter(fits)
        .ok_or_else(|| format!("{text:?} is not an amount, expected a decimal of at most six places such as \"0.09\""))
}

pub(super) mod decimal {
    use super::*;

    pub fn serialize<S: Serializer>(amount: &Option<Decimal>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&amount.map(|amount| amount.to_string()).unwrap_or_default())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Decimal>, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Option<Decimal>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an amount as text, such as \"0.09\" (money is never a float)")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                if text.trim().is_empty() { Ok(None) } else { parse_amount(text).map(Some).map_err(E::custom) }
            }
        }
        deserializer.deserialize_any(Text)
    }
}

impl Costs {
    pub(super) fn problem(&self) -> Option<(&'static str, String)> {
        if !is_currency(&self.currency) {
            return Some(("currency", currency_problem(&self.currency)));
        }
        let parts = [("minimum", self.minimum), ("per_attempt", self.per_attempt)];
        let budgets = [("budget_per_day", self.budget_per_day), ("budget_per_month", self.budget_per_month)];
        let without_price = parts.into_iter().chain(budgets).find(|(_, amount)| amount.is_some());
        if let (None, Some((key, _))) = (self.per_minute, without_price) {
            let problem = "needs per_minute, without which nobody knows what a call costs until the platform tells";
            return Some((key, problem.to_owned()));
        }
        None
    }
}

impl Budgets {
    pub(super) fn problem(&self) -> Option<(&'static str, String)> {
        if !is_currency(&self.currency) {
            return Some(("currency", currency_problem(&self.currency)));
        }
        self.look_again.is_zero().then(|| ("look_again", "is zero, expected a positive duration".to_owned()))
    }
}

/// Three to twelve capital letters.
pub fn is_currency(text: &str) -> bool {
    (3..=12).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

pub(super) fn currency_problem(text: &str) -> String {
    format!("{text:?} is not a currency, expected ISO 4217 such as USD, or the platform's own unit such as CREDITS")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_decimals_that_fit_the_ledger() {
        for (text, amount) in
            [("0.09", "0.09"), ("25", "25"), (" 1.50 ", "1.50"), ("0", "0"), ("0.0000010", "0.0000010")]
        {
            assert_eq!(parse_amount(text).unwrap().to_string(), amount);
        }
        for text in ["", "x", "-1", "0.0000001", "1e3", "10000001", "0,09", "NaN", "1 USD"] {
            assert!(parse_amount(text).unwrap_err().contains("expected a decimal"), "{text:?}");
        }
    }
}
