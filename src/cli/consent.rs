//! Asking before something is done that cannot be undone, or that is much.

use std::io::{BufRead, IsTerminal, Write};

use super::Failure;

/// Goes on if a person says yes, or said so before with `--yes`. Without a terminal nobody can be asked.
pub(super) fn consent(said_before: bool, question: &str) -> Result<(), Failure> {
    if said_before {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::saying(
            Failure::USAGE,
            format!(
                "{question} Nobody can be asked without a terminal; say --yes, or look first with --dry-run"
            ),
        ));
    }
    let mut out = std::io::stderr().lock();
    write!(out, "{question} [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::saying(
            Failure::PARTLY,
            "nothing was done".to_owned(),
        )),
    }
}
