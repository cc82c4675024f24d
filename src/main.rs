//! The `hookwell` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    hookwell::cli::main()
}
