//! The messages of a secure sum beside the update: keys and shares before it, survivors and shares after it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use cloister_protocol::message::{ClientMessage, ServerMessage};
use cloister_protocol::{ClientAction, ClientId};
use cloister_secagg::message::Kind;

use super::{Run, lock};
use crate::ordered::for_each_ordered;

/// Members that are gone, and the first message of a secure sum that they do not answer with.
pub(super) type Gone = BTreeMap<ClientId, Kind>;

impl Run<'_> {
    /// Delivers `outgoing`, and whatever is answered to it, until nobody has anything to say. Takes no time on the virtual clock.
    pub(super) fn exchange(
        &mut self,
        mut outgoing: Vec<(ClientId, ClientMessage)>,
        gone: &Gone,
        at: Duration,
    ) {
        loop {
            for (client, message) in outgoing.drain(..) {
                self.server.receive(client, message, at);
            }
            let calls = self.drain();
            if calls.is_empty() {
                return;
            }
            let mut present = Vec::with_capacity(calls.len());
            for (client, message) in calls {
                match self.is_gone(client, &message, gone) {
                    true => self.server.lost(client, at),
                    false => present.push((client, message)),
                }
            }
            let clients = &self.clients;
            for_each_ordered(
                &present,
                self.options.threads,
                |(client, message)| lock(&clients[client.0 as usize]).receive(message.clone(), at),
                |(client, _), action| {
                    if let ClientAction::Send(message) = action {
                        outgoing.push((*client, message));
                    }
                    ControlFlow::Continue(())
                },
            );
        }
    }

    /// Whether `client` does not answer to `message` any more.
    fn is_gone(&self, client: ClientId, message: &ServerMessage, gone: &Gone) -> bool {
        let (Some(since), ServerMessage::Secure(bytes)) = (gone.get(&client), message) else {
            return false;
        };
        let answer = self.keys.as_ref().and_then(|keys| keys.answer_to(bytes));
        answer.is_some_and(|answer| *since as u8 <= answer as u8)
    }
}
