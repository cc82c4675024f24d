//! A run in memory: every event by its bytes, with what is known of it. About 200 bytes an event.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::path::Path;

use super::super::records::calls::Rule;
use super::super::records::{self, END, End, Ended, FAULTS, Fault, FaultKind, PLAN, Plan};

/// The place of an event in [`Run::events`].
pub type Index = u32;

pub type Hash = [u8; 32];

/// For what is a hash already, or a small number.
pub type Quick = BuildHasherDefault<First8>;

/// Takes the first bytes as they are.
#[derive(Default)]
pub struct First8(u64);

impl Hasher for First8 {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut first = [0; 8];
        let length = bytes.len().min(8);
        first[..length].copy_from_slice(&bytes[..length]);
        self.0 ^= u64::from_le_bytes(first).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, _: usize) {
        // The length of an array, which is the same for all.
    }
}

/// Never.
pub const NEVER: u64 = u64::MAX;

/// Bytes that were sent, all posts of them together.
pub struct Event {
    /// The event key it was expected to get.
    pub id: Box<str>,
    pub key: u32,
    pub kseq: u64,
    /// Whether one of its posts was as GHL's.
    pub signed: bool,
    pub first_send: u64,
    /// When the first 2xx had been read.
    pub first_ok: u64,
    /// When the last post was over.
    pub last_recv: u64,
    /// Whether a post of it has an unknown outcome.
    pub unknown: bool,
    /// Which of the plan's wanted it belongs to, a bit each.
    pub wanted: u32,
    /// Which of the plan's rules it calls for, a bit each.
    pub calls: u32,
    /// Whether it is the daemon's own: an answer that became an event.
    pub own: bool,
    /// When the last dump after a crash was taken that does not have it.
    pub absent_at: u64,
    /// Its place in the log; 0 where it is not in the log at the end.
    pub position: i64,
    /// Of all queues.
    pub seen: bool,
}

/// The first copy of an event in a queue.
pub struct First {
    pub event: Index,
    pub position: i64,
    pub redelivered: bool,
    pub t: u64,
}

/// What came from one queue.
#[derive(Default)]
pub struct Queue {
    pub name: String,
    /// First copies in the order of their arrival.
    pub firsts: Vec<First>,
    /// The place of an event in `firsts`.
    pub place: HashMap<Index, u32, Quick>,
    /// Copies that are not marked as redelivered, where there is more than one.
    pub copies: HashMap<Index, u32, Quick>,
}

impl Queue {
    /// Copies beyond the first, marked ones left out.
    pub fn surplus(&self) -> usize {
        self.copies.values().map(|count| *count as usize - 1).sum()
    }
}

/// A run.
pub struct Run {
    pub plan: Plan,
    pub end: End,
    pub faults: Vec<Fault>,
    pub events: Vec<Event>,
    /// Posts by the status of their answer.
    pub answers: BTreeMap<u16, usize>,
    /// Posts without an answer.
    pub unanswered: usize,
    pub keys: Vec<String>,
    pub by_hash: HashMap<Hash, Index, Quick>,
    /// By the event key that the log gave it, and by the expected one where it is not in the log.
    pub by_id: HashMap<Box<str>, Index>,
    /// By its place in the log.
    pub by_position: HashMap<i64, Index>,
    /// Whether there is a dump of the log at the end.
    pub dumped: bool,
    /// Positions that are parked at the end.
    pub parked: HashMap<i64, String>,
    /// Events that the broker nacked or returned at least once.
    pub rejected: HashSet<Index, Quick>,
    pub queues: Vec<Queue>,
}

impl Run {
    pub fn load(folder: &Path) -> io::Result<Self> {
        let end: End = records::read(&folder.join(END))?;
        let mut faults: Vec<Fault> = Vec::new();
        records::each(&folder.join(FAULTS), |fault| faults.push(fault))?;
        let parked = end
            .dead_letters
            .iter()
            .map(|letter| (letter.position, letter.reason.clone()))
            .collect();
        Ok(Self {
            plan: records::read(&folder.join(PLAN))?,
            end,
            faults,
            events: Vec::new(),
            answers: BTreeMap::new(),
            unanswered: 0,
            keys: Vec::new(),
            by_hash: HashMap::default(),
            by_id: HashMap::new(),
            by_position: HashMap::new(),
            dumped: false,
            parked,
            rejected: HashSet::default(),
            queues: Vec::new(),
        })
    }

    /// How an event is shown.
    pub fn name(&self, event: Index) -> String {
        let event = &self.events[event as usize];
        format!(
            "{} ({}#{})",
            event.id, self.keys[event.key as usize], event.kseq
        )
    }

    pub fn event(&self, index: Index) -> &Event {
        &self.events[index as usize]
    }

    /// Events with their places.
    pub fn all(&self) -> impl Iterator<Item = (Index, &Event)> {
        (0..).zip(&self.events)
    }

    /// The rules of the plan.
    pub fn rules(&self) -> &[Rule] {
        let follow_ups = self.plan.follow_ups.as_ref();
        follow_ups.map_or(&[], |follow_ups| &follow_ups.rules)
    }

    /// When daemons were killed.
    pub fn kills(&self) -> impl Iterator<Item = u64> {
        let lives = self.end.lives.iter();
        let killed = lives.filter(|life| life.ended == Ended::Killed);
        killed.map(|life| life.t_ended)
    }

    /// Faults of these kinds.
    pub fn faults_of(&self, kinds: &'static [FaultKind]) -> impl Iterator<Item = &Fault> {
        self.faults
            .iter()
            .filter(move |fault| kinds.contains(&fault.kind))
    }

    /// The queues of one of the plan's wanted.
    pub fn queues_of(&self, wanted: usize) -> impl Iterator<Item = &Queue> {
        let names = &self.plan.wanted[wanted].queues;
        self.queues
            .iter()
            .filter(move |queue| names.contains(&queue.name))
    }

    /// Whether an event came to one of the queues of one of the plan's wanted.
    pub fn came(&self, event: Index, wanted: usize) -> bool {
        self.queues_of(wanted)
            .any(|queue| queue.place.contains_key(&event))
    }

    /// Whether `id` is a key that these bytes may have in the log: the expected one, or that of other
    /// bytes under a known id.
    pub fn is_id_of(&self, event: Index, hash: &Hash, id: &str) -> bool {
        let expected = &*self.event(event).id;
        match id.strip_prefix(expected) {
            Some("") => true,
            Some(rest) => rest.strip_prefix('~') == Some(&hex(hash)[..16]),
            None => false,
        }
    }
}

/// 64 hex digits; other text has no hash that anything else has.
pub fn unhex(text: &str) -> Option<Hash> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut hash = [0; 32];
    for (part, bytes) in hash.chunks_exact_mut(16).enumerate() {
        let digits = &text[32 * part..32 * (part + 1)];
        bytes.copy_from_slice(&u128::from_str_radix(digits, 16).ok()?.to_be_bytes());
    }
    Some(hash)
}

fn hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a topic binding takes a routing key.
pub fn matches(pattern: &str, key: &str) -> bool {
    fn words(pattern: &[&str], key: &[&str]) -> bool {
        match (pattern.split_first(), key.split_first()) {
            (None, None) => true,
            (Some((&"#", rest)), _) => (0..=key.len()).any(|skip| words(rest, &key[skip..])),
            (Some((&word, rest)), Some((&first, others))) => {
                (word == "*" || word == first) && words(rest, others)
            }
            _ => false,
        }
    }
    let pattern: Vec<_> = pattern.split('.').collect();
    let key: Vec<_> = key.split('.').collect();
    words(&pattern, &key)
}
