//! `hookwell doctor`

use std::io::Write;
use std::time::Duration;

use serde_json::json;

use super::{ConfigArgs, Failure, Outcome, table};
use crate::app;
use crate::broker::{self, Session, TopologyMode};
use crate::clock;
use crate::config::{Calls, Config};
use crate::event::Micros;
use crate::follow_up::tokens::missing_key;
use crate::ingest::App;
use crate::key_file::KeyFile;
use crate::store::{SILENCE_FACTOR, Store};
use crate::telemetry::Chain;

/// Look for what goes wrong in practice, and say how to mend it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hookwell doctor --config hookwell.toml
  hookwell doctor --config hookwell.toml --url https://hooks.example.com

Changes nothing, and works beside a running daemon and without one. --url asks each webhook path from outside, with GET: hookwell has to say that it takes POST only, through every proxy before it. Exits 1 when something is broken; warnings alone exit 0.")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Where GHL posts to, without the path
    #[arg(long, value_name = "URL")]
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

/// What was found, in the order in which it was looked for.
#[derive(Default)]
struct Findings(Vec<(Level, &'static str, String, String)>);

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

/// How long anything asked over HTTP may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// A clock that is off by more than this is worth a word, in seconds.
const CLOCK: i64 = 30;

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
    let http = super::ask::client(PATIENCE)?;
    daemon(&config, &http, &mut findings).await;
    match app::open_store_beside(&config.store).await {
        Ok(store) => {
            if let Err(error) = stored(&config, store.as_ref(), &mut findings).await {
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
    rabbitmq(&config, &mut findings).await;
    if let Some(calls) = &config.calls {
        api(calls, &http, &mut findings).await;
    }
    match &args.url {
        Some(url) => {
            for app in &config.apps {
                outside(url.trim_end_matches('/'), app, &http, &mut findings).await;
            }
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
            writeln!(out, "{line}")?;
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

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

/// Whether a daemon runs here and takes webhooks.
async fn daemon(config: &Config, http: &reqwest::Client, findings: &mut Findings) {
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

/// What the store has to say.
async fn stored(
    config: &Config,
    store: &dyn Store,
    findings: &mut Findings,
) -> Result<(), crate::store::Error> {
    let now = clock::system()();
    let kind = config.store.url.split(':').next().unwrap_or_default();
    findings.good(
        "store",
        format!("{kind}: it answers, keeps what it acknowledges, and its schema is this version's"),
    );
    if let Some(disk) = store.disk() {
        let (free, percent) = (disk.free / 1024 / 1024, disk.free * 100 / disk.total.max(1));
        match percent {
            0..=9 => findings.broken(
                "disk",
                format!("{free} MiB are free, {percent} %"),
                "make room: with a full disk every webhook is answered 429",
            ),
            _ => findings.good("disk", format!("{free} MiB are free, {percent} %")),
        }
    }
    let ledger = store.ledger().await?;
    match ledger.mismatch() {
        0 => findings.good(
            "ledger",
            format!(
                "{} accepted = {} published + {} pending + {} parked",
                ledger.accepted, ledger.published, ledger.pending, ledger.parked
            ),
        ),
        n => findings.broken(
            "ledger",
            format!("{n} events are unaccounted for"),
            "this is a defect: keep the store as it is and report it",
        ),
    }
    if let Some(oldest) = ledger.oldest_pending_at
        && seconds(now, oldest) > 60
    {
        findings.warning(
            "backlog",
            format!(
                "{} events wait, the oldest for {} s",
                ledger.pending,
                seconds(now, oldest)
            ),
            "is RabbitMQ there, and does a daemon relay? See the lines on both",
        );
    }
    if 0 < ledger.held {
        findings.warning(
            "held",
            format!(
                "{} events of {} tenants are refused by RabbitMQ",
                ledger.held, ledger.held_tenants
            ),
            "`hookwell held` says which queue is full",
        );
    }
    if 0 < ledger.parked {
        findings.warning(
            "dead letters",
            format!("{} events could not be published", ledger.parked),
            "`hookwell dead-letters list` says why; then `hookwell dead-letters retry --all`",
        );
    }
    if 0 < ledger.quarantined {
        findings.warning("quarantine", format!("{} requests were refused", ledger.quarantined), "`hookwell quarantine list` says why; after mending a key or an app, `hookwell quarantine admit --all`");
    }
    let answers = store.answers(now).await?;
    let percent = (answers.success_ratio() * 1000.0).floor() / 10.0;
    match answers.all() {
        0 => findings.warning("GHL's rule", "no webhook came in three days", "see that the app's webhook URL is this one and its events are switched on"),
        all if answers.success_ratio() < 0.9 => findings.broken("GHL's rule", format!("{percent} % of {all} webhooks in three days were answered 2xx"), "GHL pauses a URL under 90 %: `hookwell quarantine list` and the log say what was refused"),
        all => findings.good("GHL's rule", format!("{percent} % of {all} webhooks in three days were answered 2xx")),
    }
    for silent in store.silent_tenants(now, 5).await? {
        let found = format!(
            "{} for {} min, and never before for more than {} min",
            silent.tenant,
            seconds(now, silent.last_at) / 60,
            silent.longest_gap / 60_000_000
        );
        findings.warning("silent", found, format!("more than {SILENCE_FACTOR} times its longest silence lately: is the app still installed, and its webhooks on?"));
    }
    if let Some(calls) = &config.calls {
        keys(calls, store, findings).await?;
        match store.tokens_to_reauthorise().await? {
            0 => findings.good("tokens", "none waits for a person"),
            n => findings.broken(
                "tokens",
                format!("{n} can only be renewed by a person"),
                "`hookwell installs list` shows whose; open /oauth/install in a browser",
            ),
        }
        let counts = store.follow_up_counts().await?;
        if 0 < counts.dead {
            findings.warning(
                "follow-ups",
                format!("{} calls are parked", counts.dead),
                "`hookwell follow-ups list --state dead` says why",
            );
        }
    }
    for gap in store
        .gaps(5)
        .await?
        .iter()
        .filter(|gap| gap.repaired_at.is_none())
    {
        if config.repair.gap_after.as_secs() <= gap.seconds() {
            let found = format!(
                "no webhook could be taken for {} s from {}",
                gap.seconds(),
                clock::rfc3339(gap.since)
            );
            findings.warning("gaps", found, config.repair.of(gap, config.calls.is_some()));
        }
    }
    Ok(())
}

fn seconds(now: Micros, then: Micros) -> i64 {
    (now.0 - then.0).max(0) / 1_000_000
}

/// Whether stored tokens can be opened, and nobody else can open them.
async fn keys(
    calls: &Calls,
    store: &dyn Store,
    findings: &mut Findings,
) -> Result<(), crate::store::Error> {
    let path = calls.key_file.display().to_string();
    let keys = match KeyFile::open(calls.key_file.clone()) {
        Ok(keys) => keys,
        Err(error) => {
            findings.broken(
                "token keys",
                Chain(&error).to_string(),
                "`hookwell keys rotate --file …` makes the file of ghl.token_keys_file",
            );
            return Ok(());
        }
    };
    match missing_key(store, &keys).await? {
        None => findings.good("token keys", format!("{path} opens every stored token")),
        Some(key) => findings.broken(
            "token keys",
            format!("tokens are sealed with {key}, which is not in {path}"),
            "put its line back; without it every app has to be authorised again",
        ),
    }
    use std::os::unix::fs::PermissionsExt;
    if let Ok(about) = std::fs::metadata(&calls.key_file)
        && about.permissions().mode() & 0o077 != 0
    {
        findings.warning(
            "token keys",
            format!("{path} can be read by others"),
            format!("chmod 600 {path}"),
        );
    }
    Ok(())
}

/// Whether RabbitMQ is there and has what the configuration says. Nothing is declared.
async fn rabbitmq(config: &Config, findings: &mut Findings) {
    let mut settings = config.relay.broker.clone();
    let declares = settings.topology.mode == TopologyMode::Declare;
    settings.topology.mode = TopologyMode::Check;
    for queue in settings
        .topology
        .queues
        .iter()
        .filter(|queue| queue.kind != broker::QueueKind::Quorum)
    {
        let found = format!("{} is a {} queue", queue.name, queue.kind.as_str());
        findings.warning(
            "queues",
            found,
            "only a quorum queue has a message on disk before it confirms it",
        );
    }
    match Session::open(&settings).await {
        Ok(session) => {
            let queues = counted(settings.topology.queues.len(), "queue");
            findings.good(
                "RabbitMQ",
                format!(
                    "{} has the exchange {} and {queues}",
                    session.address(),
                    settings.topology.exchange
                ),
            );
            if session.is_blocked() {
                findings.broken(
                    "RabbitMQ",
                    "it takes nothing: a memory or disk alarm",
                    "`rabbitmqctl status` shows the alarm; events wait meanwhile",
                );
            }
            session.close().await;
        }
        Err(error @ broker::Error::Topology { .. }) if declares => {
            findings.warning("RabbitMQ", Chain(&error).to_string(), "`hookwell serve` declares what is missing; what is there and differs has to be mended by hand");
        }
        Err(error) => findings.broken(
            "RabbitMQ",
            Chain(&error).to_string(),
            "check broker.url, the virtual host and the user's permissions; events wait meanwhile",
        ),
    }
}

/// Whether GHL's API answers, and the clock agrees with its.
async fn api(calls: &Calls, http: &reqwest::Client, findings: &mut Findings) {
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
async fn outside(base: &str, app: &App, http: &reqwest::Client, findings: &mut Findings) {
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
