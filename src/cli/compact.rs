//! `hookwell compact`: rewrites a SQLite file, so that what was deleted is no longer in it.

use std::io::Write;

use serde_json::json;

use super::{ConfigArgs, Failure, Outcome, progress, table};
use crate::app;
use crate::operator::action;
use crate::store::Error;

/// Rewrite the SQLite file without its free pages
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hookwell compact --config hookwell.toml
  hookwell compact --config hookwell.toml --json

Stop the daemon first. It takes room for twice what is kept, beside the file; ended in the midst of it the file is as before. Files that were made by this version or a later one give free pages back by themselves, and so does an older one from then on: once is enough.")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> Outcome {
    let config = args.config.load()?;
    if !config.store.url.starts_with("sqlite:") {
        return Err(Failure::saying(
            Failure::USAGE,
            "store.url is no SQLite file; Postgres uses free space again by itself, and `vacuum full events` gives it back",
        ));
    }
    let store = match app::open_file_alone(&config.store).await {
        Err(Error::InUse(said)) => {
            return Err(Failure::saying(
                Failure::UNAVAILABLE,
                format!("stop the daemon first: {said}"),
            ));
        }
        opened => opened?,
    };
    let spinner = progress::spinner("rewriting the file");
    let sizes = store.compact().await?;
    spinner.finish_and_clear();
    let subject = format!("{} to {} bytes", sizes.before, sizes.after);
    let operator = super::operator(store);
    operator.note(action::COMPACT, &subject, 1).await;
    operator.store.close().await;
    let mut out = std::io::stdout().lock();
    if args.json {
        let done = json!({"bytes_before": sizes.before, "bytes_after": sizes.after});
        return Ok(writeln!(out, "{}", table::line(&done))?);
    }
    let mib = |bytes: u64| bytes as f64 / f64::from(1024 * 1024);
    writeln!(
        out,
        "The file took {:.1} MiB and takes {:.1} MiB now.",
        mib(sizes.before),
        mib(sizes.after)
    )?;
    Ok(())
}
