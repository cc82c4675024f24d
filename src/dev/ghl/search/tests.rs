#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::{Order, Start, check, page, passes};

fn record(n: u32) -> Value {
    json!({
        "id": format!("id{n:02}"),
        "dateUpdated": format!("2026-01-{:02}T00:00:00.000Z", n / 2 + 1),
        "firstName": if n.is_multiple_of(2) { "Ada" } else { "Bob" },
        "tags": ["vip", format!("t{n}")],
        "monetaryValue": n,
    })
}

#[test]
fn a_record_passes_what_its_filters_say() {
    let record = record(4);
    let day = |operator: &str, bounds: Value| json!([{"field": "dateUpdated", "operator": operator, "value": bounds}]);
    let rows = [
        (json!([]), true),
        (
            json!([{"field": "firstName", "operator": "eq", "value": "ada"}]),
            true,
        ),
        (
            json!([{"field": "firstName", "operator": "not_eq", "value": "Ada"}]),
            false,
        ),
        (
            json!([{"field": "firstName", "operator": "eq", "value": ["Eve", "Ada"]}]),
            true,
        ),
        (
            json!([{"field": "firstName", "operator": "contains", "value": "d"}]),
            true,
        ),
        (
            json!([{"field": "tags", "operator": "eq", "value": "vip"}]),
            true,
        ),
        (
            json!([{"field": "tags", "operator": "contains", "value": "t4"}]),
            true,
        ),
        (
            json!([{"field": "tags", "operator": "not_contains", "value": "t5"}]),
            true,
        ),
        (json!([{"field": "email", "operator": "exists"}]), false),
        (json!([{"field": "email", "operator": "not_exists"}]), true),
        (
            json!([{"field": "email", "operator": "range", "value": {"gte": 0}}]),
            false,
        ),
        (
            json!([{"field": "monetaryValue", "operator": "range", "value": {"gt": 3, "lte": 4}}]),
            true,
        ),
        (
            day("range", json!({"gte": "2026-01-03T00:00:00.000Z"})),
            true,
        ),
        (
            day("range", json!({"gt": "2026-01-03T00:00:00.000Z"})),
            false,
        ),
        (
            day("range", json!({"gte": "2026-01-03", "lt": "2026-01-04"})),
            true,
        ),
        (
            day(
                "range",
                json!({"gte": 1_767_398_400_000_i64, "lte": 1_767_398_400_000_i64}),
            ),
            true,
        ),
        (day("eq", json!("2026-01-03T00:00:00Z")), true),
        (
            json!([{"group": "OR", "filters": [
                {"field": "firstName", "operator": "eq", "value": "Eve"},
                {"group": "AND", "filters": [{"field": "tags", "operator": "eq", "value": "vip"}]},
            ]}]),
            true,
        ),
        (
            json!([{"group": "AND", "filters": [
                {"field": "firstName", "operator": "eq", "value": "Eve"},
                {"field": "tags", "operator": "eq", "value": "vip"},
            ]}]),
            false,
        ),
    ];
    for (filters, expected) in rows {
        assert_eq!(passes(&record, &filters), Ok(expected), "{filters}");
    }
}

#[test]
fn a_filter_that_is_none_is_an_error_and_not_a_pass() {
    for filters in [
        json!({}),
        json!([{"field": "a", "operator": "is", "value": 1}]),
        json!([{"operator": "eq", "value": 1}]),
        json!([{"group": "XOR", "filters": []}]),
        json!([{"group": "OR"}]),
        json!([{"field": "monetaryValue", "operator": "range", "value": {"from": 1}}]),
        json!([{"field": "a", "operator": "range", "value": 1}]),
    ] {
        assert!(passes(&record(1), &filters).is_err(), "{filters}");
        assert!(check(&filters).is_err(), "{filters}");
    }
}

#[test]
fn pages_by_cursor_hold_every_row_once_in_any_order() {
    let records: Vec<Value> = (0..23).map(record).collect();
    for sort in [
        json!([{"field": "dateUpdated", "direction": "asc"}]),
        json!([{"field": "dateUpdated", "direction": "desc"}]),
        json!([{"field": "firstName", "direction": "asc"}, {"field": "monetaryValue", "direction": "desc"}]),
        json!([{"field": "nowhere", "direction": "desc"}]),
        json!([]),
    ] {
        let order = Order::parse(&sort).unwrap();
        let whole = page(records.iter(), &order, &Start::Skip(0), 100).unwrap();
        assert_eq!((whole.total, whole.rows.len()), (23, 23));
        let mut read = Vec::new();
        let mut start = Start::Skip(0);
        loop {
            let rows = page(records.iter(), &order, &start, 4).unwrap().rows;
            let Some((_, cursor)) = rows.last().cloned() else {
                break;
            };
            start = Start::After(cursor);
            read.extend(rows);
        }
        assert_eq!(read, whole.rows, "{sort}");
    }
    let down = Order::newest("dateUpdated");
    let newest = page(records.iter(), &down, &Start::Skip(0), 1).unwrap();
    assert_eq!(newest.rows[0].0["id"], "id22");
    assert_eq!(newest.rows[0].1, json!([1_768_176_000_000_i64, "id22"]));
}

#[test]
fn a_cursor_of_another_order_is_refused() {
    let records = [record(1)];
    let order = Order::newest("dateUpdated");
    for cursor in [
        json!([]),
        json!(["id01"]),
        json!([1, 2, "id01"]),
        json!([1, 2]),
        json!("id01"),
    ] {
        assert!(
            page(records.iter(), &order, &Start::After(cursor.clone()), 1).is_err(),
            "{cursor}"
        );
    }
    assert!(Order::parse(&json!([{"field": "a", "direction": "up"}])).is_err());
    assert!(Order::parse(&json!("a")).is_err());
}
