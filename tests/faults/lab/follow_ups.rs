//! A run whose events call for API calls: rules, tenants that have authorised the app, and the last question, which
//! every chain of tokens has to answer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};

use super::Crafted;
use super::api::{Api, REDIRECT};
use super::run::Run;
use crate::harness::{Answer, Client, Ghl, eventually};
use crate::records::Writer;
use crate::records::calls::{CALLS, Call, Chain};

mod rules;

pub use rules::{COALESCED, Calls, SNAPSHOT, TAG, key_text};

/// How long calls may take to settle.
pub const SETTLE: Duration = Duration::from_secs(150);
/// So many tenants are asked at the end.
const ASKED: usize = 20;
/// A tenant of the generator.
pub fn tenant(number: u64) -> String {
    format!("Tenant{number:014}")
}

/// An event of a contact, which calls for `snapshot`.
pub fn contact(tenant: &str, n: u64) -> Crafted {
    of_type("ContactUpdate", "contact.update", tenant, n)
}

/// An event that calls for `tag`.
pub fn tagged(tenant: &str, n: u64) -> Crafted {
    of_type("ContactTagUpdate", "contact.tag_update", tenant, n)
}

fn of_type(kind: &str, words: &str, tenant: &str, n: u64) -> Crafted {
    let id = uuid::Uuid::new_v4().to_string();
    let body = Ghl::new().body_with_id(kind, tenant, n, &id);
    let crafted = Crafted::signed(body).with_id(&id);
    crafted.routed(tenant, &format!("{words}.{tenant}"))
}

/// A number from whichever store it is.
pub async fn number(url: &str, sql: &str) -> sqlx::Result<i64> {
    let sql = AssertSqlSafe(sql.to_owned());
    match url.starts_with("sqlite:") {
        true => {
            let mut connection = SqliteConnection::connect(url).await?;
            sqlx::query_scalar(sql).fetch_one(&mut connection).await
        }
        false => {
            let mut connection = PgConnection::connect(url).await?;
            sqlx::query_scalar(sql).fetch_one(&mut connection).await
        }
    }
}

/// Rows of texts, likewise.
async fn texts(url: &str, sql: &str) -> sqlx::Result<Vec<String>> {
    let sql = AssertSqlSafe(sql.to_owned());
    match url.starts_with("sqlite:") {
        true => {
            let mut connection = SqliteConnection::connect(url).await?;
            sqlx::query_scalar(sql).fetch_all(&mut connection).await
        }
        false => {
            let mut connection = PgConnection::connect(url).await?;
            sqlx::query_scalar(sql).fetch_all(&mut connection).await
        }
    }
}

impl Run {
    /// The GHL that is called.
    pub fn api(&self) -> &Api {
        self.parts.api.as_ref().expect("set up with calls")
    }

    /// A number that the store says.
    pub async fn number(&self, sql: &str) -> i64 {
        number(&self.parts.store.url, sql).await.unwrap()
    }

    /// Changes the store behind the daemon's back.
    pub async fn change(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        let url = &self.parts.store.url;
        match url.starts_with("sqlite:") {
            true => {
                let mut connection = SqliteConnection::connect(url).await.unwrap();
                connection.execute(sql).await.unwrap();
            }
            false => {
                let mut connection = PgConnection::connect(url).await.unwrap();
                connection.execute(sql).await.unwrap();
            }
        }
    }

    /// The time of everything that a daemon held when it died is over: what would take two minutes by the clock.
    pub async fn claims_are_over(&self) {
        self.change("update follow_ups set due_at = 0 where state = 'pending' and claimed")
            .await;
        self.change("update call_budgets set next_at = 0 where next_at is not null")
            .await;
        self.change("update tokens set refreshing_until = 0 where refreshing_until is not null")
            .await;
    }

    /// A person authorises the app at the daemon, for one location or for the agency.
    pub async fn authorise(&self, location: Option<&str>) {
        let page = self.authorised(location).await;
        assert_eq!(page.status, 200, "{}", page.text());
    }

    /// The same, whatever comes of it.
    pub async fn authorised(&self, location: Option<&str>) -> Answer {
        let begin = self.browse("/oauth/install", None).await;
        let header =
            |answer: &Answer, name: &str| answer.header(name).unwrap_or_default().to_owned();
        let cookie = header(&begin, "set-cookie");
        let cookie = cookie.split(';').next().unwrap_or_default();
        let link = header(&begin, "location");
        let path = link
            .strip_prefix(&self.api().url())
            .expect("a link to the API");
        let chosen = location
            .map(|id| format!("&location_id={id}"))
            .unwrap_or_default();
        let back = self
            .api()
            .ask("GET", &format!("{path}{chosen}"), None)
            .await;
        let back = header(&back, "location");
        let query = back.strip_prefix(REDIRECT).expect("back to the daemon");
        self.browse(&format!("/oauth/callback{query}"), Some(cookie))
            .await
    }

    /// Gets a page of the way to install an app.
    pub async fn browse(&self, path: &str, cookie: Option<&str>) -> Answer {
        let mut client = Client::connect(self.daemon().address()).await.unwrap();
        let cookie = cookie.map(|cookie| ("cookie".to_owned(), cookie.to_owned()));
        let headers: Vec<_> = cookie.into_iter().collect();
        let page = client.request("GET", path, &headers, &[]).await.unwrap();
        *self.pages.lock().unwrap().entry(page.status).or_default() += 1;
        page
    }

    /// Each of the generator's first tenants authorises the app for itself: as many chains of refresh tokens.
    pub async fn authorise_tenants(&self, count: u64) {
        for number in 0..count {
            self.authorise(Some(&tenant(number))).await;
        }
    }

    /// How many calls are still to be made, as far as is planned.
    pub async fn pending_calls(&self) -> i64 {
        self.number("select count(*) from follow_ups where state = 'pending'")
            .await
    }

    /// The tenants of which a person has to authorise the app again.
    pub async fn left_to_a_person(&self) -> Vec<String> {
        let left = "select tenant from tokens where state = 'reauthorise' order by tenant";
        texts(&self.parts.store.url, left).await.unwrap()
    }

    /// Waits until everything in the log is planned and no call waits.
    pub async fn calls_settle(&self) {
        const UNPLANNED: &str = "select (select position from log_head) - \
             (select position from cursors where reader = 'planner')";
        eventually("every call has settled", SETTLE, async || {
            let url = &self.parts.store.url;
            let planned = number(url, UNPLANNED).await.ok()? == 0;
            (planned && self.pending_calls().await == 0).then_some(())
        })
        .await;
    }

    /// Waits until so many calls of a tenant have ended, whatever else is under way.
    pub async fn calls_of_end(&self, tenant: &str, count: u64) {
        let ended = format!(
            "select count(*) from follow_ups where tenant = '{tenant}' and state <> 'pending'"
        );
        let what = format!("{count} calls of {tenant} have ended");
        eventually(&what, SETTLE, async || {
            (i64::try_from(count).unwrap() <= self.number(&ended).await).then_some(())
        })
        .await;
    }

    /// Waits until so many requests for the rules came, and returns how many.
    pub async fn requests(&self, least: usize) -> usize {
        eventually(&format!("{least} requests came"), SETTLE, async || {
            let journal = self.api().journal(self.clock()).await;
            let of_rules = journal.iter().filter(|one| one.argument("rule").is_some());
            let count = of_rules.count();
            (least <= count).then_some(count)
        })
        .await
    }

    /// What 99 of a hundred calls of these tenants took that were planned between two moments of the run's clock,
    /// from their planning to their end.
    pub async fn waits(&self, tenants: &[String], from: u64, to: u64) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let ahead = i64::try_from(now.as_micros()).unwrap() - self.micros() as i64;
        let calls = super::dump::calls(&self.parts.store.url).await.unwrap();
        let within = |call: &&Call| {
            let planned = u64::try_from(call.planned - ahead).unwrap_or(0);
            tenants.contains(&call.tenant) && (from..to).contains(&planned) && call.state == "done"
        };
        let mut took: Vec<_> = (calls.iter().filter(within))
            .map(|call| u64::try_from(call.ended.unwrap_or(i64::MAX) - call.planned).unwrap_or(0))
            .collect();
        took.sort_unstable();
        Duration::from_micros(took.get(took.len() * 99 / 100).copied().unwrap_or(0))
    }

    /// The load ends, and every chain has to show that it goes on: all access tokens are ended, and for each
    /// tenant a call is asked for. Says when that was, and who was asked.
    pub(super) async fn last_question(&mut self) -> (u64, Vec<String>) {
        self.load().set_rate(0.0);
        self.load().quiet(SETTLE).await;
        self.api().heal().await;
        self.calls_settle().await;
        let usable = "select tenant from tokens where state = 'usable' and account = 'location' order by tenant";
        let mut tenants = texts(&self.parts.store.url, usable).await.unwrap();
        tenants.truncate(ASKED);
        let asked_at = self.micros();
        self.api().expire(None).await;
        for (n, tenant) in (0..).zip(&tenants) {
            let one = contact(tenant, 900 + n);
            self.post_expecting(200, "the last question", &one).await;
        }
        self.calls_settle().await;
        (asked_at, tenants)
    }

    /// The tokens at the end; those of companies are asked with their locations'.
    pub(super) async fn chains(&self, asked: &[String]) -> Vec<Chain> {
        let rows = "select account || ' ' || state || ' ' || tenant from tokens order by tenant";
        let rows = texts(&self.parts.store.url, rows).await.unwrap();
        let chain = |row: &String| {
            let mut words = row.splitn(3, ' ').map(ToOwned::to_owned);
            let (account, state, tenant) = (words.next()?, words.next()?, words.next()?);
            let asked = match account.as_str() {
                "company" => !asked.is_empty(),
                _ => asked.contains(&tenant),
            };
            Some(Chain {
                tenant,
                state,
                asked,
            })
        };
        rows.iter().filter_map(chain).collect()
    }

    /// Writes down the rows of calls.
    pub(super) async fn write_calls(&self) {
        let log = Writer::open(self.folder(), CALLS).unwrap();
        let rows = super::dump::calls(&self.parts.store.url).await.unwrap();
        rows.iter().for_each(|call: &Call| log.write(call));
        log.finish();
    }
}
