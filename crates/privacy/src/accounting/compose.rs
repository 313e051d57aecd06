//! Composition of privacy-loss distributions by Fourier transforms.
//!
//! Each distribution is tilted by `e^(theta loss)` before it is transformed and the product is tilted back. With theta at
//! the saddle point of the wanted delta the tail that matters becomes the bulk of what is transformed: rounding and the
//! mass that wraps around are small beside delta, not beside 1, however small delta is.

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};

use super::Side;
use super::account::Release;
use super::pair::Pair;
use super::pmf::{BothPmfs, LossPmf, NoPmf, discretise, weighted_sum};
use crate::special::{exp, expm1, ln, ln_1p};

/// Longest transform.
const LARGEST_POINTS: usize = 1 << 21;
/// Tilted mass that may lie outside of the window, on both sides together.
const OUTSIDE: f64 = 1e-13;
/// Transformed releases that are kept for another multiplication.
const RECENT: usize = 4;
/// Coefficients of the transformed composition below this are left out.
const SMALLEST: f64 = 1e-22;

/// What is composed: a release, or all Gaussians as one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Gaussian(f64),
    Release(Release),
}

impl Kind {
    fn pair(&self, tail: f64) -> Option<Pair> {
        match self {
            Self::Gaussian(mu) => Some(Pair::gaussian(*mu)),
            Self::Release(release) => Pair::of(release, tail),
        }
    }
}

/// How a composition is laid out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// Step of the grid of losses.
    pub(crate) step: f64,
    /// The tilt, from 0.
    pub(crate) theta: f64,
    /// Mass of each tail that one release may lose.
    pub(crate) tail: f64,
    /// Mass that one release may lose in all before it is given up.
    pub(crate) most_lost: f64,
}

/// Why a composition cannot be laid out so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Obstacle {
    /// The grid would have to be so many times coarser.
    TooFine(f64),
    /// Losses are too large for floating-point numbers.
    TooLarge,
    /// There is no distribution of the losses of a release.
    NoPair,
}

impl From<NoPmf> for Obstacle {
    fn from(reason: NoPmf) -> Self {
        match reason {
            NoPmf::TooLong => Self::TooFine(4.0),
            NoPmf::TooLarge => Self::TooLarge,
        }
    }
}

/// A number that a composition gives, and what of the chance was spent on errors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) value: f64,
    pub(crate) slack: f64,
    pub(crate) side: Side,
}

/// One release, tilted, and what of it adds up under composition.
struct Tilted {
    mass: Vec<f64>,
    first: i64,
    ln_moment: f64,
    ln_finite: f64,
    mean: f64,
    variance: f64,
}

impl Tilted {
    fn new(pmf: &LossPmf, theta: f64) -> Self {
        let mass = pmf.tilted(theta);
        let at = |place: usize| (pmf.first + place as i64) as f64 * pmf.step;
        let total: f64 = mass.iter().sum();
        let mean = mass.iter().enumerate().map(|(i, m)| m * at(i)).sum::<f64>() / total;
        let squares = mass
            .iter()
            .enumerate()
            .map(|(i, m)| m * (at(i) - mean).powi(2));
        Self {
            ln_moment: pmf.ln_moment(theta),
            ln_finite: ln_1p(-pmf.infinite.min(1.0)),
            first: pmf.first,
            mean,
            variance: squares.sum::<f64>() / total,
            mass,
        }
    }

    fn last(&self) -> i64 {
        self.first + self.mass.len() as i64 - 1
    }

    /// `ln E e^(s loss)` under the tilt.
    fn ln_moment_at(&self, s: f64, step: f64) -> f64 {
        let length = self.mass.len() as f64 - 1.0;
        let anchor = if s > 0.0 { length } else { 0.0 };
        s * step * (self.first as f64 + anchor)
            + ln(weighted_sum(&self.mass, s * step, -s * step * anchor))
    }
}

/// What adds up under composition, of one release or of all.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    /// `ln E e^(theta loss)`.
    ln_moment: f64,
    /// The same under the tilt at the two exponents of the window.
    ln_up: f64,
    ln_down: f64,
    /// Logarithm of the chance of a finite loss.
    ln_finite: f64,
    /// Places on the grid: the origin of the transform, the least and the largest loss.
    centre: f64,
    least: f64,
    most: f64,
}

impl Sums {
    fn add(&mut self, other: &Self, count: f64) {
        self.ln_moment += count * other.ln_moment;
        self.ln_up += count * other.ln_up;
        self.ln_down += count * other.ln_down;
        self.ln_finite += count * other.ln_finite;
        self.centre += count * other.centre;
        self.least += count * other.least;
        self.most += count * other.most;
    }
}

/// One release, transformed.
struct Factor {
    sums: Sums,
    spectrum: Vec<Complex<f64>>,
}

/// The exponents of Chernoff's bounds on the window.
#[derive(Clone, Copy, Debug)]
struct Exponents {
    up: f64,
    down: f64,
}

struct OneSide {
    side: Side,
    exponents: Exponents,
    sums: Sums,
    product: Vec<Complex<f64>>,
}

/// Releases multiplied together, on one or both sides.
pub(crate) struct Composition {
    layout: Layout,
    points: usize,
    sides: Vec<OneSide>,
    forward: Arc<dyn RealToComplex<f64>>,
    inverse: Arc<dyn ComplexToReal<f64>>,
    recent: Vec<(Kind, Vec<Factor>)>,
    /// Releases so far.
    steps: f64,
}

impl Composition {
    /// An empty composition with room for these releases, so many times each.
    pub(crate) fn plan(parts: &[(Kind, u64)], layout: Layout) -> Result<Self, Obstacle> {
        let mut both = Vec::with_capacity(parts.len());
        for (kind, count) in parts {
            let pmfs = pmfs(kind, &layout)?;
            let remove = Tilted::new(&pmfs.remove, layout.theta);
            let add = pmfs.add.map(|pmf| Tilted::new(&pmf, layout.theta));
            both.push((*count as f64, remove, add));
        }
        let symmetric = both.iter().all(|(_, _, add)| add.is_none());
        let remove: Vec<(f64, &Tilted)> = both.iter().map(|(n, remove, _)| (*n, remove)).collect();
        let mut sides = vec![(if symmetric { Side::Both } else { Side::Remove }, remove)];
        if !symmetric {
            let add = both
                .iter()
                .map(|(n, remove, add)| (*n, add.as_ref().unwrap_or(remove)))
                .collect();
            sides.push((Side::Add, add));
        }
        let step = layout.step;
        let mut needed = 0.0_f64;
        let mut planned = Vec::new();
        for (side, parts) in sides {
            let exponents = exponents(&parts, step);
            let mut sums = Sums::default();
            for (count, part) in &parts {
                sums.add(&part.sums(exponents, step), *count);
            }
            let (low, high) = window(&sums, exponents, step);
            needed = needed.max(high - low + 2.0);
            planned.push((side, exponents));
        }
        if needed > LARGEST_POINTS as f64 {
            return Err(Obstacle::TooFine(needed / LARGEST_POINTS as f64));
        }
        let points = smooth_length(needed as usize);
        let mut planner = RealFftPlanner::new();
        let ones = vec![Complex::new(1.0, 0.0); points / 2 + 1];
        Ok(Self {
            layout,
            points,
            forward: planner.plan_fft_forward(points),
            inverse: planner.plan_fft_inverse(points),
            sides: planned
                .into_iter()
                .map(|(side, exponents)| OneSide {
                    side,
                    exponents,
                    sums: Sums::default(),
                    product: ones.clone(),
                })
                .collect(),
            recent: Vec::new(),
            steps: 0.0,
        })
    }

    pub(crate) fn step(&self) -> f64 {
        self.layout.step
    }

    pub(crate) fn points(&self) -> usize {
        self.points
    }

    /// Composes with a release, so many times.
    pub(crate) fn multiply(&mut self, kind: &Kind, count: u64) -> Result<(), Obstacle> {
        let place = match self.recent.iter().position(|(known, _)| known == kind) {
            Some(place) => place,
            None => {
                let factors = self.factors(kind)?;
                if self.recent.len() == RECENT {
                    self.recent.remove(0);
                }
                self.recent.push((*kind, factors));
                self.recent.len() - 1
            }
        };
        for (side, factor) in self.sides.iter_mut().zip(&self.recent[place].1) {
            side.sums.add(&factor.sums, count as f64);
            multiply_power(&mut side.product, &factor.spectrum, count);
        }
        self.steps += count as f64;
        Ok(())
    }

    fn factors(&self, kind: &Kind) -> Result<Vec<Factor>, Obstacle> {
        let BothPmfs { remove, add } = pmfs(kind, &self.layout)?;
        let add = match (&self.sides[..], add) {
            ([_], Some(_)) => return Err(Obstacle::NoPair),
            ([_], None) => None,
            (_, add) => Some(add.unwrap_or_else(|| remove.clone())),
        };
        let pmfs = [Some(remove), add];
        Ok(self
            .sides
            .iter()
            .zip(pmfs.iter().flatten())
            .map(|(side, pmf)| {
                let tilted = Tilted::new(pmf, self.layout.theta);
                Factor {
                    sums: tilted.sums(side.exponents, self.layout.step),
                    spectrum: self.transform(&tilted),
                }
            })
            .collect())
    }

    /// The transform of the tilted masses around their mean, wrapped to the length.
    fn transform(&self, tilted: &Tilted) -> Vec<Complex<f64>> {
        let mut real = vec![0.0; self.points];
        let points = self.points as i64;
        let mut place =
            (tilted.first - tilted.centre(self.layout.step)).rem_euclid(points) as usize;
        for mass in &tilted.mass {
            real[place] += mass;
            place += 1;
            if place == self.points {
                place = 0;
            }
        }
        let mut spectrum = self.forward.make_output_vec();
        // The lengths are those of the plan.
        let _ = self.forward.process(&mut real, &mut spectrum);
        spectrum
    }

    /// The smallest epsilon at a delta: the larger of the sides. `None` where the tilt hides it.
    pub(crate) fn epsilon(&self, delta: f64) -> Option<Answer> {
        self.largest(|tail| tail.epsilon(delta))
    }

    /// Delta at an epsilon: the larger of the sides.
    pub(crate) fn delta(&self, epsilon: f64) -> Option<Answer> {
        self.largest(|tail| tail.delta(epsilon))
    }

    fn largest(&self, answer: impl Fn(&Tail<'_>) -> Option<(f64, f64)>) -> Option<Answer> {
        let mut best: Option<Answer> = None;
        for side in &self.sides {
            let (value, slack) = answer(&self.tail(side)?)?;
            if best.is_none_or(|best| value > best.value) {
                best = Some(Answer {
                    value,
                    slack,
                    side: side.side,
                });
            }
        }
        best
    }

    /// The composed losses of each side: place of the first on the grid, their masses without tilt, mass at infinity.
    /// For theta = 0.
    pub(crate) fn losses(&self) -> Option<Vec<LossPmf>> {
        self.sides
            .iter()
            .map(|side| {
                let tail = self.tail(side)?;
                let noise = self.rounding() * tail.norm * (self.points as f64).sqrt();
                Some(LossPmf {
                    step: self.layout.step,
                    first: tail.low,
                    mass: (tail.low..=tail.high())
                        .map(|place| tail.values[tail.index(place)])
                        .collect(),
                    infinite: tail.infinite + OUTSIDE + noise,
                })
            })
            .collect()
    }

    /// Relative error of a bin, by the norm of all: of the transforms and of the power.
    fn rounding(&self) -> f64 {
        let levels = f64::from(self.points.ilog2()) + 1.0;
        8.0 * f64::EPSILON * (self.steps + 1.0) * (levels + 1.0)
    }

    /// `None` if the window has become too small.
    fn tail(&self, side: &OneSide) -> Option<Tail<'_>> {
        let (low, high) = window(&side.sums, side.exponents, self.layout.step);
        if high - low + 2.0 > self.points as f64 {
            return None;
        }
        let mut product = side.product.clone();
        let last = product.len() - 1;
        product[0].im = 0.0;
        product[last].im = 0.0;
        let mut values = self.inverse.make_output_vec();
        self.inverse.process(&mut product, &mut values).ok()?;
        let scale = 1.0 / self.points as f64;
        for value in &mut values {
            *value = (*value * scale).max(0.0);
        }
        Some(Tail {
            composition: self,
            norm: values.iter().map(|value| value * value).sum::<f64>().sqrt(),
            origin: side.sums.centre as i64,
            low: low as i64,
            ln_moment: side.sums.ln_moment,
            infinite: -expm1(side.sums.ln_finite),
            values,
        })
    }
}

/// The composition of one side, brought back from its transform but not from its tilt.
struct Tail<'a> {
    composition: &'a Composition,
    values: Vec<f64>,
    /// Their Euclidean norm.
    norm: f64,
    /// Place on the grid of the first value.
    origin: i64,
    /// Place on the grid where the window begins.
    low: i64,
    ln_moment: f64,
    infinite: f64,
}

/// Sums over the losses from some place on, in units of a scale.
#[derive(Clone, Copy, Default)]
struct Above {
    /// Of the masses.
    mass: f64,
    /// Of the masses times `e^(reference - loss)`.
    less: f64,
    /// Of the squares of what brings a tilted mass back.
    squares: f64,
}

impl Tail<'_> {
    fn high(&self) -> i64 {
        self.low + self.values.len() as i64 - 1
    }

    fn index(&self, place: i64) -> usize {
        (place - self.origin).rem_euclid(self.values.len() as i64) as usize
    }

    /// Goes down from the top until `stop` says so (given the sums, the place below and `e^(reference - loss)` there),
    /// at the latest when the losses are no longer above 0. `None` if the window ends before.
    fn descend(&self, reference: f64, stop: impl Fn(&Above, i64, f64) -> bool) -> Option<Above> {
        let Layout { step, theta, .. } = self.composition.layout;
        let (back_step, less_step) = (exp(theta * step), exp(step));
        let floor = self.low.max(1);
        let mut above = Above::default();
        let mut place = self.high();
        let mut index = self.index(place);
        while place >= floor {
            // Products within a run of places, exponentials only at its start.
            let start = place as f64 * step - reference;
            let (mut back, mut less) = (exp(-theta * start), exp(-start));
            let end = (place - 64).max(floor - 1);
            while place > end {
                let mass = self.values[index] * back;
                above.mass += mass;
                above.less += mass * less;
                above.squares += back * back;
                back *= back_step;
                less *= less_step;
                place -= 1;
                index = index.checked_sub(1).unwrap_or(self.values.len() - 1);
                if stop(&above, place, less) {
                    return Some(above);
                }
            }
        }
        (floor == 1).then_some(above)
    }

    /// What a chance in units of the scale must leave for wrapped mass and rounding at losses above epsilon.
    fn slack(&self, above: &Above, epsilon: f64, reference: f64) -> f64 {
        let theta = self.composition.layout.theta;
        OUTSIDE * exp(-theta * (epsilon - reference))
            + self.composition.rounding() * self.norm * above.squares.sqrt()
    }

    /// Masses have these relative errors, which composition adds up.
    fn relative(&self) -> f64 {
        1.0 + 2e-14 * (self.composition.steps + 1.0)
    }

    fn epsilon(&self, delta: f64) -> Option<(f64, f64)> {
        let theta = self.composition.layout.theta;
        if self.infinite >= delta {
            return Some((f64::INFINITY, self.infinite));
        }
        let reference = if theta > 0.0 {
            (self.ln_moment - ln(delta)) / theta
        } else {
            0.0
        };
        let ln_scale = self.ln_moment - theta * reference;
        let wanted = (delta - self.infinite) * exp(-ln_scale) / self.relative();
        let solve = |wanted: f64| {
            let above = self.descend(reference, |above, _, less| {
                above.mass > wanted && (above.mass - wanted) * less >= above.less
            })?;
            let root = reference + ln((above.mass - wanted) / above.less);
            let epsilon = if above.mass > wanted {
                root.max(0.0)
            } else {
                0.0
            };
            Some((epsilon, above))
        };
        let (first, above) = solve(wanted)?;
        let slack = self.slack(&above, first, reference);
        if slack >= wanted {
            return Some((f64::INFINITY, slack * exp(ln_scale) + self.infinite));
        }
        let (epsilon, _) = solve(wanted - slack)?;
        Some((epsilon, slack * exp(ln_scale) + self.infinite))
    }

    fn delta(&self, epsilon: f64) -> Option<(f64, f64)> {
        let theta = self.composition.layout.theta;
        let reference = epsilon;
        let last = (epsilon / self.composition.layout.step).floor() as i64;
        let above = self.descend(reference, |_, below, _| below <= last)?;
        let slack = self.slack(&above, epsilon, reference);
        let scale = exp(self.ln_moment - theta * reference);
        let found = (above.mass - above.less).max(0.0) * self.relative();
        let slack = slack * scale + self.infinite;
        Some(((found * scale + slack).min(1.0), slack))
    }
}

impl Tilted {
    /// Where its mean is on the grid.
    fn centre(&self, step: f64) -> i64 {
        (self.mean / step).round() as i64
    }

    fn sums(&self, exponents: Exponents, step: f64) -> Sums {
        Sums {
            ln_moment: self.ln_moment,
            ln_up: self.ln_moment_at(exponents.up, step),
            ln_down: self.ln_moment_at(-exponents.down, step),
            ln_finite: self.ln_finite,
            centre: self.centre(step) as f64,
            least: self.first as f64,
            most: self.last() as f64,
        }
    }
}

fn pmfs(kind: &Kind, layout: &Layout) -> Result<BothPmfs, Obstacle> {
    let pair = kind.pair(layout.tail).ok_or(Obstacle::NoPair)?;
    Ok(discretise(
        &pair,
        layout.step,
        layout.tail,
        layout.most_lost,
    )?)
}

/// The exponents that make Chernoff's bounds on the two ends of the window about as tight as they get.
fn exponents(parts: &[(f64, &Tilted)], step: f64) -> Exponents {
    let variance: f64 = parts.iter().map(|(n, part)| n * part.variance).sum();
    let mean: f64 = parts.iter().map(|(n, part)| n * part.mean).sum();
    let margin = ln(2.0 / OUTSIDE);
    // What a normal distribution would want.
    let guess = (2.0 * margin / variance.max(step * step)).sqrt();
    let width = |s: f64| {
        let sum: f64 = parts
            .iter()
            .map(|(n, part)| n * part.ln_moment_at(s, step))
            .sum();
        let width = (sum + margin - s * mean) / s.abs();
        if width.is_nan() { f64::INFINITY } else { width }
    };
    Exponents {
        up: least(guess, &|s| width(s)),
        down: least(guess, &|s| width(-s)),
    }
}

/// Where a function is about least, from powers of two times a guess and a parabola through the best three.
fn least(guess: f64, width: &dyn Fn(f64) -> f64) -> f64 {
    let mut best = (guess, width(guess));
    for factor in [0.5_f64, 2.0] {
        let mut s = best.0 * factor;
        for _ in 0..12 {
            let found = width(s);
            if found >= best.1 {
                break;
            }
            best = (s, found);
            s *= factor;
        }
    }
    let (left, right) = (width(best.0 * 0.7), width(best.0 * 1.4));
    [(best.0 * 0.7, left), (best.0 * 1.4, right)]
        .into_iter()
        .fold(
            best,
            |best, other| if other.1 < best.1 { other } else { best },
        )
        .0
}

/// Places on the grid that all but `OUTSIDE` of the tilted mass lies between.
fn window(sums: &Sums, exponents: Exponents, step: f64) -> (f64, f64) {
    let margin = ln(2.0 / OUTSIDE);
    let high = ((sums.ln_up + margin) / (exponents.up * step)).ceil();
    let low = (-(sums.ln_down + margin) / (exponents.down * step)).floor();
    (low.max(sums.least), high.min(sums.most))
}

/// The next even length without prime factors above 5.
fn smooth_length(needed: usize) -> usize {
    let mut length = needed.max(16).next_multiple_of(2);
    loop {
        let mut rest = length;
        for prime in [2, 3, 5] {
            while rest.is_multiple_of(prime) {
                rest /= prime;
            }
        }
        if rest == 1 {
            return length;
        }
        length += 2;
    }
}

/// `product *= factor^count`, leaving out what is too small to count.
fn multiply_power(product: &mut [Complex<f64>], factor: &[Complex<f64>], count: u64) {
    let least = exp(2.0 * ln(SMALLEST) / count as f64);
    for (product, factor) in product.iter_mut().zip(factor) {
        if product.norm_sqr() < SMALLEST * SMALLEST || factor.norm_sqr() < least {
            *product = Complex::new(0.0, 0.0);
        } else {
            *product *= power(*factor, count);
        }
    }
}

fn power(mut base: Complex<f64>, mut exponent: u64) -> Complex<f64> {
    let mut power = Complex::new(1.0, 0.0);
    while exponent > 0 {
        if exponent % 2 == 1 {
            power *= base;
        }
        base = base * base;
        exponent /= 2;
    }
    power
}
