//! Getting a connection: several addresses, TLS, a bound on every attempt.

use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use async_compat::Compat;
use lapin::tcp::{AMQPUriTcpExt, TLSConfig};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{AsyncTcpStream, Connection, ConnectionProperties};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Cause, Error, Topology};

/// An AMQP address with its user and password; shown without them.
#[derive(Clone)]
pub struct Credentials {
    uri: AMQPUri,
}

impl Credentials {
    /// Reads an `amqp://` or `amqps://` URL.
    ///
    /// # Errors
    /// Says what is wrong with it, without repeating it: it holds a password.
    pub fn parse(url: &str) -> Result<Self, String> {
        let uri: AMQPUri = url.parse().map_err(|_| {
            "it is not an AMQP URL; write amqp://user:password@host:5672/%2f (or amqps:// for TLS)".to_owned()
        })?;
        if uri.vhost.is_empty() {
            return Err(
                "it names the empty virtual host; write %2f at its end for the default one"
                    .to_owned(),
            );
        }
        Ok(Self { uri })
    }

    /// Host and port.
    pub fn address(&self) -> String {
        format!("{}:{}", self.uri.authority.host, self.uri.authority.port)
    }

    /// Whether it crosses a network in clear.
    pub fn is_plain_and_remote(&self) -> bool {
        let host = self.uri.authority.host.as_str();
        let local = host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback());
        self.uri.scheme == AMQPScheme::AMQP && !local
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address())
    }
}

/// What the broker edge needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Addresses, tried in order.
    pub addresses: Vec<Credentials>,
    /// Certificates to trust beside the system's, as PEM.
    pub ca_pem: Option<String>,
    /// Exchange, queues and bindings.
    pub topology: Topology,
    /// Channels to spread tenants over; at least 1.
    pub channels: u16,
    /// How long a batch may wait for the next of its confirms.
    pub confirm_deadline: Duration,
    /// How long one address may take to answer, and then the declarations.
    pub connect_timeout: Duration,
    /// AMQP heartbeat, in whole seconds; silence is noticed after about twice this time.
    pub heartbeat: Duration,
}

/// Connects to the first address that answers.
pub(super) async fn connect(settings: &Settings) -> Result<(Connection, String), Error> {
    start_closer();
    let mut last = None;
    for credentials in &settings.addresses {
        let address = credentials.address();
        let opened = open(credentials, settings);
        let within = settings.connect_timeout;
        last = Some(match timeout(within, opened).await {
            Ok(Ok(connection)) => return Ok((connection, address)),
            Ok(Err(source)) => Error::Connect {
                address,
                source: Some(Cause(source)),
            },
            Err(_) => Error::no_answer(address, within),
        });
    }
    Err(last.unwrap_or_else(|| Error::Connect {
        address: "no address".to_owned(),
        source: None,
    }))
}

/// Starts the thread that async-compat closes connections on, before the first one is opened. Lapin's own thread would start
/// it when the first one breaks; where the system gives none then, it panics, and so would every later one.
fn start_closer() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        // On a thread beside the runtime: within it there is nothing to start.
        let beside = std::thread::Builder::new().spawn(|| drop(Compat::new(())));
        // Without one, no connection can be opened either.
        drop(beside.map(|beside| beside.join()));
    });
}

/// Cancel-safe: nothing of an attempt stays that nobody waits for.
///
/// lapin 4.12 leaves tasks behind where the socket cannot be had, and waits for the broker's first words on a thread of
/// its own, without an end and whoever still wants the connection. So it gets a socket that stands.
async fn open(credentials: &Credentials, settings: &Settings) -> lapin::Result<Connection> {
    let mut uri = credentials.uri.clone();
    uri.query.heartbeat = Some(u16::try_from(settings.heartbeat.as_secs()).unwrap_or(u16::MAX));
    let tls = TLSConfig {
        cert_chain: settings.ca_pem.as_deref(),
        ..TLSConfig::default()
    };
    let runtime = lapin::runtime::default_runtime()?;
    let stream = uri.connect_with_config_async(tls, &runtime).await?;
    let socket = match &stream {
        AsyncTcpStream::Plain(plain) => again(plain.get_ref())?,
        AsyncTcpStream::Rustls(tls) => again(tls.get_ref().0.get_ref())?,
        _ => return Err(io::Error::from(io::ErrorKind::Unsupported).into()),
    };
    let attempt = Attempt(Some(socket));
    let properties = ConnectionProperties::default().with_connection_name("hookwell".into());
    let stream = Mutex::new(Some(stream));
    let once = async move |_, _| {
        let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
        stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected).into())
    };
    let connection = Connection::connector(uri, runtime, once, properties).await?;
    attempt.succeeded();
    Ok(connection)
}

/// The same socket once more.
fn again(stream: &TcpStream) -> io::Result<std::net::TcpStream> {
    Ok(stream.as_fd().try_clone_to_owned()?.into())
}

/// The socket of a connection that is being opened; dropped, it shuts that down.
struct Attempt(Option<std::net::TcpStream>);

impl Attempt {
    /// The socket is the connection's alone from now on.
    fn succeeded(mut self) {
        self.0 = None;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(socket) = &self.0 {
            // It may be closed already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}
