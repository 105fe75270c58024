//! A platform's fields as one list: who sets each, and what the vendor accepts.

use serde_json::{Map, Value};

use super::rules::Rule;
use crate::call::FieldError;
use crate::text::{nearest_hint, pointer_token};

/// Where a field's value comes from.
#[derive(Clone, Copy)]
pub enum Origin {
    /// From `platform_config`, under the vendor's own name.
    Config,
    /// voxd sets it; the text says from what.
    Voxd(&'static str),
    /// Never sent; the text says why.
    Never(&'static str),
}

pub struct Field {
    pub name: &'static str,
    pub origin: Origin,
    pub rule: Rule,
}

pub const fn field(name: &'static str, origin: Origin, rule: Rule) -> Field {
    Field { name, origin, rule }
}

/// Keys that `platform` does not know, or that are not the producer's to set. `pointer` is where `given` stands.
pub fn refused_keys(given: &Map<String, Value>, fields: &[Field], platform: &str, pointer: &str) -> Vec<FieldError> {
    let configurable = || fields.iter().filter(|field| matches!(field.origin, Origin::Config)).map(|field| field.name);
    let problem = |key: &String| {
        let pointer = format!("{pointer}/{}", pointer_token(key));
        match fields.iter().find(|field| field.name == key).map(|field| field.origin) {
            Some(Origin::Config) => None,
            Some(Origin::Voxd(why) | Origin::Never(why)) => {
                Some(FieldError::new(pointer, format!("cannot be set: {why}")))
            }
            None => {
                let hint = nearest_hint(key, configurable());
                Some(FieldError::new(pointer, format!("{platform} does not know this key{hint}")))
            }
        }
    };
    given.keys().filter_map(problem).collect()
}

/// Adds what the vendor would refuse about these fields.
pub fn check(
    given: &Map<String, Value>,
    fields: &[Field],
    platform: &str,
    pointer: &str,
    problems: &mut Vec<FieldError>,
) {
    for (name, value) in given {
        let pointer = format!("{pointer}/{}", pointer_token(name));
        match fields.iter().find(|field| field.name == name) {
            Some(Field { origin: Origin::Never(why), .. }) => {
                problems.push(FieldError::new(pointer, format!("cannot be set: {why}")));
            }
            Some(field) => field.rule.check(value, &pointer, problems),
            None => problems.push(FieldError::new(pointer, format!("{platform} does not know this field"))),
        }
    }
}
