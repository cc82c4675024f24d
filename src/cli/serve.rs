//! `hookwell serve`: the daemon.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{ConfigArgs, Failure, Outcome};
use crate::app;
use crate::supervisor::Exit;
use crate::telemetry;

/// Run the daemon until SIGTERM or Ctrl-C
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  hookwell serve --config hookwell.toml

A first SIGTERM or Ctrl-C drains and exits 0; a second one exits 130 at once. RabbitMQ may be down: events are accepted and wait in the log.")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) async fn run(args: Args) -> Outcome {
    let config = args.config.load()?;
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = shutdown.clone();
    // The one task without a parent: it ends with the process.
    tokio::spawn(async move {
        let mut asked = false;
        loop {
            tokio::select! {
                _ = terminate.recv() => (),
                _ = interrupt.recv() => (),
            }
            if asked {
                tracing::warn!("asked again; leaving at once");
                telemetry::flush();
                std::process::exit(130);
            }
            asked = true;
            tracing::info!("shutting down; once more to leave at once");
            stop.cancel();
        }
    });
    match app::serve(config, shutdown).await {
        Ok(Exit::Clean) => {
            tracing::info!("bye");
            Ok(())
        }
        Ok(Exit::Failed) => Err(Failure::saying(
            Failure::SOFTWARE,
            "a task of the daemon ended; see the log",
        )),
        Ok(Exit::TimedOut) => Err(Failure::saying(
            Failure::PARTLY,
            "shutdown took longer than shutdown.grace; nothing accepted is lost, some messages may be sent twice",
        )),
        Err(error) => Err(Failure::new(Failure::UNAVAILABLE, error)),
    }
}
