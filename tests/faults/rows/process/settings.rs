//! A configuration that is broken when the daemon starts (D-11).

use crate::harness::{DaemonConfig, Network};
use crate::lab::{Lab, Outcome};
use crate::records::FaultKind;

/// What is broken, the key that has to be named, and how it is broken.
type Case = (&'static str, &'static str, fn(&mut DaemonConfig));

const CASES: [Case; 8] = [
    ("an unknown key", "http.max_waitng", |config| {
        *config = config.clone().set("http", "max_waitng = 5");
    }),
    ("a value out of bounds", "broker.window", |config| {
        *config = config.clone().set("broker", "window = 0");
    }),
    ("an unknown variable", "http.listn", |config| {
        set(config, "HTTP__LISTN", "127.0.0.1:0");
    }),
    ("a variable of another kind", "http.max_waiting", |config| {
        set(config, "HTTP__MAX_WAITING", "many");
    }),
    (
        "a secret's file that is not there",
        "broker.url_file",
        |config| {
            set(config, "BROKER__URL_FILE", "nowhere");
        },
    ),
    // A folder: not even root can read it as a file.
    (
        "a secret's file that cannot be read",
        "store.url_file",
        |config| {
            set(config, "STORE__URL_FILE", ".");
        },
    ),
    ("what is needed is missing", "apps", |config| {
        config.apps.clear()
    }),
    ("a file that ends in its midst", "TOML", |config| {
        config.tail = "[[broker.queu".to_owned();
    }),
];

fn set(config: &mut DaemonConfig, name: &str, value: &str) {
    let variable = (format!("HOOKWELL_{name}"), value.to_owned());
    config.variables.push(variable);
}

/// D-11: the daemon does not start, names what is wrong, and leaves the log alone, whose events are waiting
/// for a broker. With a good configuration they go out.
///
/// The other half of the table's row, a reload, cannot be broken: configuration is read at a start and never
/// again, so what runs keeps the old one. A variable that is missing cannot be told from one that was
/// never set; it is an error where there is no default.
pub async fn broken(lab: Lab) -> Outcome {
    let mut run = lab.setup().start().await;
    for _ in 0..lab.times(1, 5) {
        run.arrived(200).await;
        run.fault(FaultKind::Broker, "the broker is away", async |run| {
            let line = &run.broker().proxy.line;
            line.network(Network::Refuses);
            line.cut();
            run.more(200).await;
            run.stop_daemon().await;
            let good = run.config().clone();
            for (what, key, breaks) in CASES {
                breaks(run.config());
                let refused = run.refused_start().await;
                let clear =
                    refused.starts_with("Some(78)") && refused.contains(&format!("{key} ("));
                run.expect(&format!("{what}: 78 and {key}, not {refused:?}"), clear);
                *run.config() = good.clone();
            }
            run.look_after_crash().await;
            run.broker().proxy.line.network(Network::Passes);
            run.start_daemon().await;
        })
        .await;
    }
    run.more(200).await;
    run.judge().await
}
