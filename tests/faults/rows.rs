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
    /// The stores on which it belongs to the slice of every change.
    pub first: &'static [Backend],
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
const PRLIMIT: &[Ability] = &[Ability::Prlimit];
const THREADS: &[Ability] = &[Ability::ThreadLimit];
const MEMORY: &[Ability] = &[Ability::MemoryLimit];
const POWER: &[Ability] = &[Ability::Root, Ability::PowerCut];
const POWER_CONTROL: &[Ability] = &[Ability::Root, Ability::PowerCut, Ability::Failpoints];
const LOST: &[Ability] = &[Ability::Root, Ability::Iptables];
const CRASH: &[Ability] = &[Ability::Failpoints];

macro_rules! row {
    ($id:literal, $title:literal, $stores:expr, $needs:expr, first: $first:expr, $run:path) => {
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
    row!("H-01", "senders that hang up at any moment", BOTH, &[], first: POSTGRES, http::hang_ups),
    row!("H-02", "answers lost after the commit", BOTH, &[], first: &[], http::answers_lost),
    row!("H-03", "the store says nothing for a while", BOTH, &[], first: &[], http::silent_store),
    row!("H-04", "2,000 connections whose heads never end", BOTH, &[], first: SQLITE, connections::slow_heads),
    row!("H-05", "bodies that stop or trickle", BOTH, &[], first: &[], connections::slow_bodies),
    row!("H-06", "more connections than files", BOTH, PRLIMIT, first: &[], connections::out_of_files),
    row!("H-06-cap", "more connections than allowed", BOTH, &[], first: &[], connections::over_the_cap),
    row!("H-07", "bodies over the limit, without an end", BOTH, &[], first: &[], connections::large_bodies),
    row!("H-12", "ten times the capacity", BOTH, &[Ability::Strace], first: &[], http::burst),
    row!("B-01", "any bytes that GHL may sign", BOTH, &[], first: &[], payload::any_bytes),
    row!("B-02", "names that stand twice in an object", BOTH, &[], first: &[], payload::duplicate_names),
    row!("B-03", "NUL in strings, ids and keys", BOTH, &[], first: POSTGRES, payload::nul),
    row!("B-04", "halves of surrogate pairs", BOTH, &[], first: &[], payload::lone_surrogates),
    row!("B-05", "bodies that are no text, no JSON, or no object", BOTH, &[], first: &[], payload::not_an_object),
    row!("B-06", "deep, wide and long bodies", BOTH, &[], first: &[], payload::extremes),
    row!("B-08", "no usable event id", BOTH, &[], first: &[], identity::without_id),
    row!("B-09", "one id with several bodies", BOTH, &[], first: &[], identity::one_id_two_bodies),
    row!("B-10", "one event a thousand times at once", BOTH, &[], first: SQLITE, identity::at_once),
    row!("B-11", "signatures that are none", BOTH, &[], first: SQLITE, signature::no_signature),
    row!("B-12", "published vectors for signatures", BOTH, &[], first: BOTH, signature::vectors),
    row!("B-13", "both signature headers, one of them bad", BOTH, &[], first: &[], signature::two_headers),
    row!("B-14", "signing keys are rotated under load", BOTH, &[], first: &[], signature::rotated),
    row!("B-15", "bodies that only re-serialise to what was signed", BOTH, &[], first: &[], signature::re_serialised),
    row!("B-16", "old genuine requests come again", BOTH, &[], first: &[], identity::replayed),
    row!("B-17", "the daemon's clock jumps", BOTH, &[], first: &[], identity::clock_jumps),
    row!("P-01", "kill -9 of a backend in the midst of a commit", POSTGRES, &[], first: &[], postgres::backend_killed),
    row!("P-02", "kill -9 of the postmaster under load", POSTGRES, &[], first: POSTGRES, postgres::killed),
    row!("P-03", "power cut of Postgres", POSTGRES, POWER, first: POSTGRES, postgres::power_cut),
    row!("P-03-commit", "power cut of Postgres, synchronous_commit off: must lose", POSTGRES, POWER_CONTROL, first: &[], postgres::power_cut_without_synchronous_commit),
    row!("P-03-fsync", "power cut of Postgres, fsync off: must lose", POSTGRES, POWER_CONTROL, first: &[], postgres::power_cut_without_fsync),
    row!("P-04", "committed, and the answer is lost", POSTGRES, &[], first: POSTGRES, postgres::answers::lost),
    row!("P-05", "reset behind each byte of a statement and its answer", POSTGRES, &[], first: &[], postgres::answers::cut_at_each_byte),
    row!("P-06", "SIGSTOP of Postgres", POSTGRES, &[], first: &[], postgres::silence::frozen),
    row!("P-07", "packets to Postgres are lost", POSTGRES, LOST, first: &[], postgres::silence::packets_lost),
    row!("P-08", "disk full under Postgres, and its log", POSTGRES, POWER, first: &[], postgres::room::disk_full),
    row!("P-09", "EIO from Postgres's fdatasync", POSTGRES, &[Ability::Strace], first: &[], postgres::room::sync_fails),
    row!("P-11", "durability turned off before a start", POSTGRES, &[], first: &[], postgres::settings::not_durable),
    row!("P-11-reload", "synchronous_commit off under a daemon, then a power cut", POSTGRES, POWER, first: &[], postgres::settings::not_durable_while_running),
    row!("P-14", "several migrate one database at once", POSTGRES, &[], first: &[], postgres::settings::migrated_at_once),
    row!("P-17", "a pooler before Postgres, in each of its modes", POSTGRES, &[], first: &[], postgres::settings::pooled),
    row!("L-01", "kill -9 at the N-th fsync", SQLITE, &[Ability::Strace], first: SQLITE, sqlite::killed_at_fsync),
    row!("L-02", "power cut under SQLite", SQLITE, POWER, first: SQLITE, sqlite::power_cut),
    row!("L-02-normal", "power cut under SQLite, synchronous NORMAL: must lose", SQLITE, POWER_CONTROL, first: &[], sqlite::power_cut_without_full),
    row!("L-03", "disk full under SQLite", SQLITE, POWER, first: &[], sqlite::errors::disk_full),
    row!("L-03-reserve", "the disk of SQLite is filled down to its reserve", SQLITE, POWER, first: &[], sqlite::errors::down_to_the_reserve),
    row!("L-03-eio", "EIO from an fsync, once", SQLITE, &[Ability::Strace], first: &[], sqlite::errors::sync_fails),
    row!("L-03-enospc", "ENOSPC from writes, for a while", SQLITE, &[Ability::Strace], first: &[], sqlite::errors::no_room_for_a_while),
    row!("L-07", "a second daemon on the file", SQLITE, &[], first: &[], sqlite::neighbours::second_daemon),
    row!("L-08", "journal mode changed by somebody, then a power cut", SQLITE, POWER, first: &[], sqlite::neighbours::journal_changed),
    row!("F-01", "kill -9 of the broker under load", BOTH, &[], first: SQLITE, broker::killed),
    row!("F-02", "SIGSTOP of the broker", BOTH, &[], first: POSTGRES, broker::frozen),
    row!("F-03", "packets dropped one way, each way", BOTH, &[], first: &[], network::one_way),
    row!("F-04", "resets in the midst of a frame", BOTH, &[], first: &[], network::reset_in_a_frame),
    row!("F-04-confirms", "confirms swallowed", BOTH, &[], first: SQLITE, network::confirms_swallowed),
    row!("F-05", "nothing bound for 30 % of the events", BOTH, &[], first: POSTGRES, topology::unbound),
    row!("F-05-returned", "the same without an alternate exchange", BOTH, &[], first: &[], topology::unbound_without_alternate),
    row!("F-06", "a seventh unroutable in every window", BOTH, &[], first: POSTGRES, topology::mixed),
    row!("F-07", "the exchange deleted", BOTH, &[], first: &[], topology::exchange_deleted),
    row!("F-07-check", "the same where hookwell only checks", BOTH, &[], first: &[], topology::exchange_deleted_where_it_only_checks),
    row!("F-08", "disk alarm of the broker", BOTH, &[], first: SQLITE, broker::disk_alarm),
    row!("F-09", "confirms not asked for: must lose", BOTH, &[Ability::Failpoints], first: &[], broker::without_confirms),
    row!("F-10", "a full queue that rejects", BOTH, &[], first: SQLITE, topology::full_queue),
    row!("F-10-drop", "arguments that let RabbitMQ drop messages", SQLITE, &[], first: &[], topology::dropping_queue),
    row!("F-16", "kill -9 of the node that leads the queue", BOTH, &[], first: &[], cluster::leader_killed),
    row!("F-16-replicas", "kill -9 of that node and of the one of three daemons that reads", POSTGRES, &[], first: &[], cluster::leader_and_reader_killed),
    row!("F-16-partition", "the leader cut off from the other two nodes", BOTH, LOST, first: &[], cluster::leader_cut_off),
    row!("F-16-minority", "two of three nodes killed", BOTH, &[], first: &[], cluster::majority_killed),
    row!("F-18", "one tenant's events are nacked for ever", BOTH, &[], first: &[], poison::nacked),
    row!("F-18-unroutable", "one tenant's events are unroutable for ever", BOTH, &[], first: &[], poison::unroutable),
    row!("D-01", "kill -9 of the daemon at random times", BOTH, &[], first: BOTH, process::killed),
    row!("D-02-append.before", "abort at append.before", BOTH, CRASH, first: &[], process::points::crashed),
    row!("D-02-append.inside", "abort at append.inside", SQLITE, CRASH, first: &[], process::points::crashed),
    row!("D-02-append.after", "abort at append.after", BOTH, CRASH, first: &[], process::points::crashed),
    row!("D-02-answered", "abort at answered", BOTH, CRASH, first: &[], process::points::crashed),
    row!("D-02-relay.read", "abort at relay.read", BOTH, CRASH, first: &[], process::points::crashed),
    row!("D-02-relay.published", "abort at relay.published", BOTH, CRASH, first: &[], process::points::crashed),
    row!("D-02-relay.confirmed", "abort at relay.confirmed", BOTH, CRASH, first: POSTGRES, process::points::crashed),
    row!("D-02-relay.settled", "abort at relay.settled", BOTH, CRASH, first: &[], process::points::crashed),
    row!("D-03", "SIGTERM under load, with a slow client", BOTH, &[], first: POSTGRES, process::terminated),
    row!("D-04", "rolling restart of three daemons under load", POSTGRES, &[], first: &[], process::rolling_restart),
    row!("D-05", "SIGSTOP of the one of three daemons that reads", POSTGRES, &[], first: POSTGRES, process::replicas::frozen),
    row!("D-05-killed", "kill -9 of the one of three daemons that reads", POSTGRES, &[], first: &[], process::replicas::killed),
    row!("D-06", "the one of three daemons that reads is cut off from Postgres", POSTGRES, &[], first: &[], process::replicas::cut_off),
    row!("D-07", "more memory than its limit: killed", BOTH, MEMORY, first: &[], process::memory::killed_at_a_limit),
    row!("D-07-rlimit", "more memory than its limit: refused", BOTH, PRLIMIT, first: &[], process::memory::refused_at_a_limit),
    row!("D-07-threads", "no thread for a new connection", BOTH, THREADS, first: &[], process::threads::no_thread),
    row!("D-08", "hardly any time", BOTH, &[], first: &[], process::starved::hardly_any_time),
    row!("D-09", "a task panics", BOTH, CRASH, first: &[], process::panics::panicked),
    row!("D-10", "nobody reads the log", BOTH, &[], first: &[], process::logs::nobody_reads),
    row!("D-11", "a broken configuration at a start", BOTH, &[], first: &[], process::settings::broken),
    row!("D-12", "an upgrade and the way back, under load while events wait", BOTH, CRASH, first: &[], process::upgrade::there_and_back),
    row!("D-12-refused", "a way back that the next version does not allow", BOTH, CRASH, first: &[], process::upgrade::refused),
    row!("D-14", "the wall clock jumps by an hour", BOTH, &[], first: &[], process::clock::jumped),
    row!("D-15", "kill -9, and again while it recovers", BOTH, &[], first: &[], process::killed_again),
    row!("D-15-replicas", "one of three is killed, and again while it recovers", POSTGRES, &[], first: &[], process::killed_again_beside_others),
    row!("O-01", "many calls are refused for their token at once", BOTH, &[], first: POSTGRES, follow_ups::tokens::refreshed_once),
    row!("O-02-planner.read", "abort at planner.read", BOTH, CRASH, first: &[], follow_ups::points::crashed),
    row!("O-02-planner.settled", "abort at planner.settled", BOTH, CRASH, first: &[], follow_ups::points::crashed),
    row!("O-02-call.claimed", "abort at call.claimed", BOTH, CRASH, first: &[], follow_ups::points::crashed),
    row!("O-02-call.before", "abort at call.before", BOTH, CRASH, first: &[], follow_ups::points::crashed),
    row!("O-02-call.answered", "abort at call.answered", BOTH, CRASH, first: &[], follow_ups::points::crashed),
    row!("O-02-call.appended", "abort at call.appended", BOTH, CRASH, first: &[], follow_ups::points::crashed),
    row!("O-02-call.ended", "abort at call.ended", BOTH, CRASH, first: &[], follow_ups::points::crashed),
    row!("O-02-refresh.begun", "abort at refresh.begun", BOTH, CRASH, first: &[], follow_ups::points::crashed),
    row!("O-02-refresh.answered", "abort at refresh.answered", BOTH, CRASH, first: SQLITE, follow_ups::points::crashed),
    row!("O-02-refresh.committed", "abort at refresh.committed", BOTH, CRASH, first: &[], follow_ups::points::crashed),
    row!("O-02-refresh.panic", "each tenant's refresh panics", BOTH, CRASH, first: &[], follow_ups::points::refreshes_panic),
    row!("O-03", "every kind of trouble at the token endpoint", BOTH, &[], first: &[], follow_ups::tokens::trouble_at_the_endpoint),
    row!("O-04", "answers to a refresh come late, and a SIGTERM before them", BOTH, &[], first: &[], follow_ups::tokens::late_answers),
    row!("O-05", "tokens moved, changed, cut, or sealed with another key", BOTH, &[], first: &[], follow_ups::tokens::sealed),
    row!("O-05-moved", "sealed tokens changed in the store, and their key gone", BOTH, &[], first: &[], follow_ups::sealed::changed_in_the_store),
    row!("O-06", "callbacks that did not begin here", BOTH, &[], first: &[], follow_ups::tokens::callbacks),
    row!("O-07", "every kind of trouble with reads", BOTH, &[], first: &[], follow_ups::writes::trouble_with_reads),
    row!("O-08", "every kind of trouble with writes", BOTH, &[], first: &[], follow_ups::writes::trouble_with_writes),
    row!("O-08-killed", "kill -9 while calls are done and not answered", BOTH, &[], first: POSTGRES, follow_ups::writes::killed_before_the_answer),
    row!("O-09", "uninstalled and installed again during a refresh", BOTH, &[], first: &[], follow_ups::lifecycle::uninstalled_during_a_refresh),
    row!("O-09-minted", "uninstalled while a location's token is minted", BOTH, &[], first: &[], follow_ups::lifecycle::uninstalled_during_a_mint),
    row!("O-load", "many calls within their budgets, one tenant with too many", BOTH, &[], first: SQLITE, follow_ups::load::within_budgets),
    row!("O-load-replicas", "the same calls, made by three daemons between them", POSTGRES, &[], first: &[], follow_ups::load::within_budgets_of_three),
    row!("O-bulk", "an agency installs the app for all its locations", BOTH, &[], first: &[], follow_ups::load::bulk_install),
    row!("O-bulk-replicas", "the same installs, seen to by three daemons", POSTGRES, &[], first: &[], follow_ups::load::bulk_install_of_three),
    row!("S-01", "a long time at half of what is carried, with mild faults", BOTH, &[], first: &[], soak::row),
];

/// The rows that arguments name, each with a store: ids, groups, `first` or `all`.
///
/// # Errors
/// The argument that names nothing.
pub fn chosen(arguments: &[String]) -> Result<Vec<(&'static Row, Backend)>, String> {
    let mut rows: Vec<(&Row, &[Backend])> = Vec::new();
    for argument in arguments {
        if argument == "first" {
            rows.extend(ROWS.iter().map(|row| (row, row.first)));
            continue;
        }
        let wanted = |row: &&Row| match argument.as_str() {
            "all" => true,
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
        rows.extend(named.into_iter().map(|row| (row, row.stores)));
    }
    // In the table's order, each once.
    let all = ROWS
        .iter()
        .flat_map(|row| row.stores.iter().map(move |store| (row, *store)));
    let is_chosen = |(row, store): &(&Row, Backend)| {
        let mut chosen = rows.iter();
        chosen.any(|(chosen, stores)| chosen.id == row.id && stores.contains(store))
    };
    Ok(all.filter(is_chosen).collect())
}
