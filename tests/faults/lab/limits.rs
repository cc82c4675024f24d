//! Bounds of a process, kept by the kernel in a control group of our own, of either version: who is over that of its
//! memory and has nothing to give back is killed; who is at that of its threads gets no other one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const V1: &str = "/sys/fs/cgroup";
const V2: &str = "/sys/fs/cgroup";
const PROCESSES: &str = "cgroup.procs";

/// A group with a limit. Dropping it lets out whoever is still in it.
pub struct Limit {
    folder: PathBuf,
    outside: PathBuf,
}

impl Limit {
    /// This process may take so much more memory than it holds now: what was taken before stays on the account of the
    /// group that it comes from.
    pub fn of_memory(pid: u32, bytes: u64) -> io::Result<Self> {
        Self::memory(bytes)?.around(pid)
    }

    /// This process gets no more threads.
    pub fn of_threads(pid: u32) -> io::Result<Self> {
        Self::threads()?.around(pid)
    }

    /// Whether there can be one of memory here.
    pub fn probe_memory() -> bool {
        Self::memory(1 << 30).is_ok()
    }

    /// Whether there can be one of threads here.
    pub fn probe_threads() -> bool {
        Self::threads().is_ok()
    }

    fn around(self, pid: u32) -> io::Result<Self> {
        fs::write(self.folder.join(PROCESSES), pid.to_string())?;
        Ok(self)
    }

    fn threads() -> io::Result<Self> {
        let (outside, _) = place("pids");
        Self::new(outside, "pids.max", "1")
    }

    fn memory(bytes: u64) -> io::Result<Self> {
        let (outside, is_v1) = place("memory");
        let (file, swap) = match is_v1 {
            true => ("memory.limit_in_bytes", "memory.swappiness"),
            false => ("memory.max", "memory.swap.max"),
        };
        let limit = Self::new(outside, file, &bytes.to_string())?;
        // Where there is swap, it would only become slow.
        let swap = limit.folder.join(swap);
        if swap.exists() {
            fs::write(swap, "0")?;
        }
        Ok(limit)
    }

    fn new(outside: PathBuf, file: &str, most: &str) -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hookwell-faults-{}-{count}", std::process::id());
        let folder = outside.join(name);
        fs::create_dir(&folder)?;
        let limit = Self { folder, outside };
        fs::write(limit.folder.join(file), most)?;
        Ok(limit)
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        let inside = fs::read_to_string(self.folder.join(PROCESSES));
        for pid in inside.unwrap_or_default().lines() {
            let _ = fs::write(self.outside.join(PROCESSES), pid);
        }
        // Somebody who was just killed may not be gone yet.
        for _ in 0..50 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("left behind: {}", self.folder.display());
    }
}

/// Where groups of a controller can be made, and whether that is the first version.
fn place(controller: &str) -> (PathBuf, bool) {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let of = format!(":{controller}:/");
    match own.lines().find_map(|line| line.split_once(&of)) {
        // Below our own, whose limits then go on to count.
        Some((_, own)) => (Path::new(V1).join(controller).join(own), true),
        // Only at the top may there be processes beside groups.
        None => (PathBuf::from(V2), false),
    }
}
