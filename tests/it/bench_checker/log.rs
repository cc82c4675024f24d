//! The records of a small run in which nothing is wrong, to be changed.

use std::collections::BTreeMap;

use crate::bench::checker::{Verdict, judge};
use crate::bench::records::calls::{API, CALLS, Call, REPORT, Report, Request};
use crate::bench::records::{
    self, AFTER_CRASH, ATTEMPTS, Attempt, BROKER, Class, DeadLetter, Delivered, END, End, Ended,
    FAULTS, Fault, FaultKind, Life, PLAN, Plan, ROWS, Resources, Row, SCRAPES, SINK, Scrape, Seen,
    Taken, Wanted, Writer,
};

/// Events of the good run; of two keys in turn.
pub const EVENTS: u64 = 8;
/// One event after the other, in microseconds.
pub const STEP: u64 = 10_000;
pub const ALL: &str = "hookwell.all";

/// The records, and what is derived from them when they are judged.
pub struct Log {
    pub plan: Plan,
    pub attempts: Vec<Attempt>,
    pub delivered: Vec<Delivered>,
    pub broker: Vec<Seen>,
    pub faults: Vec<Fault>,
    pub rows: Vec<Row>,
    pub after_crash: Option<(u64, Vec<Row>)>,
    pub scrapes: Vec<Scrape>,
    pub end: End,
    /// Whether head, cursor and metrics follow from the rest when it is judged.
    pub adds_up: bool,
    /// Series that are set at the very end.
    pub series: BTreeMap<String, f64>,
    /// A series that is not shown.
    pub hidden: &'static str,
    /// Calls that events called for, what the GHL got of them, and what it counted.
    pub calls: Vec<Call>,
    pub api: Vec<Request>,
    pub report: Option<Report>,
    /// More files of the run, as they are.
    pub files: Vec<(&'static str, &'static str)>,
}

pub fn id(n: u64) -> String {
    format!("event-{n}")
}

pub fn hash(n: u64) -> String {
    format!("{n:064x}")
}

pub fn row(n: u64, position: i64) -> Row {
    Row {
        position,
        id: id(n),
        app: "app".to_owned(),
        sha256: hash(n),
    }
}

pub fn attempt(n: u64, status: Option<u16>) -> Attempt {
    let t_send = (n + 1) * STEP;
    Attempt {
        id: id(n),
        key: format!("tenant/{}", n % 2),
        kseq: n / 2,
        attempt: 1,
        sha256: hash(n),
        class: Class::Signed,
        routing_key: Some("ghl.contact.create.tenant".to_owned()),
        t_send,
        t_recv: t_send + STEP / 2,
        status,
        error: status.is_none().then(|| "connection reset".to_owned()),
    }
}

pub fn delivery(n: u64, position: i64) -> Delivered {
    Delivered {
        queue: ALL.to_owned(),
        n: 0,
        id: id(n),
        position,
        sha256: hash(n),
        redelivered: false,
        t: (n + 2) * STEP,
    }
}

pub fn seen(conn: u64, what: &str, n: Option<u64>, tag: Option<u64>) -> Seen {
    Seen {
        conn,
        t: (n.unwrap_or(0) + 1) * STEP + STEP / 4,
        what: what.to_owned(),
        channel: 1,
        id: n.map(id),
        routing_key: None,
        tag,
        multiple: false,
        forwarded: true,
    }
}

pub fn fault(kind: FaultKind, from: u64, to: u64) -> Fault {
    Fault {
        kind,
        what: "test".to_owned(),
        from,
        to,
    }
}

pub fn parked(position: i64, reason: &str) -> DeadLetter {
    DeadLetter {
        position,
        reason: reason.to_owned(),
        state: "parked".to_owned(),
    }
}

const HELD: Resources = Resources {
    rss_bytes: 50 << 20,
    fds: 40,
    threads: 5,
    connections: 10,
    wal_bytes: 4 << 20,
    tasks: Some(40),
};

impl Log {
    /// A quiet run that ends with a stop in order. Event `n` has position `n + 1`.
    pub fn good() -> Self {
        let second = 1_000_000;
        let mut log = Self {
            plan: Plan {
                row: "T-00".to_owned(),
                store: "sqlite".to_owned(),
                window: 2,
                deadline_us: second,
                drain_us: second,
                stop_us: second,
                limits: Resources {
                    rss_bytes: 100 << 20,
                    ..Resources::default()
                },
                ..Plan::default()
            },
            attempts: (0..EVENTS).map(|n| attempt(n, Some(200))).collect(),
            delivered: Vec::new(),
            broker: vec![seen(1, "open", None, None)],
            faults: Vec::new(),
            rows: Vec::new(),
            after_crash: None,
            scrapes: Vec::new(),
            end: End {
                drained_at: Some(20 * STEP),
                before: Some(HELD),
                peak: Some(HELD),
                after: Some(HELD),
                lives: vec![Life {
                    ended: Ended::Stopped,
                    t_asked: 30 * STEP,
                    t_ended: 31 * STEP,
                    exit: Some(0),
                    metrics: BTreeMap::new(),
                    at_rest: true,
                }],
                ..End::default()
            },
            adds_up: true,
            series: BTreeMap::new(),
            hidden: "",
            calls: Vec::new(),
            api: Vec::new(),
            report: None,
            files: Vec::new(),
        };
        for (n, position) in (0..EVENTS).zip(1..) {
            log.rows.push(row(n, position));
            log.delivered.push(delivery(n, position));
            log.publish(1, n);
        }
        let mut refused = attempt(100, Some(401));
        refused.class = Class::Unsigned;
        refused.routing_key = None;
        log.attempts.push(refused);
        log.after_crash = Some((5 * STEP, log.rows[..4].to_vec()));
        log
    }

    /// Published and confirmed on a connection.
    pub fn publish(&mut self, conn: u64, n: u64) {
        let tags = self.broker.iter();
        let tags = tags.filter(|seen| seen.conn == conn && seen.what == "publish");
        let tag = tags.count() as u64 + 1;
        self.broker.push(seen(conn, "publish", Some(n), Some(tag)));
        self.broker.push(seen(conn, "ack", None, Some(tag)));
    }

    /// The good run's publish of an event is nacked; it is published again at the end.
    pub fn nack(&mut self, n: u64) {
        let name = id(n);
        let publish = self
            .broker
            .iter()
            .position(|seen| seen.id.as_ref() == Some(&name));
        self.broker[publish.unwrap() + 1].what = "nack".to_owned();
        self.publish(1, n);
    }

    /// A connection ends.
    pub fn close(&mut self, conn: u64) {
        self.broker.push(seen(conn, "close", None, None));
    }

    pub fn remove_row(&mut self, n: u64) {
        let id = id(n);
        self.rows.retain(|row| row.id != id);
        if let Some((_, rows)) = &mut self.after_crash {
            rows.retain(|row| row.id != id);
        }
    }

    pub fn remove_delivery(&mut self, n: u64) {
        let id = id(n);
        self.delivered.retain(|delivered| delivered.id != id);
    }

    /// Two queues: one for everything, one for what `bind` takes.
    pub fn second_queue(&mut self, name: &str, bind: &str) {
        self.plan.wanted.push(Wanted {
            queues: vec![name.to_owned()],
            bind: vec![bind.to_owned()],
        });
    }

    fn add_up(&mut self) {
        let parked = self.end.dead_letters.len() as i64;
        let rows = self.rows.len() as i64;
        self.end.head = rows;
        self.end.cursor = rows;
        self.end.published = rows - parked;
        let mut metrics: BTreeMap<String, f64> = BTreeMap::new();
        let mut set = |name: &str, value: i64| metrics.insert(name.to_owned(), value as f64);
        set("hookwell_ledger_events{state=\"accepted\"}", rows);
        set("hookwell_ledger_events{state=\"published\"}", rows - parked);
        set("hookwell_ledger_events{state=\"pending\"}", 0);
        set("hookwell_ledger_events{state=\"parked\"}", parked);
        set("hookwell_ledger_mismatch_events", 0);
        set("hookwell_backlog_events", 0);
        set("hookwell_backlog_oldest_seconds", 0);
        set("hookwell_quarantine_entries", 0);
        set("hookwell_broker_connects_total{result=\"ok\"}", 1);
        set(
            "hookwell_publish_outcomes_total{outcome=\"confirmed\"}",
            rows,
        );
        let mut codes: BTreeMap<u16, i64> = BTreeMap::new();
        for status in self.attempts.iter().filter_map(|attempt| attempt.status) {
            *codes.entry(status).or_default() += 1;
        }
        for (code, count) in &codes {
            set(
                &format!("hookwell_http_responses_total{{code=\"{code}\"}}"),
                *count,
            );
        }
        let accepted = codes.get(&200).copied().unwrap_or(0);
        let new = rows.min(accepted);
        set("hookwell_events_accepted_total{outcome=\"new\"}", new);
        set(
            "hookwell_events_accepted_total{outcome=\"duplicate\"}",
            accepted - new,
        );
        set("hookwell_events_accepted_total{outcome=\"altered\"}", 0);
        let refused = codes.values().sum::<i64>() - accepted;
        set("hookwell_refused_total{reason=\"any\"}", refused);
        for life in self
            .end
            .lives
            .iter_mut()
            .filter(|life| life.metrics.is_empty())
        {
            life.metrics = metrics.clone();
        }
    }

    /// Writes it down and has it judged.
    pub fn judge(mut self) -> Verdict {
        if self.adds_up {
            self.add_up();
        }
        for life in &mut self.end.lives {
            life.metrics.extend(self.series.clone());
            life.metrics.remove(self.hidden);
        }
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        fn put<T: serde::Serialize>(folder: &std::path::Path, name: &str, records: &[T]) {
            let writer = Writer::open(folder, name).unwrap();
            records.iter().for_each(|record| writer.write(record));
        }
        let rows = |name: &str, taken: u64, rows: &[Row]| {
            put(folder, name, &[Taken { taken }]);
            put(folder, name, rows);
        };
        records::save(folder, PLAN, &self.plan).unwrap();
        records::save(folder, END, &self.end).unwrap();
        put(folder, ATTEMPTS, &self.attempts);
        put(folder, SINK, &self.delivered);
        put(folder, BROKER, &self.broker);
        put(folder, FAULTS, &self.faults);
        put(folder, SCRAPES, &self.scrapes);
        rows(ROWS, 29 * STEP, &self.rows);
        if let Some((taken, of)) = &self.after_crash {
            rows(&format!("{AFTER_CRASH}-1.jsonl"), *taken, of);
        }
        put(folder, CALLS, &self.calls);
        put(folder, API, &self.api);
        if let Some(report) = &self.report {
            records::save(folder, REPORT, report).unwrap();
        }
        for (name, text) in &self.files {
            let file = folder.join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        judge(folder).unwrap()
    }
}
