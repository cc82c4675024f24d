//! `hookwell doctor`: looks at all that hookwell needs, and says what to do where something is wrong.

use std::io::Write;
use std::time::Duration;

use serde_json::json;

use super::{ConfigArgs, Failure, Outcome, table};
use crate::app;
use crate::telemetry::Chain;

mod reached;
mod stored;

/// Look for what goes wrong in practice, and say how to mend it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hookwell doctor --config hookwell.toml
  hookwell doctor --config hookwell.toml --url https://hooks.example.com

Changes nothing, and works beside a running daemon and without one. --url asks from outside, with GET, for each webhook path, for /oauth/install and the callback where an app has a redirect_uri, and for the path of its triggers: hookwell itself has to answer, through every proxy before it. Exits 1 when something is broken; warnings alone exit 0.")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Where GHL posts to, without the path
    #[arg(long, value_name = "URL", value_parser = super::ask::base_url)]
    url: Option<String>,
    /// Print an object a line
    #[arg(long)]
    json: bool,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Good,
    Warning,
    Broken,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warning => "warning",
            Self::Broken => "BROKEN",
        }
    }
}

/// How bad it is, what was looked at, what was found, and the way out.
type Finding = (Level, &'static str, String, String);

/// What was found, in the order in which it was looked for.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn good(&mut self, what: &'static str, found: impl Into<String>) {
        self.0
            .push((Level::Good, what, found.into(), String::new()));
    }

    fn warning(&mut self, what: &'static str, found: impl Into<String>, fix: impl Into<String>) {
        self.0
            .push((Level::Warning, what, found.into(), fix.into()));
    }

    fn broken(&mut self, what: &'static str, found: impl Into<String>, fix: impl Into<String>) {
        self.0.push((Level::Broken, what, found.into(), fix.into()));
    }
}

impl Findings {
    /// A clock that is so many seconds ahead of somebody's.
    fn clock(&mut self, ahead: i64, whose: &str) {
        let off = ahead.abs();
        if off <= CLOCK {
            self.good("clock", format!("it differs by {off} s from {whose}"));
            return;
        }
        let which = if ahead < 0 { "behind" } else { "ahead of" };
        self.warning(
            "clock",
            format!("it is {off} s {which} {whose}"),
            "switch on NTP: times of events, token lifetimes and budgets go by it",
        );
    }
}

/// A clock that is off by more than this is worth a word, in seconds.
const CLOCK: i64 = 30;
/// How long anything asked over HTTP may take.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn run(args: Args) -> Outcome {
    // A configuration that is wrong ends here, with everything that is wrong with it.
    let config = args.config.load()?;
    let mut findings = Findings::default();
    findings.good(
        "configuration",
        format!(
            "{} read without a problem",
            counted(config.apps.len(), "app")
        ),
    );
    for warning in &config.warnings {
        findings.warning(
            "configuration",
            warning.clone(),
            "see config/default.toml for what each key means",
        );
    }
    match (config.verifier.accepts_ghl(), config.verifier.count()) {
        (true, 1) => findings.good("signatures", "GHL's published key is accepted"),
        (true, n) => findings.good("signatures", format!("GHL's published key and {} are accepted", counted(n - 1, "other"))),
        (false, n) => findings.warning(
            "signatures",
            format!("{} accepted, and GHL's published key is not among them", counted(n, "key")),
            "right for trying things out; for webhooks of GHL take signature.ed25519_keys out, or add GHL's key",
        ),
    }
    let http = super::ask::client(PATIENCE)?;
    reached::daemon(&config, &http, &mut findings).await;
    match app::open_store_beside(&config.store).await {
        Ok(store) => {
            if let Err(error) = stored::look(&config, store.as_ref(), &mut findings).await {
                findings.broken(
                    "store",
                    Chain(&error).to_string(),
                    "the store answered and then did not; look at its log",
                );
            }
        }
        Err(error) => findings.broken(
            "store",
            Chain(&error).to_string(),
            "check store.url, that the server runs, and what the message says",
        ),
    }
    reached::rabbitmq(&config, &mut findings).await;
    if let Some(calls) = &config.calls {
        reached::api(calls, &http, &mut findings).await;
    }
    match &args.url {
        Some(url) => {
            reached::outside(url, &config, &http, &mut findings).await;
        }
        None => findings.good(
            "public URL",
            "not asked for: give --url https://<your host>",
        ),
    }
    report(&findings, args.json)
}

fn report(findings: &Findings, json: bool) -> Outcome {
    let mut out = std::io::stdout().lock();
    for (level, what, found, fix) in &findings.0 {
        if json {
            let fix = Some(fix).filter(|fix| !fix.is_empty());
            let line = json!({ "level": level.as_str().to_lowercase(), "what": what, "found": found, "fix": fix });
            writeln!(out, "{}", table::line(&line))?;
            continue;
        }
        writeln!(
            out,
            "{:<8} {what:<14} {}",
            level.as_str(),
            table::printable(found)
        )?;
        if !fix.is_empty() {
            writeln!(out, "{:<8} {:<14} fix: {fix}", "", "")?;
        }
    }
    let count = |level| {
        findings
            .0
            .iter()
            .filter(|finding| finding.0 == level)
            .count()
    };
    let (broken, warnings) = (count(Level::Broken), count(Level::Warning));
    if !json {
        writeln!(out, "\n{broken} broken, {}", counted(warnings, "warning"))?;
    }
    match broken {
        0 => Ok(()),
        _ => Err(Failure::saying(Failure::PARTLY, format!("{broken} broken"))),
    }
}

fn counted<N: std::fmt::Display + PartialEq + From<u8>>(count: N, what: &str) -> String {
    match count == N::from(1) {
        true => format!("{count} {what}"),
        false => format!("{count} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_worth_a_word_when_it_is_half_a_minute_off_either_way() {
        for (ahead, level, said) in [
            (0, Level::Good, "it differs by 0 s from GHL's"),
            (-30, Level::Good, "it differs by 30 s from GHL's"),
            (31, Level::Warning, "it is 31 s ahead of GHL's"),
            (-3600, Level::Warning, "it is 3600 s behind GHL's"),
        ] {
            let mut findings = Findings::default();
            findings.clock(ahead, "GHL's");
            let (found, what, text, fix) = &findings.0[0];
            assert_eq!((*found, *what, text.as_str()), (level, "clock", said));
            assert_eq!(fix.contains("NTP"), level == Level::Warning);
        }
    }
}
