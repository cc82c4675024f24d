//! Rules of follow-ups as a daemon's configuration has them and as they are judged, and what else it takes to call.

use hookwell::seal::{KEY_BYTES, Keyring};

use super::super::api::{Api, of_app};
use crate::harness::DaemonConfig;
use crate::records::calls::Rule;

/// Seals tokens.
const KEY: [u8; KEY_BYTES] = *b"canary of the sealing key, 4711.";

/// A rule as the configuration has it, and as it is judged.
#[derive(Debug, Clone, Copy)]
pub struct RuleText {
    name: &'static str,
    bind: &'static [&'static str],
    idempotent: bool,
    publishes: bool,
    text: &'static str,
}

/// Fetches the contact and publishes what it is. The records of two tenants are never the same.
pub const SNAPSHOT: RuleText = RuleText {
    name: "snapshot",
    bind: &["contact.create.#", "contact.update.#"],
    idempotent: true,
    publishes: true,
    text: r#"
[[follow_ups]]
name = "snapshot"
on = ["ContactCreate", "ContactUpdate"]
request = "GET /contacts/{entity_id}.{tenant}?rule=snapshot&for={event_key}"
publish_as = "contact.snapshot"
publish = { of = "{event_key}", contact = "{answer.contact.id}" }
"#,
};

/// The same, where what comes within half a second is one call.
pub const COALESCED: RuleText = RuleText {
    text: r#"
[[follow_ups]]
name = "snapshot"
on = ["ContactCreate", "ContactUpdate"]
request = "GET /contacts/{entity_id}.{tenant}?rule=snapshot&for={event_key}"
publish_as = "contact.snapshot"
publish = { of = "{event_key}", contact = "{answer.contact.id}" }
coalesce = "500ms"
"#,
    ..SNAPSHOT
};

/// Writes, which may not be made twice.
pub const TAG: RuleText = RuleText {
    name: "tag",
    bind: &["contact.tag_update.#"],
    idempotent: false,
    publishes: false,
    text: r#"
[[follow_ups]]
name = "tag"
on = ["ContactTagUpdate"]
request = "POST /contacts/{entity_id}.{tenant}/tags?rule=tag&for={event_key}"
body = { tags = ["from-{event_type}"] }
"#,
};

/// What follow-ups a run has.
#[derive(Debug, Clone)]
pub struct Calls {
    /// The rules.
    pub rules: Vec<RuleText>,
    /// What the API allows each account in an interval.
    pub burst: u32,
    /// The interval.
    pub interval: &'static str,
    /// How long an answer is waited for, in seconds.
    pub timeout: u64,
    /// More lines of the configuration's `[ghl]`.
    pub lines: String,
}

impl Default for Calls {
    /// Both kinds of rules, and no limit that is reached.
    fn default() -> Self {
        Self {
            rules: vec![SNAPSHOT, TAG],
            burst: 100_000,
            interval: "10s",
            timeout: 30,
            lines: String::new(),
        }
    }
}

impl Calls {
    /// The rules as they are judged.
    pub fn judged(&self) -> Vec<Rule> {
        let owned = |text: &&str| (*text).to_owned();
        let rules = self.rules.iter().map(|rule| Rule {
            name: rule.name.to_owned(),
            bind: rule.bind.iter().map(owned).collect(),
            idempotent: rule.idempotent,
            publishes: rule.publishes,
        });
        rules.collect()
    }

    /// A daemon that makes them at this API.
    pub fn configure(&self, mut config: DaemonConfig, api: &Api) -> DaemonConfig {
        let keys = config.dir().join("token-keys");
        std::fs::write(&keys, Keyring::line("k1", &KEY).as_bytes()).unwrap();
        let url = api.url();
        let Self {
            burst,
            interval,
            timeout,
            lines,
            ..
        } = self;
        let section = format!(
            "api_base = {url:?}\nauthorize_url = \"{url}/v2/oauth/chooselocation\"\ntoken_keys_file = {keys:?}\n\
             burst = {burst}\ninterval = {interval:?}\ntimeout = \"{timeout}s\"\nretry_first = \"50ms\"\n\
             retry_max = \"500ms\"\n{lines}"
        );
        config = config.set("ghl", &section);
        // What it asks by itself, and appends, is not judged here.
        config = config.set("repair", "automatic = false\nreconcile_every = \"0s\"");
        config.of_app = of_app();
        config.tail = self.rules.iter().map(|rule| rule.text).collect();
        config
    }
}

/// The text of the key that seals, as its file has it.
pub fn key_text() -> String {
    let line = Keyring::line("k1", &KEY);
    line.split_whitespace().nth(1).unwrap().to_owned()
}
