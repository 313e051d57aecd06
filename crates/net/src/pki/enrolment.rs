//! A site whose private key never leaves it: request, answer, installation.

use std::path::Path;

use rcgen::{CertificateParams, DistinguishedName, DnType};
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::certificate::{Leaf, Root, Use, from_pem, public_key, signature, to_pem, verify};
use super::key::CertificateSigner;
use super::kit::envoy_config;
use super::{Fingerprint, Identity, Name, PkiError, PrivateKey, PublicKey, Role, file_name, files};

/// A site's request for a certificate, whose signature fits its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who the site says it is.
    pub site: Name,
    /// Its key.
    pub key: PublicKey,
}

impl Request {
    /// Reads PKCS#10 (RFC 2986) in PEM and checks that it was signed by the key in it. What else it asks for is
    /// ignored: other names, uses, an end.
    ///
    /// # Errors
    /// [`PkiError::Request`].
    pub fn from_pem(text: &[u8]) -> Result<Self, PkiError> {
        let der = CertificateSigningRequestDer::from_pem_slice(text).map_err(refused)?;
        let request = match X509CertificationRequest::from_der(&der) {
            Ok(([], request)) => request,
            Ok(_) => return Err(refused("something stands behind it")),
            Err(error) => return Err(refused(error)),
        };
        let info = &request.certification_request_info;
        let key = public_key(&info.subject_pki).ok_or_else(|| refused("its key is not Ed25519"))?;
        let signature = signature(&request.signature_algorithm, &request.signature_value);
        if !signature.is_some_and(|signature| key.verifies(info.raw, &signature)) {
            return Err(refused(
                "its signature does not verify: it was changed on its way",
            ));
        }
        let mut names = info.subject.iter_common_name();
        let (Some(name), None) = (names.next(), names.next()) else {
            return Err(refused("expected one name"));
        };
        let site = name.as_str().map_err(refused)?.parse()?;
        Ok(Self { site, key })
    }

    /// Reads it from a file.
    ///
    /// # Errors
    /// A file that cannot be read, and as [`from_pem`](Self::from_pem).
    pub fn read(path: &Path) -> Result<Self, PkiError> {
        let text = files::read(path)?;
        Self::from_pem(&text).map_err(|error| match error {
            PkiError::Request(reason) => PkiError::Request(format!("{}: {reason}", path.display())),
            other => other,
        })
    }

    fn to_pem(site: &Name, key: &PrivateKey) -> Result<String, PkiError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, site.as_str());
        let request = params.serialize_request(&CertificateSigner::new(key))?;
        to_pem("CERTIFICATE REQUEST", request.der())
    }
}

fn refused(reason: impl ToString) -> PkiError {
    PkiError::Request(reason.to_string())
}

/// Makes the folder of a site with a new private key and a request for a certificate. The fingerprint that the
/// federation's operator must be told by another way than the request.
///
/// # Errors
/// [`PkiError::NotEmpty`]; a file that cannot be written. Then nothing is there of it.
pub fn enroll(dir: &Path, site: &Name) -> Result<Fingerprint, PkiError> {
    files::create_folder_with(dir, |dir| {
        let key = PrivateKey::generate()?;
        let request = Request::to_pem(site, &key)?;
        key.create(&dir.join(file_name::KEY))?;
        files::create(&dir.join(file_name::REQUEST), request.as_bytes())?;
        Ok(key.public().fingerprint())
    })
}

/// Writes a new request for the private key that a site has. The key's fingerprint.
///
/// # Errors
/// A folder without a key, or with a certificate of another name; a file that cannot be written.
pub fn renewal(dir: &Path, site: &Name) -> Result<Fingerprint, PkiError> {
    let key = PrivateKey::read(&dir.join(file_name::KEY))?;
    if let Some(leaf) = installed(dir)?
        && leaf.identity.role != Role::Site(site.clone())
    {
        let reason = format!("it is of {}, not of the site {site}", leaf.identity);
        return Err(PkiError::misfit(&dir.join(file_name::CERTIFICATE), reason));
    }
    let request = Request::to_pem(site, &key)?;
    files::replace(&dir.join(file_name::REQUEST), request.as_bytes())?;
    Ok(key.public().fingerprint())
}

/// A certificate that was put in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// What stands in it.
    pub leaf: Leaf,
    /// The fingerprint of the authority's key, to be compared by another way where it was not known before.
    pub authority: Fingerprint,
}

/// Puts an authority's answer into the folder of the key it is for: `ca.pem`, `cert.pem`, and at a site `envoy.toml` if
/// there is none. A certificate that is there is replaced by one of the same name that ends later; a key never.
///
/// `told` is the fingerprint of the authority's key where somebody has told it. Without it, and without a `ca.pem` that
/// is there already, **the authority is whoever has sent the answer**: compare [`Installed::authority`].
///
/// # Errors
/// [`PkiError::Misfit`] for an answer that is not for this key or name, is of another authority than the one there, or
/// ends before the certificate there; [`PkiError::Fingerprint`]; [`PkiError::Certificate`]; files.
pub fn install(
    dir: &Path,
    answer: &Path,
    told: Option<&Fingerprint>,
    now: u64,
) -> Result<Installed, PkiError> {
    let certificates =
        from_pem(&files::read(answer)?).map_err(|error| PkiError::broken(answer, error))?;
    let [leaf_der, authority_der] = certificates.as_slice() else {
        let reason = "expected two certificates: the answer and the authority's";
        return Err(PkiError::broken(answer, reason));
    };
    let misfit = |reason: &str| Err(PkiError::misfit(answer, reason));
    let root = Root::of(authority_der)?;
    let authority = root.key.fingerprint();
    if let Some(told) = told
        && *told != authority
    {
        return Err(PkiError::Fingerprint {
            expected: *told,
            found: authority,
        });
    }
    let leaf = verify(leaf_der, authority_der, Use::Client, now)?;
    if leaf.identity.federation != root.federation {
        return misfit("it is of another federation than its authority");
    }
    if leaf.key != PrivateKey::read(&dir.join(file_name::KEY))?.public() {
        return misfit("it is not for the key in this folder");
    }
    check_request(dir, answer, &leaf.identity)?;
    let ca = dir.join(file_name::CA);
    let known = ca.exists();
    if known && from_pem(&files::read(&ca)?)? != [authority_der.clone()] {
        return misfit("its authority is not the one in ca.pem");
    }
    match installed(dir)? {
        Some(old) if old.identity != leaf.identity => {
            return misfit("the certificate there is of another name");
        }
        Some(old) if old.until > leaf.until => {
            return misfit("the certificate there is valid for longer");
        }
        _ => {}
    }
    if !known {
        files::create(&ca, to_pem("CERTIFICATE", authority_der)?.as_bytes())?;
    }
    let config = dir.join(file_name::ENVOY_CONFIG);
    if let Role::Site(site) = &leaf.identity.role
        && !config.exists()
    {
        let text = envoy_config(&root.federation, site, "director.example.org");
        files::create(&config, text.as_bytes())?;
    }
    let pem = to_pem("CERTIFICATE", leaf_der)?;
    // Last, and at one instant: what is there before is a folder that works.
    files::replace(&dir.join(file_name::CERTIFICATE), pem.as_bytes())?;
    Ok(Installed { leaf, authority })
}

/// Where there is a request, the answer must be for the name in it.
fn check_request(dir: &Path, answer: &Path, identity: &Identity) -> Result<(), PkiError> {
    let path = dir.join(file_name::REQUEST);
    if path.exists() {
        let asked = Role::Site(Request::read(&path)?.site);
        if identity.role != asked {
            let reason = format!("it is for {identity}, and {asked} was asked for");
            return Err(PkiError::misfit(answer, reason));
        }
    }
    Ok(())
}

/// The certificate in a folder, if there is one.
fn installed(dir: &Path) -> Result<Option<Leaf>, PkiError> {
    let path = dir.join(file_name::CERTIFICATE);
    if !path.exists() {
        return Ok(None);
    }
    let certificates = from_pem(&files::read(&path)?)?;
    match certificates.first() {
        Some(der) => Leaf::of(der).map(Some),
        None => Err(PkiError::broken(&path, "no certificate")),
    }
}
