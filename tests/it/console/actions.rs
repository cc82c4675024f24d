//! What a person does at the console: asked first, done, and in the audit trail under the person's name.

use super::*;
use hookwell::event::Micros;
use hookwell::store::{Access, Census, QuarantineBounds, Refused, SqliteStore, Store};

use crate::harness::daemon::ALL;
use crate::harness::ghl::PATH;
use crate::harness::operator::Operator;
use crate::harness::store::execute_on;

async fn trail(daemon: &Daemon) -> Vec<(String, String, String, i64)> {
    let said = Visitor::program(daemon).get("/audit").await.json();
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap().to_owned();
    let line = |entry: &Value| {
        let affected = entry["affected"].as_i64().unwrap();
        (
            text(entry, "who"),
            text(entry, "action"),
            text(entry, "subject"),
            affected,
        )
    };
    said["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(line)
        .collect()
}

async fn dead_letters_are_published_again(backend: Backend) {
    let broker = fresh_vhost().await;
    let operator = Operator::at(&broker.url).await;
    operator.declare_without_alternate(&[ALL]).await;
    let mut world = World::new(backend).await;
    world.config = world.config.broker(&broker.url).set(
        "broker",
        "topology = \"check\"\nunroutable_attempts = 2\nretry_max = \"300ms\"",
    );
    let daemon = world.start().await;
    for n in 1..=3 {
        world.post(&daemon, &contact(n)).await;
    }
    let ada = Visitor::ada(&daemon).await;
    eventually("all are parked", WITHIN, async || {
        let view = Visitor::program(&daemon).get("/dead-letters").await.json();
        (view["parked"] == 3).then_some(())
    })
    .await;
    let page = ada.get("/events/2").await.text();
    assert!(
        page.contains("<strong>parked</strong>") && page.contains("/dead-letters/retry?position=2"),
        "{page}"
    );
    let question = ada.get("/dead-letters/retry?position=2").await.text();
    for wanted in [
        "Publish 1 event again?",
        "name=\"position\" value=\"2\"",
        "<a href=\"&#x2f;events&#x2f;2\">ContactCreate at position 2</a>",
        "<dd>key-2</dd>",
        &format!("<dd>{TENANT}</dd>"),
        "<dd>unroutable 312 NO_ROUTE",
    ] {
        assert!(question.contains(wanted), "{wanted} is missing: {question}");
    }
    let question = ada.get("/dead-letters/retry").await.text();
    assert!(question.contains("Publish 3 events again?"), "{question}");

    operator.bind(ALL, "#").await;
    let sink = Sink::open(&broker.url, &[ALL]).await;
    let page = ada.send("/dead-letters/retry", &[("position", "2")]).await;
    assert_eq!((page.status, page.header("location")), (303, "/events/2"));
    let arrived = sink.wait_for(1, WITHIN).await;
    assert_eq!(arrived[0].message_id, "key-2");
    let said = "1 event is being published again.";
    let page = ada.get("/events/2").await.text();
    assert!(page.contains(said), "{page}");
    let page = ada.get("/events/2").await.text();
    assert!(!page.contains(said), "said once");
    let page = eventually("its page says that it is out", WITHIN, async || {
        let page = ada.get("/events/2").await.text();
        page.contains("<strong>published</strong>").then_some(page)
    })
    .await;
    assert!(
        page.contains("<strong>asked for again</strong>") && page.contains("by ada"),
        "{page}"
    );
    let done = Visitor::program(&daemon)
        .send("/dead-letters/retry", &[])
        .await;
    assert_eq!(done.json(), json!({"affected": 2}));
    sink.wait_for(3, WITHIN).await;
    eventually("they are published", WITHIN, async || {
        let view = Visitor::program(&daemon)
            .get("/events?state=published")
            .await
            .json();
        (view["rows"].as_array().unwrap().len() == 3).then_some(())
    })
    .await;
    let line = |subject: &str, count| {
        (
            "ada".to_owned(),
            "retry_dead_letters".to_owned(),
            subject.to_owned(),
            count,
        )
    };
    assert_eq!(
        trail(&daemon).await,
        [line("all", 2), line("position 2", 1)]
    );
    // What changes nothing is not noted.
    assert_eq!(
        Visitor::program(&daemon)
            .send("/dead-letters/retry", &[])
            .await
            .json(),
        json!({"affected": 0})
    );
    assert_eq!(trail(&daemon).await.len(), 2);
}

async fn a_dead_letter_that_is_asked_for_is_told_from_the_parked_ones(backend: Backend) {
    // Without a broker it stays in the relay's hands.
    let world = World::new(backend).await;
    let daemon = world.start().await;
    for n in 1..=2 {
        world.post(&daemon, &contact(n)).await;
    }
    for sql in [
        "update cursors set position = 2 where reader = 'relay'",
        "insert into dead_letters (position, reason, detail, parked_at, state) values \
         (1, 'unroutable', 'nobody', 1, 'parked'), (2, 'unroutable', 'nobody', 1, 'parked')",
    ] {
        execute_on(&world.store, sql).await;
    }
    let ada = Visitor::ada(&daemon).await;
    let question = ada.get("/dead-letters/retry").await.text();
    assert!(question.contains("Publish 2 events again?"), "{question}");
    ada.send("/dead-letters/retry", &[("position", "1")]).await;
    let page = ada.get("/events/1").await.text();
    assert!(
        page.contains("<strong>retry</strong>") && page.contains("data-refresh"),
        "{page}"
    );
    let page = ada.get("/dead-letters").await.text();
    assert!(
        page.contains("1 parked. 1 is being published again."),
        "{page}"
    );
    let page = ada.get("/").await.text();
    for wanted in [
        "1 event could not be published.",
        "1 event is being published again.",
        "1 is being published again</span>",
    ] {
        assert!(page.contains(wanted), "{wanted} is missing: {page}");
    }
    let question = ada.get("/dead-letters/retry").await.text();
    assert!(question.contains("Publish 1 event again?"), "{question}");
    let program = Visitor::program(&daemon);
    for (state, position) in [("retry", 1), ("parked", 2)] {
        let view = program.get(&format!("/events?state={state}")).await.json();
        assert_eq!(view["rows"][0]["position"], position, "{view}");
        assert_eq!(view["rows"].as_array().unwrap().len(), 1, "{view}");
    }
    // It was asked for already.
    let page = ada.get("/dead-letters/retry?position=1").await;
    assert_eq!(page.status, 404, "{page:?}");
    ada.send("/dead-letters/retry", &[("position", "1")]).await;
    let page = ada.get("/events/1").await.text();
    assert!(page.contains("Nothing was done"), "{page}");
    let output = run_cli(&["status"], &world.config);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("being published again"), "{said}");
}

async fn a_parked_call_is_named_before_it_is_made_again(backend: Backend) {
    let world = World::new(backend).await;
    let daemon = world.start().await;
    world.post(&daemon, &contact(1)).await;
    execute_on(
        &world.store,
        "insert into follow_ups (position, rule, app_id, tenant, entity_id, state, due_at, attempt, planned_at, ended_at, status, reason, detail) \
         values (1, 'contact-snapshot', 'app', 'tenant-1', 'contact1', 'dead', 1, 3, 1, 3000000, 422, 'refused', 'no such field')",
    )
    .await;
    let ada = Visitor::ada(&daemon).await;
    let question = ada.get("/follow-ups/retry?id=1").await.text();
    for wanted in [
        "<dd>contact-snapshot</dd>",
        "<dd>tenant-1</dd>",
        "<dd>contact1</dd>",
        "<dd>422 refused no such field</dd>",
        "ContactCreate at position 1</a>",
    ] {
        assert!(question.contains(wanted), "{wanted} is missing: {question}");
    }
    ada.send("/follow-ups/retry", &[("id", "1")]).await;
    let page = ada.get("/follow-ups").await.text();
    assert!(page.contains("1 call will be made again."), "{page}");
    let noted = &trail(&daemon).await[0];
    let (who, action, affected) = (noted.0.as_str(), noted.1.as_str(), noted.3);
    assert_eq!((who, action, affected), ("ada", "retry_follow_ups", 1));
    // Of all of a rule: how many, and which of them may have had their effect.
    for reason in ["refused", "outcome_unknown"] {
        execute_on(
            &world.store,
            &format!(
                "insert into follow_ups (position, rule, app_id, tenant, state, due_at, planned_at, ended_at, reason) \
                 values (1, 'tag-{}', 'app', 'tenant-1', 'dead', 1, 1, 1, '{reason}')",
                reason.replace('_', "-")
            ),
        )
        .await;
    }
    let all = ada.get("/follow-ups/retry").await.text();
    assert!(all.contains("Make 2 calls again?"), "{all}");
    assert!(all.contains("outcome_unknown"), "{all}");
    let of_rule = ada.get("/follow-ups/retry?rule=tag-refused").await.text();
    assert!(of_rule.contains("Make 1 call again?"), "{of_rule}");
}

async fn published_events_are_published_again(backend: Backend) {
    let broker = fresh_vhost().await;
    let mut world = World::new(backend).await;
    world.config = world.config.broker(&broker.url);
    let daemon = world.start().await;
    let sink = Sink::open(&broker.url, &[ALL]).await;
    for n in 1..=3 {
        world.post(&daemon, &contact(n)).await;
    }
    sink.wait_for(3, WITHIN).await;
    eventually("they are published", WITHIN, async || {
        let ledger = daemon.metric("hookwell_ledger_events{state=\"published\"}");
        (ledger.await == Some(3.0)).then_some(())
    })
    .await;
    let ada = Visitor::ada(&daemon).await;
    let page = ada.get("/events/2").await.text();
    assert!(page.contains("/replays/ask?position=2"), "{page}");
    let question = ada.get("/replays/ask?position=2").await.text();
    assert!(
        question.contains("Publish 1 event again?")
            && question.contains("name=\"after\" value=\"1\"")
            && question.contains("name=\"upto\" value=\"2\"")
            && question.contains("ContactCreate at position 2")
            && question.contains("<dd>key-2</dd>")
            && question.contains(&format!("<dd>{TENANT}</dd>")),
        "{question}"
    );
    let page = ada.get("/events?tenant=consoleTenant0000001").await.text();
    assert!(page.contains("Publish all of these again"), "{page}");
    let page = ada.send("/replays", &[("after", "1"), ("upto", "2")]).await;
    assert_eq!((page.status, page.header("location")), (303, "/replays"));
    eventually("it is out again", WITHIN, async || {
        let again = |one: &&crate::harness::Delivery| one.headers["hookwell-origin"] == "replay";
        let all = sink.all();
        let again: Vec<_> = all
            .iter()
            .filter(again)
            .map(|one| one.message_id.as_str())
            .collect();
        (again == ["key-2"]).then_some(())
    })
    .await;
    let page = ada.get("/replays").await.text();
    assert!(
        page.contains("Replay 1 publishes 1 event again.") && page.contains("position 2"),
        "{page}"
    );

    // As a program: all of a tenant's, and the end of what runs.
    let program = Visitor::program(&daemon);
    let done = program.send("/replays", &[("tenant", TENANT)]).await;
    assert_eq!(done.json(), json!({"affected": 3}));
    let none = program.send("/replays", &[("type", "NoSuchType")]).await;
    assert_eq!(none.status, 404);
    eventually("it is over", WITHIN, async || {
        let view = program.get("/replays").await.json();
        (view["replays"][0]["state"] == "done" && view["replays"][0]["published"] == 3)
            .then_some(())
    })
    .await;
    assert_eq!(ada.get("/replays/cancel?id=2").await.status, 404);
    let over = program.send("/replays/cancel", &[("id", "2")]).await;
    assert_eq!(over.json(), json!({"affected": 0}));
    let line = |subject: &str, count| {
        (
            "ada".to_owned(),
            "replay".to_owned(),
            subject.to_owned(),
            count,
        )
    };
    assert_eq!(
        trail(&daemon).await,
        [line("replay 2", 3), line("replay 1", 1)]
    );
}

async fn a_running_replay_is_ended(backend: Backend) {
    // Without a broker nothing of it goes out.
    let world = World::new(backend).await;
    let daemon = world.start().await;
    execute_on(
        &world.store,
        "insert into replays (asked_at, who, after, upto, rate, matched, state, position) \
         values (1, 'bob', 0, 5, 50, 5, 'running', 0)",
    )
    .await;
    let ada = Visitor::ada(&daemon).await;
    let page = ada.get("/replays").await.text();
    assert!(page.contains("/replays/cancel?id=1"), "{page}");
    let question = ada.get("/replays/cancel?id=1").await.text();
    for wanted in [
        "5 events will not go out.",
        "<dd>every tenant</dd>",
        "<dd>1 to 5</dd>",
        "<dd>bob</dd>",
        "<dd>0 of 5</dd>",
    ] {
        assert!(question.contains(wanted), "{wanted} is missing: {question}");
    }
    let page = ada.send("/replays/cancel", &[("id", "1")]).await;
    assert_eq!((page.status, page.header("location")), (303, "/replays"));
    let view = Visitor::program(&daemon).get("/replays").await.json();
    assert_eq!(view["replays"][0]["state"], "cancelled");
    assert_eq!(trail(&daemon).await[0].1, "cancel_replay");
}

async fn refused_requests_are_let_in_after_a_key_was_mended(backend: Backend) {
    let mut world = World::new(backend).await;
    let good = std::mem::replace(
        &mut world.config.keys,
        vec![Ghl::with_seed([8; 32]).key.public_key_pem()],
    );
    let mut daemon = world.start().await;
    for n in 1..=3 {
        let answer = world
            .ghl
            .post(&daemon, contact(n).to_string().as_bytes())
            .await;
        assert_eq!(answer.status, 401);
    }
    let list = eventually("they are kept", WITHIN, async || {
        let view = Visitor::program(&daemon).get("/quarantine").await.json();
        // The list is read before the count: an entry between the two is only in the latter.
        let listed = view["entries"].as_array().map_or(0, Vec::len);
        (listed == 3).then_some(view)
    })
    .await;
    let id = list["entries"][0]["id"].to_string();
    let ada = Visitor::ada(&daemon).await;
    let page = ada.get(&format!("/quarantine/{id}")).await.text();
    assert!(
        page.contains("It would still be refused: signature_wrong")
            && page.contains("ada3@example.com"),
        "{page}"
    );
    let stays = Visitor::program(&daemon)
        .send("/quarantine/admit", &[])
        .await;
    assert_eq!(stays.json(), json!({"affected": 0}));
    assert!(daemon.terminate().await.success());

    world.config.keys = good;
    let daemon = world.start().await;
    let ada = Visitor::ada(&daemon).await;
    let page = ada.get(&format!("/quarantine/{id}")).await.text();
    assert!(
        page.contains("it would be taken") && page.contains(&format!("/quarantine/admit?id={id}")),
        "{page}"
    );
    let question = ada.get("/quarantine/admit").await.text();
    assert!(question.contains("Judge 3 requests again?"), "{question}");
    let question = ada.get(&format!("/quarantine/admit?id={id}")).await.text();
    for wanted in ["signature_wrong", "ContactCreate", "key-3", TENANT] {
        let wanted = format!("<dd>{wanted}</dd>");
        assert!(
            question.contains(&wanted),
            "{wanted} is missing: {question}"
        );
    }
    let page = ada.send("/quarantine/admit", &[("id", &id)]).await;
    assert_eq!((page.status, page.header("location")), (303, "/events/1"));
    let page = ada.get("/events/1").await.text();
    assert!(
        page.contains("1 request admitted; 0 requests stay in quarantine."),
        "{page}"
    );
    let page = ada.get("/audit").await.text();
    assert!(
        page.contains(&format!(
            "<a href=\"&#x2f;events&#x2f;1\">quarantine {id}, position 1</a>"
        )),
        "{page}"
    );
    assert_eq!(
        Visitor::program(&daemon)
            .send("/quarantine/admit", &[])
            .await
            .json(),
        json!({"affected": 2})
    );
    let view = Visitor::program(&daemon).get("/events").await.json();
    let keys: Vec<_> = view["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["event_key"].clone())
        .collect();
    assert_eq!(
        keys,
        [json!("key-2"), json!("key-1"), json!("key-3")],
        "in the order in which they came, but for the one"
    );
    assert_eq!(trail(&daemon).await.len(), 3);
    // The command line writes into the same trail.
    let output = run_cli(&["audit", "--json"], &world.config);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
}

on_both! {
    dead_letters_are_published_again
    a_dead_letter_that_is_asked_for_is_told_from_the_parked_ones
    a_parked_call_is_named_before_it_is_made_again
    published_events_are_published_again
    a_running_replay_is_ended
    refused_requests_are_let_in_after_a_key_was_mended
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_says_that_the_disk_has_little_or_no_room_for_webhooks() {
    let world = World::new(Backend::Sqlite).await;
    let store = SqliteStore::open(world.store.url(), Access::Exclusive);
    let free = Census::disk(&store.await.unwrap()).unwrap().free;
    for (reserve, expected) in [
        (format!("{}MiB", free / 2 / 1024 / 1024), "MiB left"),
        ("1PiB".to_owned(), "until there is room"),
    ] {
        let reserve = format!("disk_reserve = {reserve:?}");
        let config = world.config.clone().set("store", &reserve);
        let mut daemon = Daemon::launch(&config).await.unwrap();
        let page = Visitor::ada(&daemon).await.get("/").await.text();
        for part in [expected, "every webhook is answered 429"] {
            assert!(page.contains(part), "{part} is missing: {page}");
        }
        daemon.terminate().await;
    }
}

/// Entries that stay refused are in nobody's way.
#[tokio::test(flavor = "multi_thread")]
async fn what_verifies_is_admitted_from_behind_a_thousand_that_do_not() {
    let world = World::new(Backend::Sqlite).await;
    let store = SqliteStore::open(world.store.url(), Access::Exclusive)
        .await
        .unwrap();
    store.migrate().await.unwrap();
    let entry = |n: u8, signature: &str, body: Vec<u8>| Refused {
        fingerprint: [n; 32],
        reason: "signature_wrong",
        path: PATH.to_owned(),
        signature: Some(signature.to_owned()),
        legacy_signature: None,
        seen_at: Micros(i64::from(n)),
        body: body.into(),
    };
    let bounds = QuarantineBounds {
        entries: 10_000,
        bytes: 1 << 30,
    };
    let good = contact(1).to_string().into_bytes();
    let mut entries: Vec<_> = (0..1_000)
        .map(|n: u16| {
            let mut bad = entry(1, "bm8=", n.to_string().into_bytes());
            bad.fingerprint[..2].copy_from_slice(&n.to_be_bytes());
            bad
        })
        .collect();
    entries.push(entry(2, &world.ghl.key.sign_base64(&good), good));
    store.quarantine(&entries, bounds).await.unwrap();
    store.close().await;
    drop(store);
    let daemon = world.start().await;
    let ada = Visitor::ada(&daemon).await;
    let question = ada.get("/quarantine/admit").await.text();
    assert!(
        question.contains("Oldest first, until 1000 are admitted"),
        "{question}"
    );
    let admitted = Visitor::program(&daemon)
        .send("/quarantine/admit", &[])
        .await;
    assert_eq!(admitted.json(), json!({"affected": 1}));
}
