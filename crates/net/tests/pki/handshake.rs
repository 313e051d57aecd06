//! The kits in TLS 1.3 of rustls, in memory: both sides authenticated.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cloister_net::pki::{Identity, Leaf};
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
};

use super::{DAY, NOW, made};

#[derive(Debug)]
struct At(u64);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0)))
    }
}

fn kit(
    folder: &Path,
) -> (
    Arc<RootCertStore>,
    Vec<CertificateDer<'static>>,
    PrivateKeyDer<'static>,
) {
    let certificates = |name| {
        let path = folder.join(name);
        CertificateDer::pem_file_iter(path)
            .unwrap()
            .map(Result::unwrap)
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates("ca.pem"));
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
    (Arc::new(roots), certificates("cert.pem").collect(), key)
}

/// Who each side says the other is, or why there is no connection.
fn shake(
    server: &Path,
    client: &Path,
    host: &str,
    now: u64,
) -> Result<[Identity; 2], rustls::Error> {
    let provider = Arc::new(default_provider());
    let (roots, chain, key) = kit(server);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
    let config = ServerConfig::builder_with_details(provider.clone(), Arc::new(At(now)))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(chain, key)?;
    let mut server = Connection::Server(ServerConnection::new(Arc::new(config))?);
    let (roots, chain, key) = kit(client);
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone());
    let config = ClientConfig::builder_with_details(provider, Arc::new(At(now)))
        .with_protocol_versions(&[&TLS13])?
        .with_webpki_verifier(verifier.build().unwrap())
        .with_client_auth_cert(chain, key)?;
    let host = ServerName::try_from(host.to_owned()).unwrap();
    let mut client = Connection::Client(ClientConnection::new(Arc::new(config), host)?);
    while client.is_handshaking() || server.is_handshaking() {
        carry(&mut client, &mut server)?;
        carry(&mut server, &mut client)?;
    }
    Ok([&client, &server].map(|side| {
        let certificates = side.peer_certificates().unwrap();
        Leaf::of(&certificates[0]).unwrap().identity
    }))
}

fn carry(from: &mut Connection, to: &mut Connection) -> Result<(), rustls::Error> {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    bytes.flush().unwrap();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        to.read_tls(&mut rest).unwrap();
        to.process_new_packets()?;
    }
    Ok(())
}

#[test]
fn director_and_site_know_each_other() {
    let (_around, dir) = made();
    let (director, a) = (dir.join("director"), dir.join("sites/a"));
    for host in ["localhost", "127.0.0.1", "director.example.org", "10.0.0.7"] {
        let [server, client] = shake(&director, &a, host, NOW).unwrap();
        assert_eq!(server.to_string(), "cloister://clinics/director");
        assert_eq!(client.to_string(), "cloister://clinics/site/a");
    }
    let error = |server, client, host, now| -> String {
        let error = shake(server, client, host, now).unwrap_err();
        format!("{error:?}")
    };
    assert!(error(&director, &a, "elsewhere.org", NOW).contains("NotValidForName"));
    assert!(error(&director, &a, "localhost", NOW + 31 * DAY).contains("Expired"));
    // A site cannot stand for the director.
    assert!(error(&a, &a, "localhost", NOW).contains("InvalidCertificate"));
    let (_elsewhere, other) = made();
    let stranger = other.join("sites/a");
    assert!(error(&director, &stranger, "localhost", NOW).contains("InvalidCertificate"));
    // With the right authority on its disk it is still a stranger to the director.
    fs::copy(dir.join("director/ca.pem"), stranger.join("ca.pem")).unwrap();
    assert!(error(&director, &stranger, "localhost", NOW).contains("InvalidCertificate"));
    // A certificate without its key.
    fs::copy(a.join("cert.pem"), stranger.join("cert.pem")).unwrap();
    assert!(shake(&director, &stranger, "localhost", NOW).is_err());
}
