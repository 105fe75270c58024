//! The hash that tells a repeat of a job from another job under the same key.

use aws_lc_rs::digest;
use serde_json::{Number, Value};

use super::event::ContentHash;

impl ContentHash {
    /// SHA-256 over `[type, data]` in canonical form: keys sorted, no white space, strings escaped in one way, equal numbers
    /// written alike (`1`, `1.0` and `1e0` are one number: a hop through another language may rewrite them).
    pub fn of(event_type: &str, data: &Value) -> Self {
        let mut canonical = Vec::with_capacity(512);
        canonical.push(b'[');
        write_text(&mut canonical, event_type);
        canonical.push(b',');
        write(&mut canonical, data);
        canonical.push(b']');
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, &canonical).as_ref());
        Self(hash)
    }
}

fn write(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.extend(b"null"),
        Value::Bool(true) => out.extend(b"true"),
        Value::Bool(false) => out.extend(b"false"),
        Value::Number(number) => out.extend(number_text(number).bytes()),
        Value::String(text) => write_text(out, text),
        Value::Array(items) => {
            out.push(b'[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                write(out, item);
            }
            out.push(b']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            out.push(b'{');
            for (n, (key, item)) in entries.into_iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                write_text(out, key);
                out.push(b':');
                write(out, item);
            }
            out.push(b'}');
        }
    }
}

/// Unambiguous without escaping rules: the length in bytes, then the bytes.
fn write_text(out: &mut Vec<u8>, text: &str) {
    out.extend(text.len().to_string().bytes());
    out.push(b'"');
    out.extend(text.bytes());
}

fn number_text(number: &Number) -> String {
    const TWO_POW_63: f64 = 9_223_372_036_854_775_808.0;
    match number.as_f64() {
        _ if number.is_i64() || number.is_u64() => number.to_string(),
        // A whole double in the range of 64-bit integers converts exactly; -0.0 becomes 0.
        Some(double) if double.fract() == 0.0 && (-TWO_POW_63..TWO_POW_63).contains(&double) => {
            (double as i64).to_string()
        }
        Some(double) if double.fract() == 0.0 && (TWO_POW_63..2.0 * TWO_POW_63).contains(&double) => {
            (double as u64).to_string()
        }
        _ => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hash(data: &str) -> ContentHash {
        ContentHash::of("t", &serde_json::from_str(data).unwrap())
    }

    #[test]
    fn order_white_space_and_number_spelling_do_not_count() {
        let one = hash(r#"{"a":1,"b":{"c":[1.0,-0.0,1e18,18446744073709551615]}}"#);
        let two = hash("{ \"b\" : {\"c\": [1, 0, 1000000000000000000, 18446744073709551615]},\n \"\\u0061\": 1.0 }");
        assert_eq!(one, two);
    }

    #[test]
    fn everything_else_counts() {
        let all = [
            r#"{"a":1}"#,
            r#"{"a":1.5}"#,
            r#"{"a":"1"}"#,
            r#"{"a":[1]}"#,
            r#"{"a":null}"#,
            "{}",
            r#"{"a":true}"#,
            r#"{"b":1}"#,
            r#"{"a":[1,2]}"#,
            r#"{"a":[2,1]}"#,
            r#"{"a":[12]}"#,
            r#"{"a":["1","2"]}"#,
            r#"{"a":["1,2"]}"#,
            r#"{"a":-1}"#,
        ];
        let hashes: std::collections::HashSet<_> = all.iter().map(|data| hash(data)).collect();
        assert_eq!(hashes.len(), all.len());
        assert_ne!(ContentHash::of("t", &Value::Null), ContentHash::of("u", &Value::Null));
    }

    pub(crate) fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("\\PC{0,6}", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// Writes with keys in reverse order and white space everywhere.
    fn reversed(value: &Value) -> String {
        match value {
            Value::Array(items) => format!("[ {} ]", items.iter().map(reversed).collect::<Vec<_>>().join(" ,\n")),
            Value::Object(map) => {
                let entry =
                    |(key, item): (&String, &Value)| format!("{} : {}", Value::from(key.as_str()), reversed(item));
                format!("{{\t{}\n}}", map.iter().rev().map(entry).collect::<Vec<_>>().join(" , "))
            }
            leaf => leaf.to_string(),
        }
    }

    proptest! {
        #[test]
        fn the_hash_is_the_same_for_any_order_of_keys(data in any_json()) {
            prop_assert_eq!(ContentHash::of("t", &data), hash(&reversed(&data)));
        }
    }
}
