//! Who is there: tokens of people, sessions of browsers, and requests that a page of somebody else's made up.
//!
//! A program shows its token with each request (`Authorization: Bearer`). A browser shows it once, at the login page,
//! and has a cookie from then on: random, of no meaning, forgotten at logout, after twelve hours, or when the daemon ends.
//! A cookie is good for a change only in a request that a page of this very origin made: to the browser, another
//! port of the host is the same site.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};

use crate::event::Micros;

/// The cookie's name, with the port behind it, see [`cookie_name`].
const COOKIE: &str = "hookwell_session";
/// Seconds that a session lasts.
pub(super) const LIFE_SECONDS: i64 = 12 * 3600;
/// Sessions at most: another one ends the oldest.
const MOST: usize = 100;
/// The shortest token: 32 hex digits are 128 bits.
const SHORTEST: usize = 32;

/// A person's token: its name, and a hash of what only the person knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    name: String,
    hash: [u8; 32],
}

impl Token {
    /// A token, checked.
    ///
    /// # Errors
    /// What is wrong with it, without showing it.
    pub fn new(name: &str, token: &str) -> Result<Self, String> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.@".contains(&b);
        if !(1..=64).contains(&name.len()) || !name.bytes().all(plain) {
            return Err("a name before the colon is up to 64 letters, digits, - _ . @".to_owned());
        }
        if token.len() < SHORTEST || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(format!(
                "the token of {name} must have at least {SHORTEST} letters and digits; `openssl rand -hex 32` makes a good one"
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            hash: hash(token),
        })
    }

    /// Whose it is.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A browser that logged in.
struct Session {
    who: String,
    until: Micros,
    /// What the next page has to say.
    said: Option<String>,
}

/// Tokens, and the sessions that are open.
pub(super) struct Sessions {
    tokens: Vec<Token>,
    open: Mutex<BTreeMap<[u8; 32], Session>>,
}

impl Sessions {
    pub(super) fn new(tokens: Vec<Token>) -> Self {
        Self {
            tokens,
            open: Mutex::default(),
        }
    }

    /// Whose token it is. Hashes are compared, so how long it takes says nothing of the token.
    pub(super) fn owner(&self, token: &str) -> Option<&str> {
        let shown = hash(token.trim());
        self.tokens
            .iter()
            .find(|token| token.hash == shown)
            .map(Token::name)
    }

    /// Whose token a program shows.
    pub(super) fn bearer(&self, headers: &HeaderMap) -> Option<&str> {
        let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = value.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| self.owner(token))
            .flatten()
    }

    /// Opens a session under a cookie.
    pub(super) fn begin(&self, who: &str, cookie: &str, now: Micros) {
        let mut open = self.lock();
        open.retain(|_, session| now < session.until);
        while MOST <= open.len() {
            let oldest = open
                .iter()
                .min_by_key(|(_, session)| session.until)
                .map(|(key, _)| *key);
            let Some(oldest) = oldest else { break };
            open.remove(&oldest);
        }
        let until = Micros(now.0 + LIFE_SECONDS * 1_000_000);
        open.insert(
            hash(cookie),
            Session {
                who: who.to_owned(),
                until,
                said: None,
            },
        );
    }

    /// Whose session the cookie is.
    pub(super) fn of_cookie(&self, headers: &HeaderMap, now: Micros) -> Option<([u8; 32], String)> {
        let open = self.lock();
        cookies(headers).map(hash).find_map(|key| {
            let session = open.get(&key).filter(|session| now < session.until)?;
            Some((key, session.who.clone()))
        })
    }

    /// Leaves a sentence for the session's next page.
    pub(super) fn say(&self, key: &[u8; 32], sentence: String) {
        if let Some(session) = self.lock().get_mut(key) {
            session.said = Some(sentence);
        }
    }

    /// Takes that sentence.
    pub(super) fn said(&self, key: &[u8; 32]) -> Option<String> {
        self.lock().get_mut(key)?.said.take()
    }

    pub(super) fn end(&self, key: &[u8; 32]) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<[u8; 32], Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// The cookie's name at the port that the browser asked: to it, all ports of a host have the same cookies, and two
/// consoles side by side would log each other out.
pub(super) fn cookie_name(headers: &HeaderMap) -> String {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let port = host.and_then(|host| host.rsplit_once(':')?.1.parse::<u16>().ok());
    match port {
        Some(port) => format!("{COOKIE}_{port}"),
        None => COOKIE.to_owned(),
    }
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let name = cookie_name(headers);
    let values = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let pairs = values.flat_map(|value| value.split(';'));
    pairs.filter_map(move |pair| pair.trim().strip_prefix(&name)?.strip_prefix('='))
}

/// Whether a page of this very origin made the request, as far as the browser says. `Origin` is what counts; a browser
/// that leaves it out says `Sec-Fetch-Site`.
pub(super) fn is_own(headers: &HeaderMap) -> bool {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    match (text(header::ORIGIN), text(header::HOST)) {
        (Some(origin), Some(host)) => {
            let authority = origin
                .strip_prefix("http://")
                .or(origin.strip_prefix("https://"));
            authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
        }
        (None, _) => headers
            .get("sec-fetch-site")
            .is_some_and(|site| site == "same-origin"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn headers(rows: &[(&'static str, &str)]) -> HeaderMap {
        rows.iter()
            .map(|(name, value)| {
                (
                    header::HeaderName::from_static(name),
                    value.parse().unwrap(),
                )
            })
            .collect()
    }

    #[test]
    fn weak_tokens_and_strange_names_are_refused_without_being_shown() {
        for (name, token) in [
            ("ada", "short"),
            ("", TOKEN),
            ("a b", TOKEN),
            ("ada", &"ä".repeat(40)),
        ] {
            let said = Token::new(name, token).unwrap_err();
            assert!(token == TOKEN || !said.contains(token), "{said}");
        }
    }

    #[test]
    fn a_request_is_ones_own_only_from_the_same_origin() {
        let rows: [(&[(&str, &str)], bool); 8] = [
            (
                &[
                    ("origin", "http://127.0.0.1:9464"),
                    ("host", "127.0.0.1:9464"),
                ],
                true,
            ),
            (
                &[
                    ("origin", "https://console.example"),
                    ("host", "console.example"),
                ],
                true,
            ),
            // Another port is another origin, though the same site.
            (
                &[
                    ("origin", "http://127.0.0.1:3000"),
                    ("host", "127.0.0.1:9464"),
                ],
                false,
            ),
            (
                &[
                    ("origin", "http://evil.example"),
                    ("host", "127.0.0.1:9464"),
                    ("sec-fetch-site", "same-origin"),
                ],
                false,
            ),
            (&[("origin", "null"), ("host", "127.0.0.1:9464")], false),
            (&[("host", "127.0.0.1:9464")], false),
            (
                &[
                    ("host", "127.0.0.1:9464"),
                    ("sec-fetch-site", "same-origin"),
                ],
                true,
            ),
            (
                &[("host", "127.0.0.1:9464"), ("sec-fetch-site", "same-site")],
                false,
            ),
        ];
        for (rows, expected) in rows {
            let rows: Vec<_> = rows.iter().map(|(name, value)| (*name, *value)).collect();
            let map: HeaderMap = rows
                .iter()
                .map(|(name, value)| {
                    (
                        header::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                        value.parse().unwrap(),
                    )
                })
                .collect();
            assert_eq!(is_own(&map), expected, "{rows:?}");
        }
    }

    #[test]
    fn each_port_of_a_host_has_a_cookie_of_its_own() {
        for (host, name) in [
            ("127.0.0.1:9464", "hookwell_session_9464"),
            ("[::1]:9465", "hookwell_session_9465"),
            ("[::1]", "hookwell_session"),
            ("console.example", "hookwell_session"),
        ] {
            let both = "hookwell_session=plain; hookwell_session_9464=a; hookwell_session_9465=b";
            let asked = headers(&[("host", host), ("cookie", both)]);
            assert_eq!(cookie_name(&asked), name);
            let found: Vec<_> = cookies(&asked).collect();
            let (_, rest) = both.split_once(&format!("{name}=")).unwrap();
            assert_eq!(found, [rest.split(';').next().unwrap()], "{host}");
        }
    }

    #[test]
    fn sessions_end_in_time_at_logout_and_when_there_are_too_many() {
        let sessions = Sessions::new(vec![Token::new("ada", TOKEN).unwrap()]);
        assert_eq!(sessions.owner(TOKEN), Some("ada"));
        assert_eq!(sessions.owner(&TOKEN[1..]), None);
        assert_eq!(
            sessions.bearer(&headers(&[("authorization", &format!("bearer {TOKEN}"))])),
            Some("ada")
        );
        assert_eq!(sessions.bearer(&headers(&[("authorization", TOKEN)])), None);

        let cookie = headers(&[("cookie", "other=1; hookwell_session=c0")]);
        sessions.begin("ada", "c0", Micros(0));
        let (key, who) = sessions.of_cookie(&cookie, Micros(1)).unwrap();
        assert_eq!(who, "ada");
        sessions.say(&key, "done".to_owned());
        assert_eq!(sessions.said(&key).as_deref(), Some("done"));
        assert_eq!(sessions.said(&key), None);
        assert_eq!(
            sessions.of_cookie(&cookie, Micros(LIFE_SECONDS * 1_000_000)),
            None
        );
        for n in 1..=MOST {
            sessions.begin("ada", &format!("c{n}"), Micros(n as i64));
        }
        assert_eq!(
            sessions.of_cookie(&cookie, Micros(1)),
            None,
            "the oldest had to go"
        );
        let last = headers(&[("cookie", &format!("hookwell_session=c{MOST}"))]);
        let (key, _) = sessions.of_cookie(&last, Micros(1)).unwrap();
        sessions.end(&key);
        assert_eq!(sessions.of_cookie(&last, Micros(1)), None);
    }
}
