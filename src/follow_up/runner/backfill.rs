//! Records of a location that changed in a time, page by page: what the log lacks is appended to it.
//!
//! Contacts are searched by `dateUpdated`. Neither search of opportunities is documented to do that or to order by
//! it: all of them are read, and those that changed are kept. A page is in the log before its end is written down; a
//! crash between the two reads it again, and an event that is there already is one by its key.

use std::collections::HashMap;

use futures_util::future::join_all;
use serde_json::{Value as Json, json};

use super::super::rule::Rendered;
use super::super::verdict::STORE_UNAVAILABLE;
use super::Runner;
use super::progress::{Progress, again, no_next};
use crate::clock::rfc3339;
use crate::event::backfill::{Ask, BACKFILL_COMPLETED, Kind, own};
use crate::event::lifecycle::moment;
use crate::event::{Micros, Position, Tenant};
use crate::ghl::pages::List;
use crate::ghl::{Answer, VERSION};
use crate::store::{self, Claimed, Ended, Next};
use crate::telemetry::Chain;

/// Why everything is read.
const INSTALL: &str = "install";
/// Records of a page.
const PAGE: usize = 100;
/// Places of the log looked at in one statement.
const RUN: i64 = 50_000;
/// Runs for one page at most: what is not found until then is appended, which is a snapshot too many at worst.
const RUNS: u32 = 100;
/// How much the times of places may differ from their order, by the clocks of several daemons.
const SKEW: i64 = 60 * 1_000_000;
/// An event that came no more than so much before the record's last change is of that change, by another clock. A
/// record may change again soon after an event: a snapshot too many is cheap, one too few is a loss.
const SAME: i64 = 1_000_000;
/// An event is looked for so long after the change: GHL delivers within seconds, and the first retries within minutes.
const LATE: i64 = 3600 * 1_000_000;

/// What a claimed row is to read: what its event asks for; everything, where that is an INSTALL.
pub(super) fn ask_of(claimed: &Claimed, kind: Kind, now: Micros) -> Option<Ask> {
    let event = &claimed.event.event;
    match event.event_type.as_str() {
        "INSTALL" => Some(Ask {
            kinds: vec![kind],
            since_micros: 0,
            until_micros: now.0,
            dry_run: false,
            why: INSTALL.to_owned(),
        }),
        _ => Ask::of(event),
    }
}

/// The request of a page.
pub(super) fn request(kind: Kind, ask: &Ask, location: &str, cursor: Option<&Json>) -> Rendered {
    let list = list(kind);
    let body = match kind {
        Kind::Contacts => json!({
            "locationId": location, "pageLimit": PAGE,
            "filters": [{
                "field": "dateUpdated", "operator": "range",
                "value": {"gte": millis(ask.since_micros), "lte": millis(ask.until_micros + 999)},
            }],
            "sort": [{"field": "dateUpdated", "direction": "asc"}],
        }),
        Kind::Opportunities => json!({"locationId": location, "limit": PAGE, "page": 1}),
    };
    let (mut target, mut body) = (list.path.to_owned(), Some(body));
    if let Some(cursor) = cursor {
        list.go_on(&mut target, &mut body, cursor);
    }
    Rendered {
        method: list.method,
        target,
        version: VERSION.to_owned(),
        body,
    }
}

fn list(kind: Kind) -> List {
    match kind {
        Kind::Contacts => List::CONTACTS,
        Kind::Opportunities => List::OPPORTUNITIES,
    }
}

/// A time as GHL writes it.
fn millis(micros: i64) -> String {
    let text = rfc3339(Micros(micros));
    format!("{}Z", text.get(..23).unwrap_or(&text))
}

/// A record of a page that changed in the time.
struct Changed {
    id: String,
    /// None where GHL does not say when.
    at: Option<Micros>,
    record: Json,
}

/// The records of an answer that changed in the time; those that do not say when, too.
fn changed(kind: Kind, ask: &Ask, rows: &[Json]) -> Vec<Changed> {
    let field = match kind {
        Kind::Contacts => "dateUpdated",
        Kind::Opportunities => "updatedAt",
    };
    let within = |at: Micros| (ask.since_micros..=ask.until_micros).contains(&at.0);
    rows.iter()
        .filter_map(|row| {
            let id = row["id"].as_str()?.to_owned();
            let at = row[field].as_str().and_then(moment);
            let mut record = row.clone();
            if let Some(fields) = record.as_object_mut() {
                // Cursors, not of the record.
                fields.remove("searchAfter");
                fields.remove("sort");
            }
            at.is_none_or(within).then_some(Changed { id, at, record })
        })
        .collect()
}

impl Runner {
    /// Appends what the log lacks of a page, and goes on to the next one.
    pub(super) async fn take_page(
        &self,
        (kind, ask): (Kind, &Ask),
        claimed: &Claimed,
        progress: &mut Progress,
        answer: &Answer,
        ended: &mut Ended,
    ) -> Next {
        let answer: Json = serde_json::from_slice(&answer.body).unwrap_or(Json::Null);
        let list = list(kind);
        let changed = changed(kind, ask, list.rows(&answer));
        let found = changed.len() as u64;
        // Of a new installation the log has next to nothing.
        let lacking = match ask.why == INSTALL {
            true => Ok(changed),
            false => self.lacking(claimed, changed).await,
        };
        let lacking = match lacking {
            Ok(lacking) => lacking,
            Err(error) => {
                (ended.reason, ended.detail) = (Some(STORE_UNAVAILABLE), Chain(&error).to_string());
                return again(claimed);
            }
        };
        let appended = lacking.len() as u64;
        if !ask.dry_run && !self.append_records(kind, claimed, lacking).await {
            ended.reason = Some(STORE_UNAVAILABLE);
            return again(claimed);
        }
        let next = match list.after(&answer, progress.cursor.as_ref()) {
            Ok(next) => next,
            Err(why) => return no_next(why, ended),
        };
        progress.found += found;
        progress.lacking += appended;
        progress.all = answer["total"].as_u64();
        let next = progress.page_read(next, self.settings.page_gap);
        if next.is_none()
            && !ask.dry_run
            && !self.append_completed(kind, ask, claimed, progress).await
        {
            ended.reason = Some(STORE_UNAVAILABLE);
            return again(claimed);
        }
        let records = &self.metrics.backfill_records;
        for (outcome, count) in [("known", found - appended), ("lacking", appended)] {
            records
                .with_label_values(&[kind.as_str(), outcome])
                .inc_by(count);
        }
        ended.detail = format!(
            "{} pages, {} records changed, {} not in the log",
            progress.page, progress.found, progress.lacking
        );
        next.unwrap_or_else(|| {
            tracing::info!(
                tenant = %claimed.tenant, kind = kind.as_str(), why = %ask.why, found = progress.found,
                lacking = progress.lacking, dry_run = ask.dry_run, "records that changed were read"
            );
            Next::Done
        })
    }

    /// Those of which the log has no event since they changed.
    async fn lacking(
        &self,
        claimed: &Claimed,
        changed: Vec<Changed>,
    ) -> Result<Vec<Changed>, store::Error> {
        let times = changed.iter().filter_map(|one| one.at);
        let (Some(first), Some(last)) = (times.clone().min(), times.max()) else {
            return Ok(changed);
        };
        let mut after = self.store.place_at(Micros(first.0 - SKEW)).await?;
        let upto = self.store.place_at(Micros(last.0 + LATE)).await?;
        let ids: Vec<_> = changed.iter().map(|one| one.id.clone()).collect();
        let mut newest: HashMap<String, Micros> = HashMap::new();
        for _ in 0..RUNS {
            if upto <= after {
                break;
            }
            let end = Position(upto.0.min(after.0 + RUN));
            let app_id = &claimed.event.event.app_id;
            let known = self
                .store
                .known(app_id, &claimed.tenant, &ids, after, end)
                .await?;
            for one in known {
                let at = newest.entry(one.entity_id).or_insert(one.received_at);
                *at = (*at).max(one.received_at);
            }
            after = end;
        }
        let is_known = |one: &Changed| {
            let came = newest.get(&one.id);
            came.is_some_and(|came| one.at.is_some_and(|at| at.0 - SAME <= came.0))
        };
        Ok(changed.into_iter().filter(|one| !is_known(one)).collect())
    }

    /// Whether all of them are in the log.
    async fn append_records(&self, kind: Kind, claimed: &Claimed, records: Vec<Changed>) -> bool {
        let now = (self.clock)();
        let appends = records.into_iter().map(|one| {
            let at = one.at.map_or_else(|| "0".to_owned(), |at| at.0.to_string());
            self.writer.append(own(
                &format!("backfill-{}-{}-{at}", kind.record(), one.id),
                &claimed.event.event.app_id,
                kind.event_type(),
                tenant_of(claimed),
                Some(one.id),
                &json!({kind.record(): one.record}),
                now,
            ))
        });
        join_all(appends).await.iter().all(Option::is_some)
    }

    async fn append_completed(
        &self,
        kind: Kind,
        ask: &Ask,
        claimed: &Claimed,
        progress: &Progress,
    ) -> bool {
        let event = &claimed.event.event;
        let body = json!({
            "kind": kind.as_str(), "since": rfc3339(Micros(ask.since_micros)),
            "until": rfc3339(Micros(ask.until_micros)), "why": ask.why, "found": progress.found,
            "appended": progress.lacking, "requested": event.key.as_str(), "locationId": claimed.tenant,
        });
        let key = format!(
            "backfill-{}-{}-completed",
            claimed.event.position,
            kind.as_str()
        );
        let (app_id, now) = (&event.app_id, (self.clock)());
        let completed = own(
            &key,
            app_id,
            BACKFILL_COMPLETED,
            tenant_of(claimed),
            None,
            &body,
            now,
        );
        self.writer.append(completed).await.is_some()
    }
}

fn tenant_of(claimed: &Claimed) -> Tenant {
    Tenant {
        company_id: claimed.event.event.tenant.company_id.clone(),
        location_id: Some(claimed.tenant.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask() -> Ask {
        Ask {
            kinds: vec![Kind::Contacts],
            since_micros: 1_000_000,
            until_micros: 2_000_000,
            dry_run: false,
            why: "gap".to_owned(),
        }
    }

    #[test]
    fn contacts_are_asked_for_by_when_they_changed_and_opportunities_one_and_all() {
        let cursor = json!([7, "c"]);
        let request_ = request(Kind::Contacts, &ask(), "l1", Some(&cursor));
        let body = request_.body.unwrap_or_default();
        assert_eq!(request_.target, "/contacts/search");
        assert_eq!(
            body["filters"][0]["value"],
            json!({"gte": "1970-01-01T00:00:01.000Z", "lte": "1970-01-01T00:00:02.000Z"})
        );
        assert_eq!(
            (&body["searchAfter"], &body["locationId"]),
            (&cursor, &json!("l1"))
        );
        let body = request(Kind::Opportunities, &ask(), "l1", None)
            .body
            .unwrap_or_default();
        assert_eq!(body, json!({"locationId": "l1", "limit": 100, "page": 1}));
    }

    #[test]
    fn only_what_changed_in_the_time_counts_and_what_does_not_say_when() {
        let row = |id: &str, at: Json| json!({"id": id, "updatedAt": at, "sort": [1]});
        let rows = [
            row("before", json!("1970-01-01T00:00:00.999Z")),
            row("first", json!("1970-01-01T00:00:01.000Z")),
            row("last", json!("1970-01-01T00:00:02.000Z")),
            row("after", json!("1970-01-01T00:00:02.001Z")),
            row("unsaid", Json::Null),
            json!({"updatedAt": "1970-01-01T00:00:01.500Z"}),
        ];
        let found = changed(Kind::Opportunities, &ask(), &rows);
        let ids: Vec<_> = found.iter().map(|one| one.id.as_str()).collect();
        assert_eq!(ids, ["first", "last", "unsaid"]);
        assert!(found[0].record.get("sort").is_none());
    }
}
