//! What the server can see of each reply without keeping it: how long it is, and whether it points where the others do.
//!
//! The norm is exact. A direction would need all updates at once, n x d floats, of which the plain mean keeps none; so each is
//! reduced to a *count sketch* (Charikar, Chen and Farach-Colton, ICALP 2002; the signs are fully random): 1,024 bins, into
//! which coordinates fall with random signs. Inner products of sketches are unbiased, with a standard error of at most
//! about 1/32 of the product of the lengths; of models of up to 1,024 parameters they are exact. The signs are drawn anew each round.
//!
//! Nothing here changes what the server does.

use std::collections::BTreeMap;

use rand::Rng;

use super::Server;
use crate::error::ClientId;
use crate::streams::{Purpose, Streams};

/// Bins of a sketch.
const BINS: usize = 1024;
/// Lanes of the exact norm, summed apart so that the compiler can use wide registers, in an order that no machine changes.
const LANES: usize = 8;
/// Directions of larger cohorts are not compared: their sketches would take more than 64 MiB.
const MOST_DIRECTIONS: usize = 1 << 14;

/// What the server saw of an accepted reply.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReplyFigures {
    /// Whose.
    pub client: ClientId,
    /// Examples it claims.
    pub examples: u64,
    /// Its mean training loss, unless withheld.
    pub loss: Option<f64>,
    /// Euclidean norm of the update.
    pub norm: f64,
    /// Cosine of the angle between the update and the mean direction of the *other* updates of the round, each taken as long as
    /// any other, so that neither its own length nor that of a few others decides. From sketches: a standard error of about
    /// 0.03 for models of more than 1,024 parameters. `None` for a lone reply, an update of zeros, and cohorts of more than 16,384.
    pub direction: Option<f64>,
}

/// Looks at the replies of a round as they come.
#[derive(Debug, Default)]
pub(super) struct Watch {
    signs: Vec<u32>,
    /// For each stretch of [`BINS`] coordinates, where its signs begin.
    offsets: Vec<usize>,
    with_directions: bool,
    seen: BTreeMap<ClientId, (ReplyFigures, Vec<f32>)>,
}

impl Watch {
    /// Begins a round of so many members.
    pub(super) fn begin(
        &mut self,
        streams: &Streams,
        round: u32,
        parameters: usize,
        cohort: usize,
    ) {
        let mut rng = streams.stream(Purpose::Watch, round, 0);
        self.seen.clear();
        self.with_directions = cohort <= MOST_DIRECTIONS;
        // Two stretches share a bin with signs that are equal or not by chance: each begins elsewhere in the same table.
        self.signs = (0..2 * BINS).map(|_| rng.next_u32() & (1 << 31)).collect();
        let stretches = 0..parameters.div_ceil(BINS);
        self.offsets = stretches.map(|_| rng.next_u32() as usize % BINS).collect();
    }

    /// Looks at an update.
    pub(super) fn look(
        &self,
        client: ClientId,
        examples: u64,
        loss: Option<f64>,
        update: &[f32],
    ) -> Seen {
        let figures = ReplyFigures {
            client,
            examples,
            loss,
            norm: norm(update),
            direction: None,
        };
        let sketch = match self.with_directions {
            true => self.sketch(update),
            false => Vec::new(),
        };
        Seen(figures, sketch)
    }

    /// Remembers what was seen of a reply that was taken.
    pub(super) fn keep(&mut self, seen: Seen) {
        self.seen.insert(seen.0.client, (seen.0, seen.1));
    }

    fn sketch(&self, update: &[f32]) -> Vec<f32> {
        let mut bins = vec![0.0_f32; BINS.min(update.len())];
        for (stretch, offset) in update.chunks(BINS).zip(&self.offsets) {
            let signs = self.signs.get(*offset..).unwrap_or_default();
            for ((bin, value), sign) in bins.iter_mut().zip(stretch).zip(signs) {
                *bin += f32::from_bits(value.to_bits() ^ sign);
            }
        }
        bins
    }

    /// What was seen of all replies, in the order of the roster.
    pub(super) fn end(&mut self) -> Vec<ReplyFigures> {
        let seen = std::mem::take(&mut self.seen);
        let lengths: Vec<f64> = seen.values().map(|(_, sketch)| norm(sketch)).collect();
        let mut total = vec![0.0_f64; seen.values().next().map_or(0, |(_, sketch)| sketch.len())];
        for ((_, sketch), length) in seen.values().zip(&lengths) {
            if *length > 0.0 {
                for (sum, value) in total.iter_mut().zip(sketch) {
                    *sum += f64::from(*value) / length;
                }
            }
        }
        seen.values()
            .zip(lengths)
            .map(|((figures, sketch), length)| ReplyFigures {
                direction: direction(sketch, length, &total),
                ..*figures
            })
            .collect()
    }
}

/// What was seen of one reply.
pub(super) struct Seen(ReplyFigures, Vec<f32>);

/// Cosine between a sketch of this length and the sum of all unit sketches without its own.
fn direction(sketch: &[f32], length: f64, total: &[f64]) -> Option<f64> {
    if length <= 0.0 {
        return None;
    }
    let (mut product, mut square) = (0.0, 0.0);
    for (value, sum) in sketch.iter().zip(total) {
        let own = f64::from(*value) / length;
        let others = sum - own;
        product += own * others;
        square += others * others;
    }
    // What is left of one's own after the subtraction is no direction.
    (square > 1e-12).then(|| (product / square.sqrt()).clamp(-1.0, 1.0))
}

/// Euclidean norm, in double precision.
fn norm(values: &[f32]) -> f64 {
    let mut lanes = [0.0_f64; LANES];
    let (whole, rest) = values.as_chunks::<LANES>();
    for block in whole {
        for (lane, value) in lanes.iter_mut().zip(block) {
            let value = f64::from(*value);
            *lane += value * value;
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        let value = f64::from(*value);
        *lane += value * value;
    }
    lanes.iter().sum::<f64>().sqrt()
}

impl Server {
    /// Lets the server look at each reply, for [`RoundReport::replies`](super::RoundReport::replies). Changes nothing else. Where
    /// the server adds the noise, or updates are masked, nothing is looked at: single updates are not to be told of, or not seen.
    pub fn watch_replies(&mut self) {
        let hidden = self.private.is_some() || self.settings.secure.is_some();
        self.watch = (!hidden).then(Box::default);
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// The same by definition, over whole updates.
    fn exact(updates: &[Vec<f32>]) -> Vec<f64> {
        let unit = |update: &[f32]| -> Vec<f64> {
            let length = norm(update);
            update.iter().map(|v| f64::from(*v) / length).collect()
        };
        let units: Vec<Vec<f64>> = updates.iter().map(|update| unit(update)).collect();
        let cosine = |place: usize| {
            let mut others = vec![0.0; units[0].len()];
            for (_, unit) in units
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != place)
            {
                others.iter_mut().zip(unit).for_each(|(sum, v)| *sum += v);
            }
            let length = others.iter().map(|v| v * v).sum::<f64>().sqrt();
            units[place]
                .iter()
                .zip(&others)
                .map(|(a, b)| a * b)
                .sum::<f64>()
                / length
        };
        (0..units.len()).map(cosine).collect()
    }

    fn seen(updates: &[Vec<f32>], round: u32) -> Vec<ReplyFigures> {
        let mut watch = Watch::default();
        watch.begin(&Streams::new(7), round, updates[0].len(), updates.len());
        // In any order.
        for (client, update) in updates.iter().enumerate().rev() {
            let seen = watch.look(ClientId(client as u32), 3, Some(0.5), update);
            watch.keep(seen);
        }
        watch.end()
    }

    fn updates(parameters: usize) -> Vec<Vec<f32>> {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut draw = || rng.random_range(-1.0_f32..1.0);
        let common: Vec<f32> = (0..parameters).map(|_| draw()).collect();
        let member = |place: usize| -> Vec<f32> {
            let sign = if place == 3 { -1.0 } else { 1.0 };
            common.iter().map(|c| sign * (c + draw())).collect()
        };
        (0..6).map(member).collect()
    }

    #[test]
    fn small_models_are_compared_exactly_and_large_ones_closely() {
        for (parameters, error) in [(5, 1e-6), (1024, 1e-6), (1025, 0.15), (70_000, 0.15)] {
            let updates = updates(parameters);
            for round in 1..6 {
                let found = seen(&updates, round);
                for (figures, cosine) in found.iter().zip(exact(&updates)) {
                    let direction = figures.direction.unwrap();
                    assert!((direction - cosine).abs() < error, "{direction} {cosine}");
                }
                assert!(found[3].direction.unwrap() < -0.5);
            }
        }
    }

    #[test]
    fn lengths_of_others_do_not_count() {
        let mut updates = updates(500);
        let before = seen(&updates, 1);
        updates[0].iter_mut().for_each(|value| *value *= 1e6);
        let after = seen(&updates, 1);
        for (before, after) in before.iter().zip(&after) {
            let (before, after) = (before.direction.unwrap(), after.direction.unwrap());
            assert!((before - after).abs() < 1e-5);
        }
        assert!((after[0].norm / before[0].norm - 1e6).abs() < 1.0);
    }

    #[test]
    fn nothing_to_compare_with_is_no_direction() {
        assert_eq!(seen(&[vec![1.0, 2.0]], 1)[0].direction, None);
        let found = seen(&[vec![3.0, 4.0], vec![0.0, 0.0]], 1);
        assert_eq!((found[0].norm, found[0].direction), (5.0, None));
        assert_eq!((found[1].norm, found[1].direction), (0.0, None));
    }
}
