//! How fast the model moves, as one client sees it.

use super::{GuardFinding, GuardRule};

/// Numbers in the sketch of a model.
const SKETCH: usize = 256;
/// Moves that must have been seen before one can be out of proportion.
const MOVES: u32 = 3;
/// What a move may be of the fastest so far, round for round.
const PACE: f64 = 20.0;
/// And of the model's own norm.
const SHARE: f64 = 0.5;

/// The model that a client saw last, as a sketch, and how fast it has moved so far.
///
/// The sketch (count sketch, Charikar et al. 2002) keeps distances to some 9 % in a kilobyte, where the model itself, once a client,
/// would be too much for a simulation of thousands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace {
    last: Option<(u32, Box<[f32; SKETCH]>)>,
    /// The longest move a round.
    fastest: f64,
    moves: u32,
}

impl Pace {
    /// Sees the model of `round`; a finding if it has moved out of proportion. A model that did not move says nothing of the pace.
    pub(crate) fn see(&mut self, round: u32, global: &[f32]) -> Option<GuardFinding> {
        let now = sketch(global);
        let (before, last) = self.last.replace((round, now))?;
        let (_, now) = self.last.as_ref()?;
        let moved = norm(last.iter().zip(now.iter()).map(|(a, b)| a - b));
        let rounds = f64::from(round.saturating_sub(before).max(1));
        if moved <= 0.0 || !moved.is_finite() {
            return None;
        }
        let fastest = self.fastest;
        self.fastest = fastest.max(moved / rounds);
        self.moves = self.moves.saturating_add(1);
        let threshold = (PACE * rounds * fastest).max(SHARE * norm(last.iter().copied()));
        (self.moves > MOVES && moved > threshold).then(|| GuardFinding {
            rule: GuardRule::Jump,
            tensor: String::new(),
            value: moved,
            threshold,
        })
    }
}

fn norm(values: impl Iterator<Item = f32>) -> f64 {
    values
        .map(|value| f64::from(value).powi(2))
        .sum::<f64>()
        .sqrt()
}

/// Each coordinate with a sign of its own in a place of its own: sums of squares are kept on average.
fn sketch(values: &[f32]) -> Box<[f32; SKETCH]> {
    let mut sums = Box::new([0.0; SKETCH]);
    for (value, place) in values.iter().zip(0_u64..) {
        // SplitMix64 of the place.
        let mut hash = place.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        hash ^= hash >> 31;
        let signed = if hash & (1 << 32) == 0 {
            *value
        } else {
            -value
        };
        sums[(hash % SKETCH as u64) as usize] += signed;
    }
    sums
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn walk(rng: &mut ChaCha8Rng, model: &mut [f32], step: f32) {
        for value in model {
            *value += step * (rng.random::<f32>() - 0.5);
        }
    }

    #[test]
    fn a_steady_walk_is_not_noticed_and_another_model_is() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut pace = Pace::default();
        let mut model = vec![0.0; 5000];
        walk(&mut rng, &mut model, 0.2);
        let mut round = 1;
        for call in 0..200_u32 {
            // Called now and then; some rounds are abandoned.
            let rounds = 1 + call % 7;
            for _ in 0..rounds {
                let is_abandoned = rng.random::<f32>() < 0.2;
                walk(&mut rng, &mut model, if is_abandoned { 0.0 } else { 0.002 });
            }
            round += rounds;
            assert_eq!(pace.see(round, &model), None);
            assert_eq!(pace.see(round, &model), None, "the same again");
        }
        let other: Vec<f32> = model.iter().rev().map(|value| -value).collect();
        let found = pace.see(round + 1, &other).unwrap();
        assert_eq!(found.rule, GuardRule::Jump);
        assert!(found.value > found.threshold);
    }

    #[test]
    fn distances_are_kept() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        // 256 places: a standard deviation of 9 % of the square, 4.4 % of the distance; five of them but once in a million.
        for length in [300, 10_000] {
            let mut values = vec![0.0; length];
            walk(&mut rng, &mut values, 1.0);
            let exact = norm(values.iter().copied());
            let kept = norm(sketch(&values).iter().copied());
            assert!((kept / exact - 1.0).abs() < 5.0 * 0.044, "{kept} {exact}");
        }
    }
}
