//! One client's conversation with Postgres, and what the plan makes of it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use super::super::line::{Filter, Out};
use super::super::{Ending, Side};
use super::messages::{Head, Messages, Part, error_response, message};
use super::{Deed, Measure, Plan};

const SSL_REQUEST: u32 = 80_877_103;
const CANCEL_REQUEST: u32 = 80_877_102;
const GSS_REQUEST: u32 = 80_877_104;

/// Statements remembered, and requests without an answer; whoever has more is only passed on.
const MOST: usize = 10_000;

/// A request that the server has not answered yet, in their order.
enum Request {
    Bind(Option<Deed>),
    Execute(Option<Deed>),
    Query(Option<Deed>),
    /// With the error of a statement that was withheld from the server.
    Sync(Option<Failure>),
}

#[derive(Clone, Copy)]
struct Failure {
    sqlstate: &'static str,
    fatal: bool,
}

impl Failure {
    fn message(self) -> Vec<u8> {
        error_response(if self.fatal { "FATAL" } else { "ERROR" }, self.sqlstate)
    }
}

/// What becomes of the server's answer that is under way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Passes,
    /// Dropped; behind it the connection ends so.
    Lost(Ending),
    /// Dropped, up to ReadyForQuery.
    Replaced,
}

pub(super) struct Conversation {
    plan: Arc<Mutex<Plan>>,
    client: Messages,
    server: Messages,
    /// The server's next byte answers a request for encryption.
    encryption_asked: bool,
    /// Everything passes: encrypted, a cancellation, or not Postgres's protocol.
    unseen: bool,
    /// A fault has ended the connection; nothing passes any more.
    over: bool,
    names: HashMap<Vec<u8>, String>,
    requests: VecDeque<Request>,
    /// For the Execute that follows the Bind seen last.
    bound: Option<Deed>,
    /// What the client says up to Sync does not reach the server, and is answered with this.
    withheld: Option<Failure>,
    answer: Answer,
    /// Whether the rest of the message under way passes, by the side that sent it.
    passing: [bool; 2],
    /// Bytes from each side until the connection is cut.
    left: [Option<u64>; 2],
    measure: Option<Measure>,
}

impl Conversation {
    pub fn new(plan: Arc<Mutex<Plan>>) -> Self {
        Self {
            plan,
            client: Messages::of_client(),
            server: Messages::of_server(),
            encryption_asked: false,
            unseen: false,
            over: false,
            names: HashMap::new(),
            requests: VecDeque::new(),
            bound: None,
            withheld: None,
            answer: Answer::Passes,
            passing: [true; 2],
            left: [None; 2],
            measure: None,
        }
    }

    fn ask(&mut self, request: Request) {
        self.requests.push_back(request);
        self.unseen |= MOST < self.requests.len();
    }

    /// Lets bytes go on, as far as a cut allows.
    fn pass(&mut self, from: Side, bytes: &[u8], out: &mut Out) {
        if self.over {
            return;
        }
        if let Some(measure) = &mut self.measure {
            match from {
                Side::Client => measure.from_client += bytes.len() as u64,
                Side::Server => measure.from_server += bytes.len() as u64,
            }
        }
        let left = &mut self.left[from as usize];
        let most = left.unwrap_or(u64::MAX);
        let ends = most <= bytes.len() as u64;
        let passing = if ends { &bytes[..most as usize] } else { bytes };
        *left = left.map(|rest| rest - passing.len() as u64);
        out.to(from.other()).extend_from_slice(passing);
        if ends {
            self.end(from.other(), Ending::Reset, out);
        }
    }

    fn end(&mut self, behind: Side, ending: Ending, out: &mut Out) {
        out.end = Some((behind, ending));
        self.over = true;
    }

    /// A message of the client's; says whether it goes on to the server.
    fn said(&mut self, head: &Head, out: &mut Out) -> bool {
        match head.kind {
            0 => return self.starts(head, out),
            b'P' if self.names.len() < MOST => {
                let text = String::from_utf8_lossy(head.text(1)).into_owned();
                self.names.insert(head.text(0).to_vec(), text);
            }
            b'B' if self.withheld.is_none() => return self.binds(head),
            b'E' if self.withheld.is_none() => {
                let deed = self.bound.take();
                self.ask(Request::Execute(deed));
            }
            b'Q' => return self.queries(head, out),
            b'S' => {
                let failure = self.withheld.take();
                self.ask(Request::Sync(failure));
            }
            b'C' if head.payload().first() == Some(&b'S') => {
                self.names.remove(&head.text(0)[1..]);
            }
            _ => (),
        }
        self.withheld.is_none()
    }

    fn starts(&mut self, head: &Head, out: &mut Out) -> bool {
        match head.startup_code() {
            Some(SSL_REQUEST | GSS_REQUEST) => self.encryption_asked = true,
            Some(CANCEL_REQUEST) => self.unseen = true,
            _ => {
                self.client.started();
                let refused = self.plan.lock().unwrap().refuses_startup();
                if let Some(sqlstate) = refused {
                    let fatal = true;
                    out.to_client.extend(Failure { sqlstate, fatal }.message());
                    self.end(Side::Client, Ending::Close, out);
                }
            }
        }
        !self.over
    }

    fn binds(&mut self, head: &Head) -> bool {
        let name = head.text(1);
        let text = self.names.get(name).map_or("", String::as_str);
        let deed = self.plan.lock().unwrap().meets(text);
        let mut whole = None;
        match deed {
            Some(Deed::Fail {
                sqlstate,
                executed: false,
                fatal,
            }) => {
                self.withheld = Some(Failure { sqlstate, fatal });
                return false;
            }
            Some(Deed::Cut { from, after }) => match from {
                Side::Client => self.left[from as usize] = Some(after),
                Side::Server => whole = deed,
            },
            Some(Deed::Measure) => self.measure = Some(Measure::default()),
            Some(Deed::LoseAnswer(_) | Deed::Fail { .. }) | None => self.bound = deed,
        }
        self.ask(Request::Bind(whole));
        true
    }

    fn queries(&mut self, head: &Head, out: &mut Out) -> bool {
        let text = String::from_utf8_lossy(head.text(0)).into_owned();
        let deed = self.plan.lock().unwrap().meets(&text);
        match deed {
            Some(Deed::Fail {
                sqlstate,
                executed: false,
                fatal,
            }) => {
                // A Sync in its place: the server's ReadyForQuery then comes at the right time.
                self.ask(Request::Sync(Some(Failure { sqlstate, fatal })));
                self.pass(Side::Client, &message(b'S', b""), out);
                return false;
            }
            Some(Deed::Cut {
                from: Side::Client,
                after,
            }) => self.left[Side::Client as usize] = Some(after),
            Some(Deed::Measure) => self.measure = Some(Measure::default()),
            _ => (),
        }
        self.ask(Request::Query(deed));
        true
    }

    /// A message of the server's; says whether it goes on to the client.
    fn answered(&mut self, head: &mut Head, out: &mut Out) -> bool {
        if self.answer == Answer::Passes {
            self.begins(head.kind, out);
        }
        match head.kind {
            b'2' if matches!(self.requests.front(), Some(Request::Bind(_))) => {
                self.requests.pop_front();
            }
            b'C' | b'I' | b's' if matches!(self.requests.front(), Some(Request::Execute(_))) => {
                self.requests.pop_front();
            }
            b'Z' => return self.is_ready(head, out),
            _ => (),
        }
        self.answer == Answer::Passes && !self.over
    }

    /// Looks whether a planned deed begins with this message.
    fn begins(&mut self, kind: u8, out: &mut Out) {
        let (deed, simple) = match self.requests.front() {
            Some(Request::Bind(deed) | Request::Execute(deed)) => (*deed, false),
            Some(Request::Query(deed)) => (*deed, true),
            _ => return,
        };
        let completes = matches!(kind, b'C' | b'I' | b's');
        let answers = completes || kind == b'D' || kind == b'E' || (simple && kind == b'T');
        match deed {
            Some(Deed::LoseAnswer(ending)) if completes => self.answer = Answer::Lost(ending),
            Some(Deed::Fail {
                sqlstate, fatal, ..
            }) if answers => {
                let failure = Failure { sqlstate, fatal };
                self.fails(failure, out);
                self.answer = Answer::Replaced;
            }
            Some(Deed::Cut {
                from: Side::Server,
                after,
            }) if kind == b'2' || simple => {
                let left = &mut self.left[Side::Server as usize];
                left.get_or_insert(after);
            }
            _ => (),
        }
    }

    fn fails(&mut self, failure: Failure, out: &mut Out) {
        out.to_client.extend(failure.message());
        if failure.fatal {
            self.end(Side::Client, Ending::Close, out);
        }
    }

    /// ReadyForQuery: every request up to the Sync or Query that it answers is done with.
    fn is_ready(&mut self, head: &mut Head, out: &mut Out) -> bool {
        let mut failed = self.answer == Answer::Replaced;
        while let Some(request) = self.requests.pop_front() {
            match request {
                Request::Sync(Some(failure)) => {
                    self.fails(failure, out);
                    failed = true;
                    break;
                }
                Request::Sync(None) | Request::Query(_) => break,
                Request::Bind(_) | Request::Execute(_) => (),
            }
        }
        if let Answer::Lost(ending) = std::mem::replace(&mut self.answer, Answer::Passes) {
            self.end(Side::Client, ending, out);
        }
        // A transaction in which something failed takes nothing but its end.
        if let Some(status @ b'T') = head.bytes.last_mut()
            && failed
        {
            *status = b'E';
        }
        !self.over
    }

    /// What spans an exchange ends with it.
    fn exchange_ends(&mut self) {
        if self.requests.is_empty() {
            self.left = [None; 2];
            if let Some(measure) = self.measure.take() {
                self.plan.lock().unwrap().measured = Some(measure);
            }
        }
    }
}

impl Filter for Conversation {
    fn take(&mut self, from: Side, mut bytes: &[u8], out: &mut Out) {
        if self.encryption_asked && from == Side::Server && !bytes.is_empty() {
            self.encryption_asked = false;
            self.unseen |= bytes[0] != b'N';
            self.pass(from, &bytes[..1], out);
            bytes = &bytes[1..];
        }
        while !self.over && !bytes.is_empty() {
            if self.unseen {
                return self.pass(from, bytes, out);
            }
            let messages = match from {
                Side::Client => &mut self.client,
                Side::Server => &mut self.server,
            };
            match messages.next(&mut bytes) {
                None => return,
                Some(Part::Head(mut head)) => {
                    let passes = match from {
                        Side::Client => self.said(&head, out),
                        Side::Server => self.answered(&mut head, out),
                    };
                    self.passing[from as usize] = passes;
                    if passes {
                        self.pass(from, &head.bytes, out);
                    }
                    if from == Side::Server && head.kind == b'Z' {
                        self.exchange_ends();
                    }
                }
                Some(Part::Rest(rest)) => {
                    if self.passing[from as usize] {
                        self.pass(from, rest, out);
                    }
                }
                Some(Part::Garbled(garbled)) => {
                    self.unseen = true;
                    self.pass(from, &garbled, out);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
