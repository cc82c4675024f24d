//! Answers that are not what they should be: what is believed of them, kept, and said to consumers.

use hookwell::dev::ghl::{Deed, Fault};

use super::*;

on_both! {
    an_answer_that_is_cut_off_is_fetched_again_and_published_by_nobody
    a_lookups_answer_that_is_cut_off_is_not_kept
    a_page_that_is_cut_off_is_read_again
    a_lookup_about_one_record_does_not_answer_for_another
    an_opportunity_that_was_deleted_is_a_tombstone_though_it_is_answered_400
    a_write_that_is_answered_503_or_422_waits_for_a_person
}

/// A rule that reads a list.
const LIST: &str = r#"
[[follow_ups]]
name = "contacts"
on = ["ContactUpdate"]
request = "POST /contacts/search"
body = { locationId = "{location_id}", pageLimit = 2 }
publish_as = "contact.page"
pages = 5
"#;

/// A rule with a lookup.
const NAMED: &str = r#"
[[follow_ups]]
name = "named"
on = ["OpportunityCreate"]
request = "GET /opportunities/{entity_id}"
publish_as = "opportunity.named"
publish = { id = "{answer.opportunity.id}", pipelines = "{pipelines.pipelines | default([]) | length}" }
[[follow_ups.lookups]]
name = "pipelines"
request = "GET /opportunities/pipelines?locationId={location_id}"
"#;

/// The reasons of a call's attempts, the first one first.
fn reasons(world: &World, call: &Value) -> Vec<Value> {
    let id = call["id"].to_string();
    let shown = &world.lines(&["follow-ups", "show", &id])[0];
    let attempts = shown["attempts"].as_array().unwrap().iter();
    attempts.map(|one| one["reason"].clone()).collect()
}

fn asked(world: &World, path: &str) -> usize {
    let journal = world.api.ghl.journal();
    journal
        .iter()
        .filter(|entry| entry.path.starts_with(path))
        .count()
}

async fn an_answer_that_is_cut_off_is_fetched_again_and_published_by_nobody(backend: Backend) {
    let world = World::new(backend, SNAPSHOT).await;
    for id in ["c1", "c2"] {
        let contact = json!({"locationId": world.location, "lastName": "L"});
        world.api.ghl.put_contact(id, contact);
    }
    let daemon = world.authorised().await;
    let cut = Fault::new(Deed::Malformed).path("/contacts/");
    world.api.ghl.fault(cut.clone().times(1));
    world.contact(&daemon, "ContactCreate", "c1").await;
    let calls = world.settled(1).await;
    assert_eq!(calls[0]["state"], "done", "{calls:?}");
    assert_eq!(reasons(&world, &calls[0]), ["unexpected"]);
    let events = world.events("contact.snapshot");
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].1["contact"]["lastName"], "L");
    // One that never can be read is for a person.
    world.api.ghl.fault(cut);
    world.contact(&daemon, "ContactCreate", "c2").await;
    let calls = world.settled(2).await;
    assert_eq!(
        (&calls[0]["state"], &calls[0]["reason"]),
        (&json!("dead"), &json!("unexpected"))
    );
    let detail = calls[0]["detail"].as_str().unwrap();
    assert!(detail.contains("is not JSON"), "{detail}");
    assert_eq!(world.events("contact.snapshot").len(), 1);
    assert_eq!(asked(&world, "/contacts/c2"), 3, "as often as is tried");
}

async fn a_lookups_answer_that_is_cut_off_is_not_kept(backend: Backend) {
    let world = World::new(backend, NAMED).await;
    let opportunity = json!({"locationId": world.location});
    world.api.ghl.put_opportunity("o1", opportunity);
    let daemon = world.authorised().await;
    let lookup = "/opportunities/pipelines";
    world
        .api
        .ghl
        .fault(Fault::new(Deed::Malformed).path(lookup).times(1));
    let body = json!({"type": "OpportunityCreate", "appId": APP_ID, "locationId": world.location, "id": "o1",
        "companyId": world.company.id(), "webhookId": uuid::Uuid::new_v4().to_string()});
    world.send(&daemon, &body).await;
    let calls = world.settled(1).await;
    assert_eq!(calls[0]["state"], "done", "{calls:?}");
    assert_eq!(asked(&world, lookup), 2);
    let (_, body) = &world.events("opportunity.named")[0];
    assert!(0 < body["pipelines"].as_u64().unwrap(), "{body}");
}

async fn a_page_that_is_cut_off_is_read_again(backend: Backend) {
    let settings = Settings {
        search_lag: Duration::ZERO,
        ..settings()
    };
    let world = World::with(backend, LIST, settings, "").await;
    for n in 0..4 {
        let contact = json!({"locationId": world.location});
        world.api.ghl.put_contact(&format!("c{n}"), contact);
    }
    let daemon = world.authorised().await;
    let search = "/contacts/search";
    world
        .api
        .ghl
        .fault(Fault::new(Deed::Malformed).path(search).times(1));
    world.contact(&daemon, "ContactUpdate", "c1").await;
    let calls = world.settled(1).await;
    assert_eq!(calls[0]["state"], "done", "{calls:?}");
    assert_eq!(reasons(&world, &calls[0]), ["unexpected"]);
    let pages = world.events("contact.page");
    let rows = |page: &Value| page["contacts"].as_array().unwrap().len();
    assert_eq!(pages.iter().map(|(_, page)| rows(page)).sum::<usize>(), 4);
}

/// A rule whose lookup is about a record of the event.
const OWNER: &str = r#"
[[follow_ups]]
name = "with-contact"
on = ["OpportunityCreate"]
request = "GET /opportunities/{entity_id}"
publish_as = "opportunity.owned"
publish = { id = "{entity_id}", owner = "{contact.contact.lastName}" }
[[follow_ups.lookups]]
name = "contact"
request = "GET /contacts/{body.contactId}"
"#;

async fn a_lookup_about_one_record_does_not_answer_for_another(backend: Backend) {
    let world = World::new(backend, OWNER).await;
    for (contact, opportunity, name) in [("ca", "oa", "Lovelace"), ("cb", "ob", "Babbage")] {
        let record = json!({"locationId": world.location, "lastName": name});
        world.api.ghl.put_contact(contact, record);
        let record = json!({"locationId": world.location, "contactId": contact});
        world.api.ghl.put_opportunity(opportunity, record);
    }
    let daemon = world.authorised().await;
    for (count, (id, contact)) in [("oa", "ca"), ("ob", "cb"), ("oa", "ca")]
        .iter()
        .enumerate()
    {
        let body = json!({"type": "OpportunityCreate", "appId": APP_ID, "locationId": world.location, "id": id,
            "contactId": contact, "companyId": world.company.id(), "webhookId": uuid::Uuid::new_v4().to_string()});
        world.send(&daemon, &body).await;
        world.settled(count + 1).await;
    }
    let mut owners: Vec<_> = world
        .events("opportunity.owned")
        .into_iter()
        .map(|(_, body)| format!("{} {}", body["id"], body["owner"]))
        .collect();
    owners.sort();
    let wanted = [
        r#""oa" "Lovelace""#,
        r#""oa" "Lovelace""#,
        r#""ob" "Babbage""#,
    ];
    assert_eq!(owners, wanted);
    assert_eq!(asked(&world, "/contacts/c"), 2, "one each is kept");
}

const DEAL: &str = r#"
[[follow_ups]]
name = "opportunity-snapshot"
on = ["OpportunityUpdate"]
request = "GET /opportunities/{entity_id}"
publish_as = "opportunity.snapshot"
tombstone_as = "opportunity.gone"
"#;

async fn an_opportunity_that_was_deleted_is_a_tombstone_though_it_is_answered_400(
    backend: Backend,
) {
    let world = World::new(backend, DEAL).await;
    for id in ["o1", "o2"] {
        let opportunity = json!({"locationId": world.location});
        world.api.ghl.put_opportunity(id, opportunity);
    }
    world.api.ghl.delete_opportunity("o1");
    let daemon = world.authorised().await;
    let update = async |id: &str| {
        let body = json!({"type": "OpportunityUpdate", "appId": APP_ID, "locationId": world.location, "id": id,
            "companyId": world.company.id(), "webhookId": uuid::Uuid::new_v4().to_string()});
        world.send(&daemon, &body).await;
    };
    update("o1").await;
    let calls = world.settled(1).await;
    assert_eq!(
        (&calls[0]["state"], &calls[0]["reason"]),
        (&json!("done"), &json!("gone"))
    );
    let (event, body) = &world.events("opportunity.gone")[0];
    assert_eq!(event["entity_id"], "o1");
    assert_eq!(
        (&body["status"], &body["gone"]),
        (&json!(400), &json!(true))
    );
    // Of one that is there, 400 without such words is a request that is wrong.
    let fault = Fault::new(Deed::Status(400)).path("/opportunities/");
    world.api.ghl.fault(fault.times(1));
    update("o2").await;
    let calls = world.settled(2).await;
    assert_eq!(
        (&calls[0]["state"], &calls[0]["reason"]),
        (&json!("dead"), &json!("invalid"))
    );
    assert_eq!(world.events("opportunity.gone").len(), 1);
}

const NOTE: &str = r#"
[[follow_ups]]
name = "note"
on = ["ContactCreate"]
request = "POST /contacts/{entity_id}/tags"
body = { tags = ["new"] }
"#;

async fn a_write_that_is_answered_503_or_422_waits_for_a_person(backend: Backend) {
    let world = World::new(backend, NOTE).await;
    let daemon = world.authorised().await;
    for (n, (status, reason)) in [
        (503, "outcome_unknown"),
        (422, "outcome_unknown"),
        (400, "invalid"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("c{n}");
        let contact = json!({"locationId": world.location});
        world.api.ghl.put_contact(&id, contact);
        let fault = Fault::new(Deed::Status(status)).path("/contacts/");
        world.api.ghl.fault(fault.times(1));
        world.contact(&daemon, "ContactCreate", &id).await;
        let calls = world.settled(n + 1).await;
        let call = calls.iter().find(|call| call["entity_id"] == id).unwrap();
        assert_eq!(
            (&call["state"], &call["reason"], &call["status"]),
            (&json!("dead"), &json!(reason), &json!(status))
        );
        assert_eq!(asked(&world, &format!("/contacts/{id}")), 1);
    }
}
