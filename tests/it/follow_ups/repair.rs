//! What is read from the API without an event that calls for it: gaps, ranges, first reads, lists of installations.

use hookwell::clock::rfc3339;
use hookwell::dev::ghl::{Deed, Fault};
use hookwell::event::Micros;

use super::*;
use crate::harness::daemon::run_on_a_terminal;
use crate::harness::store::execute_on;

on_both! {
    what_changed_while_nothing_could_be_taken_is_read_once
    a_range_is_read_page_by_page_and_goes_on_after_a_crash
    a_range_that_cannot_be_read_is_parked_and_goes_on_where_it_stood
    installs_and_uninstalls_whose_webhooks_were_lost_are_found
    a_tenant_that_may_not_be_touched_is_looked_for
    a_new_installation_is_read_whole_where_that_is_asked_for
    a_read_goes_on_though_its_token_ends_twice
    a_rule_reads_a_list_page_by_page
}

const MINUTE: i64 = 60 * 1_000_000;
const FAST: &str =
    "gap_after = \"1m\"\nsettle = \"0s\"\npages_per_second = 50\nconfirm_after = \"0s\"";

async fn world(backend: Backend, repair: &str, rules: &str) -> World {
    let settings = Settings {
        search_lag: Duration::ZERO,
        ..settings()
    };
    let mut world = World::with(backend, rules, settings, "").await;
    world.config = world.config.clone().set("repair", repair);
    world
}

/// A daemon, and the app installed at the usual location.
async fn installed(world: &World) -> Daemon {
    let daemon = world.authorised().await;
    world.install(&daemon).await;
    daemon
}

fn ago(minutes: i64) -> String {
    let now = hookwell::clock::system()();
    let text = rfc3339(Micros(now.0 - minutes * MINUTE));
    format!("{}Z", &text[..23])
}

fn contact(world: &World, id: &str, minutes_ago: i64) {
    let fields = json!({"locationId": world.location, "dateUpdated": ago(minutes_ago)});
    world.api.ghl.put_contact(id, fields);
}

fn opportunity(world: &World, id: &str, minutes_ago: i64) {
    let fields = json!({"locationId": world.location, "updatedAt": ago(minutes_ago)});
    world.api.ghl.put_opportunity(id, fields);
}

/// Asks for the contacts that changed since then.
fn contacts_since<'a>(world: &'a World, since: &'a str) -> [&'a str; 7] {
    let tenant = world.location.as_str();
    [
        "backfill", "--tenant", tenant, "--since", since, "--types", "contacts",
    ]
}

/// The records of events of a type, in order.
fn records(world: &World, kind: &str) -> Vec<String> {
    let found = world.lines(&["events", "list", "--type", kind, "--limit", "10000"]);
    let mut ids: Vec<_> = found
        .iter()
        .map(|event| {
            assert_eq!(event["origin"], "backfill", "{event}");
            event["entity_id"].as_str().unwrap().to_owned()
        })
        .collect();
    ids.sort();
    ids
}

async fn completed(world: &World, count: usize) -> Vec<Value> {
    eventually(&format!("{count} reads are complete"), WITHIN, async || {
        let found = world.events("backfill.completed");
        (count <= found.len()).then(|| found.into_iter().map(|(_, body)| body).collect())
    })
    .await
}

async fn what_changed_while_nothing_could_be_taken_is_read_once(backend: Backend) {
    let world = world(backend, FAST, "").await;
    let mut daemon = installed(&world).await;
    // Its webhook came; whatever else changed in the gap did not.
    contact(&world, "known", 0);
    world.contact(&daemon, "ContactUpdate", "known").await;
    // This one changed again soon after its webhook.
    world.contact(&daemon, "ContactUpdate", "busy").await;
    daemon.terminate().await;
    assert!(
        world.lines(&["status"])[0]["gaps"]
            .as_array()
            .unwrap()
            .is_empty(),
        "a restart is no gap"
    );
    let two_hours = format!(
        "update acceptance set until_at = until_at - {}",
        120 * MINUTE
    );
    execute_on(&world.store, &two_hours).await;
    let soon = rfc3339(Micros(hookwell::clock::system()().0 + 3 * MINUTE / 2));
    let fields = json!({"locationId": world.location, "dateUpdated": format!("{}Z", &soon[..23])});
    world.api.ghl.put_contact("busy", fields);
    contact(&world, "before", 200);
    contact(&world, "missed", 60);
    contact(&world, "also-missed", 119);
    opportunity(&world, "deal", 30);
    opportunity(&world, "old-deal", 300);
    let mut daemon = world.start().await;
    let bodies = completed(&world, 2).await;
    for body in &bodies {
        assert_eq!(
            (&body["why"], &body["locationId"]),
            (&json!("gap"), &json!(world.location))
        );
    }
    assert_eq!(
        records(&world, "contact.snapshot"),
        ["also-missed", "busy", "missed"]
    );
    assert_eq!(records(&world, "opportunity.snapshot"), ["deal"]);
    let (_, body) = &world.events("contact.snapshot")[0];
    assert!(
        body["contact"]["dateUpdated"].is_string() && body["contact"]["searchAfter"].is_null(),
        "{body}"
    );
    let status = world.lines(&["status"]);
    let gap = &status[0]["gaps"][0];
    assert!(7_000 < gap["seconds"].as_u64().unwrap(), "{gap}");
    assert!(gap["repaired_at"].is_string(), "{gap}");
    let output = run_cli(&["status"], &world.config);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("what changed meanwhile was asked for"),
        "{said}"
    );
    let metric =
        daemon.metric("hookwell_backfill_records_total{kind=\"contacts\",outcome=\"lacking\"}");
    assert_eq!(metric.await, Some(3.0));
    // Asked for again, everything is known.
    daemon.terminate().await;
    execute_on(&world.store, "update gaps set repaired_at = null").await;
    let daemon = world.start().await;
    eventually("it is repaired again", WITHIN, async || {
        let status = world.lines(&["status"]);
        status[0]["gaps"][0]["repaired_at"]
            .is_string()
            .then_some(())
    })
    .await;
    let range = contacts_since(&world, "4h");
    let read = world.lines(&range);
    assert_eq!(
        (&read[0]["found"], &read[0]["lacking"]),
        (&json!(4), &json!(1)),
        "but for the one before"
    );
    assert_eq!(
        records(&world, "contact.snapshot"),
        ["also-missed", "before", "busy", "missed"]
    );
    assert_eq!(
        world
            .lines(&["events", "list", "--type", "backfill.requested"])
            .len(),
        2
    );
    drop(daemon);
}

async fn a_range_is_read_page_by_page_and_goes_on_after_a_crash(backend: Backend) {
    let slow = FAST.replace("pages_per_second = 50", "pages_per_second = 1");
    let world = world(backend, &slow, "").await;
    let mut daemon = installed(&world).await;
    for n in 0..250 {
        contact(&world, &format!("c{n:03}"), 10);
    }
    contact(&world, "too-old", 3 * 24 * 60);
    let range = contacts_since(&world, "1day");
    let counted = world.lines(&[&range[..], &["--dry-run"]].concat());
    assert_eq!(counted.len(), 1);
    assert_eq!(
        (
            &counted[0]["found"],
            &counted[0]["lacking"],
            &counted[0]["state"]
        ),
        (&json!(250), &json!(250), &json!("done"))
    );
    let shown = run_on_a_terminal(&[&range[..], &["--dry-run"]].concat(), &world.config);
    for part in ["contacts ", "100 found, 100 lacking", "250 found"] {
        assert!(shown.contains(part), "{part} is not on the bar: {shown:?}");
    }
    assert!(
        records(&world, "contact.snapshot").is_empty(),
        "only counted"
    );
    let output = run_cli(&[&range[..], &["--no-wait"]].concat(), &world.config);
    assert!(output.status.success());
    eventually("a page was read", WITHIN, async || {
        (100 <= records(&world, "contact.snapshot").len()).then_some(())
    })
    .await;
    daemon.kill9();
    execute_on(
        &world.store,
        "update follow_ups set due_at = 0 where state = 'pending'",
    )
    .await;
    execute_on(&world.store, "update call_budgets set next_at = 0").await;
    let daemon = world.start().await;
    let bodies = completed(&world, 1).await;
    assert_eq!(bodies[0]["found"], 250);
    let expected: Vec<_> = (0..250).map(|n| format!("c{n:03}")).collect();
    assert_eq!(records(&world, "contact.snapshot"), expected, "each once");
    let journal = world.api.ghl.journal();
    let pages = journal
        .iter()
        .filter(|entry| entry.path == "/contacts/search")
        .count();
    // Four to count, twice, the last of them empty; four to read, and one that the crash had read again.
    assert!((12..=13).contains(&pages), "{pages}");
    drop(daemon);
}

async fn a_range_that_cannot_be_read_is_parked_and_goes_on_where_it_stood(backend: Backend) {
    let slow = FAST.replace("pages_per_second = 50", "pages_per_second = 1");
    let world = world(backend, &slow, "").await;
    let daemon = installed(&world).await;
    for n in 0..150 {
        contact(&world, &format!("c{n:03}"), 10);
    }
    let range = contacts_since(&world, "1h");
    let unwaited = [&range[..], &["--no-wait"]].concat();
    assert!(run_cli(&unwaited, &world.config).status.success());
    eventually("a page was read", WITHIN, async || {
        (100 <= records(&world, "contact.snapshot").len()).then_some(())
    })
    .await;
    world
        .api
        .ghl
        .fault(Fault::new(Deed::Status(422)).path("/contacts/search"));
    eventually("it is parked", WITHIN, async || {
        let calls = world.lines(&["follow-ups", "list", "--rule", "hookwell.backfill"]);
        (calls[0]["state"] == "dead" && calls[0]["reason"] == "invalid").then_some(())
    })
    .await;
    let output = run_cli(&range, &world.config);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("contacts is dead (invalid)"), "{said}");
    let found = doctor(&world.config, &[]);
    assert_eq!(found.first("follow-ups")["found"], "2 calls parked");
    assert_eq!(found.level("follow-ups"), "warning");
    world.api.ghl.clear_faults();
    let before = world.api.ghl.journal().len();
    assert!(
        run_cli(
            &["follow-ups", "retry", "--rule", "hookwell.backfill"],
            &world.config
        )
        .status
        .success()
    );
    let bodies = completed(&world, 2).await;
    assert!(bodies.iter().all(|body| body["found"] == 150), "{bodies:?}");
    assert_eq!(records(&world, "contact.snapshot").len(), 150);
    let journal = world.api.ghl.journal();
    let again = journal[before..]
        .iter()
        .filter(|entry| entry.path == "/contacts/search");
    assert_eq!(
        again.count(),
        2 + 3,
        "the rest and the end of the one, and all of the other"
    );
    let wrong: [(&[&str], i32, &str); 3] = [
        (&["--since", "yesterday"], 64, "is no moment such as"),
        (
            &["--since", "1h", "--until", "2h"],
            64,
            "--until is not after --since",
        ),
        (
            &["--since", "1h", "--app", "nobodys"],
            78,
            "has no client_id",
        ),
    ];
    for (arguments, code, part) in wrong {
        let output = run_cli(
            &[&["backfill", "--tenant", &world.location], arguments].concat(),
            &world.config,
        );
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(part), "{said}");
    }
    let output = run_cli(
        &["backfill", "--tenant", "nowhere", "--since", "1h"],
        &world.config,
    );
    assert_eq!(output.status.code(), Some(66));
    drop(daemon);
}

async fn installs_and_uninstalls_whose_webhooks_were_lost_are_found(backend: Backend) {
    let world = world(backend, FAST, "").await;
    let daemon = installed(&world).await;
    let other = Settings::location(1);
    world.api.ghl.install(&Account::Location(other.clone()));
    world
        .api
        .ghl
        .uninstall(&Account::Location(world.location.clone()));
    let output = run_cli(&["installs", "reconcile"], &world.config);
    assert!(output.status.success());
    let state = |tenant: &str| {
        let all = world.lines(&["installs", "list", "--all", "--limit", "1000"]);
        let one = all.into_iter().find(|one| one["tenant"] == tenant);
        one.map(|one| one["state"].clone())
    };
    eventually("both are found", WITHIN, async || {
        let both = (state(&other), state(&world.location));
        (both == (Some(json!("installed")), Some(json!("uninstalled")))).then_some(())
    })
    .await;
    world.token_is(&other, "usable").await;
    let events = world.lines(&["events", "list", "--type", "UNINSTALL"]);
    assert_eq!(
        (events.len(), &events[0]["origin"]),
        (1, &json!("backfill"))
    );
    let installs = world.events("INSTALL");
    let found = installs
        .iter()
        .find(|(event, _)| event["tenant"] == other.as_str())
        .unwrap();
    assert_eq!(
        (&found.0["origin"], &found.1["companyId"]),
        (&json!("backfill"), &json!(world.company.id()))
    );
    // Nothing has changed since: nothing is said again.
    let before = world
        .lines(&["events", "list", "--type", "INSTALL", "--limit", "1000"])
        .len();
    assert!(
        run_cli(&["installs", "reconcile"], &world.config)
            .status
            .success()
    );
    eventually("it was looked again", WITHIN, async || {
        let looks = world.lines(&["follow-ups", "list", "--rule", "hookwell.reconcile"]);
        (looks.len() == 2 && looks.iter().all(|look| look["state"] == "done")).then_some(())
    })
    .await;
    assert_eq!(
        world
            .lines(&["events", "list", "--type", "INSTALL", "--limit", "1000"])
            .len(),
        before
    );
    drop(daemon);
}

async fn a_tenant_that_may_not_be_touched_is_looked_for(backend: Backend) {
    let world = world(backend, FAST, SNAPSHOT).await;
    let daemon = installed(&world).await;
    contact(&world, "c1", 0);
    world
        .api
        .ghl
        .fault(Fault::new(Deed::Status(403)).path("/contacts/").times(1));
    world.contact(&daemon, "ContactCreate", "c1").await;
    eventually("it was looked for", WITHIN, async || {
        let looks = world.lines(&["follow-ups", "list", "--rule", "hookwell.reconcile"]);
        looks
            .iter()
            .any(|look| look["state"] == "done")
            .then_some(())
    })
    .await;
    let (_, body) = &world.events("installs.requested")[0];
    assert_eq!(
        body,
        &json!({"companyId": world.company.id(), "why": "no_access"})
    );
    drop(daemon);
}

async fn a_new_installation_is_read_whole_where_that_is_asked_for(backend: Backend) {
    for (kind, contacts, opportunities) in [
        ("contacts", &["c1", "c2"][..], &[][..]),
        ("opportunities", &[], &["o1", "o2"]),
    ] {
        let first = format!("{FAST}\nfirst_sync = [{kind:?}]");
        let world = world(backend, &first, "").await;
        for (n, minutes_ago) in [(1, 5), (2, 400 * 24 * 60)] {
            contact(&world, &format!("c{n}"), minutes_ago);
            opportunity(&world, &format!("o{n}"), minutes_ago);
        }
        let daemon = installed(&world).await;
        let bodies = completed(&world, 1).await;
        assert_eq!(
            (&bodies[0]["why"], &bodies[0]["kind"]),
            (&json!("install"), &json!(kind))
        );
        assert_eq!(records(&world, "contact.snapshot"), contacts);
        assert_eq!(records(&world, "opportunity.snapshot"), opportunities);
        drop(daemon);
    }
}

/// A long read outlives its token more than once: each time it gets another and goes on.
async fn a_read_goes_on_though_its_token_ends_twice(backend: Backend) {
    let slow = FAST.replace("pages_per_second = 50", "pages_per_second = 1");
    let world = world(backend, &slow, "").await;
    let daemon = installed(&world).await;
    for n in 0..350 {
        contact(&world, &format!("c{n:03}"), 10);
    }
    let range = contacts_since(&world, "1h");
    let unwaited = [&range[..], &["--no-wait"]].concat();
    assert!(run_cli(&unwaited, &world.config).status.success());
    for read in [100, 200] {
        eventually(&format!("{read} were read"), WITHIN, async || {
            (read <= records(&world, "contact.snapshot").len()).then_some(())
        })
        .await;
        world.api.ghl.expire_access_tokens(None);
    }
    let bodies = completed(&world, 1).await;
    assert_eq!(bodies[0]["found"], 350);
    assert_eq!(records(&world, "contact.snapshot").len(), 350, "each once");
    let journal = world.api.ghl.journal();
    let refused = journal
        .iter()
        .filter(|entry| entry.path == "/contacts/search" && entry.status == Some(401));
    assert_eq!(refused.count(), 2, "once for each token that ended");
    drop(daemon);
}

const PAGES: &str = r#"
[[follow_ups]]
name = "all-contacts"
on = ["LocationUpdate"]
request = "POST /contacts/search"
body = { locationId = "{location_id}", pageLimit = 2 }
publish_as = "contact.page"
pages = 2
"#;

async fn a_rule_reads_a_list_page_by_page(backend: Backend) {
    let mut world = world(backend, FAST, PAGES).await;
    for n in 0..5 {
        contact(&world, &format!("c{n}"), n);
    }
    let mut daemon = installed(&world).await;
    let update = json!({"type": "LocationUpdate", "appId": APP_ID, "id": world.location, "locationId": world.location,
        "companyId": world.company.id(), "webhookId": uuid::Uuid::new_v4().to_string()});
    world.send(&daemon, &update).await;
    let parked = eventually("its pages are over", WITHIN, async || {
        let calls = world.lines(&["follow-ups", "list", "--rule", "all-contacts"]);
        calls.into_iter().find(|call| call["state"] == "dead")
    })
    .await;
    assert_eq!(parked["reason"], "more_pages");
    assert_eq!(world.events("contact.page").len(), 2);
    daemon.terminate().await;
    world.config.tail = PAGES.replace("pages = 2", "pages = 9");
    let daemon = world.start().await;
    assert!(
        run_cli(&["follow-ups", "retry", "--all"], &world.config)
            .status
            .success()
    );
    eventually("it is done", WITHIN, async || {
        let calls = world.lines(&["follow-ups", "list", "--rule", "all-contacts"]);
        (calls[0]["state"] == "done").then_some(())
    })
    .await;
    let mut seen: Vec<_> = world
        .events("contact.page")
        .iter()
        .flat_map(|(_, body)| body["contacts"].as_array().unwrap().clone())
        .map(|contact| contact["id"].as_str().unwrap().to_owned())
        .collect();
    seen.sort();
    assert_eq!(seen, ["c0", "c1", "c2", "c3", "c4"], "each once");
    drop(daemon);
}
