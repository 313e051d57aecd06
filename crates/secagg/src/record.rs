//! What a client remembers from session to session, so that it does nothing twice.

use crate::wire::{DecodeError, Reader};

/// The last session that a client took part in. It belongs on the disk before a message of the session goes out, and only ever
/// grows; a client that goes on from an older one can be made to mask two vectors with one mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The run.
    pub task: [u8; 16],
    /// The round; 0 before the first.
    pub round: u64,
    /// The attempt at it.
    pub attempt: u32,
    /// SHA-256 of the masked vector that was sent.
    pub masked: Option<[u8; 32]>,
    /// SHA-256 of the sharers, survivors and vectors that were acknowledged.
    pub acknowledged: Option<[u8; 32]>,
    /// Whether shares of others' secrets were revealed.
    pub revealed: bool,
}

/// Bytes of a [`Record`].
pub const RECORD_LEN: usize = 95;

impl Record {
    /// The record as bytes.
    pub fn to_bytes(&self) -> [u8; RECORD_LEN] {
        let mut out = [0; RECORD_LEN];
        out[..16].copy_from_slice(&self.task);
        out[16..24].copy_from_slice(&self.round.to_le_bytes());
        out[24..28].copy_from_slice(&self.attempt.to_le_bytes());
        out[28] = u8::from(self.masked.is_some());
        out[29..61].copy_from_slice(&self.masked.unwrap_or_default());
        out[61] = u8::from(self.acknowledged.is_some());
        out[62..94].copy_from_slice(&self.acknowledged.unwrap_or_default());
        out[94] = u8::from(self.revealed);
        out
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`DecodeError`] for bytes that [`Self::to_bytes`] does not make.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let record = Self {
            task: reader.array("task")?,
            round: reader.u64("round")?,
            attempt: reader.u32("attempt")?,
            masked: hash(&mut reader, "masked")?,
            acknowledged: hash(&mut reader, "acknowledged")?,
            revealed: flag(&mut reader, "revealed")?,
        };
        reader.end(record)
    }
}

/// A flag and a hash, which is zeros where the flag is not set.
fn hash(reader: &mut Reader<'_>, what: &'static str) -> Result<Option<[u8; 32]>, DecodeError> {
    let set = flag(reader, what)?;
    let hash = reader.array(what)?;
    match (set, hash) {
        (true, hash) => Ok(Some(hash)),
        (false, hash) if hash == [0; 32] => Ok(None),
        (false, _) => Err(reader.invalid(what, 32)),
    }
}

/// A byte that is 0 or 1.
pub(crate) fn flag(reader: &mut Reader<'_>, what: &'static str) -> Result<bool, DecodeError> {
    match reader.u8(what)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(reader.invalid(what, 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_and_no_other_bytes_are_one() {
        for masked in [None, Some([7; 32])] {
            let record = Record {
                task: [1; 16],
                round: 3,
                attempt: 2,
                masked,
                acknowledged: masked,
                revealed: masked.is_some(),
            };
            let bytes = record.to_bytes();
            assert_eq!(Record::from_bytes(&bytes), Ok(record));
            for end in 0..bytes.len() {
                assert!(Record::from_bytes(&bytes[..end]).is_err());
            }
        }
        let mut bytes = Record::default().to_bytes();
        for (place, value) in [(28, 2), (30, 1), (61, 2), (63, 1), (94, 2)] {
            bytes[place] = value;
            assert!(Record::from_bytes(&bytes).is_err());
            bytes[place] = 0;
        }
    }
}
