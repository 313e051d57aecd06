//! The director's audit log: who did what and when, in lines that cannot be changed afterwards without being seen.
//!
//! One JSON object a line, in this order and without blanks:
//!
//! ```text
//! {"n":1,"when":1765000000,"who":"cloister://clinics/director","what":"begin","about":{..},"previous":"00..","signature":"5e.."}
//! ```
//!
//! | key | holds |
//! | --- | --- |
//! | `n` | the line's number, counted from 1 |
//! | `when` | the director's clock, in seconds since 1970 |
//! | `who` | whose act it was |
//! | `what` | the act |
//! | `about` | what else belongs to it; for `begin` and `key` see [`Introduction`] |
//! | `previous` | SHA-256 of the bytes of the line before, without its end, in hex; 64 zeros in the first |
//! | `signature` | Ed25519 by the director's key, in hex |
//!
//! What is signed is `cloister-audit-v1`, a zero byte, and the bytes of the line before `,"signature":`. A certificate begins
//! with 0x30, a handshake of TLS with blanks, secure aggregation with `flsa1-sig`, so that no signature of the key fits
//! elsewhere.
//!
//! The first line, `begin`, names the federation and the director's key and certificate. A renewed certificate, also of a new
//! key, is introduced by a line `key`, signed by that key. A line that a crash has cut off was told to nobody as done: it is
//! removed when the log is opened, and a line `cut` says so. [`verify`] checks all of it.
//!
//! Lines missing at the end do not show: whoever wants to know keeps [`Verified::head`] elsewhere from time to time.

mod verify;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cloister_host::to_hex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::pki::{Identity, Name, PrivateKey, PublicKey, Role};
use crate::plan::from_hex;

pub use self::verify::{KeyUse, Verified, authority, verify};

/// What every signed message begins with.
const DOMAIN: &[u8] = b"cloister-audit-v1\0";
/// The longest line.
const MAX_LINE: usize = 1 << 20;
/// What stands before the signature, and behind it.
const SIGNATURE: &str = ",\"signature\":\"";
const END: &str = "\"}";
/// Length of a line's last part: a signature has 128 digits.
const TAIL: usize = SIGNATURE.len() + 128 + END.len();

/// The act of the first line.
const BEGIN: &str = "begin";
/// The act of a line that introduces a certificate.
const KEY: &str = "key";
/// The act of a line that tells of one that was cut off.
const CUT: &str = "cut";

/// Why an audit log cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The file cannot be read or written. An act that was to be appended is not in it.
    #[error("cannot {what} {}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another process writes it.
    #[error("{} is in use by another director", .0.display())]
    InUse(PathBuf),
    /// It is not as it was written.
    #[error("{}, line {line}: {reason}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// It is the log of something else.
    #[error("{} is the audit log of {found}", path.display())]
    OfAnother {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: String,
    },
    /// There is no certificate where the authority's should be.
    #[error("{}: not a certificate: {reason}", path.display())]
    NoAuthority {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An act with more words than a line may have.
    #[error("an act of {0} bytes is too long for the audit log")]
    TooLong(usize),
}

impl AuditError {
    fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { what, path, source }
    }

    /// Whether the disk is full: the same call may succeed later.
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        matches!(self, Self::File { source, .. }
            if matches!(source.kind(), StorageFull | QuotaExceeded | FileTooLarge))
    }
}

/// A line without its signature, in the order in which it is written.
#[derive(Serialize)]
struct Unsigned<'a> {
    n: u64,
    when: u64,
    who: &'a str,
    what: &'a str,
    about: &'a Value,
    previous: &'a str,
}

/// A line as it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    n: u64,
    when: u64,
    who: String,
    what: String,
    about: Value,
    previous: String,
    #[serde(rename = "signature")]
    _signature: serde::de::IgnoredAny,
}

/// What a line `begin` or `key` is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Introduction {
    /// The federation.
    pub federation: Name,
    /// The key that signs from this line on.
    pub key: PublicKey,
    /// Its certificate, DER in hex.
    pub certificate: String,
}

/// The parts of a line that is whole: the signed message without its domain, the signature, what it says.
struct Parts<'a> {
    signed: &'a [u8],
    signature: [u8; 64],
    line: Line,
}

impl Parts<'_> {
    fn of(bytes: &[u8]) -> Result<Parts<'_>, String> {
        let (signed, tail) = bytes
            .len()
            .checked_sub(TAIL)
            .map(|end| bytes.split_at(end))
            .ok_or("too short")?;
        let digits = tail
            .strip_prefix(SIGNATURE.as_bytes())
            .and_then(|rest| rest.strip_suffix(END.as_bytes()))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .ok_or("does not end in a signature")?;
        // One way to write it only, or a changed line would be as good as the line.
        let signature = from_hex(digits)
            .and_then(|bytes| <[u8; 64]>::try_from(bytes).ok())
            .filter(|bytes| to_hex(bytes) == digits)
            .ok_or("the signature is not written in small hex digits")?;
        let line = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        Ok(Parts {
            signed,
            signature,
            line,
        })
    }

    fn is_signed_by(&self, key: &PublicKey) -> bool {
        key.verifies(&[DOMAIN, self.signed].concat(), &self.signature)
    }

    /// The certificate that the line introduces, if it is for that.
    fn introduction(&self) -> Result<Option<Introduction>, String> {
        match self.line.what.as_str() {
            BEGIN | KEY => serde_json::from_value(self.line.about.clone())
                .map(Some)
                .map_err(|error| error.to_string()),
            _ => Ok(None),
        }
    }
}

/// SHA-256 of a line, in hex.
fn hash(line: &[u8]) -> String {
    to_hex(&Sha256::digest(line))
}

/// What stands for the line before the first.
fn nothing() -> String {
    "0".repeat(64)
}

/// Checks a line's place in the chain.
fn check_place(line: &Line, n: u64, previous: &str) -> Result<(), String> {
    if line.n != n {
        return Err(format!(
            "has the number {}: lines are missing, or out of order",
            line.n
        ));
    }
    if line.previous != previous {
        let reason = "does not follow the line before: one of them was changed, or one is missing";
        return Err(reason.to_owned());
    }
    if (n == 1) != (line.what == BEGIN) {
        return Err("a log begins once, in its first line".to_owned());
    }
    Ok(())
}

/// Reads lines of a bounded length.
struct Lines<R>(BufReader<R>);

impl<R: Read> Lines<R> {
    fn new(file: R) -> Self {
        Self(BufReader::with_capacity(1 << 16, file))
    }

    /// The next line into `line`, without its end; whether it had one. `None` where nothing follows.
    fn next(&mut self, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
        line.clear();
        let read = (&mut self.0)
            .take(MAX_LINE as u64 + 1)
            .read_until(b'\n', line)?;
        Ok(match (read, line.last()) {
            (0, _) => None,
            (_, Some(b'\n')) => {
                line.pop();
                Some(true)
            }
            _ => Some(false),
        })
    }
}

/// Where a log ends.
struct End {
    /// Lines.
    n: u64,
    /// Their bytes.
    bytes: u64,
    /// The hash of the last.
    head: String,
    /// What its lines are signed with at the end.
    introduced: Option<Introduction>,
    /// Bytes of a line that was cut off.
    cut: Vec<u8>,
}

/// The audit log of a director. Its threads may all append at once.
#[derive(Debug)]
pub struct AuditLog {
    path: PathBuf,
    federation: Name,
    writer: Mutex<Writer>,
}

#[derive(Debug)]
struct Writer {
    file: File,
    key: Arc<PrivateKey>,
    n: u64,
    bytes: u64,
    head: String,
}

impl AuditLog {
    /// Opens the log, made if it is not there. The chain is checked, and the signature of the last line; [`verify`] checks
    /// the others. A `certificate`, in DER, that the log does not know yet is introduced.
    ///
    /// # Errors
    /// [`AuditError::Broken`], [`AuditError::OfAnother`], [`AuditError::InUse`]; a disk that fails.
    pub fn open(
        path: &Path,
        key: Arc<PrivateKey>,
        certificate: &[u8],
        federation: &Name,
        now: u64,
    ) -> Result<Self, AuditError> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path).map_err(AuditError::file("open", path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(AuditError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(AuditError::file("lock", path)(error)),
        }
        let end = scan(path, &file)?;
        if let Some(introduced) = &end.introduced
            && introduced.federation != *federation
        {
            return Err(AuditError::OfAnother {
                path: path.to_owned(),
                found: introduced.federation.to_string(),
            });
        }
        if end.n == 0 {
            // Its name is to be on the disk as well.
            sync_around(path)?;
        }
        let own = introduction(federation, &key, certificate);
        let log = Self {
            path: path.to_owned(),
            federation: federation.clone(),
            writer: Mutex::new(Writer {
                file,
                key,
                n: end.n,
                bytes: end.bytes,
                head: end.head,
            }),
        };
        log.resume(end.introduced, end.cut, &own, now)?;
        Ok(log)
    }

    /// Writes what is to be written before anything else.
    fn resume(
        &self,
        introduced: Option<Introduction>,
        cut: Vec<u8>,
        own: &Introduction,
        now: u64,
    ) -> Result<(), AuditError> {
        let director = director(&self.federation);
        match introduced {
            None => self.append(now, &director, BEGIN, json!(own))?,
            Some(introduced) if introduced != *own => {
                self.append(now, &director, KEY, json!(own))?;
            }
            Some(_) => {}
        }
        if !cut.is_empty() {
            let about = json!({ "bytes": cut.len(), "sha256": hash(&cut) });
            self.append(now, &director, CUT, about)?;
        }
        Ok(())
    }

    /// Appends an act, and comes back when the disk has it. `who` is the name in a certificate, or else what is known of
    /// whoever it was.
    ///
    /// # Errors
    /// [`AuditError::TooLong`]; a disk that fails. Then the act is not in the log.
    pub fn append(&self, when: u64, who: &str, what: &str, about: Value) -> Result<(), AuditError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.append(&self.path, when, (who, what, &about))
    }

    /// Goes on with a renewed certificate, in DER, and its key.
    ///
    /// # Errors
    /// A disk that fails: then the log goes on with the old one.
    pub fn renew(
        &self,
        key: Arc<PrivateKey>,
        certificate: &[u8],
        now: u64,
    ) -> Result<(), AuditError> {
        let about = json!(introduction(&self.federation, &key, certificate));
        let director = director(&self.federation);
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut writer.key, key);
        let appended = writer.append(&self.path, now, (&director, KEY, &about));
        if appended.is_err() {
            writer.key = old;
        }
        appended
    }

    /// The number of lines, and the hash of the last: to be kept elsewhere, see [`Verified::head`].
    pub fn head(&self) -> (u64, String) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        (writer.n, writer.head.clone())
    }
}

impl Writer {
    fn append(
        &mut self,
        path: &Path,
        when: u64,
        (who, what, about): (&str, &str, &Value),
    ) -> Result<(), AuditError> {
        let unsigned = Unsigned {
            n: self.n + 1,
            when,
            who,
            what,
            about,
            previous: &self.head,
        };
        let mut line = serde_json::to_string(&unsigned)
            .map_err(|error| AuditError::file("write", path)(error.into()))?;
        // The brace goes behind the signature.
        line.pop();
        if line.len() + TAIL > MAX_LINE {
            return Err(AuditError::TooLong(line.len()));
        }
        let signature = self.key.sign(&[DOMAIN, line.as_bytes()].concat());
        line = line + SIGNATURE + &to_hex(&signature) + END;
        let head = hash(line.as_bytes());
        line.push('\n');
        self.write(line.as_bytes())
            .map_err(AuditError::file("write", path))?;
        self.n += 1;
        self.bytes += line.len() as u64;
        self.head = head;
        Ok(())
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        // What an append that failed has left must not stand before this one.
        if self.file.metadata()?.len() != self.bytes {
            self.file.set_len(self.bytes)?;
        }
        let written = self
            .file
            .write_all(line)
            .and_then(|()| self.file.sync_data());
        if written.is_err() {
            // It was not done, and should not look so; if this fails too, the next append tries again.
            let _ = self.file.set_len(self.bytes);
        }
        written
    }
}

/// Who introduces keys.
fn director(federation: &Name) -> String {
    let (federation, role) = (federation.clone(), Role::Director);
    Identity { federation, role }.to_string()
}

fn introduction(federation: &Name, key: &PrivateKey, certificate: &[u8]) -> Introduction {
    Introduction {
        federation: federation.clone(),
        key: key.public(),
        certificate: to_hex(certificate),
    }
}

/// Reads a log to its end.
fn scan(path: &Path, file: &File) -> Result<End, AuditError> {
    let mut end = End {
        n: 0,
        bytes: 0,
        head: nothing(),
        introduced: None,
        cut: Vec::new(),
    };
    let mut lines = Lines::new(file);
    let (mut line, mut last) = (Vec::new(), Vec::new());
    while let Some(is_whole) = lines
        .next(&mut line)
        .map_err(AuditError::file("read", path))?
    {
        let broken = |reason| AuditError::Broken {
            path: path.to_owned(),
            line: end.n + 1,
            reason,
        };
        if !is_whole {
            if line.len() > MAX_LINE {
                return Err(broken("too long".to_owned()));
            }
            end.cut = line;
            break;
        }
        let parts = Parts::of(&line).map_err(broken)?;
        check_place(&parts.line, end.n + 1, &end.head).map_err(broken)?;
        if let Some(introduced) = parts.introduction().map_err(broken)? {
            end.introduced = Some(introduced);
        }
        end.n += 1;
        end.bytes += line.len() as u64 + 1;
        end.head = hash(&line);
        std::mem::swap(&mut line, &mut last);
    }
    if let Some(introduced) = &end.introduced {
        let signed = Parts::of(&last).is_ok_and(|parts| parts.is_signed_by(&introduced.key));
        if !signed {
            return Err(AuditError::Broken {
                path: path.to_owned(),
                line: end.n,
                reason: "the signature is not the director's".to_owned(),
            });
        }
    }
    Ok(end)
}

/// Waits until the disk knows the name of a file.
fn sync_around(path: &Path) -> Result<(), AuditError> {
    #[cfg(unix)]
    {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(AuditError::file("sync", folder))?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

#[cfg(test)]
mod tests;
