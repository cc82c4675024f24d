//! `hookwell migrate`: brings the store to the schema of this version.

use std::io::Write;

use super::{ConfigArgs, Outcome};
use crate::app;
use crate::store::Migrated;

/// Bring the store's schema up to date (serve does so by itself)
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  hookwell migrate --config hookwell.toml

Safe to run at the same time from several places: each migration runs once.")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) async fn run(args: Args) -> Outcome {
    let config = args.config.load()?;
    let Migrated { ran, schema } = app::open_store(&config.store).await?.1;
    let mut out = std::io::stdout().lock();
    match ran {
        _ if schema.is_newer() => writeln!(
            out,
            "Nothing to do: the schema is at {}, newer than this hookwell's {}, and lets it run.",
            schema.version, schema.known
        )?,
        0 => writeln!(out, "The schema is up to date.")?,
        1 => writeln!(out, "1 migration ran; the schema is up to date.")?,
        n => writeln!(out, "{n} migrations ran; the schema is up to date.")?,
    }
    Ok(())
}
