//! Lines of an import: CSV with or without a heading, or a number a line.

use chrono::{DateTime, Utc};
use phonenumber::country;

use super::shown;
use crate::call::PhoneNumber;

/// One number that is not to be called.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub number: PhoneNumber,
    pub because: Option<String>,
    pub expires_at: Option<DateTime<Utc>>,
}

/// Where the columns are.
#[derive(Debug, Clone, Copy, Default)]
struct Columns {
    number: usize,
    because: Option<usize>,
    expires_at: Option<usize>,
}

/// Reads line by line; the first that is not empty may be a heading.
pub(super) struct Reader {
    country: Option<country::Id>,
    columns: Option<Columns>,
}

/// `US`, `de`
pub(super) fn country(text: &str) -> Result<country::Id, String> {
    text.to_ascii_uppercase().parse().map_err(|_| format!("{text:?} is not a country, expected ISO 3166 such as US"))
}

impl Reader {
    pub(super) fn new(country: Option<country::Id>) -> Self {
        Self { country, columns: None }
    }

    /// `None`: an empty line, a comment (`#`), or the heading.
    pub(super) fn read(&mut self, line: &str) -> Result<Option<Line>, String> {
        let line = line.trim_start_matches('\u{feff}').trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(None);
        }
        let cells = cells(line);
        let Some(columns) = self.columns else {
            let heading = heading(&cells);
            self.columns = Some(heading.unwrap_or_default());
            return if heading.is_some() { Ok(None) } else { self.read(line) };
        };
        let cell =
            |at: Option<usize>| at.and_then(|at| cells.get(at)).map(|cell| cell.trim()).filter(|c| !c.is_empty());
        let text = cell(Some(columns.number)).ok_or("holds no number")?;
        let expires_at = cell(columns.expires_at)
            .map(|text| text.parse().map_err(|_| format!("{text:?} is not a time, expected RFC 3339")))
            .transpose()?;
        let because = cell(columns.because).map(|text| text.replace('\0', "").chars().take(500).collect());
        Ok(Some(Line { number: self.number(text)?, because, expires_at }))
    }

    fn number(&self, text: &str) -> Result<PhoneNumber, String> {
        let plain: String = text.chars().filter(|c| !" -().\u{a0}".contains(*c)).collect();
        if plain.starts_with('+') {
            return PhoneNumber::parse(&plain).map_err(|problem| format!("{:?} {problem}", shown(text)));
        }
        let Some(country) = self.country else {
            return Err(format!("{:?} must begin with + and the country code (E.164), or give --country", shown(text)));
        };
        let problem = || format!("{:?} is no number of {country:?}", shown(text));
        let parsed = phonenumber::parse(Some(country), text).map_err(|_| problem())?;
        let e164 = parsed.format().mode(phonenumber::Mode::E164).to_string();
        PhoneNumber::parse(&e164).map_err(|_| problem())
    }
}

/// The columns by their names; `None` where this is no heading: it has a cell with many digits, or no name of a number.
fn heading(cells: &[String]) -> Option<Columns> {
    let find =
        |names: &[&str]| cells.iter().position(|cell| names.contains(&cell.trim().to_ascii_lowercase().as_str()));
    let number = find(&["number", "phone", "phone_number", "phonenumber", "e164", "msisdn", "telephone"])?;
    Some(Columns { number, because: find(&["because", "reason"]), expires_at: find(&["expires_at", "until"]) })
}

/// Cells of one CSV line: commas or semicolons or tabs between, quotes around, doubled within.
fn cells(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        let Some(cell) = cells.last_mut() else { break };
        match c {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                cell.push('"');
            }
            '"' => quoted = !quoted,
            ',' | ';' | '\t' if !quoted => cells.push(String::new()),
            other => cell.push(other),
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(text: &str, country: Option<&str>) -> Vec<Result<String, String>> {
        let mut reader = Reader::new(country.map(|name| self::country(name).unwrap()));
        let read = text.lines().filter_map(|line| reader.read(line).transpose());
        read.map(|line| line.map(|line| line.number.as_e164().to_owned())).collect()
    }

    fn good(numbers: &[&str]) -> Vec<Result<String, String>> {
        numbers.iter().map(|number| Ok((*number).to_owned())).collect()
    }

    #[test]
    fn lines_and_csv_with_and_without_a_heading_are_read() {
        let two = good(&["+14155550123", "+14155550124"]);
        assert_eq!(numbers("+14155550123\r\n\n# a comment\n+1 (415) 555-0124\n", None), two);
        assert_eq!(numbers("name,Phone,because\nAda,+14155550123,asked\n\"B, ob\",+14155550124,\n", None), two);
        assert_eq!(numbers("+14155550123;Ada\n+14155550124;Bob\n", None), two);
        assert_eq!(numbers("4155550123\n(415) 555-0124\n", Some("us")), two);
    }

    #[test]
    fn what_is_no_number_is_named_without_being_told_whole() {
        let problems = numbers("+14155550123\n4155550124\n+1415555\nAda\n", None);
        let texts: Vec<String> = problems.into_iter().filter_map(Result::err).collect();
        assert_eq!(texts.len(), 3);
        assert!(texts[0].contains("--country") && !texts[0].contains("4155550124"), "{texts:?}");
        assert!(texts[1].contains("no number of its country has"), "{texts:?}");
    }

    #[test]
    fn reasons_and_ends_come_along() {
        let mut reader = Reader::new(None);
        assert_eq!(reader.read("number,source,because,who,at,expires_at"), Ok(None));
        let line = reader
            .read("+14155550123,api,\"said \"\"no\"\", twice\",operator:ada,2026-01-01T00:00:00Z,2027-01-01T00:00:00Z");
        let line = line.unwrap().unwrap();
        assert_eq!(line.because.as_deref(), Some("said \"no\", twice"));
        assert_eq!(line.expires_at, Some("2027-01-01T00:00:00Z".parse().unwrap()));
        assert!(reader.read("+14155550123,,,,,tomorrow").unwrap_err().contains("RFC 3339"));
    }
}
