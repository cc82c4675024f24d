//! The rate limits, their headers, and the figures of the report.

use std::time::Duration;

use hookwell::dev::ghl::Settings;
use serde_json::json;

use super::{Said, World, company, location, text};

const PATH: &str = "/locations/DevLocation000000001";

fn rate(answer: &Said) -> [i64; 6] {
    [
        "limit-daily",
        "daily-remaining",
        "interval-milliseconds",
        "max",
        "remaining",
        "daily-reset",
    ]
    .map(|name| {
        let value = answer.header(&format!("x-ratelimit-{name}"));
        value
            .unwrap_or_else(|| panic!("no {name}: {answer:?}"))
            .parse()
            .unwrap()
    })
}

#[tokio::test]
async fn a_window_is_per_account_begins_with_a_request_and_is_told_in_headers() {
    let world = World::new(Settings {
        burst: 3,
        ..Settings::default()
    })
    .await;
    let token = world.first().await;
    let other = text(&world.installed(&location(1)).await, "access_token");
    let agency = text(&world.installed(&company()).await, "access_token");
    let day = 86_400_000;
    assert_eq!(
        rate(&world.get(PATH, &token).await),
        [200_000, 199_999, 10_000, 3, 2, day]
    );
    world.clock.advance(Duration::from_secs(9));
    assert_eq!(
        rate(&world.get(PATH, &token).await),
        [200_000, 199_998, 10_000, 3, 1, day - 9_000]
    );
    // A 403 and a 404 cost as much as a 200.
    assert_eq!(rate(&world.get("/contacts/none", &token).await)[4], 0);
    let refused = world.get(PATH, &token).await;
    assert_eq!(refused.message(), (429, "Too Many Requests".into()));
    assert_eq!(
        rate(&refused),
        [200_000, 199_997, 10_000, 3, 0, day - 9_000]
    );
    assert_eq!(refused.header("retry-after"), None);
    // The same path on other budgets, that of the agency among them.
    assert_eq!(
        world
            .get("/locations/DevLocation000000002", &other)
            .await
            .status,
        200
    );
    assert_eq!(rate(&world.get(PATH, &agency).await)[4], 2);
    // Fixed, not sliding: the window began with the first request.
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(rate(&world.get(PATH, &token).await)[4], 2);

    let report = world.api.ghl.report();
    assert_eq!(report.over_budget, 1);
    let used = &report.tenants["DevLocation000000001"];
    assert_eq!(
        (used.requests, used.over_budget, used.most_in_an_interval),
        (5, 1, 4)
    );
    assert_eq!(report.tenants["DevCompany0000000001"].over_budget, 0);
}

#[tokio::test]
async fn the_limit_of_a_day_is_another_one() {
    let world = World::new(Settings {
        burst: 2,
        daily: 3,
        ..Settings::default()
    })
    .await;
    let token = world.first().await;
    for _ in 0..3 {
        assert_eq!(world.get(PATH, &token).await.status, 200);
        world.clock.advance(Duration::from_secs(20));
    }
    let refused = world.get(PATH, &token).await;
    assert_eq!(refused.status, 429);
    assert_eq!(rate(&refused), [3, 0, 10_000, 2, 2, 86_400_000 - 60_000]);
    world.clock.advance(Duration::from_secs(86_340));
    let token = world.first().await;
    assert_eq!(rate(&world.get(PATH, &token).await)[1], 2);
}

#[tokio::test]
async fn tokens_cost_no_budget_but_location_tokens_cost_the_agencys() {
    let world = World::new(Settings {
        burst: 2,
        ..Settings::default()
    })
    .await;
    let answer = world.installed(&company()).await;
    let agency = text(&answer, "access_token");
    let mut refresh = text(&answer, "refresh_token");
    for _ in 0..5 {
        let answer = world.refresh(&refresh).await;
        assert_eq!(answer.header("x-ratelimit-max"), None);
        refresh = text(&answer.ok(), "refresh_token");
    }
    let fields = [
        ("companyId", "DevCompany0000000001"),
        ("locationId", "DevLocation000000001"),
    ];
    for status in [201, 201, 429] {
        let answer = world
            .form("/oauth/locationToken", Some(&agency), &fields)
            .await;
        assert_eq!(answer.status, status);
    }
    assert_eq!(world.api.ghl.report().minted["DevLocation000000001"], 2);
}

#[tokio::test]
async fn the_journal_has_every_request_with_its_times_and_keeps_so_many() {
    let world = World::new(Settings {
        journal: 3,
        ..Settings::default()
    })
    .await;
    let token = world.first().await;
    world.get("/contacts/a?x=1", &token).await;
    world.clock.advance(Duration::from_millis(1));
    world.get("/nowhere", "garbled").await;
    world.get(PATH, &token).await;
    let journal = world.api.ghl.journal();
    let rows: Vec<_> = journal
        .iter()
        .map(|entry| {
            (
                entry.path.as_str(),
                entry.query.as_str(),
                entry.tenant.as_deref(),
                entry.status,
            )
        })
        .collect();
    let own = Some("DevLocation000000001");
    let expected = [
        ("/contacts/a", "x=1", own, Some(404)),
        ("/nowhere", "", None, Some(404)),
        (PATH, "", own, Some(200)),
    ];
    assert_eq!(rows, expected);
    assert_eq!(journal[1].arrived_us - journal[0].arrived_us, 1000);
    assert_eq!(journal[0].answered_us, Some(journal[0].arrived_us));
    // The exchange of the code is forgotten, and counted.
    assert_eq!(world.api.ghl.report().requests, 4);
    world.api.ghl.clear_journal();
    assert!(world.api.ghl.journal().is_empty());
    world.send("GET", PATH, &token, &json!({})).await;
    assert_eq!(world.api.ghl.journal().len(), 1);
    // A token request is that of the account it is for.
    let code = world.api.ghl.issue_code(&location(2));
    world
        .token(&[("grant_type", "authorization_code"), ("code", &code)])
        .await;
    assert_eq!(
        world.api.ghl.journal()[1].tenant.as_deref(),
        Some("DevLocation000000003")
    );
}
