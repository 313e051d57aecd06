//! Who we are and whom we trust, in TLS 1.3.
//!
//! Both sides present a certificate and both are decided by [`crate::pki`]; nothing of a public web's trust is here. Sessions are
//! never resumed: a resumed one would outlive the denial of its certificate.

mod verifier;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig, SignatureAlgorithm, SignatureScheme};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use self::verifier::{DirectorVerifier, MemberVerifier, Trust};
use crate::clock::unix_now;
use crate::pki::{DenyList, Leaf, PkiError, PrivateKey, Role, Use, date, file_name, verify};

/// The protocol within TLS; nobody is served who does not ask for it.
pub(super) const ALPN: &[u8] = b"h2";

/// Why a folder gives no credentials.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// A file is missing, broken, or holds a certificate that is not of the federation.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// A file does not hold one certificate.
    #[error("{}: {reason}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificate's time is over.
    #[error(
        "the certificate in {} ended on {}: renew it with `cloister federation renew` where the authority is, and \
         install what that gives",
        folder.display(), date(*until)
    )]
    Ended {
        /// Where it is.
        folder: PathBuf,
        /// Its end.
        until: u64,
    },
    /// The certificate's time has not come.
    #[error(
        "the certificate in {} begins on {}, and this machine's clock says {}",
        folder.display(), date(*from), date(*now)
    )]
    NotYet {
        /// Where it is.
        folder: PathBuf,
        /// Its beginning.
        from: u64,
        /// What the clock says.
        now: u64,
    },
    /// The certificate is not for the key.
    #[error("{}: the certificate is not for the key beside it", .0.display())]
    KeyMismatch(PathBuf),
    /// The certificate is for something else.
    #[error("the certificate in {} is of {found}, {wanted}", folder.display())]
    WrongRole {
        /// Where it is.
        folder: PathBuf,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        wanted: &'static str,
    },
    /// The TLS library refuses the settings.
    #[error("cannot set up tls: {0}")]
    Tls(#[from] rustls::Error),
}

/// Our key and certificate, the authority that we trust, and whom we deny: the files of a kit's folder.
pub struct Credentials {
    folder: PathBuf,
    usage: Use,
    loaded: RwLock<Arc<Loaded>>,
    seen: Mutex<Seen>,
}

/// All that one reading of the folder gave.
pub(super) struct Loaded {
    leaf: Leaf,
    certificate: Vec<u8>,
    key: Arc<PrivateKey>,
    trust: Arc<Trust>,
    pub(super) server: Arc<ServerConfig>,
    pub(super) client: Arc<ClientConfig>,
}

#[derive(Default)]
struct Seen {
    stamps: Stamps,
    trouble: String,
}

/// When the files were last changed and how long they are; `None` where there is none.
type Stamps = [Option<(SystemTime, u64)>; 4];

impl Credentials {
    /// Reads a kit's folder: `ca.pem`, `cert.pem`, `key.pem` and, where there is one, `denied.jsonl`.
    ///
    /// # Errors
    /// [`CredentialError`], also for a certificate that cannot be used now.
    pub fn load(folder: &Path, usage: Use) -> Result<Self, CredentialError> {
        let seen = Seen {
            stamps: stamps(folder),
            trouble: String::new(),
        };
        Ok(Self {
            loaded: RwLock::new(Arc::new(Loaded::read(folder, usage)?)),
            seen: Mutex::new(seen),
            folder: folder.to_owned(),
            usage,
        })
    }

    /// Whether the deny list has a certificate, by its serial number.
    pub fn denies(&self, serial: &str) -> bool {
        self.loaded().trust.denied.denies(serial)
    }

    /// Reads the folder again if a file of it was changed, and says whether it was. What is broken leaves all as it was; the
    /// folder is then tried again each time, and the same trouble reported once.
    ///
    /// # Errors
    /// [`CredentialError`]
    pub fn reload_if_changed(&self) -> Result<bool, CredentialError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // Before the files are read: a change in the meantime is then seen the next time.
        let stamps = stamps(&self.folder);
        if stamps == seen.stamps {
            return Ok(false);
        }
        match Loaded::read(&self.folder, self.usage) {
            Ok(loaded) => {
                *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
                *seen = Seen {
                    stamps,
                    trouble: String::new(),
                };
                Ok(true)
            }
            Err(error) if error.to_string() == seen.trouble => Ok(false),
            Err(error) => {
                seen.trouble = error.to_string();
                Err(error)
            }
        }
    }

    pub(super) fn loaded(&self) -> Arc<Loaded> {
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&loaded)
    }

    /// Who we are.
    pub fn leaf(&self) -> Leaf {
        self.loaded().leaf.clone()
    }

    /// Our certificate.
    pub fn certificate_der(&self) -> Vec<u8> {
        self.loaded().certificate.clone()
    }

    /// The authority's certificate.
    pub fn authority_der(&self) -> Vec<u8> {
        self.loaded().trust.authority.clone()
    }

    /// Our private key.
    pub fn key(&self) -> Arc<PrivateKey> {
        Arc::clone(&self.loaded().key)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Credentials");
        debug.field("folder", &self.folder);
        debug
            .field("leaf", &self.leaf().identity)
            .finish_non_exhaustive()
    }
}

fn stamps(folder: &Path) -> Stamps {
    let names = [
        file_name::CA,
        file_name::CERTIFICATE,
        file_name::KEY,
        file_name::DENIED,
    ];
    names.map(|name| {
        let meta = std::fs::metadata(folder.join(name)).ok()?;
        Some((meta.modified().ok()?, meta.len()))
    })
}

impl Loaded {
    fn read(folder: &Path, usage: Use) -> Result<Self, CredentialError> {
        let authority = certificate(&folder.join(file_name::CA))?;
        let certificate = certificate(&folder.join(file_name::CERTIFICATE))?;
        let key_path = folder.join(file_name::KEY);
        let key = Arc::new(PrivateKey::read(&key_path)?);
        let now = unix_now();
        let leaf = usable(folder, &certificate, &authority, usage, now)?;
        if leaf.key != key.public() {
            return Err(CredentialError::KeyMismatch(
                folder.join(file_name::CERTIFICATE),
            ));
        }
        let trust = Arc::new(Trust {
            federation: leaf.identity.federation.clone(),
            denied: DenyList::read(&folder.join(file_name::DENIED))?,
            authority,
        });
        let chain = vec![CertificateDer::from(certificate.clone())];
        let signing = Arc::new(HandshakeKey(Arc::clone(&key)));
        let own = Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, signing)));
        let provider = Arc::new(ring::default_provider());
        Ok(Self {
            leaf,
            certificate,
            key,
            server: Arc::new(server_config(&provider, &trust, &own)?),
            client: Arc::new(client_config(&provider, &trust, &own)?),
            trust,
        })
    }

    /// Whether the certificate of a peer, which was good when it connected, is no longer; why, in words.
    pub(super) fn objects_to(&self, leaf: &Leaf) -> Option<String> {
        let identity = &leaf.identity;
        if self.trust.denied.denies(&leaf.serial) {
            return Some(format!("the certificate of {identity} is denied"));
        }
        (unix_now() > leaf.until).then(|| {
            format!(
                "the certificate of {identity} ended on {}",
                date(leaf.until)
            )
        })
    }
}

/// Checks our own certificate, so that what is wrong with it is said here and not by the other side.
fn usable(
    folder: &Path,
    certificate: &[u8],
    authority: &[u8],
    usage: Use,
    now: u64,
) -> Result<Leaf, CredentialError> {
    let leaf = Leaf::of(certificate)?;
    let folder = folder.to_owned();
    if now > leaf.until {
        let until = leaf.until;
        return Err(CredentialError::Ended { folder, until });
    }
    if now < leaf.from {
        let from = leaf.from;
        return Err(CredentialError::NotYet { folder, from, now });
    }
    let is_director = leaf.identity.role == Role::Director;
    let wanted = match usage {
        Use::Server if !is_director => "and calls are answered by a director",
        Use::Client if is_director => "and calls are made by sites and operators",
        _ => return Ok(verify(certificate, authority, usage, now)?),
    };
    Err(CredentialError::WrongRole {
        folder,
        found: leaf.identity.to_string(),
        wanted,
    })
}

/// The one certificate of a file.
fn certificate(path: &Path) -> Result<Vec<u8>, CredentialError> {
    let broken = |reason: String| CredentialError::Certificate {
        path: path.to_owned(),
        reason,
    };
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(|error| broken(error.to_string()))?
        .take(2)
        .collect();
    match found.map_err(|error| broken(error.to_string()))?.as_slice() {
        [certificate] => Ok(certificate.to_vec()),
        _ => Err(broken("expected one certificate".into())),
    }
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    trust: &Arc<Trust>,
    own: &Arc<SingleCertAndKey>,
) -> Result<ServerConfig, rustls::Error> {
    let verifier = MemberVerifier::new(Arc::clone(trust), provider);
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::clone(own) as _);
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn client_config(
    provider: &Arc<CryptoProvider>,
    trust: &Arc<Trust>,
    own: &Arc<SingleCertAndKey>,
) -> Result<ClientConfig, rustls::Error> {
    let verifier = DirectorVerifier::new(Arc::clone(trust), provider);
    let mut config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::clone(own) as _);
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Our key as TLS signs with it; no copy of it is made.
#[derive(Debug)]
struct HandshakeKey(Arc<PrivateKey>);

impl SigningKey for HandshakeKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered
            .contains(&SignatureScheme::ED25519)
            .then(|| Box::new(Self(Arc::clone(&self.0))) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl Signer for HandshakeKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        Ok(self.0.sign(message).to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}
