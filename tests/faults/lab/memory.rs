//! A bound on the memory of a process, kept by the kernel: who is over it and has nothing to give back is
//! killed. A control group of our own, of either version.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const V1: &str = "/sys/fs/cgroup/memory";
const V2: &str = "/sys/fs/cgroup";
const PROCESSES: &str = "cgroup.procs";

/// A group with a limit. Dropping it lets out whoever is still in it.
pub struct MemoryLimit {
    folder: PathBuf,
    outside: PathBuf,
}

impl MemoryLimit {
    /// This process may take so much more than it holds now: what was taken before stays on the account of the
    /// group that it comes from.
    pub fn on(pid: u32, bytes: u64) -> io::Result<Self> {
        let limit = Self::new(bytes)?;
        fs::write(limit.folder.join(PROCESSES), pid.to_string())?;
        Ok(limit)
    }

    /// Whether there can be one here.
    pub fn probe() -> bool {
        Self::new(1 << 30).is_ok()
    }

    fn new(bytes: u64) -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (outside, file, swap) = place();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hookwell-faults-{}-{count}", std::process::id());
        let folder = outside.join(name);
        fs::create_dir(&folder)?;
        let limit = Self { folder, outside };
        fs::write(limit.folder.join(file), bytes.to_string())?;
        // Where there is swap, it would only become slow.
        let swap = limit.folder.join(swap);
        if swap.exists() {
            fs::write(swap, "0")?;
        }
        Ok(limit)
    }
}

impl Drop for MemoryLimit {
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

/// Where groups can be made, and what the limit's file and the one against swapping are called there.
fn place() -> (PathBuf, &'static str, &'static str) {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let v1 = own.lines().find_map(|line| line.split_once(":memory:/"));
    match v1 {
        // Below our own, whose limits then go on to count.
        Some((_, own)) => (
            Path::new(V1).join(own),
            "memory.limit_in_bytes",
            "memory.swappiness",
        ),
        // Only at the top may there be processes beside groups.
        None => (PathBuf::from(V2), "memory.max", "memory.swap.max"),
    }
}
