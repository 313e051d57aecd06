//! Two words to two normal variables.
//!
//! The words' bits: `radius` has 52 of mantissa above 12 of exponent; `angle` has a sign, a swap and 50 of angle above 12 of
//! exponent.

use std::f64::consts::{FRAC_PI_2, SQRT_2};

use crate::kernels::Kernel;
use crate::noise::NoiseSource;
use crate::noise::rounded::PAIRS;

/// The bits of each word that are left for the exponent.
const RARE: u64 = 0xfff;
/// The exponent bits of 1.0, and all the mantissa's bits.
const ONE: u64 = 0x3ff0_0000_0000_0000;
const MANTISSA: u64 = 0x000f_ffff_ffff_ffff;
/// 2^52, whose last bit is worth 1: adding it turns small integers into floats.
const TWO52: f64 = 4_503_599_627_370_496.0;
/// 1.5 * 2^52: adding it rounds what is between -2^51 and 2^51 to the nearest integer.
const ROUND: f64 = 1.5 * TWO52;
/// 2 ln 2 in two parts, of which the first has room for a factor of 20 bits.
const LN4_HIGH: f64 = 1.386_294_360_971_078_3;
const LN4_LOW: f64 = 1.488_123_422_002_479_4e-10;

/// `(ln(g) / t - 2) / t^2` for `t = (g - 1) / (g + 1)`, as a polynomial in `t^2`, for `g` in [1/sqrt 2, sqrt 2]. Interpolated at
/// Chebyshev's nodes; its error is 5e-18 of `ln g`.
const LOGARITHM: [f64; 7] = [
    0.666_666_666_666_667,
    0.399_999_999_998_995_05,
    0.285_714_286_259_754_87,
    0.222_222_111_347_950_78,
    0.181_828_891_252_618_8,
    0.153_317_216_005_516_9,
    0.146_164_496_850_889_06,
];
/// `(sin(pi t / 2) / t - pi / 2) / t^2` in `t^2`, for `t` in [-1/2, 1/2]; error 2e-17 of the sine.
const SINE: [f64; 6] = [
    -0.645_964_097_506_246_2,
    0.079_692_626_246_144_23,
    -0.004_681_754_134_254_207,
    0.000_160_441_166_614_094_2,
    -3.598_702_950_973_373_6e-6,
    5.642_225_369_143_612e-8,
];
/// `(cos(pi t / 2) - 1) / t^2` in `t^2`, for `t` in [-1/2, 1/2]; error 1e-18.
const COSINE: [f64; 7] = [
    -1.233_700_550_136_169_7,
    0.253_669_507_901_047_8,
    -0.020_863_480_763_340_773,
    0.000_919_260_274_546_844_7,
    -2.520_203_902_802_917e-5,
    4.710_678_405_505_042e-7,
    -6.329_396_344_944_616e-9,
];

/// The kernel: one pair of integers for each pair of words. The compiler makes vectors of the loop over pairs.
pub(super) struct Pairs<'a> {
    pub(super) radii: &'a [u64; PAIRS],
    pub(super) angles: &'a [u64; PAIRS],
    pub(super) sigma: f64,
    pub(super) x: &'a mut [i64; PAIRS],
    pub(super) y: &'a mut [i64; PAIRS],
}

impl Kernel for Pairs<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for i in 0..PAIRS {
            let (radius, angle) = (self.radii[i], self.angles[i]);
            let (x, y) = normals(radius, angle, exponent(radius, angle), self.sigma);
            self.x[i] = rounded(x);
            self.y[i] = rounded(y);
        }
    }
}

/// Whether the exponent's bits are all 0, and more are needed.
#[inline(always)]
pub(super) fn is_rare(radius: u64, angle: u64) -> bool {
    (radius | angle) & RARE == 0
}

/// One pair whose `u` was halved so often.
pub(super) fn pair(radius: u64, angle: u64, halvings: u64, sigma: f64) -> [i64; 2] {
    let (x, y) = normals(radius, angle, halvings, sigma);
    [rounded(x), rounded(y)]
}

/// How often `u` is halved where 24 bits were not enough to say: 25 times or more.
pub(super) fn halvings(source: &mut NoiseSource) -> u64 {
    let first = source.word().leading_zeros();
    let second = source.word().leading_zeros();
    let more = if first < 64 { first } else { 64 + second };
    25 + u64::from(more)
}

/// One more than the leading zeros of 24 fair bits: `u` is below 2^-k with the chance 2^-k. Nonsense where all are 0.
#[inline(always)]
pub(super) fn exponent(radius: u64, angle: u64) -> u64 {
    let bits = (radius & RARE) | ((angle & RARE) << 12);
    // The float's exponent says where the leading one is.
    let float = f64::from_bits(TWO52.to_bits() | bits) - TWO52;
    (1023_u64 + 24).wrapping_sub(float.to_bits() >> 52)
}

/// A pair of independent normal variables with standard deviation `sigma`.
#[inline(always)]
fn normals(radius: u64, angle: u64, halvings: u64, sigma: f64) -> (f64, f64) {
    // u = f / 2^halvings with f in [1, 2), in the middle of its 51 bits' interval.
    let f = f64::from_bits(ONE | (radius >> 12) | 1);
    let big = f > SQRT_2;
    let g = if big { 0.5 * f } else { f };
    let k = halvings.wrapping_sub(u64::from(big));
    let k = f64::from_bits(TWO52.to_bits() | k) - TWO52;
    let t = (g - 1.0) / (g + 1.0);
    let square = t * t;
    let log = t * (2.0 + square * polynomial(&LOGARITHM, square));
    let radius = (k * LN4_HIGH + (k * LN4_LOW - 2.0 * log)).sqrt() * sigma;

    let fraction = ((angle >> 10) & MANTISSA & !3) | 2;
    let turn = f64::from_bits(ONE | fraction) - 1.5;
    let square = turn * turn;
    let sine = turn * (FRAC_PI_2 + square * polynomial(&SINE, square));
    let cosine = 1.0 + square * polynomial(&COSINE, square);
    // An eighth of a turn to either side of 0; then mirrored about the diagonal, and through the origin.
    let swap = angle & (1 << 62) != 0;
    let radius = f64::from_bits(radius.to_bits() ^ (angle & (1 << 63)));
    let x = if swap { sine } else { cosine };
    let y = if swap { cosine } else { sine };
    (radius * x, radius * y)
}

#[inline(always)]
fn rounded(value: f64) -> i64 {
    ((value + ROUND).to_bits() as i64).wrapping_sub(ROUND.to_bits() as i64)
}

/// By even and odd powers, two chains that a processor works on at the same time.
#[inline(always)]
fn polynomial<const N: usize>(coefficients: &[f64; N], x: f64) -> f64 {
    let square = x * x;
    let (mut last, mut other) = (coefficients[N - 1], coefficients[N - 2]);
    for i in (0..N - 2).rev() {
        (last, other) = (other, last * square + coefficients[i]);
    }
    other + x * last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels;

    /// The point that exact arithmetic makes of the same words, to the precision of `libm`.
    fn reference(radius: u64, angle: u64, halvings: u64) -> (f64, f64) {
        let f = f64::from_bits(ONE | (radius >> 12) | 1);
        let k = halvings as f64;
        // Near 1, u must not be rounded before its logarithm.
        let log = if halvings == 1 {
            libm::log1p((f - 2.0) / 2.0)
        } else {
            libm::log(f) - k * std::f64::consts::LN_2
        };
        let r = (-2.0 * log).sqrt();
        let eighth = (((angle >> 12) & ((1 << 50) - 1)) as f64 + 0.5) / (1_u64 << 50) as f64 - 0.5;
        let (sine, cosine) = libm::sincos(eighth * FRAC_PI_2);
        let sign = if angle >> 63 == 1 { -r } else { r };
        if (angle >> 62) & 1 == 1 {
            (sign * sine, sign * cosine)
        } else {
            (sign * cosine, sign * sine)
        }
    }

    /// The promise is 2^-52 (5.2 R + 1 / R), of which the bits that are not drawn take pi R + 1 / R; 2 R remain for
    /// arithmetic. `libm` itself may be off by 2^-52 R.
    #[test]
    fn points_are_where_exact_arithmetic_puts_them() {
        let mut source = NoiseSource::seeded([11; 32]);
        let mut worst = 0.0_f64;
        for i in 0..400_000_u64 {
            let (mut radius, angle) = (source.word(), source.word());
            if i % 5 == 0 {
                radius |= !0 << (12 + source.below(52));
            }
            let halvings = 1 + if i % 3 == 0 {
                source.below(153)
            } else {
                u64::from(source.word().leading_zeros())
            };
            let (x, y) = normals(radius, angle, halvings, 1.0);
            let (a, b) = reference(radius, angle, halvings);
            let r = a.hypot(b);
            worst = worst.max((x - a).abs() / r).max((y - b).abs() / r);
        }
        assert!(
            worst <= 3.0 * f64::EPSILON,
            "{} of 2^-52",
            worst / f64::EPSILON
        );
        assert!(worst > 0.0);
    }

    #[test]
    fn an_exponent_is_geometric() {
        assert_eq!(exponent(0x800, 0x800), 1);
        assert_eq!(exponent(0xfff, 0x7ff), 2);
        assert_eq!(exponent(0x001, 0x000), 24);
        assert_eq!(exponent(0x800, 0x000), 13);
        assert!(exponent(0, 0) > 153, "such lanes are done again");
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let mut source = NoiseSource::seeded([5; 32]);
        for sigma in [0.3, 123.0, 1e6, 1e12] {
            let (mut radii, mut angles) = ([0; PAIRS], [0; PAIRS]);
            source.fill(&mut radii);
            source.fill(&mut angles);
            let mut wide = ([0; PAIRS], [0; PAIRS]);
            let mut narrow = wide;
            for (fast, (x, y)) in [(true, &mut wide), (false, &mut narrow)] {
                let kernel = Pairs {
                    radii: &radii,
                    angles: &angles,
                    sigma,
                    x,
                    y,
                };
                if fast {
                    kernels::call(kernel);
                } else {
                    kernel.run();
                }
            }
            assert_eq!(wide, narrow);
            for i in 0..PAIRS {
                let k = exponent(radii[i], angles[i]);
                let alone = pair(radii[i], angles[i], k, sigma);
                assert_eq!(alone, [wide.0[i], wide.1[i]]);
            }
        }
    }
}
