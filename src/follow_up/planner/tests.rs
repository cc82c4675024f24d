#![allow(clippy::unwrap_used)]
use async_trait::async_trait;
use tokio::sync::watch;

use super::*;
use crate::event::Micros;
use crate::event::recorded::recorded;
use crate::store::{Access, SqliteStore};

fn a_planner(store: Arc<dyn Store>) -> Planner {
    Planner {
        store,
        rules: Arc::default(),
        apps: vec!["app".to_owned()],
        first_sync: Kind::ALL.to_vec(),
        wake: Arc::default(),
        clock: crate::clock::system(),
        metrics: Metrics::new(),
    }
}

async fn a_store(folder: &tempfile::TempDir) -> Arc<dyn Store> {
    let url = format!("sqlite://{}/log.db", folder.path().display());
    let store = SqliteStore::open(&url, Access::Exclusive).await.unwrap();
    store.migrate().await.unwrap();
    Arc::new(store)
}

/// The store's reader, which counts plans and says up to where the last one was.
struct Counting {
    reader: Box<dyn PlanReader>,
    settled: watch::Sender<(u32, Position)>,
}

#[async_trait]
impl PlanReader for Counting {
    async fn position(&mut self) -> Result<Position, store::Error> {
        self.reader.position().await
    }

    async fn read(
        &mut self,
        after: Position,
        types: &[String],
        limit: i64,
        max_bytes: i64,
    ) -> Result<Looked, store::Error> {
        self.reader.read(after, types, limit, max_bytes).await
    }

    async fn settle(&mut self, plan: &Plan, now: Micros) -> Result<(), store::Error> {
        self.reader.settle(plan, now).await?;
        let count = self.settled.borrow().0 + 1;
        self.settled.send_replace((count, plan.upto));
        Ok(())
    }
}

#[tokio::test]
async fn few_events_wait_for_each_other() {
    const EVENTS: i64 = 200;
    let folder = tempfile::tempdir().unwrap();
    let store = a_store(&folder).await;
    let planner = a_planner(Arc::clone(&store));
    let types = planner.types();
    let (settled, mut seen) = watch::channel((0, Position(0)));
    let reader = store.plan_reader().await.unwrap().unwrap();
    let mut reader = Counting { reader, settled };
    let begun = std::time::Instant::now();
    let following = tokio::spawn(async move {
        let (mut delays, mut run) = (Delays::new(POLL, POLL), RUN);
        let follow = planner.follow(&mut reader, &types, &mut delays, &mut run);
        follow.await
    });
    for n in 1..=EVENTS {
        let event = recorded(n, &format!("location{n}")).event;
        store.append(&[event]).await.unwrap();
    }
    let all = seen.wait_for(|(_, upto)| *upto == Position(EVENTS));
    let plans = all.await.unwrap().0;
    let looks = begun.elapsed().as_millis() / POLL.as_millis() + 1;
    assert!(u128::from(plans) <= looks, "{plans} plans in {looks} looks");
    following.abort();
}

#[tokio::test]
async fn a_plan_ends_with_the_event_that_makes_it_long_enough() {
    let folder = tempfile::tempdir().unwrap();
    let planner = a_planner(a_store(&folder).await);
    let installs: Vec<_> = (1..=500)
        .map(|n| {
            let mut install = recorded(n, &format!("location{n}"));
            install.event.event_type = "INSTALL".to_owned();
            let body = format!(
                "{{\"type\":\"INSTALL\",\"appId\":\"app\",\"locationId\":\"location{n}\"}}"
            );
            install.event.body = body.into();
            install
        })
        .collect();
    let plan = |events| planner.plan(events, Position(500), &Workflows::new(), Companies::new());
    // A token and two lists for each.
    let long = plan(&installs);
    assert_eq!(
        (long.upto, long.calls.len(), long.lifecycles.len()),
        (Position(334), 1_002, 334)
    );
    let rest = plan(&installs[334..]);
    assert_eq!((rest.upto, rest.calls.len()), (Position(500), 498));
}
