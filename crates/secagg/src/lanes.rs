//! The vector that clients send: d lanes of 16 or 32 bits for the model, then m lanes of 64 bits for counts and metrics.
//!
//! Everything is little-endian. The model lanes are followed by zero lanes up to a multiple of 16 bytes, so that the
//! 64-bit lanes start on a block of the mask's cipher. All sums wrap modulo 2^16, 2^32 and 2^64: masks are uniform there
//! and cancel exactly. Quantised values must be small enough not to wrap by themselves; that is for the encoder.

use std::fmt;

use thiserror::Error;
use zeroize::Zeroize;

/// Most 64-bit lanes of a vector.
pub const MAX_META: usize = 256;

/// Bytes to which the model lanes are padded: a block of AES.
const BLOCK: usize = 16;

/// Width of the model's lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// 16 bits, sums modulo 2^16.
    U16,
    /// 32 bits, sums modulo 2^32.
    U32,
}

impl Lane {
    /// Bytes of a lane.
    pub fn bytes(self) -> usize {
        match self {
            Lane::U16 => 2,
            Lane::U32 => 4,
        }
    }

    /// Bits of a lane.
    pub fn bits(self) -> u32 {
        match self {
            Lane::U16 => 16,
            Lane::U32 => 32,
        }
    }
}

/// Which lanes a vector has. All parties of a round must agree on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneLayout {
    /// Width of the model's lanes.
    pub lane: Lane,
    /// d, the number of model lanes.
    pub model: usize,
    /// m, the number of 64-bit lanes, at most [`MAX_META`].
    pub meta: usize,
}

impl LaneLayout {
    /// A layout; `None` with more than [`MAX_META`] 64-bit lanes, or where the bytes would not fit the address space.
    pub fn new(lane: Lane, model: usize, meta: usize) -> Option<Self> {
        let layout = Self { lane, model, meta };
        layout.is_valid().then_some(layout)
    }

    /// Bytes of the model lanes with their padding, a multiple of 16: where the 64-bit lanes start. Saturates, which no
    /// valid layout reaches.
    pub fn split(&self) -> usize {
        let blocks = self.model.div_ceil(BLOCK / self.lane.bytes());
        blocks.saturating_mul(BLOCK)
    }

    /// Bytes of a vector.
    pub fn len(&self) -> usize {
        self.split().saturating_add(self.meta.saturating_mul(8))
    }

    /// Whether a vector has no lane at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn is_valid(&self) -> bool {
        self.meta <= MAX_META && self.len() <= isize::MAX as usize
    }

    /// Width of the lanes before [`LaneLayout::split`].
    pub(crate) fn width(&self) -> Width {
        match self.lane {
            Lane::U16 => Width::W16,
            Lane::U32 => Width::W32,
        }
    }
}

/// A body whose length is not the layout's.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a vector of {got} bytes where the layout has {expected}")]
pub struct LengthError {
    /// Bytes of the layout.
    pub expected: usize,
    /// Bytes that came.
    pub got: usize,
}

/// The lanes of one client, or a sum of them, as they lie on the wire.
///
/// [`Debug`](fmt::Debug) shows the layout alone. Who holds an unmasked vector should `zeroize` it after use; that sets all
/// lanes to 0 and keeps the layout.
#[derive(Clone, PartialEq, Eq)]
pub struct Vector {
    layout: LaneLayout,
    bytes: Vec<u8>,
}

impl Vector {
    /// All lanes 0.
    pub fn zero(layout: LaneLayout) -> Self {
        Self {
            layout,
            bytes: vec![0; layout.len()],
        }
    }

    /// The vector that `bytes` are; `None` if their length is not the layout's or the layout is not one that
    /// [`LaneLayout::new`] makes. What the padding holds is not checked: under a mask it is not zero.
    pub fn from_bytes(layout: LaneLayout, bytes: Vec<u8>) -> Option<Self> {
        (layout.is_valid() && bytes.len() == layout.len()).then_some(Self { layout, bytes })
    }

    /// Its layout.
    pub fn layout(&self) -> LaneLayout {
        self.layout
    }

    /// The bytes of the wire: model lanes, padding, 64-bit lanes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same, without a copy.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Model lane `i`, below 2^16 or 2^32.
    ///
    /// # Panics
    /// As a slice does, if `i` is not below d.
    pub fn model_lane(&self, i: usize) -> u32 {
        let model = self.model();
        match self.layout.lane {
            Lane::U16 => u16::from_le_bytes(model.as_chunks().0[i]).into(),
            Lane::U32 => u32::from_le_bytes(model.as_chunks().0[i]),
        }
    }

    /// Sets model lane `i` to `value` modulo 2^16 or 2^32.
    ///
    /// # Panics
    /// As a slice does, if `i` is not below d.
    pub fn set_model(&mut self, i: usize, value: u32) {
        let lane = self.layout.lane;
        let model = self.model_mut();
        match lane {
            Lane::U16 => model.as_chunks_mut().0[i] = (value as u16).to_le_bytes(),
            Lane::U32 => model.as_chunks_mut().0[i] = value.to_le_bytes(),
        }
    }

    /// Sets model lanes 0, 1, ... to the values modulo 2^16 or 2^32 until either ends, and says how many were set. At most
    /// d values are taken; lanes for which there is none keep theirs.
    pub fn fill_model(&mut self, values: impl IntoIterator<Item = u32>) -> usize {
        let lane = self.layout.lane;
        let model = self.model_mut();
        let mut count = 0;
        // The lanes come first in the zip: at their end no value is taken that would be lost.
        match lane {
            Lane::U16 => {
                for (to, value) in model.as_chunks_mut().0.iter_mut().zip(values) {
                    *to = (value as u16).to_le_bytes();
                    count += 1;
                }
            }
            Lane::U32 => {
                for (to, value) in model.as_chunks_mut().0.iter_mut().zip(values) {
                    *to = value.to_le_bytes();
                    count += 1;
                }
            }
        }
        count
    }

    /// The d model lanes in order.
    pub fn model_lanes(&self) -> impl Iterator<Item = u32> + '_ {
        // One of the two is empty, so that both widths have one type.
        let (narrow, wide) = match self.layout.lane {
            Lane::U16 => (self.model(), &[][..]),
            Lane::U32 => (&[][..], self.model()),
        };
        let narrow = narrow.as_chunks().0.iter();
        let wide = wide.as_chunks().0.iter();
        narrow
            .map(|&lane| u16::from_le_bytes(lane).into())
            .chain(wide.map(|&lane| u32::from_le_bytes(lane)))
    }

    /// 64-bit lane `i`.
    ///
    /// # Panics
    /// As a slice does, if `i` is not below m.
    pub fn meta(&self, i: usize) -> u64 {
        u64::from_le_bytes(self.bytes[self.layout.split()..].as_chunks().0[i])
    }

    /// Sets 64-bit lane `i`.
    ///
    /// # Panics
    /// As a slice does, if `i` is not below m.
    pub fn set_meta(&mut self, i: usize, value: u64) {
        let split = self.layout.split();
        self.bytes[split..].as_chunks_mut().0[i] = value.to_le_bytes();
    }

    /// Whether the padding between the model lanes and the 64-bit lanes is zero, as it must be once all masks are off.
    pub fn padding_is_zero(&self) -> bool {
        let start = self.model().len();
        self.bytes[start..self.layout.split()]
            .iter()
            .all(|&byte| byte == 0)
    }

    /// Adds a vector of the same layout, given as the bytes of the wire: every lane, padding too, modulo its width.
    ///
    /// # Errors
    /// [`LengthError`] if the length is not the layout's; the vector is then as it was.
    pub fn add(&mut self, other: &[u8]) -> Result<(), LengthError> {
        if other.len() != self.bytes.len() {
            return Err(LengthError {
                expected: self.bytes.len(),
                got: other.len(),
            });
        }
        let (other_model, other_meta) = other.split_at(self.layout.split());
        let width = self.layout.width();
        let (model, meta) = self.regions_mut();
        combine(model, other_model, width, Sign::Add);
        combine(meta, other_meta, Width::W64, Sign::Add);
        Ok(())
    }

    /// The model lanes with their padding, and the 64-bit lanes.
    pub(crate) fn regions_mut(&mut self) -> (&mut [u8], &mut [u8]) {
        self.bytes.split_at_mut(self.layout.split())
    }

    fn model(&self) -> &[u8] {
        &self.bytes[..self.layout.model * self.layout.lane.bytes()]
    }

    fn model_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.layout.model * self.layout.lane.bytes()]
    }
}

impl Zeroize for Vector {
    fn zeroize(&mut self) {
        // Not `Vec::zeroize`, which leaves an empty vector.
        self.bytes.as_mut_slice().zeroize();
    }
}

impl fmt::Debug for Vector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vector")
            .field("layout", &self.layout)
            .finish_non_exhaustive()
    }
}

/// Width of the lanes of a stretch of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    W16,
    W32,
    W64,
}

/// Whether a vector is added or subtracted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Added.
    Add,
    /// Subtracted.
    Subtract,
}

/// Adds `from` to `to` or subtracts it, lane by lane, as far as the shorter goes in whole lanes.
#[inline(always)]
pub(crate) fn combine(to: &mut [u8], from: &[u8], width: Width, sign: Sign) {
    macro_rules! each {
        ($lane:ty, $operation:ident) => {
            for (to, from) in to.as_chunks_mut().0.iter_mut().zip(from.as_chunks().0) {
                let sum = <$lane>::from_le_bytes(*to).$operation(<$lane>::from_le_bytes(*from));
                *to = sum.to_le_bytes();
            }
        };
    }
    match (width, sign) {
        (Width::W16, Sign::Add) => each!(u16, wrapping_add),
        (Width::W16, Sign::Subtract) => each!(u16, wrapping_sub),
        (Width::W32, Sign::Add) => each!(u32, wrapping_add),
        (Width::W32, Sign::Subtract) => each!(u32, wrapping_sub),
        (Width::W64, Sign::Add) => each!(u64, wrapping_add),
        (Width::W64, Sign::Subtract) => each!(u64, wrapping_sub),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layouts() -> impl Strategy<Value = LaneLayout> {
        (
            prop_oneof![Just(Lane::U16), Just(Lane::U32)],
            0..70usize,
            0..5usize,
        )
            .prop_map(|(lane, model, meta)| LaneLayout { lane, model, meta })
    }

    fn layout(lane: Lane, model: usize, meta: usize) -> LaneLayout {
        LaneLayout::new(lane, model, meta).unwrap()
    }

    #[test]
    fn the_bytes_of_the_wire_are_these() {
        let mut vector = Vector::zero(layout(Lane::U16, 3, 1));
        assert_eq!(vector.fill_model([0x0102, 0x1_0304, 5, 9]), 3);
        vector.set_meta(0, 0x0807_0605_0403_0201);
        let expected = [
            2, 1, 4, 3, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8,
        ];
        assert_eq!(vector.bytes(), expected);
        let mut vector = Vector::zero(layout(Lane::U32, 5, 1));
        vector.set_model(4, 0x0403_0201);
        vector.set_meta(0, 1);
        assert_eq!(vector.bytes().len(), 40);
        assert_eq!(vector.bytes()[16..20], [1, 2, 3, 4]);
        assert_eq!(vector.into_bytes()[32..], [1, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn lengths_of_layouts() {
        for (lane, d, m, split, len) in [
            (Lane::U16, 0, 0, 0, 0),
            (Lane::U16, 1, 0, 16, 16),
            (Lane::U16, 8, 1, 16, 24),
            (Lane::U16, 9, 256, 32, 2080),
            (Lane::U32, 4, 0, 16, 16),
            (Lane::U32, 5, 3, 32, 56),
        ] {
            let layout = layout(lane, d, m);
            assert_eq!((layout.split(), layout.len()), (split, len));
            assert_eq!(layout.is_empty(), len == 0);
        }
        assert_eq!(LaneLayout::new(Lane::U32, 4, 257), None);
        assert_eq!(LaneLayout::new(Lane::U32, usize::MAX, 0), None);
        assert_eq!(LaneLayout::new(Lane::U16, usize::MAX / 2 - 100, 256), None);
        let absurd = LaneLayout {
            lane: Lane::U32,
            model: usize::MAX,
            meta: usize::MAX,
        };
        assert_eq!(Vector::from_bytes(absurd, Vec::new()), None);
    }

    #[test]
    fn sums_wrap_in_each_width() {
        for (lane, top) in [(Lane::U16, 0xffff), (Lane::U32, 0xffff_ffff)] {
            let layout = layout(lane, 9, 2);
            let mut one = Vector::zero(layout);
            let mut all = Vector::zero(layout);
            one.fill_model(std::iter::repeat_n(1, 9));
            all.fill_model(std::iter::repeat_n(top, 8));
            one.set_meta(0, 1);
            all.set_meta(0, u64::MAX);
            all.add(one.bytes()).unwrap();
            // No lane carries into its neighbour.
            assert_eq!(all.model_lanes().collect::<Vec<_>>()[..8], [0; 8]);
            assert_eq!((all.model_lane(8), all.meta(0), all.meta(1)), (1, 0, 0));
        }
    }

    #[test]
    fn a_body_of_another_length_changes_nothing() {
        let mut vector = Vector::zero(layout(Lane::U32, 5, 1));
        vector.fill_model(1..);
        let before = vector.clone();
        for got in [0, 39, 41, 80] {
            let error = vector.add(&vec![1; got]).unwrap_err();
            assert_eq!(error, LengthError { expected: 40, got });
            assert_eq!(Vector::from_bytes(vector.layout(), vec![0; got]), None);
        }
        assert_eq!(vector, before);
    }

    #[test]
    fn padding_is_seen() {
        let layout = layout(Lane::U16, 3, 1);
        for at in 0..layout.len() {
            let mut bytes = vec![0; layout.len()];
            bytes[at] = 1;
            let vector = Vector::from_bytes(layout, bytes).unwrap();
            assert_eq!(vector.padding_is_zero(), !(6..16).contains(&at));
        }
    }

    #[test]
    fn wiping_keeps_the_layout_and_debug_shows_no_lane() {
        let mut vector = Vector::zero(layout(Lane::U32, 5, 1));
        vector.fill_model(std::iter::repeat(777_777));
        vector.set_meta(0, 777_777);
        assert!(!format!("{vector:?}").contains("777"));
        vector.zeroize();
        assert_eq!(vector, Vector::zero(vector.layout()));
    }

    #[test]
    #[should_panic(expected = "out of bounds")]
    fn padding_is_not_a_model_lane() {
        Vector::zero(layout(Lane::U32, 5, 1)).model_lane(5);
    }

    proptest! {
        #[test]
        fn lanes_read_back_and_add_one_by_one(
            layout in layouts(),
            values in prop::collection::vec(any::<(u32, u32)>(), 70),
            metas in prop::collection::vec(any::<(u64, u64)>(), 5),
        ) {
            let modulus = (1u64 << layout.lane.bits()) - 1;
            let mut a = Vector::zero(layout);
            let mut b = Vector::zero(layout);
            prop_assert_eq!(a.fill_model(values.iter().map(|v| v.0)), layout.model);
            for (i, &(_, y)) in values.iter().enumerate().take(layout.model) {
                b.set_model(i, y);
            }
            for (i, &(x, y)) in metas.iter().enumerate().take(layout.meta) {
                a.set_meta(i, x);
                b.set_meta(i, y);
            }
            prop_assert!(a.padding_is_zero() && b.padding_is_zero());
            let copy = Vector::from_bytes(layout, b.bytes().to_vec());
            prop_assert_eq!(copy.as_ref(), Some(&b));
            prop_assert_eq!(b.model_lanes().count(), layout.model);
            for (i, lane) in b.model_lanes().enumerate() {
                prop_assert_eq!(u64::from(lane), u64::from(values[i].1) & modulus);
            }
            a.add(b.bytes()).unwrap();
            prop_assert!(a.padding_is_zero());
            for (i, &(x, y)) in values.iter().enumerate().take(layout.model) {
                let sum = (u64::from(x) + u64::from(y)) & modulus;
                prop_assert_eq!(u64::from(a.model_lane(i)), sum);
            }
            for (i, &(x, y)) in metas.iter().enumerate().take(layout.meta) {
                prop_assert_eq!(a.meta(i), x.wrapping_add(y));
            }
        }

        #[test]
        fn subtracting_undoes_adding(
            to in prop::collection::vec(any::<u8>(), 0..200),
            from in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            for width in [Width::W16, Width::W32, Width::W64] {
                let mut sum = to.clone();
                combine(&mut sum, &from, width, Sign::Add);
                combine(&mut sum, &from, width, Sign::Subtract);
                prop_assert_eq!(&sum, &to);
            }
        }
    }
}
