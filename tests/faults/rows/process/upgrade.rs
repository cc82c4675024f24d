//! The daemon is upgraded to the version after it, and back (D-12).

use crate::harness::{Backend, Network};
use crate::lab::{Lab, Outcome, Run};
use crate::records::FaultKind;

/// The failpoints of the version under test, and of the one after it.
const VERSIONS: [(&str, &str); 2] = [("the next version", "schema.next=return"), ("back", "")];
/// What it says on a schema that it does not know.
const WARNING: &str = "the store's schema is newer than this hookwell's, and lets it run";

/// D-12: a daemon is replaced by the next version, which migrates the store, and that by the one before,
/// under load and while events wait for the broker. On Postgres there are three, replaced one after the other:
/// those that were not yet replaced go on beside the migration.
pub async fn there_and_back(lab: Lab) -> Outcome {
    let rolling = lab.store == Backend::Postgres;
    let mut run = lab
        .setup()
        .failpoints("")
        .load(|load| load.rate = 400.0)
        .start()
        .await;
    if rolling {
        run.start_replicas().await;
    }
    for _ in 0..lab.times(1, 10) {
        for (name, points) in VERSIONS {
            run.arrived(400).await;
            let what = format!("{name}, the broker is away");
            run.fault(FaultKind::Broker, &what, async |run| {
                away(run).await;
                run.failpoints(points);
                let (status, _) = run.stop_daemon().await;
                run.expect("it ends with 0", status.code() == Some(0));
                run.start_daemon().await;
                let warned = run.daemon().log().contains(WARNING);
                run.expect("only the older version warns", warned == points.is_empty());
                // Two versions on one log, and more waits for the broker.
                run.more(400).await;
                run.broker().proxy.line.network(Network::Passes);
            })
            .await;
            run.arrived(400).await;
            if rolling {
                let what = format!("{name}, the other daemons");
                run.fault(FaultKind::DaemonStop, &what, async |run| {
                    for _ in 0..2 {
                        let status = run.stop_peer().await;
                        run.expect("another one ends with 0", status.code() == Some(0));
                        run.more(200).await;
                        run.start_peer().await;
                    }
                })
                .await;
                run.arrived(400).await;
            }
        }
    }
    run.judge().await
}

/// The next version, which takes something away that the one before it needs.
const BREAKING: &str = "schema.next_breaking=return";
const WAY_OUT: &str = "Run the newer hookwell again, or restore the backup";

/// D-12-refused: the way back is refused where the next version takes something away. The log is left
/// alone, and the next version goes on.
pub async fn refused(lab: Lab) -> Outcome {
    let mut run = lab.setup().failpoints("").start().await;
    run.arrived(200).await;
    let what = "a way back that is refused";
    run.fault(FaultKind::DaemonStop, what, async |run| {
        run.stop_daemon().await;
        run.failpoints(BREAKING);
        run.start_daemon().await;
        run.arrived(200).await;
        run.stop_daemon().await;
        run.failpoints("");
        let said = run.refused_start().await;
        let clear = said.starts_with("Some(69)") && said.contains(WAY_OUT);
        run.expect(&format!("69 and the way out, not {said:?}"), clear);
        run.failpoints(BREAKING);
        run.start_daemon().await;
    })
    .await;
    run.more(200).await;
    run.judge().await
}

/// Takes the broker away and waits until events wait for it.
async fn away(run: &mut Run) {
    let line = &run.broker().proxy.line;
    line.network(Network::Refuses);
    line.cut();
    run.more(400).await;
}
