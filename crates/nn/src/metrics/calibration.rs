//! Whether a probability of 0.8 is right eight times in ten.

use serde::{Deserialize, Serialize};

/// Mean squared distance of probabilities from what happened (Brier 1950): `probabilities` is `[n, classes]`, `labels` is
/// `[n]`. For two classes that of class 1, in \[0, 1\]; for more the sum over the classes, in \[0, 2\]: as scikit-learn's
/// `brier_score_loss` has it. 0 for no rows; NaN when a probability is.
///
/// # Panics
/// When the lengths do not fit, or a label is not below the classes.
pub fn brier(probabilities: &[f64], labels: &[u32], classes: usize) -> f64 {
    assert_eq!(
        probabilities.len(),
        labels.len() * classes,
        "length of the probabilities"
    );
    let rows = probabilities.chunks_exact(classes).zip(labels);
    let sum: f64 = rows.map(|(row, &label)| squared_distance(row, label)).sum();
    match labels.len() {
        0 => 0.0,
        n => sum / n as f64,
    }
}

/// One row's part of [`brier`].
pub(super) fn squared_distance(row: &[f64], label: u32) -> f64 {
    match row {
        [_, one] => (one - f64::from(label)).powi(2),
        _ => {
            let target = |class: usize| f64::from(u8::from(class == label as usize));
            let distance = |(class, p): (usize, &f64)| (p - target(class)).powi(2);
            row.iter().enumerate().map(distance).sum()
        }
    }
}

/// Rows whose score lies in one bin.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// Scores above this (or equal to it, in the first bin) ...
    pub lower: f64,
    /// ... up to and with this.
    pub upper: f64,
    /// Rows.
    pub rows: u64,
    /// Mean score; 0 without rows.
    pub score: f64,
    /// Share of the rows where it came true; 0 without rows.
    pub share: f64,
}

/// The reliability curve: what was promised against what came true.
///
/// For two classes the scores are the probabilities of class 1, and what may come true is class 1. For more classes they are
/// those of the predicted class, and what may come true is that it is right (Guo et al. 2017).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reliability {
    /// Bins of equal width over \[0, 1\], ascending; those without rows are there, too.
    pub bins: Vec<ReliabilityBin>,
}

impl Reliability {
    /// Puts `n` rows with scores in \[0, 1\] into so many bins. `None` when a score is NaN or outside.
    ///
    /// ```
    /// use cloister_nn::metrics::Reliability;
    ///
    /// let curve = Reliability::equal_width(&[0.9, 0.9, 0.9, 0.1], 10, |row| row < 2).expect("scores are probabilities");
    /// assert_eq!((curve.bins[8].rows, curve.bins[8].share), (3, 2.0 / 3.0));
    /// assert!((curve.expected_error() - (3.0 * (0.9 - 2.0 / 3.0) + 0.1) / 4.0).abs() < 1e-15);
    /// ```
    ///
    /// # Panics
    /// For no bin.
    pub fn equal_width(scores: &[f64], bins: usize, hit: impl Fn(usize) -> bool) -> Option<Self> {
        assert!(bins > 0, "no bin");
        if !scores.iter().all(|score| (0.0..=1.0).contains(score)) {
            return None;
        }
        let mut sums = vec![(0_u64, 0.0_f64, 0_u64); bins];
        for (row, &score) in scores.iter().enumerate() {
            let (rows, sum, hits) = &mut sums[place(score, bins)];
            *rows += 1;
            *sum += score;
            *hits += u64::from(hit(row));
        }
        Some(Self::of_sums(&sums))
    }

    /// From (rows, sum of scores, hits) of each bin.
    pub(super) fn of_sums(sums: &[(u64, f64, u64)]) -> Self {
        let edge = |place: usize| place as f64 / sums.len() as f64;
        let bin = |(place, &(rows, sum, hits)): (usize, &(u64, f64, u64))| ReliabilityBin {
            lower: edge(place),
            upper: edge(place + 1),
            rows,
            score: if rows == 0 { 0.0 } else { sum / rows as f64 },
            share: if rows == 0 {
                0.0
            } else {
                hits as f64 / rows as f64
            },
        };
        Self {
            bins: sums.iter().enumerate().map(bin).collect(),
        }
    }

    /// The expected calibration error: the gap between score and share, averaged over rows (Naeini et al. 2015). 0 for no
    /// rows.
    pub fn expected_error(&self) -> f64 {
        let rows: u64 = self.bins.iter().map(|bin| bin.rows).sum();
        let gap = |bin: &ReliabilityBin| bin.rows as f64 * (bin.score - bin.share).abs();
        match rows {
            0 => 0.0,
            _ => self.bins.iter().map(gap).sum::<f64>() / rows as f64,
        }
    }

    /// The largest gap of a bin that has rows.
    pub fn largest_error(&self) -> f64 {
        let held = self.bins.iter().filter(|bin| bin.rows > 0);
        held.map(|bin| (bin.score - bin.share).abs())
            .fold(0.0, f64::max)
    }
}

/// The bin of a score: `(place / bins, (place + 1) / bins]`, and 0 in the first.
pub(super) fn place(score: f64, bins: usize) -> usize {
    // The edges themselves decide, not a product that may round over one.
    let guess = ((score * bins as f64).ceil() as usize).clamp(1, bins) - 1;
    let edge = |place: usize| place as f64 / bins as f64;
    if guess > 0 && score <= edge(guess) {
        guess - 1
    } else if guess + 1 < bins && score > edge(guess + 1) {
        guess + 1
    } else {
        guess
    }
}
