//! `hookwell installs`: where the apps are installed, and what GHL says of it.

use std::io::Write;
use std::sync::Arc;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{ConfigArgs, Failure, Outcome, table};
use crate::app;
use crate::clock::{self, rfc3339};
use crate::event::lifecycle::Account;
use crate::event::{Micros, backfill};
use crate::follow_up::RECONCILE;
use crate::operator::action;
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
    /// Ask GHL where an app is installed, and make events of what was missed
    #[command(after_help = "Example:
  hookwell installs reconcile --config hookwell.toml

The running daemon asks, for each company that it has a token of; it does so by itself every repair.reconcile_every. What it finds is in the log as INSTALL and UNINSTALL with origin backfill; a location counts as gone when it is missing twice, repair.confirm_after apart. `hookwell follow-ups list --rule hookwell.reconcile` shows how far it is.")]
    Reconcile {
        #[command(flatten)]
        config: ConfigArgs,
        /// Only of this company
        #[arg(long, value_name = "ID")]
        company: Option<String>,
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
                limit,
                ..InstallationFilter::default()
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
        Command::Reconcile { config, company } => {
            let config = config.load()?;
            let store = app::open_store_beside(&config.store).await?;
            let filter = InstallationFilter {
                installed: true,
                limit: 100_000,
                ..InstallationFilter::default()
            };
            let mut companies = store.installations(&filter).await?;
            companies.retain(|one| {
                let wanted = company.as_ref().is_none_or(|wanted| *wanted == one.tenant);
                one.account == Account::Company && one.token.is_some() && wanted
            });
            if companies.is_empty() {
                return Err(Failure::saying(
                    Failure::NO_INPUT,
                    "there is no such company with a token; see `hookwell installs list`"
                        .to_owned(),
                ));
            }
            let operator = super::operator(Arc::clone(&store));
            let mut out = std::io::stdout();
            for one in companies {
                let key = format!("installs-{}-{}", one.tenant, now.0);
                let asked = backfill::reconcile(&key, &one.app_id, &one.tenant, "command", now);
                store.append(&[asked]).await?;
                let subject = format!("company {}", one.tenant);
                operator.note(action::RECONCILE, &subject, 1).await;
                writeln!(
                    out,
                    "asked for {}; `hookwell follow-ups list --rule {RECONCILE}` shows how far it is",
                    one.tenant
                )?;
            }
            Ok(())
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
