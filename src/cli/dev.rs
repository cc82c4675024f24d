//! `hookwell dev`: servers for development; today GHL's API.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::Subcommand;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Failure, Outcome};
use crate::dev::ghl::{Ghl, Settings};
use crate::telemetry::{self, Format};
use crate::{clock, http};

/// Servers for trying things out
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Ghl(GhlArgs),
}

/// Play GHL's API: OAuth, contacts, opportunities, rate limits, and faults on demand
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hookwell dev ghl
  hookwell dev ghl --burst 25 --daily 10000             # the limits of GHL's sandbox
  hookwell dev ghl --token-lifetime 1m --locations 78   # tokens that expire, and a bulk installation
  curl -X PUT http://127.0.0.1:4010/_dev/contacts/abc -d '{\"firstName\": \"Ada\"}'
  curl -X POST http://127.0.0.1:4010/_dev/fault -d '{\"path\": \"/contacts/\", \"count\": 2, \"deed\": {\"status\": 503}}'
  curl http://127.0.0.1:4010/_dev/report

It prints the lines for hookwell.toml that point a daemon to it, with the commands that make the two files they name, and each request as it is answered. `curl http://127.0.0.1:4010/_dev/` shows what else can be asked of it. All state is in memory: after a restart every token is unknown, as if the app had been uninstalled. It has no password and is for loopback; the daemon itself never uses it.")]
struct GhlArgs {
    /// Where it listens; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4010")]
    listen: SocketAddr,
    /// The app's client id; the app id is the part before the first -
    #[arg(long, value_name = "ID", default_value_t = Settings::default().client_id)]
    client_id: String,
    /// The app's client secret
    #[arg(long, value_name = "TEXT", default_value_t = Settings::default().client_secret)]
    client_secret: String,
    /// Where the daemon takes the code, for the lines that are printed
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://127.0.0.1:8080/oauth/callback"
    )]
    redirect_uri: String,
    /// Requests in one interval, for each sub-account and for the agency
    #[arg(long, default_value_t = Settings::default().burst, value_parser = clap::value_parser!(u32).range(1..))]
    burst: u32,
    /// The interval
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    interval: Duration,
    /// Requests in a day, likewise
    #[arg(long, default_value_t = Settings::default().daily, value_parser = clap::value_parser!(u32).range(1..))]
    daily: u32,
    /// How long a search does not know of a change
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    search_lag: Duration,
    /// How long an access token works
    #[arg(long, default_value = "24h", value_parser = humantime::parse_duration)]
    token_lifetime: Duration,
    /// The agency
    #[arg(long, value_name = "ID", default_value_t = Settings::default().company)]
    company: String,
    /// How many sub-accounts it has
    #[arg(long, default_value_t = Settings::default().locations)]
    locations: usize,
    /// How many contacts a sub-account has at the start
    #[arg(long, default_value_t = 10)]
    contacts: usize,
    /// How many opportunities a sub-account has at the start
    #[arg(long, default_value_t = 5)]
    opportunities: usize,
    /// Answer 404 to an id that nobody put, instead of making up a record; without this, only ids that
    /// begin with "gone" are 404
    #[arg(long)]
    strict: bool,
}

/// Generous: this is no server for strangers.
const LIMITS: http::Limits = http::Limits {
    first_head: Duration::from_secs(120),
    request: Duration::from_secs(120),
    retry_after: Duration::from_secs(30),
    connections: 1024,
    header_timeout: Duration::from_secs(120),
    connection_max_age: Duration::from_secs(24 * 60 * 60),
    drain: Duration::from_secs(1),
};

pub(super) async fn run(args: Args) -> Outcome {
    match args.command {
        Command::Ghl(args) => ghl(args).await,
    }
}

async fn ghl(args: GhlArgs) -> Outcome {
    telemetry::start(Format::Auto, "info");
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = TcpListener::bind(args.listen).await.map_err(|error| {
        let text = format!(
            "cannot listen on {}: {error}; --listen names another address",
            args.listen
        );
        Failure::saying(Failure::UNAVAILABLE, text)
    })?;
    let address = listener.local_addr()?;
    let settings = Settings {
        client_id: args.client_id,
        client_secret: args.client_secret,
        company: args.company,
        locations: args.locations,
        contacts: args.contacts,
        opportunities: args.opportunities,
        burst: args.burst,
        interval: args.interval,
        daily: args.daily,
        search_lag: args.search_lag,
        token_lifetime: args.token_lifetime,
        lenient: !args.strict,
        ..Settings::default()
    };
    introduce(address, &settings, &args.redirect_uri)?;
    let ghl = Ghl::new(settings, clock::system());
    let shutdown = CancellationToken::new();
    let serving = http::serve(listener, ghl.router(), LIMITS, None, shutdown.clone());
    tokio::pin!(serving);
    tokio::select! {
        () = serving.as_mut() => return Ok(()),
        _ = terminate.recv() => (),
        _ = interrupt.recv() => (),
    }
    shutdown.cancel();
    serving.await;
    Ok(())
}

/// Says what to do with it: what is printed for the configuration works as it is pasted.
fn introduce(mut address: SocketAddr, settings: &Settings, redirect_uri: &str) -> Outcome {
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let base = format!("http://{address}");
    let install_url = settings.install_url(&base, redirect_uri);
    let first = Settings::location(0);
    let locations = match settings.locations {
        0 => "no sub-accounts".to_owned(),
        1 => format!("the sub-account {first}"),
        count => format!(
            "{count} sub-accounts, {first} to {}",
            Settings::location(count - 1)
        ),
    };
    let mut out = std::io::stdout().lock();
    write!(
        out,
        "This plays GHL at {base} until Ctrl-C: the agency {company} with {locations}.\n\
         \n\
         Two files, in the folder that the daemon runs in:\n\
         \n\
         echo {secret} > client_secret\n\
         hookwell keys rotate --file token-keys\n\
         \n\
         For hookwell.toml:\n\
         \n\
         [ghl]\n\
         api_base = {api_base}\n\
         authorize_url = {authorize_url}\n\
         white_label_authorize_url = {authorize_url}\n\
         token_keys_file = \"token-keys\"\n\
         \n\
         [[apps]]\n\
         id = {app}\n\
         path = \"/webhooks/ghl\"\n\
         client_id = {client_id}\n\
         client_secret_file = \"client_secret\"\n\
         redirect_uri = {redirect_uri}\n\
         install_url = {install_url}\n\
         \n\
         The install link, and /oauth/install of the daemon, approve at once, for the agency and all its\n\
         sub-accounts; the link with &location_id=<id> behind it, for that sub-account alone.\n\
         It sends no webhooks; those of it, signed with a key of `hookwell keys generate --out dev-key.pem`:\n\
         \n\
         hookwell send ContactCreate --config hookwell.toml --key dev-key.pem --company {company} --location {first}\n\
         \n\
         What it can be asked to do: curl {base}/_dev/\n\
         \n",
        company = settings.company,
        secret = shell(&settings.client_secret),
        api_base = toml(&base),
        authorize_url = toml(&Settings::authorize_url(&base)),
        app = toml(settings.app_id()),
        client_id = toml(&settings.client_id),
        redirect_uri = toml(redirect_uri),
        install_url = toml(&install_url),
    )?;
    Ok(out.flush()?)
}

/// A text as a shell takes it: one word.
fn shell(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.,:/@%+".contains(&b);
    match !text.is_empty() && text.bytes().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// A text as a value of TOML.
fn toml(text: &str) -> String {
    // What JSON escapes is escaped the same way in TOML.
    serde_json::Value::from(text).to_string()
}
