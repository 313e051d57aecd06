//! Identities and what they sign.

use std::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use rand::CryptoRng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The sender of the server's and the authority's signatures.
pub(crate) const SERVER: u32 = u32::MAX;

/// An Ed25519 signature, or zeros where nothing is signed.
pub type SignatureBytes = [u8; 64];

/// A long-lived signing key: a client's, the server's, or the roster authority's.
#[derive(Clone)]
pub struct Identity(SigningKey);

impl Identity {
    /// The identity with this secret.
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(secret))
    }

    /// A fresh identity.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill_bytes(secret.as_mut());
        Self::from_secret(&secret)
    }

    /// Its public key.
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// Signs `body` as message `kind` of `sender` in `context`.
    pub(crate) fn sign(
        &self,
        kind: u8,
        context: &[u8; 32],
        sender: u32,
        body: &[&[u8]],
    ) -> SignatureBytes {
        self.0.sign(&signed(kind, context, sender, body)).to_bytes()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&"..").finish()
    }
}

/// Whether `signature` is that of the holder of `public` on `body`.
pub(crate) fn verifies(
    public: &[u8; 32],
    kind: u8,
    context: &[u8; 32],
    sender: u32,
    body: &[&[u8]],
    signature: &SignatureBytes,
) -> bool {
    let Ok(key) = VerifyingKey::from_bytes(public) else {
        return false;
    };
    let message = signed(kind, context, sender, body);
    key.verify_strict(&message, &Signature::from_bytes(signature))
        .is_ok()
}

fn signed(kind: u8, context: &[u8; 32], sender: u32, body: &[&[u8]]) -> Vec<u8> {
    let mut hash = Sha256::new();
    for part in body {
        hash.update(part);
    }
    let mut message = b"flsa1-sig\0".to_vec();
    message.push(kind);
    message.extend(context);
    message.extend(sender.to_le_bytes());
    message.extend(hash.finalize());
    message
}
