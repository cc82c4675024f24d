//! `hookwell audit`: what people did to the log, and when.

use serde_json::json;

use super::{ConfigArgs, Outcome, table};
use crate::app;
use crate::clock::rfc3339;

/// Show what people did, at the console and on the command line
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  hookwell audit --config hookwell.toml --limit 20

At the console a person is named as in admin.token_file, on the command line as cli:<user>.")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Only entries before this number (to page on)
    #[arg(long, value_name = "ID")]
    before: Option<i64>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
    /// Print an object a line
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> Outcome {
    let config = args.config.load()?;
    let store = app::open_store_beside(&config.store).await?;
    let entries = store.audit_trail(args.before, args.limit).await?;
    let rows: Vec<_> = entries
        .iter()
        .map(|entry| {
            vec![
                json!(entry.id),
                json!(rfc3339(entry.at)),
                json!(entry.who),
                json!(entry.action),
                json!(entry.subject),
                json!(entry.count),
            ]
        })
        .collect();
    let names = ["id", "at", "who", "action", "subject", "affected"];
    Ok(table::print(args.json, &names, &rows)?)
}
