//! Assembly: from a configuration to parts, from parts to tasks, and their end in the right order.
//!
//! No business rules. The one clock is made here and handed down.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::{self, Console, Readiness};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::disk;
use crate::event::backfill::Kind;
use crate::feed::Feed;
use crate::follow_up::tokens::{self, missing_key};
use crate::follow_up::{Planner, Runner, Tokens, Watch};
use crate::http::oauth::{self, Door, Oauth};
use crate::http::triggers::{self, Triggers};
use crate::http::{self, webhook};
use crate::ingest::{self, Ingest, Writer};
use crate::key_file::{self, KeyFile};
use crate::metrics::Metrics;
use crate::observe::History;
use crate::quarantine::Keeper;
use crate::relay::Relay;
use crate::retry::Delays;
use crate::spans::Spans;
use crate::store::{self, Access, Migrated, PostgresStore, SqliteStore, Store};
use crate::supervisor::{Exit, Supervisor};
use crate::telemetry::Chain;
use crate::{census, chance, clock, ghl, observe, retention};

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store could not be opened, or must not be used.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The keys that seal tokens cannot be had.
    #[error("the keys that seal tokens cannot be used (ghl.token_keys_file)")]
    Keys(#[from] key_file::Error),
    /// Stored tokens do not open.
    #[error(
        "stored tokens are sealed with the key {key}, which is not in {path} (ghl.token_keys_file): put its line back; \
         without it every app has to be authorised again"
    )]
    KeyMissing {
        /// The key's name.
        key: String,
        /// The file.
        path: String,
    },
    /// The way to the API cannot be made.
    #[error(transparent)]
    Client(#[from] ghl::Error),
    /// An address could not be listened on.
    #[error("cannot listen on {address} ({key})")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// The key it comes from.
        key: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Opens the store for a daemon or a migration, and migrates it.
///
/// A database that does not answer is tried again until `store.connect_timeout`; one that must not be
/// used is an error at once.
pub async fn open_store(
    settings: &config::Store,
) -> Result<(Arc<dyn Store>, Migrated), store::Error> {
    if settings.url.starts_with("sqlite:") {
        let store = SqliteStore::open(&settings.url, Access::Exclusive).await?;
        let migrated = store.migrate().await?;
        return Ok((Arc::new(store), migrated));
    }
    let give_up = Instant::now() + settings.connect_timeout;
    let mut delays = Delays::new(Duration::from_millis(200), Duration::from_secs(2));
    loop {
        let opened = async {
            let store = PostgresStore::open(&settings.url, settings.statement_timeout).await?;
            let migrated = store.migrate().await?;
            Ok((Arc::new(store) as Arc<dyn Store>, migrated))
        };
        match opened.await {
            Err(error @ (store::Error::Unavailable(_) | store::Error::Deadline(_)))
                if Instant::now() < give_up =>
            {
                let delay = delays.next_delay();
                tracing::warn!(
                    error = %Chain(&error), retry_in_ms = delay.as_millis() as u64,
                    "Postgres does not answer yet"
                );
                sleep(delay).await;
            }
            other => return other,
        }
    }
}

/// Opens the store for a command beside a running daemon; changes no schema.
pub async fn open_store_beside(settings: &config::Store) -> Result<Arc<dyn Store>, store::Error> {
    if settings.url.starts_with("sqlite:") {
        let store = SqliteStore::open(&settings.url, Access::Shared).await?;
        store.schema().await?;
        return Ok(Arc::new(store));
    }
    let store = PostgresStore::open(&settings.url, settings.statement_timeout).await?;
    store.schema().await?;
    Ok(Arc::new(store))
}

/// Opens the SQLite file for a command that keeps daemons out; changes no schema.
pub async fn open_file_alone(settings: &config::Store) -> Result<Arc<SqliteStore>, store::Error> {
    let store = SqliteStore::open(&settings.url, Access::Alone).await?;
    store.schema().await?;
    Ok(Arc::new(store))
}

/// How long a connection of the admin listener may be idle.
const ADMIN_IDLE: Duration = Duration::from_secs(150);

/// Runs the daemon until `shutdown`.
///
/// # Errors
/// When it cannot start. Once it runs, [`Exit`] says how it ended.
pub async fn serve(config: Config, shutdown: CancellationToken) -> Result<Exit, Error> {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let (store, Migrated { ran, schema }) = open_store(&config.store).await?;
    if ran > 0 {
        tracing::info!(
            migrations = ran,
            "the store's schema was brought up to date"
        );
    }
    if schema.is_newer() {
        tracing::warn!(
            schema = schema.version,
            known = schema.known,
            "the store's schema is newer than this hookwell's, and lets it run"
        );
    }
    let keys = match &config.calls {
        Some(settings) => Some(open_keys(&settings.key_file, store.as_ref()).await?),
        None => None,
    };
    let public = listen(config.http.listen, "http.listen").await?;
    let private = listen(config.admin.listen, "admin.listen").await?;

    let clock = clock::system();
    let metrics = Metrics::new();
    let (room, disk) = disk::Watcher::new(
        Arc::clone(&store),
        config.store.disk_reserve,
        metrics.clone(),
    );
    let readiness = Arc::new(Readiness::new(Arc::clone(&room)));
    let history = Arc::new(History::default());
    let deeds = TaskTracker::new();
    let console = Console::new(
        &config,
        admin::Parts {
            store: Arc::clone(&store),
            metrics: metrics.clone(),
            history: Arc::clone(&history),
            deeds: deeds.clone(),
            clock: Arc::clone(&clock),
            chance: chance::system(),
        },
    );
    let feed = Arc::new(Feed::new(
        usize::try_from(config.relay.window).unwrap_or(usize::MAX),
        usize::try_from(config.relay.window_bytes).unwrap_or(usize::MAX),
    ));
    let (writer_handle, writer) = Writer::new(
        Arc::clone(&store),
        config.http.waiting,
        config.http.commit_deadline / 2,
        config.store.batch,
        Arc::clone(&feed),
        metrics.clone(),
    );
    let (spans, exporter) = Spans::new(config.trace, &metrics);
    let calls = match config.calls.zip(keys) {
        Some((settings, keys)) => {
            let (store, writer) = (Arc::clone(&store), writer_handle.clone());
            let (clock, metrics) = (Arc::clone(&clock), metrics.clone());
            let spans = spans.clone();
            Some(Calls::new(
                settings, keys, store, writer, clock, metrics, spans,
            )?)
        }
        None => None,
    };
    let planner = match &calls {
        Some(calls) => calls.planner(config.repair.first_sync.clone()),
        // Installations are followed in any case.
        None => Planner {
            store: Arc::clone(&store),
            rules: Arc::default(),
            apps: Vec::new(),
            first_sync: Vec::new(),
            wake: Arc::default(),
            clock: Arc::clone(&clock),
            metrics: metrics.clone(),
        },
    };
    let watch = Watch {
        store: Arc::clone(&store),
        writer: writer_handle.clone(),
        room: Arc::clone(&room),
        repair: config.repair,
        apps: match &calls {
            Some(calls) => calls.oauth.apps.keys().cloned().collect(),
            None => Vec::new(),
        },
        clock: Arc::clone(&clock),
        metrics: metrics.clone(),
    };
    let (quarantine, keeper) = Keeper::new(Arc::clone(&store), config.quarantine, metrics.clone());
    let ingest = Ingest::new(
        config.verifier,
        config.apps,
        writer_handle,
        config.http.commit_deadline,
        Arc::clone(&clock),
        metrics.clone(),
        spans.clone(),
    );
    let beside = calls.as_ref().map(|calls| {
        oauth::router(Arc::clone(&calls.oauth)).merge(triggers::router(Arc::clone(&calls.triggers)))
    });
    let routes = webhook::router(
        ingest,
        beside,
        quarantine,
        config.http.requests,
        room,
        Arc::clone(&clock),
        metrics.clone(),
    );
    let relay = Relay {
        store: Arc::clone(&store),
        settings: config.relay,
        feed,
        clock: Arc::clone(&clock),
        metrics: metrics.clone(),
        spans,
    };

    // Requests end first, then the writer behind them: a request that was let in is answered.
    let requests_done = CancellationToken::new();
    let mut supervisor = Supervisor::new(shutdown.clone(), config.grace);
    let (done, stop, limits, counted) = (
        requests_done.clone(),
        shutdown.clone(),
        config.http.connections,
        metrics.clone(),
    );
    supervisor.spawn("http", async move {
        http::serve(public, routes, limits, Some(counted), stop).await;
        done.cancel();
    });
    let admin_limits = http::Limits {
        connections: 64,
        drain: Duration::from_secs(1),
        // A Prometheus that looks once a minute keeps its connection, also where there are no descriptors for another.
        header_timeout: ADMIN_IDLE,
        ..limits
    };
    let admin_routes = admin::router(metrics.clone(), Arc::clone(&readiness), console);
    // Probes are answered until the requests are done: an orchestrator asks for readiness meanwhile.
    let stop = requests_done.clone();
    supervisor.spawn("admin", async move {
        http::serve(private, admin_routes, admin_limits, None, stop).await;
        // What a person asked for at the console is done before the store is closed.
        deeds.close();
        deeds.wait().await;
    });
    // Requests append, and calls their answers.
    let calls_done = CancellationToken::new();
    let (requests, follow_ups) = (requests_done.clone(), calls_done.clone());
    supervisor.spawn("writer", async move {
        let done = CancellationToken::new();
        let last = async {
            requests.cancelled().await;
            follow_ups.cancelled().await;
            done.cancel();
        };
        tokio::join!(writer.run(done.clone()), last);
    });
    let answered = requests_done.clone();
    supervisor.spawn("quarantine", keeper.run(requests_done));
    supervisor.spawn("relay", relay.run(shutdown.clone()));
    supervisor.spawn("planner", planner.run(shutdown.clone()));
    supervisor.spawn("watch", watch.run(shutdown.clone()));
    if let Some(calls) = calls {
        // A refresh may begin while requests and calls end: it is waited for when both have.
        let (deeds, tokens, runner) = (calls.oauth.deeds.clone(), calls.tokens, calls.runner);
        let (done, stop) = (calls_done.clone(), shutdown.clone());
        let answered_all = calls_done.clone();
        supervisor.spawn("runner", async move {
            runner.run(stop).await;
            done.cancel();
        });
        supervisor.spawn("tokens", async move {
            answered.cancelled().await;
            deeds.close();
            deeds.wait().await;
            tokens.run(answered_all).await;
        });
    } else {
        calls_done.cancel();
    }
    if let Some(exporter) = exporter {
        supervisor.spawn("spans", exporter.run(calls_done));
    }
    supervisor.spawn(
        "retention",
        retention::run(
            Arc::clone(&store),
            config.retention.clone(),
            Arc::clone(&clock),
            metrics.clone(),
            shutdown.clone(),
        ),
    );
    supervisor.spawn(
        "census",
        census::run(
            Arc::clone(&store),
            Arc::clone(&clock),
            metrics.clone(),
            shutdown.clone(),
        ),
    );
    supervisor.spawn("disk", disk.run(shutdown.clone()));
    let (kept, stop) = (Arc::clone(&store), shutdown.clone());
    supervisor.spawn("upkeep", async move {
        tokio::select! {
            () = stop.cancelled() => (),
            () = kept.upkeep() => (),
        }
    });
    supervisor.spawn(
        "observe",
        observe::run(
            Arc::clone(&store),
            readiness,
            clock,
            metrics,
            history,
            shutdown,
        ),
    );
    let exit = supervisor.run().await;
    store.close().await;
    Ok(exit)
}

/// The keys that seal tokens, with one for each that is stored.
async fn open_keys(path: &Path, store: &dyn Store) -> Result<Arc<KeyFile>, Error> {
    let keys = KeyFile::open(path.to_owned())?;
    match missing_key(store, &keys).await? {
        None => Ok(Arc::new(keys)),
        Some(key) => Err(Error::KeyMissing {
            key,
            path: path.display().to_string(),
        }),
    }
}

/// What makes calls of GHL's API.
struct Calls {
    oauth: Arc<Oauth>,
    triggers: Arc<Triggers>,
    tokens: Arc<Tokens>,
    runner: Runner,
}

impl Calls {
    fn new(
        settings: config::Calls,
        keys: Arc<KeyFile>,
        store: Arc<dyn Store>,
        writer: ingest::Handle,
        clock: Clock,
        metrics: Metrics,
        spans: Spans,
    ) -> Result<Self, Error> {
        let client = ghl::Client::new(&settings.client)?;
        let chance = chance::system();
        let credentials = settings.apps.iter();
        let credentials = credentials.map(|(id, app)| (id.clone(), app.credentials.clone()));
        let tokens = Tokens::new(
            Arc::clone(&store),
            client.clone(),
            tokens::Apps {
                credentials: credentials.collect(),
                limits: settings.follow_ups.limits,
            },
            keys,
            Arc::clone(&clock),
            Arc::clone(&chance),
            metrics.clone(),
        );
        let deeds = TaskTracker::new();
        let triggers = Arc::new(Triggers {
            apps: settings.apps.clone(),
            api_base: client.base().to_owned(),
            store: Arc::clone(&store),
            deeds: deeds.clone(),
            clock: Arc::clone(&clock),
            metrics: metrics.clone(),
        });
        let oauth = Arc::new(Oauth {
            apps: settings.apps,
            authorize_urls: settings.authorize_urls,
            store: Arc::clone(&store),
            tokens: Arc::clone(&tokens),
            clock: Arc::clone(&clock),
            chance: Arc::clone(&chance),
            deeds,
            door: Door::default(),
        });
        let runner = Runner {
            store,
            rules: settings.rules,
            client,
            tokens: Arc::clone(&tokens),
            writer,
            settings: settings.follow_ups,
            wake: Arc::default(),
            clock,
            chance,
            metrics,
            spans,
        };
        Ok(Self {
            oauth,
            triggers,
            tokens,
            runner,
        })
    }

    /// The planner that feeds the runner.
    fn planner(&self, first_sync: Vec<Kind>) -> Planner {
        Planner {
            store: Arc::clone(&self.runner.store),
            rules: Arc::clone(&self.runner.rules),
            apps: self.oauth.apps.keys().cloned().collect(),
            first_sync,
            wake: Arc::clone(&self.runner.wake),
            clock: Arc::clone(&self.runner.clock),
            metrics: self.runner.metrics.clone(),
        }
    }
}

async fn listen(address: std::net::SocketAddr, key: &'static str) -> Result<TcpListener, Error> {
    let failed = |source| Error::Listen {
        address,
        key,
        source,
    };
    let listener = http::bind(address).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    tracing::info!(listener = key, address = %bound, "listening");
    Ok(listener)
}
