//! Contacts, opportunities and what belongs to them, by id.

use std::time::Duration;

use hookwell::dev::ghl::Settings;
use serde_json::json;

use super::{World, location, said, text};

#[tokio::test]
async fn a_lenient_server_makes_up_the_same_record_again_but_not_one_that_is_gone() {
    let world = World::new(Settings {
        lenient: true,
        ..Settings::default()
    })
    .await;
    let token = world.first().await;
    let first = world.get("/contacts/anything", &token).await.ok();
    let contact = &first["contact"];
    assert_eq!(
        (&contact["id"], &contact["locationId"]),
        (&"anything".into(), &"DevLocation000000001".into())
    );
    assert!(text(contact, "email").ends_with("@example.com"));
    assert!(contact["customFields"][0]["value"].is_string());
    world.clock.advance(Duration::from_secs(86_400));
    let token = world.first().await;
    assert_eq!(
        world.get("/contacts/anything", &token).await.ok()["contact"],
        *contact
    );

    let opportunity = world.get("/opportunities/any", &token).await.ok()["opportunity"].clone();
    assert!(opportunity["customFields"][0]["fieldValue"].is_string());
    // Its pipeline, its stage and its contact are there.
    let path = "/opportunities/pipelines?locationId=DevLocation000000001";
    let pipelines = world.get(path, &token).await.ok();
    let pipeline = &pipelines["pipelines"][0];
    assert_eq!(pipeline["id"], opportunity["pipelineId"]);
    let stages = pipeline["stages"].as_array().unwrap();
    assert!(
        stages
            .iter()
            .any(|stage| stage["id"] == opportunity["pipelineStageId"])
    );
    let contact = text(&opportunity, "contactId");
    let contact = world
        .get(&format!("/contacts/{contact}"), &token)
        .await
        .ok();
    assert_eq!(contact["contact"]["email"], opportunity["contact"]["email"]);

    world.api.ghl.delete_contact("anything");
    world.api.ghl.delete_opportunity("any");
    for path in [
        "/contacts/anything",
        "/contacts/gone-1",
        "/opportunities/any",
        "/opportunities/gone",
    ] {
        for method in ["GET", "PUT", "DELETE"] {
            let answer = world.send(method, path, &token, &json!({})).await;
            // As is reported of opportunities that were deleted.
            let deleted = (method, path) == ("GET", "/opportunities/any");
            let expected = if deleted { 400 } else { 404 };
            assert_eq!(answer.status, expected, "{method} {path}");
        }
    }
    // A strict server makes nothing up.
    let world = World::usual().await;
    let token = world.first().await;
    assert_eq!(world.get("/contacts/anything", &token).await.status, 404);
}

#[tokio::test]
async fn a_contact_is_made_changed_tagged_and_deleted() {
    let world = World::usual().await;
    let token = world.first().await;
    let fields = json!({"locationId": "DevLocation000000001", "firstName": "Ada", "lastName": "Holm", "tags": ["a"]});
    let answer = world.send("POST", "/contacts/", &token, &fields).await;
    assert_eq!(answer.status, 201);
    let made = answer.json()["contact"].clone();
    assert_eq!(made["name"], "Ada Holm");
    let id = text(&made, "id");
    let path = format!("/contacts/{id}");
    assert_eq!(world.get(&path, &token).await.ok()["contact"], made);

    world.clock.advance(Duration::from_secs(5));
    let change = json!({"lastName": "Grau", "locationId": "elsewhere", "id": "other"});
    let changed = world.send("PUT", &path, &token, &change).await.ok();
    assert_eq!(changed["succeded"], true);
    let contact = &changed["contact"];
    assert_eq!(
        (&contact["name"], &contact["id"]),
        (&"Ada Grau".into(), &id.clone().into())
    );
    assert_eq!(contact["locationId"], "DevLocation000000001");
    assert_eq!(contact["dateAdded"], "2026-01-31T12:00:00.000Z");
    assert_eq!(contact["dateUpdated"], "2026-01-31T12:00:05.000Z");

    let tags = format!("{path}/tags");
    let answer = world
        .send("POST", &tags, &token, &json!({"tags": ["b", "a", "b"]}))
        .await;
    assert_eq!(
        (answer.status, &answer.json()["tags"]),
        (201, &json!(["b", "a"]))
    );
    let answer = world
        .send("DELETE", &tags, &token, &json!({"tags": ["b"]}))
        .await;
    assert_eq!(
        (answer.status, &answer.json()["tags"]),
        (200, &json!(["a"]))
    );
    for wrong in [json!({}), json!({"tags": "a"}), json!({"tags": [1]})] {
        assert_eq!(
            world.send("POST", &tags, &token, &wrong).await.status,
            422,
            "{wrong}"
        );
    }
    assert_eq!(world.api.ghl.contact(&id).unwrap()["tags"], json!(["a"]));
    assert_eq!(said(world.call("DELETE", &path, &token)).await.status, 200);
    assert_eq!(world.get(&path, &token).await.status, 404);
}

#[tokio::test]
async fn an_opportunity_moves_and_its_times_follow() {
    let world = World::usual().await;
    let token = world.first().await;
    let fields = json!({
        "locationId": "DevLocation000000001", "pipelineId": "p", "pipelineStageId": "s1",
        "name": "roof", "status": "open", "contactId": "c", "monetaryValue": 12.5,
    });
    let made = world
        .send("POST", "/opportunities/", &token, &fields)
        .await
        .ok()["opportunity"]
        .clone();
    let path = format!("/opportunities/{}", text(&made, "id"));
    let (noon, later) = ("2026-01-31T12:00:00.000Z", "2026-01-31T12:00:30.000Z");
    world.clock.advance(Duration::from_secs(30));
    let moved = world
        .send(
            "PUT",
            &path,
            &token,
            &json!({"pipelineStageId": "s2", "status": "open"}),
        )
        .await;
    let moved = moved.ok()["opportunity"].clone();
    assert_eq!(moved["lastStageChangeAt"], later);
    assert_eq!(moved["lastStatusChangeAt"], noon);
    assert_eq!(
        (&moved["updatedAt"], &moved["createdAt"]),
        (&later.into(), &noon.into())
    );

    let status = format!("{path}/status");
    let answer = world
        .send("PUT", &status, &token, &json!({"status": "won"}))
        .await
        .ok();
    assert_eq!(answer["succeded"], true);
    let now = world.get(&path, &token).await.ok()["opportunity"].clone();
    assert_eq!(
        (&now["status"], &now["lastStatusChangeAt"]),
        (&"won".into(), &later.into())
    );
    assert_eq!(
        (&now["contact"]["id"], &now["monetaryValue"]),
        (&"c".into(), &12.5.into())
    );
    for wrong in [json!({}), json!({"status": "gone"}), json!({"status": 1})] {
        assert_eq!(
            world.send("PUT", &status, &token, &wrong).await.status,
            422,
            "{wrong}"
        );
    }
    let other = text(&world.installed(&location(1)).await, "access_token");
    assert_eq!(world.get(&path, &other).await.status, 403);
    assert_eq!(said(world.call("DELETE", &path, &token)).await.status, 200);
    assert_eq!(world.get(&path, &token).await.status, 400);
}

#[tokio::test]
async fn a_record_that_is_put_has_the_fields_given_and_the_rest_made_up() {
    let world = World::usual().await;
    let ghl = &world.api.ghl;
    ghl.put_contact("c", json!({"firstName": "Ada", "lastName": "Holm"}));
    let contact = ghl.contact("c").unwrap();
    assert_eq!(
        (&contact["name"], &contact["locationId"]),
        (&"Ada Holm".into(), &"DevLocation000000001".into())
    );
    assert_eq!(contact["dateUpdated"], "2026-01-31T12:00:00.000Z");
    ghl.put_contact(
        "c",
        json!({"locationId": "DevLocation000000002", "dateUpdated": "2026-01-01T00:00:00.000Z"}),
    );
    let contact = ghl.contact("c").unwrap();
    assert_eq!(
        (&contact["name"], &contact["locationId"]),
        (&"Ada Holm".into(), &"DevLocation000000002".into())
    );
    assert_eq!(contact["dateUpdated"], "2026-01-01T00:00:00.000Z");
    ghl.put_opportunity(
        "o",
        json!({"status": "lost", "updatedAt": "2026-01-01T00:00:00.000Z"}),
    );
    let opportunity = ghl.opportunity("o").unwrap();
    assert_eq!(
        (&opportunity["status"], &opportunity["updatedAt"]),
        (&"lost".into(), &"2026-01-01T00:00:00.000Z".into())
    );
    ghl.delete_contact("c");
    ghl.delete_opportunity("o");
    assert_eq!((ghl.contact("c"), ghl.opportunity("o")), (None, None));
}

#[tokio::test]
async fn custom_fields_are_of_contacts_of_opportunities_or_of_both() {
    let world = World::usual().await;
    let token = world.first().await;
    let path = "/locations/DevLocation000000001/customFields";
    for (query, models) in [
        ("?model=contact", vec!["contact"]),
        ("?model=opportunity", vec!["opportunity"]),
        ("?model=all", vec!["contact", "opportunity"]),
    ] {
        let answer = world.get(&format!("{path}{query}"), &token).await.ok();
        let fields = answer["customFields"].as_array().unwrap();
        let found: Vec<_> = fields
            .iter()
            .map(|field| field["model"].as_str().unwrap())
            .collect();
        assert_eq!(found, models, "{query}");
    }
}

#[tokio::test]
async fn messages_and_triggers_are_kept_and_need_a_token() {
    let world = World::new(Settings {
        lenient: true,
        ..Settings::default()
    })
    .await;
    let token = world.first().await;
    let sms = json!({"type": "SMS", "contactId": "c", "message": "hello"});
    let request = world
        .request("POST", "/conversations/messages")
        .header("version", "2021-04-15");
    let request = request
        .header("authorization", format!("Bearer {token}"))
        .body(sms.to_string());
    let answer = said(request).await.ok();
    assert!(answer["messageId"].is_string() && answer["conversationId"].is_string());
    let mail = json!({"type": "Email", "contactId": "c", "html": "<p>hello"});
    let answer = world
        .send("POST", "/conversations/messages", &token, &mail)
        .await
        .ok();
    assert!(answer["emailMessageId"].is_string());
    let gone = json!({"type": "SMS", "contactId": "gone-c"});
    assert_eq!(
        world
            .send("POST", "/conversations/messages", &token, &gone)
            .await
            .status,
        404
    );

    let trigger = "/workflows-marketplace/triggers/execute/abc/def";
    let body = json!({"order": 17});
    assert_eq!(world.send("POST", trigger, &token, &body).await.status, 200);
    let bare = world
        .request("POST", trigger)
        .header("version", "2021-07-28");
    assert_eq!(said(bare.body(body.to_string())).await.status, 401);

    let received = world.api.ghl.received();
    let rows: Vec<_> = received
        .iter()
        .map(|one| (one.path.as_str(), &one.body))
        .collect();
    let messages = "/conversations/messages";
    assert_eq!(
        rows,
        [(messages, &sms), (messages, &mail), (trigger, &body)]
    );
    assert!(
        received
            .iter()
            .all(|one| one.tenant == "DevLocation000000001")
    );
}
