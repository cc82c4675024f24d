//! `[repair]`: what is read from the API without an event that calls for it.

use std::time::Duration;

use super::super::section::Section;
use super::{DAY, HOUR, SECOND};
use crate::event::backfill::Kind;
use crate::follow_up::Repair;

/// Between two pages of a location, and how long after a location was missing it is looked for again.
pub(super) type Pace = (Duration, Duration);

pub(in crate::config) fn repair(root: &mut Section) -> Option<(Repair, Pace)> {
    let mut s = root.section("repair");
    let automatic = s.flag("automatic");
    let gap_after = s.duration("gap_after", SECOND, 30 * DAY);
    let settle = s.duration("settle", Duration::ZERO, DAY);
    let margin = s.duration("margin", Duration::ZERO, DAY);
    let pages = s.number("pages_per_second", 1, 50);
    let every = s.duration("reconcile_every", Duration::ZERO, 30 * DAY);
    let confirm = s.duration("confirm_after", Duration::ZERO, HOUR * 24);
    if let Some(every) = every
        && !every.is_zero()
        && every < SECOND
    {
        let place = s.place().to_owned();
        s.problem(
            "reconcile_every",
            &place,
            "must be 0s (never) or at least 1s",
        );
    }
    let mut first_sync = Vec::new();
    let mut good = true;
    for (name, at) in s.texts("first_sync") {
        match Kind::parse(&name) {
            Some(kind) => first_sync.push(kind),
            None => {
                good = false;
                let known = Kind::ALL.map(Kind::as_str).join(" and ");
                s.problem(
                    "first_sync",
                    &at,
                    format!("{name} cannot be read; there are {known}"),
                );
            }
        }
    }
    root.finish(s);
    first_sync.sort_unstable();
    first_sync.dedup();
    let repair = Repair {
        automatic: automatic?,
        gap_after: gap_after?,
        settle: settle?,
        margin: margin?,
        first_sync: good.then_some(first_sync)?,
        reconcile_every: Some(every?).filter(|every| !every.is_zero()),
    };
    let pages = u32::try_from(pages?).ok()?;
    Some((repair, (SECOND / pages, confirm?)))
}
