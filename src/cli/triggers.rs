//! `hookwell triggers`: workflows that wait for triggers.

use clap::Subcommand;
use serde_json::{Value, json};

use super::{ConfigArgs, Outcome, table};
use crate::app;
use crate::clock::rfc3339;
use crate::store::{Subscribed, SubscriptionFilter};

/// Which workflows use triggers of the apps
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List workflows by app and location
    #[command(after_help = "Examples:
  hookwell triggers list --config hookwell.toml
  hookwell triggers list --config hookwell.toml --location ve9EPM428h8vShlRW1KT --json

GHL says on apps.triggers_path when a workflow begins to use a trigger, and when it does so no more. A rule with `trigger` starts each of them.")]
    List {
        #[command(flatten)]
        config: ConfigArgs,
        /// Only of this app
        #[arg(long, value_name = "ID")]
        app: Option<String>,
        /// Only of this location
        #[arg(long, value_name = "ID")]
        location: Option<String>,
        /// Only of this trigger
        #[arg(long, value_name = "KEY")]
        trigger: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..=100_000))]
        limit: i64,
        /// Print an object a line
        #[arg(long)]
        json: bool,
    },
}

const NAMES: [&str; 7] = [
    "app_id",
    "location_id",
    "trigger",
    "id",
    "workflow_id",
    "filters",
    "changed_at",
];

pub(super) async fn run(args: Args) -> Outcome {
    let Command::List {
        config,
        app,
        location,
        trigger,
        limit,
        json,
    } = args.command;
    let config = config.load()?;
    let store = app::open_store_beside(&config.store).await?;
    let filter = SubscriptionFilter {
        app_id: app,
        location_id: location,
        trigger,
        limit,
    };
    let found = store.subscriptions(&filter).await?;
    let rows: Vec<_> = found.iter().map(row).collect();
    Ok(table::print(json, &NAMES, &rows)?)
}

fn row(found: &Subscribed) -> Vec<Value> {
    let one = &found.subscription;
    vec![
        json!(found.app_id),
        json!(one.location_id),
        json!(one.trigger),
        json!(one.id),
        json!(one.workflow_id),
        one.filters.clone(),
        json!(rfc3339(found.changed_at)),
    ]
}
