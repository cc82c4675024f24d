//! The keys of the newest events, in memory; and the reader of the log that writes them into `event_keys`.
//!
//! Keys come in no order, so each of them dirties a page of the tree of keys for itself: within the append
//! that was two thirds of what went into the write-ahead log before every fsync. An append therefore writes
//! events alone. Their keys wait here and go into the tree later, many at once and in the tree's order, so
//! that neighbours share a page. The cursor `keys` says up to where the tree has them; retention stays behind
//! it. What is here is always what the log has after that cursor: after a start, an error, or an append by
//! another process it is read from there.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, QueryBuilder, Row, Sqlite};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::super::Error;
use super::append::Placed;
use super::checkpoint::Written;
use super::statements;
use super::writer::{Writer, on};
use crate::event::{Event, EventKey, Micros, Position};

/// The cursor of this reader.
pub(super) const KEYS: &str = "keys";
/// Keys from which it is worth writing them into the tree.
const WORTH_IT: usize = 32_768;
/// Keys in memory at most, some 25 MiB; beyond, an append writes its own into the tree, as if there were none.
const MOST: usize = 4 * WORTH_IT;
/// Keys written into the tree in one statement, and in one transaction while they are few: an append waits a few
/// milliseconds for it.
const AT_ONCE: usize = 64;
/// And when they are many: so many times what the last append brought. Fewer, and the cursor would fall far behind in an
/// overload, and a start would have to catch up before anything is taken.
const APPENDS_AT_ONCE: usize = 4;
/// For which an append counts as no smaller than this.
const SMALL_APPEND: usize = 256;
/// Rows of the log read in one go.
const READ_AT_ONCE: i64 = 4_096;
/// How often it is looked whether there is something to do.
const TICK: Duration = Duration::from_millis(250);
/// Keys wait no longer than about this; a start has fewer to read then.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the tree keeps with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kept {
    position: Position,
    received_at: Micros,
    body_hash: [u8; 32],
}

impl Kept {
    fn of(position: Position, event: &Event) -> Self {
        Self {
            position,
            received_at: event.received_at,
            body_hash: event.body_hash.0,
        }
    }
}

/// A key in the tree's order. What its first bytes say needs no look at the rest of it, which is elsewhere in memory:
/// nearly every comparison ends there.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Sorted {
    first: u64,
    key: EventKey,
}

impl Sorted {
    fn new(key: EventKey) -> Self {
        let mut first = [0; 8];
        for (to, from) in first.iter_mut().zip(key.as_str().bytes()) {
            *to = from;
        }
        Self {
            first: u64::from_be_bytes(first),
            key,
        }
    }
}

/// Keys in the tree's order, by app.
type Keys = HashMap<String, BTreeMap<Sorted, Kept>>;

/// The keys after the cursor.
#[derive(Debug, Default)]
pub(super) struct YoungKeys {
    /// They are added here.
    young: Keys,
    /// These are being written into the tree, up to a place.
    old: Option<(Keys, Position)>,
    count: usize,
    /// How much the last append brought.
    brought: usize,
    /// The head of the log when the last one was added.
    head: Position,
}

impl YoungKeys {
    /// Reads what the log has after the cursor, if there is room for it. Otherwise the oldest part of it goes
    /// into the tree, and the cursor behind it; so the next time there may be room.
    async fn load(connection: &mut SqliteConnection) -> Result<Option<Self>, Error> {
        let (head, cursor) = (head(connection).await?, cursor(connection).await?);
        let mut loaded = Self {
            head: cursor,
            ..Self::default()
        };
        if head.0 - cursor.0 <= MOST as i64 {
            loaded.follow(connection, head).await?;
            return Ok(Some(loaded));
        }
        let upto = Position(cursor.0 + WORTH_IT as i64);
        let mut transaction = connection.begin_with("begin immediate").await?;
        loaded.follow(&mut transaction, upto).await?;
        for (app_id, keys) in loaded.young {
            let keys = keys.into_iter().map(|(sorted, kept)| (sorted.key, kept));
            insert(&mut transaction, &app_id, &keys.collect::<Vec<_>>()).await?;
        }
        move_cursor(&mut transaction, upto).await?;
        transaction.commit().await?;
        Ok(None)
    }

    /// Takes what stands in the log up to here and was appended by somebody else.
    pub(super) async fn follow(
        &mut self,
        connection: &mut SqliteConnection,
        head: Position,
    ) -> Result<(), Error> {
        while self.head < head {
            let upto = head.min(Position(self.head.0 + READ_AT_ONCE));
            self.read(connection, upto).await?;
            self.head = upto;
        }
        Ok(())
    }

    async fn read(
        &mut self,
        connection: &mut SqliteConnection,
        upto: Position,
    ) -> Result<(), Error> {
        let rows = sqlx::query(
            "select event_key, app_id, position, received_at, body_hash from events \
             where position > $1 and position <= $2",
        )
        .bind(self.head.0)
        .bind(upto.0)
        .fetch_all(connection)
        .await?;
        for row in rows {
            let hash: Vec<u8> = row.try_get("body_hash")?;
            let kept = Kept {
                position: Position(row.try_get("position")?),
                received_at: Micros(row.try_get("received_at")?),
                body_hash: hash
                    .try_into()
                    .map_err(|_| Error::Corrupt("events.body_hash"))?,
            };
            let key = EventKey::from_stored(row.try_get("event_key")?);
            self.add(row.try_get("app_id")?, key, kept);
        }
        Ok(())
    }

    /// The hash that came with a key.
    pub(super) fn hash_of(&self, app_id: &str, key: &EventKey) -> Option<[u8; 32]> {
        let old = self.old.as_ref().map(|(keys, _)| keys);
        let mut both = std::iter::once(&self.young).chain(old);
        let sorted = Sorted::new(key.clone());
        both.find_map(|keys| keys.get(app_id)?.get(&sorted))
            .map(|kept| kept.body_hash)
    }

    /// Whether an append has to write its keys into the tree itself.
    pub(super) fn is_full(&self) -> bool {
        MOST <= self.count
    }

    /// Whether there is nothing in the log that it does not know of.
    pub(super) fn reaches(&self, head: Position) -> bool {
        self.head == head
    }

    /// Takes the keys of a committed append; everything else up to this head is in the tree.
    pub(super) fn committed(&mut self, fresh: Vec<Placed<'_>>, head: Position) {
        self.brought = usize::try_from(head.0 - self.head.0).unwrap_or(0);
        for (position, key, event) in fresh {
            self.add(&event.app_id, key, Kept::of(position, event));
        }
        self.head = head;
    }

    fn add(&mut self, app_id: &str, key: EventKey, kept: Kept) {
        let key = Sorted::new(key);
        let known = match self.young.get_mut(app_id) {
            Some(keys) => keys.insert(key, kept),
            None => {
                let keys = self.young.entry(app_id.to_owned()).or_default();
                keys.insert(key, kept)
            }
        };
        self.count += usize::from(known.is_none());
    }

    /// Whether one of these events was received before this moment.
    fn has_older(&self, before: Micros) -> bool {
        let old = self.old.iter().map(|(keys, _)| keys);
        let both = std::iter::once(&self.young).chain(old);
        let mut kept = both.flat_map(|keys| keys.values().flat_map(BTreeMap::values));
        kept.any(|kept| kept.received_at < before)
    }

    /// Sets what there is aside to be written, unless something is already.
    fn set_aside(&mut self) {
        if self.old.is_none() && !self.young.is_empty() {
            self.old = Some((std::mem::take(&mut self.young), self.head));
        }
    }

    /// Takes the next ones to be written, all of one app and in order; none when all are.
    fn take_run(&mut self) -> (String, Vec<(EventKey, Kept)>) {
        let Some((old, _)) = &mut self.old else {
            return Default::default();
        };
        let Some(app_id) = old.keys().next().cloned() else {
            return Default::default();
        };
        let keys = old.entry(app_id.clone()).or_default();
        let run: Vec<_> = std::iter::from_fn(|| keys.pop_first())
            .map(|(sorted, kept)| (sorted.key, kept))
            .take(at_once(self.count, self.brought))
            .collect();
        if keys.is_empty() {
            old.remove(&app_id);
        }
        self.count -= run.len();
        (app_id, run)
    }
}

/// How many of so many keys are written in one transaction, where the last append brought so much.
fn at_once(count: usize, brought: usize) -> usize {
    let most = APPENDS_AT_ONCE * brought.max(SMALL_APPEND);
    (count * most / MOST).clamp(AT_ONCE, most)
}

/// The head of the log.
async fn head(connection: &mut SqliteConnection) -> Result<Position, Error> {
    let head = sqlx::query_scalar("select position from log_head")
        .fetch_one(connection)
        .await?;
    Ok(Position(head))
}

/// Up to where the tree has the keys.
async fn cursor(connection: &mut SqliteConnection) -> Result<Position, Error> {
    statements::position_of(connection, KEYS).await
}

async fn move_cursor(connection: &mut SqliteConnection, upto: Position) -> Result<(), Error> {
    sqlx::query("update cursors set position = $2 where reader = $1 and position < $2")
        .bind(KEYS)
        .bind(upto.0)
        .execute(connection)
        .await?;
    Ok(())
}

/// Where the log has this key behind the cursor.
pub(super) async fn young_positions_of(
    connection: &mut SqliteConnection,
    key: &str,
) -> Result<Vec<Position>, Error> {
    let found = sqlx::query_scalar(
        "select position from events \
         where position > (select position from cursors where reader = $1) and event_key = $2",
    )
    .bind(KEYS)
    .bind(key)
    .fetch_all(connection)
    .await?;
    Ok(found.into_iter().map(Position).collect())
}

/// Writes keys of one app into the tree. Some of them may be there: after a crash the cursor stands before what
/// was written.
async fn insert(
    connection: &mut SqliteConnection,
    app_id: &str,
    keys: &[(EventKey, Kept)],
) -> Result<(), Error> {
    for run in keys.chunks(AT_ONCE) {
        let mut query = QueryBuilder::<Sqlite>::new(
            "insert or ignore into event_keys (event_key, app_id, position, received_at, body_hash) ",
        );
        query.push_values(run, |mut row, (key, kept)| {
            row.push_bind(key.as_str())
                .push_bind(app_id)
                .push_bind(kept.position.0)
                .push_bind(kept.received_at.0)
                .push_bind(kept.body_hash.as_slice());
        });
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

/// Writes the keys of an append into the tree within it, for there is no more room in memory.
pub(super) async fn insert_at_once(
    connection: &mut SqliteConnection,
    fresh: Vec<Placed<'_>>,
) -> Result<(), Error> {
    let mut by_app: HashMap<&str, Vec<_>> = HashMap::new();
    for (position, key, event) in fresh {
        let run = by_app.entry(&event.app_id).or_default();
        run.push((key, Kept::of(position, event)));
    }
    for (app_id, keys) in by_app {
        insert(connection, app_id, &keys).await?;
    }
    Ok(())
}

/// Reads the young keys where it is not known what they are. After a crash in an overload that can be more than
/// there is room for: then this takes seconds.
pub(super) async fn know(writer: &mut Writer, written: &Written) -> Result<(), Error> {
    while writer.keys.is_none() {
        written.pages(MOST as u64);
        writer.keys = on!(writer, Later, connection => YoungKeys::load(connection))?;
    }
    Ok(())
}

/// Writes keys into the tree, until something fails; dropped at any moment it leaves nothing half done.
pub(super) async fn run(writer: &Mutex<Writer>, written: &Written) -> Result<(), Error> {
    // At a start nobody waits for it yet.
    know(&mut *writer.lock().await, written).await?;
    let mut since = None;
    loop {
        sleep(TICK).await;
        let keys = writer.lock().await;
        let count = keys.keys.as_ref().map_or(0, |keys| keys.count);
        drop(keys);
        if count == 0 {
            since = None;
            continue;
        }
        let waiting = since.get_or_insert_with(Instant::now).elapsed();
        if WORTH_IT <= count || PATIENCE <= waiting {
            write_runs(writer, written).await?;
            since = None;
        }
    }
}

/// Writes keys of events that are older than this into the tree, if there are any: retention stays behind the
/// cursor.
pub(super) async fn write_older(
    writer: &Mutex<Writer>,
    written: &Written,
    before: Micros,
) -> Result<(), Error> {
    let mut locked = writer.lock().await;
    know(&mut locked, written).await?;
    let keys = locked.keys.as_ref();
    let has_older = keys.is_some_and(|keys| keys.has_older(before));
    drop(locked);
    if has_older {
        write_runs(writer, written).await?;
    }
    Ok(())
}

/// Writes all that is set aside; appends and checkpoints come in between.
async fn write_runs(writer: &Mutex<Writer>, written: &Written) -> Result<(), Error> {
    loop {
        let _alone = written.in_bulk().await;
        if !write_a_run(&mut *writer.lock().await, written).await? {
            return Ok(());
        }
    }
}

/// One transaction; whether there is more to write.
async fn write_a_run(writer: &mut Writer, written: &Written) -> Result<bool, Error> {
    // Given back after a success alone: else it is not known what is in the tree.
    let Some(mut keys) = writer.keys.take() else {
        return Ok(false);
    };
    keys.set_aside();
    let Some((_, upto)) = keys.old else {
        writer.keys = Some(keys);
        return Ok(false);
    };
    let (app_id, run) = keys.take_run();
    written.pages(run.len() as u64);
    on!(writer, Later, connection => async {
        if run.is_empty() {
            return move_cursor(connection, upto).await;
        }
        let mut transaction = connection.begin_with("begin immediate").await?;
        insert(&mut transaction, &app_id, &run).await?;
        Ok::<_, Error>(transaction.commit().await?)
    })?;
    let more = !run.is_empty();
    if !more {
        keys.old = None;
    }
    writer.keys = Some(keys);
    Ok(more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_keys_have_the_order_of_the_tree() {
        let keys = [
            "",
            "a",
            "a ",
            "abcdefgh",
            "abcdefgh0",
            "abcdefgi",
            "b",
            "z~",
        ];
        let sorted = keys.map(|key| Sorted::new(EventKey::from_stored(key.to_owned())));
        assert!(sorted.is_sorted());
    }

    #[test]
    fn where_there_is_no_room_more_keys_go_into_the_tree_than_come() {
        assert_eq!(at_once(0, 2_000), AT_ONCE);
        assert_eq!(at_once(MOST, 10), 1_024);
        assert_eq!(at_once(MOST, 2_000), 8_000);
        // They are more than an append brings long before that.
        assert!(2_000 < at_once(MOST / 2, 2_000));
    }
}
