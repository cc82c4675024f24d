//! Codes, access tokens and refresh tokens.

use std::time::Duration;

use serde_json::json;

use super::{FORM, World, claims, company, form, location, said, text};

#[tokio::test]
async fn a_company_token_and_a_location_token_say_what_they_are() {
    let world = World::usual().await;
    for (account, class) in [(company(), "Company"), (location(0), "Location")] {
        let answer = world.installed(&account).await;
        assert_eq!(answer["userType"], class);
        assert_eq!(answer["token_type"], "Bearer");
        assert_eq!(answer["expires_in"], 86_399);
        assert_eq!(answer["companyId"], "DevCompany0000000001");
        assert_eq!(answer["isBulkInstallation"], class == "Company");
        assert_eq!(answer["refreshTokenId"].as_str().unwrap().len(), 24);
        assert!(answer["traceId"].is_string());
        match class {
            "Company" => assert_eq!(answer.get("locationId"), None),
            _ => assert_eq!(answer["locationId"], "DevLocation000000001"),
        }
        let claims = claims(&text(&answer, "access_token"));
        assert_eq!(claims["authClass"], class);
        assert_eq!(claims["authClassId"], account.id());
        assert_eq!(claims["primaryAuthClassId"], account.id());
        assert_eq!(claims["source"], "INTEGRATION");
        assert_eq!(claims["channel"], "OAUTH");
        assert_eq!(claims["sourceId"], "65f0c0ffee65f0c0ffee65f0-lx1a2b3c");
        let lifetime = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
        assert_eq!(lifetime, 86_400);
    }
}

#[tokio::test]
async fn a_code_works_once_and_for_ten_minutes() {
    let world = World::usual().await;
    let exchange = async |code: &str| {
        world
            .token(&[
                ("grant_type", "authorization_code"),
                ("code", code),
                ("user_type", "Location"),
            ])
            .await
    };
    let code = world.api.ghl.issue_code(&company());
    // What it asks for makes no difference: the token is that of whoever installed.
    assert_eq!(exchange(&code).await.ok()["userType"], "Company");
    let old = world.api.ghl.issue_code(&company());
    world.clock.advance(Duration::from_secs(600));
    for code in [&code, &old, "bogus", ""] {
        let answer = exchange(code).await;
        assert_eq!(answer.status, 401, "{code}");
        let body = answer.json();
        assert_eq!(body["error"], "UnAuthorized!");
        assert_eq!(body["error_description"], "Authorization code not found");
    }
}

#[tokio::test]
async fn a_wrong_client_is_seen_only_with_a_good_code_and_does_not_spend_it() {
    let world = World::usual().await;
    let wrong = async |code: &str| {
        let fields = [
            ("client_id", "65f0c0ffee65f0c0ffee65f0-lx1a2b3c"),
            ("client_secret", "wrong"),
            ("grant_type", "authorization_code"),
            ("code", code),
        ];
        let answer = world.form("/oauth/token", None, &fields).await;
        (answer.status, text(&answer.json(), "error_description"))
    };
    assert_eq!(
        wrong("bogus").await,
        (401, "Authorization code not found".into())
    );
    let code = world.api.ghl.issue_code(&location(0));
    assert_eq!(
        wrong(&code).await,
        (401, "Invalid client credentials!".into())
    );
    let right = world
        .token(&[("grant_type", "authorization_code"), ("code", &code)])
        .await;
    assert_eq!(right.status, 200);
}

#[tokio::test]
async fn a_token_request_is_a_form_or_json_and_v3_spells_it_in_its_own_way() {
    let world = World::usual().await;
    let settings = world.api.ghl.settings();
    let json = json!({
        "client_id": settings.client_id,
        "client_secret": settings.client_secret,
        "grant_type": "authorization_code",
        "code": world.api.ghl.issue_code(&location(0)),
    });
    let request = world
        .request("POST", "/oauth/token")
        .header("content-type", "application/json");
    // Without a version, too.
    let answer = said(request.body(json.to_string())).await.ok();
    let token = text(&answer, "refresh_token");
    let fields = [
        ("clientId", settings.client_id.as_str()),
        ("clientSecret", &settings.client_secret),
        ("grantType", "refresh_token"),
        ("refreshToken", &token),
    ];
    let request = world
        .request("POST", "/oauth/token")
        .header("version", "v3");
    let answer = said(request.header("content-type", FORM).body(form(&fields)))
        .await
        .ok();
    assert!(
        answer["accessToken"].is_string() && answer["refreshToken"].is_string(),
        "{answer}"
    );
    assert_eq!(answer["expiresIn"], 86_399);
    assert_eq!(answer.get("access_token"), None);

    let answer = world.token(&[("grant_type", "client_credentials")]).await;
    assert_eq!(
        (answer.status, &answer.json()["error"]),
        (400, &"unsupported_grant_type".into())
    );
}

#[tokio::test]
async fn a_refresh_token_works_once_and_each_refresh_brings_a_new_pair() {
    let world = World::usual().await;
    let first = world.installed(&company()).await;
    let second = world.refresh(&text(&first, "refresh_token")).await.ok();
    for field in ["access_token", "refresh_token", "refreshTokenId"] {
        assert_ne!(first[field], second[field], "{field}");
    }
    assert_eq!(second["userType"], "Company");
    // The old access token lives on until its time.
    let search = "/locations/search?companyId=DevCompany0000000001";
    for answer in [&first, &second] {
        assert_eq!(
            world
                .get(search, &text(answer, "access_token"))
                .await
                .status,
            200
        );
    }
    for token in [&text(&first, "refresh_token"), "unknown"] {
        let answer = world.refresh(token).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (400, &"invalid_grant".into())
        );
    }
    world.refresh(&text(&second, "refresh_token")).await.ok();

    let report = world.api.ghl.report();
    let spent = &report.refresh_tokens[&text(&first, "refreshTokenId")];
    assert_eq!((spent.successful, spent.spent), (1, 1));
    let good = &report.refresh_tokens[&text(&second, "refreshTokenId")];
    assert_eq!((good.successful, good.spent), (1, 0));
    assert_eq!(good.tenant, "DevCompany0000000001");
    assert_eq!(report.unknown_refresh_tokens, 1);
    assert_eq!(report.refreshes["DevCompany0000000001"], 2);
    assert_eq!(report.exchanged["DevCompany0000000001"], 1);
}

#[tokio::test]
async fn a_refresh_token_lives_for_a_year() {
    let world = World::usual().await;
    let first = text(&world.installed(&company()).await, "refresh_token");
    let day = Duration::from_secs(86_400);
    world.clock.advance(364 * day);
    let second = text(&world.refresh(&first).await.ok(), "refresh_token");
    world.clock.advance(365 * day);
    assert_eq!(world.refresh(&second).await.status, 400);
}

#[tokio::test]
async fn an_access_token_ends_with_its_lifetime_or_when_asked_to() {
    let world = World::usual().await;
    let invalid = (401, "Invalid token: access token is invalid".to_owned());
    let path = "/locations/DevLocation000000001";
    let token = world.first().await;
    world.clock.advance(Duration::from_secs(86_399));
    assert_eq!(world.get(path, &token).await.status, 200);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.get(path, &token).await.message(), invalid);

    let (mine, other) = (
        world.first().await,
        text(&world.installed(&location(1)).await, "access_token"),
    );
    world.api.ghl.expire_access_tokens(Some(&location(0)));
    assert_eq!(world.get(path, &mine).await.message(), invalid);
    assert_eq!(
        world
            .get("/locations/DevLocation000000002", &other)
            .await
            .status,
        200
    );
    world.api.ghl.expire_access_tokens(None);
    assert_eq!(
        world
            .get("/locations/DevLocation000000002", &other)
            .await
            .message(),
        invalid
    );
}
