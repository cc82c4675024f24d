//! Rules that would call for themselves without end.

use crate::follow_up::rule::Rule;

/// Rules whose events call for each other, or for themselves: `a -> b -> a`.
pub(super) fn circle(rules: &[Rule]) -> Option<String> {
    // Each walk goes on from a rule to those that its events call for, until there is none or the first one again.
    let next = |rule: &Rule| -> Vec<usize> {
        let made = [&rule.publish_as, &rule.tombstone_as];
        let calls_for = |other: &&Rule| {
            made.iter()
                .any(|one| one.as_ref().is_some_and(|one| other.on.contains(one)))
        };
        let found = rules
            .iter()
            .enumerate()
            .filter(|(_, other)| calls_for(other));
        found.map(|(at, _)| at).collect()
    };
    let edges: Vec<_> = rules.iter().map(next).collect();
    for first in 0..rules.len() {
        let mut came_from = vec![None; rules.len()];
        let mut open = vec![first];
        while let Some(at) = open.pop() {
            for &to in &edges[at] {
                if to == first {
                    let mut names = vec![rules[first].name.as_str()];
                    let mut back = Some(at);
                    while let Some(one) = back.filter(|one| *one != first) {
                        names.push(&rules[one].name);
                        back = came_from[one];
                    }
                    names.push(&rules[first].name);
                    names.reverse();
                    return Some(names.join(" -> "));
                }
                if came_from[to].is_none() {
                    came_from[to] = Some(at);
                    open.push(to);
                }
            }
        }
    }
    None
}
