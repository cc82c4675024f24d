//! `hookwell man`: writes the manual pages.

use std::path::PathBuf;

use clap::CommandFactory;

use super::{Cli, Failure, Outcome};

/// Write the manual: a page for each command
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  hookwell man --dir /usr/local/share/man/man1")]
pub(super) struct Args {
    /// Where to; it is made if it is not there
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

pub(super) fn run(args: &Args) -> Outcome {
    let written = std::fs::create_dir_all(&args.dir)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), &args.dir));
    written.map_err(|error| {
        let what = format!("cannot write the manual into {}", args.dir.display());
        Failure::new(
            Failure::CANNOT_CREATE,
            anyhow::Error::new(error).context(what),
        )
    })
}
