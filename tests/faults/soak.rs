//! The soak: a daemon as it ships, for hours, at half of what the machine carries, with calls to make, short keeping
//! times, and something mild that goes wrong every now and then. Nothing that it holds or leaves behind may rise.

use std::time::Duration;

use sqlx::{Connection, Executor, SqliteConnection};
use tokio::time::{Instant, sleep, sleep_until};

use crate::lab::follow_ups::{Calls, SNAPSHOT};
use crate::lab::{Lab, Outcome, Run};
use crate::levels::{HEAD, Level, MEASURES};
use crate::records::FaultKind;

/// A build to take instead of the one under test, such as that of a release.
const BINARY: &str = "HOOKWELL_BIN";
/// Contacts, twenty of each tenant.
const KEYS: u64 = 200;
/// From here on the rate is raised until the daemon does not keep up.
const FIRST_RATE: f64 = 100.0;
const STEP: Duration = Duration::from_secs(4);
const LOOK: Duration = Duration::from_secs(2);
/// What is kept is some thirtieth of the whole time, within these.
const KEEP: (f64, f64) = (10.0, 120.0);
/// Between two faults a fifteenth of it, within these.
const PAUSE: (f64, f64) = (15.0, 180.0);
/// Of this part nothing counts: caches fill, and what is kept comes to its size.
const WARM_UP: f64 = 1.0 / 3.0;

/// S-01: for half an hour; a slice is long enough for a leak with each event to be seen.
pub async fn row(lab: Lab) -> Outcome {
    const SLICE_RATE: f64 = 120.0;
    match lab.whole {
        true => soak(lab, 30.0, None).await,
        false => soak(lab, 2.0, Some(SLICE_RATE)).await,
    }
}

/// What broke last is over by the end: RabbitMQ takes its time to start, and a backlog to go out.
const HEALED: Duration = Duration::from_secs(60);

/// Goes on for so long at this rate, or at half of what is found to be carried.
pub async fn soak(lab: Lab, minutes: f64, rate: Option<f64>) -> Outcome {
    let whole = minutes * 60.0;
    let bodies = (whole / 30.0).clamp(KEEP.0, KEEP.1) as u64;
    let calls = Calls {
        rules: vec![SNAPSHOT],
        ..Calls::default()
    };
    let mut run = lab
        .setup()
        .own_broker()
        .own_postgres()
        .straight_to_the_store()
        .calls(calls)
        .keeps(bodies, 2 * bodies)
        .daemon(|mut config| {
            config.binary = std::env::var_os(BINARY).map(Into::into);
            config
        })
        .load(|load| {
            load.rate = rate.unwrap_or(FIRST_RATE);
            load.keys = KEYS;
            load.max_open = 2_000;
        })
        .start()
        .await;
    run.authorise_tenants(KEYS / 20).await;
    // A quorum queue needs a moment after its birth, see F-01.
    run.arrived(800).await;
    let rate = match rate {
        Some(rate) => rate,
        None => half(&mut run).await,
    };
    println!("soak {} at {rate:.0}/s for {minutes} min", lab.store);
    run.load().set_rate(rate);

    let (began, end) = (Instant::now(), Duration::from_secs_f64(whole));
    let looks = run.looks(LOOK);
    let pause = Duration::from_secs_f64((whole / 15.0).clamp(PAUSE.0, PAUSE.1));
    let warm = end.mul_f64(WARM_UP);
    for n in 0.. {
        let at = pause * (n + 1);
        if end < at + HEALED {
            break;
        }
        sleep_until(began + at).await;
        disturb(&mut run, n).await;
        if at <= warm {
            run.measure_before().await;
        }
    }
    sleep_until(began + end).await;
    let looks: Vec<_> = looks
        .end()
        .into_iter()
        .filter(|look| warm <= look.at)
        .collect();
    run.figure(format!("at {rate:.0}/s"));
    println!("{HEAD}");
    for level in MEASURES
        .iter()
        .filter_map(|measure| Level::of(measure, &looks))
    {
        println!("{level}");
        run.expect(level.expected(), level.holds());
    }
    run.judge().await
}

/// Half of the rate at which events still arrive as they come; what waits then is away.
async fn half(run: &mut Run) -> f64 {
    let (mut rate, mut carried) = (FIRST_RATE, 0.0_f64);
    loop {
        run.load().set_rate(rate);
        sleep(STEP / 4).await;
        let (taken, arrived) = (run.load().acked(), run.sink().seen());
        sleep(STEP).await;
        let taken = run.load().acked() - taken;
        let arrived = run.sink().seen() - arrived;
        let both = taken.min(arrived) as f64 / STEP.as_secs_f64();
        carried = carried.max(both);
        if both < 0.8 * rate {
            break;
        }
        rate *= 1.5;
    }
    let said = run.rest().await;
    println!("carries {carried:.0}/s; {said}");
    carried / 2.0
}

/// Something that happens to everybody, the one after the other.
async fn disturb(run: &mut Run, n: u32) {
    match n % 5 {
        0 => {
            run.fault(FaultKind::Broker, "the broker restarted", async |run| {
                let server = &run.broker().rabbit.server;
                server.stop().await;
                server.restart().await;
            })
            .await;
        }
        1 => refuse(run, 503).await,
        2 => {
            let what = "a store that waits for a second";
            run.fault(FaultKind::Store, what, halt_the_store).await;
        }
        3 => refuse(run, 429).await,
        _ => {
            let what = "the broker's connections cut";
            run.fault(FaultKind::Broker, what, async |run| {
                run.broker().proxy.line.cut();
            })
            .await;
        }
    }
    run.recovers().await;
}

/// The API answers the next calls so: too few for calls to be held back for long, which would go on to the end, and
/// fewer than a call has attempts, for they may all be of one. Only reads: a write that is answered 503 is parked.
async fn refuse(run: &mut Run, status: u16) {
    let what = format!("the API answers {status}");
    run.fault(FaultKind::Other, &what, async |run| {
        let deed = serde_json::json!({
            "path": "/contacts/", "method": "GET", "count": 2, "deed": {"status": status},
        });
        run.api().fault(deed).await;
    })
    .await;
}

async fn halt_the_store(run: &mut Run) {
    const FOR: Duration = Duration::from_secs(1);
    match &run.store().postgres {
        Some(postgres) => {
            postgres.server.freeze();
            sleep(FOR).await;
            postgres.server.thaw();
        }
        None => {
            let mut other = SqliteConnection::connect(&run.store().url).await.unwrap();
            other.execute("begin immediate").await.unwrap();
            sleep(FOR).await;
            other.execute("rollback").await.unwrap();
        }
    }
}
