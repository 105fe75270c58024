//! `voxd dev`: everything on this machine, with nothing to configure.

mod follow;
mod screen;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use self::follow::Follow;
use self::screen::Screen;
use super::{CommandError, Context};
use crate::app::{self, Given};
use crate::clock;
use crate::config::Config;
use crate::dev::samples::{self, Sample};
use crate::dev::stack::{self, Stack, StackError, StackOptions};
use crate::lifecycle::Lifecycle;
use crate::queue::{Outgoing, Producer, Sqs};
use crate::store::Store;
use crate::store::keys::Role;
use crate::telemetry;

const AFTER_HELP: &str = "\
Examples:
  voxd dev                  starts, plays the sample calls, goes on until Ctrl-C
  voxd dev --once           ends when the sample calls have ended (0), or after two minutes (1)
  voxd dev --dir .voxd-2 --http-port 0 --sqs-port 0 --bland-port 0
                            a second one beside the first
  voxd dev --verbose        the daemon's own log on the terminal

It runs the real daemon against a private Postgres, a local SQS, simulated platforms, each of which \
shows at /_voxd/ what it was asked, and a simulated Google Speech. Data stays in the directory from \
run to run; remove the directory to drop it.

In another terminal:  . .voxd/env && voxd calls list";

/// How long the sample calls may take.
const SAMPLES_WITHIN: Duration = Duration::from_secs(120);
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Everything on this machine: Postgres, SQS, simulated platforms, the daemon, sample calls
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Dev {
    /// Where its data is
    #[arg(long, default_value = ".voxd")]
    dir: PathBuf,
    /// API, webhooks, metrics; 0: any free port
    #[arg(long, default_value_t = 8000)]
    http_port: u16,
    /// Local SQS; 0: any free port
    #[arg(long, default_value_t = 8001)]
    sqs_port: u16,
    /// The first simulated platform (Bland AI), the others and Google Speech at the next ones; 0: any free ports
    #[arg(long, default_value_t = 8002)]
    bland_port: u16,
    /// End when the sample calls have ended
    #[arg(long)]
    once: bool,
    /// Send no sample calls
    #[arg(long, conflicts_with = "once")]
    no_samples: bool,
    /// The daemon's log on the terminal instead of in DIR/voxd.log
    #[arg(long)]
    verbose: bool,
}

impl From<StackError> for CommandError {
    fn from(error: StackError) -> Self {
        match error {
            StackError::Config(error) => error.into(),
            StackError::Postgres(_) | StackError::Port(_) => Self::Unavailable(error.to_string()),
            StackError::Other { .. } => Self::Failed(error.to_string()),
        }
    }
}

impl Dev {
    pub(super) async fn run(self, context: &Context) -> Result<(), CommandError> {
        let lifecycle = Lifecycle::new();
        lifecycle.stop_on_signals().map_err(|error| CommandError::Failed(format!("signals: {error}")))?;
        // Bad settings are told before anything is started.
        context.config()?;
        let screen = Screen::new();
        screen.title(&self.dir);
        let options = StackOptions {
            dir: self.dir.clone(),
            http_port: self.http_port,
            sqs_port: self.sqs_port,
            bland_port: self.bland_port,
        };
        let (progress, done) = (|text: &str| screen.progress(text), |text: &str| screen.done(text));
        let mut stack = tokio::select! {
            stack = Stack::start(&options, &progress, &done) => stack?,
            () = lifecycle.stopping() => return Ok(()),
        };
        let result = self.serve(context, &mut stack, &screen, &lifecycle).await;
        screen.progress("stopping");
        let stopped = stack.stop().await;
        result?;
        stopped?;
        screen.progress("stopped; nothing is left running");
        Ok(())
    }

    async fn serve(
        &self,
        context: &Context,
        stack: &mut Stack,
        screen: &Screen,
        lifecycle: &Lifecycle,
    ) -> Result<(), CommandError> {
        let config = stack.config(context.file.as_deref(), &context.environment)?;
        let telemetry = self.logs(&config, stack)?;
        let store = Store::new(&config.database).map_err(CommandError::Failed)?;
        let migrated = store.migrate().await.map_err(|error| match CommandError::from(error) {
            CommandError::Failed(text) => {
                let dir = self.dir.display();
                CommandError::Failed(format!(
                    "{text}. The data in {dir} is of another version: make clean-dev drops it"
                ))
            }
            other => other,
        })?;
        match migrated {
            0 => screen.done("database       up to date"),
            n => screen.done(&format!("database       {n} migrations applied")),
        }
        let given = Given { listener: stack.http.take(), sqs: Some(stack.sqs_client_options(&config)) };
        let serving = app::serve_with(config.clone(), given, lifecycle.clone());
        let watching = self.watch(&config, &store, stack, screen, lifecycle);
        tokio::pin!(serving);
        let result = tokio::select! {
            served = &mut serving => served.map_err(CommandError::from),
            watched = watching => {
                lifecycle.begin_shutdown();
                let served = serving.await.map_err(CommandError::from);
                watched.and(served)
            }
        };
        // A daemon that could not start has left tasks behind.
        lifecycle.drain(Duration::from_secs(1)).await;
        store.close().await;
        telemetry.shutdown().await;
        result
    }

    fn logs(&self, config: &Config, stack: &Stack) -> Result<telemetry::Telemetry, CommandError> {
        let path = stack.dir.join("voxd.log");
        let made = if self.verbose {
            telemetry::init(&config.telemetry)
        } else {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
            let file = file.map_err(|error| CommandError::Failed(format!("{}: {error}", path.display())))?;
            telemetry::init_into(&config.telemetry, file)
        };
        made.map_err(|error| CommandError::Failed(error.to_string()))
    }

    /// Until the samples have ended (`--once`), or until somebody stops it.
    async fn watch(
        &self,
        config: &Config,
        store: &Store,
        stack: &Stack,
        screen: &Screen,
        lifecycle: &Lifecycle,
    ) -> Result<(), CommandError> {
        let base = stack.base_url();
        ready(&base).await?;
        screen.done(&format!("voxd           {base}"));
        let keys = Keys::find_or_make(store, stack).await?;
        let env = stack.write_env(&keys.operator, &keys.service)?;
        screen.addresses(&base, &env, &stack.dir.join("voxd.log"), &keys);
        let samples = if self.no_samples { Vec::new() } else { samples(stack).map_err(CommandError::Failed)? };
        let mut follow = Follow::start(store.clone(), &samples).await?;
        if !samples.is_empty() {
            screen.heading(&format!("sending {} sample events to the queue {}", samples.len(), stack::QUEUE));
            send(config, stack, &samples).await?;
        }
        let deadline = clock::monotonic() + SAMPLES_WITHIN;
        let (mut told, mut away) = (samples.is_empty(), false);
        while !lifecycle.is_stopping() {
            match follow.news().await {
                Ok(lines) => {
                    away = false;
                    lines.iter().for_each(|line| screen.event(line));
                }
                // The daemon waits for it, too: whoever stopped it wants to see that.
                Err(CommandError::Unavailable(text)) if !self.once => {
                    if !std::mem::replace(&mut away, true) {
                        screen.progress(&format!("{text}; what /readyz says: {base}/readyz"));
                    }
                }
                Err(error) => return Err(error),
            }
            if !told && follow.all_ended() {
                told = true;
                screen.results(&follow.results());
                if self.once {
                    return Ok(());
                }
                screen.what_next(follow.worth_looking_at(), stack::QUEUE, &env);
            }
            if self.once && clock::monotonic() > deadline {
                let open = follow.open().join(", ");
                return Err(CommandError::Failed(format!("the sample calls have not ended within 2 minutes: {open}")));
            }
            tokio::select! {
                () = clock::sleep(Duration::from_millis(150)) => {}
                () = lifecycle.stopping() => {}
            }
        }
        Ok(())
    }
}

/// The API keys of this directory, made once.
struct Keys {
    operator: String,
    service: String,
}

impl Keys {
    async fn find_or_make(store: &Store, stack: &Stack) -> Result<Self, CommandError> {
        let path = stack.dir.join("keys");
        let stored = std::fs::read_to_string(&path).unwrap_or_default();
        let mut lines = stored.lines();
        if let (Some(operator), Some(service)) = (lines.next(), lines.next())
            && store.authenticate(operator).await?.is_some()
            && store.authenticate(service).await?.is_some()
        {
            return Ok(Self { operator: operator.to_owned(), service: service.to_owned() });
        }
        let operator = store.create_key(Role::Operator, "dev", None).await?.key;
        let service = store.create_key(Role::Service, "dev", None).await?.key;
        let (operator, service) = (operator.expose().to_owned(), service.expose().to_owned());
        stack::write_private(&path, &format!("{operator}\n{service}\n"))
            .map_err(|error| CommandError::Failed(format!("{}: {error}", path.display())))?;
        Ok(Self { operator, service })
    }
}

/// Bland AI's samples tell what can become of a call; each other platform has one call that is answered.
fn samples(stack: &Stack) -> Result<Vec<Sample>, String> {
    let others = stack.sims.iter().filter(|sim| sim.name() != "bland_ai");
    let others: Vec<_> = others.map(|sim| (sim.name(), sim.voice_config())).collect();
    samples::of_run(stack.run, &others)
}

async fn send(config: &Config, stack: &Stack, samples: &[Sample]) -> Result<(), CommandError> {
    let sqs = Sqs::connect(stack.sqs_client_options(config)).await?;
    let producer = Producer::new(sqs, &stack.sqs.url(stack::QUEUE));
    let messages: Vec<Outgoing> = samples.iter().map(|sample| Outgoing::new(&sample.body)).collect();
    for result in producer.send(&messages, |_| ()).await {
        result?;
    }
    Ok(())
}

/// Until `/readyz` says so.
async fn ready(base: &str) -> Result<(), CommandError> {
    let failed = |error: reqwest::Error| CommandError::Failed(error.to_string());
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build().map_err(failed)?;
    let deadline = clock::monotonic() + READY_WITHIN;
    loop {
        let answer = client.get(format!("{base}/readyz")).send().await;
        let state = match answer {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        if clock::monotonic() > deadline {
            return Err(CommandError::Failed(format!("the daemon was not ready within a minute: {state}")));
        }
        clock::sleep(Duration::from_millis(50)).await;
    }
}
