//! The console, as browsers and programs use it: who gets in, what the pages show, and what a person does there.

use std::time::Duration;

use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::harness::{
    Backend, Daemon, DaemonConfig, Ghl, Sink, StoreUrl, eventually, fresh_vhost, on_both, run_cli,
    store_url,
};

mod actions;
mod browser;
mod entrance;
mod pages;

const WITHIN: Duration = Duration::from_secs(30);
const TOKEN: &str = "canary-console-token-0123456789abcdef";
const TENANT: &str = "consoleTenant0000001";
/// Every page that needs nothing but a session.
const PAGES: [(&str, &str); 9] = [
    ("/", "Overview"),
    ("/events", "Events"),
    ("/follow-ups", "Follow-ups"),
    ("/dead-letters", "Dead letters"),
    ("/replays", "Replays"),
    ("/quarantine", "Quarantine"),
    ("/installations", "Installations"),
    ("/gaps", "Gaps and backfills"),
    ("/audit", "Audit trail"),
];

/// A daemon with a console.
struct World {
    store: StoreUrl,
    config: DaemonConfig,
    ghl: Ghl,
}

impl World {
    async fn new(backend: Backend) -> Self {
        let store = store_url(backend).await;
        let config = DaemonConfig::new(store.url());
        let file = config.dir().join("tokens");
        std::fs::write(
            &file,
            format!("# who may look\nada:{TOKEN}\n\nbob: {TOKEN}-of-bob\n"),
        )
        .unwrap();
        let config = config.set("admin", &format!("token_file = {file:?}"));
        Self {
            store,
            config,
            ghl: Ghl::new(),
        }
    }

    async fn start(&self) -> Daemon {
        Daemon::start(&self.config).await
    }

    async fn post(&self, daemon: &Daemon, body: &Value) {
        let answer = self.ghl.post(daemon, body.to_string().as_bytes()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// What came back.
#[derive(Debug)]
struct Page {
    status: u16,
    headers: HeaderMap,
    bytes: Vec<u8>,
}

impl Page {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes.clone()).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap()
    }
}

/// A browser or a program at a daemon's admin listener.
struct Visitor {
    http: reqwest::Client,
    base: String,
    headers: Vec<(&'static str, String)>,
}

impl Visitor {
    fn nobody(daemon: &Daemon) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        Self {
            http,
            base: daemon.admin(),
            headers: Vec::new(),
        }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn browser(daemon: &Daemon) -> Self {
        let origin = daemon.admin();
        Self::nobody(daemon)
            .with("accept", "text/html,*/*")
            .with("origin", &origin)
    }

    fn program(daemon: &Daemon) -> Self {
        Self::nobody(daemon).with("authorization", &format!("Bearer {TOKEN}"))
    }

    /// A browser that logged in.
    async fn ada(daemon: &Daemon) -> Self {
        let browser = Self::browser(daemon);
        let page = browser.send("/login", &[("token", TOKEN)]).await;
        assert_eq!(page.status, 303, "{page:?}");
        let cookie = page
            .header("set-cookie")
            .split(';')
            .next()
            .unwrap()
            .to_owned();
        browser.with("cookie", &cookie)
    }

    async fn get(&self, path: &str) -> Page {
        self.ask(self.http.get(format!("{}{path}", self.base)))
            .await
    }

    /// Posts a form.
    async fn send(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        self.ask(self.http.post(format!("{}{path}", self.base)).form(fields))
            .await
    }

    async fn ask(&self, mut request: reqwest::RequestBuilder) -> Page {
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let response = request.send().await.unwrap();
        Page {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            bytes: response.bytes().await.unwrap().to_vec(),
        }
    }
}

fn contact(n: u64) -> Value {
    json!({"type": "ContactCreate", "locationId": TENANT, "id": format!("contact{n}"), "webhookId": format!("key-{n}"),
        "email": format!("ada{n}@example.com")})
}
