//! The company of a location: found where nobody said it, looked at by itself, and the end of all its locations.

use hookwell::clock::{rfc3339, system};
use hookwell::dev::ghl::{Deed, Fault};
use hookwell::event::Micros;

use super::*;

on_both! {
    a_location_whose_install_said_no_company_gets_its_token_and_ends_with_its_company
    where_the_app_is_installed_is_looked_at_by_itself
    a_call_with_the_companys_token_needs_no_company_in_the_event
    a_call_with_the_companys_token_ends_with_its_location
}

const OF_COMPANY: &str = r#"
[[follow_ups]]
name = "location"
on = ["ContactCreate"]
request = "GET /locations/{location_id}"
token_of = "company"
"#;

/// A moment so many seconds from now, as GHL writes it.
fn in_seconds(seconds: i64) -> String {
    rfc3339(Micros(system()().0 + seconds * 1_000_000))
}

/// "Install to future locations": GHL says the location and nothing of its company.
async fn a_location_whose_install_said_no_company_gets_its_token_and_ends_with_its_company(
    backend: Backend,
) {
    let world = World::new(backend, SNAPSHOT).await;
    let fields = json!({"locationId": world.location});
    world.api.ghl.put_contact("c1", fields);
    let daemon = world.authorised().await;
    let install = json!({"type": "INSTALL", "appId": APP_ID, "locationId": world.location,
        "timestamp": in_seconds(0), "webhookId": uuid::Uuid::new_v4().to_string()});
    world.send(&daemon, &install).await;
    world
        .contact_without_company(&daemon, "ContactCreate", "c1")
        .await;
    world.token_is(&world.location, "usable").await;
    eventually("the call is made", WITHIN, async || {
        let calls = world.follow_ups();
        let mut of = calls.iter().filter(|call| call["entity_id"] == "c1");
        of.any(|call| call["state"] == "done").then_some(())
    })
    .await;
    let shown = world.lines(&["installs", "show", &world.location]);
    assert_eq!(shown[0]["company_id"], world.company.id());
    // It is installed once: nobody is told of a second INSTALL, and nothing is read twice.
    let kinds = [
        "events",
        "list",
        "--type",
        "INSTALL",
        "--tenant",
        &world.location,
    ];
    let installs = world.lines(&kinds);
    assert_eq!(installs.len(), 1, "{installs:?}");
    world.live(&daemon, "UNINSTALL", None, &in_seconds(1)).await;
    eventually("the location is uninstalled", WITHIN, async || {
        let shown = world.lines(&["installs", "show", &world.location]);
        (shown[0]["state"] == "uninstalled").then_some(())
    })
    .await;
    world.token_is(&world.location, "none").await;
}

/// Nobody asks for it, no call is refused, and no company is unknown: it is the schedule alone.
async fn where_the_app_is_installed_is_looked_at_by_itself(backend: Backend) {
    let mut world = World::new(backend, "").await;
    let every = ("HOOKWELL_REPAIR__RECONCILE_EVERY", "1s");
    world
        .config
        .variables
        .push((every.0.to_owned(), every.1.to_owned()));
    let _daemon = world.authorised().await;
    // Its INSTALL was lost.
    world.token_is(&world.location, "usable").await;
    let asked = world.events("installs.requested");
    let why = json!({"companyId": world.company.id(), "why": "schedule"});
    assert!(!asked.is_empty() && asked.iter().all(|(_, body)| *body == why));
}

async fn a_call_with_the_companys_token_needs_no_company_in_the_event(backend: Backend) {
    let world = World::new(backend, OF_COMPANY).await;
    let daemon = world.authorised().await;
    world
        .live(&daemon, "INSTALL", Some(&world.location), &in_seconds(0))
        .await;
    // With the INSTALL in one run of the log, it may be, and certainly behind it.
    for (id, calls) in [("c1", 2), ("c2", 3)] {
        world
            .contact_without_company(&daemon, "ContactCreate", id)
            .await;
        world.settled(calls).await;
    }
    let calls = world.lines(&["follow-ups", "list", "--rule", "location"]);
    assert_eq!(calls.len(), 2);
    for call in &calls {
        assert_eq!(
            (&call["state"], &call["status"], &call["tenant"]),
            (&json!("done"), &json!(200), &json!(world.company.id()))
        );
    }
    let position = calls[0]["position"].to_string();
    let shown = ["follow-ups", "try", "location", "--event", &position];
    let output = run_cli(&shown, &world.config);
    let text = String::from_utf8(output.stdout).unwrap();
    let owner = format!("(the token of {})", world.company.id());
    assert!(text.contains(&owner), "{text}");
    assert_eq!(world.lines(&shown)[0]["token_of"], world.company.id());
    // One whose company nobody knows is left to a person, and says why.
    let body = json!({"type": "ContactCreate", "appId": APP_ID, "locationId": "unheard-of", "id": "c3",
        "webhookId": uuid::Uuid::new_v4().to_string()});
    world.send(&daemon, &body).await;
    let parked = &world.settled(4).await[0];
    assert_eq!(
        (&parked["state"], &parked["reason"], &parked["detail"]),
        (
            &json!("dead"),
            &json!("no_tenant"),
            &json!("the company of the event's location is not known")
        )
    );
}

/// Such a call is the company's, and the location is gone all the same.
async fn a_call_with_the_companys_token_ends_with_its_location(backend: Backend) {
    // More than are made before the last event is posted: the breaker holds it then.
    let world = World::with(backend, OF_COMPANY, settings(), "attempts = 20\n").await;
    let daemon = world.authorised().await;
    let other = Settings::location(1);
    for location in [&world.location, &other] {
        world
            .live(&daemon, "INSTALL", Some(location), &in_seconds(0))
            .await;
        world.token_is(location, "usable").await;
    }
    world
        .api
        .ghl
        .fault(Fault::new(Deed::Status(503)).path("/locations/"));
    for location in [&world.location, &other] {
        let body = json!({"type": "ContactCreate", "appId": APP_ID, "locationId": location, "id": "c1",
            "webhookId": uuid::Uuid::new_v4().to_string()});
        world.send(&daemon, &body).await;
    }
    world
        .live(&daemon, "UNINSTALL", Some(&world.location), &in_seconds(1))
        .await;
    let calls = || world.lines(&["follow-ups", "list", "--rule", "location"]);
    let state = |location: &str| {
        let all = calls();
        let mut of = all.iter().filter(|call| {
            let shown = &world.lines(&["events", "show", &call["position"].to_string()])[0];
            shown["location_id"] == location
        });
        of.next().map(|call| call["state"].clone())
    };
    eventually("it is cancelled", WITHIN, async || {
        (state(&world.location) == Some(json!("cancelled"))).then_some(())
    })
    .await;
    world.api.ghl.clear_faults();
    eventually("the other one is made", WITHIN, async || {
        (state(&other) == Some(json!("done"))).then_some(())
    })
    .await;
}
