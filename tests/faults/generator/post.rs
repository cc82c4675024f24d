//! Posting: the connections, the attempts and their log.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::super::records::{Attempt, Class, NO_ANSWER};
use super::{Job, Request, Shared};
use crate::harness::Client;

/// What an attempt's error says where the sender did not wait for an answer.
pub(super) const HUNG_UP: &str = "hung up";

/// How long a sender waits for an answer.
pub(super) struct Patience {
    pub most: Duration,
    /// What the log says of a post whose answer took longer.
    pub given_up: &'static str,
}

/// Takes one job after the other, on a connection that it keeps while it is good.
pub(super) async fn connection(shared: Arc<Shared>, number: usize) {
    let mut kept = None;
    let mut turn = number;
    loop {
        let Ok(permit) = shared.ready.acquire().await else {
            return;
        };
        permit.forget();
        let job = shared.jobs.lock().unwrap().pop_front();
        let (mut request, attempt) = match job {
            None => continue,
            // A daemon that is slow may leave more to be posted than there is time for.
            Some(Job::New(key, class)) if shared.is_over() => {
                shared.settle(key, class, false);
                continue;
            }
            Some(Job::Again(request, _)) if shared.is_over() => {
                shared.settle(request.number, request.class, false);
                continue;
            }
            Some(Job::New(key, class)) => {
                let kseq = shared.next_of(key);
                shared.totals.lock().unwrap().events += 1;
                (Box::new(shared.maker.make(key, kseq, class)), 1)
            }
            Some(Job::Again(request, attempt)) => (request, attempt),
        };
        let address = {
            let addresses = shared.addresses.read().unwrap();
            addresses[turn % addresses.len()]
        };
        let patience = patience(&shared, &mut request);
        let status = post(&shared, &mut request, attempt, address, &mut kept, patience).await;
        if status.is_none_or(|status| status / 100 != 2) {
            // The next daemon, where there are several.
            turn += 1;
        }
        follow(&shared, request, attempt, status);
    }
}

fn patience(shared: &Shared, request: &mut Request) -> Patience {
    let settings = &shared.settings;
    let chance = &mut request.chance;
    match chance.percent(settings.hang_ups) {
        true => Patience {
            most: chance.duration(Duration::ZERO, settings.hang_up_within),
            given_up: HUNG_UP,
        },
        false => Patience {
            most: settings.timeout,
            given_up: NO_ANSWER,
        },
    }
}

/// One attempt, logged; its status, if there was an answer.
pub(super) async fn post(
    shared: &Shared,
    request: &mut Request,
    attempt: u32,
    address: SocketAddr,
    kept: &mut Option<(SocketAddr, Client)>,
    patience: Patience,
) -> Option<u16> {
    let mut t_send = shared.clock.micros();
    let posting = async {
        let mut client = match kept.take() {
            Some((to, client)) if to == address => client,
            _ => Client::connect(address).await?,
        };
        t_send = shared.clock.micros();
        let answer = client.exchange(&request.bytes).await?;
        if answer.header("connection") != Some("close") {
            *kept = Some((address, client));
        }
        std::io::Result::Ok(answer.status)
    };
    let outcome = timeout(patience.most, posting).await;
    let t_recv = shared.clock.micros();
    let (status, error) = match outcome {
        Ok(Ok(status)) => (Some(status), None),
        Ok(Err(error)) => (None, Some(error.to_string())),
        Err(_) => (None, Some(patience.given_up.to_owned())),
    };
    shared.log.write(&Attempt {
        id: request.id.clone(),
        key: request.key.clone(),
        kseq: request.kseq,
        attempt,
        sha256: request.sha256.clone(),
        class: request.class,
        routing_key: request.routing_key.clone(),
        t_send,
        t_recv,
        status,
        error,
    });
    let mut totals = shared.totals.lock().unwrap();
    totals.attempts += 1;
    match status {
        Some(status) => *totals.answers.entry(status).or_default() += 1,
        None => totals.errors += 1,
    }
    status
}

/// Settles an event, or posts it again after a while.
fn follow(shared: &Arc<Shared>, mut request: Box<Request>, attempt: u32, status: Option<u16>) {
    let acked = status.is_some_and(|status| status / 100 == 2);
    let retries = request.class == Class::Signed
        && attempt < shared.settings.retry.tries
        && !shared.abandoned.load(Ordering::SeqCst);
    if acked || !retries {
        shared.settle(request.number, request.class, acked);
        return;
    }
    let delay = shared.settings.retry.delay(attempt, &mut request.chance);
    let shared = Arc::clone(shared);
    // Not a task of the generator's own set: as many may wait as there are open events.
    tokio::spawn(async move {
        sleep(delay).await;
        if shared.is_over() {
            shared.settle(request.number, request.class, false);
        } else {
            shared.push(Job::Again(request, attempt + 1));
        }
    });
}
