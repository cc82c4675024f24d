//! Load that goes on through outages, and the judgement of what came out at the other end.
//!
//! Each tenant has one sender that posts one event after the other: the next one only after the 200 of
//! the one before. What was not answered 200 is posted again with the same bytes, as GHL does.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Client, Daemon, Delivery, Ghl, eventually};

/// Senders at work.
pub struct Load {
    shared: Arc<Shared>,
    senders: JoinSet<()>,
}

struct Shared {
    /// Where each sender posts to; senders take turns.
    addresses: Mutex<Vec<SocketAddr>>,
    accepted: Mutex<BTreeMap<String, Vec<String>>>,
    count: AtomicUsize,
    /// Answers other than 200, by status.
    refused: Mutex<HashMap<u16, usize>>,
    stop: AtomicBool,
    pause: Duration,
}

impl Load {
    /// Starts a sender for each of so many tenants, with a pause after each 200.
    pub fn start(daemon: &Daemon, tenants: usize, pause: Duration) -> Self {
        let shared = Arc::new(Shared {
            addresses: Mutex::new(vec![daemon.address()]),
            accepted: Mutex::default(),
            count: AtomicUsize::new(0),
            refused: Mutex::default(),
            stop: AtomicBool::new(false),
            pause,
        });
        let mut senders = JoinSet::new();
        for tenant in 0..tenants {
            senders.spawn(send(Arc::clone(&shared), tenant));
        }
        Self { shared, senders }
    }

    /// From now on to these daemons.
    pub fn point_at(&self, daemons: &[&Daemon]) {
        let addresses = daemons.iter().map(|daemon| daemon.address()).collect();
        *self.shared.addresses.lock().unwrap() = addresses;
    }

    /// How many were answered 200 so far.
    pub fn accepted(&self) -> usize {
        self.shared.count.load(Ordering::SeqCst)
    }

    /// How often an answer with this status came.
    pub fn refused(&self, status: u16) -> usize {
        let refused = self.shared.refused.lock().unwrap();
        refused.get(&status).copied().unwrap_or(0)
    }

    /// Waits until so many more were answered 200.
    pub async fn more(&self, count: usize, within: Duration) {
        let goal = self.accepted() + count;
        eventually(
            &format!("{count} more events answered 200"),
            within,
            async || (goal <= self.accepted()).then_some(()),
        )
        .await;
    }

    /// Ends it, every sender after its next 200, and returns what was answered 200.
    pub async fn finish(mut self) -> Accepted {
        self.shared.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = self.senders.join_next().await {
            ended.unwrap();
        }
        let by_tenant = std::mem::take(&mut *self.shared.accepted.lock().unwrap());
        Accepted { by_tenant }
    }
}

async fn send(shared: Arc<Shared>, number: usize) {
    let ghl = Ghl::new();
    let tenant = format!("Tenant{number:014}");
    let mut connection = None;
    let mut turn = number;
    for n in 0.. {
        let id = uuid::Uuid::new_v4().to_string();
        let body = ghl.body_with_id("ContactUpdate", &tenant, n, &id);
        while !post(&shared, &ghl, &body, &mut connection, turn).await {
            // The same bytes again, to the next daemon where there are several.
            turn += 1;
            sleep(Duration::from_millis(20)).await;
        }
        {
            let mut accepted = shared.accepted.lock().unwrap();
            accepted.entry(tenant.clone()).or_default().push(id);
        }
        shared.count.fetch_add(1, Ordering::SeqCst);
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        sleep(shared.pause).await;
    }
}

/// Posts once, on the connection that stands or a new one; whether the answer was 200.
async fn post(
    shared: &Shared,
    ghl: &Ghl,
    body: &[u8],
    connection: &mut Option<Client>,
    turn: usize,
) -> bool {
    let address = {
        let addresses = shared.addresses.lock().unwrap();
        addresses[turn % addresses.len()]
    };
    let attempt = async {
        let mut client = match connection.take() {
            Some(client) => client,
            None => Client::connect(address).await?,
        };
        let answer = client.post(ghl, body).await?;
        let closes = answer.header("connection") == Some("close");
        if answer.status == 200 && !closes {
            *connection = Some(client);
        }
        std::io::Result::Ok(answer.status)
    };
    match attempt.await {
        Ok(200) => true,
        Ok(status) => {
            *shared.refused.lock().unwrap().entry(status).or_default() += 1;
            false
        }
        // The daemon is gone or going: whether it took the event is not known.
        Err(_) => false,
    }
}

/// What was answered 200.
#[derive(Debug)]
pub struct Accepted {
    /// The event keys of each tenant, in the order of their answers.
    pub by_tenant: BTreeMap<String, Vec<String>>,
}

impl Accepted {
    /// How many events.
    pub fn count(&self) -> usize {
        self.by_tenant.values().map(Vec::len).sum()
    }

    /// Judges what one consumer of everything got: nothing lost, nothing invented, the first copies in
    /// order for each tenant, and at most so many copies beyond the first ones.
    ///
    /// What the broker delivers again because a consumer's connection broke counts neither as a copy nor for
    /// the order: a RabbitMQ that was killed gives a new consumer what nobody had yet before it gives back
    /// what was on the way to the old one.
    pub fn judge(&self, arrived: &[Delivery], surplus_at_most: usize) {
        let mut seen = HashSet::new();
        let mut first_copies: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut bodies: HashMap<&str, &[u8]> = HashMap::new();
        let mut given_back = HashSet::new();
        let mut surplus = 0;
        for delivery in arrived {
            let id = delivery.message_id.as_str();
            if seen.insert(id) {
                let tenant = delivery.headers["ghl-location-id"].as_str();
                if delivery.redelivered {
                    given_back.insert(id);
                } else {
                    first_copies.entry(tenant).or_default().push(id);
                }
                bodies.insert(id, &delivery.body);
            } else {
                assert_eq!(bodies[id], delivery.body, "copies of {id} differ");
                surplus += usize::from(!delivery.redelivered);
            }
        }
        let accepted = self.by_tenant.values().flatten();
        let lost: Vec<_> = accepted.filter(|id| !seen.contains(id.as_str())).collect();
        assert!(lost.is_empty(), "{} lost: {lost:?}", lost.len());
        for (tenant, accepted) in &self.by_tenant {
            let ids = accepted.iter().map(String::as_str);
            let wanted: Vec<_> = ids.filter(|id| !given_back.contains(id)).collect();
            let arrived = first_copies.remove(tenant.as_str()).unwrap_or_default();
            assert_eq!(arrived, wanted, "first copies of {tenant}");
        }
        assert_eq!(seen.len(), self.count(), "events that nobody posted");
        assert!(
            surplus <= surplus_at_most,
            "{surplus} copies beyond the first, of at most {surplus_at_most}"
        );
    }
}
