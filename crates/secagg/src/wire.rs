//! Fixed-width little-endian fields out of bytes.

use crate::members::Members;

/// Why bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end too early.
    #[error("{what} needs {needed} bytes at offset {offset}, {left} are left")]
    Truncated {
        /// Which field.
        what: &'static str,
        /// Where it starts.
        offset: usize,
        /// Its length.
        needed: usize,
        /// Bytes left there.
        left: usize,
    },
    /// A field has a value that it may not have.
    #[error("{what} at offset {offset} has a value that it may not have")]
    Invalid {
        /// Which field.
        what: &'static str,
        /// Where it starts.
        offset: usize,
    },
    /// A list or vector is longer than the receiver's session allows.
    #[error("{what} of {got}, at most {most} are taken")]
    TooLong {
        /// Which field.
        what: &'static str,
        /// Its claimed length.
        got: usize,
        /// The receiver's limit.
        most: usize,
    },
    /// Bytes follow the message.
    #[error("{0} bytes follow the message")]
    Trailing(usize),
}

/// Reads fields from the front.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    pub(crate) fn invalid(&self, what: &'static str, width: usize) -> DecodeError {
        DecodeError::Invalid {
            what,
            offset: self.offset.saturating_sub(width),
        }
    }

    pub(crate) fn take(
        &mut self,
        what: &'static str,
        needed: usize,
    ) -> Result<&'a [u8], DecodeError> {
        let left = self.bytes.len() - self.offset;
        if needed > left {
            return Err(DecodeError::Truncated {
                what,
                offset: self.offset,
                needed,
                left,
            });
        }
        let taken = &self.bytes[self.offset..self.offset + needed];
        self.offset += needed;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(what, N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        Ok(self.array::<1>(what)?[0])
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A u32 that counts entries, at most `most` of them.
    pub(crate) fn count(&mut self, what: &'static str, most: usize) -> Result<usize, DecodeError> {
        let got = self.u32(what)? as usize;
        match got <= most {
            true => Ok(got),
            false => Err(DecodeError::TooLong { what, got, most }),
        }
    }

    /// So many entries of `N` bytes each. Nothing is allocated for what is not there.
    pub(crate) fn arrays<const N: usize>(
        &mut self,
        what: &'static str,
        count: usize,
    ) -> Result<Vec<[u8; N]>, DecodeError> {
        let bytes = self.take(what, count.saturating_mul(N))?;
        Ok(bytes.as_chunks::<N>().0.to_vec())
    }

    /// A set of session indices out of `universe`.
    pub(crate) fn members(
        &mut self,
        what: &'static str,
        universe: u32,
    ) -> Result<Members, DecodeError> {
        let length = Members::bytes_for(universe);
        let bytes = self.take(what, length)?;
        Members::from_bytes(universe, bytes).ok_or_else(|| self.invalid(what, length))
    }

    /// `value`, if nothing is left.
    pub(crate) fn end<T>(&self, value: T) -> Result<T, DecodeError> {
        match self.bytes.len() - self.offset {
            0 => Ok(value),
            left => Err(DecodeError::Trailing(left)),
        }
    }
}
