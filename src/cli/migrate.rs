//! `hookwell migrate`

use std::io::Write;

use super::{ConfigArgs, Outcome};
use crate::app;

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
    let ran = app::open_store(&config.store).await?.1;
    let mut out = std::io::stdout().lock();
    match ran {
        0 => writeln!(out, "The schema is up to date.")?,
        1 => writeln!(out, "1 migration ran; the schema is up to date.")?,
        n => writeln!(out, "{n} migrations ran; the schema is up to date.")?,
    }
    Ok(())
}
