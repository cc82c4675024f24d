//! A connection's bytes, as they are: the daemon's own listener, routes, writer and a SQLite file, on
//! loopback.
//!
//! No input gets more answers than it has requests, none is read behind a refusal that ends the
//! connection, there is one kind of 2xx and no 3xx or 5xx, and the log holds only what is signed.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use hookwell::clock;
use hookwell::config::Config;
use hookwell::event::Position;
use hookwell::feed::Feed;
use hookwell::http::{self, webhook};
use hookwell::ingest::{Ingest, Writer};
use hookwell::metrics::Metrics;
use hookwell::quarantine::Keeper;
use hookwell::signature::{SignatureHeaders, SigningKey, Verifier};
use hookwell::store::{Access, SqliteStore, Store};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

/// No answer takes as long; the daemon's own deadlines are shorter.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the sender stays after its last byte, unless answers come. One that is gone is not
/// answered while its event is being committed.
const LINGER: Duration = Duration::from_millis(5);

const THREAD: &str = "fuzzed-server";
static PANICKED: AtomicBool = AtomicBool::new(false);
static SERVER: LazyLock<Server> = LazyLock::new(Server::start);

struct Server {
    runtime: Runtime,
    address: SocketAddr,
    store: Arc<dyn Store>,
    verifier: Verifier,
    metrics: Metrics,
    folder: PathBuf,
    accepted: AtomicU64,
    checked: Mutex<i64>,
}

impl Server {
    fn start() -> Self {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if std::thread::current().name() == Some(THREAD) {
                PANICKED.store(true, Ordering::SeqCst);
            }
            usual(info);
        }));
        let folder = std::env::temp_dir().join(format!("hookwell-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let key = SigningKey::from_seed([7; 32]).public_key_pem();
        let file = format!(
            "store.url = {:?}\nsignature.ed25519_keys = [{key:?}]\n\
             http = {{ max_body = \"16KiB\", body_timeout = \"200ms\", header_timeout = \"200ms\" }}\n\
             apps = [{{ id = \"0123456789abcdef01234567\", path = \"/webhooks/ghl\" }}]\n",
            format!("sqlite://{}/log.db", folder.display())
        );
        let config = Config::read(Some(("fuzz.toml", &file)), std::iter::empty()).unwrap();
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name(THREAD)
            .enable_all()
            .build()
            .unwrap();
        let (metrics, clock) = (Metrics::new(), clock::system());
        let verifier = config.verifier.clone();
        let (address, store) = runtime.block_on(async {
            let store = SqliteStore::open(&config.store.url, Access::Exclusive)
                .await
                .unwrap();
            store.migrate().await.unwrap();
            let store: Arc<dyn Store> = Arc::new(store);
            let never = CancellationToken::new();
            let (handle, writer) = Writer::new(
                Arc::clone(&store),
                config.http.waiting,
                config.http.commit_deadline / 2,
                config.store.batch,
                Arc::new(Feed::new(0, 0)),
                metrics.clone(),
            );
            let (quarantine, keeper) =
                Keeper::new(Arc::clone(&store), config.quarantine, metrics.clone());
            let ingest = Ingest::new(
                config.verifier,
                config.apps,
                handle,
                config.http.commit_deadline,
                Arc::clone(&clock),
                metrics.clone(),
                hookwell::spans::Spans::none(&metrics),
            );
            let routes = webhook::router(
                ingest,
                None,
                quarantine,
                config.http.requests,
                Arc::default(),
                clock,
                metrics.clone(),
            );
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            let counted = Some(metrics.clone());
            tokio::spawn(writer.run(never.clone()));
            tokio::spawn(keeper.run(never.clone()));
            tokio::spawn(http::serve(
                listener,
                routes,
                config.http.connections,
                counted,
                never,
            ));
            (address, store)
        });
        Self {
            runtime,
            address,
            store,
            verifier,
            metrics,
            folder,
            accepted: AtomicU64::new(0),
            checked: Mutex::new(0),
        }
    }

    /// What came back until the connection ended.
    fn converse(&self, data: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(data);
        let mut answers = vec![0; 64 * 1024];
        stream.set_read_timeout(Some(LINGER)).unwrap();
        let first = stream.read(&mut answers);
        let _ = stream.shutdown(Shutdown::Write);
        answers.truncate(first.as_ref().copied().unwrap_or(0));
        if !matches!(first, Ok(0)) {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let ended = stream.read_to_end(&mut answers);
            // A reset is an end too.
            let hangs = ended.is_err_and(|error| {
                matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                )
            });
            assert!(!hangs, "the connection stays open without its sender");
        }
        answers
    }

    /// Looks at what is new in the log.
    fn check_log(&self) {
        let mut checked = self.checked.lock().unwrap();
        let events = ["new", "duplicate", "altered"]
            .map(|outcome| self.metrics.events.with_label_values(&[outcome]).get());
        let answered = self.accepted.load(Ordering::SeqCst);
        assert!(
            answered <= events.iter().sum(),
            "{answered} times 200, {events:?}"
        );
        loop {
            let next = self.store.event_at(Position(*checked + 1));
            let Some(recorded) = self.runtime.block_on(next).unwrap() else {
                return;
            };
            *checked += 1;
            let event = recorded.event;
            let signature = event.signature.unwrap();
            let headers = SignatureHeaders {
                ghl: &[signature.as_bytes()],
                legacy: &[],
            };
            assert!(self.verifier.verify(&event.body, &headers).is_ok());
        }
    }
}

/// Sends the bytes on a connection of their own; whether something was accepted.
pub fn run(data: &[u8]) -> bool {
    let server = &*SERVER;
    let answers = server.converse(data);
    assert!(!PANICKED.load(Ordering::SeqCst), "the server panicked");

    let statuses = statuses(&answers);
    // A `Continue` goes before an answer.
    let finals: Vec<_> = statuses.iter().filter(|status| **status != 100).collect();
    let requests = count(data, b"HTTP/1.");
    let by_parser = |status: &u16| matches!(status, 400 | 414 | 431);
    let served = finals.iter().filter(|status| !by_parser(status)).count();
    assert!(served <= requests, "{statuses:?} to {requests} requests");
    assert!(
        finals.len() <= requests + 1,
        "{statuses:?} to {requests} requests"
    );
    for (n, status) in finals.iter().enumerate() {
        let known = [200, 400, 401, 403, 404, 405, 408, 413, 414, 415, 429, 431];
        assert!(known.contains(status), "{statuses:?}");
        let is_last = n + 1 == finals.len();
        let ends = matches!(status, 400 | 408 | 413 | 414 | 431);
        assert!(is_last || !ends, "{statuses:?}: answers after the end");
    }
    let accepted = finals.iter().filter(|status| ***status == 200).count();
    if accepted > 0 {
        server.accepted.fetch_add(accepted as u64, Ordering::SeqCst);
        server.check_log();
    }
    accepted > 0
}

/// Removes the files of the server, which goes with the process.
pub fn remove_files() {
    let _ = std::fs::remove_dir_all(&SERVER.folder);
}

/// The status of every answer; no body of ours holds a status line.
fn statuses(answers: &[u8]) -> Vec<u16> {
    let text = std::str::from_utf8(answers).unwrap();
    let lines = text.split("HTTP/1.").skip(1);
    lines.map(|line| line[2..5].parse().unwrap()).collect()
}

fn count(data: &[u8], part: &[u8]) -> usize {
    data.windows(part.len())
        .filter(|window| *window == part)
        .count()
}
