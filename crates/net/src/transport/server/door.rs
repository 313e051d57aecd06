//! From a TCP connection to a caller whose certificate is good.
//!
//! Handshakes have few places and little time, so that connections that say nothing cost little. Where the places are all
//! taken, the oldest handshake of the address that has most of them is given up for the new one: whoever is honest needs
//! a place for a few round trips only, and gets one at once.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::Error as TlsError;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::Hall;
use super::connections::Io;
use crate::pki::Leaf;
use crate::transport::Service;
use crate::transport::tls::ALPN;

/// Handshakes under way.
#[derive(Debug, Default)]
pub(super) struct Handshakes(Mutex<BTreeMap<u64, (IpAddr, AbortHandle)>>);

impl Handshakes {
    fn under_way(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, (IpAddr, AbortHandle)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives one up if `most` are under way; whether it had to.
    fn make_place(&self, most: usize) -> bool {
        let mut under_way = self.under_way();
        if under_way.len() < most {
            return false;
        }
        let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for (address, _) in under_way.values() {
            *counts.entry(*address).or_default() += 1;
        }
        let crowd = counts.into_iter().max_by_key(|(_, count)| *count);
        let oldest = under_way
            .iter()
            .find(|(_, (address, _))| crowd.is_some_and(|(most, _)| *address == most))
            .map(|(number, _)| *number);
        if let Some((_, task)) = oldest.and_then(|oldest| under_way.remove(&oldest)) {
            task.abort();
        }
        true
    }
}

/// Begins to shake hands on a new connection. What comes of it goes to `inside`.
pub(super) fn knock<S: Service>(
    hall: &Arc<Hall<S>>,
    number: u64,
    tcp: TcpStream,
    address: IpAddr,
    inside: mpsc::Sender<Io>,
) {
    if hall.handshakes.make_place(hall.limits.handshakes) {
        hall.unfinished();
    }
    // The task must not end before it stands in the list, or it would stay there.
    let mut under_way = hall.handshakes.under_way();
    let own = Arc::clone(hall);
    let task = tokio::spawn(async move {
        let done = timeout(own.limits.handshake, enter(&own, tcp)).await;
        own.handshakes.under_way().remove(&number);
        match done {
            Ok(Ok(io)) => {
                let _ = inside.send(io).await;
            }
            Ok(Err(Refused::Quietly)) | Err(_) => own.unfinished(),
            Ok(Err(Refused::Because(who, reason))) => {
                own.turn_away(who.unwrap_or_else(|| address.to_string()), reason);
            }
        }
    });
    under_way.insert(number, (address, task.abort_handle()));
}

enum Refused {
    /// Somebody who spoke no TLS, or left.
    Quietly,
    Because(Option<String>, String),
}

async fn enter<S: Service>(hall: &Arc<Hall<S>>, tcp: TcpStream) -> Result<Io, Refused> {
    // Messages are small and waited for.
    let _ = tcp.set_nodelay(true);
    let loaded = hall.credentials.loaded();
    let acceptor = TlsAcceptor::from(Arc::clone(&loaded.server));
    let tls = acceptor.accept(tcp).await.map_err(|error| why(&error))?;
    let because = |reason: &str| Refused::Because(None, reason.to_owned());
    let (_, session) = tls.get_ref();
    if session.alpn_protocol() != Some(ALPN) {
        return Err(because("it does not ask for http/2"));
    }
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    let certificate = certificate.ok_or_else(|| because("it has no certificate"))?;
    let leaf = Leaf::of(certificate).map_err(|error| because(&error.to_string()))?;
    let (who, certificate) = (leaf.identity.to_string(), certificate.to_vec());
    let limits = &hall.limits;
    let (most, each) = (limits.connections, limits.connections_each);
    let io = hall.connections.add(tls, leaf, &certificate, most, each);
    let io = io.ok_or_else(|| Refused::Because(Some(who), "too many connections".into()))?;
    // Those that were read in the meantime may deny it.
    hall.sweep();
    Ok(io)
}

fn why(error: &io::Error) -> Refused {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<TlsError>());
    match tls {
        None => Refused::Quietly,
        Some(error) => Refused::Because(None, error.to_string()),
    }
}
