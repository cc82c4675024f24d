//! What comes into the build, held against `deploy/supply-chain/`, offline: sources, bans, advisories,
//! licences and doubles. Nothing in the policy may outlive its cause.

mod advisories;
mod materials;
mod policy;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use semver::Version;
use serde::Deserialize;

use advisories::Database;
use policy::{Policy, may_be_used, means};

/// A file of the project.
fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

/// A package of `Cargo.lock`: whatever any platform could need.
#[derive(Deserialize)]
struct Locked {
    name: String,
    version: Version,
    source: Option<String>,
    checksum: Option<String>,
}

fn locked() -> Vec<Locked> {
    let lock: Lock = toml::from_str(&file("Cargo.lock")).unwrap();
    assert!(lock.package.len() > 100, "the lock file was not read");
    lock.package
}

/// A package that is compiled for the platforms that are shipped, and its licence.
type Built = BTreeSet<(String, Version, String)>;

fn built(policy: &Policy) -> Built {
    let mut built = Built::new();
    for target in &policy.graph.targets {
        let output = Command::new(env!("CARGO"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["tree", "--locked", "--offline", "--target", target])
            .args(["--edges", "normal,build,dev", "--prefix", "none"])
            .args(["--format", "{p}|{l}|"])
            .output()
            .unwrap();
        let tree = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success(),
            "cargo fetch --locked may be missing: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        for line in tree.lines().filter(|line| !line.is_empty()) {
            let mut columns = line.split('|');
            let mut package = columns.next().unwrap().split(' ');
            let name = package.next().unwrap();
            let version = package.next().and_then(|word| word.strip_prefix('v'));
            let version = version.unwrap_or_else(|| panic!("{line}")).parse().unwrap();
            built.insert((name.to_owned(), version, columns.next().unwrap().to_owned()));
        }
    }
    assert!(built.len() > 100, "the tree was not read");
    built
}

fn banned(policy: &Policy, locked: &[Locked]) -> Vec<String> {
    let mut found = Vec::new();
    for package in locked {
        for ban in &policy.bans.deny {
            if means(&ban.spec, &package.name, &package.version) {
                found.push(format!(
                    "{} {} by `{}`",
                    package.name, package.version, ban.spec
                ));
            }
        }
    }
    found
}

fn open_advisories(policy: &Policy, database: &Database, locked: &[Locked]) -> Vec<String> {
    let ignored = |id: &str| policy.advisories.ignore.iter().any(|entry| entry.id == id);
    let mut found = Vec::new();
    for package in locked {
        for advisory in &database.advisories {
            if advisory.concerns(&package.name, &package.version) && !ignored(&advisory.id) {
                found.push(format!(
                    "{} {}: {}",
                    package.name,
                    package.version,
                    advisory.describe()
                ));
            }
        }
    }
    found
}

fn unlicensed(allowed: &[String], built: &Built) -> Vec<String> {
    let mut found = Vec::new();
    for (name, version, licence) in built {
        match may_be_used(licence, allowed) {
            Ok(true) => {}
            Ok(false) => found.push(format!("{name} {version}: {licence}")),
            Err(error) => found.push(format!("{name} {version}: {error}")),
        }
    }
    found
}

/// Crates of which more than one version is left when those that `skip` names are set aside.
fn doubles(skip: &[&str], built: &Built) -> Vec<String> {
    let mut versions: BTreeMap<&str, BTreeSet<&Version>> = BTreeMap::new();
    for (name, version, _) in built {
        if !skip.iter().any(|spec| means(spec, name, version)) {
            versions.entry(name).or_default().insert(version);
        }
    }
    versions.retain(|_, versions| versions.len() > 1);
    versions
        .into_iter()
        .map(|(name, versions)| format!("{name} {versions:?}"))
        .collect()
}

fn package(name: &str, version: &str) -> Locked {
    Locked {
        name: name.to_owned(),
        version: version.parse().unwrap(),
        source: None,
        checksum: None,
    }
}

#[test]
fn every_package_is_from_crates_io_and_has_a_checksum() {
    let policy = Policy::read();
    assert!(policy.sources.allow_git.is_empty());
    let registries: Vec<_> = policy.sources.allow_registry.iter().collect();
    assert_eq!(
        registries,
        ["https://github.com/rust-lang/crates.io-index"],
        "Cargo.lock calls crates.io by this address"
    );
    for package in locked() {
        if package.name == env!("CARGO_PKG_NAME") {
            continue;
        }
        let source = package.source.unwrap_or_default();
        let allowed = |registry: &&String| source == format!("registry+{registry}");
        assert!(
            registries.iter().any(allowed),
            "{} comes from `{source}`",
            package.name
        );
        let checksum = package.checksum.unwrap_or_default();
        assert_eq!(checksum.len(), 64, "{} has no checksum", package.name);
    }
}

#[test]
fn nothing_banned_is_in_the_lock_file() {
    let found = banned(&Policy::read(), &locked());
    assert!(found.is_empty(), "banned: {found:#?}");
}

#[test]
fn no_advisory_is_open() {
    let (policy, database) = (Policy::read(), Database::read());
    let found = open_advisories(&policy, &database, &locked());
    assert!(found.is_empty(), "update, or replace: {found:#?}");
    for entry in &policy.advisories.ignore {
        let advisory = database
            .advisories
            .iter()
            .find(|advisory| advisory.id == entry.id);
        let concerns = advisory.is_some_and(|advisory| {
            locked()
                .iter()
                .any(|package| advisory.concerns(&package.name, &package.version))
        });
        assert!(concerns, "{} is ignored and concerns nothing", entry.id);
        assert!(!entry.reason.is_empty(), "{} without a reason", entry.id);
    }
}

#[test]
fn the_advisories_were_looked_up_for_every_crate() {
    let database = Database::read();
    for package in locked() {
        let known = package.source.is_none() || database.crates.contains(&package.name);
        let name = &package.name;
        assert!(
            known,
            "{name} is new to deploy/supply-chain/advisories.json: is it the crate you mean, and what is on \
             https://rustsec.org/packages/{name}.html? Then see deploy/supply-chain/refresh.sh"
        );
    }
}

/// Where changes are accepted, old data fail; elsewhere they only warn, so that an old checkout stays testable.
#[test]
fn the_advisories_are_not_too_old() {
    let age = Database::read().age(SystemTime::now());
    let allowed = Policy::read().days();
    if age > allowed {
        let message = format!(
            "deploy/supply-chain/advisories.json is {age} days old, and {allowed} are allowed: \
             renew it with deploy/supply-chain/refresh.sh"
        );
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{message}");
        // Not eprintln!, which is not shown of a test that passes.
        writeln!(std::io::stderr(), "warning: {message}").unwrap();
    }
}

#[test]
fn every_licence_is_allowed_and_every_allowed_one_needed() {
    let policy = Policy::read();
    let built = built(&policy);
    let allowed = &policy.licenses.allow;
    let found = unlicensed(allowed, &built);
    assert!(found.is_empty(), "not allowed: {found:#?}");
    for licence in allowed {
        let others: Vec<_> = allowed
            .iter()
            .filter(|other| *other != licence)
            .cloned()
            .collect();
        assert!(
            !unlicensed(&others, &built).is_empty(),
            "nothing needs {licence}"
        );
    }
}

#[test]
fn every_double_has_its_reason_and_every_reason_its_double() {
    let policy = Policy::read();
    let built = built(&policy);
    let skip: Vec<_> = policy.bans.skip.iter().map(|entry| &*entry.spec).collect();
    let found = doubles(&skip, &built);
    assert!(found.is_empty(), "two versions: {found:#?}");
    for entry in &policy.bans.skip {
        assert!(!entry.reason.is_empty(), "{} without a reason", entry.spec);
        let others: Vec<_> = skip
            .iter()
            .copied()
            .filter(|spec| *spec != entry.spec)
            .collect();
        assert!(
            !doubles(&others, &built).is_empty(),
            "{} is no double any more",
            entry.spec
        );
    }
}

#[test]
fn the_checks_find_what_is_planted() {
    let (policy, database) = (Policy::read(), Database::read());
    for (name, version) in [
        ("openssl", "0.10.80"),
        ("h2", "0.4.15"),
        ("tracings", "1.0.0"),
    ] {
        assert_eq!(
            banned(&policy, &[package(name, version)]).len(),
            1,
            "{name}"
        );
    }
    for (name, version) in [
        ("tokio", "1.44.1"),
        ("ring", "0.16.20"),
        ("rustls", "0.23.44"),
    ] {
        let found = open_advisories(&policy, &database, &[package(name, version)]);
        assert!(!found.is_empty(), "{name} {version}");
    }
    let found = open_advisories(&policy, &database, &[package("backoff", "0.4.0")]);
    assert!(found.is_empty(), "this one is ignored: {found:?}");

    let built: Built = [
        ("a", "1.0.0", "MIT"),
        ("a", "2.0.0", "GPL-3.0-only"),
        ("b", "1.0.0", ""),
    ]
    .map(|(name, version, licence)| (name.into(), version.parse().unwrap(), licence.into()))
    .into();
    assert_eq!(unlicensed(&policy.licenses.allow, &built).len(), 2);
    assert_eq!(doubles(&[], &built).len(), 1);
    assert!(doubles(&["a@1.0.0"], &built).is_empty());
}
