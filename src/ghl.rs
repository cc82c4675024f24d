//! The only way to GHL's API.
//!
//! A request goes to the configured base and to nowhere else: no redirect is followed, no proxy of the
//! environment is used, an answer is cut off at a limit of bytes and of time, and an address that is private is
//! refused unless it was configured by number. What an answer means is [`Meaning`]'s; whether a call is made
//! again is not decided here. Secrets are in no error and no `Debug`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use secrecy::{ExposeSecret, SecretString};

use crate::budget::Told;
use crate::tls;

pub mod limits;
pub mod meaning;
pub mod oauth;
pub mod pages;

pub use meaning::Meaning;

/// The Version that calls are made with unless a rule says otherwise: established paths answer under it, and
/// renamed ones of v3 do not (GHL's page on versioning, and observed).
pub const VERSION: &str = "2021-07-28";

/// Where the API is, and the bounds of a call.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Scheme and authority, such as `https://services.leadconnectorhq.com`.
    pub api_base: String,
    /// From the first byte sent to the last byte read.
    pub timeout: Duration,
    /// For name, connection and TLS.
    pub connect_timeout: Duration,
    /// Bytes of an answer at most.
    pub answer_bytes: usize,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing was sent: the call had no effect.
    #[error("no connection to the API")]
    NotSent(#[source] reqwest::Error),
    /// It may have been sent: whether it had an effect is not known.
    #[error("the API gave no whole answer")]
    Unanswered(#[source] reqwest::Error),
    /// The answer is larger than may be read; the call had its effect.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The target is not at the configured base.
    #[error("{0} is not at ghl.api_base; calls go nowhere else")]
    Elsewhere(String),
    /// The client, or the request, could not be made.
    #[error("the HTTP client or its request cannot be made")]
    Client(#[source] reqwest::Error),
}

/// What is sent as the body.
#[derive(Debug, Clone)]
pub enum Body {
    /// Nothing.
    None,
    /// JSON text.
    Json(Bytes),
    /// A form, URL-encoded. Its values may be secrets.
    Form(Vec<(&'static str, SecretString)>),
}

/// A call.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: Method,
    /// Path and query below the base, beginning with a slash; or a whole URL at the base.
    pub target: String,
    /// The Version header.
    pub version: String,
    /// The access token.
    pub bearer: Option<SecretString>,
    /// The body.
    pub body: Body,
    /// How long it may take in place of [`Settings::timeout`].
    pub within: Option<Duration>,
}

/// A method of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Reads.
    Get,
    /// Makes, or does anything else.
    Post,
    /// Replaces.
    Put,
    /// Changes.
    Patch,
    /// Removes.
    Delete,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Get, Self::Post, Self::Put, Self::Patch, Self::Delete];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// Whether making the call twice is the same as making it once (RFC 9110, 9.2.2).
    pub fn is_idempotent(self) -> bool {
        matches!(self, Self::Get | Self::Put | Self::Delete)
    }
}

/// An answer, whole.
#[derive(Clone)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// What it says of the limits.
    pub told: Told,
    /// Its body.
    pub body: Bytes,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A body may be a token, or somebody's data.
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl Answer {
    /// What it means.
    pub fn meaning(&self) -> Meaning {
        Meaning::of(self.status, &self.body)
    }
}

/// The client; clones share their connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Arc<str>,
    answer_bytes: usize,
}

impl Client {
    /// A client for the configured base.
    ///
    /// # Errors
    /// [`Error::Client`].
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        tls::provide();
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(settings.timeout)
            .connect_timeout(settings.connect_timeout)
            .pool_idle_timeout(Duration::from_secs(30))
            .dns_resolver(Arc::new(PublicOnly))
            .user_agent(concat!("hookwell/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(Error::Client)?;
        Ok(Self {
            http,
            base: settings.api_base.trim_end_matches('/').into(),
            answer_bytes: settings.answer_bytes,
        })
    }

    /// Makes a call. Dropping the future may leave the call made and its answer unread: whoever must know
    /// the answer, as for a refresh token, owns the future until it ends.
    ///
    /// # Errors
    /// See [`Error`]; any answer, whatever its status, is none.
    pub async fn call(&self, request: Request) -> Result<Answer, Error> {
        let url = self.url_of(&request.target)?;
        let method = reqwest::Method::from_bytes(request.method.as_str().as_bytes())
            .unwrap_or(reqwest::Method::GET);
        let mut builder = self
            .http
            .request(method, url)
            .header("accept", "application/json")
            .header("version", request.version);
        if let Some(token) = &request.bearer {
            let mut value = reqwest::header::HeaderValue::from_str(&format!(
                "Bearer {}",
                token.expose_secret()
            ))
            .unwrap_or(reqwest::header::HeaderValue::from_static("Bearer"));
            value.set_sensitive(true);
            builder = builder.header("authorization", value);
        }
        if let Some(within) = request.within {
            builder = builder.timeout(within);
        }
        builder = match request.body {
            Body::None => builder,
            Body::Json(text) => builder
                .header("content-type", "application/json")
                .body(text),
            Body::Form(fields) => {
                let fields: Vec<_> = fields
                    .iter()
                    .map(|(name, value)| (*name, value.expose_secret()))
                    .collect();
                builder.form(&fields)
            }
        };
        let mut response = builder.send().await.map_err(failed)?;
        let status = response.status().as_u16();
        let told = {
            let headers = response.headers();
            limits::told(status, |name| headers.get(name)?.to_str().ok())
        };
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if self.answer_bytes < body.len() + chunk.len() {
                return Err(Error::TooLarge(self.answer_bytes));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer {
            status,
            told,
            body: body.freeze(),
        })
    }

    /// Where a target is. A whole URL has to be at the base: a path trick that leads to another authority
    /// does not survive being put behind it.
    fn url_of(&self, target: &str) -> Result<String, Error> {
        if target.starts_with('/') && !target.starts_with("//") {
            return Ok(format!("{}{target}", self.base));
        }
        let rest = target.strip_prefix(&*self.base);
        match rest.is_some_and(|rest| rest.starts_with('/')) {
            true => Ok(target.to_owned()),
            false => Err(Error::Elsewhere(target.chars().take(100).collect())),
        }
    }

    /// The base, for messages.
    pub fn base(&self) -> &str {
        &self.base
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

/// URLs hold ids of people: they are not for logs.
fn failed(error: reqwest::Error) -> Error {
    let error = error.without_url();
    match () {
        () if error.is_builder() => Error::Client(error),
        () if error.is_connect() => Error::NotSent(error),
        () => Error::Unanswered(error),
    }
}

/// Names lead to public addresses only, whatever a resolver says: nobody makes the daemon talk to the machine
/// it runs on or to a cloud's metadata. An address that was configured by number is asked for by nobody.
struct PublicOnly;

impl reqwest::dns::Resolve for PublicOnly {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let public: Vec<_> = found
                .into_iter()
                .filter(|address| is_public(address.ip()))
                .collect();
            if public.is_empty() {
                return Err(format!("{} has no public address", name.as_str()).into());
            }
            Ok(Box::new(public.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

fn is_public(address: IpAddr) -> bool {
    if let IpAddr::V6(v6) = address
        && let Some(within) = embedded(v6)
    {
        return is_public(IpAddr::V4(within));
    }
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_broadcast()
                || v4.is_multicast()
                || v4.is_documentation()
                // Shared address space (RFC 6598), "this network", and what is reserved.
                || (a == 100 && (64..128).contains(&b))
                // Protocols' own (RFC 6890) and benchmarks (RFC 2544).
                || v4.octets()[..3] == [192, 0, 0]
                || (a == 198 && (18..20).contains(&b))
                || a == 0
                || 240 <= a)
        }
        IpAddr::V6(v6) => {
            !(v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
                // Site-local, which was given up (RFC 3879).
                || v6.segments()[0] & 0xffc0 == 0xfec0)
        }
    }
}

/// The IPv4 address that a translator or a tunnel makes of this one: NAT64 (RFC 6052), 6to4 (RFC 3056), or the form of
/// old (RFC 4291, 2.5.5.1).
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let of = |high: u16, low: u16| {
        let ([one, two], [three, four]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(one, two, three, four)
    };
    match (a, b) {
        (0x64, 0xff9b) if [c, d, e, f] == [0; 4] => Some(of(g, h)),
        (0x2002, _) => Some(of(b, c)),
        (0, 0) if [c, d, e, f] == [0; 4] && g != 0 => Some(of(g, h)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        for address in [
            "8.8.8.8",
            "34.1.2.3",
            "100.63.0.1",
            "198.20.0.1",
            "2600:1901::1",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "255.255.255.255",
            "224.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "::7f00:1",
            "fec0::1",
            "192.0.0.8",
            "198.18.0.1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_target_is_below_the_base_or_refused() {
        let client = Client::new(&Settings {
            api_base: "https://api.example/".to_owned(),
            timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(1),
            answer_bytes: 10,
        })
        .unwrap();
        let url = |target: &str| client.url_of(target).ok();
        assert_eq!(
            url("/a/b?c=d").as_deref(),
            Some("https://api.example/a/b?c=d")
        );
        assert_eq!(
            url("https://api.example/x").as_deref(),
            Some("https://api.example/x")
        );
        for elsewhere in [
            "//evil.example/",
            "https://api.example.evil.example/",
            "https://api.example@evil.example/",
            "https://evil.example/https://api.example/",
            "http://api.example/x",
            "a/b",
            "",
        ] {
            assert_eq!(url(elsewhere), None, "{elsewhere}");
        }
    }
}
