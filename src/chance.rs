//! The one place where the daemon's chance comes from: nonces, states, and the spread of delays. Everything else
//! is handed a [`Chance`].

use std::sync::Arc;

/// Fills bytes with chance that nobody can foresee.
pub type Chance = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// The system's.
pub fn system() -> Chance {
    Arc::new(|bytes| {
        // It fails on no system that this runs on; a daemon that made up predictable secrets would be worse
        // than one that ends.
        getrandom::fill(bytes).expect("the system has a source of randomness");
    })
}

/// So many bytes.
pub fn bytes<const N: usize>(chance: &Chance) -> [u8; N] {
    let mut bytes = [0; N];
    chance(&mut bytes);
    bytes
}

/// A number in `0.0..1.0`, for spreading delays.
pub fn fraction(chance: &Chance) -> f64 {
    f64::from(u32::from_le_bytes(bytes(chance))) / (f64::from(u32::MAX) + 1.0)
}
