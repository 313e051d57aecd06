use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::lanes::{Lane, LaneLayout};

fn key(rng: &mut ChaCha8Rng) -> MaskKey {
    let mut bytes = [0; 32];
    rng.fill_bytes(&mut bytes);
    MaskKey::from_bytes(&bytes)
}

fn masks(rng: &mut ChaCha8Rng, count: usize) -> Vec<(MaskKey, Sign)> {
    let mut sign = || {
        let key = key(rng);
        let sign = if rng.next_u32() & 1 == 0 {
            Sign::Add
        } else {
            Sign::Subtract
        };
        (key, sign)
    };
    (0..count).map(|_| sign()).collect()
}

/// A vector of random bytes, padding too.
fn vector(rng: &mut ChaCha8Rng, lane: Lane, model: usize, meta: usize) -> Vector {
    let layout = LaneLayout::new(lane, model, meta).unwrap();
    let mut bytes = vec![0; layout.len()];
    rng.fill_bytes(&mut bytes);
    Vector::from_bytes(layout, bytes).unwrap()
}

/// The masks one lane at a time, from a whole stream each.
fn by_hand(vector: &Vector, masks: &[(MaskKey, Sign)]) -> Vec<u8> {
    let split = vector.layout().split();
    let width = vector.layout().lane.bytes();
    let mut bytes = vector.bytes().to_vec();
    for (key, sign) in masks {
        let mut keystream = vec![0; bytes.len()];
        stream(key, &mut keystream);
        let mut at = 0;
        while at < bytes.len() {
            let width = if at < split { width } else { 8 };
            let lane = |bytes: &[u8]| {
                let mut lane = [0; 8];
                lane[..width].copy_from_slice(&bytes[at..at + width]);
                u64::from_le_bytes(lane)
            };
            let (old, mask) = (lane(&bytes), lane(&keystream));
            let new = match sign {
                Sign::Add => old.wrapping_add(mask),
                Sign::Subtract => old.wrapping_sub(mask),
            };
            bytes[at..at + width].copy_from_slice(&new.to_le_bytes()[..width]);
            at += width;
        }
    }
    bytes
}

fn check(vector: &Vector, masks: &[(MaskKey, Sign)], threads: usize) {
    let expected = by_hand(vector, masks);
    for kernel in Kernel::available() {
        let mut masked = vector.clone();
        apply_with(kernel, &mut masked, masks, threads);
        // Not `assert_eq`, which would print megabytes.
        assert!(
            masked.bytes() == expected,
            "{kernel:?} differs on {:?}, {} masks, {threads} threads",
            vector.layout(),
            masks.len()
        );
    }
}

/// NIST SP 800-38A, F.1.1 (AES-128 in ECB mode): a block of the stream is the encryption of a counter block, so a start
/// block that is one of the plaintexts gives that ciphertext, and two blocks later does one whose low half is less by 2.
#[test]
fn the_stream_is_aes_of_start_plus_counter() {
    let hex = |text: &str| -> [u8; 16] {
        std::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
    };
    let cipher_key = hex("2b7e151628aed2a6abf7158809cf4f3c");
    for (plain, cipher) in [
        (
            "6bc1bee22e409f96e93d7e117393172a",
            "3ad77bb40d7a3660a89ecaf32466ef97",
        ),
        (
            "ae2d8a571e03ac9c9eb76fac45af8e51",
            "f5d3d58503b9699de785895a96fdbaaf",
        ),
        (
            "30c81c46a35ce411e5fbc1191a0a52ef",
            "43b1cd7f598ece23881b00e3ed030688",
        ),
        (
            "f69f2445df4f9b17ad2b417be66c3710",
            "7b0c785e27e8ad3f8223207104725dd4",
        ),
    ] {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&cipher_key);
        bytes[16..].copy_from_slice(&hex(plain));
        let key = key_of(&bytes);
        let mut out = [0; 16];
        stream(&key, &mut out);
        assert_eq!(out, hex(cipher));
        let low = u64::from_le_bytes(bytes[16..24].try_into().unwrap());
        bytes[16..24].copy_from_slice(&low.wrapping_sub(2).to_le_bytes());
        let key = key_of(&bytes);
        for kernel in Kernel::available() {
            let layout = LaneLayout::new(Lane::U32, 12, 0).unwrap();
            let mut vector = Vector::zero(layout);
            apply_with(kernel, &mut vector, &[(key_of(&bytes), Sign::Add)], 1);
            assert_eq!(vector.bytes()[32..], hex(cipher), "{kernel:?}");
        }
        let mut out = [0; 48];
        stream(&key, &mut out);
        assert_eq!(out[32..], hex(cipher));
    }
}

fn key_of(bytes: &[u8; 32]) -> MaskKey {
    MaskKey::from_bytes(bytes)
}

/// Every length from 0 to 4096 lanes in both widths, with 0 to 4 lanes of 64 bits, 1 or 2 masks.
#[test]
fn kernels_agree_at_every_length() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for lane in [Lane::U16, Lane::U32] {
        for model in 0..=4096 {
            let vector = vector(&mut rng, lane, model, model % 5);
            check(&vector, &masks(&mut rng, 1 + model % 2), 1);
        }
    }
}

/// Around the ends of chunks of the vector, and with as many 64-bit lanes as there may be.
#[test]
fn kernels_agree_at_the_ends_of_chunks() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for lane in [Lane::U16, Lane::U32] {
        let chunk = CHUNK / lane.bytes();
        for model in [
            chunk - 9,
            chunk - 1,
            chunk,
            chunk + 1,
            3 * chunk - 1,
            3 * chunk + 7,
        ] {
            for (meta, threads) in [(0, 1), (255, 1), (256, 2), (33, 5)] {
                let vector = vector(&mut rng, lane, model, meta);
                check(&vector, &masks(&mut rng, 3), threads);
            }
        }
    }
}

#[test]
fn the_counter_wraps_without_a_carry() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for before in [
        0u64, 1, 2, 3, 7, 8, 9, 31, 32, 33, 63, 130, 1023, 1024, 1025,
    ] {
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        bytes[16..24].copy_from_slice(&(u64::MAX - before).to_le_bytes());
        let masks = [(key_of(&bytes), Sign::Add)];
        let vector = vector(&mut rng, Lane::U32, 5000, 9);
        check(&vector, &masks, 1);
        // The high half stays: block `before + 1` is that of a start block with the low half 0.
        let at = (before as usize + 1) * BLOCK;
        let mut whole = vec![0; at + BLOCK];
        stream(&masks[0].0, &mut whole);
        bytes[16..24].fill(0);
        let mut wrapped = [0; BLOCK];
        stream(&key_of(&bytes), &mut wrapped);
        assert_eq!(whole[at..], wrapped);
    }
}

#[test]
fn adding_then_subtracting_is_nothing() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    for kernel in Kernel::available() {
        for lane in [Lane::U16, Lane::U32] {
            let before = vector(&mut rng, lane, 20_001, 17);
            let bytes: Vec<[u8; 32]> = (0..9)
                .map(|_| {
                    let mut bytes = [0; 32];
                    rng.fill_bytes(&mut bytes);
                    bytes
                })
                .collect();
            let all = |sign| -> Vec<_> { bytes.iter().map(|b| (key_of(b), sign)).collect() };
            let mut vector = before.clone();
            apply_with(kernel, &mut vector, &all(Sign::Add), 1);
            assert!(vector != before);
            let mut both = all(Sign::Subtract);
            apply_with(kernel, &mut vector, &both, 2);
            assert!(vector == before, "{kernel:?}");
            both.extend(all(Sign::Add));
            apply(&mut vector, &both, 1);
            assert!(vector == before);
            apply_with(kernel, &mut vector, &[], 4);
            assert!(vector == before);
        }
    }
}

#[test]
fn threads_do_not_matter() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let vector = vector(&mut rng, Lane::U32, 100_003, 6);
    let masks = masks(&mut rng, 5);
    for kernel in Kernel::available() {
        let results: Vec<_> = [0, 1, 2, 3, 8]
            .map(|threads| {
                let mut vector = vector.clone();
                apply_with(kernel, &mut vector, &masks, threads);
                vector
            })
            .into();
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
    }
}

#[test]
fn keys_that_differ_in_one_bit_share_no_block() {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let mut bytes = [0; 32];
    rng.fill_bytes(&mut bytes);
    let blocks = |bytes: &[u8; 32]| {
        let mut out = vec![0; 64 * BLOCK];
        stream(&key_of(bytes), &mut out);
        out.as_chunks::<BLOCK>().0.to_vec()
    };
    let mut all = blocks(&bytes);
    // Bits of the key, and of the high half of the start block; the low half is the counter, so streams overlap there.
    for bit in (0..128).chain(192..256) {
        let mut other = bytes;
        other[bit / 8] ^= 1 << (bit % 8);
        all.extend(blocks(&other));
    }
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count);
}

/// Chi-squared over the bytes, and the number of ones, of 2^20 words of a mask of each kernel. The bounds are six standard
/// deviations. A uniform stream passes both but for about 2^-23: the upper tail of chi-squared with 255 degrees of freedom
/// at 390.5 is 1e-7 (Wilson-Hilferty), the two tails of the count of ones 2e-9. The key is fixed, so the test passes
/// always or never.
#[test]
fn a_mask_looks_uniform() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let bytes: [u8; 32] = std::array::from_fn(|_| rng.next_u32() as u8);
    for kernel in Kernel::available() {
        let mut vector = Vector::zero(LaneLayout::new(Lane::U32, 1 << 20, 0).unwrap());
        apply_with(kernel, &mut vector, &[(key_of(&bytes), Sign::Subtract)], 1);
        let mut counts = [0u32; 256];
        let mut ones = 0u32;
        for &byte in vector.bytes() {
            counts[usize::from(byte)] += 1;
            ones += byte.count_ones();
        }
        let expected = f64::from(1 << 22) / 256.0;
        let chi: f64 = counts
            .iter()
            .map(|&count| (f64::from(count) - expected).powi(2) / expected)
            .sum();
        assert!(
            (chi - 255.0).abs() < 6.0 * (2.0f64 * 255.0).sqrt(),
            "{kernel:?}: {chi}"
        );
        // 2^25 fair bits: mean 2^24, standard deviation sqrt(2^23).
        let excess = f64::from(ones) - f64::from(1 << 24);
        assert!(
            excess.abs() < 6.0 * f64::from(1 << 23).sqrt(),
            "{kernel:?}: {excess}"
        );
    }
}

#[test]
fn debug_shows_no_key() {
    assert_eq!(format!("{:?}", key_of(&[42; 32])), "MaskKey { .. }");
}

proptest! {
    #[test]
    fn kernels_agree(
        seed: u64,
        wide: bool,
        model in 0..20_000usize,
        meta in 0..=256usize,
        count in 0..6usize,
        threads in 1..4usize,
    ) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let lane = if wide { Lane::U32 } else { Lane::U16 };
        let vector = vector(&mut rng, lane, model, meta);
        check(&vector, &masks(&mut rng, count), threads);
    }
}
