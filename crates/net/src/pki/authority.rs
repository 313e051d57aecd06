//! The authority of a federation: who signs.

use std::path::{Path, PathBuf};

use super::certificate::{Leaf, Order, issue, to_pem};
use super::enrolment::Request;
use super::register::{Record, Register, Standing, Status};
use super::{Fingerprint, Host, Identity, PkiError, PrivateKey, PublicKey, Role, file_name, files};

/// The authority: its books and its private key.
#[derive(Debug)]
pub struct Authority {
    pub(crate) register: Register,
    pub(crate) key: PrivateKey,
}

/// A certificate that was just issued.
#[derive(Clone, Debug)]
pub struct Issued {
    /// What the books say of it.
    pub record: Record,
    /// The file with it and the authority's certificate behind it, for [`install`](super::install).
    pub path: PathBuf,
    /// Both in PEM.
    pub(crate) pem: String,
}

/// What the authority is to sign.
pub(crate) struct Wish {
    pub(crate) role: Role,
    pub(crate) key: PublicKey,
    pub(crate) hosts: Vec<Host>,
    pub(crate) days: u16,
    /// Whether a living certificate of the name may be there.
    pub(crate) renew: bool,
}

impl Authority {
    /// Opens the authority of the federation in `dir`.
    ///
    /// # Errors
    /// A folder without an authority, or whose private key is not that of its certificate.
    pub fn open(dir: &Path) -> Result<Self, PkiError> {
        let register = Register::open(dir)?;
        let path = register.path(file_name::CA_KEY);
        let key = PrivateKey::read(&path)?;
        if key.public() != register.key {
            let reason = "not the key of the authority's certificate";
            return Err(PkiError::broken(&path, reason));
        }
        Ok(Self { register, key })
    }

    /// The books.
    pub fn register(&self) -> &Register {
        &self.register
    }

    /// Answers a site's request with a certificate for `days`, **if the fingerprint that the site told by another way is
    /// that of its key**. Of the request, nothing but the name and the key is used.
    ///
    /// # Errors
    /// [`PkiError::Fingerprint`]; [`PkiError::Living`] if the site has a valid certificate and this is not to `renew` it;
    /// [`PkiError::KeyTaken`], [`PkiError::KeyDenied`], [`PkiError::Outlasts`]; files.
    pub fn sign(
        &self,
        request: &Request,
        told: &Fingerprint,
        renew: bool,
        days: u16,
        now: u64,
    ) -> Result<Issued, PkiError> {
        let found = request.key.fingerprint();
        if found != *told {
            return Err(PkiError::Fingerprint {
                expected: *told,
                found,
            });
        }
        let wish = Wish {
            role: Role::Site(request.site.clone()),
            key: request.key,
            hosts: Vec::new(),
            days,
            renew,
        };
        self.issue(wish, now)
    }

    /// A new certificate for the newest key of a name, with the same hosts. The old one stays valid until its end, so
    /// that nothing stands still in between.
    ///
    /// # Errors
    /// [`PkiError::Unknown`] if there is no such key that is not denied, and as [`sign`](Self::sign).
    pub fn renew(&self, role: &Role, days: u16, now: u64) -> Result<Issued, PkiError> {
        let name = self.identity(role.clone());
        let standings = self.register.standings(now)?;
        let newest = standings
            .into_iter()
            .rfind(|standing| standing.record.name == name && standing.status != Status::Denied);
        let Some(Standing { record, .. }) = newest else {
            return Err(PkiError::Unknown(name));
        };
        let wish = Wish {
            role: role.clone(),
            key: record.key,
            hosts: record.hosts,
            days,
            renew: true,
        };
        self.issue(wish, now)
    }

    /// Signs, enters it into the books, and only then gives it out.
    pub(crate) fn issue(&self, wish: Wish, now: u64) -> Result<Issued, PkiError> {
        let name = self.identity(wish.role);
        let until = now.saturating_add(86_400 * u64::from(wish.days));
        if until > self.register.until {
            return Err(PkiError::Outlasts {
                until,
                authority: self.register.until,
            });
        }
        let _lock = self.register.lock()?;
        self.allow(&name, wish.key, wish.renew, now)?;
        let order = Order {
            identity: &name,
            key: wish.key,
            hosts: &wish.hosts,
            until,
        };
        let (der, serial) = issue(&order, &self.key, now)?;
        let leaf = Leaf::of(&der)?;
        let record = Record {
            name,
            serial,
            key: wish.key,
            fingerprint: wish.key.fingerprint(),
            from: leaf.from,
            until: leaf.until,
            hosts: wish.hosts,
        };
        let pem = to_pem("CERTIFICATE", &der)? + &self.pem()?;
        self.register.add(&record)?;
        let file = format!("{}.pem", record.serial);
        let path = self.register.path(file_name::ANSWERS).join(file);
        files::create(&path, pem.as_bytes())?;
        Ok(Issued { record, path, pem })
    }

    /// Whether this key may be certified for this name.
    fn allow(
        &self,
        name: &Identity,
        key: PublicKey,
        renew: bool,
        now: u64,
    ) -> Result<(), PkiError> {
        if key == self.register.key {
            let reason = "its key is the authority's own";
            return Err(PkiError::Request(reason.into()));
        }
        for Standing { record, status, .. } in self.register.standings(now)? {
            if record.key == key && status == Status::Denied {
                return Err(PkiError::KeyDenied(record.name));
            }
            if record.key == key && record.name != *name {
                return Err(PkiError::KeyTaken(record.name));
            }
            if record.name == *name && status == Status::Valid && !renew {
                return Err(PkiError::Living {
                    identity: record.name,
                    until: record.until,
                });
            }
            let (old, new) = (record.name.to_string(), name.to_string());
            if old != new && old.eq_ignore_ascii_case(&new) {
                return Err(PkiError::SameName(old, new));
            }
        }
        Ok(())
    }

    /// The authority's certificate in PEM.
    pub(crate) fn pem(&self) -> Result<String, PkiError> {
        to_pem("CERTIFICATE", &self.register.authority)
    }

    pub(crate) fn identity(&self, role: Role) -> Identity {
        Identity {
            federation: self.register.federation.clone(),
            role,
        }
    }
}
