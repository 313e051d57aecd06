//! Tails of the hypergeometric distribution, rounded up.

/// A natural logarithm and how far rounding may have taken it from the truth.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Log {
    value: f64,
    /// The magnitudes that were added.
    magnitude: f64,
}

impl Log {
    /// Adds ln(n!).
    pub(super) fn times_factorial(self, n: u64) -> Self {
        self.plus(libm::lgamma(n as f64 + 1.0))
    }

    /// Subtracts ln(n!).
    pub(super) fn over_factorial(self, n: u64) -> Self {
        self.plus(-libm::lgamma(n as f64 + 1.0))
    }

    /// Adds ln(n over k), for k <= n.
    fn times_binomial(self, n: u64, k: u64) -> Self {
        self.times_factorial(n)
            .over_factorial(k)
            .over_factorial(n - k)
    }

    /// Subtracts ln(n over k), for k <= n.
    fn over_binomial(self, n: u64, k: u64) -> Self {
        self.over_factorial(n)
            .times_factorial(k)
            .times_factorial(n - k)
    }

    /// Adds a logarithm.
    pub(super) fn plus(self, term: f64) -> Self {
        Self {
            value: self.value + term,
            magnitude: self.magnitude + term.abs(),
        }
    }

    /// Not below the exact value: each term is good to a unit in its last place or so, each sum to half a one.
    pub(super) fn upper(self) -> f64 {
        self.value + 8.0 * f64::EPSILON * self.magnitude
    }
}

/// ln P(X >= least), not below the exact value, where X counts the marked among `draws` distinct ones of `population`,
/// `marked` of which are marked. `draws` and `marked` are at most `population`, itself below
/// 2^32. Takes as many steps as there are terms that matter, O(sqrt(draws)).
///
/// Up to the mean it is 0: probabilities near one half matter to nobody here.
pub(super) fn log_tail(population: u64, marked: u64, draws: u64, least: u64) -> f64 {
    if least > marked.min(draws) {
        return f64::NEG_INFINITY;
    }
    if u128::from(least) * u128::from(population) <= u128::from(draws) * u128::from(marked) {
        return 0.0;
    }
    // Above the mean every count up to the least of both is possible: population - marked - draws + least >= 0.
    let first = Log::default()
        .times_binomial(marked, least)
        .times_binomial(population - marked, draws - least)
        .over_binomial(population, draws)
        .upper();
    // The other terms relative to the first. Ratios of neighbours fall (the distribution is log-concave), so that from
    // any ratio below 1 on a geometric series bounds the rest.
    let (mut sum, mut term) = (1.0, 1.0);
    for x in least.. {
        let over = (x + 1) as f64 * (population + x + 1 - marked - draws) as f64;
        let ratio = (marked - x) as f64 * (draws - x) as f64 / over;
        term *= ratio;
        if ratio < 1.0 {
            let rest = term / (1.0 - ratio);
            if rest <= 1e-9 * sum {
                sum += rest;
                break;
            }
        }
        sum += term;
    }
    // Far above the rounding of the sum, which has no more terms than matter.
    (first + libm::log(sum) + 1e-9).min(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Population, marked, draws, least; log2 of the tail by integers of another program.
    const LARGE: [(u64, u64, u64, u64, f64); 4] = [
        (499, 165, 98, 67, -49.96189842828947),
        (4999, 1000, 520, 181, -54.525374706223424),
        (99_999, 33_000, 536, 274, -58.08268877063307),
        (999_999, 450_000, 6240, 3156, -60.94478909904539),
    ];

    /// P(X >= least) by integers: counts of draws.
    fn exact(population: u64, marked: u64, draws: u64, least: u64) -> f64 {
        let choose = |n: u64, k: u64| -> u128 {
            if k > n {
                return 0;
            }
            (0..k).fold(1, |c, i| c * u128::from(n - i) / u128::from(i + 1))
        };
        let sum: u128 = (least..=draws)
            .map(|x| choose(marked, x) * choose(population - marked, draws - x))
            .sum();
        sum as f64 / choose(population, draws) as f64
    }

    #[test]
    fn tails_are_those_of_integers_and_never_below() {
        for population in [1, 2, 7, 30, 60] {
            for marked in 0..=population {
                for draws in 0..=population {
                    for least in 0..=draws + 1 {
                        let log = log_tail(population, marked, draws, least);
                        let exact = exact(population, marked, draws, least);
                        if exact == 0.0 {
                            assert_eq!(log, f64::NEG_INFINITY);
                        } else if least * population <= draws * marked {
                            assert_eq!(log, 0.0);
                        } else {
                            let off = log - exact.ln();
                            assert!(
                                (-1e-15..3e-9).contains(&off),
                                "{population} {marked} {draws} {least}: {off}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn large_tails_agree_with_another_program() {
        for (population, marked, draws, least, expected) in LARGE {
            let log2 = log_tail(population, marked, draws, least) / std::f64::consts::LN_2;
            assert!(
                (0.0..3e-7).contains(&(log2 - expected)),
                "{log2} for {expected}"
            );
        }
    }

    #[test]
    fn the_largest_populations_do_not_trap() {
        let n = u64::from(u32::MAX);
        assert!(log_tail(n, n / 3, n / 2, n / 3).is_finite());
        assert_eq!(log_tail(n, n, n, n), 0.0);
        assert_eq!(log_tail(n, 1, 1, 2), f64::NEG_INFINITY);
    }
}
