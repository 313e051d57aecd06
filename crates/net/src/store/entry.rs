//! The entries of a round's log, in memory and in bytes.
//!
//! Bytes, numbers little-endian: version (1 byte, 1), kind (1 byte), time (seconds in 8, nanoseconds in 4), and then
//! for the kinds
//!
//! | kind | | |
//! | --- | --- | --- |
//! | 1 | began | 1 byte: 1 if there is noise, then SHA-256 of its 32 bytes; else 0 and 32 zeros |
//! | 2 | parcel | client (4), number (8), part (4), SHA-256 (32), length (8), length of the site's name (1), the name |
//! | 3 | lost | client (4) |
//! | 4 | tick | nothing |
//!
//! The noise itself stands in a file of its own: a database frees pages, but does not wipe them.

use std::fmt;
use std::time::Duration;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::pki::Name;

/// Bytes that the noise of a round comes from.
pub(super) const NOISE: usize = 32;

const VERSION: u8 = 1;
const BEGAN: u8 = 1;
const PARCEL: u8 = 2;
const LOST: u8 = 3;
const TICK: u8 = 4;

/// What happened in a round, in the order in which the director must repeat it after a crash.
#[derive(Clone, PartialEq, Eq)]
pub enum RoundEntry {
    /// The round began.
    Began {
        /// When, since 1970.
        now: Duration,
        /// What its noise comes from.
        noise: Option<Zeroizing<[u8; NOISE]>>,
    },
    /// A parcel was taken.
    Parcel {
        /// When, since 1970.
        now: Duration,
        /// From which site.
        site: String,
        /// The site's client number.
        client: u32,
        /// The number of the message that it answers.
        number: u64,
        /// Tells apart several parcels that answer one message.
        part: u32,
        /// SHA-256 of its bytes.
        sha256: [u8; 32],
        /// Its length.
        bytes: u64,
    },
    /// A client is not waited for any more.
    Lost {
        /// When, since 1970.
        now: Duration,
        /// The client's number.
        client: u32,
    },
    /// Time passed.
    Tick {
        /// The time, since 1970.
        now: Duration,
    },
}

impl fmt::Debug for RoundEntry {
    /// Without the noise.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Began { now, noise } => {
                let noise = noise.as_ref().map(|_| "..");
                write!(f, "Began {{ now: {now:?}, noise: {noise:?} }}")
            }
            Self::Parcel {
                now,
                site,
                client,
                number,
                part,
                bytes,
                ..
            } => write!(
                f,
                "Parcel {{ now: {now:?}, site: {site:?}, client: {client}, number: {number}, part: {part}, bytes: {bytes} }}"
            ),
            Self::Lost { now, client } => write!(f, "Lost {{ now: {now:?}, client: {client} }}"),
            Self::Tick { now } => write!(f, "Tick {{ now: {now:?} }}"),
        }
    }
}

/// An entry as it is read back: the noise is still in its file.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) entry: RoundEntry,
    /// SHA-256 of the noise of a round that began with some.
    pub(super) noise: Option<[u8; 32]>,
}

impl RoundEntry {
    /// The bytes of the entry; none of the noise is in them.
    pub(super) fn encode(&self) -> Result<Vec<u8>, String> {
        let mut bytes = vec![VERSION];
        let head = |bytes: &mut Vec<u8>, kind: u8, now: &Duration| {
            bytes.push(kind);
            bytes.extend(now.as_secs().to_le_bytes());
            bytes.extend(now.subsec_nanos().to_le_bytes());
        };
        match self {
            Self::Began { now, noise } => {
                head(&mut bytes, BEGAN, now);
                bytes.push(u8::from(noise.is_some()));
                let digest = noise.as_ref().map(|noise| digest_of_noise(noise));
                bytes.extend(digest.unwrap_or_default());
            }
            Self::Parcel {
                now,
                site,
                client,
                number,
                part,
                sha256,
                bytes: length,
            } => {
                let site = checked(site)?;
                head(&mut bytes, PARCEL, now);
                bytes.extend(client.to_le_bytes());
                bytes.extend(number.to_le_bytes());
                bytes.extend(part.to_le_bytes());
                bytes.extend(sha256);
                bytes.extend(length.to_le_bytes());
                // A name has at most 64 bytes.
                bytes.push(site.len() as u8);
                bytes.extend(site.as_bytes());
            }
            Self::Lost { now, client } => {
                head(&mut bytes, LOST, now);
                bytes.extend(client.to_le_bytes());
            }
            Self::Tick { now } => head(&mut bytes, TICK, now),
        }
        Ok(bytes)
    }

    /// The entry of bytes as [`encode`](Self::encode) makes them, and of no others.
    pub(super) fn decode(bytes: &[u8]) -> Result<Stored, &'static str> {
        let mut rest = Reader(bytes);
        if rest.one()? != VERSION {
            return Err("its version is not known");
        }
        let kind = rest.one()?;
        let (seconds, nanos) = (u64::from_le_bytes(rest.some()?), rest.number()?);
        if nanos >= 1_000_000_000 {
            return Err("its time is none");
        }
        let now = Duration::new(seconds, nanos);
        let mut noise = None;
        let entry = match kind {
            BEGAN => {
                let (has_noise, digest) = (rest.one()?, rest.some()?);
                noise = match has_noise {
                    0 if digest == [0; 32] => None,
                    1 => Some(digest),
                    _ => return Err("it does not say whether there is noise"),
                };
                Self::Began { now, noise: None }
            }
            PARCEL => {
                let client = rest.number()?;
                let number = u64::from_le_bytes(rest.some()?);
                let part = rest.number()?;
                let sha256 = rest.some()?;
                let bytes = u64::from_le_bytes(rest.some()?);
                let length = usize::from(rest.one()?);
                let site = std::str::from_utf8(rest.bytes(length)?);
                let site = site.ok().filter(|site| checked(site).is_ok());
                Self::Parcel {
                    now,
                    site: site.ok_or("its site has no name")?.to_owned(),
                    client,
                    number,
                    part,
                    sha256,
                    bytes,
                }
            }
            LOST => Self::Lost {
                now,
                client: rest.number()?,
            },
            TICK => Self::Tick { now },
            _ => return Err("its kind is not known"),
        };
        match rest.0 {
            [] => Ok(Stored { entry, noise }),
            _ => Err("something stands behind it"),
        }
    }

    /// The name of a parcel's file, `None` for other entries. It has the digest in it, so that two that claim to be the
    /// same parcel do not overwrite each other; and the site's name, which [`encode`](Self::encode) has checked.
    pub(super) fn file(&self) -> Option<String> {
        let Self::Parcel {
            site,
            number,
            part,
            sha256,
            ..
        } = self
        else {
            return None;
        };
        checked(site).ok()?;
        let sha256 = cloister_host::to_hex(sha256);
        Some(format!("{number}-{part}-{site}-{sha256}.bin"))
    }
}

/// SHA-256 of what noise comes from. The secret has 256 random bits, which a digest does not tell.
pub(super) fn digest_of_noise(noise: &[u8; NOISE]) -> [u8; 32] {
    Sha256::new_with_prefix("cloister-noise")
        .chain_update(noise)
        .finalize()
        .into()
}

/// Names of sites become names of files.
fn checked(site: &str) -> Result<&str, String> {
    match site.parse::<Name>() {
        Ok(_) => Ok(site),
        Err(error) => Err(error.to_string()),
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], &'static str> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or("it is cut off")?;
        self.0 = rest;
        Ok(bytes)
    }

    fn some<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or("it is cut off")?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn one(&mut self) -> Result<u8, &'static str> {
        Ok(u8::from_le_bytes(self.some()?))
    }

    fn number(&mut self) -> Result<u32, &'static str> {
        Ok(u32::from_le_bytes(self.some()?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entries() -> Vec<RoundEntry> {
        let now = Duration::new(1_765_000_000, 999_999_999);
        vec![
            RoundEntry::Began { now, noise: None },
            RoundEntry::Parcel {
                now,
                site: "hospital-a.example".to_owned(),
                client: 3,
                number: u64::MAX,
                part: 1,
                sha256: [7; 32],
                bytes: 1 << 40,
            },
            RoundEntry::Lost { now, client: 9 },
            RoundEntry::Tick { now },
        ]
    }

    #[test]
    fn entries_come_back_as_they_were() {
        for entry in entries() {
            let bytes = entry.encode().unwrap();
            let stored = RoundEntry::decode(&bytes).unwrap();
            assert_eq!(stored.entry, entry);
            assert_eq!(stored.noise, None);
            for end in 0..bytes.len() {
                assert!(RoundEntry::decode(&bytes[..end]).is_err(), "{entry:?}");
            }
            assert!(RoundEntry::decode(&[&bytes[..], &[0]].concat()).is_err());
        }
    }

    #[test]
    fn noise_is_not_in_the_bytes_nor_in_words() {
        let secret = *b"0123456789abcdef0123456789abcdef";
        let entry = RoundEntry::Began {
            now: Duration::ZERO,
            noise: Some(Zeroizing::new(secret)),
        };
        let bytes = entry.encode().unwrap();
        assert!(!bytes.windows(8).any(|part| part == &secret[..8]));
        let stored = RoundEntry::decode(&bytes).unwrap();
        assert_eq!(stored.noise, Some(digest_of_noise(&secret)));
        let words = format!("{entry:?}");
        assert!(words.contains("..") && !words.contains("48, 49"), "{words}");
    }

    #[test]
    fn a_site_is_no_way_out_of_the_folder() {
        for site in ["", "..", "../a", "a/b", "a\0", &"a".repeat(65)] {
            let entry = RoundEntry::Parcel {
                now: Duration::ZERO,
                site: site.to_owned(),
                client: 0,
                number: 0,
                part: 0,
                sha256: [0; 32],
                bytes: 0,
            };
            assert!(entry.encode().is_err(), "{site}");
            assert_eq!(entry.file(), None, "{site}");
        }
    }

    proptest! {
        #[test]
        fn other_bytes_are_refused_or_mean_one_entry(
            start in prop::sample::select(vec![0_usize, 1, 2, 3]),
            place in 0_usize..100,
            value: u8,
        ) {
            let mut bytes = entries()[start].encode().unwrap();
            let place = place % bytes.len();
            bytes[place] = value;
            if let Ok(stored) = RoundEntry::decode(&bytes)
                && stored.noise.is_none()
            {
                prop_assert_eq!(stored.entry.encode().unwrap(), bytes);
            }
        }

        #[test]
        fn rubbish_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = RoundEntry::decode(&bytes);
        }
    }
}
