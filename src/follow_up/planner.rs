//! log -> rows of follow-ups, and the life of installations.
//!
//! One planner runs for the whole log, on whichever daemon holds its reader. It reads the events of the types
//! that matter, writes down a row for each event and rule, and moves its cursor, all in one transaction: a row is
//! made exactly once. It makes no call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::rule::{self, Rules};
use super::{BACKFILL, INSTALLATION_TOKEN, RECONCILE, runner::Wake};
use crate::clock::Clock;
use crate::event::backfill::{Ask, BACKFILL_REQUESTED, INSTALLS_REQUESTED, Kind};
use crate::event::lifecycle::{self, Account, Lifecycle, Transition};
use crate::event::{Event, Origin, Position, Recorded};
use crate::failpoints;
use crate::metrics::Metrics;
use crate::retry::Delays;
use crate::store::{self, Looked, Plan, PlanReader, Planned, Store, SubscriptionFilter};
use crate::telemetry::Chain;

/// Places of the log looked at in one go, and bytes of bodies. Each call is a few statements of one transaction with
/// the store's deadline: where that is passed, the next run is half as long.
const RUN: i64 = 500;
const RUN_BYTES: i64 = 16 * 1024 * 1024;
/// Calls that are enough for one transaction: on SQLite webhooks wait for it.
const MOST_CALLS: usize = 1_000;
/// Workflows of a location that one event starts at most.
const WORKFLOWS: i64 = 1_000;
/// How often the log is looked at. A follow-up is no answer to anybody: it may wait this long.
const POLL: Duration = Duration::from_millis(250);
/// How often a standing-by planner tries to get the reader.
const STANDBY: Duration = Duration::from_secs(1);

/// The planner; run it as a task of its own.
pub struct Planner {
    /// The log.
    pub store: Arc<dyn Store>,
    /// What events call for.
    pub rules: Arc<Rules>,
    /// The apps that have credentials: their installations get tokens.
    pub apps: Vec<String>,
    /// What is read of a location when an app is installed there.
    pub first_sync: Vec<Kind>,
    /// Told when there is something to make.
    pub wake: Wake,
    /// The clock.
    pub clock: Clock,
    /// The metrics.
    pub metrics: Metrics,
}

impl Planner {
    /// Plans until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut delays = Delays::new(Duration::from_millis(200), Duration::from_secs(5));
        let types = self.types();
        let mut run = RUN;
        for rule in self.rules.all() {
            // Shown as 0 from the start, so that a rate is never undefined.
            self.metrics
                .follow_ups_planned
                .with_label_values(&[&rule.name]);
        }
        while !shutdown.is_cancelled() {
            let ended = tokio::select! {
                () = shutdown.cancelled() => return,
                ended = self.session(&types, &mut delays, &mut run) => ended,
            };
            let delay = delays.next_delay();
            if let Err(error) = ended {
                if error.is_deadline() {
                    run = (run / 2).max(1);
                }
                tracing::warn!(
                    error = %Chain(&error), retry_in_ms = delay.as_millis() as u64,
                    "the planner lost the store; follow-ups are planned later"
                );
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep(delay) => (),
            }
        }
    }

    fn types(&self) -> Vec<String> {
        let lifecycle = lifecycle::TYPES
            .into_iter()
            .chain([BACKFILL_REQUESTED, INSTALLS_REQUESTED]);
        let all = self.rules.types().into_iter().chain(lifecycle);
        let all: std::collections::BTreeSet<_> = all.map(str::to_owned).collect();
        all.into_iter().collect()
    }

    /// From having the reader to losing it. Dropping it loses the reader and nothing else: each step is one
    /// transaction.
    async fn session(
        &self,
        types: &[String],
        delays: &mut Delays,
        run: &mut i64,
    ) -> Result<(), store::Error> {
        let mut reader = loop {
            match self.store.plan_reader().await? {
                Some(reader) => break reader,
                None => sleep(STANDBY).await,
            }
        };
        self.follow(reader.as_mut(), types, delays, run).await
    }

    /// Plans as the log grows, until the store fails.
    async fn follow(
        &self,
        reader: &mut dyn PlanReader,
        types: &[String],
        delays: &mut Delays,
        run: &mut i64,
    ) -> Result<(), store::Error> {
        let mut cursor = reader.position().await?;
        loop {
            failpoints::panic("planner.panic");
            let looked = reader.read(cursor, types, *run, RUN_BYTES).await?;
            let head = looked.head;
            if cursor < looked.upto {
                cursor = self.step(reader, looked).await?;
            }
            delays.reset();
            // Less than a run waits to be more. Step by step with the appends there would be a transaction for each
            // of them, and on SQLite they wait for it.
            if head.0 - cursor.0 < *run {
                sleep(POLL).await;
            }
            *run = (*run * 2).min(RUN);
        }
    }

    /// Plans what was read of the log; where the plan ends.
    async fn step(
        &self,
        reader: &mut dyn PlanReader,
        looked: Looked,
    ) -> Result<Position, store::Error> {
        let Looked { events, upto, .. } = looked;
        let workflows = self.workflows(&events).await?;
        let companies = self.companies(&events).await?;
        let plan = self.plan(&events, upto, &workflows, companies);
        failpoints::crash("planner.read");
        reader.settle(&plan, (self.clock)()).await?;
        failpoints::crash("planner.settled");
        self.tell(&plan);
        if !plan.calls.is_empty() {
            self.wake.notify_one();
        }
        Ok(plan.upto)
    }

    fn tell(&self, plan: &Plan) {
        for call in &plan.calls {
            self.metrics
                .follow_ups_planned
                .with_label_values(&[rule::parts(&call.rule).0])
                .inc();
        }
        for (position, app_id, life) in &plan.lifecycles {
            tracing::info!(
                position = position.0, app_id = %app_id, tenant = %life.tenant, account = life.account.as_str(),
                transition = ?life.transition, "the life of an installation"
            );
        }
    }

    /// The workflows that wait for what a run of the log may trigger.
    async fn workflows(&self, events: &[Recorded]) -> Result<Workflows, store::Error> {
        let mut workflows = Workflows::new();
        for event in events.iter().map(|recorded| &recorded.event) {
            let on = |rule: &&rule::Rule| rule.on.contains(&event.event_type);
            let triggers = self.rules.all().filter(on).filter_map(rule::Rule::trigger);
            for trigger in triggers {
                let Some(key) = waiting_at(event, trigger) else {
                    continue;
                };
                if workflows.contains_key(&key) {
                    continue;
                }
                let filter = SubscriptionFilter {
                    app_id: Some(key.0.clone()),
                    location_id: Some(key.1.clone()),
                    trigger: Some(key.2.clone()),
                    limit: WORKFLOWS,
                };
                let found = self.store.subscriptions(&filter).await?;
                let ids = found.into_iter().map(|found| found.subscription.id);
                workflows.insert(key, ids.collect());
            }
        }
        Ok(workflows)
    }

    /// The companies of locations whose events say none, where a rule makes its call with the company's token.
    async fn companies(&self, events: &[Recorded]) -> Result<Companies, store::Error> {
        let mut companies = Companies::new();
        for event in events.iter().map(|recorded| &recorded.event) {
            let mut rules = self.rules.all();
            if event.tenant.company_id.is_some()
                || !rules.any(|rule| {
                    rule.token_of == rule::TokenOf::Company && rule.on.contains(&event.event_type)
                })
            {
                continue;
            }
            let Some(location) = event.tenant.location_id.clone() else {
                continue;
            };
            let key = (event.app_id.clone(), location);
            if companies.contains_key(&key) {
                continue;
            }
            let known = self.store.installation(&key.0, &key.1).await?;
            if let Some(company) = known.and_then(|known| known.company_id) {
                companies.insert(key, company);
            }
        }
        Ok(companies)
    }

    /// What a run of the log calls for, up to an event with which that is enough for one transaction. Pure.
    fn plan(
        &self,
        events: &[Recorded],
        upto: Position,
        workflows: &Workflows,
        mut companies: Companies,
    ) -> Plan {
        let mut plan = Plan {
            upto,
            ..Plan::default()
        };
        for recorded in events {
            let event = &recorded.event;
            if let Some(life) = Lifecycle::of(event) {
                // Not in the store yet, and known to the events behind it.
                if let (Account::Location, Some(company)) = (life.account, &life.company_id) {
                    let location = (event.app_id.clone(), life.tenant.clone());
                    companies.insert(location, company.clone());
                }
                let installed = life.transition == Transition::Installed;
                if installed && self.apps.contains(&event.app_id) {
                    let call = planned(recorded, INSTALLATION_TOKEN, &life.tenant, None);
                    plan.calls.push(call);
                    if life.account == Account::Location {
                        let kinds = self.first_sync.iter();
                        plan.calls
                            .extend(kinds.map(|kind| backfill(recorded, *kind, &life.tenant)));
                    }
                }
                plan.lifecycles
                    .push((recorded.position, event.app_id.clone(), life));
            }
            if self.apps.contains(&event.app_id) {
                plan.calls.extend(asked(recorded));
            }
            let mut context = None;
            for rule in self.rules.all() {
                if !rule.on.contains(&event.event_type) {
                    continue;
                }
                let context =
                    context.get_or_insert_with(|| rule::context(recorded, &BTreeMap::new()));
                if rule.takes(recorded, context) {
                    let known = company_of(event, &companies);
                    let tenant = rule.token_owner(event, known).unwrap_or_default();
                    let Some(trigger) = rule.trigger() else {
                        let call = planned(recorded, &rule.name, tenant, rule.coalesce);
                        plan.calls.push(call);
                        continue;
                    };
                    let waiting = waiting_at(event, trigger).and_then(|key| workflows.get(&key));
                    for id in waiting.into_iter().flatten() {
                        let name = rule::planned_as(&rule.name, Some(id));
                        let call = planned(recorded, &name, tenant, rule.coalesce);
                        plan.calls.push(call);
                    }
                }
            }
            // One location's workflows must not hold the store for long.
            if MOST_CALLS <= plan.calls.len() {
                plan.upto = recorded.position;
                break;
            }
        }
        plan
    }
}

/// The calls that an event of our own asks for.
fn asked(recorded: &Recorded) -> Vec<Planned> {
    let event = &recorded.event;
    let tenant = event.tenant.id().unwrap_or_default();
    if let Some(ask) = Ask::of(event) {
        let kinds = ask.kinds.into_iter();
        return kinds.map(|kind| backfill(recorded, kind, tenant)).collect();
    }
    let reconcile = event.origin == Origin::Backfill && event.event_type == INSTALLS_REQUESTED;
    reconcile
        .then(|| planned(recorded, RECONCILE, tenant, None))
        .into_iter()
        .collect()
}

fn backfill(recorded: &Recorded, kind: Kind, location: &str) -> Planned {
    let name = rule::planned_as(BACKFILL, Some(kind.as_str()));
    Planned {
        entity_id: None,
        ..planned(recorded, &name, location, None)
    }
}

/// The workflows that wait, by app, location and trigger.
type Workflows = BTreeMap<(String, String, String), Vec<String>>;

/// The companies of locations, by app and location.
type Companies = BTreeMap<(String, String), String>;

fn company_of<'a>(event: &Event, companies: &'a Companies) -> Option<&'a str> {
    let location = event.tenant.location_id.clone()?;
    let known = companies.get(&(event.app_id.clone(), location));
    known.map(String::as_str)
}

fn waiting_at(event: &Event, trigger: &str) -> Option<(String, String, String)> {
    let location = event.tenant.location_id.clone()?;
    Some((event.app_id.clone(), location, trigger.to_owned()))
}

fn planned(recorded: &Recorded, rule: &str, tenant: &str, coalesce: Option<Duration>) -> Planned {
    Planned {
        position: recorded.position,
        rule: rule.to_owned(),
        app_id: recorded.event.app_id.clone(),
        tenant: tenant.to_owned(),
        entity_id: recorded.event.entity_id.clone(),
        coalesce,
    }
}

#[cfg(test)]
mod tests;
