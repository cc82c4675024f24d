//! The public contract of the webhook listener, request by request, through the built binary.
//!
//! The answers are those of the table in ARCHITECTURE.md; there is one 2xx and it means "committed".

use std::time::Duration;

mod answers;
mod limits;
mod observed;
mod outage;
mod raw;

/// Longer than any deadline that these tests set, shorter than patience.
const SOON: Duration = Duration::from_secs(10);
