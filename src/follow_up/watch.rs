//! Whether webhooks can be taken, noted all the time; and what is asked for where they could not, or may have been
//! lost: records that changed in a gap, and now and then where the app is installed; soon where a location came whose
//! company is not known.
//!
//! It asks by appending events of our own (`event::backfill`), each under a key that says what it asks for: however
//! many daemons watch, and however often they are killed, everything is asked for once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Repair;
use crate::clock::Clock;
use crate::disk::Room;
use crate::event::backfill::{Ask, Kind, reconcile};
use crate::event::lifecycle::Account;
use crate::event::{Event, Micros, Tenant, micros};
use crate::ingest::Handle;
use crate::metrics::Metrics;
use crate::store::{self, Gap, Installation, InstallationFilter, Store};
use crate::telemetry::Chain;

/// How often it is noted that webhooks can be taken.
const BEAT: Duration = Duration::from_secs(5);
/// Without a beat for longer than this there is a gap: a restart is none.
const SILENCE: Duration = Duration::from_secs(30);
/// Beats between two looks at what is to be asked for.
const LOOK: u64 = 2;
/// A location whose company nobody has said is looked for at every company of the app: so often, and for so long after
/// it was seen. After that the scheduled looks find it.
const COMPANY_EVERY: Duration = Duration::from_secs(60);
const COMPANY_WANTED: Duration = Duration::from_secs(10 * 60);
/// Gaps looked at, the newest ones.
const GAPS: i64 = 100;
/// Installations read in one go.
const PAGE: i64 = 500;

/// The watch; run it as a task of its own.
pub struct Watch {
    /// Where acceptance is noted.
    pub store: Arc<dyn Store>,
    /// Where what is asked for goes.
    pub writer: Handle,
    /// Without room no webhook can be taken, though the store commits.
    pub room: Arc<Room>,
    /// How gaps are repaired.
    pub repair: Repair,
    /// The apps that have credentials: for others nothing can be asked.
    pub apps: Vec<String>,
    /// The clock.
    pub clock: Clock,
    /// The metrics.
    pub metrics: Metrics,
}

impl Watch {
    /// Watches until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut ticks = interval(BEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Of the looks at where the apps are installed.
        let mut asked = Looks::default();
        for beats in 0_u64.. {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => (),
            }
            if !self.room.is_left() {
                continue;
            }
            // That it is committed is the proof.
            if let Err(error) = self.store.beat(SILENCE, (self.clock)()).await {
                tracing::debug!(error = %Chain(&error), "acceptance is not noted");
                continue;
            }
            if beats.is_multiple_of(LOOK)
                && let Err(error) = self.look(&shutdown, &mut asked).await
            {
                tracing::warn!(error = %Chain(&error), "what was missed is not asked for yet");
            }
        }
    }

    /// Asks for what is due.
    async fn look(
        &self,
        shutdown: &CancellationToken,
        asked: &mut Looks,
    ) -> Result<(), store::Error> {
        let now = (self.clock)();
        let gaps = self.store.gaps(GAPS).await?;
        let open = gaps.iter().filter(|gap| self.repair.is_due(gap));
        self.metrics
            .gaps_open
            .set(i64::try_from(open.clone().count()).unwrap_or(i64::MAX));
        if self.apps.is_empty() {
            return Ok(());
        }
        // A search may not know yet what changed a moment ago.
        let settled = open.filter(|gap| gap.until.0 + micros(self.repair.settle) <= now.0);
        for gap in settled.filter(|_| self.repair.automatic) {
            self.repair(gap, now, shutdown).await?;
        }
        let installed = self.installations().await?;
        if let Some(every) = self.repair.reconcile_every {
            let companies = asked.scheduled.due(companies(&installed), every, now);
            let key = |company: &str, period| format!("installs-{company}-{period}");
            self.reconcile(
                "schedule",
                key,
                companies,
                &mut asked.scheduled,
                now,
                shutdown,
            )
            .await;
        }
        let apps = asked.apps_with_orphans(&installed, now);
        let of_apps = companies(&installed).filter(|one| apps.contains(&one.app_id));
        let companies = asked.wanted.due(of_apps, COMPANY_EVERY, now);
        let key = |company: &str, period| format!("installs-{company}-no-company-{period}");
        self.reconcile(
            "no_company",
            key,
            companies,
            &mut asked.wanted,
            now,
            shutdown,
        )
        .await;
        Ok(())
    }

    /// Asks for what changed in a gap, for every location.
    async fn repair(
        &self,
        gap: &Gap,
        now: Micros,
        shutdown: &CancellationToken,
    ) -> Result<(), store::Error> {
        let mut asked = 0;
        for one in self.installations().await? {
            if one.account != Account::Location {
                continue;
            }
            let ask = Ask {
                kinds: Kind::ALL.to_vec(),
                since_micros: gap.since.0 - micros(self.repair.margin),
                until_micros: gap.until.0 + micros(self.repair.margin),
                dry_run: false,
                why: "gap".to_owned(),
            };
            let key = format!("backfill-{}-{}", gap.since.0, one.tenant);
            let tenant = Tenant {
                company_id: one.company_id,
                location_id: Some(one.tenant),
            };
            if !self
                .append(ask.event(&key, &one.app_id, tenant, now), shutdown)
                .await
            {
                // The rest at the next look; what is asked for already is one by its key.
                return Ok(());
            }
            asked += 1;
        }
        self.store.gap_repaired(gap.since, now).await?;
        tracing::warn!(
            seconds = gap.length().as_secs(),
            locations = asked,
            "no webhooks could be taken for a while; what changed meanwhile is read from the API"
        );
        Ok(())
    }

    /// Asks where an app is installed for companies that are due; what is not in the log is due at the next look.
    async fn reconcile(
        &self,
        why: &str,
        key: impl Fn(&str, i64) -> String,
        due: Vec<Company>,
        asked: &mut Asked,
        now: Micros,
        shutdown: &CancellationToken,
    ) {
        for company in due {
            let (app_id, tenant) = &company;
            let event = reconcile(&key(tenant, asked.period), app_id, tenant, why, now);
            if !self.append(event, shutdown).await {
                return;
            }
            asked.companies.insert(company);
        }
    }

    async fn append(&self, event: Event, shutdown: &CancellationToken) -> bool {
        tokio::select! {
            () = shutdown.cancelled() => false,
            appended = self.writer.append(event) => appended.is_some(),
        }
    }

    /// Installations that stand, of apps that have credentials.
    async fn installations(&self) -> Result<Vec<Installation>, store::Error> {
        let mut all: Vec<Installation> = Vec::new();
        let mut filter = InstallationFilter {
            installed: true,
            limit: PAGE,
            ..InstallationFilter::default()
        };
        loop {
            let page = self.store.installations(&filter).await?;
            let whole = page.len() as i64 == PAGE;
            filter.after = page
                .last()
                .map(|last| (last.app_id.clone(), last.tenant.clone()));
            all.extend(
                page.into_iter()
                    .filter(|one| self.apps.contains(&one.app_id)),
            );
            if !whole {
                return Ok(all);
            }
        }
    }
}

/// An app and a company.
type Company = (String, String);

/// Companies that can be asked: their own token says where the app is installed.
fn companies(installed: &[Installation]) -> impl Iterator<Item = &Installation> {
    installed
        .iter()
        .filter(|one| one.account == Account::Company && one.token.is_some())
}

/// What this daemon has asked of companies.
#[derive(Default)]
struct Looks {
    scheduled: Asked,
    wanted: Asked,
    /// Locations without a known company, by app and tenant, and since when they are seen.
    orphans: BTreeMap<(String, String), i64>,
}

impl Looks {
    /// The apps of locations whose company is not known, and that are seen only since a short time. Pure.
    fn apps_with_orphans(&mut self, installed: &[Installation], now: Micros) -> BTreeSet<String> {
        let orphans = installed
            .iter()
            .filter(|one| one.account == Account::Location && one.company_id.is_none())
            .map(|one| (one.app_id.clone(), one.tenant.clone()));
        let before = std::mem::take(&mut self.orphans);
        self.orphans = orphans
            .map(|orphan| {
                let since = before.get(&orphan).copied().unwrap_or(now.0);
                (orphan, since)
            })
            .collect();
        let fresh = self
            .orphans
            .iter()
            .filter(|(_, since)| now.0 < **since + micros(COMPANY_WANTED));
        fresh.map(|((app_id, _), _)| app_id.clone()).collect()
    }
}

/// What was asked for in a period: the keys say the same to all daemons, and each ask costs a write.
#[derive(Default)]
struct Asked {
    period: i64,
    companies: BTreeSet<Company>,
}

impl Asked {
    /// Those of the companies that were not asked in this period. Pure.
    fn due<'a>(
        &mut self,
        companies: impl Iterator<Item = &'a Installation>,
        every: Duration,
        now: Micros,
    ) -> Vec<Company> {
        let period = now.0 / micros(every).max(1);
        if self.period != period {
            (self.period, self.companies) = (period, BTreeSet::new());
        }
        companies
            .map(|one| (one.app_id.clone(), one.tenant.clone()))
            .filter(|company| !self.companies.contains(company))
            .collect()
    }
}
