//! What nobody is to read in a call's story: phone numbers, unless they are asked for, and secrets, ever.

use std::ops::Range;

use serde_json::Value;
use url::Url;

use crate::call::{PhoneNumber, phone};
use crate::store::read::Numbers;

const SECRET: &str = "[secret]";
/// Digits of an E.164 number, at least and at most.
const E164_DIGITS: [usize; 2] = [7, 15];
/// As it stands in text, and in a form.
const PLUSES: [&str; 2] = ["+", "%2B"];
/// A part of an address that is no word of any language.
const TOKEN_CHARS: usize = 20;

/// What is masked in one call's story.
pub(super) struct Mask {
    numbers: Numbers,
    /// The call's own numbers: digits without the country's code, and the number as it is shown.
    known: Vec<(String, String)>,
    /// Secrets of this process.
    secrets: Vec<String>,
}

impl Mask {
    pub fn new(
        numbers: Numbers,
        own_numbers: impl IntoIterator<Item = String>,
        secrets: impl IntoIterator<Item = String>,
    ) -> Self {
        let known = own_numbers.into_iter().map(|number| (national(&number), phone::mask(&number)));
        Self {
            numbers,
            known: known.filter(|(digits, _)| digits.len() >= E164_DIGITS[0]).collect(),
            secrets: secrets.into_iter().filter(|secret| secret.len() >= 8).collect(),
        }
    }

    pub fn number(&self, number: &str) -> String {
        match self.numbers {
            Numbers::Masked => phone::mask(number),
            Numbers::Full => number.to_owned(),
        }
    }

    pub fn text(&self, text: &str) -> String {
        let mut shown = text.to_owned();
        for secret in &self.secrets {
            shown = shown.replace(secret, SECRET);
        }
        if self.numbers == Numbers::Full { shown } else { self.without_numbers(&shown) }
    }

    pub fn some(&self, text: &mut Option<String>) {
        if let Some(text) = text {
            *text = self.text(text);
        }
    }

    /// All that is text in it; under a key that names a secret, and under `headers`, whatever stands there.
    pub fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(&self.address(text)),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(map) => {
                map.iter_mut().for_each(|(key, item)| if holds_secrets(key) { hide(item) } else { self.value(item) })
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// An address without what gives access: user and password, the values of its query, parts of its path that are tokens.
    /// Other text as it is.
    pub fn address(&self, text: &str) -> String {
        let parsed = ["http://", "https://", "ws://", "wss://"].iter().any(|scheme| text.starts_with(scheme));
        let Some(mut url) = parsed.then(|| Url::parse(text).ok()).flatten() else { return text.to_owned() };
        let keys: Vec<String> = url.query_pairs().map(|(key, _)| key.into_owned()).collect();
        let tokens: Vec<String> =
            url.path_segments().into_iter().flatten().filter(|part| is_token(part)).map(str::to_owned).collect();
        if keys.is_empty() && tokens.is_empty() && url.username().is_empty() && url.password().is_none() {
            return text.to_owned();
        }
        // Only an address without a host refuses these.
        let _ = (url.set_username(""), url.set_password(None));
        url.set_query(None);
        let fragment = url.fragment().map(|fragment| format!("#{fragment}")).unwrap_or_default();
        url.set_fragment(None);
        let mut shown = String::from(url);
        for token in tokens {
            shown = shown.replace(&token, SECRET);
        }
        let query: Vec<String> = keys.iter().map(|key| format!("{key}={SECRET}")).collect();
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        format!("{shown}{query}{fragment}")
    }

    fn without_numbers(&self, text: &str) -> String {
        let mut shown = String::with_capacity(text.len());
        let mut rest = 0;
        for range in runs(text) {
            let run = &text[range.clone()];
            let international = PLUSES.iter().find_map(|plus| run.strip_prefix(plus));
            let digits: String = international.unwrap_or(run).chars().filter(char::is_ascii_digit).collect();
            let known = self.known.iter().find(|(national, _)| digits.contains(national.as_str()));
            let possible = international.is_some() && digits.len() >= E164_DIGITS[0] && !digits.starts_with('0');
            let masked = match known {
                Some((_, masked)) => masked.clone(),
                None if possible => phone::mask(&format!("+{}", &digits[..digits.len().min(E164_DIGITS[1])])),
                None => continue,
            };
            shown.push_str(&text[rest..range.start]);
            shown.push_str(&masked);
            rest = range.end;
        }
        shown.push_str(&text[rest..]);
        shown
    }
}

/// Stretches of digits with what people write between them (`+1 (415) 555-0123`), a leading `+` included.
fn runs(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let plus = PLUSES.iter().find(|plus| text[..at].ends_with(**plus)).map_or(0, |plus| plus.len());
        let start = at - plus;
        let (mut end, mut next) = (at, at);
        while next < bytes.len() && (bytes[next].is_ascii_digit() || b" -().".contains(&bytes[next])) {
            if bytes[next].is_ascii_digit() {
                end = next + 1;
            }
            next += 1;
        }
        found.push(start..end);
        at = end;
    }
    found
}

fn national(number: &str) -> String {
    let digits = number.trim_start_matches('+');
    let code = PhoneNumber::from_trusted(number.to_owned()).calling_code().map(|code| code.to_string());
    code.and_then(|code| digits.strip_prefix(code.as_str())).unwrap_or(digits).to_owned()
}

fn holds_secrets(key: &str) -> bool {
    let key: String = key.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let inside = ["secret", "password", "passwd", "apikey", "privatekey", "encryptedkey", "authorization"];
    inside.iter().any(|word| key.contains(word)) || key.ends_with("token") || key.ends_with("headers")
}

fn hide(value: &mut Value) {
    match value {
        Value::String(text) if text.is_empty() => {}
        Value::String(text) => SECRET.clone_into(text),
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::Object(map) => map.values_mut().for_each(hide),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Long, with letters and digits, and no id of ours.
fn is_token(part: &str) -> bool {
    let has = |of: fn(&u8) -> bool| part.as_bytes().iter().any(of);
    part.len() >= TOKEN_CHARS
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_alphabetic)
        && part.parse::<uuid::Uuid>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn mask(numbers: Numbers) -> Mask {
        Mask::new(numbers, ["+14155550123".to_owned()], ["org_secret_key".to_owned()])
    }

    #[test]
    fn numbers_are_masked_however_they_are_written() {
        let mask = mask(Numbers::Masked);
        for (text, shown) in [
            ("call +14155550123 now", "call +1415•••••23 now"),
            ("(415) 555-0123", "(+1415•••••23"),
            ("To=%2B14155550123&From=%2B442079460100", "To=+1415•••••23&From=+4420••••••00"),
            ("another: +44 20 7946 0100.", "another: +4420••••••00."),
            ("at 2026-11-21T17:00:00+00:00, 12 s, 0.12 USD", "at 2026-11-21T17:00:00+00:00, 12 s, 0.12 USD"),
            ("0198c6a2-41f0-7c3e-8a55-0d9f3a1c2b4d", "0198c6a2-41f0-7c3e-8a55-0d9f3a1c2b4d"),
        ] {
            assert_eq!(mask.text(text), shown);
        }
    }

    #[test]
    fn an_operator_who_asks_sees_numbers_and_still_no_secret() {
        let mask = mask(Numbers::Full);
        assert_eq!(mask.text("org_secret_key to +14155550123"), "[secret] to +14155550123");
        assert_eq!(mask.number("+14155550123"), "+14155550123");
    }

    #[test]
    fn secrets_go_by_the_name_of_their_field() {
        let mut body = json!({
            "server": { "url": "https://x.example/webhooks/vapi/0198c6a2-41f0-7c3e-8a55-0d9f3a1c2b4d", "secret": "s", "headers": { "x": "y" } },
            "api_key": "k", "maxTokens": 250, "credentials": [{ "authToken": "t", "provider": "twilio" }], "task": "say +14155550123",
        });
        mask(Numbers::Masked).value(&mut body);
        assert_eq!(
            body,
            json!({
                "server": { "url": "https://x.example/webhooks/vapi/0198c6a2-41f0-7c3e-8a55-0d9f3a1c2b4d", "secret": SECRET, "headers": { "x": SECRET } },
                "api_key": SECRET, "maxTokens": 250, "credentials": [{ "authToken": SECRET, "provider": "twilio" }],
                "task": "say +1415•••••23",
            })
        );
    }

    #[test]
    fn an_address_shows_where_and_not_how_to_get_in() {
        let mask = mask(Numbers::Masked);
        for (address, shown) in [
            (
                "https://ada:pw@x.example/a/b?tenant=7&key=z#rc=2",
                "https://x.example/a/b?tenant=[secret]&key=[secret]#rc=2",
            ),
            ("https://hooks.example/services/T0/XXXXyyyyZZZZ00001111", "https://hooks.example/services/T0/[secret]"),
            ("https://x.example/a", "https://x.example/a"),
            ("outcomes", "outcomes"),
        ] {
            assert_eq!(mask.address(address), shown);
        }
    }
}
