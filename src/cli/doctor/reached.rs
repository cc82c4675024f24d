//! What can be reached: the daemon, RabbitMQ, GHL's API, and hookwell itself from outside.

use super::{Findings, counted};
use crate::broker::{self, Fault, Inspection, QueueKind, TopologyMode};
use crate::clock;
use crate::config::{Calls, Config};
use crate::ingest::App;
use crate::telemetry::Chain;

/// A clock that is off by more than this is worth a word, in seconds.
const CLOCK: i64 = 30;

/// Whether a daemon runs here and takes webhooks.
pub(super) async fn daemon(config: &Config, http: &reqwest::Client, findings: &mut Findings) {
    let url = format!("http://{}/readyz", config.admin.listen);
    match http.get(&url).send().await {
        Ok(answer) if answer.status().is_success() => {
            findings.good("daemon", format!("{url} says ready"))
        }
        Ok(answer) => {
            let said = answer.text().await.unwrap_or_default();
            findings.broken(
                "daemon",
                format!("{url} says: {}", said.trim()),
                "the lines below say why; webhooks are answered 429 meanwhile",
            );
        }
        Err(_) => findings.warning(
            "daemon",
            format!("nobody answers at {url}"),
            "start `hookwell serve`, or run this where it runs",
        ),
    }
}

/// Whether RabbitMQ is there and has what the configuration says. Nothing is made.
pub(super) async fn rabbitmq(config: &Config, findings: &mut Findings) {
    let settings = &config.relay.broker;
    let topology = &settings.topology;
    let queues = topology.queues.iter();
    for queue in queues.filter(|queue| queue.kind != QueueKind::Quorum) {
        let found = format!("{} is a {} queue", queue.name, queue.kind.as_str());
        findings.warning(
            "queues",
            found,
            "only a quorum queue has a message on disk before it confirms it",
        );
    }
    let inspection = match Inspection::make(settings).await {
        Ok(inspection) => inspection,
        Err(error) => {
            return findings.broken(
                "RabbitMQ",
                Chain(&error).to_string(),
                "check broker.url, the virtual host and the user's permissions; events wait meanwhile",
            );
        }
    };
    let address = &inspection.address;
    if inspection.faults.is_empty() {
        let queues = counted(topology.queues.len(), "queue");
        let exchange = &topology.exchange;
        let found = format!("{address} has the exchange {exchange} and {queues}");
        findings.good("RabbitMQ", found);
    }
    let mut missing = Vec::new();
    for error in &inspection.faults {
        match error {
            broker::Error::Topology {
                what,
                fault: Fault::Missing,
                ..
            } if topology.mode == TopologyMode::Declare => missing.push(what.as_str()),
            broker::Error::Topology {
                what, said, advice, ..
            } => findings.broken(
                "RabbitMQ",
                format!("{address}: {what}: {said}"),
                format!("{advice}. Every event waits meanwhile"),
            ),
            other => findings.broken("RabbitMQ", Chain(other).to_string(), "look at its log"),
        }
    }
    if !missing.is_empty() {
        findings.warning(
            "RabbitMQ",
            format!("{address} does not have yet: {}", missing.join(", ")),
            "`hookwell serve` declares what is missing",
        );
    }
    if inspection.blocked {
        findings.broken(
            "RabbitMQ",
            "it takes nothing: a memory or disk alarm",
            "`rabbitmqctl status` shows the alarm; events wait meanwhile",
        );
    }
}

/// Whether GHL's API answers, and the clock agrees with its.
pub(super) async fn api(calls: &Calls, http: &reqwest::Client, findings: &mut Findings) {
    let base = &calls.client.api_base;
    let answer = match http.get(base.as_str()).send().await {
        Ok(answer) => answer,
        Err(error) => {
            return findings.broken(
                "GHL's API",
                Chain(&error).to_string(),
                format!("can this machine reach {base}? Calls wait meanwhile"),
            );
        }
    };
    let theirs = answer
        .headers()
        .get(reqwest::header::DATE)
        .and_then(|date| date.to_str().ok());
    let theirs = theirs.and_then(crate::cli::when::http_date);
    match theirs.map(|theirs| clock::system()().0 / 1_000_000 - theirs) {
        Some(off) if CLOCK < off.abs() => findings.warning(
            "clock",
            format!("it is {off} s ahead of GHL's"),
            "switch on NTP: token lifetimes and budgets go by it",
        ),
        Some(off) => findings.good(
            "GHL's API",
            format!("{base} answers, and the clocks differ by {} s", off.abs()),
        ),
        None => findings.good("GHL's API", format!("{base} answers")),
    }
}

/// Whether a webhook path is hookwell's from outside, through every proxy.
pub(super) async fn outside(
    base: &str,
    app: &App,
    http: &reqwest::Client,
    findings: &mut Findings,
) {
    let url = format!("{base}{}", app.path);
    // Not a webhook: nothing is counted as one, and nothing goes into the quarantine.
    let request = http.get(&url);
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) => {
            return findings.broken(
                "public URL",
                Chain(&error).to_string(),
                format!("GHL cannot reach {url} either: check DNS, the certificate and the proxy"),
            );
        }
    };
    let status = answer.status();
    let said = answer.text().await.unwrap_or_default();
    match status.as_u16() {
        405 if said.contains("post only") => findings.good(
            "public URL",
            format!("{url} is hookwell's, and nothing before it answers instead"),
        ),
        300..=399 => findings.broken(
            "public URL",
            format!("{url} redirects ({status})"),
            "GHL counts a redirect as a failure: give it the URL that answers itself",
        ),
        404 => findings.broken(
            "public URL",
            format!("{url} is not found"),
            "does the proxy forward this path as it is?",
        ),
        _ => findings.broken(
            "public URL",
            format!("{url} is answered {status}, and not by hookwell"),
            "does the proxy forward it to http.listen?",
        ),
    }
}
