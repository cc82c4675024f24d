//! The command line: parses, runs one command, turns its end into an exit code. A command a file.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};

use crate::config::{Config, Problems};
use crate::operator::Operator;
use crate::store::Store;
use crate::telemetry::{self, Chain};
use crate::{clock, failpoints, store};

mod ask;
mod audit;
mod backfill;
mod check_config;
mod compact;
mod completions;
mod consent;
mod dead_letters;
mod dev;
mod doctor;
mod erase;
mod events;
mod follow_ups;
mod healthcheck;
mod held;
mod installs;
mod keys;
mod man;
mod migrate;
mod progress;
mod quarantine;
mod replay;
mod restored;
mod send;
mod serve;
mod status;
mod table;
mod tail;
mod triggers;
mod when;

/// Webhooks of GoHighLevel: verified, in a durable log before they are answered, in RabbitMQ in order.
#[derive(Debug, Parser)]
#[command(
    name = "hookwell",
    version = failpoints::VERSION,
    max_term_width = 100,
    arg_required_else_help = true
)]
#[command(after_help = "Examples:
  hookwell check-config --config hookwell.toml
  hookwell serve --config hookwell.toml
  hookwell send ContactCreate --config hookwell.toml --key dev-key.pem --count 100 --rate 20
  hookwell tail --config hookwell.toml

Exit codes: 0 done; 1 it ran and something was not as asked; 64 wrong usage; 66 no such thing; 69 the store or RabbitMQ cannot be used; 70 a task of the daemon died; 73 a file cannot be made; 78 the configuration is wrong.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    CheckConfig(check_config::Args),
    Migrate(migrate::Args),
    Status(status::Args),
    Doctor(doctor::Args),
    Healthcheck(healthcheck::Args),
    Send(send::Args),
    Tail(tail::Args),
    Events(events::Args),
    Held(held::Args),
    Installs(installs::Args),
    Triggers(triggers::Args),
    FollowUps(follow_ups::Args),
    Backfill(backfill::Args),
    Replay(replay::Args),
    DeadLetters(dead_letters::Args),
    Quarantine(quarantine::Args),
    Erase(erase::Args),
    Restored(restored::Args),
    Compact(compact::Args),
    Audit(audit::Args),
    Keys(keys::Args),
    Dev(dev::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// Where the configuration comes from.
#[derive(Debug, clap::Args)]
struct ConfigArgs {
    /// The TOML file; variables named HOOKWELL_SECTION__KEY go over it
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigArgs {
    fn load(&self) -> Result<Config, Failure> {
        let config = Config::load(self.config.as_deref())?;
        telemetry::start(config.log.format, &config.log.filter);
        Ok(config)
    }
}

/// How a command ended that did not do what was asked. The codes are those of sysexits.h.
#[derive(Debug)]
struct Failure {
    code: u8,
    error: anyhow::Error,
}

impl Failure {
    const PARTLY: u8 = 1;
    const USAGE: u8 = 64;
    const NO_INPUT: u8 = 66;
    const UNAVAILABLE: u8 = 69;
    const SOFTWARE: u8 = 70;
    const CANNOT_CREATE: u8 = 73;
    const CONFIG: u8 = 78;

    fn new(code: u8, error: impl Into<anyhow::Error>) -> Self {
        Self {
            code,
            error: error.into(),
        }
    }

    fn saying(code: u8, text: impl std::fmt::Display) -> Self {
        Self {
            code,
            error: anyhow::anyhow!("{text}"),
        }
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::new(Self::CONFIG, problems)
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Self::new(Self::UNAVAILABLE, error)
    }
}

impl From<crate::broker::Error> for Failure {
    fn from(error: crate::broker::Error) -> Self {
        Self::new(Self::UNAVAILABLE, error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Self::PARTLY, error)
    }
}

type Outcome = Result<(), Failure>;

/// Who runs this command, with the store that it works on.
fn operator(store: Arc<dyn Store>) -> Operator {
    // Behind sudo it is still a person.
    let named = ["SUDO_USER", "USER", "LOGNAME"];
    let name = named.iter().find_map(|name| std::env::var(name).ok());
    let name = name.filter(|name| !name.is_empty());
    Operator {
        store,
        who: format!("cli:{}", name.as_deref().unwrap_or("unknown")),
        clock: clock::system(),
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    telemetry::hear_panics();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let asked = !error.use_stderr();
            // To a closed pipe there is nothing more to say.
            let _ = error.print();
            return if asked {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(Failure::USAGE)
            };
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name(telemetry::RUNTIME_THREAD)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("hookwell: cannot start threads: {error}");
            return ExitCode::from(Failure::SOFTWARE);
        }
    };
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Serve(args) => serve::run(args).await,
            Command::CheckConfig(args) => check_config::run(&args),
            Command::Migrate(args) => migrate::run(args).await,
            Command::Status(args) => status::run(args).await,
            Command::Doctor(args) => doctor::run(args).await,
            Command::Healthcheck(args) => healthcheck::run(args).await,
            Command::Send(args) => send::run(args).await,
            Command::Tail(args) => tail::run(args).await,
            Command::Events(args) => events::run(args).await,
            Command::Held(args) => held::run(args).await,
            Command::Installs(args) => installs::run(args).await,
            Command::Triggers(args) => triggers::run(args).await,
            Command::Backfill(args) => backfill::run(args).await,
            Command::FollowUps(args) => follow_ups::run(args).await,
            Command::Replay(args) => replay::run(args).await,
            Command::DeadLetters(args) => dead_letters::run(args).await,
            Command::Quarantine(args) => quarantine::run(args).await,
            Command::Erase(args) => erase::run(args).await,
            Command::Restored(args) => restored::run(args).await,
            Command::Compact(args) => compact::run(args).await,
            Command::Audit(args) => audit::run(args).await,
            Command::Keys(args) => keys::run(args).await,
            Command::Dev(args) => dev::run(args).await,
            Command::Completions(args) => completions::run(&args),
            Command::Man(args) => man::run(&args),
        }
    });
    // A command never waits for what a task may still be doing.
    runtime.shutdown_background();
    telemetry::flush();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // `hookwell events list | head` is no failure.
        Err(failure) if is_broken_pipe(&failure.error) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!(
                "hookwell: {}",
                Chain(failure.error.as_ref()).to_string().trim_end()
            );
            ExitCode::from(failure.code)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
