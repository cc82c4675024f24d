//! Routing keys: three plain words whatever the names, and bindings that match as their definition says.

use hookwell::event::Tenant;
use hookwell::routing::{MAX_KEY_BYTES, binding_matches, check_binding, routing_key};

/// Takes the first character as the separator of type, location, company, binding and another key;
/// whether the binding can be declared and takes the event's key.
pub fn run(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let mut letters = text.chars();
    let Some(separator) = letters.next() else {
        return false;
    };
    let mut fields = letters.as_str().splitn(5, separator);
    let [event_type, location, company, binding, other] =
        [(); 5].map(|()| fields.next().unwrap_or_default());
    let tenant = Tenant {
        location_id: (!location.is_empty()).then(|| location.to_owned()),
        company_id: (!company.is_empty()).then(|| company.to_owned()),
    };
    let key = routing_key(event_type, &tenant);
    assert_eq!(
        key,
        routing_key(event_type, &tenant),
        "the same answer twice"
    );
    assert_legal(&key);

    let words: Vec<_> = key.split('.').collect();
    let [family, action, last] = words[..] else {
        panic!("{key}");
    };
    for taking in [
        key.clone(),
        "#".to_owned(),
        "*.*.*".to_owned(),
        format!("{family}.#"),
        format!("{family}.{action}.*"),
        format!("#.{last}"),
        format!("*.{action}.#"),
    ] {
        assert_eq!(check_binding(&taking), Ok(()), "{taking}");
        assert!(binding_matches(&taking, &key), "{taking} {key}");
    }
    for leaving in ["", "*", "*.*", "*.*.*.*", "#.~"] {
        assert!(!binding_matches(leaving, &key), "{leaving} {key}");
    }
    for key in [&*key, other] {
        // The definition takes the product of both; the broker holds 255 bytes of each.
        if binding.len() <= MAX_KEY_BYTES && key.len() <= MAX_KEY_BYTES {
            assert_eq!(
                binding_matches(binding, key),
                matches_by_definition(binding, key),
                "{binding} {key}"
            );
        }
    }
    let declared = check_binding(binding).is_ok();
    assert!(!declared || binding.len() <= MAX_KEY_BYTES);
    declared && binding_matches(binding, &key)
}

/// Three words of letters, digits, `_` and `-`, short enough for AMQP.
pub fn assert_legal(key: &str) {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
    assert!(key.len() <= MAX_KEY_BYTES, "{key}");
    assert_eq!(key.split('.').count(), 3, "{key}");
    assert!(
        key.split('.')
            .all(|word| !word.is_empty() && word.bytes().all(plain)),
        "{key}"
    );
}

/// `reach[n]`: whether the words of the binding so far take the first `n` words of the key.
fn matches_by_definition(binding: &str, key: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        let words = text.split('.').map(str::to_owned);
        words.skip(usize::from(text.is_empty())).collect()
    };
    let key = words(key);
    let mut reach = vec![false; key.len() + 1];
    reach[0] = true;
    for word in words(binding) {
        let before = reach.clone();
        for n in 0..reach.len() {
            reach[n] = match &*word {
                "#" => before[n] || (n > 0 && reach[n - 1]),
                "*" => n > 0 && before[n - 1],
                word => n > 0 && before[n - 1] && key[n - 1] == word,
            };
        }
    }
    reach[key.len()]
}
