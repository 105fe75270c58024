//! Rules of the house that no compiler knows. Each has its reason beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Floors from the ground up; a room imports from its own floor and below. Rooms are the modules of `src/lib.rs`.
const FLOORS: &[&[&str]] = &[
    &["config", "telemetry", "clock", "retry", "lifecycle", "text", "egress", "health", "fault"],
    &["call", "job", "audio", "session"],
    &["queue", "store", "platforms", "speech"],
    &[
        "processors",
        "delivery",
        "webhooks",
        "reconcile",
        "poller",
        "outcomes",
        "realtime",
        "analytics",
        "speech_jobs",
        "story",
    ],
    &["http", "sim", "dev"],
    &["app", "cli", "main"],
];
/// Edges do not know each other: what joins two of them is a service.
const STRANGERS: &[&str] = &["queue", "store", "platforms", "speech"];
/// Beyond this a file has more than one subject. Tests and comments are not counted.
const MOST_LINES: usize = 400;

struct Source {
    path: PathBuf,
    room: String,
    /// Without unit tests.
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let is_test = path.file_stem().is_some_and(|name| name == "tests");
            if path.is_dir() && !is_test {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") && !is_test {
                let inside = path.strip_prefix(&root).unwrap();
                let room = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
                let text = std::fs::read_to_string(&path).unwrap();
                let code =
                    text.split("#[cfg(test)]\nmod tests {").next().unwrap().replace("#[cfg(test)]\nmod tests;\n", "");
                found.push(Source { path: inside.to_owned(), room, code });
            }
        }
    }
    found
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// Lines that are neither empty nor comment.
fn code_lines(code: &str) -> impl Iterator<Item = &str> {
    code.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"))
}

/// Rooms that a line names: `crate::room`, and the list in `crate::{one, two::Thing}`.
fn rooms_in(code: &str) -> BTreeSet<String> {
    let all: String = code_lines(code).collect::<Vec<_>>().join(" ");
    let mut rooms = BTreeSet::new();
    for rest in all.split("crate::").skip(1) {
        let names: Vec<&str> = match rest.strip_prefix('{') {
            Some(list) => top_level(list),
            None => vec![rest],
        };
        let word =
            |text: &str| text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        rooms.extend(names.into_iter().map(word).filter(|name| !name.is_empty()));
    }
    rooms
}

/// The parts of a `use` list up to its closing brace, split at its own commas only.
fn top_level(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                parts.push(&list[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts
}

#[test]
fn imports_go_downwards() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.room != "lib") {
        let here = source.path.display();
        let Some(own) = floor(&source.room) else {
            wrong.push(format!("{here}: the room {} has no floor, add it to this test", source.room));
            continue;
        };
        for named in rooms_in(&source.code).iter().filter(|named| **named != source.room) {
            match floor(named) {
                Some(other) if other > own => wrong.push(format!("{here} imports from {named}, a floor above")),
                Some(_) if STRANGERS.contains(&source.room.as_str()) && STRANGERS.contains(&named.as_str()) => {
                    wrong.push(format!("{here} imports from {named}: edges do not know each other"));
                }
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Production code must not fall back to a simulator: only what is started on purpose may reach one.
#[test]
fn serve_cannot_reach_a_simulator() {
    let allowed = ["sim", "dev", "cli", "main", "lib"];
    let sources = sources();
    let reaching = sources.iter().filter(|source| !allowed.contains(&source.room.as_str()));
    let wrong: Vec<_> = reaching
        .filter(|source| rooms_in(&source.code).iter().any(|room| room == "sim" || room == "dev"))
        .map(|source| source.path.display().to_string())
        .collect();
    assert!(wrong.is_empty(), "{wrong:?} import a simulator");
}

#[test]
fn sql_stands_in_the_store_and_is_checked_at_compile_time() {
    let mut wrong = Vec::new();
    for source in sources() {
        for line in code_lines(&source.code) {
            let checked = ["sqlx::query!", "sqlx::query_as!", "sqlx::query_scalar!", "query!(", "query_as!("];
            let is_checked = checked.iter().any(|form| line.contains(form));
            let is_query = line.contains("sqlx::query") || line.contains("sqlx::raw_sql") || is_checked;
            if is_query && source.room != "store" {
                wrong.push(format!("{}: SQL outside of src/store/: {line}", source.path.display()));
            // sqlx's own table is not there when queries are checked.
            } else if is_query && !is_checked && !line.contains("_sqlx_migrations") {
                wrong.push(format!("{}: not checked at compile time: {line}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_file_has_one_subject() {
    let sizes: BTreeMap<_, _> =
        sources().into_iter().map(|source| (source.path, code_lines(&source.code).count())).collect();
    let long: Vec<_> = sizes.iter().filter(|(_, lines)| **lines > MOST_LINES).collect();
    assert!(long.is_empty(), "longer than {MOST_LINES} lines of code: {long:?}");
}

/// Unmaintained, and only good for waits (see `src/retry.rs`).
#[test]
fn backoff_stands_behind_one_module() {
    let users: Vec<_> =
        sources().into_iter().filter(|source| source.code.contains("backoff::")).map(|source| source.path).collect();
    assert_eq!(users, [Path::new("retry.rs")]);
}

#[test]
fn imports_are_read_as_written() {
    let code = "use crate::call::Status;\nuse crate::{job::{Event, Kind}, store};\nlet x = crate::clock::now(); // crate::no\n// crate::none";
    let expected = ["call", "clock", "job", "no", "store"].map(str::to_owned);
    assert_eq!(rooms_in(code), BTreeSet::from(expected));
}
