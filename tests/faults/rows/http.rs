//! The way in over HTTP (rows H).

use crate::harness::Backend;
use crate::harness::store::execute;
use crate::lab::{Lab, Outcome};
use crate::records::FaultKind;

/// H-01: half of all senders hang up at any moment, before, during or after the commit; then every
/// session of a Postgres is ended, so that what one of them left open is undone.
pub async fn hang_ups(lab: Lab) -> Outcome {
    let mut run = lab
        .setup()
        .load(|load| (load.rate, load.hang_ups) = (500.0, 50.0))
        .start()
        .await;
    for _ in 0..lab.times(10, 100) {
        run.more(150).await;
        run.fault(FaultKind::Store, "every session ended", async |run| {
            if lab.store == Backend::Postgres {
                let url = &run.store().url;
                execute(url, OTHERS_END).await;
            }
            run.look_after_crash().await;
            run.more(50).await;
        })
        .await;
    }
    run.judge().await
}

const OTHERS_END: &str = "select pg_terminate_backend(pid) from pg_stat_activity \
     where datname = current_database() and pid <> pg_backend_pid()";
