//! The registry of rows: what can go wrong, one at a time, and what it needs.
//!
//! To add a row: write one short `async fn(Lab) -> Outcome` in the room of the part that fails
//! (`rows/broker.rs` and so on), and name it in [`ROWS`]. It reads like the table it comes from:
//!
//! ```ignore
//! /// F-01: the broker is killed under load and comes back.
//! pub async fn killed(lab: Lab) -> Outcome {
//!     let mut run = lab.setup().own_broker().start().await;        // servers, daemon, load, sink
//!     for _ in 0..lab.times(3, 20) {                               // the slice, the whole row
//!         run.more(200).await;                                     // load flows
//!         run.fault(FaultKind::Broker, "kill -9", async |run| {    // what breaks: noted with its times
//!             run.broker().rabbit.server.kill9();
//!             run.more(200).await;
//!             run.broker().rabbit.server.restart().await;
//!         })
//!         .await;
//!     }
//!     run.judge().await                                            // drain, dump, verdict
//! }
//! ```
//!
//! [`Setup`](crate::lab::Setup) says what a run stands on: `own_broker`, `own_cluster` and `own_postgres` where
//! the row harms the server, `on_a_disk` for power cuts, `behind_a_proxy` for faults between GHL and the daemon,
//! `daemon` for settings, `failpoints` for crash points, `load` for bad requests, retries off and the
//! like, `calls` for rules of follow-ups and a GHL to call, `plan` for what the checker has to allow. Between daemon and servers stand proxies in any case:
//! `run.broker().proxy`, `run.store().proxy()`. After a crash of the store or of the daemon comes
//! `run.look_after_crash()`, before anything is posted again: I3 is judged from that.
//!
//! A row asserts nothing that an invariant of the checker says already. What only this row can know (an
//! answer, an exit code, a gauge) it states with [`Run::expect`](crate::lab::Run::expect), which goes
//! into the verdict. What cannot happen at all panics; the row is then `broken`, and fails.

use std::pin::Pin;

use crate::abilities::Ability;
use crate::harness::Backend;
use crate::lab::{Lab, Outcome};
use crate::soak;

mod broker;
mod cluster;
mod connections;
mod follow_ups;
mod http;
mod identity;
mod network;
mod payload;
mod poison;
mod postgres;
mod process;
mod signature;
mod sqlite;
mod topology;

pub use follow_ups::load::NOBODY_OVER_BUDGET;
pub use http::NO_SESSION_LEFT_OPEN;

/// A row of the table of faults.
pub struct Row {
    /// Its name there.
    pub id: &'static str,
    /// What breaks.
    pub title: &'static str,
    /// Where it makes sense.
    pub stores: &'static [Backend],
    /// What the machine must be able to do.
    pub needs: &'static [Ability],
    /// Whether it belongs to the first slice.
    pub first: bool,
    /// What it does.
    pub run: fn(Lab) -> Pin<Box<dyn Future<Output = Outcome>>>,
}

impl Row {
    /// The letter of its group.
    pub fn group(&self) -> &'static str {
        self.id.split('-').next().unwrap_or(self.id)
    }
}

const BOTH: &[Backend] = &Backend::ALL;
const SQLITE: &[Backend] = &[Backend::Sqlite];
const POSTGRES: &[Backend] = &[Backend::Postgres];
const FAKETIME: &[Ability] = &[Ability::Faketime];
const PRLIMIT: &[Ability] = &[Ability::Prlimit];
const MEMORY: &[Ability] = &[Ability::MemoryLimit];
const POWER: &[Ability] = &[Ability::Root, Ability::PowerCut];
const POWER_CONTROL: &[Ability] = &[Ability::Root, Ability::PowerCut, Ability::Failpoints];
const LOST: &[Ability] = &[Ability::Root, Ability::Iptables];
const CRASH: &[Ability] = &[Ability::Failpoints];

macro_rules! row {
    ($id:literal, $title:literal, $stores:expr, $needs:expr, first: $first:literal, $run:path) => {
        Row {
            id: $id,
            title: $title,
            stores: $stores,
            needs: $needs,
            first: $first,
            run: |lab| Box::pin($run(lab)),
        }
    };
}

/// Every row there is.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row!("H-01", "senders that hang up at any moment", BOTH, &[], first: true, http::hang_ups),
    row!("H-02", "answers lost after the commit", BOTH, &[], first: false, http::answers_lost),
    row!("H-03", "the store says nothing for a while", BOTH, &[], first: false, http::silent_store),
    row!("H-04", "2,000 connections whose heads never end", BOTH, &[], first: false, connections::slow_heads),
    row!("H-05", "bodies that stop or trickle", BOTH, &[], first: false, connections::slow_bodies),
    row!("H-06", "more connections than files", BOTH, PRLIMIT, first: false, connections::out_of_files),
    row!("H-06-cap", "more connections than allowed", BOTH, &[], first: false, connections::over_the_cap),
    row!("H-07", "bodies over the limit, without an end", BOTH, &[], first: false, connections::large_bodies),
    row!("H-12", "ten times the capacity", BOTH, &[Ability::Strace], first: false, http::burst),
    row!("B-01", "any bytes that GHL may sign", BOTH, &[], first: false, payload::any_bytes),
    row!("B-02", "names that stand twice in an object", BOTH, &[], first: false, payload::duplicate_names),
    row!("B-03", "NUL in strings, ids and keys", BOTH, &[], first: false, payload::nul),
    row!("B-04", "halves of surrogate pairs", BOTH, &[], first: false, payload::lone_surrogates),
    row!("B-05", "bodies that are no text, no JSON, or no object", BOTH, &[], first: false, payload::not_an_object),
    row!("B-06", "deep, wide and long bodies", BOTH, &[], first: false, payload::extremes),
    row!("B-08", "no usable event id", BOTH, &[], first: false, identity::without_id),
    row!("B-09", "one id with several bodies", BOTH, &[], first: false, identity::one_id_two_bodies),
    row!("B-10", "one event a thousand times at once", BOTH, &[], first: true, identity::at_once),
    row!("B-11", "signatures that are none", BOTH, &[], first: false, signature::no_signature),
    row!("B-12", "published vectors for signatures", BOTH, &[], first: false, signature::vectors),
    row!("B-13", "both signature headers, one of them bad", BOTH, &[], first: false, signature::two_headers),
    row!("B-14", "signing keys are rotated under load", BOTH, &[], first: false, signature::rotated),
    row!("B-15", "bodies that only re-serialise to what was signed", BOTH, &[], first: false, signature::re_serialised),
    row!("B-16", "old genuine requests come again", BOTH, FAKETIME, first: false, identity::replayed),
    row!("B-17", "the daemon's clock jumps", BOTH, FAKETIME, first: false, identity::clock_jumps),
    row!("P-01", "kill -9 of a backend in the midst of a commit", POSTGRES, &[], first: false, postgres::backend_killed),
    row!("P-02", "kill -9 of the postmaster under load", POSTGRES, &[], first: true, postgres::killed),
    row!("P-03", "power cut of Postgres", POSTGRES, POWER, first: false, postgres::power_cut),
    row!("P-03-commit", "power cut of Postgres, synchronous_commit off: must lose", POSTGRES, POWER_CONTROL, first: false, postgres::power_cut_without_synchronous_commit),
    row!("P-03-fsync", "power cut of Postgres, fsync off: must lose", POSTGRES, POWER_CONTROL, first: false, postgres::power_cut_without_fsync),
    row!("P-04", "committed, and the answer is lost", POSTGRES, &[], first: true, postgres::answers::lost),
    row!("P-05", "reset behind each byte of a statement and its answer", POSTGRES, &[], first: false, postgres::answers::cut_at_each_byte),
    row!("P-06", "SIGSTOP of Postgres", POSTGRES, &[], first: false, postgres::silence::frozen),
    row!("P-07", "packets to Postgres are lost", POSTGRES, LOST, first: false, postgres::silence::packets_lost),
    row!("P-08", "disk full under Postgres, and its log", POSTGRES, POWER, first: false, postgres::room::disk_full),
    row!("P-09", "EIO from Postgres's fdatasync", POSTGRES, &[Ability::Strace], first: false, postgres::room::sync_fails),
    row!("P-11", "durability turned off before a start", POSTGRES, &[], first: false, postgres::settings::not_durable),
    row!("P-11-reload", "synchronous_commit off under a daemon, then a power cut", POSTGRES, POWER, first: false, postgres::settings::not_durable_while_running),
    row!("P-14", "several migrate one database at once", POSTGRES, &[], first: false, postgres::settings::migrated_at_once),
    row!("P-17", "a pooler before Postgres, in each of its modes", POSTGRES, &[], first: false, postgres::settings::pooled),
    row!("L-01", "kill -9 at the N-th fsync", SQLITE, &[Ability::Strace], first: true, sqlite::killed_at_fsync),
    row!("L-02", "power cut under SQLite", SQLITE, POWER, first: false, sqlite::power_cut),
    row!("L-02-normal", "power cut under SQLite, synchronous NORMAL: must lose", SQLITE, POWER_CONTROL, first: false, sqlite::power_cut_without_full),
    row!("L-03", "disk full under SQLite", SQLITE, POWER, first: false, sqlite::errors::disk_full),
    row!("L-03-reserve", "the disk of SQLite is filled down to its reserve", SQLITE, POWER, first: false, sqlite::errors::down_to_the_reserve),
    row!("L-03-eio", "EIO from an fsync, once", SQLITE, &[Ability::Strace], first: false, sqlite::errors::sync_fails),
    row!("L-03-enospc", "ENOSPC from writes, for a while", SQLITE, &[Ability::Strace], first: false, sqlite::errors::no_room_for_a_while),
    row!("L-07", "a second daemon on the file", SQLITE, &[], first: false, sqlite::neighbours::second_daemon),
    row!("L-08", "journal mode changed by somebody, then a power cut", SQLITE, POWER, first: false, sqlite::neighbours::journal_changed),
    row!("F-01", "kill -9 of the broker under load", BOTH, &[], first: false, broker::killed),
    row!("F-02", "SIGSTOP of the broker", BOTH, &[], first: false, broker::frozen),
    row!("F-03", "packets dropped one way, each way", BOTH, &[], first: false, network::one_way),
    row!("F-04", "resets in the midst of a frame", BOTH, &[], first: false, network::reset_in_a_frame),
    row!("F-04-confirms", "confirms swallowed", BOTH, &[], first: true, network::confirms_swallowed),
    row!("F-05", "nothing bound for 30 % of the events", BOTH, &[], first: false, topology::unbound),
    row!("F-05-returned", "the same without an alternate exchange", BOTH, &[], first: false, topology::unbound_without_alternate),
    row!("F-06", "a seventh unroutable in every window", BOTH, &[], first: true, topology::mixed),
    row!("F-07", "the exchange deleted", BOTH, &[], first: false, topology::exchange_deleted),
    row!("F-07-check", "the same where hookwell only checks", BOTH, &[], first: false, topology::exchange_deleted_where_it_only_checks),
    row!("F-08", "disk alarm of the broker", BOTH, &[], first: false, broker::disk_alarm),
    row!("F-09", "confirms not asked for: must lose", BOTH, &[Ability::Failpoints], first: false, broker::without_confirms),
    row!("F-10", "a full queue that rejects", BOTH, &[], first: true, topology::full_queue),
    row!("F-10-drop", "arguments that let RabbitMQ drop messages", SQLITE, &[], first: false, topology::dropping_queue),
    row!("F-16", "kill -9 of the node that leads the queue", BOTH, &[], first: false, cluster::leader_killed),
    row!("F-16-partition", "the leader cut off from the other two nodes", BOTH, LOST, first: false, cluster::leader_cut_off),
    row!("F-16-minority", "two of three nodes killed", BOTH, &[], first: false, cluster::majority_killed),
    row!("F-18", "one tenant's events are nacked for ever", BOTH, &[], first: false, poison::nacked),
    row!("F-18-unroutable", "one tenant's events are unroutable for ever", BOTH, &[], first: false, poison::unroutable),
    row!("D-01", "kill -9 of the daemon at random times", BOTH, &[], first: true, process::killed),
    row!("D-02-append.before", "abort at append.before", BOTH, CRASH, first: false, process::points::crashed),
    row!("D-02-append.inside", "abort at append.inside", SQLITE, CRASH, first: false, process::points::crashed),
    row!("D-02-append.after", "abort at append.after", BOTH, CRASH, first: false, process::points::crashed),
    row!("D-02-answered", "abort at answered", BOTH, CRASH, first: false, process::points::crashed),
    row!("D-02-relay.read", "abort at relay.read", BOTH, CRASH, first: false, process::points::crashed),
    row!("D-02-relay.published", "abort at relay.published", BOTH, CRASH, first: false, process::points::crashed),
    row!("D-02-relay.confirmed", "abort at relay.confirmed", BOTH, CRASH, first: true, process::points::crashed),
    row!("D-02-relay.settled", "abort at relay.settled", BOTH, CRASH, first: false, process::points::crashed),
    row!("D-03", "SIGTERM under load, with a slow client", BOTH, &[], first: false, process::terminated),
    row!("D-04", "rolling restart of three daemons under load", POSTGRES, &[], first: false, process::rolling_restart),
    row!("D-05", "SIGSTOP of the one of three daemons that reads", POSTGRES, &[], first: true, process::replicas::frozen),
    row!("D-05-killed", "kill -9 of the one of three daemons that reads", POSTGRES, &[], first: false, process::replicas::killed),
    row!("D-06", "the one of three daemons that reads is cut off from Postgres", POSTGRES, &[], first: false, process::replicas::cut_off),
    row!("D-07", "more memory than its limit: killed", BOTH, MEMORY, first: false, process::memory::killed_at_a_limit),
    row!("D-07-rlimit", "more memory than its limit: refused", BOTH, PRLIMIT, first: false, process::memory::refused_at_a_limit),
    row!("D-08", "hardly any time", BOTH, &[], first: false, process::starved::hardly_any_time),
    row!("D-09", "a task panics", BOTH, CRASH, first: false, process::panics::panicked),
    row!("D-10", "nobody reads the log", BOTH, &[], first: false, process::logs::nobody_reads),
    row!("D-11", "a broken configuration at a start", BOTH, &[], first: false, process::settings::broken),
    row!("D-12", "an upgrade and the way back, under load while events wait", BOTH, CRASH, first: false, process::upgrade::there_and_back),
    row!("D-12-refused", "a way back that the next version does not allow", BOTH, CRASH, first: false, process::upgrade::refused),
    row!("D-14", "the wall clock jumps by an hour", BOTH, &[Ability::Faketime], first: false, process::clock::jumped),
    row!("D-15", "kill -9, and again while it recovers", BOTH, &[], first: false, process::killed_again),
    row!("O-01", "many calls are refused for their token at once", BOTH, &[], first: true, follow_ups::tokens::refreshed_once),
    row!("O-02-planner.read", "abort at planner.read", BOTH, CRASH, first: false, follow_ups::points::crashed),
    row!("O-02-planner.settled", "abort at planner.settled", BOTH, CRASH, first: false, follow_ups::points::crashed),
    row!("O-02-call.claimed", "abort at call.claimed", BOTH, CRASH, first: false, follow_ups::points::crashed),
    row!("O-02-call.before", "abort at call.before", BOTH, CRASH, first: false, follow_ups::points::crashed),
    row!("O-02-call.answered", "abort at call.answered", BOTH, CRASH, first: false, follow_ups::points::crashed),
    row!("O-02-call.appended", "abort at call.appended", BOTH, CRASH, first: false, follow_ups::points::crashed),
    row!("O-02-call.ended", "abort at call.ended", BOTH, CRASH, first: false, follow_ups::points::crashed),
    row!("O-02-refresh.begun", "abort at refresh.begun", BOTH, CRASH, first: false, follow_ups::points::crashed),
    row!("O-02-refresh.answered", "abort at refresh.answered", BOTH, CRASH, first: true, follow_ups::points::crashed),
    row!("O-02-refresh.committed", "abort at refresh.committed", BOTH, CRASH, first: false, follow_ups::points::crashed),
    row!("O-03", "every kind of trouble at the token endpoint", BOTH, &[], first: false, follow_ups::tokens::trouble_at_the_endpoint),
    row!("O-04", "answers to a refresh come late, and a SIGTERM before them", BOTH, &[], first: false, follow_ups::tokens::late_answers),
    row!("O-05", "tokens moved, changed, cut, or sealed with another key", BOTH, &[], first: false, follow_ups::tokens::sealed),
    row!("O-05-moved", "sealed tokens changed in the store, and their key gone", BOTH, &[], first: false, follow_ups::sealed::changed_in_the_store),
    row!("O-06", "callbacks that did not begin here", BOTH, &[], first: false, follow_ups::tokens::callbacks),
    row!("O-07", "every kind of trouble with reads", BOTH, &[], first: false, follow_ups::writes::trouble_with_reads),
    row!("O-08", "every kind of trouble with writes", BOTH, &[], first: false, follow_ups::writes::trouble_with_writes),
    row!("O-08-killed", "kill -9 while calls are done and not answered", BOTH, &[], first: true, follow_ups::writes::killed_before_the_answer),
    row!("O-09", "uninstalled and installed again during a refresh", BOTH, &[], first: false, follow_ups::lifecycle::uninstalled_during_a_refresh),
    row!("O-09-minted", "uninstalled while a location's token is minted", BOTH, &[], first: false, follow_ups::lifecycle::uninstalled_during_a_mint),
    row!("O-load", "many calls within their budgets, one tenant with too many", BOTH, &[], first: true, follow_ups::load::within_budgets),
    row!("O-load-replicas", "the same calls, made by three daemons between them", POSTGRES, &[], first: false, follow_ups::load::within_budgets_of_three),
    row!("O-bulk", "an agency installs the app for all its locations", BOTH, &[], first: false, follow_ups::load::bulk_install),
    row!("O-bulk-replicas", "the same installs, seen to by three daemons", POSTGRES, &[], first: false, follow_ups::load::bulk_install_of_three),
    row!("S-01", "a long time at half of what is carried, with mild faults", BOTH, &[], first: false, soak::row),
];

/// The rows that arguments name: ids, groups, `first` or `all`.
///
/// # Errors
/// The argument that names nothing.
pub fn chosen(arguments: &[String]) -> Result<Vec<&'static Row>, String> {
    let mut rows: Vec<&Row> = Vec::new();
    for argument in arguments {
        let wanted = |row: &&Row| match argument.as_str() {
            "all" => true,
            "first" => row.first,
            name => row.id.eq_ignore_ascii_case(name) || row.group().eq_ignore_ascii_case(name),
        };
        let mut named: Vec<_> = ROWS.iter().filter(wanted).collect();
        if named.is_empty() {
            // A row that is one of several variants: D-02 names all of them.
            let variants = format!("{}-", argument.to_ascii_uppercase());
            named.extend(
                ROWS.iter()
                    .filter(|row| row.id.to_ascii_uppercase().starts_with(&variants)),
            );
        }
        if named.is_empty() {
            return Err(argument.clone());
        }
        rows.extend(named);
    }
    // In the table's order, each once.
    let is_chosen = |row: &&Row| rows.iter().any(|chosen| chosen.id == row.id);
    Ok(ROWS.iter().filter(is_chosen).collect())
}
