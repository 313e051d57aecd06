//! Sums over the tail of a composition, from its transform.

use std::f64::consts::PI;

use realfft::num_complex::Complex;

use super::{Answer, Composition, Layout, OUTSIDE};
use crate::special::{exp, expm1, ln, ln_1p, ln_sum};

/// Coefficients after which turning factors are computed anew.
pub(super) const TURNS: usize = 32;

/// Sums over the losses above a place, without transforming back: `sum_j p_j e^(-rate h (j - place))` is a sum over the
/// coefficients, each times a geometric series.
pub(super) struct Tail<'a> {
    composition: &'a Composition,
    low: i64,
    high: i64,
    norm: f64,
    /// The coefficients times the series with rate theta, and with rate theta + 1.
    series: Vec<[Complex<f64>; 2]>,
    /// What the two series have too much, beyond the end of the window.
    beyond: [f64; 2],
}

/// Sums over the losses above a place, in units of `e^(K(theta) - theta loss)` at the place.
#[derive(Clone, Copy)]
struct Above {
    /// Of the masses.
    mass: f64,
    /// Of the masses times `e^(loss of the place - loss)`.
    less: f64,
}

impl Above {
    /// How far epsilon goes while delta falls by this share: delta is `mass - less`, and falls by `less`.
    fn falling(self, share: f64) -> f64 {
        let slope = self.less / (self.mass - self.less);
        -ln_1p(-share.min(1.0)) / slope
    }
}

impl<'a> Tail<'a> {
    pub(super) fn new(composition: &'a Composition) -> Option<Self> {
        let (low, high) = composition.window()?;
        let Layout { step, theta, .. } = composition.layout;
        let turn = 2.0 * PI / composition.points as f64;
        // e^(-rate h), and 1 less that.
        let shrinks = [theta, theta + 1.0].map(|rate| (exp(-rate * step), -expm1(-rate * step)));
        let series = composition
            .weighted()
            .enumerate()
            .map(|(k, (times, value))| {
                let angle = turn * k as f64;
                let (sine, cosine) = (libm::sin(angle), libm::cos(angle));
                let half = libm::sin(0.5 * angle);
                shrinks.map(|(shrink, less)| {
                    // z / (1 - z) for z = e^(-rate h + i angle). With rate 0 the first has no limit: its terms are counted.
                    let below = Complex::new(less + 2.0 * shrink * half * half, -shrink * sine);
                    if below == Complex::new(0.0, 0.0) {
                        return below;
                    }
                    value * times * Complex::new(shrink * cosine, shrink * sine) / below
                })
            })
            .collect();
        let mut tail = Self {
            composition,
            low,
            high,
            norm: composition.norm(),
            series,
            beyond: [0.0; 2],
        };
        tail.beyond = tail.turned(high);
        Some(tail)
    }

    /// The two sums of series with the turning factors of a place.
    fn turned(&self, place: i64) -> [f64; 2] {
        let points = self.composition.points as i64;
        let offset = (place - self.composition.sums.centre as i64).rem_euclid(points);
        let angle = |k: usize| {
            let turns = (offset as u64 * k as u64) % points as u64;
            2.0 * PI * turns as f64 / points as f64
        };
        let unit = |angle: f64| Complex::new(libm::cos(angle), libm::sin(angle));
        let once = unit(angle(1));
        let mut sums = [0.0; 2];
        for (block, chunk) in self.series.chunks(TURNS).enumerate() {
            let mut turn = unit(angle(block * TURNS));
            for [first, second] in chunk {
                sums[0] += first.re * turn.re - first.im * turn.im;
                sums[1] += second.re * turn.re - second.im * turn.im;
                turn *= once;
            }
        }
        sums
    }

    /// Sums over the losses above a place of the window.
    fn above(&self, place: i64) -> Above {
        let Layout { step, theta, .. } = self.composition.layout;
        let rest = (self.high - place) as f64 * step;
        let [mass, less] = self.turned(place);
        let (first, second) = (exp(-theta * rest), exp(-(theta + 1.0) * rest));
        // Without tilt the coefficient of 0 counts the places instead.
        let flat = if theta == 0.0 {
            self.composition.product[0].re * (self.high - place) as f64
                / self.composition.points as f64
        } else {
            0.0
        };
        Above {
            mass: mass - first * self.beyond[0] + flat,
            less: less - second * self.beyond[1],
        }
    }

    /// What a chance in units of the scale at a place must leave for wrapped mass and for rounding.
    fn slack(&self, place: i64) -> f64 {
        let Layout { step, theta, .. } = self.composition.layout;
        let count = (self.high - place) as f64;
        // The squares of e^(-theta h m) for m from 1 to count.
        let rate = 2.0 * theta * step;
        let squares = if rate * count < 1e-9 {
            count
        } else {
            (-expm1(-rate * count) / expm1(rate)).max(0.0)
        };
        OUTSIDE + 2.0 * self.composition.rounding() * self.norm * squares.sqrt()
    }

    /// Masses have these relative errors, which composition adds up.
    fn relative(&self) -> f64 {
        1.0 + 1e-12 * (self.composition.steps + 1.0)
    }

    fn ln_scale(&self, place: i64) -> f64 {
        let Layout { step, theta, .. } = self.composition.layout;
        self.composition.sums.ln_moment - theta * step * place as f64
    }

    /// The logarithm of an upper bound on delta at a place: no scale is too large for it.
    fn ln_delta(&self, place: i64) -> f64 {
        let above = self.above(place);
        ln_sum(
            self.ln_scale(place) + ln(self.found(above, 1.0) + self.slack(place)),
            ln(self.composition.infinite()),
        )
    }

    /// The masses less `part` times what they have too much, from above. What rounding has made negative is 0.
    fn found(&self, above: Above, part: f64) -> f64 {
        (above.mass - part * above.less).max(0.0) * self.relative()
    }

    /// How much delta bends at a place, over how fast it falls: the density of the losses over `less`. One more than the
    /// slope of the logarithm where the tail is that of an exponential; the larger of the two. The density is averaged
    /// over what the grid scatters losses by.
    fn steepness(&self, place: i64) -> f64 {
        let Layout { step, theta, .. } = self.composition.layout;
        let above = self.above(place);
        let reach = (0.5 * self.composition.steps.sqrt()).ceil().max(1.0) as i64;
        let (low, high) = (
            (place - reach).max(self.low),
            (place + reach + 1).min(self.high),
        );
        let mass = |at: i64| self.above(at).mass * exp(theta * step * (place - at) as f64);
        let density = (mass(low) - mass(high)) / ((high - low) as f64 * step);
        (above.mass / (above.mass - above.less))
            .max(density / above.less)
            .max(1.0)
    }

    /// What of delta at a place is slack.
    fn total_slack(&self, place: i64) -> f64 {
        exp(self.ln_scale(place) + ln(self.slack(place))) + self.composition.infinite()
    }

    pub(super) fn epsilon(&self, delta: f64) -> Option<Answer> {
        let infinite = self.composition.infinite();
        let unbounded = |slack| Answer {
            value: f64::INFINITY,
            slack,
            steepness: 0.0,
            slack_epsilon: 0.0,
        };
        if infinite >= delta {
            return Some(unbounded(infinite));
        }
        let (mut low, mut high) = (self.low.max(0), self.high);
        if low >= high {
            return (self.low < 0).then_some(Answer {
                value: 0.0,
                slack: infinite,
                steepness: 0.0,
                slack_epsilon: 0.0,
            });
        }
        let height = |place: i64| (self.ln_delta(place) - ln(delta)).clamp(-700.0, 700.0);
        let (mut of_low, mut of_high) = (height(low), height(high));
        if of_low <= 0.0 {
            // At a loss of 0 that is the answer; above it the answer may be lower than the window.
            return (low == 0).then(|| Answer {
                value: 0.0,
                slack: self.total_slack(low),
                steepness: 0.0,
                slack_epsilon: 0.0,
            });
        }
        if of_high > 0.0 {
            return Some(unbounded(self.total_slack(high)));
        }
        // The logarithm of delta is nearly straight: regula falsi, with a bisection now and then.
        for round in 0..200 {
            if high - low <= 1 {
                break;
            }
            let share = if round % 3 == 2 {
                0.5
            } else {
                of_low / (of_low - of_high)
            };
            let middle = low + ((high - low) as f64 * share).round() as i64;
            let middle = middle.clamp(low + 1, high - 1);
            let found = height(middle);
            if found > 0.0 {
                (low, of_low) = (middle, found);
            } else {
                (high, of_high) = (middle, found);
            }
        }
        Some(self.between(low, delta))
    }

    /// Epsilon between a place, where delta is too large, and the next, where it is not.
    fn between(&self, place: i64, delta: f64) -> Answer {
        let step = self.composition.layout.step;
        let above = self.above(place);
        let left = exp(ln(delta - self.composition.infinite()) - self.ln_scale(place));
        let wanted = (left - self.slack(place)) / self.relative();
        let rise = ln((above.mass - wanted) / above.less);
        let rise = if rise.is_nan() {
            step
        } else {
            rise.clamp(0.0, step)
        };
        Answer {
            value: place as f64 * step + rise,
            slack: self.total_slack(place),
            steepness: self.steepness(place),
            slack_epsilon: above.falling(self.total_slack(place) / delta),
        }
    }

    pub(super) fn delta(&self, epsilon: f64) -> Option<Answer> {
        let step = self.composition.layout.step;
        let place = (epsilon / step).floor();
        if place < self.low as f64 {
            return None;
        }
        // Beyond the window what is at its end is a bound.
        let at = place.min(self.high as f64) as i64;
        let part = exp((epsilon - at as f64 * step).clamp(0.0, step));
        let above = self.above(at);
        let found = self.found(above, part) + self.slack(at);
        let value = exp(self.ln_scale(at) + ln(found)) + self.composition.infinite();
        Some(Answer {
            value: value.min(1.0),
            slack: self.total_slack(at),
            steepness: self.steepness(at),
            slack_epsilon: above.falling(self.total_slack(at) / value),
        })
    }
}
