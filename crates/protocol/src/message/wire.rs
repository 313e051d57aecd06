//! Fields to bytes and back.

use sha2::{Digest, Sha256};

use super::DecodeError;
use crate::compression::{Compact, misfit};
use crate::config::{LocalOptimizer, TrainPlan};

pub(super) const MAGIC: [u8; 2] = [0xC1, 0xF5];
pub(super) const VERSION: u8 = 2;
pub(super) const HEADER: usize = 4;
pub(super) const DIGEST: usize = 8;
pub(super) const FRAME: usize = HEADER + DIGEST;
pub(super) const PLAN: usize = 4 * 3 + 1 + 4 * 7;
pub(super) const MOST_REASON: usize = 1024;

pub(super) fn header(out: &mut Vec<u8>, kind: u8) {
    out.extend(MAGIC);
    out.extend([VERSION, kind]);
}

/// Ends a message with its digest.
pub(super) fn seal(mut out: Vec<u8>) -> Vec<u8> {
    out.extend(digest(&out));
    out
}

pub(super) fn digest(body: &[u8]) -> [u8; DIGEST] {
    let mut short = [0; DIGEST];
    short.copy_from_slice(&Sha256::digest(body)[..DIGEST]);
    short
}

pub(crate) fn put_vector(out: &mut Vec<u8>, values: &[f32]) {
    // Layouts stay far below 2^32 parameters; a longer one could not be decoded and is caught by its length there.
    out.extend((values.len() as u32).to_le_bytes());
    for value in values {
        out.extend(value.to_le_bytes());
    }
}

/// Bytes with their count before them.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32).to_le_bytes());
    out.extend(bytes);
}

/// A byte that tells whether the number follows.
pub(super) fn put_optional(out: &mut Vec<u8>, value: Option<f64>) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        out.extend(value.to_le_bytes());
    }
}

pub(super) fn optional_len(value: Option<f64>) -> usize {
    1 + value.map_or(0, |_| 8)
}

pub(super) fn put_plan(out: &mut Vec<u8>, plan: &TrainPlan) {
    for count in [plan.epochs, plan.batch_size, plan.max_steps] {
        out.extend(count.to_le_bytes());
    }
    out.push(match plan.optimizer {
        LocalOptimizer::Sgd => 0,
        LocalOptimizer::Momentum => 1,
        LocalOptimizer::Adam => 2,
    });
    for rate in [
        plan.learning_rate,
        plan.momentum,
        plan.beta1,
        plan.beta2,
        plan.weight_decay,
        plan.proximal_mu,
        plan.client_momentum,
    ] {
        out.extend(rate.to_le_bytes());
    }
}

pub(crate) fn cut(reason: &str) -> &str {
    let end = (0..=reason.len().min(MOST_REASON))
        .rev()
        .find(|end| reason.is_char_boundary(*end))
        .unwrap_or(0);
    &reason[..end]
}

pub(super) fn unknown_kind(kind: u8) -> DecodeError {
    DecodeError::Invalid {
        what: "message kind",
        offset: 3,
        got: kind.into(),
    }
}

/// Checks header and digest; gives the kind and a reader of the body.
pub(super) fn open(bytes: &[u8]) -> Result<(u8, Reader<'_>), DecodeError> {
    let mut reader = Reader { bytes, offset: 0 };
    let kind = reader.kind()?;
    let end = bytes.len().saturating_sub(DIGEST).max(HEADER);
    let Some((body, sent)) = bytes.split_at_checked(end) else {
        return Err(DecodeError::Digest);
    };
    if digest(body) != sent {
        return Err(DecodeError::Digest);
    }
    reader.bytes = body;
    Ok((kind, reader))
}

pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from their beginning.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// Bytes that are left.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.offset)
    }

    /// Where it stands.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    pub(crate) fn take(
        &mut self,
        what: &'static str,
        needed: usize,
    ) -> Result<&'a [u8], DecodeError> {
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        let Some(taken) = rest.get(..needed) else {
            return Err(DecodeError::Truncated {
                what,
                offset: self.offset,
                needed,
                left: rest.len(),
            });
        };
        self.offset += needed;
        Ok(taken)
    }

    pub(super) fn optional(&mut self, what: &'static str) -> Result<Option<f64>, DecodeError> {
        let offset = self.offset;
        match self.take(what, 1)?.first() {
            Some(0) => Ok(None),
            Some(1) => Ok(Some(f64::from_le_bytes(self.array(what)?))),
            other => Err(DecodeError::Invalid {
                what,
                offset,
                got: other.copied().unwrap_or_default().into(),
            }),
        }
    }

    pub(crate) fn array<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(what, N)?);
        Ok(array)
    }

    /// A compact update of at most `most` coordinates.
    pub(super) fn compact(
        &mut self,
        what: &'static str,
        most: usize,
    ) -> Result<Compact, DecodeError> {
        let offset = self.offset;
        let [coding] = self.array(what)?;
        let len = self.u32(what)?;
        if len as usize > most {
            return Err(DecodeError::TooLong {
                got: len as usize,
                most,
            });
        }
        let bytes = self.bytes(what)?;
        Compact::from_parts(coding, len, bytes).ok_or_else(|| misfit(offset, coding))
    }

    /// Bytes after their count.
    pub(crate) fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let count = self.u32(what)? as usize;
        self.take(what, count)
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(super) fn f32(&mut self, what: &'static str) -> Result<f32, DecodeError> {
        Ok(f32::from_le_bytes(self.array(what)?))
    }

    pub(super) fn kind(&mut self) -> Result<u8, DecodeError> {
        let [first, second, version, kind] = self.array("header")?;
        if [first, second] != MAGIC {
            return Err(DecodeError::Invalid {
                what: "magic",
                offset: 0,
                got: u16::from_le_bytes([first, second]).into(),
            });
        }
        if version != VERSION {
            return Err(DecodeError::Invalid {
                what: "format version",
                offset: 2,
                got: version.into(),
            });
        }
        Ok(kind)
    }

    pub(super) fn plan(&mut self) -> Result<TrainPlan, DecodeError> {
        let (epochs, batch_size, max_steps) = (
            self.u32("epochs")?,
            self.u32("batch size")?,
            self.u32("most steps")?,
        );
        let offset = self.offset;
        let [optimizer] = self.array("optimizer")?;
        let optimizer = match optimizer {
            0 => LocalOptimizer::Sgd,
            1 => LocalOptimizer::Momentum,
            2 => LocalOptimizer::Adam,
            other => {
                return Err(DecodeError::Invalid {
                    what: "optimizer",
                    offset,
                    got: other.into(),
                });
            }
        };
        Ok(TrainPlan {
            epochs,
            batch_size,
            max_steps,
            optimizer,
            learning_rate: self.f32("learning rate")?,
            momentum: self.f32("momentum")?,
            beta1: self.f32("beta1")?,
            beta2: self.f32("beta2")?,
            weight_decay: self.f32("weight decay")?,
            proximal_mu: self.f32("proximal mu")?,
            client_momentum: self.f32("client momentum")?,
        })
    }

    pub(crate) fn vector(
        &mut self,
        what: &'static str,
        most: usize,
    ) -> Result<Vec<f32>, DecodeError> {
        let len = self.u32(what)? as usize;
        if len > most {
            return Err(DecodeError::TooLong { got: len, most });
        }
        let (words, _) = self.take(what, len.saturating_mul(4))?.as_chunks();
        Ok(words.iter().map(|word| f32::from_le_bytes(*word)).collect())
    }

    pub(crate) fn text(&mut self, what: &'static str) -> Result<String, DecodeError> {
        let offset = self.offset;
        let len = u16::from_le_bytes(self.array(what)?);
        if usize::from(len) > MOST_REASON {
            return Err(DecodeError::Invalid {
                what,
                offset,
                got: len.into(),
            });
        }
        let bytes = self.take(what, len.into())?;
        let text = std::str::from_utf8(bytes).map_err(|error| DecodeError::Invalid {
            what,
            offset: offset + 2 + error.valid_up_to(),
            got: bytes
                .get(error.valid_up_to())
                .copied()
                .unwrap_or_default()
                .into(),
        })?;
        Ok(text.to_owned())
    }

    pub(crate) fn end<T>(self, message: T) -> Result<T, DecodeError> {
        match self.bytes.len() - self.offset {
            0 => Ok(message),
            more => Err(DecodeError::Trailing(more)),
        }
    }
}
