//! The servers of a bench: one Postgres and one RabbitMQ that rows share, started when the first row
//! wants them, and those that a row has for itself because it harms them.

use std::process::Stdio;
use std::sync::Arc;

use tokio::sync::OnceCell;

use crate::abilities::command;
use crate::harness::store::fresh_database;
use crate::harness::{OwnService, fresh_vhost_on};

/// The shared ones.
#[derive(Default)]
pub struct Servers {
    postgres: OnceCell<Arc<OwnService>>,
    rabbitmq: OnceCell<Arc<OwnService>>,
}

/// A Postgres, and a database on it.
#[derive(Clone)]
pub struct Postgres {
    /// The server.
    pub server: Arc<OwnService>,
    /// The database's URL, straight to the server.
    pub url: String,
}

/// A RabbitMQ, and a virtual host on it.
#[derive(Clone)]
pub struct Rabbit {
    /// The server.
    pub server: Arc<OwnService>,
    /// The virtual host's URL, straight to the server.
    pub url: String,
    /// Its name.
    pub vhost: String,
}

impl Rabbit {
    /// Runs `rabbitmqctl`, which takes a second, whatever it does; what it says.
    pub async fn control(&self, arguments: &[&str]) -> String {
        let said = self.try_control(arguments).await;
        said.unwrap_or_else(|said| panic!("rabbitmqctl {arguments:?}: {said}"))
    }

    /// The same where it may fail.
    pub async fn try_control(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = command(&self.server.value("RABBITMQCTL"));
        command.arg("-q").args(arguments).stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = output.await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        }
    }

    /// Queues of this name keep to a policy from now on, such as `{"max-length":5}`.
    pub async fn policy(&self, queue: &str, definition: &str) {
        let pattern = format!("^{}$", queue.replace('.', "\\."));
        let vhost = self.vhost.as_str();
        let set = ["set_policy", "-p", vhost, queue, &pattern, definition];
        self.control(&[&set[..], &["--apply-to", "queues"]].concat())
            .await;
    }

    /// They keep to none.
    pub async fn no_policy(&self, queue: &str) {
        self.control(&["clear_policy", "-p", &self.vhost, queue])
            .await;
    }
}

impl Servers {
    /// A fresh database on the shared Postgres.
    pub async fn postgres(&self) -> Postgres {
        let start = async || Arc::new(OwnService::start("postgres").await);
        let server = Arc::clone(self.postgres.get_or_init(start).await);
        let url = fresh_database(&server.value("PG_URL")).await;
        Postgres { server, url }
    }

    /// A fresh virtual host on the shared RabbitMQ.
    pub async fn rabbit(&self) -> Rabbit {
        let start = async || Arc::new(OwnService::start("rabbitmq").await);
        let server = Arc::clone(self.rabbitmq.get_or_init(start).await);
        let fresh = fresh_vhost_on(&server).await;
        Rabbit {
            server,
            url: fresh.url,
            vhost: fresh.vhost,
        }
    }
}

/// A Postgres that a row may harm, with its data on `disk` if one is given.
pub async fn own_postgres(data: Option<&str>) -> Postgres {
    let variables: Vec<_> = data
        .map(|data| ("HOOKWELL_POSTGRES_DATA", data))
        .into_iter()
        .collect();
    let server = OwnService::start_with("postgres", &variables).await;
    let url = server.value("PG_URL");
    Postgres {
        server: Arc::new(server),
        url,
    }
}

/// A RabbitMQ that a row may harm.
pub async fn own_rabbit() -> Rabbit {
    let server = OwnService::start("rabbitmq").await;
    Rabbit {
        url: server.value("AMQP_URL"),
        vhost: "/".to_owned(),
        server: Arc::new(server),
    }
}

/// The port in a URL.
pub fn port(url: &str) -> u16 {
    let (_, rest) = url.rsplit_once(':').expect("a URL with a port");
    let port = rest.split('/').next().and_then(|port| port.parse().ok());
    port.expect("a port is a number")
}
