//! `voxd serve`

use clap::{Args, ValueEnum};

use super::{CommandError, Context};
use crate::app;
use crate::config::Role;
use crate::lifecycle::Lifecycle;
use crate::telemetry;

const AFTER_HELP: &str = "\
Examples:
  export DATABASE_URL=postgres://voxd:…@db/voxd AWS_REGION=us-east-1
  export VOXD_QUEUES=calls BLAND_AI_API_KEY=org_…
  voxd serve
  voxd serve --config /etc/voxd.toml
  voxd serve --roles http               webhooks and API only; workers run elsewhere
  voxd serve --roles worker             queues and sending only

Stops at SIGTERM: takes no new work, ends the sends under way, gives its leases back, exits with 0. A second signal \
leaves at once.";

/// The daemon: queues, sending, looking up, and the side port
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Serve {
    /// What this replica does [default: worker.roles, both]
    #[arg(long, value_delimiter = ',', value_name = "ROLE")]
    roles: Vec<RoleArg>,
}

#[derive(Clone, Copy, ValueEnum)]
enum RoleArg {
    /// Queues, sending, polling, reconciling, outcomes
    Worker,
    /// Webhooks and API
    Http,
}

impl Serve {
    pub(super) async fn run(self, context: &Context) -> Result<(), CommandError> {
        let mut config = context.config()?;
        if !self.roles.is_empty() {
            let role = |role: &RoleArg| match role {
                RoleArg::Worker => Role::Worker,
                RoleArg::Http => Role::Http,
            };
            config.worker.roles = self.roles.iter().map(role).collect();
        }
        let telemetry = telemetry::init(&config.telemetry).map_err(|error| match error {
            telemetry::InitError::Endpoint(_) => CommandError::BadConfiguration(error.to_string()),
            telemetry::InitError::AlreadySet => CommandError::Failed(error.to_string()),
        })?;
        let lifecycle = Lifecycle::new();
        lifecycle.stop_on_signals().map_err(|error| CommandError::Failed(format!("signals: {error}")))?;
        let result = app::serve(config, lifecycle).await;
        telemetry.shutdown().await;
        Ok(result?)
    }
}
