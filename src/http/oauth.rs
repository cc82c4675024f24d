//! The browser's way to install an app: `GET /oauth/install` and the app's callback.
//!
//! A state of 128 bits goes to GHL and back, good once and for ten minutes, bound to a cookie of the browser that
//! began: a callback that somebody else made up brings nothing (RFC 9700, 4.7). What comes in the query is never
//! shown. The exchange belongs to a task of its own: a browser that hangs up loses no token. Whoever floods these
//! pages is told to come again before the store or GHL is asked for anything.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use tokio_util::task::TaskTracker;

use crate::chance::{self, Chance};
use crate::clock::Clock;
use crate::config::OauthApps;
use crate::follow_up::tokens::{NoToken, Tokens};
use crate::http::rate::Rate;
use crate::store::{OauthState, Store};
use crate::telemetry::Chain;

/// How long an authorisation may take in the browser.
const LIFE: Duration = Duration::from_secs(600);
/// Authorisations under way at most: more push out the oldest. [`EACH`] lets no more begin in [`LIFE`].
const MOST: i64 = 10_000;
/// Pages that begin or end an authorisation: one each so often, and so many at once. People open them; a commit of the
/// store and a call of GHL are behind each, and webhooks and refreshed tokens need both.
const EACH: Duration = Duration::from_millis(100);
const AT_ONCE: u32 = 100;
/// How often a flood is told of.
const TOLD_EACH: Duration = Duration::from_secs(60);
/// With a prefix that browsers keep other hosts from setting.
const COOKIE: &str = "__Host-hookwell_oauth";

/// What the routes share.
pub struct Oauth {
    /// The apps, by id.
    pub apps: OauthApps,
    /// Where a browser installs an app, and for agencies with a white label.
    pub authorize_urls: [String; 2],
    /// Where states are kept.
    pub store: Arc<dyn Store>,
    /// Who spends the code.
    pub tokens: Arc<Tokens>,
    /// The clock.
    pub clock: Clock,
    /// States and cookies.
    pub chance: Chance,
    /// Work in the store, which no request owns.
    pub tasks: TaskTracker,
    /// How often all of it may be asked for.
    pub rates: Rates,
}

/// Who is let in: beginnings and ends of authorisations apart, so that a flood of one leaves the other open.
#[derive(Debug)]
pub struct Rates {
    installs: Rate,
    callbacks: Rate,
    told: Rate,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            installs: Rate::new(EACH, AT_ONCE),
            callbacks: Rate::new(EACH, AT_ONCE),
            told: Rate::new(TOLD_EACH, 1),
        }
    }
}

impl Oauth {
    /// Whether one more may come in by `rate`; if not, the log says so now and then.
    fn admits(&self, rate: &Rate) -> bool {
        let now = (self.clock)();
        let admitted = rate.admits(now);
        if !admitted && self.rates.told.admits(now) {
            tracing::warn!(
                "more authorisations begin or end under /oauth than people would: some are answered 429; a proxy can \
                 refuse whoever it is"
            );
        }
        admitted
    }
}

/// `GET /oauth/install` and the callback of each app.
pub fn router(oauth: Arc<Oauth>) -> Router {
    let mut router = Router::new().route("/oauth/install", get(install));
    let mut paths: Vec<_> = oauth
        .apps
        .values()
        .map(|app| app.callback_path.clone())
        .collect();
    paths.sort_unstable();
    paths.dedup();
    for path in paths {
        router = router.route(&path, get(callback));
    }
    router.with_state(oauth)
}

/// Whether a text is a page of ours, whichever.
pub fn is_page(html: &str) -> bool {
    let title = |page: &Page| format!("<h1>{}</h1>", escaped(page.words().0));
    Page::ALL.iter().any(|page| html.contains(&title(page)))
}

/// What a browser is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    Installed,
    UnknownApp,
    NoLink,
    BadState,
    Refused,
    NoCode,
    Failed,
    Busy,
    TooMany,
}

impl Page {
    const ALL: [Self; 9] = [
        Self::Installed,
        Self::UnknownApp,
        Self::NoLink,
        Self::BadState,
        Self::Refused,
        Self::NoCode,
        Self::Failed,
        Self::Busy,
        Self::TooMany,
    ];

    fn status(self) -> StatusCode {
        match self {
            Self::Installed => StatusCode::OK,
            Self::UnknownApp | Self::NoLink => StatusCode::NOT_FOUND,
            Self::BadState | Self::Refused | Self::NoCode => StatusCode::BAD_REQUEST,
            Self::Failed => StatusCode::BAD_GATEWAY,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// Title and text, for people: not as HTML.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Installed => ("The app is installed", "You can close this window."),
            Self::UnknownApp => (
                "There is no such app here",
                "With more than one app the address is /oauth/install?app=<app id>.",
            ),
            Self::NoLink => (
                "This app has no install link here",
                "Set apps.install_url to the link of the app's page in the portal, or install it from the marketplace.",
            ),
            Self::BadState => (
                "This installation did not begin here, or took too long",
                "Nothing was installed from this page. Begin again at /oauth/install. Where apps are installed from \
                 the marketplace, apps.install_without_state allows it.",
            ),
            Self::Refused => (
                "The installation was not allowed",
                "GHL came back without a code. Nothing was installed from this page.",
            ),
            Self::NoCode => (
                "The code is missing",
                "GHL came back without a code. Nothing was installed from this page.",
            ),
            Self::Failed => (
                "GHL gave no token",
                "The log of hookwell says why. A code is good once: begin again at /oauth/install.",
            ),
            Self::Busy => (
                "Not now",
                "The store cannot be used at the moment. Begin again in a minute.",
            ),
            Self::TooMany => (
                "Too many at once",
                "More apps are being installed here than people would. Load this page again in a minute.",
            ),
        }
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let (title, text) = self.words();
        let (title, text) = (escaped(title), escaped(text));
        let html = format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
             content=\"width=device-width\"><title>{title}</title><style>body{{font:1rem/1.5 system-ui,sans-serif;\
             max-width:36rem;margin:4rem auto;padding:0 1rem;color-scheme:light dark}}</style>\
             <h1>{title}</h1><p>{text}</p>"
        );
        let mut response = (self.status(), html).into_response();
        let headers = response.headers_mut();
        for (name, value) in [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, "no-store"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (
                header::CONTENT_SECURITY_POLICY,
                "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
            ),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let (name, value) = match self {
            // Nothing came of it yet: the same page may be loaded again.
            Self::TooMany => (header::RETRY_AFTER, "60"),
            // Whatever came of it, the cookie has had its time.
            _ => (
                header::SET_COOKIE,
                "__Host-hookwell_oauth=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax",
            ),
        };
        headers.insert(name, HeaderValue::from_static(value));
        response
    }
}

/// A text as it stands between tags.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

async fn install(State(oauth): State<Arc<Oauth>>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let app = match argument(query, "app") {
        Some(id) => oauth.apps.get_key_value(&id),
        None if oauth.apps.len() == 1 => oauth.apps.iter().next(),
        None => None,
    };
    let Some((app_id, app)) = app else {
        return Page::UnknownApp.into_response();
    };
    let Some(install) = &app.install_query else {
        return Page::NoLink.into_response();
    };
    if !oauth.admits(&oauth.rates.installs) {
        return Page::TooMany.into_response();
    }
    let white_label = argument(query, "white_label").is_some_and(|value| value != "0");
    let state = URL_SAFE_NO_PAD.encode(chance::bytes::<16>(&oauth.chance));
    let cookie = URL_SAFE_NO_PAD.encode(chance::bytes::<16>(&oauth.chance));
    let hashes = OauthState {
        state_hash: hash(&state),
        cookie_hash: hash(&cookie),
    };
    let (store, app_id, now) = (Arc::clone(&oauth.store), app_id.clone(), (oauth.clock)());
    let kept = oauth.tasks.spawn(async move {
        store
            .put_oauth_state(&app_id, &hashes, LIFE, MOST, now)
            .await
    });
    if !matches!(kept.await, Ok(Ok(()))) {
        return Page::Busy.into_response();
    }
    let base = &oauth.authorize_urls[usize::from(white_label)];
    let location = format!("{base}?{install}&state={state}");
    let cookie = format!(
        "{COOKIE}={cookie}; Path=/; Max-Age={}; Secure; HttpOnly; SameSite=Lax",
        LIFE.as_secs()
    );
    let (Ok(location), Ok(cookie)) = (
        HeaderValue::from_str(&location),
        HeaderValue::from_str(&cookie),
    ) else {
        return Page::NoLink.into_response();
    };
    let mut response = StatusCode::FOUND.into_response();
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, location);
    headers.insert(header::SET_COOKIE, cookie);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    response
}

async fn callback(State(oauth): State<Arc<Oauth>>, request: Request) -> Page {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    if !oauth.admits(&oauth.rates.callbacks) {
        return Page::TooMany;
    }
    let app_id = match argument(&query, "state") {
        Some(state) => match authorised(&oauth, &state, request.headers()).await {
            Ok(Some(app_id)) => app_id,
            Ok(None) => return Page::BadState,
            Err(page) => return page,
        },
        None => {
            // An install from the marketplace brings no state: taken where the configuration says so.
            let mut apps = oauth.apps.iter();
            let allowed = apps.find(|(_, app)| app.without_state && app.callback_path == path);
            match allowed {
                Some((app_id, _)) => app_id.clone(),
                None => return Page::BadState,
            }
        }
    };
    let of_path = oauth.apps.get(&app_id).map(|app| &app.callback_path);
    if of_path != Some(&path) {
        return Page::BadState;
    }
    if argument(&query, "error").is_some() {
        return Page::Refused;
    }
    let Some(code) = argument(&query, "code").filter(|code| (1..=4096).contains(&code.len()))
    else {
        return Page::NoCode;
    };
    match oauth
        .tokens
        .accept_code(&app_id, SecretString::from(code))
        .await
    {
        Ok(tenant) => {
            tracing::info!(%app_id, %tenant, "an app was authorised");
            Page::Installed
        }
        Err(error) => {
            tracing::warn!(%app_id, error = %Chain(&error), "an authorisation brought no token");
            match error {
                NoToken::Store(_) => Page::Busy,
                _ => Page::Failed,
            }
        }
    }
}

/// The app whose authorisation this state ends, if it is good.
async fn authorised(
    oauth: &Oauth,
    state: &str,
    headers: &HeaderMap,
) -> Result<Option<String>, Page> {
    let hashes = OauthState {
        state_hash: hash(state),
        // Without a cookie nothing matches, and the state is spent all the same.
        cookie_hash: cookie(headers).map_or([0; 32], |cookie| hash(&cookie)),
    };
    let (store, now) = (Arc::clone(&oauth.store), (oauth.clock)());
    let taken = oauth
        .tasks
        .spawn(async move { store.take_oauth_state(&hashes, now).await });
    match taken.await {
        Ok(Ok(app_id)) => Ok(app_id),
        _ => Err(Page::Busy),
    }
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let all = headers.get_all(header::COOKIE).into_iter();
    let mut pairs = all
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value.to_owned())
}

/// An argument of a query, its escapes resolved; the first where there are several.
fn argument(query: &str, name: &str) -> Option<String> {
    let mut pairs = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_found_and_their_escapes_resolved() {
        let query = "code=a%2Fb+c&state=x&state=y&empty=&flag";
        for (name, value) in [
            ("code", Some("a/b c")),
            ("state", Some("x")),
            ("empty", Some("")),
            ("flag", Some("")),
            ("stat", None),
        ] {
            assert_eq!(argument(query, name).as_deref(), value, "{name}");
        }
        for broken in ["code=%", "code=%2", "code=%zz", "code=%ff"] {
            assert_eq!(argument(broken, "code"), None, "{broken}");
        }
    }

    #[test]
    fn no_page_shows_anything_that_came_in() {
        for page in Page::ALL {
            let response = page.into_response();
            assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
            assert_eq!(response.headers()[header::REFERRER_POLICY], "no-referrer");
            let (title, text) = page.words();
            assert!(!title.contains('{') && !text.contains('{'));
        }
    }
}
