//! A private RabbitMQ or Postgres of one test, to be stopped, killed and restarted at will.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A service that belongs to one test and ends with it.
pub struct OwnService {
    dir: TempDir,
}

impl OwnService {
    /// Starts a `rabbitmq` or a `postgres` and returns when it is ready.
    pub async fn start(kind: &'static str) -> Self {
        Self::start_with(kind, &[]).await
    }

    /// The same with variables that `deploy/services.sh` reads.
    pub async fn start_with(kind: &'static str, variables: &[(&str, &str)]) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("hookwell-own-")
            .tempdir()
            .unwrap();
        let this = Self { dir };
        this.services(kind, variables).await;
        this
    }

    /// The folder `deploy/services.sh` knows it by.
    pub fn dir(&self) -> PathBuf {
        self.dir.path().join("service")
    }

    /// A value of its `env` file, as it is now.
    pub fn value(&self, key: &str) -> String {
        let path = self.dir().join("env");
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        text.lines()
            .filter_map(|line| line.split_once('='))
            .find_map(|(name, value)| (name == key).then(|| value.to_owned()))
            .unwrap_or_else(|| panic!("{} has no {key}", path.display()))
    }

    /// Sends a signal, such as `STOP`, to the process that `pid_key` names and to all its children:
    /// a stopped postmaster alone would leave its backends at work.
    pub fn signal(&self, pid_key: &str, signal: &str) {
        let parent: u32 = self.value(pid_key).parse().unwrap();
        send_signal(signal, &family_of(parent));
    }

    fn main_pid_key(&self) -> &'static str {
        match self.value("KIND").as_str() {
            "rabbitmq" => "BEAM_PID",
            "pgbouncer" => "PGBOUNCER_PID",
            _ => "PG_PID",
        }
    }

    /// Stops every process of it in its tracks; connections stay open and nothing answers.
    pub fn freeze(&self) {
        self.signal(self.main_pid_key(), "STOP");
    }

    /// Lets a frozen service go on.
    pub fn thaw(&self) {
        self.signal(self.main_pid_key(), "CONT");
    }

    /// Ends it the hard way.
    pub fn kill9(&self) {
        self.signal(self.main_pid_key(), "KILL");
    }

    /// Kills its main process alone; children find out by themselves, as after an OOM kill.
    pub fn kill9_parent(&self) {
        let pid: u32 = self.value(self.main_pid_key()).parse().unwrap();
        send_signal("KILL", &[pid]);
    }

    /// Ends it in order; the data stays.
    pub async fn stop(&self) {
        self.services("stop", &[]).await;
    }

    /// Starts it again with the same ports and data, whatever ended it.
    pub async fn restart(&self) {
        self.services("restart", &[]).await;
    }

    async fn services(&self, verb: &'static str, variables: &[(&str, &str)]) {
        let dir = self.dir();
        let variables: Vec<_> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        // Starting takes seconds: other tasks of the test go on meanwhile.
        tokio::task::spawn_blocking(move || services(verb, &dir, &variables))
            .await
            .unwrap();
    }
}

fn services(verb: &str, dir: &Path, variables: &[(String, String)]) {
    if let Err(said) = try_services(verb, dir, variables) {
        panic!("{said}");
    }
}

fn try_services(verb: &str, dir: &Path, variables: &[(String, String)]) -> Result<(), String> {
    let output = Command::new("bash")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/services.sh"))
        .arg(verb)
        .arg(dir)
        .envs(variables.iter().cloned())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "deploy/services.sh {verb}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}

impl Drop for OwnService {
    fn drop(&mut self) {
        if std::thread::panicking() && std::env::var_os("HOOKWELL_TEST_KEEP").is_some() {
            eprintln!("kept: {}", self.dir().display());
            return;
        }
        if self.dir().join("env").exists() {
            // A frozen process ends only when it goes on.
            self.thaw();
        }
        // A second panic here would hide the first one.
        if let Err(said) = try_services("remove", &self.dir(), &[]) {
            eprintln!("{said}");
        }
    }
}

/// Sends a signal to processes; one that has ended meanwhile is no failure.
pub fn send_signal(signal: &str, pids: &[u32]) {
    let _ = Command::new("kill")
        .arg(format!("-{signal}"))
        .args(pids.iter().map(u32::to_string))
        .stderr(Stdio::null())
        .status()
        .unwrap();
}

/// A process and everything it started, directly or not.
fn family_of(parent: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        // "pid (name) state parent …": the name may hold anything, so read from its end.
        let of = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        if let Some(of) = of {
            parents.push((pid, of));
        }
    }
    let mut family = vec![parent];
    let mut known = HashSet::from([parent]);
    loop {
        let found: Vec<_> = parents
            .iter()
            .filter(|(pid, of)| known.contains(of) && !known.contains(pid))
            .map(|(pid, _)| *pid)
            .collect();
        if found.is_empty() {
            return family;
        }
        known.extend(&found);
        family.extend(found);
    }
}
