//! What an authority has issued and denied: two files of JSON lines.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::certificate::{Root, from_pem};
use super::{Fingerprint, Host, Identity, Name, PkiError, PublicKey, file_name, files};

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// For whom.
    pub name: Identity,
    /// Its serial number, in hex.
    pub serial: String,
    /// The key.
    pub key: PublicKey,
    /// The key's fingerprint.
    pub fingerprint: Fingerprint,
    /// From when it is valid, in seconds since 1970.
    pub from: u64,
    /// Until when.
    pub until: u64,
    /// Where a director is found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<Host>,
}

/// A certificate that must not be accepted any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Denial {
    /// Whose it was.
    pub name: Identity,
    /// Its serial number, in hex.
    pub serial: String,
    /// Why, in the words of whoever denied it.
    pub reason: String,
    /// Since when, in seconds since 1970.
    pub when: u64,
}

/// The serial numbers that must not be accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DenyList(BTreeSet<String>);

impl DenyList {
    /// Reads `denied.jsonl`. A file that is not there denies nobody.
    ///
    /// # Errors
    /// A file that cannot be read, or one line of which is broken: then nobody should be let in.
    pub fn read(path: &Path) -> Result<Self, PkiError> {
        let denials: Vec<Denial> = lines(path)?;
        Ok(Self(
            denials.into_iter().map(|denial| denial.serial).collect(),
        ))
    }

    /// Whether the certificate of this serial number, as in [`Leaf::serial`](super::Leaf::serial), is denied.
    pub fn denies(&self, serial: &str) -> bool {
        self.0.contains(serial)
    }
}

/// Whether a certificate can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It can.
    Valid,
    /// Its time is over, or has not come.
    Expired,
    /// It stands on the deny list.
    Denied,
}

/// A record and what has become of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// What was issued.
    #[serde(flatten)]
    pub record: Record,
    /// Whether it can be used.
    pub status: Status,
    /// Why it is denied and since when, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denial: Option<Denial>,
}

/// The books of an authority. No private key is needed to read them.
#[derive(Debug)]
pub struct Register {
    folder: PathBuf,
    pub(crate) authority: Vec<u8>,
    pub(crate) federation: Name,
    pub(crate) key: PublicKey,
    pub(crate) until: u64,
}

impl Register {
    /// Opens the books of the federation in `dir`.
    ///
    /// # Errors
    /// A folder without an authority's certificate.
    pub fn open(dir: &Path) -> Result<Self, PkiError> {
        let folder = dir.join(file_name::AUTHORITY);
        let path = folder.join(file_name::CA);
        let mut certificates =
            from_pem(&files::read(&path)?).map_err(|error| PkiError::broken(&path, error))?;
        let (Some(authority), true) = (certificates.pop(), certificates.is_empty()) else {
            return Err(PkiError::broken(&path, "expected one certificate"));
        };
        let root = Root::of(&authority).map_err(|error| PkiError::broken(&path, error))?;
        Ok(Self {
            folder,
            authority,
            federation: root.federation,
            key: root.key,
            until: root.until,
        })
    }

    /// The federation's name.
    pub fn federation(&self) -> &Name {
        &self.federation
    }

    /// The fingerprint of the authority's key.
    pub fn fingerprint(&self) -> Fingerprint {
        self.key.fingerprint()
    }

    /// Until when the authority's certificate is valid, in seconds since 1970.
    pub fn until(&self) -> u64 {
        self.until
    }

    /// All that was issued, in that order, and how it stands at `now`.
    ///
    /// # Errors
    /// Files that cannot be read or hold something else.
    pub fn standings(&self, now: u64) -> Result<Vec<Standing>, PkiError> {
        let path = self.path(file_name::ISSUED);
        let records: Vec<Record> = lines(&path)?;
        let denials: Vec<Denial> = lines(&self.path(file_name::DENIED))?;
        let mut standings = Vec::with_capacity(records.len());
        for record in records {
            if record.fingerprint != record.key.fingerprint() {
                let reason = format!("{}: the fingerprint is not the key's", record.serial);
                return Err(PkiError::broken(&path, reason));
            }
            let denial = denials.iter().find(|denial| denial.serial == record.serial);
            let status = match denial {
                Some(_) => Status::Denied,
                None if (record.from..=record.until).contains(&now) => Status::Valid,
                None => Status::Expired,
            };
            standings.push(Standing {
                record,
                status,
                denial: denial.cloned(),
            });
        }
        Ok(standings)
    }

    /// Denies all certificates of a name, also those whose time is over, since a key that is known to others must not be
    /// certified again. How many were denied.
    ///
    /// # Errors
    /// [`PkiError::Unknown`] if there is nothing to deny; files that cannot be read or written.
    pub fn revoke(&self, name: &Identity, reason: &str, now: u64) -> Result<usize, PkiError> {
        let _lock = self.lock()?;
        let mut text = String::new();
        let mut count = 0;
        for standing in self.standings(now)? {
            if standing.record.name != *name || standing.status == Status::Denied {
                continue;
            }
            let denial = Denial {
                name: name.clone(),
                serial: standing.record.serial,
                reason: reason.to_owned(),
                when: now,
            };
            text += &line(&denial, &self.path(file_name::DENIED))?;
            count += 1;
        }
        if count == 0 {
            return Err(PkiError::Unknown(name.clone()));
        }
        files::append(&self.path(file_name::DENIED), text.as_bytes())?;
        Ok(count)
    }

    /// Adds to the books. Whoever calls holds the lock.
    pub(crate) fn add(&self, record: &Record) -> Result<(), PkiError> {
        let path = self.path(file_name::ISSUED);
        files::append(&path, line(record, &path)?.as_bytes())
    }

    /// Keeps others from writing until it is dropped.
    pub(crate) fn lock(&self) -> Result<File, PkiError> {
        let path = self.path(file_name::LOCK);
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .map_err(PkiError::file("open", &path))?;
        file.lock().map_err(PkiError::file("lock", &path))?;
        Ok(file)
    }

    /// A file of the authority.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

fn line(value: &impl Serialize, path: &Path) -> Result<String, PkiError> {
    serde_json::to_string(value)
        .map(|text| text + "\n")
        .map_err(|error| PkiError::broken(path, error))
}

fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, PkiError> {
    let text = match files::read_text(path) {
        Err(PkiError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Vec::new());
        }
        text => text?,
    };
    text.lines()
        .enumerate()
        .map(|(place, line)| {
            serde_json::from_str(line)
                .map_err(|error| PkiError::broken(path, format!("line {}: {error}", place + 1)))
        })
        .collect()
}
