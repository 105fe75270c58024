//! The commands. One file each; `Command` is the one list of them.
//!
//! A command gets `Context` (settings, where from), does its work, and ends well or with a [`CommandError`], whose
//! variant is the exit code. What a command is asked for goes to standard output, everything else to standard error.

mod budgets;
mod calls;
mod check;
mod dev;
mod dnc;
mod enqueue;
mod error;
mod events;
mod keys;
mod migrate;
mod out;
mod paint;
mod queue;
mod report;
mod schema;
mod serve;
mod simulate;
mod sqs;
mod timeline;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, Environment};
use crate::store::Store;
pub use error::CommandError;

const AFTER_HELP: &str = "\
First steps:
  voxd dev                              everything on this machine, nothing to configure
  voxd check events.json                what would be sent to the platform, sending nothing
  voxd enqueue events.json              events onto the queue
  voxd calls list                       what became of them

Settings come from default.toml (compiled in), then the file of --config, then the environment: VOXD_SECTION__KEY, \
e.g. VOXD_WORKER__LEASE=10s; DATABASE_URL, VOXD_QUEUES, BLAND_AI_API_KEY and the AWS variables under their own names.

See them all, with where each comes from:  voxd check --config

Exit codes: 0 fine; 1 failed while running; 2 bad usage; 64 bad configuration; 69 a needed service cannot be reached.";

/// Delivers voice: AI phone calls from a queue, never lost, never placed twice by us.
#[derive(Parser)]
#[command(name = "voxd", version, after_help = AFTER_HELP, max_term_width = 110)]
struct Cli {
    /// A TOML file that lies over the default settings
    #[arg(long, global = true, value_name = "FILE", env = "VOXD_CONFIG", num_args = 0..=1, default_missing_value = "")]
    config: Option<OsString>,
    #[command(subcommand)]
    command: Command,
}

/// Every command: a line here, a file of that name.
#[derive(Subcommand)]
enum Command {
    Serve(serve::Serve),
    Dev(dev::Dev),
    Migrate(migrate::Migrate),
    Check(check::Check),
    Enqueue(enqueue::Enqueue),
    Schema(schema::Schema),
    Calls(calls::Calls),
    Dnc(dnc::Dnc),
    Budgets(budgets::Budgets),
    Keys(keys::Keys),
    Queue(queue::Queue),
    Report(report::ReportArgs),
    Simulate(simulate::Simulate),
}

/// What every command gets.
pub(crate) struct Context {
    file: Option<PathBuf>,
    /// `--config` stood without a file.
    show_settings: bool,
    environment: Environment,
}

impl Context {
    /// The settings in force.
    fn config(&self) -> Result<Config, CommandError> {
        Ok(Config::load(self.file.as_deref(), &self.environment)?)
    }

    /// The database, known to be reachable.
    async fn store(&self, config: &Config) -> Result<Store, CommandError> {
        let store = Store::new(&config.database).map_err(|problem| {
            let problem = problem.trim_start_matches("database.url ").to_owned();
            CommandError::BadConfiguration(format!("bad configuration: database.url (DATABASE_URL): {problem}"))
        })?;
        store.connect().await?;
        Ok(store)
    }
}

/// Reads the command line, runs the command, and gives the process's exit code.
pub fn main() -> ExitCode {
    error::one_line_panics();
    let cli = Cli::parse();
    let show_settings = cli.config.as_ref().is_some_and(|path| path.is_empty());
    if show_settings && !matches!(cli.command, Command::Check(_)) {
        return CommandError::Usage("--config wants a FILE (only `voxd check --config` goes without)".into()).report();
    }
    let file = cli.config.filter(|path| !path.is_empty()).map(PathBuf::from);
    let context = Context { file, show_settings, environment: Environment::of_process() };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return CommandError::Failed(format!("the runtime cannot be started: {error}")).report(),
    };
    let result = runtime.block_on(run(cli.command, context));
    // A task that ignores its end (a blocking look-up, say) does not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}

async fn run(command: Command, context: Context) -> Result<(), CommandError> {
    match command {
        Command::Serve(command) => command.run(&context).await,
        Command::Dev(command) => command.run(&context).await,
        Command::Migrate(command) => command.run(&context).await,
        Command::Check(command) => command.run(&context).await,
        Command::Enqueue(command) => command.run(&context).await,
        Command::Schema(command) => command.run(),
        Command::Calls(command) => command.run(&context).await,
        Command::Dnc(command) => command.run(&context).await,
        Command::Budgets(command) => command.run(&context).await,
        Command::Keys(command) => command.run(&context).await,
        Command::Queue(command) => command.run(&context).await,
        Command::Report(command) => command.run(&context).await,
        Command::Simulate(command) => command.run().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_teaches_by_example() {
        for command in Cli::command().get_subcommands_mut() {
            let name = command.get_name().to_owned();
            let help = command.render_help().to_string();
            assert!(help.contains(&format!("voxd {name}")) && help.contains("Examples:"), "{name}:\n{help}");
            assert!(command.get_about().is_some(), "{name}");
        }
    }
}
