//! Where calls may go: to the configured host, and by its name only to a public address (S-21).

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpListener;

use super::*;

/// Counts who connects, and says nothing to them.
async fn trap() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            drop(stream);
        }
    });
    (port, count)
}

/// Whoever owns the name of the configured host may have it lead to this machine, and an environment may name a
/// proxy: no call goes to either.
#[tokio::test]
async fn a_name_that_leads_to_this_machine_is_not_called_and_no_proxy_is_asked() {
    let mut world = World::new(Backend::Sqlite, "").await;
    let ((host, called), (proxy, asked)) = (trap().await, trap().await);
    let base = format!("https://localhost:{host}");
    world.config.variables.extend([
        ("HOOKWELL_GHL__API_BASE".to_owned(), base),
        (
            "HTTPS_PROXY".to_owned(),
            format!("http://127.0.0.1:{proxy}"),
        ),
        ("ALL_PROXY".to_owned(), format!("http://127.0.0.1:{proxy}")),
    ]);
    world.config.of_app += "\ninstall_without_state = true";
    let daemon = world.start().await;
    let code = world.api.ghl.issue_code(&world.company);
    let url = format!("http://{}{CALLBACK}?code={code}", daemon.address());
    let page = Browser::new().get(&url).await;
    assert_eq!(page.status, 502, "{page:?}");
    eventually("the log says why", WITHIN, async || {
        let log = daemon.log();
        log.contains("localhost has no public address")
            .then_some(())
    })
    .await;
    let count = |of: Arc<AtomicUsize>| of.load(Ordering::SeqCst);
    assert_eq!((count(called), count(asked)), (0, 0));
}
