//! Fills a log without HTTP: a million events in well under a minute.

use anyhow::{Context, Result};
use hookwell::app::open_store;
use hookwell::clock::{self, Clock};
use hookwell::config::Config;
use hookwell::event::Event;
use hookwell::store::{Plan, Store};
use tokio::time::Instant;

use crate::events::event;

/// Larger than the daemon's batches, since nobody waits for an answer.
const BATCH: usize = 2000;
/// Places counted in one go.
const PART: i64 = 50_000;

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
    let preload_seconds = started.elapsed().as_secs_f64();
    read_up(store.as_ref(), &clock).await?;
    store.close().await;
    println!("preloaded={done}");
    println!("preload_seconds={preload_seconds:.1}");
    Ok(())
}

/// Brings the readers beside the relay to the end, as in the daemon that took all this: while RabbitMQ was away they went
/// on. These events call for nothing.
async fn read_up(store: &dyn Store, clock: &Clock) -> Result<()> {
    let mut counted = store.count_on(PART).await?;
    while counted.after < counted.upto {
        store.keep_count(&counted, clock()).await?;
        counted = store.count_on(PART).await?;
    }
    let mut planner = store.plan_reader().await?.context("somebody plans")?;
    let plan = Plan {
        upto: counted.upto,
        ..Plan::default()
    };
    Ok(planner.settle(&plan, clock()).await?)
}
