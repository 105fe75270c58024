//! `voxd dnc`: the do-not-call list, directly on the database.

mod read;

use std::io::{BufRead, BufReader, IsTerminal as _};
use std::path::{Path, PathBuf};

use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use self::read::{Line, Reader};
use super::{CommandError, Context, out};
use crate::call::{PhoneNumber, phone};
use crate::clock;
use crate::store::Store;
use crate::store::read::Numbers;
use crate::store::suppressions::{self, Suppressing, Suppression};

const AFTER_HELP: &str = "\
Examples:
  voxd dnc add +14155550123 --because 'asked by mail'
  voxd dnc add +14155550123 --because 'not before spring' --until 2027-03-01T00:00:00Z
  voxd dnc remove +14155550123 --because 'asked to be called again'
  voxd dnc list --number +14155550123
  voxd dnc import list.csv --because 'national registry, November'
  voxd dnc import numbers.txt --country US          10-digit and other national spellings
  voxd dnc export > list.csv

A number on the list gets no call: no right to send is given for it, and what is queued for it is cancelled (do_not_call) in \
the same transaction. Each change keeps who made it and why.";

/// The do-not-call list
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Dnc {
    #[command(subcommand)]
    command: DncCommand,
}

#[derive(Subcommand)]
enum DncCommand {
    List(List),
    Add(Add),
    Remove(Remove),
    Import(Import),
    Export(Export),
}

/// The newest entries
#[derive(Args)]
struct List {
    /// Only this number
    #[arg(long, value_parser = PhoneNumber::parse)]
    number: Option<PhoneNumber>,
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(i64).range(1..=1000))]
    limit: i64,
    /// Show numbers whole
    #[arg(long)]
    reveal: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Puts numbers on the list and cancels what is queued for them
#[derive(Args)]
struct Add {
    /// E.164
    #[arg(required = true, value_parser = PhoneNumber::parse)]
    numbers: Vec<PhoneNumber>,
    /// Why
    #[arg(long)]
    because: String,
    /// When it holds no more, RFC 3339 [default: never]
    #[arg(long, value_name = "TIME")]
    until: Option<DateTime<Utc>>,
    #[command(flatten)]
    who: Who,
}

/// Takes a number off the list; cancelled calls stay so
#[derive(Args)]
struct Remove {
    #[arg(value_parser = PhoneNumber::parse)]
    number: PhoneNumber,
    /// Why
    #[arg(long)]
    because: String,
    #[command(flatten)]
    who: Who,
}

/// Puts the numbers of a file on the list: CSV, or a number a line; of any size
#[derive(Args)]
struct Import {
    /// CSV (with a heading, or the number first) or lines; - for standard input
    file: PathBuf,
    /// Why, for lines without a reason of their own (column because)
    #[arg(long, default_value = "imported")]
    because: String,
    /// Read national spellings as of this country, e.g. US; otherwise numbers must be E.164
    #[arg(long, value_parser = read::country)]
    country: Option<phonenumber::country::Id>,
    #[command(flatten)]
    who: Who,
}

/// Prints the whole list as CSV, numbers whole
#[derive(Args)]
struct Export {
    /// Numbers only, one a line
    #[arg(long)]
    lines: bool,
}

#[derive(Args)]
struct Who {
    /// Who decides
    #[arg(long, env = "USER", default_value = "unnamed")]
    by: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Who {
    fn source(&self) -> String {
        format!("operator:{}", self.by)
    }
}

impl Dnc {
    pub(super) async fn run(self, context: &Context) -> Result<(), CommandError> {
        let store = context.store(&context.config()?).await?;
        match self.command {
            DncCommand::List(list) => list.run(&store).await,
            DncCommand::Add(add) => add.run(&store).await,
            DncCommand::Remove(remove) => remove.run(&store).await,
            DncCommand::Import(import) => import.run(&store).await,
            DncCommand::Export(export) => export.run(&store).await,
        }
    }
}

fn check_because(because: &str) -> Result<(), CommandError> {
    if (1..=500).contains(&because.chars().count()) && !because.trim().is_empty() && !because.contains('\0') {
        return Ok(());
    }
    Err(CommandError::Usage("--because wants a text of 1 to 500 characters".into()))
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

impl List {
    async fn run(self, store: &Store) -> Result<(), CommandError> {
        let numbers = if self.reveal { Numbers::Full } else { Numbers::Masked };
        let rows = store.list_suppressions(self.number.as_ref(), None, self.limit, numbers).await?;
        if self.json {
            return out::json(&rows);
        }
        if rows.is_empty() {
            return out::line(if self.number.is_some() { "not on the list" } else { "the list is empty" });
        }
        let heads = ["NUMBER", "SINCE", "UNTIL", "SOURCE", "WHO", "BECAUSE"].map(str::to_owned).to_vec();
        let line = |row: &Suppression| {
            let until = row.expires_at.map_or("-".to_owned(), time);
            vec![row.number.clone(), time(row.at), until, row.source.clone(), row.who.clone(), row.because.clone()]
        };
        out::line(out::table(&std::iter::once(heads).chain(rows.iter().map(line)).collect::<Vec<_>>()))
    }
}

impl Add {
    async fn run(self, store: &Store) -> Result<(), CommandError> {
        check_because(&self.because)?;
        let who = self.who.source();
        let why = Suppressing { source: "cli", because: &self.because, who: &who, expires_at: self.until };
        let (mut changed, mut cancelled) = (0, Vec::new());
        for numbers in self.numbers.chunks(suppressions::BATCH) {
            let done = store.suppress(numbers, &why).await?;
            changed += done.changed;
            cancelled.extend(done.cancelled);
        }
        if self.who.json {
            return out::json(&json!({ "changed": changed, "cancelled_calls": cancelled }));
        }
        let known = self.numbers.len() as u64 - changed.min(self.numbers.len() as u64);
        let known = if known > 0 { format!(", {known} known before") } else { String::new() };
        out::line(format!("{changed} put on the list{known}; {} queued calls cancelled", cancelled.len()))
    }
}

impl Remove {
    async fn run(self, store: &Store) -> Result<(), CommandError> {
        check_because(&self.because)?;
        if !store.unsuppress(&self.number, "cli", &self.who.source(), &self.because).await? {
            return Err(CommandError::Failed(format!("{} is not on the list", self.number)));
        }
        if self.who.json { out::json(&json!({ "removed": true })) } else { out::line("taken off the list") }
    }
}

/// What an import came to.
#[derive(Default)]
struct Tally {
    numbers: u64,
    changed: u64,
    cancelled: u64,
    expired: u64,
    bad: u64,
    /// The first of them, with their lines.
    problems: Vec<String>,
}

impl Import {
    async fn run(self, store: &Store) -> Result<(), CommandError> {
        check_because(&self.because)?;
        let (input, size) = open(&self.file)?;
        let bar = progress_bar(size);
        let mut reader = Reader::new(self.country);
        let mut tally = Tally::default();
        let mut batch: Vec<Line> = Vec::with_capacity(suppressions::BATCH);
        for (n, line) in input.split(b'\n').enumerate() {
            let line = line.map_err(|error| CommandError::Failed(format!("{}: {error}", self.file.display())))?;
            bar.inc(line.len() as u64 + 1);
            match reader.read(&String::from_utf8_lossy(&line)) {
                Ok(None) => {}
                Ok(Some(line)) if line.expires_at.is_some_and(|at| at <= clock::now()) => tally.expired += 1,
                Ok(Some(line)) => batch.push(line),
                Err(problem) => {
                    tally.bad += 1;
                    if tally.problems.len() < 20 {
                        tally.problems.push(format!("line {}: {problem}", n + 1));
                    }
                }
            }
            if batch.len() == suppressions::BATCH {
                self.store_batch(store, &mut batch, &mut tally).await.map_err(|error| stopped(error, &tally))?;
            }
        }
        self.store_batch(store, &mut batch, &mut tally).await.map_err(|error| stopped(error, &tally))?;
        bar.finish_and_clear();
        self.report(&tally)
    }

    /// One transaction for the lines of one reason and end; nearly always that is all of them.
    async fn store_batch(&self, store: &Store, batch: &mut Vec<Line>, tally: &mut Tally) -> Result<(), CommandError> {
        let who = self.who.source();
        while let Some(first) = batch.first() {
            let (because, expires_at) = (first.because.clone(), first.expires_at);
            let (these, others): (Vec<Line>, Vec<Line>) =
                batch.drain(..).partition(|line| line.because == because && line.expires_at == expires_at);
            *batch = others;
            let because = because.as_deref().unwrap_or(&self.because);
            let why = Suppressing { source: "import", because, who: &who, expires_at };
            let numbers: Vec<PhoneNumber> = these.into_iter().map(|line| line.number).collect();
            let done = store.suppress(&numbers, &why).await?;
            tally.numbers += numbers.len() as u64;
            tally.changed += done.changed;
            tally.cancelled += done.cancelled.len() as u64;
        }
        Ok(())
    }

    fn report(&self, tally: &Tally) -> Result<(), CommandError> {
        let Tally { numbers, changed, cancelled, expired, bad, problems } = tally;
        if self.who.json {
            out::json(&json!({
                "numbers": numbers, "changed": changed, "cancelled_calls": cancelled, "expired": expired, "bad": bad, "problems": problems,
            }))?;
        } else {
            let known = numbers.saturating_sub(*changed);
            out::line(format!("{changed} put on the list, {known} known before; {cancelled} queued calls cancelled"))?;
            if *expired > 0 {
                eprintln!("{expired} lines had ended already and were left out");
            }
        }
        if *bad == 0 {
            return Ok(());
        }
        let more = if *bad > problems.len() as u64 { "\n  …" } else { "" };
        let shown = problems.iter().map(|problem| format!("\n  {problem}")).collect::<String>();
        Err(CommandError::Failed(format!("{bad} lines hold no number and were left out:{shown}{more}")))
    }
}

fn stopped(error: CommandError, tally: &Tally) -> CommandError {
    let done = tally.numbers;
    eprintln!("{done} numbers were imported before this; importing the file again changes nothing about them");
    error
}

fn open(file: &Path) -> Result<(Box<dyn BufRead>, u64), CommandError> {
    if file.as_os_str() == "-" {
        return Ok((Box::new(BufReader::new(std::io::stdin())), 0));
    }
    let problem = |error: std::io::Error| CommandError::Usage(format!("{}: {error}", file.display()));
    let opened = std::fs::File::open(file).map_err(problem)?;
    let size = opened.metadata().map_err(problem)?.len();
    Ok((Box::new(BufReader::with_capacity(1 << 20, opened)), size))
}

/// Only for people who watch, and only where there is something to watch.
fn progress_bar(bytes: u64) -> ProgressBar {
    if bytes < 100_000 || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(bytes);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left") {
        bar.set_style(style);
    }
    bar
}

impl Export {
    async fn run(self, store: &Store) -> Result<(), CommandError> {
        if !self.lines {
            out::line("number,source,because,who,at,expires_at")?;
        }
        let mut after = String::new();
        loop {
            let page = store.suppressions_after(&after, 5000).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.number.clone();
            let text: Vec<String> =
                page.iter().map(|row| if self.lines { row.number.clone() } else { csv(row) }).collect();
            out::line(text.join("\n"))?;
        }
    }
}

fn csv(row: &Suppression) -> String {
    let quoted = |text: &str| {
        // A new line would begin another entry.
        let text = text.replace(['\n', '\r'], " ");
        if text.contains([',', '"']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
    };
    let until = row.expires_at.map(time).unwrap_or_default();
    [row.number.as_str(), &row.source, &row.because, &row.who, &time(row.at), &until].map(quoted).join(",")
}

/// A number for people to recognise in what goes wrong.
fn shown(text: &str) -> String {
    phone::mask(text)
}
