//! The rules that ship in `config/follow_ups.toml`, each as it stands there.

use super::*;

on_both! {
    every_rule_that_ships_does_what_it_says
}

const SHIPPED: &str = include_str!("../../../config/follow_ups.toml");

/// The rules, without the app that they are shown with. Only two seconds of waiting for more are cut short.
fn rules() -> String {
    let at = SHIPPED.find("# The whole contact").unwrap();
    SHIPPED[at..].replace("coalesce = \"2s\"", "coalesce = \"50ms\"")
}

fn names() -> Vec<String> {
    let table: toml::Table = toml::from_str(SHIPPED).unwrap();
    let rules = table["follow_ups"].as_array().unwrap().iter();
    rules
        .map(|rule| rule["name"].as_str().unwrap().to_owned())
        .collect()
}

async fn every_rule_that_ships_does_what_it_says(backend: Backend) {
    let mut world = World::new(backend, &rules()).await;
    triggers::listen(&mut world);
    let ghl = Arc::clone(&world.api.ghl);
    let location = world.location.clone();
    let daemon = world.authorised().await;
    world.install(&daemon).await;

    let of = |extra: Value| {
        let mut body = json!({"appId": APP_ID, "locationId": location, "companyId": world.company.id(),
            "webhookId": uuid::Uuid::new_v4().to_string()});
        body.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        body
    };
    ghl.put_contact(
        "c1",
        json!({"locationId": location, "firstName": "Ada", "tags": []}),
    );
    ghl.put_contact(
        "c2",
        json!({"locationId": location, "firstName": "Ben", "tags": []}),
    );
    ghl.put_opportunity("o1", json!({"locationId": location, "status": "won"}));
    ghl.put_opportunity("o2", json!({"locationId": location}));
    ghl.put_opportunity("o4", json!({"locationId": location}));
    ghl.delete_contact("c2");
    ghl.delete_opportunity("o2");
    triggers::subscribe(&world, &daemon, "CREATED", "s1", "deal_won").await;

    for body in [
        of(json!({"type": "ContactCreate", "id": "c1", "source": "form"})),
        of(json!({"type": "ContactDelete", "id": "c2"})),
        of(
            json!({"type": "OpportunityStatusUpdate", "id": "o1", "status": "won", "pipelineId": "p-next"}),
        ),
        of(json!({"type": "OpportunityCreate", "id": "o4", "status": "open"})),
        of(json!({"type": "OpportunityDelete", "id": "o2"})),
        of(
            json!({"type": "InboundMessage", "messageType": "SMS", "contactId": "c1", "body": "Hello"}),
        ),
        // These call for nothing but what every contact and opportunity calls for.
        of(json!({"type": "ContactCreate", "id": "c3", "source": "import"})),
        of(json!({"type": "OpportunityStatusUpdate", "id": "o3", "status": "lost"})),
        of(
            json!({"type": "InboundMessage", "messageType": "Email", "contactId": "c1", "body": "Hello"}),
        ),
    ] {
        world.send(&daemon, &body).await;
    }
    let calls = world.settled(13).await;
    let mut made: Vec<_> = calls
        .iter()
        .map(|call| {
            assert_eq!(call["state"], "done", "{call}");
            let rule = call["rule"].as_str().unwrap();
            let entity = call["entity_id"].as_str().unwrap_or("-");
            format!("{rule} {entity}")
        })
        .collect();
    made.sort();
    assert_eq!(
        made,
        [
            "contact-snapshot c1",
            "contact-snapshot c2",
            "contact-snapshot c3",
            "hookwell.token -",
            "location-snapshot -",
            "opportunity-snapshot o1",
            "opportunity-snapshot o2",
            "opportunity-snapshot o3",
            "opportunity-snapshot o4",
            "start-deal-won/s1 o1",
            "tag-form-contacts c1",
            "thank-for-message -",
            "won-to-onboarding o1",
        ]
    );
    for name in names() {
        let is_made = made
            .iter()
            .any(|one| one.split([' ', '/']).next() == Some(&name));
        assert!(is_made, "{name} ships and is not run here");
    }

    let said = |kind: &str, id: &str| {
        let events = world.events(kind);
        let one = events.iter().find(|(event, _)| event["entity_id"] == id);
        one.unwrap_or_else(|| panic!("no {kind} of {id}")).1.clone()
    };
    assert_eq!(
        said("contact.snapshot", "c1")["contact"]["firstName"],
        "Ada"
    );
    assert_eq!(said("contact.gone", "c2")["gone"], true);
    let deal = said("opportunity.snapshot", "o4");
    assert_eq!(
        (
            &deal["opportunity"]["id"],
            &deal["pipeline"],
            &deal["stage"]
        ),
        (&json!("o4"), &json!("Sales"), &json!("New")),
        "{deal}"
    );
    assert_eq!(said("opportunity.gone", "o2")["gone"], true);
    let place = &world.events("location.snapshot")[0].1;
    assert_eq!(place["location"]["id"], location.as_str(), "{place}");
    assert_eq!(ghl.contact("c1").unwrap()["tags"], json!(["from-form"]));
    assert_eq!(
        ghl.opportunity("o1").unwrap()["pipelineStageId"],
        "<the id of the stage>"
    );
    let received: Vec<_> = ghl
        .received()
        .into_iter()
        .map(|one| (one.path, one.body))
        .collect();
    let of_path = |part: &str| {
        let found: Vec<_> = received.iter().filter(|one| one.0.contains(part)).collect();
        assert_eq!(found.len(), 1, "{part}: {received:?}");
        found[0].1.clone()
    };
    let message = of_path("/conversations/messages");
    assert_eq!(
        (&message["contactId"], &message["type"]),
        (&json!("c1"), &json!("SMS"))
    );
    let workflow = of_path("/execute/app/s1");
    assert_eq!(
        (&workflow["id"], &workflow["status"]),
        (&json!("o1"), &json!("won")),
        "the event as it came"
    );
    drop(daemon);
}
