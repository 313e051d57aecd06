//! The clock on the wall. Everything else in this crate is told what time it is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since 1970; 0 on a machine whose clock is before that, on which every certificate is not valid yet.
pub fn unix_now() -> u64 {
    unix_time().as_secs()
}

/// The time since 1970; 0 on a machine whose clock is before that.
#[allow(
    clippy::disallowed_methods,
    reason = "rounds last by a time on the wall, and this is where a host reads it"
)]
pub fn unix_time() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
