//! Calls that events call for: what is sent, what becomes of the answer, and what when there is none.

use hookwell::dev::ghl::{Deed, Fault, METADATA, Moment};

use super::*;
use crate::harness::{Sink, fresh_vhost};

on_both! {
    a_contacts_record_is_fetched_and_published
    a_record_that_is_gone_is_a_tombstone
    a_write_is_made_once_and_left_to_a_person_where_nobody_knows
    what_was_under_way_in_a_crash_is_made_again_only_if_it_may_be
    what_is_under_way_at_shutdown_is_answered_and_in_the_log
    an_outage_eats_no_attempts
    an_outage_that_one_call_meets_eats_none_either
    every_answer_has_its_verdict
    a_401_that_no_new_token_cures_burns_none
    a_call_that_waits_is_cancelled_by_hand
    events_of_one_contact_are_one_call
    conditions_bodies_and_lookups_are_of_the_event
}

async fn a_contacts_record_is_fetched_and_published(backend: Backend) {
    let mut world = World::new(backend, SNAPSHOT).await;
    let broker = fresh_vhost().await;
    world.config = world
        .config
        .clone()
        .broker(&broker.url)
        .queue("snapshots", &["contact.snapshot.#"]);
    world.api.ghl.put_contact(
        "c1",
        json!({"locationId": world.location, "firstName": "Ada", "lastName": "L"}),
    );
    let daemon = world.authorised().await;
    let sink = Sink::open(&broker.url, &["snapshots"]).await;
    world.contact(&daemon, "ContactCreate", "c1").await;
    let arrived = sink.wait_for(1, WITHIN).await;
    let message = &arrived[0];
    let body: Value = serde_json::from_slice(&message.body).unwrap();
    assert_eq!(body["contact"]["lastName"], "L");
    assert_eq!(
        message.routing_key,
        format!("contact.snapshot.{}", world.location)
    );
    assert_eq!(message.kind, "contact.snapshot");
    let (event, _) = &world.events("contact.snapshot")[0];
    assert_eq!(
        (&event["tenant"], &event["entity_id"]),
        (&json!(world.location), &json!("c1"))
    );
    let calls = world.settled(1).await;
    assert_eq!(
        (&calls[0]["state"], &calls[0]["status"]),
        (&json!("done"), &json!(200))
    );
    let planned = daemon
        .metric("hookwell_follow_ups_planned_total{rule=\"contact-snapshot\"}")
        .await;
    assert_eq!(planned, Some(1.0));
}

async fn a_record_that_is_gone_is_a_tombstone(backend: Backend) {
    let world = World::new(backend, SNAPSHOT).await;
    let daemon = world.authorised().await;
    world.contact(&daemon, "ContactUpdate", "nobody").await;
    let calls = world.settled(1).await;
    assert_eq!(
        (&calls[0]["state"], &calls[0]["reason"]),
        (&json!("done"), &json!("gone"))
    );
    let (event, body) = &world.events("contact.gone")[0];
    assert_eq!(event["entity_id"], "nobody");
    assert_eq!(
        (&body["gone"], &body["status"], &body["eventType"]),
        (&json!(true), &json!(404), &json!("ContactUpdate"))
    );
    assert!(world.events("contact.snapshot").is_empty());
}

const TAG: &str = r#"
[[follow_ups]]
name = "tag"
on = ["ContactCreate"]
request = "POST /contacts/{entity_id}/tags"
body = { tags = ["from-{event_type}"] }
"#;

async fn a_write_is_made_once_and_left_to_a_person_where_nobody_knows(backend: Backend) {
    let world = World::new(backend, TAG).await;
    world
        .api
        .ghl
        .put_contact("c1", json!({"locationId": world.location, "tags": []}));
    world
        .api
        .ghl
        .put_contact("c2", json!({"locationId": world.location, "tags": []}));
    let daemon = world.authorised().await;
    world.contact(&daemon, "ContactCreate", "c1").await;
    world.settled(1).await;
    let tags = |id: &str| world.api.ghl.contact(id).unwrap()["tags"].clone();
    assert_eq!(tags("c1"), json!(["from-ContactCreate"]));
    world.api.ghl.fault(
        Fault::new(Deed::HangUp(Moment::After))
            .path("/contacts/")
            .times(1),
    );
    world.contact(&daemon, "ContactCreate", "c2").await;
    let calls = world.settled(2).await;
    let parked = calls.iter().find(|call| call["entity_id"] == "c2").unwrap();
    assert_eq!(
        (&parked["state"], &parked["reason"]),
        (&json!("dead"), &json!("outcome_unknown"))
    );
    assert_eq!(
        tags("c2"),
        json!(["from-ContactCreate"]),
        "it had its effect"
    );
    let posts = world
        .api
        .ghl
        .journal()
        .into_iter()
        .filter(|entry| entry.path.ends_with("c2/tags"));
    assert_eq!(posts.count(), 1, "and is not made again");
    let output = run_cli(&["follow-ups", "retry", "--rule", "tag"], &world.config);
    assert!(output.status.success());
    let calls = world.settled(2).await;
    assert!(
        calls.iter().all(|call| call["state"] == "done"),
        "a person decided: {calls:?}"
    );
}

async fn what_was_under_way_in_a_crash_is_made_again_only_if_it_may_be(backend: Backend) {
    let world = World::new(backend, &format!("{TAG}{SNAPSHOT}")).await;
    for id in ["c1", "c2"] {
        world
            .api
            .ghl
            .put_contact(id, json!({"locationId": world.location, "tags": []}));
    }
    let mut daemon = world.authorised().await;
    world.contact(&daemon, "ContactCreate", "c1").await;
    world.settled(2).await;
    world
        .api
        .ghl
        .fault(Fault::new(Deed::LateAnswer(60_000)).path("/contacts/"));
    world.contact(&daemon, "ContactCreate", "c2").await;
    eventually("both calls are under way", WITHIN, async || {
        let journal = world.api.ghl.journal();
        let of = journal
            .iter()
            .filter(|entry| entry.path.starts_with("/contacts/c2"));
        (of.count() == 2).then_some(())
    })
    .await;
    daemon.kill9();
    world.api.ghl.clear_faults();
    // The claims would stand for two minutes.
    crate::harness::store::execute_on(
        &world.store,
        "update follow_ups set due_at = 0 where state = 'pending'",
    )
    .await;
    crate::harness::store::execute_on(&world.store, "update call_budgets set next_at = 0").await;
    let daemon = world.start().await;
    let calls = world.settled(4).await;
    let of = |rule: &str| {
        let mut of = calls
            .iter()
            .filter(|call| call["rule"] == rule && call["entity_id"] == "c2");
        of.next().unwrap().clone()
    };
    assert_eq!(
        (&of("tag")["state"], &of("tag")["reason"]),
        (&json!("dead"), &json!("outcome_unknown"))
    );
    assert_eq!(of("contact-snapshot")["state"], "done");
    let journal = world.api.ghl.journal();
    let posts = journal
        .iter()
        .filter(|entry| entry.path == "/contacts/c2/tags");
    assert_eq!(posts.count(), 1);
    assert_eq!(world.events("contact.snapshot").len(), 2);
    drop(daemon);
}

async fn what_is_under_way_at_shutdown_is_answered_and_in_the_log(backend: Backend) {
    let world = World::new(backend, SNAPSHOT).await;
    let contact = json!({"locationId": world.location});
    world.api.ghl.put_contact("c1", contact.clone());
    world.api.ghl.put_contact("c2", contact);
    let mut daemon = world.authorised().await;
    world.contact(&daemon, "ContactCreate", "c1").await;
    world.settled(1).await;
    world
        .api
        .ghl
        .fault(Fault::new(Deed::LateAnswer(2_000)).path("/contacts/"));
    world.contact(&daemon, "ContactCreate", "c2").await;
    eventually("the call is under way", WITHIN, async || {
        let journal = world.api.ghl.journal();
        let mut of = journal.iter().filter(|entry| entry.path == "/contacts/c2");
        of.next().map(|_| ())
    })
    .await;
    assert_eq!(daemon.terminate().await.code(), Some(0));
    let calls = world.follow_ups();
    assert_eq!((calls.len(), &calls[0]["state"]), (2, &json!("done")));
    assert_eq!(world.events("contact.snapshot").len(), 2);
}

async fn an_outage_eats_no_attempts(backend: Backend) {
    // More than are made before the last event is posted, and fewer than would be in the two seconds below.
    let world = World::with(backend, SNAPSHOT, settings(), "attempts = 8\n").await;
    for n in 0..12 {
        world
            .api
            .ghl
            .put_contact(&format!("c{n}"), json!({"locationId": world.location}));
    }
    let daemon = world.authorised().await;
    // The token is there before the outage.
    world.contact(&daemon, "ContactCreate", "c0").await;
    world.settled(1).await;
    world.api.ghl.fault(Fault::new(Deed::Status(503)));
    // Those that open it, and those that find it open: what was under way when it opened is over by then.
    for some in [1..4, 4..12] {
        for n in some {
            world
                .contact(&daemon, "ContactCreate", &format!("c{n}"))
                .await;
        }
        eventually("the breaker is open", WITHIN, async || {
            (daemon.metric("hookwell_api_breaker_open").await == Some(1.0)).then_some(())
        })
        .await;
    }
    let before = world.api.ghl.report().requests;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let probes = world.api.ghl.report().requests - before;
    assert!(probes <= 4, "{probes} calls in two seconds");
    world.api.ghl.clear_faults();
    let calls = world.settled(12).await;
    assert!(
        calls.iter().all(|call| call["state"] == "done"),
        "{calls:?}"
    );
    assert_eq!(world.events("contact.snapshot").len(), 12);
}

/// The only call there is, with the attempts that it has by default.
async fn an_outage_that_one_call_meets_eats_none_either(backend: Backend) {
    let world = World::new(backend, SNAPSHOT).await;
    let daemon = world.authorised().await;
    world
        .api
        .ghl
        .put_contact("c1", json!({"locationId": world.location}));
    // The token is there before the outage.
    world.contact(&daemon, "ContactUpdate", "c0").await;
    world.settled(1).await;
    world.api.ghl.clear_journal();
    world
        .api
        .ghl
        .fault(Fault::new(Deed::Status(503)).path("/contacts/"));
    world.contact(&daemon, "ContactCreate", "c1").await;
    eventually(
        "it was made more often than it may fail",
        WITHIN,
        async || {
            let journal = world.api.ghl.journal();
            let of = journal.iter().filter(|entry| entry.path == "/contacts/c1");
            (4 < of.count()).then_some(())
        },
    )
    .await;
    assert_eq!(world.follow_ups()[0]["state"], "pending");
    world.api.ghl.clear_faults();
    let calls = world.settled(2).await;
    assert_eq!(calls[0]["state"], "done", "{calls:?}");
}

async fn every_answer_has_its_verdict(backend: Backend) {
    let world = World::with(backend, SNAPSHOT, settings(), "max_answer = \"64KiB\"\n").await;
    let daemon = world.authorised().await;
    for n in 0..9 {
        world
            .api
            .ghl
            .put_contact(&format!("c{n}"), json!({"locationId": world.location}));
    }
    world.contact(&daemon, "ContactCreate", "c0").await;
    world.settled(1).await;
    let cases = [
        ("c1", Deed::Status(403), "dead", "no_access"),
        ("c2", Deed::Status(422), "dead", "invalid"),
        (
            "c3",
            Deed::Redirect(METADATA.to_owned()),
            "dead",
            "unexpected",
        ),
        ("c4", Deed::Flood(1 << 30), "dead", "answer_too_large"),
        ("c5", Deed::Status(429), "done", ""),
        ("c6", Deed::Status(503), "done", ""),
        ("c7", Deed::HangUp(Moment::Before), "done", ""),
        ("c8", Deed::Status(401), "dead", "unauthorised"),
    ];
    for (id, deed, state, reason) in cases {
        let deed_name = match &deed {
            Deed::Status(status) => Some(*status),
            _ => None,
        };
        world
            .api
            .ghl
            .fault(Fault::new(deed).path("/contacts/").times(1));
        world.contact(&daemon, "ContactCreate", id).await;
        // A 429 closes the tenant's budget for ten seconds.
        let call = eventually(&format!("{id} has its verdict"), WITHIN, async || {
            let calls = world.follow_ups();
            let call = calls.into_iter().find(|call| call["entity_id"] == id)?;
            (call["state"] != "pending").then_some(call)
        })
        .await;
        assert_eq!(call["state"], state, "{call}");
        if state == "dead" {
            assert_eq!(call["reason"], reason, "{call}");
        }
        // What failed is still known when the call was made again.
        let id = call["id"].to_string();
        let shown = &world.lines(&["follow-ups", "show", &id])[0];
        let attempts = shown["attempts"].as_array().unwrap();
        let statuses: Vec<_> = attempts.iter().map(|one| &one["status"]).collect();
        let expected = match &deed_name {
            Some(status) => json!(status),
            None if reason == "unexpected" => json!(307),
            None => Value::Null,
        };
        assert_eq!(statuses, [&expected], "{shown}");
        world.api.ghl.clear_faults();
    }
    assert_eq!(world.events("contact.snapshot").len(), 4);
}

const UNCURED: &str = r#"
[[follow_ups]]
name = "scope"
on = ["ContactCreate"]
request = "GET /opportunities/pipelines?locationId={location_id}"
[[follow_ups]]
name = "class"
on = ["ContactCreate"]
request = "GET /contacts/{entity_id}"
token_of = "company"
[[follow_ups]]
name = "version"
on = ["ContactCreate"]
request = "GET /contacts/{entity_id}"
version = "2020-01-01"
[[follow_ups]]
name = "route"
on = ["ContactCreate"]
request = "PATCH /contacts/{entity_id}"
"#;

/// GHL answers 401 for them all, and only an invalid token is cured by another one.
async fn a_401_that_no_new_token_cures_burns_none(backend: Backend) {
    let settings = Settings {
        scopes: settings().scopes.replace("opportunities.readonly ", ""),
        lenient: true,
        ..settings()
    };
    let rules = format!("{UNCURED}{}", SNAPSHOT.replace("\"ContactCreate\", ", ""));
    let world = World::with(backend, &rules, settings, "").await;
    let daemon = world.authorised().await;
    world.contact(&daemon, "ContactCreate", "c1").await;
    let calls = world.settled(4).await;
    let expected = [
        ("scope", "scope_missing"),
        ("class", "wrong_token_class"),
        ("version", "bad_version"),
        ("route", "no_route"),
    ];
    for (rule, reason) in expected {
        let call = calls.iter().find(|call| call["rule"] == rule).unwrap();
        assert_eq!(
            (&call["state"], &call["status"], &call["reason"]),
            (&json!("dead"), &json!(401), &json!(reason)),
            "{call}"
        );
        let of_rule = ["follow-ups", "show", &call["id"].to_string()];
        let shown = &world.lines(&of_rule)[0];
        assert_eq!(
            shown["attempts"].as_array().map(Vec::len),
            Some(1),
            "{shown}"
        );
    }
    // A token that was given up would be got anew for this one.
    world.contact(&daemon, "ContactUpdate", "c1").await;
    let calls = world.settled(5).await;
    assert_eq!(calls[0]["state"], "done", "{calls:?}");
    let report = world.api.ghl.report();
    assert_eq!(report.refreshes.values().sum::<u64>(), 0);
    assert_eq!(report.minted.values().sum::<u64>(), 1);
}

async fn a_call_that_waits_is_cancelled_by_hand(backend: Backend) {
    let world = World::new(backend, SNAPSHOT).await;
    // Nobody has authorised the app, so it waits for a token.
    let daemon = world.start().await;
    world.contact(&daemon, "ContactCreate", "c1").await;
    eventually("it waits for a token", WITHIN, async || {
        let calls = world.follow_ups();
        (calls.first()?["reason"] == "no_token").then_some(())
    })
    .await;
    let unasked = run_cli(&["follow-ups", "cancel", "--all"], &world.config);
    assert_eq!(unasked.status.code(), Some(64));
    let done = eventually("it is not being looked at", WITHIN, async || {
        let rule = [
            "follow-ups",
            "cancel",
            "--rule",
            "contact-snapshot",
            "--yes",
        ];
        let done = run_cli(&rule, &world.config);
        (done.stdout == b"1 cancelled\n").then_some(done)
    })
    .await;
    assert!(done.status.success());
    let call = &world.follow_ups()[0];
    assert_eq!(
        (&call["state"], &call["reason"]),
        (&json!("cancelled"), &json!("by_hand"))
    );
    let trail = world.lines(&["audit"]);
    assert_eq!(trail[0]["action"], "cancel_follow_ups");
    // Whoever authorises the app now gets nothing for it.
    let page = Browser::new().install(&daemon, "").await;
    assert_eq!(page.status, 200, "{page:?}");
    world.contact(&daemon, "ContactUpdate", "c2").await;
    world.settled(2).await;
    assert!(world.events("contact.snapshot").is_empty());
}

async fn events_of_one_contact_are_one_call(backend: Backend) {
    let rule = SNAPSHOT.replace("publish_as", "coalesce = \"1s\"\npublish_as");
    let world = World::new(backend, &rule).await;
    world
        .api
        .ghl
        .put_contact("c1", json!({"locationId": world.location}));
    let daemon = world.authorised().await;
    for _ in 0..5 {
        world.contact(&daemon, "ContactUpdate", "c1").await;
    }
    let calls = world.settled(5).await;
    let of = |state: &str| calls.iter().filter(|call| call["state"] == state).count();
    assert_eq!((of("done"), of("merged")), (1, 4), "{calls:?}");
    assert_eq!(world.events("contact.snapshot").len(), 1);
}

pub(super) const ENRICHED: &str = r#"
[[follow_ups]]
name = "won"
on = ["OpportunityStatusUpdate"]
when = "body.status == 'won' and body.monetaryValue > 1000"
request = "GET /opportunities/{entity_id}"
publish_as = "opportunity.snapshot"
publish = { id = "{answer.opportunity.id}", pipelines = "{pipelines.pipelines | length}", value = "{body.monetaryValue}", text = "worth {body.monetaryValue}" }
[[follow_ups.lookups]]
name = "pipelines"
request = "GET /opportunities/pipelines?locationId={location_id}"
"#;

async fn conditions_bodies_and_lookups_are_of_the_event(backend: Backend) {
    let world = World::new(backend, ENRICHED).await;
    world
        .api
        .ghl
        .put_opportunity("o1", json!({"locationId": world.location}));
    let daemon = world.authorised().await;
    for (status, value) in [("open", 5_000), ("won", 10), ("won", 5_000), ("won", 7_000)] {
        let body = json!({"type": "OpportunityStatusUpdate", "appId": APP_ID, "locationId": world.location, "id": "o1",
            "status": status, "monetaryValue": value, "companyId": world.company.id(),
            "webhookId": uuid::Uuid::new_v4().to_string()});
        world.send(&daemon, &body).await;
    }
    let calls = world.settled(2).await;
    assert_eq!(calls.len(), 2, "{calls:?}");
    let mut bodies: Vec<_> = world
        .events("opportunity.snapshot")
        .into_iter()
        .map(|(_, body)| body)
        .collect();
    bodies.sort_by_key(|body| body["value"].as_i64());
    assert_eq!(bodies[0]["id"], "o1");
    assert_eq!(
        (&bodies[0]["value"], &bodies[1]["value"]),
        (&json!(5_000), &json!(7_000))
    );
    assert_eq!(bodies[0]["text"], "worth 5000");
    assert!(bodies[0]["pipelines"].is_number());
    let lookups = world
        .api
        .ghl
        .journal()
        .into_iter()
        .filter(|entry| entry.path.contains("pipelines"));
    assert_eq!(lookups.count(), 1, "kept for the next one");
}
