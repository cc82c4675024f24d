//! Installs, tokens and API calls through the built binary, against the GHL of `hookwell dev ghl`.

use std::sync::Arc;
use std::time::Duration;

use hookwell::dev::ghl::{Account, Settings};
use hookwell::seal::{KEY_BYTES, Keyring};
use hookwell::store::{Access, PostgresStore, SqliteStore, Store};
use serde_json::{Value, json};

use crate::harness::ghl::APP_ID;
use crate::harness::{
    Api, Backend, Daemon, DaemonConfig, Ghl, StoreUrl, doctor, eventually, on_both, run_cli,
    store_url,
};

mod answers;
mod budgets;
mod calls;
mod companies;
mod oauth;
mod outbound;
mod rehearsal;
mod repair;
mod secrets;
mod shipped;
mod tokens;
mod traces;
mod triggers;

const WITHIN: Duration = Duration::from_secs(30);
/// What must appear nowhere.
const SECRET: &str = "canary-client-secret-4711";
const CALLBACK: &str = "/oauth/callback";
/// The one that apps are set up with; a browser of these tests goes to the daemon's port instead.
const REDIRECT: &str = "http://hooks.example.com/oauth/callback";

/// A moment as GHL writes it, before everything that a test does.
const OLD: &str = "2026-08-17T09:06:59.366Z";

/// A rule that fetches the whole contact and says so when it is gone.
const SNAPSHOT: &str = r#"
[[follow_ups]]
name = "contact-snapshot"
on = ["ContactCreate", "ContactUpdate", "ContactDelete"]
request = "GET /contacts/{entity_id}"
publish_as = "contact.snapshot"
tombstone_as = "contact.gone"
"#;

/// A GHL and daemons for it.
struct World {
    api: Api,
    sender: Ghl,
    store: StoreUrl,
    config: DaemonConfig,
    /// An agency's id, and that of a sub-account of it.
    company: Account,
    location: String,
}

fn settings() -> Settings {
    Settings {
        client_id: format!("{APP_ID}-lx1a2b3c"),
        client_secret: SECRET.to_owned(),
        ..Settings::default()
    }
}

impl World {
    async fn new(backend: Backend, rules: &str) -> Self {
        Self::with(backend, rules, settings(), "").await
    }

    /// With other settings of GHL, and more lines in `[ghl]`.
    async fn with(backend: Backend, rules: &str, settings: Settings, ghl: &str) -> Self {
        let (company, location) = (settings.company.clone(), Settings::location(0));
        let client_id = settings.client_id.clone();
        let install = settings.install_url("", REDIRECT);
        let api = Api::start(settings).await;
        let store = store_url(backend).await;
        let mut config = DaemonConfig::new(store.url());
        let keys = config.dir().join("token-keys");
        std::fs::write(&keys, Keyring::line("k1", &[9; KEY_BYTES]).as_bytes()).unwrap();
        let url = &api.url;
        config = config.set(
            "ghl",
            &format!(
                "api_base = {url:?}\nauthorize_url = \"{url}/v2/oauth/chooselocation\"\n\
                 token_keys_file = {keys:?}\nretry_first = \"50ms\"\nretry_max = \"200ms\"\n{ghl}"
            ),
        );
        config.of_app = format!(
            "client_id = {client_id:?}\nclient_secret = {SECRET:?}\nredirect_uri = {REDIRECT:?}\n\
             install_url = \"http://127.0.0.1{install}\""
        );
        // Where the app is installed is asked for by those tests that look at it.
        config = config.set("repair", "reconcile_every = \"0s\"");
        config.tail = rules.to_owned();
        Self {
            api,
            sender: Ghl::new(),
            store,
            config,
            company: Account::Company(company),
            location,
        }
    }

    /// The store, where no daemon has it.
    async fn open_store(&self) -> Arc<dyn Store> {
        let url = self.store.url();
        if url.starts_with("sqlite:") {
            return Arc::new(SqliteStore::open(url, Access::Exclusive).await.unwrap());
        }
        Arc::new(PostgresStore::open(url, WITHIN).await.unwrap())
    }

    async fn start(&self) -> Daemon {
        Daemon::start(&self.config).await
    }

    /// A daemon at which the agency has authorised the app.
    async fn authorised(&self) -> Daemon {
        let daemon = self.start().await;
        let page = Browser::new().install(&daemon, "").await;
        assert_eq!(page.status, 200, "{page:?}");
        daemon
    }

    /// The app is installed at the usual location, and has a token for it.
    async fn install(&self, daemon: &Daemon) {
        self.live(daemon, "INSTALL", Some(&self.location), OLD)
            .await;
        self.token_is(&self.location, "usable").await;
    }

    /// Posts an event of an app's life.
    async fn live(&self, daemon: &Daemon, kind: &str, location: Option<&str>, at: &str) {
        let mut body = json!({"type": kind, "appId": APP_ID, "companyId": self.company.id(), "timestamp": at,
            "webhookId": uuid::Uuid::new_v4().to_string()});
        match location {
            Some(location) => body["locationId"] = json!(location),
            None => body["installType"] = json!("Company"),
        }
        self.send(daemon, &body).await;
    }

    /// Posts an event of a contact of the usual location.
    async fn contact(&self, daemon: &Daemon, kind: &str, id: &str) {
        let body = json!({"type": kind, "appId": APP_ID, "locationId": self.location, "companyId": self.company.id(),
            "id": id, "webhookId": uuid::Uuid::new_v4().to_string(), "tags": ["new"], "firstName": "Ada"});
        self.send(daemon, &body).await;
    }

    /// The same as GHL posts it to an app for sub-accounts: without its company.
    async fn contact_without_company(&self, daemon: &Daemon, kind: &str, id: &str) {
        let body = json!({"type": kind, "appId": APP_ID, "locationId": self.location, "id": id,
            "webhookId": uuid::Uuid::new_v4().to_string(), "tags": ["new"], "firstName": "Ada"});
        self.send(daemon, &body).await;
    }

    async fn send(&self, daemon: &Daemon, body: &Value) {
        let answer = self.sender.post(daemon, body.to_string().as_bytes()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// What a command prints, line by line.
    fn lines(&self, arguments: &[&str]) -> Vec<Value> {
        let output = run_cli(&[arguments, &["--json"]].concat(), &self.config);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn follow_ups(&self) -> Vec<Value> {
        self.lines(&["follow-ups", "list", "--limit", "10000"])
    }

    /// Waits until so many calls were planned and none of them is pending, and returns them, newest first.
    async fn settled(&self, count: usize) -> Vec<Value> {
        eventually(&format!("{count} calls are settled"), WITHIN, async || {
            let calls = self.follow_ups();
            let pending = calls.iter().any(|call| call["state"] == "pending");
            (count <= calls.len() && !pending).then_some(calls)
        })
        .await
    }

    /// Events of a type, with their bodies.
    fn events(&self, kind: &str) -> Vec<(Value, Value)> {
        let found = self.lines(&["events", "list", "--type", kind, "--limit", "10000"]);
        found
            .into_iter()
            .map(|event| {
                let position = event["position"].to_string();
                let output = run_cli(&["events", "show", &position, "--body"], &self.config);
                (event, serde_json::from_slice(&output.stdout).unwrap())
            })
            .collect()
    }

    async fn token_is(&self, tenant: &str, wanted: &str) {
        eventually(
            &format!("the token of {tenant} is {wanted}"),
            WITHIN,
            async || {
                let installs = self.lines(&["installs", "list", "--all", "--limit", "100000"]);
                let mut of = installs.iter().filter(|one| one["tenant"] == tenant);
                of.any(|one| one["token"] == wanted).then_some(())
            },
        )
        .await;
    }
}

/// A browser, of which one knows the cookie.
struct Browser {
    http: reqwest::Client,
    cookie: Option<String>,
}

#[derive(Debug)]
struct Page {
    status: u16,
    location: Option<String>,
    headers: reqwest::header::HeaderMap,
    text: String,
}

impl Browser {
    fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        Self { http, cookie: None }
    }

    async fn get(&mut self, url: &str) -> Page {
        let mut request = self.http.get(url);
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        let response = request.send().await.unwrap();
        let headers = response.headers().clone();
        let header = |name: &str| {
            headers
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        if let Some(cookie) = header("set-cookie") {
            let pair = cookie.split(';').next().unwrap().to_owned();
            self.cookie = (!pair.ends_with('=')).then_some(pair);
        }
        Page {
            status: response.status().as_u16(),
            location: header("location"),
            text: response.text().await.unwrap(),
            headers,
        }
    }

    /// From the daemon to GHL and back; where it comes back to, on the daemon's port.
    async fn until_callback(&mut self, daemon: &Daemon, chosen: &str) -> String {
        let begin = self
            .get(&format!("http://{}/oauth/install", daemon.address()))
            .await;
        assert_eq!(begin.status, 302, "{begin:?}");
        let at_ghl = format!("{}{chosen}", begin.location.unwrap());
        let mut other_site = Self {
            http: self.http.clone(),
            cookie: None,
        };
        let back = other_site.get(&at_ghl).await;
        assert_eq!(back.status, 302, "{back:?}");
        let back = back.location.unwrap();
        let query = back.strip_prefix(REDIRECT).unwrap();
        format!("http://{}{CALLBACK}{query}", daemon.address())
    }

    /// The whole way; `chosen` is what is chosen at GHL, such as `&location_id=…`.
    async fn install(&mut self, daemon: &Daemon, chosen: &str) -> Page {
        let callback = self.until_callback(daemon, chosen).await;
        self.get(&callback).await
    }
}
