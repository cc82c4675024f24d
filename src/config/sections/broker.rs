//! `[broker]`: addresses, topology, bounds of the relay.

use std::time::Duration;

use super::super::section::{Free, Section};
use super::{HOUR, KIB, MIB, SECOND};
use crate::broker::{self, Argument, Credentials, Queue, QueueKind, Topology, TopologyMode};
use crate::relay;
use crate::routing;

pub(in crate::config) fn broker(
    root: &mut Section,
    warnings: &mut Vec<String>,
) -> Option<relay::Settings> {
    let mut s = root.section("broker");
    let mut addresses = Vec::new();
    for (url, place) in s.secrets("url", true) {
        match Credentials::parse(&url) {
            Ok(credentials) => {
                if credentials.is_plain_and_remote() {
                    warnings.push(format!(
                        "broker.url: {} is reached without TLS; use amqps:// across a network",
                        credentials.address()
                    ));
                }
                addresses.push(credentials);
            }
            Err(message) => s.problem("url", &place, message),
        }
    }
    if addresses.is_empty() && !s.has_problem("url") && !s.has_problem("url_file") {
        let place = s.place().to_owned();
        s.problem("url", &place, "needs at least one address");
    }
    let ca_file = s.given_text("ca_file");
    let ca_pem = match ca_file {
        None => Some(None),
        Some((path, place)) => match std::fs::read_to_string(&path) {
            Ok(pem) if pem.contains("BEGIN CERTIFICATE") => Some(Some(pem)),
            Ok(_) => {
                s.problem(
                    "ca_file",
                    &place,
                    format!("{path} holds no PEM certificate"),
                );
                None
            }
            Err(error) => {
                s.problem("ca_file", &place, format!("{path} cannot be read: {error}"));
                None
            }
        },
    };
    let name =
        |text: &str| match (1..=255).contains(&text.len()) && !text.chars().any(char::is_control) {
            true => Ok(text.to_owned()),
            false => Err("must be a name of 1 to 255 bytes".to_owned()),
        };
    let exchange = s.read("exchange", name);
    let unrouted = s.read("unrouted", name);
    let mode = s.read("topology", |text| match text {
        "declare" => Ok(TopologyMode::Declare),
        "check" => Ok(TopologyMode::Check),
        _ => Err("must be \"declare\" or \"check\"".to_owned()),
    });
    let channels = s.number("channels", 1, 64);
    let window = s.number("window", 1, 100_000);
    let window_bytes = s.size("window_bytes", 64 * KIB, 1024 * MIB);
    let confirm_deadline = s.duration("confirm_deadline", SECOND / 10, HOUR);
    let connect_timeout = s.duration("connect_timeout", SECOND / 10, HOUR);
    let heartbeat = s.duration("heartbeat", SECOND, HOUR);
    let retry_max = s.duration("retry_max", SECOND / 10, HOUR);
    let unroutable_attempts = s.number("unroutable_attempts", 1, 1_000_000);
    let sections = s.sections("queues");
    let mut queues: Vec<Queue> = Vec::new();
    for mut q in sections {
        let queue = queue(&mut q, warnings);
        if let Some(queue) = queue {
            if queues.iter().any(|other| other.name == queue.name) {
                let place = q.place().to_owned();
                q.problem("name", &place, format!("{} is there twice", queue.name));
            }
            queues.push(queue);
        }
        s.finish(q);
    }
    root.finish(s);
    let topology = Topology {
        mode: mode?,
        exchange: exchange?,
        unrouted: unrouted?,
        queues,
    };
    let retry_max = retry_max?;
    Some(relay::Settings {
        broker: broker::Settings {
            addresses,
            ca_pem: ca_pem?,
            topology,
            channels: u16::try_from(channels?).ok()?,
            confirm_deadline: confirm_deadline?,
            connect_timeout: connect_timeout?,
            heartbeat: heartbeat?,
        },
        window: window?,
        window_bytes: i64::try_from(window_bytes?).ok()?,
        unroutable_attempts: u32::try_from(unroutable_attempts?).ok()?,
        retry_delays: (retry_max.min(Duration::from_millis(200)), retry_max),
    })
}

fn queue(q: &mut Section, warnings: &mut Vec<String>) -> Option<Queue> {
    let name = q.text("name");
    let place = q.place().to_owned();
    if name
        .as_ref()
        .is_none_or(|name| name.is_empty() || name.len() > 255)
    {
        q.problem("name", &place, "must be a name of 1 to 255 bytes");
    }
    let mut bind = Vec::new();
    let patterns = q.texts("bind");
    if patterns.is_empty() {
        q.problem(
            "bind",
            &place,
            "needs at least one pattern, such as [\"contact.#\"]",
        );
    }
    for (pattern, place) in patterns {
        match routing::check_binding(&pattern) {
            Ok(()) => bind.push(pattern),
            Err(error) => q.problem("bind", &place, error.to_string()),
        }
    }
    let kind = q.read("kind", |text| {
        QueueKind::parse(text).ok_or("must be \"quorum\", \"classic\" or \"stream\"".to_owned())
    });
    let kind = kind.unwrap_or(QueueKind::Quorum);
    let arguments = q.free_table("arguments", |value, _| match value {
        Free::Text(text) => Argument::Text(text.to_owned()),
        Free::Number(number) => Argument::Number(number),
        Free::Flag(flag) => Argument::Flag(flag),
    });
    let name = name?;
    if kind == QueueKind::Classic {
        warnings.push(format!(
            "broker.queues: {name} is a classic queue, which may confirm a message before it is on disk; \
             hookwell's promise ends at the confirm, so use kind = \"quorum\""
        ));
    }
    if drops(kind, &arguments) {
        warnings.push(format!(
            "broker.queues: the arguments of {name} let RabbitMQ drop confirmed messages"
        ));
    }
    Some(Queue {
        name,
        bind,
        kind,
        arguments,
    })
}

/// Whether RabbitMQ may drop messages that it has confirmed. A queue with a limit drops its oldest ones
/// unless it is told to reject. (That a stream drops its oldest ones is what a limit of it is for.)
fn drops(kind: QueueKind, arguments: &[(String, Argument)]) -> bool {
    let has = |name: &str| arguments.iter().any(|(argument, _)| argument == name);
    let rejects = |(name, value): &(String, Argument)| {
        let Argument::Text(value) = value else {
            return false;
        };
        name == "x-overflow" && value.starts_with("reject-publish")
    };
    let bounded = has("x-max-length") || has("x-max-length-bytes") || has("x-overflow");
    let drops_oldest = kind != QueueKind::Stream && bounded && !arguments.iter().any(rejects);
    drops_oldest || has("x-message-ttl") || has("x-expires")
}
