//! What holds for all rows.

use cloister_robust::{AggregationConfig, Before, Input, Rule};
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, proptest};
use proptest::test_runner::RngSeed;

use crate::common::{
    cohort, config, deterministic, relative_error, run, run_input, ties_after_steps, widened,
};

/// Rows without ties: a seeded cohort with n from 11 to 15, f = 2. (In one dimension, clipped rows are equal.)
fn rows() -> impl Strategy<Value = Vec<Vec<f64>>> {
    (11_usize..16, 4_usize..40, any::<u64>())
        .prop_map(|(n, d, seed)| widened(&cohort(n, 2, d, seed)))
}

/// Rules that follow the rows when all are moved by the same vector.
fn moves_along(config: &AggregationConfig) -> bool {
    let rule = !matches!(
        config.rule,
        Rule::CentredClipping
            | Rule::Cge
            | Rule::NormClipping
            | Rule::Fltrust
            | Rule::Foolsgold
            | Rule::Flame
            | Rule::SignMajority
    );
    rule && config.before.iter().all(|step| *step == Before::Nnm)
}

/// Rules whose choice may hang on the order of rows, by their definition: the last pick of Bulyan has one neighbour, so
/// that two rows nearest to each other tie; several sets may share the pair that is their diameter.
fn ties(config: &AggregationConfig) -> bool {
    matches!(config.rule, Rule::Bulyan | Rule::Mda) || ties_after_steps(config)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None,
        rng_seed: RngSeed::Fixed(20_261_121), ..ProptestConfig::with_cases(10) })]

    #[test]
    fn the_order_of_rows_does_not_matter(
        (rows, order) in rows().prop_flat_map(|rows| {
            let order = Just((0..rows.len()).collect::<Vec<_>>()).prop_shuffle();
            (Just(rows), order)
        })
    ) {
        let shuffled: Vec<&[f64]> = order.iter().map(|&row| &rows[row][..]).collect();
        let plain: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
        let trusted = Some(plain[0]);
        for config in deterministic(2).iter().filter(|config| !ties(config)) {
            let input = Input { trusted, ..Input::new(&plain) };
            let (expected, verdict) = run_input(config, &input).unwrap();
            let input = Input { trusted, ..Input::new(&shuffled) };
            let (out, permuted) = run_input(config, &input).unwrap();
            assert!(relative_error(&out, &expected) < 1e-9, "{config:?}");
            for (place, &row) in order.iter().enumerate() {
                assert_eq!(permuted.rows[place].kept, verdict.rows[row].kept, "{config:?}");
            }
        }
    }

    #[test]
    fn moved_rows_move_the_result(rows in rows(), shift in vec(-3.0..3.0, 40)) {
        let moved: Vec<Vec<f64>> = rows
            .iter()
            .map(|row| row.iter().zip(&shift).map(|(value, shift)| value + shift).collect())
            .collect();
        for config in deterministic(2).iter().filter(|config| moves_along(config)) {
            let (mut expected, _) = run(config, &rows).unwrap();
            expected.iter_mut().zip(&shift).for_each(|(value, shift)| *value += shift);
            let (out, _) = run(config, &moved).unwrap();
            assert!(relative_error(&out, &expected) < 1e-9, "{config:?}");
        }
    }

    #[test]
    fn liars_cannot_leave_the_honest_range(
        honest in (1_usize..70).prop_flat_map(|d| vec(vec(-1e3_f32..1e3, d), 3..12)),
        lies in vec(-1e30_f32..1e30, 70),
        strategy in 0_usize..3,
    ) {
        let (d, f) = (honest[0].len(), honest.len() - 1);
        let mut rows = honest.clone();
        for liar in 0..f {
            rows.push((0..d).map(|column| match strategy {
                0 => lies[column],
                1 => lies[(column + liar) % 70],
                _ => f32::MAX,
            }).collect());
        }
        for rule in [Rule::Median, Rule::TrimmedMean] {
            let (out, _) = run(&config(rule, f as u32), &rows).unwrap();
            for (column, &value) in out.iter().enumerate() {
                let least = honest.iter().map(|row| row[column]).fold(f32::MAX, f32::min);
                let most = honest.iter().map(|row| row[column]).fold(f32::MIN, f32::max);
                // A mean of equal numbers may round to a neighbour.
                let slack = 1e-6 * least.abs().max(most.abs());
                assert!((least - slack..=most + slack).contains(&value), "{rule:?}: {value}");
            }
        }
    }
}

/// Stripes, stretches and blocks are cut by the columns alone.
#[test]
fn threads_do_not_change_a_bit() {
    let rows = cohort(13, 2, 40_000, 11);
    let slices: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
    let mut configs = deterministic(2);
    configs.retain(|config| config.before.len() < 2);
    for rule in [Rule::Mean, Rule::Median, Rule::Krum, Rule::Dnc] {
        configs.push(AggregationConfig {
            before: vec![Before::Bucketing],
            ..config(rule, 1)
        });
    }
    for config in configs {
        let with = |threads| {
            let input = Input {
                threads,
                trusted: Some(slices[0]),
                ..Input::new(&slices)
            };
            run_input(&config, &input).unwrap()
        };
        let expected = with(1);
        for threads in [2, 5] {
            assert_eq!(with(threads), expected, "{config:?}");
        }
    }
}

/// With no liars to withstand, rules come down to simpler ones.
#[test]
fn without_byzantine_rows() {
    let rows = widened(&cohort(8, 0, 50, 12));
    let (mean, _) = run(&config(Rule::Mean, 0), &rows).unwrap();
    for rule in [
        Rule::TrimmedMean,
        Rule::Meamed,
        Rule::Phocas,
        Rule::Mda,
        Rule::Cge,
        Rule::Bulyan,
        Rule::Dnc,
    ] {
        let (out, _) = run(&config(rule, 0), &rows).unwrap();
        assert!(relative_error(&out, &mean) < 1e-12, "{rule:?}");
    }
}
