//! The token endpoints, and who may pass with which token.
//!
//! Answers and errors follow <https://marketplace.gohighlevel.com/docs/Authorization/OAuth2.0>,
//! `apps/oauth.json` of GoHighLevel/highlevel-api-docs, and what Exalt24/ghl-tenant-bridge measured: a
//! code is looked at before the client, and a location token is answered 201.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::accounts::Account;
use super::answer::{Answer, Content, camel_case};
use super::errors::Problem;
use super::routes::Class;
use super::settings::Settings;
use super::tokens::{Grant, Presented, is_jwt};
use super::visit::{Outcome, Visit};

/// Who the tokens say has installed the app.
const USER: &str = "DevUser0000000000001";

const NO_CODE: Problem = Problem::OAuth {
    status: StatusCode::UNAUTHORIZED,
    error: "UnAuthorized!",
    description: "Authorization code not found",
};

/// As public reports have it: a wrong secret is seen only with a good code.
const NO_CLIENT: Problem = Problem::OAuth {
    status: StatusCode::UNAUTHORIZED,
    error: "UnAuthorized!",
    description: "Invalid client credentials!",
};

/// What a second use of a refresh token is answered is not documented by GHL. This is RFC 6749, 5.2.
const NO_GRANT: Problem = Problem::OAuth {
    status: StatusCode::BAD_REQUEST,
    error: "invalid_grant",
    description: "Invalid refresh token",
};

/// Where the names of version v3 differ.
const RESPELLED: [(&str, &str); 5] = [
    ("clientId", "client_id"),
    ("clientSecret", "client_secret"),
    ("grantType", "grant_type"),
    ("refreshToken", "refresh_token"),
    ("redirectUri", "redirect_uri"),
];

/// `POST /oauth/token`. No `Version` is needed. Version v3 spells the fields in another way, those that
/// come and those that are answered. `user_type` is ignored, as it was seen to make no difference.
pub(super) fn token(visit: &mut Visit<'_>) -> Outcome {
    let is_v3 = visit.call.version.as_deref() == Some("v3");
    let mut fields = visit.call.fields()?;
    if is_v3 {
        for (theirs, ours) in RESPELLED {
            if let Some(value) = fields.remove(theirs) {
                fields.insert(ours.to_owned(), value);
            }
        }
    }
    let grant = match fields.get("grant_type").map(String::as_str) {
        Some("authorization_code") => exchange(visit, &fields)?,
        Some("refresh_token") => refresh(visit, &fields)?,
        _ => {
            return Err(Problem::OAuth {
                status: StatusCode::BAD_REQUEST,
                error: "unsupported_grant_type",
                description: "grant_type must be authorization_code or refresh_token",
            });
        }
    };
    // 86399 of a day: one second is on its way.
    let expires_in = visit.settings.token_lifetime.as_secs();
    let mut body = tokens(visit, &grant, expires_in.saturating_sub(1).max(1));
    let is_bulk = matches!(grant.account, Account::Company(_));
    body["isBulkInstallation"] = is_bulk.into();
    let mut answer = Answer::ok(body);
    if is_v3 && let Content::Json(Value::Object(fields)) = &mut answer.body {
        camel_case(fields);
    }
    Ok(answer)
}

fn exchange(visit: &mut Visit<'_>, fields: &BTreeMap<String, String>) -> Result<Grant, Problem> {
    let code = fields.get("code").map(String::as_str).unwrap_or_default();
    let tokens = &mut visit.state.tokens;
    if tokens.peek_code(code, visit.now).is_none() {
        return Err(NO_CODE);
    }
    if !is_client(visit.settings, fields) {
        return Err(NO_CLIENT);
    }
    let grant = tokens.spend_code(code, visit.now).ok_or(NO_CODE)?;
    visit.state.journal.exchanged(grant.account.id());
    Ok(grant)
}

fn refresh(visit: &mut Visit<'_>, fields: &BTreeMap<String, String>) -> Result<Grant, Problem> {
    if !is_client(visit.settings, fields) {
        return Err(NO_CLIENT);
    }
    let token = fields.get("refresh_token").map_or("", String::as_str);
    let state = &mut *visit.state;
    // With the app its refresh tokens are gone; whether GHL words that differently is not known.
    let grant = state.tokens.peek_refresh(token);
    if grant.is_some_and(|grant| !state.accounts.is_installed(&grant.account)) {
        return Err(NO_GRANT);
    }
    match state.tokens.spend_refresh(token, visit.now) {
        Presented::Good(id, grant) => {
            let presented = Some((id.as_str(), grant.account.id()));
            state.journal.presented(presented, true);
            Ok(grant)
        }
        Presented::Spent(id, grant) => {
            let presented = Some((id.as_str(), grant.account.id()));
            state.journal.presented(presented, false);
            Err(NO_GRANT)
        }
        Presented::Unknown => {
            state.journal.presented(None, false);
            Err(NO_GRANT)
        }
    }
}

fn is_client(settings: &Settings, fields: &BTreeMap<String, String>) -> bool {
    let is = |field: &str, value: &str| fields.get(field).is_some_and(|given| given == value);
    is("client_id", &settings.client_id) && is("client_secret", &settings.client_secret)
}

/// A new pair as it is answered. An agency's has no `locationId`.
fn tokens(visit: &mut Visit<'_>, grant: &Grant, expires_in: u64) -> Value {
    let settings = visit.settings;
    let pair = visit.state.tokens.mint(
        grant,
        &settings.client_id,
        settings.token_lifetime,
        visit.now,
    );
    let mut body = json!({
        "access_token": pair.access,
        "token_type": "Bearer",
        "expires_in": expires_in,
        "refresh_token": pair.refresh,
        "refreshTokenId": pair.refresh_id,
        "scope": grant.scope,
        "userType": grant.account.class(),
        "companyId": grant.company,
        "userId": USER,
    });
    if let Account::Location(id) = &grant.account {
        body["locationId"] = id.as_str().into();
    }
    body
}

/// `POST /oauth/locationToken`: a token of a sub-account for the token of its agency. It also has the two
/// scopes of OAuth itself, as measured.
pub(super) fn location_token(visit: &mut Visit<'_>) -> Outcome {
    let fields = visit.call.fields()?;
    let field = |name: &str| {
        let value = fields.get(name).filter(|value| !value.is_empty());
        value.cloned().ok_or_else(|| Problem::missing(name))
    };
    let (company, id) = (field("companyId")?, field("locationId")?);
    visit.must_be_of_company(&company)?;
    let account = Account::Location(id.clone());
    let location = visit.state.accounts.location(&id);
    let is_theirs = location.is_some_and(|location| location.company == company);
    // The words for a sub-account that does not have the app are not documented.
    if !is_theirs || !visit.state.accounts.is_installed(&account) {
        return Err(Problem::OtherAccount);
    }
    let agency = visit.grant.as_ref().map(|grant| grant.scope.clone());
    let mut scope = agency.unwrap_or_default();
    for more in ["oauth.readonly", "oauth.write"] {
        if !scope.split(' ').any(|granted| granted == more) {
            scope = format!("{scope} {more}").trim_start().to_owned();
        }
    }
    let grant = Grant {
        account,
        company,
        scope,
    };
    visit.state.journal.minted(&id);
    let expires_in = visit.settings.token_lifetime.as_secs().max(1);
    Ok(Answer::created(tokens(visit, &grant, expires_in)))
}

/// Judges the access token of a request.
pub(super) fn admit(visit: &Visit<'_>, class: Class, scope: &str) -> Result<Grant, Problem> {
    let token = visit.call.bearer().ok_or(Problem::BadToken)?;
    if !is_jwt(token) {
        return Err(Problem::BadJwt);
    }
    let grant = visit.state.tokens.access(token, visit.now);
    let grant = grant.ok_or(Problem::BadToken)?;
    let fits = match (class, &grant.account) {
        (Class::Company, Account::Company(_)) | (Class::Location, Account::Location(_)) => true,
        (class, _) => class == Class::Any,
    };
    if !fits {
        return Err(Problem::WrongClass);
    }
    if !grant.allows(scope) {
        return Err(Problem::NoScope);
    }
    if !visit.state.accounts.is_installed(&grant.account) {
        return Err(Problem::OtherAccount);
    }
    Ok(grant.clone())
}
