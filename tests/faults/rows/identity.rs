//! Which event a body is (rows B): ids that are missing, shared, repeated, old, and clocks that are wrong.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use sqlx::{Connection, PgConnection, SqliteConnection};
use tokio::time::sleep;

use super::http::DUPLICATES;
use crate::harness::{Backend, Ghl, eventually};
use crate::lab::wall_clock::WallClock;
use crate::lab::{Crafted, Lab, Outcome, Run, Setup, WITHIN};
use crate::records::FaultKind;

const TENANT: &str = "Identity000000000001";
const KEY: &str = "contact.update.Identity000000000001";

/// One of these ids' bodies.
pub(super) fn contact(n: u64, id: &str) -> Crafted {
    let body = Ghl::new().body_with_id("ContactUpdate", TENANT, n, id);
    Crafted::signed(body).with_id(id).routed(TENANT, KEY)
}

async fn known_before(run: &Run) -> f64 {
    run.counted(DUPLICATES).await
}

/// B-08: bodies whose `webhookId` is missing or of no use. Their hash is their key, and a retry finds it.
pub async fn without_id(lab: Lab) -> Outcome {
    let mut run = lab.setup().load(|load| load.rate = 50.0).start().await;
    let long = "x".repeat(129);
    let huge = "x".repeat(100_000);
    let ids = [
        String::new(),
        r#","webhookId":"""#.to_owned(),
        r#","webhookId":null"#.to_owned(),
        r#","webhookId":{"id":"a"}"#.to_owned(),
        r#","webhookId":["a"]"#.to_owned(),
        r#","webhookId":"with blank""#.to_owned(),
        r#","webhookId":"tilde~tilde""#.to_owned(),
        r#","webhookId":"line\nfeed""#.to_owned(),
        ",\"webhookId\":\"Z\u{fc}rich\"".to_owned(),
        format!(r#","webhookId":"{long}""#),
        format!(r#","webhookId":"{huge}""#),
        r#","deliveryId":"a","id":"b""#.to_owned(),
    ];
    let without = "hookwell_events_without_id_total";
    let before = run.daemon().metric(without).await.unwrap_or(0.0);
    for id in &ids {
        let body = format!(r#"{{"type":"ContactUpdate","locationId":"{TENANT}"{id}}}"#);
        let crafted = Crafted::signed(body).routed(TENANT, KEY);
        let shown = id.get(..20).unwrap_or(id);
        let first = run.post_expecting(200, shown, &crafted).await;
        let again = run.post_expecting(200, shown, &crafted).await;
        run.expect(
            &format!("{shown} is new"),
            first.json()["status"] == "accepted",
        );
        run.expect(
            &format!("{shown} is known"),
            again.json()["status"] == "duplicate",
        );
    }
    let counted = run.daemon().metric(without).await.unwrap_or(0.0) - before;
    run.expect("each is counted", counted == 2.0 * ids.len() as f64);
    run.judge().await
}

/// B-09: one id with other bytes each time. All of them are kept, and somebody is told.
pub async fn one_id_two_bodies(lab: Lab) -> Outcome {
    let mut run = lab.setup().load(|load| load.rate = 50.0).start().await;
    let altered = "hookwell_events_accepted_total{outcome=\"altered\"}";
    let ids = lab.times(20, 200) as u64;
    let mut chance = lab.random();
    for _ in 0..ids {
        let id = chance.uuid();
        let bodies: Vec<_> = (0..4).map(|n| contact(n, &id)).collect();
        // Two one after the other, two at once, and all of them again.
        let posts = [&bodies[..1], &bodies[1..2], &bodies[2..], &bodies[..]];
        for together in posts {
            let answers = join_all(together.iter().map(|body| run.post(body))).await;
            let taken = answers.iter().flatten().all(|answer| answer.status == 200);
            run.expect(
                "each is taken",
                taken && answers.iter().all(Option::is_some),
            );
        }
    }
    let counted = run.daemon().metric(altered).await.unwrap_or(0.0);
    run.expect(
        &format!("other bytes of a known id count {}, not {counted}", 3 * ids),
        counted == 3.0 * ids as f64,
    );
    let warned = run
        .daemon()
        .log()
        .contains("a known webhookId came with other bytes");
    run.expect("the log says so", warned);
    run.judge().await
}

/// B-10: one event a thousand times at once, at three daemons where they can share a store.
pub async fn at_once(lab: Lab) -> Outcome {
    const COPIES: usize = 1000;
    let mut run = lab.setup().load(|load| load.rate = 50.0).start().await;
    if lab.store == Backend::Postgres {
        run.start_replicas().await;
    }
    let entrances = run.entrances();
    let mut chance = lab.random();
    let rounds = lab.times(3, 20);
    for _ in 0..rounds {
        let one = contact(0, &chance.uuid());
        let posts = entrances.iter().cycle().take(COPIES);
        let posts = posts.map(|entrance| run.post_at(*entrance, &one));
        let answers = join_all(posts).await;
        let good = answers
            .iter()
            .flatten()
            .filter(|answer| answer.status == 200)
            .count();
        run.expect(
            &format!("all {COPIES} are answered 200, not {good}"),
            good == COPIES,
        );
        let new = answers
            .iter()
            .flatten()
            .filter(|answer| answer.json()["status"] == "accepted");
        let new = new.count();
        run.expect(&format!("one of them is new, not {new}"), new == 1);
    }
    let known = known_before(&run).await;
    run.expect(
        "the others are known",
        known == (rounds * (COPIES - 1)) as f64,
    );
    run.judge().await
}

fn ruled_by<'a>(lab: &'a Lab, clock: &WallClock) -> Setup<'a> {
    let variables = clock.variables();
    lab.setup().daemon(|mut config| {
        config.variables.extend(variables);
        config
    })
}

/// Waits until the daemon's newest event bears a time that is off by about so many seconds.
async fn lives_by(run: &Run, seconds: i64) {
    eventually(
        &format!("the daemon's clock is off by {seconds} s"),
        WITHIN,
        async || {
            let off = newest(run).await? - now();
            (off.abs_diff(seconds) < 30).then_some(())
        },
    )
    .await;
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_secs() as i64
}

/// When the last event of the log came, in seconds, as the daemon had it.
async fn newest(run: &Run) -> Option<i64> {
    const SQL: &str = "select received_at from events order by position desc limit 1";
    let url = &run.store().url;
    let micros: i64 = match url.starts_with("sqlite:") {
        true => {
            let mut connection = SqliteConnection::connect(url).await.ok()?;
            sqlx::query_scalar(SQL)
                .fetch_one(&mut connection)
                .await
                .ok()?
        }
        false => {
            let mut connection = PgConnection::connect(url).await.ok()?;
            sqlx::query_scalar(SQL)
                .fetch_one(&mut connection)
                .await
                .ok()?
        }
    };
    Some(micros / 1_000_000)
}

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// B-16: genuine requests come again an hour, three days and thirty days later, to the same daemon and
/// to one that was started since.
pub async fn replayed(lab: Lab) -> Outcome {
    let clock = WallClock::new(&lab.folder);
    let mut run = ruled_by(&lab, &clock)
        // Bodies are kept as long as keys, so that the dump at the end has them all.
        .daemon(|config| config.set("store", "keep_bodies = \"31days\""))
        .load(|load| load.rate = 50.0)
        .start()
        .await;
    let mut chance = lab.random();
    let old: Vec<_> = (0..50).map(|n| contact(n, &chance.uuid())).collect();
    for one in &old {
        run.post_expecting(200, "an event", one).await;
    }
    for (later, name) in [
        (HOUR, "an hour"),
        (3 * DAY, "3 days"),
        (30 * DAY, "30 days"),
    ] {
        clock.jump_to(later);
        lives_by(&run, later).await;
        for restarted in [false, true] {
            if restarted {
                run.fault(FaultKind::DaemonStop, "a restart", async |run| {
                    run.stop_daemon().await;
                    run.start_daemon().await;
                })
                .await;
            }
            let before = known_before(&run).await;
            for one in &old {
                let answer = run.post_expecting(200, name, one).await;
                run.expect(
                    &format!("{name} later it is known"),
                    answer.json()["status"] == "duplicate",
                );
            }
            let known = known_before(&run).await - before;
            run.expect(
                &format!("{name} later all are counted"),
                known >= old.len() as f64,
            );
        }
    }
    run.judge().await
}

/// B-17: the daemon's clock jumps back and forth while events flow.
pub async fn clock_jumps(lab: Lab) -> Outcome {
    let clock = WallClock::new(&lab.folder);
    let mut run = ruled_by(&lab, &clock).start().await;
    run.more(100).await;
    let connects = "hookwell_broker_connects_total{result=\"ok\"}";
    let before = run.daemon().metric(connects).await;
    for _ in 0..lab.times(1, 10) {
        for off in [600, -600, DAY, -DAY, 0] {
            run.fault(
                FaultKind::Other,
                &format!("the clock jumps to {off:+} s"),
                async |run| {
                    clock.jump_to(off);
                    lives_by(run, off).await;
                    run.more(100).await;
                    run.arrived(100).await;
                    // Some time for timers that would now be due, or never.
                    sleep(Duration::from_millis(500)).await;
                },
            )
            .await;
        }
    }
    let after = run.daemon().metric(connects).await;
    run.expect("no session with the broker is lost", before == after);
    let refused = run.load().totals().answers.contains_key(&429);
    run.expect("nobody is sent away", !refused);
    run.judge().await
}
