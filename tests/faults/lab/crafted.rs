//! Posts of a row's own making, beside the load and noted like it, so that they are judged like it.

use std::net::SocketAddr;

use hookwell::event::{BodyHash, EventKey};

use super::run::Run;
use crate::harness::ghl::{PATH, request_bytes};
use crate::harness::{Answer, Client, Ghl};
use crate::records::{Attempt, Class};

/// Where what nobody can read goes.
const UNREADABLE: &str = "other.unknown.none";

/// A request, and what is expected of it.
#[derive(Debug, Clone)]
pub struct Crafted {
    /// The event key that it is to get.
    pub id: String,
    /// The entity within which order counts.
    pub key: String,
    /// Whether it may come in.
    pub class: Class,
    /// Where its message goes.
    pub routing_key: Option<String>,
    /// Where it is posted.
    pub path: String,
    /// All headers but the host and the length.
    pub headers: Vec<(String, String)>,
    /// The bytes.
    pub body: Vec<u8>,
}

impl Crafted {
    /// A body signed by GHL, of which nothing can be read: its key is its hash.
    pub fn signed(body: impl Into<Vec<u8>>) -> Self {
        Self::signed_by(&Ghl::new(), body)
    }

    /// The same by another key than the usual one.
    pub fn signed_by(ghl: &Ghl, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self {
            id: EventKey::from_body(&BodyHash::of(&body)).to_string(),
            key: "none".to_owned(),
            class: Class::Signed,
            routing_key: Some(UNREADABLE.to_owned()),
            path: PATH.to_owned(),
            headers: ghl.headers(&body),
            body,
        }
    }

    /// Bytes that must not come in, with these headers.
    pub fn refused(class: Class, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self {
            class,
            routing_key: None,
            headers: headers.iter().map(owned).collect(),
            ..Self::signed(body)
        }
    }

    /// The same with this event key.
    pub fn with_id(mut self, id: &str) -> Self {
        id.clone_into(&mut self.id);
        self
    }

    /// The same of a tenant, under this routing key.
    pub fn routed(mut self, tenant: &str, routing_key: &str) -> Self {
        tenant.clone_into(&mut self.key);
        self.routing_key = Some(routing_key.to_owned());
        self
    }

    /// The bytes of the whole request.
    pub fn bytes(&self) -> Vec<u8> {
        request_bytes("POST", &self.path, &self.headers, &self.body)
    }
}

impl Run {
    /// Where posts go: the daemon, or the proxy in front of it.
    pub fn entrance(&self) -> SocketAddr {
        let mut address = self.daemon().address();
        if let Some(front) = &self.parts.front {
            address.set_port(front.port());
        }
        address
    }

    /// Posts once on a connection of its own; none without an answer.
    pub async fn post(&self, crafted: &Crafted) -> Option<Answer> {
        self.post_at(self.entrance(), crafted).await
    }

    /// The same at this address.
    pub async fn post_at(&self, address: SocketAddr, crafted: &Crafted) -> Option<Answer> {
        let t_send = self.parts.clock.micros();
        let posting = async {
            let mut client = Client::connect(address).await?;
            client.exchange(&crafted.bytes()).await
        };
        let answer = posting.await;
        self.note(crafted, t_send, answer.as_ref().map(|answer| answer.status));
        answer.ok()
    }

    /// Posts, and states the status that has to be answered.
    pub async fn post_expecting(&mut self, status: u16, what: &str, crafted: &Crafted) -> Answer {
        let answer = self.post(crafted).await;
        let got = answer.as_ref().map(|answer| answer.status);
        self.expect(
            &format!("{what} is answered {status}, not {got:?}"),
            got == Some(status),
        );
        answer.unwrap_or(Answer {
            status: 0,
            headers: Default::default(),
            body: Vec::new(),
        })
    }

    /// Notes a post that was made in another way.
    pub fn note(&self, crafted: &Crafted, t_send: u64, outcome: Result<u16, &std::io::Error>) {
        self.load().log().write(&Attempt {
            id: crafted.id.clone(),
            key: crafted.key.clone(),
            kseq: 0,
            attempt: 1,
            sha256: BodyHash::of(&crafted.body).to_string(),
            class: crafted.class,
            routing_key: crafted.routing_key.clone(),
            t_send,
            t_recv: self.parts.clock.micros(),
            status: outcome.ok(),
            error: outcome.err().map(ToString::to_string),
        });
    }
}
