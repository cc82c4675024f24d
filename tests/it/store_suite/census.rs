//! Tenants that fall silent, and answers over three days.

use hookwell::store::{Answers, Counted, Heard, Silent, Tenants};

use super::*;

const MINUTE: i64 = 60_000_000;
const HOUR: i64 = 60 * MINUTE;

/// The system's time: on Postgres the store goes by its own.
fn now() -> Micros {
    hookwell::clock::system()()
}

/// An event of a tenant, so long before now.
fn heard(tenant: &str, before: i64, n: usize) -> Event {
    Event {
        tenant: Tenant {
            company_id: None,
            location_id: Some(tenant.to_owned()),
        },
        received_at: Micros(now().0 - before),
        ..event(&format!("{tenant}-{n}"), "b")
    }
}

/// One an hour from `from` hours before now to `to` hours before now.
fn hourly(tenant: &str, from: i64, to: i64) -> Vec<Event> {
    (to..=from)
        .rev()
        .enumerate()
        .map(|(n, hours)| heard(tenant, hours * HOUR, n))
        .collect()
}

async fn count(f: &Fixture, limit: i64) {
    loop {
        let counted = f.store.count_on(limit).await.unwrap();
        assert!(counted.upto.0 - counted.after.0 <= limit);
        if counted.after == counted.upto {
            assert!(counted.is_end && counted.tenants.is_empty());
            return;
        }
        assert!(f.store.keep_count(&counted, now()).await.unwrap());
        // Another daemon that counted the same comes too late.
        assert!(!f.store.keep_count(&counted, now()).await.unwrap());
    }
}

pub(super) async fn a_tenant_is_silent_after_twice_its_longest_gap(f: &Fixture) {
    let mut events = Vec::new();
    events.extend(hourly("quiet", 72, 5));
    events.extend(hourly("talks", 72, 0));
    // Silent every night: five hours mean nothing.
    events.extend(hourly("sleeps", 72, 40));
    events.extend(hourly("sleeps", 30, 5).into_iter().map(|event| Event {
        key: EventKey::from_stored(format!("{}x", event.key)),
        ..event
    }));
    // Not known for long enough.
    events.extend(hourly("fresh", 20, 5));
    events.extend(hourly("removed", 72, 5));
    events.extend(hourly("gone", 24 * 33, 24 * 31));
    // Answers and the like are no sign of life.
    let own = hourly("quiet", 1, 0).into_iter().map(|event| Event {
        origin: Origin::FollowUp,
        key: EventKey::from_stored(format!("{}own", event.key)),
        ..event
    });
    events.extend(own);
    events.push(Event {
        tenant: Tenant::default(),
        ..event("nobody", "b")
    });
    events.sort_by_key(|event| event.received_at);
    for some in events.chunks(100) {
        f.append(some).await;
    }
    store_uninstall(f, "removed").await;
    count(f, 17).await;

    let tenants = f.store.tenants(now()).await.unwrap();
    assert_eq!(
        tenants,
        Tenants {
            known: 5,
            silent: 1
        }
    );
    let silent = f.store.silent_tenants(now(), 10).await.unwrap();
    let [
        Silent {
            tenant,
            last_at,
            longest_gap,
        },
    ] = silent.as_slice()
    else {
        panic!("{silent:?}");
    };
    assert_eq!(tenant, "quiet");
    assert!((now().0 - last_at.0 - 5 * HOUR).abs() < MINUTE);
    assert!((*longest_gap - HOUR).abs() < MINUTE, "{longest_gap}");

    // Back again, it has been silent for five hours, and that is what it may.
    f.append(&[heard("quiet", 0, 1_000)]).await;
    count(f, 1_000).await;
    assert_eq!(f.store.tenants(now()).await.unwrap().silent, 0);
    let gap = f
        .store
        .silent_tenants(Micros(now().0 + 400 * HOUR), 10)
        .await
        .unwrap();
    if let Some(quiet) = gap.iter().find(|silent| silent.tenant == "quiet") {
        assert!((quiet.longest_gap - 5 * HOUR).abs() < MINUTE, "{quiet:?}");
    }
}

async fn store_uninstall(f: &Fixture, tenant: &str) {
    let life = hookwell::event::lifecycle::Lifecycle {
        transition: hookwell::event::lifecycle::Transition::Uninstalled,
        tenant: tenant.to_owned(),
        account: hookwell::event::lifecycle::Account::Location,
        company_id: None,
        at: now(),
        details: Default::default(),
    };
    let upto = Position(f.ledger().await.accepted);
    let plan = Plan {
        upto,
        lifecycles: vec![(upto, "app".to_owned(), life)],
        calls: Vec::new(),
    };
    let mut planner = eventually("the planner's reader is free", DEADLINE, async || {
        f.store.plan_reader().await.unwrap()
    })
    .await;
    planner.settle(&plan, now()).await.unwrap();
}

pub(super) async fn a_part_of_the_log_is_counted_by_tenant(f: &Fixture) {
    let at = |tenant: &str, micros: i64, n: usize| Event {
        received_at: Micros(micros),
        ..heard(tenant, 0, n)
    };
    f.append(&[
        at("a", 100, 1),
        at("b", 105, 1),
        at("a", 130, 2),
        at("a", 140, 3),
    ])
    .await;
    let counted = f.store.count_on(3).await.unwrap();
    let heard = |tenant: &str, first: i64, last: i64, gap: i64| Heard {
        tenant: tenant.to_owned(),
        first_at: Micros(first),
        last_at: Micros(last),
        longest_gap: gap,
    };
    let expected = Counted {
        after: Position(0),
        upto: Position(3),
        is_end: false,
        tenants: vec![heard("a", 100, 130, 30), heard("b", 105, 105, 0)],
    };
    assert_eq!(counted, expected);
}

pub(super) async fn answers_add_up_over_three_days(f: &Fixture) {
    let answers = |ok, failed| Answers { ok, failed };
    assert_eq!(f.store.answers(now()).await.unwrap(), answers(0, 0));
    assert_eq!(answers(0, 0).success_ratio(), 1.0);
    f.store.note_answers(answers(8, 1), now()).await.unwrap();
    f.store.note_answers(answers(1, 2), now()).await.unwrap();
    let all = f.store.answers(now()).await.unwrap();
    assert_eq!((all, all.success_ratio()), (answers(9, 3), 0.75));
    // Old ones count no more.
    let old = now().0 / HOUR - 73;
    store::execute_on(&f.url, &format!("update webhook_answers set hour = {old}")).await;
    assert_eq!(f.store.answers(now()).await.unwrap(), answers(0, 0));
    f.store.note_answers(answers(1, 0), now()).await.unwrap();
    assert_eq!(f.store.answers(now()).await.unwrap(), answers(1, 0));
}
