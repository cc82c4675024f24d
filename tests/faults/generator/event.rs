//! Makes events: a realistic body, its signature or the lack of one, and the bytes of the whole request.

use std::fmt::Write as _;

use hookwell::event::Tenant;
use hookwell::event::samples;
use hookwell::routing::routing_key;
use sha2::{Digest, Sha256};

use super::super::random::Random;
use super::super::records::Class;
use super::CANARY_MAIL;
use crate::harness::ghl::{Ghl, PATH, request_bytes};

/// Small and large ones; some are posted to a path of their own.
const TYPES: [&str; 10] = [
    "ContactCreate",
    "ContactUpdate",
    "ContactTagUpdate",
    "NoteCreate",
    "OpportunityCreate",
    "OpportunityStageUpdate",
    "InboundMessage",
    "AppointmentCreate",
    "InvoicePaid",
    "OrderCreate",
];
const CONTACTS_OF_A_TENANT: u64 = 20;
/// How a body begins: read and written again by anybody's parser and printer, it is not what it was.
const UNUSUAL: &str = r#"{ "zBench" : [1.50, 1E2, "\u00e9\/"], "#;
/// Below hookwell's limit for a body, near what GHL cuts at.
const LARGE: usize = 200 * 1024;

/// An event as it is posted, however often.
pub(super) struct Request {
    pub number: u64,
    pub id: String,
    pub key: String,
    pub kseq: u64,
    pub sha256: String,
    pub class: Class,
    pub routing_key: Option<String>,
    /// Head and body.
    pub bytes: Vec<u8>,
    pub chance: Random,
}

pub(super) struct Maker {
    seed: u64,
    large: f64,
    /// Stands in place of each body's first brace.
    head: String,
    ghl: Ghl,
    stranger: Ghl,
}

impl Maker {
    pub fn new(seed: u64, large: f64) -> Self {
        Self {
            seed,
            large,
            head: format!("{UNUSUAL}\"zMail\":\"{CANARY_MAIL}\", "),
            ghl: Ghl::new(),
            stranger: Ghl::with_seed([13; 32]),
        }
    }

    /// Event `kseq` of a key. The same for the same seed, whenever it is made.
    pub fn make(&self, number: u64, kseq: u64, class: Class) -> Request {
        let mut chance = Random::new(self.seed).fork(number).fork(kseq);
        let tenant = format!("Tenant{:014}", number / CONTACTS_OF_A_TENANT);
        let contact = number % CONTACTS_OF_A_TENANT;
        let kind = TYPES[chance.below(TYPES.len() as u64) as usize];
        let id = chance.uuid();
        // The sample's contact is that of its number modulo 1000.
        let n = contact + 1000 * kseq;
        let mut body = self.ghl.body_with_id(kind, &tenant, n, &id);
        body.splice(0..1, self.head.bytes());
        if class == Class::Signed && chance.percent(self.large) {
            // Blanks after a JSON text are part of the signed bytes and of no meaning.
            body.resize(LARGE, b' ');
        }
        let path = match samples::needs_url_name(kind) {
            true => format!("{PATH}/{kind}"),
            false => PATH.to_owned(),
        };
        let headers = self.headers(class, &body, &mut chance);
        let routing_key = (class == Class::Signed).then(|| {
            let tenant = Tenant {
                company_id: None,
                location_id: Some(tenant.clone()),
            };
            routing_key(kind, &tenant)
        });
        Request {
            number,
            id,
            key: format!("{tenant}/{contact}"),
            kseq,
            sha256: hex(&Sha256::digest(&body)),
            class,
            routing_key,
            bytes: request_bytes("POST", &path, &headers, &body),
            chance,
        }
    }

    fn headers(&self, class: Class, body: &[u8], chance: &mut Random) -> Vec<(String, String)> {
        let mut headers = match class {
            Class::Forged => self.stranger.headers(body),
            _ => self.ghl.headers(body),
        };
        let signature = headers.pop().unwrap();
        let (name, good) = signature.clone();
        match class {
            Class::Unsigned => (),
            Class::Signed | Class::Forged => headers.push(signature),
            Class::Malformed => match chance.below(4) {
                0 => headers.push((name, "not base64!".to_owned())),
                // A signature without its last byte.
                1 => headers.push((name, format!("{}==", &good[..84]))),
                2 => headers.extend([signature.clone(), signature]),
                _ => {
                    headers = vec![
                        ("content-type".to_owned(), "text/plain".to_owned()),
                        signature,
                    ];
                }
            },
        }
        headers
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
