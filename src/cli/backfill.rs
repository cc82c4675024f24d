//! `hookwell backfill`: has records of a time read from the API and published.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::progress::{Bars, ProgressBar};
use super::when::when;
use super::{ConfigArgs, Failure, Outcome, table};
use crate::app;
use crate::clock;
use crate::event::backfill::{Ask, Kind};
use crate::event::{Position, Tenant};
use crate::follow_up::BACKFILL;
use crate::operator::action;
use crate::store::{Appended, FollowUp, FollowUpFilter, Store};

/// How often it is looked how far the daemon is.
const LOOK: Duration = Duration::from_millis(500);
/// Without an answer for so long it is said that a daemon has to run.
const PATIENCE: Duration = Duration::from_secs(10);

/// Read from the API what changed in a time, and append what the log lacks
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hookwell backfill --config hookwell.toml --tenant ve9EPM428h8vShlRW1KT --since 2h --dry-run
  hookwell backfill --config hookwell.toml --tenant ve9EPM428h8vShlRW1KT --since 2026-11-24T08:00:00Z --until 2026-11-24T12:00:00Z --types contacts

The running daemon does it, within GHL's limits, page by page, and goes on after a restart. Each record becomes a contact.snapshot or an opportunity.snapshot with origin backfill. Ending this command ends nothing else: `hookwell follow-ups list --rule hookwell.backfill` shows how far it is, and `hookwell follow-ups retry` goes on with one that is parked.")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// The location
    #[arg(long, value_name = "ID")]
    tenant: String,
    /// From here: a moment such as 2026-11-24T08:00:00Z, or a time before now such as 2h or 3days
    #[arg(long, value_name = "WHEN")]
    since: String,
    /// To here; now if not given
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// What is read
    #[arg(long, value_delimiter = ',', default_value = "contacts,opportunities", value_parser = ["contacts", "opportunities"])]
    types: Vec<String>,
    /// Only count what changed, and what of it the log lacks
    #[arg(long)]
    dry_run: bool,
    /// Do not wait for its end
    #[arg(long)]
    no_wait: bool,
    /// Of this app; the first of the configuration if not given
    #[arg(long, value_name = "ID")]
    app: Option<String>,
    /// Print an object a line
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> Outcome {
    let config = args.config.load()?;
    let now = clock::system()();
    let since = when(&args.since, now)?;
    let until = args
        .until
        .as_ref()
        .map_or(Ok(now), |text| when(text, now))?;
    if until <= since {
        return Err(Failure::saying(
            Failure::USAGE,
            "--until is not after --since".to_owned(),
        ));
    }
    let app_id = args
        .app
        .or_else(|| config.apps.first().map(|app| app.id.clone()));
    let app_id = app_id.unwrap_or_default();
    if !config
        .calls
        .as_ref()
        .is_some_and(|calls| calls.apps.contains_key(&app_id))
    {
        return Err(Failure::saying(
            Failure::CONFIG,
            format!(
                "app {app_id} has no client_id, client_secret and redirect_uri to make calls with"
            ),
        ));
    }
    let store = app::open_store_beside(&config.store).await?;
    let known = store.installation(&app_id, &args.tenant).await?;
    let Some(known) = known.filter(|known| known.installed) else {
        return Err(Failure::saying(
            Failure::NO_INPUT,
            format!(
                "app {app_id} is not installed at {}; see `hookwell installs list`",
                args.tenant
            ),
        ));
    };
    let kinds = args.types.iter().filter_map(|name| Kind::parse(name));
    let ask = Ask {
        kinds: kinds.collect(),
        since_micros: since.0,
        until_micros: until.0,
        dry_run: args.dry_run,
        why: "command".to_owned(),
    };
    let tenant = Tenant {
        company_id: known.company_id,
        location_id: Some(args.tenant.clone()),
    };
    let key = format!("backfill-{}-{}", now.0, args.tenant);
    let event = ask.event(&key, &app_id, tenant, now);
    let appended = store.append(&[event]).await?;
    let Some(Appended::New(position) | Appended::Altered(position, _)) = appended.first() else {
        return Err(Failure::saying(
            Failure::PARTLY,
            "the same was asked for in this very moment".to_owned(),
        ));
    };
    super::operator(Arc::clone(&store))
        .note(action::BACKFILL, &format!("tenant {}", args.tenant), 1)
        .await;
    if args.no_wait {
        writeln!(
            std::io::stdout(),
            "asked for; `hookwell follow-ups list --rule {BACKFILL}` shows how far it is"
        )?;
        return Ok(());
    }
    follow(
        store.as_ref(),
        &args.tenant,
        *position,
        ask.kinds.len(),
        args.dry_run,
        args.json,
    )
    .await
}

/// Shows how far the daemon is until all of it has ended.
async fn follow(
    store: &dyn Store,
    tenant: &str,
    position: Position,
    kinds: usize,
    dry_run: bool,
    json: bool,
) -> Outcome {
    let (bars, mut shown) = (Bars::new(json), BTreeMap::new());
    let (began, mut told) = (Instant::now(), false);
    let filter = FollowUpFilter {
        rule: Some(BACKFILL.to_owned()),
        tenant: Some(tenant.to_owned()),
        limit: 1_000,
        ..FollowUpFilter::default()
    };
    loop {
        let mut rows = store.follow_ups(&filter).await?;
        rows.retain(|row| row.position == position);
        rows.sort_by(|a, b| a.rule.cmp(&b.rule));
        for row in &rows {
            let bar = shown.entry(row.id).or_insert_with(|| bars.add(kind(row)));
            show(row, bar);
        }
        let ended = rows.len() == kinds && rows.iter().all(|row| row.state != "pending");
        if ended {
            for bar in shown.values() {
                bar.finish();
            }
            return conclude(&rows, dry_run, json);
        }
        let waits = rows.iter().any(|row| row.reason.is_some()) || rows.is_empty();
        if waits && !told && PATIENCE <= began.elapsed() {
            told = true;
            let why = rows.iter().find_map(|row| row.reason.clone());
            let why = why.map_or_else(
                || "is a daemon running with this store?".to_owned(),
                |reason| format!("it waits: {reason}"),
            );
            eprintln!("nothing yet; {why}");
        }
        sleep(LOOK).await;
    }
}

fn number(row: &FollowUp, name: &str) -> u64 {
    let progress: Value = serde_json::from_str(&row.progress).unwrap_or_default();
    progress[name].as_u64().unwrap_or(0)
}

fn kind(row: &FollowUp) -> &str {
    row.rule.rsplit('/').next().unwrap_or(&row.rule)
}

/// Pages of the kind, as far as it is known how many there are.
fn show(row: &FollowUp, bar: &ProgressBar) {
    let (all, page) = (number(row, "all"), number(row, "page"));
    bar.set_length(all.div_ceil(100).max(page));
    bar.set_position(page);
    let (found, lacking) = (number(row, "found"), number(row, "lacking"));
    bar.set_message(format!("{found} found, {lacking} lacking"));
}

fn conclude(rows: &[FollowUp], dry_run: bool, json: bool) -> Outcome {
    let mut out = std::io::stdout().lock();
    let mut failed = Vec::new();
    for row in rows {
        let (found, lacking) = (number(row, "found"), number(row, "lacking"));
        if json {
            let shown = json!({
                "kind": kind(row), "state": row.state, "found": found, "lacking": lacking, "dry_run": dry_run,
                "reason": row.reason, "detail": row.detail,
            });
            writeln!(out, "{}", table::line(&shown))?;
        } else {
            let lacking = match dry_run {
                true => format!("{lacking} of them not in the log"),
                false => format!("{lacking} of them appended"),
            };
            writeln!(out, "{:<14}{found:>8} changed, {lacking}", kind(row))?;
        }
        if row.state != "done" {
            failed.push(format!(
                "{} is {} ({}): {}",
                kind(row),
                row.state,
                row.reason.as_deref().unwrap_or("no reason"),
                row.detail.as_deref().unwrap_or_default()
            ));
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Failure::saying(Failure::PARTLY, failed.join("; "))),
    }
}
