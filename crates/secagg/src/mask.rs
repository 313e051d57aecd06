//! Masks: pseudorandom vectors that hide an update and cancel in the sum (Bonawitz et al. 2017, section 4).
//!
//! A mask is the keystream of AES-128 in counter mode (NIST SP 800-38A, section 6.5) with a 64-bit little-endian counter
//! in the low half of the block, which wraps without a carry into the high half: the layout of `ctr::Ctr64LE`. The start
//! block is as secret as the key, so that one search over keys does not attack many masks together. Byte k of the stream
//! belongs to byte k of the vector (model lanes, padding, 64-bit lanes); it is added or subtracted lane by lane. Lanes
//! take their full range, so no value of the stream is rejected.
//!
//! The vector is the outer loop and the keys the inner one: 16 KiB stay in the first cache while all masks pass
//! over them, so k masks cost one pass over memory.

use std::fmt;

use aes::Aes128Enc;
use aes::cipher::array::Array;
use aes::cipher::{
    Block, InnerIvInit, KeyInit, KeyIvInit, StreamCipher, StreamCipherCore, StreamCipherSeekCore,
};
use ctr::{Ctr64LE, CtrCore, flavors};
use rayon::prelude::*;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

pub use crate::lanes::Sign;
use crate::lanes::{Vector, Width, combine};

#[cfg(target_arch = "x86_64")]
mod kernels;
#[cfg(test)]
mod tests;

/// Bytes of the vector that all masks pass over before the next ones: half of the smallest first cache in use.
const CHUNK: usize = 16 << 10;

/// Bytes of a block of AES.
const BLOCK: usize = 16;

/// Bytes of keystream that the portable kernel makes before it adds them.
const STRETCH: usize = 2 << 10;

/// Key and start block of one mask. Both are secret; wiped on drop, not shown by `Debug`.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct MaskKey {
    key: [u8; 16],
    start: [u8; 16],
}

impl MaskKey {
    /// From 32 bytes of a key derivation: 16 of key, 16 of start block.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        let mut key = [0; 16];
        let mut start = [0; 16];
        key.copy_from_slice(&bytes[..16]);
        start.copy_from_slice(&bytes[16..]);
        Self { key, start }
    }
}

impl fmt::Debug for MaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MaskKey").finish_non_exhaustive()
    }
}

/// Writes the first `out.len()` bytes of the key's stream.
pub fn stream(key: &MaskKey, out: &mut [u8]) {
    let mut cipher = Ctr64LE::<Aes128Enc>::new(&key.key.into(), &key.start.into());
    // A slice is shorter than the period of 2^68 bytes, so this never runs out.
    cipher.write_keystream(out);
}

/// Code that expands masks. All give the same bits; a later one is faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kernel {
    /// The crates `aes` and `ctr`, for any processor; they too use its AES instructions.
    Portable,
    /// x86-64 with AES-NI: eight blocks in flight, added without a detour through memory.
    AesNi,
    /// x86-64 with VAES and AVX2: sixteen blocks in flight.
    Vaes256,
    /// x86-64 with VAES and AVX-512F and BW: thirty-two blocks in flight.
    Vaes512,
}

impl Kernel {
    const ALL: [Kernel; 4] = [
        Kernel::Portable,
        Kernel::AesNi,
        Kernel::Vaes256,
        Kernel::Vaes512,
    ];

    /// The kernels that this processor can run, slowest first.
    pub fn available() -> Vec<Kernel> {
        let mut all = Self::ALL.to_vec();
        all.retain(|kernel| kernel.is_available());
        all
    }

    /// The fastest of them.
    pub fn best() -> Kernel {
        Kernel::Vaes512.or_below()
    }

    /// This kernel, or the fastest one below it that this processor can run.
    fn or_below(self) -> Kernel {
        let mut below = Self::ALL.into_iter().rev().filter(|&kernel| kernel <= self);
        below
            .find(|kernel| kernel.is_available())
            .unwrap_or(Kernel::Portable)
    }

    #[cfg(target_arch = "x86_64")]
    fn is_available(self) -> bool {
        self == Kernel::Portable || kernels::Set::of(self).is_some()
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn is_available(self) -> bool {
        self == Kernel::Portable
    }
}

/// Adds each key's stream to the vector, or subtracts it, lane by lane, with the fastest kernel.
///
/// `threads` above 1 share the vector; the result does not depend on them, nor on the order of the masks.
pub fn apply(vector: &mut Vector, masks: &[(MaskKey, Sign)], threads: usize) {
    apply_with(Kernel::best(), vector, masks, threads);
}

/// [`apply`] with one kernel, or with the fastest one below it where this processor has not got it. For tests and
/// measurements.
pub fn apply_with(kernel: Kernel, vector: &mut Vector, masks: &[(MaskKey, Sign)], threads: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(set) = kernels::Set::of(kernel.or_below()) {
        let schedule = |(key, sign): &(MaskKey, Sign)| kernels::Schedule::new(set, key, *sign);
        let schedules: Vec<_> = masks.iter().map(schedule).collect();
        return pass(vector, &schedules, threads);
    }
    // Where there is no other kernel, nobody asks which one.
    let _ = kernel;
    let schedules: Vec<_> = masks.iter().map(Portable::new).collect();
    pass(vector, &schedules, threads);
}

/// A mask whose key schedule is made.
trait Expand: Sync {
    /// Adds the stream from block `first` on to `piece`, or subtracts it. `buffer` is room for keystream.
    fn add(&self, buffer: &mut Buffer, piece: &mut [u8], width: Width, first: u64);
}

/// All masks over each chunk of the vector.
fn pass<E: Expand>(vector: &mut Vector, masks: &[E], threads: usize) {
    if masks.is_empty() {
        return;
    }
    let all = |buffer: &mut Buffer, piece: &mut [u8], width: Width, first: usize| {
        for mask in masks {
            mask.add(buffer, piece, width, first as u64);
        }
    };
    let width = vector.layout().width();
    let (model, meta) = vector.regions_mut();
    let chunk = |buffer: &mut Buffer, (i, piece): (usize, &mut [u8])| {
        all(buffer, piece, width, i * (CHUNK / BLOCK));
    };
    let mut buffer = new_buffer();
    all(&mut buffer, meta, Width::W64, model.len() / BLOCK);
    match pool(threads.min(model.len().div_ceil(CHUNK))) {
        Some(pool) => pool.install(|| {
            let chunks = model.par_chunks_mut(CHUNK).enumerate();
            chunks.for_each_init(new_buffer, chunk);
        }),
        None => {
            let chunks = model.chunks_mut(CHUNK).enumerate();
            chunks.for_each(|piece| chunk(&mut buffer, piece));
        }
    }
}

/// `None` where the caller's own thread is to do it, or where the system gives no more.
fn pool(threads: usize) -> Option<rayon::ThreadPool> {
    (threads > 1)
        .then(|| rayon::ThreadPoolBuilder::new().num_threads(threads).build())
        .and_then(Result::ok)
}

/// Keystream on its way into the vector.
type Buffer = Zeroizing<Vec<u8>>;

fn new_buffer() -> Buffer {
    Zeroizing::new(vec![0; STRETCH])
}

/// [`Kernel::Portable`].
struct Portable {
    cipher: Aes128Enc,
    start: Zeroizing<[u8; BLOCK]>,
    sign: Sign,
}

impl Portable {
    fn new((key, sign): &(MaskKey, Sign)) -> Self {
        Self {
            cipher: Aes128Enc::new(&key.key.into()),
            start: Zeroizing::new(key.start),
            sign: *sign,
        }
    }
}

impl Expand for Portable {
    fn add(&self, buffer: &mut Buffer, piece: &mut [u8], width: Width, first: u64) {
        let start: Block<Aes128Enc> = (*self.start).into();
        let mut core = CtrCore::<_, flavors::Ctr64LE>::inner_iv_init(&self.cipher, &start);
        core.set_block_pos(first);
        for piece in piece.chunks_mut(STRETCH) {
            let stream = &mut buffer[..piece.len().next_multiple_of(BLOCK)];
            core.write_keystream_blocks(Array::slice_as_chunks_mut(stream).0);
            combine(piece, stream, width, self.sign);
        }
    }
}
