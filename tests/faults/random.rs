//! Chance that can be repeated: SplitMix64 from the run's seed.

use std::time::Duration;

/// A source of numbers; the same seed gives the same ones.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The numbers of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A source of its own for each of several users of one seed.
    pub fn fork(&self, number: u64) -> Self {
        let mut other = Self(self.0 ^ number.wrapping_mul(0xd134_2543_de82_ef95));
        Self(other.number())
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.number() % limit
    }

    /// True so many times of a hundred.
    pub fn percent(&mut self, share: f64) -> bool {
        (self.below(1_000_000) as f64) < share * 10_000.0
    }

    /// A time between two.
    pub fn duration(&mut self, from: Duration, to: Duration) -> Duration {
        let span = u64::try_from(to.saturating_sub(from).as_micros()).unwrap_or(u64::MAX);
        from + Duration::from_micros(self.below(span.max(1)))
    }

    /// A version 4 UUID in form.
    pub fn uuid(&mut self) -> String {
        let (a, b) = (self.number(), self.number());
        let (high, mid) = (a >> 32, (a >> 16) & 0xffff);
        let (third, fourth) = (a & 0xfff, 0x8000 | ((b >> 48) & 0x3fff));
        let last = b & 0xffff_ffff_ffff;
        format!("{high:08x}-{mid:04x}-4{third:03x}-{fourth:04x}-{last:012x}")
    }
}
