//! `hookwell send`: signs events and posts them to a hookwell, for development.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::progress::{self, ProgressBar};
use super::{ConfigArgs, Failure, Outcome};
use crate::clock;
use crate::event::catalogue;
use crate::event::samples::{self, SampleContext};
use crate::signature::{GHL_HEADER, SigningKey};

/// Post realistic webhooks, signed with a development key
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hookwell send ContactCreate --config hookwell.toml --key dev-key.pem
  hookwell send ContactCreate OpportunityCreate --config hookwell.toml --key dev-key.pem --count 1000 --rate 200
  hookwell send INSTALL --config hookwell.toml --key dev-key.pem --company DevCompany0000000001 --location DevLocation000000001
  hookwell send --list

`hookwell keys generate --out dev-key.pem` makes the key; its public half goes into signature.ed25519_keys of the daemon. Exits 1 when not every webhook was accepted.")]
pub(super) struct Args {
    /// Event types, taken in turn
    #[arg(required_unless_present = "list")]
    types: Vec<String>,
    #[command(flatten)]
    config: ConfigArgs,
    /// The private key to sign with
    #[arg(long, value_name = "FILE", required_unless_present = "list")]
    key: Option<PathBuf>,
    /// How many
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// How many a second; without it, as fast as they are answered
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: Option<u32>,
    /// How many at once
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=4096))]
    concurrency: u16,
    /// The sub-account they are from
    #[arg(
        long,
        visible_alias = "location",
        value_name = "LOCATION_ID",
        default_value = "ve9EPM428h8vShlRW1KT"
    )]
    tenant: String,
    /// The agency that it belongs to, where an event names it
    #[arg(
        long,
        value_name = "COMPANY_ID",
        default_value = "5DP4iH6HLkQsiKESj6rh"
    )]
    company: String,
    /// The app they are for; the first of the configuration if not given
    #[arg(long, value_name = "ID")]
    app: Option<String>,
    /// Where to post, such as https://hooks.example.com; http.listen of the configuration if not given
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Print the types there are samples of
    #[arg(long)]
    list: bool,
}

struct Sample {
    url: String,
    event_type: String,
}

pub(super) async fn run(args: Args) -> Outcome {
    if args.list {
        let mut out = std::io::stdout().lock();
        for name in samples::types() {
            writeln!(out, "{name}")?;
        }
        return Ok(());
    }
    let config = args.config.load()?;
    let app = match &args.app {
        None => config.apps.first(),
        Some(id) => config.apps.iter().find(|app| app.id == *id),
    };
    let Some(app) = app.cloned() else {
        return Err(Failure::saying(
            Failure::CONFIG,
            "--app names no app of the configuration",
        ));
    };
    let mut listen = config.http.listen;
    if listen.ip().is_unspecified() {
        listen.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let base = args
        .url
        .clone()
        .unwrap_or_else(|| format!("http://{listen}"));
    let base = base.trim_end_matches('/');
    let mut targets = Vec::new();
    for name in &args.types {
        // An alias, such as the name of GHL's page, is as good as the name on the wire.
        let kind = catalogue::find(name).filter(|kind| samples::types().contains(&kind.event_type));
        let Some(kind) = kind else {
            let message =
                format!("there is no sample of {name}; `hookwell send --list` names them");
            return Err(Failure::saying(Failure::NO_INPUT, message));
        };
        let name = kind.event_type;
        let suffix = if samples::needs_url_name(name) {
            format!("/{name}")
        } else {
            String::new()
        };
        targets.push(Sample {
            url: format!("{base}{}{suffix}", app.path),
            event_type: name.to_owned(),
        });
    }
    let key = read_key(args.key.as_ref())?;
    let client = super::ask::client(Duration::from_secs(30))?;

    let bar = progress::bar(args.count, false);
    let mut pace = args.rate.map(|rate| {
        let mut pace = interval(Duration::from_secs(1) / rate);
        pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
        pace
    });
    let mut posts = JoinSet::new();
    let mut tally = Tally::default();
    let started = Instant::now();
    for n in 0..args.count {
        if let Some(pace) = &mut pace {
            pace.tick().await;
        }
        while posts.len() >= usize::from(args.concurrency) {
            tally.note(posts.join_next().await, &bar);
        }
        let target = &targets[usize::try_from(n).unwrap_or(0) % targets.len()];
        let context = SampleContext {
            webhook_id: uuid::Uuid::new_v4().to_string(),
            timestamp_rfc3339: millis(&clock::rfc3339(clock::system()())),
            app_id: app.id.clone(),
            company_id: args.company.clone(),
            location_id: args.tenant.clone(),
            n,
        };
        let body = samples::body(&target.event_type, &context).unwrap_or_default();
        let request = client
            .post(&target.url)
            .header(reqwest::header::CONTENT_TYPE, "application/json")
            .header(GHL_HEADER, key.sign_base64(&body))
            .body(body);
        posts.spawn(async move {
            let sent = Instant::now();
            let answer = request.send().await;
            let status = match answer {
                Ok(answer) => Ok(answer.status().as_u16()),
                Err(error) => Err(anyhow::Error::from(error)),
            };
            (status, sent.elapsed())
        });
    }
    while !posts.is_empty() {
        tally.note(posts.join_next().await, &bar);
    }
    bar.finish_and_clear();
    tally.report(args.count, started.elapsed(), base)
}

fn read_key(path: Option<&PathBuf>) -> Result<SigningKey, Failure> {
    let path = path.ok_or_else(|| Failure::saying(64, "--key is needed"))?;
    let advice = "`hookwell keys generate --out dev-key.pem` makes one";
    let pem = std::fs::read_to_string(path).map_err(|error| {
        Failure::saying(
            Failure::NO_INPUT,
            format!("cannot read {}: {error}; {advice}", path.display()),
        )
    })?;
    SigningKey::from_pkcs8_pem(&pem).map_err(|error| {
        Failure::saying(
            Failure::NO_INPUT,
            format!("{}: {error}; {advice}", path.display()),
        )
    })
}

/// GHL's timestamps have milliseconds; ours have microseconds.
fn millis(time: &str) -> String {
    time.get(..23)
        .map_or_else(|| time.to_owned(), |time| format!("{time}Z"))
}

#[derive(Default)]
struct Tally {
    accepted: u64,
    refused: BTreeMap<u16, u64>,
    unanswered: u64,
    last_error: Option<anyhow::Error>,
    millis: Vec<f64>,
}

type Posted = (Result<u16, anyhow::Error>, Duration);

impl Tally {
    fn note(&mut self, posted: Option<Result<Posted, tokio::task::JoinError>>, bar: &ProgressBar) {
        match posted {
            Some(Ok((Ok(200), took))) => {
                self.accepted += 1;
                self.millis.push(took.as_secs_f64() * 1000.0);
            }
            Some(Ok((Ok(status), _))) => *self.refused.entry(status).or_default() += 1,
            Some(Ok((Err(error), _))) => {
                self.unanswered += 1;
                self.last_error = Some(error);
            }
            Some(Err(error)) => {
                self.unanswered += 1;
                self.last_error = Some(error.into());
            }
            None => return,
        }
        bar.inc(1);
    }

    fn report(mut self, count: u64, took: Duration, base: &str) -> Outcome {
        self.millis.sort_by(f64::total_cmp);
        let quantile = |part: f64| {
            let last = self.millis.len().saturating_sub(1) as f64;
            self.millis
                .get((last * part).round() as usize)
                .copied()
                .unwrap_or(0.0)
        };
        let mut out = std::io::stdout().lock();
        write!(out, "{} of {count} accepted", self.accepted)?;
        if self.accepted > 0 {
            write!(
                out,
                " in {:.2} s ({:.0}/s); answer ms p50 {:.1}, p99 {:.1}, max {:.1}",
                took.as_secs_f64(),
                self.accepted as f64 / took.as_secs_f64().max(0.001),
                quantile(0.5),
                quantile(0.99),
                quantile(1.0)
            )?;
        }
        writeln!(out)?;
        for (status, count) in &self.refused {
            let why = match status {
                401 => "  the daemon does not have this key in signature.ed25519_keys",
                403 => "  the daemon has no such app",
                404 => "  no app has this path",
                429 => "  overloaded, or its store does not commit",
                _ => "",
            };
            writeln!(out, "{count} answered {status}{why}")?;
        }
        if let Some(error) = self.last_error {
            writeln!(out, "{} not answered: {error:#}", self.unanswered)?;
            writeln!(
                out,
                "  does `hookwell serve` run, and does it listen at {base}?"
            )?;
        }
        match self.accepted == count {
            true => Ok(()),
            false => Err(Failure::saying(
                Failure::PARTLY,
                "not every webhook was accepted",
            )),
        }
    }
}
