//! A connection to a director, or why there is none.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, Error as TlsError};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::pki::Host;
use crate::transport::tls::ALPN;
use crate::transport::{Credentials, Fault, FaultKind};

/// Time for the whole of it.
const PATIENCE: Duration = Duration::from_secs(15);

/// A connection whose first bytes were waited for.
pub(super) type Io = BufReader<TlsStream<TcpStream>>;

/// Where a director is.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) host: Host,
    port: u16,
}

impl Address {
    /// Reads `HOST:PORT`; an address of IPv6 stands in brackets.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let refused = || {
            let message = format!("'{text}' is not where a director can be: expected HOST:PORT");
            Fault::new(FaultKind::Invalid, message)
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(refused)?;
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        // Without brackets, what stands before the last colon of an IPv6 address would be another one.
        let host = match bare {
            Some(host) => host,
            None if host.contains(':') => return Err(refused()),
            None => host,
        };
        match (host.parse(), port.parse()) {
            (Ok(host), Ok(port)) => Ok(Self { host, port }),
            _ => Err(refused()),
        }
    }

    /// For the library, which makes names of calls from it.
    pub(super) fn uri(&self) -> String {
        match self.host.as_str() {
            host if host.contains(':') => format!("http://[{host}]:{}", self.port),
            host => format!("http://{host}:{}", self.port),
        }
    }
}

/// Dials, and waits until the director has let us in.
pub(super) async fn dial(
    address: Arc<Address>,
    credentials: Arc<Credentials>,
) -> Result<Io, Fault> {
    let Address { host, port } = &*address;
    match timeout(PATIENCE, connect(host, *port, &credentials)).await {
        Ok(done) => done,
        Err(_) => Err(unreachable(host, "it does not answer")),
    }
}

fn unreachable(host: &Host, reason: impl std::fmt::Display) -> Fault {
    let message = format!("cannot reach the director at {host}: {reason}");
    Fault::new(FaultKind::Unreachable, message)
}

async fn connect(host: &Host, port: u16, credentials: &Credentials) -> Result<Io, Fault> {
    let addresses = tokio::net::lookup_host((host.as_str(), port)).await;
    let addresses = addresses.map_err(|error| {
        let message = format!("cannot find the address of '{host}': {error}");
        Fault::new(FaultKind::Unreachable, message)
    })?;
    let mut last = unreachable(host, "it has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(tcp) => return shake(tcp, host, credentials).await,
            Err(error) => last = unreachable(host, error),
        }
    }
    Err(last)
}

async fn shake(tcp: TcpStream, host: &Host, credentials: &Credentials) -> Result<Io, Fault> {
    let _ = tcp.set_nodelay(true);
    let name = ServerName::try_from(host.as_str().to_owned())
        .map_err(|_| Fault::new(FaultKind::Invalid, format!("'{host}' is no host")))?;
    let connector = TlsConnector::from(Arc::clone(&credentials.loaded().client));
    let connected = connector.connect(name, tcp).await;
    let tls = connected.map_err(|error| why(host, &error))?;
    if tls.get_ref().1.alpn_protocol() != Some(ALPN) {
        let message = format!("what answers at {host} does not speak http/2");
        return Err(Fault::new(FaultKind::NotAuthentic, message));
    }
    // In TLS 1.3 we are done before the director has seen our certificate. Its first bytes say that it is content.
    let mut io = BufReader::with_capacity(1 << 10, tls);
    match io.fill_buf().await {
        Ok([]) => Err(unreachable(host, "it closed the connection")),
        Ok(_) => Ok(io),
        Err(error) => Err(why(host, &error)),
    }
}

/// What went wrong with a handshake, in words for the person at the keyboard.
fn why(host: &Host, error: &io::Error) -> Fault {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<TlsError>());
    let Some(tls) = tls else {
        return unreachable(host, error);
    };
    let message = match tls {
        TlsError::InvalidCertificate(reason) => match reason {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("the director's certificate is not for host {host}")
            }
            CertificateError::Expired => "the director's certificate has ended".to_owned(),
            CertificateError::NotValidYet => {
                "the director's certificate is not valid yet: compare the clocks".to_owned()
            }
            CertificateError::Revoked => "the director's certificate is denied here".to_owned(),
            CertificateError::Other(other) => {
                format!(
                    "what answers at {host} is no director to trust: {}",
                    other.0
                )
            }
            other => format!("what answers at {host} is no director to trust: {other}"),
        },
        TlsError::AlertReceived(alert) => {
            let reason = match alert {
                AlertDescription::CertificateExpired => "its time is over or has not come",
                AlertDescription::CertificateRevoked => "it is denied",
                AlertDescription::AccessDenied => "its name may not call a director",
                AlertDescription::CertificateRequired => "there is none",
                AlertDescription::UnknownCA | AlertDescription::CertificateUnknown => {
                    "it is not of the director's federation"
                }
                AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure => {
                    let message = format!("what answers at {host} does not speak tls 1.3 with us");
                    return Fault::new(FaultKind::NotAuthentic, message);
                }
                other => {
                    let message = format!("the director turned our certificate away: {other:?}");
                    return Fault::new(FaultKind::NotAuthentic, message);
                }
            };
            format!("the director turned our certificate away: {reason}")
        }
        other => format!("no tls with what answers at {host}: {other}"),
    };
    Fault::new(FaultKind::NotAuthentic, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for (text, uri) in [
            (
                "director.example.org:8443",
                "http://director.example.org:8443",
            ),
            ("127.0.0.1:1", "http://127.0.0.1:1"),
            ("[::1]:8443", "http://[::1]:8443"),
        ] {
            assert_eq!(Address::parse(text).unwrap().uri(), uri);
        }
        for bad in [
            "",
            "host",
            "host:",
            ":1",
            "::1:8443",
            "host:65536",
            "https://host:1",
            "a b:1",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }
}
