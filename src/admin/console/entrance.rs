//! The login page and the way out.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use serde_json::json;

use super::{Asked, Console, Sent, Visit, form, query};
use crate::admin::session::{self, LIFE_SECONDS, cookie_name};
use crate::chance;

#[derive(Deserialize, Default)]
pub(super) struct Next {
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub(super) struct Login {
    token: String,
    #[serde(default)]
    next: String,
}

/// A path of this console, whatever was asked for: nobody is sent elsewhere from here.
fn local(next: &str) -> &str {
    let plain = next.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    match next.starts_with('/') && !next.starts_with("//") && plain {
        true => next,
        false => "/",
    }
}

fn show(console: &Console, next: &str, wrong: bool) -> Response {
    let status = match wrong {
        true => StatusCode::UNAUTHORIZED,
        false => StatusCode::OK,
    };
    console.templates.page(
        status,
        "login.html",
        json!({ "next": local(next), "wrong": wrong }),
    )
}

pub(super) async fn page(State(console): State<Arc<Console>>, asked: Asked<Next>) -> Response {
    let next = query(asked).map(|asked| asked.next).unwrap_or_default();
    show(&console, &next, false)
}

pub(super) async fn login(
    State(console): State<Arc<Console>>,
    headers: HeaderMap,
    sent: Sent<Login>,
) -> Response {
    let Ok(form) = form(sent) else {
        return show(&console, "/", true);
    };
    if !session::is_own(&headers) {
        return (
            StatusCode::FORBIDDEN,
            "this request was made by a page of another origin\n",
        )
            .into_response();
    }
    let Some(who) = console.sessions.owner(&form.token) else {
        tracing::warn!("somebody showed a token at the console that nobody has");
        return show(&console, &form.next, true);
    };
    let cookie: String = chance::bytes::<16>(&console.parts.chance)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    console.sessions.begin(who, &cookie, console.now());
    tracing::info!(%who, "logged in at the console");
    // Behind a proxy with TLS the cookie must not come without it. Not every proxy says so; a browser does.
    let says = |name: &str, begin: &[u8]| {
        let value = headers.get(name);
        value.is_some_and(|value| value.as_bytes().starts_with(begin))
    };
    let secure = says("x-forwarded-proto", b"https") || says("origin", b"https://");
    let secure = if secure { "; Secure" } else { "" };
    let name = cookie_name(&headers);
    let cookie = format!(
        "{name}={cookie}; Path=/; Max-Age={LIFE_SECONDS}; HttpOnly; SameSite=Strict{secure}"
    );
    let mut response = Redirect::to(local(&form.next)).into_response();
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

pub(super) async fn logout(visit: Visit, headers: HeaderMap) -> Response {
    if let Some(key) = &visit.session {
        visit.console.sessions.end(key);
    }
    let name = cookie_name(&headers);
    let gone = format!("{name}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict");
    let mut response = Redirect::to("/login").into_response();
    if let Ok(gone) = HeaderValue::from_str(&gone) {
        response.headers_mut().insert(header::SET_COOKIE, gone);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_elsewhere_after_the_login() {
        for next in [
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "",
            "/a\r\nb",
            "javascript:1",
        ] {
            assert_eq!(local(next), "/", "{next:?}");
        }
        assert_eq!(local("/events?type=INSTALL"), "/events?type=INSTALL");
    }
}
