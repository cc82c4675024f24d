//! A TCP proxy in front of a server: the network between, with its faults at hand.
//!
//! Loopback only. Dropping the proxy resets its connections. [`Postgres`] and [`Amqp`] are proxies that
//! also know what is being said. Memory is bounded: a side that does not read holds up the other one.

pub mod amqp;
mod line;
pub mod postgres;

use std::sync::atomic::{AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

pub use amqp::Amqp;
pub use amqp::record::{Record, Recorder, What};
pub use postgres::{Deed, Fault, Measure, Postgres};

use line::{Filter, Line, Signals};

/// What happens to the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// They pass.
    Passes,
    /// New connections are reset; those that stand go on.
    Refuses,
    /// Connections stand and new ones are taken, but not a byte comes through. What is sent meanwhile
    /// comes late, as it does after lost packets.
    Blackhole,
    /// The same for what one side sends; the other direction goes on.
    BlackholeFrom(Side),
    /// So many bytes a second, on each connection and in each direction.
    BytesPerSecond(u32),
    /// Every piece of data comes through so much later.
    Delays(Duration),
}

impl Network {
    fn carries(self, from: Side) -> bool {
        self != Self::Blackhole && self != Self::BlackholeFrom(from)
    }
}

/// The two ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The end that connected to the proxy.
    Client,
    /// The end that the proxy stands in front of.
    Server,
}

impl Side {
    /// The end across.
    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// How a connection ends that a fault hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Both sides are told at once (RST).
    Reset,
    /// Nobody is told: it stands, and nothing comes through any more, until [`Proxy::cut`].
    Silence,
    /// Both sides see the end of the data (FIN).
    Close,
}

/// What has come through so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections that reached the server.
    pub opened: u64,
    /// Bytes that clients sent and the server's side took.
    pub from_client: u64,
    /// Bytes of the other direction.
    pub from_server: u64,
}

/// A running proxy.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// What every connection looks at.
struct Shared {
    server: AtomicU16,
    network: watch::Sender<Network>,
    cuts: watch::Sender<u64>,
    half_closes: [watch::Sender<u64>; 2],
    /// Told to filters: something for them has changed.
    pokes: watch::Sender<u64>,
    mishaps: Mutex<Mishaps>,
    standing: AtomicUsize,
    opened: AtomicU64,
    bytes: [AtomicU64; 2],
}

/// Faults that hit one connection, whichever is the first to come by.
#[derive(Default)]
struct Mishaps {
    /// Bytes from each side until the connection is cut in their midst.
    left: [Option<u64>; 2],
    answers: u32,
    ending: Option<Ending>,
}

impl Shared {
    /// How many of `count` bytes from a side may pass, and what happens behind them.
    fn allowance(&self, from: Side, count: usize) -> (usize, Option<Ending>) {
        let mut mishaps = self.mishaps.lock().unwrap();
        if from == Side::Server && 0 < mishaps.answers {
            mishaps.answers -= 1;
            return (0, mishaps.ending);
        }
        let left = &mut mishaps.left[from as usize];
        match *left {
            Some(rest) if rest <= count as u64 => {
                *left = None;
                (rest as usize, Some(Ending::Reset))
            }
            Some(rest) => {
                *left = Some(rest - count as u64);
                (count, None)
            }
            None => (count, None),
        }
    }
}

impl Proxy {
    /// Starts one in front of a port of this machine.
    pub async fn in_front_of(port: u16) -> Self {
        Self::with_filter(port, || None).await
    }

    /// Starts one whose connections pass through a filter each.
    async fn with_filter<F>(port: u16, filter: F) -> Self
    where
        F: Fn() -> Option<Box<dyn Filter>> + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            server: AtomicU16::new(port),
            network: watch::Sender::new(Network::Passes),
            cuts: watch::Sender::new(0),
            half_closes: [watch::Sender::new(0), watch::Sender::new(0)],
            pokes: watch::Sender::new(0),
            mishaps: Mutex::default(),
            standing: AtomicUsize::new(0),
            opened: AtomicU64::new(0),
            bytes: [AtomicU64::new(0), AtomicU64::new(0)],
        });
        let each = Arc::clone(&shared);
        let filter = Arc::new(filter);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                while connections.try_join_next().is_some() {}
                let (shared, filter) = (Arc::clone(&each), Arc::clone(&filter));
                connections.spawn(async move { connection(client, shared, &*filter).await });
            }
        });
        Self {
            port: own,
            shared,
            task,
        }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A URL with its port replaced by the proxy's.
    pub fn url(&self, url: &str, port: u16) -> String {
        let replaced = url.replace(&format!(":{port}/"), &format!(":{}/", self.port));
        assert_ne!(replaced, url, "the URL does not name port {port}");
        replaced
    }

    /// New connections lead to this port from now on; those that stand are not moved.
    pub fn lead_to(&self, port: u16) {
        self.shared.server.store(port, Ordering::SeqCst);
    }

    /// Changes what happens to the bytes, from now on and on every connection.
    pub fn network(&self, network: Network) {
        self.shared.network.send_replace(network);
    }

    /// Resets every connection.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|count| *count += 1);
    }

    /// Resets the connection on which the last of so many bytes has come from a client, once.
    pub fn cut_after(&self, bytes: u32) {
        self.cut_after_from(Side::Client, bytes);
    }

    /// The same for the bytes of either side: exactly so many pass, wherever that is in a message.
    pub fn cut_after_from(&self, side: Side, bytes: u32) {
        self.shared.mishaps.lock().unwrap().left[side as usize] = Some(u64::from(bytes));
    }

    /// Whether a cut of [`Self::cut_after`] is still to come.
    pub fn cut_is_due(&self) -> bool {
        self.shared.mishaps.lock().unwrap().left != [None, None]
    }

    /// The data of `side` ends here on every standing connection, as with a FIN of its own. What it still
    /// sends is thrown away; the other direction goes on.
    pub fn half_close(&self, side: Side) {
        self.shared.half_closes[side as usize].send_modify(|count| *count += 1);
    }

    /// The requests pass, but of the next `count` answers not a byte comes through, and their
    /// connections end so.
    pub fn swallow_answers(&self, count: u32, ending: Ending) {
        let mut mishaps = self.shared.mishaps.lock().unwrap();
        (mishaps.answers, mishaps.ending) = (count, Some(ending));
    }

    /// How many answers are still to be swallowed.
    pub fn answers_to_swallow(&self) -> u32 {
        self.shared.mishaps.lock().unwrap().answers
    }

    /// Forgets the cuts and the answers to swallow that are still to come.
    pub fn spare(&self) {
        *self.shared.mishaps.lock().unwrap() = Mishaps::default();
    }

    /// How many connections stand, silent ones among them.
    pub fn connections(&self) -> usize {
        self.shared.standing.load(Ordering::SeqCst)
    }

    /// What has come through so far.
    pub fn counters(&self) -> Counters {
        let bytes = |side: Side| self.shared.bytes[side as usize].load(Ordering::SeqCst);
        Counters {
            opened: self.shared.opened.load(Ordering::SeqCst),
            from_client: bytes(Side::Client),
            from_server: bytes(Side::Server),
        }
    }

    /// Lets every connection's filter look at its plan.
    fn poke(&self) {
        self.shared.pokes.send_modify(|count| *count += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Counts a connection as long as it lives, however it ends.
struct Standing(Arc<Shared>);

impl Standing {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.standing.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(shared))
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.0.standing.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn connection(
    client: TcpStream,
    shared: Arc<Shared>,
    filter: &(dyn Fn() -> Option<Box<dyn Filter>> + Send + Sync),
) {
    let _standing = Standing::new(&shared);
    let signals = Signals::of(&shared);
    let refuses = *shared.network.borrow() == Network::Refuses;
    let server = shared.server.load(Ordering::SeqCst);
    let server = match refuses {
        true => None,
        false => TcpStream::connect(("127.0.0.1", server)).await.ok(),
    };
    let Some(server) = server else {
        let _ = client.set_zero_linger();
        return;
    };
    shared.opened.fetch_add(1, Ordering::SeqCst);
    Line::new(client, server)
        .run(&shared, signals, filter())
        .await;
}
