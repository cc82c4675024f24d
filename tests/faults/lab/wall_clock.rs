//! A wall clock that jumps while a daemon runs: its processes load `wall_clock.c` first, which reads how far it is off
//! from a file. Timers go on by the monotonic clock, as they do where a clock is set.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The clock of the daemons that are started with it.
pub struct WallClock {
    file: PathBuf,
    library: PathBuf,
}

impl WallClock {
    /// One that is right so far, in this folder.
    pub fn new(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let (source, library) = (folder.join("wall_clock.c"), folder.join("wall_clock.so"));
        std::fs::write(&source, include_str!("wall_clock.c")).unwrap();
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, &source])
            .output()
            .unwrap();
        assert!(compiled.status.success(), "{compiled:?}");
        let clock = Self {
            file: folder.join("wall_clock"),
            library,
        };
        clock.jump_to(0);
        clock
    }

    /// The variables of a daemon that lives by it.
    pub fn variables(&self) -> [(String, String); 2] {
        [("LD_PRELOAD", &self.library), ("WALL_CLOCK", &self.file)]
            .map(|(name, path)| (name.to_owned(), path.display().to_string()))
    }

    /// From now on it is wrong by so many seconds.
    pub fn jump_to(&self, seconds: i64) {
        let fresh = self.file.with_extension("fresh");
        std::fs::write(&fresh, format!("{seconds:+}")).unwrap();
        std::fs::rename(&fresh, &self.file).unwrap();
    }
}
