//! A small mutator: from kept inputs to others like them, always the same ones.

/// Makes inputs.
pub struct Mutator<'c> {
    kept: &'c [Vec<u8>],
    state: u64,
}

impl<'c> Mutator<'c> {
    /// One that starts from these.
    pub fn new(kept: &'c [Vec<u8>]) -> Self {
        Self { kept, state: 1 }
    }

    /// SplitMix64: short, and good enough to choose by.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 for 0.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// A kept input after one to four changes.
    pub fn mutation(&mut self) -> Vec<u8> {
        let kept = self.kept;
        let mut input = kept[self.below(kept.len())].clone();
        for _ in 0..=self.below(4) {
            self.change(&mut input);
        }
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        const BYTES: &[u8] = b"\0\t\n\r \"#'*+,-./09:;=@AZ[\\]_az{}~\x7f\x80\xc3\xff";
        let at = self.below(input.len() + 1);
        // Most changes are small, some are not.
        let most = if self.below(4) == 0 { 64 } else { 4 };
        let length = 1 + self.below(most);
        let end = (at + length).min(input.len());
        match self.below(7) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = BYTES[self.below(BYTES.len())],
            2 => input.insert(at, BYTES[self.below(BYTES.len())]),
            3 => drop(input.drain(at..end)),
            4 => {
                let part = input[at..end].to_vec();
                input.splice(at..at, part);
            }
            5 => input.truncate(at),
            // The end of another input, or a part of one.
            _ => {
                let kept = self.kept;
                let other = &kept[self.below(kept.len())];
                let from = self.below(other.len() + 1);
                if self.below(2) == 0 {
                    input.truncate(at);
                    input.extend_from_slice(&other[from..]);
                } else {
                    let to = (from + length).min(other.len());
                    input.splice(at..at, other[from..to].iter().copied());
                }
            }
        }
    }
}
