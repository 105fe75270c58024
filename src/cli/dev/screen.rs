//! What `voxd dev` shows.

use std::io::Write as _;
use std::path::Path;

use super::Keys;
use super::follow;
use crate::cli::paint::Paint;
use crate::cli::timeline;
use crate::clock::{self, Monotonic};

const MOST_CHARS: usize = 150;

/// Standard output. A reader that went away does not stop the daemon.
pub(super) struct Screen {
    paint: Paint,
    started: Monotonic,
}

impl Screen {
    pub fn new() -> Self {
        Self { paint: Paint::for_stream(&std::io::stdout()), started: clock::monotonic() }
    }

    fn line(&self, text: &str) {
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }

    pub fn title(&self, dir: &Path) {
        let dir = self.paint.dim(&format!("data in {}", dir.display()));
        self.line(&format!("{}  everything on this machine, {dir}", self.paint.bold("voxd dev")));
    }

    pub fn heading(&self, text: &str) {
        self.line(&format!("\n{}", self.paint.bold(text)));
    }

    /// Something that takes a while.
    pub fn progress(&self, text: &str) {
        self.line(&self.paint.dim(&format!("  … {text}")));
    }

    /// Something is there.
    pub fn done(&self, text: &str) {
        let since = format!("{:.1} s", (clock::monotonic() - self.started).as_secs_f64());
        self.line(&format!("  {} {text}  {}", self.paint.good("✓"), self.paint.dim(&since)));
    }

    pub fn addresses(&self, base: &str, env: &Path, log: &Path, keys: &Keys) {
        let paint = self.paint;
        let row = |name: &str, value: &str| self.line(&format!("  {} {value}", paint.dim(&format!("{name:<14}"))));
        self.line("");
        row("API", &format!("{base}/api/  described at {base}/docs"));
        row("metrics", &format!("{base}/metrics"));
        row("readiness", &format!("{base}/readyz"));
        row("operator key", &keys.operator);
        row("service key", &keys.service);
        row("log", &log.display().to_string());
        row("environment", &format!(". {}", env.display()));
    }

    pub fn event(&self, line: &follow::Line) {
        let shown = timeline::Line {
            kind: &line.kind,
            to_status: line.to_status.as_deref(),
            by: &line.by,
            detail: &line.detail,
        };
        let clock = self.paint.dim(&line.at.format("%H:%M:%S%.3f").to_string());
        let who: String = line.who.chars().take(24).collect();
        self.line(&format!(
            "{clock}  {who:<24}  {}",
            shortened(&timeline::text(&shown, timeline::BY_WIDTH, self.paint))
        ));
    }

    pub fn results(&self, results: &[(&str, &str)]) {
        self.heading("the sample calls have ended");
        for (name, state) in results {
            self.line(&format!("  {name:<24}  {}", self.paint.status(state, state)));
        }
    }

    /// `call`: the event id of a call worth looking at.
    pub fn what_next(&self, call: &str, queue: &str, env: &Path) {
        self.heading("try next, in another terminal");
        let commands = [
            (format!(". {}", env.display()), "this machine's addresses and keys, and voxd itself"),
            ("voxd calls list".to_owned(), "what became of the calls"),
            (format!("voxd calls show samples/{call}"), "one call's timeline"),
            ("voxd queue dlq".to_owned(), "the bad message, with its reason"),
            (format!("voxd enqueue deploy/samples/calls.jsonl --queue {queue} --repeat 3"), "more calls"),
            ("curl -s \"$VOXD_URL/api/calls/\" -H \"authorization: Bearer $VOXD_API_KEY\"".to_owned(), "the API"),
            ("curl -s \"$VOXD_URL/metrics\" | grep voxd_calls".to_owned(), "the metrics"),
        ];
        let width = commands.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
        for (command, what) in commands {
            self.line(&format!("  {command:<width$}{}", self.paint.dim(&format!("   # {what}"))));
        }
        self.line(&format!(
            "\n{}",
            self.paint.dim("Calls are shown as they happen; Ctrl-C stops everything and keeps the data.")
        ));
    }
}

/// One screen line, or little more; the whole is in `calls show` and in the dead letter.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(MOST_CHARS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
