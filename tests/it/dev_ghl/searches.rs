//! Searches and lists: the lag, the filters, and a cursor that finds every row once.

use std::collections::BTreeSet;
use std::time::Duration;

use hookwell::dev::ghl::Settings;
use serde_json::{Value, json};

use super::{World, said, text};

const OWN: &str = "DevLocation000000001";

fn ids(rows: &Value) -> Vec<String> {
    rows.as_array()
        .unwrap()
        .iter()
        .map(|row| text(row, "id"))
        .collect()
}

/// A world with 25 contacts and opportunities, two of each created at one moment.
async fn many() -> (World, String) {
    let world = World::new(Settings {
        search_lag: Duration::ZERO,
        ..Settings::default()
    })
    .await;
    for n in 0..25 {
        let time = format!("2026-01-{:02}T10:00:00.000Z", n / 2 + 1);
        let contact =
            json!({"dateAdded": time, "dateUpdated": time, "tags": [format!("t{}", n % 3)]});
        world.api.ghl.put_contact(&format!("c{n:02}"), contact);
        let status = ["open", "won"][n % 2];
        let opportunity = json!({"createdAt": time, "updatedAt": time, "status": status, "name": format!("deal {n}")});
        world
            .api
            .ghl
            .put_opportunity(&format!("o{n:02}"), opportunity);
    }
    world
        .api
        .ghl
        .put_contact("other", json!({"locationId": "DevLocation000000002"}));
    world
        .api
        .ghl
        .put_opportunity("other", json!({"locationId": "DevLocation000000002"}));
    let token = world.first().await;
    (world, token)
}

#[tokio::test]
async fn a_search_knows_of_a_change_only_after_the_lag() {
    let world = World::usual().await;
    let token = world.first().await;
    let find = async || {
        let body = json!({"locationId": OWN, "pageLimit": 10});
        let search = world
            .send("POST", "/contacts/search", &token, &body)
            .await
            .ok();
        let list = world
            .get(&format!("/contacts/?locationId={OWN}"), &token)
            .await
            .ok();
        assert_eq!(search["total"], list["meta"]["total"]);
        let rows = search["contacts"].as_array().unwrap();
        rows.iter()
            .map(|row| text(row, "firstName"))
            .collect::<Vec<_>>()
    };
    world.api.ghl.put_contact("c", json!({"firstName": "Ada"}));
    assert_eq!(world.get("/contacts/c", &token).await.status, 200);
    assert!(find().await.is_empty());
    world.clock.advance(Duration::from_secs(2));
    assert_eq!(find().await, ["Ada"]);
    world
        .send("PUT", "/contacts/c", &token, &json!({"firstName": "Bob"}))
        .await
        .ok();
    assert_eq!(find().await, ["Ada"]);
    world.clock.advance(Duration::from_secs(2));
    assert_eq!(find().await, ["Bob"]);
    world.api.ghl.delete_contact("c");
    assert_eq!(world.get("/contacts/c", &token).await.status, 404);
    assert_eq!(find().await, ["Bob"]);
    world.clock.advance(Duration::from_secs(2));
    assert!(find().await.is_empty());
}

#[tokio::test]
async fn a_search_by_time_and_cursor_finds_every_contact_once() {
    let (world, token) = many().await;
    let mut body = json!({
        "locationId": OWN,
        "pageLimit": 4,
        "filters": [{"field": "dateUpdated", "operator": "range",
                     "value": {"gte": "2026-01-03T00:00:00.000Z", "lt": "2026-01-12T00:00:00.000Z"}}],
        "sort": [{"field": "dateUpdated", "direction": "asc"}],
    });
    let mut found = Vec::new();
    loop {
        let answer = world
            .send("POST", "/contacts/search", &token, &body)
            .await
            .ok();
        assert_eq!(answer["total"], 18);
        let Some(last) = answer["contacts"].as_array().unwrap().last() else {
            break;
        };
        // Milliseconds and the id.
        assert!(
            last["searchAfter"][0].is_i64() && last["searchAfter"][1] == last["id"],
            "{last}"
        );
        assert_eq!(last.get("dndSettings"), None);
        body["searchAfter"] = last["searchAfter"].clone();
        found.extend(ids(&answer["contacts"]));
    }
    let expected: Vec<_> = (4..22).map(|n| format!("c{n:02}")).collect();
    assert_eq!(found, expected);
    // By page, with other filters, the newest first.
    let body = json!({
        "locationId": OWN, "pageLimit": 3, "page": 2,
        "filters": [{"group": "OR", "filters": [
            {"field": "tags", "operator": "eq", "value": "t1"},
            {"field": "id", "operator": "eq", "value": "c24"},
        ]}],
    });
    let answer = world
        .send("POST", "/contacts/search", &token, &body)
        .await
        .ok();
    assert_eq!(
        (&answer["total"], ids(&answer["contacts"])),
        (&9.into(), vec!["c16".into(), "c13".into(), "c10".into()])
    );
}

#[tokio::test]
async fn a_list_of_contacts_goes_on_only_with_both_halves_of_its_cursor() {
    let (world, token) = many().await;
    let list = async |more: &str| {
        let path = format!("/contacts/?locationId={OWN}&limit=10{more}");
        let answer = world.get(&path, &token).await.ok();
        (ids(&answer["contacts"]), answer["meta"].clone())
    };
    let (first, meta) = list("").await;
    assert_eq!((first.len(), &first[0]), (10, &"c24".to_owned()));
    assert_eq!(meta["total"], 25);
    assert!(text(&meta, "nextPageUrl").starts_with("http://localhost:"));
    let (time, id) = (&meta["startAfter"], text(&meta, "startAfterId"));
    // One alone is as good as none, so whoever sends one alone goes round in circles.
    for half in [format!("&startAfter={time}"), format!("&startAfterId={id}")] {
        assert_eq!(list(&half).await.0, first, "{half}");
    }
    let mut seen: BTreeSet<String> = first.into_iter().collect();
    let mut next = format!("&startAfter={time}&startAfterId={id}");
    for size in [10, 5] {
        let (rows, meta) = list(&next).await;
        assert_eq!(rows.len(), size);
        next = format!(
            "&startAfter={}&startAfterId={}",
            meta["startAfter"],
            text_or_none(&meta)
        );
        seen.extend(rows);
    }
    assert_eq!(seen.len(), 25);
    assert_eq!(next, "&startAfter=null&startAfterId=none");
}

fn text_or_none(meta: &Value) -> String {
    meta["startAfterId"].as_str().unwrap_or("none").to_owned()
}

#[tokio::test]
async fn opportunities_are_found_by_query_with_the_names_of_the_version() {
    let (world, token) = many().await;
    let find = async |query: &str| {
        let path = format!("/opportunities/search?location_id={OWN}&{query}");
        let answer = world.get(&path, &token).await.ok();
        (ids(&answer["opportunities"]), answer["meta"].clone())
    };
    let (first, meta) = find("limit=20").await;
    assert_eq!((first.len(), &first[0]), (20, &"o24".to_owned()));
    let (time, id) = (&meta["startAfter"], text(&meta, "startAfterId"));
    let (rest, end) = find(&format!("limit=20&startAfter={time}&startAfterId={id}")).await;
    assert_eq!((rest.len(), &rest[0]), (5, &"o05".to_owned()));
    assert_eq!(end["startAfterId"], Value::Null);
    assert_eq!(find(&format!("limit=20&startAfterId={id}")).await.0, first);
    let (second, meta) = find("limit=10&page=2").await;
    assert_eq!(
        (
            &second[0],
            &meta["currentPage"],
            &meta["nextPage"],
            &meta["prevPage"]
        ),
        (&"o15".to_owned(), &2.into(), &3.into(), &1.into())
    );

    assert_eq!(find("status=won").await.1["total"], 12);
    assert_eq!(find("status=all").await.1["total"], 25);
    assert_eq!(find("q=deal+24").await.0, ["o24"]);
    // Days, the last one whole.
    assert_eq!(
        find("date=01-02-2026&endDate=01-03-2026&order=added_asc")
            .await
            .0,
        ["o02", "o03", "o04", "o05"]
    );
    let one = world.get("/opportunities/o03", &token).await.ok()["opportunity"].clone();
    for (name, field) in [
        ("pipeline_id", "pipelineId"),
        ("pipeline_stage_id", "pipelineStageId"),
        ("contact_id", "contactId"),
    ] {
        let found = find(&format!("limit=100&{name}={}", text(&one, field)))
            .await
            .0;
        assert!(found.contains(&"o03".to_owned()), "{name}: {found:?}");
        assert!(find(&format!("{name}=none")).await.0.is_empty(), "{name}");
    }
    let request = world
        .request("GET", &format!("/opportunities/search?locationId={OWN}"))
        .header("version", "v3");
    let answer = said(request.header("authorization", format!("Bearer {token}")))
        .await
        .ok();
    assert_eq!(answer["meta"]["total"], 25);
}

#[tokio::test]
async fn the_newer_search_of_opportunities_has_its_cursor_in_sort() {
    let (world, token) = many().await;
    let mut body = json!({"locationId": OWN, "limit": 10, "page": 1, "searchAfter": []});
    let mut found = Vec::new();
    loop {
        let answer = world
            .send("POST", "/opportunities/search", &token, &body)
            .await
            .ok();
        assert_eq!(answer["total"], 25);
        let Some(last) = answer["opportunities"].as_array().unwrap().last() else {
            break;
        };
        assert_eq!(last.get("searchAfter"), None);
        assert!(last["contact"]["id"].is_string());
        body["searchAfter"] = last["sort"].clone();
        found.extend(ids(&answer["opportunities"]));
    }
    assert_eq!(found.len(), 25);
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), 25);
    let body = json!({
        "locationId": OWN, "query": "DEAL",
        "filters": [{"field": "status", "operator": "eq", "value": "won"}],
    });
    let answer = world
        .send("POST", "/opportunities/search", &token, &body)
        .await
        .ok();
    assert_eq!(
        (
            &answer["total"],
            answer["opportunities"].as_array().unwrap().len()
        ),
        (&12.into(), 12)
    );
}

#[tokio::test]
async fn what_is_there_at_the_start_is_found_from_the_start() {
    let world = World::new(Settings {
        contacts: 7,
        opportunities: 4,
        ..Settings::default()
    })
    .await;
    let token = world.first().await;
    let body = json!({"locationId": OWN, "pageLimit": 100});
    let contacts = world
        .send("POST", "/contacts/search", &token, &body)
        .await
        .ok();
    assert_eq!(contacts["total"], 7);
    let body = json!({"locationId": OWN});
    let opportunities = world
        .send("POST", "/opportunities/search", &token, &body)
        .await
        .ok();
    assert_eq!(opportunities["total"], 4);
    let contacts = ids(&contacts["contacts"]);
    for opportunity in opportunities["opportunities"].as_array().unwrap() {
        assert!(contacts.contains(&text(opportunity, "contactId")));
    }
}
