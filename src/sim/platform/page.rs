//! What a simulated platform was asked and which calls it made, for people: a page without any outside part for a browser,
//! a table of text for `curl`.

use std::fmt::Write as _;

use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use chrono::{DateTime, Utc};
use http::{HeaderMap, header};

use super::calls::{Call, Standing};
use super::kernel::App;
use super::{Entry, Vendor};
use crate::clock::{self, Monotonic};

/// The newest ones that are shown; `/_voxd/journal` has all.
const MOST_ROWS: usize = 200;

/// One table: its title, its columns, its rows.
struct Table {
    title: String,
    columns: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

pub async fn page<V: Vendor>(State(shared): State<App<V>>, headers: HeaderMap) -> Response {
    let now = clock::monotonic();
    let entries = shared.journal.entries();
    let (calls, made, live) = {
        let calls = shared.calls();
        let rows: Vec<Vec<String>> = calls.to(None).rev().take(MOST_ROWS).map(|call| call_row(call, now)).collect();
        (rows, calls.ids().len(), calls.live(now))
    };
    let creates = entries.iter().filter(|entry| entry.create).count();
    let facts = format!(
        "{} requests, {creates} for calls; {made} calls made, {live} live; {} webhooks sent",
        entries.len(),
        shared.sender.sent()
    );
    let tables = [
        Table { title: "Calls".into(), columns: CALL_COLUMNS, rows: calls },
        Table {
            title: "Requests".into(),
            columns: ENTRY_COLUMNS,
            rows: entries.iter().rev().take(MOST_ROWS).map(entry_row).collect(),
        },
    ];
    let for_browser = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"));
    match for_browser {
        true => Html(html(V::NAME, &facts, &tables)).into_response(),
        false => text(V::NAME, &facts, &tables).into_response(),
    }
}

const CALL_COLUMNS: &[&str] = &["made", "number", "state", "plays", "webhooks", "call", "attempt"];

fn call_row(call: &Call, now: Monotonic) -> Vec<String> {
    let state = match call.standing(now) {
        Standing::Ringing => "ringing".to_owned(),
        Standing::Talking => "talking".to_owned(),
        Standing::Ended(end) if end.stopped => "stopped".to_owned(),
        Standing::Ended(_) => "ended".to_owned(),
    };
    let name = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let fault = name(serde_json::json!(call.script.webhook));
    let outcome = name(serde_json::json!(call.script.outcome));
    let plays = if fault == "none" { outcome } else { format!("{outcome}, webhooks {fault}") };
    let taken = call.deliveries.iter().filter(|delivery| (200..300).contains(&delivery.response_code)).count();
    let attempt = call.request.attempt_id.map(|id| id.to_string()).unwrap_or_default();
    let webhooks = format!("{taken} of {} taken", call.deliveries.len());
    vec![time(call.created_at), call.request.number.clone(), state, plays, webhooks, call.id.clone(), attempt]
}

const ENTRY_COLUMNS: &[&str] = &["#", "at", "request", "number", "played", "answer", "call made"];

fn entry_row(entry: &Entry) -> Vec<String> {
    let answer = entry.status.map_or("none".to_owned(), |status| status.to_string());
    let or_nothing = |text: &Option<String>| text.clone().unwrap_or_default();
    vec![
        entry.seq.to_string(),
        time(entry.at),
        format!("{} {}", entry.method, entry.path),
        or_nothing(&entry.number),
        or_nothing(&entry.played),
        answer,
        or_nothing(&entry.created),
    ]
}

fn time(at: DateTime<Utc>) -> String {
    at.format("%H:%M:%S%.3f").to_string()
}

/// Columns as wide as their widest cell.
fn text(name: &str, facts: &str, tables: &[Table]) -> String {
    let mut out = format!("simulated {name}: {facts}\n");
    for table in tables {
        let _ = writeln!(out, "\n{}", table.title);
        let width = |column: usize| {
            let cells = table.rows.iter().filter_map(|row| row.get(column)).map(String::as_str);
            cells.chain([table.columns[column]]).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..table.columns.len()).map(width).collect();
        let heading = table.columns.iter().map(|column| (*column).to_owned()).collect();
        for row in std::iter::once(&heading).chain(&table.rows) {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}", width = *width)).collect();
            let _ = writeln!(out, "  {}", cells.join("  ").trim_end());
        }
    }
    out
}

const STYLE: &str = "\
:root{color-scheme:light dark}body{font:14px/1.45 system-ui,sans-serif;margin:2rem;max-width:110rem}\
h1{font-size:1.3rem;margin:0}h2{font-size:1rem;margin:1.6rem 0 .4rem}p{margin:.3rem 0;opacity:.75}\
div{overflow-x:auto}table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.25rem .8rem .25rem 0;\
white-space:nowrap;border-bottom:1px solid #8884;vertical-align:top}th{font-weight:600;opacity:.75}\
td{font-family:ui-monospace,monospace;font-size:12px;max-width:36rem;overflow:hidden;text-overflow:ellipsis}";

fn html(name: &str, facts: &str, tables: &[Table]) -> String {
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"2\">\
         <title>simulated {name}</title><style>{STYLE}</style></head><body><h1>Simulated {name}</h1><p>{}</p>\
         <p>Newest first, again every two seconds. As JSON: /_voxd/calls, /_voxd/journal.</p>",
        escaped(facts)
    );
    for table in tables {
        let _ = write!(out, "<h2>{}</h2>", escaped(&table.title));
        if table.rows.is_empty() {
            out += "<p>None yet.</p>";
            continue;
        }
        out += "<div><table><thead><tr>";
        table.columns.iter().for_each(|column| out += &format!("<th>{}</th>", escaped(column)));
        out += "</tr></thead><tbody>";
        for row in &table.rows {
            out += "<tr>";
            row.iter().for_each(|cell| out += &format!("<td title=\"{0}\">{0}</td>", escaped(cell)));
            out += "</tr>";
        }
        out += "</tbody></table></div>";
    }
    out + "</body></html>\n"
}

/// Paths and numbers are anybody's words.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_words_of_others_stay_words() {
        let table = || Table {
            title: "T".into(),
            columns: &["a", "long"],
            rows: vec![vec!["<b>\"&".into(), "1".into()], vec!["x".into(), "22222".into()]],
        };
        assert_eq!(
            text("acme", "2 requests", &[table()]),
            "simulated acme: 2 requests\n\nT\n  a      long\n  <b>\"&  1\n  x      22222\n"
        );
        let page = html("acme", "2 requests", &[table()]);
        assert!(page.contains("&lt;b&gt;&quot;&amp;") && !page.contains("<b>"));
        assert!(
            !page.contains("http://") && !page.contains("https://") && !page.contains("src="),
            "nothing from outside"
        );
    }
}
