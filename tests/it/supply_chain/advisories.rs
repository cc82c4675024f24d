//! The copy of the RustSec advisories, and which of them concern a version.

use std::time::SystemTime;

use semver::{Version, VersionReq};
use serde::Deserialize;

#[derive(Deserialize)]
pub struct Database {
    snapshot: String,
    /// The crates that were looked up. The file says nothing about others.
    pub crates: Vec<String>,
    pub advisories: Vec<Advisory>,
}

#[derive(Deserialize)]
pub struct Advisory {
    pub id: String,
    #[serde(rename = "crate")]
    pub name: String,
    informational: Option<String>,
    patched: Vec<VersionReq>,
    unaffected: Vec<VersionReq>,
}

impl Database {
    pub fn read() -> Self {
        serde_json::from_str(&super::file("deploy/supply-chain/advisories.json")).unwrap()
    }

    /// Days from the snapshot to `now`.
    pub fn age(&self, now: SystemTime) -> u64 {
        let taken = humantime::parse_rfc3339(&format!("{}T00:00:00Z", self.snapshot)).unwrap();
        now.duration_since(taken).unwrap_or_default().as_secs() / 86_400
    }
}

impl Advisory {
    /// A pre-release is in no range that does not name it, and so it is concerned rather than not.
    pub fn concerns(&self, name: &str, version: &Version) -> bool {
        let mut out_of_danger = self.patched.iter().chain(&self.unaffected);
        self.name == name && !out_of_danger.any(|range| range.matches(version))
    }

    pub fn describe(&self) -> String {
        format!(
            "{} ({}), https://rustsec.org/advisories/{}.html",
            self.id,
            self.informational.as_deref().unwrap_or("vulnerability"),
            self.id
        )
    }
}

#[test]
fn an_advisory_concerns_what_is_neither_patched_nor_unaffected() {
    let advisory: Advisory = serde_json::from_str(
        r#"{"id": "RUSTSEC-0000-0000", "crate": "a", "patched": [">= 1.8.4, < 1.9.0", ">= 1.13.1"],
            "unaffected": ["< 0.1.14"]}"#,
    )
    .unwrap();
    for (name, version, expected) in [
        ("a", "0.1.13", false),
        ("a", "0.1.14", true),
        ("a", "1.8.3", true),
        ("a", "1.8.4", false),
        ("a", "1.9.0", true),
        ("a", "1.13.0", true),
        ("a", "1.13.1", false),
        ("a", "2.0.0", false),
        ("a", "2.0.0-rc.1", true),
        ("b", "1.9.0", false),
    ] {
        let version = version.parse().unwrap();
        assert_eq!(
            advisory.concerns(name, &version),
            expected,
            "{name} {version}"
        );
    }
}

#[test]
fn an_advisory_without_a_remedy_concerns_every_version() {
    let advisory: Advisory = serde_json::from_str(
        r#"{"id": "RUSTSEC-0000-0000", "crate": "a", "informational": "unmaintained", "patched": [], "unaffected": []}"#,
    )
    .unwrap();
    for version in ["0.0.1", "1.0.0", "99.0.0"] {
        assert!(advisory.concerns("a", &version.parse().unwrap()));
    }
}

#[test]
fn the_age_is_counted_in_whole_days() {
    let database: Database =
        serde_json::from_str(r#"{"snapshot": "2026-10-09", "crates": [], "advisories": []}"#)
            .unwrap();
    for (now, expected) in [
        ("2026-10-09T23:59:59Z", 0),
        ("2026-10-10T00:00:00Z", 1),
        ("2027-02-06T12:00:00Z", 120),
    ] {
        let now = humantime::parse_rfc3339(now).unwrap();
        assert_eq!(database.age(now), expected);
    }
}
