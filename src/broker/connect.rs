//! Getting a connection: several addresses, TLS, a bound on every attempt.

use std::fmt;
use std::time::Duration;

use lapin::tcp::OwnedTLSConfig;
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Connection, ConnectionProperties};
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
    let mut last = None;
    for credentials in &settings.addresses {
        let address = credentials.address();
        let mut uri = credentials.uri.clone();
        uri.query.heartbeat = Some(u16::try_from(settings.heartbeat.as_secs()).unwrap_or(u16::MAX));
        let tls = OwnedTLSConfig {
            identity: None,
            cert_chain: settings.ca_pem.clone(),
        };
        let properties = ConnectionProperties::default().with_connection_name("hookwell".into());
        let Ok(runtime) = lapin::runtime::default_runtime() else {
            continue;
        };
        let attempt = Connection::connect_uri_with_config(uri, properties, tls, runtime);
        match timeout(settings.connect_timeout, attempt).await {
            Ok(Ok(connection)) => return Ok((connection, address)),
            Ok(Err(source)) => {
                last = Some(Error::Connect {
                    address,
                    source: Some(Cause(source)),
                })
            }
            Err(_) => {
                last = Some(Error::Connect {
                    address,
                    source: None,
                })
            }
        }
    }
    Err(last.unwrap_or_else(|| Error::Connect {
        address: "no address".to_owned(),
        source: None,
    }))
}
