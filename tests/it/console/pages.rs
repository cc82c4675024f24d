//! What the pages show, on both stores, as HTML and as JSON.

use std::time::UNIX_EPOCH;

use super::*;
use crate::harness::store::execute_on;

async fn every_page_is_there_for_people_and_for_programs(backend: Backend) {
    let world = World::new(backend).await;
    let daemon = world.start().await;
    world.post(&daemon, &contact(1)).await;
    let ada = Visitor::ada(&daemon).await;
    for (path, heading) in PAGES {
        let page = ada.get(path).await;
        assert_eq!(page.status, 200, "{path}: {}", page.text());
        let html = page.text();
        assert!(html.contains(&format!("<h1>{heading}")), "{path}: {html}");
        assert!(html.contains("aria-current=\"page\""), "{path}");
        for (name, wanted) in [
            ("content-type", "text/html; charset=utf-8"),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
        ] {
            assert_eq!(page.header(name), wanted, "{path}");
        }
        let policy = page.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
        // The policy forbids what is inside a page.
        for inside in ["<script>", " style=", "onclick", "<style"] {
            assert!(!html.contains(inside), "{path} has {inside}");
        }
        let program = Visitor::program(&daemon).get(path).await;
        assert_eq!(
            (program.status, program.header("content-type")),
            (200, "application/json"),
            "{path}"
        );
        assert!(program.json().is_object(), "{path}");
        assert!(
            !html.contains(TOKEN) && !program.text().contains(TOKEN),
            "{path}"
        );
    }
    for (path, kind) in [
        ("/assets/console.css", "text/css"),
        ("/assets/console.js", "text/javascript"),
    ] {
        let page = Visitor::nobody(&daemon).get(path).await;
        assert!(
            page.status == 200 && page.header("content-type").starts_with(kind),
            "{path}"
        );
    }
    for path in [
        "/events/99",
        "/events/x",
        "/quarantine/99",
        "/quarantine/x",
        "/dead-letters/retry",
        "/follow-ups/retry?id=9",
    ] {
        let page = ada.get(path).await;
        assert_eq!(page.status, 404, "{path}");
        assert!(
            page.text().contains("role=\"alert\""),
            "{path}: {}",
            page.text()
        );
        let program = Visitor::program(&daemon).get(path).await;
        assert_eq!(program.status, 404, "{path}");
        assert!(program.json()["trouble"].is_string(), "{path}");
    }
    for path in [
        "/events?state=gone",
        "/events?before=x",
        "/events?since=yesterday",
        "/follow-ups?state=gone",
        "/follow-ups?before=x",
    ] {
        assert_eq!(ada.get(path).await.status, 400, "{path}");
    }
}

async fn an_event_shows_each_attempt_of_its_calls(backend: Backend) {
    let world = World::new(backend).await;
    let daemon = world.start().await;
    world.post(&daemon, &contact(1)).await;
    // Not so long ago that retention takes it.
    let ended = i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_micros()).unwrap();
    let tried = ended - 1_000_000;
    for sql in [
        format!(
            "insert into follow_ups (position, rule, app_id, tenant, state, due_at, attempt, planned_at, ended_at, status) \
             values (1, 'contact-snapshot', 'app', 'tenant', 'done', 1, 2, 1, {ended}, 200)"
        ),
        format!(
            "insert into follow_up_attempts (follow_up_id, at, status, reason, detail) \
             values (1, {tried}, 503, 'unavailable', 'in <its> words')"
        ),
    ] {
        execute_on(&world.store, &sql).await;
    }
    let page = Visitor::ada(&daemon).await.get("/events/1").await.text();
    let (_, way) = page.split_once("<ol class=\"way\">").unwrap();
    let tried = way.find("<strong>tried</strong> contact-snapshot").unwrap();
    let done = way.find("<strong>follow-up</strong>").unwrap();
    assert!(
        tried < done && way.contains("answered 503, unavailable"),
        "{way}"
    );
    assert!(way.contains("in &lt;its&gt; words"), "{way}");
    let view = Visitor::program(&daemon).get("/events/1").await.json();
    assert_eq!(view["calls"][0]["attempts"][0]["status"], 503);
}

async fn the_overview_has_the_ledger_and_says_what_is_wrong(backend: Backend) {
    let world = World::new(backend).await;
    let daemon = world.start().await;
    for n in 0..3 {
        world.post(&daemon, &contact(n)).await;
    }
    let program = Visitor::program(&daemon);
    let view = eventually("the last minute has them", WITHIN, async || {
        let view = program.get("/").await.json();
        (view["sparks"][2]["last"] == 3).then_some(view)
    })
    .await;
    let ledger = &view["ledger"];
    assert_eq!(
        (&ledger["accepted"], &ledger["pending"], &ledger["mismatch"]),
        (&json!(3), &json!(3), &json!(0)),
        "{view}"
    );
    assert_eq!(view["broker"]["connected"], false);
    let problems = view["problems"].as_array().unwrap();
    assert!(
        problems.iter().any(|one| one["level"] == "bad"
            && one["text"]
                .as_str()
                .unwrap()
                .contains("No session with RabbitMQ")),
        "{view}"
    );
    let html = Visitor::ada(&daemon).await.get("/").await.text();
    // The names are those of `hookwell status` and the metrics.
    for name in [
        "accepted",
        "published",
        "pending</a>",
        "parked</a>",
        "quarantined</a>",
    ] {
        assert!(
            html.contains(&format!("{name}</dt>")),
            "{name} is missing: {html}"
        );
    }
    assert!(
        html.contains("when the daemon began to count"),
        "an hour has not passed: {html}"
    );
    assert!(
        html.contains("Outage") && html.contains("No session with RabbitMQ"),
        "{html}"
    );
}

/// One of each that the store knows of, and nothing where there is none.
#[tokio::test(flavor = "multi_thread")]
async fn the_overview_names_whatever_wants_a_look() {
    let world = World::new(Backend::Sqlite).await;
    let mut daemon = world.start().await;
    for n in 1..=4 {
        world.post(&daemon, &contact(n)).await;
    }
    let told = async |daemon: &Daemon| -> Vec<String> {
        let view = Visitor::program(daemon).get("/").await.json();
        let problems = view["problems"].as_array().unwrap().iter();
        problems
            .map(|one| {
                format!(
                    "{}: {}",
                    one["level"].as_str().unwrap(),
                    one["text"].as_str().unwrap()
                )
            })
            .collect()
    };
    let quiet = told(&daemon).await;
    assert_eq!(quiet.len(), 1, "RabbitMQ is away: {quiet:?}");
    assert!(daemon.terminate().await.success());
    super::browser::trouble(&world).await;
    let now = hookwell::clock::system()().0;
    for statement in [
        format!("update events set received_at = {}", now - 120_000_000),
        format!(
            "insert into webhook_answers (hour, ok, failed) values ({}, 50, 150)",
            now / 3_600_000_000
        ),
    ] {
        execute_on(&world.store, &statement).await;
    }
    let daemon = world.start().await;
    let wanted = [
        "bad: No session with RabbitMQ",
        "bad: Only 25 % of 200 webhooks in three days were answered 2xx",
        "warn: The oldest event has waited for 1",
        "warn: RabbitMQ refuses 1 event of 1 tenant: held.",
        "warn: 1 event could not be published.",
        "info: 1 event is being published again.",
        "warn: 2 calls are parked for a person.",
        "warn: 1 tenant is silent for longer than ever lately.",
        "warn: 1 token wants a person",
        "warn: 1 time is without webhooks not repaired yet.",
    ];
    let mut missing = Vec::new();
    let all = eventually("all of it is counted", WITHIN, async || {
        let told = told(&daemon).await;
        let is_there = |part: &str| told.iter().any(|one| one.starts_with(part));
        missing = wanted.iter().filter(|part| !is_there(part)).collect();
        missing.is_empty().then_some(told)
    })
    .await;
    assert!(
        !all.iter().any(|one| one.contains("does not add up")),
        "{all:?}"
    );
    execute_on(
        &world.store,
        "update cursors set published = published + 1 where reader = 'relay'",
    )
    .await;
    let all = told(&daemon).await;
    assert!(
        all.iter()
            .any(|one| one.starts_with("bad: The ledger does not add up")),
        "{all:?}"
    );
}

async fn events_are_filtered_paged_and_followed(backend: Backend) {
    let world = World::new(backend).await;
    let daemon = world.start().await;
    for n in 1..=120 {
        world.post(&daemon, &contact(n)).await;
    }
    let other = json!({"type": "OpportunityCreate", "locationId": "otherTenant000000001", "id": "o1", "webhookId": "opp-1", "name": "x & y"});
    world.post(&daemon, &other).await;
    let program = Visitor::program(&daemon);
    let positions = |view: &Value| -> Vec<i64> {
        view["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["position"].as_i64().unwrap())
            .collect()
    };
    let newest = program.get("/events").await.json();
    assert_eq!(positions(&newest), (72..=121).rev().collect::<Vec<_>>());
    assert_eq!(
        (&newest["next"], &newest["newest"]),
        (&json!(72), &json!(121))
    );
    let older = program.get("/events?before=72").await.json();
    assert_eq!(positions(&older), (22..=71).rev().collect::<Vec<_>>());
    let last = program.get("/events?before=22").await.json();
    assert_eq!((positions(&last).len(), &last["next"]), (21, &Value::Null));
    let rows: [(&str, &[i64]); 9] = [
        ("type=OpportunityCreate", &[121]),
        ("tenant=otherTenant000000001", &[121]),
        ("state=pending&type=OpportunityCreate", &[121]),
        ("state=published", &[]),
        ("state=parked", &[]),
        ("text=ada77%40example.com", &[77]),
        ("text=x+%26+y", &[121]),
        ("since=2099-01-01T00:00", &[]),
        ("until=2000-01-01T00:00:00Z", &[]),
    ];
    for (query, expected) in rows {
        let view = program.get(&format!("/events?{query}")).await.json();
        assert_eq!(positions(&view), expected, "{query}: {view}");
    }
    let by_key = program.get("/events?text=key-5").await.json();
    assert_eq!(by_key["by_key"], json!([5]));
    let tail = program.get("/events/rows?after=119").await.json();
    assert_eq!(positions(&tail), [121, 120]);
    let ada = Visitor::ada(&daemon).await;
    let fragment = ada.get("/events/rows?after=120").await.text();
    assert!(
        fragment
            .trim_start()
            .starts_with("<tr data-position=\"121\""),
        "{fragment}"
    );
    let html = ada.get("/events?text=x+%26+y").await.text();
    assert!(html.contains("value=\"x &amp; y\""), "{html}");
    assert!(!html.contains("/events/rows?type=&text=x & y"));
}

async fn an_event_leads_to_its_neighbours_and_nowhere_else(backend: Backend) {
    let world = World::new(backend).await;
    let daemon = world.start().await;
    for n in 1..=4 {
        world.post(&daemon, &contact(n)).await;
    }
    // As retention leaves a hole.
    execute_on(&world.store, "delete from events where position = 3").await;
    let ada = Visitor::ada(&daemon).await;
    let rows = [
        (1, None, Some(2)),
        (2, Some(1), Some(4)),
        (4, Some(2), None),
    ];
    for (position, before, behind) in rows {
        let html = ada.get(&format!("/events/{position}")).await.text();
        for (neighbour, words) in [(before, "the one before"), (behind, "the next")] {
            let link = neighbour.map(|at: i64| format!("<a href=\"/events/{at}\">{words}</a>"));
            match link {
                Some(link) => assert!(html.contains(&link), "{link} is missing: {html}"),
                None => assert!(!html.contains(words), "{position} has none: {html}"),
            }
        }
    }
}

async fn an_event_has_its_way_its_body_and_nothing_that_runs(backend: Backend) {
    let world = World::new(backend).await;
    let daemon = world.start().await;
    let bad = "<script>alert(1)</script>";
    // Not what a printer would write: bytes out are bytes in.
    let body = format!(
        "{{\"type\":\"ContactCreate\",  \"locationId\":{TENANT:?},\"id\":\"c\",\"webhookId\":\"k1\",\"n\":1.50e1,\"name\":{bad:?}}}"
    );
    assert_eq!(world.ghl.post(&daemon, body.as_bytes()).await.status, 200);
    let strange = json!({"type": bad, "locationId": TENANT, "webhookId": "k2"});
    world.post(&daemon, &strange).await;
    let broken = b"\xff\xfe not text".to_vec();
    assert_eq!(world.ghl.post(&daemon, &broken).await.status, 200);

    let ada = Visitor::ada(&daemon).await;
    let html = ada.get("/events/1").await.text();
    for wanted in [
        "<strong>received</strong>",
        "at position 1",
        "<strong>waits</strong>",
        "key</dt><dd><code>k1",
        "&lt;script&gt;alert(1)&lt;",
        "1.50e1",
        "contact.create.consoleTenant0000001",
        "traceparent",
    ] {
        assert!(html.contains(wanted), "{wanted} is missing in {html}");
    }
    for path in ["/events", "/events/1", "/events/2", "/events/3"] {
        let page = ada.get(path).await;
        assert_eq!(page.status, 200, "{path}");
        assert!(!page.text().contains("<script>alert"), "{path}");
    }
    for (position, bytes) in [(1, body.as_bytes()), (3, &broken)] {
        let page = ada.get(&format!("/events/{position}/body")).await;
        assert_eq!(page.bytes, bytes);
        assert_eq!(page.header("content-type"), "application/octet-stream");
        assert!(page.header("content-disposition").starts_with("attachment"));
        assert_eq!(page.header("cache-control"), "no-store");
    }
    assert_eq!(ada.get("/events/9/body").await.status, 404);
}

on_both! {
    every_page_is_there_for_people_and_for_programs
    the_overview_has_the_ledger_and_says_what_is_wrong
    an_event_shows_each_attempt_of_its_calls
    events_are_filtered_paged_and_followed
    an_event_has_its_way_its_body_and_nothing_that_runs
    an_event_leads_to_its_neighbours_and_nowhere_else
}
