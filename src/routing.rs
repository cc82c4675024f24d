//! Routing keys: which words an event is published under, and which bindings take it.
//!
//! A key is `<family>.<action>.<tenant>`, always three words of letters, digits, `_` and `-`, and
//! always shorter than an AMQP short string. Keys are a public contract: what consumers bind to
//! changes only with a major version. Nothing here talks to a broker.

use thiserror::Error;

use crate::event::{Event, Origin, Tenant, UNKNOWN_TYPE, catalogue};

/// The longest routing or binding key AMQP can carry, in bytes.
pub const MAX_KEY_BYTES: usize = 255;

/// The longest word made from an event type, in bytes.
const MAX_TYPE_BYTES: usize = 100;
/// The longest word made from a tenant id, in bytes; ids are no longer than this.
const MAX_TENANT_BYTES: usize = 128;

/// The key under which an event of `event_type` is published.
///
/// Types outside the [`catalogue`] go under `other`, a missing tenant is `none`.
pub fn routing_key(event_type: &str, tenant: &Tenant) -> String {
    key_of(event_type, tenant, false)
}

/// The key of an event in the log: as [`routing_key`], but for answers of follow-ups, whose types are
/// `<family>.<action>` and are taken as they are. What GHL names is never taken so.
pub fn key_of_event(event: &Event) -> String {
    key_of(
        &event.event_type,
        &event.tenant,
        event.origin != Origin::Webhook,
    )
}

fn key_of(event_type: &str, tenant: &Tenant, own: bool) -> String {
    let mut key = String::with_capacity(64);
    match (catalogue::find(event_type), event_type.split_once('.')) {
        (None, Some((family, action))) if own => {
            push_word(&mut key, family, MAX_TYPE_BYTES / 2, "other");
            key.push('.');
            push_word(&mut key, action, MAX_TYPE_BYTES / 2, UNKNOWN_TYPE);
        }
        (Some(kind), _) => {
            key.push_str(kind.family);
            key.push('.');
            key.push_str(kind.action);
        }
        (None, _) => {
            key.push_str("other.");
            push_word(
                &mut key,
                &snake_case(event_type),
                MAX_TYPE_BYTES,
                UNKNOWN_TYPE,
            );
        }
    }
    key.push('.');
    push_word(
        &mut key,
        tenant.id().unwrap_or_default(),
        MAX_TENANT_BYTES,
        "none",
    );
    key
}

/// A type's name in snake case: `InvoicePartiallyPaid` becomes `invoice_partially_paid`,
/// `LCEmailStats` becomes `lc_email_stats`, and `FORM_SENT` becomes `form_sent`.
pub(crate) fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 8);
    let mut letters = name.chars().peekable();
    let mut previous = '_';
    while let Some(letter) = letters.next() {
        let starts_word = letter.is_ascii_uppercase()
            && (previous.is_ascii_lowercase()
                || previous.is_ascii_digit()
                // The last capital of a run begins the next word: `LCEmail` is `lc_email`.
                || (previous.is_ascii_uppercase()
                    && letters.peek().is_some_and(char::is_ascii_lowercase)));
        if starts_word {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
        previous = letter;
    }
    snake
}

/// Appends `text` as one word: at most `limit` characters, with `_` for whatever is not allowed,
/// and `fallback` for nothing.
fn push_word(key: &mut String, text: &str, limit: usize, fallback: &str) {
    if text.is_empty() {
        key.push_str(fallback);
        return;
    }
    key.extend(text.chars().take(limit).map(|c| match c {
        'A'..='Z' | 'a'..='z' | '0'..='9' | '_' | '-' => c,
        _ => '_',
    }));
}

/// Whether a topic exchange sends a message with routing key `key` through a binding `pattern`:
/// `*` stands for one word, `#` for any number of words, none included.
///
/// Takes at most (words of the pattern) × (words of the key) steps, whatever the pattern.
pub fn binding_matches(pattern: &str, key: &str) -> bool {
    let mut pattern = words(pattern);
    let mut key = words(key);
    // Only the last `#` seen needs to be tried again: whatever an earlier one could take more of,
    // the later one can take as well.
    let mut retry = None;
    loop {
        let key_before = key.clone();
        match (pattern.next(), key.next()) {
            (None, None) => return true,
            (Some("#"), _) => {
                key = key_before.clone();
                retry = Some((pattern.clone(), key_before));
            }
            (Some(expected), Some(word)) if expected == "*" || expected == word => {}
            _ => match &mut retry {
                Some((after_hash, taken)) => {
                    if taken.next().is_none() {
                        return false;
                    }
                    pattern = after_hash.clone();
                    key = taken.clone();
                }
                None => return false,
            },
        }
    }
}

/// The words of a key. A key without a byte has none, as the broker sees it.
fn words(key: &str) -> impl Iterator<Item = &str> + Clone {
    key.split('.').skip(usize::from(key.is_empty()))
}

/// Why a binding cannot be declared.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BindingError {
    /// AMQP's short strings end at 255 bytes.
    #[error("a binding is at most {MAX_KEY_BYTES} bytes long, this one has {bytes}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// No routing key contains such a character, so nothing would ever match.
    #[error("white space or a control character at byte {at}")]
    Unprintable {
        /// Where, in bytes from the start.
        at: usize,
    },
}

/// Refuses a binding that a broker cannot hold or that holds a slip of the keyboard.
pub fn check_binding(pattern: &str) -> Result<(), BindingError> {
    if MAX_KEY_BYTES < pattern.len() {
        return Err(BindingError::TooLong {
            bytes: pattern.len(),
        });
    }
    let bad = |(_, c): &(usize, char)| c.is_whitespace() || c.is_control();
    match pattern.char_indices().find(bad) {
        Some((at, _)) => Err(BindingError::Unprintable { at }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::{Duration, Instant};

    fn of(location: Option<&str>, company: Option<&str>) -> Tenant {
        Tenant {
            location_id: location.map(str::to_owned),
            company_id: company.map(str::to_owned),
        }
    }

    #[test]
    fn events_are_routed_by_family_action_and_tenant() {
        let both = of(Some("Loc"), Some("Com"));
        for (event_type, expected) in [
            ("ContactCreate", "contact.create.Loc"),
            ("ContactDndUpdate", "contact.dnd_update.Loc"),
            ("OpportunityStageUpdate", "opportunity.stage_update.Loc"),
            ("INSTALL", "app.install.Loc"),
            ("AppInstall", "app.install.Loc"),
            ("UNINSTALL", "app.uninstall.Loc"),
            ("UPDATE", "app.update.Loc"),
            ("PLAN_CHANGE", "app.plan_change.Loc"),
            ("APP_PAYMENT_STATUS", "app.payment_status.Loc"),
            ("EXTERNAL_AUTH_CONNECTED", "app.external_auth_connected.Loc"),
            ("InvoicePartiallyPaid", "invoice.partially_paid.Loc"),
            ("InboundMessage", "message.inbound.Loc"),
            ("OutboundMessage", "message.outbound.Loc"),
            ("LCEmailStats", "email.stats.Loc"),
            ("VoiceAiCallEnd", "voice_ai.call_end.Loc"),
            ("SaaSPlanCreate", "saas.plan_create.Loc"),
            ("ObjectSchemaCreate", "object.schema_create.Loc"),
            ("SupportTicketCreate", "support.ticket_create.Loc"),
            ("Price", "price.unspecified.Loc"),
            ("unknown", "other.unknown.Loc"),
            ("", "other.unknown.Loc"),
            ("FormSubmit", "other.form_submit.Loc"),
            ("FORM_SENT", "other.form_sent.Loc"),
            ("HTTPCall2Made", "other.http_call2_made.Loc"),
            ("a.b:c-D", "other.a_b_c-d.Loc"),
            ("*.#", "other.___.Loc"),
            ("Käse zum Mitnehmen", "other.k_se_zum_mitnehmen.Loc"),
        ] {
            assert_eq!(routing_key(event_type, &both), expected);
        }
        let key = |tenant| routing_key("UserCreate", &tenant);
        assert_eq!(key(of(None, Some("Com"))), "user.create.Com");
        assert_eq!(key(of(None, None)), "user.create.none");
        assert_eq!(key(of(Some(""), None)), "user.create.none");
        assert_eq!(key(of(Some("a.b/#*~"), None)), "user.create.a_b____");
        let unknown = routing_key(UNKNOWN_TYPE, &of(None, None));
        assert_eq!(unknown, "other.unknown.none");
    }

    #[test]
    fn every_key_is_three_short_plain_words() {
        let types = [
            "A".repeat(200),
            "aB".repeat(100),
            "é".repeat(90),
            ".".repeat(9),
        ];
        let tenants = [
            "x".repeat(128),
            "y".repeat(1_000),
            "ü".repeat(200),
            "#".into(),
        ];
        let known = catalogue::all().iter().map(|kind| kind.event_type);
        for event_type in known.chain(types.iter().map(String::as_str)) {
            for tenant in &tenants {
                let key = routing_key(event_type, &of(Some(tenant), None));
                assert!(key.len() < MAX_KEY_BYTES, "{key}");
                assert_eq!(key.split('.').count(), 3, "{key}");
                let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
                let word = |word: &str| !word.is_empty() && word.bytes().all(plain);
                assert!(key.split('.').all(word), "{key}");
            }
        }
    }

    #[test]
    fn bindings_match_as_on_a_topic_exchange() {
        for (pattern, key, expected) in [
            ("contact.create.L", "contact.create.L", true),
            ("contact.create.L", "contact.create.M", false),
            ("contact.create", "contact.create.L", false),
            ("contact.*.L", "contact.create.L", true),
            ("contact.*", "contact.create.L", false),
            ("*.*.*", "contact.create.L", true),
            ("*.*.*.*", "contact.create.L", false),
            ("*", "", false),
            ("#", "", true),
            ("", "", true),
            ("", "a", false),
            ("#", "a.b.c", true),
            ("contact.#", "contact", true),
            ("contact.#", "contact.create.L", true),
            ("contact.#", "contacts.create.L", false),
            ("#.L", "contact.create.L", true),
            ("#.L", "L", true),
            ("#.create.#", "contact.create.L", true),
            ("#.create.#", "create", true),
            ("#.delete.#", "contact.create.L", false),
            ("a.#.#.b", "a.b", true),
            ("a.#.*.b", "a.b", false),
            ("a.#.*.b", "a.x.b", true),
            ("#.a.b", "a.a.b", true),
            ("#.a.b.#.c", "a.b.a.c.b.c", true),
            ("#.*", "", false),
            ("#.*", "a.b", true),
            ("cont*", "contact", false),
            ("*.b", ".b", true),
        ] {
            assert_eq!(binding_matches(pattern, key), expected, "{pattern} {key}");
        }
    }

    /// What the words mean, without a thought for time.
    fn matches_by_definition(pattern: &[&str], key: &[&str]) -> bool {
        match (pattern, key) {
            ([], key) => key.is_empty(),
            (["#", rest @ ..], key) => {
                (0..=key.len()).any(|skip| matches_by_definition(rest, &key[skip..]))
            }
            (["*", rest @ ..], [_, left @ ..]) => matches_by_definition(rest, left),
            ([word, rest @ ..], [first, left @ ..]) => {
                word == first && matches_by_definition(rest, left)
            }
            (_, []) => false,
        }
    }

    /// All sequences of up to `most` of `words`.
    fn sequences<'w>(words: &[&'w str], most: usize) -> Vec<Vec<&'w str>> {
        let mut all = vec![vec![]];
        let mut longest = all.clone();
        for _ in 0..most {
            let longer = longest.iter().flat_map(|start| {
                words
                    .iter()
                    .map(move |word| [start.as_slice(), &[*word]].concat())
            });
            longest = longer.collect();
            all.extend(longest.iter().cloned());
        }
        all
    }

    #[test]
    fn bindings_match_as_defined_for_all_short_patterns_and_keys() {
        let keys = sequences(&["a", "b"], 5);
        for pattern in sequences(&["a", "b", "*", "#"], 5) {
            for key in &keys {
                let expected = matches_by_definition(&pattern, key);
                let (pattern, key) = (pattern.join("."), key.join("."));
                assert_eq!(binding_matches(&pattern, &key), expected, "{pattern} {key}");
            }
        }
    }

    #[test]
    fn no_binding_takes_long_to_match() {
        let key = vec!["a"; 128].join(".");
        let start = Instant::now();
        for pattern in ["#.a", "#", "#.*", "*.#"] {
            let pattern = format!("{}.b", vec![pattern; 40].join("."));
            assert!(!binding_matches(&pattern, &key));
        }
        assert!(start.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn bindings_that_cannot_be_declared_are_refused() {
        let long = "a".repeat(256);
        assert_eq!(
            check_binding(&long),
            Err(BindingError::TooLong { bytes: 256 })
        );
        for good in ["", "#", "contact.#", "a..b", "é.*", &long[1..]] {
            assert_eq!(check_binding(good), Ok(()), "{good}");
        }
        for bad in [
            "con tact.#",
            "con\ttact",
            "con\0tact",
            "con\u{a0}tact",
            "con\u{85}tact",
        ] {
            assert_eq!(check_binding(bad), Err(BindingError::Unprintable { at: 3 }));
        }
    }
}
