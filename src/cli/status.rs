//! `hookwell status`: how the daemon and its log are, in a few lines.

use std::io::Write;
use std::time::Duration;

use serde_json::json;

use super::{ConfigArgs, Failure, Outcome};
use crate::app;
use crate::clock::{self, rfc3339};
use crate::store::GHL_LEAST;

/// Show the ledger: accepted = published + pending + parked + discarded
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hookwell status --config hookwell.toml
  hookwell status --config hookwell.toml --json

Reads the store, so it works whether or not the daemon runs. Exits 1 when the ledger does not add up.")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Gaps that are shown, the newest ones.
const GAPS: i64 = 5;
/// Silent tenants that are shown.
const SILENT: i64 = 20;

pub(super) async fn run(args: Args) -> Outcome {
    let config = args.config.load()?;
    let store = app::open_store_beside(&config.store).await?;
    let schema = store.schema().await?;
    let ledger = store.ledger().await?;
    let gaps = store.gaps(GAPS).await?;
    let now = clock::system()();
    let answers = store.answers(now).await?;
    let silent = store.silent_tenants(now, SILENT).await?;
    let waiting = ledger.oldest_pending_at.map(|at| {
        Duration::from_secs(u64::try_from((now.0 - at.0).max(0) / 1_000_000).unwrap_or(0))
    });
    let mut out = std::io::stdout().lock();
    if args.json {
        let status = json!({
            "accepted": ledger.accepted, "published": ledger.published, "pending": ledger.pending,
            "held": ledger.held, "held_tenants": ledger.held_tenants, "parked": ledger.parked, "retry": ledger.retry, "discarded": ledger.discarded, "mismatch": ledger.mismatch(), "quarantined": ledger.quarantined,
            "schema": schema.version, "schema_known": schema.known,
            "oldest_pending_seconds": waiting.map(|age| age.as_secs()),
            "webhook_answers": answers.all(), "webhook_success_ratio": answers.success_ratio(),
            "silent_tenants": silent.iter().map(|silent| json!({
                "tenant": silent.tenant, "last_at": rfc3339(silent.last_at), "longest_gap_seconds": silent.longest_gap / 1_000_000,
            })).collect::<Vec<_>>(),
            "gaps": gaps.iter().map(|gap| json!({
                "since": rfc3339(gap.since), "until": rfc3339(gap.until), "seconds": gap.length().as_secs(),
                "repaired_at": gap.repaired_at.map(rfc3339), "repair": config.repair.of(gap, config.calls.is_some()),
            })).collect::<Vec<_>>(),
        });
        writeln!(out, "{status}")?;
    } else {
        if schema.is_newer() {
            writeln!(
                out,
                "the schema is at {}, newer than this hookwell's {}, and lets it run\n",
                schema.version, schema.known
            )?;
        }
        writeln!(out, "accepted     {:>10}", ledger.accepted)?;
        writeln!(out, "  published  {:>10}", ledger.published)?;
        let age =
            waiting.map(|age| format!("  the oldest for {}", humantime::format_duration(age)));
        writeln!(
            out,
            "  pending    {:>10}{}",
            ledger.pending,
            age.unwrap_or_default()
        )?;
        if ledger.held > 0 {
            let whose = match ledger.held_tenants {
                1 => "1 tenant".to_owned(),
                count => format!("{count} tenants"),
            };
            writeln!(
                out,
                "    held     {:>10}  of {whose}, see `hookwell held`",
                ledger.held
            )?;
        }
        let advice = if ledger.parked > 0 {
            "  see `hookwell dead-letters list`"
        } else {
            ""
        };
        writeln!(out, "  parked     {:>10}{advice}", ledger.parked)?;
        if ledger.retry > 0 {
            writeln!(
                out,
                "    retry    {:>10}  being published again",
                ledger.retry
            )?;
        }
        if ledger.discarded > 0 {
            writeln!(out, "  discarded  {:>10}", ledger.discarded)?;
        }
        let advice = if ledger.quarantined > 0 {
            "  see `hookwell quarantine list`"
        } else {
            ""
        };
        writeln!(out, "quarantined  {:>10}{advice}", ledger.quarantined)?;
        if 0 < answers.all() {
            let advice = match answers.success_ratio() < GHL_LEAST {
                true => "; GHL pauses a URL under 90 %",
                false => "",
            };
            writeln!(
                out,
                "\nof {} webhooks in three days {} % were answered 2xx{advice}",
                answers.all(),
                answers.success_percent()
            )?;
        }
        for silent in &silent {
            let gap =
                Duration::from_secs(u64::try_from(silent.longest_gap / 1_000_000).unwrap_or(0));
            writeln!(
                out,
                "silent since {}: {}, which was never silent for longer than {} lately",
                rfc3339(silent.last_at),
                super::table::printable(&silent.tenant),
                humantime::format_duration(gap)
            )?;
        }
        if !gaps.is_empty() {
            writeln!(out, "\nno webhook could be taken")?;
        }
        for gap in &gaps {
            let length = humantime::format_duration(Duration::from_secs(gap.length().as_secs()));
            writeln!(
                out,
                "  from {} for {length}: {}",
                rfc3339(gap.since),
                config.repair.of(gap, config.calls.is_some())
            )?;
        }
    }
    match ledger.mismatch() {
        0 => Ok(()),
        n => Err(Failure::saying(
            Failure::PARTLY,
            format!("the ledger does not add up: {n} events unaccounted for"),
        )),
    }
}
