//! Composition of privacy-loss distributions by Fourier transforms.
//!
//! Each distribution is tilted by `e^(theta loss)` before it is transformed, and delta is summed from the product of the
//! transforms with the tilt undone. With theta at the saddle point of the wanted delta the tail that matters becomes the
//! bulk of what is transformed: rounding and the mass that wraps around are small beside delta, not beside 1, however
//! small delta is. The product of many has few coefficients that are not 0, and nothing is transformed back.

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

mod tail;

use tail::{TURNS, Tail};

use super::account::Release;
use super::pair::Pair;
use super::pmf::{LossPmf, NoPmf, discretise, weighted_sum};
use crate::special::{exp, expm1, ln, ln_1p};

/// Tilted mass that may lie outside of the window, on both sides together.
const OUTSIDE: f64 = 1e-11;
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
    pub(crate) fn pair(&self, tail: f64) -> Option<Pair> {
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
    /// Longest transform.
    pub(crate) most_points: usize,
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
    /// The answer lies below the window: it wants less tilt.
    Hidden,
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
    /// One more than by what the logarithm of delta falls there with epsilon; 0 where the answer is the least possible.
    pub(crate) steepness: f64,
    /// About what the slack has added to epsilon.
    pub(crate) slack_epsilon: f64,
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
        // From the mean on, where the mass is: nothing of it is lost, and what overflows is no good exponent anyway.
        let anchor = self.mean / step - self.first as f64;
        s * self.mean + ln(weighted_sum(&self.mass, s * step, -s * step * anchor))
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

/// The losses of a composition: mass at multiples of the step from the first on, and at infinity.
pub(crate) struct Composed {
    pub(crate) step: f64,
    pub(crate) first: i64,
    pub(crate) mass: Vec<f64>,
    pub(crate) infinite: f64,
}

/// Releases multiplied together, in one order of the neighbours.
pub(crate) struct Composition {
    layout: Layout,
    points: usize,
    exponents: Exponents,
    sums: Sums,
    /// The transform, as far as it is not 0 in floating-point numbers.
    product: Vec<Complex<f64>>,
    forward: Arc<dyn RealToComplex<f64>>,
    recent: Vec<(Kind, Factor)>,
    /// Releases so far.
    steps: f64,
}

impl Composition {
    /// An empty composition with room for releases with these losses, so many times each.
    pub(crate) fn plan(parts: &[(&LossPmf, u64)], layout: Layout) -> Result<Self, Obstacle> {
        let tilted: Vec<(f64, Tilted)> = parts
            .iter()
            .map(|(pmf, count)| (*count as f64, Tilted::new(pmf, layout.theta)))
            .collect();
        let exponents = exponents(&tilted, layout.step);
        let mut sums = Sums::default();
        for (count, part) in &tilted {
            sums.add(&part.sums(exponents, layout.step), *count);
        }
        let (low, high) = window(&sums, exponents, layout.step);
        let needed = high - low + 2.0;
        let most = layout.most_points as f64;
        if needed > most {
            return Err(Obstacle::TooFine(needed / most));
        }
        let points = smooth_length(needed as usize);
        Ok(Self {
            layout,
            points,
            exponents,
            sums: Sums::default(),
            product: vec![Complex::new(1.0, 0.0); points / 2 + 1],
            forward: RealFftPlanner::new().plan_fft_forward(points),
            recent: Vec::new(),
            steps: 0.0,
        })
    }

    pub(crate) fn points(&self) -> usize {
        self.points
    }

    /// Composes with a release of one of the kinds of the last few calls, if it was among them.
    pub(crate) fn multiply_again(&mut self, kind: &Kind, count: u64) -> bool {
        let Some((_, factor)) = self.recent.iter().find(|(known, _)| known == kind) else {
            return false;
        };
        self.sums.add(&factor.sums, count as f64);
        multiply_power(&mut self.product, &factor.spectrum, count);
        self.steps += count as f64;
        true
    }

    /// Composes with a release that has these losses, so many times.
    pub(crate) fn multiply(&mut self, kind: &Kind, pmf: &LossPmf, count: u64) {
        if self.multiply_again(kind, count) {
            return;
        }
        let tilted = Tilted::new(pmf, self.layout.theta);
        let factor = Factor {
            sums: tilted.sums(self.exponents, self.layout.step),
            spectrum: self.transform(&tilted),
        };
        if self.recent.len() == RECENT {
            self.recent.remove(0);
        }
        self.recent.push((*kind, factor));
        self.multiply_again(kind, count);
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

    /// The smallest epsilon at a delta. `None` where the tilt or the window hides it.
    pub(crate) fn epsilon(&self, delta: f64) -> Option<Answer> {
        Tail::new(self)?.epsilon(delta)
    }

    /// Delta at an epsilon. `None` where the tilt or the window hides it.
    pub(crate) fn delta(&self, epsilon: f64) -> Option<Answer> {
        Tail::new(self)?.delta(epsilon)
    }

    /// The composed losses, for a tilt of 0.
    pub(crate) fn losses(&self) -> Option<Composed> {
        let (low, _) = self.window()?;
        let mut spectrum = self.product.clone();
        spectrum.resize(self.points / 2 + 1, Complex::new(0.0, 0.0));
        let last = spectrum.len() - 1;
        spectrum[0].im = 0.0;
        spectrum[last].im = 0.0;
        let inverse = RealFftPlanner::new().plan_fft_inverse(self.points);
        let mut mass = inverse.make_output_vec();
        inverse.process(&mut spectrum, &mut mass).ok()?;
        let scale = 1.0 / self.points as f64;
        for value in &mut mass {
            *value = (*value * scale).max(0.0);
        }
        let start = (low - self.sums.centre as i64).rem_euclid(self.points as i64);
        mass.rotate_left(start as usize);
        let noise = self.rounding() * self.norm() * (self.points as f64).sqrt();
        Some(Composed {
            step: self.layout.step,
            first: low,
            mass,
            infinite: self.infinite() + OUTSIDE + noise,
        })
    }

    /// The first and the last place of the window; `None` if it has become too small.
    fn window(&self) -> Option<(i64, i64)> {
        let (low, high) = window(&self.sums, self.exponents, self.layout.step);
        (high - low + 2.0 <= self.points as f64)
            .then(|| (low as i64, low as i64 + self.points as i64 - 1))
    }

    fn infinite(&self) -> f64 {
        -expm1(self.sums.ln_finite)
    }

    /// Coefficients with how often each counts: all but the first and the last stand for two.
    fn weighted(&self) -> impl Iterator<Item = (f64, Complex<f64>)> {
        let last = self.points / 2;
        self.product.iter().enumerate().map(move |(k, value)| {
            let times = if k == 0 || k == last { 1.0 } else { 2.0 };
            (times / self.points as f64, *value)
        })
    }

    /// The Euclidean norm of the tilted masses.
    fn norm(&self) -> f64 {
        let squares = self
            .weighted()
            .map(|(times, value)| times * value.norm_sqr());
        squares.sum::<f64>().sqrt()
    }

    /// Relative error of a sum over the masses, by the norms of both factors: of the transforms, of the power and of the
    /// turning factors.
    fn rounding(&self) -> f64 {
        let levels = f64::from(self.points.ilog2()) + 2.0;
        8.0 * f64::EPSILON * ((self.steps + 1.0) * levels + TURNS as f64)
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

/// The losses of one release on the grid, in the order in which the unit is missing from the other.
pub(crate) fn losses(kind: &Kind, layout: &Layout) -> Result<LossPmf, Obstacle> {
    let pair = kind.pair(layout.tail).ok_or(Obstacle::NoPair)?;
    Ok(discretise(
        &pair,
        layout.step,
        layout.tail,
        layout.most_lost,
    )?)
}

/// The exponents that make Chernoff's bounds on the two ends of the window about as tight as they get.
fn exponents(parts: &[(f64, Tilted)], step: f64) -> Exponents {
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

/// Where a function is about least: powers of two from a guess, which a heavy tail makes far too large, then halfway
/// between them.
fn least(guess: f64, width: &dyn Fn(f64) -> f64) -> f64 {
    let mut best = (guess, width(guess));
    for _ in 0..60 {
        if best.1 < f64::INFINITY {
            break;
        }
        best = (0.5 * best.0, width(0.5 * best.0));
    }
    for factor in [0.5, 2.0] {
        loop {
            let next = (factor * best.0, width(factor * best.0));
            if next.1 >= best.1 {
                break;
            }
            best = next;
        }
    }
    let between = [0.7, 1.4].map(|factor| (factor * best.0, width(factor * best.0)));
    between
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
fn multiply_power(product: &mut Vec<Complex<f64>>, factor: &[Complex<f64>], count: u64) {
    let least = exp(2.0 * ln(SMALLEST) / count as f64);
    for (product, factor) in product.iter_mut().zip(factor) {
        if product.norm_sqr() < SMALLEST * SMALLEST || factor.norm_sqr() < least {
            *product = Complex::new(0.0, 0.0);
        } else {
            *product *= power(*factor, count);
        }
    }
    let kept = product.iter().rposition(|value| value.norm_sqr() > 0.0);
    product.truncate(kept.map_or(1, |last| last + 1));
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
