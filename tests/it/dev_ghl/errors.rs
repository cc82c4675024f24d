//! The words of every error: what a client decides by.

use hookwell::dev::ghl::Settings;
use serde_json::json;

use super::{VERSION, World, company, location, said, text};

#[tokio::test]
async fn each_401_and_403_says_which_one_it_is() {
    let world = World::new(Settings {
        scopes: "contacts.readonly locations.readonly oauth.write".to_owned(),
        ..Settings::default()
    })
    .await;
    world.api.ghl.put_contact("c1", json!({}));
    let token = world.first().await;
    let agency = text(&world.installed(&company()).await, "access_token");
    let other = text(&world.installed(&location(1)).await, "access_token");
    let rows = [
        (
            "GET",
            "/contacts/c1",
            None,
            Some(token.as_str()),
            401,
            "version header was not found.",
        ),
        (
            "GET",
            "/contacts/c1",
            Some("2020-01-01"),
            Some(&token),
            401,
            "version header is invalid",
        ),
        (
            "GET",
            "/contacts/c1",
            Some(VERSION),
            None,
            401,
            "Invalid token: access token is invalid",
        ),
        (
            "GET",
            "/contacts/c1",
            Some(VERSION),
            Some("garbled"),
            401,
            "Invalid JWT",
        ),
        (
            "GET",
            "/contacts/c1",
            Some(VERSION),
            Some("e30.e30.e30"),
            401,
            "Invalid token: access token is invalid",
        ),
        (
            "GET",
            "/contacts/c1",
            Some(VERSION),
            Some(&agency),
            401,
            "This authClass type is not allowed to access this scope. Please verify your IAM configuration if this is not the case.",
        ),
        (
            "GET",
            "/locations/search",
            Some(VERSION),
            Some(&token),
            401,
            "This authClass type is not allowed to access this scope. Please verify your IAM configuration if this is not the case.",
        ),
        (
            "PUT",
            "/contacts/c1",
            Some(VERSION),
            Some(&token),
            401,
            "The token is not authorized for this scope.",
        ),
        (
            "GET",
            "/contacts/c1",
            Some(VERSION),
            Some(&other),
            403,
            "The token does not have access to this location.",
        ),
        (
            "PATCH",
            "/contacts/c1",
            Some(VERSION),
            Some(&token),
            401,
            "This route is not yet supported by the IAM Service. Please update your IAM config if this is not the case.",
        ),
        (
            "GET",
            "/contacts/none",
            Some(VERSION),
            Some(&token),
            404,
            "Contact with id none not found",
        ),
        (
            "GET",
            "/nowhere/c1",
            Some(VERSION),
            Some(&token),
            404,
            "Cannot GET /nowhere/c1",
        ),
    ];
    for (method, path, version, token, status, message) in rows {
        let mut request = world.request(method, path);
        if let Some(version) = version {
            request = request.header("version", version);
        }
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = said(request).await;
        assert_eq!(
            answer.message(),
            (status, message.to_owned()),
            "{method} {path}"
        );
        let body = answer.json();
        assert_eq!(body["statusCode"], status);
        assert!(body["traceId"].is_string(), "{body}");
    }
    // Each published version is as good as another.
    for version in ["v3", "2023-02-21", "2021-07-28", "2021-04-15", "legacy"] {
        let request = world
            .request("GET", "/contacts/c1")
            .header("version", version);
        let answer = said(request.header("authorization", format!("bearer {token}"))).await;
        assert_eq!(answer.status, 200, "{version}");
    }
}

#[tokio::test]
async fn a_validation_error_has_a_list_of_texts() {
    let world = World::usual().await;
    let token = world.first().await;
    let answer = world
        .send("POST", "/contacts/search", &token, &json!({}))
        .await;
    assert_eq!(answer.status, 422);
    let body = answer.json();
    assert_eq!(
        body["message"],
        json!([
            "locationId should not be empty",
            "pageLimit should not be empty"
        ])
    );
    assert_eq!(body["error"], "Unprocessable Entity");
    assert!(body["traceId"].is_string());
    let own = "DevLocation000000001";
    let rows = [
        (
            "POST",
            "/contacts/search",
            json!({"locationId": own, "pageLimit": 501}),
            422,
        ),
        (
            "POST",
            "/contacts/search",
            json!({"locationId": own, "pageLimit": 0}),
            422,
        ),
        (
            "POST",
            "/contacts/search",
            json!({"locationId": own, "pageLimit": 500, "page": 21}),
            422,
        ),
        (
            "POST",
            "/contacts/search",
            json!({"locationId": own, "pageLimit": 500, "page": 20}),
            200,
        ),
        (
            "POST",
            "/contacts/search",
            json!({"locationId": own, "pageLimit": 1, "filters": {}}),
            422,
        ),
        (
            "POST",
            "/contacts/search",
            json!({"locationId": own, "pageLimit": 1, "searchAfter": ["x"]}),
            422,
        ),
        (
            "POST",
            "/contacts/search",
            json!({"locationId": "other", "pageLimit": 1}),
            403,
        ),
        ("POST", "/contacts/", json!({"firstName": "Ada"}), 422),
        ("POST", "/contacts/", json!([]), 400),
        ("POST", "/opportunities/", json!({"locationId": own}), 422),
        ("POST", "/opportunities/search", json!({}), 422),
        (
            "POST",
            "/opportunities/search",
            json!({"locationId": own, "limit": 101}),
            422,
        ),
        (
            "GET",
            "/opportunities/search?locationId=DevLocation000000001",
            json!({}),
            422,
        ),
        (
            "GET",
            "/opportunities/search?location_id=DevLocation000000001&limit=101",
            json!({}),
            422,
        ),
        (
            "GET",
            "/opportunities/search?location_id=DevLocation000000001&date=2026-01-31",
            json!({}),
            422,
        ),
        ("GET", "/contacts/?limit=10", json!({}), 422),
        (
            "GET",
            "/contacts/?locationId=DevLocation000000001&limit=ten",
            json!({}),
            422,
        ),
        (
            "GET",
            "/locations/DevLocation000000001/customFields?model=company",
            json!({}),
            422,
        ),
        (
            "POST",
            "/conversations/messages",
            json!({"type": "Pigeon"}),
            422,
        ),
    ];
    for (method, path, body, status) in rows {
        let answer = world.send(method, path, &token, &body).await;
        assert_eq!(answer.status, status, "{method} {path} {body}: {answer:?}");
        if status == 422 {
            assert!(answer.json()["message"].is_array(), "{answer:?}");
        }
    }
}
