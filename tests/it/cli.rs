//! Every command, as an operator types it: what it prints, what it changes, and its exit code.

use std::process::Output;

mod configuration;
mod doctor;
mod inspection;
mod removing;
mod restoring;
mod rules;
mod sending;
pub(crate) mod usage;

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}
