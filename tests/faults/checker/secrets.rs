//! I13: canaries occur nowhere: in the daemons' logs, their metrics, whatever they or their commands said, and, but
//! for what is kept as it came, in the store in plain or as the hex digits in which a dump shows bytes.

use std::io;
use std::path::{Path, PathBuf};

use super::super::records;
use super::super::records::SCRAPES;
use super::super::records::calls::{CANARIES, Canary, DUMP, SAID};
use super::{Findings, Invariant};

pub fn judge(folder: &Path, findings: &mut Findings) -> io::Result<()> {
    if !folder.join(CANARIES).exists() {
        findings.undecided(Invariant::NoSecretLeaves, "no canaries");
        return Ok(());
    }
    let canaries: Vec<Canary> = records::read(&folder.join(CANARIES))?;
    let logs: Vec<_> = files(folder)?
        .into_iter()
        .filter(|file| is_log(file))
        .collect();
    if logs.is_empty() {
        findings.undecided(Invariant::NoSecretLeaves, "no log of a daemon");
    }
    let said = [logs, files(&folder.join(SAID))?, vec![folder.join(SCRAPES)]].concat();
    for file in said.iter().filter(|file| file.exists()) {
        let text = read(file)?;
        for canary in canaries.iter().filter(|canary| text.contains(&canary.text)) {
            leaked(findings, canary, folder, file);
        }
    }
    let sealed: Vec<_> = canaries
        .iter()
        .filter(|canary| canary.stored_sealed)
        .collect();
    let dumps = files(&folder.join(DUMP))?;
    if !sealed.is_empty() && dumps.is_empty() {
        findings.undecided(Invariant::NoSecretLeaves, "no dump of the store");
    }
    for file in &dumps {
        let text = read(file)?;
        let is_there = |canary: &Canary| {
            text.contains(&canary.text) || text.contains(&hex(canary.text.as_bytes()))
        };
        for canary in sealed.iter().filter(|canary| is_there(canary)) {
            leaked(findings, canary, folder, file);
        }
    }
    Ok(())
}

/// Says which one it is, not what it is.
fn leaked(findings: &mut Findings, canary: &Canary, folder: &Path, file: &Path) {
    findings.violated(Invariant::NoSecretLeaves, || {
        let place = file.strip_prefix(folder).unwrap_or(file);
        format!("{} is in {}", canary.name, place.display())
    });
}

fn is_log(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("hookwell.") && name.ends_with(".log")
}

/// The files of a folder, if there is one, in order.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.is_file());
    files.sort();
    Ok(files)
}

/// Canaries are plain text; what is around them need not be.
fn read(file: &Path) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&std::fs::read(file)?).into_owned())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
