//! Mimic: all attackers send the update of one honest client, so that it counts too often (Karimireddy, He and Jaggi
//! 2022, "Byzantine-robust learning on heterogeneous datasets via bucketing", appendix B).

use cloister_robust::Square;

use crate::memory::Memory;
use crate::updates::statistics::{centred_gram, mean as mean_of};

/// Iterations towards the top eigenvector of an n x n matrix.
const ITERATIONS: u32 = 200;

/// Takes a round into the warm-up and gives the client to mimic in it, for `rounds` rounds: with z the running top direction of the honest
/// updates less their running mean, the client i with the largest z.x_i. After the warm-up the choice stays.
///
/// In round t + 1, mean <- (t mean + mean of the round) / (t + 1), and z <- (t z + v) / (t + 1), of unit length, where
/// v is the round's own top direction. The authors take one power step from a random vector for v; here it is iterated
/// to the end, on the n x n inner products, so that nothing is left to chance. The sign of the first v is such that the
/// client it points at is the one farthest along it.
pub(crate) fn warm_up(memory: &mut Memory, rounds: u32, rows: &[&[f32]], clients: &[u32]) {
    if rows.is_empty() || memory.warmed_up >= rounds {
        return;
    }
    let (t, next) = (
        f64::from(memory.warmed_up),
        f64::from(memory.warmed_up) + 1.0,
    );
    let mut mean = mean_of(rows);
    if let Some(last) = &memory.mean {
        for (mean, last) in mean.iter_mut().zip(last) {
            *mean = (t * f64::from(*last) + *mean) / next;
        }
    }
    let mut direction = top_direction(rows, &mean);
    if let Some(last) = &memory.direction {
        let sign = if along(last, &direction) < 0.0 {
            -1.0
        } else {
            1.0
        };
        for (z, last) in direction.iter_mut().zip(last) {
            *z = (t * f64::from(*last) + sign * *z) / next;
        }
        normalise(&mut direction);
    }
    memory.mimicked = Some(clients[farthest_along(&direction, rows)]);
    memory.mean = Some(mean.iter().map(|v| *v as f32).collect());
    memory.direction = Some(direction.iter().map(|v| *v as f32).collect());
    memory.warmed_up += 1;
}

/// Which of `rows` (at least one) is sent: the mimicked client's, or, when it is not in this cohort, the one farthest
/// along the direction.
pub(crate) fn chosen(memory: &Memory, rows: &[&[f32]], clients: &[u32]) -> usize {
    let mimicked = clients
        .iter()
        .position(|client| Some(*client) == memory.mimicked);
    mimicked.unwrap_or_else(|| {
        let direction = memory.direction.as_deref().unwrap_or_default();
        let direction: Vec<f64> = direction.iter().map(|z| f64::from(*z)).collect();
        farthest_along(&direction, rows)
    })
}

fn along(row: &[f32], direction: &[f64]) -> f64 {
    let each = row.iter().zip(direction);
    each.map(|(value, z)| f64::from(*value) * z).sum()
}

/// The row with the largest inner product, the first of equals.
fn farthest_along(direction: &[f64], rows: &[&[f32]]) -> usize {
    let mut best = (f64::NEG_INFINITY, 0);
    for (place, row) in rows.iter().enumerate() {
        let along = along(row, direction);
        if along > best.0 {
            best = (along, place);
        }
    }
    best.1
}

/// The unit vector along which the rows less `mean` have the largest sum of squares, pointing to the row that is
/// farthest along it. Zeros if there is no spread.
fn top_direction(rows: &[&[f32]], mean: &[f64]) -> Vec<f64> {
    let gram = centred_gram(rows, mean);
    let weights = top_eigenvector(&gram);
    let mut direction = vec![0.0; mean.len()];
    for (weight, row) in weights.iter().zip(rows) {
        for ((sum, value), mean) in direction.iter_mut().zip(*row).zip(mean) {
            *sum += weight * (f64::from(*value) - mean);
        }
    }
    normalise(&mut direction);
    direction
}

/// Power iteration from the row of the largest diagonal entry. Its sign is such that the entry of largest magnitude,
/// the first of equals, is positive.
fn top_eigenvector(gram: &Square) -> Vec<f64> {
    let n = gram.n();
    let mut start = 0;
    for row in 1..n {
        if gram.at(row, row) > gram.at(start, start) {
            start = row;
        }
    }
    let mut vector = gram.row(start).to_vec();
    for _ in 0..ITERATIONS {
        normalise(&mut vector);
        let times = |row: usize| gram.row(row).iter().zip(&vector).map(|(a, b)| a * b).sum();
        vector = (0..n).map(times).collect();
    }
    normalise(&mut vector);
    let mut largest = 0.0_f64;
    for value in &vector {
        if value.abs() > largest.abs() {
            largest = *value;
        }
    }
    if largest < 0.0 {
        vector.iter_mut().for_each(|value| *value = -*value);
    }
    vector
}

fn normalise(vector: &mut [f64]) {
    let length = vector.iter().map(|v| v * v).sum::<f64>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|v| *v /= length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_farthest_along_the_widest_direction_is_mimicked() {
        // The spread is widest along the first coordinate, and client 9 is farthest from the mean.
        let rows: [&[f32]; 4] = [
            &[-1.0, 0.1, 5.0],
            &[5.0, 0.0, 5.0],
            &[-2.0, -0.1, 5.0],
            &[-2.0, 0.3, 5.0],
        ];
        let mut memory = Memory::default();
        warm_up(&mut memory, 1, &rows, &[7, 9, 2, 3]);
        let found = memory.clone();
        assert_eq!((found.mimicked, found.warmed_up), (Some(9), 1));
        assert_eq!(found.mean.as_deref(), Some(&[0.0, 0.075, 5.0][..]));
        assert!(found.direction.as_ref().unwrap()[0] > 0.99, "{found:?}");
        // Warm-up is over: another round changes nothing.
        warm_up(&mut memory, 1, &rows[2..], &[2, 3]);
        assert_eq!(memory, found);
        assert_eq!(chosen(&found, &rows, &[7, 9, 2, 3]), 1);
        // Without client 9, the farthest along the direction of the rest.
        assert_eq!(chosen(&found, &[rows[2], rows[0]], &[2, 7]), 1);
    }

    /// Against the definition: the top eigenvector of the d x d scatter matrix, by its own power iteration.
    #[test]
    fn the_direction_is_the_top_eigenvector_of_the_scatter() {
        let row = |i: usize| {
            (0..6)
                .map(|j| ((i * i + 3 * j) as f32).sin())
                .collect::<Vec<f32>>()
        };
        let rows: Vec<Vec<f32>> = (0..9).map(row).collect();
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let mean = mean_of(&rows);
        let centred = |row: &[f32], j: usize| f64::from(row[j]) - mean[j];
        let mut z = vec![1.0; 6];
        for _ in 0..2000 {
            let mut next = vec![0.0; 6];
            for row in &rows {
                let along: f64 = (0..6).map(|j| centred(row, j) * z[j]).sum();
                (0..6).for_each(|j| next[j] += along * centred(row, j));
            }
            normalise(&mut next);
            z = next;
        }
        let got = top_direction(&rows, &mean);
        let agree: f64 = got.iter().zip(&z).map(|(a, b)| a * b).sum();
        assert!(agree.abs() > 1.0 - 1e-6, "{agree}");
    }

    /// Two rounds spread along different axes: the running direction lies between them.
    #[test]
    fn a_longer_warm_up_averages_over_rounds() {
        let first: [&[f32]; 2] = [&[1.0, 0.0], &[-1.0, 0.0]];
        let second: [&[f32]; 2] = [&[0.0, 3.0], &[0.0, -3.0]];
        let mut memory = Memory::default();
        warm_up(&mut memory, 2, &first, &[0, 1]);
        warm_up(&mut memory, 2, &second, &[0, 1]);
        assert_eq!((memory.warmed_up, memory.mean), (2, Some(vec![0.0, 0.0])));
        let half = 0.5_f32.sqrt();
        let direction = memory.direction.unwrap();
        assert!(direction.iter().all(|z| (z.abs() - half).abs() < 1e-6));
    }

    #[test]
    fn equal_updates_leave_the_first_client() {
        let rows: [&[f32]; 2] = [&[1.0, 2.0]; 2];
        let mut memory = Memory::default();
        warm_up(&mut memory, 1, &rows, &[4, 5]);
        assert_eq!(memory.mimicked, Some(4));
        let mut nobody = Memory::default();
        warm_up(&mut nobody, 1, &[], &[]);
        assert_eq!(nobody, Memory::default());
    }
}
