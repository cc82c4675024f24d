//! What makes calls of GHL's API, where apps have credentials.

use std::sync::Arc;

use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config;
use crate::event::backfill::Kind;
use crate::follow_up::tokens::{self, Tokens};
use crate::follow_up::{Planner, Runner};
use crate::http::oauth::{Oauth, Rates};
use crate::http::triggers::Triggers;
use crate::key_file::KeyFile;
use crate::metrics::Metrics;
use crate::spans::Spans;
use crate::store::Store;
use crate::{chance, ghl, ingest};

/// What makes calls of GHL's API.
pub(super) struct Calls {
    pub(super) oauth: Arc<Oauth>,
    pub(super) triggers: Arc<Triggers>,
    pub(super) tokens: Arc<Tokens>,
    pub(super) runner: Runner,
}

impl Calls {
    pub(super) fn new(
        settings: config::Calls,
        keys: Arc<KeyFile>,
        store: Arc<dyn Store>,
        writer: ingest::Handle,
        clock: Clock,
        metrics: Metrics,
        spans: Spans,
    ) -> Result<Self, ghl::Error> {
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
        let tasks = TaskTracker::new();
        let triggers = Arc::new(Triggers {
            apps: settings.apps.clone(),
            api_base: client.base().to_owned(),
            store: Arc::clone(&store),
            tasks: tasks.clone(),
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
            tasks,
            rates: Rates::default(),
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
    pub(super) fn planner(&self, first_sync: Vec<Kind>) -> Planner {
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
