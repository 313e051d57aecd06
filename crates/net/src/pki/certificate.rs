//! Certificates: made, read and verified.

use std::time::Duration;

use cloister_host::to_hex;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use time::OffsetDateTime;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::asn1_rs::BitString;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo, X509Name};

use super::key::{CertificateSigner, random};
use super::{Host, Identity, Name, PkiError, PrivateKey, PublicKey, Role};

/// id-Ed25519 (RFC 8410, section 3).
const ED25519: &str = "1.3.101.112";

/// How long the authority's certificate is valid for: ten years.
const AUTHORITY_SECONDS: u64 = 3_652 * 86_400;

/// By how much certificates begin in the past, since the clocks of sites are not quite the authority's.
const BACKDATED_SECONDS: u64 = 300;

/// What is to be certified.
pub(crate) struct Order<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) key: PublicKey,
    /// Where a director is found; of nobody else.
    pub(crate) hosts: &'a [Host],
    /// Until when.
    pub(crate) until: u64,
}

/// When a certificate begins that is issued at `now`.
pub(crate) fn begins(now: u64) -> u64 {
    now.saturating_sub(BACKDATED_SECONDS)
}

/// The certificate of a new authority, in DER.
pub(crate) fn self_signed(
    federation: &Name,
    key: &PrivateKey,
    now: u64,
) -> Result<Vec<u8>, PkiError> {
    let signer = CertificateSigner::new(key);
    let mut params = authority_params(federation, key.public());
    params.serial_number = Some(SerialNumber::from_slice(&serial()?));
    (params.not_before, params.not_after) = (
        moment(begins(now))?,
        moment(now.saturating_add(AUTHORITY_SECONDS))?,
    );
    Ok(params.self_signed(&signer)?.der().to_vec())
}

/// A certificate for somebody, in DER, and its serial number.
pub(crate) fn issue(
    order: &Order<'_>,
    authority: &PrivateKey,
    now: u64,
) -> Result<(Vec<u8>, String), PkiError> {
    let Identity { federation, role } = order.identity;
    let serial = serial()?;
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    (params.not_before, params.not_after) = (moment(begins(now))?, moment(order.until)?);
    params.distinguished_name = subject(federation, order.identity.short());
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = match role {
        // It is a client too where it talks to itself or to another director.
        Role::Director => vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ],
        Role::Site(_) | Role::Operator(_) => vec![ExtendedKeyUsagePurpose::ClientAuth],
    };
    params.use_authority_key_identifier_extension = true;
    params.key_identifier_method = key_identifier(order.key);
    params.subject_alt_names = vec![SanType::URI(ascii(&order.identity.to_string())?)];
    for host in order.hosts {
        params.subject_alt_names.push(match host.address() {
            Some(address) => SanType::IpAddress(address),
            None => SanType::DnsName(ascii(host.as_str())?),
        });
    }
    let issuer_params = authority_params(federation, authority.public());
    let issuer = Issuer::from_params(&issuer_params, CertificateSigner::new(authority));
    let certificate = params.signed_by(&order.key, &issuer)?;
    Ok((certificate.der().to_vec(), to_hex(&serial)))
}

fn authority_params(federation: &Name, key: PublicKey) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(federation, "authority");
    // It signs people's certificates, and no other authority's.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params.key_identifier_method = key_identifier(key);
    params
}

/// For people and for tools that show certificates; nothing here is decided by it but the federation's name.
fn subject(federation: &Name, common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, federation.as_str());
    name.push(DnType::CommonName, common_name);
    name
}

/// RFC 7093, section 2, method 4: a hash of the `SubjectPublicKeyInfo`.
fn key_identifier(key: PublicKey) -> KeyIdMethod {
    use sha2::{Digest, Sha256};
    let hash: [u8; 32] = Sha256::digest(key.subject_public_key_info()).into();
    KeyIdMethod::PreSpecified(hash[..20].to_vec())
}

/// 126 random bits between two that make each serial number positive and 16 bytes long.
fn serial() -> Result<[u8; 16], PkiError> {
    let mut bytes = random::<16>()?;
    bytes[0] = bytes[0] & 0x3f | 0x40;
    Ok(bytes)
}

fn moment(seconds: u64) -> Result<OffsetDateTime, PkiError> {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .ok_or_else(|| PkiError::Certificate(format!("there is no date for second {seconds}")))
}

fn ascii(text: &str) -> Result<Ia5String, PkiError> {
    Ia5String::try_from(text).map_err(PkiError::from)
}

/// What stands in the certificate of a director, site or operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Who it is.
    pub identity: Identity,
    /// The serial number, in hex, as the deny list has it.
    pub serial: String,
    /// The key.
    pub key: PublicKey,
    /// From when it is valid, in seconds since 1970.
    pub from: u64,
    /// Until when.
    pub until: u64,
}

impl Leaf {
    /// Who a certificate is, **whose chain was verified before**, by TLS or by [`verify`]: nothing is signed in what
    /// an unverified one says.
    ///
    /// # Errors
    /// [`PkiError::Certificate`] for a certificate that an [`Authority`](super::Authority) would not have issued:
    /// without exactly one name, with another algorithm, of an authority, for other uses than its role's, or with hosts
    /// that only a director has.
    pub fn of(der: &[u8]) -> Result<Self, PkiError> {
        let certificate = parsed(der)?;
        if certificate.is_ca() {
            return Err(refused("it is an authority's"));
        }
        let (identity, hosts) = identity_and_hosts(&certificate)?;
        let is_director = identity.role == Role::Director;
        if hosts != is_director {
            return Err(refused("a director has hosts, and nobody else"));
        }
        let usage = certificate
            .extended_key_usage()
            .map_err(refused)?
            .ok_or_else(|| refused("it does not say what it is for"))?
            .value;
        if usage.any || !usage.client_auth || usage.server_auth != is_director {
            return Err(refused("it is for other uses than its name's"));
        }
        let issuer = organisation(certificate.issuer());
        if issuer != Some(identity.federation.as_str()) {
            return Err(refused("its issuer is of another federation"));
        }
        let (from, until) = validity(&certificate)?;
        Ok(Self {
            identity,
            serial: to_hex(certificate.raw_serial()),
            key: public_key(certificate.public_key()).ok_or_else(|| refused(NOT_ED25519))?,
            from,
            until,
        })
    }
}

const NOT_ED25519: &str = "its key is not Ed25519";

/// The URI, of which there must be one, and whether there are hosts.
fn identity_and_hosts(certificate: &X509Certificate<'_>) -> Result<(Identity, bool), PkiError> {
    let names = certificate
        .subject_alternative_name()
        .map_err(refused)?
        .ok_or_else(|| refused("it has no name"))?;
    let (mut identity, mut hosts) = (None, false);
    for name in &names.value.general_names {
        match name {
            GeneralName::URI(uri) => {
                let found: Identity = uri.parse().map_err(refused)?;
                if identity.replace(found).is_some() {
                    return Err(refused("it has two names"));
                }
            }
            GeneralName::DNSName(_) | GeneralName::IPAddress(_) => hosts = true,
            _ => return Err(refused("it has a name of another kind")),
        }
    }
    Ok((identity.ok_or_else(|| refused("it has no name"))?, hosts))
}

/// What stands in an authority's certificate.
pub(crate) struct Root {
    pub(crate) federation: Name,
    pub(crate) key: PublicKey,
    pub(crate) until: u64,
}

impl Root {
    /// Reads a self-signed certificate and checks its signature on itself.
    pub(crate) fn of(der: &[u8]) -> Result<Self, PkiError> {
        let certificate = parsed(der)?;
        if !certificate.is_ca() || certificate.issuer() != certificate.subject() {
            return Err(refused("it is not an authority's"));
        }
        let key = public_key(certificate.public_key()).ok_or_else(|| refused(NOT_ED25519))?;
        let signature = signature(
            &certificate.signature_algorithm,
            &certificate.signature_value,
        );
        let body = certificate.tbs_certificate.as_ref();
        if !signature.is_some_and(|signature| key.verifies(body, &signature)) {
            return Err(refused(
                "the authority's signature on itself does not verify",
            ));
        }
        let federation = organisation(certificate.subject())
            .ok_or_else(|| refused("the authority has no federation's name"))?;
        Ok(Self {
            federation: federation.parse()?,
            key,
            until: validity(&certificate)?.1,
        })
    }
}

/// What somebody is to do with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// To answer calls.
    Server,
    /// To call.
    Client,
}

/// Verifies that `authority` has signed a certificate for this use and that both are valid at `now`, and says whose it
/// is. Certificates in DER.
///
/// Denied certificates pass: see [`DenyList`](super::DenyList).
///
/// # Errors
/// [`PkiError::Certificate`].
pub fn verify(leaf: &[u8], authority: &[u8], usage: Use, now: u64) -> Result<Leaf, PkiError> {
    let (leaf_der, authority) = (CertificateDer::from(leaf), CertificateDer::from(authority));
    let anchor = anchor_from_trusted_cert(&authority).map_err(refused)?;
    // A trust anchor's dates are nobody's business in RFC 5280; here they are.
    let (from, until) = validity(&parsed(&authority)?)?;
    if now < from || now > until {
        return Err(refused(
            "the authority's certificate is not valid at this time",
        ));
    }
    let usage = match usage {
        Use::Server => KeyUsage::server_auth(),
        Use::Client => KeyUsage::client_auth(),
    };
    EndEntityCert::try_from(&leaf_der)
        .and_then(|leaf| {
            leaf.verify_for_usage(
                &[webpki::ring::ED25519],
                &[anchor],
                &[],
                UnixTime::since_unix_epoch(Duration::from_secs(now)),
                usage,
                None,
                None,
            )
            .map(drop)
        })
        .map_err(refused)?;
    Leaf::of(leaf)
}

/// Whether a director's certificate says that it is found at `host`. Nothing else about it is checked: see [`verify`].
pub fn is_for(leaf: &[u8], host: &Host) -> bool {
    let (leaf, name) = (
        CertificateDer::from(leaf),
        ServerName::try_from(host.as_str()),
    );
    match (EndEntityCert::try_from(&leaf), name) {
        (Ok(leaf), Ok(name)) => leaf.verify_is_valid_for_subject_name(&name).is_ok(),
        _ => false,
    }
}

fn parsed(der: &[u8]) -> Result<X509Certificate<'_>, PkiError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(refused("something stands behind it")),
        Err(error) => Err(refused(error)),
    }
}

/// The key, if it is one of Ed25519.
pub(crate) fn public_key(info: &SubjectPublicKeyInfo<'_>) -> Option<PublicKey> {
    ed25519(&info.algorithm, &info.subject_public_key).map(PublicKey)
}

/// The signature, if it is one of Ed25519; its algorithm is not under the signature, so another spelling is refused.
pub(crate) fn signature(
    algorithm: &AlgorithmIdentifier<'_>,
    bits: &BitString<'_>,
) -> Option<[u8; 64]> {
    ed25519(algorithm, bits)
}

fn ed25519<const N: usize>(
    algorithm: &AlgorithmIdentifier<'_>,
    bits: &BitString<'_>,
) -> Option<[u8; N]> {
    let is_ed25519 = algorithm.algorithm.to_id_string() == ED25519
        && algorithm.parameters.is_none()
        && bits.unused_bits == 0;
    let bytes = bits.data.as_ref().try_into().ok()?;
    is_ed25519.then_some(bytes)
}

fn organisation<'a>(name: &'a X509Name<'_>) -> Option<&'a str> {
    name.iter_organization().next()?.as_str().ok()
}

fn validity(certificate: &X509Certificate<'_>) -> Result<(u64, u64), PkiError> {
    let seconds = |time: &x509_parser::time::ASN1Time| {
        u64::try_from(time.timestamp()).map_err(|_| refused("it is from before 1970"))
    };
    let validity = certificate.validity();
    Ok((
        seconds(&validity.not_before)?,
        seconds(&validity.not_after)?,
    ))
}

fn refused(reason: impl ToString) -> PkiError {
    PkiError::Certificate(reason.to_string())
}

/// The certificates of a PEM file, in DER.
pub(crate) fn from_pem(text: &[u8]) -> Result<Vec<Vec<u8>>, PkiError> {
    CertificateDer::pem_slice_iter(text)
        .map(|found| found.map(|der| der.to_vec()).map_err(refused))
        .collect()
}

/// A block of PEM (RFC 7468).
pub(crate) fn to_pem(label: &'static str, der: &[u8]) -> Result<String, PkiError> {
    use ed25519_dalek::pkcs8::spki::der::pem::{LineEnding, encode_string};
    encode_string(label, LineEnding::LF, der).map_err(|_| refused("it cannot be written as PEM"))
}
