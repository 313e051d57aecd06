//! The clock on the wall. Everything else in this crate is told what time it is.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970; 0 on a machine whose clock is before that, on which every certificate is not valid yet.
#[allow(
    clippy::disallowed_methods,
    reason = "certificates end at a time on the wall, and this is where a host reads it"
)]
pub fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
