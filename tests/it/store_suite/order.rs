//! The check that a reader's cursor skips nothing while many append, and the proof that it would
//! notice.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hookwell::event::Position;
use hookwell::store::Store;
use tokio::task::JoinSet;

use super::{Fixture, NO_LIMIT, another, event};
use crate::harness::{Backend, store};

pub(super) const WRITERS: usize = 8;
const BATCH: usize = 10;

/// Appends `batches` batches through each store at once and reads by cursor beside them.
///
/// # Errors
/// The position after which the cursor skipped some.
pub(super) async fn watch(
    stores: Vec<Arc<dyn Store>>,
    log: &dyn Store,
    batches: usize,
) -> Result<(), Position> {
    let mut reader = log.relay_reader().await.unwrap().unwrap();
    let total = stores.len() * batches * BATCH;
    let mut writers = JoinSet::new();
    for (writer, store) in stores.into_iter().enumerate() {
        writers.spawn(async move {
            for batch in 0..batches {
                let events: Vec<_> = (0..BATCH)
                    .map(|n| event(&format!("w{writer}-{batch}-{n}"), "body"))
                    .collect();
                store.append(&events).await.unwrap();
            }
        });
    }
    let reading = async {
        let mut cursor = Position(0);
        let mut keys = HashSet::new();
        while keys.len() < total {
            for recorded in reader.read(cursor, 1_000, NO_LIMIT).await.unwrap() {
                if recorded.position.0 != cursor.0 + 1 {
                    return Err(cursor);
                }
                cursor = recorded.position;
                assert!(keys.insert(recorded.event.key.to_string()), "came twice");
            }
        }
        Ok(())
    };
    let outcome = tokio::time::timeout(Duration::from_secs(60), reading)
        .await
        .expect("the reader sees every event within a minute");
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    outcome
}

/// The same function without the lock: positions from a sequence, as a `bigserial` would give them.
const WITHOUT_THE_LOCK: &str = "
create sequence loose_position;
create or replace function append_events(
    event_keys_in text[], app_ids text[], event_types text[], company_ids text[], location_ids text[],
    entity_ids text[], origins text[], signatures text[], received_ats bigint[], body_hashes bytea[],
    bodies bytea[]
) returns table (ord bigint, outcome text, log_position bigint, final_key text)
language sql as $$
    with placed as (
        select i.*, nextval('loose_position') as position
        from unnest(event_keys_in, app_ids, event_types, company_ids, location_ids, entity_ids,
                    origins, signatures, received_ats, body_hashes, bodies) with ordinality
            as i(event_key, app_id, event_type, company_id, location_id, entity_id,
                 origin, signature, received_at, body_hash, body, ord)
    ), added as (
        insert into events (position, event_key, app_id, event_type, company_id, location_id, entity_id,
                            origin, signature, received_at, body_hash, body)
        select position, event_key, app_id, event_type, company_id, location_id, entity_id,
               origin, signature, received_at, body_hash, body
        from placed
    )
    select ord, 'new', position, event_key from placed order by ord;
$$;";

#[tokio::test(flavor = "multi_thread")]
async fn without_the_lock_the_same_check_sees_a_skip() {
    let give_up = Instant::now() + Duration::from_secs(60);
    while Instant::now() < give_up {
        let fixture = Fixture::new(Backend::Postgres).await;
        store::execute(fixture.url.url(), WITHOUT_THE_LOCK).await;
        let mut stores = Vec::new();
        for _ in 0..WRITERS {
            stores.push(another(&fixture).await);
        }
        if let Err(Position(cursor)) = watch(stores, fixture.store.as_ref(), 60).await {
            let skipped = Position(cursor + 1);
            let late = fixture.store.event_at(skipped).await.unwrap();
            assert!(late.is_some(), "{skipped} was never there, so not skipped");
            return;
        }
    }
    panic!("the check never saw a skip, so it proves nothing about the lock");
}
