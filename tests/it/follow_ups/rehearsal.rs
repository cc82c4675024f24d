//! `hookwell follow-ups try`: the request that an event would call for, shown and not sent.

use super::calls::ENRICHED;
use super::*;

on_both! {
    a_rule_is_tried_on_an_event_and_nothing_is_sent
}

const TAGGED: &str = r#"
[[follow_ups]]
name = "note"
on = ["ContactCreate"]
request = "POST /contacts/{entity_id}/tags"
body = { tags = ["{body.firstName}"] }
"#;

async fn a_rule_is_tried_on_an_event_and_nothing_is_sent(backend: Backend) {
    let mut world = World::new(backend, "").await;
    let daemon = world.authorised().await;
    let deal = json!({"type": "OpportunityStatusUpdate", "appId": APP_ID, "locationId": world.location, "id": "o1",
        "status": "open", "monetaryValue": 5_000, "companyId": world.company.id(), "webhookId": "try-1"});
    world.send(&daemon, &deal).await;
    let contact = json!({"type": "ContactCreate", "appId": APP_ID, "locationId": world.location, "id": "c1",
        "firstName": "\u{9b}31mAda", "companyId": world.company.id(), "webhookId": "try-2"});
    world.send(&daemon, &contact).await;
    let event = |kind: &str| world.lines(&["events", "list", "--type", kind])[0].clone();
    let (deal, contact) = (event("OpportunityStatusUpdate"), event("ContactCreate"));
    let (key, position) = (
        deal["event_key"].as_str().unwrap(),
        contact["position"].to_string(),
    );
    let before = world.api.ghl.journal();
    // The daemon does not know the rules: only whoever tries them does.
    world.config.tail = format!("{ENRICHED}{TAGGED}");
    let tried = |arguments: &[&str], config: &DaemonConfig| {
        let output = run_cli(&[&["follow-ups", "try"], arguments].concat(), config);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };

    let (code, shown, _) = tried(&["won", "--event", key], &world.config);
    assert_eq!(code, Some(0));
    let owner = format!("(the token of {})", world.location);
    for part in [
        &format!("GET {}/opportunities/o1\n", world.api.url),
        "Version: 2021-07-28\n",
        &owner,
        "like this does not call for the rule: see its `on` and `when`",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let (code, shown, _) = tried(&["note", "--event", &position], &world.config);
    assert_eq!(code, Some(0));
    assert!(
        shown.contains("\"\\u009b31mAda\""),
        "as JSON, and inert: {shown:?}"
    );
    assert!(!shown.contains("does not call"), "{shown}");
    let (_, shown, _) = tried(&["note", "--event", &position, "--json"], &world.config);
    assert!(!shown.contains('\u{9b}'), "{shown:?}");
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        (&shown["method"], &shown["calls_for_it"], &shown["body"]),
        (
            &json!("POST"),
            &json!(true),
            &json!({"tags": ["\u{9b}31mAda"]})
        )
    );

    let (code, _, said) = tried(&["on", "--event", key], &world.config);
    assert_eq!(code, Some(66), "{said}");
    assert!(said.contains("there are: note, won"), "{said}");
    let (code, _, said) = tried(&["won", "--event", "nothing-like-it"], &world.config);
    assert_eq!(code, Some(66), "{said}");
    let mut bare = world.config.clone();
    bare.tail.clear();
    let (_, _, said) = tried(&["won", "--event", key], &bare);
    assert!(said.contains("there are none; write them as"), "{said}");

    assert_eq!(world.api.ghl.journal(), before, "nothing was sent");
    assert!(world.follow_ups().is_empty(), "and nothing was planned");
    drop(daemon);
}
