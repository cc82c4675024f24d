//! The browser's way to install an app, and what is refused on it (O-06).

use super::*;

on_both! {
    an_agency_installs_the_app_and_has_a_token
    an_install_may_come_before_during_and_after_the_callback
    a_burst_of_installs_ends_with_a_token_for_each
    a_callback_that_did_not_begin_here_brings_nothing
    a_flood_of_authorisations_is_told_to_come_again
    an_uninstall_erases_tokens_and_a_reinstall_begins_anew
    an_agency_with_a_white_label_is_sent_to_its_own_page
    an_install_from_the_marketplace_is_taken_only_where_that_is_allowed
}

async fn an_agency_installs_the_app_and_has_a_token(backend: Backend) {
    let world = World::new(backend, "").await;
    let daemon = world.start().await;
    let mut browser = Browser::new();
    let begin = browser
        .get(&format!("http://{}/oauth/install", daemon.address()))
        .await;
    let cookie = begin.headers["set-cookie"].to_str().unwrap();
    for attribute in ["Secure", "HttpOnly", "SameSite=Lax", "Max-Age=600"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    let page = browser.install(&daemon, "").await;
    assert_eq!(page.status, 200, "{page:?}");
    assert!(page.text.contains("The app is installed"));
    assert_eq!(page.headers["cache-control"], "no-store");
    assert_eq!(page.headers["referrer-policy"], "no-referrer");
    world.token_is(world.company.id(), "usable").await;
    let installs = world.lines(&["installs", "list"]);
    assert_eq!(installs.len(), 1);
    assert_eq!(installs[0]["account"], "company");
    let shown = world.lines(&["installs", "show", world.company.id()]);
    assert_eq!(shown[0]["refreshable"], true);
}

/// A location's token comes by itself: minted from the agency's, whenever that is there.
async fn an_install_may_come_before_during_and_after_the_callback(backend: Backend) {
    let world = World::new(backend, "").await;
    let daemon = world.start().await;
    let location = |n| Settings::location(n);
    world
        .live(&daemon, "INSTALL", Some(&location(1)), OLD)
        .await;
    eventually("the call waits for a token", WITHIN, async || {
        let calls = world.follow_ups();
        let waits = calls.iter().any(|call| call["reason"] == "no_token");
        waits.then_some(())
    })
    .await;
    let mut browser = Browser::new();
    let callback = browser.until_callback(&daemon, "").await;
    world
        .live(
            &daemon,
            "INSTALL",
            Some(&location(2)),
            "2026-08-17T09:06:59.400Z",
        )
        .await;
    assert_eq!(browser.get(&callback).await.status, 200);
    world
        .live(
            &daemon,
            "INSTALL",
            Some(&location(0)),
            "2026-08-17T09:06:59.500Z",
        )
        .await;
    for n in 0..3 {
        world.token_is(&location(n), "usable").await;
    }
    let calls = world.settled(3).await;
    assert!(
        calls.iter().all(|call| call["state"] == "done"),
        "{calls:?}"
    );
}

async fn a_burst_of_installs_ends_with_a_token_for_each(backend: Backend) {
    const LOCATIONS: usize = 77;
    let settings = Settings {
        locations: LOCATIONS,
        ..settings()
    };
    let world = World::with(backend, "", settings, "").await;
    let daemon = world.authorised().await;
    world.live(&daemon, "INSTALL", None, OLD).await;
    for n in 0..LOCATIONS {
        world
            .live(&daemon, "INSTALL", Some(&Settings::location(n)), OLD)
            .await;
    }
    let calls = world.settled(LOCATIONS + 1).await;
    assert_eq!(calls.len(), LOCATIONS + 1);
    assert!(
        calls.iter().all(|call| call["state"] == "done"),
        "{calls:?}"
    );
    let installs = world.lines(&["installs", "list", "--limit", "1000"]);
    let usable = installs
        .iter()
        .filter(|one| one["token"] == "usable")
        .count();
    assert_eq!(usable, LOCATIONS + 1);
    let report = world.api.ghl.report();
    assert_eq!(report.over_budget, 0);
    assert!(
        report.minted.values().all(|times| *times == 1),
        "{:?}",
        report.minted
    );
}

async fn a_callback_that_did_not_begin_here_brings_nothing(backend: Backend) {
    let world = World::new(backend, "").await;
    let daemon = world.start().await;
    let base = format!("http://{}{CALLBACK}", daemon.address());
    let code = || world.api.ghl.issue_code(&world.company);
    let mut stranger = Browser::new();
    let odd = "%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    let refused = [
        format!("{base}?code={}", code()),
        format!("{base}?code={}&state=made-up", code()),
        format!("{base}?code={}&state={odd}", code()),
        format!("{base}?state={odd}&error={odd}"),
        base.clone(),
    ];
    for url in refused {
        let page = stranger.get(&url).await;
        assert_eq!(page.status, 400, "{url}");
        assert!(!page.text.contains("script"), "{}", page.text);
    }
    // Somebody else's browser with a state that is good.
    let mut victim = Browser::new();
    let callback = victim.until_callback(&daemon, "").await;
    assert_eq!(stranger.get(&callback).await.status, 400);
    assert_eq!(
        victim.get(&callback).await.status,
        400,
        "the state is spent"
    );
    // A good one, once.
    let mut good = Browser::new();
    let callback = good.until_callback(&daemon, "").await;
    let cookie = good.cookie.clone();
    assert_eq!(good.get(&callback).await.status, 200);
    good.cookie = cookie;
    assert_eq!(good.get(&callback).await.status, 400, "once");
    // GHL says no.
    let mut declined = Browser::new();
    let callback = declined.until_callback(&daemon, "").await;
    let (path, query) = callback.split_once('?').unwrap();
    let state = query
        .split('&')
        .find(|pair| pair.starts_with("state="))
        .unwrap();
    let page = declined
        .get(&format!("{path}?{state}&error=access_denied"))
        .await;
    assert_eq!(page.status, 400);
    // A code that GHL does not know.
    let mut forger = Browser::new();
    let callback = forger.until_callback(&daemon, "").await;
    let (path, query) = callback.split_once('?').unwrap();
    let state = query
        .split('&')
        .find(|pair| pair.starts_with("state="))
        .unwrap();
    let page = forger.get(&format!("{path}?{state}&code=bogus")).await;
    assert_eq!(page.status, 502);
    let installs = world.lines(&["installs", "list", "--all"]);
    assert_eq!(installs.len(), 1, "of the good one alone");
    for path in ["/oauth/install?app=other", "/oauth/install?app="] {
        let page = stranger
            .get(&format!("http://{}{path}", daemon.address()))
            .await;
        assert_eq!(page.status, 404, "{path}");
        // A browser takes `<app id>` for a tag and shows nothing of it.
        let shown = "/oauth/install?app=&lt;app id&gt;.";
        assert!(page.text.contains(shown), "{}", page.text);
    }
}

/// Neither the store nor GHL is asked for anything then, and webhooks go on.
async fn a_flood_of_authorisations_is_told_to_come_again(backend: Backend) {
    let world = World::new(backend, SNAPSHOT).await;
    let daemon = world.start().await;
    let mut person = Browser::new();
    let callback = person.until_callback(&daemon, "").await;
    let (path, _) = callback.split_once('?').unwrap();
    let mut flood = Browser::new();
    let install = format!("http://{}/oauth/install", daemon.address());
    for (address, otherwise) in [
        (install, 302),
        (format!("{path}?state=forged&code=bogus"), 400),
    ] {
        let mut let_in = 0;
        let refused = loop {
            let page = flood.get(&address).await;
            if page.status == 429 {
                break page;
            }
            assert_eq!(page.status, otherwise, "{page:?}");
            let_in += 1;
            assert!(let_in < 3_000, "nobody was told to come again");
        };
        assert!(let_in >= 90, "{let_in}: people come together, too");
        assert!(refused.headers.contains_key("retry-after"));
        assert!(
            refused.text.contains("Too many at once"),
            "{}",
            refused.text
        );
    }
    world.contact(&daemon, "ContactCreate", "c1").await;
    let told = || daemon.log().matches("more authorisations begin").count();
    eventually("the log says so", WITHIN, async || {
        (0 < told()).then_some(())
    })
    .await;
    // The state that was begun before is not spent, and the door opens again.
    eventually("the person is let in", WITHIN, async || {
        let page = person.get(&callback).await;
        (page.status == 200).then_some(())
    })
    .await;
    world.token_is(world.company.id(), "usable").await;
    assert_eq!(told(), 1, "once a minute");
}

async fn an_uninstall_erases_tokens_and_a_reinstall_begins_anew(backend: Backend) {
    let world = World::new(backend, SNAPSHOT).await;
    let daemon = world.authorised().await;
    world.install(&daemon).await;
    // Calls that wait are not made for a tenant that has gone.
    world.api.ghl.fault(
        hookwell::dev::ghl::Fault::new(hookwell::dev::ghl::Deed::Status(503)).path("/contacts/"),
    );
    world.contact(&daemon, "ContactCreate", "c1").await;
    eventually("the call is tried", WITHIN, async || {
        let tried = world
            .follow_ups()
            .into_iter()
            .any(|call| call["status"] == 503);
        tried.then_some(())
    })
    .await;
    let soon = hookwell::clock::rfc3339(hookwell::event::Micros(
        hookwell::clock::system()().0 + 1_000_000,
    ));
    let body = json!({"type": "UNINSTALL", "appId": APP_ID, "locationId": world.location, "timestamp": soon,
        "webhookId": uuid::Uuid::new_v4().to_string()});
    world.send(&daemon, &body).await;
    world.token_is(&world.location, "none").await;
    let calls = world.settled(2).await;
    let of_rule: Vec<_> = calls
        .iter()
        .filter(|call| call["rule"] == "contact-snapshot")
        .collect();
    assert!(
        of_rule
            .iter()
            .all(|call| call["state"] == "cancelled" || call["state"] == "dead"),
        "{of_rule:?}"
    );
    world.api.ghl.clear_faults();
    let later = hookwell::clock::rfc3339(hookwell::event::Micros(
        hookwell::clock::system()().0 + 2_000_000,
    ));
    world
        .live(&daemon, "INSTALL", Some(&world.location), &later)
        .await;
    world.token_is(&world.location, "usable").await;
    let shown = world.lines(&["installs", "show", &world.location]);
    assert_eq!(
        (&shown[0]["state"], &shown[0]["generation"]),
        (&json!("installed"), &json!(2))
    );
}

async fn an_agency_with_a_white_label_is_sent_to_its_own_page(backend: Backend) {
    const WHITE: &str = "https://marketplace.example/v2/oauth/chooselocation";
    let lines = format!("white_label_authorize_url = {WHITE:?}\n");
    let world = World::with(backend, "", settings(), &lines).await;
    let daemon = world.start().await;
    let usual = Settings::authorize_url(&world.api.url);
    let ways = [
        ("", usual.as_str()),
        ("?white_label=0", usual.as_str()),
        ("?white_label=1", WHITE),
        ("?white_label", WHITE),
    ];
    let mut browser = Browser::new();
    for (way, page) in ways {
        let install = format!("http://{}/oauth/install{way}", daemon.address());
        let begin = browser.get(&install).await;
        assert_eq!(begin.status, 302, "{way}: {begin:?}");
        let at = begin.location.unwrap();
        let (found, query) = at.split_once('?').unwrap();
        assert_eq!(found, page, "{way}");
        assert!(query.contains("&state="), "{query}");
    }
}

/// The marketplace brings a code and no state.
async fn an_install_from_the_marketplace_is_taken_only_where_that_is_allowed(backend: Backend) {
    let mut world = World::new(backend, "").await;
    let mut daemon = world.start().await;
    let callback =
        |daemon: &Daemon, query: &str| format!("http://{}{CALLBACK}?{query}", daemon.address());
    let code = world.api.ghl.issue_code(&world.company);
    let with_code = format!("code={code}");
    let mut browser = Browser::new();
    let refused = browser.get(&callback(&daemon, &with_code)).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    assert!(world.lines(&["installs", "list", "--all"]).is_empty());
    daemon.terminate().await;
    world.config.of_app += "\ninstall_without_state = true";
    let daemon = world.start().await;
    // One with a state is bound to it as ever.
    let forged = callback(&daemon, &format!("{with_code}&state=made-up"));
    assert_eq!(browser.get(&forged).await.status, 400);
    let page = browser.get(&callback(&daemon, &with_code)).await;
    assert_eq!(page.status, 200, "{page:?}");
    world.token_is(world.company.id(), "usable").await;
    let again = browser.get(&callback(&daemon, &with_code)).await;
    assert_eq!(again.status, 502, "a code is good once");
    let none = browser.get(&callback(&daemon, "")).await;
    assert_eq!(none.status, 400, "there is no code");
}
