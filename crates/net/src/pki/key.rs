//! Ed25519 keys: in memory, in files, and their fingerprints.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use cloister_host::to_hex;
use cloister_secagg::Identity as SecaggIdentity;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey, KeypairBytes};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use rcgen::{PKCS_ED25519, PublicKeyData, SignatureAlgorithm};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use super::{PkiError, files};

/// What goes before the 32 bytes of a key in its `SubjectPublicKeyInfo` (RFC 8410, section 4).
const SPKI: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Fills an array from the system's source of randomness.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], PkiError> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

fn fill(bytes: &mut [u8]) -> Result<(), PkiError> {
    getrandom::fill(bytes).map_err(|error| PkiError::Randomness(error.to_string()))
}

/// A private key. Wiped from memory when dropped, never in `Debug`.
pub struct PrivateKey(SigningKey);

impl PrivateKey {
    /// A new key.
    ///
    /// # Errors
    /// [`PkiError::Randomness`].
    pub fn generate() -> Result<Self, PkiError> {
        let mut secret = Zeroizing::new([0; 32]);
        fill(secret.as_mut())?;
        Ok(Self(SigningKey::from_bytes(&secret)))
    }

    /// Reads PKCS#8 in PEM, as [`create`](Self::create) writes it.
    ///
    /// # Errors
    /// A file that cannot be read, is no Ed25519 key, or that every user of the machine may read.
    pub fn read(path: &Path) -> Result<Self, PkiError> {
        files::refuse_public(path)?;
        let text = Zeroizing::new(files::read(path)?);
        let text = std::str::from_utf8(&text)
            .map_err(|_| PkiError::broken(path, "not a private key in PEM"))?;
        // The cause is left out: it may quote the file.
        SigningKey::from_pkcs8_pem(text)
            .map(Self)
            .map_err(|_| PkiError::broken(path, "not an Ed25519 private key as PKCS#8 in PEM"))
    }

    /// Writes a new file of mode 0600: PKCS#8 version 1 in PEM (RFC 8410, section 7), which OpenSSL reads too.
    ///
    /// # Errors
    /// A file that is there already or cannot be written.
    pub fn create(&self, path: &Path) -> Result<(), PkiError> {
        let mut bytes = KeypairBytes {
            secret_key: self.0.to_bytes(),
            public_key: None,
        };
        let pem = bytes.to_pkcs8_pem(LineEnding::LF);
        bytes.secret_key.zeroize();
        let pem = pem.map_err(|_| PkiError::broken(path, "the key cannot be encoded"))?;
        files::create_secret(path, pem.as_bytes())
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs what a TLS handshake asks for; see the module about what else this key signs.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// The same key, as it signs messages of secure aggregation and rosters.
    pub fn secagg(&self) -> SecaggIdentity {
        SecaggIdentity::from_secret(&Zeroizing::new(self.0.to_bytes()))
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PrivateKey").field(&"..").finish()
    }
}

/// A key in the shape that certificates are made with.
pub(crate) struct CertificateSigner<'a> {
    key: &'a PrivateKey,
    public: PublicKey,
}

impl<'a> CertificateSigner<'a> {
    pub(crate) fn new(key: &'a PrivateKey) -> Self {
        let public = key.public();
        Self { key, public }
    }
}

impl PublicKeyData for CertificateSigner<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.public.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl rcgen::SigningKey for CertificateSigner<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.key.sign(message).to_vec())
    }
}

/// A public key: 32 bytes of Ed25519 (RFC 8032); 64 hex digits in records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey(pub(crate) [u8; 32]);

impl PublicKey {
    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// SHA-256 of the key's `SubjectPublicKeyInfo`: what `openssl pkey -pubout -outform DER | sha256sum` prints.
    pub fn fingerprint(&self) -> Fingerprint {
        let hash = Sha256::new_with_prefix(SPKI).chain_update(self.0);
        Fingerprint(hash.finalize().into())
    }

    /// Whether the signature is this key's; strict, so that weak keys verify nothing.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(&self.0).is_ok_and(|key| {
            key.verify_strict(message, &Signature::from_bytes(signature))
                .is_ok()
        })
    }
}

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl TryFrom<String> for PublicKey {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        from_hex(&text).map(Self).ok_or("a key has 64 hex digits")
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        to_hex(&key.0)
    }
}

/// What people compare to know that they mean the same key: 16 groups of four hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; 32]);

impl FromStr for Fingerprint {
    type Err = &'static str;

    /// All 64 digits; blanks, `:` and `-` between them and capitals do not matter.
    fn from_str(text: &str) -> Result<Self, &'static str> {
        let digits: String = text
            .chars()
            .filter(|char| !char.is_ascii_whitespace() && !":-".contains(*char))
            .collect();
        from_hex(&digits)
            .map(Self)
            .ok_or("a fingerprint has 16 groups of four hex digits")
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, pair) in self.0.chunks(2).enumerate() {
            let blank = if place == 0 { "" } else { " " };
            write!(f, "{blank}{}", to_hex(pair))?;
        }
        Ok(())
    }
}

fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    crate::plan::from_hex(text)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_people_write_it() {
        let print = PrivateKey::generate().unwrap().public().fingerprint();
        let text = print.to_string();
        assert_eq!(text.len(), 16 * 4 + 15);
        for written in [
            text.clone(),
            text.to_uppercase(),
            text.replace(' ', ""),
            text.replace(' ', ":"),
            format!(" {}\n", text.replace(' ', "-")),
        ] {
            assert_eq!(written.parse(), Ok(print), "{written}");
        }
        for wrong in [
            "",
            "ab",
            &text[..78],
            &format!("{text}0"),
            "é",
            &"zz".repeat(32),
        ] {
            assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_key_of_rfc_8410() {
        // Section 10.3: the private key, and section 10.1: the public one.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        let pem = "-----BEGIN PRIVATE KEY-----\n\
                   MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                   -----END PRIVATE KEY-----\n";
        files::create_secret(&path, pem.as_bytes()).unwrap();
        let key = PrivateKey::read(&path).unwrap();
        assert_eq!(
            String::from(key.public()),
            "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1"
        );
        assert_eq!(key.public().0, key.secagg().public());
        assert_eq!(format!("{key:?}"), "PrivateKey(\"..\")");
        let copy = folder.path().join("copy.pem");
        key.create(&copy).unwrap();
        assert_eq!(std::fs::read_to_string(&copy).unwrap(), pem);
        let again = PrivateKey::generate().unwrap().create(&copy);
        assert!(matches!(again, Err(PkiError::File { .. })), "{again:?}");
        assert_eq!(std::fs::read_to_string(&copy).unwrap(), pem);
    }

    #[test]
    fn no_key_is_made_of_anything_else() {
        let folder = tempfile::tempdir().unwrap();
        for (place, text) in ["", "\u{fffd}", "-----BEGIN PRIVATE KEY-----\nAAAA\n"]
            .iter()
            .enumerate()
        {
            let path = folder.path().join(place.to_string());
            files::create_secret(&path, text.as_bytes()).unwrap();
            let error = PrivateKey::read(&path).unwrap_err();
            assert!(matches!(error, PkiError::Broken { .. }), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_everybody_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        PrivateKey::generate().unwrap().create(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(PrivateKey::read(&path).is_err());
    }
}
