//! Fills a log without HTTP: a million events in well under a minute.

use anyhow::Result;
use hookwell::app::open_store;
use hookwell::clock;
use hookwell::config::Config;
use hookwell::event::identify::identify;
use hookwell::event::{BodyHash, Event, Origin};
use tokio::time::Instant;

use crate::bodies;

/// Larger than the daemon's batches, since nobody waits for an answer.
const BATCH: usize = 2000;

pub async fn run(config: &Config, count: usize) -> Result<()> {
    let (_, app) = crate::target(config)?;
    let (store, _) = open_store(&config.store).await?;
    let clock = clock::system();
    let started = Instant::now();
    let mut done = 0;
    while done < count {
        let upto = count.min(done + BATCH);
        let batch: Vec<Event> = (done..upto)
            .map(|n| {
                let body = bodies::body(&app.id, n as u64);
                let body_hash = BodyHash::of(&body);
                let identity = identify(&body, &body_hash, None);
                Event {
                    key: identity.key,
                    app_id: app.id.clone(),
                    event_type: identity.event_type,
                    tenant: identity.tenant,
                    entity_id: identity.entity_id,
                    origin: Origin::Webhook,
                    // The length of a real one; nobody checks it again.
                    signature: Some("A".repeat(88)),
                    received_at: clock(),
                    body_hash,
                    body: body.into(),
                }
            })
            .collect();
        store.append(&batch).await?;
        done = upto;
    }
    println!("preloaded={done}");
    println!("preload_seconds={:.1}", started.elapsed().as_secs_f64());
    Ok(())
}
