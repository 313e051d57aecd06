//! An audit log, checked line by line by whoever has it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Serialize;

use super::{
    AuditError, CUT, Introduction, Lines, MAX_LINE, Parts, check_place, director, hash, nothing,
};
use crate::pki::{self, Fingerprint, Name, Role, Use};
use crate::plan::from_hex;

/// A log in which nothing was changed.
///
/// Without the authority's certificate that says no more than that one hand has written all of it: compare the keys'
/// fingerprints with the director's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// The federation.
    pub federation: Name,
    /// Lines.
    pub lines: u64,
    /// When the first was written, in seconds since 1970.
    pub first: u64,
    /// When the last was.
    pub last: u64,
    /// SHA-256 of the last line, in hex. A log that was cut at its end looks whole: only a head that was kept elsewhere, and
    /// that stands in the log no more, shows it.
    pub head: String,
    /// The keys that have signed it, each from one line on.
    pub keys: Vec<KeyUse>,
    /// Whether the keys are the director's, by the word of the authority.
    pub certified: bool,
    /// The lines that tell of one before them that a crash had cut off.
    pub gaps: Vec<u64>,
}

/// A key that has signed lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyUse {
    /// The first of them.
    pub line: u64,
    /// The key's fingerprint.
    pub fingerprint: Fingerprint,
}

/// Checks a log: each line's signature, number and place behind the line before, and, given the authority's certificate in
/// DER, that each key was certified as the director's when it was introduced.
///
/// # Errors
/// [`AuditError::Broken`] at the first line that is changed, out of place, inserted, cut off, or behind one that is missing.
/// Of two lines that do not fit each other, it names the second.
pub fn verify(path: &Path, ca: Option<&[u8]>) -> Result<Verified, AuditError> {
    let file = File::open(path).map_err(AuditError::file("open", path))?;
    read(file, path, ca)
}

/// Checks a log that is read from somewhere; `path` is for words.
pub(super) fn read(log: impl Read, path: &Path, ca: Option<&[u8]>) -> Result<Verified, AuditError> {
    let mut lines = Lines::new(log);
    let mut line = Vec::new();
    let mut verifier = Verifier {
        ca,
        seen: None,
        introduced: None,
    };
    let mut n = 0;
    let broken = |line, reason| AuditError::Broken {
        path: path.to_owned(),
        line,
        reason,
    };
    while let Some(is_whole) = lines
        .next(&mut line)
        .map_err(AuditError::file("read", path))?
    {
        n += 1;
        if !is_whole {
            let reason = match line.len() > MAX_LINE {
                true => "too long",
                false => "has no end: a crash cut it off, or somebody did",
            };
            return Err(broken(n, reason.to_owned()));
        }
        verifier
            .take(n, &line)
            .map_err(|reason| broken(n, reason))?;
    }
    verifier
        .seen
        .ok_or_else(|| broken(1, "the log is empty".to_owned()))
}

struct Verifier<'a> {
    ca: Option<&'a [u8]>,
    seen: Option<Verified>,
    introduced: Option<Introduction>,
}

impl Verifier<'_> {
    fn take(&mut self, n: u64, bytes: &[u8]) -> Result<(), String> {
        let parts = Parts::of(bytes)?;
        let previous = self.seen.as_ref().map(|seen| seen.head.clone());
        check_place(&parts.line, n, &previous.unwrap_or_else(nothing))?;
        let new = parts.introduction()?;
        let Some(introduced) = new.as_ref().or(self.introduced.as_ref()) else {
            return Err("no key was introduced".to_owned());
        };
        if !parts.is_signed_by(&introduced.key) {
            let reason = "the signature does not fit: the line was changed, or another key signed";
            return Err(reason.to_owned());
        }
        let when = parts.line.when;
        let seen = self.seen.get_or_insert_with(|| Verified {
            federation: introduced.federation.clone(),
            lines: 0,
            first: when,
            last: when,
            head: String::new(),
            keys: Vec::new(),
            certified: self.ca.is_some(),
            gaps: Vec::new(),
        });
        seen.lines = n;
        seen.last = when;
        seen.head = hash(bytes);
        if parts.line.what == CUT {
            seen.gaps.push(n);
        }
        if let Some(new) = new {
            if new.federation != seen.federation {
                return Err(format!("names another federation, '{}'", new.federation));
            }
            if parts.line.who != director(&new.federation) {
                return Err(format!("'{}' introduces the key", parts.line.who));
            }
            if let Some(ca) = self.ca {
                certified(&new, ca, when)?;
            }
            seen.keys.push(KeyUse {
                line: n,
                fingerprint: new.key.fingerprint(),
            });
            self.introduced = Some(new);
        }
        Ok(())
    }
}

/// The authority's certificate of a PEM file, in DER, for [`verify`].
///
/// # Errors
/// A file that cannot be read or has no certificate in it.
pub fn authority(path: &Path) -> Result<Vec<u8>, AuditError> {
    let text = std::fs::read(path).map_err(AuditError::file("open", path))?;
    let found = CertificateDer::from_pem_slice(&text);
    let der = found.map_err(|error| AuditError::NoAuthority {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(der.to_vec())
}

/// Whether the authority has said that the key is the director's.
fn certified(introduced: &Introduction, ca: &[u8], when: u64) -> Result<(), String> {
    let der = from_hex(&introduced.certificate).ok_or("the certificate is not hex")?;
    let leaf = pki::verify(&der, ca, Use::Server, when).map_err(|error| error.to_string())?;
    if leaf.identity.role != Role::Director || leaf.identity.federation != introduced.federation {
        return Err(format!("the certificate is of {}", leaf.identity));
    }
    if leaf.key != introduced.key {
        return Err("the certificate is of another key".to_owned());
    }
    Ok(())
}
