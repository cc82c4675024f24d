//! Where an app is installed, as GHL says it: installs and uninstalls whose webhooks were lost become events, and the
//! company of a location whose INSTALL did not say it.
//!
//! A location that the app is not installed at any more is believed to be that only when it is missing twice, some
//! time apart, and nothing newer is known of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::super::rule::Rendered;
use super::super::verdict::STORE_UNAVAILABLE;
use super::Runner;
use super::progress::{Progress, again, no_next};
use crate::clock::rfc3339;
use crate::event::backfill::{own, reconcile};
use crate::event::lifecycle::{Account, moment};
use crate::event::{Micros, Tenant};
use crate::ghl::pages::List;
use crate::ghl::{Answer, VERSION};
use crate::store::{self, Claimed, Ended, Installation, InstallationFilter, Next};
use crate::telemetry::Chain;

const LIST: List = List::INSTALLED;
/// Locations of a page.
const PAGE: u32 = 100;
/// Locations of a company at most.
const MOST: i64 = 100_000;
/// For how long one question for a company answers those that follow it.
const NO_ACCESS_EVERY: i64 = 600 * 1_000_000;
/// An installation that changed so shortly before the look may not be in GHL's list yet.
const FRESH: i64 = 60 * 1_000_000;

/// What was seen so far.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(super) struct Looked {
    /// When this look began.
    began: i64,
    /// Locations that have the app, and since when as far as it is said.
    seen: Vec<(String, Option<i64>)>,
    /// Those that were missing at the look before.
    missing: Option<BTreeSet<String>>,
}

/// The request of a page.
pub(super) fn request(app_id: &str, company: &str, cursor: Option<&Json>) -> Rendered {
    let mut target = format!(
        "{}?companyId={company}&appId={app_id}&isInstalled=true&limit={PAGE}",
        LIST.path
    );
    if let Some(cursor) = cursor {
        LIST.go_on(&mut target, &mut None, cursor);
    }
    Rendered {
        method: LIST.method,
        target,
        version: VERSION.to_owned(),
        body: None,
    }
}

/// Locations that are known to have the app since before the look, and are not in GHL's list, with the time of what
/// is known. Pure.
fn missing(looked: &Looked, known: &[Installation]) -> BTreeMap<String, i64> {
    let seen: BTreeSet<&str> = looked.seen.iter().map(|(id, _)| id.as_str()).collect();
    let missing = known.iter().filter(|one| {
        one.installed
            && one.account == Account::Location
            && one.changed_at.0 <= looked.began - FRESH
            && !seen.contains(one.tenant.as_str())
    });
    missing
        .map(|one| (one.tenant.clone(), one.changed_at.0))
        .collect()
}

/// When it is said of which company a location is, where that is not known ("install to future locations") and it
/// stands: as late as what is known of it, for what is older changes nothing. Pure.
fn company_said_at(known: &Installation, since: i64) -> Option<i64> {
    let is_wanted = known.installed && known.company_id.is_none();
    is_wanted.then(|| since.max(known.changed_at.0))
}

/// Whether a location that GHL lists since then is news: one that was just uninstalled may be in the list still. Pure.
fn is_news(known: &Installation, since: i64, began: i64) -> bool {
    !known.installed && known.changed_at.0 < since && known.changed_at.0 <= began - FRESH
}

impl Runner {
    /// Notes a page of where the app is installed; after the last one, what the lists do not agree on.
    pub(super) async fn take_installed(
        &self,
        claimed: &Claimed,
        progress: &mut Progress,
        answer: &Answer,
        ended: &mut Ended,
    ) -> Next {
        let answer: Json = serde_json::from_slice(&answer.body).unwrap_or(Json::Null);
        let next = match LIST.after(&answer, progress.cursor.as_ref()) {
            Ok(next) => next,
            Err(why) => return no_next(why, ended),
        };
        let looked = progress.looked.get_or_insert_default();
        if progress.cursor.is_none() {
            (looked.began, looked.seen) = ((self.clock)().0, Vec::new());
        }
        for row in LIST.rows(&answer) {
            if let (Some(id), true) = (row["_id"].as_str(), row["isInstalled"] != json!(false)) {
                let since = row["installedAt"].as_str().and_then(moment);
                looked
                    .seen
                    .push((id.to_owned(), since.map(|since| since.0)));
            }
        }
        if let Some(next) = progress.page_read(next, self.settings.page_gap) {
            return next;
        }
        match self.settle_look(claimed, progress, ended).await {
            Ok(Some(next)) => next,
            // The last page again.
            Ok(None) => {
                ended.reason = Some(STORE_UNAVAILABLE);
                again(claimed)
            }
            Err(error) => {
                (ended.reason, ended.detail) = (Some(STORE_UNAVAILABLE), Chain(&error).to_string());
                again(claimed)
            }
        }
    }

    /// What comes after a whole look; `None` where an event is not in the log.
    async fn settle_look(
        &self,
        claimed: &Claimed,
        progress: &mut Progress,
        ended: &mut Ended,
    ) -> Result<Option<Next>, store::Error> {
        let looked = progress.looked.get_or_insert_default();
        let filter = InstallationFilter {
            app_id: Some(claimed.event.event.app_id.clone()),
            company_id: Some(claimed.tenant.clone()),
            limit: MOST,
            ..InstallationFilter::default()
        };
        let known = self.store.installations(&filter).await?;
        let missing = missing(looked, &known);
        if looked.seen.is_empty() && !missing.is_empty() {
            // Either all of them are gone, and then their UNINSTALL events say so, or the list is not to be believed:
            // nobody's tokens are erased for it.
            (ended.reason, ended.detail) = (
                Some("list_empty"),
                "GHL lists no location that has the app, and it is known to be installed"
                    .to_owned(),
            );
            return Ok(Some(Next::Park));
        }
        let of_company: HashMap<_, _> = known.iter().map(|one| (&*one.tenant, one)).collect();
        for (location, since) in looked.seen.clone() {
            let since = since.unwrap_or(looked.began);
            let app_id = &claimed.event.event.app_id;
            let elsewhere = match of_company.get(&*location) {
                Some(_) => None,
                // The company of some is not known ("install to future locations").
                None => self.store.installation(app_id, &location).await?,
            };
            let known = of_company.get(&*location).copied().or(elsewhere.as_ref());
            let (kind, at) = match known {
                Some(known) if !is_news(known, since, looked.began) => {
                    match company_said_at(known, since) {
                        Some(at) => ("UPDATE", at),
                        None => continue,
                    }
                }
                _ => ("INSTALL", since),
            };
            if !self.append_life(claimed, kind, &location, at, at).await {
                return Ok(None);
            }
        }
        let Some(before) = looked.missing.take() else {
            if missing.is_empty() {
                return Ok(Some(Next::Done));
            }
            looked.missing = Some(missing.into_keys().collect());
            return Ok(Some(Next::Again {
                after: self.settings.confirm_after,
                attempt: 0,
                progress: progress.text(),
            }));
        };
        let began = looked.began;
        for (location, changed_at) in missing {
            if !before.contains(&location) {
                continue;
            }
            let done = self.append_life(claimed, "UNINSTALL", &location, began, changed_at);
            if !done.await {
                return Ok(None);
            }
        }
        Ok(Some(Next::Done))
    }

    /// A tenant that its token may not touch: is the app installed there at all? Asked once in a while.
    pub(super) async fn ask_where_installed(&self, claimed: &Claimed) {
        let event = &claimed.event.event;
        let (app_id, tenant, now) = (&event.app_id, &claimed.tenant, (self.clock)());
        let known = self.store.installation(app_id, tenant).await;
        let known = known.ok().flatten().and_then(|known| known.company_id);
        let Some(company) = known.or_else(|| event.tenant.company_id.clone()) else {
            return;
        };
        // Without its token there is nobody to ask.
        if company == *tenant || !matches!(self.store.token(app_id, &company).await, Ok(Some(_))) {
            return;
        }
        let key = format!("installs-{company}-no-access-{}", now.0 / NO_ACCESS_EVERY);
        let asked = reconcile(&key, app_id, &company, "no_access", now);
        self.writer.append(asked).await;
    }

    /// Says in the log what GHL's webhook would have said.
    /// Under a key of the state that it changes: looks that overlap say it once.
    async fn append_life(
        &self,
        claimed: &Claimed,
        kind: &str,
        location: &str,
        at: i64,
        of: i64,
    ) -> bool {
        let (app_id, company) = (&claimed.event.event.app_id, &claimed.tenant);
        let body = json!({
            "type": kind, "appId": app_id, "companyId": company, "locationId": location,
            "installType": "Location", "timestamp": rfc3339(Micros(at)), "origin": "installedLocations",
        });
        let tenant = Tenant {
            company_id: Some(company.clone()),
            location_id: Some(location.to_owned()),
        };
        let key = format!("installed-{kind}-{location}-{of}");
        let event = own(&key, app_id, kind, tenant, None, &body, (self.clock)());
        match kind {
            "UPDATE" => {
                tracing::info!(%app_id, tenant = location, %company, "a location's company was found")
            }
            _ => {
                tracing::warn!(%app_id, tenant = location, kind, "an installation changed without a webhook")
            }
        }
        self.writer.append(event).await.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(tenant: &str, installed: bool, changed_at: i64) -> Installation {
        Installation {
            app_id: "a".to_owned(),
            tenant: tenant.to_owned(),
            account: Account::Location,
            company_id: Some("c".to_owned()),
            installed,
            generation: 1,
            changed_at: Micros(changed_at),
            installed_at: None,
            uninstalled_at: None,
            details: Default::default(),
            token: None,
            budget: Default::default(),
        }
    }

    #[test]
    fn a_location_is_missing_unless_it_is_listed_or_newer_than_the_list() {
        let looked = Looked {
            began: 1_000_000_000,
            seen: vec![("both".into(), None)],
            missing: None,
        };
        let mut company = known("c", true, 0);
        company.account = Account::Company;
        let lists = [
            known("both", true, 0),
            known("gone", true, 7),
            known("fresh", true, 999_999_999),
            known("known-gone", false, 0),
            company,
        ];
        let missing = missing(&looked, &lists);
        assert_eq!(missing, BTreeMap::from([("gone".to_owned(), 7)]));
    }

    #[test]
    fn what_was_just_uninstalled_is_not_installed_by_a_list_that_is_late() {
        let began = 1_000_000_000;
        let news = |known: Installation, since| is_news(&known, since, began);
        assert!(!news(known("l", true, 0), 5), "known");
        assert!(news(known("l", false, 3), 5), "installed again since");
        assert!(!news(known("l", false, 6), 5), "uninstalled since");
        assert!(!news(known("l", false, 999_999_999), began), "just now");
    }

    #[test]
    fn a_company_that_is_not_known_is_said_once_and_no_earlier_than_what_is_known() {
        let mut orphan = known("l", true, 7);
        orphan.company_id = None;
        assert_eq!(company_said_at(&orphan, 5), Some(7));
        assert_eq!(company_said_at(&orphan, 9), Some(9));
        orphan.installed = false;
        assert_eq!(company_said_at(&orphan, 5), None);
        assert_eq!(company_said_at(&known("l", true, 7), 9), None);
    }

    #[test]
    fn the_list_is_that_of_one_app_and_company() {
        let first = request("app", "c1", None);
        let next = request("app", "c1", Some(&json!(100)));
        assert_eq!(
            first.target,
            "/oauth/installedLocations?companyId=c1&appId=app&isInstalled=true&limit=100"
        );
        assert_eq!(next.target, format!("{}&skip=100", first.target));
    }
}
