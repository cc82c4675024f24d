//! The console in a real browser: the way of a person, with scripts and without, on a phone, light and dark; and what
//! axe-core finds (tests/data/axe.min.js, MPL-2.0).

use super::*;
use crate::harness::browser::Browser;
use crate::harness::daemon::ALL;
use crate::harness::operator::Operator;

const AXE: &str = include_str!("../../data/axe.min.js");

async fn log_in(browser: &Browser, daemon: &Daemon) {
    browser.go(&daemon.admin()).await;
    browser.write("#token", TOKEN).await;
    browser.click("main button").await;
    browser.text("#overview").await;
}

/// What is wrong with the page for people who cannot see it, or see it badly.
async fn barriers(browser: &Browser) -> Vec<String> {
    browser.run(AXE).await;
    let found = browser.run("return axe.run().then(found => found.violations.map(one => one.id + ': ' + one.help + ' ' + one.nodes.map(node => node.target).join(' ')))").await;
    found
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one.as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_publishes_a_parked_event_again_and_follows_the_log() {
    let broker = fresh_vhost().await;
    let operator = Operator::at(&broker.url).await;
    operator.declare_without_alternate(&[ALL]).await;
    let mut world = World::new(Backend::Sqlite).await;
    let checked = "topology = \"check\"\nunroutable_attempts = 2\nretry_max = \"300ms\"";
    world.config = world.config.broker(&broker.url).set("broker", checked);
    let daemon = world.start().await;
    world.post(&daemon, &contact(1)).await;
    eventually("it is parked", WITHIN, async || {
        (daemon
            .metric("hookwell_ledger_events{state=\"parked\"}")
            .await
            == Some(1.0))
        .then_some(())
    })
    .await;
    operator.bind(ALL, "#").await;

    let browser = Browser::start(1280, 900).await;
    // Without scripts everything works.
    browser.scripts(false).await;
    log_in(&browser, &daemon).await;
    assert!(
        browser
            .text(".problems")
            .await
            .contains("1 event could not be published.")
    );
    browser.click(".problems a").await;
    browser.click("tbody td a").await;
    assert!(browser.text(".way").await.contains("parked"));
    browser.click(".way a.button").await;
    browser.reads("h1", "Publish 1 event again?").await;
    browser.click("button.danger").await;
    browser
        .reads(".said", "1 event is being published again.")
        .await;
    browser.scripts(true).await;

    // Its page shows by itself when it is out.
    let page = browser.url().await;
    browser.go(&page).await;
    eventually("its page says so", WITHIN, async || {
        let way = browser.text(".way").await;
        way.contains("published and confirmed").then_some(())
    })
    .await;
    // The overview shows by itself that all is well.
    browser.go(&daemon.admin()).await;
    eventually("all is well", WITHIN, async || {
        let text = browser.text("#overview").await;
        text.contains("everything is out").then_some(())
    })
    .await;
    browser.go(&format!("{}/events", daemon.admin())).await;
    browser.click("#live").await;
    world.post(&daemon, &contact(2)).await;
    eventually("the event is in the tail", WITHIN, async || {
        let first = browser.text("#rows tr:first-child").await;
        (first.contains("contact2") && first.starts_with('2')).then_some(())
    })
    .await;
    browser.go(&format!("{}/audit", daemon.admin())).await;
    let trail = browser.text("tbody").await;
    assert!(
        trail.contains("ada") && trail.contains("retry_dead_letters"),
        "{trail}"
    );
    browser.click("header form button").await;
    browser.reads("h1", "Log in").await;
    assert!(browser.url().await.ends_with("/login"));
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_shuts_anybody_out_or_is_wider_than_a_phone() {
    let world = World::new(Backend::Sqlite).await;
    let daemon = world.start().await;
    for n in 1..=3 {
        world.post(&daemon, &contact(n)).await;
    }
    let install = json!({"type": "INSTALL", "appId": world.ghl.app_id, "companyId": "company0000000000001", "locationId": TENANT,
        "installType": "Location", "webhookId": "i1", "timestamp": "2026-01-31T12:00:00.000Z"});
    world.post(&daemon, &install).await;
    let wrong = Ghl::with_seed([8; 32]).post(&daemon, b"{}").await;
    assert_eq!(wrong.status, 401);
    let entry = eventually("it is kept", WITHIN, async || {
        let view = Visitor::program(&daemon).get("/quarantine").await.json();
        Some(view["entries"][0]["id"].as_i64()?.to_string())
    })
    .await;
    for (width, height, dark) in [(1280, 900, false), (390, 800, true)] {
        let browser = Browser::start(width, height).await;
        browser.dark(dark).await;
        browser.go(&format!("{}/login", daemon.admin())).await;
        assert_eq!(
            barriers(&browser).await,
            Vec::<String>::new(),
            "/login, dark: {dark}"
        );
        log_in(&browser, &daemon).await;
        let entry = format!("/quarantine/{entry}");
        let pages = PAGES.map(|(path, _)| path).into_iter().chain([
            "/events/1",
            "/events/99",
            &entry,
            "/quarantine/admit",
        ]);
        for path in pages {
            browser.go(&format!("{}{path}", daemon.admin())).await;
            assert_eq!(
                barriers(&browser).await,
                Vec::<String>::new(),
                "{path}, dark: {dark}"
            );
            let wide = browser
                .run("return document.documentElement.scrollWidth")
                .await;
            assert!(
                wide.as_u64().unwrap() <= u64::from(width),
                "{path} is {wide} wide"
            );
        }
    }
}
