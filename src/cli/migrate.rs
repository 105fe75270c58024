//! `voxd migrate`

use clap::Args;
use serde_json::json;

use super::{CommandError, Context, out};

const AFTER_HELP: &str = "\
Examples:
  DATABASE_URL=postgres://voxd:…@db/voxd voxd migrate
  voxd migrate --json

Safe to run at any time and by several at once; a database that is up to date stays as it is. The daemon does not \
migrate by itself: it waits, not ready, until this has been done.";

/// Applies the migrations to the database
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Migrate {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Migrate {
    pub(super) async fn run(self, context: &Context) -> Result<(), CommandError> {
        let store = context.store(&context.config()?).await?;
        let applied = store.migrate().await?;
        if self.json {
            return out::json(&json!({ "applied": applied }));
        }
        out::line(match applied {
            0 => "up to date".to_owned(),
            1 => "1 migration applied".to_owned(),
            n => format!("{n} migrations applied"),
        })
    }
}
