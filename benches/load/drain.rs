//! Watches a backlog go into the broker.

use std::net::SocketAddr;

use anyhow::Result;
use tokio::time::Instant;

use crate::machine::{Watch, Watched};
use crate::post::wait_for_confirms;
use crate::scrape::Scrape;

pub async fn run(admin: SocketAddr, count: u64, watched: &[Watched]) -> Result<()> {
    // Until the first confirm the daemon may still be waiting to connect.
    let begun_at = Scrape::of(admin).await?.confirmed()? + 1;
    wait_for_confirms(admin, begun_at).await?;
    let watch = Watch::start(watched);
    let (begun, already) = (Instant::now(), Scrape::of(admin).await?.confirmed()?);
    let ended = wait_for_confirms(admin, count).await?;
    let events = count.saturating_sub(already);
    let seconds = (ended - begun).as_secs_f64().max(0.001);
    println!("drained={events}");
    println!("drained_seconds={seconds:.3}");
    println!("drained_rate={:.0}", events as f64 / seconds);
    watch.print(events);
    Ok(())
}
