//! What can be reached: the daemon, RabbitMQ, GHL's API, and hookwell itself from outside.

use super::{Finding, Findings, Level, counted};
use crate::broker::{self, Fault, Inspection, QueueKind, TopologyMode};
use crate::clock;
use crate::config::{Calls, Config};
use crate::http::oauth;
use crate::telemetry::Chain;

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
        let kinds = match topology.mode {
            TopologyMode::Declare => "",
            // RabbitMQ compares nothing then.
            TopologyMode::Check => {
                "; of which kind the queues are is not compared with topology = \"check\": only quorum queues keep \
                 what they confirmed"
            }
        };
        let found = format!("{address} has the exchange {exchange} and {queues}{kinds}");
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
    findings.good("GHL's API", format!("{base} answers"));
    if let Some(theirs) = theirs {
        findings.clock(clock::system()().0 / 1_000_000 - theirs, "GHL's");
    }
}

/// Whether the paths of the public listener are hookwell's from outside, through every proxy. Nothing that is asked for
/// is a webhook, an installation or a message about triggers: nothing is counted as one, and nothing is kept.
pub(super) async fn outside(
    base: &str,
    config: &Config,
    http: &reqwest::Client,
    findings: &mut Findings,
) {
    for app in &config.apps {
        let url = format!("{base}{}", app.path);
        let found = asked(&url, Expected::Posts, http).await;
        findings.0.push(found);
    }
    let Some(calls) = &config.calls else {
        return;
    };
    // No app has an empty id: a page says so, and no installation begins.
    let mut pages = vec![format!("{base}/oauth/install?app=")];
    for app in calls.apps.values() {
        let redirect = &app.credentials.redirect_uri;
        let url = format!("{redirect}?error=doctor");
        if redirect.strip_prefix(base) == Some(&app.callback_path) && !pages.contains(&url) {
            pages.push(url);
        }
    }
    for url in pages {
        findings.0.push(asked(&url, Expected::Page, http).await);
    }
    for triggers in calls.apps.values().filter_map(|app| app.triggers.as_ref()) {
        let url = format!("{base}{}", triggers.path);
        findings.0.push(asked(&url, Expected::Posts, http).await);
    }
}

/// What answers at an address of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// Takes POST only, and says so.
    Posts,
    /// A page for browsers.
    Page,
}

impl Expected {
    fn is_ours(self, status: u16, said: &str) -> bool {
        match self {
            Self::Posts => status == 405 && said.contains("post only"),
            Self::Page => oauth::is_page(said),
        }
    }
}

/// Asks with GET who answers at an address.
async fn asked(url: &str, expected: Expected, http: &reqwest::Client) -> Finding {
    let broken = |found: String, fix: String| (Level::Broken, "public URL", found, fix);
    let shown = url.split('?').next().unwrap_or_default();
    let answer = match http.get(url).send().await {
        Ok(answer) => answer,
        Err(error) => {
            return broken(
                Chain(&error).to_string(),
                format!(
                    "GHL cannot reach {shown} either: check DNS, the certificate and the proxy"
                ),
            );
        }
    };
    let status = answer.status();
    let said = answer.text().await.unwrap_or_default();
    if expected.is_ours(status.as_u16(), &said) {
        let found = format!("{shown} is hookwell's, and nothing before it answers instead");
        return (Level::Good, "public URL", found, String::new());
    }
    match status.as_u16() {
        300..=399 => broken(
            format!("{shown} redirects ({status})"),
            "GHL counts a redirect as a failure: give it the URL that answers itself".to_owned(),
        ),
        404 => broken(
            format!("{shown} is not found"),
            "does the proxy forward this path as it is, and does the daemon run with this configuration?"
                .to_owned(),
        ),
        _ => broken(
            format!("{shown} is answered {status}, and not by hookwell"),
            "does the proxy forward it to http.listen?".to_owned(),
        ),
    }
}
