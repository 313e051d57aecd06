//! Keeping what a round's messages were.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Server;
use crate::error::ClientId;
use crate::message::TrainRequest;
use crate::transcript::{Recorded, Summed, Transcript};

/// A round that is being recorded, or was.
#[derive(Debug, Default)]
pub(super) struct Recording {
    /// The call; `None` until the round begins.
    request: Option<TrainRequest>,
    /// The message in hand, until it is known what it was.
    incoming: Option<(ClientId, Vec<u8>)>,
    /// What decided a member's standing, and whether it was accepted: at most one message a member, whatever clients send.
    messages: BTreeMap<ClientId, (bool, Vec<u8>)>,
    pub(super) sums: Vec<Summed>,
    /// The model after the round; `None` until it has ended.
    pub(super) after: Option<Arc<[f32]>>,
}

impl Recording {
    /// Begins the round of this call; `None` for what is left of an earlier one.
    pub(super) fn begin(self: Box<Self>, request: &TrainRequest) -> Option<Box<Self>> {
        let request = Some(request.clone());
        self.request
            .is_none()
            .then(|| Box::new(Self { request, ..*self }))
    }
}

impl Server {
    /// Keeps the transcript of the next round that begins: the host takes it when the round has ended. Changes nothing else; costs
    /// the bytes of the members' messages in memory.
    pub fn record_next(&mut self) {
        self.recording = Some(Box::default());
    }

    /// The transcript of the round that has ended, `name` being a client's; `None` if it was not recorded, or called nobody.
    pub fn take_transcript(&mut self, name: impl Fn(ClientId) -> String) -> Option<Transcript> {
        let done = self
            .recording
            .take_if(|recording| recording.after.is_some())?;
        let messages = done.messages.into_iter();
        Some(Transcript {
            messages: messages
                .map(|(client, (accepted, bytes))| Recorded {
                    client,
                    name: name(client),
                    accepted,
                    bytes,
                })
                .collect(),
            request: done.request?,
            sums: done.sums,
            after: done.after?,
        })
    }

    /// A message has come; `bytes` makes it.
    pub(super) fn hear(&mut self, from: ClientId, bytes: impl FnOnce() -> Vec<u8>) {
        if let Some(recording) = &mut self.recording
            && recording.request.is_some()
            && recording.after.is_none()
        {
            recording.incoming = Some((from, bytes()));
        }
    }

    /// The message in hand has decided the standing of `client`.
    pub(super) fn keep(&mut self, client: ClientId, accepted: bool) {
        if let Some(recording) = &mut self.recording
            && let Some((_, bytes)) = recording.incoming.take_if(|(from, _)| *from == client)
        {
            recording.messages.insert(client, (accepted, bytes));
        }
    }
}
