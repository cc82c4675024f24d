//! What the log holds: I3 after each crash, and at the end I2, I4 and I9.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use super::super::records::{self, AFTER_CRASH, ROWS, Row};
use super::load::{NEVER, Run, unhex};
use super::{Counts, Findings, Invariant, own};

pub fn judge(
    folder: &Path,
    run: &mut Run,
    counts: &mut Counts,
    findings: &mut Findings,
) -> io::Result<()> {
    after_crashes(folder, run, findings)?;
    at_the_end(folder, run, counts, findings)
}

fn after_crashes(folder: &Path, run: &mut Run, findings: &mut Findings) -> io::Result<()> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(AFTER_CRASH))
        .map(|entry| entry.path())
        .collect();
    files.sort();
    if files.is_empty() {
        findings.undecided(
            Invariant::DurableBeforeAnswer,
            "no rows were read right after a crash",
        );
    }
    for file in files {
        let mut there = vec![false; run.events.len()];
        let taken = records::each_row(&file, |row| {
            let known = unhex(&row.sha256).and_then(|hash| run.by_hash.get(&hash));
            if let Some(index) = known {
                there[*index as usize] = true;
            }
        })?;
        let Some(taken) = taken else {
            findings.violated(Invariant::DurableBeforeAnswer, || {
                format!("{} is empty", file.display())
            });
            continue;
        };
        for (event, there) in run.events.iter_mut().zip(&there) {
            if !there {
                event.absent_at = event.absent_at.max(taken.taken);
            }
        }
        for (index, event) in run.all() {
            let due = event.signed && event.first_ok < taken.taken;
            if due && !there[index as usize] {
                findings.violated(Invariant::DurableBeforeAnswer, || {
                    let name = file.file_name().unwrap_or_default();
                    format!("{} is not in {}", run.name(index), name.display())
                });
            }
        }
    }
    Ok(())
}

fn at_the_end(
    folder: &Path,
    run: &mut Run,
    counts: &mut Counts,
    findings: &mut Findings,
) -> io::Result<()> {
    let mut ids = HashSet::new();
    let mut positions = HashSet::new();
    let taken = records::each_row(&folder.join(ROWS), |row| {
        counts.rows += 1;
        if !positions.insert(row.position) {
            findings.violated(Invariant::LogOrder, || {
                format!("two rows at position {}", row.position)
            });
        }
        if !ids.insert((row.id.clone(), row.app.clone())) {
            findings.violated(Invariant::IdempotentIngest, || {
                format!("two rows of {}", row.id)
            });
        }
        row_at_the_end(run, &row, counts, findings);
    })?;
    run.dumped = taken.is_some();
    if !run.dumped {
        for invariant in [Invariant::LogOrder, Invariant::IdempotentIngest] {
            findings.undecided(invariant, "no dump of the log");
        }
        return Ok(());
    }
    for (index, event) in run.all() {
        let acked = event.first_ok != NEVER;
        if event.signed && acked && event.position == 0 {
            findings.violated(Invariant::IdempotentIngest, || {
                format!("{} was answered 2xx and has no row", run.name(index))
            });
        }
        let recovered = event.signed && !event.own && !acked && event.position != 0;
        counts.recovered += usize::from(recovered);
    }
    Ok(())
}

fn row_at_the_end(run: &mut Run, row: &Row, counts: &mut Counts, findings: &mut Findings) {
    let hash = unhex(&row.sha256);
    let known = hash.and_then(|hash| Some((hash, *run.by_hash.get(&hash)?)));
    let Some((hash, index)) = known else {
        if own::take(run, row, hash) {
            counts.answers += 1;
            return;
        }
        counts.unexpected += 1;
        let altered = run.by_id.contains_key(row.id.as_str());
        findings.violated(Invariant::NothingInvented, || match altered {
            true => format!("the row of {} holds other bytes", row.id),
            false => format!("the row of {} was never sent", row.id),
        });
        return;
    };
    if !run.event(index).signed {
        counts.unexpected += 1;
        findings.violated(Invariant::NobodyGetsIn, || {
            format!("{} is in the log", run.name(index))
        });
    }
    if !run.is_id_of(index, &hash, &row.id) {
        findings.violated(Invariant::NothingInvented, || {
            format!("{} has the key {} in the log", run.name(index), row.id)
        });
    }
    let event = &mut run.events[index as usize];
    if event.position != 0 {
        let (one, other) = (event.position, row.position);
        findings.violated(Invariant::IdempotentIngest, || {
            format!("{} has rows {one} and {other}", row.id)
        });
    }
    event.position = row.position;
    run.by_position.insert(row.position, index);
    run.by_id.insert(row.id.as_str().into(), index);
}
