//! How long the disk takes to make a small write durable: the floor under every commit.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

const WRITES: usize = 300;

/// Appends 4 KiB to a new file in `folder`, with fdatasync after each.
pub fn run(folder: &Path) -> Result<()> {
    let path = folder.join("fsync.try");
    let mut file = File::create(&path).with_context(|| format!("cannot write {path:?}"))?;
    let mut micros = Vec::with_capacity(WRITES);
    for _ in 0..WRITES {
        let started = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        micros.push(started.elapsed().as_micros());
    }
    std::fs::remove_file(&path)?;
    micros.sort_unstable();
    for (name, part) in [("p50", 50), ("p99", 99)] {
        let place = (WRITES - 1) * part / 100;
        println!("fsync_{name}_ms={:.2}", micros[place] as f64 / 1000.0);
    }
    Ok(())
}
