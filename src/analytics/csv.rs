//! A report for spreadsheets (RFC 4180).
//!
//! Each currency has columns of its own, so that adding up a column adds up one currency. Keys are words of producers: one
//! that a spreadsheet would take for a formula gets an apostrophe before it
//! (<https://owasp.org/www-community/attacks/CSV_Injection>).

use std::collections::BTreeSet;

use super::{Cost, Numbers, Report};

const COUNTS: &[(&str, fn(&Numbers) -> i64)] = &[
    ("calls", |numbers| numbers.calls),
    ("open", |numbers| numbers.open),
    ("completed", |numbers| numbers.completed),
    ("no_answer", |numbers| numbers.no_answer),
    ("busy", |numbers| numbers.busy),
    ("voicemail", |numbers| numbers.voicemail),
    ("failed", |numbers| numbers.failed),
    ("cancelled", |numbers| numbers.cancelled),
    ("rejected", |numbers| numbers.rejected),
    ("expired", |numbers| numbers.expired),
    ("attempts", |numbers| numbers.attempts),
    ("talk_seconds", |numbers| numbers.talk_seconds),
];

pub(super) fn write(report: &Report) -> String {
    let currencies: BTreeSet<&str> = report.total.costs.iter().map(|cost| cost.currency.as_str()).collect();
    let mut heads: Vec<String> = report.group_by.iter().map(ToString::to_string).collect();
    heads.extend(COUNTS.iter().map(|(name, _)| (*name).to_owned()));
    heads.extend(["answer_rate", "talk_seconds_per_completed_call"].map(str::to_owned));
    for currency in &currencies {
        let currency = currency.to_lowercase();
        heads.extend(["cost", "cost_estimated", "cost_per_completed_call"].map(|name| format!("{name}_{currency}")));
    }
    let mut text = line(&heads);
    for item in &report.items {
        let keys = report.group_by.iter().map(|group| item.keys.get(group.as_str()).cloned().flatten());
        let mut cells: Vec<String> = keys.map(|key| key.map(|key| guarded(&key)).unwrap_or_default()).collect();
        let numbers = &item.numbers;
        cells.extend(COUNTS.iter().map(|(_, count)| count(numbers).to_string()));
        cells.push(shown(numbers.answer_rate));
        cells.push(shown(numbers.talk_seconds_per_completed_call));
        for currency in &currencies {
            let cost = numbers.costs.iter().find(|cost| cost.currency == *currency);
            let cell = |pick: fn(&Cost) -> String| cost.map(pick).unwrap_or_default();
            cells.push(cell(|cost| cost.amount.to_string()));
            cells.push(cell(|cost| cost.estimated.to_string()));
            cells.push(cell(|cost| cost.per_completed_call.map(|amount| amount.to_string()).unwrap_or_default()));
        }
        text.push_str(&line(&cells));
    }
    text
}

fn shown(number: Option<f64>) -> String {
    number.map(|number| number.to_string()).unwrap_or_default()
}

/// As text, whatever it begins with.
fn guarded(word: &str) -> String {
    let formula = word.trim_start().starts_with(['=', '+', '-', '@', '\u{FF1D}', '\u{FF0B}', '\u{FF0D}', '\u{FF20}'])
        || word.starts_with(['\t', '\r', '\n']);
    if formula { format!("'{word}") } else { word.to_owned() }
}

fn line(cells: &[String]) -> String {
    let quoted = cells.iter().map(|cell| {
        if cell.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.clone() }
    });
    let mut line = quoted.collect::<Vec<_>>().join(",");
    line.push_str("\r\n");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_spreadsheet_would_run_is_made_text() {
        for (word, cell) in [
            ("=HYPERLINK(\"http://x\")", "'=HYPERLINK(\"http://x\")"),
            ("+1", "'+1"),
            ("-2+3", "'-2+3"),
            ("@SUM(A1)", "'@SUM(A1)"),
            (" =1", "' =1"),
            ("\t=1", "'\t=1"),
            ("\u{FF1D}1", "'\u{FF1D}1"),
            ("spring-sale", "spring-sale"),
            ("", ""),
        ] {
            assert_eq!(guarded(word), cell);
        }
        assert_eq!(line(&["a,b".into(), "say \"hi\"".into(), "plain".into()]), "\"a,b\",\"say \"\"hi\"\"\",plain\r\n");
    }
}
