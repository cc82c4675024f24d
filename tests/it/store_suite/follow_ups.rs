//! Calls: planned once, claimed by one, within budgets, and ended under their claim.

use hookwell::budget::{Limits, Told};
use hookwell::event::lifecycle::Lifecycle;
use hookwell::store::{
    Claimed, Claims, Ended, FollowUpFilter, Next, Plan, PlanReader, Planned, WhichCalls,
};

use super::*;

const LIMITS: Limits = Limits {
    burst: 3,
    interval: Duration::from_secs(600),
    daily: 1_000,
};
const LEASE: Duration = Duration::from_secs(600);

fn now() -> Micros {
    hookwell::clock::system()()
}

async fn planner(f: &Fixture) -> Box<dyn PlanReader> {
    eventually("the planner's reader is free", DEADLINE, async || {
        f.store.plan_reader().await.unwrap()
    })
    .await
}

fn call(position: i64, tenant: &str, entity: &str) -> Planned {
    Planned {
        position: Position(position),
        rule: "rule".to_owned(),
        app_id: "app".to_owned(),
        tenant: tenant.to_owned(),
        entity_id: Some(entity.to_owned()),
        coalesce: None,
    }
}

async fn plan(f: &Fixture, calls: Vec<Planned>) {
    let upto = calls.iter().map(|call| call.position).max().unwrap();
    let plan = Plan {
        upto,
        calls,
        lifecycles: Vec::new(),
    };
    planner(f).await.settle(&plan, now()).await.unwrap();
}

async fn claim(f: &Fixture, wanted: u32) -> Claims {
    claim_for(f, wanted, LEASE).await
}

async fn claim_for(f: &Fixture, wanted: u32, lease: Duration) -> Claims {
    let claims = f.store.claim_calls(wanted, &LIMITS, lease, now()).await;
    claims.unwrap()
}

fn ended(claimed: &Claimed, next: Next) -> Ended {
    Ended {
        id: claimed.id,
        lease: claimed.lease,
        app_id: claimed.event.event.app_id.clone(),
        tenant: claimed.tenant.clone(),
        told: Some(Told::default()),
        status: Some(200),
        reason: None,
        detail: String::new(),
        progress: None,
        next,
    }
}

async fn end(f: &Fixture, claimed: &Claimed, next: Next) -> bool {
    let one = ended(claimed, next);
    f.store.end_calls(&[one], &LIMITS, now()).await.unwrap()[0]
}

fn again() -> Next {
    Next::Again {
        after: Duration::ZERO,
        attempt: 1,
        progress: "{\"n\":1}".to_owned(),
    }
}

async fn states(f: &Fixture) -> Vec<(i64, String)> {
    let filter = FollowUpFilter {
        limit: 1_000,
        ..FollowUpFilter::default()
    };
    let found = f.store.follow_ups(&filter).await.unwrap();
    let mut states: Vec<_> = found
        .into_iter()
        .map(|one| (one.position.0, one.state))
        .collect();
    states.sort();
    states
}

fn places(claims: &Claims) -> Vec<i64> {
    let mut places: Vec<_> = claims
        .calls
        .iter()
        .map(|call| call.event.position.0)
        .collect();
    places.sort_unstable();
    places
}

pub async fn the_planner_reads_the_types_it_asks_for_and_plans_each_event_once(f: &Fixture) {
    let mut events: Vec<_> = (1..=4).map(|n| event(&format!("w{n}"), "b")).collect();
    events[1].event_type = "NoteCreate".to_owned();
    f.append(&events).await;
    let mut reader = planner(f).await;
    assert_eq!(reader.position().await.unwrap(), Position(0));
    let types = ["ContactCreate".to_owned()];
    let mut look = async |after, limit, max_bytes| {
        let looked = reader.read(Position(after), &types, limit, max_bytes);
        let looked = looked.await.unwrap();
        (positions(&looked.events), looked.upto.0, looked.head.0)
    };
    assert_eq!(look(0, 3, NO_LIMIT).await, (vec![1, 3], 3, 4));
    assert_eq!(look(3, 3, NO_LIMIT).await, (vec![4], 4, 4));
    assert_eq!(look(4, 3, NO_LIMIT).await, (vec![], 4, 4));
    let one = look(0, 4, 1).await;
    assert_eq!(
        one,
        (vec![1], 1, 4),
        "one however large, and no more than asked for"
    );
    drop(reader);
    for _ in 0..2 {
        plan(f, vec![call(1, "a", "x"), call(3, "a", "y")]).await;
    }
    let pending = |n| (n, "pending".to_owned());
    assert_eq!(states(f).await, [pending(1), pending(3)]);
    assert_eq!(planner(f).await.position().await.unwrap(), Position(3));
}

pub async fn a_call_is_claimed_by_one_and_ended_under_its_claim(f: &Fixture) {
    f.fill(2).await;
    plan(f, vec![call(1, "a", "x"), call(2, "b", "x")]).await;
    let (first, second) = tokio::join!(claim(f, 1), claim(f, 5));
    let mut all = [places(&first), places(&second)].concat();
    all.sort_unstable();
    assert_eq!(all, [1, 2], "each once");
    assert!(claim(f, 5).await.calls.is_empty());
    let claimed = first.calls.iter().chain(&second.calls).next().unwrap();
    assert_eq!(
        claimed.event.event.body,
        event("w", format!("body {}", claimed.event.position)).body
    );
    assert!(end(f, claimed, again()).await);
    assert!(!end(f, claimed, Next::Done).await, "that claim is over");
    let next = claim(f, 5).await;
    assert_eq!(places(&next), [claimed.event.position.0]);
    let next = &next.calls[0];
    assert_eq!((next.attempt, next.progress.as_str()), (1, "{\"n\":1}"));
    assert!(end(f, next, Next::Done).await);
    assert!(claim(f, 5).await.calls.is_empty());
    let counts = f.store.follow_up_counts().await.unwrap();
    assert_eq!((counts.pending, counts.dead), (1, 0));
}

pub async fn a_claim_whose_time_is_over_is_somebody_elses(f: &Fixture) {
    f.fill(1).await;
    plan(f, vec![call(1, "a", "x")]).await;
    let late = claim_for(f, 1, Duration::from_millis(1)).await;
    let taken_over = eventually("the claim ends", DEADLINE, async || {
        let claims = claim(f, 1).await;
        (!claims.calls.is_empty()).then_some(claims)
    })
    .await;
    assert!(!end(f, &late.calls[0], Next::Done).await, "too late");
    assert!(!late.calls[0].taken_over);
    assert!(taken_over.calls[0].taken_over, "it may have been made");
    assert!(end(f, &taken_over.calls[0], again()).await);
    let once_more = claim(f, 1).await;
    assert!(!once_more.calls[0].taken_over, "that one came to an end");
    assert!(end(f, &once_more.calls[0], Next::Done).await);
    assert_eq!(states(f).await, [(1, "done".to_owned())]);
}

pub async fn a_budget_that_was_all_under_way_comes_back_after_its_claims(f: &Fixture) {
    f.fill(4).await;
    plan(f, (1..=4).map(|n| call(n, "a", &n.to_string())).collect()).await;
    let soon = Limits {
        interval: Duration::from_millis(100),
        ..LIMITS
    };
    let claims = async |lease| {
        let claims = f.store.claim_calls(9, &soon, lease, now()).await;
        claims.unwrap().calls
    };
    // A daemon that was killed with as many calls under way as the budget has.
    assert_eq!(claims(Duration::from_millis(1)).await.len(), 3);
    let mut all = Vec::new();
    eventually("the tenant is served again", DEADLINE, async || {
        for claimed in claims(LEASE).await {
            let one = ended(&claimed, Next::Done);
            assert_eq!(
                f.store.end_calls(&[one], &soon, now()).await.unwrap(),
                [true]
            );
            all.push((claimed.event.position.0, claimed.taken_over));
        }
        (all.len() == 4).then_some(())
    })
    .await;
    all.sort_unstable();
    assert_eq!(all, [(1, true), (2, true), (3, true), (4, false)]);
}

pub async fn a_call_without_its_event_is_parked_and_holds_up_nobody(f: &Fixture) {
    f.fill(2).await;
    plan(
        f,
        vec![call(1, "a", "x"), call(7, "a", "y"), call(2, "a", "z")],
    )
    .await;
    assert_eq!(places(&claim(f, 9).await), [1, 2]);
    assert_eq!(states(f).await[2], (7, "dead".to_owned()));
    let parked = FollowUpFilter {
        state: Some("dead".to_owned()),
        limit: 9,
        ..FollowUpFilter::default()
    };
    let parked = f.store.follow_ups(&parked).await.unwrap();
    assert_eq!(parked[0].reason.as_deref(), Some("no_event"));
}

pub async fn a_tenants_budget_bounds_its_claims_and_nobody_elses(f: &Fixture) {
    f.fill(12).await;
    let mut calls: Vec<_> = (1..=10).map(|n| call(n, "hot", &n.to_string())).collect();
    calls.extend([call(11, "quiet", "x"), call(12, "calm", "x")]);
    plan(f, calls).await;
    let claims = claim(f, 20).await;
    assert_eq!(places(&claims), [1, 2, 3, 11, 12]);
    assert!(
        claim(f, 20).await.calls.is_empty(),
        "all of the budget is under way"
    );
    for claimed in &claims.calls {
        assert!(end(f, claimed, Next::Done).await);
    }
    let waits = claim(f, 20).await;
    assert!(waits.calls.is_empty(), "an interval after the answers");
    let next_in = waits.next_in.unwrap();
    assert!(
        Duration::from_secs(500) < next_in && next_in <= Duration::from_secs(601),
        "{next_in:?}"
    );
}

pub async fn a_claim_without_a_call_costs_no_budget(f: &Fixture) {
    f.fill(4).await;
    plan(f, (1..=4).map(|n| call(n, "a", &n.to_string())).collect()).await;
    let claims = claim(f, 9).await;
    assert_eq!(claims.calls.len(), 3);
    for claimed in &claims.calls {
        let mut one = ended(claimed, Next::Done);
        one.told = None;
        assert_eq!(
            f.store.end_calls(&[one], &LIMITS, now()).await.unwrap(),
            [true]
        );
    }
    assert_eq!(places(&claim(f, 9).await), [4]);
}

pub async fn what_is_claimed_is_shared_among_tenants(f: &Fixture) {
    f.fill(9).await;
    let tenant = |n: i64| ["a", "b", "c"][usize::try_from(n % 3).unwrap()];
    plan(
        f,
        (1..=9)
            .map(|n| call(n, tenant(n), &n.to_string()))
            .collect(),
    )
    .await;
    let mut seen = std::collections::BTreeSet::new();
    for claimed in claim(f, 3).await.calls {
        seen.insert(claimed.tenant);
    }
    assert_eq!(seen.len(), 3, "one of each");
}

pub async fn calls_of_one_record_run_one_after_the_other(f: &Fixture) {
    f.fill(3).await;
    plan(
        f,
        vec![call(1, "a", "x"), call(2, "a", "x"), call(3, "a", "y")],
    )
    .await;
    let claims = claim(f, 9).await;
    assert_eq!(places(&claims), [1, 3]);
    let first = claims.calls.iter().find(|call| call.event.position.0 == 1);
    assert!(end(f, first.unwrap(), Next::Park).await);
    assert_eq!(places(&claim(f, 9).await), [2]);
}

pub async fn events_of_one_record_within_a_window_are_one_call(f: &Fixture) {
    f.fill(6).await;
    let within = |window, n, entity| Planned {
        coalesce: Some(window),
        ..call(n, "a", entity)
    };
    let long = |n, entity| within(Duration::from_secs(3_600), n, entity);
    plan(f, vec![long(1, "x"), long(2, "x"), long(3, "y")]).await;
    assert!(claim(f, 9).await.calls.is_empty(), "the window is open");
    let short = |n, entity| within(Duration::from_millis(1), n, entity);
    plan(f, vec![short(4, "z"), short(5, "z")]).await;
    let claims = eventually("the window is over", DEADLINE, async || {
        let claims = claim(f, 9).await;
        (!claims.calls.is_empty()).then_some(claims)
    })
    .await;
    assert_eq!(places(&claims), [4]);
    // What is being made does not see an event that comes now: that has a call of its own.
    plan(f, vec![short(6, "z")]).await;
    let states = states(f).await.into_iter().map(|(_, state)| state);
    assert_eq!(
        states.collect::<Vec<_>>(),
        [
            "pending", "merged", "pending", "pending", "merged", "pending"
        ]
    );
}

pub async fn a_parked_call_waits_for_a_person_and_keeps_its_event(f: &Fixture) {
    f.fill(2).await;
    let mut reader = f.reader().await;
    reader.settle(&done(2, 2, &[]), Micros(1)).await.unwrap();
    plan(f, vec![call(1, "a", "x"), call(2, "a", "y")]).await;
    for claimed in claim(f, 9).await.calls {
        let next = match claimed.event.position.0 {
            1 => Next::Park,
            _ => Next::Done,
        };
        let mut one = ended(&claimed, next);
        (one.reason, one.detail) = (Some("invalid"), "in its words".to_owned());
        f.store.end_calls(&[one], &LIMITS, now()).await.unwrap();
    }
    let (events, _) = f.prune(i64::MAX, 0).await;
    assert_eq!(events, 1, "the parked one's event stays");
    assert_eq!(
        states(f).await,
        [(1, "dead".to_owned())],
        "what is done goes with its event"
    );
    let id = f
        .store
        .follow_ups(&FollowUpFilter {
            limit: 9,
            ..Default::default()
        })
        .await
        .unwrap()[0]
        .id;
    let shown = f.store.follow_up(id).await.unwrap().unwrap();
    assert_eq!(
        (shown.reason.as_deref(), shown.detail.as_deref()),
        (Some("invalid"), Some("in its words"))
    );
    let retry = async |which| f.store.retry_follow_ups(&which, now()).await.unwrap();
    assert_eq!(retry(WhichCalls::One(id + 1)).await, 0);
    assert_eq!(retry(WhichCalls::Rule("other".to_owned())).await, 0);
    assert_eq!(retry(WhichCalls::Rule("rule".to_owned())).await, 1);
    let claims = claim(f, 9).await;
    assert_eq!((places(&claims), claims.calls[0].attempt), (vec![1], 0));
}

pub async fn what_came_of_a_call_before_its_end_is_known_and_bounded(f: &Fixture) {
    f.fill(1).await;
    let mut reader = f.reader().await;
    reader.settle(&done(1, 1, &[]), Micros(1)).await.unwrap();
    plan(f, vec![call(1, "a", "x")]).await;
    let limits = Limits {
        burst: 1_000,
        ..LIMITS
    };
    let mut id = 0;
    for n in 0..25_u16 {
        let claims = f.store.claim_calls(1, &limits, LEASE, now()).await.unwrap();
        let claimed = &claims.calls[0];
        id = claimed.id;
        let mut one = ended(claimed, if n < 24 { again() } else { Next::Done });
        // Every third one is a page more, or a look without a call: neither failed.
        (one.status, one.told) = match n % 3 {
            0 => (Some(200), Some(Told::default())),
            1 => (Some(500 + n), Some(Told::default())),
            _ => (None, None),
        };
        one.reason = (n % 3 != 0).then_some("unavailable");
        let limits = &limits;
        assert!(f.store.end_calls(&[one], limits, now()).await.unwrap()[0]);
    }
    let statuses = async || -> Vec<_> {
        let attempts = f.store.attempts(id).await.unwrap();
        attempts.iter().map(|one| one.status.unwrap()).collect()
    };
    assert_eq!(statuses().await, [501, 504, 507, 510, 513, 516, 519, 522]);
    let (events, _) = f.prune(i64::MAX, 0).await;
    assert_eq!(events, 1);
    assert!(statuses().await.is_empty(), "they go with their call");
}

pub async fn what_is_cancelled_by_hand_is_not_made_and_what_is_under_way_is(f: &Fixture) {
    f.fill(4).await;
    let other = Planned {
        rule: "other/kind".to_owned(),
        ..call(4, "b", "z")
    };
    plan(
        f,
        vec![
            call(1, "a", "x"),
            call(2, "a", "y"),
            call(3, "a", "z"),
            other,
        ],
    )
    .await;
    let claims = claim(f, 2).await;
    assert_eq!(places(&claims), [1, 4]);
    let parked = &claims
        .calls
        .iter()
        .find(|one| one.event.position.0 == 4)
        .unwrap();
    assert!(end(f, parked, Next::Park).await);
    let cancel = async |which| f.store.cancel_follow_ups(&which, now()).await.unwrap();
    assert_eq!(cancel(WhichCalls::Rule("none".to_owned())).await, 0);
    assert_eq!(cancel(WhichCalls::Rule("other".to_owned())).await, 1);
    assert_eq!(cancel(WhichCalls::All).await, 2);
    let state = |place: i64, state: &str| (place, state.to_owned());
    let expected = [
        state(1, "pending"),
        state(2, "cancelled"),
        state(3, "cancelled"),
        state(4, "cancelled"),
    ];
    assert_eq!(states(f).await, expected);
    assert!(claim(f, 9).await.calls.is_empty());
    let under_way = &claims
        .calls
        .iter()
        .find(|one| one.event.position.0 == 1)
        .unwrap();
    assert!(end(f, under_way, Next::Done).await);
    assert_eq!(states(f).await[0], state(1, "done"));
}

/// Two calls of one record, the first of which is to be made again in a quarter of an hour.
async fn one_waits_for_another(f: &Fixture) -> i64 {
    f.fill(2).await;
    plan(f, vec![call(1, "a", "x"), call(2, "a", "x")]).await;
    let claims = claim(f, 9).await;
    assert_eq!(places(&claims), [1]);
    let again = Next::Again {
        after: Duration::from_secs(900),
        attempt: 1,
        progress: String::new(),
    };
    assert!(end(f, &claims.calls[0], again).await);
    let none = claim(f, 9).await;
    assert!(none.calls.is_empty());
    assert!(Duration::from_secs(800) < none.next_in.unwrap(), "{none:?}");
    claims.calls[0].id
}

pub async fn a_call_behind_one_that_is_cancelled_is_made_at_once(f: &Fixture) {
    let first = one_waits_for_another(f).await;
    let one = WhichCalls::One(first);
    assert_eq!(f.store.cancel_follow_ups(&one, now()).await.unwrap(), 1);
    assert_eq!(places(&claim(f, 9).await), [2]);
}

pub async fn a_call_behind_one_that_is_erased_is_made_at_once(f: &Fixture) {
    one_waits_for_another(f).await;
    let mut reader = f.reader().await;
    let settled = done(2, 1, &[parked(1)]);
    reader.settle(&settled, now()).await.unwrap();
    let one = Selection::One(Position(1));
    let erased = f
        .store
        .discard_dead_letters(one, Position(0))
        .await
        .unwrap();
    assert_eq!((erased.events, erased.calls), (1, 1));
    assert_eq!(places(&claim(f, 9).await), [2]);
}

pub async fn calls_are_found_by_each_filter_wherever_they_are(f: &Fixture) {
    f.fill(6).await;
    let named = |position, rule: &str, tenant: &str| Planned {
        rule: rule.to_owned(),
        entity_id: None,
        ..call(position, tenant, "")
    };
    let calls = vec![
        named(1, "hookwell.backfill/contacts", "a"),
        named(2, "rule", "a"),
        named(3, "rule", "b"),
        named(4, "rules", "b"),
        named(5, "rule/sub", "a"),
    ];
    plan(f, calls).await;
    let claims = claim(f, 9).await;
    let dead = claims
        .calls
        .iter()
        .find(|one| one.event.position.0 == 2)
        .unwrap();
    assert!(end(f, dead, Next::Park).await);
    let found = async |filter: FollowUpFilter| -> Vec<i64> {
        let filter = FollowUpFilter {
            limit: 10,
            ..filter
        };
        let found = f.store.follow_ups(&filter).await.unwrap();
        found.iter().map(|one| one.position.0).collect()
    };
    let text = |text: &str| Some(text.to_owned());
    let none = FollowUpFilter::default;
    assert_eq!(found(none()).await, [5, 4, 3, 2, 1]);
    assert_eq!(
        found(FollowUpFilter {
            rule: text("rule"),
            ..none()
        })
        .await,
        [5, 3, 2]
    );
    assert_eq!(
        found(FollowUpFilter {
            rule: text("hookwell.backfill"),
            ..none()
        })
        .await,
        [1]
    );
    assert_eq!(
        found(FollowUpFilter {
            state: text("dead"),
            ..none()
        })
        .await,
        [2]
    );
    assert_eq!(
        found(FollowUpFilter {
            state: text("pending"),
            tenant: text("a"),
            ..none()
        })
        .await,
        [5, 1]
    );
    assert_eq!(
        found(FollowUpFilter {
            position: Some(Position(4)),
            ..none()
        })
        .await,
        [4]
    );
    let page = FollowUpFilter { limit: 2, ..none() };
    let page = f.store.follow_up_page(&page).await.unwrap();
    assert_eq!(page.next, Some(page.rows[1].id));
    assert_eq!(
        f.store.count_parked(Some("rule"), 10).await.unwrap(),
        (1, 0)
    );
    assert_eq!(
        f.store.count_parked(Some("rules"), 10).await.unwrap(),
        (0, 0)
    );
    assert_eq!(f.store.count_parked(None, 10).await.unwrap(), (1, 0));
}

pub async fn of_many_attempts_the_newest_are_kept(f: &Fixture) {
    f.fill(1).await;
    plan(f, vec![call(1, "a", "x")]).await;
    let limits = Limits {
        burst: 1_000,
        ..LIMITS
    };
    let mut id = 0;
    for n in 0..30_u16 {
        let claims = f.store.claim_calls(1, &limits, LEASE, now()).await.unwrap();
        id = claims.calls[0].id;
        let mut one = ended(&claims.calls[0], again());
        (one.status, one.reason) = (Some(500 + n), Some("unavailable"));
        assert!(f.store.end_calls(&[one], &limits, now()).await.unwrap()[0]);
    }
    let attempts = f.store.attempts(id).await.unwrap();
    let statuses: Vec<_> = attempts.iter().map(|one| one.status.unwrap()).collect();
    assert_eq!(statuses, (510..530).collect::<Vec<_>>());
}

fn lifecycle(kind: &str, location: Option<&str>, company: Option<&str>, at: i64) -> Lifecycle {
    let mut event = event("l", format!("{{\"type\":{kind:?}}}"));
    event.event_type = kind.to_owned();
    event.tenant = Tenant {
        company_id: company.map(str::to_owned),
        location_id: location.map(str::to_owned),
    };
    event.received_at = Micros(at);
    Lifecycle::of(&event).unwrap()
}

pub async fn an_uninstall_cancels_the_calls_before_it(f: &Fixture) {
    f.fill(6).await;
    let live = |position, kind, location, company, at| {
        (
            Position(position),
            "app".to_owned(),
            lifecycle(kind, location, company, at),
        )
    };
    let all = Plan {
        upto: Position(6),
        lifecycles: vec![
            live(1, "INSTALL", Some("l1"), Some("c1"), 10),
            live(2, "INSTALL", Some("l2"), Some("c1"), 11),
            live(5, "UNINSTALL", None, Some("c1"), 20),
        ],
        calls: vec![
            call(3, "l1", "x"),
            call(4, "other", "x"),
            call(6, "l2", "x"),
        ],
    };
    planner(f).await.settle(&all, now()).await.unwrap();
    let state = |n: i64, state: &str| (n, state.to_owned());
    assert_eq!(
        states(f).await,
        [
            state(3, "cancelled"),
            state(4, "pending"),
            state(6, "pending")
        ],
        "what came after the uninstall is of another life"
    );
}

pub async fn a_late_uninstall_cancels_nothing_of_whoever_is_installed_again(f: &Fixture) {
    f.fill(5).await;
    let live = |position, kind, location, company, at| {
        (
            Position(position),
            "app".to_owned(),
            lifecycle(kind, location, company, at),
        )
    };
    let all = Plan {
        upto: Position(5),
        lifecycles: vec![
            live(1, "INSTALL", Some("l1"), Some("c1"), 10),
            live(2, "INSTALL", Some("l2"), Some("c1"), 30),
            live(5, "UNINSTALL", None, Some("c1"), 20),
        ],
        calls: vec![call(3, "l1", "x"), call(4, "l2", "x")],
    };
    planner(f).await.settle(&all, now()).await.unwrap();
    let state = |n: i64, state: &str| (n, state.to_owned());
    assert_eq!(
        states(f).await,
        [state(3, "cancelled"), state(4, "pending")]
    );
}

pub async fn an_uninstall_leaves_a_call_that_is_being_made_to_its_end(f: &Fixture) {
    f.fill(3).await;
    plan(f, vec![call(1, "l1", "x"), call(2, "l1", "y")]).await;
    let claims = claim(f, 1).await;
    let gone = Plan {
        upto: Position(3),
        lifecycles: vec![(
            Position(3),
            "app".to_owned(),
            lifecycle("UNINSTALL", Some("l1"), None, 20),
        )],
        calls: Vec::new(),
    };
    planner(f).await.settle(&gone, now()).await.unwrap();
    let claimed = &claims.calls[0];
    assert!(end(f, claimed, Next::Done).await, "its place is given back");
    let mut expected = [(1, "cancelled".to_owned()), (2, "cancelled".to_owned())];
    let made = usize::try_from(claimed.event.position.0 - 1).unwrap();
    expected[made].1 = "done".to_owned();
    assert_eq!(states(f).await, expected);
}

pub async fn a_call_with_the_companys_token_is_not_made_again_for_a_location_that_went(
    f: &Fixture,
) {
    f.fill(3).await;
    let live = |position, kind, at| Plan {
        upto: Position(position),
        lifecycles: vec![(
            Position(position),
            "app".to_owned(),
            lifecycle(kind, Some("location"), Some("c1"), at),
        )],
        calls: Vec::new(),
    };
    let again = || Next::Again {
        after: Duration::ZERO,
        attempt: 1,
        progress: String::new(),
    };
    planner(f)
        .await
        .settle(&live(1, "INSTALL", 10), now())
        .await
        .unwrap();
    plan(f, vec![call(2, "c1", "x")]).await;
    let claims = claim(f, 1).await;
    assert!(end(f, &claims.calls[0], again()).await);
    assert_eq!(states(f).await, [(2, "pending".to_owned())]);
    let claims = claim(f, 1).await;
    planner(f)
        .await
        .settle(&live(3, "UNINSTALL", 20), now())
        .await
        .unwrap();
    assert_eq!(states(f).await, [(2, "pending".to_owned())]);
    assert!(end(f, &claims.calls[0], again()).await);
    assert_eq!(states(f).await, [(2, "cancelled".to_owned())]);
}

pub async fn a_companys_token_wakes_the_calls_of_its_locations(f: &Fixture) {
    f.fill(3).await;
    let lives = vec![(
        Position(1),
        "app".to_owned(),
        lifecycle("INSTALL", Some("l1"), Some("c1"), 10),
    )];
    let all = Plan {
        upto: Position(3),
        lifecycles: lives,
        calls: vec![
            call(1, "l1", "x"),
            call(2, "l1", "y"),
            call(3, "other", "x"),
        ],
    };
    planner(f).await.settle(&all, now()).await.unwrap();
    for claimed in claim(f, 9).await.calls {
        let later = Next::Again {
            after: Duration::from_secs(600),
            attempt: 0,
            progress: "{}".to_owned(),
        };
        let mut one = ended(&claimed, later);
        one.told = None;
        let waits_for_it = claimed.event.position.0 != 2;
        one.reason = waits_for_it.then_some(hookwell::store::NO_TOKEN);
        f.store.end_calls(&[one], &LIMITS, now()).await.unwrap();
    }
    assert!(claim(f, 9).await.calls.is_empty());
    let token = super::installations::token("1", None);
    f.store.put_token("app", "c1", &token, now()).await.unwrap();
    assert_eq!(places(&claim(f, 9).await), [1]);
}
