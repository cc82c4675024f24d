//! An answer before it becomes bytes, so that faults and the trace id can still change it.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use serde_json::{Map, Value};

/// Status, headers and body.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Content,
}

/// What is in an answer.
#[derive(Debug)]
pub(super) enum Content {
    /// JSON, which gets a trace id if it is an object.
    Json(Value),
    /// Text, shown as a page.
    Page(&'static str),
}

impl Answer {
    /// JSON.
    pub(super) fn json(status: StatusCode, body: Value) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: Content::Json(body),
        }
    }

    /// JSON with 200.
    pub(super) fn ok(body: Value) -> Self {
        Self::json(StatusCode::OK, body)
    }

    /// JSON with 201.
    pub(super) fn created(body: Value) -> Self {
        Self::json(StatusCode::CREATED, body)
    }

    /// A page for a person.
    pub(super) fn page(text: &'static str) -> Self {
        Self {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Content::Page(text),
        }
    }

    /// A redirect; none if `to` cannot be a header.
    pub(super) fn redirect(status: StatusCode, to: &str) -> Option<Self> {
        let mut answer = Self::page("");
        answer.status = status;
        answer
            .headers
            .insert(header::LOCATION, HeaderValue::from_str(to).ok()?);
        Some(answer)
    }

    /// The same with a header whose value is a number.
    pub(super) fn number(&mut self, name: &'static str, value: i64) {
        self.headers
            .insert(HeaderName::from_static(name), HeaderValue::from(value));
    }

    /// Adds the trace id that every JSON answer of GHL's has.
    pub(super) fn trace(&mut self) {
        if let Content::Json(Value::Object(fields)) = &mut self.body {
            fields
                .entry("traceId")
                .or_insert_with(|| uuid::Uuid::new_v4().to_string().into());
        }
    }

    /// The body's bytes and their media type.
    pub(super) fn bytes(&self) -> (Bytes, &'static str) {
        match &self.body {
            Content::Json(value) => (
                value.to_string().into_bytes().into(),
                "application/json; charset=utf-8",
            ),
            Content::Page(text) => (
                Bytes::from_static(text.as_bytes()),
                "text/html; charset=utf-8",
            ),
        }
    }

    /// The response, with `body` under `media_type`.
    pub(super) fn response(self, body: Body, media_type: &'static str) -> Response {
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        response
    }

    /// The response as it is.
    pub(super) fn plain(self) -> Response {
        let (bytes, media_type) = self.bytes();
        self.response(Body::from(bytes), media_type)
    }
}

/// The spelling of version v3.
pub(super) fn camel_case(fields: &mut Map<String, Value>) {
    let respelled = std::mem::take(fields).into_iter().map(|(name, value)| {
        let mut words = name.split('_');
        let mut spelled = words.next().unwrap_or_default().to_owned();
        for word in words {
            let (first, rest) = word.split_at(word.len().min(1));
            spelled.push_str(&first.to_uppercase());
            spelled.push_str(rest);
        }
        (spelled, value)
    });
    *fields = respelled.collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spelling_of_v3_is_camel_case() {
        let mut fields = Map::new();
        for name in ["access_token", "expires_in", "userType", "scope"] {
            fields.insert(name.to_owned(), Value::Null);
        }
        camel_case(&mut fields);
        let names: Vec<_> = fields.keys().map(String::as_str).collect();
        assert_eq!(names, ["accessToken", "expiresIn", "scope", "userType"]);
    }
}
