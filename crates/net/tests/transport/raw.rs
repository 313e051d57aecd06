//! A client that does what no client should: TLS and HTTP/2 by hand, messages byte for byte.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use cloister_net::transport::Parcel;
use h2::client::SendRequest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Trusts anybody.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// Shakes hands with the certificate and key of a folder, or with none.
pub(crate) async fn shake(
    address: SocketAddr,
    folder: Option<&Path>,
    alpn: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody));
    let mut config = match folder {
        None => builder.with_no_client_auth(),
        Some(folder) => {
            let chain = CertificateDer::pem_file_iter(folder.join("cert.pem"))
                .unwrap()
                .map(Result::unwrap);
            let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
            builder.with_client_auth_cert(chain.collect(), key).unwrap()
        }
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    let tcp = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
}

/// What a director says to a certificate: nothing if it lets it in.
pub(crate) async fn objection(address: SocketAddr, folder: Option<&Path>) -> Option<String> {
    let mut tls = match shake(address, folder, b"h2").await {
        Ok(tls) => tls,
        Err(error) => return Some(error.to_string()),
    };
    match tls.read_u8().await {
        Ok(_) => None,
        Err(error) => Some(error.to_string()),
    }
}

/// HTTP/2 by hand.
pub(crate) async fn http(address: SocketAddr, folder: &Path) -> SendRequest<Bytes> {
    let tls = shake(address, Some(folder), b"h2").await.unwrap();
    let (requests, connection) = h2::client::handshake(tls).await.unwrap();
    tokio::spawn(connection);
    requests.ready().await.unwrap()
}

/// The code and words of a call's end.
pub(crate) struct Ended {
    pub(crate) code: String,
    pub(crate) words: String,
}

/// A call with these bytes as its body, and more headers.
pub(crate) async fn call(
    requests: &SendRequest<Bytes>,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<Bytes>,
    ends: bool,
) -> Result<Ended, h2::Error> {
    let mut request = http::Request::post(format!("http://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut requests = requests.clone().ready().await?;
    let (response, mut sending) = requests.send_request(request.body(()).unwrap(), false)?;
    let feeding = async {
        for mut part in body {
            while !part.is_empty() {
                sending.reserve_capacity(part.len());
                // Also where the director has had enough and gives no more room.
                let Some(Ok(room)) = std::future::poll_fn(|cx| sending.poll_capacity(cx)).await
                else {
                    return sending;
                };
                let piece = part.split_to(room.min(part.len()));
                if sending.send_data(piece, false).is_err() {
                    return sending;
                }
            }
        }
        if ends {
            let _ = sending.send_data(Bytes::new(), true);
        }
        sending
    };
    let answering = async {
        let mut response = response.await?;
        let mut trailers = response.headers().clone();
        let body = response.body_mut();
        while let Some(data) = body.data().await {
            let length = data?.len();
            let _ = body.flow_control().release_capacity(length);
        }
        if let Some(more) = body.trailers().await? {
            trailers.extend(more);
        }
        let text = |name| {
            trailers
                .get(name)
                .map_or("", |value: &http::HeaderValue| value.to_str().unwrap())
                .to_owned()
        };
        Ok(Ended {
            code: text("grpc-status"),
            words: text("grpc-message").replace("%20", " "),
        })
    };
    // The stream stays open for as long as the answer takes.
    tokio::pin!(feeding, answering);
    tokio::select! {
        _open = &mut feeding => answering.await,
        ended = &mut answering => ended,
    }
}

fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number > 0x7f {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A field of protobuf that is a number.
pub(crate) fn number(field: u8, value: u64) -> Vec<u8> {
    let mut out = vec![field << 3];
    varint(value, &mut out);
    out
}

/// A field of protobuf that is bytes, or a message.
pub(crate) fn bytes(field: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![field << 3 | 2];
    varint(value.len() as u64, &mut out);
    out.extend_from_slice(value);
    out
}

/// A message of gRPC.
pub(crate) fn message(flag: u8, body: &[u8]) -> Bytes {
    let mut out = vec![flag];
    out.extend_from_slice(&(body.len() as u32).to_be_bytes());
    out.extend_from_slice(body);
    out.into()
}

pub(crate) fn parcel_bytes(parcel: &Parcel) -> Vec<u8> {
    [
        number(1, parcel.experiment),
        number(2, 2),
        number(3, parcel.number),
        number(4, parcel.part.into()),
        number(5, parcel.bytes),
        bytes(6, &parcel.sha256),
    ]
    .concat()
}

pub(crate) fn head(parcel: &Parcel, offset: u64) -> Bytes {
    let head = [bytes(1, &parcel_bytes(parcel)), number(2, offset)].concat();
    message(0, &bytes(1, &head))
}

pub(crate) fn chunk(data: &[u8]) -> Bytes {
    message(0, &bytes(2, &bytes(1, data)))
}
