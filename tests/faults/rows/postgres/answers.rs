//! What a connection that breaks in the midst of a statement leaves open (P-04, P-05).

use std::time::Duration;

use tokio::time::sleep;

use super::WITHIN;
use crate::harness::{DaemonConfig, Deed, Ending, Side, eventually};
use crate::lab::{Lab, Outcome, Run};
use crate::records::FaultKind;

/// The statements by which events come in, and go out.
const APPEND: &str = "append_events";
const CURSOR: &str = "update cursors";

/// P-04: the server has committed, and the daemon never learns.
pub async fn lost(lab: Lab) -> Outcome {
    let mut run = lab.setup().daemon(soon).start().await;
    run.more(200).await;
    let mut hidden = 0;
    for _ in 0..lab.times(1, 10) {
        for ending in [Ending::Reset, Ending::Close, Ending::Silence] {
            for statement in [APPEND, CURSOR] {
                let refused = run.answers_of(429);
                let what = format!("the answer to {statement} is lost, then {ending:?}");
                run.fault(FaultKind::Store, &what, async |run| {
                    run.store()
                        .proxy()
                        .plan(statement, 1, Deed::LoseAnswer(ending));
                    happened(run).await;
                    if statement == APPEND {
                        run.refused_beyond(refused).await;
                    }
                    if ending == Ending::Silence {
                        given_up(run).await;
                    }
                })
                .await;
                hidden += usize::from(refused < run.answers_of(429));
                run.more(50).await;
            }
        }
    }
    run.arrived(50).await;
    run.expect("every lost answer to an append is a 429", hidden > 0);
    let duplicates = run.daemon().metric(DUPLICATES).await;
    let found = duplicates.is_some_and(|duplicates| hidden as f64 <= duplicates);
    run.expect("what was posted again was found in the log", found);
    run.judge().await
}

const DUPLICATES: &str = "hookwell_events_accepted_total{outcome=\"duplicate\"}";

/// P-05: the connection is reset behind each byte of an append, and of its answer; and the same for the
/// statement that moves the relay's cursor.
pub async fn cut_at_each_byte(lab: Lab) -> Outcome {
    let mut run = lab.setup().daemon(soon).start().await;
    run.more(200).await;
    for (statement, slice) in [(APPEND, 41), (CURSOR, 17)] {
        run.store().proxy().plan(statement, 1, Deed::Measure);
        happened(&run).await;
        let measured = eventually("it is measured", WITHIN, async || {
            run.store().proxy().measured()
        })
        .await;
        for (from, bytes) in [
            (Side::Client, measured.from_client),
            (Side::Server, measured.from_server),
        ] {
            let step = lab.times((bytes as usize).div_ceil(slice), 1);
            let what = format!("reset behind each of {bytes} bytes of {statement} ({from:?})");
            run.fault(FaultKind::Store, &what, async |run| {
                for after in (0..=bytes).step_by(step) {
                    run.store()
                        .proxy()
                        .plan(statement, 1, Deed::Cut { from, after });
                    happened(run).await;
                }
            })
            .await;
            run.more(50).await;
        }
    }
    run.look_after_crash().await;
    run.judge().await
}

/// Deadlines that a row can wait for.
fn soon(config: DaemonConfig) -> DaemonConfig {
    config
        .set("store", "statement_timeout = \"2s\"")
        .set("http", "commit_deadline = \"3s\"")
        .set("broker", "retry_max = \"200ms\"")
}

/// Waits until what is planned has met its statement.
async fn happened(run: &Run) {
    eventually("the statement comes by", WITHIN, async || {
        (run.store().proxy().to_come() == 0).then_some(())
    })
    .await;
}

/// Waits until the daemon has stopped waiting, and ends what stands in silence: a network does so too, and
/// as long as it does not, the server keeps the session, and with it the reader's lock.
async fn given_up(run: &Run) {
    sleep(Duration::from_millis(2500)).await;
    run.store().proxy().line.cut();
}
