//! Small helpers for messages that people read.

/// `field` as one reference token of a JSON pointer.
pub fn pointer_token(field: &str) -> String {
    field.replace('~', "~0").replace('/', "~1")
}

/// ` (did you mean "x"?)` for the nearest of `known`, or nothing when none is near.
pub fn nearest_hint<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(given, name), name))
        .min()
        .filter(|(distance, name)| *distance <= 1 + name.len() / 3)
        .map(|(_, name)| format!(" (did you mean {name:?}?)"))
        .unwrap_or_default()
}
