//! Colours, where a person looks at a terminal and has not said `NO_COLOR` (<https://no-color.org>).

use std::io::IsTerminal;

use anstyle::{AnsiColor, Effects, Style};

/// Puts colours on words, or leaves them alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint(bool);

impl Paint {
    pub fn for_stream(stream: &impl IsTerminal) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self(stream.is_terminal() && !refused && !dumb)
    }

    #[cfg(test)]
    pub fn plain() -> Self {
        Self(false)
    }

    fn with(self, style: Style, text: &str) -> String {
        if self.0 { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    pub fn bold(self, text: &str) -> String {
        self.with(Style::new().effects(Effects::BOLD), text)
    }

    pub fn dim(self, text: &str) -> String {
        self.with(Style::new().effects(Effects::DIMMED), text)
    }

    pub fn good(self, text: &str) -> String {
        self.with(AnsiColor::Green.on_default(), text)
    }

    pub fn bad(self, text: &str) -> String {
        self.with(AnsiColor::Red.on_default(), text)
    }

    /// A status word in the colour of what it means; `text` is what is shown.
    pub fn status(self, status: &str, text: &str) -> String {
        let colour = match status {
            "completed" => AnsiColor::Green,
            "placed" | "ringing" | "in_progress" => AnsiColor::Cyan,
            "sending" => AnsiColor::Blue,
            "no_answer" | "busy" | "voicemail" | "scheduled" | "in_doubt" => AnsiColor::Yellow,
            "failed" | "rejected" | "unknown" | "expired" | "cancelled" => AnsiColor::Red,
            _ => return text.to_owned(),
        };
        self.with(colour.on_default(), text)
    }
}
