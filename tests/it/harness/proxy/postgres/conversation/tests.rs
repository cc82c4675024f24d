//! What goes on is what came, to the byte, wherever reads split it; faults do not depend on the splits.

use super::*;

struct Talk {
    conversation: Conversation,
    plan: Arc<Mutex<Plan>>,
}

/// What both sides get, in the order of the messages of an insert that is prepared and executed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    server: Vec<u8>,
    client: Vec<u8>,
    end: Option<(Side, Ending)>,
}

impl Talk {
    fn new() -> Self {
        let plan = Arc::<Mutex<Plan>>::default();
        Self {
            conversation: Conversation::new(Arc::clone(&plan)),
            plan,
        }
    }

    /// With one fault planned for the next insert.
    fn planning(deed: Deed) -> Self {
        let this = Self::new();
        this.plan(deed);
        this
    }

    fn plan(&self, deed: Deed) {
        let on = "insert".to_owned();
        let fault = super::super::Fault { on, nth: 1, deed };
        self.plan.lock().unwrap().faults.push(fault);
    }

    /// Plays the script with reads of at most so many bytes.
    fn play(&mut self, most: usize) -> Heard {
        let mut heard = Heard::default();
        for (from, stream) in script() {
            for piece in stream.chunks(most) {
                let mut out = Out::default();
                self.conversation.take(from, piece, &mut out);
                heard.server.extend(out.to_server);
                heard.client.extend(out.to_client);
                heard.end = heard.end.or(out.end);
            }
        }
        heard
    }
}

fn startup(code: u32) -> Vec<u8> {
    [8_u32.to_be_bytes(), code.to_be_bytes()].concat()
}

fn prepare() -> Vec<u8> {
    let parse = message(b'P', b"s1\0insert into t\0\0\0");
    [parse, message(b'D', b"Ss1\0"), message(b'S', b"")].concat()
}

fn execute() -> Vec<u8> {
    let bind = message(b'B', &[b"\0s1\0", &[9; 50][..]].concat());
    let run = message(b'E', b"\0\0\0\0\0");
    [bind, run, message(b'C', b"P\0"), message(b'S', b"")].concat()
}

fn completed() -> Vec<u8> {
    [
        message(b'C', b"INSERT 0 1\0"),
        message(b'3', b""),
        message(b'Z', b"I"),
    ]
    .concat()
}

fn script() -> Vec<(Side, Vec<u8>)> {
    let prepared = [message(b'1', b""), message(b'n', b""), message(b'Z', b"I")].concat();
    let bound = [message(b'2', b""), message(b'D', b"a row")].concat();
    vec![
        (Side::Client, startup(SSL_REQUEST)),
        (Side::Server, b"N".to_vec()),
        (Side::Client, startup(196_608)),
        (
            Side::Server,
            [message(b'R', &[0; 4]), message(b'Z', b"I")].concat(),
        ),
        (Side::Client, prepare()),
        (Side::Server, prepared),
        (Side::Client, execute()),
        (Side::Server, [bound, completed()].concat()),
    ]
}

fn said(side: Side) -> Vec<u8> {
    let script = script().into_iter();
    script
        .filter(|(from, _)| *from == side)
        .flat_map(|(_, stream)| stream)
        .collect()
}

#[test]
fn without_a_fault_every_byte_goes_on() {
    for most in [1, 2, 3, 5, 7, 1000] {
        let heard = Talk::new().play(most);
        assert_eq!(heard.server, said(Side::Client));
        assert_eq!(heard.client, said(Side::Server));
        assert_eq!(heard.end, None);
    }
}

#[test]
fn a_lost_answer_ends_before_its_command_complete() {
    let all = said(Side::Server);
    for most in [1, 3, 1000] {
        let heard = Talk::planning(Deed::LoseAnswer(Ending::Silence)).play(most);
        assert_eq!(heard.server, said(Side::Client));
        assert_eq!(heard.client, all[..all.len() - completed().len()]);
        assert_eq!(heard.end, Some((Side::Client, Ending::Silence)));
    }
}

#[test]
fn an_error_takes_the_place_of_the_answer() {
    let error = error_response("ERROR", "40001");
    let ready = message(b'Z', b"I");
    let row = message(b'D', b"a row").len();
    let all = said(Side::Server);
    for most in [1, 3, 1000] {
        let heard = Talk::planning(Deed::Fail {
            sqlstate: "40001",
            executed: true,
            fatal: false,
        })
        .play(most);
        assert_eq!(heard.server, said(Side::Client));
        let before = &all[..all.len() - completed().len() - row];
        assert_eq!(heard.client, [before, &error, &ready].concat());
        assert_eq!(heard.end, None);
    }
}

#[test]
fn a_transaction_with_an_error_is_shown_as_failed() {
    for executed in [true, false] {
        let mut talk = Talk::new();
        talk.play(1000);
        talk.plan(Deed::Fail {
            sqlstate: "40P01",
            executed,
            fatal: false,
        });
        let mut out = Out::default();
        talk.conversation.take(Side::Client, &execute(), &mut out);
        let mut answers = message(b'2', b"");
        answers.extend(message(b'C', b"INSERT 0 1\0"));
        answers.extend(message(b'Z', b"T"));
        talk.conversation.take(Side::Server, &answers, &mut out);
        assert!(out.to_client.ends_with(&message(b'Z', b"E")));
    }
}

#[test]
fn a_statement_that_is_withheld_leaves_only_its_sync() {
    for most in [1, 3, 1000] {
        let mut talk = Talk::planning(Deed::Fail {
            sqlstate: "40001",
            executed: false,
            fatal: true,
        });
        let heard = talk.play(most);
        let all = said(Side::Client);
        let before = &all[..all.len() - execute().len()];
        assert_eq!(heard.server, [before, &message(b'S', b"")].concat());
        assert!(heard.client.ends_with(&error_response("FATAL", "40001")));
        assert_eq!(heard.end, Some((Side::Client, Ending::Close)));
    }
}

#[test]
fn a_cut_counts_from_the_first_byte_of_the_exchange() {
    for from in [Side::Client, Side::Server] {
        let (all, whole) = match from {
            Side::Client => (said(from), execute().len()),
            Side::Server => {
                let front = message(b'2', b"").len() + message(b'D', b"a row").len();
                (said(from), front + completed().len())
            }
        };
        let begins = all.len() - whole;
        for after in 0..=whole + 1 {
            let cut = Deed::Cut {
                from,
                after: after as u64,
            };
            let heard = Talk::planning(cut).play(1 + after % 4);
            let got = match from {
                Side::Client => heard.server,
                Side::Server => heard.client,
            };
            assert_eq!(got, all[..begins + after.min(whole)], "{from:?}: {after}");
            let ends = (after <= whole).then_some((from.other(), Ending::Reset));
            assert_eq!(heard.end, ends, "{from:?}: {after}");
        }
        let mut talk = Talk::planning(Deed::Measure);
        talk.play(3);
        let measured = talk.plan.lock().unwrap().measured.unwrap();
        let counted = match from {
            Side::Client => measured.from_client,
            Side::Server => measured.from_server,
        };
        assert_eq!(counted, whole as u64);
    }
}

#[test]
fn what_is_encrypted_passes_unseen() {
    let mut talk = Talk::planning(Deed::LoseAnswer(Ending::Reset));
    let mut out = Out::default();
    talk.conversation
        .take(Side::Client, &startup(SSL_REQUEST), &mut out);
    talk.conversation.take(Side::Server, b"S", &mut out);
    let noise: Vec<u8> = (0..100).collect();
    for from in [Side::Client, Side::Server] {
        talk.conversation.take(from, &noise, &mut out);
    }
    assert_eq!(
        out.to_server,
        [startup(SSL_REQUEST), noise.clone()].concat()
    );
    assert_eq!(out.to_client, [b"S".to_vec(), noise].concat());
    assert_eq!(out.end, None);
}
