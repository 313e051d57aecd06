//! A client's secrets, and the keys that are made of them.

use std::fmt;

use chacha20poly1305::aead::Aead;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce};
use hkdf::Hkdf;
use rand::CryptoRng;
use sha2::{Digest, Sha256};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::field::Fe;
use crate::mask::{self, MaskKey};
use crate::shamir::{SHARE_LEN, Share};

/// Two shares and a tag: what one member sends another.
pub const CIPHERTEXT_LEN: usize = 2 * SHARE_LEN + 16;

/// What a client draws afresh for each session, and never uses in another.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secrets {
    /// The mask key pair comes of it; shared, and revealed if the client drops out.
    pub r: [u8; 32],
    /// The self mask comes of it; shared, and revealed if the client survives.
    pub b: [u8; 32],
    /// The channel's secret; never shared.
    pub c: [u8; 32],
    /// The coefficients of the sharing come of it.
    pub z: [u8; 32],
}

impl Secrets {
    /// Draws them.
    pub fn draw(rng: &mut dyn CryptoRng) -> Self {
        let mut secrets = Self {
            r: [0; 32],
            b: [0; 32],
            c: [0; 32],
            z: [0; 32],
        };
        for secret in [
            &mut secrets.r,
            &mut secrets.b,
            &mut secrets.c,
            &mut secrets.z,
        ] {
            rng.fill_bytes(secret);
        }
        secrets
    }

    /// The channel's public key.
    pub fn channel_public(&self) -> [u8; 32] {
        PublicKey::from(&StaticSecret::from(self.c)).to_bytes()
    }

    /// The mask key pair's public key.
    pub fn mask_public(&self) -> [u8; 32] {
        mask_public(&self.r)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(..)")
    }
}

/// HKDF-SHA-256 with an output of 32 bytes.
fn derive(salt: &[u8], secret: &[u8], info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    let expanded =
        Hkdf::<Sha256>::new(Some(salt), secret).expand_multi_info(info, out.as_mut_slice());
    // 32 bytes are one block of the at most 255 that HKDF gives.
    debug_assert!(expanded.is_ok());
    out
}

fn mask_secret(r: &[u8; 32]) -> StaticSecret {
    StaticSecret::from(*derive(&[], r, &[b"flsa1/sk"]))
}

/// The public mask key of whoever drew `r`.
pub(crate) fn mask_public(r: &[u8; 32]) -> [u8; 32] {
    PublicKey::from(&mask_secret(r)).to_bytes()
}

/// A shared secret; `None` if the other's key makes it zero.
fn agree(own: &StaticSecret, other: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
    let shared = own.diffie_hellman(&PublicKey::from(*other));
    shared
        .was_contributory()
        .then(|| Zeroizing::new(*shared.as_bytes()))
}

/// What a channel secret and another's channel key make.
pub(crate) fn channel_agreement(c: &[u8; 32], other: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
    agree(&StaticSecret::from(*c), other)
}

/// The key of the channel `from` -> `to`, for one message.
fn channel_key(
    agreement: &[u8; 32],
    session: &[u8; 32],
    from: u32,
    to: u32,
) -> Zeroizing<[u8; 32]> {
    let info: [&[u8]; 3] = [b"flsa1/enc", &from.to_le_bytes(), &to.to_le_bytes()];
    derive(session, agreement, &info)
}

/// Encrypts a share of b and a share of r for another member.
pub(crate) fn seal(
    agreement: &[u8; 32],
    session: &[u8; 32],
    from: u32,
    to: u32,
    shares: [&Share; 2],
) -> Option<[u8; CIPHERTEXT_LEN]> {
    let mut plain = Zeroizing::new([0; 2 * SHARE_LEN]);
    plain[..SHARE_LEN].copy_from_slice(&shares[0].to_bytes());
    plain[SHARE_LEN..].copy_from_slice(&shares[1].to_bytes());
    let key = channel_key(agreement, session, from, to);
    let cipher = ChaCha20Poly1305::new((&*key).into());
    let sealed = cipher.encrypt(&Nonce::default(), plain.as_slice()).ok()?;
    sealed.try_into().ok()
}

/// Opens what [`seal`] made: the share of b and the share of r.
pub(crate) fn open(
    agreement: &[u8; 32],
    session: &[u8; 32],
    from: u32,
    to: u32,
    ciphertext: &[u8; CIPHERTEXT_LEN],
) -> Option<[Share; 2]> {
    let key = channel_key(agreement, session, from, to);
    let cipher = ChaCha20Poly1305::new((&*key).into());
    let plain = cipher.decrypt(&Nonce::default(), ciphertext.as_slice());
    let plain = Zeroizing::new(plain.ok()?);
    let (shares, rest) = plain.as_chunks::<SHARE_LEN>();
    match (shares, rest) {
        ([b, r], []) => Some([Share::from_bytes(b)?, Share::from_bytes(r)?]),
        _ => None,
    }
}

/// The pair masks of one member: its mask secret is derived once.
pub(crate) struct PairMasks(StaticSecret);

impl PairMasks {
    pub(crate) fn new(r: &[u8; 32]) -> Self {
        Self(mask_secret(r))
    }

    /// The mask with the holder of the mask key `other`; `None` if that key makes a zero secret.
    pub(crate) fn with(
        &self,
        other: &[u8; 32],
        salt: &[u8; 32],
        pair: (u32, u32),
    ) -> Option<MaskKey> {
        let agreement = agree(&self.0, other)?;
        let (low, high) = (pair.0.min(pair.1), pair.0.max(pair.1));
        let info: [&[u8]; 3] = [b"flsa1/mask", &low.to_le_bytes(), &high.to_le_bytes()];
        Some(MaskKey::from_bytes(&derive(
            salt,
            agreement.as_ref(),
            &info,
        )))
    }
}

/// The self mask of `index`, who drew `b`.
pub(crate) fn self_mask(b: &[u8; 32], salt: &[u8; 32], index: u32) -> MaskKey {
    let info: [&[u8]; 2] = [b"flsa1/self", &index.to_le_bytes()];
    MaskKey::from_bytes(&derive(salt, b, &info))
}

/// What `index` tells everybody of its `b`, so that a wrong share shows.
pub(crate) fn commitment(b: &[u8; 32], session: &[u8; 32], index: u32) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix("flsa1/cb");
    hash.update(session);
    hash.update(index.to_le_bytes());
    hash.update(b);
    hash.finalize().into()
}

/// Which secret a sharing is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shared {
    B,
    R,
}

/// The random coefficients of a sharing, one after the other.
pub(crate) struct Coefficients {
    key: MaskKey,
    block: Zeroizing<Vec<u8>>,
    used: usize,
}

impl Coefficients {
    /// For about `expected` coefficients: all are drawn at once, and a new stream position is never needed but for those that
    /// are passed over.
    pub(crate) fn new(z: &[u8; 32], session: &[u8; 32], of: Shared, expected: usize) -> Self {
        let which = [u8::from(of == Shared::R)];
        let bytes = derive(session, z, &[b"flsa1/poly", &which]);
        let key = MaskKey::from_bytes(&bytes);
        let mut block = Zeroizing::new(vec![0; 8 * (expected + 8)]);
        mask::stream(&key, &mut block);
        Self {
            key,
            block,
            used: 0,
        }
    }

    /// The next element.
    pub(crate) fn draw(&mut self) -> Fe {
        Fe::sample(&mut || self.word())
    }

    fn word(&mut self) -> u64 {
        if self.used + 8 > self.block.len() {
            // Never in practice: a word is passed over once in 2^61.
            let longer = self.block.len() + 1024;
            self.block = Zeroizing::new(vec![0; longer]);
            mask::stream(&self.key, &mut self.block);
        }
        let mut word = [0; 8];
        word.copy_from_slice(&self.block[self.used..self.used + 8]);
        self.used += 8;
        u64::from_le_bytes(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shamir::share;

    fn secrets(fill: u8) -> Secrets {
        Secrets {
            r: [fill; 32],
            b: [fill + 1; 32],
            c: [fill + 2; 32],
            z: [fill + 3; 32],
        }
    }

    #[test]
    fn both_ends_of_a_pair_have_one_mask() {
        let (a, b) = (secrets(1), secrets(50));
        let salt = [7; 32];
        let one = PairMasks::new(&a.r)
            .with(&b.mask_public(), &salt, (3, 9))
            .unwrap();
        let two = PairMasks::new(&b.r)
            .with(&a.mask_public(), &salt, (9, 3))
            .unwrap();
        let stream = |key: &MaskKey| {
            let mut out = [0; 64];
            mask::stream(key, &mut out);
            out
        };
        assert_eq!(stream(&one), stream(&two));
        for other in [
            PairMasks::new(&a.r)
                .with(&b.mask_public(), &[8; 32], (3, 9))
                .unwrap(),
            PairMasks::new(&a.r)
                .with(&b.mask_public(), &salt, (3, 8))
                .unwrap(),
            // What drops out with r tells neither the channel nor the self mask.
            self_mask(&a.r, &salt, 3),
        ] {
            assert_ne!(stream(&one), stream(&other));
        }
    }

    #[test]
    fn only_the_receiver_of_this_session_opens() {
        let (a, b) = (secrets(1), secrets(50));
        let shares = share(&a.b, 2, &[0, 1], &mut || Fe::of_index(5));
        let there = channel_agreement(&a.c, &b.channel_public()).unwrap();
        let here = channel_agreement(&b.c, &a.channel_public()).unwrap();
        let session = [3; 32];
        let sealed = seal(&there, &session, 0, 1, [&shares[0], &shares[1]]).unwrap();
        let opened = open(&here, &session, 0, 1, &sealed).unwrap();
        assert_eq!(opened[1].to_bytes(), shares[1].to_bytes());
        assert!(open(&here, &session, 1, 0, &sealed).is_none());
        assert!(open(&here, &[4; 32], 0, 1, &sealed).is_none());
        for place in 0..CIPHERTEXT_LEN {
            let mut changed = sealed;
            changed[place] ^= 1;
            assert!(open(&here, &session, 0, 1, &changed).is_none());
        }
    }

    #[test]
    fn keys_of_small_order_are_refused() {
        assert!(channel_agreement(&[1; 32], &[0; 32]).is_none());
        let mut one = [0; 32];
        one[0] = 1;
        assert!(
            PairMasks::new(&[1; 32])
                .with(&one, &[0; 32], (0, 1))
                .is_none()
        );
    }

    #[test]
    fn secrets_are_not_printed() {
        assert_eq!(format!("{:?}", secrets(65)), "Secrets(..)");
    }
}
