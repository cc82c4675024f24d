//! Watches a backlog go into the broker.

use std::net::SocketAddr;

use crate::machine::{Watch, Watched};
use crate::post::wait_for_confirms;
use anyhow::Result;

/// Measures from the `from`th confirm of the daemon to the `upto`th.
pub async fn run(admin: SocketAddr, from: u64, upto: u64, watched: &[Watched]) -> Result<()> {
    let from = wait_for_confirms(admin, from).await?;
    let watch = Watch::start(watched);
    let upto = wait_for_confirms(admin, upto).await?;
    // What was confirmed when it was looked, which can be a window more than what was waited for.
    let events = upto.count - from.count;
    let seconds = (upto.at - from.at).as_secs_f64().max(0.001);
    println!("drained={events}");
    println!("drained_seconds={seconds:.3}");
    println!("drained_rate={:.0}", events as f64 / seconds);
    watch.print(events);
    Ok(())
}
