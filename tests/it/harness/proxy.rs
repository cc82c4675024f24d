//! A TCP proxy in front of a server: the network between, with its faults at hand.
//!
//! Loopback only. Dropping the proxy drops its connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

/// What happens to the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// They pass.
    Passes,
    /// New connections are reset; those that stand go on.
    Refuses,
    /// Connections stand and new ones are taken, but not a byte comes through.
    Blackhole,
    /// So many bytes a second, on each connection and in each direction.
    BytesPerSecond(u32),
    /// Every piece of data waits this long before it goes on.
    Delays(Duration),
}

/// A running proxy.
pub struct Proxy {
    port: u16,
    network: watch::Sender<Network>,
    cuts: watch::Sender<u64>,
    /// Bytes from clients until the connection is cut in their midst; negative when that is off.
    left: Arc<AtomicI64>,
    open: Arc<()>,
    task: JoinHandle<()>,
}

/// What every connection looks at.
#[derive(Clone)]
struct Weather {
    network: watch::Receiver<Network>,
    cuts: watch::Receiver<u64>,
    left: Arc<AtomicI64>,
}

const OFF: i64 = -1;

impl Proxy {
    /// Starts one in front of a port of this machine.
    pub async fn in_front_of(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (network, seen) = watch::channel(Network::Passes);
        let (cuts, cut) = watch::channel(0);
        let left = Arc::new(AtomicI64::new(OFF));
        let weather = Weather {
            network: seen,
            cuts: cut,
            left: Arc::clone(&left),
        };
        let open = Arc::new(());
        let each = Arc::clone(&open);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                while connections.try_join_next().is_some() {}
                let (weather, counted) = (weather.clone(), Arc::clone(&each));
                connections.spawn(async move {
                    connection(client, port, weather).await;
                    drop(counted);
                });
            }
        });
        Self {
            port: own,
            network,
            cuts,
            left,
            open,
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

    /// Changes what happens to the bytes, from now on and on every connection.
    pub fn network(&self, network: Network) {
        self.network.send_replace(network);
    }

    /// Resets every connection.
    pub fn cut(&self) {
        self.cuts.send_modify(|count| *count += 1);
    }

    /// Resets the connection on which the last of so many bytes has come from a client, once.
    pub fn cut_after(&self, bytes: u32) {
        self.left.store(i64::from(bytes), Ordering::SeqCst);
    }

    /// How many connections stand.
    pub fn connections(&self) -> usize {
        // One count is this value's own, one is the listener's.
        Arc::strong_count(&self.open) - 2
    }

    /// Whether the cut of [`Self::cut_after`] is still to come.
    pub fn cut_is_due(&self) -> bool {
        0 <= self.left.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connection(client: TcpStream, port: u16, weather: Weather) {
    let mut cuts = weather.cuts.clone();
    cuts.mark_unchanged();
    // From here on, every way out that does not end in a shutdown of both sides is a reset.
    let _ = client.set_zero_linger();
    if *weather.network.borrow() == Network::Refuses {
        return;
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
        return;
    };
    let _ = server.set_zero_linger();
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let passed = async {
        tokio::try_join!(
            pump(from_client, to_server, weather.clone(), true),
            pump(from_server, to_client, weather.clone(), false),
        )
    };
    tokio::select! {
        _ = passed => (),
        _ = cuts.changed() => (),
    }
}

/// The count of bytes until a cut has been used up.
struct Cut;

/// Takes what it read to the other side, until one of them ends.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: Weather,
    counted: bool,
) -> Result<(), Cut> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let open = |network: &Network| *network != Network::Blackhole;
        if weather.network.wait_for(open).await.is_err() {
            return Ok(());
        }
        let network = *weather.network.borrow();
        let most = match network {
            Network::BytesPerSecond(rate) => (rate as usize / 50).clamp(1, buffer.len()),
            _ => buffer.len(),
        };
        let count = tokio::select! {
            read = from.read(&mut buffer[..most]) => match read {
                Ok(0) | Err(_) => break,
                Ok(count) => count,
            },
            _ = weather.network.changed() => continue,
        };
        match network {
            Network::Delays(delay) => sleep(delay).await,
            Network::BytesPerSecond(rate) => {
                sleep(Duration::from_secs_f64(count as f64 / f64::from(rate))).await;
            }
            _ => (),
        }
        // What was read before the line went dead does not come through either.
        if weather.network.wait_for(open).await.is_err() {
            return Ok(());
        }
        let left = weather.left.load(Ordering::SeqCst);
        let ends_here = counted && 0 <= left && left <= count as i64;
        let passing = if ends_here { left as usize } else { count };
        if to.write_all(&buffer[..passing]).await.is_err() {
            break;
        }
        if ends_here {
            weather.left.store(OFF, Ordering::SeqCst);
            return Err(Cut);
        }
        if counted && 0 <= left {
            weather.left.fetch_sub(passing as i64, Ordering::SeqCst);
        }
    }
    let _ = to.shutdown().await;
    Ok(())
}
