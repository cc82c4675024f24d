//! One use of the bench: the folder of its runs, the servers that they share, and how a row is carried
//! through.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use futures_util::FutureExt;
use tempfile::TempDir;

use crate::harness::Backend;
use crate::lab::servers::Servers;
use crate::lab::{Lab, Outcome};
use crate::nemesis;
use crate::rows::Row;
use crate::soak;

/// A bench. Dropping it ends its servers; its folders stay only with [`Self::end`].
pub struct Bench {
    folder: TempDir,
    /// The servers that rows share.
    pub servers: Arc<Servers>,
    seed: u64,
    whole: bool,
}

impl Bench {
    /// One without runs.
    pub fn new(seed: u64, whole: bool) -> Result<Self, String> {
        let folder = tempfile::Builder::new()
            .prefix("hookwell-faults-")
            .tempdir()
            .map_err(|error| error.to_string())?;
        // A Postgres of another user has to pass through to a disk below.
        let passable = std::fs::Permissions::from_mode(0o711);
        std::fs::set_permissions(folder.path(), passable).map_err(|error| error.to_string())?;
        // A row that breaks says so in its verdict; where it broke is enough beside that.
        std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
        Ok(Self {
            folder,
            servers: Arc::default(),
            seed,
            whole,
        })
    }

    /// Carries a row through; its folder stays. A defect is a name and the failpoints that make it, all
    /// daemons being the build that has failpoints.
    pub async fn carry(&self, row: &Row, store: Backend, defect: Option<(&str, &str)>) -> Outcome {
        let name = match defect {
            Some((name, _)) => format!("{}-{store}-{name}", row.id),
            None => format!("{}-{store}", row.id),
        };
        let mut lab = self.lab(row.id, store, &name);
        lab.points = defect.map(|(_, points)| points.to_owned());
        let outcome = guarded(lab, row.run).await;
        match defect {
            Some((name, _)) => outcome.with_defect(name),
            None => outcome,
        }
    }

    /// Lets faults overlap for so long.
    pub async fn nemesis(&self, store: Backend, minutes: f64) -> Outcome {
        let lab = self.lab("nemesis", store, &format!("nemesis-{store}"));
        guarded(lab, |lab| nemesis::nemesis(lab, minutes)).await
    }

    /// Goes on for so long, at this rate or at half of what is carried.
    pub async fn soak(&self, store: Backend, minutes: f64, rate: Option<f64>) -> Outcome {
        let lab = self.lab("soak", store, &format!("soak-{store}"));
        guarded(lab, |lab| soak::soak(lab, minutes, rate)).await
    }

    fn lab(&self, row: &'static str, store: Backend, folder: &str) -> Lab {
        Lab {
            row,
            store,
            seed: self.seed,
            whole: self.whole,
            folder: self.folder.path().join(folder),
            servers: Arc::clone(&self.servers),
            points: None,
        }
    }

    /// Forgets the folder of a row.
    pub fn forget(&self, row: &Row, store: Backend) {
        let folder = self.folder.path().join(format!("{}-{store}", row.id));
        let _ = std::fs::remove_dir_all(folder);
    }

    /// Ends it, and says where the folders are that it keeps.
    pub fn end(self, keep: bool) {
        if keep {
            println!("kept: {}", self.folder.keep().display());
        }
    }
}

/// A row that panics has not shown anything: that is a failure of its own kind.
async fn guarded<F: Future<Output = Outcome>>(lab: Lab, run: impl FnOnce(Lab) -> F) -> Outcome {
    let head = format!("{} {} seed={}", lab.row, lab.store, lab.seed);
    let ran = std::panic::AssertUnwindSafe(run(lab)).catch_unwind().await;
    ran.unwrap_or_else(|panic| {
        let said = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("panicked");
        Outcome::broken(format!(
            "{head} broken: {}",
            said.lines().next().unwrap_or_default()
        ))
    })
}
