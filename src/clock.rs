//! The one place where the wall clock is read; everything else is handed a [`Clock`].

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::event::Micros;

/// Tells the time, in microseconds since 1970 (UTC).
pub type Clock = Arc<dyn Fn() -> Micros + Send + Sync>;

/// The system's wall clock.
pub fn system() -> Clock {
    Arc::new(|| {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    })
}

/// RFC 3339 with microseconds, UTC.
pub fn rfc3339(time: Micros) -> String {
    let micros = u64::try_from(time.0).unwrap_or(0);
    humantime::format_rfc3339_micros(UNIX_EPOCH + std::time::Duration::from_micros(micros))
        .to_string()
}
