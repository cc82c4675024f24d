//! Tokens: one refreshes, what it brought is kept, and a mint is a call of the company's.

use hookwell::budget::{Limits, Told};
use hookwell::seal::{KEY_BYTES, Keyring, Place};
use hookwell::store::{Begun, NewToken, RefreshEnd, Room, SealedToken};

use super::installations::{LEASE, life, live, now, put, token, version};
use super::*;

pub async fn of_many_who_want_to_refresh_one_does(f: &Fixture) {
    put(f, "c1", &token("1", None)).await;
    let first = version(f, "c1").await;
    let begin = || f.store.begin_refresh("app", "c1", first, LEASE, now());
    let all = futures_util::future::join_all((0..8).map(|_| begin())).await;
    let begun: Vec<_> = all.into_iter().filter_map(Result::unwrap).collect();
    let [begun] = begun[..] else {
        panic!("{begun:?}");
    };
    assert_eq!(begun.version, first + 1);
    let row = f.store.token("app", "c1").await.unwrap().unwrap();
    assert!(row.refreshing_until.is_some());
    let complete = async |begun, text: &str| {
        let token = token(text, None);
        let done = f.store.complete_refresh("app", "c1", begun, &token, now());
        done.await.unwrap()
    };
    let stale = Begun {
        obtained_at: Micros(begun.obtained_at.0 - 1),
        ..begun
    };
    assert!(!complete(stale, "stale").await);
    assert!(complete(begun, "2").await);
    assert!(!complete(begun, "again").await);
    let row = f.store.token("app", "c1").await.unwrap().unwrap();
    assert_eq!(
        (row.access.as_slice(), row.version),
        (b"access 2".as_slice(), first + 2)
    );
    assert_eq!(row.previous.as_deref(), Some(b"refresh 1".as_slice()));
    assert_eq!((row.refreshing_until, row.unknown_refreshes), (None, 0));
}

pub async fn a_refresh_that_brought_no_new_refresh_token_keeps_the_old_one(f: &Fixture) {
    put(f, "c1", &token("1", None)).await;
    let first = version(f, "c1").await;
    let begun = f.store.begin_refresh("app", "c1", first, LEASE, now());
    let begun = begun.await.unwrap().unwrap();
    let bare = NewToken {
        refresh: None,
        scope: String::new(),
        ..token("2", None)
    };
    assert!(
        f.store
            .complete_refresh("app", "c1", begun, &bare, now())
            .await
            .unwrap()
    );
    let row = f.store.token("app", "c1").await.unwrap().unwrap();
    assert_eq!(row.refresh.as_deref(), Some(b"refresh 1".as_slice()));
    assert_eq!(
        (row.previous, row.scope.as_str()),
        (None, "contacts.readonly")
    );
}

pub async fn a_refresh_without_an_end_is_over_after_its_time_and_counted(f: &Fixture) {
    put(f, "c1", &token("1", None)).await;
    let short = Duration::from_millis(1);
    let first = version(f, "c1").await;
    f.store
        .begin_refresh("app", "c1", first, short, now())
        .await
        .unwrap()
        .unwrap();
    let version = eventually("its time is over", DEADLINE, async || {
        f.store
            .begin_refresh("app", "c1", first + 1, LEASE, now())
            .await
            .unwrap()
    })
    .await;
    assert_eq!(version.version, first + 2);
    let row = f.store.token("app", "c1").await.unwrap().unwrap();
    assert_eq!(row.unknown_refreshes, 1);
    let fail = async |version, end| {
        f.store
            .fail_refresh("app", "c1", version, end)
            .await
            .unwrap()
    };
    assert!(!fail(first + 1, RefreshEnd::Refused).await);
    assert!(
        !f.store
            .token("app", "c1")
            .await
            .unwrap()
            .unwrap()
            .reauthorise,
        "it was too late"
    );
    assert!(fail(first + 2, RefreshEnd::Unknown).await);
    let row = f.store.token("app", "c1").await.unwrap().unwrap();
    assert_eq!((row.unknown_refreshes, row.refreshing_until), (2, None));
    f.store
        .begin_refresh("app", "c1", first + 2, LEASE, now())
        .await
        .unwrap()
        .unwrap();
    fail(first + 3, RefreshEnd::Refused).await;
    assert!(
        f.store
            .token("app", "c1")
            .await
            .unwrap()
            .unwrap()
            .reauthorise
    );
    let begun = f
        .store
        .begin_refresh("app", "c1", first + 3, LEASE, now())
        .await
        .unwrap();
    assert_eq!(begun, None, "no loop");
    put(f, "c1", &token("2", None)).await;
    assert!(
        !f.store
            .token("app", "c1")
            .await
            .unwrap()
            .unwrap()
            .reauthorise,
        "authorised again"
    );
}

/// The daemon that was answered first could not write for so long that another one began to refresh, with a token that
/// was spent by then.
pub async fn a_pair_that_came_late_is_kept_whatever_became_of_those_who_began_since(f: &Fixture) {
    let short = Duration::from_millis(1);
    let begin = async |tenant: &'static str, lease| {
        eventually("a refresh may begin", DEADLINE, async || {
            let at = version(f, tenant).await;
            let begun = f.store.begin_refresh("app", tenant, at, lease, now());
            begun.await.unwrap()
        })
        .await
    };
    let complete = async |tenant: &str, begun, text: &str| {
        let token = token(text, None);
        let done = f
            .store
            .complete_refresh("app", tenant, begun, &token, now());
        done.await.unwrap()
    };
    let fail = async |tenant: &str, begun: Begun, end| {
        let done = f.store.fail_refresh("app", tenant, begun.version, end);
        done.await.unwrap()
    };
    let row = async |tenant: &str| f.store.token("app", tenant).await.unwrap().unwrap();
    let is_kept = async |tenant: &str, text: &str| {
        let row = row(tenant).await;
        assert_eq!(
            row.access,
            format!("access {text}").into_bytes(),
            "{tenant}"
        );
        assert_eq!(row.refresh, Some(format!("refresh {text}").into_bytes()));
        assert!(
            !row.reauthorise && row.refreshing_until.is_none(),
            "{tenant}"
        );
        assert_eq!(row.unknown_refreshes, 0);
    };
    // The other one ended before, in each of its ways.
    let ends = [
        ("refused", RefreshEnd::Refused),
        ("unknown", RefreshEnd::Unknown),
        ("nothing", RefreshEnd::NothingSpent),
    ];
    for (tenant, end) in ends {
        put(f, tenant, &token("1", None)).await;
        let late = begin(tenant, short).await;
        let other = begin(tenant, LEASE).await;
        assert!(fail(tenant, other, end).await);
        assert_eq!(row(tenant).await.reauthorise, end == RefreshEnd::Refused);
        assert!(complete(tenant, late, "2").await, "{tenant}");
        is_kept(tenant, "2").await;
        assert_eq!(row(tenant).await.previous, Some(b"refresh 1".to_vec()));
        let next = begin(tenant, LEASE).await;
        assert!(complete(tenant, next, "3").await, "and it goes on");
    }
    // It is under way still: its end says nothing any more.
    put(f, "under-way", &token("1", None)).await;
    let late = begin("under-way", short).await;
    let other = begin("under-way", LEASE).await;
    assert!(complete("under-way", late, "2").await);
    assert!(!fail("under-way", other, RefreshEnd::Refused).await);
    assert!(!complete("under-way", other, "3").await);
    is_kept("under-way", "2").await;
    // It brought a pair itself, or somebody authorised the app again: those stay.
    put(f, "other-pair", &token("1", None)).await;
    let late = begin("other-pair", short).await;
    let other = begin("other-pair", LEASE).await;
    assert!(complete("other-pair", other, "2").await);
    assert!(!complete("other-pair", late, "3").await);
    is_kept("other-pair", "2").await;
    put(f, "authorised", &token("1", None)).await;
    let late = begin("authorised", LEASE).await;
    put(f, "authorised", &token("2", None)).await;
    assert!(!complete("authorised", late, "3").await);
    is_kept("authorised", "2").await;
}

pub async fn a_refresh_of_an_erased_token_does_not_end_on_the_next_one(f: &Fixture) {
    put(f, "c1", &token("1", None)).await;
    let first = version(f, "c1").await;
    let begun = f.store.begin_refresh("app", "c1", first, LEASE, now());
    let begun = begun.await.unwrap().unwrap();
    let at = now().0 + 1_000_000;
    live(f, vec![life("UNINSTALL", None, Some("c1"), at)]).await;
    assert!(f.store.token("app", "c1").await.unwrap().is_none());
    put(f, "c1", &token("2", None)).await;
    let next = version(f, "c1").await;
    let other = f.store.begin_refresh("app", "c1", next, LEASE, now());
    other.await.unwrap().unwrap();
    let late = token("late", None);
    let late = f.store.complete_refresh("app", "c1", begun, &late, now());
    assert!(!late.await.unwrap());
    let row = f.store.token("app", "c1").await.unwrap().unwrap();
    assert_eq!(row.access, b"access 2");
}

pub async fn a_token_minted_for_a_location_that_is_gone_is_not_kept(f: &Fixture) {
    live(f, vec![life("INSTALL", Some("l1"), Some("c1"), 10)]).await;
    let minted = NewToken {
        minted: true,
        ..token("1", Some("c1"))
    };
    let kept = async |token: &NewToken| {
        let kept = f.store.put_token("app", "l1", token, now()).await;
        kept.unwrap()
    };
    assert!(kept(&minted).await);
    let at = now().0 + 1_000_000;
    live(f, vec![life("UNINSTALL", Some("l1"), None, at)]).await;
    assert!(!kept(&minted).await, "it was on its way meanwhile");
    assert!(f.store.token("app", "l1").await.unwrap().is_none());
    assert!(
        kept(&token("2", Some("c1"))).await,
        "whoever is authorised may be ahead of the INSTALL"
    );
}

pub async fn an_access_token_that_is_not_taken_counts_as_expired_if_it_is_still_that_one(
    f: &Fixture,
) {
    put(f, "c1", &token("1", None)).await;
    let first = version(f, "c1").await;
    f.store.expire_token("app", "c1", first + 6).await.unwrap();
    let ends = async || {
        f.store
            .token("app", "c1")
            .await
            .unwrap()
            .unwrap()
            .expires_at
    };
    assert!(now() < ends().await);
    f.store.expire_token("app", "c1", first).await.unwrap();
    assert_eq!(ends().await, Micros(0));
}

pub async fn tokens_are_found_by_the_key_that_sealed_them(f: &Fixture) {
    let text: String = ["k2", "k1"]
        .iter()
        .map(|name| Keyring::line(name, &[7; KEY_BYTES]).to_string())
        .collect();
    let (old, new) = (
        Keyring::parse(text.split_once('\n').unwrap().1).unwrap(),
        Keyring::parse(&text).unwrap(),
    );
    let place = |column, tenant| Place {
        column,
        app_id: "app",
        tenant,
    };
    for tenant in ["a", "b"] {
        let seal = |column| old.seal(&place(column, tenant), tenant, [1; 12]).unwrap();
        let sealed = NewToken {
            access: seal("access"),
            refresh: Some(seal("refresh")),
            ..token("", None)
        };
        put(f, tenant, &sealed).await;
    }
    let left = async |key: &str, after: &str| {
        let found = f.store.tokens_to_reseal(key, ("app", after), 9).await;
        found.unwrap()
    };
    let reseal = async |tenant: &str, sealed: &SealedToken| {
        let done = f.store.reseal_token("app", tenant, sealed).await;
        done.unwrap()
    };
    assert!(left("k1", "").await.is_empty());
    let found = left("k2", "").await;
    assert_eq!(found.len(), 2);
    assert_eq!(left("k2", "a").await[0].1, "b", "one after the other");
    let (app_id, tenant, mut sealed) = found.into_iter().next().unwrap();
    assert_eq!((app_id.as_str(), tenant.as_str()), ("app", "a"));
    sealed.access = new.seal(&place("access", "a"), "a", [2; 12]).unwrap();
    assert!(reseal(&tenant, &sealed).await);
    assert_eq!(left("k2", "").await.len(), 2, "its refresh token too");
    sealed.refresh = Some(new.seal(&place("refresh", "a"), "a", [3; 12]).unwrap());
    assert!(reseal(&tenant, &sealed).await);
    assert_eq!(left("k2", "").await.len(), 1);
    sealed.version += 1;
    assert!(!reseal(&tenant, &sealed).await);
}

pub async fn a_call_beside_the_claims_takes_room_in_the_budget(f: &Fixture) {
    let limits = Limits {
        burst: 3,
        interval: Duration::from_secs(600),
        daily: 1_000,
    };
    let begin = async |tenant: &str, longest| {
        let begun = f.store.begin_call("app", tenant, &limits, longest, now());
        begun.await.unwrap()
    };
    let taken = async |tenant: &str| match begin(tenant, LEASE).await {
        Room::Taken(place) => place,
        Room::None(after) => panic!("no room for {tenant}: {after:?}"),
    };
    let end = async |tenant: &str, place, told: Option<Told>| {
        let done = f
            .store
            .end_call("app", tenant, place, told.as_ref(), &limits, now());
        done.await.unwrap();
    };
    let places = [taken("c1").await, taken("c1").await, taken("c1").await];
    let Room::None(after) = begin("c1", LEASE).await else {
        panic!("a fourth call of three");
    };
    assert!(Duration::ZERO < after && after <= limits.interval);
    taken("c2").await;
    // One that was not made gives its place back, and one that was made does not.
    end("c1", places[0], None).await;
    let again = taken("c1").await;
    end("c1", again, Some(Told::default())).await;
    assert!(matches!(begin("c1", LEASE).await, Room::None(_)));
    // An answer that says less is believed.
    let told = Told {
        remaining: Some(1),
        ..Told::default()
    };
    let place = taken("c3").await;
    end("c3", place, Some(told)).await;
    taken("c3").await;
    assert!(matches!(begin("c3", LEASE).await, Room::None(_)));
    // Nobody told its end: it comes free by itself.
    let short = Limits {
        interval: Duration::from_millis(1),
        ..limits
    };
    for _ in 0..3 {
        let begun = f
            .store
            .begin_call("app", "c4", &short, Duration::from_millis(1), now());
        assert!(matches!(begun.await.unwrap(), Room::Taken(_)));
    }
    eventually("its places come free", DEADLINE, async || {
        let begun = f.store.begin_call("app", "c4", &short, LEASE, now()).await;
        matches!(begun.unwrap(), Room::Taken(_)).then_some(())
    })
    .await;
}
