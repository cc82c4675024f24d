//! Bounds of a request and of a listener: size, time, number.

use std::time::{Duration, Instant};

use super::SOON;
use crate::harness::ghl::{PATH, get};
use crate::harness::{Backend, Client, Daemon, DaemonConfig, Ghl, StoreUrl, eventually, store_url};

async fn daemon(http: &str) -> (Daemon, StoreUrl) {
    let url = store_url(Backend::Sqlite).await;
    let config = DaemonConfig::new(url.url()).set("http", http);
    (Daemon::start(&config).await, url)
}

async fn connect(daemon: &Daemon) -> Client {
    Client::connect(daemon.address()).await.unwrap()
}

/// A signed request whose body goes in chunks, without a length.
fn chunked(ghl: &Ghl, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "POST {PATH} HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\nx-ghl-signature: {}\r\n\r\n",
        ghl.key.sign_base64(body)
    )
    .into_bytes();
    for chunk in body.chunks(1_000) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

#[tokio::test]
async fn a_body_over_the_limit_is_answered_413_however_its_length_is_told() {
    let (daemon, _url) = daemon("max_body = \"16KiB\"").await;
    let ghl = Ghl::new();
    for (size, status) in [(16 * 1024, 200), (16 * 1024 + 1, 413)] {
        let body = vec![b'x'; size];
        let honest = ghl.request_bytes(PATH, &body);
        for (how, bytes) in [("announced", honest), ("in chunks", chunked(&ghl, &body))] {
            let mut client = connect(&daemon).await;
            // The server may answer and close before it has everything.
            let _ = client.write(&bytes).await;
            assert_eq!(
                client.answer().await.unwrap().status,
                status,
                "{size} {how}"
            );
            if status == 413 {
                assert!(client.is_closed(SOON).await, "{how}");
            }
        }
    }
    // Announced and never sent: nobody waits for it.
    let mut client = connect(&daemon).await;
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: h\r\ncontent-length: 99999999\r\n\r\n");
    client.write(head.as_bytes()).await.unwrap();
    assert_eq!(client.answer().await.unwrap().status, 413);
}

#[tokio::test]
async fn a_sender_in_the_midst_of_a_large_body_sees_the_413_and_not_a_reset() {
    let (daemon, _url) = daemon("max_body = \"512KiB\"").await;
    let ghl = Ghl::new();
    let large = vec![b'x'; 900_000];
    for bytes in [ghl.request_bytes(PATH, &large), chunked(&ghl, &large)] {
        let mut client = connect(&daemon).await;
        client.write(&bytes).await.unwrap();
        assert_eq!(client.answer().await.unwrap().status, 413);
    }
}

#[tokio::test]
async fn a_slow_body_is_answered_408_and_a_slow_head_is_closed() {
    let (daemon, _url) = daemon("body_timeout = \"300ms\"\nheader_timeout = \"500ms\"").await;
    let ghl = Ghl::new();
    let request = ghl.request_bytes(PATH, &ghl.body("ContactCreate", "l1", 1));

    let mut slow_body = connect(&daemon).await;
    let started = Instant::now();
    slow_body
        .write(&request[..request.len() - 1])
        .await
        .unwrap();
    assert_eq!(slow_body.answer().await.unwrap().status, 408);
    assert!(slow_body.is_closed(SOON).await);
    assert!(started.elapsed() >= Duration::from_millis(300));

    let mut slow_head = connect(&daemon).await;
    slow_head.write(&request[..40]).await.unwrap();
    let came = slow_head.until_closed(SOON).await.unwrap();
    let came = String::from_utf8_lossy(&came).into_owned();
    assert!(
        came.is_empty() || came.starts_with("HTTP/1.1 408"),
        "{came}"
    );

    // Byte by byte is slow too: the deadline is for the whole head.
    let mut dripping = connect(&daemon).await;
    let started = Instant::now();
    for byte in &request[..60] {
        if dripping.write(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(dripping.is_closed(SOON).await);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_an_old_one_after_its_request() {
    let (daemon, _url) = daemon("header_timeout = \"500ms\"\nconnection_max_age = \"1s\"").await;
    let ghl = Ghl::new();
    let mut idle = connect(&daemon).await;
    let answer = idle.post(&ghl, &ghl.body("ContactCreate", "l1", 1)).await;
    assert_eq!(answer.unwrap().status, 200);
    assert!(idle.is_closed(SOON).await);

    let mut busy = connect(&daemon).await;
    let started = Instant::now();
    let mut answered = 0;
    while started.elapsed() < SOON {
        let body = ghl.body("ContactCreate", "l1", answered);
        match busy.post(&ghl, &body).await {
            Ok(answer) => assert_eq!(answer.status, 200),
            Err(_) => break,
        }
        answered += 1;
    }
    assert!(answered > 0);
    let age = started.elapsed();
    assert!(
        (Duration::from_millis(900)..SOON).contains(&age),
        "closed at the age of {age:?}"
    );
}

/// The age of a connection is no reason to lose what is on its way, however long the requests of a shutdown have.
#[tokio::test]
async fn a_request_on_an_old_connection_comes_to_its_end() {
    let url = store_url(Backend::Sqlite).await;
    let config = DaemonConfig::new(url.url())
        .set("http", "connection_max_age = \"1s\"")
        .set("shutdown", "grace = \"1s\"");
    let (daemon, ghl) = (Daemon::start(&config).await, Ghl::new());
    let mut client = connect(&daemon).await;
    let request = ghl.request_bytes(PATH, &ghl.body("ContactCreate", "l1", 1));
    let (head, body) = request.split_at(request.len() - 30);
    client.write(head).await.unwrap();
    // As slow as a sender may be.
    for byte in body {
        tokio::time::sleep(Duration::from_millis(100)).await;
        client.write(&[*byte]).await.unwrap();
    }
    assert_eq!(client.answer().await.unwrap().status, 200);
    assert!(client.is_closed(SOON).await);
}

/// Who holds every place of the admin listener and says nothing does not keep probes out for long.
#[tokio::test]
async fn silent_connections_to_the_admin_listener_are_closed() {
    let (daemon, _url) = daemon("").await;
    let admin = daemon
        .admin()
        .trim_start_matches("http://")
        .parse()
        .unwrap();
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(Client::connect(admin).await.unwrap());
    }
    assert!(silent[0].is_closed(Duration::from_secs(20)).await);
    eventually("probes are answered", SOON, async || {
        let alive = get(&format!("{}/livez", daemon.admin())).await.ok()?;
        (alive.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn connections_over_the_cap_are_answered_429_and_room_comes_back() {
    let (daemon, _url) =
        daemon("max_connections = 2\nheader_timeout = \"60s\"\nretry_after = \"7s\"").await;
    let ghl = Ghl::new();
    let mut places = Vec::new();
    for n in 0..2 {
        let mut client = connect(&daemon).await;
        let answer = client.post(&ghl, &ghl.body("ContactCreate", "l1", n)).await;
        assert_eq!(answer.unwrap().status, 200);
        places.push(client);
    }
    let mut over = connect(&daemon).await;
    let answer = over.answer().await.unwrap();
    assert_eq!(answer.status, 429);
    assert_eq!(answer.header("retry-after"), Some("7"));
    assert!(over.is_closed(SOON).await);
    assert_eq!(
        daemon
            .metric("hookwell_http_connections_refused_total")
            .await,
        Some(1.0)
    );
    // Whoever has a place is served all the while.
    let answer = places[0]
        .post(&ghl, &ghl.body("ContactCreate", "l1", 3))
        .await;
    assert_eq!(answer.unwrap().status, 200);
    places.pop();
    eventually("a place is free again", SOON, async || {
        let mut client = connect(&daemon).await;
        let answer = client.post(&ghl, &ghl.body("ContactCreate", "l1", 4)).await;
        (answer.ok()?.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn bodies_beyond_the_memory_for_them_are_answered_429_and_memory_comes_back() {
    let (daemon, _url) = daemon("max_body = \"1MiB\"\nmax_body_memory = \"1MiB\"").await;
    let ghl = Ghl::new();
    let big = vec![b'b'; 1_000_000];
    let request = ghl.request_bytes(PATH, &big);
    let mut n = 0;
    let mut other = async || {
        n += 1;
        let body = format!("{n}{}", "x".repeat(60_000));
        let mut client = connect(&daemon).await;
        client.post(&ghl, body.as_bytes()).await.ok()
    };
    // Memory is taken as bytes come, so the other one may come first; then the large body is the one
    // that is refused. It may also be another large body, that of the try before, whose memory is
    // still taken. In both cases it begins again.
    let refused = eventually("only the large body has memory", SOON, async || {
        let mut holding = connect(&daemon).await;
        let (most, rest) = request.split_at(request.len() - 10);
        holding.write(most).await.ok()?;
        let refused = other().await.filter(|answer| answer.status != 200)?;
        holding.write(rest).await.ok()?;
        (holding.answer().await.ok()?.status == 200).then_some(refused)
    })
    .await;
    assert_eq!(refused.status, 429);
    assert!(refused.header("retry-after").is_some());
    let full = "hookwell_refused_total{reason=\"memory_full\"}";
    assert!(daemon.metric(full).await >= Some(1.0));
    eventually("the memory is free again", SOON, async || {
        (other().await?.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn heads_that_are_too_large_are_answered_431() {
    let (daemon, _url) = daemon("").await;
    let ghl = Ghl::new();
    let body = ghl.body("ContactCreate", "l1", 1);
    // Beside host and content-length, which the client adds.
    let many = |count: usize| {
        let mut headers = ghl.headers(&body);
        let more = count - headers.len() - 2;
        headers.extend((0..more).map(|n| (format!("x-{n}"), "v".to_owned())));
        headers
    };
    let wide = |size: usize| {
        let mut headers = ghl.headers(&body);
        headers.push(("x-wide".to_owned(), "v".repeat(size)));
        headers
    };
    for (what, headers, status) in [
        ("64 headers", many(64), 200),
        ("65 headers", many(65), 431),
        ("12 KiB", wide(12 * 1024), 200),
        ("20 KiB", wide(20 * 1024), 431),
    ] {
        let mut client = connect(&daemon).await;
        let answer = client.request("POST", PATH, &headers, &body).await.unwrap();
        assert_eq!(answer.status, status, "{what}");
    }
}

#[tokio::test]
async fn a_truncated_body_is_kept_in_quarantine_and_never_in_the_log() {
    let (daemon, _url) = daemon("").await;
    let ghl = Ghl::new();
    let request = ghl.request_bytes(PATH, &ghl.body("ContactCreate", "l1", 1));
    let mut client = connect(&daemon).await;
    client.write(&request[..request.len() - 1]).await.unwrap();
    client.finish().await.unwrap();
    assert!(client.is_closed(SOON).await);
    eventually("it is in quarantine", SOON, async || {
        (daemon.metric("hookwell_quarantine_entries").await? == 1.0).then_some(())
    })
    .await;
    let counted = "hookwell_refused_total{reason=\"truncated\"}";
    assert_eq!(daemon.metric(counted).await, Some(1.0));
    let accepted = "hookwell_ledger_events{state=\"accepted\"}";
    assert_eq!(daemon.metric(accepted).await, Some(0.0));
}
