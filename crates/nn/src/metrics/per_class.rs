//! Precision, recall and F1 of each class, and their means, from a confusion matrix.
//!
//! Where a share has nothing below the line (no row of the class, or none taken for it) it is 0, as in scikit-learn with
//! `zero_division=0`; [`ClassFigures::rows`] and [`ClassFigures::taken`] tell these cases apart.

use serde::{Deserialize, Serialize};

/// How a class fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClassFigures {
    /// Rows of the class.
    pub rows: u64,
    /// Rows taken for it.
    pub taken: u64,
    /// Share of the rows taken for it that are of it.
    pub precision: f64,
    /// Share of its rows that are taken for it.
    pub recall: f64,
    /// Harmonic mean of the two.
    pub f1: f64,
}

/// Precision, recall and F1, each a mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MeanFigures {
    /// Mean precision.
    pub precision: f64,
    /// Mean recall.
    pub recall: f64,
    /// Mean F1: not the F1 of the means.
    pub f1: f64,
}

/// The three usual means over classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClassMeans {
    /// Every class alike, over those that occur as label or as prediction.
    pub macro_mean: MeanFigures,
    /// Every class by its rows.
    pub weighted: MeanFigures,
    /// Over all rows at once: with one label a row, all three are the accuracy.
    pub micro: MeanFigures,
}

/// The figures of each class from `confusion[label][prediction]`.
///
/// ```
/// use cloister_nn::metrics::{class_means, per_class};
///
/// let classes = per_class(&[vec![8, 2], vec![1, 9]]);
/// assert_eq!(classes[1].recall, 0.9);
/// assert_eq!(classes[1].precision, 9.0 / 11.0);
/// assert_eq!(class_means(&classes).micro.f1, 0.85);
/// ```
///
/// # Panics
/// When the matrix is not square.
pub fn per_class(confusion: &[Vec<u64>]) -> Vec<ClassFigures> {
    let classes = confusion.len();
    assert!(
        confusion.iter().all(|row| row.len() == classes),
        "a confusion matrix is square"
    );
    let figures = |class: usize| {
        let hits = confusion[class][class];
        let rows: u64 = confusion[class].iter().sum();
        let taken: u64 = confusion.iter().map(|row| row[class]).sum();
        ClassFigures {
            rows,
            taken,
            precision: share(hits, taken),
            recall: share(hits, rows),
            f1: share(2 * hits, rows + taken),
        }
    };
    (0..classes).map(figures).collect()
}

/// The means of [`per_class`]; all 0 for no rows.
pub fn class_means(classes: &[ClassFigures]) -> ClassMeans {
    let rows: u64 = classes.iter().map(|class| class.rows).sum();
    let present = || {
        let occurs = |class: &&ClassFigures| class.rows + class.taken > 0;
        classes.iter().filter(occurs)
    };
    let count = present().count() as f64;
    let mean = |of: fn(&ClassFigures) -> f64| match rows {
        0 => 0.0,
        _ => present().map(of).sum::<f64>() / count,
    };
    let weighted = |of: fn(&ClassFigures) -> f64| match rows {
        0 => 0.0,
        _ => {
            present()
                .map(|class| of(class) * class.rows as f64)
                .sum::<f64>()
                / rows as f64
        }
    };
    let hits: f64 = present()
        .map(|class| (class.recall * class.rows as f64).round())
        .sum();
    let micro = if rows == 0 { 0.0 } else { hits / rows as f64 };
    ClassMeans {
        macro_mean: MeanFigures {
            precision: mean(|class| class.precision),
            recall: mean(|class| class.recall),
            f1: mean(|class| class.f1),
        },
        weighted: MeanFigures {
            precision: weighted(|class| class.precision),
            recall: weighted(|class| class.recall),
            f1: weighted(|class| class.f1),
        },
        micro: MeanFigures {
            precision: micro,
            recall: micro,
            f1: micro,
        },
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}
