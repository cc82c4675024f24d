//! The console in a real browser: the way of a person, with scripts and without, on a phone, light and dark; and what
//! axe-core finds (tests/data/axe.min.js, MPL-2.0).

use super::*;
use crate::harness::browser::Browser;
use crate::harness::daemon::ALL;
use crate::harness::operator::Operator;
use crate::harness::store::execute_on;

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
    // More between two looks than a look brings: it says so, and leads there. At once, for a machine may be slow.
    let posts = (0..16).map(async |part| {
        let mut client = world.ghl.client(&daemon).await;
        for n in 0..20 {
            let body = contact(100 + 20 * part + n).to_string();
            let answer = client.post(&world.ghl, body.as_bytes()).await.unwrap();
            assert_eq!(answer.status, 200);
        }
    });
    futures_util::future::join_all(posts).await;
    browser.click("#rows tr.skipped a").await;
    browser.reads("h1", "Events").await;
    let url = browser.url().await;
    assert!(
        url.contains("/events?") && url.contains("&before="),
        "{url}"
    );
    let listed = browser.text("#rows").await;
    assert!(listed.contains("contact1"), "{listed}");
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

/// A row of everything that goes wrong, of the events 1 to 4.
pub(super) async fn trouble(world: &World) {
    let longest = 10 * 24 * 3_600_000_000_i64;
    let now = hookwell::clock::system()().0;
    let mut sql = vec![
        "update cursors set position = 4, published = 1 where reader = 'relay'".to_owned(),
        "insert into dead_letters values (2, 'unroutable', 'no queue is bound for contact.create', 1, 2, 'parked'), \
         (3, 'refused', 'PRECONDITION_FAILED', 2, 0, 'retry')"
            .to_owned(),
        "insert into held_events values (4, 'l4')".to_owned(),
        format!("insert into held_tenants values ('l4', 'rejected', 'RabbitMQ did not take it', {now}, 1)"),
        format!("insert into tenants values ('silent', {}, {}, 60000000)", now - 2 * longest, now - longest),
        format!("insert into gaps (since_at, until_at, repaired_at) values ({}, {}, null), (1, 2, 3)", now - 7_200_000_000, now - 3_600_000_000),
        "insert into audit (at, who, action, subject, affected) values (1, 'ada', 'replay', 'replay 1', 3)".to_owned(),
        "insert into installations (app_id, tenant, account, state, generation, changed_at) \
         values ('app', 'l4', 'location', 'installed', 1, 1)"
            .to_owned(),
        "insert into tokens (app_id, tenant, account, access_token, scope, obtained_at, expires_at, state, version) \
         values ('app', 'l4', 'location', x'00', '', 1, 2, 'reauthorise', 1)"
            .to_owned(),
    ];
    let calls = [
        ("rule", "pending"),
        ("rule-1", "done"),
        ("rule-2", "dead"),
        ("rule-3", "cancelled"),
        ("rule-4", "merged"),
        ("hookwell.backfill/contacts", "done"),
        ("hookwell.reconcile", "dead"),
    ];
    for (rule, state) in calls {
        sql.push(format!(
            "insert into follow_ups (position, rule, app_id, tenant, entity_id, state, due_at, attempt, planned_at, ended_at, status, \
             reason, detail, progress) values (1, '{rule}', 'app', 'l4', 'k1', '{state}', {}, 2, {now}, {now}, 422, 'refused', \
             'GHL answered 422', '{{\"page\": 3, \"all\": 240, \"found\": 240, \"lacking\": 2}}')",
            now + longest,
        ));
    }
    sql.push(format!(
        "insert into follow_up_attempts (follow_up_id, at, status, reason, detail) select id, {now}, 503, 'unavailable', 'away' from follow_ups"
    ));
    for state in ["running", "done", "cancelled"] {
        sql.push(format!(
            "insert into replays (asked_at, who, event_type, after, upto, rate, matched, state, position, failed, detail) \
             values (1, 'ada', 'ContactCreate', 0, 4, 1, 3, '{state}', 0, 1, 'one was refused')"
        ));
    }
    for statement in sql {
        execute_on(&world.store, &statement).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_shuts_anybody_out_or_is_wider_than_a_phone() {
    let world = World::new(Backend::Sqlite).await;
    let mut daemon = world.start().await;
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
    assert!(daemon.terminate().await.success());
    trouble(&world).await;
    let daemon = world.start().await;
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
            "/events/2",
            "/events/4",
            "/events/99",
            "/follow-ups?state=dead",
            "/follow-ups/retry",
            "/dead-letters/retry",
            "/dead-letters/retry?position=2",
            "/replays/ask?position=1",
            "/replays/cancel?id=1",
            &entry,
            "/quarantine/admit",
        ]);
        for path in pages {
            browser.go(&format!("{}{path}", daemon.admin())).await;
            // Nothing is scanned that is empty.
            let text = browser.text("main").await;
            let filled = match path {
                "/" => ["Held tenants", "Silent tenants", "published"]
                    .iter()
                    .all(|word| text.contains(word)),
                "/follow-ups" => text.contains("rule-4") && text.contains("merged"),
                "/dead-letters" => text.contains("unroutable"),
                "/installations" => text.contains("reauthorise"),
                "/replays" => text.contains("cancelled"),
                "/gaps" => text.contains("to read what changed") && !text.contains("None yet"),
                "/events/99" => true,
                _ => !text.contains("There is no"),
            };
            assert!(filled, "{path}: {text}");
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
