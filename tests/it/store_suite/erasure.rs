//! What a person has removed: all of it, nothing else, and the ledger still adds up.

use hookwell::budget::Limits;
use hookwell::event::lifecycle::Lifecycle;
use hookwell::store::{Beside, Erased, Found, Held, Planned, Settled, SettledHeld, Subject};
use sqlx::Connection as _;

use super::*;

const CONTACT: &str = "contact0000000000001";
const TENANT: &str = "location000000000001";

fn contact() -> Subject {
    Subject::Contact(CONTACT.to_owned())
}

fn tenant() -> Subject {
    Subject::Tenant(TENANT.to_owned())
}

async fn plan(f: &Fixture, plan: Plan) {
    let mut planner = eventually("the planner's reader is free", DEADLINE, async || {
        f.store.plan_reader().await.unwrap()
    })
    .await;
    planner.settle(&plan, Micros(1)).await.unwrap();
}

fn call(position: i64) -> Planned {
    Planned {
        position: Position(position),
        rule: "rule".to_owned(),
        app_id: "app".to_owned(),
        tenant: TENANT.to_owned(),
        entity_id: Some(CONTACT.to_owned()),
        coalesce: None,
    }
}

fn held(tenant: &str, places: &[i64]) -> Held {
    Held {
        tenant: tenant.to_owned(),
        reason: "rejected",
        detail: String::new(),
        positions: places.iter().copied().map(Position).collect(),
    }
}

/// Ten events. The contact's own are 1, 4 (a dead letter), 6 (held) and 9 (not yet published); 2 and 8 name it in
/// their bodies; 3, 5 (a dead letter), 7 (held) and 10 are somebody else's. All are of one tenant.
async fn filled(f: &Fixture) -> Vec<Event> {
    let events: Vec<_> = (1..=10)
        .map(|n| {
            let body = match n {
                2 | 8 => format!("{{\"contact\":\"{CONTACT}\",\"n\":{n}}}"),
                n => format!("body {n}"),
            };
            let mut event = event(&format!("w{n}"), body);
            let own = [1, 4, 6, 9].contains(&n);
            event.entity_id = Some(if own { CONTACT } else { "another0000000000001" }.to_owned());
            event.tenant.location_id = Some(TENANT.to_owned());
            event.received_at = Micros(n);
            event
        })
        .collect();
    f.append(&events).await;
    let settled = Settled {
        held: vec![held(TENANT, &[6, 7])],
        ..done(8, 4, &[parked(4), parked(5)])
    };
    let mut reader = f.reader().await;
    reader.settle(&settled, Micros(5)).await.unwrap();
    let calls = vec![call(1), call(2), call(3)];
    let plan_of = Plan {
        upto: Position(10),
        calls,
        ..Plan::default()
    };
    plan(f, plan_of).await;
    events
}

async fn refuse(f: &Fixture) {
    let entry = |n: u8, body: String| Refused {
        fingerprint: [n; 32],
        reason: "signature_wrong",
        path: format!("/webhooks/{n}"),
        signature: None,
        legacy_signature: None,
        seen_at: Micros(1),
        body: body.into_bytes().into(),
    };
    let refused = [
        entry(1, format!("{{\"id\":\"{CONTACT}\"}}")),
        entry(2, "{}".to_owned()),
    ];
    let bounds = QuarantineBounds {
        entries: 100,
        bytes: NO_LIMIT,
    };
    f.store.quarantine(&refused, bounds).await.unwrap();
}

pub(super) async fn what_is_erased_is_a_contacts_and_nothing_else(f: &Fixture) {
    let events = filled(f).await;
    refuse(f).await;
    assert_eq!(f.counts().await, (10, 4, 4, 2));
    let found = f.store.find_subject(&contact(), Position(0)).await.unwrap();
    let expected = Found {
        events: 6,
        waiting: 1,
        next: None,
    };
    assert_eq!(found, expected);
    assert_eq!(f.store.erasable_upto().await.unwrap(), Position(8));

    let erased = f.store.erase_events(&contact(), Position(0)).await.unwrap();
    let expected = Erased {
        events: 5,
        discarded: 2,
        calls: 2,
        left: 1,
        next: None,
    };
    assert_eq!(erased, expected);
    assert_eq!(f.positions().await, [3, 5, 7, 9, 10]);
    let ledger = f.ledger().await;
    assert_eq!(
        (
            ledger.published,
            ledger.pending,
            ledger.parked,
            ledger.discarded
        ),
        (4, 3, 1, 2)
    );
    let tenants = f.store.held_tenants().await.unwrap();
    assert_eq!((tenants.len(), tenants[0].events), (1, 1));

    // One of its calls is of another's event, in which it was only looked up.
    let beside = f.store.erase_beside(&contact()).await.unwrap();
    let expected = Beside {
        quarantined: 1,
        calls: 1,
        ..Beside::default()
    };
    assert_eq!(beside, expected);
    assert_eq!(
        f.store.find_beside(&contact()).await.unwrap(),
        Beside::default()
    );
    let kept = f.store.quarantined(10).await.unwrap();
    assert_eq!(
        kept.iter().map(|entry| &*entry.path).collect::<Vec<_>>(),
        ["/webhooks/2"]
    );

    // A late repeat does not bring it back, and what waited goes in the end.
    assert_eq!(f.append(&events).await, vec![Appended::Duplicate; 10]);
    let mut reader = f.reader().await;
    reader.settle(&done(10, 2, &[]), Micros(6)).await.unwrap();
    let erased = f.store.erase_events(&contact(), Position(0)).await.unwrap();
    assert_eq!((erased.events, erased.left), (1, 0));
    assert_eq!(f.positions().await, [3, 5, 7, 10]);
    assert_eq!(f.ledger().await.published, 6);
}

pub(super) async fn what_is_erased_of_a_tenant_is_what_is_over(f: &Fixture) {
    let mut events = vec![
        event("w1", "a"),
        event("w2", "b"),
        event("w3", "c"),
        event("w4", "d"),
    ];
    for (event, (location, company)) in events.iter_mut().zip([
        (Some(TENANT), Some("company0000000000001")),
        (None, Some("company0000000000001")),
        (Some("location000000000002"), None),
        (Some("location000000000003"), Some("company0000000000001")),
    ]) {
        event.tenant = Tenant {
            company_id: company.map(str::to_owned),
            location_id: location.map(str::to_owned),
        };
    }
    f.append(&events).await;
    let lives = [
        ("INSTALL", TENANT, 1),
        ("INSTALL", "location000000000003", 1),
        ("UNINSTALL", TENANT, 2),
    ];
    let lives = lives.map(|(kind, location, at)| {
        let mut life = event("l", format!("{{\"type\":{kind:?}}}"));
        life.event_type = kind.to_owned();
        life.received_at = Micros(at);
        life.tenant = Tenant {
            company_id: Some("company0000000000001".to_owned()),
            location_id: Some(location.to_owned()),
        };
        (Position(1), "app".to_owned(), Lifecycle::of(&life).unwrap())
    });
    let lived = Plan {
        upto: Position(4),
        lifecycles: lives.into(),
        calls: Vec::new(),
    };
    plan(f, lived).await;
    let mut reader = f.reader().await;
    reader.settle(&done(4, 4, &[]), Micros(5)).await.unwrap();

    let beside = f.store.find_beside(&tenant()).await.unwrap();
    assert_eq!((beside.installations, beside.installed), (1, 0));
    let erased = f.store.erase_events(&tenant(), Position(0)).await.unwrap();
    assert_eq!(erased.events, 1);
    f.store.erase_beside(&tenant()).await.unwrap();
    assert_eq!(f.store.installation("app", TENANT).await.unwrap(), None);

    // A company: its own events and those of its locations; who has the app keeps it.
    let company = Subject::Tenant("company0000000000001".to_owned());
    let beside = f.store.find_beside(&company).await.unwrap();
    assert_eq!((beside.installations, beside.installed), (0, 1));
    let erased = f.store.erase_events(&company, Position(0)).await.unwrap();
    assert_eq!(erased.events, 2);
    f.store.erase_beside(&company).await.unwrap();
    let kept = f
        .store
        .installation("app", "location000000000003")
        .await
        .unwrap();
    assert!(kept.is_some_and(|kept| kept.installed));
    assert_eq!(f.positions().await, [3]);
}

pub(super) async fn a_call_that_is_being_made_keeps_its_event(f: &Fixture) {
    filled(f).await;
    let limits = Limits {
        burst: 10,
        interval: Duration::from_secs(10),
        daily: 1_000,
    };
    let now = hookwell::clock::system()();
    let lease = Duration::from_secs(600);
    let claims = f.store.claim_calls(1, &limits, lease, now).await.unwrap();
    assert_eq!(claims.calls[0].event.position, Position(1));
    let erased = f.store.erase_events(&contact(), Position(0)).await.unwrap();
    assert_eq!((erased.events, erased.calls, erased.left), (4, 1, 2));
    assert!(f.positions().await.contains(&1));
    let beside = f.store.erase_beside(&contact()).await.unwrap();
    assert_eq!(
        beside.calls, 1,
        "that of 3, and not the one that is being made"
    );
}

pub(super) async fn a_dead_letter_that_is_discarded_in_the_relays_hands_is_gone(f: &Fixture) {
    f.fill(4).await;
    let mut reader = f.reader().await;
    let three = [parked(1), parked(2), parked(3)];
    reader.settle(&done(4, 1, &three), Micros(5)).await.unwrap();
    plan(
        f,
        Plan {
            upto: Position(4),
            ..Plan::default()
        },
    )
    .await;
    // What the relay is asked to take again is its own.
    f.store
        .retry_dead_letters(Selection::One(Position(3)))
        .await
        .unwrap();
    let erased = f
        .store
        .discard_dead_letters(Selection::All, Position(0))
        .await
        .unwrap();
    assert_eq!((erased.events, erased.discarded), (2, 2));
    assert_eq!(f.positions().await, [3, 4]);
    assert_eq!(f.counts().await, (4, 1, 0, 1));
    // It had them already when they went.
    reader
        .settle_retry(Position(1), None, Micros(6))
        .await
        .unwrap();
    reader
        .settle_retry(Position(2), Some(&parked(2)), Micros(6))
        .await
        .unwrap();
    assert_eq!(f.counts().await, (4, 1, 0, 1));
    assert_eq!(f.ledger().await.discarded, 2);
    reader
        .settle_retry(Position(3), None, Micros(7))
        .await
        .unwrap();
    assert_eq!(f.counts().await, (4, 2, 0, 0));
    let none = f
        .store
        .discard_dead_letters(Selection::One(Position(3)), Position(0))
        .await
        .unwrap();
    assert_eq!(none, Erased::default());
}

pub(super) async fn a_held_event_that_is_erased_in_the_relays_hands_is_gone(f: &Fixture) {
    filled(f).await;
    let mut reader = f.reader().await;
    f.store.erase_events(&contact(), Position(0)).await.unwrap();
    let settled = SettledHeld {
        tenant: TENANT.to_owned(),
        published: vec![Position(7)],
        parked: vec![parked(6)],
    };
    let released = reader.settle_held(&[settled], Micros(6)).await.unwrap();
    assert_eq!(released, [TENANT]);
    let ledger = f.ledger().await;
    assert_eq!(
        (
            ledger.published,
            ledger.pending,
            ledger.parked,
            ledger.discarded
        ),
        (5, 2, 1, 2)
    );
}

/// On Postgres a person's command and the relay meet in the same rows.
pub(super) async fn held_events_that_are_erased_while_they_are_settled_are_counted_once(
    f: &Fixture,
) {
    const ROUND: i64 = 200;
    let mut reader = f.reader().await;
    for round in 1..=5 {
        let (before, upto) = ((round - 1) * ROUND, round * ROUND);
        let of_tenant = |n: i64| {
            let mut event = event(&format!("w{n}"), "body");
            event.tenant.location_id = Some(TENANT.to_owned());
            event
        };
        f.append(&(before + 1..=upto).map(of_tenant).collect::<Vec<_>>())
            .await;
        let places: Vec<_> = (before + 1..=upto).collect();
        let all_held = Settled {
            held: vec![held(TENANT, &places)],
            ..done(upto, 0, &[])
        };
        reader.settle(&all_held, Micros(5)).await.unwrap();
        let planned = Plan {
            upto: Position(upto),
            ..Plan::default()
        };
        plan(f, planned).await;
        let settle = async {
            for run in places.chunks(4) {
                let settled = SettledHeld {
                    tenant: TENANT.to_owned(),
                    published: run[..3].iter().copied().map(Position).collect(),
                    parked: vec![parked(run[3])],
                };
                reader.settle_held(&[settled], Micros(6)).await.unwrap();
            }
        };
        let erase = async {
            // In the midst of it.
            eventually("some are out", DEADLINE, async || {
                let held = f.store.held_tenants().await.unwrap();
                held.iter().all(|one| one.events < ROUND).then_some(())
            })
            .await;
            f.store.erase_events(&tenant(), Position(0)).await.unwrap();
        };
        tokio::join!(settle, erase);
        assert_eq!(f.store.held_tenants().await.unwrap(), []);
        // Those that were parked behind the erasure.
        f.store.erase_events(&tenant(), Position(0)).await.unwrap();
        let ledger = f.ledger().await;
        assert_eq!((ledger.pending, ledger.parked), (0, 0), "{ledger:?}");
        assert_eq!(ledger.published + ledger.discarded, upto, "{ledger:?}");
    }
}

pub(super) async fn dead_letters_are_discarded_a_part_at_a_time(f: &Fixture) {
    const PART: i64 = 5_000;
    let mut reader = f.reader().await;
    let places: Vec<_> = (1..=PART + 1).collect();
    for run in places.chunks(1_000) {
        let events = run.iter().map(|n| event(&format!("w{n}"), "body"));
        f.append(&events.collect::<Vec<_>>()).await;
        let letters: Vec<_> = run.iter().copied().map(parked).collect();
        let settled = done(run[run.len() - 1], 0, &letters);
        reader.settle(&settled, Micros(5)).await.unwrap();
    }
    let planned = Plan {
        upto: Position(PART),
        ..Plan::default()
    };
    plan(f, planned).await;
    // Those that a reader has not passed stay, and that is said.
    let early = f
        .store
        .discard_dead_letters(Selection::All, Position(PART))
        .await
        .unwrap();
    assert_eq!((early.events, early.left), (0, 1));
    plan(
        f,
        Plan {
            upto: Position(PART + 1),
            ..Plan::default()
        },
    )
    .await;
    let discard = async |after| {
        let discarded = f.store.discard_dead_letters(Selection::All, after).await;
        let discarded = discarded.unwrap();
        (discarded.events as i64, discarded.next)
    };
    let next = Some(Position(PART));
    assert_eq!(discard(Position(0)).await, (PART, next));
    assert_eq!(discard(Position(PART)).await, (1, None));
    assert_eq!(f.ledger().await.discarded, PART + 1);
}

pub(super) async fn types_are_kept_for_times_of_their_own(f: &Fixture) {
    let events: Vec<_> = (1..=40)
        .map(|n| {
            let mut event = event(&format!("w{n}"), "b");
            event.received_at = Micros(n * 10);
            event.event_type =
                ["Long", "Short", "ContactCreate", "ContactCreate"][(n % 4) as usize].to_owned();
            event
        })
        .collect();
    f.append(&events).await;
    let mut reader = f.reader().await;
    reader
        .settle(&done(38, 37, &[parked(5)]), Micros(5))
        .await
        .unwrap();
    plan(
        f,
        Plan {
            upto: Position(40),
            ..Plan::default()
        },
    )
    .await;
    // The others up to 20, the short ones up to 30, the long ones up to 10.
    let cutoff = Cutoff {
        now: Micros(500),
        bodies_before: Micros(201),
        bodies_before_of: vec![
            ("Short".to_owned(), Micros(301)),
            ("Long".to_owned(), Micros(101)),
        ],
        keys_before: Micros(0),
        batch: 3,
    };
    let (mut gone, mut sweeps) = (0, 0);
    while sweeps < 2 {
        let pruned = f.store.prune(&cutoff).await.unwrap();
        gone += pruned.events;
        sweeps += i64::from(!pruned.is_more);
    }
    let expected: Vec<_> = (1..=40)
        .filter(|n| match n % 4 {
            _ if *n == 5 => true,
            0 => 10 < *n,
            1 => 30 < *n,
            _ => 20 < *n,
        })
        .collect();
    assert_eq!(f.positions().await, expected);
    assert_eq!(gone, 40 - expected.len() as u64);
}

/// A call that is being claimed counts in its tenant's budget until it ends: removed meanwhile, it would count for ever.
#[tokio::test]
async fn calls_are_erased_only_when_nobody_claims_of_their_tenant() {
    let f = Fixture::new(Backend::Postgres).await;
    filled(&f).await;
    let mut connection = sqlx::PgConnection::connect(f.url.url()).await.unwrap();
    let mut claiming = connection.begin().await.unwrap();
    let locked = sqlx::query("select budget from call_budgets for update").execute(&mut *claiming);
    assert_eq!(locked.await.unwrap().rows_affected(), 1);
    let subject = contact();
    let erasing = f.store.erase_beside(&subject);
    tokio::pin!(erasing);
    let waits = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' \
                 and query like 'insert into call_budgets%'";
    let mut watching = sqlx::PgConnection::connect(f.url.url()).await.unwrap();
    tokio::select! {
        erased = &mut erasing => panic!("it did not wait: {erased:?}"),
        () = eventually("it waits", DEADLINE, async || {
            sqlx::query(waits).fetch_optional(&mut watching).await.unwrap().map(|_| ())
        }) => (),
    }
    sqlx::query("update follow_ups set claimed = true where position = 1")
        .execute(&mut *claiming)
        .await
        .unwrap();
    claiming.commit().await.unwrap();
    let all = sqlx::query_scalar::<_, i64>("select count(*) from follow_ups");
    let erased = erasing.await.unwrap();
    assert_eq!(
        all.fetch_one(&mut connection).await.unwrap(),
        1,
        "{erased:?}"
    );
}
