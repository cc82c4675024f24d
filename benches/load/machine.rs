//! Where the CPU time of a run went, from `/proc`.

use std::collections::HashMap;
use std::fs;
use std::str::FromStr;

/// A process and everything it started.
#[derive(Debug, Clone)]
pub struct Watched {
    name: String,
    pid: u32,
}

impl FromStr for Watched {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=');
        let (name, pid) = parts.ok_or("must be NAME=PID")?;
        Ok(Self {
            name: name.to_owned(),
            pid: pid.parse().map_err(|_| format!("{pid} is no process id"))?,
        })
    }
}

/// The kernel's unit in `/proc` on every Linux of the last twenty years.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time since its start.
pub struct Watch {
    watched: Vec<Watched>,
    before: Vec<u64>,
    machine: u64,
}

impl Watch {
    /// Starts to watch these and this process.
    pub fn start(watched: &[Watched]) -> Self {
        let mut watched = watched.to_vec();
        watched.push(Watched {
            name: "generator".to_owned(),
            pid: std::process::id(),
        });
        let before = ticks(&watched);
        Self {
            watched,
            before,
            machine: machine_ticks(),
        }
    }

    /// Prints `cpu_<name>` in milliseconds per 1000 events; `other` is the rest of the machine.
    pub fn print(&self, events: u64) {
        let after = ticks(&self.watched);
        let per_thousand =
            |ticks: u64| ticks as f64 / TICKS_PER_SECOND * 1e6 / events.max(1) as f64;
        let mut other = machine_ticks().saturating_sub(self.machine);
        for ((watched, before), after) in self.watched.iter().zip(&self.before).zip(&after) {
            let used = after.saturating_sub(*before);
            other = other.saturating_sub(used);
            println!("cpu_{}={:.1}", watched.name, per_thousand(used));
        }
        println!("cpu_other={:.1}", per_thousand(other));
    }
}

/// Of each process, its own time, that of its living descendants, and of those it waited for.
fn ticks(watched: &[Watched]) -> Vec<u64> {
    let mut processes: HashMap<u32, (u32, u64)> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let Some(pid) = pid else { continue };
        // It may have ended in the meantime.
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let fields: Vec<&str> = match stat.rsplit_once(") ") {
            Some((_, rest)) => rest.split(' ').collect(),
            None => continue,
        };
        let number = |index: usize| {
            let field: Option<&&str> = fields.get(index);
            field.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0)
        };
        // state ppid … utime stime cutime cstime are the fields 3, 4 and 14 to 17 of proc(5).
        let parent = u32::try_from(number(1)).unwrap_or(0);
        processes.insert(pid, (parent, (11..=14).map(number).sum()));
    }
    let belongs = |mut pid: u32, to: u32| loop {
        if pid == to {
            return true;
        }
        match processes.get(&pid) {
            Some((parent, _)) if *parent != 0 => pid = *parent,
            _ => return false,
        }
    };
    watched
        .iter()
        .map(|watched| {
            processes
                .iter()
                .filter(|(pid, _)| belongs(**pid, watched.pid))
                .map(|(_, (_, ticks))| ticks)
                .sum()
        })
        .collect()
}

/// Everything the machine did but idle and wait.
fn machine_ticks() -> u64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = stat.lines().next().unwrap_or_default();
    let fields = first.split_ascii_whitespace().skip(1);
    let numbers: Vec<u64> = fields.filter_map(|field| field.parse().ok()).collect();
    const IDLE_AND_IO_WAIT: [usize; 2] = [3, 4];
    // The two last fields are time of guests, which is in the first two already.
    let busy = numbers.iter().enumerate().take(8);
    busy.filter(|(index, _)| !IDLE_AND_IO_WAIT.contains(index))
        .map(|(_, ticks)| ticks)
        .sum()
}
