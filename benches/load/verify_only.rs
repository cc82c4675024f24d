//! The baseline: the daemon's own server, limits, verification and reading of the body, and then an
//! answer at once. Nothing is kept.

use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use axum::routing::post;
use hookwell::clock::{self, Clock};
use hookwell::config::Config;
use hookwell::http;
use hookwell::ingest::{App, Webhook, judge};
use hookwell::metrics::Metrics;
use hookwell::signature::{GHL_HEADER, SignatureHeaders, Verifier};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

struct Gate {
    verifier: Verifier,
    app: App,
    body_bytes: usize,
    clock: Clock,
}

pub async fn run(config: Config) -> Result<()> {
    let (address, app) = crate::target(&config)?;
    let app = app.clone();
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))?;
    let gate = Arc::new(Gate {
        verifier: config.verifier,
        app: app.clone(),
        body_bytes: config.http.requests.body_bytes,
        clock: clock::system(),
    });
    let router = Router::new()
        .route(&app.path, post(receive))
        .with_state(gate);
    let metrics = Some(Metrics::new());
    let limits = config.http.connections;
    http::serve(listener, router, limits, metrics, CancellationToken::new()).await;
    Ok(())
}

async fn receive(State(gate): State<Arc<Gate>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, gate.body_bytes).await else {
        return answer(StatusCode::BAD_REQUEST, String::new());
    };
    let values = head.headers.get_all(GHL_HEADER).iter();
    let ghl: Vec<&[u8]> = values.map(|value| value.as_bytes()).collect();
    let webhook = Webhook {
        app: &gate.app,
        event_name: None,
        signatures: SignatureHeaders {
            ghl: &ghl,
            legacy: &[],
        },
        body: &body,
    };
    let apps = std::slice::from_ref(&gate.app);
    match judge(&gate.verifier, apps, &webhook, (gate.clock)()) {
        Ok(judged) => {
            let key = judged.event.key;
            let text = format!(r#"{{"event_key":"{key}","status":"accepted"}}"#);
            answer(StatusCode::OK, text)
        }
        Err(_) => answer(StatusCode::UNAUTHORIZED, String::new()),
    }
}

fn answer(status: StatusCode, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
