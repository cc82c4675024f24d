//! The rate limits: never a call too many, and all that is allowed.

use hookwell::dev::ghl::{Deed, Fault};

use super::*;

on_both! {
    a_tenants_calls_stay_within_its_budget_and_use_it
    one_hot_tenant_does_not_starve_the_quiet_ones
    mints_of_all_daemons_stay_within_their_companys_budget
    the_console_shows_tokens_and_the_calls_of_today
}

fn limited(locations: usize) -> (Settings, &'static str) {
    let settings = Settings {
        burst: 10,
        interval: Duration::from_secs(1),
        locations,
        lenient: true,
        ..settings()
    };
    (settings, "burst = 10\ninterval = \"1s\"\n")
}

async fn of_tenant(world: &World, daemon: &Daemon, tenant: &str, id: &str) {
    let body = json!({"type": "ContactCreate", "appId": APP_ID, "locationId": tenant, "id": id,
        "companyId": world.company.id(), "webhookId": uuid::Uuid::new_v4().to_string()});
    world.send(daemon, &body).await;
}

async fn a_tenants_calls_stay_within_its_budget_and_use_it(backend: Backend) {
    const CALLS: usize = 60;
    let (settings, lines) = limited(1);
    let world = World::with(backend, SNAPSHOT, settings, lines).await;
    let daemon = world.authorised().await;
    world.install(&daemon).await;
    world.api.ghl.clear_journal();
    for n in 0..CALLS {
        of_tenant(&world, &daemon, &world.location, &format!("c{n}")).await;
    }
    world.settled(CALLS + 1).await;
    let report = world.api.ghl.report();
    assert_eq!(report.over_budget, 0);
    let used = &report.tenants[&world.location];
    assert!(
        used.most_in_an_interval <= 10,
        "{}",
        used.most_in_an_interval
    );
    let mut at: Vec<_> = world
        .api
        .ghl
        .journal()
        .into_iter()
        .filter(|entry| entry.path.starts_with("/contacts/"))
        .map(|entry| entry.arrived_us)
        .collect();
    at.sort_unstable();
    assert_eq!(at.len(), CALLS);
    // Sixty calls need five whole intervals and a beginning. How much of it is used is measured by row O-load of the
    // fault bench; here a machine may be busy with other things, and a budget used by half would still be seen.
    let took = at[CALLS - 1] - at[0];
    assert!(took < 10_000_000, "{took} µs");
}

async fn one_hot_tenant_does_not_starve_the_quiet_ones(backend: Backend) {
    let (settings, lines) = limited(12);
    let world = World::with(
        backend,
        SNAPSHOT,
        settings,
        &format!("{lines}concurrency = 4\n"),
    )
    .await;
    let daemon = world.authorised().await;
    for n in 0..12 {
        world
            .live(&daemon, "INSTALL", Some(&Settings::location(n)), OLD)
            .await;
    }
    world.settled(12).await;
    // The first ones take all places until the last one is posted.
    let slow = Fault::new(Deed::Delay(3_000)).path("/contacts/hot");
    world.api.ghl.fault(slow.times(4));
    for n in 0..40 {
        of_tenant(&world, &daemon, &Settings::location(0), &format!("hot{n}")).await;
    }
    for n in 1..12 {
        of_tenant(
            &world,
            &daemon,
            &Settings::location(n),
            &format!("quiet{n}"),
        )
        .await;
    }
    world.settled(12 + 40 + 11).await;
    let journal = world.api.ghl.journal();
    let arrived = |prefix: &str| -> Vec<_> {
        let of = journal
            .iter()
            .filter(|entry| entry.path.starts_with(&format!("/contacts/{prefix}")));
        of.map(|entry| entry.arrived_us).collect()
    };
    let (hot, quiet) = (arrived("hot"), arrived("quiet"));
    assert_eq!((hot.len(), quiet.len()), (40, 11));
    let last_quiet = quiet.iter().max().unwrap();
    let before = hot.iter().filter(|at| *at < last_quiet).count();
    assert!(
        before <= 25,
        "{before} of the hot one came before the last quiet one"
    );
    assert_eq!(world.api.ghl.report().over_budget, 0);
}

async fn mints_of_all_daemons_stay_within_their_companys_budget(backend: Backend) {
    const LOCATIONS: usize = 10;
    let (settings, _) = limited(LOCATIONS);
    let settings = Settings {
        burst: 3,
        ..settings
    };
    let lines = "burst = 3\ninterval = \"1s\"\n";
    let world = World::with(backend, "", settings, lines).await;
    let daemon = world.authorised().await;
    let mut others = Vec::new();
    if backend == Backend::Postgres {
        others = vec![world.start().await, world.start().await];
    }
    for n in 0..LOCATIONS {
        world
            .live(&daemon, "INSTALL", Some(&Settings::location(n)), OLD)
            .await;
    }
    let calls = world.settled(LOCATIONS).await;
    assert!(
        calls.iter().all(|call| call["state"] == "done"),
        "{calls:?}"
    );
    let report = world.api.ghl.report();
    assert_eq!(report.over_budget, 0);
    assert!(
        report.minted.values().all(|times| *times == 1),
        "{:?}",
        report.minted
    );
    let used = &report.tenants[world.company.id()];
    assert_eq!(used.requests, LOCATIONS as u64);
    assert!(
        used.most_in_an_interval <= 3,
        "{}",
        used.most_in_an_interval
    );
    drop(others);
}

async fn the_console_shows_tokens_and_the_calls_of_today(backend: Backend) {
    let mut world = World::new(backend, SNAPSHOT).await;
    let token = "canary-console-token-0123456789abcdef";
    let file = world.config.dir().join("admin-tokens");
    std::fs::write(&file, format!("ada:{token}\n")).unwrap();
    world.config = world
        .config
        .clone()
        .set("admin", &format!("token_file = {file:?}"));
    let daemon = world.authorised().await;
    world.install(&daemon).await;
    for n in 0..3 {
        of_tenant(&world, &daemon, &world.location, &format!("c{n}")).await;
    }
    world.settled(4).await;
    let shown = async || {
        let asked = reqwest::Client::new()
            .get(format!("{}/installations", daemon.admin()))
            .header("authorization", format!("Bearer {token}"))
            .header("accept", "application/json");
        let text = asked.send().await.unwrap().text().await.unwrap();
        let view: Value = serde_json::from_str(&text).unwrap();
        let all = view["installations"].as_array().unwrap().clone();
        all.into_iter()
            .find(|one| one["tenant"] == world.location.as_str())
            .unwrap()
    };
    let one = shown().await;
    assert_eq!(
        (&one["token"], &one["calls_today"]),
        (&json!("fresh"), &json!(3)),
        "{one}"
    );
    assert!(one["token_expires_at"].is_string(), "{one}");
    crate::harness::store::execute_on(&world.store, "update tokens set expires_at = 1").await;
    assert_eq!(shown().await["token"], "to refresh");
}
