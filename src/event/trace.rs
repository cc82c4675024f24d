//! The trace of an event (W3C Trace Context), derived from its identity: every copy of it, in every process and
//! version, has the same. Pure.

/// A trace that begins with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: u128,
    /// The span of the event's arrival, the parent of every other.
    pub span_id: u64,
}

impl TraceContext {
    /// The trace of the event with this key.
    pub fn of(app_id: &str, key: &str) -> Self {
        let half = |which| u128::from(number(&[app_id, key, which]));
        // W3C forbids ids of zeros only.
        Self {
            trace_id: ((half("a") << 64) | half("b")).max(1),
            span_id: number(&[app_id, key, "span"]).max(1),
        }
    }

    /// The header that carries it on.
    pub fn traceparent(&self, is_sampled: bool) -> String {
        let flags = u8::from(is_sampled);
        format!(
            "00-{:032x}-{:016x}-{flags:02x}",
            self.trace_id, self.span_id
        )
    }

    /// Whether it is among so many of a hundred.
    pub fn is_sampled(&self, percent: u8) -> bool {
        self.trace_id % 100 < u128::from(percent)
    }

    /// The id of another span of it: the same for the same words.
    pub fn span(&self, words: &[&str]) -> u64 {
        let own = format!("{:032x}", self.trace_id);
        let words: Vec<_> = [own.as_str()]
            .into_iter()
            .chain(words.iter().copied())
            .collect();
        number(&words).max(1)
    }
}

/// FNV-1a with a final mix; spreads names evenly and is the same in every process and version.
pub fn number(words: &[&str]) -> u64 {
    let bytes = words.iter().flat_map(|word| word.bytes().chain([0xff]));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^ (mixed >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_traces_is_sampled_and_always_the_same() {
        let traces: Vec<_> = (0..1_000)
            .map(|n| TraceContext::of("app", &format!("key-{n}")))
            .collect();
        let sampled = |percent| {
            let sampled = traces.iter().filter(|trace| trace.is_sampled(percent));
            sampled.count()
        };
        assert_eq!((sampled(0), sampled(100)), (0, 1_000));
        assert!((60..140).contains(&sampled(10)), "{}", sampled(10));
    }

    #[test]
    fn the_header_has_the_form_of_w3c() {
        let trace = TraceContext {
            trace_id: 0xab,
            span_id: 0xc,
        };
        assert_eq!(
            trace.traceparent(true),
            "00-000000000000000000000000000000ab-000000000000000c-01"
        );
        assert!(trace.traceparent(false).ends_with("-00"));
        assert_ne!(trace.span(&["a"]), trace.span(&["b"]));
    }
}
