//! One connection through the proxy: two readers, two writers, and a filter between them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::{Ending, Network, Shared, Side};

/// What knows the protocol that a connection speaks. It never waits.
pub(super) trait Filter: Send {
    /// Takes bytes that one side sent; what is to go on goes into `out`.
    fn take(&mut self, from: Side, bytes: &[u8], out: &mut Out);

    /// Is called at the start, when the plan has changed, and when [`Self::due`] has come.
    fn attend(&mut self, _out: &mut Out) {}

    /// When it wants to be called next.
    fn due(&self) -> Option<Instant> {
        None
    }
}

/// What a filter lets go on.
#[derive(Default)]
pub(super) struct Out {
    pub to_client: Vec<u8>,
    pub to_server: Vec<u8>,
    /// The connection ends so when this side has been sent everything before it.
    pub end: Option<(Side, Ending)>,
}

impl Out {
    /// The bytes on their way to one side.
    pub fn to(&mut self, side: Side) -> &mut Vec<u8> {
        match side {
            Side::Client => &mut self.to_client,
            Side::Server => &mut self.to_server,
        }
    }
}

enum Piece {
    Bytes(Instant, Vec<u8>),
    Fin,
    End(Ending),
}

/// Pieces on their way to one side; with [`READ`] or a frame as the size of one, the bound on memory.
const PIECES: usize = 64;
const READ: usize = 16 * 1024;

/// What hits connections that stand.
pub(super) struct Signals {
    cuts: watch::Receiver<u64>,
    half_closes: [watch::Receiver<u64>; 2],
}

impl Signals {
    /// From now on. Taken before the server is connected to: whoever sees the connection there may
    /// already give one.
    pub fn of(shared: &Shared) -> Self {
        let half = |side: Side| shared.half_closes[side as usize].subscribe();
        Self {
            cuts: shared.cuts.subscribe(),
            half_closes: [half(Side::Client), half(Side::Server)],
        }
    }
}

/// The two sockets. Whatever ends this value other than an orderly end resets both.
pub(super) struct Line {
    client: TcpStream,
    server: TcpStream,
    orderly: bool,
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.orderly {
            let _ = self.client.set_zero_linger();
            let _ = self.server.set_zero_linger();
        }
    }
}

/// What the parts of a running connection share.
struct Parts<'a> {
    shared: &'a Shared,
    filter: Option<Mutex<Box<dyn Filter>>>,
    to_client: Sender<Piece>,
    to_server: Sender<Piece>,
    /// Sides that take nothing any more.
    broken: [AtomicBool; 2],
    woken: Notify,
}

impl Line {
    pub fn new(client: TcpStream, server: TcpStream) -> Self {
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        Self {
            client,
            server,
            orderly: false,
        }
    }

    /// Carries bytes until the connection ends.
    pub async fn run(mut self, shared: &Shared, signals: Signals, filter: Option<Box<dyn Filter>>) {
        let Signals {
            mut cuts,
            half_closes: [client_half, server_half],
        } = signals;
        let (to_client, for_client) = channel(PIECES);
        let (to_server, for_server) = channel(PIECES);
        let parts = Parts {
            shared,
            filter: filter.map(Mutex::new),
            to_client,
            to_server,
            broken: [AtomicBool::new(false), AtomicBool::new(false)],
            woken: Notify::new(),
        };
        // Halves by reference: those that own their part send a FIN when they are dropped.
        let (from_client, into_client) = self.client.split();
        let (from_server, into_server) = self.server.split();
        let carried = async {
            tokio::try_join!(
                parts.read(Side::Client, from_client, client_half),
                parts.read(Side::Server, from_server, server_half),
                parts.write(Side::Client, into_client, for_client),
                parts.write(Side::Server, into_server, for_server),
            )
        };
        let ending = tokio::select! {
            carried = carried => carried.err().unwrap_or(Ending::Close),
            ending = parts.attend() => ending,
            _ = cuts.changed() => Ending::Reset,
        };
        drop(parts);
        match ending {
            Ending::Reset => (),
            Ending::Silence => {
                let _ = cuts.changed().await;
            }
            Ending::Close => {
                let _ = tokio::join!(self.client.shutdown(), self.server.shutdown());
                self.orderly = true;
            }
        }
    }
}

impl Parts<'_> {
    /// Reads what one side sends until it ends, and hands it on.
    async fn read(
        &self,
        from: Side,
        mut stream: ReadHalf<'_>,
        mut half_close: watch::Receiver<u64>,
    ) -> Result<(), Ending> {
        let mut network = self.shared.network.subscribe();
        let mut buffer = vec![0; READ];
        loop {
            carries(&mut network, from).await;
            let now = *network.borrow_and_update();
            let most = match now {
                Network::BytesPerSecond(rate) => (rate as usize / 50).clamp(1, READ),
                _ => READ,
            };
            let count = tokio::select! {
                read = stream.read(&mut buffer[..most]) => match read {
                    Ok(0) if !self.broken[from as usize].load(Ordering::SeqCst) => {
                        self.send(from.other(), Piece::Fin).await;
                        return Ok(());
                    }
                    Ok(0) | Err(_) => {
                        self.send(from.other(), Piece::End(Ending::Reset)).await;
                        return Ok(());
                    }
                    Ok(count) => count,
                },
                _ = network.changed() => continue,
                _ = half_close.changed() => {
                    self.send(from.other(), Piece::Fin).await;
                    while 0 < stream.read(&mut buffer).await.unwrap_or(0) {}
                    return Ok(());
                }
            };
            let mut due = Instant::now();
            match now {
                Network::Delays(delay) => due += delay,
                Network::BytesPerSecond(rate) => {
                    sleep(Duration::from_secs_f64(count as f64 / f64::from(rate))).await;
                }
                _ => (),
            }
            let bytes = &buffer[..count];
            match &self.filter {
                None => {
                    self.send(from.other(), Piece::Bytes(due, bytes.to_vec()))
                        .await
                }
                Some(filter) => {
                    let mut out = Out::default();
                    filter.lock().unwrap().take(from, bytes, &mut out);
                    self.deliver(out, due).await;
                    self.woken.notify_one();
                }
            }
        }
    }

    /// Writes to one side what is meant for it.
    async fn write(
        &self,
        to: Side,
        mut stream: WriteHalf<'_>,
        mut pieces: Receiver<Piece>,
    ) -> Result<(), Ending> {
        let mut network = self.shared.network.subscribe();
        let from = to.other();
        let broken = &self.broken[to as usize];
        while let Some(piece) = pieces.recv().await {
            if let Piece::Bytes(due, _) = piece {
                sleep_until(due).await;
            }
            // What was read before the line went dead does not come through either.
            carries(&mut network, from).await;
            match piece {
                // What this side has sent before it went away is still on its way to the other one.
                Piece::Bytes(..) if broken.load(Ordering::SeqCst) => (),
                Piece::Bytes(_, bytes) => {
                    let (count, end) = self.shared.allowance(from, bytes.len());
                    if stream.write_all(&bytes[..count]).await.is_err() {
                        broken.store(true, Ordering::SeqCst);
                    } else {
                        self.shared.bytes[from as usize].fetch_add(count as u64, Ordering::SeqCst);
                    }
                    if let Some(end) = end {
                        return Err(end);
                    }
                }
                Piece::Fin => {
                    let _ = stream.shutdown().await;
                    return Ok(());
                }
                Piece::End(ending) => return Err(ending),
            }
        }
        Ok(())
    }

    /// Lets the filter act of its own accord.
    async fn attend(&self) -> Ending {
        let Some(filter) = &self.filter else {
            return std::future::pending().await;
        };
        let mut pokes = self.shared.pokes.subscribe();
        loop {
            let mut out = Out::default();
            filter.lock().unwrap().attend(&mut out);
            self.deliver(out, Instant::now()).await;
            let due = filter.lock().unwrap().due();
            tokio::select! {
                _ = pokes.changed() => (),
                () = self.woken.notified() => (),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => (),
            }
        }
    }

    async fn deliver(&self, out: Out, due: Instant) {
        for (side, bytes) in [(Side::Server, out.to_server), (Side::Client, out.to_client)] {
            if !bytes.is_empty() {
                self.send(side, Piece::Bytes(due, bytes)).await;
            }
        }
        if let Some((behind, ending)) = out.end {
            self.send(behind, Piece::End(ending)).await;
        }
    }

    /// Whose writer has ended is sent nothing more.
    async fn send(&self, to: Side, piece: Piece) {
        let _ = match to {
            Side::Client => self.to_client.send(piece).await,
            Side::Server => self.to_server.send(piece).await,
        };
    }
}

/// Waits until what a side sends comes through.
async fn carries(network: &mut watch::Receiver<Network>, from: Side) {
    // The sender lives as long as the connection.
    let _ = network.wait_for(|network| network.carries(from)).await;
}
