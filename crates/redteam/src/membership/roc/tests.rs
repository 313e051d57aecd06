//! Curves by hand, intervals against their definitions, and the false alarms of the verdict.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::*;

fn normal(n: usize, mean: f64, rng: &mut ChaCha8Rng) -> Vec<f64> {
    let draw = |_| {
        let value: f64 = StandardNormal.sample(rng);
        value + mean
    };
    (0..n).map(draw).collect()
}

#[test]
fn a_curve_by_hand_with_ties() {
    // Twice the scores 3 2 2 1 0 against 2 1 1 0 0: pairs won 5 + 4 (of 2) ...
    let members: Vec<f64> = [3.0, 2.0, 2.0, 1.0, 0.0].repeat(2);
    let others: Vec<f64> = [2.0, 1.0, 1.0, 0.0, -0.0].repeat(2);
    let roc = Roc::new(&members, &others, 0.95).unwrap();
    // Won: 5; 4.5 and 4.5; 2 + 2/2; 2/2. Of 25.
    assert!((roc.auc.value - 18.0 / 25.0).abs() < 1e-12, "{:?}", roc.auc);
    // From 2 on: three of five members, one of five others.
    assert!((roc.balanced_accuracy - 0.7).abs() < 1e-12);
    assert_eq!(roc.points[0], [0.0, 0.2]);
    assert_eq!(roc.points.last(), Some(&[1.0, 1.0]));
    let why = roc.tpr_1.unwrap_err();
    assert_eq!(
        why,
        "10 non-members make 0.1 false alarms at 1 %: at least 1000 non-members are needed"
    );
    assert!(roc.tpr_01.unwrap_err().contains("10000"));
}

/// Values of R 4.3, binom.test: the beta quantiles of the definition.
#[test]
fn intervals_are_clopper_and_pearsons() {
    for (hits, trials, low, high) in [
        (0, 10, 0.0, 0.308_497_1),
        (10, 10, 0.691_502_9, 1.0),
        (1, 10, 0.002_528_579, 0.445_016_1),
        (5, 10, 0.187_086_0, 0.812_914_0),
    ] {
        let got = clopper_pearson(hits, trials, 0.95).unwrap();
        assert!(
            (got.low - low).abs() < 1e-6 && (got.high - high).abs() < 1e-6,
            "{got:?}"
        );
    }
    // The definition: at the lower end so many hits or more have the chance 2.5 %.
    let got = clopper_pearson(150, 1000, 0.95).unwrap();
    assert!((binomial_tail(150, 1000, got.low) - 0.025).abs() < 1e-9);
    assert!((binomial_tail(151, 1000, got.high) - 0.975).abs() < 1e-9);
    assert!(clopper_pearson(2, 1, 0.95).is_err() && clopper_pearson(0, 0, 0.95).is_err());
    assert!(clopper_pearson(1, 2, 1.0).is_err());
}

#[test]
fn columns_bound_the_false_alarms() {
    let others: Vec<f64> = (0..1000).map(f64::from).collect();
    // Of 100 members 30 lie above all but ten of the others.
    let mut members = vec![989.5; 30];
    members.extend([0.0; 70]);
    let roc = Roc::new(&members, &others, 0.95).unwrap();
    let column = roc.tpr_1.unwrap();
    assert_eq!((column.tpr.value, column.fpr.value), (0.3, 0.01));
    assert!(roc.tpr_01.is_err(), "needs 10,000");
    // A tie across the line does not count.
    let tied = [vec![989.0; 30], vec![0.0; 70]].concat();
    let column = Roc::new(&tied, &others, 0.95).unwrap().tpr_1.unwrap();
    assert_eq!((column.tpr.value, column.fpr.value), (0.0, 0.01));
}

#[test]
fn curves_are_thinned() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let (members, others) = (normal(20_000, 0.5, &mut rng), normal(20_000, 0.0, &mut rng));
    let roc = Roc::new(&members, &others, 0.95).unwrap();
    assert!(roc.points.len() <= 200 && roc.points.len() > 100);
    assert!(
        roc.points
            .windows(2)
            .all(|p| p[0][0] <= p[1][0] && p[0][1] <= p[1][1])
    );
    // Phi(0.5 / sqrt 2); five standard errors of 0.003.
    assert!((roc.auc.value - 0.6382).abs() < 0.015);
    let lowest = roc.points.iter().find(|point| point[0] > 0.0).unwrap();
    assert!(lowest[0] <= 1e-4);
}

/// Where nothing leaks the area's interval misses 0.5 in 5 % of 400 draws: more than 36 have a chance of about 1e-4. The
/// verdict errs on one side only, by the area (2.5 %) or a column: more than 26 have a chance below 1e-4.
#[test]
fn nothing_is_found_where_nothing_leaks() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let (mut missed, mut alarms) = (0, 0);
    for _ in 0..400 {
        let (members, others) = (normal(1000, 0.0, &mut rng), normal(1000, 0.0, &mut rng));
        let roc = Roc::new(&members, &others, 0.95).unwrap();
        missed += u32::from(roc.auc.low > 0.5 || roc.auc.high < 0.5);
        alarms += u32::from(roc.verdict(None) != Verdict::NoneFound);
    }
    assert!(missed <= 36 && alarms <= 26, "{missed} {alarms}");
}

#[test]
fn verdicts_follow_the_specification() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let others = normal(10_000, 0.0, &mut rng);
    let verdict = |mean: f64, rng: &mut ChaCha8Rng| {
        let roc = Roc::new(&normal(10_000, mean, rng), &others, 0.95).unwrap();
        (roc.verdict(None), roc)
    };
    assert_eq!(verdict(0.0, &mut rng).0, Verdict::NoneFound);
    assert_eq!(verdict(0.3, &mut rng).0, Verdict::Leaks);
    let (strong, roc) = verdict(2.0, &mut rng);
    assert_eq!(strong, Verdict::Strong);
    // The truth is 2-GDP: its own ceiling holds, half of it does not.
    assert!(!roc.above(&Ceiling::Gaussian { mu: 2.2 }));
    assert!(roc.above(&Ceiling::Gaussian { mu: 1.0 }));
    let low = Ceiling::EpsilonDelta {
        epsilon: 1.0,
        delta: 1e-5,
    };
    assert_eq!(roc.verdict(Some(&low)), Verdict::AboveCeiling);
}

#[test]
fn ceilings_are_those_of_the_specification() {
    let at = |epsilon| {
        let delta = 0.0;
        Ceiling::EpsilonDelta { epsilon, delta }.tpr(0.01)
    };
    // At 1 %: 2.7 %, 20 % and 99 %.
    assert!((at(1.0) - 0.0272).abs() < 1e-3 && (at(3.0) - 0.2009).abs() < 1e-3);
    assert!((at(5.0) - 0.9933).abs() < 1e-3);
    let none = Ceiling::EpsilonDelta {
        epsilon: 0.0,
        delta: 0.0,
    };
    assert_eq!((none.tpr(0.3), none.auc()), (0.3, 0.5));
    let delta_only = Ceiling::EpsilonDelta {
        epsilon: 0.0,
        delta: 0.1,
    };
    // Area under min(f + 0.1, 1): 1 - 0.9^2 / 2.
    assert!((delta_only.auc() - 0.595).abs() < 1e-12);
    // A sum over the curve agrees with the closed forms.
    for ceiling in [
        Ceiling::EpsilonDelta {
            epsilon: 1.5,
            delta: 0.01,
        },
        Ceiling::Gaussian { mu: 1.2 },
    ] {
        let n = 20_000;
        let sum: f64 = (0..n)
            .map(|i| ceiling.tpr((f64::from(i) + 0.5) / f64::from(n)))
            .sum();
        assert!(
            (sum / f64::from(n) - ceiling.auc()).abs() < 1e-3,
            "{ceiling:?}"
        );
    }
    assert_eq!(Ceiling::Gaussian { mu: 3.0 }.tpr(0.0), 0.0);
    assert_eq!(
        Ceiling::EpsilonDelta {
            epsilon: 800.0,
            delta: 0.0
        }
        .tpr(0.5),
        1.0
    );
    let huge = Ceiling::EpsilonDelta {
        epsilon: 800.0,
        delta: 0.0,
    };
    assert!((huge.auc() - 1.0).abs() < 1e-9);
}

#[test]
fn classes_have_areas_of_their_own() {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let labels: Vec<u32> = (0..400).map(|i| i % 2).collect();
    let others = normal(400, 0.0, &mut rng);
    let mut members = normal(400, 0.0, &mut rng);
    for (score, label) in members.iter_mut().zip(&labels) {
        *score += 3.0 * f64::from(*label);
    }
    let areas = per_class((&members, &labels), (&others, &labels), 3, 0.95).unwrap();
    assert!(areas[0].unwrap().high < 0.7 && areas[1].unwrap().low > 0.9);
    assert_eq!(areas[2], None);
    assert!(per_class((&members, &labels[1..]), (&others, &labels), 3, 0.95).is_err());
}

#[test]
fn bad_scores_are_refused() {
    let good = vec![0.0; 10];
    assert!(Roc::new(&good[1..], &good, 0.95).is_err());
    assert!(Roc::new(&good, &good, 0.0).is_err());
    let mut bad = good.clone();
    bad[3] = f64::NAN;
    assert_eq!(
        Roc::new(&good, &bad, 0.95),
        Err(MembershipError::Score { example: 13 })
    );
    // Infinite ones are scores like others.
    bad[3] = f64::INFINITY;
    assert!(Roc::new(&bad, &good, 0.95).is_ok());
    // Ten of ten is no certainty.
    let apart = Roc::new(&[1.0; 10], &good, 0.95).unwrap().auc;
    assert!(apart.value == 1.0 && (apart.low - 0.6915).abs() < 1e-3 && apart.high == 1.0);
}
