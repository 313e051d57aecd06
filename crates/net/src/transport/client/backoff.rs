//! How long to wait before trying again.

use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_millis(500);

/// The longest.
const LONGEST: Duration = Duration::from_secs(30);

/// Waits that double from half a second to half a minute, each with half of it drawn at random: a director that comes back is
/// not met by all sites at one instant.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// After a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// After a failure: how long to wait.
    pub fn delay(&mut self) -> Duration {
        let doubled = FIRST.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        let half = doubled.min(LONGEST) / 2;
        // A system without randomness makes no keys either; then all wait for the whole time.
        let drawn = getrandom::u32().unwrap_or(u32::MAX);
        half + half.mul_f64(f64::from(drawn) / f64::from(u32::MAX))
    }

    /// Waits after a failure.
    pub async fn wait(&mut self) {
        let delay = self.delay();
        tokio::time::sleep(delay).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_half_a_minute() {
        let mut backoff = Backoff::default();
        for expected in [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] {
            let delay = backoff.delay().as_secs_f64();
            assert!((expected / 2.0..=expected).contains(&delay), "{delay}");
        }
        for _ in 0..100 {
            assert!(backoff.delay() <= LONGEST);
        }
        backoff.reset();
        assert!(backoff.delay() <= FIRST);
    }
}
