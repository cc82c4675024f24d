//! The way in over HTTP (rows H): senders that hang up, answers that get lost, a store that is silent,
//! more requests than it can take.

use std::time::Duration;

use sqlx::{Connection, Executor, PgConnection, SqliteConnection};
use tokio::time::{Instant, sleep, timeout};

use crate::generator::Retry;
use crate::harness::store::execute;
use crate::harness::{Backend, Ending, eventually};
use crate::lab::{Answered, Lab, Outcome, Run, WITHIN};
use crate::records::{Class, FaultKind};

/// H-01: half of all senders hang up at any moment, before, during or after the commit, and a dozen do
/// nothing else; then every session of a Postgres is ended, so that what one of them left open is undone.
pub async fn hang_ups(lab: Lab) -> Outcome {
    let mut run = lab
        .setup()
        .load(|load| {
            (load.rate, load.hang_ups) = (RATE, 50.0);
            // What is posted again would compete with those who hang up, and never be quiet.
            load.retry = Retry::off();
        })
        .start()
        .await;
    for _ in 0..lab.times(10, 100) {
        let impolite = run.load().impolite(IMPOLITE, ANY_MOMENT);
        run.more(150).await;
        // What a session has left open is closed by the next append through it: those who hang up are
        // the last, and nothing follows them.
        run.load().set_rate(0.0);
        run.load().quiet(WITHIN).await;
        let goal = run.load().totals().attempts + 300;
        eventually("they are alone for a while", WITHIN, async || {
            (goal <= run.load().totals().attempts).then_some(())
        })
        .await;
        impolite.stop().await;
        let left_open = lab.store == Backend::Postgres && is_left_open(&run.store().url).await;
        run.expect(NO_SESSION_LEFT_OPEN, !left_open);
        run.fault(FaultKind::Store, "every session ended", async |run| {
            if lab.store == Backend::Postgres {
                let url = &run.store().url;
                execute(url, OTHERS_END).await;
            }
            run.look_after_crash().await;
            run.load().set_rate(RATE);
            run.more(50).await;
        })
        .await;
        if left_open {
            // Once is enough: everybody waits long for what such a session holds.
            break;
        }
    }
    run.judge().await
}

/// What H-01 expects of the daemon's sessions when nobody posts any more.
pub const NO_SESSION_LEFT_OPEN: &str = "no session stays idle in a transaction";

/// Events a second, of which half are hung up on.
const RATE: f64 = 200.0;

/// How many never do anything but hang up.
const IMPOLITE: u64 = 12;

/// From before a commit to well after it.
const ANY_MOMENT: Duration = Duration::from_millis(25);

/// Whether a session of the daemon stays in a transaction that nobody goes on with; waits until this is
/// sure, with a load that is quiet.
async fn is_left_open(url: &str) -> bool {
    let mut connection = PgConnection::connect(url).await.unwrap();
    eventually("every session is idle or left open", WITHIN, async || {
        let asked = sqlx::query_as(SESSIONS).fetch_one(&mut connection).await;
        let (busy, left_open): (i64, i64) = asked.unwrap();
        (left_open > 0 || busy == 0).then_some(left_open > 0)
    })
    .await
}

const SESSIONS: &str = "select count(*) filter (where state <> 'idle'), \
     count(*) filter (where state like 'idle in transaction%' and xact_start < clock_timestamp() - interval '1 second') \
     from pg_stat_activity where datname = current_database() and application_name = 'hookwell'";

const OTHERS_END: &str = "select pg_terminate_backend(pid) from pg_stat_activity \
     where datname = current_database() and pid <> pg_backend_pid()";

/// H-02: events are committed, and the answers never come to their senders.
pub async fn answers_lost(lab: Lab) -> Outcome {
    let mut run = lab.setup().behind_a_proxy().start().await;
    run.more(200).await;
    for ending in [Ending::Reset, Ending::Close] {
        let count = lab.times(50, 500) as u32;
        run.fault(FaultKind::Client, "answers swallowed", async |run| {
            run.front().swallow_answers(count, ending);
            eventually("all are swallowed", WITHIN, async || {
                (run.front().answers_to_swallow() == 0).then_some(())
            })
            .await;
        })
        .await;
        run.more(200).await;
    }
    let duplicates = run.daemon().metric(DUPLICATES).await.unwrap_or(0.0);
    run.figure(format!("{duplicates} found again"));
    run.expect(
        "what was swallowed came again and was known",
        duplicates >= lab.times(80, 800) as f64,
    );
    run.judge().await
}

/// Repeated events, as the daemon counts them.
pub const DUPLICATES: &str = "hookwell_events_accepted_total{outcome=\"duplicate\"}";

/// H-03: the store says nothing for a while, longer than anybody waits for an answer.
pub async fn silent_store(lab: Lab) -> Outcome {
    let silence = Duration::from_secs(lab.times(8, 30) as u64);
    let mut run = lab
        .setup()
        .own_postgres()
        .daemon(|config| {
            config
                .set("http", "commit_deadline = \"1s\"")
                .set("store", "statement_timeout = \"2s\"")
        })
        .load(|load| load.rate = 100.0)
        // The commit's deadline, and as much again for a machine that is busy with other things.
        .plan(|plan| plan.deadline_us = 4_000_000)
        .start()
        .await;
    run.more(200).await;
    let before = run.load().acked();
    run.fault(FaultKind::Store, "a silent store", async |run| {
        match lab.store {
            Backend::Postgres => {
                run.store().server().server.freeze();
                sleep(silence).await;
                run.store().server().server.thaw();
            }
            Backend::Sqlite => {
                let mut other = SqliteConnection::connect(&run.store().url).await.unwrap();
                let locking = timeout(WITHIN, other.execute("begin immediate"));
                locking.await.unwrap().unwrap();
                sleep(silence).await;
                other.execute("rollback").await.unwrap();
            }
        }
    })
    .await;
    let refused = run.load().totals().answers.get(&429).copied().unwrap_or(0);
    run.expect("senders are asked to come again", refused > 0);
    run.figure(format!("{refused} times 429"));
    run.more(200).await;
    run.expect("it goes on", run.load().acked() >= before + 200);
    run.judge().await
}

/// How long each rate is offered while the peak is looked for.
const STEP: Duration = Duration::from_secs(2);

/// H-12: ten times as many events come as can be taken, some of them with a signature of somebody else's. The store
/// is slow, and a batch is two events, so that the generator can exceed what the daemon takes without exhausting the
/// machine that both share.
pub async fn burst(lab: Lab) -> Outcome {
    let store = lab.store;
    let mut run = lab
        .setup()
        .own_postgres()
        .daemon(move |mut config| {
            if store == Backend::Sqlite {
                config.wrapper = SLOW_DISK.map(ToOwned::to_owned).to_vec();
            }
            config.set("store", "batch = 2")
        })
        .load(|load| {
            (load.rate, load.forged) = (20.0, FORGED);
            load.connections = 1024;
            load.retry = Retry::off();
        })
        .plan(|plan| plan.deadline_us = 10_000_000)
        .start()
        .await;
    if lab.store == Backend::Postgres {
        // In the server, because what the bench itself delays is longer while it makes more load.
        for setting in SLOW_COMMITS {
            execute(&run.store().url, setting).await;
        }
    }
    let span = Duration::from_secs(lab.times(12, 60) as u64);
    let (mut rate, mut peak) = (20.0, 0.0_f64);
    while rate < 3200.0 {
        let taken = offer(&run, rate, STEP).await.rate();
        peak = peak.max(taken);
        if taken < 0.7 * rate {
            break;
        }
        rate *= 2.0;
    }
    let calm = recovered(&run, 0.5 * peak, None).await.1;
    let held = run.held();
    // Before and after, so that both see the same machine, whatever else it does.
    let before = offer(&run, 1.2 * peak, span / 2).await.rate();
    let burst = run
        .fault(FaultKind::Other, "ten times the capacity", async |run| {
            offer(run, 10.0 * peak, span).await
        })
        .await;
    let most = run.peak();
    let (took, after) = recovered(&run, 0.5 * peak, Some(calm)).await;
    let at_peak = (before + offer(&run, 1.2 * peak, span / 2).await.rate()) / 2.0;

    let (goodput, offered) = (burst.rate(), burst.offered());
    let (forged, verified) = (
        burst.of(Class::Forged, None),
        burst.of(Class::Forged, Some(401)),
    );
    let refused = burst.of(Class::Signed, Some(429));
    run.figure(format!(
        "capacity {at_peak:.0}/s, offered {offered:.0}/s, goodput {goodput:.0}/s = {:.0} %, {refused} times 429, \
         {verified} of {forged} forged ones verified, {} MiB at most after {}, p99 {calm:.1?} again after {took:.1?} ({after:.1?})",
        100.0 * goodput / at_peak,
        most.rss_bytes >> 20,
        held.rss_bytes >> 20,
    ));
    run.expect(
        "goodput stays at four fifths of the capacity",
        goodput >= 0.8 * at_peak,
    );
    // What was not offered would flatter.
    run.expect(
        "the load is ten times the capacity",
        offered >= 8.0 * at_peak,
    );
    run.expect("the excess is refused", refused > 0);
    // Whoever comes while there is room is looked at.
    let room = goodput / offered;
    run.expect(
        "what is refused is not verified before",
        (verified as f64) < (1.5 * room + 0.15) * forged as f64,
    );
    run.expect(
        "memory stays within that of bodies",
        most.rss_bytes < held.rss_bytes + (64 << 20),
    );
    run.expect("it is as before soon after", took < RECOVERY);
    run.load().set_rate(20.0);
    run.more(20).await;
    run.judge().await
}

/// Requests of a hundred. Each that is verified is answered 401.
const FORGED: f64 = 10.0;
/// What is left of a burst waits no longer than half of the deadline of a commit; to measure takes time as well.
const RECOVERY: Duration = Duration::from_secs(15);

/// A commit takes 40 ms more.
const SLOW_COMMITS: [&str; 3] = [
    "alter system set commit_delay = 40000",
    "alter system set commit_siblings = 0",
    "select pg_reload_conf()",
];

/// Forcing something to the disk takes 40 ms more.
const SLOW_DISK: [&str; 12] = [
    "strace",
    "-D",
    "-qq",
    "-f",
    "--seccomp-bpf",
    "-o",
    "/dev/null",
    "-e",
    "trace=fsync,fdatasync",
    "-e",
    "inject=fsync,fdatasync:delay_exit=40000",
    "--",
];

/// Offers so many events a second, and says what came of it.
async fn offer(run: &Run, rate: f64, span: Duration) -> Answered {
    run.load().set_rate(rate);
    // What the rate before left behind is not counted.
    sleep(Duration::from_millis(500)).await;
    let from = run.clock().micros();
    sleep(span).await;
    run.answered(from, run.clock().micros())
}

/// Offers little until answers are as quick as they were, and says how long that took and what 99 of a hundred took
/// then; without a measure, what they take once they are no quicker than those before.
async fn recovered(run: &Run, rate: f64, calm: Option<Duration>) -> (Duration, Duration) {
    const NOISE: Duration = Duration::from_millis(100);
    run.load().set_rate(rate);
    let began = Instant::now();
    let mut last = Duration::MAX;
    loop {
        let from = run.clock().micros();
        run.more(20).await;
        let p99 = run.answered(from, run.clock().micros()).p99();
        let is_calm = p99 <= calm.map_or(last, |calm| 2 * calm + NOISE);
        if is_calm || WITHIN < began.elapsed() {
            return (began.elapsed(), p99);
        }
        last = p99;
    }
}
