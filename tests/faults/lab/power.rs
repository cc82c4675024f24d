//! A disk whose power can be cut, and that can be filled up: XFS on a loop device. The shutdown drops
//! everything that was written and not yet fsynced, as a power cut does. It does not tear sectors, and the
//! device does not lie.
//!
//! Whoever writes is stopped a moment before (see `Run::cut_power`): XFS may answer success to an fsync that
//! its shutdown overtakes. A program that does nothing but `pwrite` and `fdatasync` lost a page that it had
//! been told was durable in 3 of 120 shutdowns (Linux 6.18), and in none of 120 when it was stopped first.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::abilities::command;
use crate::harness::eventually;

/// What takes the room, with a number.
const FILLER: &str = "filler";

/// A file system of one run. Dropping it unmounts it and frees the device.
pub struct Disk {
    image: PathBuf,
    device: String,
    mount: PathBuf,
}

impl Disk {
    /// Makes one within `folder`, which has to be on a file system with room for it.
    pub fn new(folder: &Path) -> Self {
        Self::try_new(folder).unwrap_or_else(|error| panic!("no disk for a power cut: {error}"))
    }

    /// Whether one can be made, cut and mounted again here.
    pub fn probe() -> bool {
        let attempt = || -> Result<(), String> {
            let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
            let disk = Self::try_new(folder.path())?;
            disk.try_cut()?;
            disk.try_mount_again()
        };
        attempt().is_ok()
    }

    fn try_new(folder: &Path) -> Result<Self, String> {
        let (image, mount) = (folder.join("disk.img"), folder.join("disk"));
        std::fs::create_dir_all(&mount).map_err(|error| error.to_string())?;
        run("truncate", &["-s", "1G", text(&image)])?;
        let device = run("losetup", &["-f", "--show", text(&image)])?;
        // From here on, dropping it cleans up.
        let disk = Self {
            image,
            device,
            mount,
        };
        run("mkfs.xfs", &["-q", &disk.device])?;
        run("mount", &[&disk.device, text(&disk.mount)])?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// Bytes that are free.
    fn free(&self) -> u64 {
        let number = |of| -> u64 {
            let said = run("stat", &["-f", "-c", of, text(&self.mount)]).unwrap();
            said.parse().unwrap()
        };
        number("%a") * number("%S")
    }

    /// Leaves so many bytes on it.
    pub fn fill_but(&self, left: u64) {
        let piece = self.free().saturating_sub(left).to_string();
        let filler = self.mount.join(format!("{FILLER}-most"));
        run("fallocate", &["-l", &piece, text(&filler)]).unwrap();
    }

    /// Leaves no room on it: neither for a longer file nor for another one.
    pub fn fill(&self) {
        // Some of what is called free is for the file system itself: from large pieces to small ones.
        let mut piece = self.free();
        let mut number = 0;
        while 4096 <= piece {
            let filler = self.mount.join(format!("{FILLER}{number}"));
            number += 1;
            if run("fallocate", &["-l", &piece.to_string(), text(&filler)]).is_err() {
                let _ = std::fs::remove_file(filler);
                piece /= 2;
            }
        }
    }

    /// Gives the room back.
    pub fn empty(&self) {
        for entry in std::fs::read_dir(&self.mount).unwrap().flatten() {
            if entry.file_name().to_string_lossy().starts_with(FILLER) {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
    }

    /// Cuts the power. From now on every access fails, until [`Self::restore`].
    pub fn cut(&self) {
        self.try_cut().unwrap();
    }

    fn try_cut(&self) -> Result<(), String> {
        run("xfs_io", &["-x", "-c", "shutdown", text(&self.mount)]).map(drop)
    }

    /// Mounts what is left. Whoever had files open on it has to be gone, or to go soon.
    pub async fn restore(&self) {
        let mut said = String::new();
        eventually(
            "the disk is mounted again",
            Duration::from_secs(30),
            async || match self.try_mount_again() {
                Ok(()) => Some(()),
                Err(error) => {
                    said = error;
                    None
                }
            },
        )
        .await;
    }

    fn try_mount_again(&self) -> Result<(), String> {
        if is_mounted(&self.mount) {
            run("umount", &[text(&self.mount)])?;
        }
        run("mount", &[&self.device, text(&self.mount)]).map(drop)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, as a killed process may hold it for a moment longer.
        let unmounted = match is_mounted(&self.mount) {
            true => run("umount", &["-l", text(&self.mount)]).map(drop),
            false => Ok(()),
        };
        for result in [unmounted, run("losetup", &["-d", &self.device]).map(drop)] {
            if let Err(said) = result {
                eprintln!("{said}");
            }
        }
        let _ = std::fs::remove_file(&self.image);
    }
}

fn is_mounted(folder: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let named = |line: &str| line.split(' ').nth(1).map(Path::new) == Some(folder);
    mounts.lines().any(named)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = command(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(format!(
            "{program} {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}
