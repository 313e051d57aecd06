//! Privacy losses on a grid: connect-the-dots (Doroshenko et al., arXiv 2207.04380).
//!
//! The mass of each cell of the grid goes to the two ends of the cell so that both P's and Q's mass stay what they are.
//! That is the least pessimistic distribution on the grid, and it is the same for (P, Q) and for (Q, P). In this form no
//! term is negative and no second difference is taken.

use super::pair::{Atom, Density, Pair};
use crate::special::{exp, expm1, ln};

/// Longest distribution on a grid.
const LARGEST_SUPPORT: i64 = 1 << 22;

/// The losses of one release: mass at multiples of the step, and at infinity.
#[derive(Clone, Debug)]
pub(crate) struct LossPmf {
    pub(crate) step: f64,
    /// Multiple of the step at which the masses begin.
    pub(crate) first: i64,
    pub(crate) mass: Vec<f64>,
    pub(crate) infinite: f64,
    /// What would be at infinity in the other order of the pair.
    pub(crate) infinite_swapped: f64,
    /// Whether the other order is the same.
    pub(crate) symmetric: bool,
}

/// Why there is no distribution on a grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPmf {
    /// The losses reach over too many steps.
    TooLong,
    /// Losses too large for floating-point numbers have more than the allowed mass.
    TooLarge,
}

/// Puts a pair on a grid. Tails of mass `tail` are cut; `most_lost` is the mass that may be lost in all.
pub(crate) fn discretise(
    pair: &Pair,
    step: f64,
    tail: f64,
    most_lost: f64,
) -> Result<LossPmf, NoPmf> {
    let mut grid = Grid {
        step,
        tail,
        most_lost,
        first: 0,
        mass: Vec::new(),
        lost: (0.0, 0.0),
        up: -1.0 / expm1(-step),
        down: 1.0 / expm1(step),
    };
    grid.pair(pair, 1.0)?;
    let (first, mut mass) = trimmed(grid.first, grid.mass);
    // What rounding has taken in all is given back.
    let rounded = (1.0 - grid.lost.0) / mass.iter().sum::<f64>();
    if rounded > 1.0 {
        mass.iter_mut().for_each(|mass| *mass *= rounded);
    }
    Ok(LossPmf {
        step,
        first,
        mass,
        infinite: grid.lost.0,
        infinite_swapped: grid.lost.1,
        symmetric: pair.is_symmetric(),
    })
}

/// Without the zeros at both ends.
fn trimmed(first: i64, mut mass: Vec<f64>) -> (i64, Vec<f64>) {
    let kept = mass
        .iter()
        .rposition(|&mass| mass > 0.0)
        .map_or(0, |at| at + 1);
    mass.truncate(kept);
    let zeros = mass.iter().take_while(|&&mass| mass == 0.0).count();
    mass.drain(..zeros);
    (first + zeros as i64, mass)
}

struct Grid {
    step: f64,
    tail: f64,
    most_lost: f64,
    first: i64,
    mass: Vec<f64>,
    /// Of P and of Q.
    lost: (f64, f64),
    up: f64,
    down: f64,
}

impl Grid {
    fn pair(&mut self, pair: &Pair, weight: f64) -> Result<(), NoPmf> {
        match pair {
            Pair::Sampled(pair) => self.density(pair, weight),
            Pair::Replaced(pair) => self.density(pair, weight),
            Pair::Laplace(pair) => {
                self.atoms(&pair.atoms(), weight)?;
                self.density(pair, weight)
            }
            Pair::Discrete(pair) => {
                self.lose((pair.lost, pair.lost), weight)?;
                self.atoms(&pair.atoms, weight)
            }
            Pair::Mixture(parts) => parts
                .iter()
                .try_for_each(|(share, pair)| self.pair(pair, weight * share)),
        }
    }

    fn lose(&mut self, (p, q): (f64, f64), weight: f64) -> Result<(), NoPmf> {
        self.lost.0 += weight * p;
        self.lost.1 += weight * q;
        if self.lost.0.max(self.lost.1) > self.most_lost {
            return Err(NoPmf::TooLarge);
        }
        Ok(())
    }

    /// Makes room for the cells from that of one loss to that of another.
    fn reserve(&mut self, low: f64, high: f64) -> Result<(i64, i64), NoPmf> {
        let (low, high) = ((low / self.step).floor(), (high / self.step).floor());
        let limit = LARGEST_SUPPORT as f64;
        if !(low.abs() < 1e15 && high.abs() < 1e15 && high - low < limit) {
            return Err(NoPmf::TooLong);
        }
        let (low, high) = (low as i64, high as i64);
        if self.mass.is_empty() {
            self.first = low;
        }
        let before = (self.first - low).max(0);
        let end = (self.first + self.mass.len() as i64).max(high + 2);
        self.first -= before;
        if end - self.first > LARGEST_SUPPORT {
            return Err(NoPmf::TooLong);
        }
        self.mass
            .splice(..0, std::iter::repeat_n(0.0, before as usize));
        self.mass.resize((end - self.first) as usize, 0.0);
        Ok((low, high))
    }

    fn atoms(&mut self, atoms: &[Atom], weight: f64) -> Result<(), NoPmf> {
        let least = atoms
            .iter()
            .map(|atom| atom.loss)
            .fold(f64::INFINITY, f64::min);
        let most = atoms
            .iter()
            .map(|atom| atom.loss)
            .fold(f64::NEG_INFINITY, f64::max);
        self.reserve(least, most)?;
        for atom in atoms {
            let cell = (atom.loss / self.step).floor();
            let above = (atom.loss - cell * self.step).clamp(0.0, self.step);
            let at = (cell as i64 - self.first) as usize;
            self.mass[at] += weight * atom.mass * expm1(self.step - above) * self.down;
            self.mass[at + 1] -= weight * atom.mass * expm1(-above) * self.up;
        }
        Ok(())
    }

    fn density<D: Density>(&mut self, pair: &D, weight: f64) -> Result<(), NoPmf> {
        let (low, high) = pair.safe_range(self.tail);
        if pair.atoms().is_empty() {
            let (below, above) = (pair.below(low), pair.above(high));
            self.lose((below.0 + above.0, below.1 + above.1), weight)?;
        }
        let (cell, last) = self.reserve(pair.loss(low), pair.loss(high))?;
        let mut left = low;
        let mut here = expm1(cell as f64 * self.step);
        for cell in cell..=last {
            let end = (cell + 1) as f64 * self.step;
            let right = if cell == last {
                high
            } else {
                pair.point(end).clamp(left, high)
            };
            let next = expm1(end);
            let (down, up) = pair.split((left, right), (here, next));
            let at = (cell - self.first) as usize;
            self.mass[at] += weight * (down * self.down).max(0.0);
            self.mass[at + 1] += weight * (up * self.up).max(0.0);
            (left, here) = (right, next);
        }
        Ok(())
    }
}

impl LossPmf {
    /// The losses of (Q, P): `e^-loss` times the mass, at the opposite loss.
    pub(crate) fn swapped(&self) -> Self {
        let losses = (self.first..).map(|at| at as f64 * self.step);
        let mut mass: Vec<f64> = self
            .mass
            .iter()
            .zip(losses)
            .map(|(mass, loss)| mass * exp(-loss))
            .collect();
        mass.reverse();
        Self {
            step: self.step,
            first: -(self.first + self.mass.len() as i64 - 1),
            mass,
            infinite: self.infinite_swapped,
            infinite_swapped: self.infinite,
            symmetric: self.symmetric,
        }
    }

    /// The loss at which the masses begin.
    pub(crate) fn low(&self) -> f64 {
        self.first as f64 * self.step
    }

    /// `ln E e^(theta loss)` over the finite losses.
    pub(crate) fn ln_moment(&self, theta: f64) -> f64 {
        let range = (self.mass.len() as f64 - 1.0) * self.step;
        let anchor = if theta > 0.0 { range } else { 0.0 };
        theta * (self.low() + anchor)
            + ln(weighted_sum(&self.mass, theta * self.step, -theta * anchor))
    }

    /// The masses times `e^(theta loss)`, brought to sum to 1.
    pub(crate) fn tilted(&self, theta: f64) -> Vec<f64> {
        let rate = theta * self.step;
        let shift = theta * self.low() - self.ln_moment(theta);
        let mut tilted = self.mass.clone();
        if rate * BLOCK as f64 > 300.0 {
            for (at, mass) in tilted.iter_mut().enumerate() {
                *mass *= exp(shift + rate * at as f64);
            }
            return tilted;
        }
        let powers = powers(rate);
        for (block, chunk) in tilted.chunks_mut(BLOCK).enumerate() {
            let from = exp(shift + rate * (block * BLOCK) as f64);
            for (mass, power) in chunk.iter_mut().zip(&powers) {
                *mass *= from * power;
            }
        }
        tilted
    }
}

const BLOCK: usize = 64;

fn powers(rate: f64) -> [f64; BLOCK] {
    std::array::from_fn(|at| exp(rate * at as f64))
}

/// `sum_i mass_i e^(shift + rate i)`.
pub(crate) fn weighted_sum(mass: &[f64], rate: f64, shift: f64) -> f64 {
    if rate.abs() * BLOCK as f64 > 300.0 {
        let terms = mass.iter().enumerate().filter(|(_, mass)| **mass > 0.0);
        return terms
            .map(|(at, mass)| mass * exp(shift + rate * at as f64))
            .sum();
    }
    let powers = powers(rate);
    let (blocks, rest) = mass.as_chunks::<BLOCK>();
    let of_block = |block: usize| exp(shift + rate * (block * BLOCK) as f64);
    let mut sum = 0.0;
    for (at, block) in blocks.iter().enumerate() {
        let mut lanes = [0.0; 8];
        for (masses, powers) in block
            .as_chunks::<8>()
            .0
            .iter()
            .zip(powers.as_chunks::<8>().0)
        {
            for ((lane, mass), power) in lanes.iter_mut().zip(masses).zip(powers) {
                *lane += mass * power;
            }
        }
        let lanes: f64 = lanes.iter().sum();
        if lanes > 0.0 {
            sum += of_block(at) * lanes;
        }
    }
    let last: f64 = rest
        .iter()
        .zip(&powers)
        .map(|(mass, power)| mass * power)
        .sum();
    if last > 0.0 {
        sum += of_block(blocks.len()) * last;
    }
    sum
}
