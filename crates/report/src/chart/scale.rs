//! From values to pixels, with ticks at round numbers.

/// A linear or logarithmic axis.
pub(super) struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    pub(super) log: bool,
    pub(super) ticks: Vec<f64>,
}

impl Scale {
    /// Covers exactly `low..=high` on the pixels `from..=to`, with about `target` ticks inside; `step_least` is the smallest
    /// allowed distance of ticks.
    pub(super) fn exact(
        low: f64,
        high: f64,
        (from, to): (f64, f64),
        target: f64,
        step_least: f64,
    ) -> Self {
        let (low, high) = widened(low, high);
        let step = nice_step((high - low) / target).max(step_least);
        let ticks = multiples(step, low, high);
        Self {
            low,
            high,
            from,
            to,
            log: false,
            ticks,
        }
    }

    /// Covers `low..=high`, widened to the next ticks but not beyond `limits`.
    pub(super) fn rounded(
        low: f64,
        high: f64,
        (from, to): (f64, f64),
        target: f64,
        limits: (f64, f64),
    ) -> Self {
        let (low, high) = widened(low, high);
        let step = nice_step((high - low) / target);
        let low = ((low / step + 1e-9).floor() * step).max(limits.0);
        let high = ((high / step - 1e-9).ceil() * step).min(limits.1);
        let (low, high) = widened(low, high);
        Self {
            low,
            high,
            from,
            to,
            log: false,
            ticks: multiples(step, low, high),
        }
    }

    /// A logarithmic axis over positive values, with ticks at powers of ten.
    pub(super) fn log(low: f64, high: f64, (from, to): (f64, f64)) -> Self {
        let (first, last) = (
            low.log10().floor(),
            high.log10().ceil().max(low.log10().floor() + 1.0),
        );
        let every = ((last - first) / 6.0).ceil().max(1.0);
        let mut ticks = Vec::new();
        let mut exponent = first;
        while exponent <= last {
            ticks.push(10f64.powf(exponent));
            exponent += every;
        }
        Self {
            low: first,
            high: last,
            from,
            to,
            log: true,
            ticks,
        }
    }

    /// A logarithmic axis over exactly these positive values, with ticks at 1, 2 and 5 times powers of ten where that is not
    /// too many.
    pub(super) fn log_exact(low: f64, high: f64, (from, to): (f64, f64)) -> Self {
        let (first, last) = (low.log10(), high.log10());
        let factors: &[f64] = if last - first > 3.0 {
            &[1.0]
        } else {
            &[1.0, 2.0, 5.0]
        };
        let every = ((last - first) / 8.0).ceil().max(1.0) as usize;
        let decades = (first.floor() as i32..=last.ceil() as i32).step_by(every);
        let ticks = decades.flat_map(|decade| {
            let of = move |factor: &f64| factor * 10f64.powi(decade);
            factors.iter().map(of)
        });
        let inside = |tick: &f64| (low * (1.0 - 1e-9)..=high * (1.0 + 1e-9)).contains(tick);
        Self {
            low: first,
            high: last,
            from,
            to,
            log: true,
            ticks: ticks.filter(inside).collect(),
        }
    }

    pub(super) fn at(&self, value: f64) -> f64 {
        let value = if self.log { value.log10() } else { value };
        let share = (value - self.low) / (self.high - self.low);
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }
}

/// Room around a single value, which would else have no width to be drawn on.
fn widened(low: f64, high: f64) -> (f64, f64) {
    if high - low > 1e-12 * high.abs().max(1e-300) {
        return (low, high);
    }
    let room = if low == 0.0 { 1.0 } else { low.abs() * 0.05 };
    (low - room, high + room)
}

/// 1, 2 or 5 times a power of ten, at least `rough`.
fn nice_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|factor| factor * power >= rough * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

fn multiples(step: f64, low: f64, high: f64) -> Vec<f64> {
    let first = (low / step - 1e-9).ceil();
    let last = (high / step + 1e-9).floor();
    // A bound on the loop, whatever the numbers: no axis has more than a few dozen ticks.
    let ticks = ((last - first) as usize).min(50);
    (0..=ticks)
        .map(|index| (first + index as f64) * step)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let scale = Scale::rounded(0.913, 0.987, (100.0, 0.0), 5.0, (0.0, 1.0));
        assert_eq!(scale.ticks.len(), 6);
        assert!((scale.ticks[0] - 0.9).abs() < 1e-12 && (scale.ticks[5] - 1.0).abs() < 1e-12);
        let scale = Scale::exact(1.0, 3.0, (0.0, 100.0), 6.0, 1.0);
        assert_eq!(scale.ticks, [1.0, 2.0, 3.0]);
        assert_eq!(
            [1.0, 2.0, 3.0].map(|value| scale.at(value)),
            [0.0, 50.0, 100.0]
        );
        let scale = Scale::log(0.02, 3e5, (0.0, 80.0));
        assert_eq!(scale.ticks.len(), 5, "{:?}", scale.ticks);
        assert!((scale.at(100.0) - 40.0).abs() < 1e-9);
    }

    #[test]
    fn an_exact_logarithmic_axis_has_its_ticks_inside() {
        let scale = Scale::log_exact(0.3, 12.0, (0.0, 100.0));
        assert_eq!(scale.ticks.len(), 5, "{:?}", scale.ticks);
        assert!((scale.at(0.3) - 0.0).abs() < 1e-9 && (scale.at(12.0) - 100.0).abs() < 1e-9);
        let scale = Scale::log_exact(1e-3, 1e30, (0.0, 100.0));
        assert!((4..10).contains(&scale.ticks.len()), "{:?}", scale.ticks);
    }

    #[test]
    fn single_and_extreme_values_have_an_axis() {
        for (low, high) in [
            (0.0, 0.0),
            (5.0, 5.0),
            (-1e300, 1e300),
            (1e-300, 2e-300),
            (1.0, 1.0 + 1e-15),
        ] {
            let scale = Scale::rounded(low, high, (0.0, 100.0), 5.0, (f64::MIN, f64::MAX));
            assert!(
                scale.at(low).is_finite() && !scale.ticks.is_empty(),
                "{low} {high}"
            );
            assert!(scale.ticks.len() < 52);
        }
    }
}
