//! Who gets in.

use super::*;

#[tokio::test]
async fn strangers_get_nothing_and_are_told_where_to_log_in() {
    let world = World::new(Backend::Sqlite).await;
    let daemon = world.start().await;
    world.post(&daemon, &contact(1)).await;
    let paths = PAGES.map(|(path, _)| path).into_iter().chain([
        "/events/1",
        "/events/1/body",
        "/events/rows",
        "/quarantine/1",
    ]);
    for path in paths {
        let page = Visitor::browser(&daemon).get(path).await;
        assert_eq!((page.status, page.bytes.len()), (303, 0), "{path}");
        assert_eq!(page.header("location"), format!("/login?next={path}"));
        for program in [
            Visitor::nobody(&daemon),
            Visitor::nobody(&daemon).with("authorization", "Bearer wrong"),
            Visitor::nobody(&daemon).with("authorization", TOKEN),
            Visitor::browser(&daemon).with("authorization", &format!("Bearer {TOKEN}x")),
            Visitor::nobody(&daemon).with("cookie", "hookwell_session=00"),
        ] {
            let page = program.get(path).await;
            assert_eq!(
                (page.status, page.header("www-authenticate")),
                (401, "Bearer"),
                "{path}"
            );
            assert!(!page.text().contains("contact1"), "{path}");
        }
    }
    for path in [
        "/dead-letters/retry",
        "/follow-ups/retry",
        "/quarantine/admit",
        "/logout",
    ] {
        let page = Visitor::browser(&daemon).send(path, &[]).await;
        assert_eq!(page.status, 303, "{path}");
        assert!(page.header("location").starts_with("/login"), "{path}");
        assert_eq!(
            Visitor::nobody(&daemon).send(path, &[]).await.status,
            401,
            "{path}"
        );
    }
    // Probes and metrics stay everybody's on this listener.
    for path in ["/metrics", "/livez", "/readyz"] {
        assert_eq!(
            Visitor::nobody(&daemon).get(path).await.status,
            200,
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_browser_logs_in_with_its_token_and_out_again() {
    let world = World::new(Backend::Sqlite).await;
    let daemon = world.start().await;
    let browser = Visitor::browser(&daemon);
    let page = browser.get("/login?next=/audit").await;
    assert_eq!(page.status, 200);
    assert!(
        page.text().contains("value=\"&#x2f;audit\""),
        "{}",
        page.text()
    );
    for elsewhere in ["https://evil.example/", "//evil.example/"] {
        let page = browser
            .send("/login", &[("token", TOKEN), ("next", elsewhere)])
            .await;
        assert_eq!(page.header("location"), "/", "{elsewhere}");
    }
    let page = browser
        .send("/login", &[("token", "wrong"), ("next", "/audit")])
        .await;
    assert_eq!((page.status, page.header("set-cookie")), (401, ""));
    assert!(page.text().contains("Nobody has this token"));

    let page = browser
        .send("/login", &[("token", TOKEN), ("next", "/audit")])
        .await;
    assert_eq!((page.status, page.header("location")), (303, "/audit"));
    let cookie = page.header("set-cookie").to_owned();
    for wanted in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(wanted), "{cookie}");
    }
    assert!(!cookie.contains(TOKEN), "{cookie}");
    let over_tls = Visitor::browser(&daemon)
        .with("x-forwarded-proto", "https")
        .send("/login", &[("token", TOKEN)])
        .await;
    assert!(over_tls.header("set-cookie").ends_with("; Secure"));

    assert!(!cookie.contains("Secure"), "{cookie}");
    // A proxy that does not say how it was asked: the browser does.
    let origin = daemon.admin().replace("http://", "https://");
    let over_tls = Visitor::nobody(&daemon)
        .with("origin", &origin)
        .send("/login", &[("token", TOKEN)])
        .await;
    assert!(over_tls.header("set-cookie").ends_with("; Secure"));

    let ada = browser.with("cookie", cookie.split(';').next().unwrap());
    let page = ada.get("/audit").await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains(">ada<"), "{}", page.text());
    let bob = Visitor::nobody(&daemon).with("authorization", &format!("Bearer {TOKEN}-of-bob"));
    assert_eq!(bob.get("/audit").await.status, 200);

    let page = ada.send("/logout", &[]).await;
    assert_eq!((page.status, page.header("location")), (303, "/login"));
    assert_eq!(ada.get("/audit").await.status, 303);
    assert!(!daemon.log().contains(TOKEN), "the log has a token");
}

#[tokio::test]
async fn two_consoles_of_one_host_do_not_log_each_other_out() {
    let (here, there) = (
        World::new(Backend::Sqlite).await,
        World::new(Backend::Sqlite).await,
    );
    let (here, there) = (here.start().await, there.start().await);
    let cookie_of = |ada: &Visitor| {
        let cookie = ada.headers.iter().find(|(name, _)| *name == "cookie");
        cookie.unwrap().1.clone()
    };
    let cookies = [
        cookie_of(&Visitor::ada(&here).await),
        cookie_of(&Visitor::ada(&there).await),
    ];
    let name = |cookie: &str| cookie.split('=').next().unwrap().to_owned();
    assert_ne!(name(&cookies[0]), name(&cookies[1]));
    // A browser sends both to each of them.
    let both = cookies.join("; ");
    let browser = |daemon| Visitor::browser(daemon).with("cookie", &both);
    for daemon in [&here, &there] {
        assert_eq!(browser(daemon).get("/audit").await.status, 200);
    }
    let page = browser(&here).send("/logout", &[]).await;
    assert_eq!(name(page.header("set-cookie")), name(&cookies[0]));
    assert_eq!(browser(&here).get("/audit").await.status, 303);
    assert_eq!(browser(&there).get("/audit").await.status, 200);
}

#[tokio::test]
async fn a_page_of_another_origin_can_change_nothing() {
    let world = World::new(Backend::Sqlite).await;
    let daemon = world.start().await;
    let ada = Visitor::ada(&daemon).await;
    let cookie = ada
        .headers
        .iter()
        .find(|(name, _)| *name == "cookie")
        .unwrap()
        .1
        .clone();
    let other_port = "http://127.0.0.1:1".to_owned();
    for origin in [
        Some(other_port.as_str()),
        Some("https://evil.example"),
        Some("null"),
        None,
    ] {
        for path in [
            "/dead-letters/retry",
            "/follow-ups/retry",
            "/quarantine/admit",
            "/logout",
            "/login",
        ] {
            let mut page = Visitor::nobody(&daemon)
                .with("accept", "text/html")
                .with("cookie", &cookie);
            if let Some(origin) = origin {
                page = page.with("origin", origin);
            }
            let answer = page.send(path, &[("token", TOKEN)]).await;
            assert_eq!(answer.status, 403, "{origin:?} {path}");
        }
    }
    assert_eq!(ada.get("/").await.status, 200, "the session stands");
    // A big form is refused.
    let page = ada
        .send(
            "/dead-letters/retry",
            &[("position", &"1".repeat(64 * 1024))],
        )
        .await;
    assert_eq!(page.status, 400);
}

#[tokio::test]
async fn a_token_file_that_everybody_can_read_is_warned_of_wherever_the_configuration_is_read() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new(Backend::Sqlite).await;
    let file = world.config.dir().join("tokens");
    let advice = format!("chmod 640 {}", file.display());
    for (mode, is_open) in [(0o644, true), (0o660, true), (0o640, false), (0o600, false)] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let checked = run_cli(&["check-config"], &world.config);
        let said = String::from_utf8(checked.stdout).unwrap();
        assert_eq!(said.contains(&advice), is_open, "{mode:o}: {said}");
    }
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let daemon = world.start().await;
    assert!(daemon.log().contains(&advice), "{}", daemon.log());
    let looked = run_cli(&["doctor"], &world.config);
    let said = String::from_utf8(looked.stdout).unwrap();
    assert!(
        said.contains("warning  configuration  admin.token_file") && said.contains(&advice),
        "{said}"
    );
}

#[tokio::test]
async fn weak_tokens_are_refused_at_start_and_never_shown() {
    let store = store_url(Backend::Sqlite).await;
    let rows = [
        ("ada:short-canary", "at least 32"),
        (&format!("a b:{TOKEN}"), "a name before the colon"),
        (&format!("ada:{TOKEN}\nada:{TOKEN}"), "ada is there twice"),
    ];
    for (text, expected) in rows {
        let config = DaemonConfig::new(store.url());
        let file = config.dir().join("tokens");
        std::fs::write(&file, text).unwrap();
        let output = run_cli(
            &["check-config"],
            &config.set("admin", &format!("token_file = {file:?}")),
        );
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(
            said.contains("admin.token_file") && said.contains(expected),
            "{said}"
        );
        assert!(!said.contains("canary"), "{said}");
    }
}
