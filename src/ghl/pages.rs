//! How GHL's lists go on: each endpoint has a cursor of its own. Pure.
//!
//! The bodies of the searches are described outside GHL's specification; what is here is what its clients use
//! (GoHighLevel/highlevel-api-docs issues 31, 170, 247, 289). `meta.nextPageUrl` is not used: its samples point to
//! other hosts.

use serde_json::{Value, json};

use super::Method;
use crate::escape;

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

/// An endpoint with a list, and how it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct List {
    /// How it is asked for.
    pub method: Method,
    /// Where, as a rule names it.
    pub path: &'static str,
    /// The field with the rows.
    pub rows: &'static str,
    /// How it goes on.
    pub paging: Paging,
}

/// Why what follows a page is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoNext {
    /// The same again, or no cursor where there should be one.
    #[error(
        "the next page would be the same again, or has no beginning: GHL's cursor is not as it is known"
    )]
    Stuck,
    /// The answer has no list.
    #[error("the answer has no list of what was asked for")]
    NoList,
}

impl NoNext {
    /// In a word.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Stuck => "cursor_stuck",
            Self::NoList => "no_list",
        }
    }
}

impl List {
    /// Contacts that a search finds.
    pub const CONTACTS: Self = Self {
        method: Method::Post,
        path: "/contacts/search",
        rows: "contacts",
        paging: Paging::SearchAfter("searchAfter"),
    };
    /// Opportunities that a search finds.
    pub const OPPORTUNITIES: Self = Self {
        method: Method::Post,
        path: "/opportunities/search",
        rows: "opportunities",
        paging: Paging::SearchAfter("sort"),
    };
    /// Locations where an app is installed.
    pub const INSTALLED: Self = Self {
        method: Method::Get,
        path: "/oauth/installedLocations",
        rows: "locations",
        paging: Paging::Skip,
    };
    /// Every endpoint whose list can be gone through.
    pub const ALL: [Self; 6] = [
        Self::CONTACTS,
        Self::OPPORTUNITIES,
        Self {
            method: Method::Get,
            path: "/opportunities/search",
            rows: "opportunities",
            paging: Paging::StartAfter,
        },
        Self {
            method: Method::Get,
            path: "/contacts/",
            rows: "contacts",
            paging: Paging::StartAfter,
        },
        Self {
            method: Method::Get,
            path: "/locations/search",
            rows: "locations",
            paging: Paging::Skip,
        },
        Self::INSTALLED,
    ];

    /// The list of an endpoint, if it has one.
    pub fn of(method: Method, target: &str) -> Option<Self> {
        let path = target.split('?').next().unwrap_or_default();
        let path = path.trim_end_matches('/');
        let is_it = |list: &Self| list.method == method && list.path.trim_end_matches('/') == path;
        Self::ALL.into_iter().find(is_it)
    }

    /// The rows of an answer.
    pub fn rows<'a>(&self, answer: &'a Value) -> &'a [Value] {
        answer[self.rows].as_array().map_or(&[], Vec::as_slice)
    }

    /// Where the page after one that began at `before` begins; `None` where that was the last.
    ///
    /// # Errors
    /// When it is not known what is behind the page.
    pub fn after(&self, answer: &Value, before: Option<&Value>) -> Result<Option<Value>, NoNext> {
        if !answer[self.rows].is_array() {
            return Err(NoNext::NoList);
        }
        let rows = self.rows(answer).len() as u64;
        let all_are_here = || answer["total"].as_u64().is_some_and(|all| all <= rows);
        let has_cursor = matches!(self.paging, Paging::SearchAfter(_));
        match self.next(answer, before) {
            None if has_cursor && 0 < rows && !all_are_here() => Err(NoNext::Stuck),
            Some(next) if before == Some(&next) => Err(NoNext::Stuck),
            next => Ok(next),
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
    all.push(format!("{name}={}", escape::value(value)));
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
            assert_eq!(list.after(&answer, None), Ok(Some(next.clone())));
            assert_eq!(
                list.after(&answer, Some(&next)),
                Err(NoNext::Stuck),
                "no loop"
            );
            let bare = json!({rows: [{"id": "a"}, {"id": "b"}], "total": 9});
            assert_eq!(
                list.after(&bare, None),
                Err(NoNext::Stuck),
                "no end in silence"
            );
            let whole = json!({rows: [{"id": "a"}, {"id": "b"}], "total": 2});
            assert_eq!(list.after(&whole, None), Ok(None));
            for strange in [json!({}), Value::Null, json!({rows: {}})] {
                assert_eq!(list.after(&strange, None), Err(NoNext::NoList));
            }
            let empty = json!({rows: []});
            assert_eq!(list.after(&empty, Some(&next)), Ok(None));
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
        for list in List::ALL {
            assert_eq!(List::of(list.method, list.path), Some(list));
        }
    }
}
