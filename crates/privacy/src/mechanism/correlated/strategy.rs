//! Matrices that correlate the noise of rounds, and what they cost and give.
//!
//! All of them are lower-triangular Toeplitz matrices C with ones on the diagonal: one column of coefficients says it all.
//! The sum of round t gets the noise `(C^-1 z)_t`. Prefix sums of rounds, which is what a model is made of, get the noise
//! `(A C^-1 z)_t` for the matrix A of ones.

use crate::error::PrivacyError;

/// Who takes part when: what the server enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Participation {
    rounds: usize,
    separation: usize,
}

impl Participation {
    /// A run of so many rounds, in which each unit takes part at most once in any `separation` rounds in a row.
    ///
    /// # Errors
    ///
    /// [`PrivacyError::Parameter`] unless there are between 1 and 2^20 rounds and the separation is between 1 and that.
    pub fn new(rounds: usize, separation: usize) -> Result<Self, PrivacyError> {
        if rounds == 0 || rounds > 1 << 20 {
            return Err(PrivacyError::Parameter {
                name: "the number of rounds",
                range: "between 1 and 2^20",
                found: rounds as f64,
            });
        }
        if separation == 0 || separation > rounds {
            return Err(PrivacyError::Parameter {
                name: "the rounds from one participation of a unit to its next",
                range: "at least 1 and at most the number of rounds",
                found: separation as f64,
            });
        }
        Ok(Self { rounds, separation })
    }

    /// Rounds of the run.
    pub fn rounds(&self) -> usize {
        self.rounds
    }

    /// Rounds from one participation to the next, at least.
    pub fn separation(&self) -> usize {
        self.separation
    }

    /// How often a unit takes part, at most.
    pub fn most(&self) -> usize {
        self.rounds.div_ceil(self.separation)
    }
}

/// A lower-triangular Toeplitz matrix with coefficients that start at 1, fall and are not negative.
#[derive(Clone, Debug, PartialEq)]
pub struct Toeplitz {
    /// Those that are not 0.
    coefficients: Vec<f64>,
}

impl Toeplitz {
    /// The matrix with these coefficients; those that are left out are 0.
    ///
    /// # Errors
    ///
    /// [`PrivacyError::Unsupported`] unless they start with 1, never rise, and are not negative: of others, the worst
    /// participation is not known.
    pub fn new(coefficients: Vec<f64>) -> Result<Self, PrivacyError> {
        let falls = coefficients.is_sorted_by(|a, b| a >= b);
        if coefficients.first() != Some(&1.0)
            || !falls
            || coefficients.iter().any(|c| c.is_nan() || *c < 0.0)
        {
            return Err(PrivacyError::Unsupported(
                "the coefficients of a Toeplitz strategy must start with 1, not rise, and not be negative".to_owned(),
            ));
        }
        Ok(Self { coefficients })
    }

    /// The first `bands` coefficients of the square root of A, `c_t = c_(t-1) (2 t - 1) / (2 t)`: with as many as there are
    /// rounds, the best for units that take part once (Fichtenberger, Henzinger, Upadhyay, arXiv 2202.11205); with as many
    /// as the separation, good for more (Choquette-Choo et al., arXiv 2306.08153). 0 bands count as 1.
    pub fn square_root(bands: usize) -> Self {
        let mut coefficients = vec![1.0];
        for t in 1..bands {
            let before = coefficients[t - 1];
            coefficients.push(before * (2 * t - 1) as f64 / (2 * t) as f64);
        }
        Self { coefficients }
    }

    /// The coefficients that are not 0.
    pub fn coefficients(&self) -> &[f64] {
        &self.coefficients
    }

    /// How far one unit of clipping norm 1 can move `C g`: the norm of the sum of its columns. With coefficients that fall,
    /// the worst is to take part as early and as often as allowed.
    pub fn sensitivity(&self, participation: Participation) -> f64 {
        let mut moved = vec![0.0; participation.rounds];
        for start in (0..participation.rounds).step_by(participation.separation) {
            for (entry, c) in moved[start..].iter_mut().zip(&self.coefficients) {
                *entry += c;
            }
        }
        moved.iter().map(|x| x * x).sum::<f64>().sqrt()
    }

    /// Deviations of the noise of prefix sums, for z of deviation 1: root mean square over the rounds, and the largest.
    pub fn errors(&self, rounds: usize) -> Errors {
        // Row t of A C^-1 has the first t + 1 of the coefficients y with C y = 1.
        let mut y: Vec<f64> = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            let known: f64 = self
                .coefficients
                .iter()
                .skip(1)
                .zip(y.iter().rev())
                .map(|(c, y)| c * y)
                .sum();
            y.push(1.0 - known);
        }
        Errors::of(y.into_iter())
    }
}

/// How far off prefix sums are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Errors {
    /// Root of the mean over the rounds of their variances.
    pub root_mean_square: f64,
    /// The largest deviation.
    pub largest: f64,
}

impl Errors {
    /// From the coefficients of `A C^-1`.
    pub(super) fn of(coefficients: impl Iterator<Item = f64>) -> Self {
        let (mut variance, mut total, mut rounds) = (0.0, 0.0, 0.0);
        for y in coefficients {
            variance += y * y;
            total += variance;
            rounds += 1.0;
        }
        let mean: f64 = if rounds > 0.0 { total / rounds } else { 0.0 };
        Self {
            root_mean_square: mean.sqrt(),
            largest: f64::sqrt(variance),
        }
    }
}

/// A Toeplitz matrix with coefficients `c_0 = 1, c_t = sum_i scale_i decay_i^(t-1)`: noise of any number of rounds from a few
/// buffers (buffered linear Toeplitz: Dvijotham et al., arXiv 2404.16706).
#[derive(Clone, Debug, PartialEq)]
pub struct Blt {
    decay: Vec<f64>,
    scale: Vec<f64>,
}

impl Blt {
    /// One buffer for each pair of a decay and a scale.
    ///
    /// # Errors
    ///
    /// [`PrivacyError::Unsupported`] unless there are as many decays as scales, between 1 and 16, all decays are between 0 and
    /// 1, no scale is negative, and the scales' sum is 1 at most: then the coefficients fall.
    pub fn new(decay: Vec<f64>, scale: Vec<f64>) -> Result<Self, PrivacyError> {
        let refuse = |what: String| {
            Err(PrivacyError::Unsupported(format!(
                "a buffered Toeplitz strategy {what}"
            )))
        };
        if decay.len() != scale.len() || !(1..=16).contains(&decay.len()) {
            return refuse(format!(
                "needs as many decays as scales, between 1 and 16, found {} and {}",
                decay.len(),
                scale.len()
            ));
        }
        if let Some(bad) = decay.iter().find(|decay| !(0.0..=1.0).contains(*decay)) {
            return refuse(format!("needs decays between 0 and 1, found {bad}"));
        }
        let sum: f64 = scale.iter().sum();
        if scale.iter().any(|scale| scale.is_nan() || *scale < 0.0) || sum > 1.0 {
            return refuse(format!(
                "needs scales that are not negative with a sum of 1 at most, found {scale:?}"
            ));
        }
        Ok(Self { decay, scale })
    }

    /// For values that are known to be right.
    pub(super) fn of(decay: Vec<f64>, scale: Vec<f64>) -> Self {
        Self { decay, scale }
    }

    /// What each buffer keeps from one round to the next.
    pub fn decay(&self) -> &[f64] {
        &self.decay
    }

    /// How much of each buffer is taken off the noise.
    pub fn scale(&self) -> &[f64] {
        &self.scale
    }

    /// The matrix for so many rounds.
    pub fn toeplitz(&self, rounds: usize) -> Toeplitz {
        let mut terms = self.scale.clone();
        let mut coefficients = vec![1.0];
        for _ in 1..rounds {
            coefficients.push(terms.iter().sum());
            for (term, decay) in terms.iter_mut().zip(&self.decay) {
                *term *= decay;
            }
        }
        Toeplitz { coefficients }
    }

    /// As [`Toeplitz::errors`], in time linear in the rounds.
    pub fn errors(&self, rounds: usize) -> Errors {
        let mut buffers = vec![0.0; self.decay.len()];
        Errors::of((0..rounds).map(|_| self.solve(1.0, &mut buffers)))
    }

    /// The next entry of `C^-1 z`, for the next of z; the buffers start as zeros.
    pub(super) fn solve(&self, z: f64, buffers: &mut [f64]) -> f64 {
        let taken: f64 = self
            .scale
            .iter()
            .zip(&*buffers)
            .map(|(scale, buffer)| scale * buffer)
            .sum();
        let x = z - taken;
        for (buffer, decay) in buffers.iter_mut().zip(&self.decay) {
            *buffer = decay * *buffer + x;
        }
        x
    }
}

/// Trees of partial sums, one an epoch, as a baseline: the noise of a prefix is that of one node for each bit of its length
/// (Dwork et al. 2010; Chan, Shi, Song 2011). Deviations of prefix sums for node noise of deviation 1.
pub fn tree_errors(participation: Participation) -> Errors {
    let leaves = participation.separation;
    let (mut total, mut largest, mut before) = (0.0, 0.0_f64, 0.0);
    for round in 0..participation.rounds {
        let leaf = round % leaves + 1;
        let variance = before + f64::from(leaf.count_ones());
        if leaf == leaves {
            before = variance;
        }
        total += variance;
        largest = largest.max(variance);
    }
    Errors {
        root_mean_square: (total / participation.rounds as f64).sqrt(),
        largest: largest.sqrt(),
    }
}

/// How far one unit of clipping norm 1 can move the nodes of those trees: it is in one node a level of each.
pub fn tree_sensitivity(participation: Participation) -> f64 {
    let levels = participation.separation.ilog2() + 1;
    (participation.most() as f64 * f64::from(levels)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values from numpy 2.4.6: C^-1 of 1, 2, ..., 8.
    #[test]
    fn buffers_solve_for_the_noise() {
        let blt = Blt::new(vec![0.9, 0.5], vec![0.2, 0.1]).unwrap();
        let mut buffers = [0.0; 2];
        let expected = [
            1.0,
            1.7,
            2.26,
            2.744,
            3.1808,
            3.585_44,
            3.966_976,
            4.331_459_2,
        ];
        for (t, expected) in expected.into_iter().enumerate() {
            let found = blt.solve((t + 1) as f64, &mut buffers);
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    }

    #[test]
    fn a_tree_s_sensitivity_counts_levels_and_epochs() {
        for (rounds, separation, square) in [
            (100, 100, 7.0),
            (100, 20, 25.0),
            (8, 8, 4.0),
            (7, 7, 3.0),
            (5, 1, 5.0),
        ] {
            let participation = Participation::new(rounds, separation).unwrap();
            assert!((tree_sensitivity(participation).powi(2) - square).abs() < 1e-12);
        }
    }
}
