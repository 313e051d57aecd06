//! The distance between the update that an attacker's inputs would have made and the one that was observed.

use std::ops::Range;

use cloister_nn::Layout;
use serde::{Deserialize, Serialize};

use super::attack::Adaptation;
use super::error::InversionError;
use super::observation::Observation;

/// What is made small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Distance {
    /// Sum of the squared differences.
    L2,
    /// One minus the cosine: blind to the scale, and so to clipping.
    Cosine,
}

/// An observed gradient or update, or the parts of it that an attacker compares.
#[derive(Clone, Debug)]
pub(super) struct Target {
    distance: Distance,
    observed: Vec<f32>,
    /// The compared coordinates, rising and apart; all others do not count.
    parts: Vec<Range<usize>>,
    /// 1 where a coordinate counts, 0 where it was not sent; over all coordinates.
    sent: Option<Vec<f32>>,
    /// Differences within this are none.
    slack: f32,
    /// Length of the observed, over what counts.
    norm: f64,
}

impl Target {
    /// What of `observation` is compared under `adaptation`.
    ///
    /// # Errors
    /// When an excluded tensor does not exist, or nothing is left.
    pub(super) fn new(
        layout: &Layout,
        observation: &Observation,
        distance: Distance,
        adaptation: &Adaptation,
    ) -> Result<Self, InversionError> {
        for name in &adaptation.exclude {
            if !layout.tensors().iter().any(|t| t.name.starts_with(name)) {
                return Err(InversionError::Tensor { name: name.clone() });
            }
        }
        let mut parts: Vec<Range<usize>> = Vec::new();
        for tensor in layout.tensors() {
            let mut excluded = adaptation.exclude.iter();
            if excluded.any(|name| tensor.name.starts_with(name)) || tensor.is_empty() {
                continue;
            }
            match parts.last_mut() {
                Some(last) if last.end == tensor.offset => last.end = tensor.range().end,
                _ => parts.push(tensor.range()),
            }
        }
        let observed = observation.evidence().to_vec();
        let sent = adaptation.sent_only.then(|| {
            let marks = observation.sent();
            marks
                .iter()
                .map(|&sent| f32::from(u8::from(sent)))
                .collect()
        });
        let square: f64 = parts
            .iter()
            .map(|part| dot(&observed[part.clone()], &observed[part.clone()]))
            .sum();
        if !(square > 0.0 && square.is_finite()) {
            return Err(InversionError::NothingToMatch);
        }
        Ok(Self {
            distance,
            observed,
            parts,
            sent,
            slack: adaptation.quantum / 2.0,
            norm: square.sqrt(),
        })
    }

    /// The distance of `made` from what was observed; `direction` becomes its derivative with respect to each coordinate of
    /// `made`, 0 where nothing is compared. What does not count is set to 0 in `made`.
    pub(super) fn compare(&self, made: &mut [f32], direction: &mut [f32]) -> f64 {
        if let Some(sent) = &self.sent {
            for (value, sent) in made.iter_mut().zip(sent) {
                *value *= sent;
            }
        }
        let mut end = 0;
        for part in &self.parts {
            direction[end..part.start].fill(0.0);
            end = part.end;
        }
        direction[end..].fill(0.0);
        match self.distance {
            Distance::L2 => self.squares(made, direction),
            Distance::Cosine => self.cosine(made, direction),
        }
    }

    fn squares(&self, made: &[f32], direction: &mut [f32]) -> f64 {
        let mut sum = 0.0;
        for part in &self.parts {
            let (made, observed) = (&made[part.clone()], &self.observed[part.clone()]);
            let direction = &mut direction[part.clone()];
            for ((v, g), seen) in direction.iter_mut().zip(made).zip(observed) {
                let difference = g - seen;
                *v = 2.0 * (difference - difference.clamp(-self.slack, self.slack));
            }
            sum += 0.25 * dot(direction, direction);
        }
        sum
    }

    fn cosine(&self, made: &[f32], direction: &mut [f32]) -> f64 {
        if self.slack > 0.0 {
            return self.cosine_within(made, direction);
        }
        let squares = self.parts.iter().map(|part| &made[part.clone()]);
        let own: f64 = squares.map(|made| dot(made, made)).sum();
        if own <= 0.0 || own.is_nan() {
            direction.fill(0.0);
            return 1.0;
        }
        // Half the square of the difference of the unit vectors: what one minus the cosine is, without its cancellation.
        let (to_made, to_observed) = ((1.0 / own.sqrt()) as f32, (1.0 / self.norm) as f32);
        let mut sum = 0.0;
        for part in &self.parts {
            let (made, observed) = (&made[part.clone()], &self.observed[part.clone()]);
            let direction = &mut direction[part.clone()];
            for ((v, g), seen) in direction.iter_mut().zip(made).zip(observed) {
                *v = to_made * g - to_observed * seen;
            }
            sum += 0.5 * dot(direction, direction);
        }
        let along = sum as f32 * to_made;
        for part in &self.parts {
            let direction = &mut direction[part.clone()];
            for (v, g) in direction.iter_mut().zip(&made[part.clone()]) {
                *v = to_made * (*v - along * g);
            }
        }
        sum
    }

    /// The cosine to that vector within half a level of the observed one which has the largest. It is s times the made one,
    /// clamped, with the s at which the clamped coordinates' square is s times their product with the made one; by the
    /// envelope theorem it is held fixed in the derivative.
    fn cosine_within(&self, made: &[f32], direction: &mut [f32]) -> f64 {
        let (mut own, mut both) = (0.0, 0.0);
        for part in &self.parts {
            let made = &made[part.clone()];
            own += dot(made, made);
            both += dot(made, &self.observed[part.clone()]);
        }
        // Of a vector that points away nothing is forgiven.
        let slack = if both > 0.0 { self.slack } else { 0.0 };
        let mut scale = if both > 0.0 {
            self.norm * self.norm / both
        } else {
            0.0
        };
        let nearest =
            |scale: f64, g: f32, seen: f32| (scale as f32 * g).clamp(seen - slack, seen + slack);
        let pairs = || {
            let parts = self.parts.iter();
            parts.flat_map(|part| made[part.clone()].iter().zip(&self.observed[part.clone()]))
        };
        for _ in 0..SCALINGS {
            let (mut squares, mut products) = (0.0_f64, 0.0_f64);
            for (g, seen) in pairs() {
                let near = nearest(scale, *g, *seen);
                if near != scale as f32 * g {
                    squares += f64::from(near) * f64::from(near);
                    products += f64::from(near) * f64::from(*g);
                }
            }
            if products > 0.0 && both > 0.0 {
                scale = squares / products;
            }
        }
        let (mut square, mut both) = (0.0_f64, 0.0_f64);
        for (g, seen) in pairs() {
            let near = f64::from(nearest(scale, *g, *seen));
            square += near * near;
            both += near * f64::from(*g);
        }
        let norm = square.sqrt();
        let (to_observed, to_made) = slopes(own, both, norm);
        for part in &self.parts {
            let (made, observed) = (&made[part.clone()], &self.observed[part.clone()]);
            let direction = &mut direction[part.clone()];
            for ((v, g), seen) in direction.iter_mut().zip(made).zip(observed) {
                *v = to_observed * nearest(scale, *g, *seen) + to_made * g;
            }
        }
        1.0 - both / (own.sqrt() * norm).max(f64::MIN_POSITIVE)
    }
}

/// Steps towards the scale of the nearest vector; each is exact for the coordinates that are clamped at the time.
const SCALINGS: usize = 4;

/// The factors of the observed and of the made vector in the derivative of one minus their cosine, from the made one's
/// square, their product and the observed one's length.
fn slopes(own: f64, both: f64, norm: f64) -> (f32, f32) {
    if own <= 0.0 || own.is_nan() {
        return (0.0, 0.0);
    }
    let inverse = 1.0 / (own.sqrt() * norm).max(f64::MIN_POSITIVE);
    (-inverse as f32, (both * inverse / own) as f32)
}

/// Scalar product: in `f32` lanes over blocks, the blocks in `f64`.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    const LANES: usize = 16;
    let mut sum = 0.0;
    for (a, b) in a.chunks(512).zip(b.chunks(512)) {
        let mut lanes = [0.0_f32; LANES];
        let (heads, heads_b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
        let rest = heads.remainder().iter().zip(heads_b.remainder());
        let rest: f32 = rest.map(|(a, b)| a * b).sum();
        for (a, b) in heads.zip(heads_b) {
            for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
                *lane += a * b;
            }
        }
        sum += lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>() + f64::from(rest);
    }
    sum
}

#[cfg(test)]
mod tests {
    use cloister_nn::InputShape;

    use super::*;
    use crate::inversion::{Evidence, InputSpace};

    fn layout() -> Layout {
        Layout::new([
            ("fc1.weight", vec![20, 30]),
            ("fc1.bias", vec![20]),
            ("fc2.weight", vec![7]),
        ])
        .unwrap()
    }

    fn vector(seed: f32) -> Vec<f32> {
        (0..627)
            .map(|i| (i as f32 * 0.7 + seed).sin() + 0.1 * seed)
            .collect()
    }

    fn observation(values: Vec<f32>) -> Observation {
        let shape = InputShape {
            channels: 1,
            height: 1,
            width: 30,
        };
        Observation {
            parameters: vec![0.0; 627],
            evidence: Evidence::Gradient(values),
            examples: 1,
            space: InputSpace::unit(shape).unwrap(),
        }
    }

    /// The derivative of each distance, under each adaptation, against central differences.
    #[test]
    fn directions_are_derivatives() {
        let mut observed = vector(1.0);
        observed
            .iter_mut()
            .step_by(3)
            .for_each(|value| *value = 0.0);
        let observation = observation(observed);
        let made = vector(2.0);
        for distance in [Distance::L2, Distance::Cosine] {
            for (exclude, sent_only, quantum) in [
                (vec![], false, 0.0),
                (vec!["fc1.bias".to_owned()], true, 0.0),
                (vec!["fc2".to_owned()], false, 0.2),
            ] {
                let adaptation = Adaptation {
                    exclude,
                    sent_only,
                    quantum,
                };
                let target = Target::new(&layout(), &observation, distance, &adaptation).unwrap();
                let mut direction = vec![f32::NAN; 627];
                target.compare(&mut made.clone(), &mut direction);
                let mut scratch = vec![0.0; 627];
                for index in (0..627).step_by(13).chain(600..627) {
                    let mut value = |by: f32| {
                        let mut moved = made.clone();
                        moved[index] += by;
                        target.compare(&mut moved, &mut scratch)
                    };
                    let slope = (value(1e-2) - value(-1e-2)) / 2e-2;
                    // A coordinate that was not sent has a direction, but what is made of it is 0 anyway.
                    let sent = adaptation.sent_only && index % 3 == 0;
                    let got = if sent {
                        0.0
                    } else {
                        f64::from(direction[index])
                    };
                    let scale = if distance == Distance::L2 { 1.0 } else { 1e-3 };
                    assert!(
                        (slope - got).abs() < 3e-2 * scale,
                        "{distance:?} {adaptation:?} {index}: {got} is not {slope}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_vector_is_its_own_match_and_the_cosine_forgets_the_scale() {
        let observation = observation(vector(1.0));
        let mut twice: Vec<f32> = vector(1.0).iter().map(|value| 2.0 * value).collect();
        let mut direction = vec![0.0; 627];
        let adaptation = Adaptation::default();
        let target = Target::new(&layout(), &observation, Distance::Cosine, &adaptation).unwrap();
        assert!(target.compare(&mut twice, &mut direction).abs() < 1e-6);
        assert!(direction.iter().all(|v| v.abs() < 1e-6));
        assert_eq!(target.compare(&mut vec![0.0; 627], &mut direction), 1.0);
        assert!(direction.iter().all(|v| *v == 0.0));
        let target = Target::new(&layout(), &observation, Distance::L2, &adaptation).unwrap();
        assert_eq!(target.compare(&mut vector(1.0), &mut direction), 0.0);
    }

    #[test]
    fn what_does_not_exist_or_holds_nothing_is_refused() {
        let adaptation = |name: &str| Adaptation {
            exclude: vec![name.to_owned()],
            ..Adaptation::default()
        };
        let of = |name: &str| {
            Target::new(
                &layout(),
                &observation(vector(1.0)),
                Distance::L2,
                &adaptation(name),
            )
            .map(|_| ())
        };
        assert!(matches!(of("conv"), Err(InversionError::Tensor { .. })));
        assert_eq!(of("fc"), Err(InversionError::NothingToMatch));
        assert_eq!(of("fc1"), Ok(()));
    }
}
