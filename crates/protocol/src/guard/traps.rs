//! Rows that are negative for nearly every input, so that each lets few examples of a batch through: half of the weights are
//! negative, the other half are the same numbers, positive and a little smaller.

use super::{GuardFinding, GuardRule, Linear, median};

/// So many such rows are too many: not one arises by chance.
const ROWS: usize = 4;
/// Fewer weights of a row are in such an order by chance.
const WEIGHTS: usize = 8;
/// What the positive half may be of the negative one. At 1 the halves are equal, as in a Hadamard matrix.
const SCALE: std::ops::Range<f64> = 0.8..0.9999;
/// How far the ratios of the two halves, each in order of size, may differ, as a share of them.
const SPREAD: f64 = 1e-3;
/// Rows in which chance gives as many positive weights as negative ones once in ten times at most.
const LONG: usize = 64;
/// Share of balanced rows that is too large, and how many there must be.
const BALANCED: (f64, usize) = (0.9, 8);

/// Looks for trap weights.
pub(super) fn find(layer: &Linear<'_>) -> Option<GuardFinding> {
    let balanced: Vec<Halves> = layer.rows().filter_map(Halves::of).collect();
    let paired = balanced.iter().filter(|halves| halves.is_paired()).count();
    let finding = |rows: usize, threshold: usize| GuardFinding {
        rule: GuardRule::TrapWeights,
        tensor: layer.name.to_owned(),
        value: rows as f64,
        threshold: threshold as f64,
    };
    if paired >= ROWS {
        return Some(finding(paired, ROWS));
    }
    // Halves that were drawn one by one: no pairs, but balance in all rows, and all of them lean to one side.
    let (share, least) = BALANCED;
    let rows = layer.rows().len();
    let too_many = ((share * rows as f64).ceil() as usize).max(least);
    let mut scales: Vec<f64> = balanced.iter().map(Halves::scale).collect();
    let leans = SCALE.contains(&median(&mut scales));
    (layer.columns >= LONG && balanced.len() >= too_many && leans)
        .then(|| finding(balanced.len(), too_many))
}

/// The sizes of the negative and of the positive weights of a row, each in order.
struct Halves {
    negative: Vec<f32>,
    positive: Vec<f32>,
}

impl Halves {
    /// Of a row with as many weights of one sign as of the other, give or take one.
    fn of(row: &[f32]) -> Option<Self> {
        let count = |is: fn(&f32) -> bool| row.iter().filter(|value| is(value)).count();
        let (below, above) = (count(|v| *v < 0.0), count(|v| *v > 0.0));
        if below + above < WEIGHTS || below.abs_diff(above) > 1 {
            return None;
        }
        let sizes = |is: fn(&f32) -> bool| {
            let mut sizes: Vec<f32> = row.iter().filter(|v| is(v)).map(|v| v.abs()).collect();
            sizes.sort_unstable_by(f32::total_cmp);
            sizes
        };
        Some(Self {
            negative: sizes(|v| *v < 0.0),
            positive: sizes(|v| *v > 0.0),
        })
    }

    /// The positive half over the negative one.
    fn scale(&self) -> f64 {
        let sum = |half: &[f32]| half.iter().map(|size| f64::from(*size)).sum::<f64>();
        sum(&self.positive) / sum(&self.negative)
    }

    /// Whether each positive weight is the same part of a negative one; of an odd row, but for a lone weight.
    fn is_paired(&self) -> bool {
        let (below, above) = (self.negative.len(), self.positive.len());
        let pairs = below.min(above);
        let lone = below.max(above) - pairs;
        // Wherever the lone weight stands in the order, those behind it are one place further.
        let ratio = |place: usize, shift: usize| {
            let (negative, positive) = match below > above {
                true => (place + shift, place),
                false => (place, place + shift),
            };
            f64::from(self.positive[positive]) / f64::from(self.negative[negative])
        };
        [ratio(0, 0), ratio(pairs - 1, lone)]
            .into_iter()
            .any(|scale| {
                let fits = |place: usize, shift: usize| {
                    (ratio(place, shift) - scale).abs() <= SPREAD * scale
                };
                let head = (0..pairs).take_while(|place| fits(*place, 0)).count();
                SCALE.contains(&scale) && (head..pairs).all(|place| fits(place, lone))
            })
    }
}
