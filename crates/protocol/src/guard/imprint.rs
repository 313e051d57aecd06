//! Rows that measure one functional of the input at many thresholds: each example then falls between two of them, and the
//! difference of their gradients is that example.

use super::{GuardFinding, GuardRule, Linear, dot, median};

/// So many parallel rows are too many. Two are the rows of a softmax over two classes.
const ROWS: usize = 8;
/// Shorter rows are parallel by chance.
const COLUMNS: usize = 8;
/// From which cosine on rows count as parallel, and by which share of the
/// usual threshold others must differ to be others.
/// Planted rows have the cosine 1 but for rounding; an attacker may add a little noise. Training that diverges gives each row a
/// multiple of the same examples, and its bias the same multiple: parallel rows, but of one threshold up to the rows' own noise.
const PARALLEL: [(f32, f32); 2] = [(0.99999, 0.01), (0.999, 0.1)];
/// Steps towards the direction that most rows share.
const STEPS: usize = 6;
/// Rows nearest to that direction that are tried.
const TRIED: usize = 4;

/// Looks for a group of parallel rows with different thresholds.
pub(super) fn find(layer: &Linear<'_>) -> Option<GuardFinding> {
    let biases = layer.biases?;
    if layer.columns < COLUMNS {
        return None;
    }
    let rows: Vec<Row<'_>> = layer
        .rows()
        .zip(biases)
        .filter_map(|(values, bias)| Row::of(values, *bias))
        .collect();
    if rows.len() < ROWS {
        return None;
    }
    let shared = direction(&rows, layer.columns);
    let mut nearest: Vec<(f32, usize)> = rows
        .iter()
        .map(|row| row.cosine(&shared).abs())
        .zip(0..)
        .collect();
    nearest.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let candidates = nearest.iter().take(TRIED).map(|(_, place)| &rows[*place]);
    let most = candidates
        .flat_map(|row| PARALLEL.map(|like| thresholds(&rows, row, like)))
        .max()?;
    (most >= ROWS).then(|| GuardFinding {
        rule: GuardRule::Imprint,
        tensor: layer.name.to_owned(),
        value: most as f64,
        threshold: ROWS as f64,
    })
}

/// A row that is not zero.
struct Row<'a> {
    values: &'a [f32],
    norm: f32,
    bias: f32,
}

impl<'a> Row<'a> {
    fn of(values: &'a [f32], bias: f32) -> Option<Self> {
        let norm = dot(values, values).sqrt();
        // Neither zero nor beyond what can be squared.
        norm.is_normal().then_some(Self { values, norm, bias })
    }

    /// The cosine with a vector of length 1.
    fn cosine(&self, unit: &[f32]) -> f32 {
        dot(self.values, unit) / self.norm
    }
}

/// The direction that the rows share most, of length 1: some steps of the power method on the rows scaled to length 1. A group of
/// k parallel rows has the weight k in it, independent rows hardly more than 1 each.
fn direction(rows: &[Row<'_>], columns: usize) -> Vec<f32> {
    // Any start that no row was made for.
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut unit: Vec<f32> = (0..columns)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect();
    for _ in 0..STEPS {
        let mut next = vec![0.0; columns];
        for row in rows {
            let share = row.cosine(&unit) / row.norm;
            for (sum, value) in next.iter_mut().zip(row.values) {
                *sum += share * value;
            }
        }
        let norm = dot(&next, &next).sqrt();
        if !norm.is_normal() {
            break;
        }
        next.iter_mut().for_each(|value| *value /= norm);
        unit = next;
    }
    unit
}

/// How many different thresholds the rows parallel to `one` have, on its axis.
fn thresholds(rows: &[Row<'_>], one: &Row<'_>, (parallel, apart): (f32, f32)) -> usize {
    let mut found: Vec<f32> = Vec::new();
    for row in rows {
        let cosine = row.cosine(one.values) / one.norm;
        if cosine.abs() >= parallel {
            found.push(-row.bias / row.norm * cosine.signum());
        }
    }
    found.sort_unstable_by(f32::total_cmp);
    let mut sizes: Vec<f64> = found.iter().map(|one| f64::from(one.abs())).collect();
    // Not the largest: one row far away must not make the others one.
    let size = median(&mut sizes) as f32;
    found.dedup_by(|a, b| (*a - *b).abs() <= apart * size);
    found.len()
}
