//! `voxd schema`

use clap::{Args, ValueEnum};

use super::{CommandError, out};
use crate::call::policy::rules::RulesFile;
use crate::config::Config;

const AFTER_HELP: &str = "\
Examples:
  voxd schema job > job.schema.json     JSON Schema of a job event, for editors and validators
  voxd schema config                    JSON Schema of the configuration file
  voxd schema rules                     JSON Schema of policy.rules_file
  voxd schema openapi                   OpenAPI document of the HTTP interface";

/// Prints the JSON Schema of jobs, settings or rules, or the OpenAPI document
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Schema {
    what: What,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// A job event, as it stands on the queue
    Job,
    /// The configuration file
    Config,
    /// The operator's rules file
    Rules,
    /// The HTTP interface
    Openapi,
}

impl Schema {
    pub(super) fn run(self) -> Result<(), CommandError> {
        match self.what {
            What::Job => out::json(&crate::job::schema()),
            What::Config => out::json(&schemars::schema_for!(Config)),
            What::Rules => out::json(&schemars::schema_for!(RulesFile)),
            What::Openapi => out::json(&crate::http::openapi()),
        }
    }
}
