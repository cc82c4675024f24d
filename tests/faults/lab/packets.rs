//! Packets that get lost without a word, in both directions: of one port of this machine, or between the
//! nodes of a cluster on it.

use crate::abilities::said;

/// A node as its packets show it.
pub struct Node {
    /// Where its connections to others come from.
    pub from: &'static str,
    /// Where it takes theirs.
    pub port: u16,
}

/// Nothing comes through to a port, nor from it, or between nodes, until this is dropped.
pub struct LostPackets {
    rules: Vec<Vec<String>>,
}

impl LostPackets {
    /// Of this port on loopback.
    pub fn of(port: u16) -> Self {
        let port = port.to_string();
        let mut lost = Self { rules: Vec::new() };
        lost.add(&["--dport", &port]);
        lost.add(&["--sport", &port]);
        lost
    }

    /// Between a node and each of the others, whichever of the two made the connection.
    pub fn between(one: &Node, others: &[Node]) -> Self {
        let mut lost = Self { rules: Vec::new() };
        for other in others {
            for (from, to) in [(one, other), (other, one)] {
                let port = to.port.to_string();
                lost.add(&["-s", from.from, "--dport", &port]);
                lost.add(&["-d", from.from, "--sport", &port]);
            }
        }
        lost
    }

    fn add(&mut self, which: &[&str]) {
        let head: &[&str] = &["INPUT", "-w", "-i", "lo", "-p", "tcp"];
        let rule = [head, which, &["-j", "DROP"]].concat();
        let rule: Vec<_> = rule.into_iter().map(ToOwned::to_owned).collect();
        iptables("-I", &rule).expect("iptables takes a rule");
        self.rules.push(rule);
    }
}

impl Drop for LostPackets {
    fn drop(&mut self) {
        for rule in &self.rules {
            if iptables("-D", rule).is_none() {
                eprintln!("left behind: iptables {}", rule.join(" "));
            }
        }
    }
}

fn iptables(deed: &str, rule: &[String]) -> Option<String> {
    let rule = rule.iter().map(String::as_str);
    let arguments: Vec<&str> = std::iter::once(deed).chain(rule).collect();
    said("iptables", &arguments)
}
