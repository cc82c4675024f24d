//! The first page: how hookwell is, in ten seconds. What is wrong comes first, each with the page that mends it.

use axum::response::Response;
use serde_json::{Value, json};

use super::{Console, Parts, Trouble, Visit, counted};
use crate::clock::rfc3339;
use crate::disk::Level;
use crate::event::Micros;
use crate::observe::{MINUTES, Sample};
use crate::store::{Answers, FollowUpCounts, GHL_LEAST, Ledger};

/// Sparklines are drawn in a box of this size.
const WIDTH: f64 = 120.0;
const HEIGHT: f64 = 28.0;
/// An event that waits longer than this is worth a word, in seconds.
const LONG: i64 = 60;
pub(super) async fn page(visit: Visit) -> Response {
    let found = look(&visit).await;
    visit.show("overview.html", found)
}

async fn look(visit: &Visit) -> Result<Value, Trouble> {
    let now = visit.console.now();
    let (ledger, held, calls, gaps, answers, silent) = visit
        .ask(move |store| async move {
            let (ledger, held) = (store.ledger().await?, store.held_tenants().await?);
            Ok((
                ledger,
                held,
                store.follow_up_counts().await?,
                store.gaps(100).await?,
                store.answers(now).await?,
                store.silent_tenants(now, 10).await?,
            ))
        })
        .await?;
    let console = &visit.console;
    let metrics = &console.parts.metrics;
    let samples = console.parts.history.samples();
    let age = |at: Option<Micros>| at.map(|at| (now.0 - at.0).max(0) / 1_000_000);
    let open_gaps = gaps.iter().filter(|gap| console.repair.is_due(gap)).count();
    let waits = age(ledger.oldest_pending_at);
    Ok(json!({
        "problems": problems(console, &ledger, waits, &calls, open_gaps, &answers),
        "ledger": {
            "accepted": ledger.accepted, "published": ledger.published, "pending": ledger.pending, "held": ledger.held,
            "held_tenants": ledger.held_tenants, "parked": ledger.parked, "retry": ledger.retry, "discarded": ledger.discarded, "mismatch": ledger.mismatch(),
            "quarantined": ledger.quarantined, "oldest_pending_at": ledger.oldest_pending_at.map(rfc3339),
            "oldest_pending_seconds": waits,
        },
        "broker": {
            "connected": metrics.broker_connected.get() == 1, "blocked": metrics.broker_blocked.get() == 1,
            "relay_active": metrics.relay_active.get() == 1,
        },
        "store": { "up": metrics.store_up.get() == 1, "kind": console.store_kind },
        "calls": {
            "configured": console.has_calls, "pending": calls.pending, "parked": calls.dead,
            "oldest_pending_seconds": age(calls.oldest_pending_at), "breaker_open": metrics.api_breaker_open.get() == 1,
        },
        "held": held.iter().take(10).map(|held| json!({
            "tenant": held.tenant, "reason": held.reason, "detail": held.detail, "since": rfc3339(held.since), "events": held.events,
        })).collect::<Vec<_>>(),
        "answers": { "count": answers.all(), "success_percent": answers.success_percent() },
        "tenants": { "known": metrics.tenants.get(), "silent": metrics.silent_tenants.get() },
        "silent": silent.iter().map(|silent| json!({
            "tenant": silent.tenant, "last_at": rfc3339(silent.last_at), "longest_gap_seconds": silent.longest_gap / 1_000_000,
        })).collect::<Vec<_>>(),
        "gaps_open": open_gaps,
        "figures_since": samples.first().map(|first| rfc3339(first.at)),
        "has_hour": MINUTES < samples.len(),
        "sparks": [
            spark("accepted a minute", &rates(&samples, |ledger| ledger.accepted)),
            spark("published a minute", &rates(&samples, |ledger| ledger.published)),
            spark("pending", &levels(&samples, |ledger| ledger.pending)),
            spark("parked", &levels(&samples, |ledger| ledger.parked)),
        ],
    }))
}

/// What a person should look at: `bad` is an outage, `warn` wants a person today.
fn problems(
    console: &Console,
    ledger: &Ledger,
    waits: Option<i64>,
    calls: &FollowUpCounts,
    gaps: usize,
    answers: &Answers,
) -> Vec<Value> {
    let Parts {
        store,
        metrics,
        room,
        ..
    } = &console.parts;
    let mut problems = Vec::new();
    let mut say = |level: &str, page: &str, text: String| {
        problems.push(json!({ "level": level, "page": page, "text": text }))
    };
    let many = |count: i64| u64::try_from(count).unwrap_or(0);
    if metrics.store_up.get() != 1 {
        say(
            "bad",
            "",
            "The store takes no appends: webhooks are answered 429 and GHL will come again."
                .to_owned(),
        );
    }
    if ledger.mismatch() != 0 {
        say(
            "bad",
            "",
            format!(
                "The ledger does not add up: {} events are unaccounted for.",
                ledger.mismatch()
            ),
        );
    }
    if metrics.broker_connected.get() != 1 {
        say(
            "bad",
            "",
            "No session with RabbitMQ: events are accepted and wait.".to_owned(),
        );
    }
    if metrics.broker_blocked.get() == 1 {
        say(
            "bad",
            "",
            "RabbitMQ takes nothing (memory or disk alarm): events are accepted and wait."
                .to_owned(),
        );
    }
    if let Some(waits) = waits.filter(|waits| LONG < *waits) {
        say(
            "warn",
            "/events?state=pending",
            format!("The oldest event has waited for {waits} s."),
        );
    }
    if 0 < ledger.held_tenants {
        let events = counted(many(ledger.held), "event", "events");
        let tenants = counted(many(ledger.held_tenants), "tenant", "tenants");
        say(
            "warn",
            "/events?state=held",
            format!("RabbitMQ refuses {events} of {tenants}: held."),
        );
    }
    let parked = ledger.parked - ledger.retry;
    if 0 < parked {
        let events = counted(many(parked), "event", "events");
        say(
            "warn",
            "/dead-letters",
            format!("{events} could not be published."),
        );
    }
    if 0 < ledger.retry {
        let events = counted(many(ledger.retry), "event is", "events are");
        say(
            "info",
            "/events?state=retry",
            format!("{events} being published again."),
        );
    }
    if 0 < calls.dead {
        say(
            "warn",
            "/follow-ups?state=dead",
            format!(
                "{} parked for a person.",
                counted(many(calls.dead), "call is", "calls are")
            ),
        );
    }
    if metrics.api_breaker_open.get() == 1 {
        say(
            "warn",
            "/follow-ups?state=pending",
            "GHL's API does not answer: calls wait.".to_owned(),
        );
    }
    if answers.success_ratio() < GHL_LEAST && 100 < answers.all() {
        let (share, all) = (answers.success_percent(), answers.all());
        say(
            "bad",
            "/quarantine",
            format!(
                "Only {share} % of {all} webhooks in three days were answered 2xx: GHL pauses a URL under 90 %."
            ),
        );
    }
    let silent = metrics.silent_tenants.get();
    if 0 < silent {
        let tenants = counted(many(silent), "tenant is", "tenants are");
        say(
            "warn",
            "#silent",
            format!("{tenants} silent for longer than ever lately."),
        );
    }
    let tokens = metrics.tokens_reauthorise.get();
    if 0 < tokens {
        let tokens = counted(many(tokens), "token wants", "tokens want");
        say(
            "warn",
            "/installations",
            format!("{tokens} a person: authorise the app again."),
        );
    }
    match room.level() {
        Level::Roomy => {}
        Level::Low => {
            let left = store.disk().map_or(0, |disk| disk.free / 1024 / 1024);
            say(
                "warn",
                "",
                format!("The disk of the store has {left} MiB left: below store.disk_reserve every webhook is answered 429."),
            );
        }
        Level::Reserve => say(
            "bad",
            "",
            "The disk is down to store.disk_reserve: every webhook is answered 429 until there is room.".to_owned(),
        ),
    }
    if 0 < gaps {
        say(
            "warn",
            "/gaps",
            format!(
                "{} without webhooks not repaired yet.",
                counted(gaps as u64, "time is", "times are")
            ),
        );
    }
    if 0 < ledger.quarantined {
        say(
            "info",
            "/quarantine",
            format!(
                "{} in quarantine.",
                counted(
                    many(ledger.quarantined),
                    "refused request is",
                    "refused requests are"
                )
            ),
        );
    }
    problems
}

/// What a counter gained in each minute.
fn rates(samples: &[Sample], counter: impl Fn(&Ledger) -> i64) -> Vec<i64> {
    samples
        .windows(2)
        .map(|pair| (counter(&pair[1].ledger) - counter(&pair[0].ledger)).max(0))
        .collect()
}

fn levels(samples: &[Sample], level: impl Fn(&Ledger) -> i64) -> Vec<i64> {
    let drawn = samples.len().saturating_sub(MINUTES);
    samples[drawn..]
        .iter()
        .map(|sample| level(&sample.ledger))
        .collect()
}

/// A line for the last hour, the newest at the right; the ends of a line that is all zeros lie on the ground.
fn spark(name: &str, values: &[i64]) -> Value {
    let most = values.iter().copied().max().unwrap_or(0);
    let step = WIDTH / (MINUTES - 1) as f64;
    let first = MINUTES.saturating_sub(values.len());
    let points: Vec<_> = values
        .iter()
        .enumerate()
        .map(|(n, value)| {
            let height = *value as f64 / most.max(1) as f64 * (HEIGHT - 2.0);
            format!(
                "{:.1},{:.1}",
                (first + n) as f64 * step,
                HEIGHT - 1.0 - height
            )
        })
        .collect();
    json!({ "name": name, "values": values, "most": most, "last": values.last().copied().unwrap_or(0), "points": points.join(" ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(accepted: &[i64]) -> Vec<Sample> {
        let sample = |(n, accepted): (usize, &i64)| Sample {
            at: Micros(n as i64 * 60_000_000),
            ledger: Ledger {
                accepted: *accepted,
                pending: *accepted,
                ..Ledger::default()
            },
        };
        accepted.iter().enumerate().map(sample).collect()
    }

    #[test]
    fn a_line_has_its_newest_point_at_the_right_and_its_highest_at_the_top() {
        let rates = rates(&samples(&[0, 10, 30, 30]), |ledger| ledger.accepted);
        assert_eq!(rates, [10, 20, 0]);
        let line = spark("x", &rates);
        assert_eq!(line["points"], "115.9,14.0 118.0,1.0 120.0,27.0");
        assert_eq!((&line["most"], &line["last"]), (&json!(20), &json!(0)));
        assert_eq!(spark("x", &[])["points"], "");
        assert_eq!(
            levels(&samples(&[1; 61]), |ledger| ledger.pending).len(),
            MINUTES
        );
    }
}
