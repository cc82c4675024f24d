//! Packets that get lost without a word, in both directions of one port of this machine.

use crate::abilities::said;

/// Nothing comes through to a port, nor from it, until this is dropped.
pub struct LostPackets {
    rules: Vec<[String; 10]>,
}

impl LostPackets {
    /// Of this port on loopback.
    pub fn of(port: u16) -> Self {
        let port = port.to_string();
        let rule = |end: &str| {
            [
                "INPUT", "-w", "-i", "lo", "-p", "tcp", end, &port, "-j", "DROP",
            ]
            .map(ToOwned::to_owned)
        };
        let mut lost = Self { rules: Vec::new() };
        for rule in [rule("--dport"), rule("--sport")] {
            iptables("-I", &rule).expect("iptables takes a rule");
            lost.rules.push(rule);
        }
        lost
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
