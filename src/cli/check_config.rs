//! `hookwell check-config`: says whether the configuration is right, and what it comes to.

use std::io::Write;

use serde_json::json;

use super::{ConfigArgs, Outcome, table};
use crate::broker::TopologyMode;
use crate::config::{Calls, Config, OauthApp};

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
            .map(|app| {
                let oauth = oauth_of(&config, &app.id);
                let install = oauth.filter(|oauth| oauth.install_query.is_some());
                let triggers = oauth.and_then(|oauth| oauth.triggers.as_ref());
                json!({
                    "id": app.id, "path": app.path, "calls": oauth.is_some(),
                    "install": install.map(|_| install_path(&config, &app.id)),
                    "callback": oauth.map(|oauth| &oauth.callback_path),
                    "triggers": triggers.map(|triggers| &triggers.path),
                })
            })
            .collect();
        let calls = config.calls.as_ref().map(|calls| {
            json!({"api_base": calls.client.api_base, "apps": app_ids(calls), "rules": rule_names(calls)})
        });
        let summary = json!({
            "listen": config.http.listen.to_string(), "admin": config.admin.listen.to_string(), "store": store,
            "brokers": addresses, "exchange": broker.topology.exchange, "queues": queues, "apps": apps,
            "calls": calls, "console": people(&config), "warnings": config.warnings,
        });
        writeln!(out, "{}", table::line(&summary))?;
        return Ok(());
    }
    writeln!(out, "The configuration is good.")?;
    writeln!(out, "  webhooks    http://{}", config.http.listen)?;
    for app in &config.apps {
        let (id, path) = (&app.id, &app.path);
        writeln!(out, "    app {id}  POST {path} and {path}/<EventName>")?;
        if let Some(oauth) = oauth_of(&config, id) {
            doors(&mut out, &config, id, oauth)?;
        }
    }
    match &config.calls {
        Some(calls) => {
            let (base, ids) = (&calls.client.api_base, app_ids(calls).join(", "));
            writeln!(out, "  API calls   {base}, for app {ids}")?;
            match rule_names(calls) {
                names if names.is_empty() => writeln!(out, "    no rules: no event calls for one")?,
                names => writeln!(out, "    rules {}", names.join(", "))?,
            }
        }
        None => writeln!(
            out,
            "  API calls   off: no app has client_id, client_secret and redirect_uri"
        )?,
    }
    writeln!(
        out,
        "  admin       http://{} (/metrics, /livez, /readyz)",
        config.admin.listen
    )?;
    match people(&config) {
        names if names.is_empty() => writeln!(out, "    console off: no admin.token_file")?,
        names => writeln!(out, "    console for {}", names.join(", "))?,
    }
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

/// What else is on at the public listener for an app.
fn doors(out: &mut impl Write, config: &Config, id: &str, oauth: &OauthApp) -> std::io::Result<()> {
    let callback = &oauth.callback_path;
    match &oauth.install_query {
        Some(_) => {
            let install = install_path(config, id);
            writeln!(out, "    app {id}  GET {install}, and back to {callback}")?;
        }
        None => writeln!(
            out,
            "    app {id}  GET {callback} (no /oauth/install without install_url)"
        )?,
    }
    match &oauth.triggers {
        Some(triggers) => writeln!(
            out,
            "    app {id}  POST {} of workflow triggers",
            triggers.path
        ),
        None => Ok(()),
    }
}

/// What an app can be authorised with; nothing where it has no credentials.
fn oauth_of<'a>(config: &'a Config, id: &str) -> Option<&'a OauthApp> {
    config.calls.as_ref()?.apps.get(id)
}

/// Where a browser begins to install an app.
fn install_path(config: &Config, id: &str) -> String {
    let apps = config.calls.as_ref().map_or(0, |calls| calls.apps.len());
    match apps {
        1 => "/oauth/install".to_owned(),
        _ => format!("/oauth/install?app={id}"),
    }
}

fn app_ids(calls: &Calls) -> Vec<&str> {
    calls.apps.keys().map(String::as_str).collect()
}

fn rule_names(calls: &Calls) -> Vec<&str> {
    calls.rules.all().map(|rule| rule.name.as_str()).collect()
}

/// Who may use the console.
fn people(config: &Config) -> Vec<&str> {
    config
        .admin
        .tokens
        .iter()
        .map(|token| token.name())
        .collect()
}
