//! Our types as messages of the contract and back. What comes from the wire is checked here, and only here, for what a type
//! cannot say.

use super::{
    Errand, Errands, Fault, FaultKind, Paper, PaperKind, Parcel, ParcelKind, Receipt, Submission,
    Submitted, proto,
};
use crate::experiment::MAX_DOCUMENT;

/// Most bytes of a chunk.
pub(super) const CHUNK: usize = 256 << 10;

/// Most bytes of a message of a site: a chunk, and what is around it.
pub(super) const PART: usize = CHUNK + (4 << 10);

/// Most bytes of any other message: the largest are errands, and a config with its sites.
pub(super) const MESSAGE: usize = 4 << 20;

/// Most bytes of a program's name, or of a file's.
const WORDS: usize = 1 << 10;

/// Most sites of a submission.
const SITES: usize = 4096;

pub(super) fn invalid(what: impl Into<String>) -> Fault {
    Fault::new(FaultKind::Invalid, what)
}

/// A text for people, from a peer: not too long, and nothing in it that steers a terminal.
pub(super) fn words(text: &str, what: &str) -> Result<String, Fault> {
    if text.len() > WORDS {
        return Err(invalid(format!("{what} is longer than {WORDS} bytes")));
    }
    Ok(text.chars().filter(|c| !c.is_control()).collect())
}

fn paper_kind(number: i32) -> Result<PaperKind, Fault> {
    match proto::PaperKind::try_from(number) {
        Ok(proto::PaperKind::Offer) => Ok(PaperKind::Offer),
        Ok(proto::PaperKind::Charter) => Ok(PaperKind::Charter),
        Ok(proto::PaperKind::Message) => Ok(PaperKind::Message),
        Ok(proto::PaperKind::Closing) => Ok(PaperKind::Closing),
        Ok(proto::PaperKind::Unspecified) | Err(_) => {
            Err(invalid(format!("there is no paper of kind {number}")))
        }
    }
}

fn paper_kind_number(kind: PaperKind) -> i32 {
    match kind {
        PaperKind::Offer => proto::PaperKind::Offer,
        PaperKind::Charter => proto::PaperKind::Charter,
        PaperKind::Message => proto::PaperKind::Message,
        PaperKind::Closing => proto::PaperKind::Closing,
    }
    .into()
}

fn parcel_kind(number: i32) -> Result<ParcelKind, Fault> {
    match proto::ParcelKind::try_from(number) {
        Ok(proto::ParcelKind::Answer) => Ok(ParcelKind::Answer),
        Ok(proto::ParcelKind::Message) => Ok(ParcelKind::Message),
        Ok(proto::ParcelKind::Done) => Ok(ParcelKind::Done),
        Ok(proto::ParcelKind::Unspecified) | Err(_) => {
            Err(invalid(format!("there is no parcel of kind {number}")))
        }
    }
}

fn digest(bytes: &[u8]) -> Result<[u8; 32], Fault> {
    bytes
        .try_into()
        .map_err(|_| invalid(format!("a digest has 32 bytes, this one {}", bytes.len())))
}

impl From<&Errands> for proto::Errands {
    fn from(errands: &Errands) -> Self {
        let errand = |errand: &Errand| proto::Errand {
            experiment: errand.paper.experiment,
            kind: paper_kind_number(errand.paper.kind),
            number: errand.paper.number,
            bytes: errand.bytes,
            sha256: bytes::Bytes::copy_from_slice(&errand.sha256),
        };
        Self {
            now: errands.now,
            errands: errands.errands.iter().map(errand).collect(),
            waiting: errands.waiting.clone(),
        }
    }
}

impl TryFrom<proto::Errands> for Errands {
    type Error = Fault;

    fn try_from(errands: proto::Errands) -> Result<Self, Fault> {
        let errand = |errand: proto::Errand| {
            Ok(Errand {
                paper: Paper {
                    experiment: errand.experiment,
                    kind: paper_kind(errand.kind)?,
                    number: errand.number,
                },
                bytes: errand.bytes,
                sha256: digest(&errand.sha256)?,
            })
        };
        Ok(Self {
            now: errands.now,
            errands: errands
                .errands
                .into_iter()
                .map(errand)
                .collect::<Result<_, Fault>>()?,
            waiting: errands.waiting,
        })
    }
}

/// The request for a paper's bytes from `offset` on.
pub(super) fn fetch_request(paper: &Paper, offset: u64) -> proto::FetchRequest {
    proto::FetchRequest {
        experiment: paper.experiment,
        kind: paper_kind_number(paper.kind),
        number: paper.number,
        offset,
    }
}

impl TryFrom<&proto::FetchRequest> for Paper {
    type Error = Fault;

    fn try_from(request: &proto::FetchRequest) -> Result<Self, Fault> {
        Ok(Self {
            experiment: request.experiment,
            kind: paper_kind(request.kind)?,
            number: request.number,
        })
    }
}

impl From<&Parcel> for proto::Parcel {
    fn from(parcel: &Parcel) -> Self {
        let kind = match parcel.kind {
            ParcelKind::Answer => proto::ParcelKind::Answer,
            ParcelKind::Message => proto::ParcelKind::Message,
            ParcelKind::Done => proto::ParcelKind::Done,
        };
        Self {
            experiment: parcel.experiment,
            kind: kind.into(),
            number: parcel.number,
            part: parcel.part,
            bytes: parcel.bytes,
            sha256: bytes::Bytes::copy_from_slice(&parcel.sha256),
        }
    }
}

impl TryFrom<proto::Parcel> for Parcel {
    type Error = Fault;

    fn try_from(parcel: proto::Parcel) -> Result<Self, Fault> {
        Ok(Self {
            experiment: parcel.experiment,
            kind: parcel_kind(parcel.kind)?,
            number: parcel.number,
            part: parcel.part,
            bytes: parcel.bytes,
            sha256: digest(&parcel.sha256)?,
        })
    }
}

impl From<Receipt> for proto::Receipt {
    fn from(receipt: Receipt) -> Self {
        let (outcome, reason) = match receipt {
            Receipt::Taken => (proto::Outcome::Taken, String::new()),
            Receipt::Repeated => (proto::Outcome::Repeated, String::new()),
            Receipt::Refused(reason) => (proto::Outcome::Refused, reason),
        };
        Self {
            outcome: outcome.into(),
            reason,
        }
    }
}

impl TryFrom<proto::Receipt> for Receipt {
    type Error = Fault;

    fn try_from(receipt: proto::Receipt) -> Result<Self, Fault> {
        match proto::Outcome::try_from(receipt.outcome) {
            Ok(proto::Outcome::Taken) => Ok(Self::Taken),
            Ok(proto::Outcome::Repeated) => Ok(Self::Repeated),
            Ok(proto::Outcome::Refused) => Ok(Self::Refused(receipt.reason)),
            Ok(proto::Outcome::Unspecified) | Err(_) => {
                let number = receipt.outcome;
                Err(invalid(format!("there is no outcome of number {number}")))
            }
        }
    }
}

/// The 16 random bytes of a request that must not be obeyed twice.
pub(super) fn request_id(bytes: &[u8]) -> Result<[u8; 16], Fault> {
    let length = bytes.len();
    bytes
        .try_into()
        .map_err(|_| invalid(format!("a request has 16 random bytes, this one {length}")))
}

impl From<Submission> for proto::SubmitRequest {
    fn from(submission: Submission) -> Self {
        Self {
            request: submission.request.to_vec().into(),
            config: submission.config,
            sites: submission.sites,
            minimum: submission.minimum,
        }
    }
}

impl TryFrom<proto::SubmitRequest> for Submission {
    type Error = Fault;

    fn try_from(request: proto::SubmitRequest) -> Result<Self, Fault> {
        if request.config.len() > MAX_DOCUMENT {
            let most = MAX_DOCUMENT >> 20;
            return Err(Fault::new(
                FaultKind::TooMuch,
                format!("the config is larger than {most} MiB"),
            ));
        }
        if request.sites.len() > SITES {
            return Err(Fault::new(
                FaultKind::TooMuch,
                format!("more than {SITES} sites are named"),
            ));
        }
        Ok(Self {
            request: request_id(&request.request)?,
            config: request.config,
            sites: request.sites,
            minimum: request.minimum,
        })
    }
}

impl From<proto::SubmitReply> for Submitted {
    fn from(reply: proto::SubmitReply) -> Self {
        Self {
            experiment: reply.experiment,
            notes: reply.notes,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    fn decoded<M: Message + Default>(bytes: &[u8]) -> Option<M> {
        M::decode(bytes).ok()
    }

    proptest! {
        #[test]
        fn no_bytes_from_the_wire_panic(bytes in vec(any::<u8>(), 0..256)) {
            let errands = decoded::<proto::Errands>(&bytes).map(Errands::try_from);
            if let Some(Ok(errands)) = errands {
                let again = proto::Errands::from(&errands);
                prop_assert_eq!(Errands::try_from(again), Ok(errands));
            }
            let parcel = decoded::<proto::Parcel>(&bytes).map(Parcel::try_from);
            if let Some(Ok(parcel)) = parcel {
                let again = proto::Parcel::from(&parcel);
                prop_assert_eq!(Parcel::try_from(again), Ok(parcel));
            }
            let _ = decoded::<proto::FetchRequest>(&bytes).map(|r| Paper::try_from(&r));
            let _ = decoded::<proto::Receipt>(&bytes).map(Receipt::try_from);
            let _ = decoded::<proto::SubmitRequest>(&bytes).map(Submission::try_from);
            let _ = decoded::<proto::SubmitReply>(&bytes).map(Submitted::from);
            let _ = decoded::<proto::DeliverPart>(&bytes);
            let _ = decoded::<proto::Chunk>(&bytes);
            let _ = decoded::<proto::Line>(&bytes);
            let _ = decoded::<proto::HeldReply>(&bytes);
            let _ = decoded::<proto::StatusReply>(&bytes);
            let _ = decoded::<proto::CancelRequest>(&bytes).map(|r| request_id(&r.request));
            let _ = decoded::<proto::CollectRequest>(&bytes).map(|r| words(&r.file, "it"));
            let _ = decoded::<proto::AttendRequest>(&bytes).map(|r| words(&r.software, "it"));
            let _ = decoded::<proto::FollowRequest>(&bytes);
        }

        #[test]
        fn no_document_panics(bytes in vec(any::<u8>(), 0..256), text in "\\PC{0,100}|\\{\"[a-z]{1,9}\":[0-9\\[\\]\\{\\}\"a-z]{0,40}\\}") {
            use crate::experiment::{Answer, Charter, Closing, Offer};
            for bytes in [&bytes[..], text.as_bytes()] {
                let _ = serde_json::from_slice::<Offer>(bytes);
                let _ = serde_json::from_slice::<Answer>(bytes);
                let _ = serde_json::from_slice::<Charter>(bytes);
                let _ = serde_json::from_slice::<Closing>(bytes);
            }
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let parcel = Parcel {
            experiment: 1,
            kind: ParcelKind::Message,
            number: 2,
            part: 3,
            bytes: 4,
            sha256: [5; 32],
        };
        let sent = proto::Parcel::from(&parcel);
        assert_eq!(Parcel::try_from(sent.clone()), Ok(parcel));
        for kind in [0, 4, -1] {
            let changed = proto::Parcel {
                kind,
                ..sent.clone()
            };
            assert!(Parcel::try_from(changed).is_err());
        }
        let short = proto::Parcel {
            sha256: vec![1; 31].into(),
            ..sent
        };
        assert!(Parcel::try_from(short).is_err());
        assert!(words(&"x".repeat(WORDS + 1), "it").is_err());
        assert_eq!(words("a\u{1b}[2J\nb", "it").unwrap(), "a[2Jb");
    }
}
