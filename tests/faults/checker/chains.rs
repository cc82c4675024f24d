//! I14: a refresh token is good once, and the chain of them goes on.
//!
//! The played GHL counts each presentation. A daemon that was killed between its request and its commit, or whose
//! answer was lost, may present the same token once more, and after that the one before it: whoever comes next
//! cannot know. Nothing else is excused. That a chain goes on is not believed of the store: every access token is
//! ended, and a call has to succeed after that.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::super::records;
use super::super::records::calls::{API, REPORT, Report, Request};
use super::load::Run;
use super::{Findings, Invariant};

/// Where tokens are refreshed.
const TOKENS: &str = "/oauth/token";

pub fn judge(folder: &Path, run: &Run, findings: &mut Findings) -> io::Result<()> {
    let plan = run.plan.follow_ups.as_ref();
    let (Some(plan), true) = (plan, folder.join(REPORT).exists()) else {
        findings.undecided(Invariant::SingleUse, "nobody counted refresh tokens");
        return Ok(());
    };
    let report: Report = records::read(&folder.join(REPORT))?;
    let (mut lost, mut going_on) = (0, Vec::new());
    records::each(&folder.join(API), |request: Request| {
        let of_tokens = request.path == TOKENS;
        lost += u64::from(of_tokens && request.answer_was_lost(plan.timeout_us));
        let asked = run.end.asked_at.is_some_and(|at| at <= request.t);
        if asked && !of_tokens && request.succeeded() {
            going_on.extend(request.tenant);
        }
    })?;
    let excuses = u64::try_from(run.kills().count()).unwrap() + lost;
    presentations(&report, excuses, findings);
    for chain in &run.end.chains {
        let tenant = &chain.tenant;
        match chain.state.as_str() {
            "reauthorise" if excuses == 0 => broken(findings, || {
                format!("{tenant} has to authorise the app again, and nothing happened")
            }),
            "usable" if chain.asked && !going_on.contains(tenant) => broken(findings, || {
                format!("the token of {tenant} counts as usable, and is not")
            }),
            _ => (),
        }
    }
    if run.end.asked_at.is_none() {
        findings.undecided(
            Invariant::SingleUse,
            "no chain was asked whether it goes on",
        );
    }
    Ok(())
}

fn broken(findings: &mut Findings, example: impl FnOnce() -> String) {
    findings.violated(Invariant::SingleUse, example);
}

fn presentations(report: &Report, excuses: u64, findings: &mut Findings) {
    for (id, token) in &report.refresh_tokens {
        if 1 < token.successful {
            broken(findings, || {
                format!(
                    "{id} of {} brought {} pairs",
                    token.tenant, token.successful
                )
            });
        }
        if excuses < token.spent {
            broken(findings, || {
                format!(
                    "{id} of {} was presented {} times when it was spent, {excuses} are explained",
                    token.tenant, token.spent
                )
            });
        }
    }
    // One kill may overtake the refreshes of several tenants, and each of them once.
    let mut of_tenants: BTreeMap<&str, u64> = BTreeMap::new();
    for token in report.refresh_tokens.values() {
        *of_tenants.entry(token.tenant.as_str()).or_default() += token.spent;
    }
    for (tenant, spent) in of_tenants {
        if 2 * excuses < spent {
            broken(findings, || {
                format!(
                    "{spent} presentations of spent tokens of {tenant}, {} are explained",
                    2 * excuses
                )
            });
        }
    }
    if 0 < report.unknown_refresh_tokens {
        broken(findings, || {
            format!(
                "{} refresh tokens never were",
                report.unknown_refresh_tokens
            )
        });
    }
}
