//! Tokens at rest that were moved, cut, or whose key is gone (O-05): no call is made with what does not open, and
//! everything goes on when a person has mended it.

use hookwell::seal::{KEY_BYTES, Keyring};

use super::*;
use crate::harness::{Daemon, eventually};
use crate::records::FaultKind;

const OTHER: &str = "OtherTenant000000001";

/// Calls of the row's own tenant that wait because its token cannot be had.
async fn waits(run: &Run, count: i64) {
    let sql = format!(
        "select count(*) from follow_ups where tenant = '{OWN}' and state = 'pending' and reason = 'token_sealed'"
    );
    eventually("calls wait for a token", SETTLE, async || {
        (run.number(&sql).await == count).then_some(())
    })
    .await;
}

/// O-05-moved: somebody changes the store behind the daemon's back, and the key file.
pub async fn changed_in_the_store(lab: Lab) -> Outcome {
    let mut run = setup(&lab, Calls::default()).start().await;
    run.authorise_tenants(TENANTS).await;
    run.authorise(Some(OWN)).await;
    run.authorise(Some(OTHER)).await;
    let moved = format!(
        "update tokens set access_token = (select access_token from tokens where tenant = '{OTHER}') \
         where tenant = '{OWN}'"
    );
    let cut = format!(
        "update tokens set access_token = substr(access_token, 1, 20) where tenant = '{OWN}'"
    );
    for (round, change) in (1..).zip([moved, cut]) {
        run.more(20).await;
        run.fault(FaultKind::Other, "a sealed token is changed", async |run| {
            run.change(&change).await;
            post_all(run, &contacts(OWN, 2)).await;
            waits(run, 2).await;
            let asked = requests_of_own(run).await;
            run.expect(
                "no call is made with another's token, or with none",
                asked == 2 * (round - 1),
            );
            run.authorise(Some(OWN)).await;
        })
        .await;
        run.calls_of_end(OWN, 2 * round).await;
    }
    // The key is gone, and comes back.
    let file = run.config().dir().join("token-keys");
    let right = std::fs::read(&file).unwrap();
    run.fault(
        FaultKind::DaemonStop,
        "a start without the key",
        async |run| {
            run.stop_daemon().await;
            std::fs::write(&file, Keyring::line("k2", &[5; KEY_BYTES]).as_bytes()).unwrap();
            // Not one of the run's: it must not come to life.
            let refused = Daemon::launch(run.config()).await.err();
            let said = refused.map_or_else(String::new, |(_, log)| log);
            run.expect(
                "a start names the key that is missing, and the file",
                said.contains("the key k1") && said.contains("token-keys"),
            );
            std::fs::write(&file, &right).unwrap();
            run.start_daemon().await;
        },
    )
    .await;
    post_all(&mut run, &contacts(OWN, 2)).await;
    run.calls_of_end(OWN, 6).await;
    run.judge().await
}

/// How many calls of the row's own tenant came, whatever token they carried.
async fn requests_of_own(run: &Run) -> u64 {
    let journal = run.api().journal(run.clock()).await;
    let of_own = journal.iter().filter(|one| one.path.ends_with(OWN));
    of_own.count() as u64
}
