//! Whether the other side of a connection is who it should be.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    PeerIncompatible, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::pki::{DenyList, Host, Leaf, Name, PkiError, Role, Use, is_for, verify};

/// Whom we trust.
#[derive(Debug)]
pub(super) struct Trust {
    pub(super) authority: Vec<u8>,
    pub(super) federation: Name,
    pub(super) denied: DenyList,
}

impl Trust {
    /// Whose certificate it is, if it is one of our federation that can be used now.
    fn leaf(&self, der: &[u8], usage: Use, now: UnixTime) -> Result<Leaf, CertificateError> {
        let now = now.as_secs();
        let leaf =
            verify(der, &self.authority, usage, now).map_err(|error| reason(der, error, now))?;
        if leaf.identity.federation != self.federation {
            return Err(CertificateError::UnknownIssuer);
        }
        if self.denied.denies(&leaf.serial) {
            return Err(CertificateError::Revoked);
        }
        Ok(leaf)
    }
}

/// What the other side is told; what stands in a certificate that does not verify decides nothing else.
fn reason(der: &[u8], error: PkiError, now: u64) -> CertificateError {
    match Leaf::of(der) {
        Ok(leaf) if now > leaf.until => CertificateError::Expired,
        Ok(leaf) if now < leaf.from => CertificateError::NotValidYet,
        _ => CertificateError::Other(OtherError(Arc::new(error))),
    }
}

/// What both verifiers do with the signature on the handshake.
#[derive(Debug)]
struct Signatures(WebPkiSupportedAlgorithms);

impl Signatures {
    fn verify(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn old() -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }
}

/// At the director: sites and operators may come in.
#[derive(Debug)]
pub(super) struct MemberVerifier {
    trust: Arc<Trust>,
    signatures: Signatures,
}

impl MemberVerifier {
    pub(super) fn new(trust: Arc<Trust>, provider: &CryptoProvider) -> Self {
        let signatures = Signatures(provider.signature_verification_algorithms);
        Self { trust, signatures }
    }
}

impl ClientCertVerifier for MemberVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let leaf = self.trust.leaf(certificate, Use::Client, now)?;
        match leaf.identity.role {
            Role::Site(_) | Role::Operator(_) => Ok(ClientCertVerified::assertion()),
            Role::Director => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Signatures::old()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.verify(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// At sites and operators: the director of their federation, found where it was looked for, may answer.
#[derive(Debug)]
pub(super) struct DirectorVerifier {
    trust: Arc<Trust>,
    signatures: Signatures,
}

impl DirectorVerifier {
    pub(super) fn new(trust: Arc<Trust>, provider: &CryptoProvider) -> Self {
        let signatures = Signatures(provider.signature_verification_algorithms);
        Self { trust, signatures }
    }
}

impl ServerCertVerifier for DirectorVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let leaf = self.trust.leaf(certificate, Use::Server, now)?;
        if leaf.identity.role != Role::Director {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        match server_name.to_str().parse::<Host>() {
            Ok(host) if is_for(certificate, &host) => Ok(ServerCertVerified::assertion()),
            _ => Err(CertificateError::NotValidForName.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Signatures::old()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.verify(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
