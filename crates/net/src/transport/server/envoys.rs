//! The calls of sites.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::connections::Peer;
use super::places::Taken;
use super::turns::Turn;
use super::{Hall, deadline, peer, stops, upload};
use crate::pki::{Name, Role};
use crate::transport::disk::Outgoing;
use crate::transport::{
    Body, Errands, Fault, FaultKind, Paper, Parcel, Service, fault, proto, wire,
};

/// How long changes are gathered before sites are told: one message instead of one for each of them.
const GATHER: Duration = Duration::from_millis(10);

/// The methods.
#[derive(Debug)]
pub(super) struct Envoys<S: Service>(pub(super) Arc<Hall<S>>);

/// Who calls, and which site that is.
pub(super) fn site<T>(request: &Request<T>) -> Result<(Peer, Name), Fault> {
    let peer = peer(request)?;
    match &peer.leaf.identity.role {
        Role::Site(name) => {
            let name = name.clone();
            Ok((peer, name))
        }
        Role::Director | Role::Operator(_) => Err(fault::defect()),
    }
}

#[tonic::async_trait]
impl<S: Service> proto::envoys_server::Envoys for Envoys<S> {
    type AttendStream = ReceiverStream<Result<proto::Errands, Status>>;
    type FetchStream = ReceiverStream<Result<proto::Chunk, Status>>;

    async fn attend(
        &self,
        request: Request<proto::AttendRequest>,
    ) -> Result<Response<Self::AttendStream>, Status> {
        let (peer, site) = site(&request)?;
        let software = wire::words(&request.get_ref().software, "the program's name")?;
        let (sender, errands) = mpsc::channel(1);
        let attendance = Attendance {
            hall: Arc::clone(&self.0),
            peer,
            site,
            sender,
        };
        // It outlives the call, which may be dropped at any time, so that the site has left when it has.
        tokio::spawn(attendance.hold(software));
        Ok(Response::new(ReceiverStream::new(errands)))
    }

    async fn fetch(
        &self,
        request: Request<proto::FetchRequest>,
    ) -> Result<Response<Self::FetchStream>, Status> {
        let (peer, site) = site(&request)?;
        let (paper, offset) = (
            Paper::try_from(request.get_ref())?,
            request.get_ref().offset,
        );
        let hall = &self.0;
        let wait = hall.limits.idle / 2;
        let place = hall.downloads.take(&peer.leaf.identity, wait).await?;
        let body = hall
            .ask(move |service| service.paper(&site, &paper))
            .await??;
        Ok(Response::new(
            send(hall, &peer, place, &body, offset).await?,
        ))
    }

    async fn held(
        &self,
        request: Request<proto::Parcel>,
    ) -> Result<Response<proto::HeldReply>, Status> {
        let (_, site) = site(&request)?;
        let parcel = Parcel::try_from(request.into_inner())?;
        let bytes = upload::held(&self.0, site, parcel).await?;
        Ok(Response::new(proto::HeldReply { bytes }))
    }

    async fn deliver(
        &self,
        request: Request<Streaming<proto::DeliverPart>>,
    ) -> Result<Response<proto::Receipt>, Status> {
        let (peer, site) = site(&request)?;
        let parts = request.into_inner();
        let who = site.clone();
        let received = upload::receive(&self.0, &peer, site, parts).await;
        let receipt = received.inspect_err(|fault| {
            // A disk that takes no more is for whoever runs the director to know.
            if fault.message.starts_with("cannot write") {
                self.0.turn_away(who.to_string(), fault.message.clone());
            }
        })?;
        Ok(Response::new(receipt.into()))
    }
}

/// Sends a body from a byte on. A receiver that takes nothing for too long loses its connection: a call alone cannot be ended
/// while there is no room for the word that it has.
pub(super) async fn send<S: Service>(
    hall: &Arc<Hall<S>>,
    peer: &Peer,
    place: Taken,
    body: &Body,
    offset: u64,
) -> Result<ReceiverStream<Result<proto::Chunk, Status>>, Fault> {
    let mut outgoing = Outgoing::open(body, offset).await?;
    let (sender, chunks) = mpsc::channel(1);
    let (hall, connection) = (Arc::clone(hall), peer.connection);
    tokio::spawn(async move {
        let _place = place;
        loop {
            let chunk = match outgoing.next().await {
                Ok(None) => return,
                Ok(Some(data)) => Ok(proto::Chunk { data }),
                Err(fault) => Err(fault.into()),
            };
            let ended = chunk.is_err();
            match timeout(hall.limits.idle, sender.send(chunk)).await {
                Ok(Ok(())) if !ended => {}
                Ok(_) => return,
                Err(_) => return hall.connections.close(connection),
            }
        }
    });
    Ok(ReceiverStream::new(chunks))
}

/// One site's attendance.
struct Attendance<S: Service> {
    hall: Arc<Hall<S>>,
    peer: Peer,
    site: Name,
    sender: mpsc::Sender<Result<proto::Errands, Status>>,
}

impl<S: Service> Attendance<S> {
    /// The site arrives, is told its errands, and leaves.
    async fn hold(self, software: String) {
        let (hall, site) = (Arc::clone(&self.hall), self.site.clone());
        let alive = hall
            .attendances
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone();
        let (Some(_alive), false) = (alive, *hall.stopping.borrow()) else {
            let _ = self.sender.try_send(Err(stops().into()));
            return;
        };
        let Some(turn) = hall.attending.take(site.clone()).await else {
            let _ = self.sender.try_send(Err(replaced().into()));
            return;
        };
        let (peer, of) = (self.peer.clone(), site.clone());
        let arrived = hall.ask(move |service| {
            service.arrived(&of, &peer.leaf, &peer.certificate, &software);
        });
        let last_word = self.sender.clone();
        // A task of its own, so that the site leaves also if a method of the service panics.
        let ended = match arrived.await {
            Ok(()) => match tokio::spawn(self.tell(turn)).await {
                Ok((ended, turn)) => Ok((ended, Some(turn))),
                Err(_) => Err(fault::defect()),
            },
            Err(fault) => Err(fault),
        };
        let _ = hall.ask(move |service| service.left(&site)).await;
        // Only now may the next attendance of the site begin.
        let (fault, _turn) = match ended {
            Ok((fault, turn)) => (fault, turn),
            Err(fault) => (Some(fault), None),
        };
        if let Some(fault) = fault {
            let _ = last_word.try_send(Err(fault.into()));
        }
    }

    /// Sends errands until there is a reason not to; the word for the site, if there is one.
    async fn tell(self, mut turn: Turn<Name>) -> (Option<Fault>, Turn<Name>) {
        let limits = &self.hall.limits;
        let mut changes = self.hall.service.site_changes(&self.site);
        let mut sent: Option<Errands> = None;
        let mut again = deadline(limits.attend);
        loop {
            changes.mark_unchanged();
            let errands = self.hall.service.errands(&self.site);
            if sent.as_ref().is_none_or(|sent| differ(sent, &errands)) {
                let message = proto::Errands::from(&errands);
                match timeout(limits.idle, self.sender.send(Ok(message))).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return (None, turn),
                    Err(_) => {
                        self.hall.connections.close(self.peer.connection);
                        return (None, turn);
                    }
                }
                sent = Some(errands);
                again = deadline(limits.attend);
            }
            tokio::select! {
                biased;
                () = turn.lost() => return (Some(replaced()), turn),
                () = self.hall.stopped() => return (Some(stops()), turn),
                () = self.sender.closed() => return (None, turn),
                changed = changes.changed() => match changed {
                    Ok(()) => sleep(GATHER).await,
                    Err(_) => return (Some(stops()), turn),
                },
                () = sleep_until(again) => sent = None,
            }
        }
    }
}

/// Whether a site must be told; the clock alone is no reason.
fn differ(sent: &Errands, errands: &Errands) -> bool {
    sent.errands != errands.errands || sent.waiting != errands.waiting
}

fn replaced() -> Fault {
    let message = "another connection of this site attends now";
    Fault::new(FaultKind::Unavailable, message)
}
