//! `hookwell completions`: prints completions for a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Outcome};

/// Print completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hookwell completions bash > /etc/bash_completion.d/hookwell
  hookwell completions zsh > ~/.zfunc/_hookwell
  hookwell completions fish > ~/.config/fish/completions/hookwell.fish")]
pub(super) struct Args {
    /// Which shell
    shell: Shell,
}

pub(super) fn run(args: &Args) -> Outcome {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "hookwell", &mut text);
    Ok(std::io::Write::write_all(&mut std::io::stdout(), &text)?)
}
