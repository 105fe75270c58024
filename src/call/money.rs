//! Money: a decimal amount with its currency. Never a float, never summed over currencies.

use std::fmt;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Money {
    /// Decimal, as text.
    #[schema(value_type = String, example = "0.105")]
    pub amount: Decimal,
    /// ISO 4217, upper case; or the platform's own unit (`CREDITS`), which is a currency of its own.
    #[schema(example = "USD")]
    pub currency: String,
}

impl Money {
    pub fn usd(amount: Decimal) -> Self {
        Self { amount, currency: "USD".into() }
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount.normalize(), self.currency)
    }
}
