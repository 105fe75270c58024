//! Phone numbers: E.164, of a possible length for their country, masked wherever they are printed.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A valid E.164 number. `Debug` and `Display` are masked; [`PhoneNumber::as_e164`] gives the digits.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PhoneNumber(String);

impl PhoneNumber {
    /// Parses `+`, then 7 to 15 digits that do not begin with 0, with a country calling code that exists and a length
    /// that this country's numbers can have (libphonenumber's tables).
    pub fn parse(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix('+').ok_or("must begin with + and the country code (E.164)")?;
        if !(7..=15).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) || digits.starts_with('0') {
            return Err("must be + and 7 to 15 digits, the first not 0 (E.164)".into());
        }
        if !has_possible_length(digits)? {
            return Err(format!("has {} digits, which no number of its country has", digits.len()));
        }
        Ok(Self(text.to_owned()))
    }

    /// Takes a number that was validated before it was stored.
    pub fn from_trusted(text: String) -> Self {
        Self(text)
    }

    pub fn as_e164(&self) -> &str {
        &self.0
    }

    /// Country calling code, e.g. 1 or 44.
    pub fn calling_code(&self) -> Option<u16> {
        split_calling_code(&self.0[1..]).map(|(code, _)| code)
    }

    /// ISO 3166 region, e.g. `US`. A number whose area code is not assigned counts as of the main country of its calling
    /// code (libphonenumber's rule); `None` for numbers of no country (`+800`…).
    pub fn country(&self) -> Option<String> {
        let known = phonenumber::parse(None, &self.0).ok().and_then(|number| number.country().id());
        let region = match known {
            Some(id) => id.as_ref().to_owned(),
            None => phonenumber::metadata::DATABASE.region(&self.calling_code()?)?.first()?.to_string(),
        };
        (region != "001").then_some(region)
    }

    /// `+1415•••0123`: enough to recognise, too little to dial.
    pub fn masked(&self) -> String {
        mask(&self.0)
    }
}

/// Masks the middle of a number: the first five and the last two characters stay.
pub fn mask(number: &str) -> String {
    if number.len() <= 7 || !number.is_ascii() {
        return "•".repeat(number.chars().count());
    }
    format!("{}{}{}", &number[..5], "•".repeat(number.len() - 7), &number[number.len() - 2..])
}

fn split_calling_code(digits: &str) -> Option<(u16, &str)> {
    (1..=3).find_map(|n| {
        let code = digits.get(..n)?.parse().ok()?;
        phonenumber::metadata::DATABASE.by_code(&code).map(|_| (code, &digits[n..]))
    })
}

fn has_possible_length(digits: &str) -> Result<bool, String> {
    let (code, national) = split_calling_code(digits).ok_or("has a country calling code that does not exist")?;
    let regions = phonenumber::metadata::DATABASE.by_code(&code).unwrap_or_default();
    let length = national.len() as u16;
    Ok(regions.iter().any(|region| {
        let kinds = region.descriptors();
        let of_kind = [
            kinds.fixed_line(),
            kinds.mobile(),
            kinds.toll_free(),
            kinds.premium_rate(),
            kinds.shared_cost(),
            kinds.personal_number(),
            kinds.voip(),
            kinds.pager(),
            kinds.uan(),
            kinds.voicemail(),
        ];
        of_kind.into_iter().flatten().any(|kind| kind.possible_length().contains(&length))
    }))
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.masked())
    }
}

impl Serialize for PhoneNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PhoneNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(|problem| serde::de::Error::custom(format!("{:?} {problem}", mask(&text))))
    }
}

impl schemars::JsonSchema for PhoneNumber {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PhoneNumber".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string", "pattern": "^\\+[1-9][0-9]{6,14}$", "description": "E.164, of a possible length for its country"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_possible_length_are_taken() {
        for good in ["+14155550123", "+442071838750", "+4930123456", "+5511987654321", "+6591234567"] {
            assert!(PhoneNumber::parse(good).is_ok(), "{good}: {:?}", PhoneNumber::parse(good));
        }
    }

    #[test]
    fn what_cannot_be_a_number_is_refused_with_the_reason() {
        for (bad, says) in [
            ("4155550123", "must begin with +"),
            ("+0155550123", "first not 0"),
            ("+1415555", "which no number of its country has"),
            ("+141555501234", "which no number of its country has"),
            ("+1 415 555 0123", "digits"),
            ("+1415555O123", "digits"),
            ("+99912345678", "does not exist"),
            ("", "must begin with +"),
        ] {
            let problem = PhoneNumber::parse(bad).unwrap_err();
            assert!(problem.contains(says), "{bad}: {problem}");
        }
    }

    #[test]
    fn printing_masks() {
        let number = PhoneNumber::parse("+14155550123").unwrap();
        assert_eq!(format!("{number} {number:?}"), "+1415•••••23 +1415•••••23");
    }

    #[test]
    fn the_country_comes_from_the_number() {
        assert_eq!(PhoneNumber::parse("+14155550123").unwrap().country().as_deref(), Some("US"));
        assert_eq!(PhoneNumber::parse("+16135550123").unwrap().country().as_deref(), Some("CA"));
        assert_eq!(PhoneNumber::parse("+442071838750").unwrap().country().as_deref(), Some("GB"));
    }
}
