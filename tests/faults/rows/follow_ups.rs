//! Follow-ups and tokens (rows O): calls that events call for, at a GHL that is played as a process of its own.
//!
//! Load flows all the while: a third of it calls for something, and all of it has to be taken and published as if
//! nobody called anything. At the end every access token is ended, and each chain has to show that it goes on.

use serde_json::{Value, json};

use crate::lab::follow_ups::{Calls, SETTLE, contact};
use crate::lab::{Crafted, Lab, Outcome, Run, Setup};

pub mod lifecycle;
pub mod load;
pub mod points;
pub mod sealed;
pub mod tokens;
pub mod writes;

/// Tenants of the load; twenty contacts each.
pub(super) const TENANTS: u64 = 3;
/// A tenant of the row's own, which the load does not know.
const OWN: &str = "OwnTenant00000000001";

/// A run with calls and as many chains of refresh tokens as the load has tenants, to be started.
pub(super) fn setup(lab: &Lab, calls: Calls) -> Setup<'_> {
    lab.setup().calls(calls).load(|load| {
        load.rate = 60.0;
        load.keys = TENANTS * 20;
    })
}

/// Trouble with tokens, so many times.
fn of_tokens(deed: Value, count: u64) -> Value {
    json!({"path": "/oauth/token", "count": count, "deed": deed})
}

/// Posts all of these on a few connections at once.
async fn post_all(run: &mut Run, events: &[Crafted]) {
    for together in events.chunks(25) {
        let posts = together.iter().map(|one| run.post(one));
        let answers = futures_util::future::join_all(posts).await;
        let good = answers.iter().flatten().all(|answer| answer.status == 200);
        run.expect("all are taken", good && answers.iter().all(Option::is_some));
    }
}

/// Contacts of a tenant, each one another.
fn contacts(tenant: &str, count: u64) -> Vec<Crafted> {
    (0..count).map(|n| contact(tenant, n)).collect()
}
