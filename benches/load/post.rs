//! The generator: closed loop for the peak, open loop for latency.
//!
//! In the open loop every post has its moment, and its latency counts from then: a post that had to
//! wait for a free connection is not excused (no coordinated omission).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hookwell::signature::SigningKey;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::machine::Watch;
use crate::scrape::{Scrape, quantile};
use crate::wire::Wire;
use crate::{STALLED, bodies, config, target};

/// What all connections share.
struct Run {
    address: SocketAddr,
    requests: Vec<Vec<u8>>,
    again: bool,
    next: AtomicUsize,
    started: Instant,
    counted_from: Instant,
    ends: Instant,
    rate: Option<f64>,
}

#[derive(Default)]
struct Tally {
    accepted: u64,
    /// Of those, answered within the counted time.
    counted: u64,
    other: BTreeMap<u16, u64>,
    broken: u64,
    last_error: Option<anyhow::Error>,
    micros: Vec<u32>,
}

pub async fn run(args: crate::Post) -> Result<()> {
    let config = config(&args.config)?;
    let (address, app) = target(&config)?;
    let pem = std::fs::read_to_string(&args.key).context("cannot read the key")?;
    let key = SigningKey::from_pkcs8_pem(&pem)?;
    let requests = bodies::requests(&app.id, &app.path, &key, args.bodies);
    let before = match args.confirmed {
        true => Some(Scrape::of(config.admin.listen).await?),
        false => None,
    };

    let watch = Watch::start(&args.watched);
    let started = Instant::now();
    let counted_from = started + Duration::from_secs_f64(args.warm_up);
    let run = Arc::new(Run {
        address,
        requests,
        again: args.again,
        next: AtomicUsize::new(0),
        started,
        counted_from,
        ends: counted_from + Duration::from_secs_f64(args.seconds),
        rate: args.rate,
    });
    let mut connections = JoinSet::new();
    for _ in 0..args.connections {
        connections.spawn(Arc::clone(&run).connection());
    }
    let mut tally = Tally::default();
    while let Some(part) = connections.join_next().await {
        tally.merge(part.context("a connection panicked")?);
    }
    let ended = Instant::now().min(run.ends);
    let seconds = (ended - counted_from).as_secs_f64();
    if tally.accepted == 0 {
        bail!(
            "nothing was accepted: {:?} {:?}",
            tally.other,
            tally.last_error
        );
    }
    tally.print(seconds);
    if args.backlog {
        let now = Scrape::of(config.admin.listen).await?;
        println!("backlog_left={}", now.value("hookwell_backlog_events")?);
    }
    if let Some(before) = before {
        let upto = before.confirmed()? + tally.accepted;
        let last = wait_for_confirms(config.admin.listen, upto).await?;
        let whole = (last.at - started).as_secs_f64();
        println!("confirmed={}", tally.accepted);
        println!("confirmed_seconds={whole:.3}");
        println!("confirmed_rate={:.0}", tally.accepted as f64 / whole);
        let after = Scrape::of(config.admin.listen).await?.end_to_end();
        for (name, part) in [("p50", 0.5), ("p99", 0.99)] {
            let seconds = quantile(&before.end_to_end(), &after, part);
            let seconds = seconds.context("no hookwell_end_to_end_seconds in /metrics")?;
            println!("end_to_end_{name}_ms={:.1}", seconds * 1000.0);
        }
    }
    watch.print(tally.accepted);
    Ok(())
}

/// How many confirms the daemon had counted, and when that was seen.
#[derive(Debug, Clone, Copy)]
pub struct Confirms {
    pub count: u64,
    pub at: Instant,
}

/// Returns as soon as at least `upto` confirms are counted.
pub async fn wait_for_confirms(admin: SocketAddr, upto: u64) -> Result<Confirms> {
    let mut moved = Instant::now();
    let mut before = 0;
    loop {
        let count = Scrape::of(admin).await?.confirmed()?;
        let now = Instant::now();
        if upto <= count {
            return Ok(Confirms { count, at: now });
        }
        if count != before {
            (before, moved) = (count, now);
        } else if STALLED < now - moved {
            bail!("{count} of {upto} events were confirmed, and no more came for {STALLED:?}");
        }
        sleep(Duration::from_millis(20)).await;
    }
}

impl Run {
    async fn connection(self: Arc<Self>) -> Tally {
        let mut tally = Tally::default();
        let mut wire = None;
        loop {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            if self.requests.len() <= n && !self.again {
                return tally;
            }
            let due = self
                .rate
                .map(|rate| self.started + Duration::from_secs_f64(n as f64 / rate));
            if let Some(due) = due.filter(|due| *due < self.ends) {
                sleep_until(due).await;
            }
            let begun = due.unwrap_or_else(Instant::now);
            if self.ends <= begun {
                return tally;
            }
            let request = &self.requests[n % self.requests.len()];
            let status = match exchange(&mut wire, self.address, request).await {
                Ok(status) => status,
                Err(error) => {
                    wire = None;
                    tally.broken += 1;
                    tally.last_error = Some(error);
                    sleep(Duration::from_millis(10)).await;
                    continue;
                }
            };
            tally.note(&self, status, begun);
        }
    }
}

async fn exchange(wire: &mut Option<Wire>, address: SocketAddr, request: &[u8]) -> Result<u16> {
    let open = match wire {
        Some(open) => open,
        None => wire.insert(Wire::connect(address).await?),
    };
    open.exchange(request).await
}

impl Tally {
    fn note(&mut self, run: &Run, status: u16, begun: Instant) {
        if status != 200 {
            *self.other.entry(status).or_default() += 1;
            return;
        }
        self.accepted += 1;
        let now = Instant::now();
        if run.counted_from <= now && now < run.ends {
            self.counted += 1;
        }
        if run.counted_from <= begun {
            let micros = (now - begun).as_micros();
            self.micros.push(u32::try_from(micros).unwrap_or(u32::MAX));
        }
    }

    fn merge(&mut self, part: Self) {
        self.accepted += part.accepted;
        self.counted += part.counted;
        self.broken += part.broken;
        self.last_error = part.last_error.or(self.last_error.take());
        self.micros.extend(part.micros);
        for (status, count) in part.other {
            *self.other.entry(status).or_default() += count;
        }
    }

    fn print(&mut self, seconds: f64) {
        self.micros.sort_unstable();
        let last = self.micros.len().saturating_sub(1) as f64;
        let at = |part: f64| {
            let place = (last * part).round() as usize;
            f64::from(self.micros.get(place).copied().unwrap_or(0)) / 1000.0
        };
        println!("accepted={}", self.accepted);
        println!("seconds={seconds:.3}");
        println!("rate={:.0}", self.counted as f64 / seconds);
        println!("not_accepted={}", self.other.values().sum::<u64>());
        println!("broken={}", self.broken);
        for (name, part) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)] {
            println!("{name}_ms={:.2}", at(part));
        }
        println!("max_ms={:.2}", at(1.0));
        for (status, count) in &self.other {
            eprintln!("load: {count} requests were answered {status}");
        }
        if let Some(error) = &self.last_error {
            eprintln!(
                "load: {} requests had no answer, the last one: {error:#}",
                self.broken
            );
        }
    }
}
