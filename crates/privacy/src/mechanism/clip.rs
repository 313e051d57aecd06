//! Scaling a vector down to a norm.

/// The factor by which a vector that was too long comes out shorter still: 1 - 2^-20. Its 32-bit entries are rounded to
/// nearest, each off by at most 2^-24 of itself, and so is the norm, which therefore stays below the clip.
const MARGIN: f64 = 1.0 - 1.0 / 1_048_576.0;

/// What clipping found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clipped {
    /// Euclidean norm before, in `f64`; 0 for a vector that was not finite.
    pub norm: f64,
    /// Whether the norm was above the clip. Adaptive clipping counts those that were not.
    pub clipped: bool,
    /// Whether some entry was not finite, which makes the whole vector 0.
    pub non_finite: bool,
}

/// Scales `vector` so that its Euclidean norm, of the rounded entries that are left there, is at most `clip`.
///
/// A vector with an entry that is not finite becomes 0: it must not decide whether the sum is finite. A `clip` that is not
/// above 0 makes every vector 0.
pub fn clip(vector: &mut [f32], clip: f64) -> Clipped {
    let (factor, found) = factor(vector, clip);
    if factor == 0.0 {
        vector.fill(0.0);
    } else if factor < 1.0 {
        for entry in vector {
            *entry = (f64::from(*entry) * factor) as f32;
        }
    }
    found
}

/// The factor that clips `vector`: 1 if it is short enough, 0 if it is not finite.
pub(crate) fn factor(vector: &[f32], clip: f64) -> (f64, Clipped) {
    let square = norm_squared(vector);
    if !square.is_finite() {
        let found = Clipped {
            norm: 0.0,
            clipped: false,
            non_finite: true,
        };
        return (0.0, found);
    }
    let norm = square.sqrt();
    let found = Clipped {
        norm,
        clipped: norm > clip,
        non_finite: false,
    };
    // The sum of squares in `f64` is off by less than 1e-9 of itself for any length below 2^27; what is that
    // close to the clip is scaled too. A NaN clip fails both comparisons.
    let factor = if norm <= clip * (1.0 - 1e-9) {
        1.0
    } else if clip > 0.0 && norm > 0.0 {
        (clip / norm).min(1.0) * MARGIN
    } else {
        0.0
    };
    (factor, found)
}

/// Sum of squares in `f64`; not finite if any entry is not. In eight lanes of fixed order, so that bits do not depend on
/// the instruction set.
fn norm_squared(vector: &[f32]) -> f64 {
    let (whole, rest) = vector.as_chunks::<8>();
    let mut lanes = [0.0; 8];
    for chunk in whole {
        for (lane, &entry) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(entry) * f64::from(entry);
        }
    }
    for (lane, &entry) in lanes.iter_mut().zip(rest) {
        *lane += f64::from(entry) * f64::from(entry);
    }
    lanes.iter().sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exact_norm(vector: &[f32]) -> f64 {
        vector
            .iter()
            .map(|&x| f64::from(x).powi(2))
            .sum::<f64>()
            .sqrt()
    }

    #[test]
    fn short_vectors_keep_their_bits() {
        let mut vector = [0.3_f32, -0.4];
        let found = clip(&mut vector, 1.0);
        assert_eq!(vector, [0.3, -0.4]);
        assert!((found.norm - 0.5).abs() < 1e-7 && !found.clipped);
        let mut zero = [0.0_f32; 3];
        assert_eq!(clip(&mut zero, 1.0).norm, 0.0);
        assert_eq!(zero, [0.0; 3]);
    }

    #[test]
    fn what_is_not_finite_becomes_nothing() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut vector = [1.0, bad, -2.0];
            let found = clip(&mut vector, 1.0);
            assert_eq!(vector, [0.0; 3]);
            assert!(found.non_finite && !found.clipped && found.norm == 0.0);
        }
        let mut vector = [1.0_f32, 2.0];
        assert!(!clip(&mut vector, f64::NAN).non_finite);
        assert_eq!(vector, [0.0; 2]);
        let mut vector = [1.0_f32, 2.0];
        clip(&mut vector, 0.0);
        assert_eq!(vector, [0.0; 2]);
    }

    #[test]
    fn a_norm_that_equals_the_clip_counts_as_within() {
        let mut vector = [3.0_f32, 4.0];
        assert!(!clip(&mut vector, 5.0).clipped);
        assert!(clip(&mut [3.0_f32, 4.0], 4.999).clipped);
    }

    proptest! {
        #[test]
        fn the_norm_is_never_above_the_clip(
            mut vector in prop::collection::vec(-1e30_f32..1e30, 0..100),
            bound in 1e-6_f64..1e6,
        ) {
            let before = exact_norm(&vector);
            let found = clip(&mut vector, bound);
            let after = exact_norm(&vector);
            prop_assert!(after <= bound, "{after} above {bound}");
            prop_assert!(after >= before.min(bound) * (1.0 - 3e-6));
            prop_assert_eq!(found.clipped, found.norm > bound);
        }

        #[test]
        fn the_direction_stays(mut vector in prop::collection::vec(-10.0_f32..10.0, 2..50)) {
            let before = vector.clone();
            clip(&mut vector, 0.5);
            let dot: f64 = before.iter().zip(&vector).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            prop_assert!(dot >= exact_norm(&before) * exact_norm(&vector) * (1.0 - 1e-9));
        }
    }
}
