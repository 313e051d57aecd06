//! Squared distances of the round's vectors, in one pass over them.
//!
//! `|x - y|^2 = |x - c|^2 + |y - c|^2 - 2 <x - c, y - c>` with c in the middle: inner products cost half of what
//! differences cost and stream well, but lose digits where two vectors are much closer to each other than to c. Such
//! pairs are measured again around one of them, in `f64`; copies then have a distance of exactly 0, however many there
//! are, at the price of one more pass over them.

mod stripe;

use std::marker::PhantomData;

use crate::kernels;
use crate::matrix::Square;
use crate::scalar::Scalar;
use crate::workers::Workers;
use stripe::{Centre, Partial, Stripe};

pub(crate) use stripe::Vector;

/// A squared distance below this share of the two squared lengths has lost digits.
const CANCELLED: f64 = 1e-3;
/// How often pairs that cancel are measured around a nearer centre. In `f64` the second time settles all pairs of
/// `f32` vectors: their differences are at least 2^-24 of the values, those of a cluster below 2^-5.
const REFINEMENTS: u32 = 2;
/// Columns of a stripe are a multiple of this.
const UNIT: usize = 4096;
/// Bytes that the inner products of all stripes may take.
const BYTES: usize = 4 << 20;

/// A value that cannot be used is among the vectors; where, is for the caller to find.
pub(crate) struct Unusable;

/// Squared distances of `vectors`, each of `columns` values. The bits do not depend on the number of threads.
pub(crate) fn squared_distances<T: Scalar>(
    vectors: &[Vector<'_, T>],
    columns: usize,
    workers: &Workers,
) -> Result<Square, Unusable> {
    let count = vectors.len();
    let (mut gram, largest) = gram::<T, T>(vectors, columns, Centre::Middle, workers);
    if largest >= T::REFUSED {
        return Err(Unusable);
    }
    if !T::squares_fit(largest) {
        gram = self::gram::<T, f64>(vectors, columns, Centre::Middle, workers).0;
    }
    let mut distances = Square::zeros(count);
    let all: Vec<usize> = (0..count).collect();
    for close in settle(&gram, &all, &mut distances) {
        refine(
            vectors,
            columns,
            &close,
            &mut distances,
            REFINEMENTS,
            workers,
        );
    }
    Ok(distances)
}

/// Measures the pairs among `members` around the first of them.
fn refine<T: Scalar>(
    vectors: &[Vector<'_, T>],
    columns: usize,
    members: &[usize],
    distances: &mut Square,
    left: u32,
    workers: &Workers,
) {
    if left == 0 {
        return;
    }
    let some: Vec<Vector<'_, T>> = members.iter().map(|&member| vectors[member]).collect();
    let (gram, _) = gram::<T, f64>(&some, columns, Centre::Vector(0), workers);
    for close in settle(&gram, members, distances) {
        refine(vectors, columns, &close, distances, left - 1, workers);
    }
}

/// Enters the distances that `gram` gives for `members`, and returns the groups of those whose distances cancelled.
fn settle(gram: &[f64], members: &[usize], distances: &mut Square) -> Vec<Vec<usize>> {
    let count = members.len();
    let mut group: Vec<usize> = (0..count).collect();
    for i in 0..count {
        for j in 0..i {
            let lengths = gram[i * count + i] + gram[j * count + j];
            let distance = (lengths - 2.0 * gram[i * count + j]).max(0.0);
            distances.row_mut(members[i])[members[j]] = distance;
            distances.row_mut(members[j])[members[i]] = distance;
            if distance < CANCELLED * lengths {
                let (low, high) = (group[i].min(group[j]), group[i].max(group[j]));
                if low != high {
                    for group in &mut group {
                        if *group == high {
                            *group = low;
                        }
                    }
                }
            }
        }
    }
    (0..count)
        .map(|first| {
            let same = (0..count).filter(|&at| group[at] == first);
            same.map(|at| members[at]).collect::<Vec<_>>()
        })
        .filter(|members| members.len() > 1)
        .collect()
}

/// Inner products (lower triangle, row by row) of the centred vectors with products in `F`, and the largest magnitude.
fn gram<T: Scalar, F: Scalar>(
    vectors: &[Vector<'_, T>],
    columns: usize,
    centre: Centre,
    workers: &Workers,
) -> (Vec<f64>, T::Magnitude) {
    let count = vectors.len();
    let most = (BYTES / (8 * count * count).max(1)).clamp(4, 64);
    let length = columns.div_ceil(most).next_multiple_of(UNIT).max(UNIT);
    let partials: Vec<Partial<T>> = workers.map(columns.div_ceil(length), |part| {
        let start = part * length;
        kernels::call(Stripe {
            vectors,
            columns: start..(start + length).min(columns),
            centre,
            working: PhantomData::<F>,
        })
    });
    let mut sum = vec![0.0; count * count];
    let mut largest = T::Magnitude::default();
    for partial in partials {
        for (sum, value) in sum.iter_mut().zip(&partial.gram) {
            *sum += value;
        }
        largest = largest.max(partial.largest);
    }
    (sum, largest)
}
