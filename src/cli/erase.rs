//! `hookwell erase`: removes what is kept of a contact or of a tenant.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::consent::consent;
use super::progress;
use super::{ConfigArgs, Failure, Outcome, table};
use crate::app;
use crate::event::Position;
use crate::store::{Beside, Erased, Found, Store, Subject};

/// How long it is waited until what came last is published.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(250);
/// Shorter ids are in bodies by chance.
const LEAST_ID: usize = 10;

/// Remove everything about a contact or of a tenant
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("whose").args(["contact", "tenant"]).required(true))]
#[command(after_help = "Examples:
  hookwell erase --config hookwell.toml --contact seD4PfOuKoVMLkEZqo00 --dry-run
  hookwell erase --config hookwell.toml --contact seD4PfOuKoVMLkEZqo00
  hookwell erase --config hookwell.toml --tenant ve9EPM428h8vShlRW1KT --yes

Events go with their bodies, the API calls that they called for, dead letters and held events among them, and refused requests with the id in their body; of a contact also every event that names it anywhere. Of a tenant where the app is not installed any more the installation goes, too. What is still to be published is published first. GHL's ids of the events stay for store.keep_keys, so that a late repeat does not bring them back. Not reached: messages in RabbitMQ's queues, backups, and what consumers have kept.")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// A contact's id
    #[arg(long, value_name = "ID")]
    contact: Option<String>,
    /// A location's or a company's id
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// Only count
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> Outcome {
    let config = args.config.load()?;
    let subject = match (args.contact, args.tenant) {
        (Some(id), _) => Subject::Contact(id),
        (None, id) => Subject::Tenant(id.unwrap_or_default()),
    };
    let id = subject.id();
    if id.len() < LEAST_ID || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::saying(
            Failure::USAGE,
            format!(
                "{id:?} is no id of GHL's: those have {LEAST_ID} characters or more, without spaces"
            ),
        ));
    }
    let store = app::open_store_beside(&config.store).await?;
    let operator = super::operator(Arc::clone(&store));
    let end = store.ledger().await?.head;
    let bar = progress::bar(end.0, args.json);
    let (found, beside) = operator
        .find_subject(&subject, |at| progress::move_to(&bar, at.0))
        .await?;
    bar.finish_and_clear();
    tell(&subject, &found, &beside, args.dry_run, args.json)?;
    let rest = beside.quarantined + beside.calls + beside.installations;
    if args.dry_run || found.events + rest == 0 {
        return Ok(());
    }
    let events = found.events;
    consent(
        args.yes,
        &format!("Remove all of that for ever, {events} events of it from the log?"),
    )?;
    wait_until_passed(store.as_ref(), end, args.json).await?;
    let bar = progress::bar(end.0, args.json);
    let found = u64::try_from(found.events + rest).unwrap_or(0);
    let erasing = operator.erase(&subject, found, |at| progress::move_to(&bar, at.0));
    let (erased, beside) = erasing.await?;
    bar.finish_and_clear();
    // On SQLite the write-ahead log has what is gone until it is moved into the file and cut.
    store.close().await;
    conclude(&subject, &erased, &beside, args.json)
}

/// What is there.
fn tell(
    subject: &Subject,
    found: &Found,
    beside: &Beside,
    is_dry: bool,
    as_json: bool,
) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if as_json {
        if is_dry {
            let counted = json!({
                "subject": subject.to_string(), "events": found.events, "still_to_be_published": found.waiting,
                "quarantined": beside.quarantined, "calls": beside.calls, "installations": beside.installations,
                "installed": beside.installed,
            });
            writeln!(out, "{}", table::line(&counted))?;
        }
        return Ok(());
    }
    writeln!(out, "of {subject} there are")?;
    let waiting = match found.waiting {
        0 => String::new(),
        waiting => format!(", {waiting} of them still to be published"),
    };
    writeln!(out, "{:>10}  events{waiting}", found.events)?;
    writeln!(out, "{:>10}  API calls", beside.calls)?;
    writeln!(out, "{:>10}  refused requests", beside.quarantined)?;
    if matches!(subject, Subject::Tenant(_)) {
        let over = beside.installations;
        writeln!(out, "{over:>10}  installations that are over")?;
    }
    if 0 < beside.installed {
        let installed = beside.installed;
        writeln!(
            out,
            "{installed:>10}  installations that are not over: they stay, and more events will come"
        )?;
    }
    Ok(())
}

/// Waits until every reader is past the log as it was, but not for ever.
async fn wait_until_passed(store: &dyn Store, end: Position, as_json: bool) -> Result<(), Failure> {
    let began = Instant::now();
    while store.erasable_upto().await? < end && began.elapsed() < PATIENCE {
        if !as_json && began.elapsed() < LOOK {
            eprintln!("waiting until what came last is published");
        }
        sleep(LOOK).await;
    }
    Ok(())
}

fn conclude(subject: &Subject, erased: &Erased, beside: &Beside, as_json: bool) -> Outcome {
    let mut out = std::io::stdout().lock();
    let calls = i64::try_from(erased.calls).unwrap_or(0) + beside.calls;
    if as_json {
        let done = json!({
            "subject": subject.to_string(), "events": erased.events, "discarded": erased.discarded, "calls": calls,
            "quarantined": beside.quarantined, "installations": beside.installations, "left": erased.left,
        });
        writeln!(out, "{}", table::line(&done))?;
    } else {
        let (events, refused) = (erased.events, beside.quarantined);
        let over = beside.installations;
        writeln!(
            out,
            "removed: {events} events, {calls} API calls, {refused} refused requests, {over} installations"
        )?;
        if 0 < erased.discarded {
            let never = erased.discarded;
            writeln!(out, "{never} of the events were never published")?;
        }
    }
    match erased.left {
        0 => Ok(()),
        left => Err(Failure::saying(
            Failure::PARTLY,
            format!(
                "{left} events stay: they are still to be published, or a call for them is being made; run this again"
            ),
        )),
    }
}
