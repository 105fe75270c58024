//! Money: a decimal amount with its currency. Never a float, never summed over currencies.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    pub amount: Decimal,
    /// ISO 4217, upper case.
    pub currency: String,
}

impl Money {
    pub fn usd(amount: Decimal) -> Self {
        Self { amount, currency: "USD".into() }
    }
}
