//! `hookwell tail`: shows events as they are published.

use std::io::Write;
use std::time::{Duration, SystemTime};

use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::{ConfigArgs, Failure, Outcome, table};
use crate::broker::{Arrival, Source, Tap};
use crate::routing;

/// Print what arrives in RabbitMQ
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hookwell tail --config hookwell.toml                            # everything from now on
  hookwell tail --config hookwell.toml --bind 'contact.#' --json
  hookwell tail --config hookwell.toml --queue hookwell.contacts --count 10

Without --queue, a private queue gets what the configured queues get and what goes to the unrouted one. With --queue, the messages that wait in those queues are shown and given back when the command ends; until then a consumer does not get them, and each look counts as a delivery where a queue has x-delivery-limit. The last column is the time from the request read to here, by the clocks of both ends.")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Look into this queue instead (may be repeated)
    #[arg(long, value_name = "NAME")]
    queue: Vec<String>,
    /// Only events whose routing key matches (may be repeated)
    #[arg(long, value_name = "PATTERN", default_value = "#")]
    bind: Vec<String>,
    /// End after so many
    #[arg(long)]
    count: Option<u64>,
    /// End after this time, such as 20s; with --count, exit 1 when fewer came
    #[arg(long, value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// Print an object a line, with headers and body
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> Outcome {
    let config = args.config.load()?;
    for pattern in &args.bind {
        routing::check_binding(pattern)
            .map_err(|error| Failure::saying(64, format!("--bind {pattern}: {error}")))?;
    }
    let source = match args.queue.is_empty() {
        true => Source::Exchange,
        false => Source::Queues(args.queue.clone()),
    };
    let mut tap = Tap::open(&config.relay.broker, source).await?;
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    let configured = &config.relay.broker.topology.queues;
    if !args.queue.is_empty() && args.timeout.is_none() && args.count.is_none() {
        eprintln!("Looking into {}; Ctrl-C ends.", args.queue.join(", "));
    }
    if !args.json {
        line("QUEUE", "ROUTING KEY", "TYPE", "EVENT KEY", "MS")?;
    }
    let mut seen = 0;
    while args.count.is_none_or(|count| seen < count) {
        let arrival = tokio::select! {
            _ = interrupted.as_mut() => return Ok(()),
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                return match args.count {
                    Some(count) => Err(Failure::saying(
                        Failure::PARTLY,
                        format!("{seen} of {count} came in time"),
                    )),
                    None => Ok(()),
                };
            }
            arrival = tap.next() => match arrival {
                Some(arrival) => arrival?,
                None => return Err(Failure::saying(Failure::UNAVAILABLE, "RabbitMQ ended the look")),
            },
        };
        let wanted = |pattern: &String| routing::binding_matches(pattern, &arrival.routing_key);
        if !args.bind.iter().any(wanted) {
            continue;
        }
        seen += 1;
        // What a private queue sees goes to whichever queues have a matching binding.
        let queue = arrival.queue.clone().unwrap_or_else(|| {
            let matching = configured.iter().filter(|queue| {
                queue
                    .bind
                    .iter()
                    .any(|pattern| routing::binding_matches(pattern, &arrival.routing_key))
            });
            let names: Vec<_> = matching.map(|queue| queue.name.as_str()).collect();
            if names.is_empty() {
                config.relay.broker.topology.unrouted.clone()
            } else {
                names.join(",")
            }
        });
        show(&args, &arrival, &queue)?;
    }
    Ok(())
}

fn show(args: &Args, arrival: &Arrival, queue: &str) -> std::io::Result<()> {
    let age = age_ms(arrival);
    if args.json {
        let headers: serde_json::Map<_, _> = arrival
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect();
        let object = json!({
            "queue": queue, "routing_key": arrival.routing_key, "type": arrival.kind, "event_key": arrival.id,
            "ms": age, "headers": headers, "body": String::from_utf8_lossy(&arrival.body),
        });
        return writeln!(std::io::stdout(), "{}", table::line(&object));
    }
    let age = age.map_or_else(|| "-".to_owned(), |age| format!("{age:.1}"));
    line(
        queue,
        &arrival.routing_key,
        &arrival.kind,
        &arrival.id,
        &age,
    )
}

fn line(queue: &str, routing_key: &str, kind: &str, id: &str, age: &str) -> std::io::Result<()> {
    let [queue, routing_key, kind, id] = [queue, routing_key, kind, id].map(table::printable);
    writeln!(
        std::io::stdout(),
        "{queue:<24}  {routing_key:<46}  {kind:<24}  {id:<36}  {age:>8}"
    )
}

/// Milliseconds since the request was read, by its CloudEvents time.
fn age_ms(arrival: &Arrival) -> Option<f64> {
    let received = humantime::parse_rfc3339(arrival.header("cloudEvents_time")?).ok()?;
    Some(
        SystemTime::now()
            .duration_since(received)
            .unwrap_or_default()
            .as_secs_f64()
            * 1000.0,
    )
}
