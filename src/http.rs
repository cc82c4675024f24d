//! Serving HTTP/1.1 with deadlines and bounds, for the public and the admin listener.
//!
//! `axum::serve` (0.8) has no read timeouts, so the connections are driven with hyper's builder: a
//! deadline for the head (hyper counts it from the moment a connection is idle, so it is the idle
//! deadline too), one for the age of a connection, a cap on their number, and limits on the head's
//! size and number of headers. What is in a request is [`webhook`]'s business.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;

pub mod oauth;
mod rate;
pub mod triggers;
pub mod webhook;

/// What a listener answers.
pub type Routes = Router;

/// Bounds of a listener.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once; more are answered 429 and closed.
    pub connections: usize,
    /// How long a new connection may be silent.
    pub first_head: Duration,
    /// From idle to the end of the next request's head.
    pub header_timeout: Duration,
    /// The age at which a connection is closed after its current request.
    pub connection_max_age: Duration,
    /// How long a request may take, from the end of its head to its answer.
    pub request: Duration,
    /// How long running requests may take to end after shutdown.
    pub drain: Duration,
    /// What a connection over the number is told to wait; a whole second at least.
    pub retry_after: Duration,
}

/// Bytes of a request's head at most.
pub const HEAD_BYTES: usize = 16 * 1024;
/// Headers of a request at most.
pub const HEADERS: usize = 64;

/// How long a connection without a request stays after shutdown: a last answer leaves in this time.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// What a connection over the cap gets: GHL retries it later.
fn over_the_cap(retry_after: Duration) -> String {
    let seconds = retry_after.as_secs();
    format!(
        "HTTP/1.1 429 Too Many Requests\r\nretry-after: {seconds}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )
}

/// Connections that the system holds until they are accepted, if it allows so many (`net.core.somaxconn`): what comes at
/// once beyond them is reset.
const BACKLOG: u32 = 4_096;

/// A listener at an address.
///
/// # Errors
/// The system's: the address is taken, is not this machine's, or may not be used.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address.is_ipv4() {
        true => TcpSocket::new_v4()?,
        false => TcpSocket::new_v6()?,
    };
    // A restart does not wait for connections of the one before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until shutdown; then stops accepting, lets running requests end, and closes.
pub async fn serve(
    listener: TcpListener,
    router: Routes,
    limits: Limits,
    metrics: Option<Metrics>,
    shutdown: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(limits.connections));
    let connections = TaskTracker::new();
    let over_the_cap = over_the_cap(limits.retry_after);
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: they come back when connections end.
                if let Some(metrics) = &metrics {
                    metrics.http_accept_errors.inc();
                }
                tracing::warn!(%error, "cannot accept a connection");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            if let Some(metrics) = &metrics {
                metrics.http_connections_refused.inc();
            }
            // A socket just accepted has room for these bytes; if not, closing says enough.
            let _ = stream.try_write(over_the_cap.as_bytes());
            continue;
        };
        let connection = Connection {
            router: router.clone(),
            limits,
            metrics: metrics.clone(),
            _place: place,
        };
        connections.spawn(connection.run(stream, shutdown.clone()));
    }
    drop(listener);
    connections.close();
    if timeout(limits.drain, connections.wait()).await.is_err() {
        tracing::warn!(
            open = connections.len(),
            "connections did not end in time and are cut"
        );
    }
}

struct Connection {
    router: Router,
    limits: Limits,
    metrics: Option<Metrics>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    async fn run(self, stream: TcpStream, shutdown: CancellationToken) {
        // Answers are small and final: waiting to fill a packet would only add latency.
        let _ = stream.set_nodelay(true);
        let mut builder = Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_timeout)
            .max_buf_size(HEAD_BYTES)
            .max_headers(HEADERS)
            .keep_alive(true);
        let requests = TaskTracker::new();
        requests.close();
        let asked = AtomicBool::new(false);
        let router = TowerToHyperService::new(self.router);
        let service = service_fn(|request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            let running = requests.token();
            let answer = router.call(request);
            async move {
                let answer = answer.await;
                drop(running);
                answer
            }
        });
        let serving = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(serving);
        if let Some(metrics) = &self.metrics {
            metrics.http_connections.inc();
        }
        let silent = async {
            sleep(self.limits.first_head).await;
            if asked.load(Ordering::Relaxed) {
                pending::<()>().await;
            }
        };
        // How a connection ended is its sender's affair; requests are counted where they are answered.
        let ended = tokio::select! {
            _ = serving.as_mut() => true,
            () = silent => true,
            () = shutdown.cancelled() => false,
            () = sleep(self.limits.connection_max_age) => false,
        };
        if !ended {
            serving.as_mut().graceful_shutdown();
            let drained = async {
                shutdown.cancelled().await;
                sleep(self.limits.drain).await;
            };
            // A request has deadlines of its own; a peer that does not read its answer has none.
            tokio::select! {
                _ = timeout(self.limits.request, serving) => (),
                () = drained => (),
                () = unused(&requests, &shutdown) => (),
            }
        }
        if let Some(metrics) = &self.metrics {
            metrics.http_connections.dec();
        }
    }
}

/// After shutdown, until there is no request: half a head is none, and whoever sends it may take as long as
/// it likes.
async fn unused(requests: &TaskTracker, shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    loop {
        requests.wait().await;
        sleep(LAST_WORDS).await;
        if requests.is_empty() {
            return;
        }
    }
}
