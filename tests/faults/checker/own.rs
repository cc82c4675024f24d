//! Events of the daemon's own: answers of follow-ups that a rule publishes. Their key is that of the call,
//! `<rule>-<position of the event that called for it>`; from then on they are events like all others.

use super::super::records::Row;
use super::answers::everywhere;
use super::load::{Event, Hash, Index, NEVER, Run};

/// Takes a row that nobody sent as an answer, if an event of the log called for it; whether it is one.
pub fn take(run: &mut Run, row: &Row, hash: Option<Hash>) -> bool {
    let (Some(hash), Some(cause)) = (hash, cause(run, &row.id)) else {
        return false;
    };
    let tenant = &run.keys[run.event(cause).key as usize];
    let tenant = tenant.split('/').next().unwrap_or_default();
    // The order of a tenant's answers is that of the log, whatever they answer.
    let key = format!("answers of {tenant}");
    let key = match run.keys.iter().position(|known| *known == key) {
        Some(place) => place,
        None => {
            run.keys.push(key);
            run.keys.len() - 1
        }
    };
    let index = Index::try_from(run.events.len()).unwrap();
    let wanted = everywhere(run);
    run.events.push(Event {
        id: row.id.as_str().into(),
        key: u32::try_from(key).unwrap(),
        kseq: 0,
        signed: true,
        first_send: NEVER,
        first_ok: NEVER,
        last_recv: 0,
        unknown: false,
        wanted,
        calls: 0,
        own: true,
        absent_at: 0,
        position: row.position,
        seen: false,
    });
    run.by_hash.insert(hash, index);
    run.by_id.insert(row.id.as_str().into(), index);
    run.by_position.insert(row.position, index);
    true
}

/// The key that the answer to a rule's call for an event has.
pub fn key(rule: &str, position: i64) -> String {
    format!("{rule}-{position}")
}

/// The event that called for the answer with this key; it is there before it.
fn cause(run: &Run, key: &str) -> Option<Index> {
    let (name, position) = key.rsplit_once('-')?;
    let index = *run.by_position.get(&position.parse().ok()?)?;
    let number = run.rules().iter().position(|rule| rule.name == name)?;
    let called = run.event(index).calls & (1_u32 << number) != 0;
    (called && run.rules()[number].publishes).then_some(index)
}
