//! The connections that are open, and how one is closed from outside.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use crate::pki::{Identity, Leaf};

/// Who is on the other side of a connection, as its calls know it.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// The connection.
    pub(super) connection: u64,
    pub(super) leaf: Arc<Leaf>,
    pub(super) certificate: Arc<[u8]>,
}

/// All connections that have shaken hands.
#[derive(Debug, Default)]
pub(super) struct Connections(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    last: u64,
    /// Dropping the sender closes the connection.
    by_number: BTreeMap<u64, (Arc<Leaf>, oneshot::Sender<()>)>,
}

impl Connections {
    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new connection; `None` where there are `most` already. Where its caller has `each` already, the oldest of them is
    /// closed: a site that lost its connection may come back before we notice.
    pub(super) fn add(
        self: &Arc<Self>,
        tls: TlsStream<TcpStream>,
        leaf: Leaf,
        certificate: &[u8],
        most: usize,
        each: usize,
    ) -> Option<Io> {
        let mut open = self.open();
        let same = |of: &Identity| *of == leaf.identity;
        let own: Vec<u64> = (open.by_number.iter())
            .filter(|(_, (of, _))| same(&of.identity))
            .map(|(number, _)| *number)
            .collect();
        if own.len() >= each {
            open.by_number.remove(own.first()?);
        } else if open.by_number.len() >= most {
            return None;
        }
        open.last += 1;
        let (number, leaf) = (open.last, Arc::new(leaf));
        let (closer, closed) = oneshot::channel();
        open.by_number.insert(number, (Arc::clone(&leaf), closer));
        let peer = Peer {
            connection: number,
            leaf,
            certificate: certificate.into(),
        };
        Some(Io {
            tls,
            peer,
            closed: Some(closed),
            connections: Arc::clone(self),
        })
    }

    /// Closes a connection at once, with all its calls.
    pub(super) fn close(&self, number: u64) {
        self.open().by_number.remove(&number);
    }

    /// Closes those of certificates to which there is an objection; whose they were, and the objection.
    pub(super) fn close_those(
        &self,
        objection: impl Fn(&Leaf) -> Option<String>,
    ) -> Vec<(Identity, String)> {
        let mut closed = Vec::new();
        self.open()
            .by_number
            .retain(|_, (leaf, _)| match objection(leaf) {
                None => true,
                Some(reason) => {
                    closed.push((leaf.identity.clone(), reason));
                    false
                }
            });
        closed
    }

    /// Closes all.
    pub(super) fn close_all(&self) {
        self.open().by_number.clear();
    }
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Io {
    tls: TlsStream<TcpStream>,
    peer: Peer,
    /// `None` once it is closed.
    closed: Option<oneshot::Receiver<()>>,
    connections: Arc<Connections>,
}

impl Drop for Io {
    fn drop(&mut self) {
        self.connections.close(self.peer.connection);
    }
}

impl Connected for Io {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl Io {
    /// The library reads all the time, so that whoever closes the connection wakes it here.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        if let Some(closed) = &mut self.closed {
            if Pin::new(closed).poll(cx).is_pending() {
                return Ok(());
            }
            self.closed = None;
        }
        Err(Error::new(ErrorKind::ConnectionAborted, "closed by us"))
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<(), Error>> {
        self.poll_open(cx)?;
        Pin::new(&mut self.tls).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, Error>> {
        self.poll_open(cx)?;
        Pin::new(&mut self.tls).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_open(cx)?;
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.poll_open(cx).is_err() {
            // No goodbye for whom we have thrown out: it may not be reading.
            let (tcp, _) = self.tls.get_mut();
            return Poll::Ready(ready!(Pin::new(tcp).poll_shutdown(cx)).or(Ok(())));
        }
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}
