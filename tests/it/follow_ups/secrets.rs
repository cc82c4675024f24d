//! What must appear nowhere (I13). The fault bench looks for the same under every fault of the API.

use hookwell::dev::ghl::{Deed, Fault};

use super::*;

on_both! {
    nothing_secret_is_anywhere
}

/// The client secret, tokens and keys: not in a log, a metric, a page, an error, or the store in clear (I13).
async fn nothing_secret_is_anywhere(backend: Backend) {
    let world = World::new(backend, SNAPSHOT).await;
    world
        .api
        .ghl
        .put_contact("c1", json!({"locationId": world.location}));
    let mut daemon = world.authorised().await;
    world.contact(&daemon, "ContactCreate", "c1").await;
    world.settled(1).await;
    // Errors talk most.
    world
        .api
        .ghl
        .fault(Fault::new(Deed::Status(500)).path("/oauth/"));
    world.api.ghl.expire_access_tokens(None);
    world.contact(&daemon, "ContactUpdate", "c1").await;
    eventually("the call waits for a token", WITHIN, async || {
        let calls = world.follow_ups();
        let waits = calls.iter().any(|call| call["reason"] == "token_later");
        waits.then_some(())
    })
    .await;
    let mut everything = vec![
        ("log", daemon.log().into_bytes()),
        ("metrics", daemon.metrics().await.into_bytes()),
    ];
    for arguments in [
        &["installs", "list"][..],
        &["follow-ups", "list"],
        &["status"],
        &["check-config"],
    ] {
        let output = run_cli(arguments, &world.config);
        everything.push(("a command", [output.stdout, output.stderr].concat()));
    }
    daemon.terminate().await;
    everything.push(("store", dump(&world.store).await));
    let key = Keyring::line("k1", &[9; KEY_BYTES]);
    let key = key.split_whitespace().nth(1).unwrap().to_owned();
    // Every token is a JWT.
    let canaries = [SECRET.to_owned(), "eyJ".to_owned(), key];
    for (what, bytes) in &everything {
        for canary in &canaries {
            let found = bytes
                .windows(canary.len())
                .any(|part| part == canary.as_bytes());
            assert!(!found, "{canary} is in the {what}");
        }
    }
}

/// Everything that the store holds.
async fn dump(store: &StoreUrl) -> Vec<u8> {
    match store.url().strip_prefix("sqlite://") {
        Some(path) => std::fs::read(path).unwrap(),
        None => {
            let output = std::process::Command::new("pg_dump")
                .arg("--inserts")
                .arg(store.url())
                .output();
            let output = output.unwrap();
            assert!(output.status.success());
            output.stdout
        }
    }
}
