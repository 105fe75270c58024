//! Reading job events: a JSON array, one JSON document after another, or JSON lines.

use std::io::Read as _;
use std::path::Path;

use serde_json::value::RawValue;

use super::CommandError;

/// One event as it stands in the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    pub text: String,
    /// From 1.
    pub n: usize,
}

/// Reads a file, or standard input for `-`.
pub(super) fn read(file: &Path) -> Result<Vec<Event>, CommandError> {
    let name = file.display();
    let mut bytes = Vec::new();
    let read = if file.as_os_str() == "-" {
        std::io::stdin().lock().read_to_end(&mut bytes).map(|_| ())
    } else {
        std::fs::read(file).map(|content| bytes = content)
    };
    read.map_err(|error| CommandError::Usage(format!("{name}: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        CommandError::Failed(format!("{name}: is not UTF-8 at byte {}", error.utf8_error().valid_up_to()))
    })?;
    let events = split(&text).map_err(|problem| CommandError::Failed(format!("{name}: {problem}")))?;
    if events.is_empty() {
        return Err(CommandError::Failed(format!("{name}: holds no event")));
    }
    Ok(events)
}

/// A line that is not JSON stays one event, so that a bad message among good ones is named, or sent on purpose.
fn split(text: &str) -> Result<Vec<Event>, String> {
    let text = text.trim_start_matches('\u{feff}');
    let number = |texts: Vec<String>| texts.into_iter().enumerate().map(|(n, text)| Event { text, n: n + 1 }).collect();
    if text.trim_start().starts_with('[') {
        let items: Vec<Box<RawValue>> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        return Ok(number(items.iter().map(|item| item.get().to_owned()).collect()));
    }
    let lines: Vec<String> = text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect();
    let is_json = |line: &String| serde_json::from_str::<&RawValue>(line).is_ok();
    if lines.iter().all(is_json) {
        return Ok(number(lines));
    }
    let documents = serde_json::Deserializer::from_str(text).into_iter::<Box<RawValue>>();
    let documents: Result<Vec<_>, _> = documents.collect();
    match documents {
        Ok(documents) => Ok(number(documents.iter().map(|document| document.get().to_owned()).collect())),
        // One line that is JSON makes it JSON lines with a bad one among them.
        Err(_) if lines.iter().any(is_json) => Ok(number(lines)),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(input: &str) -> Vec<String> {
        split(input).unwrap().into_iter().map(|event| event.text).collect()
    }

    #[test]
    fn arrays_documents_and_lines_are_read_alike() {
        assert_eq!(texts(r#" [{"a":1}, {"b": 2}]"#), [r#"{"a":1}"#, r#"{"b": 2}"#]);
        assert_eq!(texts("{\"a\":1}\n\n{\"b\": 2}\r\n"), [r#"{"a":1}"#, r#"{"b": 2}"#]);
        assert_eq!(texts("{\n \"a\": 1\n}\n{\n \"b\": 2\n}"), ["{\n \"a\": 1\n}", "{\n \"b\": 2\n}"]);
    }

    #[test]
    fn a_bad_line_among_good_ones_stays_an_event() {
        assert_eq!(texts("{\"a\":1}\n{\"b\":\n{\"c\":3}"), ["{\"a\":1}", "{\"b\":", "{\"c\":3}"]);
    }

    #[test]
    fn what_is_no_json_at_all_is_refused_with_its_place() {
        assert!(split("{\n  \"a\": 1,\n").unwrap_err().contains("line"), "{:?}", split("{\n  \"a\": 1,\n"));
    }
}
