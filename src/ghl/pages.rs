//! How GHL's lists go on: each endpoint has a cursor of its own. Pure.
//!
//! The bodies of the searches are described outside GHL's specification; what is here is what its clients use
//! (GoHighLevel/highlevel-api-docs issues 31, 170, 247, 289). `meta.nextPageUrl` is not used: its samples point to
//! other hosts.

use serde_json::{Value, json};

use super::Method;

/// Endpoints whose lists can be gone through, as a rule names them.
pub const ENDPOINTS: [(Method, &str); 6] = [
    (Method::Post, "/contacts/search"),
    (Method::Post, "/opportunities/search"),
    (Method::Get, "/opportunities/search"),
    (Method::Get, "/contacts/"),
    (Method::Get, "/locations/search"),
    (Method::Get, "/oauth/installedLocations"),
];

/// How the list of an endpoint goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paging {
    /// The last row says it, in this field; it goes back unchanged as `searchAfter` in the body.
    SearchAfter(&'static str),
    /// `meta.startAfter` and `meta.startAfterId` go back as arguments, both: one alone begins anew.
    StartAfter,
    /// So many rows are left out.
    Skip,
}

/// Whose list it is, and how it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct List {
    /// The field with the rows.
    pub rows: &'static str,
    /// How it goes on.
    pub paging: Paging,
}

/// What follows a page.
#[derive(Debug, Clone, PartialEq)]
pub enum After {
    /// Another one, that begins there.
    Page(Value),
    /// Nothing.
    End,
    /// The same again, or no cursor where there should be one: what is behind it is not known.
    Stuck,
    /// The answer has no list.
    NoList,
}

impl After {
    /// Why what follows is not known, in a word and in more.
    pub fn problem(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Page(_) | Self::End => None,
            Self::Stuck => Some((
                "cursor_stuck",
                "the next page would be the same again, or has no beginning: GHL's cursor is not as it is known",
            )),
            Self::NoList => Some(("no_list", "the answer has no list of what was asked for")),
        }
    }
}

impl List {
    /// The list of an endpoint, if it has one.
    pub fn of(method: Method, target: &str) -> Option<Self> {
        let path = target.split('?').next().unwrap_or_default();
        let path = path.trim_end_matches('/');
        let at = ENDPOINTS
            .iter()
            .position(|(verb, known)| *verb == method && known.trim_end_matches('/') == path)?;
        let (rows, paging) = match at {
            0 => ("contacts", Paging::SearchAfter("searchAfter")),
            1 => ("opportunities", Paging::SearchAfter("sort")),
            2 => ("opportunities", Paging::StartAfter),
            3 => ("contacts", Paging::StartAfter),
            _ => ("locations", Paging::Skip),
        };
        Some(Self { rows, paging })
    }

    /// The rows of an answer.
    pub fn rows<'a>(&self, answer: &'a Value) -> &'a [Value] {
        answer[self.rows].as_array().map_or(&[], Vec::as_slice)
    }

    /// What follows a page that began at `before`.
    pub fn after(&self, answer: &Value, before: Option<&Value>) -> After {
        if !answer[self.rows].is_array() {
            return After::NoList;
        }
        let rows = self.rows(answer).len() as u64;
        let all_are_here = || answer["total"].as_u64().is_some_and(|all| all <= rows);
        let has_cursor = matches!(self.paging, Paging::SearchAfter(_));
        match self.next(answer, before) {
            None if has_cursor && 0 < rows && !all_are_here() => After::Stuck,
            None => After::End,
            Some(next) if before == Some(&next) => After::Stuck,
            Some(next) => After::Page(next),
        }
    }

    fn next(&self, answer: &Value, before: Option<&Value>) -> Option<Value> {
        let last = self.rows(answer).last()?;
        let next = match self.paging {
            Paging::SearchAfter(field) => last.get(field)?.clone(),
            Paging::StartAfter => {
                let (after, id) = (
                    &answer["meta"]["startAfter"],
                    &answer["meta"]["startAfterId"],
                );
                if after.is_null() || id.is_null() {
                    return None;
                }
                json!([after, id])
            }
            Paging::Skip => {
                let skipped = before.and_then(Value::as_u64).unwrap_or(0);
                let rows = self.rows(answer).len() as u64;
                let all = answer["count"].as_u64();
                if all.is_some_and(|all| all <= skipped + rows) {
                    return None;
                }
                json!(skipped + rows)
            }
        };
        (!next.is_null()).then_some(next)
    }

    /// Makes a request that of the page that begins there.
    pub fn go_on(&self, target: &mut String, body: &mut Option<Value>, next: &Value) {
        match self.paging {
            Paging::SearchAfter(_) => {
                let body = body.get_or_insert_with(|| json!({}));
                if let Some(fields) = body.as_object_mut() {
                    fields.remove("page");
                    fields.insert("searchAfter".to_owned(), next.clone());
                }
            }
            Paging::StartAfter => {
                set(target, "startAfter", &text(&next[0]));
                set(target, "startAfterId", &text(&next[1]));
            }
            Paging::Skip => set(target, "skip", &text(next)),
        }
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// Sets an argument of a target's query.
fn set(target: &mut String, name: &str, value: &str) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let others = query
        .split('&')
        .filter(|pair| !pair.is_empty() && pair.split('=').next() != Some(name));
    let mut all: Vec<String> = others.map(str::to_owned).collect();
    let mut escaped = String::new();
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    all.push(format!("{name}={escaped}"));
    *target = format!("{path}?{}", all.join("&"));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_search_goes_on_behind_the_cursor_of_its_last_row() {
        for (target, rows, field) in [
            ("/contacts/search", "contacts", "searchAfter"),
            ("/opportunities/search", "opportunities", "sort"),
        ] {
            let list = List::of(Method::Post, target).unwrap();
            let answer = json!({rows: [{"id": "a", field: [1, "a"]}, {"id": "b", field: [2, "b"]}], "total": 9});
            let next = json!([2, "b"]);
            assert_eq!(list.after(&answer, None), After::Page(next.clone()));
            assert_eq!(list.after(&answer, Some(&next)), After::Stuck, "no loop");
            let bare = json!({rows: [{"id": "a"}, {"id": "b"}], "total": 9});
            assert_eq!(list.after(&bare, None), After::Stuck, "no end in silence");
            let whole = json!({rows: [{"id": "a"}, {"id": "b"}], "total": 2});
            assert_eq!(list.after(&whole, None), After::End);
            for strange in [json!({}), Value::Null, json!({rows: {}})] {
                assert_eq!(list.after(&strange, None), After::NoList);
            }
            let empty = json!({rows: []});
            assert_eq!(list.after(&empty, Some(&next)), After::End);
            let (mut path, mut body) = (
                target.to_owned(),
                Some(json!({"locationId": "l", "page": 1})),
            );
            list.go_on(&mut path, &mut body, &next);
            assert_eq!(path, target);
            assert_eq!(
                body,
                Some(json!({"locationId": "l", "searchAfter": [2, "b"]}))
            );
        }
    }

    #[test]
    fn a_list_goes_on_with_both_halves_of_its_cursor() {
        let list = List::of(Method::Get, "/opportunities/search?location_id=l").unwrap();
        let answer =
            json!({"opportunities": [{}], "meta": {"startAfter": 1_700, "startAfterId": "a b"}});
        let next = list.next(&answer, None).unwrap();
        let mut target =
            "/opportunities/search?location_id=l&startAfter=1&startAfterId=x".to_owned();
        list.go_on(&mut target, &mut None, &next);
        assert_eq!(
            target,
            "/opportunities/search?location_id=l&startAfter=1700&startAfterId=a%20b"
        );
        let one = json!({"opportunities": [{}], "meta": {"startAfter": 1_700}});
        assert_eq!(list.next(&one, None), None);
    }

    #[test]
    fn a_list_with_a_count_ends_there() {
        let list = List::of(Method::Get, "/oauth/installedLocations?companyId=c").unwrap();
        let page = |count: u64| json!({"locations": [{}, {}], "count": count});
        let next = list.next(&page(5), None).unwrap();
        assert_eq!(next, json!(2));
        assert_eq!(list.next(&page(5), Some(&next)), Some(json!(4)));
        assert_eq!(list.next(&page(4), Some(&next)), None);
        let mut target = "/oauth/installedLocations?companyId=c".to_owned();
        list.go_on(&mut target, &mut None, &next);
        assert_eq!(target, "/oauth/installedLocations?companyId=c&skip=2");
    }

    #[test]
    fn what_is_no_list_does_not_go_on() {
        assert_eq!(List::of(Method::Get, "/contacts/c1"), None);
        assert_eq!(List::of(Method::Get, "/contacts/search"), None);
        assert!(List::of(Method::Get, "/contacts/?locationId=l").is_some());
        for (method, path) in ENDPOINTS {
            assert!(List::of(method, path).is_some(), "{path}");
        }
    }
}
