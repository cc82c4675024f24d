//! The page on which an agency or a sub-account chooses to install the app. It approves at once.

use axum::http::StatusCode;

use super::State;
use super::accounts::Account;
use super::answer::Answer;
use super::errors::Problem;
use super::form;
use super::settings::Settings;
use super::tokens::Grant;
use super::visit::{Outcome, Visit};
use crate::event::Micros;

/// `GET /v2/oauth/chooselocation`, and the same without a version, which still answers.
///
/// A link needs `client_id` and `version_id`; what is shown without one of them is what
/// Exalt24/ghl-tenant-bridge saw. `location_id`, `company_id` or both stand for the choice that a person
/// makes on the page: a sub-account installs for itself; an agency for all its sub-accounts, or for the
/// one that is named as well, and gets an agency's token either way.
pub(super) fn choose(visit: &mut Visit<'_>) -> Outcome {
    let call = visit.call;
    let Some(client_id) = call.parameter("client_id") else {
        return Ok(Answer::page(""));
    };
    if call.parameter("version_id").is_none() {
        return Ok(Answer::page("error.noversionid"));
    }
    if client_id != visit.settings.client_id {
        return Ok(Answer::page("hookwell dev ghl: no app has this client_id"));
    }
    let Some(redirect) = call.parameter("redirect_uri") else {
        return Ok(Answer::page("hookwell dev ghl: redirect_uri is missing"));
    };
    let (location, company) = (call.parameter("location_id"), call.parameter("company_id"));
    let (account, only) = match (location, company) {
        (Some(location), None) => (Account::Location(location.to_owned()), None),
        (only, company) => {
            let company = company.unwrap_or(&visit.settings.company);
            (Account::Company(company.to_owned()), only)
        }
    };
    let chosen = only.map(|id| Account::Location(id.to_owned()));
    for account in [Some(&account), chosen.as_ref()].into_iter().flatten() {
        if !visit.settings.lenient && !visit.state.accounts.has(account) {
            return Ok(Answer::page("hookwell dev ghl: there is no such account"));
        }
    }
    let scope = call.parameter("scope");
    let code = approve(
        visit.settings,
        visit.state,
        &account,
        only,
        scope,
        visit.now,
    );
    let mut to = redirect.to_owned();
    to.push(if redirect.contains('?') { '&' } else { '?' });
    to.push_str(&format!("code={code}"));
    if let Some(state) = call.query.get("state") {
        to.push_str(&format!("&state={}", form::encode(state)));
    }
    Answer::redirect(StatusCode::FOUND, &to)
        .ok_or_else(|| Problem::Bad("redirect_uri is not a URL".to_owned()))
}

/// Installs the app and makes a code for it, with the scopes that are asked for and that the app has. An
/// account that is new is added.
pub(super) fn approve(
    settings: &Settings,
    state: &mut State,
    account: &Account,
    only: Option<&str>,
    scope: Option<&str>,
    now: Micros,
) -> String {
    state.accounts.install(settings, account, only, now);
    let company = match account {
        Account::Company(id) => id.clone(),
        Account::Location(id) => state.accounts.location(id).map_or_else(
            || settings.company.clone(),
            |location| location.company.clone(),
        ),
    };
    let asked = scope.unwrap_or(&settings.scopes);
    let asked: Vec<&str> = asked.split_whitespace().collect();
    let granted = settings.scopes.split_whitespace();
    let granted: Vec<&str> = granted.filter(|scope| asked.contains(scope)).collect();
    let grant = Grant {
        account: account.clone(),
        company,
        scope: granted.join(" "),
    };
    state.tokens.code(grant, now)
}
