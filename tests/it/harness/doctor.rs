//! What `hookwell doctor` finds.

use serde_json::Value;

use super::{DaemonConfig, run_cli};

/// Its findings, in order, and how it ended.
#[derive(Debug)]
pub struct Diagnosis {
    /// The exit code.
    pub code: Option<i32>,
    /// Objects with `level`, `what`, `found` and, but where all is well, `fix`.
    pub findings: Vec<Value>,
}

/// Asks the doctor, with more arguments.
pub fn doctor(config: &DaemonConfig, more: &[&str]) -> Diagnosis {
    let output = run_cli(&[&["doctor", "--json"][..], more].concat(), config);
    let said = String::from_utf8_lossy(&output.stdout);
    let findings = said.lines().map(|line| {
        let finding: Value = serde_json::from_str(line).unwrap();
        let is_good = finding["level"] == "good";
        assert_eq!(is_good, finding["fix"].is_null(), "the way out: {finding}");
        finding
    });
    Diagnosis {
        code: output.status.code(),
        findings: findings.collect(),
    }
}

impl Diagnosis {
    /// Everything about a subject.
    pub fn about(&self, what: &str) -> Vec<&Value> {
        let of = self
            .findings
            .iter()
            .filter(|finding| finding["what"] == what);
        of.collect()
    }

    /// The first thing about a subject, which has to be there.
    pub fn first(&self, what: &str) -> &Value {
        self.about(what)
            .first()
            .unwrap_or_else(|| panic!("nothing about {what}: {self:?}"))
    }

    /// How bad a subject is, `not said` without a word about it.
    pub fn level(&self, what: &str) -> &str {
        let first = self.about(what).into_iter().next();
        first.map_or("not said", |finding| finding["level"].as_str().unwrap())
    }
}
