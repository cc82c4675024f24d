//! The daemon's tasks, and in which order they end.
//!
//! Requests end first, then the writer behind them: a request that was let in is answered. The relay and whatever only
//! looks end at once; calls append their answers, so the writer outlives them, too.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::calls::Calls;
use super::parts::Parts;
use crate::supervisor::Supervisor;
use crate::{census, http, observe, retention};

/// How long a connection of the admin listener may be idle.
const ADMIN_IDLE: Duration = Duration::from_secs(150);

const ADMIN_FIRST_HEAD: Duration = Duration::from_secs(10);
/// How long a request at the admin listener may take; its pages have shorter deadlines.
const ADMIN_REQUEST: Duration = Duration::from_secs(60);

/// What is listened on.
pub(super) struct Listeners {
    pub(super) public: TcpListener,
    pub(super) admin: TcpListener,
}

/// Starts them all. They run until `shutdown`, or until one of them ends by itself.
pub(super) fn start(parts: Parts, listeners: Listeners, shutdown: CancellationToken) -> Supervisor {
    let Parts {
        store,
        clock,
        metrics,
        ..
    } = &parts;
    let (store, clock, metrics) = (Arc::clone(store), Arc::clone(clock), metrics.clone());
    let mut supervisor = Supervisor::new(shutdown.clone(), parts.grace);
    let requests_done = CancellationToken::new();
    let calls_done = CancellationToken::new();

    let (counted, limits) = (metrics.clone(), parts.limits);
    let (done, stop) = (requests_done.clone(), shutdown.clone());
    supervisor.spawn("http", async move {
        http::serve(listeners.public, parts.routes, limits, Some(counted), stop).await;
        done.cancel();
    });
    let admin_limits = http::Limits {
        connections: 64,
        // Who only holds a place here takes it from a probe.
        first_head: ADMIN_FIRST_HEAD,
        request: ADMIN_REQUEST,
        drain: Duration::from_secs(1),
        // A Prometheus that looks once a minute keeps its connection, also where there are no descriptors for another.
        header_timeout: ADMIN_IDLE,
        ..limits
    };
    // Probes are answered until the requests are done: an orchestrator asks for readiness meanwhile.
    let stop = requests_done.clone();
    supervisor.spawn("admin", async move {
        http::serve(
            listeners.admin,
            parts.admin_routes,
            admin_limits,
            None,
            stop,
        )
        .await;
        // What a person asked for at the console is done before the store is closed.
        parts.tasks.close();
        parts.tasks.wait().await;
    });
    // Requests append, and calls their answers.
    let (requests, follow_ups) = (requests_done.clone(), calls_done.clone());
    supervisor.spawn("writer", async move {
        let done = CancellationToken::new();
        let last = async {
            requests.cancelled().await;
            follow_ups.cancelled().await;
            done.cancel();
        };
        tokio::join!(parts.writer.run(done.clone()), last);
    });
    supervisor.spawn("quarantine", parts.keeper.run(requests_done.clone()));
    let (relay, stop, relay_done) = (parts.relay, shutdown.clone(), CancellationToken::new());
    let done = relay_done.clone();
    supervisor.spawn("relay", async move {
        relay.run(stop).await;
        done.cancel();
    });
    supervisor.spawn("planner", parts.planner.run(shutdown.clone()));
    supervisor.spawn("watch", parts.watch.run(shutdown.clone()));
    match parts.calls {
        Some(calls) => start_calls(
            &mut supervisor,
            calls,
            requests_done.clone(),
            calls_done.clone(),
            shutdown.clone(),
        ),
        None => calls_done.cancel(),
    }
    if let Some(exporter) = parts.exporter {
        supervisor.spawn("spans", async move {
            let done = CancellationToken::new();
            // Whatever makes spans.
            let last = async {
                requests_done.cancelled().await;
                calls_done.cancelled().await;
                relay_done.cancelled().await;
                done.cancel();
            };
            tokio::join!(exporter.run(done.clone()), last);
        });
    }
    let removal = retention::run(
        Arc::clone(&store),
        parts.retention,
        Arc::clone(&clock),
        metrics.clone(),
        shutdown.clone(),
    );
    supervisor.spawn("retention", removal);
    let counting = census::run(
        Arc::clone(&store),
        Arc::clone(&clock),
        metrics.clone(),
        shutdown.clone(),
    );
    supervisor.spawn("census", counting);
    supervisor.spawn("disk", parts.disk.run(shutdown.clone()));
    let (kept, stop) = (Arc::clone(&store), shutdown.clone());
    supervisor.spawn("upkeep", async move {
        tokio::select! {
            () = stop.cancelled() => (),
            () = kept.upkeep() => (),
        }
    });
    let looking = observe::run(
        store,
        parts.readiness,
        clock,
        metrics,
        parts.history,
        shutdown,
    );
    supervisor.spawn("observe", looking);
    supervisor
}

/// Starts what makes calls. A refresh may begin while requests and calls end: it is waited for when both have.
fn start_calls(
    supervisor: &mut Supervisor,
    calls: Calls,
    requests_done: CancellationToken,
    calls_done: CancellationToken,
    shutdown: CancellationToken,
) {
    let (tasks, tokens, runner) = (calls.oauth.tasks.clone(), calls.tokens, calls.runner);
    let done = calls_done.clone();
    supervisor.spawn("runner", async move {
        runner.run(shutdown).await;
        done.cancel();
    });
    supervisor.spawn("tokens", async move {
        requests_done.cancelled().await;
        tasks.close();
        tasks.wait().await;
        tokens.run(calls_done).await;
    });
}
