//! Standard output: a reader that has seen enough (`| head`) ends the command quietly.

use std::io::{ErrorKind, Write as _};

use serde::Serialize;

use super::CommandError;

/// Prints a line (or several).
pub(super) fn line(text: impl AsRef<str>) -> Result<(), CommandError> {
    write(text.as_ref().as_bytes()).and_then(|()| write(b"\n"))
}

/// Prints text as it is.
pub(super) fn text(text: &str) -> Result<(), CommandError> {
    write(text.as_bytes())
}

/// Prints a value as indented JSON.
pub(super) fn json(value: &impl Serialize) -> Result<(), CommandError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| CommandError::Failed(error.to_string()))?;
    line(text)
}

fn write(bytes: &[u8]) -> Result<(), CommandError> {
    match std::io::stdout().lock().write_all(bytes) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(CommandError::Failed(format!("standard output: {error}"))),
    }
}

/// Rows as aligned columns, each as wide as its widest cell; the last is not padded.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |n: usize| rows.iter().filter_map(|row| row.get(n)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["a".into(), "bb".into(), "c".into()], vec!["aaa".into(), "•".into(), String::new()]];
        assert_eq!(table(&rows), "a    bb  c\naaa  •");
    }
}
