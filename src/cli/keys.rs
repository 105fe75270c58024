//! `voxd keys`

use std::time::Duration;

use chrono::SecondsFormat;
use clap::{Args, Subcommand};
use serde_json::json;

use super::{CommandError, Context, out};
use crate::config::duration;
use crate::store::keys::Role;

const AFTER_HELP: &str = "\
Examples:
  voxd keys create --role service --owner crm --expires 90d
  voxd keys create --role operator --owner ada --json
  voxd keys list
  voxd keys revoke 3f9a1c2b4d5e6f70

Roles: user (live voice sessions of its owner), operator (looks at calls, cancels, settles), service (sends messages).
The key is shown once and never stored; whoever lost it makes a new one.";

/// API keys of the HTTP interface
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Keys {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Subcommand)]
enum KeysCommand {
    Create(Create),
    List(List),
    Revoke(Revoke),
}

/// Makes a key and shows it, once
#[derive(Args)]
struct Create {
    /// user, operator or service
    #[arg(long, value_parser = role)]
    role: Role,
    /// Whose key it is
    #[arg(long)]
    owner: String,
    /// How long it works, e.g. 90d [default: for ever]
    #[arg(long, value_parser = duration::parse, value_name = "DURATION")]
    expires: Option<Duration>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// All keys, without their secrets
#[derive(Args)]
struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Ends a key
#[derive(Args)]
struct Revoke {
    /// The part between vx_ and the next _
    id: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn role(text: &str) -> Result<Role, String> {
    text.parse()
}

impl Keys {
    pub(super) async fn run(self, context: &Context) -> Result<(), CommandError> {
        let store = context.store(&context.config()?).await?;
        match self.command {
            KeysCommand::Create(create) => {
                let key = store.create_key(create.role, &create.owner, create.expires).await?;
                let expires_at = key.expires_at.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true));
                if create.json {
                    return out::json(&json!({
                        "id": key.id, "key": key.key.expose(), "role": create.role, "owner": create.owner, "expires_at": expires_at,
                    }));
                }
                out::line(key.key.expose())?;
                let until = expires_at.map_or("does not expire".to_owned(), |at| format!("expires at {at}"));
                eprintln!("This {} key of {} {until}. It is not shown again.", create.role, create.owner);
                Ok(())
            }
            KeysCommand::List(list) => {
                let keys = store.list_keys().await?;
                if list.json {
                    return out::json(&keys);
                }
                let time = |at: Option<chrono::DateTime<chrono::Utc>>| {
                    at.map_or("-".to_owned(), |at| at.format("%Y-%m-%d %H:%MZ").to_string())
                };
                let heads =
                    ["ID", "ROLE", "OWNER", "CREATED", "EXPIRES", "REVOKED", "LAST USED"].map(str::to_owned).to_vec();
                let rows = keys.into_iter().map(|key| {
                    let role = key.role.to_string();
                    let times = [Some(key.created_at), key.expires_at, key.revoked_at, key.last_used_at].map(time);
                    [key.id, role, key.owner].into_iter().chain(times).collect()
                });
                out::line(out::table(&std::iter::once(heads).chain(rows).collect::<Vec<_>>()))
            }
            KeysCommand::Revoke(revoke) => {
                if !store.revoke_key(&revoke.id).await? {
                    let problem = format!("there is no key {:?} that could be revoked", revoke.id);
                    return Err(CommandError::Failed(problem));
                }
                if revoke.json { out::json(&json!({ "revoked": revoke.id })) } else { out::line("revoked") }
            }
        }
    }
}
