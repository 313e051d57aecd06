//! Metrics against values recorded from scikit-learn 1.9.1 (numpy 2.4.6): `log_loss`, `accuracy_score`,
//! `balanced_accuracy_score`, `roc_auc_score` (of the logit or the logits' difference for two classes, else macro
//! one-against-the-rest of the probabilities) and `confusion_matrix`, on logits that are rounded so that many tie.

use cloister_nn::metrics::{Evaluation, Tally, auroc};
use proptest::prelude::*;

struct Recorded {
    classes: usize,
    outputs: usize,
    rows: usize,
    /// Logits are multiples of it.
    quantum: f64,
    loss: f64,
    accuracy: f64,
    balanced_accuracy: f64,
    auroc: Option<f64>,
    confusion: &'static [&'static [u64]],
}

const RECORDED: [Recorded; 5] = [
    Recorded {
        classes: 2,
        outputs: 1,
        rows: 50,
        quantum: 0.25,
        loss: 0.947915021388838,
        accuracy: 0.52,
        balanced_accuracy: 0.522281639928699,
        auroc: Some(0.560606060606061),
        confusion: &[&[17, 16], &[8, 9]],
    },
    Recorded {
        classes: 2,
        outputs: 2,
        rows: 61,
        quantum: 0.5,
        loss: 1.871512375567079,
        accuracy: 0.459016393442623,
        balanced_accuracy: 0.482317073170732,
        auroc: Some(0.409756097560976),
        confusion: &[&[17, 24], &[9, 11]],
    },
    // Class 1 does not occur, though it is predicted.
    Recorded {
        classes: 5,
        outputs: 5,
        rows: 83,
        quantum: 0.25,
        loss: 2.588437130683851,
        accuracy: 0.168674698795181,
        balanced_accuracy: 0.172528594771242,
        auroc: None,
        confusion: &[
            &[3, 4, 4, 5, 0],
            &[0, 0, 0, 0, 0],
            &[9, 8, 5, 5, 7],
            &[5, 3, 0, 2, 5],
            &[4, 4, 2, 4, 4],
        ],
    },
    Recorded {
        classes: 3,
        outputs: 3,
        rows: 40,
        quantum: 0.5,
        loss: 2.084090740883313,
        accuracy: 0.325,
        balanced_accuracy: 0.322344322344322,
        auroc: Some(0.519688644688645),
        confusion: &[&[2, 5, 6], &[5, 6, 3], &[5, 3, 5]],
    },
    Recorded {
        classes: 10,
        outputs: 10,
        rows: 500,
        quantum: 0.125,
        loss: 3.355630594646835,
        accuracy: 0.114,
        balanced_accuracy: 0.108212945965360,
        auroc: Some(0.503661954613873),
        confusion: &[
            &[14, 6, 6, 5, 8, 9, 7, 2, 4, 6],
            &[4, 5, 0, 4, 1, 3, 0, 8, 2, 6],
            &[8, 9, 6, 2, 10, 7, 7, 9, 1, 8],
            &[8, 4, 2, 5, 3, 0, 3, 2, 3, 3],
            &[12, 7, 6, 11, 7, 3, 4, 6, 5, 6],
            &[5, 5, 4, 2, 5, 2, 3, 1, 3, 3],
            &[6, 8, 3, 5, 6, 6, 12, 8, 5, 7],
            &[5, 6, 3, 3, 5, 2, 3, 0, 4, 3],
            &[12, 9, 4, 9, 6, 6, 7, 5, 3, 5],
            &[2, 5, 1, 4, 5, 3, 4, 4, 3, 3],
        ],
    },
];

impl Recorded {
    fn logits(&self) -> Vec<f32> {
        (0..self.rows * self.outputs)
            .map(|i| i as f64)
            .map(|i| ((0.9 * i + 0.013 * i * i).sin() * 2.5 / self.quantum).round() * self.quantum)
            .map(|z| z as f32)
            .collect()
    }

    fn labels(&self) -> Vec<u32> {
        (0..self.rows)
            .map(|i| ((7 * i + i / 3) % self.classes) as u32)
            .map(|label| {
                if self.classes == 5 && label == 1 {
                    2
                } else {
                    label
                }
            })
            .collect()
    }

    fn evaluation(&self) -> Evaluation {
        let mut tally = Tally::new(self.classes, self.outputs);
        tally.add(&self.logits(), &self.labels());
        tally.finish()
    }
}

fn close(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-12, "{a} is not {b}");
}

#[test]
fn recorded_values() {
    for recorded in &RECORDED {
        let got = recorded.evaluation();
        assert_eq!(got.examples, recorded.rows);
        assert_eq!(got.confusion, recorded.confusion);
        close(got.loss, recorded.loss);
        close(got.accuracy, recorded.accuracy);
        close(got.balanced_accuracy, recorded.balanced_accuracy);
        assert_eq!(got.auroc.is_some(), recorded.auroc.is_some());
        close(got.auroc.unwrap_or(0.0), recorded.auroc.unwrap_or(0.0));
    }
}

#[test]
fn batches_and_merges_change_no_bit() {
    for recorded in &RECORDED {
        let (logits, labels) = (recorded.logits(), recorded.labels());
        for size in [1, 7, 16] {
            let mut tally = Tally::new(recorded.classes, recorded.outputs);
            for (z, y) in logits
                .chunks(size * recorded.outputs)
                .zip(labels.chunks(size))
            {
                let mut part = Tally::new(recorded.classes, recorded.outputs);
                part.add(z, y);
                tally.merge(&part);
            }
            assert_eq!(tally.len(), recorded.rows);
            assert_eq!(tally.finish(), recorded.evaluation());
        }
    }
}

#[test]
fn no_rows_and_broken_logits() {
    let empty = Tally::new(3, 3).finish();
    assert_eq!((empty.examples, empty.loss, empty.auroc), (0, 0.0, None));
    let mut tally = Tally::new(2, 1);
    tally.add(&[f32::NAN, 1.0, f32::INFINITY], &[0, 1, 1]);
    let broken = tally.finish();
    assert!(broken.loss.is_nan());
    assert_eq!((broken.accuracy, broken.auroc), (1.0, None));
    let json = serde_json::to_string(&broken).expect("to json");
    let back: Evaluation = serde_json::from_str(&json).expect("from json");
    assert!(back.loss.is_nan());
    assert_eq!(back.confusion, broken.confusion);
}

#[test]
fn extreme_log_odds_are_still_ordered() {
    // The probabilities of 40 and 50 are both 1 in f64's neighbourhood of 1; their order is not lost.
    let mut tally = Tally::new(2, 2);
    tally.add(&[0.0, 40.0, 0.0, 50.0], &[0, 1]);
    assert_eq!(tally.finish().auroc, Some(1.0));
}

proptest! {
    /// The definition: over all pairs of a positive and a negative.
    #[test]
    fn auroc_counts_pairs(rows in prop::collection::vec((-4_i8..4, any::<bool>()), 0..60)) {
        let scores: Vec<f64> = rows.iter().map(|(score, _)| f64::from(*score)).collect();
        let (mut pairs, mut wins) = (0_u32, 0.0);
        for (a, _) in rows.iter().filter(|(_, positive)| *positive) {
            for (b, _) in rows.iter().filter(|(_, positive)| !positive) {
                pairs += 1;
                wins += if a > b { 1.0 } else if a == b { 0.5 } else { 0.0 };
            }
        }
        let expected = (pairs > 0).then(|| wins / f64::from(pairs));
        let got = auroc(&scores, |i| rows[i].1);
        prop_assert_eq!(got.is_some(), expected.is_some());
        prop_assert!((got.unwrap_or(0.0) - expected.unwrap_or(0.0)).abs() < 1e-12);
    }
}
