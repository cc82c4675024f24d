//! A proxy in front of Postgres that knows statements: it loses answers, makes up errors, and cuts one exchange.
//!
//! A statement is chosen by a piece of its text. Of the extended protocol an exchange goes from Bind to the
//! ReadyForQuery that follows (names of prepared statements are remembered for each connection), of the
//! simple one from Query to it. What is encrypted passes unseen.

mod conversation;
mod messages;

use std::sync::{Arc, Mutex};

use super::{Ending, Proxy, Side};

use conversation::Conversation;

/// What happens to one statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// It is executed (and committed, unless it stands in a transaction); the client never learns: neither
    /// its CommandComplete nor what follows comes through, and when the server is done, the connection
    /// ends so. One that the server refuses is answered as ever.
    LoseAnswer(Ending),
    /// The client is answered with an error.
    Fail {
        /// The error's SQLSTATE.
        sqlstate: &'static str,
        /// Whether the server gets to see the statement.
        executed: bool,
        /// Whether the error is FATAL, and the connection ends behind it.
        fatal: bool,
    },
    /// The connection is reset behind so many bytes of the exchange that come from one side. An exchange
    /// that has not that many ends in peace.
    Cut {
        /// Whose bytes are counted.
        from: Side,
        /// How many pass.
        after: u64,
    },
    /// Nothing; its bytes are counted. See [`Postgres::measured`].
    Measure,
}

/// What happens, and to which statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// A piece of the statement's text, such as `append_events` or `COMMIT`.
    pub on: String,
    /// The how manyth from now on that has it; 1 is the next.
    pub nth: u32,
    /// What happens to it.
    pub deed: Deed,
}

/// The bytes of an exchange.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Measure {
    /// From Bind or Query to the client's last byte.
    pub from_client: u64,
    /// All of the answer, ReadyForQuery included.
    pub from_server: u64,
}

/// What is to happen to statements.
#[derive(Default)]
struct Plan {
    faults: Vec<Fault>,
    startups: Option<(u32, &'static str)>,
    measured: Option<Measure>,
}

impl Plan {
    /// Counts a statement, and says what happens to it.
    fn meets(&mut self, text: &str) -> Option<Deed> {
        let mut deed = None;
        self.faults.retain_mut(|fault| {
            if !text.contains(&fault.on) {
                return true;
            }
            fault.nth = fault.nth.saturating_sub(1);
            if 0 < fault.nth || deed.is_some() {
                return true;
            }
            deed = Some(fault.deed);
            false
        });
        deed
    }

    /// The error that a new session is refused with.
    fn refuses_startup(&mut self) -> Option<&'static str> {
        let (left, sqlstate) = self.startups.as_mut()?;
        let sqlstate = *sqlstate;
        *left -= 1;
        if *left == 0 {
            self.startups = None;
        }
        Some(sqlstate)
    }
}

/// A running proxy in front of Postgres.
pub struct Postgres {
    /// The network in front of it.
    pub line: Proxy,
    plan: Arc<Mutex<Plan>>,
}

impl Postgres {
    /// Starts one in front of a port of this machine.
    pub async fn in_front_of(port: u16) -> Self {
        let plan = Arc::<Mutex<Plan>>::default();
        let each = Arc::clone(&plan);
        let line = Proxy::with_filter(port, move || {
            Some(Box::new(Conversation::new(Arc::clone(&each))))
        });
        Self {
            line: line.await,
            plan,
        }
    }

    /// Plans a fault for one statement. Each happens once, on whichever connection the statement comes.
    pub fn plan(&self, on: &str, nth: u32, deed: Deed) {
        assert!(0 < nth, "the next statement is number 1");
        self.plan.lock().unwrap().faults.push(Fault {
            on: on.to_owned(),
            nth,
            deed,
        });
    }

    /// The next `count` sessions are refused with a FATAL error, such as `53300` (too many connections).
    pub fn refuse_sessions(&self, count: u32, sqlstate: &'static str) {
        self.plan.lock().unwrap().startups = (0 < count).then_some((count, sqlstate));
    }

    /// How many faults are still to come.
    pub fn to_come(&self) -> usize {
        let plan = self.plan.lock().unwrap();
        plan.faults.len() + plan.startups.map_or(0, |(left, _)| left as usize)
    }

    /// Forgets the faults that are still to come.
    pub fn forget(&self) {
        let mut plan = self.plan.lock().unwrap();
        plan.faults.clear();
        plan.startups = None;
    }

    /// The exchange that [`Deed::Measure`] counted last.
    pub fn measured(&self) -> Option<Measure> {
        self.plan.lock().unwrap().measured
    }
}
