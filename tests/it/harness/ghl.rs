//! Plays GHL: makes bodies, signs them, posts them over plain HTTP/1.1 and reads the answers.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hookwell::event::samples::{self, SampleContext};
use hookwell::signature::SigningKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Daemon;

/// The app that every test's daemon is configured for.
pub const APP_ID: &str = "0123456789abcdef01234567";
/// Its webhook path.
pub const PATH: &str = "/webhooks/ghl";

/// How long any answer may take; longer than every deadline a test gives the daemon.
const PATIENCE: Duration = Duration::from_secs(60);

/// A sender with a key of its own.
pub struct Ghl {
    /// The key it signs with; a test's daemon trusts its public half.
    pub key: SigningKey,
    /// The app it sends for.
    pub app_id: String,
}

impl Ghl {
    /// The sender that every test's daemon trusts.
    pub fn new() -> Self {
        Self::with_seed([7; 32])
    }

    /// A sender with another key.
    pub fn with_seed(seed: [u8; 32]) -> Self {
        Self {
            key: SigningKey::from_seed(seed),
            app_id: APP_ID.to_owned(),
        }
    }

    /// A realistic body, with a `webhookId` of its own.
    pub fn body(&self, event_type: &str, tenant: &str, n: u64) -> Vec<u8> {
        self.body_with_id(event_type, tenant, n, &uuid::Uuid::new_v4().to_string())
    }

    /// A realistic body with this `webhookId`.
    pub fn body_with_id(&self, event_type: &str, tenant: &str, n: u64, id: &str) -> Vec<u8> {
        let context = SampleContext {
            webhook_id: id.to_owned(),
            timestamp_rfc3339: "2026-01-31T12:00:00.000Z".to_owned(),
            app_id: self.app_id.clone(),
            company_id: "Company0000000000001".to_owned(),
            location_id: tenant.to_owned(),
            n,
        };
        samples::body(event_type, &context)
            .unwrap_or_else(|| panic!("there is no sample of {event_type}"))
    }

    /// The headers that GHL sends with `body`.
    pub fn headers(&self, body: &[u8]) -> Vec<(String, String)> {
        vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("x-ghl-signature".to_owned(), self.key.sign_base64(body)),
        ]
    }

    /// Posts a signed body on a connection of its own.
    pub async fn post(&self, daemon: &Daemon, body: &[u8]) -> Answer {
        self.post_to(daemon, PATH, body).await
    }

    /// The same to another path.
    pub async fn post_to(&self, daemon: &Daemon, path: &str, body: &[u8]) -> Answer {
        let mut client = Client::connect(daemon.address()).await.unwrap();
        client
            .request("POST", path, &self.headers(body), body)
            .await
            .unwrap()
    }

    /// A connection for many posts.
    pub async fn client(&self, daemon: &Daemon) -> Client {
        Client::connect(daemon.address()).await.unwrap()
    }

    /// The bytes of a whole signed request, for tests that write them in their own way.
    pub fn request_bytes(&self, path: &str, body: &[u8]) -> Vec<u8> {
        request_bytes("POST", path, &self.headers(body), body)
    }
}

/// Posts to a URL such as `http://127.0.0.1:8080/webhooks/ghl` with these headers and no others but
/// `host` and `content-length`.
pub async fn post_raw(url: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let (address, path) = split(url);
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let mut client = Client::connect(address).await.unwrap();
    client.request("POST", path, &headers, body).await.unwrap()
}

/// Gets a URL.
pub async fn get(url: &str) -> io::Result<Answer> {
    let (address, path) = split(url);
    Client::connect(address)
        .await?
        .request("GET", path, &[], &[])
        .await
}

fn split(url: &str) -> (SocketAddr, &str) {
    let rest = url.strip_prefix("http://").unwrap();
    let slash = rest.find('/').unwrap_or(rest.len());
    let path = if slash == rest.len() {
        "/"
    } else {
        &rest[slash..]
    };
    (rest[..slash].parse().unwrap(), path)
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Headers by lower-case name.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// One persistent connection; requests go one after the other.
pub struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            read: Vec::new(),
        })
    }

    /// Posts a signed body to the usual path.
    pub async fn post(&mut self, ghl: &Ghl, body: &[u8]) -> io::Result<Answer> {
        self.request("POST", PATH, &ghl.headers(body), body).await
    }

    /// Sends a request and reads its answer.
    pub async fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: &[u8],
    ) -> io::Result<Answer> {
        self.exchange(&request_bytes(method, path, headers, body))
            .await
    }

    /// Sends the bytes of a request and reads its answer.
    pub async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        let written = self.write(request).await;
        // A server may answer and close before it has read everything.
        match self.answer().await {
            Ok(answer) => Ok(answer),
            Err(error) => Err(written.err().unwrap_or(error)),
        }
    }

    /// Writes bytes as they are.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        timeout(PATIENCE, self.stream.write_all(bytes)).await?
    }

    /// Says that nothing more comes, and keeps reading.
    pub async fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// Reads one answer.
    pub async fn answer(&mut self) -> io::Result<Answer> {
        timeout(PATIENCE, self.read_answer()).await?
    }

    /// Reads until the server closes; returns what came. An end by reset counts as a close.
    pub async fn until_closed(&mut self, within: Duration) -> io::Result<Vec<u8>> {
        timeout(within, async {
            while let Ok(true) = self.read_more().await {}
        })
        .await?;
        Ok(std::mem::take(&mut self.read))
    }

    /// Whether the server has closed; false when it says nothing for `within`.
    pub async fn is_closed(&mut self, within: Duration) -> bool {
        self.until_closed(within).await.is_ok()
    }

    async fn read_more(&mut self) -> io::Result<bool> {
        let mut room = [0; 16 * 1024];
        let count = self.stream.read(&mut room).await?;
        self.read.extend_from_slice(&room[..count]);
        Ok(count > 0)
    }

    async fn read_answer(&mut self) -> io::Result<Answer> {
        let broken = |what: &str| io::Error::new(io::ErrorKind::UnexpectedEof, what.to_owned());
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            if !self.read_more().await? {
                return Err(broken("closed before an answer"));
            }
        };
        let head = String::from_utf8_lossy(&self.read[..end]).into_owned();
        self.read.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1)?.parse().ok())
            .ok_or_else(|| broken("no status line"))?;
        let headers: BTreeMap<_, _> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_owned()))
            .collect();
        let length = match headers.get("content-length") {
            Some(length) => length.parse().map_err(|_| broken("content-length"))?,
            None => 0,
        };
        while self.read.len() < length {
            if !self.read_more().await? {
                return Err(broken("closed within an answer"));
            }
        }
        let body = self.read.drain(..length).collect();
        Ok(Answer {
            status,
            headers,
            body,
        })
    }
}

/// A request's bytes, with `host` and `content-length` added.
pub fn request_bytes(
    method: &str,
    path: &str,
    headers: &[(String, String)],
    body: &[u8],
) -> Vec<u8> {
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nhost: hookwell.test\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(body);
    bytes
}
