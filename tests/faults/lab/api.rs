//! The GHL that a run's daemons call: `hookwell dev ghl` as a process of its own, asked over HTTP. It plays on while
//! daemons come and go, and counts whatever they do.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::run::WITHIN;
use crate::harness::ghl::APP_ID;
use crate::harness::{Answer, Client, eventually};
use crate::records::calls::{API, REPORT, Report, Request};
use crate::records::{self, Clock, Writer};

/// What must appear nowhere.
pub const CLIENT_SECRET: &str = "canary-client-secret-4711";
/// Where a browser comes back to; one of the bench goes to the daemon's own port.
pub const REDIRECT: &str = "http://hooks.example.com/oauth/callback";
/// The agency of the generator's tenants.
pub const COMPANY: &str = "Company0000000000001";

/// A GHL that is played. Dropping it ends it.
pub struct Api {
    child: Child,
    address: SocketAddr,
}

impl Api {
    /// Starts one with these limits for each account.
    pub async fn start(folder: &Path, burst: u32, interval: &str) -> Self {
        let out = folder.join("api.out");
        let child = Command::new(env!("CARGO_BIN_EXE_hookwell"))
            .args(["dev", "ghl", "--listen", "127.0.0.1:0"])
            .args(["--client-id", &client_id()])
            .args(["--client-secret", CLIENT_SECRET])
            .args(["--redirect-uri", REDIRECT])
            .args(["--company", COMPANY, "--locations", "0"])
            .args(["--burst", &burst.to_string(), "--interval", interval])
            .args(["--daily", "1000000"])
            .stdin(Stdio::null())
            .stdout(File::create(&out).unwrap())
            // Its journal says the same.
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let address = eventually("GHL is played", WITHIN, async || {
            let text = std::fs::read_to_string(&out).unwrap();
            let (_, rest) = text.split_once("This plays GHL at http://")?;
            rest.split_whitespace().next()?.parse().ok()
        })
        .await;
        Self { child, address }
    }

    /// Its address as a URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Asks something of it.
    pub async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let mut client = Client::connect(self.address).await.unwrap();
        let body = body.map(Value::to_string).unwrap_or_default();
        let headers = [("content-type".to_owned(), "application/json".to_owned())];
        let answer = client
            .request(method, path, &headers, body.as_bytes())
            .await;
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    async fn control(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let answer = self.ask(method, path, body).await;
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
        answer.json()
    }

    /// Has something go wrong, such as `{"path": "/contacts/", "count": 1, "deed": {"status": 503}}`.
    pub async fn fault(&self, fault: Value) {
        self.control("POST", "/_dev/fault", Some(&fault)).await;
    }

    /// Ends all faults.
    pub async fn heal(&self) {
        self.control("DELETE", "/_dev/fault", None).await;
    }

    /// Whether faults are still to come.
    pub async fn is_faulty(&self) -> bool {
        let faults = self.control("GET", "/_dev/fault", None).await;
        faults.as_array().is_some_and(|faults| !faults.is_empty())
    }

    /// Ends the access tokens of a location, or all of them.
    pub async fn expire(&self, location: Option<&str>) {
        let account = location.map_or_else(|| json!({}), |id| json!({"location": id}));
        self.control("POST", "/_dev/expire", Some(&account)).await;
    }

    /// Takes the app away from a location.
    pub async fn uninstall(&self, location: &str) {
        let account = json!({"location": location});
        self.control("POST", "/_dev/uninstall", Some(&account))
            .await;
    }

    /// Adds a location to the agency.
    pub async fn put_location(&self, id: &str) {
        self.control("PUT", &format!("/_dev/locations/{id}"), Some(&json!({})))
            .await;
    }

    /// What it has counted so far.
    pub async fn report(&self) -> Report {
        let report = self.control("GET", "/_dev/report", None).await;
        serde_json::from_value(report).unwrap()
    }

    /// The requests so far, by the run's clock.
    pub async fn journal(&self, clock: Clock) -> Vec<Request> {
        let entries = self.control("GET", "/_dev/journal", None).await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let ahead = i64::try_from(now.as_micros()).unwrap() - clock.micros() as i64;
        let text = |entry: &Value, name: &str| entry[name].as_str().map(ToOwned::to_owned);
        let at = |value: &Value| u64::try_from(value.as_i64()? - ahead).ok();
        let entries = entries
            .as_array()
            .into_iter()
            .flatten()
            .map(|entry| Request {
                t: at(&entry["arrived_us"]).unwrap_or(0),
                answered: at(&entry["answered_us"]),
                method: text(entry, "method").unwrap_or_default(),
                path: text(entry, "path").unwrap_or_default(),
                query: text(entry, "query").unwrap_or_default(),
                tenant: text(entry, "tenant"),
                status: entry["status"]
                    .as_u64()
                    .and_then(|status| status.try_into().ok()),
                fault: text(entry, "fault"),
            });
        entries.collect()
    }

    /// Writes down what it got and counted.
    pub async fn write_down(&self, folder: &Path, clock: Clock) {
        let log = Writer::open(folder, API).unwrap();
        let journal = self.journal(clock).await;
        journal.iter().for_each(|request| log.write(request));
        log.finish();
        records::save(folder, REPORT, &self.report().await).unwrap();
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The app's.
pub fn client_id() -> String {
    format!("{APP_ID}-lx1a2b3c")
}

/// What a daemon's app needs to be authorised there.
pub fn of_app() -> String {
    let install = format!(
        "http://127.0.0.1/v2/oauth/chooselocation?response_type=code&client_id={}&version_id={APP_ID}\
         &redirect_uri={}",
        client_id(),
        REDIRECT.replace(':', "%3A").replace('/', "%2F")
    );
    format!(
        "client_id = {:?}\nclient_secret = {CLIENT_SECRET:?}\nredirect_uri = {REDIRECT:?}\n\
         install_url = {install:?}",
        client_id()
    )
}
