//! What is answered to what.

use hookwell::event::{BodyHash, UNKNOWN_TYPE};

use super::SOON;
use crate::harness::daemon::ALL;
use crate::harness::ghl::{PATH, post_raw};
use crate::harness::{
    Answer, Backend, Client, Daemon, DaemonConfig, Ghl, Sink, StoreUrl, fresh_vhost, store_url,
};

/// Names with values; in [`request`] an empty value leaves the header out.
type Headers<'a> = &'a [(&'a str, &'a str)];

async fn daemon() -> (Daemon, StoreUrl) {
    let url = store_url(Backend::Sqlite).await;
    (Daemon::start(&DaemonConfig::new(url.url())).await, url)
}

async fn refused(daemon: &Daemon, reason: &str) -> Option<f64> {
    daemon
        .metric(&format!("hookwell_refused_total{{reason=\"{reason}\"}}"))
        .await
}

#[tokio::test]
async fn a_committed_webhook_is_accepted_and_its_repeat_is_a_duplicate() {
    let (daemon, _url) = daemon().await;
    let ghl = Ghl::new();
    let body = ghl.body_with_id("ContactCreate", "l1", 1, "hook-1");
    for (status, outcome) in [("accepted", "new"), ("duplicate", "duplicate")] {
        let answer = ghl.post(&daemon, &body).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(
            answer.json(),
            serde_json::json!({"status": status, "event_key": "hook-1"})
        );
        let counted = format!("hookwell_events_accepted_total{{outcome=\"{outcome}\"}}");
        assert_eq!(daemon.metric(&counted).await, Some(1.0));
    }
    let other = ghl.body_with_id("ContactUpdate", "l1", 2, "hook-1");
    let answer = ghl.post(&daemon, &other).await;
    let key = format!("hook-1~{}", &BodyHash::of(&other).to_string()[..16]);
    assert_eq!(
        answer.json(),
        serde_json::json!({"status": "accepted", "event_key": key})
    );
}

#[tokio::test]
async fn every_way_to_lack_a_signature_is_answered_401_and_counted_by_reason() {
    let (daemon, _url) = daemon().await;
    let ghl = Ghl::new();
    let body = ghl.body("ContactCreate", "l1", 1);
    let good = ghl.key.sign_base64(&body);
    let stranger = Ghl::with_seed([8; 32]).key.sign_base64(&body);
    let spoiled = {
        let mut bytes = body.clone();
        *bytes.last_mut().unwrap() = b' ';
        bytes
    };
    let url_safe = "-_".repeat(44);
    let rows: [(&str, Headers<'_>, &[u8]); 12] = [
        ("signature_missing", &[], &body),
        ("signature_missing", &[("x-ghl-signature", "")], &body),
        (
            "signature_not_applicable",
            &[("x-ghl-signature", "N/A")],
            &body,
        ),
        (
            "signature_repeated",
            &[("x-ghl-signature", &good), ("X-GHL-Signature", &good)],
            &body,
        ),
        (
            "signature_malformed",
            &[("x-ghl-signature", "not base64 at all")],
            &body,
        ),
        (
            "signature_malformed",
            &[("x-ghl-signature", &url_safe)],
            &body,
        ),
        (
            "signature_malformed",
            &[("x-ghl-signature", &good[..40])],
            &body,
        ),
        ("signature_wrong", &[("x-ghl-signature", &stranger)], &body),
        ("signature_wrong", &[("x-ghl-signature", &good)], &spoiled),
        ("signature_wrong", &[("x-ghl-signature", &good)], b""),
        (
            "signature_legacy_disabled",
            &[("x-wh-signature", &good)],
            &body,
        ),
        (
            "signature_wrong",
            &[("x-ghl-signature", &stranger), ("x-wh-signature", &good)],
            &body,
        ),
    ];
    for (reason, headers, body) in rows {
        let before = refused(&daemon, reason).await.unwrap();
        let answer = post_raw(&daemon.url(), headers, body).await;
        assert_eq!(answer.status, 401, "{reason} {headers:?}");
        // The same for every reason: whoever guesses learns nothing.
        assert_eq!(answer.text(), r#"{"error":"signature"}"#);
        assert_eq!(
            refused(&daemon, reason).await,
            Some(before + 1.0),
            "{reason} {headers:?}"
        );
    }
    let padless = good.trim_end_matches('=');
    let answer = post_raw(&daemon.url(), &[("x-ghl-signature", padless)], &body).await;
    assert_eq!(answer.status, 200, "padding may be left out");
}

#[tokio::test]
async fn a_signed_body_for_another_app_is_answered_403() {
    let (daemon, _url) = daemon().await;
    let ghl = Ghl {
        app_id: "ffffffffffffffffffffffff".to_owned(),
        ..Ghl::new()
    };
    let answer = ghl.post(&daemon, &ghl.body("ContactCreate", "l1", 1)).await;
    assert_eq!(answer.status, 403);
    assert_eq!(refused(&daemon, "unknown_app").await, Some(1.0));
    // No such app named at all: the path says whose it is.
    let ghl = Ghl::new();
    assert_eq!(ghl.post(&daemon, br#"{"type":"X"}"#).await.status, 200);
}

#[tokio::test]
async fn what_ghl_signed_and_nobody_can_read_is_published_as_unknown_byte_for_byte() {
    let url = store_url(Backend::Postgres).await;
    let broker = fresh_vhost().await;
    let sink = Sink::open(&broker.url, &[ALL]).await;
    let config = DaemonConfig::new(url.url()).broker(&broker.url);
    let daemon = Daemon::start(&config).await;
    let ghl = Ghl::new();
    let deep = [vec![b'['; 5_000], vec![b']'; 5_000]].concat();
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("not_json", b"this is not JSON".to_vec()),
        ("not_json", b"{\"type\":\"ContactCreate\"".to_vec()),
        ("nul", b"{\"type\":\"Contact\\u0000Create\"}".to_vec()),
        ("lone_surrogate", b"{\"type\":\"\\ud83d\"}".to_vec()),
        ("too_deep", deep),
        (
            "duplicate_name",
            b"{\"type\":\"A\",\"type\":\"B\"}".to_vec(),
        ),
        ("number_out_of_range", b"{\"n\":1e400}".to_vec()),
        ("no_object", Vec::new()),
        ("not_utf8", b"{\"type\":\"\xff\xfe\"}".to_vec()),
        ("byte_order_mark", b"\xef\xbb\xbf{}".to_vec()),
        ("no_object", b"null".to_vec()),
    ];
    for (reason, body) in &bodies {
        let counted = format!("hookwell_events_unreadable_total{{reason=\"{reason}\"}}");
        let before = daemon.metric(&counted).await.unwrap_or(0.0);
        let answer = ghl.post(&daemon, body).await;
        assert_eq!(answer.status, 200, "{reason}");
        assert_eq!(
            daemon.metric(&counted).await,
            Some(before + 1.0),
            "{reason}"
        );
    }
    // No type and no tenant is no reason either.
    let bare = b"{\"appId\":\"0123456789abcdef01234567\",\"a\":1}".to_vec();
    assert_eq!(ghl.post(&daemon, &bare).await.status, 200);

    let sent: Vec<_> = bodies
        .into_iter()
        .map(|(_, body)| body)
        .chain([bare])
        .collect();
    let taken = sink.wait_for(sent.len(), SOON).await;
    for (n, (body, delivery)) in sent.iter().zip(&taken).enumerate() {
        assert!(delivery.body == *body, "body {n} came out changed");
        assert_eq!(delivery.kind, UNKNOWN_TYPE);
        assert_eq!(delivery.routing_key, "other.unknown.none");
    }
}

#[tokio::test]
async fn an_event_name_in_the_url_stands_in_for_a_missing_type() {
    let url = store_url(Backend::Sqlite).await;
    let broker = fresh_vhost().await;
    let sink = Sink::open(&broker.url, &[ALL]).await;
    let config = DaemonConfig::new(url.url()).broker(&broker.url);
    let daemon = Daemon::start(&config).await;
    let ghl = Ghl::new();
    let invoice = ghl.body("InvoicePaid", "l1", 1);
    let contact = ghl.body("ContactCreate", "l1", 1);
    for (path, body) in [
        (format!("{PATH}/InvoicePaid"), &invoice),
        (format!("{PATH}/OpportunityCreate"), &contact),
    ] {
        assert_eq!(ghl.post_to(&daemon, &path, body).await.status, 200);
    }
    let taken = sink.wait_for(2, SOON).await;
    let kinds: Vec<_> = taken
        .iter()
        .map(|delivery| delivery.kind.as_str())
        .collect();
    assert_eq!(kinds, ["InvoicePaid", "ContactCreate"]);
}

async fn request(
    daemon: &Daemon,
    method: &str,
    path: &str,
    headers: Headers<'_>,
    body: &[u8],
) -> Answer {
    let mut all = Ghl::new().headers(body);
    for (name, value) in headers {
        all.retain(|(other, _)| other != name);
        if !value.is_empty() {
            all.push(((*name).to_owned(), (*value).to_owned()));
        }
    }
    Client::connect(daemon.address())
        .await
        .unwrap()
        .request(method, path, &all, body)
        .await
        .unwrap()
}

#[tokio::test]
async fn paths_methods_and_media_types_are_answered_without_a_redirect() {
    let (daemon, _url) = daemon().await;
    let body = Ghl::new().body("ContactCreate", "l1", 1);
    let rows: [(&str, &str, Headers<'_>, u16); 22] = [
        ("POST", PATH, &[], 200),
        ("POST", PATH, &[("content-type", "")], 200),
        (
            "POST",
            PATH,
            &[("content-type", "Application/JSON; charset=utf-8")],
            200,
        ),
        ("POST", "/webhooks/ghl/ContactCreate", &[], 200),
        ("POST", "/webhooks/ghl?a=b", &[], 200),
        ("POST", "/", &[], 404),
        ("POST", "/webhooks", &[], 404),
        ("POST", "/webhooks/ghl/", &[], 404),
        ("POST", "//webhooks/ghl", &[], 404),
        ("POST", "/webhooks/ghl/ContactCreate/", &[], 404),
        ("POST", "/webhooks/ghl/a/b", &[], 404),
        ("POST", "/WEBHOOKS/GHL", &[], 404),
        ("GET", "/metrics", &[], 404),
        ("GET", "/livez", &[], 404),
        ("GET", "/readyz", &[], 404),
        ("GET", PATH, &[], 405),
        ("PUT", PATH, &[], 405),
        ("DELETE", "/webhooks/ghl/ContactCreate", &[], 405),
        ("OPTIONS", PATH, &[], 405),
        ("POST", PATH, &[("content-type", "text/plain")], 415),
        (
            "POST",
            PATH,
            &[("content-type", "application/x-www-form-urlencoded")],
            415,
        ),
        ("POST", PATH, &[("content-encoding", "gzip")], 415),
    ];
    for (method, path, headers, status) in rows {
        let answer = request(&daemon, method, path, headers, &body).await;
        assert_eq!(answer.status, status, "{method} {path} {headers:?}");
        assert_eq!(answer.header("location"), None, "{method} {path}");
        let allow = (status == 405).then_some("POST");
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
    }
    for (reason, count) in [("not_found", 10.0), ("method", 4.0), ("media_type", 3.0)] {
        assert_eq!(refused(&daemon, reason).await, Some(count), "{reason}");
    }
    let redirects = daemon.metrics().await;
    assert!(!redirects.contains("code=\"3"), "{redirects}");
}
