//! What a rule sees: points that are affine combinations of the round's vectors, known by their distances.
//!
//! Every step before a rule, and every rule that gives a weighted sum, is decided by distances alone. So no vector is
//! touched between the one pass that measures distances and the one that reads the weighted sum: a step maps
//! coefficients to coefficients, and the distances of combinations follow from those of the vectors. For coefficients
//! a and b that each sum to 1, and the squared distances D of the vectors,
//! `|p - q|^2 = -1/2 (a - b)^T D (a - b)`.

use crate::matrix::Square;

/// Vectors that a rule needs beside the rows; they follow the points in every matrix.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extras {
    /// The zero vector: lengths are distances from it.
    pub(crate) origin: bool,
    /// The previous result.
    pub(crate) previous: bool,
    /// The server's own update.
    pub(crate) trusted: bool,
}

impl Extras {
    /// How many there are.
    pub(crate) fn count(self) -> usize {
        usize::from(self.origin) + usize::from(self.previous) + usize::from(self.trusted)
    }
}

/// The points that the next step sees.
#[derive(Clone, Debug)]
pub(crate) struct Points {
    count: usize,
    extras: Extras,
    /// Each point over the rows and extras; `None` while the points are the rows.
    mixing: Option<Vec<Vec<f64>>>,
    /// The point of each row.
    owner: Vec<usize>,
    /// Squared distances of points and extras.
    distances: Square,
    /// Squared distances of rows and extras.
    basis: Square,
}

impl Points {
    /// The rows themselves. `distances` holds the squared distances of rows and extras, or nothing where neither steps
    /// nor rule need them.
    pub(crate) fn new(rows: usize, extras: Extras, distances: Option<Square>) -> Self {
        let distances = distances.unwrap_or_else(|| Square::zeros(0));
        Self {
            count: rows,
            extras,
            mixing: None,
            owner: (0..rows).collect(),
            basis: distances.clone(),
            distances,
        }
    }

    /// How many points there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Each point over rows and extras; `None` while the points are the rows.
    pub(crate) fn mixing(&self) -> Option<&[Vec<f64>]> {
        self.mixing.as_deref()
    }

    /// The point that each row became, alone or with others.
    pub(crate) fn owner(&self) -> &[usize] {
        &self.owner
    }

    /// Squared distances of points and extras.
    pub(crate) fn distances(&self) -> &Square {
        &self.distances
    }

    /// The place of the zero vector among points and extras.
    pub(crate) fn origin(&self) -> usize {
        self.count
    }

    /// The place of the previous result.
    pub(crate) fn previous(&self) -> usize {
        self.count + usize::from(self.extras.origin)
    }

    /// The place of the server's own update.
    pub(crate) fn trusted(&self) -> usize {
        self.previous() + usize::from(self.extras.previous)
    }

    /// Points and extras.
    pub(crate) fn places(&self) -> usize {
        self.count + self.extras.count()
    }

    /// Length of point `point`.
    pub(crate) fn length(&self, point: usize) -> f64 {
        self.distances.at(point, self.origin()).sqrt()
    }

    /// Lengths of all points.
    pub(crate) fn lengths(&self) -> Vec<f64> {
        (0..self.count).map(|point| self.length(point)).collect()
    }

    /// Inner product of two places, from their lengths and their distance.
    pub(crate) fn inner(&self, left: usize, right: usize) -> f64 {
        let (distances, origin) = (&self.distances, self.origin());
        0.5 * (distances.at(left, origin) + distances.at(right, origin) - distances.at(left, right))
    }

    /// Cosine of two places; 0 where one is the zero vector.
    pub(crate) fn cosine(&self, left: usize, right: usize) -> f64 {
        let lengths = (self.distances.at(left, self.origin())
            * self.distances.at(right, self.origin()))
        .sqrt();
        if lengths > 0.0 {
            (self.inner(left, right) / lengths).clamp(-1.0, 1.0)
        } else {
            0.0
        }
    }

    /// A combination of points and extras as one of rows and extras.
    pub(crate) fn over_basis(&self, combination: &[f64]) -> Vec<f64> {
        let Some(mixing) = &self.mixing else {
            return combination.to_vec();
        };
        let rows = self.owner.len();
        let mut sum = vec![0.0; rows + self.extras.count()];
        for (&weight, point) in combination.iter().zip(mixing) {
            if weight != 0.0 {
                for (sum, value) in sum.iter_mut().zip(point) {
                    *sum += weight * value;
                }
            }
        }
        for (sum, weight) in sum[rows..].iter_mut().zip(&combination[self.count..]) {
            *sum += weight;
        }
        sum
    }

    /// Puts combinations of points and extras, whose coefficients sum to 1, in the place of the points. `owner` gives
    /// the new point of each old one; left out, each stays its own.
    pub(crate) fn replace(&mut self, combinations: &[Vec<f64>], owner: Option<&[usize]>) {
        let mixing: Vec<Vec<f64>> = combinations.iter().map(|c| self.over_basis(c)).collect();
        if let Some(owner) = owner {
            for row in &mut self.owner {
                *row = owner[*row];
            }
        }
        self.count = mixing.len();
        if self.basis.n() > 0 {
            self.distances = distances_of(&self.with_extras(&mixing), &self.basis);
        }
        self.mixing = Some(mixing);
    }

    /// The extras as combinations behind those of the points.
    fn with_extras(&self, mixing: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let rows = self.owner.len();
        let places = rows + self.extras.count();
        let extras = (rows..places).map(|extra| {
            let mut unit = vec![0.0; places];
            unit[extra] = 1.0;
            unit
        });
        mixing.iter().cloned().chain(extras).collect()
    }

    /// The same combinations of other vectors, whose squared distances are `basis`.
    pub(crate) fn measured_by(&self, basis: Square) -> Self {
        let distances = match &self.mixing {
            Some(mixing) => distances_of(&self.with_extras(mixing), &basis),
            None => basis.clone(),
        };
        Self {
            distances,
            basis,
            ..self.clone()
        }
    }
}

/// Squared distances of combinations (coefficients summing to 1) of vectors with the squared distances `basis`.
fn distances_of(combinations: &[Vec<f64>], basis: &Square) -> Square {
    let count = combinations.len();
    let images: Vec<Vec<f64>> = combinations.iter().map(|c| image(c, basis)).collect();
    // The same bits on both sides of the diagonal and, for equal combinations, a distance of exactly 0.
    let mut inner = Square::zeros(count);
    for (left, combination) in combinations.iter().enumerate() {
        for (right, image) in images[..=left].iter().enumerate() {
            let value = dot(combination, image);
            inner.row_mut(left)[right] = value;
            inner.row_mut(right)[left] = value;
        }
    }
    Square::from_fn(count, |left, right| {
        let both = 0.5 * inner.at(left, left) + 0.5 * inner.at(right, right);
        (inner.at(left, right) - both).max(0.0)
    })
}

/// `basis` times the combination.
fn image(combination: &[f64], basis: &Square) -> Vec<f64> {
    let mut image = vec![0.0; basis.n()];
    for (at, &weight) in combination.iter().enumerate() {
        if weight != 0.0 {
            for (image, value) in image.iter_mut().zip(basis.row(at)) {
                *image += weight * value;
            }
        }
    }
    image
}

fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(l, r)| l * r).sum()
}

/// Squared distances of every vector to one combination (coefficients summing to 1) of them.
pub(crate) fn distances_to(combination: &[f64], distances: &Square) -> Vec<f64> {
    let image = image(combination, distances);
    let half = 0.5 * dot(combination, &image);
    image.into_iter().map(|to| (to - half).max(0.0)).collect()
}

/// Squared length of a difference: a combination whose coefficients sum to 0.
pub(crate) fn squared_length(difference: &[f64], distances: &Square) -> f64 {
    (-0.5 * dot(difference, &image(difference, distances))).max(0.0)
}
