//! Declarative rules for the fields of a platform's request: what the vendor's reference says of each one, as a value.

use serde_json::Value;

use crate::call::{FieldError, PhoneNumber};
use crate::text::{nearest_hint, pointer_token};

/// What one field may hold.
#[derive(Debug, Clone, Copy)]
pub enum Rule {
    Bool,
    /// Between so many and so many characters, inclusive.
    Text(usize, usize),
    OneOf(&'static [&'static str]),
    /// Inclusive range.
    Number(f64, f64),
    /// Inclusive range.
    Integer(i64, i64),
    Uuid,
    Phone,
    /// Any object.
    Object,
    /// At most so many items, each by the rule.
    List(usize, &'static Rule),
    /// An object whose values all keep the rule.
    MapOf(&'static Rule),
    /// An object with exactly these members.
    Shape(&'static [Member]),
    /// Or null.
    Nullable(&'static Rule),
    /// What the above cannot say; the text says what was expected.
    Custom(fn(&Value) -> Result<(), String>),
}

/// A member of a [`Rule::Shape`].
#[derive(Debug, Clone, Copy)]
pub struct Member {
    pub name: &'static str,
    pub required: bool,
    pub rule: Rule,
}

pub const fn required(name: &'static str, rule: Rule) -> Member {
    Member { name, required: true, rule }
}

pub const fn optional(name: &'static str, rule: Rule) -> Member {
    Member { name, required: false, rule }
}

/// A text without a length limit, not empty.
pub const NON_EMPTY: Rule = Rule::Text(1, usize::MAX);

/// An address that a platform is to call. Platforms want https; plain http passes for a loopback host only, where no platform
/// can reach us but a simulator can.
pub const WEBHOOK_URL: Rule = Rule::Custom(webhook_url);

fn webhook_url(value: &Value) -> Result<(), String> {
    let url = value.as_str().and_then(|text| url::Url::parse(text).ok());
    let fine = url.is_some_and(|url| match url.scheme() {
        "https" => true,
        "http" => match url.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        },
        _ => false,
    });
    if fine { Ok(()) } else { Err("an https address: is http.public_url right?".into()) }
}

impl Rule {
    /// Adds what is wrong with `value`, which stands at `pointer`.
    pub fn check(&self, value: &Value, pointer: &str, problems: &mut Vec<FieldError>) {
        let mut wrong = |expected: String| {
            problems.push(FieldError::new(pointer, format!("{}, expected {expected}", shown(value))));
        };
        match self {
            Rule::Nullable(rule) => {
                if !value.is_null() {
                    rule.check(value, pointer, problems);
                }
            }
            Rule::Bool => {
                if !value.is_boolean() {
                    wrong("true or false".into());
                }
            }
            Rule::Text(min, max) => match value.as_str().map(|text| text.chars().count()) {
                Some(length) if length < *min => wrong(format!("at least {min} character(s)")),
                Some(length) if length > *max => {
                    problems.push(FieldError::new(pointer, format!("has {length} characters, expected at most {max}")));
                }
                Some(_) => {}
                None => wrong("a string".into()),
            },
            Rule::OneOf(known) => match value.as_str() {
                Some(text) if known.contains(&text) => {}
                Some(text) => {
                    wrong(format!("one of {}{}", known.join(", "), nearest_hint(text, known.iter().copied())))
                }
                None => wrong(format!("one of {}", known.join(", "))),
            },
            Rule::Number(min, max) => {
                if !value.as_f64().is_some_and(|number| (*min..=*max).contains(&number)) {
                    wrong(format!("a number from {min} to {max}"));
                }
            }
            Rule::Integer(min, max) => {
                if !value.as_i64().is_some_and(|number| (*min..=*max).contains(&number)) {
                    wrong(format!("a whole number from {min} to {max}"));
                }
            }
            Rule::Uuid => {
                if value.as_str().is_none_or(|text| uuid::Uuid::try_parse(text).is_err()) {
                    wrong("a UUID".into());
                }
            }
            Rule::Phone => {
                // The value is not shown: it may be a number with a typing error.
                if value.as_str().is_none_or(|text| PhoneNumber::parse(text).is_err()) {
                    problems.push(FieldError::new(pointer, "is not a phone number in E.164"));
                }
            }
            Rule::Object => {
                if !value.is_object() {
                    wrong("an object".into());
                }
            }
            Rule::List(max, of) => match value.as_array() {
                Some(items) if items.len() > *max => {
                    let problem = format!("has {} items, expected at most {max}", items.len());
                    problems.push(FieldError::new(pointer, problem));
                }
                Some(items) => {
                    for (index, item) in items.iter().enumerate() {
                        of.check(item, &format!("{pointer}/{index}"), problems);
                    }
                }
                None => wrong("an array".into()),
            },
            Rule::MapOf(of) => match value.as_object() {
                Some(members) => {
                    for (name, member) in members {
                        of.check(member, &format!("{pointer}/{}", pointer_token(name)), problems);
                    }
                }
                None => wrong("an object".into()),
            },
            Rule::Shape(members) => check_shape(value, members, pointer, problems),
            Rule::Custom(check) => {
                if let Err(expected) = check(value) {
                    wrong(expected);
                }
            }
        }
    }
}

fn check_shape(value: &Value, members: &[Member], pointer: &str, problems: &mut Vec<FieldError>) {
    let Some(object) = value.as_object() else {
        problems.push(FieldError::new(pointer, format!("{}, expected an object", shown(value))));
        return;
    };
    for name in object.keys() {
        if !members.iter().any(|member| member.name == name) {
            let hint = nearest_hint(name, members.iter().map(|member| member.name));
            let pointer = format!("{pointer}/{}", pointer_token(name));
            problems.push(FieldError::new(pointer, format!("unknown key{hint}")));
        }
    }
    for member in members {
        match object.get(member.name) {
            Some(inner) => member.rule.check(inner, &format!("{pointer}/{}", member.name), problems),
            None if member.required => {
                problems.push(FieldError::new(format!("{pointer}/{}", member.name), "is missing"));
            }
            None => {}
        }
    }
}

/// The beginning of a value, for people.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 40 { text } else { text.chars().take(40).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn problems(rule: Rule, value: Value) -> Vec<String> {
        let mut problems = Vec::new();
        rule.check(&value, "/x", &mut problems);
        problems.into_iter().map(|problem| problem.to_string()).collect()
    }

    #[test]
    fn each_kind_says_what_it_expected() {
        assert_eq!(problems(Rule::Bool, json!("yes")), [r#"/x: "yes", expected true or false"#]);
        assert_eq!(problems(Rule::Number(0.0, 1.0), json!(1.5)), ["/x: 1.5, expected a number from 0 to 1"]);
        assert_eq!(problems(Rule::Integer(0, 3), json!(1.5)), ["/x: 1.5, expected a whole number from 0 to 3"]);
        assert_eq!(
            problems(Rule::OneOf(&["base", "turbo"]), json!("trubo")),
            [r#"/x: "trubo", expected one of base, turbo (did you mean "turbo"?)"#]
        );
        assert_eq!(problems(Rule::Text(0, 3), json!("äöüß")), ["/x: has 4 characters, expected at most 3"]);
        assert_eq!(problems(Rule::Phone, json!("415 555 0123")), ["/x: is not a phone number in E.164"]);
        assert!(problems(Rule::Nullable(&Rule::Bool), Value::Null).is_empty());
    }

    #[test]
    fn nested_values_are_named_by_their_pointer() {
        const PAIR: Rule = Rule::Shape(&[required("word", NON_EMPTY), optional("spaced", Rule::Bool)]);
        let list = Rule::List(2, &PAIR);
        assert_eq!(
            problems(list, json!([{"word": "a"}, {"wrd": "b"}])),
            [r#"/x/1/wrd: unknown key (did you mean "word"?)"#, "/x/1/word: is missing"]
        );
        assert_eq!(problems(list, json!([1, 2, 3])), ["/x: has 3 items, expected at most 2"]);
        assert_eq!(problems(Rule::MapOf(&Rule::Bool), json!({"a/b": 1})), ["/x/a~1b: 1, expected true or false"]);
    }
}
