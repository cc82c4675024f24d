//! Trouble on demand: what the client sees, and whether the deed was done.

use std::time::{Duration, Instant};

use hookwell::dev::ghl::{Deed, Fault, METADATA, Moment};
use serde_json::{Value, json};

use super::{World, claims, company, location, said, text};
use crate::harness::eventually;

const PATIENCE: Duration = Duration::from_secs(20);

/// A world with a contact, and a token for it.
async fn world() -> (World, String) {
    let world = World::usual().await;
    world.api.ghl.put_contact("c", json!({"firstName": "Ada"}));
    let token = world.first().await;
    (world, token)
}

/// Tries to change the contact's name; whether there was an answer.
async fn rename(world: &World, token: &str) -> bool {
    let request = world.call("PUT", "/contacts/c", token);
    let answer = request.body(r#"{"firstName":"Bob"}"#).send().await;
    match answer {
        Ok(answer) => answer.bytes().await.is_ok(),
        Err(_) => false,
    }
}

fn name(world: &World) -> String {
    text(&world.api.ghl.contact("c").unwrap(), "firstName")
}

#[tokio::test]
async fn a_status_comes_instead_of_the_deed_and_without_the_headers_of_the_limit() {
    let (world, token) = world().await;
    for status in [500, 503, 429, 403, 404] {
        world
            .api
            .ghl
            .fault(Fault::new(Deed::Status(status)).times(1));
        let body = json!({"firstName": "Bob"});
        let answer = world.send("PUT", "/contacts/c", &token, &body).await;
        assert_eq!(
            (answer.status, &answer.json()["statusCode"]),
            (status, &status.into())
        );
        assert_eq!(answer.header("x-ratelimit-remaining"), None);
        assert_eq!(name(&world), "Ada");
    }
    assert_eq!(world.api.ghl.report().over_budget, 0);
    assert_eq!(world.get("/contacts/c", &token).await.status, 200);
}

#[tokio::test]
async fn a_fault_is_for_a_path_a_tenant_and_a_count_and_is_in_the_journal() {
    let (world, token) = world().await;
    let other = text(&world.installed(&location(1)).await, "access_token");
    let (own, others) = (
        "/locations/DevLocation000000001",
        "/locations/DevLocation000000002",
    );
    let fault = Fault::new(Deed::Status(503))
        .path("/locations/")
        .tenant(&location(1))
        .times(2);
    world.api.ghl.fault(fault);
    assert_eq!(world.get(own, &token).await.status, 200);
    assert_eq!(world.get("/contacts/c", &other).await.status, 403);
    for status in [503, 503, 200] {
        assert_eq!(world.get(others, &other).await.status, status);
    }
    let journal = world.api.ghl.journal();
    let met: Vec<_> = journal
        .iter()
        .rev()
        .take(3)
        .map(|entry| entry.fault.as_deref())
        .collect();
    assert_eq!(met, [None, Some("status"), Some("status")]);
    // One without a count stays until it is cleared.
    world.api.ghl.fault(Fault::new(Deed::Status(500)));
    for _ in 0..3 {
        assert_eq!(world.get(own, &token).await.status, 500);
    }
    world.api.ghl.clear_faults();
    assert_eq!(world.get(own, &token).await.status, 200);
}

#[tokio::test]
async fn a_delay_holds_back_the_deed_and_a_late_answer_only_the_answer() {
    let (world, token) = world().await;
    world.api.ghl.fault(Fault::new(Deed::Delay(60)).times(1));
    let began = Instant::now();
    assert!(rename(&world, &token).await);
    assert!(began.elapsed() >= Duration::from_millis(60));
    assert_eq!(name(&world), "Bob");

    let hour = 3_600_000;
    for (deed, kind, named) in [
        (Deed::Delay(hour), "delay", "Ada"),
        (Deed::LateAnswer(hour), "late_answer", "Bob"),
    ] {
        world.api.ghl.put_contact("c", json!({"firstName": "Ada"}));
        world.api.ghl.fault(Fault::new(deed).times(1));
        world.api.ghl.clear_journal();
        let request = world.call("PUT", "/contacts/c", &token);
        let asking = tokio::spawn(request.body(r#"{"firstName":"Bob"}"#).send());
        eventually("it met its fault", PATIENCE, async || {
            let last = world.api.ghl.journal().pop()?;
            let is_it = last.fault.as_deref() == Some(kind) && name(&world) == named;
            is_it.then_some(())
        })
        .await;
        // Whoever hangs up now is in the journal without an answer.
        asking.abort();
        assert!(asking.await.unwrap_err().is_cancelled());
        let last = world.api.ghl.journal().pop().unwrap();
        assert_eq!((last.answered_us, last.status), (None, None));
    }
}

#[tokio::test]
async fn a_connection_ends_before_the_deed_after_it_or_in_the_middle_of_the_answer() {
    let (world, token) = world().await;
    for (moment, named, has_head) in [
        (Moment::Before, "Ada", false),
        (Moment::After, "Bob", false),
        (Moment::Midway, "Bob", true),
    ] {
        world.api.ghl.put_contact("c", json!({"firstName": "Ada"}));
        world
            .api
            .ghl
            .fault(Fault::new(Deed::HangUp(moment)).times(1));
        let request = world
            .call("PUT", "/contacts/c", &token)
            .body(r#"{"firstName":"Bob"}"#);
        let answer = request.send().await;
        assert_eq!(answer.is_ok(), has_head, "{moment:?}");
        if let Ok(answer) = answer {
            assert!(answer.bytes().await.is_err(), "{moment:?}");
        }
        assert_eq!(name(&world), named, "{moment:?}");
        let journal = world.api.ghl.journal();
        let last = journal.last().unwrap();
        assert_eq!(
            (last.status, last.fault.as_deref()),
            (None, Some("hang_up"))
        );
    }
}

#[tokio::test]
async fn an_answer_is_cut_json_a_page_or_a_redirect_to_where_secrets_are() {
    let (world, token) = world().await;
    let meets = async |deed: Deed| {
        world.api.ghl.fault(Fault::new(deed).times(1));
        world.get("/contacts/c", &token).await
    };
    let cut = meets(Deed::Malformed).await;
    assert_eq!(
        cut.header("content-type"),
        Some("application/json; charset=utf-8")
    );
    assert!(cut.status == 200 && serde_json::from_str::<Value>(&cut.text).is_err());
    assert!(cut.text.starts_with('{'), "{}", cut.text);

    let page = meets(Deed::WrongType).await;
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(page.ok()["contact"]["id"], "c");

    let redirect = meets(Deed::Redirect(METADATA.to_owned())).await;
    assert_eq!(
        (redirect.status, redirect.header("location")),
        (307, Some("http://169.254.169.254/latest/meta-data/"))
    );
}

#[tokio::test]
async fn a_flood_is_as_long_as_asked_and_is_made_as_it_is_read() {
    let (world, token) = world().await;
    world
        .api
        .ghl
        .fault(Fault::new(Deed::Flood(1_000_000)).times(1));
    let answer = said(world.call("GET", "/contacts/c", &token)).await;
    assert_eq!((answer.status, answer.text.len()), (200, 1_000_000));
    assert_eq!(answer.header("content-length"), None);
    assert!(answer.text.starts_with(r#"{"contact":{"id":"aaa"#));
    // Of a gigabyte a client reads what it likes, and the server is none the worse for it.
    world
        .api
        .ghl
        .fault(Fault::new(Deed::Flood(1 << 30)).times(1));
    let mut answer = world
        .call("GET", "/contacts/c", &token)
        .send()
        .await
        .unwrap();
    let mut read = 0;
    while read < 1_000_000 {
        read += answer.chunk().await.unwrap().unwrap().len();
    }
    drop(answer);
    assert_eq!(world.get("/contacts/c", &token).await.status, 200);
}

#[tokio::test]
async fn a_token_answer_lacks_its_refresh_token_or_has_a_strange_lifetime_or_spelling() {
    let (world, token) = world().await;
    let mut refresh = text(&world.installed(&company()).await, "refresh_token");
    for value in [json!(0), json!(-1), json!(1e300), json!("soon")] {
        world
            .api
            .ghl
            .fault(Fault::new(Deed::ExpiresIn(value.clone())).times(1));
        // It waits for a token answer.
        assert_eq!(world.get("/contacts/c", &token).await.status, 200);
        let answer = world.refresh(&refresh).await.ok();
        assert_eq!(answer["expires_in"], value);
        refresh = text(&answer, "refresh_token");
    }
    world.api.ghl.fault(Fault::new(Deed::CamelCase).times(1));
    let answer = world.refresh(&refresh).await.ok();
    assert_eq!(answer.get("refresh_token"), None);
    assert_eq!(
        claims(&text(&answer, "accessToken"))["authClass"],
        "Company"
    );
    let agency = text(&answer, "accessToken");
    world
        .api
        .ghl
        .fault(Fault::new(Deed::NoRefreshToken).times(2));
    let answer = world.refresh(&text(&answer, "refreshToken")).await.ok();
    assert!(
        answer["access_token"].is_string() && answer.get("refresh_token").is_none(),
        "{answer}"
    );
    let fields = [
        ("companyId", "DevCompany0000000001"),
        ("locationId", "DevLocation000000001"),
    ];
    let answer = world
        .form("/oauth/locationToken", Some(&agency), &fields)
        .await
        .ok();
    assert_eq!(answer.get("refresh_token"), None);
}

#[tokio::test]
async fn a_refresh_whose_answer_is_lost_has_spent_its_token() {
    let (world, _) = world().await;
    let answer = world.installed(&company()).await;
    let refresh = text(&answer, "refresh_token");
    for (moment, status) in [(Moment::Before, None), (Moment::After, Some(400))] {
        world.api.ghl.fault(
            Fault::new(Deed::HangUp(moment))
                .path("/oauth/token")
                .times(1),
        );
        let settings = world.api.ghl.settings();
        let body = format!(
            "grant_type=refresh_token&refresh_token={refresh}&client_id={}&client_secret={}",
            settings.client_id, settings.client_secret
        );
        let request = world.request("POST", "/oauth/token").body(body);
        assert!(
            request
                .header("content-type", super::FORM)
                .send()
                .await
                .is_err()
        );
        if let Some(status) = status {
            assert_eq!(world.refresh(&refresh).await.status, status);
        }
    }
    let presented = &world.api.ghl.report().refresh_tokens[&text(&answer, "refreshTokenId")];
    assert_eq!((presented.successful, presented.spent), (1, 1));
}
