#![allow(clippy::unwrap_used)]
use std::time::{Duration, Instant};

use super::*;

fn read(body: impl AsRef<[u8]>) -> Identity {
    read_at(body, None)
}

fn read_at(body: impl AsRef<[u8]>, url_name: Option<&str>) -> Identity {
    let body = body.as_ref();
    let found = identify(body, &BodyHash::of(body), url_name);
    let by_hash = found.key == EventKey::from_body(&BodyHash::of(body));
    assert_eq!(found.key_is_fallback, by_hash);
    found
}

fn flaw(body: impl AsRef<[u8]>) -> Option<Unreadable> {
    let body = body.as_ref();
    // A URL's name and the fields around the flaw must not shine through.
    let found = read_at(body, Some("InvoicePaid"));
    if found.unreadable.is_some() {
        let nothing = Identity {
            event_type: "unknown".into(),
            key: EventKey::from_body(&BodyHash::of(body)),
            key_is_fallback: true,
            app_id: None,
            tenant: Tenant::default(),
            entity_id: None,
            too_large: false,
            unreadable: found.unreadable,
        };
        assert_eq!(found, nothing);
    }
    found.unreadable
}

#[test]
fn every_type_in_the_catalogue_is_read_from_its_fields() {
    for kind in catalogue::all() {
        let tenant = match kind.tenant_field {
            "altId" => r#""altId":"T","altType":"location""#.to_owned(),
            "id" => r#""companyId":"C""#.to_owned(),
            field => format!(r#""{field}":"T""#),
        };
        let entity = match kind.entity_field.split_once('.') {
            Some((outer, inner)) => format!(r#""{outer}":{{"{inner}":"E"}}"#),
            None => format!(r#""{}":"E""#, kind.entity_field),
        };
        for name in kind.aliases.iter().chain([&kind.event_type]) {
            let rest = format!(r#"{tenant},{entity},"appId":"A","webhookId":"W""#);
            let named = read(format!(r#"{{"type":"{name}",{rest}}}"#));
            assert_eq!(named.event_type, kind.event_type);
            assert_eq!(named.key.as_str(), "W");
            assert_eq!(named.app_id.as_deref(), Some("A"));
            let expected = match kind.tenant_field {
                "id" => (Some("E"), Some("C")),
                "companyId" => (None, Some("T")),
                _ => (Some("T"), None),
            };
            let Tenant {
                location_id,
                company_id,
            } = &named.tenant;
            assert_eq!((location_id.as_deref(), company_id.as_deref()), expected);
            let entity = (!kind.entity_field.is_empty()).then_some("E");
            assert_eq!(named.entity_id.as_deref(), entity, "{name}");
            let by_url = read_at(format!("{{{rest}}}"), Some(name));
            match kind.lacks_type() {
                true => assert_eq!(by_url, named),
                false => assert_eq!(by_url.event_type, "unknown", "{name}"),
            }
        }
    }
}

#[test]
fn irregular_bodies_are_read_as_documented() {
    // Body, the URL's name, then type, location, company, entity.
    type Row = (
        &'static str,
        Option<&'static str>,
        &'static str,
        Option<&'static str>,
        Option<&'static str>,
        Option<&'static str>,
    );
    #[rustfmt::skip]
    let rows: &[Row] = &[
        (r#"{"_id":"I","altId":"L","altType":"Location"}"#, Some("InvoicePaid"), "InvoicePaid", Some("L"), None, Some("I")),
        (r#"{"_id":"I","altId":"L","altType":"company"}"#, Some("InvoicePaid"), "InvoicePaid", None, None, Some("I")),
        (r#"{"_id":"I","altId":"L"}"#, Some("InvoicePaid"), "InvoicePaid", None, None, Some("I")),
        (r#"{"type":"InvoiceVoid","_id":"I","locationId":"L","altId":"M","altType":"location"}"#, None, "InvoiceVoid", Some("L"), None, Some("I")),
        (r#"{"type":"AppointmentUpdate","locationId":"L","appointment":{"title":"x","id":"P","users":[{"id":"U"}]}}"#, None, "AppointmentUpdate", Some("L"), None, Some("P")),
        (r#"{"type":"AppointmentUpdate","locationId":"L","appointment":"P"}"#, None, "AppointmentUpdate", Some("L"), None, None),
        (r#"{"type":"AppointmentUpdate","locationId":"L","appointment":[{"id":"P"}]}"#, None, "AppointmentUpdate", Some("L"), None, None),
        (r#"{"type":"one_time","locationId":"L","_id":"P"}"#, None, "Price", Some("L"), None, Some("P")),
        (r#"{"type":"recurring","locationId":"L","_id":"P"}"#, Some("not a name"), "Price", Some("L"), None, Some("P")),
        (r#"{"type":"recurring","locationId":"L","_id":"P"}"#, Some("PriceDelete"), "PriceDelete", Some("L"), None, Some("P")),
        (r#"{"type":"SMS","locationId":"L","messageId":"M"}"#, None, "ConversationProviderOutboundMessage", Some("L"), None, Some("M")),
        (r#"{"type":"Email","locationId":"L","messageId":"M","emailMessageId":"N"}"#, None, "ConversationProviderOutboundMessage", Some("L"), None, Some("M")),
        (r#"{"type":"SMS","locationId":"L"}"#, None, "unknown", Some("L"), None, None),
        (r#"{"type":"SMS","locationId":"L"}"#, Some("SMS"), "unknown", Some("L"), None, None),
        // The URL is not signed.
        (r#"{"type":"SMS","locationId":"L","messageId":"M"}"#, Some("UNINSTALL"), "ConversationProviderOutboundMessage", Some("L"), None, Some("M")),
        (r#"{"type":"SMS","locationId":"L","messageId":"M"}"#, Some("InvoicePaid"), "ConversationProviderOutboundMessage", Some("L"), None, Some("M")),
        (r#"{"locationId":"L","messageId":"M"}"#, Some("UNINSTALL"), "unknown", Some("L"), None, Some("M")),
        (r#"{"locationId":"L","messageId":"M"}"#, Some("INSTALL"), "unknown", Some("L"), None, Some("M")),
        (r#"{"locationId":"L","id":"E"}"#, Some("ContactCreate"), "unknown", Some("L"), None, Some("E")),
        (r#"{"locationId":"L","id":"E"}"#, Some("contact.snapshot"), "unknown", Some("L"), None, Some("E")),
        (r#"{"locationId":"L","id":"E"}"#, Some("FutureCreate"), "FutureCreate", Some("L"), None, Some("E")),
        (r#"{"type":"one_time","locationId":"L","_id":"P"}"#, Some("InvoicePaid"), "Price", Some("L"), None, Some("P")),
        (r#"[{"type":"SaasPlanCreate","companyId":"C","planId":"P"}]"#, None, "SaasPlanCreate", None, Some("C"), Some("P")),
        (r#"[1,null,[{"type":"X"}],{"type":"SaaSPlanCreate","planId":"P"},{"type":"Y","planId":"Q"}]"#, None, "SaasPlanCreate", None, None, Some("P")),
        (r#"{"locationId":"L","id":"E"}"#, None, "unknown", Some("L"), None, Some("E")),
        (r#"{"type":null,"locationId":"L","id":null,"messageId":"M"}"#, Some("VoiceAiCallEnd"), "VoiceAiCallEnd", Some("L"), None, Some("M")),
        (r#"{"type":"InboundMessage","locationId":"L","emailMessageId":"N","conversationId":"V"}"#, None, "InboundMessage", Some("L"), None, Some("N")),
        (r#"{"type":"ConversationUpdate","locationId":"L","companyId":"C","newConversationId":"N","id":"E"}"#, None, "ConversationUpdate", Some("L"), Some("C"), Some("N")),
        (r#"{"type":"LCEmailStats","locationId":"L","webhookPayload":{"event":"opened","id":"M","timestamp":1700000000.5,"log-level":"info"}}"#, None, "LCEmailStats", Some("L"), None, Some("M")),
        (r#"{"type":"LocationUpdate","companyId":"C","id":"L"}"#, None, "LocationUpdate", Some("L"), Some("C"), Some("L")),
        (r#"{"type":"INSTALL","companyId":"C","planId":"P","id":"E"}"#, None, "INSTALL", None, Some("C"), None),
        (r#"{"type":"FormSubmit","companyId":"C","ticketId":"T"}"#, Some("ContactCreate"), "FormSubmit", None, Some("C"), Some("T")),
        (r#"{"type":"VoiceAiCallEnd","locationId":"L","id":"E","messageId":"M"}"#, None, "VoiceAiCallEnd", Some("L"), None, Some("E")),
        // Numbers where text is documented, and the other way round what is no id.
        (r#"{"type":"ContactCreate","locationId":12,"companyId":-3,"id":18446744073709551615}"#, None, "ContactCreate", Some("12"), Some("-3"), Some("18446744073709551615")),
        (r#"{"type":"ContactCreate","locationId":1.5,"companyId":true,"id":{"id":"E"}}"#, None, "ContactCreate", None, None, None),
        (r#"{"type":"ContactCreate","locationId":"","companyId":"a b","id":"ü"}"#, None, "ContactCreate", None, None, None),
        // Only the outermost object speaks for the body.
        (r#"{"data":{"type":"ContactCreate","locationId":"L","id":"E","webhookId":"W"}}"#, None, "unknown", None, None, None),
        // Spelled with escapes, the same to every parser.
        (r#"{"\u0074ype":"Contact\u0043reate","locationId":"\u004c"}"#, None, "ContactCreate", Some("L"), None, None),
        (" \t\r\n{\"type\":\"NoteCreate\"}\n\r\t ", None, "NoteCreate", None, None, None),
        ("{}", None, "unknown", None, None, None),
    ];
    for &(body, url_name, event_type, location, company, entity) in rows {
        let found = read_at(body, url_name);
        assert_eq!(found.unreadable, None, "{body}");
        assert_eq!(found.event_type, event_type, "{body}");
        assert_eq!(found.tenant.location_id.as_deref(), location, "{body}");
        assert_eq!(found.tenant.company_id.as_deref(), company, "{body}");
        assert_eq!(found.entity_id.as_deref(), entity, "{body}");
    }
}

#[test]
fn names_of_types_are_taken_only_in_their_documented_form() {
    let long = "a".repeat(MAX_TYPE_BYTES);
    let longer = "a".repeat(MAX_TYPE_BYTES + 1);
    for good in ["x", "A.b_c:d-9", &long] {
        assert_eq!(read(format!(r#"{{"type":"{good}"}}"#)).event_type, good);
        let by_url = read_at("{}", Some(good)).event_type;
        assert_eq!(by_url, if good.contains('.') { "unknown" } else { good });
    }
    for bad in ["", "9x", "_x", "a b", "a/b", "ü", "Kontaktü", &longer] {
        assert_eq!(read(format!(r#"{{"type":"{bad}"}}"#)).event_type, "unknown");
        assert_eq!(read_at("{}", Some(bad)).event_type, "unknown");
    }
    for other in ["7", "true", "null", "[]", r#"{"type":"X"}"#] {
        let found = read_at(format!(r#"{{"type":{other}}}"#), Some("InvoiceVoid"));
        assert_eq!(found.event_type, "InvoiceVoid");
    }
}

#[test]
fn ids_are_used_up_to_their_limit_and_keys_fall_back_to_the_hash() {
    let fits = "i".repeat(128);
    let found = read(format!(r#"{{"webhookId":"{fits}","id":"{fits}"}}"#));
    assert_eq!(found.key.as_str(), fits);
    assert_eq!(found.entity_id, Some(fits));
    let long = "i".repeat(129);
    let found = read(format!(r#"{{"webhookId":"{long}","id":"{long}"}}"#));
    assert!(found.key_is_fallback && found.entity_id.is_none());
    assert_eq!(read(r#"{"webhookId":42}"#).key.as_str(), "42");
    for bad in [r#""""#, r#""a~b""#, r#""a b""#, "null", "4.2", "[]"] {
        assert!(read(format!(r#"{{"webhookId":{bad}}}"#)).key_is_fallback);
    }
}

#[test]
fn a_body_cut_down_by_ghl_says_so() {
    for (value, expected) in [
        ("true", true),
        (r#""true""#, true),
        ("false", false),
        ("null", false),
        ("1", false),
    ] {
        let found = read(format!(r#"{{"payloadTooLarge":{value}}}"#));
        assert_eq!(found.too_large, expected, "{value}");
    }
}

#[test]
fn bodies_that_parsers_may_read_differently_are_not_read() {
    use Unreadable::*;
    #[rustfmt::skip]
    let rows: &[(&[u8], Unreadable)] = &[
        (b"", NoObject), (b" \n", NoObject), (b"null", NoObject), (b"1", NoObject),
        (b"\"text\"", NoObject), (b"true", NoObject), (b"[]", NoObject), (b"[1,\"a\",[{}]]", NoObject),
        (b"{", NotJson), (b"{\"a\":1,}", NotJson), (b"{a:1}", NotJson), (b"{'a':1}", NotJson),
        (b"{\"a\":01}", NotJson), (b"{\"a\":NaN}", NotJson), (b"{} {}", NotJson), (b"{}x", NotJson),
        (b"[{}", NotJson), (b"{\"a\":\"\n\"}", NotJson), (b"{\"a\":\"\\x\"}", NotJson),
        (b"{}// note", NotJson), (b"\x0b{}", NotJson), (b"\xc2\xa0{}", NotJson), (b"a=b&c=d", NotJson),
        (b"\xef\xbb\xbf{}", ByteOrderMark),
        (b"{\"a\":\"\xff\"}", NotUtf8), (b"{\"a\":\"\xed\xa0\x80\"}", NotUtf8), (b"{\"a\":\"\xc0\x80\"}", NotUtf8),
        (b"\xff\xfe{\0}\0", NotUtf8),
        (br#"{"type":"NoteCreate","type":"NoteCreate"}"#, DuplicateName),
        (br#"{"type":"NoteCreate","\u0074ype":"NoteDelete"}"#, DuplicateName),
        (br#"{"a":{"b":[{"c":1,"d":2,"c":3}]}}"#, DuplicateName),
        (br#"{"":1,"":2}"#, DuplicateName),
        (br#"[{"a":1},{"a":1,"a":1}]"#, DuplicateName),
        (br#"{"contact":{"id":1,"id":2}}"#, DuplicateName),
        (b"{\"a\":\"x\0\"}", Nul), (b"{\"a\0\":1}", Nul), (b"{}\0", Nul),
        (br#"{"a":"\u0000"}"#, Nul), (br#"{"a\u0000":1}"#, Nul), (br#"{"a":[{"b":"x\u0000y"}]}"#, Nul),
        (br#"{"a":"\ud800"}"#, LoneSurrogate), (br#"{"a":"\udc00"}"#, LoneSurrogate),
        (br#"{"a":"\ud800x"}"#, LoneSurrogate), (br#"{"a":"\ud800\n"}"#, LoneSurrogate),
        (br#"{"a":"\ud83d\ud83d"}"#, LoneSurrogate), (br#"{"a":"\ud800A"}"#, LoneSurrogate),
        (br#"{"\udead":1}"#, LoneSurrogate), (br#"{"ignored":[{"x":["\uDFFF"]}]}"#, LoneSurrogate),
        (b"{\"a\":1e400}", NumberOutOfRange), (b"{\"a\":[-1e309]}", NumberOutOfRange),
    ];
    for (body, reason) in rows {
        let shown = String::from_utf8_lossy(body);
        assert_eq!(flaw(body), Some(*reason), "{shown}");
    }
}

#[test]
fn unusual_bodies_that_all_parsers_agree_on_are_read() {
    let digits = "9".repeat(300);
    for body in [
        r#"{"a":{"b":1},"c":{"b":1},"b":[{"b":1},{"b":1}]}"#.to_owned(),
        r#"{"a":"\ud83d\ude00\u00e9\/\b","\ud83d\ude00":1}"#.into(),
        r#"{"type":1,"Type":2,"TYPE":3," type":4}"#.into(),
        r#"{"a":-0,"b":1e308,"c":1E-400,"d":0.1e+2}"#.into(),
        format!(r#"{{"a":{digits},"id":{digits}}}"#),
        format!("[{}{{}}]", "0,".repeat(1_000)),
    ] {
        assert_eq!(flaw(&body), None, "{body}");
    }
    assert_eq!(
        flaw(format!(r#"{{"a":{}}}"#, "9".repeat(400))),
        Some(Unreadable::NumberOutOfRange)
    );
}

#[test]
fn nesting_is_read_to_the_limit_and_no_deeper() {
    let arrays = |levels: usize| {
        let (open, close) = ("[".repeat(levels - 1), "]".repeat(levels - 1));
        format!(r#"{{"type":"NoteCreate","a":{open}{close}}}"#)
    };
    let objects = |levels: usize| "{\"a\":".repeat(levels) + "1" + &"}".repeat(levels);
    for nested in [arrays, objects] {
        assert_eq!(flaw(nested(MAX_DEPTH)), None);
        for levels in [MAX_DEPTH + 1, 5_000, 300_000] {
            assert_eq!(flaw(nested(levels)), Some(Unreadable::TooDeep));
        }
    }
    assert_eq!(flaw("[".repeat(500_000)), Some(Unreadable::TooDeep));
}

#[test]
fn duplicates_are_found_in_objects_of_every_size() {
    for count in [2, 31, 32, 33, 34, 100, 5_000] {
        let names: Vec<_> = (0..count).map(|n| format!(r#""k{n}":0"#)).collect();
        assert_eq!(flaw(format!("{{{}}}", names.join(","))), None, "{count}");
        for (copy, at) in [(0, count), (0, 1), (count / 2, count), (count - 1, count)] {
            let mut twice = names.clone();
            twice.insert(at, names[copy].clone());
            let body = format!(r#"{{"o":{{{}}},"k0":1}}"#, twice.join(","));
            assert_eq!(
                flaw(body),
                Some(Unreadable::DuplicateName),
                "{count}, {copy}"
            );
        }
    }
}

#[test]
fn two_hundred_thousand_names_take_no_more_than_a_moment() {
    let flat = |count: usize| {
        let names: Vec<_> = (0..count).map(|n| format!(r#""{n:x}":0"#)).collect();
        format!("{{{}}}", names.join(","))
    };
    // Comparing each name with every other would take minutes.
    let start = Instant::now();
    assert_eq!(flaw(flat(200_000)), None);
    // Each level has a few names, so that each is looked through again and again if done wrongly.
    let small = flat(31);
    assert_eq!(
        flaw(format!(
            "{{\"a\":[{}{small}]}}",
            format!("{small},").repeat(6_000)
        )),
        None
    );
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn reasons_have_distinct_names() {
    let mut names: Vec<_> = Unreadable::ALL
        .iter()
        .map(|reason| reason.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Unreadable::ALL.len());
}

#[test]
fn cutting_or_changing_a_body_anywhere_never_panics() {
    let body = r#"[{"type":"ContactCreate","locationId":"L","a":["\ud83d\ude00",1.5e3,null,{"b":false}],"id":"é"}]"#;
    assert_eq!(flaw(body), None);
    for end in 0..body.len() {
        assert!(flaw(&body.as_bytes()[..end]).is_some());
        for byte in [0, b'"', b'\\', b'{', b']', b'9', b',', 0xff] {
            let mut changed = body.as_bytes().to_vec();
            changed[end] = byte;
            read(&changed);
        }
    }
}

/// Checks the example bodies of GHL's documentation where a copy of them is at hand.
#[test]
fn documented_bodies_are_identified() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/payloads");
    let Ok(index) = std::fs::read(folder.join("index.json")) else {
        println!("skipped: there are no documented bodies beside the project");
        return;
    };
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    let mut checked = 0;
    for entry in index["events"].as_array().unwrap() {
        let text = |name: &str| entry[name].as_str();
        let file = text("file").unwrap();
        let body = std::fs::read(folder.join(file)).unwrap();
        let found = read(&body);
        assert_eq!(found.unreadable, None, "{file}");
        // Workflow steps are posted elsewhere and have an envelope of their own.
        if text("channel").is_some_and(|channel| channel.starts_with("workflow")) {
            continue;
        }
        let expected = match text("wire_type") {
            Some("SMS" | "Email") => catalogue::PROVIDER_MESSAGE,
            Some(name) => name,
            None => UNKNOWN_TYPE,
        };
        assert_eq!(found.event_type, expected, "{file}");
        let name = text("type").unwrap();
        let found = match text("wire_type") {
            Some(_) => found,
            None => read_at(&body, Some(name)),
        };
        let fields: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let field = |name: &str| fields[text(name).unwrap()].as_str().map(str::to_owned);
        let tenant = field("tenant_field");
        let Tenant {
            location_id,
            company_id,
        } = &found.tenant;
        assert!(
            tenant.is_some() && (&tenant == location_id || &tenant == company_id),
            "{file}"
        );
        // An installation is its app and tenant; a message without an id has its conversation's
        // in the index, which is another entity.
        let expected = match text("entity_id_field") {
            Some("appId" | "conversationId") => None,
            _ => field("entity_id_field"),
        };
        assert_eq!(found.entity_id, expected, "{file}");
        checked += 1;
    }
    println!("{checked} documented bodies checked");
    assert!(40 < checked);
}
