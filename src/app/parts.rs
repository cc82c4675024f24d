//! Everything the daemon consists of: made, wired to each other, not started.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::calls::Calls;
use crate::admin::{self, Console};
use crate::clock::{self, Clock};
use crate::config::Config;
use crate::feed::Feed;
use crate::follow_up::{Planner, Watch};
use crate::http::webhook;
use crate::http::{self, Routes, oauth, triggers};
use crate::ingest::{Ingest, Writer};
use crate::key_file::KeyFile;
use crate::metrics::Metrics;
use crate::observe::{History, Readiness};
use crate::quarantine::Keeper;
use crate::relay::Relay;
use crate::spans::{Exporter, Spans};
use crate::store::Store;
use crate::{chance, disk, ghl, retention};

/// The parts, each of which becomes a task or is held by one.
pub(super) struct Parts {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
    pub(super) grace: Duration,
    /// The public listener's.
    pub(super) routes: Routes,
    pub(super) limits: http::Limits,
    /// The admin listener's, and what is under way at the wish of people at its console.
    pub(super) admin_routes: Routes,
    pub(super) tasks: TaskTracker,
    pub(super) writer: Writer,
    pub(super) keeper: Keeper,
    pub(super) relay: Relay,
    pub(super) planner: Planner,
    pub(super) watch: Watch,
    pub(super) calls: Option<Calls>,
    pub(super) exporter: Option<Exporter>,
    pub(super) retention: retention::Settings,
    pub(super) disk: disk::Watcher,
    pub(super) readiness: Arc<Readiness>,
    pub(super) history: Arc<History>,
}

impl Parts {
    /// Makes them.
    ///
    /// # Errors
    /// When the way to the API cannot be made.
    pub(super) fn new(
        config: Config,
        store: Arc<dyn Store>,
        keys: Option<Arc<KeyFile>>,
    ) -> Result<Self, ghl::Error> {
        let clock = clock::system();
        let metrics = Metrics::new();
        let (room, disk) = disk::Watcher::new(
            Arc::clone(&store),
            config.store.disk_reserve,
            metrics.clone(),
        );
        let readiness = Arc::new(Readiness::new(Arc::clone(&room)));
        let history = Arc::new(History::default());
        let tasks = TaskTracker::new();
        let console = Console::new(
            &config,
            admin::Parts {
                store: Arc::clone(&store),
                metrics: metrics.clone(),
                room: Arc::clone(&room),
                history: Arc::clone(&history),
                tasks: tasks.clone(),
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
        let (quarantine, keeper) =
            Keeper::new(Arc::clone(&store), config.quarantine, metrics.clone());
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
            let oauth = oauth::router(Arc::clone(&calls.oauth));
            oauth.merge(triggers::router(Arc::clone(&calls.triggers)))
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
        Ok(Self {
            admin_routes: admin::router(metrics.clone(), Arc::clone(&readiness), console),
            store,
            clock,
            metrics,
            grace: config.grace,
            routes,
            limits: config.http.connections,
            tasks,
            writer,
            keeper,
            relay,
            planner,
            watch,
            calls,
            exporter,
            retention: config.retention,
            disk,
            readiness,
            history,
        })
    }
}
