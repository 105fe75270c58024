//! Outside words made fit for our tables and logs: bounded, without control characters, without dialable numbers.

use serde_json::Value;

/// Longest text of a platform's answer that is kept as a reason's detail, in characters.
const MAX_DETAIL_CHARS: usize = 300;

/// A platform's error text as a detail: one line, bounded, every run of seven or more digits masked to its last two.
pub fn detail(text: &str) -> String {
    let mut out = String::new();
    let mut digits = String::new();
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_DETAIL_CHARS) {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        // Separators inside a number do not end it: `(415) 555-0123`.
        if !digits.is_empty() && matches!(c, ' ' | '-' | '(' | ')' | '.') {
            digits.push(c);
            continue;
        }
        flush(&mut out, &mut digits);
        out.push(c);
    }
    flush(&mut out, &mut digits);
    out.trim().to_owned()
}

fn flush(out: &mut String, run: &mut String) {
    let count = run.bytes().filter(u8::is_ascii_digit).count();
    if count < 7 {
        out.push_str(run);
    } else {
        let body = run.trim_end_matches(|c: char| !c.is_ascii_digit());
        out.push('…');
        out.push_str(&body[body.len().saturating_sub(2)..]);
        out.push_str(&run[body.len()..]);
    }
    run.clear();
}

/// A text as Postgres can store it (it refuses NUL), at most `max_chars` long.
pub fn storable(text: &str, max_chars: usize) -> String {
    text.chars().filter(|&c| c != '\0').take(max_chars).collect()
}

/// Whether `id` can be a platform's id of a call: it goes into paths and into our tables.
pub fn is_plausible_id(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// `value[key]` as a plausible call id.
pub fn call_id<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str().filter(|id| is_plausible_id(id))
}

/// Digits only. Two spellings of one number compare by this.
pub fn digits(number: &str) -> String {
    number.chars().filter(char::is_ascii_digit).collect()
}

/// Whether two spellings can be the same number. Platforms drop the `+`, and for North America the country code too.
pub fn same_number(a: &str, b: &str) -> bool {
    let national = |number: &str| {
        let digits = digits(number);
        match digits.strip_prefix('1') {
            Some(rest) if rest.len() == 10 => rest.to_owned(),
            _ => digits,
        }
    };
    let (a, b) = (national(a), national(b));
    !a.is_empty() && a == b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_mask_numbers_and_stay_short() {
        assert_eq!(detail("Invalid number +14155550123."), "Invalid number +…23.");
        assert_eq!(detail("call (415) 555-0123 again"), "call (…23 again");
        assert_eq!(detail("SIP 404 in 10 s"), "SIP 404 in 10 s");
        assert_eq!(detail("a\nb\0c"), "a b c");
        assert!(detail(&"ä".repeat(9000)).chars().count() <= MAX_DETAIL_CHARS);
    }

    #[test]
    fn ids_that_could_leave_their_path_are_not_ids() {
        for bad in ["", "..", "a/b", "a?b", "a b", "ä", "a\0"] {
            assert!(!is_plausible_id(bad), "{bad:?}");
        }
        assert!(!is_plausible_id(&"a".repeat(129)));
        assert!(is_plausible_id("3f0c2a0e-0000-4000-8000-000000000001"));
    }

    #[test]
    fn spellings_of_one_number_compare_equal() {
        assert!(same_number("+14155550123", "4155550123"));
        assert!(same_number("+1 (415) 555-0123", "14155550123"));
        assert!(!same_number("+14155550123", "+4155550124"));
        assert!(!same_number("+442071838750", "2071838750"));
        assert!(!same_number("", ""));
    }

    #[test]
    fn stored_text_has_no_nul() {
        assert_eq!(storable("a\0b", 10), "ab");
    }
}
