//! A wall clock that jumps while a daemon runs: libfaketime reads the time's offset from a file whenever
//! it is asked. Clocks that only measure are left alone.

use std::path::{Path, PathBuf};

use crate::harness::DaemonConfig;

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// The clock of the daemons that are started with it.
pub struct WallClock {
    file: PathBuf,
}

impl WallClock {
    /// One that is right, for the daemons of this configuration.
    pub fn of(config: &mut DaemonConfig) -> Self {
        let file = config.dir().join("faketime");
        let clock = Self { file };
        clock.jump_to(0);
        let text = clock.file.to_str().expect("a plain name");
        for (name, value) in [
            ("LD_PRELOAD", library().as_str()),
            ("FAKETIME_TIMESTAMP_FILE", text),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ] {
            let variable = (name.to_owned(), value.to_owned());
            config.variables.push(variable);
        }
        clock
    }

    /// From now on it is wrong by so many seconds.
    pub fn jump_to(&self, seconds: i64) {
        let fresh = self.file.with_extension("fresh");
        std::fs::write(&fresh, format!("{seconds:+}")).unwrap();
        std::fs::rename(&fresh, &self.file).unwrap();
    }
}

/// Where Debian puts it on this kind of machine.
fn library() -> String {
    if Path::new(LIBRARY).exists() {
        return LIBRARY.to_owned();
    }
    let kind = std::env::consts::ARCH;
    format!("/usr/lib/{kind}-linux-gnu/faketime/libfaketimeMT.so.1")
}
