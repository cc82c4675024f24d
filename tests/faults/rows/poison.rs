//! Events of one tenant that cannot be published (rows F): only that tenant may feel it.

use std::time::Duration;

use tokio::time::sleep;

use crate::generator::Settings;
use crate::harness::Operator;
use crate::harness::daemon::ALL;
use crate::lab::{Lab, Outcome, Run};
use crate::records::{FaultKind, Plan, Wanted};

const TENANTS: u64 = 100;
const CONTACTS: u64 = 20;
/// One of a hundred.
const POISONED: u64 = 42;
/// The queue of that tenant, and of nobody else.
const OWN: &str = "hookwell.poisoned";

/// A queue that is not there.
const NOBODYS: &str = "hookwell.nobodys";

fn tenant(number: u64) -> String {
    format!("Tenant{number:014}")
}

fn pattern(number: u64) -> String {
    format!("*.*.{}", tenant(number))
}

fn others() -> Vec<String> {
    let others = (0..TENANTS).filter(|number| *number != POISONED);
    others.map(pattern).collect()
}

/// Few events until everything is connected: what waits for that is no measure of a calm time.
fn keys(load: &mut Settings) {
    load.keys = TENANTS * CONTACTS;
    load.rate = 2.0;
}

async fn calm(run: &Run) {
    run.arrived(2).await;
    run.load().set_rate(200.0);
    run.arrived(1000).await;
}

fn blocked(plan: &mut Plan) {
    let contacts = 0..CONTACTS;
    plan.blocked_keys = contacts
        .map(|contact| format!("{}/{contact}", tenant(POISONED)))
        .collect();
    let of = |queue: &str, bind: Vec<String>| Wanted {
        queues: vec![queue.to_owned()],
        bind,
    };
    plan.wanted = vec![of(ALL, others()), of(OWN, vec![pattern(POISONED)])];
}

/// F-18: a queue that takes nothing nacks every event of one tenant.
pub async fn nacked(lab: Lab) -> Outcome {
    let setup = lab.setup().load(keys).plan(blocked).sink_of(&[ALL, OWN]);
    let setup = setup.daemon(|mut config| {
        config.queues = vec![(ALL.to_owned(), others())];
        // A quorum queue of length 0 still takes one now and then; a classic one takes none.
        config.tail = format!(
            "[[broker.queues]]\nname = {OWN:?}\nbind = [{:?}]\nkind = \"classic\"\n",
            pattern(POISONED)
        );
        config.set("broker", "retry_max = \"1s\"")
    });
    let mut run = setup.start().await;
    calm(&run).await;
    let rabbit = run.broker().rabbit.clone();
    let full = r#"{"max-length":0,"overflow":"reject-publish"}"#;
    // Setting a policy keeps a processor busy for a second: it does so in calm times, too.
    rabbit.policy(NOBODYS, full).await;
    run.more(1000).await;
    rabbit.no_policy(NOBODYS).await;
    run.fault(
        FaultKind::Topology,
        "the queue of one tenant is full",
        async |_| {
            rabbit.policy(OWN, full).await;
            sleep(Duration::from_secs(lab.times(20, 60) as u64)).await;
            rabbit.no_policy(OWN).await;
        },
    )
    .await;
    run.arrived(200).await;
    run.judge().await
}

/// F-18: nothing is bound for one tenant, and there is no alternate exchange.
pub async fn unroutable(lab: Lab) -> Outcome {
    let setup = lab.setup().load(keys).plan(|plan| {
        blocked(plan);
        plan.parked = vec![hookwell::relay::UNROUTABLE.to_owned()];
    });
    let setup = setup.sink_of(&[ALL, OWN]).daemon(|mut config| {
        config.queues.push((OWN.to_owned(), vec!["#".to_owned()]));
        config.set("broker", "topology = \"check\"")
    });
    let mut run = setup.without_daemon().start().await;
    let operator = Operator::at(&run.broker().rabbit.url).await;
    operator.declare_without_alternate(&[ALL, OWN]).await;
    for pattern in others() {
        operator.bind(ALL, &pattern).await;
    }
    operator.bind(OWN, &pattern(POISONED)).await;
    run.start_daemon().await;
    calm(&run).await;
    run.fault(
        FaultKind::Topology,
        "nothing is bound for one tenant",
        async |run| {
            operator.unbind(OWN, &pattern(POISONED)).await;
            run.more(lab.times(1500, 6000)).await;
            operator.bind(OWN, &pattern(POISONED)).await;
        },
    )
    .await;
    run.arrived(200).await;
    run.judge().await
}
