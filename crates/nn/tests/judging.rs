//! Rankings, class figures, calibration and regression against scikit-learn and numpy, on the cases that
//! `benches/peers/metrics.py` wrote; and properties that no table of cases shows.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

use cloister_nn::metrics::{
    Assessment, AssessmentPlan, Bootstrap, HistogramError, Ranking, Reliability, Resampling,
    ScoreHistogram, Tally, ThresholdRule, brier, class_means, per_class, quantile, regression,
};
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::Value;

fn cases() -> Value {
    serde_json::from_str(include_str!("metrics_cases.json")).expect("the cases are JSON")
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key]
        .as_array()
        .unwrap_or_else(|| panic!("no list {key}"))
}

/// Numbers; `null` is infinity.
fn numbers(value: &Value, key: &str) -> Vec<f64> {
    let number = |value: &Value| value.as_f64().unwrap_or(f64::INFINITY);
    list(value, key).iter().map(number).collect()
}

fn labels(value: &Value) -> Vec<u32> {
    list(value, "labels")
        .iter()
        .map(|label| label.as_u64().expect("a label") as u32)
        .collect()
}

#[track_caller]
fn close(name: &str, got: f64, expected: f64) {
    assert!(
        got == expected || (got - expected).abs() < 1e-12,
        "{name}: {got} is not {expected}"
    );
}

#[track_caller]
fn all_close(name: &str, got: &[f64], expected: &[f64]) {
    assert_eq!(
        got.len(),
        expected.len(),
        "{name}: {got:?} against {expected:?}"
    );
    for (got, expected) in got.iter().zip(expected) {
        close(name, *got, *expected);
    }
}

#[track_caller]
fn same(name: &str, got: Option<f64>, expected: &Value) {
    assert_eq!(
        got.is_some(),
        !expected.is_null(),
        "{name}: {got:?} against {expected}"
    );
    close(name, got.unwrap_or(0.0), expected.as_f64().unwrap_or(0.0));
}

#[test]
fn rankings_are_those_of_scikit_learn() {
    let cases = cases();
    let rankings = list(&cases, "rankings");
    assert_eq!(rankings.len(), 12);
    for case in rankings {
        let name = case["name"].as_str().expect("a name");
        let (scores, labels) = (numbers(case, "scores"), labels(case));
        let positive = |row: usize| labels[row] == 1;
        let ranking = match case["weights"].is_null() {
            true => Ranking::new(&scores, positive),
            false => Ranking::weighted(&scores, &numbers(case, "weights"), positive),
        };
        let ranking = ranking.expect("no score is NaN");
        same(name, ranking.auroc(), &case["auroc"]);
        same(
            name,
            ranking.average_precision(),
            &case["average_precision"],
        );
        let roc = ranking.roc();
        if case["roc"].is_null() {
            assert!(roc.is_empty(), "{name}");
            assert_eq!(ranking.choose(ThresholdRule::Youden), None);
        } else {
            let column = |of: fn(&cloister_nn::metrics::RocPoint) -> f64| -> Vec<f64> {
                roc.iter().map(of).collect()
            };
            all_close(
                name,
                &column(|p| p.threshold),
                &numbers(&case["roc"], "thresholds"),
            );
            all_close(
                name,
                &column(|p| p.false_positive_rate),
                &numbers(&case["roc"], "fpr"),
            );
            all_close(
                name,
                &column(|p| p.true_positive_rate),
                &numbers(&case["roc"], "tpr"),
            );
        }
        let pr = ranking.precision_recall();
        if case["pr"].is_null() {
            assert!(pr.is_empty(), "{name}");
        } else {
            let precision: Vec<f64> = pr.iter().map(|p| p.precision).collect();
            let recall: Vec<f64> = pr.iter().map(|p| p.recall).collect();
            all_close(name, &precision, &numbers(&case["pr"], "precision"));
            all_close(name, &recall, &numbers(&case["pr"], "recall"));
            let thresholds: Vec<f64> = pr[..pr.len() - 1].iter().map(|p| p.threshold).collect();
            all_close(name, &thresholds, &numbers(&case["pr"], "thresholds"));
        }
        let chosen = |rule| ranking.choose(rule);
        let youden = chosen(ThresholdRule::Youden).map(|p| p.sensitivity + p.specificity - 1.0);
        same(name, youden, &case["youden"]);
        same(name, chosen(ThresholdRule::F1).map(|p| p.f1), &case["f1"]);
        let at_90 = chosen(ThresholdRule::Specificity(0.9)).map(|p| p.sensitivity);
        same(name, at_90, &case["sensitivity_at_90"]);
    }
}

#[test]
fn a_chosen_threshold_does_what_it_says() {
    let scores = [0.9, 0.8, 0.7, 0.6, 0.6, 0.2];
    let positive = |row: usize| [true, true, false, true, false, false][row];
    let ranking = Ranking::new(&scores, positive).expect("ranked");
    for rule in [
        ThresholdRule::Youden,
        ThresholdRule::F1,
        ThresholdRule::Specificity(0.5),
    ] {
        let chosen = ranking.choose(rule).expect("both classes");
        assert_eq!(ranking.at(chosen.threshold), Some(chosen));
    }
    // A specificity of 1 costs the positive at 0.6; nobody at all is taken above the highest score.
    let strict = ranking
        .choose(ThresholdRule::Specificity(1.0))
        .expect("both classes");
    assert_eq!((strict.threshold, strict.specificity), (0.8, 1.0));
    close("sensitivity", strict.sensitivity, 2.0 / 3.0);
    let none = ranking.at(f64::INFINITY).expect("both classes");
    assert_eq!(
        (none.sensitivity, none.specificity, none.precision),
        (0.0, 1.0, 0.0)
    );
    let json = serde_json::to_string(&none).expect("to json");
    assert_eq!(
        serde_json::from_str::<cloister_nn::metrics::OperatingPoint>(&json).ok(),
        Some(none)
    );
    // Thresholds between scores: what is at least 0.65 is taken.
    assert_eq!(ranking.at(0.65).map(|p| p.specificity), Some(2.0 / 3.0));
}

#[test]
fn scores_without_order_give_no_figure() {
    assert_eq!(Ranking::new(&[0.1, f64::NAN], |row| row == 1), None);
    let infinite = Ranking::new(&[f64::NEG_INFINITY, f64::INFINITY], |row| row == 1);
    assert_eq!(infinite.and_then(|ranking| ranking.auroc()), Some(1.0));
    assert_eq!(
        Reliability::equal_width(&[0.5, f64::NAN], 10, |_| true),
        None
    );
    assert_eq!(Reliability::equal_width(&[1.5], 10, |_| true), None);
    let empty = Ranking::new(&[], |_| true).expect("no NaN");
    assert_eq!((empty.auroc(), empty.average_precision()), (None, None));
    assert!(empty.roc().is_empty() && empty.precision_recall().is_empty());
}

#[test]
fn calibration_is_that_of_scikit_learn() {
    let cases = cases();
    let calibrations = list(&cases, "calibrations");
    assert_eq!(calibrations.len(), 6);
    for case in calibrations {
        let name = case["name"].as_str().expect("a name");
        let (scores, labels) = (numbers(case, "scores"), labels(case));
        let curve =
            Reliability::equal_width(&scores, 10, |row| labels[row] == 1).expect("probabilities");
        assert_eq!(curve.bins.len(), 10);
        let held: Vec<_> = curve.bins.iter().filter(|bin| bin.rows > 0).collect();
        let column = |of: fn(&cloister_nn::metrics::ReliabilityBin) -> f64| -> Vec<f64> {
            held.iter().map(|bin| of(bin)).collect()
        };
        all_close(name, &column(|bin| bin.score), &numbers(case, "mean"));
        all_close(name, &column(|bin| bin.share), &numbers(case, "share"));
        same(name, Some(curve.expected_error()), &case["expected_error"]);
        assert!(curve.largest_error() >= curve.expected_error());
        let both: Vec<f64> = scores.iter().flat_map(|p| [1.0 - p, *p]).collect();
        same(name, Some(brier(&both, &labels, 2)), &case["brier"]);
    }
}

fn tally(classes: usize, logits: &[f64], labels: &[u32]) -> Tally {
    let mut tally = Tally::new(classes, classes);
    let logits: Vec<f32> = logits.iter().map(|z| *z as f32).collect();
    tally.add(&logits, labels);
    tally
}

#[test]
fn figures_of_several_classes_are_those_of_scikit_learn() {
    let cases = cases();
    let several = list(&cases, "several");
    assert_eq!(several.len(), 7);
    for case in several {
        let name = case["name"].as_str().expect("a name");
        let classes = case["classes"].as_u64().expect("classes") as usize;
        let tally = tally(classes, &numbers(case, "logits"), &labels(case));
        let plan = AssessmentPlan {
            bootstrap: Bootstrap {
                replicates: 20,
                ..Bootstrap::default()
            },
            ..AssessmentPlan::default()
        };
        let judged = Assessment::of(&tally, &plan, &mut ChaCha8Rng::seed_from_u64(1));
        let column = |of: fn(&cloister_nn::metrics::ClassFigures) -> f64| -> Vec<f64> {
            judged.classes.iter().map(of).collect()
        };
        all_close(
            name,
            &column(|class| class.precision),
            &numbers(case, "precision"),
        );
        all_close(
            name,
            &column(|class| class.recall),
            &numbers(case, "recall"),
        );
        all_close(name, &column(|class| class.f1), &numbers(case, "f1"));
        all_close(
            name,
            &column(|class| class.rows as f64),
            &numbers(case, "rows"),
        );
        let means = judged.means;
        for (mean, key) in [
            (means.macro_mean, "macro"),
            (means.weighted, "weighted"),
            (means.micro, "micro"),
        ] {
            all_close(
                name,
                &[mean.precision, mean.recall, mean.f1],
                &numbers(case, key),
            );
        }
        for class in 0..classes {
            same(name, judged.class_auroc[class], &case["class_auroc"][class]);
            same(
                name,
                judged.class_average_precision[class],
                &case["class_average_precision"][class],
            );
        }
        if classes > 2 {
            same(name, judged.evaluation.auroc, &case["auroc"]);
        }
        same(name, Some(judged.evaluation.loss), &case["log_loss"]);
        same(name, Some(judged.brier), &case["brier"]);
        let curve = judged.reliability.expect("no logit is NaN");
        same(name, Some(curve.expected_error()), &case["expected_error"]);
    }
}

#[test]
fn regression_is_that_of_scikit_learn() {
    let cases = cases();
    let fits = list(&cases, "fits");
    assert_eq!(fits.len(), 5);
    for case in fits {
        let name = case["name"].as_str().expect("a name");
        let single = |key| -> Vec<f32> { numbers(case, key).iter().map(|x| *x as f32).collect() };
        let figures = regression(&single("predictions"), &single("targets"));
        same(name, Some(figures.mse), &case["mse"]);
        same(name, Some(figures.rmse), &case["rmse"]);
        same(name, Some(figures.mae), &case["mae"]);
        same(name, figures.r2, &case["r2"]);
    }
    assert!(regression(&[f32::NAN], &[1.0]).mse.is_nan());
    assert_eq!(regression(&[], &[]).examples, 0);
}

#[test]
fn quantiles_are_those_of_numpy() {
    let cases = cases();
    let case = &cases["quantiles"];
    let values = numbers(case, "values");
    let got: Vec<f64> = numbers(case, "shares")
        .iter()
        .filter_map(|share| quantile(&values, *share))
        .collect();
    all_close("quantiles", &got, &numbers(case, "expected"));
    assert_eq!(quantile(&[], 0.5), None);
}

#[test]
fn no_rows_have_no_figures_and_do_not_panic() {
    let judged = Assessment::of(
        &Tally::new(3, 3),
        &AssessmentPlan::default(),
        &mut ChaCha8Rng::seed_from_u64(1),
    );
    assert_eq!((judged.average_precision, judged.brier), (None, 0.0));
    assert!(judged.intervals.is_empty());
    assert_eq!(
        class_means(&per_class(&[vec![0, 0], vec![0, 0]]))
            .macro_mean
            .f1,
        0.0
    );
}

#[test]
fn a_logit_that_is_no_number_spoils_what_needs_it_and_nothing_else() {
    let mut tally = Tally::new(2, 1);
    tally.add(&[f32::NAN, 1.0, -1.0], &[0, 1, 0]);
    let judged = Assessment::of(
        &tally,
        &AssessmentPlan::default(),
        &mut ChaCha8Rng::seed_from_u64(1),
    );
    assert_eq!(
        (judged.average_precision, judged.evaluation.auroc),
        (None, None)
    );
    assert_eq!(judged.reliability, None);
    assert!(judged.brier.is_nan());
    assert_eq!(judged.evaluation.accuracy, 1.0);
    let names: Vec<&str> = judged.intervals.iter().map(|(name, _)| *name).collect();
    assert!(
        names.contains(&"accuracy") && !names.contains(&"auroc"),
        "{names:?}"
    );
    let histogram = ScoreHistogram::of(&tally, 16);
    assert_eq!((histogram.broken(), histogram.rows()), (1, 3));
    assert_eq!((histogram.auroc(), histogram.brier()), (None, None));
    assert!(histogram.evaluation().loss.is_nan());
}

/// The interval of an accuracy holds it about as often as it says: over 200 test sets of 100 rows, 70 % right.
#[test]
fn intervals_cover_as_often_as_they_say() {
    use rand::RngExt;
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let plan = Bootstrap {
        replicates: 300,
        level: 0.9,
        tiny: 0,
    };
    let mut held = 0;
    for _ in 0..200 {
        let right: Vec<f64> = (0..100)
            .map(|_| f64::from(u8::from(rng.random_bool(0.7))))
            .collect();
        let share = |draws: &[u32]| {
            let hits: f64 = right
                .iter()
                .zip(draws)
                .map(|(right, drawn)| right * f64::from(*drawn))
                .sum();
            vec![Some(hits / 100.0)]
        };
        let interval = plan.intervals(&[0; 100], &mut rng, share)[0].expect("always defined");
        held += usize::from((interval.low..=interval.high).contains(&0.7));
    }
    assert!((165..=195).contains(&held), "{held} of 200 at 90 %");
}

#[test]
fn a_tiny_class_is_in_every_replicate() {
    let labels: Vec<u32> = (0..300).map(|row| u32::from(row < 2)).collect();
    let plan = Bootstrap::default();
    assert_eq!(plan.resampling(&labels), Resampling::Stratified);
    let positives = |draws: &[u32]| vec![Some(f64::from(draws[0] + draws[1]))];
    let rng = &mut ChaCha8Rng::seed_from_u64(3);
    let interval = plan.intervals(&labels, rng, positives)[0].expect("always defined");
    assert_eq!((interval.low, interval.high), (2.0, 2.0));
    // With rows drawn from all, a replicate without a positive has no figure, and too many of these no interval.
    let plain = Bootstrap { tiny: 0, ..plan };
    let defined = |draws: &[u32]| vec![(draws[0] + draws[1] > 0).then_some(1.0)];
    assert_eq!(plain.intervals(&labels, rng, defined), [None]);
}

#[test]
fn counts_that_contradict_themselves_are_refused() {
    let mut tally = Tally::new(3, 3);
    tally.add(&[1.0, 0.0, 0.0, 0.0, 2.0, 0.0], &[0, 2]);
    let good = ScoreHistogram::of(&tally, 8);
    let back = ScoreHistogram::from_counts(3, 8, good.counts().to_vec());
    assert_eq!(back.as_ref(), Ok(&good));
    let short = ScoreHistogram::from_counts(3, 8, vec![0; 5]);
    assert!(matches!(short, Err(HistogramError::Length { got: 5, .. })));
    let mut more = good.counts().to_vec();
    more[0] += 1;
    let error = ScoreHistogram::from_counts(3, 8, more).expect_err("a row without scores");
    assert_eq!(
        error.to_string(),
        "the scores of class 0 are of 2 rows, the confusion matrix of 3"
    );
}

/// Rows of two to four classes: labels, and logits in eighths.
fn rows() -> impl Strategy<Value = (usize, Vec<f32>, Vec<u32>)> {
    (2_usize..5, 1_usize..80).prop_flat_map(|(classes, n)| {
        let logits =
            prop::collection::vec((-60_i16..60).prop_map(|z| f32::from(z) / 8.0), n * classes);
        let labels = prop::collection::vec(0..classes as u32, n);
        (Just(classes), logits, labels)
    })
}

proptest! {
    /// The sum over sites says what the pooled rows say: exactly, or within the bound.
    #[test]
    fn sums_over_sites_are_the_pooled_rows((classes, logits, labels) in rows(), bins in 2_usize..300, cut in 0.0..1.0) {
        let mut pooled = Tally::new(classes, classes);
        pooled.add(&logits, &labels);
        let at = (cut * labels.len() as f64) as usize;
        let (mut one, mut other) = (Tally::new(classes, classes), Tally::new(classes, classes));
        one.add(&logits[..at * classes], &labels[..at]);
        other.add(&logits[at * classes..], &labels[at..]);
        let mut sum = ScoreHistogram::of(&one, bins);
        sum.merge(&ScoreHistogram::of(&other, bins));
        prop_assert_eq!(&sum, &ScoreHistogram::of(&pooled, bins));
        let plan = AssessmentPlan { bootstrap: Bootstrap { replicates: 0, ..Bootstrap::default() }, ..AssessmentPlan::default() };
        let exact = Assessment::of(&pooled, &plan, &mut ChaCha8Rng::seed_from_u64(1));
        let summed = sum.evaluation();
        prop_assert_eq!(&summed.confusion, &exact.evaluation.confusion);
        prop_assert_eq!(summed.accuracy, exact.evaluation.accuracy);
        prop_assert!((summed.loss - exact.evaluation.loss).abs() < 1e-6);
        prop_assert!((sum.brier().expect("finite") - exact.brier).abs() < 1e-6);
        let (curve, whole) = (sum.reliability().expect("finite"), exact.reliability.expect("finite"));
        for (a, b) in curve.bins.iter().zip(&whole.bins) {
            prop_assert_eq!((a.rows, a.share), (b.rows, b.share));
            prop_assert!((a.score - b.score).abs() < 1e-6);
        }
        let bounded = sum.auroc();
        prop_assert_eq!(bounded.is_some(), exact.evaluation.auroc.is_some());
        if let (Some(bounded), Some(auroc)) = (bounded, exact.evaluation.auroc) {
            prop_assert!((bounded.value - auroc).abs() <= bounded.error + 1e-12, "{bounded:?} {auroc}");
        }
        let class = classes - 1;
        let sensitivity = sum.sensitivity_at(class, 0.8);
        let best = pooled.ranking(class).and_then(|ranking| ranking.choose(ThresholdRule::Specificity(0.8)));
        if let (Some(bounded), Some(best)) = (sensitivity, best) {
            prop_assert!((bounded.value - best.sensitivity).abs() <= bounded.error + 1e-9, "{bounded:?} {best:?}");
        }
    }

    /// A replicate that draws every row once has the figures themselves; intervals repeat with their stream.
    #[test]
    fn intervals_repeat((classes, logits, labels) in rows(), seed: u64) {
        let mut tally = Tally::new(classes, classes);
        tally.add(&logits, &labels);
        let bootstrap = Bootstrap { replicates: 30, ..Bootstrap::default() };
        let plan = AssessmentPlan { bootstrap, threshold: Some(0.5), ..AssessmentPlan::default() };
        let judge = || Assessment::of(&tally, &plan, &mut ChaCha8Rng::seed_from_u64(seed));
        let judged = judge();
        prop_assert_eq!(&judged, &judge());
        for (name, interval) in &judged.intervals {
            prop_assert!(interval.low <= interval.high, "{name}: {interval:?}");
        }
    }

    /// The weighted figures of whole numbers are those of rows that are there so often; and the resampled ones, too.
    #[test]
    fn weights_are_repetitions(rows in prop::collection::vec((-3_i8..4, any::<bool>(), 0_u8..4), 1..40)) {
        let scores: Vec<f64> = rows.iter().map(|row| f64::from(row.0)).collect();
        let weights: Vec<f64> = rows.iter().map(|row| f64::from(row.2)).collect();
        let repeated: Vec<(f64, bool)> = rows.iter().flat_map(|row| vec![(f64::from(row.0), row.1); usize::from(row.2)]).collect();
        let weighted = Ranking::weighted(&scores, &weights, |row| rows[row].1).expect("no NaN");
        let alone: Vec<f64> = repeated.iter().map(|row| row.0).collect();
        let plain = Ranking::new(&alone, |row| repeated[row].1).expect("no NaN");
        prop_assert_eq!(weighted, plain);
    }
}
