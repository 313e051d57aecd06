//! Who may take part at all: a list that an authority other than the server signs.

use sha2::{Digest, Sha256};

use crate::sign::{Identity, SERVER, SignatureBytes, verifies};
use crate::wire::{DecodeError, Reader};

/// A client that may take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub client: [u8; 16],
    /// Its Ed25519 key; zeros where nothing is signed (mode S).
    pub identity: [u8; 32],
    /// Until when, in seconds since 1970.
    pub not_after: u64,
}

/// The clients that may take part, and the server's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roster {
    server: [u8; 32],
    entries: Vec<Entry>,
    hash: [u8; 32],
}

/// Why a roster is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RosterError {
    /// Not a roster.
    #[error("not a roster: {0}")]
    Format(#[from] DecodeError),
    /// Clients are not in the order of their names, or a name stands twice.
    #[error("client {0} is not before the next one in the order of names")]
    Order(usize),
    /// Two clients have one key.
    #[error("clients {0} and {1} have the same key")]
    DuplicateKey(usize, usize),
    /// The authority's signature does not verify.
    #[error("the authority's signature does not verify")]
    Signature,
}

impl Roster {
    /// The roster of these clients, in the order of their names.
    ///
    /// # Errors
    /// [`RosterError`] for names out of order or repeated, and for a key that stands twice.
    pub fn new(server: [u8; 32], entries: Vec<Entry>) -> Result<Self, RosterError> {
        if let Some(place) = entries
            .windows(2)
            .position(|pair| pair[0].client >= pair[1].client)
        {
            return Err(RosterError::Order(place));
        }
        let mut keys: Vec<([u8; 32], usize)> = entries
            .iter()
            .enumerate()
            .map(|(place, entry)| (entry.identity, place))
            .filter(|(key, _)| *key != [0; 32])
            .collect();
        keys.sort_unstable();
        if let Some(pair) = keys.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(RosterError::DuplicateKey(pair[0].1, pair[1].1));
        }
        let mut roster = Self {
            server,
            entries,
            hash: [0; 32],
        };
        let mut hash = Sha256::new_with_prefix("flsa1-roster");
        hash.update(roster.to_bytes());
        roster.hash = hash.finalize().into();
        Ok(roster)
    }

    /// The server's key.
    pub fn server(&self) -> &[u8; 32] {
        &self.server
    }

    /// The clients.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// SHA-256 of the roster.
    pub fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(36 + 56 * self.entries.len());
        out.extend(self.server);
        out.extend((self.entries.len() as u32).to_le_bytes());
        for entry in &self.entries {
            out.extend(entry.client);
            out.extend(entry.identity);
            out.extend(entry.not_after.to_le_bytes());
        }
        out
    }

    /// Reads a roster and checks the authority's signature on it.
    ///
    /// # Errors
    /// [`RosterError`] for bytes that are none, or that `authority` has not signed.
    pub fn open(
        bytes: &[u8],
        signature: &SignatureBytes,
        authority: &[u8; 32],
    ) -> Result<Self, RosterError> {
        if !verifies(authority, 0, &[0; 32], SERVER, &[bytes], signature) {
            return Err(RosterError::Signature);
        }
        let mut reader = Reader::new(bytes);
        let server = reader.array("server key")?;
        let count = reader.u32("clients")? as usize;
        let entries = reader.arrays::<56>("clients", count)?;
        let entries = entries.iter().map(|bytes| {
            let mut reader = Reader::new(bytes);
            Ok(Entry {
                client: reader.array("client")?,
                identity: reader.array("identity")?,
                not_after: reader.u64("not after")?,
            })
        });
        let entries: Result<Vec<Entry>, DecodeError> = entries.collect();
        Self::new(server, reader.end(entries?)?)
    }

    /// The authority's signature on it.
    pub fn sign(&self, authority: &Identity) -> SignatureBytes {
        authority.sign(0, &[0; 32], SERVER, &[&self.to_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: u8) -> Entry {
        Entry {
            client: [name; 16],
            identity: Identity::from_secret(&[name; 32]).public(),
            not_after: 7,
        }
    }

    #[test]
    fn only_what_the_authority_signed_opens() {
        let authority = Identity::from_secret(&[9; 32]);
        let roster = Roster::new([1; 32], vec![entry(1), entry(2)]).unwrap();
        let (bytes, signature) = (roster.to_bytes(), roster.sign(&authority));
        let public = authority.public();
        assert_eq!(Roster::open(&bytes, &signature, &public), Ok(roster));
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            assert_eq!(
                Roster::open(&changed, &signature, &public),
                Err(RosterError::Signature)
            );
        }
        for end in 0..bytes.len() {
            let cut = &bytes[..end];
            let signature = authority.sign(0, &[0; 32], SERVER, &[cut]);
            assert!(Roster::open(cut, &signature, &public).is_err());
        }
        let other = Identity::from_secret(&[8; 32]).public();
        assert!(Roster::open(&bytes, &signature, &other).is_err());
    }

    #[test]
    fn names_and_keys_stand_once() {
        let order = Roster::new([1; 32], vec![entry(2), entry(1)]);
        assert_eq!(order, Err(RosterError::Order(0)));
        let mut twin = entry(3);
        twin.identity = entry(1).identity;
        let twins = Roster::new([1; 32], vec![entry(1), entry(2), twin]);
        assert_eq!(twins, Err(RosterError::DuplicateKey(0, 2)));
    }
}
