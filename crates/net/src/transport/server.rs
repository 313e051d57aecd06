//! The director's side: who may come in, and what their calls become.

mod connections;
mod door;
mod envoys;
mod gate;
mod operators;
mod places;
mod turns;
mod upload;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::transport::Server;

use self::connections::{Connections, Peer};
use self::door::Handshakes;
use self::envoys::Envoys;
use self::gate::GateLayer;
use self::operators::Operators;
use self::places::Places;
use self::turns::Turns;
use self::upload::Slot;
use super::proto::envoys_server::EnvoysServer;
use super::proto::operators_server::OperatorsServer;
use super::wire::{MESSAGE, PART};
use super::{Credentials, Fault, FaultKind, Service, fault};
use crate::pki::Name;

/// Bytes of a request that a caller may send before they are read.
const STREAM_WINDOW: u32 = 256 << 10;

/// The same, over all calls of a connection.
const CONNECTION_WINDOW: u32 = 1 << 20;

/// Bytes of the headers of a call.
const HEADERS: u32 = 16 << 10;

/// After so long without a word the other side is asked whether it is there, and as long for its answer.
pub(super) const PING: Duration = Duration::from_secs(20);

/// Calls that are turned away one by one in each period of reloading; of more, only the number is said.
const SAID: u64 = 50;

/// How much of everything a director allows.
///
/// The memory of a connection is bounded by these and by what is fixed here: 1 MiB of requests that are not read yet, and
/// for each of its `streams` calls one message, of at most 260 KiB from a site and 4 MiB from an operator; of what is sent,
/// three chunks of 64 KiB and what waits in HTTP/2, at most 400 KiB.
#[derive(Clone, Debug)]
pub struct Limits {
    /// TLS handshakes under way.
    pub handshakes: usize,
    /// Time for one.
    pub handshake: Duration,
    /// Connections.
    pub connections: usize,
    /// Connections of one caller.
    pub connections_each: usize,
    /// Calls at once on a connection.
    pub streams: u32,
    /// Parcels that are received at once.
    pub uploads: usize,
    /// Papers and files that are sent at once.
    pub downloads: usize,
    /// Of both, for one caller.
    pub transfers_each: usize,
    /// Time between two chunks, in either direction, and for a place.
    pub idle: Duration,
    /// Bytes a second that a parcel must have on average.
    pub slowest: u64,
    /// How often the errands of a site are sent where they have not changed.
    pub attend: Duration,
    /// How often the folder of the credentials is looked at.
    pub reload: Duration,
    /// How long calls may go on when the director stops.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshakes: 256,
            handshake: Duration::from_secs(10),
            connections: 4096,
            connections_each: 8,
            streams: 16,
            uploads: 16,
            downloads: 64,
            transfers_each: 4,
            idle: Duration::from_secs(60),
            slowest: 8 << 10,
            attend: Duration::from_secs(15),
            reload: Duration::from_secs(3),
            grace: Duration::from_secs(5),
        }
    }
}

/// Why a director does not answer calls any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The RPC library gave up.
    #[error("cannot answer calls: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// All that calls share.
#[derive(Debug)]
struct Hall<S: Service> {
    service: Arc<S>,
    credentials: Arc<Credentials>,
    limits: Limits,
    connections: Arc<Connections>,
    handshakes: Handshakes,
    attending: Arc<Turns<Name>>,
    delivering: Arc<Turns<Slot>>,
    uploads: Arc<Places>,
    downloads: Arc<Places>,
    stopping: watch::Sender<bool>,
    /// A clone of it is held by whoever must be done before the director is.
    attendances: Mutex<Option<mpsc::Sender<()>>>,
    /// Connections that never said who they are, since it was last told.
    unfinished: AtomicU64,
    /// Calls that were turned away since then.
    turned_away: AtomicU64,
}

impl<S: Service> Hall<S> {
    /// Does something of the service on a thread that may wait.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&S) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let service = Arc::clone(&self.service);
        tokio::task::spawn_blocking(move || question(&service))
            .await
            .map_err(|_| fault::defect())
    }

    /// Comes back when the director stops.
    async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }

    fn unfinished(&self) {
        self.unfinished.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells the service; it may wait for a log, and who floods us must not fill that.
    fn turn_away(&self, who: String, reason: String) {
        if self.turned_away.fetch_add(1, Ordering::Relaxed) < SAID {
            self.say(who, reason);
        }
    }

    fn say(&self, who: String, reason: String) {
        let service = Arc::clone(&self.service);
        tokio::task::spawn_blocking(move || service.turned_away(&who, &reason));
    }

    /// Closes the connections of certificates that were denied or whose time is over.
    fn sweep(&self) {
        let loaded = self.credentials.loaded();
        for (who, reason) in self.connections.close_those(|leaf| loaded.objects_to(leaf)) {
            self.turn_away(who.to_string(), reason);
        }
    }

    /// What is done every few seconds.
    async fn look_around(self: &Arc<Self>) {
        let hall = Arc::clone(self);
        let reloaded = tokio::task::spawn_blocking(move || hall.credentials.reload_if_changed());
        if let Ok(Err(error)) = reloaded.await {
            let reason = format!("{error}; what was there before stays in force");
            self.say("our own folder".into(), reason);
        }
        self.sweep();
        let unfinished = self.unfinished.swap(0, Ordering::Relaxed);
        if unfinished > 0 {
            let reason = format!("{unfinished} connections ended without a handshake");
            self.say("unknown".into(), reason);
        }
        let turned_away = self.turned_away.swap(0, Ordering::Relaxed);
        if turned_away > SAID {
            let reason = format!("{} more calls were turned away", turned_away - SAID);
            self.say("several".into(), reason);
        }
    }
}

/// Answers calls until `stop`, and then lets those under way finish for a while. Every site that arrived has left when this
/// comes back.
///
/// The folder of the credentials is read again when a file in it changes: a certificate that is denied loses its connections
/// within [`Limits::reload`]. A folder that cannot be read is told through [`Service::turned_away`], once, and nothing changes.
///
/// # Errors
/// [`ServeError`]
pub async fn serve<S: Service>(
    listener: TcpListener,
    credentials: Arc<Credentials>,
    service: Arc<S>,
    limits: Limits,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let (attendance, mut attendances) = mpsc::channel(1);
    let (inside, entered) = mpsc::channel(1);
    let each = limits.transfers_each;
    let hall = Arc::new(Hall {
        service,
        credentials,
        connections: Arc::default(),
        handshakes: Handshakes::default(),
        attending: Arc::default(),
        delivering: Arc::default(),
        uploads: Places::new(limits.uploads, each),
        downloads: Places::new(limits.downloads, each),
        stopping: watch::Sender::new(false),
        attendances: Mutex::new(Some(attendance)),
        unfinished: AtomicU64::new(0),
        turned_away: AtomicU64::new(0),
        limits,
    });
    let envoys = EnvoysServer::new(Envoys(Arc::clone(&hall)));
    let operators = OperatorsServer::new(Operators(Arc::clone(&hall)));
    let stopped = Arc::clone(&hall);
    let rpc = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(hall.limits.streams)
        .http2_max_header_list_size(HEADERS)
        .http2_keepalive_interval(Some(PING))
        .http2_keepalive_timeout(Some(PING))
        .layer(GateLayer(Arc::clone(&hall)))
        .add_service(envoys.max_decoding_message_size(PART))
        .add_service(operators.max_decoding_message_size(MESSAGE))
        .serve_with_incoming_shutdown(
            ReceiverStream::new(entered).map(Ok::<_, std::io::Error>),
            async move { stopped.stopped().await },
        );
    let mut rpc = std::pin::pin!(rpc);
    tokio::select! {
        done = &mut rpc => done?,
        () = accept(&hall, listener, inside) => {}
        () = stop => {}
    }
    let _ = hall.stopping.send(true);
    if timeout(hall.limits.grace, &mut rpc).await.is_err() {
        hall.connections.close_all();
        // They end at once; should one not, there is nobody left to tell.
        let _ = timeout(hall.limits.grace, &mut rpc).await;
    }
    let attendance = hall
        .attendances
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    drop(attendance);
    let _ = attendances.recv().await;
    Ok(())
}

/// Lets people in, and looks after those who are.
async fn accept<S: Service>(
    hall: &Arc<Hall<S>>,
    listener: TcpListener,
    inside: mpsc::Sender<connections::Io>,
) {
    let mut ticks = interval(hall.limits.reload);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let looking = async {
        loop {
            ticks.tick().await;
            hall.look_around().await;
        }
    };
    let accepting = async {
        let mut number = 0;
        loop {
            match listener.accept().await {
                Ok((tcp, from)) => {
                    number += 1;
                    door::knock(hall, number, tcp, group(from.ip()), inside.clone());
                }
                // Too many open files, or a connection that is gone already: others may end meanwhile.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    tokio::join!(looking, accepting);
}

/// Whom handshakes are counted by: of IPv6, one caller has a whole /64.
fn group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        address => address,
    }
}

/// Who calls. The gate has let nobody through without.
fn peer<T>(request: &Request<T>) -> Result<Peer, Fault> {
    request
        .extensions()
        .get::<Peer>()
        .cloned()
        .ok_or_else(fault::defect)
}

/// When a call that ought to go on has been idle for too long.
fn deadline(idle: Duration) -> Instant {
    Instant::now() + idle
}

/// The director stops.
fn stops() -> Fault {
    Fault::new(FaultKind::Unavailable, "the director stops")
}
