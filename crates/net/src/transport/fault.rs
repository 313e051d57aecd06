//! Faults on the wire: the one place that knows both them and the RPC library's status.

use std::error::Error;

use tonic::{Code, Status};

use super::{Fault, FaultKind};

/// Most bytes of a fault's words that are sent: headers have a limit, and each byte may become three.
const MOST_WORDS: usize = 4096;

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        let code = match fault.kind {
            FaultKind::NotAllowed => Code::PermissionDenied,
            FaultKind::Unknown => Code::NotFound,
            FaultKind::Invalid => Code::InvalidArgument,
            FaultKind::TooMuch => Code::ResourceExhausted,
            FaultKind::Unavailable | FaultKind::Unreachable => Code::Unavailable,
            FaultKind::NotAuthentic => Code::Unauthenticated,
            FaultKind::Internal => Code::Internal,
        };
        let mut words = fault.message;
        if words.len() > MOST_WORDS {
            words.truncate(words.floor_char_boundary(MOST_WORDS));
            words.push_str(" ...");
        }
        Self::new(code, words)
    }
}

/// What a call of ours ended in. A status that the director sent has no source; one that has was made here, of a
/// connection that broke or was never there.
pub(super) fn of_status(status: &Status) -> Fault {
    if let Some(source) = status.source() {
        return of_error(source);
    }
    let kind = match status.code() {
        Code::PermissionDenied => FaultKind::NotAllowed,
        Code::NotFound => FaultKind::Unknown,
        Code::InvalidArgument
        | Code::OutOfRange
        | Code::FailedPrecondition
        | Code::Unimplemented => FaultKind::Invalid,
        Code::ResourceExhausted => FaultKind::TooMuch,
        Code::Unavailable | Code::DeadlineExceeded | Code::Aborted => FaultKind::Unavailable,
        Code::Cancelled => FaultKind::Unreachable,
        Code::Unauthenticated => FaultKind::NotAuthentic,
        _ => FaultKind::Internal,
    };
    Fault::new(kind, status.message())
}

/// A connection that broke or was never there. Where we have refused it ourselves, the chain of sources has our own words.
pub(super) fn of_error(error: &(dyn Error + 'static)) -> Fault {
    let mut deepest = error;
    loop {
        if let Some(fault) = deepest.downcast_ref::<Fault>() {
            return fault.clone();
        }
        // An error of input and output gives its inner one's source for its own, and hides the inner one.
        let inner = deepest
            .downcast_ref::<std::io::Error>()
            .and_then(|error| error.get_ref())
            .map(|inner| inner as &(dyn Error + 'static));
        match inner.or_else(|| deepest.source()) {
            Some(source) => deepest = source,
            None => break,
        }
    }
    Fault::new(
        FaultKind::Unreachable,
        format!("the connection to the director broke: {deepest}"),
    )
}

/// A task that panicked.
pub(super) fn defect() -> Fault {
    Fault::new(
        FaultKind::Internal,
        "the director failed at this call; what it says to its operator has more",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_comes_back_as_it_was() {
        for kind in [
            FaultKind::NotAllowed,
            FaultKind::Unknown,
            FaultKind::Invalid,
            FaultKind::TooMuch,
            FaultKind::Unavailable,
            FaultKind::NotAuthentic,
            FaultKind::Internal,
        ] {
            let fault = Fault::new(kind, "so it is: é");
            assert_eq!(of_status(&fault.clone().into()), fault);
        }
    }

    #[test]
    fn long_words_are_cut_between_characters() {
        let status = Status::from(Fault::new(FaultKind::Invalid, "é".repeat(5000)));
        assert!(status.message().len() < MOST_WORDS + 8);
        assert!(status.message().ends_with("é ..."));
    }

    #[test]
    fn our_own_words_are_found_behind_others() {
        let own = Fault::new(FaultKind::NotAuthentic, "not for this host");
        let around = std::io::Error::other(own.clone());
        assert_eq!(of_status(&Status::from_error(Box::new(around))), own);
        let broken = std::io::Error::other("reset");
        let fault = of_status(&Status::from_error(Box::new(broken)));
        assert_eq!(fault.kind, FaultKind::Unreachable);
    }
}
