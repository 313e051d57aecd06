//! The calls of operators.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::connections::Peer;
use super::envoys::send;
use super::{Hall, deadline, peer, stops};
use crate::pki::{Name, Role};
use crate::transport::{Fault, Service, Story, Submission, fault, proto, wire};

/// Lines of a story that are read at once.
const LINES: usize = 64;

/// The methods.
#[derive(Debug)]
pub(super) struct Operators<S: Service>(pub(super) Arc<Hall<S>>);

/// Who calls, and which operator that is.
fn operator<T>(request: &Request<T>) -> Result<(Peer, Name), Fault> {
    let peer = peer(request)?;
    match &peer.leaf.identity.role {
        Role::Operator(name) => {
            let name = name.clone();
            Ok((peer, name))
        }
        Role::Director | Role::Site(_) => Err(fault::defect()),
    }
}

#[tonic::async_trait]
impl<S: Service> proto::operators_server::Operators for Operators<S> {
    type FollowStream = ReceiverStream<Result<proto::Line, Status>>;
    type CollectStream = ReceiverStream<Result<proto::Chunk, Status>>;

    async fn submit(
        &self,
        request: Request<proto::SubmitRequest>,
    ) -> Result<Response<proto::SubmitReply>, Status> {
        let (_, operator) = operator(&request)?;
        let submission = Submission::try_from(request.into_inner())?;
        let submitted = self
            .0
            .ask(move |service| service.submit(&operator, submission))
            .await??;
        Ok(Response::new(proto::SubmitReply {
            experiment: submitted.experiment,
            notes: submitted.notes,
        }))
    }

    async fn status(
        &self,
        request: Request<proto::StatusRequest>,
    ) -> Result<Response<proto::StatusReply>, Status> {
        let (_, operator) = operator(&request)?;
        let json = self.0.ask(move |service| service.status(&operator));
        let json = json.await??;
        Ok(Response::new(proto::StatusReply { json }))
    }

    async fn follow(
        &self,
        request: Request<proto::FollowRequest>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let (peer, _) = operator(&request)?;
        let proto::FollowRequest { experiment, after } = request.into_inner();
        // Asked here, so that an experiment that is not there is the call's fault.
        let story = lines(&self.0, experiment, after).await?;
        let (sender, lines) = mpsc::channel(1);
        let follower = Follower {
            hall: Arc::clone(&self.0),
            peer,
            sender,
        };
        tokio::spawn(follower.tell(experiment, after, story));
        Ok(Response::new(ReceiverStream::new(lines)))
    }

    async fn cancel(
        &self,
        request: Request<proto::CancelRequest>,
    ) -> Result<Response<proto::CancelReply>, Status> {
        let (_, operator) = operator(&request)?;
        let request = request.into_inner();
        let id = wire::request_id(&request.request)?;
        let reason = wire::words(&request.reason, "the reason")?;
        let cancel = move |service: &S| service.cancel(&operator, id, request.experiment, &reason);
        self.0.ask(cancel).await??;
        Ok(Response::new(proto::CancelReply {}))
    }

    async fn collect(
        &self,
        request: Request<proto::CollectRequest>,
    ) -> Result<Response<Self::CollectStream>, Status> {
        let (peer, operator) = operator(&request)?;
        let proto::CollectRequest {
            experiment,
            file,
            offset,
        } = request.into_inner();
        let file = wire::words(&file, "the file's name")?;
        let hall = &self.0;
        let wait = hall.limits.idle / 2;
        let place = hall.downloads.take(&peer.leaf.identity, wait).await?;
        let collect = move |service: &S| service.collect(&operator, experiment, &file);
        let body = hall.ask(collect).await??;
        Ok(Response::new(
            send(hall, &peer, place, &body, offset).await?,
        ))
    }
}

async fn lines<S: Service>(hall: &Hall<S>, experiment: u64, after: u64) -> Result<Story, Fault> {
    hall.ask(move |service| service.story(experiment, after, LINES))
        .await?
}

/// Somebody who follows an experiment.
struct Follower<S: Service> {
    hall: Arc<Hall<S>>,
    peer: Peer,
    sender: mpsc::Sender<Result<proto::Line, Status>>,
}

impl<S: Service> Follower<S> {
    async fn tell(self, experiment: u64, mut after: u64, mut story: Story) {
        let limits = &self.hall.limits;
        let mut changes = self.hall.service.changes();
        loop {
            let came = !story.lines.is_empty();
            for json in std::mem::take(&mut story.lines) {
                after += 1;
                let number = after;
                if !self.send(Ok(proto::Line { number, json })).await {
                    return;
                }
            }
            if story.ended {
                return;
            }
            if !came {
                // Also now and then without a word, should a change have come before we listened.
                tokio::select! {
                    changed = changes.changed() => if changed.is_err() {
                        self.send(Err(stops().into())).await;
                        return;
                    },
                    () = sleep_until(deadline(limits.attend)) => {}
                    () = self.sender.closed() => return,
                    () = self.hall.stopped() => {
                        self.send(Err(stops().into())).await;
                        return;
                    }
                }
            }
            changes.mark_unchanged();
            story = match lines(&self.hall, experiment, after).await {
                Ok(story) => story,
                Err(fault) => {
                    self.send(Err(fault.into())).await;
                    return;
                }
            };
        }
    }

    /// Whether the other side still reads.
    async fn send(&self, line: Result<proto::Line, Status>) -> bool {
        match timeout(self.hall.limits.idle, self.sender.send(line)).await {
            Ok(sent) => sent.is_ok(),
            Err(_) => {
                self.hall.connections.close(self.peer.connection);
                false
            }
        }
    }
}
