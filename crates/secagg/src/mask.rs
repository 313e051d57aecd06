//! Masks: pseudorandom vectors that hide an update and cancel in the sum (Bonawitz et al. 2017, section 4).
//!
//! A mask is the keystream of AES-128 in counter mode (NIST SP 800-38A, section 6.5) with a 64-bit little-endian counter
//! in the low half of the block, which wraps without a carry into the high half: the layout of `ctr::Ctr64LE`. The start
//! block is as secret as the key, so that one search over keys does not attack many masks together. Byte k of the stream
//! belongs to byte k of the vector (model lanes, padding, 64-bit lanes); it is added or subtracted lane by lane. Lanes
//! take their full range, so no value of the stream is rejected.
//!
//! The vector is the outer loop and the keys the inner one: [`CHUNK`] bytes stay in the first cache while all masks pass
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
    /// The crates `aes` and `ctr`, for any processor.
    Portable,
}

impl Kernel {
    /// The kernels that this processor can run, slowest first.
    pub fn available() -> Vec<Kernel> {
        vec![Kernel::Portable]
    }

    /// The fastest of them.
    pub fn best() -> Kernel {
        Kernel::Portable
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
    if masks.is_empty() {
        return;
    }
    let _ = kernel;
    let schedules = portable(masks);
    let ((model, width), (meta, meta_width)) = vector.regions_mut();
    let meta_block = (model.len() / BLOCK) as u64;
    let work = |buffer: &mut Buffer, first: u64, piece: &mut [u8], width: Width| {
        for schedule in &schedules {
            schedule.add(buffer, piece, width, first);
        }
    };
    let chunk = |buffer: &mut Buffer, (i, piece): (usize, &mut [u8])| {
        work(buffer, (i * (CHUNK / BLOCK)) as u64, piece, width);
    };
    match pool(threads.min(model.len().div_ceil(CHUNK))) {
        Some(pool) => pool.install(|| {
            model
                .par_chunks_mut(CHUNK)
                .enumerate()
                .for_each_init(buffer, chunk);
        }),
        None => {
            let mut buffer = buffer();
            for piece in model.chunks_mut(CHUNK).enumerate() {
                chunk(&mut buffer, piece);
            }
        }
    }
    work(&mut buffer(), meta_block, meta, meta_width);
}

/// `None` where the caller's own thread is to do it, or where the system gives no more.
fn pool(threads: usize) -> Option<rayon::ThreadPool> {
    (threads > 1)
        .then(|| rayon::ThreadPoolBuilder::new().num_threads(threads).build())
        .and_then(Result::ok)
}

/// Keystream on its way into the vector.
type Buffer = Zeroizing<Vec<u8>>;

fn buffer() -> Buffer {
    Zeroizing::new(vec![0; STRETCH])
}

/// A mask with its key schedule, for the portable kernel.
struct Portable {
    cipher: Aes128Enc,
    start: Zeroizing<[u8; 16]>,
    sign: Sign,
}

fn portable(masks: &[(MaskKey, Sign)]) -> Vec<Portable> {
    masks
        .iter()
        .map(|(key, sign)| Portable {
            cipher: Aes128Enc::new(&key.key.into()),
            start: Zeroizing::new(key.start),
            sign: *sign,
        })
        .collect()
}

impl Portable {
    /// Adds the stream from block `first` on to `piece`.
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
