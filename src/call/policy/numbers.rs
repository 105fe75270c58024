//! Which numbers are never called: by country, and by kind (libphonenumber's number types).

use phonenumber::Type;

use super::Refusal;
use crate::call::PhoneNumber;
use crate::call::status::text_enum;

text_enum! {
    /// A kind of number that can be refused.
    NumberKind {
        /// The called party is paid by the minute; in North America also the 976 exchanges.
        PremiumRate = "premium_rate",
        /// Both sides pay.
        SharedCost = "shared_cost",
        /// Emergency and service codes: N11 as an area code of +1 (some carriers take +1 911… for 911), and numbers of the
        /// short lengths that such codes have.
        Emergency = "emergency",
        TollFree = "toll_free",
        PersonalNumber = "personal_number",
        Pager = "pager",
        /// Company-wide access numbers.
        Uan = "uan",
        /// Voice-mail access numbers.
        Voicemail = "voicemail",
        /// Of no kind that libphonenumber's table knows: an area code that is not assigned, or was not when the table was made.
        Unassigned = "unassigned",
    }
}

/// Nobody's telephone has so few digits after the country code, where the country's numbers have more.
const SHORT: usize = 5;

/// The kind, where it is one that can be refused: ordinary lines are `None`.
pub fn kind(number: &PhoneNumber) -> Option<NumberKind> {
    let digits = &number.as_e164()[1..];
    if let Some(national) = digits.strip_prefix('1')
        && national.len() == 10
    {
        if national[1..3] == *"11" {
            return Some(NumberKind::Emergency);
        }
        if national[3..6] == *"976" {
            return Some(NumberKind::PremiumRate);
        }
    }
    let parsed = phonenumber::parse(None, number.as_e164()).ok();
    let kind = parsed.as_ref().map(|parsed| parsed.number_type(&phonenumber::metadata::DATABASE));
    match kind {
        Some(Type::PremiumRate) => Some(NumberKind::PremiumRate),
        Some(Type::SharedCost) => Some(NumberKind::SharedCost),
        Some(Type::Emergency | Type::ShortCode) => Some(NumberKind::Emergency),
        Some(Type::TollFree) => Some(NumberKind::TollFree),
        Some(Type::PersonalNumber) => Some(NumberKind::PersonalNumber),
        Some(Type::Pager) => Some(NumberKind::Pager),
        Some(Type::Uan) => Some(NumberKind::Uan),
        Some(Type::Voicemail) => Some(NumberKind::Voicemail),
        Some(Type::Unknown) | None => {
            let code = number.calling_code().map_or(0, |code| code.to_string().len());
            let short = digits.len() - code.min(digits.len()) <= SHORT;
            Some(if short { NumberKind::Emergency } else { NumberKind::Unassigned })
        }
        Some(_) => None,
    }
}

/// Why this number is never called, where it is not.
pub fn refusal(number: &PhoneNumber, countries: &[String], kinds: &[NumberKind]) -> Option<Refusal> {
    let country = number.country();
    if !country.as_ref().is_some_and(|country| countries.contains(country)) {
        let country = country.as_deref().unwrap_or("no country");
        let detail = format!("the number is of {country}; policy.countries allows {}", countries.join(", "));
        return Some(Refusal::new("country_not_allowed", detail));
    }
    let kind = kind(number).filter(|kind| kinds.contains(kind))?;
    let detail = format!("the number is of the kind {kind}, which policy.refuse_numbers names");
    Some(Refusal::new("number_not_allowed", detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(number: &str) -> Option<NumberKind> {
        kind(&PhoneNumber::parse(number).unwrap())
    }

    #[test]
    fn numbers_that_cost_or_alarm_are_told_from_ordinary_ones() {
        use NumberKind::*;
        for (number, expected) in [
            ("+14155550123", None),
            ("+16135550123", None),
            ("+4930123456", None),
            ("+4915123456789", None),
            ("+442071838750", None),
            ("+19005550123", Some(PremiumRate)),
            ("+14159760123", Some(PremiumRate)),
            ("+449098790123", Some(PremiumRate)),
            ("+491805123456", Some(SharedCost)),
            ("+19115550123", Some(Emergency)),
            ("+14115550123", Some(Emergency)),
            ("+18005550123", Some(TollFree)),
            ("+15005550123", Some(PersonalNumber)),
            ("+19995550123", Some(Unassigned)),
        ] {
            assert_eq!(kind_of(number), expected, "{number}");
        }
    }

    #[test]
    fn the_country_comes_first_then_the_kind() {
        let countries = ["US".to_owned()];
        let reason = |number: &str| {
            let number = PhoneNumber::parse(number).unwrap();
            refusal(&number, &countries, &[NumberKind::PremiumRate]).map(|refusal| refusal.reason)
        };
        assert_eq!(reason("+4930123456"), Some("country_not_allowed"));
        assert_eq!(reason("+19005550123"), Some("number_not_allowed"));
        assert_eq!((reason("+14155550123"), reason("+18005550123")), (None, None));
    }
}
