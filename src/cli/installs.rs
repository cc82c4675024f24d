//! `hookwell installs`

use clap::Subcommand;
use serde_json::{Value, json};

use super::{ConfigArgs, Failure, Outcome, table};
use crate::app;
use crate::clock::{self, rfc3339};
use crate::event::Micros;
use crate::store::{Installation, InstallationFilter};

/// Where the apps are installed, and whether there is a token
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List installations by app and tenant
    #[command(after_help = "Examples:
  hookwell installs list --config hookwell.toml
  hookwell installs list --config hookwell.toml --all --json

A token is `usable`, `renewed on use` when its access token has ended and the next one can be had, `reauthorise` when only a person can get the next one (open /oauth/install again), or `none`: the app was installed and nobody has come back to the callback yet.")]
    List {
        #[command(flatten)]
        config: ConfigArgs,
        /// Only of this app
        #[arg(long, value_name = "ID")]
        app: Option<String>,
        /// Those that were uninstalled too
        #[arg(long)]
        all: bool,
        /// At most so many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..=100_000))]
        limit: i64,
        /// Print an object a line
        #[arg(long)]
        json: bool,
    },
    /// Show all that is known of one
    #[command(after_help = "Example:
  hookwell installs show ve9EPM428h8vShlRW1KT --config hookwell.toml

No token is ever shown.")]
    Show {
        /// The location or company
        tenant: String,
        #[command(flatten)]
        config: ConfigArgs,
        /// Of this app; the first of the configuration if not given
        #[arg(long, value_name = "ID")]
        app: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

const NAMES: [&str; 8] = [
    "app_id",
    "tenant",
    "account",
    "company_id",
    "state",
    "generation",
    "installed_at",
    "token",
];

pub(super) async fn run(args: Args) -> Outcome {
    let now = clock::system()();
    match args.command {
        Command::List {
            config,
            app,
            all,
            limit,
            json,
        } => {
            let config = config.load()?;
            let store = app::open_store_beside(&config.store).await?;
            let filter = InstallationFilter {
                app_id: app,
                installed: !all,
                after: None,
                limit,
            };
            let found = store.installations(&filter).await?;
            let rows: Vec<_> = found.iter().map(|one| row(one, now)).collect();
            Ok(table::print(json, &NAMES, &rows)?)
        }
        Command::Show {
            tenant,
            config,
            app,
            json,
        } => {
            let config = config.load()?;
            let store = app::open_store_beside(&config.store).await?;
            let app_id = app.or_else(|| config.apps.first().map(|app| app.id.clone()));
            let app_id = app_id.unwrap_or_default();
            let Some(found) = store.installation(&app_id, &tenant).await? else {
                return Err(Failure::saying(
                    Failure::NO_INPUT,
                    format!(
                        "app {app_id} is not known for {tenant}; see `hookwell installs list --all`"
                    ),
                ));
            };
            let mut fields: Vec<_> = NAMES.into_iter().zip(row(&found, now)).collect();
            fields.extend(details(&found));
            Ok(table::one(json, fields)?)
        }
    }
}

fn row(one: &Installation, now: Micros) -> Vec<Value> {
    vec![
        json!(one.app_id),
        json!(one.tenant),
        json!(one.account.as_str()),
        json!(one.company_id),
        json!(if one.installed {
            "installed"
        } else {
            "uninstalled"
        }),
        json!(one.generation),
        json!(one.installed_at.map(rfc3339)),
        json!(token(one, now)),
    ]
}

fn token(one: &Installation, now: Micros) -> &'static str {
    match &one.token {
        None => "none",
        Some(token) if token.reauthorise => "reauthorise",
        Some(token) if token.expires_at <= now => "renewed on use",
        Some(_) => "usable",
    }
}

fn details(one: &Installation) -> Vec<(&'static str, Value)> {
    let details = &one.details;
    let token = one.token.as_ref();
    vec![
        ("uninstalled_at", json!(one.uninstalled_at.map(rfc3339))),
        ("company_name", json!(details.company_name)),
        ("user_id", json!(details.user_id)),
        ("plan_id", json!(details.plan_id)),
        ("version_id", json!(details.version_id)),
        ("white_label", json!(details.white_label_domain)),
        (
            "token_ends",
            json!(token.map(|token| rfc3339(token.expires_at))),
        ),
        ("refreshable", json!(token.map(|token| token.refreshable))),
        ("scope", json!(token.map(|token| token.scope.clone()))),
    ]
}
