//! The one TLS stack: rustls with ring, as for Postgres and RabbitMQ.

/// Makes ring the provider of every client that asks rustls for one. Once is enough, and more often does no harm.
pub fn provide() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
