//! Tokens: refreshed once, whoever asks; lost with nobody; sealed (O-01 to O-05).

use std::os::unix::fs::PermissionsExt;

use hookwell::dev::ghl::{Deed, Fault, Moment};
use hookwell::follow_up::Tokens;
use hookwell::follow_up::tokens::{Apps, NoToken};
use hookwell::ghl::oauth::Credentials;
use hookwell::key_file::KeyFile;

use sqlx::Connection as _;

use crate::harness::daemon::{cli, run_plain};
use crate::harness::store::execute_on;

use super::*;

on_both! {
    a_token_that_has_ended_is_refreshed_once_for_all_who_wait
    a_refresh_that_ghl_cannot_answer_now_is_tried_again
    a_refresh_whose_answer_is_lost_is_tried_once_more_and_then_left_to_a_person
    an_answer_to_a_refresh_is_read_in_whatever_form_it_comes
    a_slow_answer_to_a_refresh_is_waited_for
    whoever_asks_for_a_token_waits_no_longer_than_there_is_time
    keys_are_rotated_while_the_daemon_runs
    the_doctor_says_how_fresh_tokens_are
    keys_are_rotated_while_a_token_is_refreshed
    keys_are_rotated_around_a_token_that_does_not_open
    the_refresh_token_before_is_tried_where_the_last_one_is_refused
    a_location_with_a_token_of_its_own_goes_on_without_its_company
    a_mint_that_is_refused_for_the_companys_token_spends_no_refreshes
    a_token_that_ghl_does_not_give_is_asked_for_more_rarely_however_many_wait
    a_token_endpoint_that_is_down_is_an_outage
    a_start_without_the_key_of_the_stored_tokens_is_refused
}

/// Contacts with one call each.
async fn contacts(world: &World, daemons: &[&Daemon], count: usize, prefix: &str) {
    for n in 0..count {
        let id = format!("{prefix}{n}");
        world
            .api
            .ghl
            .put_contact(&id, json!({"locationId": world.location}));
        world
            .contact(daemons[n % daemons.len()], "ContactCreate", &id)
            .await;
    }
}

/// A world whose location has authorised the app by itself: its token is refreshed, not minted.
async fn of_a_location(backend: Backend) -> (World, Daemon) {
    let world = World::new(backend, SNAPSHOT).await;
    let daemon = at_its_location(&world).await;
    (world, daemon)
}

/// A daemon at which the location has authorised the app itself.
async fn at_its_location(world: &World) -> Daemon {
    let daemon = world.start().await;
    let chosen = format!("&location_id={}", world.location);
    let page = Browser::new().install(&daemon, &chosen).await;
    assert_eq!(page.status, 200, "{page:?}");
    world.token_is(&world.location, "usable").await;
    daemon
}

async fn a_token_that_has_ended_is_refreshed_once_for_all_who_wait(backend: Backend) {
    let (world, daemon) = of_a_location(backend).await;
    let mut others = Vec::new();
    if backend == Backend::Postgres {
        others = vec![world.start().await, world.start().await];
    }
    let mut daemons: Vec<&Daemon> = others.iter().collect();
    daemons.push(&daemon);
    contacts(&world, &daemons, 3, "a").await;
    world.settled(3).await;
    for round in 1..=3_usize {
        world.api.ghl.expire_access_tokens(None);
        contacts(&world, &daemons, 50, &format!("r{round}-")).await;
        let calls = world.settled(3 + 50 * round).await;
        assert!(
            calls.iter().all(|call| call["state"] == "done"),
            "{calls:?}"
        );
        let report = world.api.ghl.report();
        assert_eq!(
            report.refreshes.values().sum::<u64>(),
            round as u64,
            "one for each expiry"
        );
        assert!(
            report
                .refresh_tokens
                .values()
                .all(|token| token.successful <= 1 && token.spent == 0)
        );
    }
}

async fn a_refresh_that_ghl_cannot_answer_now_is_tried_again(backend: Backend) {
    let (world, daemon) = of_a_location(backend).await;
    for (n, deed) in [
        Deed::Status(500),
        Deed::Status(429),
        Deed::HangUp(Moment::Before),
    ]
    .into_iter()
    .enumerate()
    {
        world
            .api
            .ghl
            .fault(Fault::new(deed).path("/oauth/token").times(1));
        world.api.ghl.expire_access_tokens(None);
        contacts(&world, &[&daemon], 2, &format!("n{n}-")).await;
        let calls = world.settled(2 * (n + 1)).await;
        assert!(
            calls.iter().all(|call| call["state"] == "done"),
            "{calls:?}"
        );
    }
    let report = world.api.ghl.report();
    assert!(report.refresh_tokens.values().all(|token| token.spent == 0));
    world.token_is(&world.location, "usable").await;
}

async fn a_refresh_whose_answer_is_lost_is_tried_once_more_and_then_left_to_a_person(
    backend: Backend,
) {
    let (world, daemon) = of_a_location(backend).await;
    world.api.ghl.fault(
        Fault::new(Deed::HangUp(Moment::After))
            .path("/oauth/token")
            .times(1),
    );
    world.api.ghl.expire_access_tokens(None);
    contacts(&world, &[&daemon], 5, "a").await;
    let calls = world.settled(5).await;
    assert!(
        calls
            .iter()
            .all(|call| call["state"] == "dead" && call["reason"] == "reauthorise"),
        "{calls:?}"
    );
    let report = world.api.ghl.report();
    let spent: u64 = report
        .refresh_tokens
        .values()
        .map(|token| token.spent)
        .sum();
    assert_eq!(spent, 1, "once more, and no loop");
    world.token_is(&world.location, "reauthorise").await;
    contacts(&world, &[&daemon], 2, "b").await;
    world.settled(7).await;
    let spent: u64 = world
        .api
        .ghl
        .report()
        .refresh_tokens
        .values()
        .map(|token| token.spent)
        .sum();
    assert_eq!(spent, 1);
    assert!(daemon.log().contains("has to be authorised again"));
    // A person authorises it again.
    let chosen = format!("&location_id={}", world.location);
    assert_eq!(Browser::new().install(&daemon, &chosen).await.status, 200);
    world.token_is(&world.location, "usable").await;
    let output = run_cli(&["follow-ups", "retry", "--all"], &world.config);
    assert!(output.status.success());
    let calls = world.settled(7).await;
    assert!(
        calls.iter().all(|call| call["state"] == "done"),
        "{calls:?}"
    );
}

async fn an_answer_to_a_refresh_is_read_in_whatever_form_it_comes(backend: Backend) {
    let (world, daemon) = of_a_location(backend).await;
    let deeds = [
        Deed::CamelCase,
        Deed::ExpiresIn(json!(0)),
        Deed::ExpiresIn(json!("never")),
        Deed::NoRefreshToken,
    ];
    for (n, deed) in deeds.into_iter().enumerate() {
        world
            .api
            .ghl
            .fault(Fault::new(deed).path("/oauth/token").times(1));
        world.api.ghl.expire_access_tokens(None);
        contacts(&world, &[&daemon], 1, &format!("f{n}-")).await;
        let calls = world.settled(n + 1).await;
        assert!(
            calls.iter().all(|call| call["state"] == "done"),
            "{n}: {calls:?}"
        );
    }
}

/// Longer than for any other: the pair in it is the only one (O-04).
async fn a_slow_answer_to_a_refresh_is_waited_for(backend: Backend) {
    let world = World::with(backend, SNAPSHOT, settings(), "timeout = \"1s\"\n").await;
    let daemon = at_its_location(&world).await;
    world.api.ghl.fault(
        Fault::new(Deed::LateAnswer(3_000))
            .path("/oauth/token")
            .times(1),
    );
    world.api.ghl.expire_access_tokens(None);
    contacts(&world, &[&daemon], 4, "a").await;
    let calls = world.settled(4).await;
    assert!(
        calls.iter().all(|call| call["state"] == "done"),
        "{calls:?}"
    );
    let report = world.api.ghl.report();
    assert_eq!(report.refreshes.values().sum::<u64>(), 1);
    assert!(report.refresh_tokens.values().all(|token| token.spent == 0));
}

/// Calls queue for one token: one whose claim would be over meanwhile is not sent.
async fn whoever_asks_for_a_token_waits_no_longer_than_there_is_time(backend: Backend) {
    let (world, mut daemon) = of_a_location(backend).await;
    daemon.terminate().await;
    let store = world.open_store().await;
    let client = hookwell::ghl::Client::new(&hookwell::ghl::Settings {
        api_base: world.api.url.clone(),
        timeout: WITHIN,
        connect_timeout: WITHIN,
        answer_bytes: 1 << 20,
    });
    let credentials = Credentials {
        client_id: settings().client_id,
        client_secret: SECRET.into(),
        redirect_uri: REDIRECT.to_owned(),
    };
    let keys = KeyFile::open(world.config.dir().join("token-keys")).unwrap();
    let tokens = Tokens::new(
        store,
        client.unwrap(),
        Apps {
            credentials: [(APP_ID.to_owned(), credentials)].into(),
            limits: hookwell::budget::Limits {
                burst: 100,
                interval: Duration::from_secs(10),
                daily: 200_000,
            },
        },
        Arc::new(keys),
        hookwell::clock::system(),
        hookwell::chance::system(),
        hookwell::metrics::Metrics::new(),
    );
    let access = async |within| {
        let by = tokio::time::Instant::now() + within;
        tokens.access(APP_ID, &world.location, None, by).await
    };
    let had = access(WITHIN).await.unwrap();
    tokens
        .not_taken(APP_ID, &world.location, &had)
        .await
        .unwrap();
    world.api.ghl.fault(
        Fault::new(Deed::LateAnswer(3_000))
            .path("/oauth/token")
            .times(1),
    );
    let soon = Duration::from_millis(100);
    let (first, second) = tokio::join!(access(soon), access(soon));
    for waited in [first, second] {
        assert!(matches!(waited, Err(NoToken::Later(_))), "{waited:?}");
    }
    // The refresh went on without them.
    access(WITHIN).await.unwrap();
    let report = world.api.ghl.report();
    assert_eq!(report.refreshes.values().sum::<u64>(), 1);
    assert!(report.refresh_tokens.values().all(|token| token.spent == 0));
}

async fn a_start_without_the_key_of_the_stored_tokens_is_refused(backend: Backend) {
    let (world, mut daemon) = of_a_location(backend).await;
    daemon.terminate().await;
    let file = world.config.dir().join("token-keys");
    let right = std::fs::read(&file).unwrap();
    std::fs::write(&file, Keyring::line("k7", &[5; KEY_BYTES]).as_bytes()).unwrap();
    let (code, said) = Daemon::try_start(&world.config).await.err().unwrap();
    assert_eq!(code, Some(69), "{said}");
    for part in ["the key k1", "token-keys", "put its line back"] {
        assert!(said.contains(part), "{part} is missing: {said}");
    }
    // Beside another one it is there.
    let both = [Keyring::line("k7", &[5; KEY_BYTES]).as_bytes(), &right].concat();
    std::fs::write(&file, both).unwrap();
    let daemon = world.start().await;
    contacts(&world, &[&daemon], 1, "a").await;
    let calls = world.settled(1).await;
    assert_eq!(calls[0]["state"], "done", "{calls:?}");
}

async fn keys_are_rotated_while_the_daemon_runs(backend: Backend) {
    let (world, daemon) = of_a_location(backend).await;
    contacts(&world, &[&daemon], 1, "a").await;
    world.settled(1).await;
    let file = world.config.dir().join("token-keys");
    let file_name = file.to_str().unwrap().to_owned();
    let before = std::fs::read_to_string(&file).unwrap();
    let output = run_cli(
        &["keys", "rotate", "--file", &file_name, "--drop"],
        &world.config,
    );
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains("1 tokens are sealed with k2"), "{said}");
    let noted = &world.lines(&["audit"])[0];
    assert_eq!(
        (&noted["action"], &noted["affected"]),
        (&json!("rotate_keys"), &json!(1))
    );
    let after = std::fs::read_to_string(&file).unwrap();
    assert_eq!(after.lines().count(), 1);
    assert!(!after.contains(before.trim()));
    contacts(&world, &[&daemon], 1, "b").await;
    world.api.ghl.expire_access_tokens(None);
    contacts(&world, &[&daemon], 1, "c").await;
    let calls = world.settled(3).await;
    assert!(
        calls.iter().all(|call| call["state"] == "done"),
        "{calls:?}"
    );
}

/// Tokens that are good, that have expired, and that only a person can renew.
async fn the_doctor_says_how_fresh_tokens_are(backend: Backend) {
    let world = World::new(backend, "").await;
    let daemon = world.authorised().await;
    let tokens = || -> Vec<Value> {
        let found = doctor(&world.config, &[]);
        found.about("tokens").into_iter().cloned().collect()
    };
    let found = tokens();
    let text = found[0]["found"].as_str().unwrap();
    assert!(
        text.starts_with("1 is good, the next to expire in "),
        "{found:?}"
    );
    assert_eq!((found.len(), &found[0]["level"]), (1, &json!("good")));
    drop(daemon);
    execute_on(&world.store, "update tokens set expires_at = 1").await;
    let found = tokens();
    assert_eq!(
        found[0]["found"],
        "none is good at the moment; 1 is expired, and renewed with the next call"
    );
    execute_on(&world.store, "update tokens set state = 'reauthorise'").await;
    let found = tokens();
    assert_eq!(found[0]["level"], "broken");
    assert_eq!(found[0]["found"], "1 can only be renewed by a person");
}

/// The new pair is sealed with the key of the moment at which it comes, not of the one at which it was asked for.
async fn keys_are_rotated_while_a_token_is_refreshed(backend: Backend) {
    let (world, mut daemon) = of_a_location(backend).await;
    let file = world.config.dir().join("token-keys");
    let file_name = file.to_str().unwrap().to_owned();
    for round in 1..=3 {
        let fault = Fault::new(Deed::LateAnswer(2_000)).path("/oauth/token");
        world.api.ghl.fault(fault.times(1));
        world.api.ghl.expire_access_tokens(None);
        world.api.ghl.clear_journal();
        contacts(&world, &[&daemon], 1, &format!("r{round}-")).await;
        let asked = || {
            let journal = world.api.ghl.journal().into_iter();
            let mut of = journal.filter(|entry| entry.path == "/oauth/token");
            of.next()
        };
        eventually("a refresh is under way", WITHIN, async || asked()).await;
        let rotate = ["keys", "rotate", "--file", &file_name, "--drop"];
        let output = run_cli(&rotate, &world.config);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        assert_eq!(
            asked().and_then(|entry| entry.status),
            None,
            "it was under way all the time"
        );
        let calls = world.settled(round).await;
        assert!(
            calls.iter().all(|call| call["state"] == "done"),
            "{calls:?}"
        );
    }
    let report = world.api.ghl.report();
    assert_eq!(report.refreshes.values().sum::<u64>(), 3);
    assert!(report.refresh_tokens.values().all(|token| token.spent == 0));
    // And all that is kept opens with the one key that is left.
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 1);
    daemon.terminate().await;
    let daemon = world.start().await;
    world.api.ghl.expire_access_tokens(None);
    contacts(&world, &[&daemon], 1, "after").await;
    let calls = world.settled(4).await;
    assert_eq!(calls[0]["state"], "done", "{calls:?}");
}

/// When requests to a path came, in microseconds.
/// As after a pair that was lost before it was kept, and was not spent by GHL: the one before is the good one still.
async fn the_refresh_token_before_is_tried_where_the_last_one_is_refused(backend: Backend) {
    let (world, daemon) = of_a_location(backend).await;
    world.api.ghl.expire_access_tokens(None);
    contacts(&world, &[&daemon], 1, "a").await;
    world.settled(1).await;
    let swap = "update tokens set refresh_token = previous_refresh_token, previous_refresh_token = refresh_token";
    execute_on(&world.store, swap).await;
    world.api.ghl.expire_access_tokens(None);
    contacts(&world, &[&daemon], 1, "b").await;
    let calls = world.settled(2).await;
    assert_eq!(calls[0]["state"], "done", "{calls:?}");
    world.token_is(&world.location, "usable").await;
    let report = world.api.ghl.report();
    let spent: u64 = report.refresh_tokens.values().map(|one| one.spent).sum();
    assert_eq!((spent, report.refreshes[&world.location]), (1, 2));
}

/// A location that was authorised itself goes on with its own token where its company's brings none.
async fn a_location_with_a_token_of_its_own_goes_on_without_its_company(backend: Backend) {
    let (world, daemon) = of_a_location(backend).await;
    assert_eq!(Browser::new().install(&daemon, "").await.status, 200);
    world.token_is(world.company.id(), "usable").await;
    for (n, deed) in [Deed::Status(400), Deed::Status(403)]
        .into_iter()
        .enumerate()
    {
        world
            .api
            .ghl
            .fault(Fault::new(deed).path("/oauth/locationToken"));
        world.api.ghl.expire_access_tokens(None);
        contacts(&world, &[&daemon], 1, &format!("f{n}-")).await;
        let calls = world.settled(n + 1).await;
        assert_eq!(calls[0]["state"], "done", "{calls:?}");
        assert_eq!(
            world.api.ghl.report().refreshes[&world.location],
            n as u64 + 1
        );
        world.api.ghl.clear_faults();
    }
}

/// Whatever it is, another token of the company's is not the cure: one is tried, for all locations and calls.
async fn a_mint_that_is_refused_for_the_companys_token_spends_no_refreshes(backend: Backend) {
    let world = World::new(backend, SNAPSHOT).await;
    let daemon = world.authorised().await;
    let refused = Deed::Answer(401, json!({"statusCode": 401, "message": "Invalid JWT"}));
    world
        .api
        .ghl
        .fault(Fault::new(refused).path("/oauth/locationToken"));
    contacts(&world, &[&daemon], 3, "a").await;
    eventually("a mint was asked for again and again", WITHIN, async || {
        (3 < arrivals(&world, "/oauth/locationToken").len()).then_some(())
    })
    .await;
    assert_eq!(world.api.ghl.report().refreshes.values().sum::<u64>(), 1);
    world.api.ghl.clear_faults();
    let calls = world.settled(3).await;
    assert!(
        calls.iter().all(|call| call["state"] == "done"),
        "{calls:?}"
    );
}

/// What no key opens is named and left as it is; everything else is sealed anew, and no key is dropped.
async fn keys_are_rotated_around_a_token_that_does_not_open(backend: Backend) {
    let (world, mut daemon) = of_a_location(backend).await;
    assert_eq!(Browser::new().install(&daemon, "").await.status, 200);
    world.token_is(world.company.id(), "usable").await;
    daemon.terminate().await;
    let cut = format!(
        "update tokens set access_token = substr(access_token, 1, 20) where tenant = '{}'",
        world.company.id()
    );
    execute_on(&world.store, &cut).await;
    let file = world.config.dir().join("token-keys");
    let name = file.to_str().unwrap();
    let rotate = ["keys", "rotate", "--file", name, "--drop"];
    let output = run_cli(&rotate, &world.config);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in [
        "1 tokens are sealed with k2",
        "1 open with no key",
        world.company.id(),
        "no key was dropped",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 2);
    let daemon = world.start().await;
    contacts(&world, &[&daemon], 1, "a").await;
    let calls = world.settled(1).await;
    assert_eq!(calls[0]["state"], "done", "the location's opens: {calls:?}");
}

/// The agency authorises the app, on Postgres, and the commit of its token hangs until `meanwhile` is done; how the page ends.
async fn with_a_commit_that_hangs(
    world: &World,
    daemon: &Daemon,
    meanwhile: impl AsyncFnOnce(),
) -> u16 {
    let mut store = sqlx::PgConnection::connect(world.store.url())
        .await
        .unwrap();
    let mut run = async |sql: &'static str| sqlx::query(sql).fetch_all(&mut store).await.unwrap();
    run("begin").await;
    run("lock table tokens in share mode").await;
    let mut browser = Browser::new();
    let callback = browser.until_callback(daemon, "").await;
    let page = tokio::spawn(async move { browser.get(&callback).await });
    eventually("the commit hangs", WITHIN, async || {
        let waits = "select 1 from pg_locks where not granted and relation = 'tokens'::regclass";
        (run(waits).await.len() == 1).then_some(())
    })
    .await;
    meanwhile().await;
    run("rollback").await;
    let page = tokio::time::timeout(WITHIN, page).await;
    page.expect("the page comes").unwrap().status
}

/// Keys are dropped while the commit of a token that is sealed already hangs: no command can see it then.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_whose_commit_hangs_while_keys_are_dropped_is_sealed_anew() {
    let world = World::new(Backend::Postgres, "").await;
    let daemon = world.start().await;
    let file = world.config.dir().join("token-keys");
    let status = with_a_commit_that_hangs(&world, &daemon, async || {
        let name = file.to_str().unwrap();
        let rotate = ["keys", "rotate", "--file", name, "--drop"];
        let output = cli(&rotate, &world.config).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && said.contains("0 tokens are sealed"),
            "{said}"
        );
    })
    .await;
    assert_eq!(status, 200);
    drop(daemon);
    // With the one key that is left.
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 1);
    let daemon = world.start().await;
    world.contact(&daemon, "ContactCreate", "c1").await;
    world.install(&daemon).await;
    assert_eq!(doctor(&world.config, &[]).level("token keys"), "good");
}

/// What the token before it was is of no use to anybody, and nobody waits for that.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_kept_though_the_one_before_does_not_open_with_the_newest_key() {
    let world = World::new(Backend::Postgres, "").await;
    let daemon = world.authorised().await;
    let cut = "update tokens set refresh_token = substr(refresh_token, 1, 20)";
    execute_on(&world.store, cut).await;
    let file = world.config.dir().join("token-keys");
    let status = with_a_commit_that_hangs(&world, &daemon, async || {
        // Only the file: what is stored is not looked at.
        let rotate = ["keys", "rotate", "--file", file.to_str().unwrap()];
        let output = run_plain(&rotate, &world.config);
        assert!(output.status.success());
    })
    .await;
    assert_eq!(status, 200);
    eventually("the log says so", WITHIN, async || {
        let log = daemon.log();
        log.contains("a part of it does not open").then_some(())
    })
    .await;
    world.install(&daemon).await;
}

fn arrivals(world: &World, path: &str) -> Vec<i64> {
    let journal = world.api.ghl.journal().into_iter();
    let of = journal.filter(|entry| entry.path == path);
    let mut arrived: Vec<_> = of.map(|entry| entry.arrived_us).collect();
    arrived.sort_unstable();
    arrived
}

async fn a_token_that_ghl_does_not_give_is_asked_for_more_rarely_however_many_wait(
    backend: Backend,
) {
    let (world, daemon) = of_a_location(backend).await;
    // As with a wrong client secret: nothing is spent, and it is wrong each time.
    let fault = Fault::new(Deed::Status(403)).path("/oauth/token");
    world.api.ghl.fault(fault);
    world.api.ghl.expire_access_tokens(None);
    world.api.ghl.clear_journal();
    contacts(&world, &[&daemon], 20, "a").await;
    let asked = eventually("it was asked for four times", WITHIN, async || {
        let asked = arrivals(&world, "/oauth/token");
        (4 <= asked.len()).then_some(asked)
    })
    .await;
    let pauses: Vec<_> = asked.windows(2).map(|two| two[1] - two[0]).collect();
    // Spread over the half below a second, two and four.
    for (pause, least) in pauses.iter().zip([500_000, 1_000_000, 2_000_000]) {
        assert!(least <= *pause, "{pauses:?}");
    }
    let calls = world.follow_ups();
    assert!(
        calls.iter().all(|call| call["state"] == "pending"),
        "{calls:?}"
    );
    world.api.ghl.clear_faults();
    let calls = world.settled(20).await;
    assert!(
        calls.iter().all(|call| call["state"] == "done"),
        "{calls:?}"
    );
    let report = world.api.ghl.report();
    assert_eq!(report.refreshes.values().sum::<u64>(), 1);
    assert!(report.refresh_tokens.values().all(|token| token.spent == 0));
}

async fn a_token_endpoint_that_is_down_is_an_outage(backend: Backend) {
    const LOCATIONS: usize = 6;
    let settings = Settings {
        locations: LOCATIONS,
        ..settings()
    };
    let world = World::with(backend, "", settings, "").await;
    let daemon = world.authorised().await;
    let fault = Fault::new(Deed::Status(503)).path("/oauth/locationToken");
    world.api.ghl.fault(fault);
    let open = async || daemon.metric("hookwell_api_breaker_open").await;
    for n in 0..LOCATIONS {
        world
            .live(&daemon, "INSTALL", Some(&Settings::location(n)), OLD)
            .await;
    }
    eventually("the breaker is open", WITHIN, async || {
        (open().await == Some(1.0)).then_some(())
    })
    .await;
    world.api.ghl.clear_faults();
    let calls = world.settled(LOCATIONS).await;
    assert!(
        calls.iter().all(|call| call["state"] == "done"),
        "{calls:?}"
    );
    eventually("it is closed", WITHIN, async || {
        (open().await == Some(0.0)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_warns_of_a_key_file_that_anybody_can_read_and_not_of_its_group() {
    let world = World::new(Backend::Sqlite, "").await;
    assert!(run_cli(&["migrate"], &world.config).status.success());
    let file = world.config.dir().join("token-keys");
    for (mode, warnings) in [(0o600, 0), (0o640, 0), (0o644, 1), (0o660, 1)] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let found = doctor(&world.config, &[]);
        let keys = found.about("token keys").into_iter();
        let warned = keys.filter(|one| one["level"] == "warning");
        assert_eq!(warned.count(), warnings, "{mode:o}: {found:?}");
    }
}
