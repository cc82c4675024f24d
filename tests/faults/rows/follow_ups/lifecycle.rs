//! Apps that are uninstalled and installed while something is under way (O-09).

use hookwell::clock::{rfc3339, system};
use hookwell::event::{Micros, Tenant};
use hookwell::routing::routing_key;

use super::*;
use crate::harness::eventually;
use crate::harness::ghl::APP_ID;
use crate::lab::api::COMPANY;

/// An event of an app's life at a location or, without one, at the agency; so many seconds from now.
pub fn life(kind: &str, location: Option<&str>, from_now: i64) -> Crafted {
    let id = uuid::Uuid::new_v4().to_string();
    let at = rfc3339(Micros(system()().0 + from_now * 1_000_000));
    let mut body = json!({"type": kind, "appId": APP_ID, "companyId": COMPANY, "timestamp": at, "webhookId": id});
    match location {
        Some(location) => body["locationId"] = json!(location),
        None => body["installType"] = json!("Company"),
    }
    let tenant = Tenant {
        company_id: Some(COMPANY.to_owned()),
        location_id: location.map(ToOwned::to_owned),
    };
    let key = routing_key(kind, &tenant);
    let crafted = Crafted::signed(body.to_string()).with_id(&id);
    crafted.routed(location.unwrap_or(COMPANY), &key)
}

/// O-09: a location uninstalls the app while its token is refreshed, and installs it again; another one does not. The
/// refreshed pair is of no use to anybody and is not kept; calls that wait are not made.
pub async fn uninstalled_during_a_refresh(lab: Lab) -> Outcome {
    const GONE: &str = "GoneTenant0000000001";
    let mut run = setup(&lab, Calls::default())
        .plan(|plan| {
            if let Some(follow_ups) = &mut plan.follow_ups {
                follow_ups.uninstalls = true;
            }
        })
        .parks(&["reauthorise", "token_refused"])
        .start()
        .await;
    run.authorise_tenants(TENANTS).await;
    run.authorise(Some(GONE)).await;
    let tokens = |tenant: &str| format!("select count(*) from tokens where tenant = '{tenant}'");
    for round in 1..=lab.times(2, 10) as i64 {
        run.more(40).await;
        run.authorise(Some(OWN)).await;
        let both: &[&str] = if round == 1 { &[OWN, GONE] } else { &[OWN] };
        for tenant in both {
            let mut late = of_tokens(json!({"late_answer": 2500}), 1);
            late["tenant"] = json!(tenant);
            run.api().fault(late).await;
            run.api().expire(Some(tenant)).await;
            post_all(&mut run, &contacts(tenant, 4)).await;
        }
        eventually("the refreshes are under way", SETTLE, async || {
            (!run.api().is_faulty().await).then_some(())
        })
        .await;
        for tenant in both {
            run.api().uninstall(tenant).await;
            let gone = life("UNINSTALL", Some(tenant), 2 * round - 1);
            run.post_expecting(200, "an uninstall", &gone).await;
        }
        for tenant in both {
            let left = run.number(&tokens(tenant)).await;
            run.expect("the token was there until then", left <= 1);
            eventually("the token is erased", SETTLE, async || {
                (run.number(&tokens(tenant)).await == 0).then_some(())
            })
            .await;
        }
        // The answer has come when its entry in the journal is closed.
        eventually("the refreshes are answered", SETTLE, async || {
            let journal = run.api().journal(run.clock()).await;
            let open = journal.iter().any(|one| one.answered.is_none());
            (!open).then_some(())
        })
        .await;
        for tenant in both {
            let ended = (4 * round) as u64;
            run.calls_of_end(tenant, ended).await;
            let left = run.number(&tokens(tenant)).await;
            run.expect("what was refreshed for nobody is not kept", left == 0);
        }
        let again = life("INSTALL", Some(OWN), 2 * round);
        run.post_expecting(200, "an install", &again).await;
    }
    run.authorise(Some(OWN)).await;
    // Of a location that has gone for good.
    let late = contacts(GONE, 2);
    post_all(&mut run, &late).await;
    run.calls_of_end(GONE, 6).await;
    let made =
        "select count(*) from follow_ups where tenant = 'GoneTenant0000000001' and state = 'done'";
    let made = run.number(made).await;
    run.expect("nothing is called for who has gone", made == 0);
    run.judge().await
}

/// O-09-minted: the same while a location's token is minted from the agency's. What comes is for nobody.
pub async fn uninstalled_during_a_mint(lab: Lab) -> Outcome {
    let minted = |n: usize| format!("MintedTenant{n:08}");
    let mut run = setup(&lab, Calls::default())
        .plan(|plan| {
            if let Some(follow_ups) = &mut plan.follow_ups {
                follow_ups.uninstalls = true;
            }
        })
        .parks(&["token_refused"])
        .start()
        .await;
    run.authorise_tenants(TENANTS).await;
    run.authorise(None).await;
    for n in 0..lab.times(2, 10) {
        let tenant = minted(n);
        run.api().put_location(&tenant).await;
        let late =
            json!({"path": "/oauth/locationToken", "count": 1, "deed": {"late_answer": 2000}});
        run.api().fault(late).await;
        let mut events = vec![life("INSTALL", Some(&tenant), 0)];
        events.extend(contacts(&tenant, 3));
        post_all(&mut run, &events).await;
        eventually("the mint is under way", SETTLE, async || {
            (!run.api().is_faulty().await).then_some(())
        })
        .await;
        run.api().uninstall(&tenant).await;
        let gone = life("UNINSTALL", Some(&tenant), 1);
        run.post_expecting(200, "an uninstall", &gone).await;
        run.calls_of_end(&tenant, 4).await;
        eventually("the mint is answered", SETTLE, async || {
            let journal = run.api().journal(run.clock()).await;
            (!journal.iter().any(|one| one.answered.is_none())).then_some(())
        })
        .await;
    }
    // The load goes on: whatever the daemon does with what came, it has done now.
    run.more(60).await;
    let kept = "select count(*) from tokens where tenant like 'MintedTenant%'";
    let kept = run.number(kept).await;
    run.expect(
        &format!("no token is kept for who has gone, not {kept}"),
        kept == 0,
    );
    run.judge().await
}
