//! Metrics and probes, from memory alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::disk::Room;
use crate::metrics::Metrics;

/// Whether webhooks can be committed now. It does not depend on the broker: the log takes events
/// while RabbitMQ is away.
#[derive(Debug)]
pub struct Readiness {
    store: AtomicBool,
    room: Arc<Room>,
    draining: AtomicBool,
}

impl Readiness {
    /// Not ready yet.
    pub fn new(room: Arc<Room>) -> Self {
        Self {
            store: AtomicBool::new(false),
            room,
            draining: AtomicBool::new(false),
        }
    }

    /// The store was just seen to take, or not to take, appends.
    pub fn store(&self, up: bool) {
        self.store.store(up, Ordering::Relaxed);
    }

    /// Shutdown has begun.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    fn state(&self) -> Result<(), &'static str> {
        if self.draining.load(Ordering::Relaxed) {
            return Err("draining\n");
        }
        if !self.store.load(Ordering::Relaxed) {
            return Err("the store takes no appends\n");
        }
        if !self.room.is_left() {
            return Err("the disk is down to store.disk_reserve\n");
        }
        Ok(())
    }
}

/// `/metrics`, `/livez`, `/readyz`.
pub(super) fn router(metrics: Metrics, readiness: Arc<Readiness>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz).with_state(readiness))
        .route("/metrics", get(render).with_state(metrics))
}

async fn readyz(State(readiness): State<Arc<Readiness>>) -> Response {
    match readiness.state() {
        Ok(()) => "ready\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why).into_response(),
    }
}

async fn render(State(metrics): State<Metrics>) -> impl IntoResponse {
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        metrics.render(),
    )
}
