//! `hookwell healthcheck`: asks the daemon whether it is ready, for a container.

use std::time::Duration;

use super::{ConfigArgs, Failure, Outcome};

/// Ask the daemon of this machine whether it takes webhooks
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  hookwell healthcheck --config hookwell.toml

For containers without a shell: asks /readyz of admin.listen. Exits 0 when it says ready, and 1 otherwise.")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) async fn run(args: Args) -> Outcome {
    let config = args.config.load()?;
    let mut listen = config.admin.listen;
    if listen.ip().is_unspecified() {
        listen.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let client = super::ask::client(Duration::from_secs(5))?;
    let asked = client.get(format!("http://{listen}/readyz")).send().await;
    match asked {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => {
            let said = answer.text().await.unwrap_or_default();
            Err(Failure::saying(Failure::PARTLY, said.trim()))
        }
        Err(error) => Err(Failure::new(Failure::PARTLY, error)),
    }
}
