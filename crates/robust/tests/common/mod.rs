//! What the tests of rules share.

use cloister_robust::{AggregationConfig, Aggregator, Input, RobustError, Rule, Scalar, Verdict};
use rand::SeedableRng;
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
