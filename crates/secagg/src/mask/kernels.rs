//! Masks with the AES instructions of x86-64: the keystream goes from the cipher's registers into the vector.
//!
//! One loop over a trait of vectors of 1, 2 or 4 blocks, compiled for each instruction set. Counters, round keys and the
//! arithmetic of lanes are laid out so that nothing is shuffled: a vector is consecutive blocks in the order of memory.

#![allow(
    unsafe_code,
    reason = "instructions that the processor may lack; a `Set` is made only after they were found"
)]

use std::arch::x86_64::*;

use zeroize::{Zeroize, Zeroizing};

use super::{BLOCK, Buffer, Expand, Kernel, MaskKey, Sign, Width};

/// Rounds of AES-128.
const ROUNDS: usize = 10;

/// Vectors in flight: enough to hide the latency of a round (3 to 5 cycles, one or two rounds started in each).
const FLIGHT: usize = 8;

/// An instruction set that was found on this processor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Set(Kind);

#[derive(Clone, Copy, Debug)]
enum Kind {
    AesNi,
    Vaes256,
    Vaes512,
}

impl Set {
    /// The set that a kernel needs, if this processor has it; `None` too for the portable one.
    pub(super) fn of(kernel: Kernel) -> Option<Self> {
        let aes = is_x86_feature_detected!("aes");
        let vaes = aes && is_x86_feature_detected!("vaes");
        let (kind, found) = match kernel {
            Kernel::Portable => return None,
            Kernel::AesNi => (Kind::AesNi, aes),
            Kernel::Vaes256 => (Kind::Vaes256, vaes && is_x86_feature_detected!("avx2")),
            Kernel::Vaes512 => (
                Kind::Vaes512,
                vaes && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw"),
            ),
        };
        found.then_some(Self(kind))
    }
}

/// Round keys and start block of one mask, wiped on drop.
pub(super) struct Schedule {
    set: Set,
    round_keys: [__m128i; ROUNDS + 1],
    start: __m128i,
    sign: Sign,
}

impl Schedule {
    pub(super) fn new(set: Set, key: &MaskKey, sign: Sign) -> Self {
        // SAFETY: every set has AES-NI.
        let round_keys = unsafe { expand_key(&key.key) };
        // SAFETY: 16 bytes are read, from an array of 16; SSE2 is part of x86-64.
        let start = unsafe { _mm_loadu_si128(key.start.as_ptr().cast()) };
        Self {
            set,
            round_keys,
            start,
            sign,
        }
    }
}

impl Drop for Schedule {
    fn drop(&mut self) {
        self.round_keys.zeroize();
        self.start.zeroize();
    }
}

impl Expand for Schedule {
    fn add(&self, _: &mut Buffer, piece: &mut [u8], width: Width, first: u64) {
        match (width, self.sign) {
            (Width::W16, Sign::Add) => self.dispatch::<16, false>(piece, first),
            (Width::W16, Sign::Subtract) => self.dispatch::<16, true>(piece, first),
            (Width::W32, Sign::Add) => self.dispatch::<32, false>(piece, first),
            (Width::W32, Sign::Subtract) => self.dispatch::<32, true>(piece, first),
            (Width::W64, Sign::Add) => self.dispatch::<64, false>(piece, first),
            (Width::W64, Sign::Subtract) => self.dispatch::<64, true>(piece, first),
        }
    }
}

impl Schedule {
    fn dispatch<const WIDTH: u32, const SUBTRACT: bool>(&self, piece: &mut [u8], first: u64) {
        // SAFETY: the set was found on this processor.
        unsafe {
            match self.set.0 {
                Kind::AesNi => aes_ni::<WIDTH, SUBTRACT>(self, piece, first),
                Kind::Vaes256 => vaes256::<WIDTH, SUBTRACT>(self, piece, first),
                Kind::Vaes512 => vaes512::<WIDTH, SUBTRACT>(self, piece, first),
            }
        }
    }
}

#[target_feature(enable = "sse2,aes")]
fn aes_ni<const WIDTH: u32, const SUBTRACT: bool>(mask: &Schedule, piece: &mut [u8], first: u64) {
    // SAFETY: the instruction set is switched on.
    unsafe { whole::<__m128i, WIDTH, SUBTRACT>(mask, piece, first) }
}

#[target_feature(enable = "avx2,aes,vaes")]
fn vaes256<const WIDTH: u32, const SUBTRACT: bool>(mask: &Schedule, piece: &mut [u8], first: u64) {
    // SAFETY: the instruction set is switched on.
    unsafe { whole::<__m256i, WIDTH, SUBTRACT>(mask, piece, first) }
}

#[target_feature(enable = "avx512f,avx512bw,aes,vaes")]
fn vaes512<const WIDTH: u32, const SUBTRACT: bool>(mask: &Schedule, piece: &mut [u8], first: u64) {
    // SAFETY: the instruction set is switched on.
    unsafe { whole::<__m512i, WIDTH, SUBTRACT>(mask, piece, first) }
}

/// Wide vectors as far as a full flight of them goes, then flights of blocks, single blocks, and a part of a block.
///
/// # Safety
/// The instruction sets of `V` and of `__m128i` must be there.
#[inline(always)]
unsafe fn whole<V: Wide, const WIDTH: u32, const SUBTRACT: bool>(
    mask: &Schedule,
    piece: &mut [u8],
    first: u64,
) {
    // SAFETY: as the caller promises.
    unsafe {
        let (piece, first) = flights::<V, FLIGHT, WIDTH, SUBTRACT>(mask, piece, first);
        let (piece, first) = flights::<__m128i, FLIGHT, WIDTH, SUBTRACT>(mask, piece, first);
        let (piece, first) = flights::<__m128i, 1, WIDTH, SUBTRACT>(mask, piece, first);
        if !piece.is_empty() {
            let mut last = Zeroizing::new([0; BLOCK]);
            last[..piece.len()].copy_from_slice(piece);
            flights::<__m128i, 1, WIDTH, SUBTRACT>(mask, &mut last[..], first);
            piece.copy_from_slice(&last[..piece.len()]);
        }
    }
}

/// Adds the stream from block `first` on, `N` vectors at a time as long as there are so many bytes. Gives back the rest,
/// and the number of its first block.
///
/// # Safety
/// The instruction set of `V` must be there.
#[inline(always)]
unsafe fn flights<'a, V: Wide, const N: usize, const WIDTH: u32, const SUBTRACT: bool>(
    mask: &Schedule,
    piece: &'a mut [u8],
    first: u64,
) -> (&'a mut [u8], u64) {
    let flight = N * V::BLOCKS * BLOCK;
    let (whole, rest) = piece.split_at_mut(piece.len() / flight * flight);
    if whole.is_empty() {
        return (rest, first);
    }
    // SAFETY: the instruction set is there, as the caller promises. Each pointer is to the start of vector `i` of a stretch
    // of `N` vectors.
    unsafe {
        let mut counter = V::broadcast(mask.start).add_64(V::count(first));
        let mut round_keys = [counter; ROUNDS + 1];
        for (wide, key) in round_keys.iter_mut().zip(&mask.round_keys) {
            *wide = V::broadcast(*key);
        }
        for stretch in whole.chunks_exact_mut(flight) {
            let mut x = [counter; N];
            for x in &mut x {
                *x = counter.xor(round_keys[0]);
                counter = counter.add_64(V::step());
            }
            for key in &round_keys[1..ROUNDS] {
                for x in &mut x {
                    *x = x.round(*key);
                }
            }
            for (i, x) in x.iter().enumerate() {
                let at = stretch.as_mut_ptr().add(i * V::BLOCKS * BLOCK);
                let mask = x.last_round(round_keys[ROUNDS]);
                V::load(at).combine::<WIDTH, SUBTRACT>(mask).store(at);
            }
        }
        round_keys.zeroize();
    }
    let blocks = (whole.len() / BLOCK) as u64;
    (rest, first.wrapping_add(blocks))
}

/// The round keys of AES-128 (FIPS 197, section 5.2), in constant time: the S-box is that of the instruction.
#[target_feature(enable = "aes")]
fn expand_key(key: &[u8; 16]) -> [__m128i; ROUNDS + 1] {
    // Words are little-endian, so that the first byte of a word is its lowest.
    let mut words = Zeroizing::new([0u32; 4 * (ROUNDS + 1)]);
    for (word, bytes) in words.iter_mut().zip(key.as_chunks().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    let mut constant = 1u32;
    for i in 4..words.len() {
        let mut word = words[i - 1];
        if i % 4 == 0 {
            // With the word in all four columns, the shift of rows moves nothing.
            let columns = _mm_set1_epi32(word.rotate_right(8).cast_signed());
            let substituted = _mm_aesenclast_si128(columns, _mm_setzero_si128());
            word = _mm_cvtsi128_si32(substituted).cast_unsigned() ^ constant;
            // Powers of x modulo x^8 + x^4 + x^3 + x + 1; public.
            constant = (constant << 1) ^ (if constant & 0x80 == 0 { 0 } else { 0x11b });
        }
        words[i] = words[i - 4] ^ word;
    }
    let block = |i: usize| -> __m128i {
        let word = |j: usize| words[4 * i + j].cast_signed();
        _mm_setr_epi32(word(0), word(1), word(2), word(3))
    };
    std::array::from_fn(block)
}

/// A vector of consecutive blocks, each with its counter in the low 64 bits.
///
/// # Safety
/// Every method may be called only where the processor has the instruction set. Pointers must be valid for a vector; they
/// need no alignment.
trait Wide: Copy + Zeroize {
    /// Blocks of a vector.
    const BLOCKS: usize;

    unsafe fn broadcast(block: __m128i) -> Self;
    /// `first`, `first + 1`, ... in the low halves, 0 in the high ones.
    unsafe fn count(first: u64) -> Self;
    /// [`Wide::BLOCKS`] in the low halves.
    unsafe fn step() -> Self;
    unsafe fn load(from: *const u8) -> Self;
    unsafe fn store(self, to: *mut u8);
    unsafe fn xor(self, other: Self) -> Self;
    unsafe fn add_64(self, other: Self) -> Self;
    /// A round of AES, and the last one.
    unsafe fn round(self, key: Self) -> Self;
    unsafe fn last_round(self, key: Self) -> Self;
    /// The sum, or the difference, in lanes of `WIDTH` bits: 16, 32 or 64.
    unsafe fn combine<const WIDTH: u32, const SUBTRACT: bool>(self, mask: Self) -> Self;
}

macro_rules! wide {
    ($vector:ty, $blocks:literal, $broadcast:expr, |$first:ident| $count:expr, $load:ident $store:ident, $xor:ident,
     $round:ident $last_round:ident, $add_16:ident $sub_16:ident, $add_32:ident $sub_32:ident,
     $add_64:ident $sub_64:ident) => {
        // SAFETY: each method's caller promises the instruction set, and pointers that are valid for a vector.
        impl Wide for $vector {
            const BLOCKS: usize = $blocks;

            #[inline(always)]
            unsafe fn broadcast(block: __m128i) -> Self {
                unsafe { $broadcast(block) }
            }
            #[inline(always)]
            unsafe fn count(first: u64) -> Self {
                let $first = |i: u64| first.wrapping_add(i).cast_signed();
                unsafe { $count }
            }
            #[inline(always)]
            unsafe fn step() -> Self {
                unsafe { $broadcast(_mm_set_epi64x(0, $blocks)) }
            }
            #[inline(always)]
            unsafe fn load(from: *const u8) -> Self {
                unsafe { $load(from.cast()) }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut u8) {
                unsafe { $store(to.cast(), self) }
            }
            #[inline(always)]
            unsafe fn xor(self, other: Self) -> Self {
                unsafe { $xor(self, other) }
            }
            #[inline(always)]
            unsafe fn add_64(self, other: Self) -> Self {
                unsafe { $add_64(self, other) }
            }
            #[inline(always)]
            unsafe fn round(self, key: Self) -> Self {
                unsafe { $round(self, key) }
            }
            #[inline(always)]
            unsafe fn last_round(self, key: Self) -> Self {
                unsafe { $last_round(self, key) }
            }
            #[inline(always)]
            unsafe fn combine<const WIDTH: u32, const SUBTRACT: bool>(self, mask: Self) -> Self {
                unsafe {
                    match (WIDTH, SUBTRACT) {
                        (16, false) => $add_16(self, mask),
                        (16, true) => $sub_16(self, mask),
                        (32, false) => $add_32(self, mask),
                        (32, true) => $sub_32(self, mask),
                        (_, false) => $add_64(self, mask),
                        (_, true) => $sub_64(self, mask),
                    }
                }
            }
        }
    };
}

/// A block is a vector of one.
///
/// # Safety
/// Nothing is asked; it is `unsafe` as its wider siblings are.
#[inline(always)]
unsafe fn same(block: __m128i) -> __m128i {
    block
}

wide!(
    __m128i, 1, same, |at| _mm_set_epi64x(0, at(0)),
    _mm_loadu_si128 _mm_storeu_si128, _mm_xor_si128, _mm_aesenc_si128 _mm_aesenclast_si128,
    _mm_add_epi16 _mm_sub_epi16, _mm_add_epi32 _mm_sub_epi32, _mm_add_epi64 _mm_sub_epi64
);

wide!(
    __m256i, 2, _mm256_broadcastsi128_si256, |at| _mm256_set_epi64x(0, at(1), 0, at(0)),
    _mm256_loadu_si256 _mm256_storeu_si256, _mm256_xor_si256, _mm256_aesenc_epi128 _mm256_aesenclast_epi128,
    _mm256_add_epi16 _mm256_sub_epi16, _mm256_add_epi32 _mm256_sub_epi32, _mm256_add_epi64 _mm256_sub_epi64
);

wide!(
    __m512i, 4, _mm512_broadcast_i32x4, |at| _mm512_set_epi64(0, at(3), 0, at(2), 0, at(1), 0, at(0)),
    _mm512_loadu_si512 _mm512_storeu_si512, _mm512_xor_si512, _mm512_aesenc_epi128 _mm512_aesenclast_epi128,
    _mm512_add_epi16 _mm512_sub_epi16, _mm512_add_epi32 _mm512_sub_epi32, _mm512_add_epi64 _mm512_sub_epi64
);

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 197, appendix A.1.
    #[test]
    fn round_keys_are_those_of_the_standard() {
        if !is_x86_feature_detected!("aes") {
            return;
        }
        let key = 0x2b7e_1516_28ae_d2a6_abf7_1588_09cf_4f3c_u128.to_be_bytes();
        // SAFETY: AES-NI was found; a vector and an array of 16 bytes have the same size, and any bits are valid.
        let round_keys: [[u8; 16]; 11] = unsafe { std::mem::transmute(expand_key(&key)) };
        let expected: [u128; 11] = [
            0x2b7e1516_28aed2a6_abf71588_09cf4f3c,
            0xa0fafe17_88542cb1_23a33939_2a6c7605,
            0xf2c295f2_7a96b943_5935807a_7359f67f,
            0x3d80477d_4716fe3e_1e237e44_6d7a883b,
            0xef44a541_a8525b7f_b671253b_db0bad00,
            0xd4d1c6f8_7c839d87_caf2b8bc_11f915bc,
            0x6d88a37a_110b3efd_dbf98641_ca0093fd,
            0x4e54f70e_5f5fc9f3_84a64fb2_4ea6dc4f,
            0xead27321_b58dbad2_312bf560_7f8d292f,
            0xac7766f3_19fadc21_28d12941_575c006e,
            0xd014f9a8_c9ee2589_e13f0cc8_b6630ca6,
        ];
        assert_eq!(round_keys, expected.map(u128::to_be_bytes));
    }
}
