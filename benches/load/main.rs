//! The tool behind `benches/pipeline.sh`: posts signed webhooks and measures the answers, fills a log in
//! advance, and is each of the yardsticks: a server that only verifies, a publisher that only publishes,
//! inserts without anything around them.
//!
//! Every command prints `name=value` lines for the script. It measures from outside, through HTTP,
//! `/metrics` and `/proc`, so what it drives is the real binary; it decides nothing about good or bad.

#![allow(missing_docs)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use hookwell::config::Config;

mod bare_publisher;
mod bodies;
mod disk;
mod drain;
mod events;
mod inserts;
mod machine;
mod post;
mod preload;
mod scrape;
mod verify_only;
mod wire;

use machine::Watched;

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Posts signed bodies over keep-alive connections and measures the answers
    Post(Post),
    /// Waits until events are confirmed by the broker
    Drain(Drain),
    /// Answers like the daemon, but only verifies and identifies
    VerifyOnly {
        /// The daemon's own configuration: address, limits, keys and apps are taken from it
        #[arg(long)]
        config: PathBuf,
    },
    /// Appends events straight to the store; no daemon may run on it
    Preload {
        /// Which store, and for which app
        #[arg(long)]
        config: PathBuf,
        /// How many events
        #[arg(long)]
        count: usize,
    },
    /// Publishes what the relay would, with nothing behind it
    BarePublisher(BarePublisher),
    /// Puts events into the store of the configuration; it must be new
    Inserts(Inserts),
    /// Measures how long a durable write takes
    Fsync {
        /// On the file system in question
        #[arg(long)]
        folder: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct BarePublisher {
    /// The daemon's own configuration: queues, channels and app are taken from it
    #[arg(long)]
    config: PathBuf,
    /// The broker; the configuration does not show its password
    #[arg(long)]
    url: String,
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Messages without a confirm at most
    #[arg(long, default_value_t = 1000)]
    outstanding: usize,
    /// Processes whose CPU time is wanted, with their children
    #[arg(long = "watch", value_name = "NAME=PID")]
    watched: Vec<Watched>,
}

#[derive(Debug, clap::Args)]
struct Inserts {
    /// Which store, and for which app
    #[arg(long)]
    config: PathBuf,
    /// How many events
    #[arg(long)]
    count: usize,
    /// Into a bare table by plain SQL, instead of through the daemon's append
    #[arg(long)]
    raw: bool,
    /// Processes whose CPU time is wanted, with their children
    #[arg(long = "watch", value_name = "NAME=PID")]
    watched: Vec<Watched>,
}

#[derive(Debug, clap::Args)]
struct Post {
    /// Where to post, and for which app
    #[arg(long)]
    config: PathBuf,
    /// The development key to sign with, as PEM
    #[arg(long)]
    key: PathBuf,
    /// How long to post
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// How long to post before that without counting
    #[arg(long, default_value_t = 0.0)]
    warm_up: f64,
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Posts a second, sent on schedule whether or not answers come (open loop). Without it every
    /// connection posts as soon as it has its answer (closed loop)
    #[arg(long)]
    rate: Option<f64>,
    /// Bodies to sign in advance; posting ends when they are used up
    #[arg(long)]
    bodies: usize,
    /// Start over when they are: for a server that keeps nothing
    #[arg(long)]
    again: bool,
    /// Then wait until the daemon has counted as many positive confirms as there were answers
    #[arg(long)]
    confirmed: bool,
    /// Say how many events wait for the relay when posting ends
    #[arg(long)]
    backlog: bool,
    /// Processes whose CPU time is wanted, with their children
    #[arg(long = "watch", value_name = "NAME=PID")]
    watched: Vec<Watched>,
}

#[derive(Debug, clap::Args)]
struct Drain {
    #[arg(long)]
    config: PathBuf,
    /// Measure from this confirm on, counted from the daemon's start. At the first one the daemon may
    /// still be warming up
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Measure up to this confirm
    #[arg(long)]
    count: u64,
    /// Processes whose CPU time is wanted, with their children
    #[arg(long = "watch", value_name = "NAME=PID")]
    watched: Vec<Watched>,
}

fn main() -> ExitCode {
    // Run by `cargo bench` or `cargo test` itself there is nothing to measure.
    if !std::env::args()
        .skip(1)
        .any(|argument| argument != "--bench")
    {
        println!("this is a part of benches/pipeline.sh; run that");
        return ExitCode::SUCCESS;
    }
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Post(args) => alone()?.block_on(post::run(args)),
        Command::Drain(args) => {
            let admin = config(&args.config)?.admin.listen;
            alone()?.block_on(drain::run(admin, args.from, args.count, &args.watched))
        }
        Command::VerifyOnly { config: file } => {
            threads()?.block_on(verify_only::run(config(&file)?))
        }
        Command::Preload {
            config: file,
            count,
        } => threads()?.block_on(preload::run(&config(&file)?, count)),
        Command::BarePublisher(args) => {
            let config = config(&args.config)?;
            let load = bare_publisher::Load {
                url: args.url,
                seconds: args.seconds,
                outstanding: args.outstanding,
            };
            threads()?.block_on(bare_publisher::run(&config, load, &args.watched))
        }
        Command::Inserts(args) => {
            let config = config(&args.config)?;
            threads()?.block_on(inserts::run(&config, args.count, args.raw, &args.watched))
        }
        Command::Fsync { folder } => disk::run(&folder),
    }
}

/// As many threads as the daemon has.
fn threads() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Runtime::new().context("cannot start threads")
}

/// One thread: what the generator takes of the machine is taken from what is measured.
fn alone() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")
}

fn config(file: &std::path::Path) -> Result<Config> {
    Config::load(Some(file)).map_err(anyhow::Error::from)
}

/// How long nothing may move before a run is given up.
const STALLED: Duration = Duration::from_secs(60);

/// The first app, to which everything is posted.
fn target(config: &Config) -> Result<(SocketAddr, &hookwell::ingest::App)> {
    let app = config.apps.first().context("there is no [[apps]]")?;
    Ok((config.http.listen, app))
}
