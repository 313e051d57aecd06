//! What a column holds, where the config does not say it.

use crate::config::DataConfig;
use crate::decode::number;
use crate::tables::{Plan, TablePart};

/// Whether a cell means that there is no value.
pub(crate) fn is_missing(config: &DataConfig, cell: &str) -> bool {
    config.missing.iter().any(|token| token == cell)
}

/// Whether a column holds codes: declared so, or fewer than half of its cells that are not missing are numbers.
pub(crate) fn is_categorical(
    config: &DataConfig,
    plan: &Plan,
    column: usize,
    part: &TablePart,
    rows: &[u32],
) -> bool {
    if plan.categorical.contains(&column) {
        return true;
    }
    let (mut numbers, mut texts) = (0_usize, 0_usize);
    for &row in rows {
        let cell = part.row(row).cell(column);
        if is_missing(config, cell) {
            continue;
        }
        match number(cell) {
            Some(_) => numbers += 1,
            None => texts += 1,
        }
    }
    texts > numbers
}
