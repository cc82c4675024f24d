//! Installations: the newest event wins, and what is uninstalled has no token.

use hookwell::event::lifecycle::{Account, Lifecycle};
use hookwell::event::subscription::{Change, Subscription};
use hookwell::store::{
    Installation, InstallationFilter, NewToken, OauthState, Plan, SUBSCRIPTIONS, SubscriptionFilter,
};

use super::*;

pub(super) const LEASE: Duration = Duration::from_secs(600);

pub(super) fn now() -> Micros {
    hookwell::clock::system()()
}

/// An event of an app's life, with GHL's time.
pub(super) fn life(
    kind: &str,
    location: Option<&str>,
    company: Option<&str>,
    at: i64,
) -> Lifecycle {
    let mut event = event(
        "l",
        format!("{{\"type\":{kind:?},\"planId\":\"plan {at}\"}}"),
    );
    event.event_type = kind.to_owned();
    event.tenant = Tenant {
        company_id: company.map(str::to_owned),
        location_id: location.map(str::to_owned),
    };
    event.received_at = Micros(at);
    Lifecycle::of(&event).unwrap()
}

pub(super) async fn live(f: &Fixture, lives: Vec<Lifecycle>) {
    let mut reader = eventually("the planner's reader is free", DEADLINE, async || {
        f.store.plan_reader().await.unwrap()
    })
    .await;
    let lives = lives
        .into_iter()
        .map(|life| (Position(1), "app".to_owned(), life));
    let plan = Plan {
        upto: Position(1),
        lifecycles: lives.collect(),
        calls: Vec::new(),
    };
    reader.settle(&plan, now()).await.unwrap();
}

async fn get(f: &Fixture, tenant: &str) -> Installation {
    f.store.installation("app", tenant).await.unwrap().unwrap()
}

async fn is_installed(f: &Fixture, tenant: &str) -> (bool, i64) {
    let found = get(f, tenant).await;
    (found.installed, found.generation)
}

pub fn token(text: &str, company: Option<&str>) -> NewToken {
    NewToken {
        account: match company {
            Some(_) => Account::Location,
            None => Account::Company,
        },
        company_id: company.map(str::to_owned),
        access: format!("access {text}").into_bytes(),
        refresh: Some(format!("refresh {text}").into_bytes()),
        scope: "contacts.readonly".to_owned(),
        life: Duration::from_secs(3_600),
        minted: false,
    }
}

pub(super) async fn version(f: &Fixture, tenant: &str) -> i64 {
    f.store.token("app", tenant).await.unwrap().unwrap().version
}

pub(super) async fn put(f: &Fixture, tenant: &str, token: &NewToken) {
    f.store
        .put_token("app", tenant, token, now())
        .await
        .unwrap();
}

pub async fn an_installation_follows_its_newest_event(f: &Fixture) {
    live(f, vec![life("INSTALL", Some("l1"), Some("c1"), 100)]).await;
    assert_eq!(is_installed(f, "l1").await, (true, 1));
    // A delivery that was retried for days comes late and is older.
    live(f, vec![life("UNINSTALL", Some("l1"), None, 50)]).await;
    assert_eq!(is_installed(f, "l1").await, (true, 1));
    live(f, vec![life("UNINSTALL", Some("l1"), None, 200)]).await;
    assert_eq!(is_installed(f, "l1").await, (false, 1));
    live(f, vec![life("UPDATE", Some("l1"), None, 210)]).await;
    assert_eq!(
        is_installed(f, "l1").await,
        (false, 1),
        "an update installs nothing"
    );
    live(f, vec![life("INSTALL", Some("l1"), None, 300)]).await;
    assert_eq!(is_installed(f, "l1").await, (true, 2));
    let found = get(f, "l1").await;
    assert_eq!(found.company_id.as_deref(), Some("c1"), "known from before");
    assert_eq!(
        (found.installed_at, found.uninstalled_at),
        (Some(Micros(300)), None)
    );
    live(f, vec![life("PLAN_CHANGE", Some("l1"), None, 400)]).await;
    let found = get(f, "l1").await;
    assert_eq!(found.details.plan_id.as_deref(), Some("plan 400"));
    assert_eq!(found.installed_at, Some(Micros(300)));
}

pub async fn an_installation_is_as_old_as_its_first_token_until_its_install_comes(f: &Fixture) {
    let before = now();
    put(f, "c1", &token("1", None)).await;
    let first = get(f, "c1").await.installed_at;
    assert!(first.is_some_and(|at| before <= at && at <= now()));
    put(f, "c1", &token("2", None)).await;
    live(f, vec![life("UPDATE", None, Some("c1"), 50)]).await;
    assert_eq!(get(f, "c1").await.installed_at, first);
    live(f, vec![life("INSTALL", None, Some("c1"), 100)]).await;
    assert_eq!(get(f, "c1").await.installed_at, Some(Micros(100)));
}

pub async fn an_uninstall_that_comes_first_is_remembered(f: &Fixture) {
    live(f, vec![life("UNINSTALL", Some("l1"), None, 100)]).await;
    live(f, vec![life("INSTALL", Some("l1"), Some("c1"), 90)]).await;
    assert!(!get(f, "l1").await.installed);
    // An agency that removed the app removed it from locations that nobody knew of.
    live(f, vec![life("UNINSTALL", None, Some("c1"), 100)]).await;
    live(f, vec![life("INSTALL", Some("l2"), Some("c1"), 90)]).await;
    assert!(f.store.installation("app", "l2").await.unwrap().is_none());
    live(f, vec![life("INSTALL", Some("l2"), Some("c1"), 110)]).await;
    assert!(get(f, "l2").await.installed);
}

pub async fn a_companys_uninstall_is_that_of_every_location(f: &Fixture) {
    let lives = [("l1", "c1"), ("l2", "c1"), ("l3", "c2")];
    let lives = lives.map(|(l, c)| life("INSTALL", Some(l), Some(c), 10));
    live(f, lives.into()).await;
    live(f, vec![life("INSTALL", None, Some("c1"), 10)]).await;
    for (tenant, company) in [("c1", None), ("l1", Some("c1")), ("l3", Some("c2"))] {
        put(f, tenant, &token(tenant, company)).await;
    }
    // Tokens count from when they were obtained.
    let at = now().0 + 1_000_000;
    live(f, vec![life("UNINSTALL", None, Some("c1"), at)]).await;
    for (tenant, installed) in [("c1", false), ("l1", false), ("l2", false), ("l3", true)] {
        assert_eq!(get(f, tenant).await.installed, installed, "{tenant}");
        let token = f.store.token("app", tenant).await.unwrap();
        assert_eq!(token.is_some(), tenant == "l3", "{tenant}");
    }
}

/// "Install to future locations": the INSTALL says no company.
pub async fn a_location_whose_company_is_said_later_ends_with_it(f: &Fixture) {
    for tenant in ["by-update", "by-token", "by-install"] {
        live(f, vec![life("INSTALL", Some(tenant), None, 20)]).await;
        assert_eq!(get(f, tenant).await.company_id, None);
    }
    live(f, vec![life("UPDATE", Some("by-update"), Some("c1"), 20)]).await;
    put(f, "by-token", &token("1", Some("c1"))).await;
    live(f, vec![life("INSTALL", Some("by-install"), Some("c1"), 20)]).await;
    // What is known is not replaced.
    put(f, "by-update", &token("1", Some("c2"))).await;
    for tenant in ["by-update", "by-token", "by-install"] {
        let found = get(f, tenant).await;
        assert_eq!(found.company_id.as_deref(), Some("c1"), "{tenant}");
        assert_eq!((found.generation, found.changed_at), (1, Micros(20)));
    }
    // This one's says none.
    put(f, "by-install", &token("1", None)).await;
    let later = now().0 + 1_000_000;
    live(f, vec![life("UNINSTALL", None, Some("c1"), later)]).await;
    for tenant in ["by-update", "by-token", "by-install"] {
        assert!(!get(f, tenant).await.installed, "{tenant}");
        let left = f.store.token("app", tenant).await.unwrap();
        assert!(left.is_none(), "{tenant}");
    }
}

pub async fn an_old_uninstall_erases_no_newer_token(f: &Fixture) {
    put(f, "l1", &token("new", Some("c1"))).await;
    assert!(get(f, "l1").await.installed, "who has a token is installed");
    live(f, vec![life("UNINSTALL", Some("l1"), None, 1_000)]).await;
    assert!(f.store.token("app", "l1").await.unwrap().is_some());
}

pub async fn a_state_is_good_once_and_with_its_cookie(f: &Fixture) {
    let state = |n: u8| OauthState {
        state_hash: [n; 32],
        cookie_hash: [n + 100; 32],
    };
    let put = async |n, life, most| {
        f.store
            .put_oauth_state("app", &state(n), life, most, now())
            .await
            .unwrap();
    };
    let take = async |state: OauthState| f.store.take_oauth_state(&state, now()).await.unwrap();
    put(1, LEASE, 10).await;
    assert_eq!(take(state(1)).await.as_deref(), Some("app"));
    assert_eq!(take(state(1)).await, None, "once");
    put(2, LEASE, 10).await;
    let foreign = OauthState {
        cookie_hash: [0; 32],
        ..state(2)
    };
    assert_eq!(take(foreign).await, None);
    assert_eq!(take(state(2)).await, None, "spent by the wrong cookie");
    put(3, Duration::ZERO, 10).await;
    assert_eq!(take(state(3)).await, None, "its time is over");
    for n in 10..15 {
        put(n, LEASE, 3).await;
    }
    assert_eq!(take(state(10)).await, None, "pushed out");
    assert_eq!(take(state(14)).await.as_deref(), Some("app"));
}

pub async fn installations_are_listed_page_by_page(f: &Fixture) {
    let lives = ["a", "b", "c"].map(|tenant| life("INSTALL", Some(tenant), None, 10));
    live(f, lives.into()).await;
    live(f, vec![life("UNINSTALL", Some("b"), None, 20)]).await;
    let list = async |installed, after: Option<&str>, limit| {
        let filter = InstallationFilter {
            app_id: None,
            company_id: None,
            installed,
            after: after.map(|tenant| ("app".to_owned(), tenant.to_owned())),
            limit,
        };
        let found = f.store.installations(&filter).await.unwrap();
        found.into_iter().map(|one| one.tenant).collect::<Vec<_>>()
    };
    assert_eq!(list(false, None, 2).await, ["a", "b"]);
    assert_eq!(list(false, Some("b"), 2).await, ["c"]);
    assert_eq!(list(true, None, 9).await, ["a", "c"]);
}

pub async fn a_subscription_is_what_was_said_last_until_it_is_deleted(f: &Fixture) {
    let kept = |id: &str, trigger: &str| {
        Change::Kept(Subscription {
            id: id.to_owned(),
            trigger: trigger.to_owned(),
            location_id: "l1".to_owned(),
            company_id: None,
            workflow_id: Some("w".to_owned()),
            filters: serde_json::json!([{"value": "ü"}]),
            target_url: "https://api.example/x".to_owned(),
        })
    };
    let change = async |app: &str, change: &Change| {
        let done = f.store.change_subscription(app, change, now());
        assert!(done.await.unwrap());
    };
    change("app", &kept("s1", "won")).await;
    change("app", &kept("s2", "won")).await;
    change("other", &kept("s1", "won")).await;
    change("app", &kept("s1", "lost")).await;
    let list = async |trigger: &str| {
        let filter = SubscriptionFilter {
            app_id: Some("app".to_owned()),
            location_id: Some("l1".to_owned()),
            trigger: Some(trigger.to_owned()),
            limit: 9,
        };
        let found = f.store.subscriptions(&filter).await.unwrap();
        let ids = found.into_iter().map(|one| one.subscription.id);
        ids.collect::<Vec<_>>()
    };
    assert_eq!(list("won").await, ["s2"]);
    assert_eq!(list("lost").await, ["s1"]);
    let one = async |app: &str| f.store.subscription(app, "l1", "s1").await.unwrap();
    let Change::Kept(expected) = kept("s1", "lost") else {
        return;
    };
    assert_eq!(one("app").await, Some(expected));
    let gone = Change::Deleted {
        id: "s1".to_owned(),
        location_id: "l1".to_owned(),
    };
    for _ in 0..2 {
        change("app", &gone).await;
    }
    assert_eq!(one("app").await, None);
    assert!(one("other").await.is_some(), "another app's");
    // One location has so many; those that it has can be changed.
    let mut added = 0;
    let many = |n: i64| kept(&format!("many-{n}"), "won");
    while f
        .store
        .change_subscription("app", &many(added), now())
        .await
        .unwrap()
    {
        added += 1;
        assert!(added <= SUBSCRIPTIONS);
    }
    assert_eq!(added, SUBSCRIPTIONS - 1, "and s2");
    change("app", &many(0)).await;
    change("other", &many(0)).await;
}
