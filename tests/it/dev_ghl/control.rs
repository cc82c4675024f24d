//! The handle over HTTP, `/_dev/`.

use serde_json::json;

use super::{World, said, text};

#[tokio::test]
async fn what_a_test_asks_of_the_handle_is_asked_over_http_too() {
    let world = World::usual().await;
    world.api.ghl.put_contact("c", json!({"firstName": "Ada"}));
    let token = world.first().await;
    let dev = async |method: &str, path: &str, body: &str| {
        said(
            world
                .request(method, &format!("/_dev{path}"))
                .body(body.to_owned()),
        )
        .await
    };
    let fault = r#"{"path":"/contacts/","count":1,"deed":{"status":503}}"#;
    assert_eq!(dev("POST", "/fault", fault).await.status, 200);
    assert_eq!(
        dev("GET", "/fault", "").await.ok()[0]["deed"]["status"],
        503
    );
    assert_eq!(world.get("/contacts/c", &token).await.status, 503);
    dev("POST", "/fault", r#"{"deed":"malformed"}"#).await.ok();
    dev("DELETE", "/fault", "").await.ok();
    assert_eq!(world.get("/contacts/c", &token).await.status, 200);
    let wrong = dev("POST", "/fault", r#"{"deed":{"explode":1}}"#).await;
    assert_eq!(wrong.status, 400);
    assert!(
        text(&wrong.json(), "error").contains("explode"),
        "{wrong:?}"
    );

    let put = dev("PUT", "/contacts/d", r#"{"firstName":"Eve"}"#)
        .await
        .ok();
    assert_eq!(
        (&put["id"], &put["firstName"]),
        (&"d".into(), &"Eve".into())
    );
    assert_eq!(world.get("/contacts/d", &token).await.ok()["contact"], put);
    dev("DELETE", "/contacts/d", "").await.ok();
    assert_eq!(dev("GET", "/contacts/d", "").await.status, 404);
    assert_eq!(world.get("/contacts/d", &token).await.status, 404);
    dev("PUT", "/opportunities/o", r#"{"status":"won"}"#)
        .await
        .ok();
    assert_eq!(
        dev("GET", "/opportunities/o", "").await.ok()["status"],
        "won"
    );
    dev("DELETE", "/opportunities/o", "").await.ok();

    dev("PUT", "/locations/New", r#"{"name":"A new one"}"#)
        .await
        .ok();
    let code = text(
        &dev("POST", "/code", r#"{"location":"New"}"#).await.ok(),
        "code",
    );
    let answer = world
        .token(&[("grant_type", "authorization_code"), ("code", &code)])
        .await
        .ok();
    let new = text(&answer, "access_token");
    assert_eq!(
        world.get("/locations/New", &new).await.ok()["location"]["name"],
        "A new one"
    );
    dev("POST", "/uninstall", r#"{"location":"New"}"#)
        .await
        .ok();
    assert_eq!(world.get("/locations/New", &new).await.status, 403);
    dev("POST", "/install", r#"{"location":"New"}"#).await.ok();
    assert_eq!(world.get("/locations/New", &new).await.status, 200);
    dev("POST", "/expire", "").await.ok();
    assert_eq!(world.get("/locations/New", &new).await.status, 401);
    assert_eq!(
        dev("POST", "/code", r#"{"agency":"New"}"#).await.status,
        400
    );

    let report = dev("GET", "/report", "").await.ok();
    assert_eq!(report["exchanged"]["New"], 1);
    assert_eq!(report["tenants"]["New"]["requests"], 3);
    let journal = dev("GET", "/journal", "").await.ok();
    // What is asked here is not in it.
    assert!(
        journal
            .as_array()
            .unwrap()
            .iter()
            .all(|entry| !text(entry, "path").contains("_dev"))
    );
    dev("DELETE", "/journal", "").await.ok();
    assert_eq!(dev("GET", "/journal", "").await.ok(), json!([]));
    assert_eq!(dev("GET", "/received", "").await.ok(), json!([]));
    assert_eq!(dev("GET", "/nowhere", "").await.status, 404);
    assert!(
        dev("GET", "/", "").await.ok()["routes"]
            .as_array()
            .unwrap()
            .len()
            > 10
    );
}
