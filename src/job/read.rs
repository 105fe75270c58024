//! Bytes → JSON, with what JSON allows but no job may have refused by place: two values for one key (parsers differ in
//! which one they take), NUL characters (Postgres cannot store them), numbers outside of 64 bits and doubles, and
//! nesting without an end.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::event::RejectReason;
use crate::call::FieldError;
use crate::text::pointer_token;

/// The most that SQS carries in one message.
pub const MAX_MESSAGE_BYTES: usize = 1_048_576;

/// Levels of objects and arrays; our deepest known field stands at the fifth, `metadata` and `platform_config` may go on.
pub(super) const MAX_DEPTH: usize = 64;

/// Why something is not a job, and where.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fault {
    pub reason: RejectReason,
    pub at: FieldError,
}

impl Fault {
    pub fn new(reason: RejectReason, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { reason, at: FieldError::new(pointer, detail) }
    }

    pub fn below(self, prefix: &str) -> Self {
        Self { reason: self.reason, at: self.at.below(prefix) }
    }
}

/// A readable message. `flaw` is the first thing that must not stand in it; the rest is there all the same, so that the
/// rejection can name the job.
pub(super) struct Document {
    pub value: Value,
    pub flaw: Option<Fault>,
}

pub(super) fn text(body: &[u8]) -> Result<&str, Fault> {
    if body.len() > MAX_MESSAGE_BYTES {
        let detail = format!("the message has {} bytes, expected at most {MAX_MESSAGE_BYTES}", body.len());
        return Err(Fault::new(RejectReason::TooLarge, "", detail));
    }
    std::str::from_utf8(body).map_err(|error| {
        let detail = format!("byte {} is not valid UTF-8, expected a message in UTF-8", error.valid_up_to());
        Fault::new(RejectReason::NotUtf8, "", detail)
    })
}

pub(super) fn document(text: &str) -> Result<Document, Fault> {
    let notes = RefCell::new(Notes::default());
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let root = Place { parent: None, step: Step::Root, depth: 0 };
    let read = Seed { place: &root, notes: &notes }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    let notes = notes.into_inner();
    match read {
        Ok(value) => Ok(Document { value, flaw: notes.flaw }),
        Err(_) if notes.too_deep => {
            let detail = format!("is nested deeper than {MAX_DEPTH} levels, expected fewer");
            Err(Fault::new(RejectReason::NotJson, notes.failed_at.unwrap_or_default(), detail))
        }
        // `IgnoredAny` judges grammar alone. What passes it and could not be read is a value that has no meaning here:
        // a number beyond every double, half of a surrogate pair.
        Err(error) if serde_json::from_str::<IgnoredAny>(text).is_ok() => {
            let detail = format!("{error}, expected a value that can be represented");
            Err(Fault::new(RejectReason::Schema, notes.failed_at.unwrap_or_default(), detail))
        }
        Err(error) => {
            let bom = if text.starts_with('\u{feff}') { " (it begins with a byte order mark)" } else { "" };
            Err(Fault::new(RejectReason::NotJson, "", format!("{error}{bom}, expected a JSON object")))
        }
    }
}

#[derive(Default)]
struct Notes {
    flaw: Option<Fault>,
    failed_at: Option<String>,
    too_deep: bool,
}

struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    step: Step<'a>,
    depth: usize,
}

enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

impl Place<'_> {
    fn below<'a>(&'a self, step: Step<'a>) -> Place<'a> {
        Place { parent: Some(self), step, depth: self.depth + 1 }
    }

    fn pointer(&self) -> String {
        let above = self.parent.map(Place::pointer).unwrap_or_default();
        match self.step {
            Step::Root => above,
            Step::Key(key) => format!("{above}/{}", pointer_token(key)),
            Step::Index(index) => format!("{above}/{index}"),
        }
    }
}

struct Seed<'a> {
    place: &'a Place<'a>,
    notes: &'a RefCell<Notes>,
}

impl Seed<'_> {
    fn flaw(&self, pointer: String, detail: &str) {
        self.notes.borrow_mut().flaw.get_or_insert_with(|| Fault::new(RejectReason::Schema, pointer, detail));
    }

    fn check_nul(&self, text: &str, pointer: impl FnOnce() -> String) {
        if text.contains('\0') {
            self.flaw(pointer(), "holds a NUL character (\\u0000), which cannot be stored");
        }
    }

    /// Reads what stands one step further in; the innermost place that fails is the one that is told.
    fn child<T, E>(&self, step: Step<'_>, read: impl FnOnce(Seed<'_>) -> Result<T, E>) -> Result<T, E>
    where
        E: serde::de::Error,
    {
        let place = self.place.below(step);
        if place.depth > MAX_DEPTH {
            let mut notes = self.notes.borrow_mut();
            notes.too_deep = true;
            notes.failed_at.get_or_insert_with(|| self.place.pointer());
            return Err(E::custom("too deep"));
        }
        read(Seed { place: &place, notes: self.notes }).inspect_err(|_| {
            self.notes.borrow_mut().failed_at.get_or_insert_with(|| place.pointer());
        })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        self.check_nul(text, || self.place.pointer());
        Ok(Value::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = self.child(Step::Index(list.len()), |seed| items.next_element_seed(seed))? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        let mut doubled = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            self.check_nul(&key, || self.place.below(Step::Key(&key)).pointer());
            let value = self.child(Step::Key(&key), |seed| entries.next_value_seed(seed))?;
            if map.contains_key(&key) && doubled.insert(key.clone()) {
                self.flaw(
                    self.place.below(Step::Key(&key)).pointer(),
                    "stands twice in its object, expected each key once",
                );
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> (RejectReason, String, String) {
        let fault = match document(text) {
            Ok(document) => document.flaw.expect("a flaw"),
            Err(fault) => fault,
        };
        (fault.reason, fault.at.pointer, fault.at.detail)
    }

    #[test]
    fn a_good_document_is_read_as_it_stands() {
        let text = r#"{"a":[1,-2,2.5,true,null,{"b":"ü"}],"c":18446744073709551615}"#;
        let document = document(text).unwrap();
        assert!(document.flaw.is_none());
        assert_eq!(document.value, serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn a_key_that_stands_twice_is_named() {
        let (reason, pointer, detail) = fault(r#"{"a":{"x/y":1,"x/y":2}}"#);
        assert_eq!((reason, pointer.as_str()), (RejectReason::Schema, "/a/x~1y"));
        assert!(detail.contains("twice"));
    }

    #[test]
    fn nul_is_found_in_values_and_in_keys() {
        assert_eq!(fault(r#"{"a":["x","\u0000"]}"#).1, "/a/1");
        assert_eq!(fault(r#"{"a\u0000":1}"#).1, "/a\0");
    }

    #[test]
    fn numbers_without_meaning_are_a_matter_of_the_schema() {
        let (reason, pointer, detail) = fault(r#"{"a":{"b":[0, 1e400]}}"#);
        assert_eq!((reason, pointer.as_str()), (RejectReason::Schema, "/a/b/1"));
        assert!(detail.contains("number out of range"), "{detail}");
    }

    #[test]
    fn half_a_surrogate_pair_is_named() {
        assert_eq!(fault(r#"{"a":"\ud800"}"#).1, "/a");
    }

    #[test]
    fn deep_nesting_is_refused_in_clear_words() {
        let text = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let (reason, pointer, detail) = fault(&text);
        assert_eq!(reason, RejectReason::NotJson);
        assert!(pointer.starts_with("/0/0") && detail.contains("nested deeper than 64 levels"), "{pointer} {detail}");
        let fits = format!("{}1{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        assert!(document(&fits).unwrap().flaw.is_none());
    }

    #[test]
    fn broken_json_says_where() {
        let (reason, pointer, detail) = fault("{\"a\": 1,\n oops}");
        assert_eq!((reason, pointer.as_str()), (RejectReason::NotJson, ""));
        assert!(detail.contains("line 2"), "{detail}");
        assert!(fault("\u{feff}{}").2.contains("byte order mark"));
        assert_eq!(fault("{} {}").0, RejectReason::NotJson);
        assert_eq!(fault("").0, RejectReason::NotJson);
    }
}
