//! Small helpers for messages that people read.

/// `field` as one reference token of a JSON pointer.
pub fn pointer_token(field: &str) -> String {
    field.replace('~', "~0").replace('/', "~1")
}

/// A path that a deserializer stopped at, as a JSON pointer.
pub fn pointer_of(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", pointer_token(key)),
            Segment::Enum { .. } | Segment::Unknown => String::new(),
        })
        .collect()
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

/// What led to an error, outermost first, bounded; empty where it names no cause. The error's own text is left out: for a
/// request it holds the address, whose path and query can carry ids and secrets.
pub fn causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    let text = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    text.chars().take(300).collect()
}
