//! Updates in fewer bytes: halves, bytes with a step for each block, or only the largest coordinates.

use half::f16;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::message::DecodeError;

/// Coordinates that share a step under [`Coding::Int8`].
const BLOCK: usize = 256;
/// Bytes of a coordinate under [`Coding::TopK`]: its place and its value.
const PAIR: usize = 8;

/// `[communication]`: how a client's update travels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CommunicationConfig {
    /// What becomes of a coordinate.
    pub update: Coding,
    /// Share of the coordinates that `update = "top-k"` sends, above 0 and at most 1: the largest. What is not sent is added to
    /// the client's next update (error feedback).
    pub keep: f64,
}

impl Default for CommunicationConfig {
    fn default() -> Self {
        Self {
            update: Coding::F32,
            keep: 0.01,
        }
    }
}

/// What becomes of the coordinates of an update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Coding {
    /// They are sent as they are: 4 bytes.
    #[default]
    F32,
    /// Rounded to halves (IEEE 754 binary16): 2 bytes.
    F16,
    /// Rounded at random and without bias to one of 255 steps of their block of 256: little more than 1 byte.
    Int8,
    /// Only the largest are sent, 8 bytes each (Stich et al. 2018, arXiv 1809.07599).
    TopK,
}

/// An update in fewer bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Compact {
    coding: Coding,
    len: u32,
    bytes: Vec<u8>,
}

impl Compact {
    /// Encodes `values`. Under [`Coding::TopK`] the share `keep` of them, at least one.
    pub fn encode(values: &[f32], config: &CommunicationConfig, rng: &mut ChaCha8Rng) -> Self {
        let bytes = match config.update {
            Coding::F32 => values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
            Coding::F16 => values
                .iter()
                .flat_map(|value| half(*value).to_le_bytes())
                .collect(),
            Coding::Int8 => values
                .chunks(BLOCK)
                .flat_map(|block| steps(block, rng))
                .collect(),
            Coding::TopK => largest(values, config.keep)
                .into_iter()
                .flat_map(|place| {
                    let [a, b, c, d] = place.to_le_bytes();
                    let [e, f, g, h] = values[place as usize].to_le_bytes();
                    [a, b, c, d, e, f, g, h]
                })
                .collect(),
        };
        Self {
            coding: config.update,
            len: values.len() as u32,
            bytes,
        }
    }

    /// The update; zeros where nothing was sent.
    pub fn decode(&self) -> Vec<f32> {
        let len = self.len as usize;
        match self.coding {
            Coding::F32 => {
                let values = self.bytes.as_chunks::<4>().0.iter();
                values.map(|bytes| f32::from_le_bytes(*bytes)).collect()
            }
            Coding::F16 => {
                let values = self.bytes.as_chunks::<2>().0.iter();
                values
                    .map(|bytes| f16::from_le_bytes(*bytes).to_f32())
                    .collect()
            }
            Coding::Int8 => {
                let mut values = Vec::with_capacity(len);
                for block in self.bytes.chunks(4 + BLOCK) {
                    let (step, codes) = block.split_at(4.min(block.len()));
                    let step = f32::from_le_bytes(step.try_into().unwrap_or_default());
                    values.extend(codes.iter().map(|code| step * f32::from(*code as i8)));
                }
                values
            }
            Coding::TopK => {
                let mut values = vec![0.0; len];
                for pair in self.bytes.as_chunks::<PAIR>().0 {
                    let (place, value) = unpack(pair);
                    if let Some(slot) = values.get_mut(place as usize) {
                        *slot = value;
                    }
                }
                values
            }
        }
    }

    /// How it travels.
    pub fn coding(&self) -> Coding {
        self.coding
    }

    /// The places that were sent, ascending; `None` where all were.
    pub fn places(&self) -> Option<Vec<u32>> {
        (self.coding == Coding::TopK).then(|| {
            let pairs = self.bytes.as_chunks::<PAIR>().0.iter();
            pairs.map(|pair| unpack(pair).0).collect()
        })
    }

    /// The distance of two neighbouring values in each block of [`Self::BLOCK`] coordinates, where there is one: no coordinate is
    /// further than that from what the client had. Empty but for [`Coding::Int8`].
    pub fn steps(&self) -> Vec<f32> {
        if self.coding != Coding::Int8 {
            return Vec::new();
        }
        let blocks = self.bytes.chunks(4 + BLOCK);
        blocks
            .filter_map(|block| Some(f32::from_le_bytes(*block.first_chunk::<4>()?)))
            .collect()
    }

    /// Coordinates that share a step under [`Coding::Int8`].
    pub const BLOCK: usize = BLOCK;

    /// Coordinates of the update.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn parts(&self) -> (u8, u32, &[u8]) {
        let coding = match self.coding {
            Coding::F32 => 0,
            Coding::F16 => 1,
            Coding::Int8 => 2,
            Coding::TopK => 3,
        };
        (coding, self.len, &self.bytes)
    }

    /// The update with these parts, if they fit each other: `None` for bytes of another number, or places that are not in order
    /// or beyond the update.
    pub(crate) fn from_parts(coding: u8, len: u32, bytes: &[u8]) -> Option<Self> {
        let n = len as usize;
        let (coding, fits) = match coding {
            0 => (Coding::F32, bytes.len() == 4 * n),
            1 => (Coding::F16, bytes.len() == 2 * n),
            2 => (Coding::Int8, bytes.len() == n + 4 * n.div_ceil(BLOCK)),
            3 => (Coding::TopK, ordered(bytes, len)),
            _ => return None,
        };
        fits.then(|| Self {
            coding,
            len,
            bytes: bytes.to_vec(),
        })
    }
}

fn unpack(pair: &[u8; PAIR]) -> (u32, f32) {
    let [a, b, c, d, e, f, g, h] = *pair;
    (
        u32::from_le_bytes([a, b, c, d]),
        f32::from_le_bytes([e, f, g, h]),
    )
}

/// Whether the places of pairs ascend and are below `len`.
fn ordered(bytes: &[u8], len: u32) -> bool {
    let (pairs, []) = bytes.as_chunks::<PAIR>() else {
        return false;
    };
    let places = pairs.iter().map(|pair| unpack(pair).0);
    places.is_sorted_by(|a, b| a < b) && pairs.last().is_none_or(|last| unpack(last).0 < len)
}

/// The nearest half; the largest one for what is larger, so that a large update is cut and not refused.
fn half(value: f32) -> f16 {
    let half = f16::from_f32(value);
    match half.is_infinite() && value.is_finite() {
        true => f16::MAX.copysign(half),
        false => half,
    }
}

/// A step, and a code for each value: rounded up or down at random, so that its mean is the value.
fn steps(block: &[f32], rng: &mut ChaCha8Rng) -> Vec<u8> {
    // NaN and infinity make the step what they are, and the receiver refuses the update.
    let most = block
        .iter()
        .fold(0.0_f32, |most, value| match value.is_nan() {
            true => f32::NAN,
            false if most.is_nan() => most,
            false => most.max(value.abs()),
        });
    let step = most / 127.0;
    let mut out = Vec::with_capacity(4 + block.len());
    out.extend(step.to_le_bytes());
    for value in block {
        let uniform: f32 = rng.random();
        let code = match step > 0.0 {
            true => (value / step + uniform).floor().clamp(-127.0, 127.0),
            false => 0.0,
        };
        out.push(code as i8 as u8);
    }
    // A code of zero would hide a step that is not a number.
    if !step.is_finite() && !block.is_empty() {
        out[4] = 1;
    }
    out
}

/// The places of the largest values, ascending; of equal ones the first.
fn largest(values: &[f32], keep: f64) -> Vec<u32> {
    let count = ((keep * values.len() as f64).ceil() as usize).clamp(1, values.len().max(1));
    let mut places: Vec<u32> = (0..values.len() as u32).collect();
    if count < places.len() {
        places.select_nth_unstable_by(count, |a, b| {
            let size = |place: &u32| values[*place as usize].abs();
            size(b).total_cmp(&size(a)).then(a.cmp(b))
        });
        places.truncate(count);
    }
    places.sort_unstable();
    places
}

/// The error of bytes that are no compact update.
pub(crate) fn misfit(offset: usize, coding: u8) -> DecodeError {
    DecodeError::Invalid {
        what: "compact update",
        offset,
        got: coding.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;

    use super::*;

    fn config(update: Coding, keep: f64) -> CommunicationConfig {
        CommunicationConfig { update, keep }
    }

    fn sent(values: &[f32], config: &CommunicationConfig) -> Vec<f32> {
        let compact = Compact::encode(values, config, &mut ChaCha8Rng::seed_from_u64(1));
        let (coding, len, bytes) = compact.parts();
        let again = Compact::from_parts(coding, len, bytes);
        assert_eq!(again.as_ref(), Some(&compact));
        compact.decode()
    }

    #[test]
    fn halves_are_near_and_never_infinite() {
        let values = [0.0, 1.0, -0.1, 1e-7, 7e4, -1e30];
        let got = sent(&values, &config(Coding::F16, 1.0));
        assert_eq!(got[..2], [0.0, 1.0]);
        assert!((got[2] + 0.1).abs() < 1e-4);
        assert_eq!(got[4..], [65504.0, -65504.0]);
    }

    #[test]
    fn the_largest_are_sent_exactly() {
        let values = [0.1, -5.0, 0.0, 2.0, -2.0, 0.3];
        let got = sent(&values, &config(Coding::TopK, 0.5));
        assert_eq!(got, [0.0, -5.0, 0.0, 2.0, -2.0, 0.0]);
        assert_eq!(sent(&values, &config(Coding::TopK, 0.001))[1], -5.0);
        assert_eq!(sent(&values, &config(Coding::TopK, 1.0)), values);
    }

    #[test]
    fn bytes_have_no_bias() {
        // 20,000 roundings of each value: within 5 standard errors but once in 1.7 million.
        let mut values = vec![0.3; 20_000];
        for block in values.chunks_mut(BLOCK) {
            block[0] = 1.0;
        }
        let got = sent(&values, &config(Coding::Int8, 1.0));
        let mean = got
            .iter()
            .zip(&values)
            .map(|(a, b)| f64::from(a - b))
            .sum::<f64>()
            / 20_000.0;
        assert!(mean.abs() < 5.0 * 0.5 / 127.0 / 20_000_f64.sqrt(), "{mean}");
        assert!(
            got.iter()
                .all(|value| [0.0, 1.0].iter().all(|end| value >= &0.29 || value == end))
        );
    }

    #[test]
    fn what_is_not_a_number_arrives_as_such() {
        for bad in [f32::NAN, f32::INFINITY] {
            for coding in [Coding::F32, Coding::F16, Coding::Int8, Coding::TopK] {
                let got = sent(&[0.5, bad, 0.25], &config(coding, 0.4));
                assert!(
                    got.iter().any(|value| !value.is_finite()),
                    "{coding:?} {bad}"
                );
            }
        }
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        for (coding, len, bytes) in [
            (0, 2, 7),
            (1, 2, 5),
            (2, 2, 7),
            (2, 257, 261),
            (3, 2, 9),
            (4, 0, 0),
        ] {
            assert_eq!(Compact::from_parts(coding, len, &vec![0; bytes]), None);
        }
        let pairs = |places: &[u32]| -> Vec<u8> {
            let pair = |place: &u32| [place.to_le_bytes(), 1.0_f32.to_le_bytes()].concat();
            places.iter().flat_map(pair).collect()
        };
        assert!(Compact::from_parts(3, 5, &pairs(&[0, 4])).is_some());
        for places in [&[0, 5][..], &[1, 1], &[2, 1]] {
            assert_eq!(Compact::from_parts(3, 5, &pairs(places)), None);
        }
    }

    proptest! {
        #[test]
        fn every_coding_keeps_the_length_and_its_error(
            values in prop::collection::vec(-10.0_f32..10.0, 1..600),
            which in 0_usize..4,
        ) {
            let coding = [Coding::F32, Coding::F16, Coding::Int8, Coding::TopK][which];
            let got = sent(&values, &config(coding, 0.1));
            prop_assert_eq!(got.len(), values.len());
            for (block, sent) in values.chunks(BLOCK).zip(got.chunks(BLOCK)) {
                let most = block.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
                let error = match coding {
                    Coding::F32 => 0.0,
                    Coding::F16 => most / 2048.0,
                    Coding::Int8 => most / 127.0 * 1.001,
                    Coding::TopK => most,
                };
                for (a, b) in block.iter().zip(sent) {
                    prop_assert!((a - b).abs() <= error);
                }
            }
        }
    }
}
