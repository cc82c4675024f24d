//! The install link, and which sub-accounts have the app.

use std::time::Duration;

use hookwell::dev::ghl::{Account, Settings};

use super::{VERSION, World, company, location, said, text};

/// Where the link leads to.
async fn follow(world: &World, link: &str) -> (u16, String, Option<String>) {
    let answer = said(world.http.get(link)).await;
    let to = answer.header("location").map(ToOwned::to_owned);
    (answer.status, answer.text, to)
}

/// The code in a redirect.
fn code(to: &str) -> String {
    let query = to.split_once("code=").unwrap().1;
    query.split('&').next().unwrap().to_owned()
}

#[tokio::test]
async fn an_install_link_needs_both_ids_and_brings_a_code_and_the_state_back() {
    let world = World::usual().await;
    let settings = world.api.ghl.settings();
    let back = "https://hooks.example.com/oauth/callback?x=1";
    let link = settings.install_url(&world.api.url, back);
    let (status, _, to) = follow(&world, &format!("{link}&state=a%20b%2Bc")).await;
    let to = to.unwrap();
    assert_eq!(status, 302);
    assert!(to.starts_with(&format!("{back}&code=")), "{to}");
    assert!(to.ends_with("&state=a%20b%2Bc"), "{to}");
    // The path without a version answers as well.
    let older = link.replace("/v2/oauth", "/oauth");
    assert_eq!(follow(&world, &older).await.0, 302);

    let without = |name: &str| {
        let (before, rest) = link.split_once(&format!("{name}=")).unwrap();
        format!("{before}{}", rest.split_once('&').unwrap().1)
    };
    assert_eq!(
        follow(&world, &without("version_id")).await,
        (200, "error.noversionid".into(), None)
    );
    assert_eq!(
        follow(&world, &without("client_id")).await,
        (200, String::new(), None)
    );
    let stranger = format!("{link}&company_id=Stranger");
    assert_eq!(follow(&world, &stranger).await.2, None);
}

#[tokio::test]
async fn an_agency_installs_for_all_or_for_one_and_a_sub_account_for_itself() {
    let choices = [
        ("", "Company", vec![0, 1, 2]),
        ("&company_id=DevCompany0000000001", "Company", vec![0, 1, 2]),
        ("&location_id=DevLocation000000002", "Location", vec![1]),
        (
            "&company_id=DevCompany0000000001&location_id=DevLocation000000003",
            "Company",
            vec![2],
        ),
    ];
    for (choice, class, installed) in choices {
        let world = World::usual().await;
        let link = world
            .api
            .ghl
            .settings()
            .install_url(&world.api.url, "https://x.example/");
        let (_, _, to) = follow(&world, &format!("{link}{choice}")).await;
        let code = code(&to.unwrap());
        let answer = world
            .token(&[("grant_type", "authorization_code"), ("code", &code)])
            .await;
        assert_eq!(answer.ok()["userType"], class, "{choice}");
        let has: Vec<usize> = (0..3)
            .filter(|n| world.api.ghl.is_installed(&location(*n)))
            .collect();
        assert_eq!(has, installed, "{choice}");
    }
}

#[tokio::test]
async fn a_link_for_fewer_scopes_gives_fewer() {
    let world = World::usual().await;
    let link = world
        .api
        .ghl
        .settings()
        .install_url(&world.api.url, "https://x.example/");
    let (link, _) = link.split_once("&scope=").unwrap();
    let link = format!("{link}&scope=contacts.readonly%20no.such+oauth.write");
    let code = code(&follow(&world, &link).await.2.unwrap());
    let answer = world
        .token(&[("grant_type", "authorization_code"), ("code", &code)])
        .await;
    assert_eq!(answer.ok()["scope"], "contacts.readonly oauth.write");
}

#[tokio::test]
async fn installed_locations_are_listed_by_page_and_by_whether_they_have_the_app() {
    let world = World::new(Settings {
        locations: 25,
        ..Settings::default()
    })
    .await;
    let token = text(&world.installed(&company()).await, "access_token");
    world.api.ghl.uninstall(&location(3));
    world.clock.advance(Duration::from_secs(60));
    world.api.ghl.put_location("Later", Some("A later one"));
    let base =
        "/oauth/installedLocations?companyId=DevCompany0000000001&appId=65f0c0ffee65f0c0ffee65f0";
    let list = async |more: &str| world.get(&format!("{base}{more}"), &token).await.ok();

    let all = list("").await;
    assert_eq!(all["count"], 26);
    assert_eq!(all["locations"].as_array().unwrap().len(), 20);
    assert_eq!(all["installToFutureLocations"], true);
    // It came with the app, as the agency has it, and is the newest.
    let newest = &all["locations"][0];
    assert_eq!(
        (&newest["_id"], &newest["isInstalled"]),
        (&"Later".into(), &true.into())
    );
    assert_eq!(newest["installedAt"], "2026-01-31T12:01:00.000Z");
    assert_eq!(newest["name"], "A later one");

    assert_eq!(
        list("&skip=20&limit=100").await["locations"]
            .as_array()
            .unwrap()
            .len(),
        6
    );
    assert_eq!(list("&isInstalled=true").await["count"], 25);
    let without = list("&isInstalled=false").await;
    assert_eq!(without["count"], 1);
    assert_eq!(without["locations"][0]["_id"], "DevLocation000000004");
    assert_eq!(without["locations"][0].get("installedAt"), None);
    assert_eq!(list("&query=later").await["count"], 1);
    assert_eq!(list("&locationId=DevLocation000000009").await["count"], 1);

    for (query, field) in [
        ("appId=a", "companyId"),
        ("companyId=DevCompany0000000001", "appId"),
    ] {
        let answer = world
            .get(&format!("/oauth/installedLocations?{query}"), &token)
            .await;
        let expected = format!("{field} should not be empty");
        assert_eq!(
            (answer.status, &answer.json()["message"][0]),
            (422, &expected.into())
        );
    }
    // The path of version v3 is none of this version.
    let answer = world
        .get("/oauth/installed-locations?companyId=a&appId=b", &token)
        .await;
    assert_eq!(
        answer.message(),
        (404, "Cannot GET /oauth/installed-locations".into())
    );
}

#[tokio::test]
async fn a_location_token_is_made_from_an_agencys_for_a_sub_account_that_has_the_app() {
    let world = World::usual().await;
    let agency = text(&world.installed(&company()).await, "access_token");
    let fields = [
        ("companyId", "DevCompany0000000001"),
        ("locationId", "DevLocation000000002"),
    ];
    let answer = world
        .form("/oauth/locationToken", Some(&agency), &fields)
        .await;
    assert_eq!(answer.status, 201);
    let made = answer.json();
    assert_eq!(
        (&made["userType"], &made["expires_in"]),
        (&"Location".into(), &86_400.into())
    );
    assert_eq!(made["locationId"], "DevLocation000000002");
    let scope = text(&made, "scope");
    assert!(
        scope.contains("oauth.readonly") && scope.contains("oauth.write"),
        "{scope}"
    );
    let token = text(&made, "access_token");
    assert_eq!(
        world
            .get("/locations/DevLocation000000002", &token)
            .await
            .status,
        200
    );
    // It can be refreshed like any other.
    assert_eq!(
        world.refresh(&text(&made, "refresh_token")).await.ok()["userType"],
        "Location"
    );
    assert_eq!(world.api.ghl.report().minted["DevLocation000000002"], 1);

    world.api.ghl.uninstall(&location(1));
    let denied = (
        403,
        "The token does not have access to this location.".to_owned(),
    );
    assert_eq!(
        world
            .form("/oauth/locationToken", Some(&agency), &fields)
            .await
            .message(),
        denied
    );
    assert_eq!(
        world
            .get("/locations/DevLocation000000002", &token)
            .await
            .message(),
        denied
    );
    let unknown = [
        ("companyId", "DevCompany0000000001"),
        ("locationId", "Unknown"),
    ];
    assert_eq!(
        world
            .form("/oauth/locationToken", Some(&agency), &unknown)
            .await
            .message(),
        denied
    );
    let answer = world
        .form("/oauth/locationToken", Some(&agency), &fields[..1])
        .await;
    assert_eq!(
        (answer.status, &answer.json()["message"][0]),
        (422, &"locationId should not be empty".into())
    );
}

#[tokio::test]
async fn an_agency_that_uninstalls_takes_every_sub_account_with_it() {
    let world = World::usual().await;
    let agency = world.installed(&company()).await;
    let own = world.installed(&location(0)).await;
    world.api.ghl.uninstall(&company());
    let search = "/locations/search?companyId=DevCompany0000000001";
    assert_eq!(
        world
            .get(search, &text(&agency, "access_token"))
            .await
            .status,
        403
    );
    for answer in [&agency, &own] {
        let refreshed = world.refresh(&text(answer, "refresh_token")).await;
        assert_eq!(
            (refreshed.status, &refreshed.json()["error"]),
            (400, &"invalid_grant".into())
        );
    }
    assert!(!world.api.ghl.is_installed(&location(2)));
    // And installs again.
    let again = world.installed(&company()).await;
    assert_eq!(
        world
            .get(search, &text(&again, "access_token"))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn sub_accounts_are_found_with_the_token_of_their_agency() {
    let world = World::usual().await;
    let agency = text(&world.installed(&company()).await, "access_token");
    let own = world.first().await;
    let found = world
        .get(
            "/locations/search?companyId=DevCompany0000000001&skip=1&limit=1",
            &agency,
        )
        .await
        .ok();
    assert_eq!(found["locations"].as_array().unwrap().len(), 1);
    assert_eq!(found["locations"][0]["id"], "DevLocation000000002");
    for token in [&agency, &own] {
        let location = world
            .get("/locations/DevLocation000000001", token)
            .await
            .ok();
        assert_eq!(location["location"]["companyId"], "DevCompany0000000001");
    }
    assert_eq!(
        world
            .get("/locations/DevLocation000000002", &own)
            .await
            .status,
        403
    );
    assert_eq!(world.get("/locations/nowhere", &agency).await.status, 404);
    let stranger = Account::Company("Stranger".into());
    let stranger = text(&world.installed(&stranger).await, "access_token");
    assert_eq!(
        world
            .get("/locations/DevLocation000000001", &stranger)
            .await
            .status,
        403
    );
    let answer = said(
        world
            .call("GET", "/locations/search", &own)
            .header("version", VERSION),
    )
    .await;
    assert_eq!(answer.status, 401);
}
