//! Workflow triggers: subscribed to by GHL, started by events, until GHL says that it is over.

use sqlx::Connection as _;

use crate::harness::store::execute_on;

use super::*;

on_both! {
    every_workflow_that_uses_a_trigger_is_started_until_it_does_not
    a_subscription_is_kept_only_for_whoever_knows_the_secret_and_for_the_api
    what_starts_no_workflow_is_not_called
    what_waits_for_a_workflow_that_is_gone_is_not_sent
}

const PATH: &str = "/triggers/ghl";
const KNOWN: &str = "canary-trigger-secret";

const RULES: &str = r#"
[[follow_ups]]
name = "start-won"
on = ["OpportunityStatusUpdate"]
when = "body.status == 'won'"
trigger = "deal_won"

[[follow_ups]]
name = "tell-lost"
on = ["OpportunityStatusUpdate"]
when = "body.status == 'lost'"
trigger = "deal_lost"
body = { deal = "{entity_id}", workflow = "{subscription.workflow_id}", least = "{subscription.filters[0].value}" }
"#;

async fn world(backend: Backend) -> World {
    let mut world = World::new(backend, RULES).await;
    listen(&mut world);
    world
}

/// Messages about triggers are taken at [`PATH`] from whoever knows [`KNOWN`].
pub(super) fn listen(world: &mut World) {
    let lines = format!("\ntriggers_path = {PATH:?}\ntriggers_secret = {KNOWN:?}");
    world.config.of_app.push_str(&lines);
}

/// What GHL posts for a workflow.
fn said(world: &World, what: &str, id: &str, trigger: &str) -> Value {
    let target = format!(
        "{}/workflows-marketplace/triggers/execute/app/{id}",
        world.api.url
    );
    json!({
        "triggerData": {"id": id, "key": trigger, "eventType": what, "targetUrl": target,
                        "filters": [{"field": "amount", "value": "100"}]},
        "meta": {"key": trigger, "version": "1.0"},
        "extras": {"locationId": world.location, "workflowId": format!("w-{id}"), "companyId": world.company.id()},
    })
}

async fn post(daemon: &Daemon, secret: Option<&str>, body: &Value) -> (u16, Value) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut request = reqwest::Client::new().post(format!("http://{}{PATH}", daemon.address()));
    if let Some(secret) = secret {
        request = request.header("x-hookwell-secret", secret);
    }
    let answer = request.body(body.to_string()).send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

pub(super) async fn subscribe(world: &World, daemon: &Daemon, what: &str, id: &str, trigger: &str) {
    let answer = post(daemon, Some(KNOWN), &said(world, what, id, trigger)).await;
    assert_eq!(answer.0, 200, "{answer:?}");
}

async fn opportunity(world: &World, daemon: &Daemon, id: &str, status: &str) {
    let body = json!({"type": "OpportunityStatusUpdate", "appId": APP_ID, "locationId": world.location,
        "companyId": world.company.id(), "id": id, "status": status, "webhookId": uuid::Uuid::new_v4().to_string()});
    world.send(daemon, &body).await;
}

/// The paths' last parts and bodies of what workflows were started with.
fn started(world: &World) -> Vec<(String, Value)> {
    let mut started: Vec<_> = world
        .api
        .ghl
        .received()
        .into_iter()
        .map(|one| (one.path.rsplit('/').next().unwrap().to_owned(), one.body))
        .collect();
    started.sort_by(|a, b| a.0.cmp(&b.0));
    started
}

async fn every_workflow_that_uses_a_trigger_is_started_until_it_does_not(backend: Backend) {
    let world = world(backend).await;
    let daemon = world.authorised().await;
    for (id, trigger) in [("s1", "deal_won"), ("s2", "deal_won"), ("s3", "deal_lost")] {
        subscribe(&world, &daemon, "CREATED", id, trigger).await;
    }
    opportunity(&world, &daemon, "o1", "won").await;
    let calls = world.settled(2).await;
    assert!(
        calls.iter().all(|call| call["state"] == "done"),
        "{calls:?}"
    );
    let all = started(&world);
    let ids: Vec<_> = all.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["s1", "s2"], "each once");
    assert_eq!(
        (&all[0].1["id"], &all[0].1["status"]),
        (&json!("o1"), &json!("won"))
    );
    let of_rule = world.lines(&["follow-ups", "list", "--rule", "start-won"]);
    assert_eq!(of_rule.len(), 2, "by the rule's name");
    let planned = daemon.metric("hookwell_follow_ups_planned_total{rule=\"start-won\"}");
    assert_eq!(planned.await, Some(2.0));
    // One ceases, one moves to another trigger.
    subscribe(&world, &daemon, "DELETED", "s1", "deal_won").await;
    subscribe(&world, &daemon, "UPDATED", "s2", "deal_lost").await;
    opportunity(&world, &daemon, "o2", "won").await;
    opportunity(&world, &daemon, "o3", "lost").await;
    let calls = world.settled(4).await;
    assert_eq!(calls.len(), 4, "{calls:?}");
    let all = started(&world);
    let of_lost: Vec<_> = all
        .iter()
        .filter(|(_, body)| body["deal"] == "o3")
        .collect();
    assert_eq!(of_lost.len(), 2);
    assert_eq!(
        of_lost[0].1,
        json!({"deal": "o3", "workflow": "w-s2", "least": "100"})
    );
    let listed = world.lines(&["triggers", "list"]);
    let listed: Vec<_> = listed
        .iter()
        .map(|one| (&one["id"], &one["trigger"]))
        .collect();
    let lost = json!("deal_lost");
    assert_eq!(listed, [(&json!("s2"), &lost), (&json!("s3"), &lost)]);
    let position = calls[0]["position"].to_string();
    let output = run_cli(
        &["follow-ups", "try", "tell-lost", "--event", &position],
        &world.config,
    );
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "/execute/app/s2",
        "/execute/app/s3",
        "\"workflow\": \"w-s3\"",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let output = run_cli(
        &["follow-ups", "try", "start-won", "--event", &position],
        &world.config,
    );
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("uses the trigger deal_won"), "{text}");
}

/// A row that an earlier version kept is believed no more than a new message.
async fn what_starts_no_workflow_is_not_called(backend: Backend) {
    let world = world(backend).await;
    let daemon = world.authorised().await;
    let good = said(&world, "CREATED", "s1", "deal_won");
    assert_eq!(post(&daemon, Some(KNOWN), &good).await.0, 200);
    let moved = format!(
        "update subscriptions set target_url = '{}/conversations/messages'",
        world.api.url
    );
    execute_on(&world.store, &moved).await;
    opportunity(&world, &daemon, "o1", "won").await;
    let call = &world.settled(1).await[0];
    assert_eq!(
        (&call["state"], &call["reason"]),
        (&json!("dead"), &json!("template"))
    );
    assert!(
        call["detail"]
            .as_str()
            .unwrap()
            .contains("starts no workflow"),
        "{call}"
    );
    let journal = world.api.ghl.journal();
    assert!(
        journal
            .iter()
            .all(|one| one.path != "/conversations/messages")
    );
}

async fn a_subscription_is_kept_only_for_whoever_knows_the_secret_and_for_the_api(
    backend: Backend,
) {
    let world = world(backend).await;
    let daemon = world.start().await;
    let good = said(&world, "CREATED", "s1", "deal_won");
    for secret in [None, Some(""), Some("canary-trigger-secrets")] {
        assert_eq!(post(&daemon, secret, &good).await.0, 401, "{secret:?}");
    }
    let with = |place: &str, value: Value| {
        let mut body = good.clone();
        *body.pointer_mut(place).unwrap() = value;
        body
    };
    let base = &world.api.url;
    let cases = [
        (
            with(
                "/triggerData/targetUrl",
                json!("http://169.254.169.254/latest"),
            ),
            422,
            "targetUrl starts no workflow of the API",
        ),
        (
            with(
                "/triggerData/targetUrl",
                json!(format!("{base}.evil.example/x")),
            ),
            422,
            "targetUrl starts no workflow of the API",
        ),
        (
            with(
                "/triggerData/targetUrl",
                json!(format!("{base}//evil.example/x")),
            ),
            422,
            "targetUrl starts no workflow of the API",
        ),
        (
            with(
                "/triggerData/targetUrl",
                json!(format!("{base}/conversations/messages")),
            ),
            422,
            "targetUrl starts no workflow of the API",
        ),
        (
            with("/triggerData/filters", json!("x".repeat(9_000))),
            400,
            "triggerData.filters is missing or is not usable",
        ),
        (
            with("/triggerData/id", json!(1)),
            400,
            "triggerData.id is missing or is not usable",
        ),
        (
            with("/triggerData/eventType", json!("PAUSED")),
            400,
            "eventType is none of",
        ),
        (json!([]), 400, "not what GHL posts"),
        (json!("x".repeat(70_000)), 413, "body too large"),
    ];
    for (body, status, error) in cases {
        let (answered, text) = post(&daemon, Some(KNOWN), &body).await;
        assert_eq!(answered, status, "{text}");
        let text = text["error"].as_str().unwrap().to_owned();
        assert!(text.contains(error), "{text}");
    }
    assert!(world.lines(&["triggers", "list"]).is_empty());
    assert_eq!(
        post(&daemon, Some(KNOWN), &good).await,
        (200, json!({"status": "kept"}))
    );
    assert_eq!(world.lines(&["triggers", "list"]).len(), 1);
    let counted = daemon.metric("hookwell_trigger_requests_total{outcome=\"secret\"}");
    assert_eq!(counted.await, Some(3.0));
    assert!(!daemon.log().contains(KNOWN));
}

async fn what_waits_for_a_workflow_that_is_gone_is_not_sent(backend: Backend) {
    let world = world(backend).await;
    // Nobody has authorised the app, so the call waits for a token.
    let daemon = world.start().await;
    subscribe(&world, &daemon, "CREATED", "s1", "deal_won").await;
    opportunity(&world, &daemon, "o1", "won").await;
    eventually("the call waits", WITHIN, async || {
        let calls = world.follow_ups();
        (calls.first()?["reason"] == "no_token").then_some(())
    })
    .await;
    subscribe(&world, &daemon, "DELETED", "s1", "deal_won").await;
    let calls = world.settled(1).await;
    assert_eq!(
        (&calls[0]["state"], &calls[0]["reason"]),
        (&json!("cancelled"), &json!("unsubscribed"))
    );
    assert!(started(&world).is_empty());
}

/// What the doctor says of the public URL: levels, and addresses without the base.
fn doors(config: &DaemonConfig, base: &str) -> Vec<(String, String)> {
    let found = doctor(config, &["--url", base]);
    let doors = found.about("public URL").into_iter();
    doors
        .map(|one| {
            let found = one["found"]
                .as_str()
                .unwrap()
                .replace(base.trim_end_matches('/'), "");
            let path = found.split(' ').next().unwrap().to_owned();
            (one["level"].as_str().unwrap().to_owned(), path)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_asks_for_every_door_and_changes_nothing() {
    let world = world(Backend::Sqlite).await;
    let daemon = world.start().await;
    let base = format!("http://{}", daemon.address());
    let row = |level: &str, path: &str| (level.to_owned(), path.to_owned());
    let good = ["/webhooks/ghl", "/oauth/install", PATH].map(|path| row("good", path));
    assert_eq!(doors(&world.config, &base), good);
    // The callback, where it is at the same address.
    let mut here = world.config.clone();
    here.of_app = here.of_app.replace("http://hooks.example.com", &base);
    let found = doors(&here, &format!("{base}/"));
    assert_eq!(found.len(), 4, "{found:?}");
    assert_eq!(found[2], row("good", CALLBACK));

    let metrics = daemon.metrics().await;
    let counted =
        |line: &&str| line.starts_with("hookwell_trigger_requests_total") && !line.ends_with(" 0");
    assert_eq!(metrics.lines().find(counted), None);
    let mut store = sqlx::SqliteConnection::connect(world.store.url())
        .await
        .unwrap();
    let states = sqlx::query("select * from oauth_states")
        .fetch_all(&mut store)
        .await
        .unwrap();
    assert_eq!(states.len(), 0, "no installation was begun");
    store.close().await.unwrap();

    // Who answers there is not hookwell, or not with this configuration.
    let other = Daemon::start(&DaemonConfig::new(store_url(Backend::Sqlite).await.url())).await;
    let base = format!("http://{}", other.address());
    assert_eq!(
        doors(&world.config, &base),
        [
            row("good", "/webhooks/ghl"),
            row("broken", "/oauth/install"),
            row("broken", PATH)
        ]
    );
    // Without credentials there is nothing more to ask for.
    let plain = DaemonConfig::new(world.store.url());
    assert_eq!(doors(&plain, &base), [row("good", "/webhooks/ghl")]);
}
