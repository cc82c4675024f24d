//! What the store has to say: room, the ledger, answers, silence, tokens, gaps.

use super::{Findings, counted};
use crate::census;
use crate::clock;
use crate::config::{Calls, Config};
use crate::disk::Level;
use crate::event::Micros;
use crate::follow_up::tokens::missing_key;
use crate::key_file::KeyFile;
use crate::key_file::is_open;
use crate::store::{self, GHL_LEAST, SILENCE_FACTOR, Store, TokenCensus};
use crate::telemetry::Chain;

/// What the store has to say.
pub(super) async fn look(
    config: &Config,
    store: &dyn Store,
    findings: &mut Findings,
) -> Result<(), store::Error> {
    let now = clock::system()();
    let kind = config.store.url.split(':').next().unwrap_or_default();
    findings.good(
        "store",
        format!("{kind}: it answers, and keeps what it acknowledges"),
    );
    let schema = store.schema().await?;
    match schema.is_newer() {
        false => findings.good("schema", format!("{}, this version's", schema.version)),
        true => findings.warning(
            "schema",
            format!(
                "{}, newer than this version's {}, and lets it run",
                schema.version, schema.known
            ),
            "end the upgrade or the way back: the same version on every host",
        ),
    }
    server_clock(store, findings).await?;
    if let Some(disk) = store.disk() {
        let (free, percent) = (disk.free / 1024 / 1024, disk.free * 100 / disk.total.max(1));
        let reserve = config.store.disk_reserve;
        match Level::of(disk.free, reserve) {
            Level::Reserve => findings.broken(
                "disk",
                format!("{free} MiB are free, less than store.disk_reserve"),
                "make room: until then every webhook is answered 429",
            ),
            Level::Low => findings.warning(
                "disk",
                format!("{free} MiB are free, {percent} %"),
                "make room: with less than store.disk_reserve every webhook is answered 429",
            ),
            Level::Roomy => findings.good("disk", format!("{free} MiB are free, {percent} %")),
        }
    }
    let ledger = store.ledger().await?;
    match ledger.mismatch() {
        0 => findings.good(
            "ledger",
            format!(
                "{} accepted = {} published + {} pending + {} parked + {} discarded",
                ledger.accepted, ledger.published, ledger.pending, ledger.parked, ledger.discarded
            ),
        ),
        n => findings.broken(
            "ledger",
            format!("{} unaccounted for", counted(n, "event")),
            "this is a defect: keep the store as it is and report it",
        ),
    }
    if let Some(oldest) = ledger.oldest_pending_at
        && seconds(now, oldest) > 60
    {
        findings.warning(
            "backlog",
            format!(
                "{} {}, the oldest for {} s",
                counted(ledger.pending, "event"),
                if ledger.pending == 1 { "waits" } else { "wait" },
                seconds(now, oldest)
            ),
            "is RabbitMQ there, and does a daemon relay? See the lines on both",
        );
    }
    if 0 < ledger.held {
        findings.warning(
            "held",
            format!(
                "RabbitMQ refuses {} of {}",
                counted(ledger.held, "event"),
                counted(ledger.held_tenants, "tenant")
            ),
            "`hookwell held` says which queue is full",
        );
    }
    if 0 < ledger.parked {
        findings.warning(
            "dead letters",
            format!("{} could not be published", counted(ledger.parked, "event")),
            "mend what `hookwell dead-letters list` says, then `hookwell dead-letters retry --all`",
        );
    }
    if 0 < ledger.quarantined {
        findings.warning("quarantine", format!("{} in quarantine", counted(ledger.quarantined, "refused request")), "`hookwell quarantine list` says why; after mending a key or an app, `hookwell quarantine admit --all`");
    }
    let answers = store.answers(now).await?;
    let percent = answers.success_percent();
    match answers.all() {
        0 => findings.warning(
            "GHL's rule",
            format!(
                "no webhook of the last three days is counted; a daemon counts its answers every {} s",
                census::PERIOD.as_secs()
            ),
            "where none came at all, see that the app's webhook URL is this one and its events are switched on",
        ),
        all if answers.success_ratio() < GHL_LEAST => findings.broken("GHL's rule", format!("{percent} % of {all} webhooks in three days were answered 2xx"), "GHL pauses a URL under 90 %: `hookwell quarantine list` and the log say what was refused"),
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
        tokens(&store.token_census(now).await?, now, findings);
        let counts = store.follow_up_counts().await?;
        if 0 < counts.dead {
            findings.warning(
                "follow-ups",
                format!("{} parked", counted(counts.dead, "call")),
                "`hookwell follow-ups list --state dead` says why",
            );
        }
    }
    let gaps = store.gaps(5).await?;
    for gap in gaps.iter().filter(|gap| config.repair.is_due(gap)) {
        let found = format!(
            "no webhook could be taken for {} s from {}",
            gap.length().as_secs(),
            clock::rfc3339(gap.since)
        );
        let fix = config.repair.of(gap, config.calls.is_some());
        findings.warning("gaps", found, fix);
    }
    Ok(())
}

/// How fresh the stored tokens are.
fn tokens(tokens: &TokenCensus, now: Micros, findings: &mut Findings) {
    if 0 < tokens.reauthorise {
        findings.broken(
            "tokens",
            format!("{} can only be renewed by a person", tokens.reauthorise),
            "`hookwell installs list` shows whose; open /oauth/install in a browser",
        );
    }
    let mut found = match tokens.next_expiry {
        Some(next) => format!(
            "{} good, the next to expire in {} min",
            counted_is(tokens.good),
            seconds(next, now) / 60
        ),
        None => "none is good at the moment".to_owned(),
    };
    if 0 < tokens.expired {
        let expired = format!(
            "; {} expired, and renewed with the next call",
            counted_is(tokens.expired)
        );
        found.push_str(&expired);
    }
    findings.good("tokens", found);
}

fn counted_is(count: i64) -> String {
    match count {
        1 => "1 is".to_owned(),
        count => format!("{count} are"),
    }
}

/// Whether this machine's clock agrees with that of the store's server.
async fn server_clock(store: &dyn Store, findings: &mut Findings) -> Result<(), store::Error> {
    let before = clock::system()();
    let Some(theirs) = store.server_time().await? else {
        return Ok(());
    };
    // It was read somewhere in between.
    let off = (before.0 + (clock::system()().0 - before.0) / 2 - theirs.0) / 1_000_000;
    findings.clock(off, "Postgres's");
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
) -> Result<(), store::Error> {
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
    if is_open(&calls.key_file) {
        findings.warning(
            "token keys",
            format!("{path} can be read by anybody, or changed by its group"),
            format!("chmod 640 {path}, or 600 where its owner runs the daemon"),
        );
    }
    Ok(())
}
