//! Exchanges, bindings and policies at RabbitMQ that somebody changes (rows F).

use crate::generator::Retry;
use crate::harness::daemon::ALL;
use crate::harness::operator::UNROUTED;
use crate::harness::{DaemonConfig, Network, Operator, eventually, run_cli};
use crate::lab::{Lab, Outcome, Run, WITHIN};
use crate::records::{FaultKind, Wanted};

const PENDING: &str = "hookwell_ledger_events{state=\"pending\"}";
const RETURNED: &str = "hookwell_publish_outcomes_total{outcome=\"returned\"}";
const NACKED: &str = "hookwell_publish_outcomes_total{outcome=\"nacked\"}";
/// Three of the generator's ten types.
const THIRTY_OF_A_HUNDRED: &str = "contact.#";
/// The other seven.
const OTHERS: [&str; 6] = [
    "note.#",
    "opportunity.#",
    "message.#",
    "appointment.#",
    "invoice.#",
    "order.#",
];

/// F-05: nothing is bound for 30 % of the events for a while; the alternate exchange takes them.
pub async fn unbound(lab: Lab) -> Outcome {
    let setup = lab.setup().sink_of(&[ALL, UNROUTED]).plan(|plan| {
        plan.wanted[0].queues.push(UNROUTED.to_owned());
    });
    let setup = setup.daemon(|mut config| {
        let bind = [&OTHERS[..], &[THIRTY_OF_A_HUNDRED]].concat();
        let bind = bind.into_iter().map(ToOwned::to_owned).collect();
        config.queues = vec![(ALL.to_owned(), bind)];
        config
    });
    let mut run = setup.start().await;
    let operator = Operator::at(&run.broker().rabbit.url).await;
    for _ in 0..lab.times(2, 20) {
        run.arrived(200).await;
        run.fault(FaultKind::Topology, "30 % unbound", async |run| {
            operator.unbind(ALL, THIRTY_OF_A_HUNDRED).await;
            run.arrived(300).await;
            operator.bind(ALL, THIRTY_OF_A_HUNDRED).await;
        })
        .await;
    }
    run.ingest_feels_nothing();
    run.judge().await
}

/// F-05: the same without an alternate exchange: what comes back waits in the log.
pub async fn unbound_without_alternate(lab: Lab) -> Outcome {
    let setup = lab.setup().daemon(|config| {
        // Longer than this row takes: nothing is parked.
        let attempts = "unroutable_attempts = 1000\nretry_max = \"1s\"";
        checks_only(config).set("broker", attempts)
    });
    let mut run = setup.without_daemon().start().await;
    let operator = Operator::at(&run.broker().rabbit.url).await;
    operator.declare_without_alternate(&[ALL]).await;
    for pattern in OTHERS.iter().chain([&THIRTY_OF_A_HUNDRED]) {
        operator.bind(ALL, pattern).await;
    }
    run.start_daemon().await;
    for _ in 0..lab.times(2, 20) {
        run.arrived(200).await;
        run.fault(FaultKind::Topology, "30 % unbound", async |run| {
            operator.unbind(ALL, THIRTY_OF_A_HUNDRED).await;
            rises(run, RETURNED).await;
            run.more(300).await;
            let pending = run.daemon().metric(PENDING).await;
            run.expect("what comes back is pending", pending > Some(0.0));
            operator.bind(ALL, THIRTY_OF_A_HUNDRED).await;
        })
        .await;
    }
    run.ingest_feels_nothing();
    run.judge().await
}

/// Seven of them: of every seven messages about one has no queue.
const TENANTS: u64 = 7;

/// F-06: routed and unroutable messages in the same windows; each is told from the other.
pub async fn mixed(lab: Lab) -> Outcome {
    let bound = || (1..TENANTS).map(|number| format!("*.*.Tenant{number:014}"));
    let count = lab.times(5000, 50_000);
    let setup = lab.setup().load(|load| {
        load.keys = 20 * TENANTS;
        load.rate = 2000.0;
        load.max_open = 1000;
    });
    let setup = setup.plan(|plan| {
        plan.parked = vec![hookwell::relay::UNROUTABLE.to_owned()];
        plan.wanted = vec![Wanted {
            queues: vec![ALL.to_owned()],
            bind: bound().collect(),
        }];
    });
    let setup = setup.daemon(|config| {
        let at_once = "unroutable_attempts = 1\nretry_max = \"100ms\"";
        checks_only(config).set("broker", at_once)
    });
    let mut run = setup.without_daemon().start().await;
    let operator = Operator::at(&run.broker().rabbit.url).await;
    operator.declare_without_alternate(&[ALL]).await;
    for pattern in bound() {
        operator.bind(ALL, &pattern).await;
    }
    // Windows are full when there is a backlog. A first one takes memory that is kept for the next.
    run.broker().proxy.line.network(Network::Refuses);
    run.start_daemon().await;
    for _ in 0..2 {
        run.broker().proxy.line.network(Network::Refuses);
        run.broker().proxy.line.cut();
        run.load().set_rate(2000.0);
        run.more(count / 2).await;
        run.load().set_rate(0.0);
        run.fault(FaultKind::Topology, "a seventh has no queue", async |run| {
            run.broker().proxy.line.network(Network::Passes);
            run.becomes(PENDING, 0.0).await;
        })
        .await;
    }
    let mut ledger = Vec::new();
    for state in ["parked", "published"] {
        let name = format!("hookwell_ledger_events{{state=\"{state}\"}}");
        ledger.push(run.daemon().metric(&name).await.unwrap_or_default());
    }
    // Of all that came, which is more than was waited for.
    let share = ledger[0] / (ledger[0] + ledger[1]);
    run.expect("about a seventh is parked", (0.125..0.2).contains(&share));
    run.judge().await
}

/// F-07: the exchange is deleted under load; the next session makes it again.
pub async fn exchange_deleted(lab: Lab) -> Outcome {
    let mut run = lab.setup().start().await;
    run.arrived(200).await;
    let operator = Operator::at(&run.broker().rabbit.url).await;
    for _ in 0..lab.times(4, 30) {
        run.fault(FaultKind::Broker, "exchange deleted", async |run| {
            operator.delete_exchange().await;
            run.arrived(200).await;
        })
        .await;
    }
    run.ingest_feels_nothing();
    run.judge().await
}

/// F-07: the same where hookwell may not make it: it says so, and goes on when somebody else has.
pub async fn exchange_deleted_where_it_only_checks(lab: Lab) -> Outcome {
    let setup = lab.setup().daemon(|config| {
        // Between the exchange and its binding nothing is parked.
        let attempts = "unroutable_attempts = 1000\nretry_max = \"1s\"";
        checks_only(config).set("broker", attempts)
    });
    let mut run = setup.without_daemon().start().await;
    let operator = Operator::at(&run.broker().rabbit.url).await;
    operator.declare_without_alternate(&[ALL]).await;
    operator.bind(ALL, "#").await;
    run.start_daemon().await;
    run.arrived(200).await;
    for _ in 0..lab.times(2, 10) {
        run.fault(FaultKind::Broker, "exchange away", async |run| {
            operator.delete_exchange().await;
            run.becomes(super::broker::CONNECTED, 0.0).await;
            eventually("it says what is missing", WITHIN, async || {
                let log = run.daemon().log();
                log.contains("exchange hookwell.events").then_some(())
            })
            .await;
            run.more(200).await;
            operator.declare_exchange().await;
            operator.bind(ALL, "#").await;
            run.arrived(200).await;
        })
        .await;
    }
    run.ingest_feels_nothing();
    run.judge().await
}

/// F-10: a queue that is at its limit and rejects, while nobody takes anything out of it and after that.
pub async fn full_queue(lab: Lab) -> Outcome {
    let setup = lab.setup().load(|load| load.rate = 1000.0);
    let setup = setup.daemon(|config| config.set("broker", "retry_max = \"500ms\""));
    let mut run = setup.start().await;
    run.arrived(200).await;
    let rabbit = run.broker().rabbit.clone();
    for _ in 0..lab.times(1, 5) {
        run.fault(FaultKind::Topology, "the queue rejects", async |run| {
            let rejects = r#"{"max-length":20,"overflow":"reject-publish"}"#;
            rabbit.policy(ALL, rejects).await;
            run.sink().freeze();
            // What the sink has not acknowledged does not count: a thousand come first.
            rises(run, NACKED).await;
            run.more(500).await;
            run.sink().thaw();
            run.arrived(500).await;
            rabbit.no_policy(ALL).await;
        })
        .await;
        run.arrived(200).await;
    }
    run.ingest_feels_nothing();
    run.judge().await
}

/// F-10: arguments with which RabbitMQ drops what it had confirmed are warned of at the start.
pub async fn dropping_queue(lab: Lab) -> Outcome {
    let mut run = lab
        .setup()
        .load(|load| load.retry = Retry::off())
        .start()
        .await;
    run.more(100).await;
    for (arguments, warned) in [
        ("{ x-overflow = \"drop-head\" }", true),
        ("{ x-max-length = 1000, x-overflow = \"drop-head\" }", true),
        ("{ x-max-length = 1000 }", true),
        ("{ x-max-length-bytes = 1000 }", true),
        ("{ x-message-ttl = 1000 }", true),
        ("{ x-expires = 1000 }", true),
        (
            "{ x-max-length = 1000, x-overflow = \"reject-publish\" }",
            false,
        ),
        ("{ x-single-active-consumer = true }", false),
    ] {
        let mut config = run.config().clone();
        config.tail = format!(
            "[[broker.queues]]\nname = \"hookwell.bounded\"\nbind = [\"#\"]\narguments = {arguments}\n"
        );
        let checked = run_cli(&["check-config"], &config);
        let said = [checked.stdout, checked.stderr].concat();
        let said = String::from_utf8_lossy(&said).contains("drop confirmed messages");
        run.expect(&format!("{arguments}: warned is {warned}"), said == warned);
    }
    run.judge().await
}

fn checks_only(config: DaemonConfig) -> DaemonConfig {
    config.set("broker", "topology = \"check\"")
}

async fn rises(run: &Run, metric: &str) {
    let before = run.daemon().metric(metric).await;
    eventually(&format!("{metric} rises"), WITHIN, async || {
        (before < run.daemon().metric(metric).await).then_some(())
    })
    .await;
}
