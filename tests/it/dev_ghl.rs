//! The GHL that `hookwell dev ghl` plays: everything that a client of the API relies on.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hookwell::dev::ghl::{Account, Settings};
use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::harness::{Api, HandClock};

mod binary;
mod control;
mod errors;
mod faults;
mod installs;
mod limits;
mod records;
mod searches;
mod tokens;

const VERSION: &str = "2021-07-28";

/// A GHL, its clock, and a client of it that follows no redirect.
struct World {
    api: Api,
    clock: HandClock,
    http: reqwest::Client,
}

/// What was answered.
#[derive(Debug)]
struct Said {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The body, if it was a success.
    fn ok(&self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.json()
    }

    /// The text of an error.
    fn message(&self) -> (u16, String) {
        let body = self.json();
        let message = body["message"].as_str().unwrap_or_default();
        (self.status, message.to_owned())
    }
}

/// A client that keeps no connection, so that a fault on one of them is the next request's affair.
fn client(timeout: Duration) -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(0)
        .timeout(timeout)
        .build()
        .unwrap()
}

impl World {
    async fn new(settings: Settings) -> Self {
        let clock = HandClock::new();
        Self {
            api: Api::start_at(settings, clock.clock()).await,
            clock,
            http: client(Duration::from_secs(30)),
        }
    }

    /// The usual one.
    async fn usual() -> Self {
        Self::new(Settings::default()).await
    }

    fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}{path}", self.api.url);
        self.http.request(method.parse().unwrap(), url)
    }

    /// A call as a good client makes it.
    fn call(&self, method: &str, path: &str, token: &str) -> reqwest::RequestBuilder {
        self.request(method, path)
            .header("version", VERSION)
            .header("authorization", format!("Bearer {token}"))
    }

    async fn get(&self, path: &str, token: &str) -> Said {
        said(self.call("GET", path, token)).await
    }

    async fn send(&self, method: &str, path: &str, token: &str, body: &Value) -> Said {
        let request = self.call(method, path, token);
        said(
            request
                .header("content-type", "application/json")
                .body(body.to_string()),
        )
        .await
    }

    async fn form(&self, path: &str, token: Option<&str>, fields: &[(&str, &str)]) -> Said {
        let mut request = self.request("POST", path).header("version", VERSION);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        said(request.header("content-type", FORM).body(form(fields))).await
    }

    /// A token request with the right client.
    async fn token(&self, fields: &[(&str, &str)]) -> Said {
        let settings = self.api.ghl.settings();
        let client = [
            ("client_id", settings.client_id.as_str()),
            ("client_secret", settings.client_secret.as_str()),
        ];
        self.form("/oauth/token", None, &[&client, fields].concat())
            .await
    }

    /// The token answer for an installation.
    async fn installed(&self, account: &Account) -> Value {
        let code = self.api.ghl.issue_code(account);
        self.token(&[("grant_type", "authorization_code"), ("code", &code)])
            .await
            .ok()
    }

    /// The answer to a refresh.
    async fn refresh(&self, token: &str) -> Said {
        self.token(&[("grant_type", "refresh_token"), ("refresh_token", token)])
            .await
    }

    /// An access token of the first sub-account.
    async fn first(&self) -> String {
        text(&self.installed(&location(0)).await, "access_token")
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

fn form(fields: &[(&str, &str)]) -> String {
    let plain = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"&=+%".contains(&byte))
    };
    assert!(fields.iter().all(|(_, value)| plain(value)), "{fields:?}");
    let pairs: Vec<_> = fields
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

async fn said(request: reqwest::RequestBuilder) -> Said {
    let answer = request.send().await.unwrap();
    Said {
        status: answer.status().as_u16(),
        headers: answer.headers().clone(),
        text: answer.text().await.unwrap(),
    }
}

fn company() -> Account {
    Account::Company(Settings::default().company)
}

fn location(n: usize) -> Account {
    Account::Location(Settings::location(n))
}

fn text(value: &Value, field: &str) -> String {
    value[field]
        .as_str()
        .unwrap_or_else(|| panic!("no {field} in {value}"))
        .to_owned()
}

/// What a token says of itself.
fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}
