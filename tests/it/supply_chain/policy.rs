//! `deny.toml` as the checks need it: bans, allowed licences, advisories that are put up with.

use semver::{Comparator, Op, Version, VersionReq};
use serde::Deserialize;

#[derive(Deserialize)]
pub struct Policy {
    pub graph: Graph,
    pub advisories: Advisories,
    pub licenses: Licenses,
    pub sources: Sources,
    pub bans: Bans,
}

#[derive(Deserialize)]
pub struct Graph {
    pub targets: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Advisories {
    maximum_db_staleness: String,
    pub ignore: Vec<Ignored>,
}

#[derive(Deserialize)]
pub struct Ignored {
    pub id: String,
    pub reason: String,
}

#[derive(Deserialize)]
pub struct Licenses {
    pub allow: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sources {
    pub allow_registry: Vec<String>,
    pub allow_git: Vec<String>,
}

#[derive(Deserialize)]
pub struct Bans {
    pub deny: Vec<Banned>,
    pub skip: Vec<Skipped>,
}

#[derive(Deserialize)]
pub struct Banned {
    #[serde(rename = "crate")]
    pub spec: String,
}

#[derive(Deserialize)]
pub struct Skipped {
    #[serde(rename = "crate")]
    pub spec: String,
    pub reason: String,
}

impl Policy {
    pub fn read() -> Self {
        toml::from_str(&super::file("deploy/supply-chain/deny.toml")).unwrap()
    }

    /// How old the advisory data may become.
    pub fn days(&self) -> u64 {
        let days = &self.advisories.maximum_db_staleness;
        let days = days
            .strip_prefix('P')
            .and_then(|days| days.strip_suffix('D'));
        days.expect("as P120D").parse().unwrap()
    }
}

/// Whether cargo-deny's `name`, `name@version` (exactly this one) or `name:requirement` means this package.
pub fn means(spec: &str, name: &str, version: &Version) -> bool {
    if let Some((wanted, exact)) = spec.split_once('@') {
        let exact = Version::parse(exact).unwrap();
        let exact = VersionReq {
            comparators: vec![Comparator {
                op: Op::Exact,
                major: exact.major,
                minor: Some(exact.minor),
                patch: Some(exact.patch),
                pre: exact.pre,
            }],
        };
        return wanted == name && exact.matches(version);
    }
    match spec.split_once(':') {
        Some((wanted, range)) => {
            wanted == name && VersionReq::parse(range).unwrap().matches(version)
        }
        None => spec == name,
    }
}

/// Whether what is allowed is enough for this SPDX expression; the slash of old manifests means OR.
pub fn may_be_used(expression: &str, allowed: &[String]) -> Result<bool, String> {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
    let result = any(&mut words, allowed).ok_or_else(|| format!("`{expression}` is not SPDX"))?;
    if words.is_empty() {
        Ok(result)
    } else {
        Err(format!("`{expression}` is not SPDX"))
    }
}

fn any(words: &mut Vec<&str>, allowed: &[String]) -> Option<bool> {
    let mut result = all(words, allowed)?;
    while words.pop_if(|word| *word == "OR").is_some() {
        result |= all(words, allowed)?;
    }
    Some(result)
}

fn all(words: &mut Vec<&str>, allowed: &[String]) -> Option<bool> {
    let mut result = one(words, allowed)?;
    while words.pop_if(|word| *word == "AND").is_some() {
        result &= one(words, allowed)?;
    }
    Some(result)
}

fn one(words: &mut Vec<&str>, allowed: &[String]) -> Option<bool> {
    let word = words.pop()?;
    if word == "(" {
        let result = any(words, allowed)?;
        return (words.pop()? == ")").then_some(result);
    }
    if matches!(word, ")" | "AND" | "OR" | "WITH") {
        return None;
    }
    let licence = match words.pop_if(|word| *word == "WITH") {
        Some(_) => format!("{word} WITH {}", words.pop()?),
        None => word.to_owned(),
    };
    Some(allowed.contains(&licence))
}

#[test]
fn a_spec_means_a_name_a_version_or_a_range() {
    for (spec, package, expected) in [
        ("h2", "h2 0.4.1", true),
        ("h2", "h2o 0.4.1", false),
        ("rand@0.8.8", "rand 0.8.8", true),
        ("rand@0.8.8", "rand 0.8.9", false),
        ("wasi@0.11.1", "wasi 0.11.1+preview1", true),
        ("h2:<0.4.16", "h2 0.4.15", true),
        ("h2:<0.4.16", "h2 0.4.16", false),
        ("h2:<0.4.16", "hyper 0.1.0", false),
    ] {
        let (name, version) = package.split_once(' ').unwrap();
        let version = version.parse().unwrap();
        assert_eq!(means(spec, name, &version), expected, "{spec}: {package}");
    }
}

#[test]
fn a_licence_expression_is_read_as_spdx_means_it() {
    let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
    for (expression, expected) in [
        ("MIT", Ok(true)),
        ("GPL-3.0-only", Ok(false)),
        ("GPL-3.0-only OR MIT", Ok(true)),
        ("GPL-3.0-only/MIT", Ok(true)),
        ("GPL-3.0-only AND MIT", Ok(false)),
        ("ISC AND MIT OR GPL-3.0-only", Ok(true)),
        ("GPL-3.0-only AND (ISC OR MIT)", Ok(false)),
        ("(GPL-3.0-only OR ISC) AND MIT", Ok(true)),
        ("Apache-2.0 WITH LLVM-exception", Ok(true)),
        ("Apache-2.0", Ok(false)),
        ("", Err(())),
        ("MIT OR", Err(())),
        ("(MIT", Err(())),
        ("MIT ISC", Err(())),
    ] {
        let result = may_be_used(expression, &allowed).map_err(drop);
        assert_eq!(result, expected, "{expression}");
    }
}
