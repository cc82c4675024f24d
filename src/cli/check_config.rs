//! `hookwell check-config`

use std::io::Write;

use serde_json::json;

use super::{ConfigArgs, Outcome};
use crate::broker::TopologyMode;

/// Check the configuration and say what it means, without touching anything
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  hookwell check-config --config hookwell.toml

Prints every problem at once and exits 78 when there is one.")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let config = args.config.load()?;
    let broker = &config.relay.broker;
    let addresses: Vec<_> = broker
        .addresses
        .iter()
        .map(|address| address.address())
        .collect();
    let store = match config.store.url.split_once(':') {
        Some(("sqlite", path)) => format!("SQLite, {}", path.trim_start_matches("//")),
        _ => "Postgres".to_owned(),
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        let queues: Vec<_> = broker
            .topology
            .queues
            .iter()
            .map(|queue| json!({"name": queue.name, "kind": queue.kind.as_str(), "bind": queue.bind}))
            .collect();
        let apps: Vec<_> = config
            .apps
            .iter()
            .map(|app| json!({"id": app.id, "path": app.path}))
            .collect();
        let summary = json!({
            "listen": config.http.listen.to_string(), "admin": config.admin.listen.to_string(), "store": store,
            "brokers": addresses, "exchange": broker.topology.exchange, "queues": queues, "apps": apps,
            "warnings": config.warnings,
        });
        writeln!(out, "{summary}")?;
        return Ok(());
    }
    writeln!(out, "The configuration is good.")?;
    writeln!(out, "  webhooks    http://{}", config.http.listen)?;
    for app in &config.apps {
        writeln!(
            out,
            "    app {}  POST {} and {}/<EventName>",
            app.id, app.path, app.path
        )?;
    }
    writeln!(
        out,
        "  admin       http://{} (/metrics, /livez, /readyz)",
        config.admin.listen
    )?;
    writeln!(out, "  store       {store}")?;
    writeln!(out, "  RabbitMQ    {}", addresses.join(", "))?;
    let verb = match broker.topology.mode {
        TopologyMode::Declare => "declared",
        TopologyMode::Check => "checked",
    };
    writeln!(
        out,
        "    exchange {} ({verb}); unrouted events go to {}",
        broker.topology.exchange, broker.topology.unrouted
    )?;
    for queue in &broker.topology.queues {
        writeln!(
            out,
            "    {} queue {}  <-  {}",
            queue.kind.as_str(),
            queue.name,
            queue.bind.join(", ")
        )?;
    }
    if broker.topology.queues.is_empty() {
        writeln!(
            out,
            "    no queues: every event goes to {}",
            broker.topology.unrouted
        )?;
    }
    for warning in &config.warnings {
        writeln!(out, "  note: {warning}")?;
    }
    Ok(())
}
