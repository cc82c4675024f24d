//! `hookwell held`: tenants whose events RabbitMQ does not take.

use serde_json::{Value, json};

use super::{ConfigArgs, Outcome, table};
use crate::app;
use crate::clock::rfc3339;
use crate::store::HeldTenant;

/// Tenants whose events wait, as RabbitMQ refuses them
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  hookwell held --config hookwell.toml

The reason is `rejected` (a full queue gives a negative confirm) or `unroutable` (no queue takes it).
Nobody else waits for them. The daemon goes on trying in the tenant's order: make room or bind a
queue, and they are out within `broker.retry_max`. `hookwell events list --tenant ID` shows them.")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print an object a line
    #[arg(long)]
    json: bool,
}

const NAMES: [&str; 5] = ["tenant", "events", "since", "reason", "detail"];

pub(super) async fn run(args: Args) -> Outcome {
    let config = args.config.load()?;
    let store = app::open_store_beside(&config.store).await?;
    let held = store.held_tenants().await?;
    let rows: Vec<_> = held.iter().map(row).collect();
    Ok(table::print(args.json, &NAMES, &rows)?)
}

fn row(held: &HeldTenant) -> Vec<Value> {
    vec![
        json!(held.tenant),
        json!(held.events),
        json!(rfc3339(held.since)),
        json!(held.reason),
        json!(held.detail),
    ]
}
