//! Waiting for a state, with a bound.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// Asks `probe` every 20 ms until it answers.
///
/// # Panics
/// After `within`, naming `what` was waited for. A probe that hangs counts as one that says no.
pub async fn eventually<T, F: AsyncFnMut() -> Option<T>>(
    what: &str,
    within: Duration,
    mut probe: F,
) -> T {
    let deadline = Instant::now() + within;
    let asking = async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    match timeout_at(deadline, asking).await {
        Ok(found) => found,
        Err(_) => panic!("not within {within:?}: {what}"),
    }
}
