//! What this machine can do. A row says what it needs; what is missing is said, never passed over.

use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Something beyond two servers and a free port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ability {
    /// Mounts need it.
    Root,
    /// A file system of our own that can be shut down as by a power cut.
    PowerCut,
    /// System calls that fail or kill.
    Strace,
    /// Packets dropped without a word.
    Iptables,
    /// Limits of one process.
    Prlimit,
    /// A bound on a process's memory that the kernel keeps by killing it.
    MemoryLimit,
    /// A bound on a process's threads.
    ThreadLimit,
    /// A build with `--features failpoints`.
    Failpoints,
}

use Ability::{Failpoints, Iptables, MemoryLimit, PowerCut, Prlimit, Root, Strace, ThreadLimit};

/// What makes, mounts and shuts down a file system.
const DISK_TOOLS: [&str; 4] = ["mkfs.xfs", "xfs_io", "losetup", "mount"];

/// The variable that names the build with failpoints.
pub const FAILPOINTS_BINARY: &str = "HOOKWELL_FAILPOINTS_BIN";

impl Ability {
    const ALL: [Self; 8] = [
        Root,
        PowerCut,
        Strace,
        Iptables,
        Prlimit,
        MemoryLimit,
        ThreadLimit,
        Failpoints,
    ];

    fn probe(self) -> bool {
        match self {
            Root => said("id", &["-u"]).as_deref() == Some("0"),
            PowerCut => {
                Path::new("/dev/loop-control").exists()
                    && DISK_TOOLS.into_iter().all(is_there)
                    && crate::lab::power::Disk::probe()
            }
            // It has to be allowed to trace, too.
            Strace => succeeds("strace", &["-qq", "-o", "/dev/null", "true"]),
            Iptables => succeeds("iptables", &["-n", "-L"]),
            Prlimit => is_there("prlimit"),
            MemoryLimit => crate::lab::limits::Limit::probe_memory(),
            ThreadLimit => crate::lab::limits::Limit::probe_threads(),
            Failpoints => {
                std::env::var_os(FAILPOINTS_BINARY).is_some_and(|path| Path::new(&path).exists())
            }
        }
    }

    /// Whether a machine that lacks it could have it by installing or building something. Otherwise it lacks a right or
    /// a device, as a container does that may not mount or filter packets.
    pub fn can_be_installed(self) -> bool {
        match self {
            Root | Iptables | MemoryLimit | ThreadLimit => false,
            PowerCut => {
                Path::new("/dev/loop-control").exists() && !DISK_TOOLS.into_iter().all(is_there)
            }
            // It is there, and may not trace.
            Strace => !is_there("strace"),
            Prlimit | Failpoints => true,
        }
    }
}

impl fmt::Display for Ability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Root => "root",
            PowerCut => "an XFS loop mount",
            Strace => "strace",
            Iptables => "iptables",
            Prlimit => "prlimit",
            MemoryLimit => "a memory cgroup",
            ThreadLimit => "a pids cgroup",
            Failpoints => "a build with failpoints",
        })
    }
}

/// The abilities of this machine, probed once.
#[derive(Debug)]
pub struct Abilities(Vec<Ability>);

impl Abilities {
    /// Tries each of them.
    pub fn probe() -> Self {
        Self(
            Ability::ALL
                .into_iter()
                .filter(|ability| ability.probe())
                .collect(),
        )
    }

    /// Those of `needs` that are not there.
    pub fn missing(&self, needs: &[Ability]) -> Vec<Ability> {
        let lacks = |ability: &Ability| !self.0.contains(ability);
        needs.iter().copied().filter(lacks).collect()
    }

    /// The same in words; empty where nothing is missing.
    pub fn says_missing(&self, needs: &[Ability]) -> String {
        let names: Vec<_> = self
            .missing(needs)
            .iter()
            .map(ToString::to_string)
            .collect();
        match names.is_empty() {
            true => String::new(),
            false => format!("needs {}", names.join(", ")),
        }
    }
}

impl fmt::Display for Abilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = Ability::ALL.map(|ability| match self.0.contains(&ability) {
            true => ability.to_string(),
            false => format!("NOT {ability}"),
        });
        f.write_str(&list.join(", "))
    }
}

/// Administrators' tools are not on everybody's PATH.
pub fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

/// What a command prints, if it succeeds.
pub fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = command(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(text)
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    said(program, arguments).is_some()
}

fn is_there(program: &str) -> bool {
    succeeds("sh", &["-c", &format!("command -v {program}")])
}
