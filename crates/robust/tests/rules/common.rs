//! What the tests of rules share.

use cloister_robust::{
    AggregationConfig, Aggregator, Before, Input, RobustError, Rule, Scalar, Verdict,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The rule with this f and all else left out.
pub(crate) fn config(rule: Rule, byzantine: u32) -> AggregationConfig {
    AggregationConfig {
        rule,
        byzantine,
        ..AggregationConfig::default()
    }
}

/// One aggregation of `rows` by a fresh aggregator, on one thread.
pub(crate) fn run<T: Scalar>(
    config: &AggregationConfig,
    rows: &[Vec<T>],
) -> Result<(Vec<T>, Verdict), RobustError> {
    let rows: Vec<&[T]> = rows.iter().map(Vec::as_slice).collect();
    run_input(config, &Input::new(&rows))
}

/// One aggregation of `input` by a fresh aggregator.
pub(crate) fn run_input<T: Scalar>(
    config: &AggregationConfig,
    input: &Input<'_, T>,
) -> Result<(Vec<T>, Verdict), RobustError> {
    let mut out = vec![T::default(); input.rows.first().map_or(0, |row| row.len())];
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let verdict = Aggregator::new(config.clone())?.aggregate(input, &mut rng, &mut out)?;
    Ok((out, verdict))
}

/// n honest rows around a common centre, the first `liars` of them far off, as `f32` values.
pub(crate) fn cohort(n: usize, liars: usize, d: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let centre: Vec<f32> = (0..d).map(|_| rng.random_range(-0.5..0.5)).collect();
    (0..n)
        .map(|row| {
            let (spread, shift) = if row < liars { (3.0, 1.0) } else { (1.0, 0.0) };
            centre
                .iter()
                .map(|c| c + shift + spread * rng.random_range(-1.0_f32..1.0))
                .collect()
        })
        .collect()
}

/// The same values in double precision.
pub(crate) fn widened(rows: &[Vec<f32>]) -> Vec<Vec<f64>> {
    rows.iter()
        .map(|row| row.iter().map(|&value| f64::from(value)).collect())
        .collect()
}

/// The greatest difference in units of the greatest magnitude expected.
pub(crate) fn relative_error<T: Scalar>(got: &[T], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let scale = expected.iter().fold(1e-300_f64, |a, b| a.max(b.abs()));
    let errors = got.iter().zip(expected).map(|(&got, expected)| {
        let got: f64 = got.into();
        assert!(got.is_finite());
        (got - expected).abs() / scale
    });
    errors.fold(0.0, f64::max)
}

/// Rules and steps that draw nothing at random, with f = `byzantine`.
pub(crate) fn deterministic(byzantine: u32) -> Vec<AggregationConfig> {
    let mut configs = Vec::new();
    for rule in Rule::ALL {
        for before in [
            &[][..],
            &[Before::Nnm],
            &[Before::Clip],
            &[Before::Arc],
            &[Before::Arc, Before::Nnm],
            &[Before::Nnm, Before::Clip, Before::Nnm],
        ] {
            configs.push(AggregationConfig {
                before: before.to_vec(),
                noise: Some(0.0),
                ..config(rule, byzantine)
            });
        }
    }
    configs
}

/// Whether a choice is decided by rounding: mixed rows that differ by the same two rows are equally far apart (and
/// their values equally far from a median between them), and clipped rows are equally long.
pub(crate) fn ties_after_steps(config: &AggregationConfig) -> bool {
    let after = |step| config.before.contains(&step);
    match config.rule {
        Rule::Krum
        | Rule::KrumByzfl
        | Rule::MultiKrum
        | Rule::MultiKrumByzfl
        | Rule::MultiKrumFlower
        | Rule::Bulyan
        | Rule::Mda
        | Rule::Meamed
        | Rule::Phocas => after(Before::Nnm),
        Rule::Cge => after(Before::Clip) || after(Before::Arc),
        _ => false,
    }
}
