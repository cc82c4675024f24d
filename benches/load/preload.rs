//! Fills a log without HTTP: a million events in well under a minute.

use anyhow::Result;
use hookwell::app::open_store;
use hookwell::clock;
use hookwell::config::Config;
use hookwell::event::Event;
use tokio::time::Instant;

use crate::events::event;

/// Larger than the daemon's batches, since nobody waits for an answer.
const BATCH: usize = 2000;

pub async fn run(config: &Config, count: usize) -> Result<()> {
    let (_, app) = crate::target(config)?;
    let (store, _) = open_store(&config.store).await?;
    let clock = clock::system();
    let started = Instant::now();
    let mut done = 0;
    let fill = async {
        while done < count {
            let upto = count.min(done + BATCH);
            let batch: Vec<Event> = (done..upto)
                .map(|n| event(&app.id, n as u64, &clock))
                .collect();
            store.append(&batch).await?;
            done = upto;
        }
        anyhow::Ok(())
    };
    tokio::select! {
        filled = fill => filled?,
        () = store.upkeep() => (),
    }
    store.close().await;
    println!("preloaded={done}");
    println!("preload_seconds={:.1}", started.elapsed().as_secs_f64());
    Ok(())
}
