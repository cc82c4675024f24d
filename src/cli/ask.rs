//! The HTTP client of commands.

use std::time::Duration;

use super::Failure;

/// A client that follows no redirect: what answers at an address is what is asked for.
pub(super) fn client(patience: Duration) -> Result<reqwest::Client, Failure> {
    // One TLS stack: ring, as for Postgres and RabbitMQ. A second call is not an error here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(patience)
        .build()
        .map_err(|error| Failure::new(Failure::SOFTWARE, error))
}
