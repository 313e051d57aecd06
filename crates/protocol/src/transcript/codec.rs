//! A transcript as bytes.

use sha2::{Digest, Sha256};

use super::{Recorded, Summed, Transcript, TranscriptError};
use crate::error::ClientId;
use crate::message::wire::{Reader, cut, put_bytes, put_vector};
use crate::message::{DecodeError, ServerMessage};

const MAGIC: [u8; 4] = *b"CLTR";
const VERSION: u8 = 1;
const HEADER: usize = MAGIC.len() + 1;
const DIGEST: usize = 32;

/// The fewest bytes of a message: number, length of the name, standing, length.
const LEAST_MESSAGE: usize = 4 + 2 + 1 + 4;
/// The fewest bytes of a sum: three counts and its weight.
const LEAST_SUM: usize = 4 + 8 + 4;

impl Transcript {
    /// The transcript as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_len());
        out.extend(MAGIC);
        out.push(VERSION);
        put_bytes(
            &mut out,
            &ServerMessage::Train(self.request.clone()).encode(),
        );
        out.extend((self.messages.len() as u32).to_le_bytes());
        for recorded in &self.messages {
            out.extend(recorded.client.0.to_le_bytes());
            let name = cut(&recorded.name);
            out.extend((name.len() as u16).to_le_bytes());
            out.extend(name.as_bytes());
            out.push(u8::from(recorded.accepted));
            put_bytes(&mut out, &recorded.bytes);
        }
        out.extend((self.sums.len() as u32).to_le_bytes());
        for sum in &self.sums {
            out.extend((sum.clients.len() as u32).to_le_bytes());
            for client in &sum.clients {
                out.extend(client.0.to_le_bytes());
            }
            out.extend(sum.weight.to_le_bytes());
            put_vector(&mut out, &sum.mean);
        }
        put_vector(&mut out, &self.after);
        let digest = Sha256::digest(&out);
        out.extend(digest);
        out
    }

    /// Length of [`Self::encode`]'s result, without making it.
    pub fn encoded_len(&self) -> usize {
        let call = ServerMessage::Train(self.request.clone()).encoded_len();
        let messages = self.messages.iter();
        let messages = messages.map(|m| LEAST_MESSAGE + cut(&m.name).len() + m.bytes.len());
        let sums = self.sums.iter();
        let sums = sums.map(|sum| LEAST_SUM + 4 * sum.clients.len() + 4 * sum.mean.len());
        let counts = 4 * 4;
        let after = 4 * self.after.len();
        HEADER + call + counts + messages.sum::<usize>() + sums.sum::<usize>() + after + DIGEST
    }

    /// Reads a transcript. Lengths are checked against what is really there before anything is allocated.
    ///
    /// # Errors
    /// [`TranscriptError::Format`] with the field and the offset.
    pub fn decode(bytes: &[u8]) -> Result<Self, TranscriptError> {
        let mut reader = open(bytes)?;
        let most = bytes.len() / 4;
        let request = call(&mut reader, most)?;
        let count = counted(&mut reader, "messages", LEAST_MESSAGE)?;
        let mut messages: Vec<Recorded> = Vec::with_capacity(count);
        for _ in 0..count {
            let offset = reader.offset();
            let recorded = message(&mut reader)?;
            if messages
                .last()
                .is_some_and(|last| last.client >= recorded.client)
            {
                return Err(invalid("order of clients", offset, recorded.client.0.into()).into());
            }
            messages.push(recorded);
        }
        let count = counted(&mut reader, "sums", LEAST_SUM)?;
        let sums = (0..count)
            .map(|_| sum(&mut reader, request.global.len()))
            .collect::<Result<_, _>>()?;
        let offset = reader.offset();
        let after = reader.vector("model after", most)?;
        if after.len() != request.global.len() {
            return Err(invalid("length of the model after", offset, after.len() as u64).into());
        }
        Ok(reader.end(Self {
            request,
            messages,
            sums,
            after: after.into(),
        })?)
    }
}

/// Checks header and digest; gives a reader of the body.
fn open(bytes: &[u8]) -> Result<Reader<'_>, DecodeError> {
    let (body, sent) = match bytes.split_last_chunk::<DIGEST>() {
        Some((body, sent)) if body.len() >= HEADER => (body, sent),
        _ => {
            return Err(DecodeError::Truncated {
                what: "header and digest",
                offset: 0,
                needed: HEADER + DIGEST,
                left: bytes.len(),
            });
        }
    };
    let mut reader = Reader::new(body);
    let magic: [u8; 4] = reader.array("magic")?;
    if magic != MAGIC {
        return Err(invalid("magic", 0, u32::from_le_bytes(magic).into()));
    }
    let [version] = reader.array("format version")?;
    if version != VERSION {
        return Err(invalid("format version", MAGIC.len(), version.into()));
    }
    match Sha256::digest(body)[..] == sent[..] {
        true => Ok(reader),
        false => Err(DecodeError::Digest),
    }
}

fn call(reader: &mut Reader<'_>, most: usize) -> Result<crate::message::TrainRequest, DecodeError> {
    let offset = reader.offset();
    match ServerMessage::decode(reader.bytes("call")?, most)? {
        ServerMessage::Train(request) => Ok(request),
        _ => Err(invalid("kind of the call", offset, 0)),
    }
}

fn message(reader: &mut Reader<'_>) -> Result<Recorded, DecodeError> {
    let client = ClientId(reader.u32("client")?);
    let name = reader.text("name")?;
    let offset = reader.offset();
    let accepted = match reader.array("accepted")? {
        [0] => false,
        [1] => true,
        [other] => return Err(invalid("accepted", offset, other.into())),
    };
    Ok(Recorded {
        client,
        name,
        accepted,
        bytes: reader.bytes("message")?.to_vec(),
    })
}

fn sum(reader: &mut Reader<'_>, parameters: usize) -> Result<Summed, DecodeError> {
    let count = counted(reader, "clients of a sum", 4)?;
    let clients = (0..count)
        .map(|_| reader.u32("client of a sum").map(ClientId))
        .collect::<Result<_, _>>()?;
    let weight = u64::from_le_bytes(reader.array("weight")?);
    let offset = reader.offset();
    let mean = reader.vector("sum", parameters)?;
    if mean.len() != parameters {
        return Err(invalid("length of a sum", offset, mean.len() as u64));
    }
    Ok(Summed {
        clients,
        weight,
        mean,
    })
}

/// A count of things of at least `least` bytes each: no more than can follow.
fn counted(
    reader: &mut Reader<'_>,
    what: &'static str,
    least: usize,
) -> Result<usize, DecodeError> {
    let count = reader.u32(what)? as usize;
    let (offset, left) = (reader.offset(), reader.left());
    let needed = count.saturating_mul(least);
    match needed <= left {
        true => Ok(count),
        false => Err(DecodeError::Truncated {
            what,
            offset,
            needed,
            left,
        }),
    }
}

fn invalid(what: &'static str, offset: usize, got: u64) -> DecodeError {
    DecodeError::Invalid { what, offset, got }
}

#[cfg(test)]
mod tests;
