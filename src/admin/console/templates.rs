//! How pages are written: templates, style and script, all compiled in. Everything that came from outside is escaped by
//! the template engine; no page takes a script, a style or a picture from anywhere else.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, Value};

use crate::event::lifecycle::moment;
use crate::telemetry::Chain;

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("pages/", $name)))),*]
    };
}

const PAGES: [(&str, &str); 16] = files![
    "base.html",
    "login.html",
    "trouble.html",
    "confirm.html",
    "overview.html",
    "events.html",
    "event_rows.html",
    "event.html",
    "follow_ups.html",
    "calls.html",
    "dead_letters.html",
    "replays.html",
    "quarantine.html",
    "refused.html",
    "installations.html",
    "gaps.html",
];
const TRAIL: (&str, &str) = ("audit.html", include_str!("pages/audit.html"));
const STYLE: &str = include_str!("pages/console.css");
const SCRIPT: &str = include_str!("pages/console.js");

/// The templates.
pub(super) struct Templates(Environment<'static>);

impl Templates {
    pub(super) fn new() -> Self {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        environment.add_function("at", at);
        environment.add_function("badge", badge);
        environment.add_filter("ago", ago);
        environment.add_filter("grouped", grouped);
        for (name, text) in PAGES.into_iter().chain([TRAIL]) {
            environment
                .add_template(name, text)
                .expect("the templates are constants, checked by the tests");
        }
        Self(environment)
    }

    /// A whole page with its headers.
    pub(super) fn page(
        &self,
        status: StatusCode,
        name: &str,
        value: serde_json::Value,
    ) -> Response {
        match self.render(name, value) {
            Ok(html) => with_headers(status, "text/html; charset=utf-8", "no-store", html),
            Err(error) => {
                tracing::error!(template = name, error = %Chain(&error), "a page of the console could not be written");
                (
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "this page is broken; the log says why\n",
                )
                    .into_response()
            }
        }
    }

    fn render(&self, name: &str, value: serde_json::Value) -> Result<String, Error> {
        self.0.get_template(name)?.render(Value::from(Serde(value)))
    }
}

fn with_headers(
    status: StatusCode,
    kind: &'static str,
    cache: &'static str,
    body: impl IntoResponse,
) -> Response {
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, cache),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
             form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

pub(super) async fn style() -> Response {
    with_headers(
        StatusCode::OK,
        "text/css; charset=utf-8",
        "max-age=3600",
        STYLE,
    )
}

pub(super) async fn script() -> Response {
    with_headers(
        StatusCode::OK,
        "text/javascript; charset=utf-8",
        "max-age=3600",
        SCRIPT,
    )
}

/// A moment as people read it, with how long ago that is.
fn at(state: &State<'_, '_>, time: Option<&str>) -> Value {
    let Some(time) = time else {
        return Value::from_safe_string("<span class=\"quiet\">–</span>".to_owned());
    };
    let visit = state
        .lookup("visit")
        .and_then(|visit| visit.get_attr("now").ok());
    let now = visit.as_ref().and_then(Value::as_str).unwrap_or_default();
    // Both are times that were written here.
    let short = time.get(..19).unwrap_or(time).replace('T', " ");
    let ago = ago(time, now);
    Value::from_safe_string(format!(
        "<time datetime=\"{time}\" title=\"{time}\">{short}</time> <span class=\"quiet\">{ago}</span>"
    ))
}

/// A state, which is a word of a closed set.
fn badge(name: &str) -> Result<Value, Error> {
    if !name.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return Err(Error::new(ErrorKind::InvalidOperation, "no state of ours"));
    }
    Ok(Value::from_safe_string(format!(
        "<span class=\"state {name}\">{name}</span>"
    )))
}

/// How long before `now` a moment is, in one unit: `3 min ago`, `in 2 h`.
fn ago(then: &str, now: &str) -> String {
    let (Some(then), Some(now)) = (moment(then), moment(now)) else {
        return String::new();
    };
    let seconds = (now.0 - then.0) / 1_000_000;
    let size = seconds.unsigned_abs();
    let text = match size {
        0..=1 => return "now".to_owned(),
        2..=119 => format!("{size} s"),
        120..=7199 => format!("{} min", size / 60),
        7200..=172_799 => format!("{} h", size / 3600),
        _ => format!("{} days", size / 86_400),
    };
    match seconds < 0 {
        true => format!("in {text}"),
        false => format!("{text} ago"),
    }
}

/// A number with thin spaces between thousands.
fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "\u{2212}" } else { "" });
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_comes_from_outside_is_escaped_on_every_page() {
        let templates = Templates::new();
        let bad = "<script>alert(1)</script>\"'&";
        let value = serde_json::json!({
            "visit": { "who": bad, "path": bad, "now": "2026-11-25T00:00:00Z", "said": bad, "version": "1", "store": bad },
            "trouble": bad, "next": bad, "wrong": true,
        });
        for name in ["trouble.html", "login.html"] {
            let html = templates.render(name, value.clone()).unwrap();
            assert!(!html.contains("<script>alert"), "{name}: {html}");
            assert!(html.contains("&lt;script&gt;"), "{name}: {html}");
        }
    }

    #[test]
    fn times_and_numbers_read_well() {
        let now = "2026-11-25T12:00:00Z";
        let rows = [
            ("2026-11-25T12:00:00Z", "now"),
            ("2026-11-25T11:59:00Z", "60 s ago"),
            ("2026-11-25T11:00:00Z", "60 min ago"),
            ("2026-11-24T12:00:00Z", "24 h ago"),
            ("2026-11-20T12:00:00Z", "5 days ago"),
            ("2026-11-25T15:00:00Z", "in 3 h"),
            ("nonsense", ""),
        ];
        for (then, expected) in rows {
            assert_eq!(ago(then, now), expected, "{then}");
        }
        for (number, expected) in [
            (0, "0"),
            (999, "999"),
            (1000, "1\u{202f}000"),
            (-1_234_567, "\u{2212}1\u{202f}234\u{202f}567"),
        ] {
            assert_eq!(grouped(number), expected);
        }
    }
}
