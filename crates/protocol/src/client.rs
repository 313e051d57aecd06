//! The client's side of a round.

mod secure;

use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;

use crate::compression::{Coding, CommunicationConfig, Compact};
use crate::config::TrainPlan;
use crate::defence::DefenceConfig;
use crate::error::ProtocolError;
use crate::guard::{Guard, GuardFinding, GuardMode, Pace};
use crate::learner::{LearnerError, Update};
use crate::message::{
    ClientMessage, CompactReply, LayoutDigest, ServerMessage, TrainReply, TrainRequest,
};

use secure::Masking;
pub use secure::Protection;

/// One client as a state machine: which round it is training, which it has answered. It holds no model and no data,
/// so that thousands can lie idle; the host trains with a [`crate::Learner`] when told to. With
/// [`TrainPlan::client_momentum`] it keeps one vector of the model's length.
#[derive(Debug)]
pub struct Client {
    layout: LayoutDigest,
    parameters: usize,
    examples: u64,
    training: Option<Training>,
    answered: u32,
    momentum: Vec<f32>,
    /// How its updates travel, and what of them was not sent so far.
    communication: CommunicationConfig,
    residual: Vec<f32>,
    /// What is done to its updates before they are compressed or masked.
    defence: Option<DefenceConfig>,
    /// What it takes to send nothing but masked updates.
    masking: Option<Box<Masking>>,
    /// What looks at models before they are trained, how fast they moved so far, and what was found that nobody was told yet.
    guard: Option<Guard>,
    pace: Pace,
    findings: Vec<GuardFinding>,
}

/// The round in training, and what its plan says about momentum.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Training {
    round: u32,
    momentum: f32,
}

/// What the host does next.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ClientAction {
    /// Train, then hand the result to [`Client::trained`].
    Train(TrainJob),
    /// Send this.
    Send(ClientMessage),
    /// The server asks again for a round that was answered: send the stored bytes of that answer again, do not train.
    Repeat {
        /// The round.
        round: u32,
    },
    /// Nothing: the request is already being worked on, or is for a round that has passed.
    Nothing,
    /// The run is over.
    Stop,
}

/// A training job.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainJob {
    /// The round.
    pub round: u32,
    /// The local training.
    pub plan: TrainPlan,
    /// Global parameters to start from.
    pub global: Arc<[f32]>,
    /// A message to send at once, before training: the client's keys for a secure sum.
    pub first: Option<ClientMessage>,
}

impl Client {
    /// A client that has built a model of this layout, with so many `parameters`, and holds `examples` examples.
    pub fn new(layout: LayoutDigest, parameters: usize, examples: u64) -> Self {
        Self {
            layout,
            parameters,
            examples,
            training: None,
            answered: 0,
            momentum: Vec::new(),
            communication: CommunicationConfig::default(),
            residual: Vec::new(),
            defence: None,
            masking: None,
            guard: None,
            pace: Pace::default(),
            findings: Vec::new(),
        }
    }

    /// Lets updates be defended as `config` says, in [`Self::protect`].
    pub fn use_defence(&mut self, config: DefenceConfig) {
        self.defence = Some(config);
    }

    /// Lets `guard` look at each model before it is trained.
    pub fn use_guard(&mut self, guard: Guard) {
        self.guard = Some(guard);
    }

    /// What the guard found since this was asked last, for the host's record; a refusal is in the message to the server as well.
    pub fn take_findings(&mut self) -> Vec<GuardFinding> {
        std::mem::take(&mut self.findings)
    }

    /// The running mean of the client's updates; empty unless a plan asked for one.
    pub fn momentum(&self) -> &[f32] {
        &self.momentum
    }

    /// Goes on from a stored running mean.
    ///
    /// # Errors
    /// [`ProtocolError::StateMismatch`] if it has neither the model's length nor none.
    pub fn restore_momentum(&mut self, momentum: Vec<f32>) -> Result<(), ProtocolError> {
        self.check_length("client momentum", &momentum)?;
        self.momentum = momentum;
        Ok(())
    }

    /// Lets updates travel as `config` says.
    pub fn use_communication(&mut self, config: CommunicationConfig) {
        self.communication = config;
    }

    /// What of the client's updates was not sent so far; empty unless only the largest coordinates are.
    pub fn residual(&self) -> &[f32] {
        &self.residual
    }

    /// Goes on from a stored rest.
    ///
    /// # Errors
    /// [`ProtocolError::StateMismatch`] if it has neither the model's length nor none.
    pub fn restore_residual(&mut self, residual: Vec<f32>) -> Result<(), ProtocolError> {
        self.check_length("client residual", &residual)?;
        self.residual = residual;
        Ok(())
    }

    /// The last round that it has answered; 0 before the first.
    pub fn answered(&self) -> u32 {
        self.answered
    }

    /// Goes on from a stored round: it and those before it are not trained again.
    pub fn restore_answered(&mut self, round: u32) {
        self.answered = round;
    }

    /// Whether a stored vector has the model's length, or none.
    fn check_length(&self, what: &'static str, stored: &[f32]) -> Result<(), ProtocolError> {
        match stored.len() {
            0 => Ok(()),
            got if got == self.parameters => Ok(()),
            got => Err(ProtocolError::StateMismatch {
                what,
                expected: self.parameters,
                got,
            }),
        }
    }

    /// The reply in fewer bytes.
    fn compress(&mut self, mut reply: TrainReply, rounding: &mut ChaCha8Rng) -> ClientMessage {
        let config = &self.communication;
        let sparse = config.update == Coding::TopK && reply.update.len() == self.parameters;
        if sparse {
            self.residual.resize(self.parameters, 0.0);
            for (value, rest) in reply.update.iter_mut().zip(&self.residual) {
                *value += rest;
            }
        }
        let update = Compact::encode(&reply.update, config, rounding);
        if sparse {
            for ((rest, value), sent) in self
                .residual
                .iter_mut()
                .zip(&reply.update)
                .zip(update.decode())
            {
                let left = value - sent;
                // What is not a number is sent, and must not stay.
                *rest = if left.is_finite() { left } else { 0.0 };
            }
        }
        ClientMessage::Compact(CompactReply {
            round: reply.round,
            layout: reply.layout,
            examples: reply.examples,
            loss: reply.loss,
            update,
        })
    }

    /// The message with which the client presents itself.
    pub fn enrolment(&self) -> ClientMessage {
        ClientMessage::Enroll {
            examples: self.examples,
            layout: self.layout,
        }
    }

    /// Takes a message of the server.
    pub fn receive(&mut self, message: ServerMessage, now: Duration) -> ClientAction {
        match message {
            ServerMessage::Finished => ClientAction::Stop,
            ServerMessage::Secure(bytes) => self.receive_secure(&bytes, now),
            ServerMessage::Train(request) if request.round == self.answered => {
                ClientAction::Repeat {
                    round: request.round,
                }
            }
            ServerMessage::Train(request)
                if request.round < self.answered || self.is_training(request.round) =>
            {
                ClientAction::Nothing
            }
            ServerMessage::Train(request) => self.begin(request, now),
        }
    }

    fn is_training(&self, round: u32) -> bool {
        self.training
            .is_some_and(|training| training.round == round)
    }

    fn begin(&mut self, request: TrainRequest, now: Duration) -> ClientAction {
        let round = request.round;
        let suspicious = match self.unacceptable(&request) {
            None => self.suspicious(&request),
            known => known,
        };
        let joined = match suspicious {
            Some(reason) => Err(reason),
            None => self.join(&request, now),
        };
        let first = match joined {
            Ok(first) => first,
            Err(reason) => return ClientAction::Send(self.failed(round, reason)),
        };
        // A newer round replaces one in training: the server has given up on the older.
        self.training = Some(Training {
            round,
            momentum: request.plan.client_momentum,
        });
        ClientAction::Train(TrainJob {
            round,
            plan: request.plan,
            global: request.global,
            first,
        })
    }

    /// The client does not trust the server's model either.
    fn unacceptable(&self, request: &TrainRequest) -> Option<String> {
        if request.layout != self.layout {
            return Some("the server's model has another parameter layout".to_owned());
        }
        if request.global.len() != self.parameters {
            return Some(format!(
                "the server sent {} parameters, the model has {}",
                request.global.len(),
                self.parameters
            ));
        }
        let index = request.global.iter().position(|value| !value.is_finite())?;
        Some(format!(
            "parameter {index} of the server's model is not finite"
        ))
    }

    /// Why the guard does not let the model be trained.
    fn suspicious(&mut self, request: &TrainRequest) -> Option<String> {
        let guard = self.guard.as_ref()?;
        if guard.mode() == GuardMode::Off {
            return None;
        }
        let found = guard.inspect(&request.global);
        let jump = self.pace.see(request.round, &request.global);
        let refusing = found.iter().find(|finding| finding.rule.refuses());
        let reason = refusing
            .filter(|_| guard.mode() == GuardMode::Refuse)
            .map(|finding| format!("the guard does not let this model be trained: {finding}"));
        self.findings.extend(found.iter().cloned().chain(jump));
        reason
    }

    /// Takes the result of a [`TrainJob`]; `None` if a newer round has replaced it meanwhile. A client that masks its updates
    /// must not send it as it is: [`Self::protect`] makes of it what may be sent.
    pub fn trained(
        &mut self,
        round: u32,
        result: Result<Update, LearnerError>,
    ) -> Option<ClientMessage> {
        let training = self.training.take_if(|training| training.round == round)?;
        Some(match result {
            Ok(mut update) => {
                self.answered = round;
                if training.momentum != 0.0 && update.values.len() == self.parameters {
                    self.blend(&mut update.values, training.momentum);
                }
                ClientMessage::Reply(TrainReply {
                    round,
                    layout: self.layout,
                    examples: i64::try_from(update.examples).unwrap_or(i64::MAX),
                    loss: update.loss,
                    update: update.values,
                })
            }
            Err(error) => self.failed(round, error.to_string()),
        })
    }

    /// m = beta m + (1 - beta) update, starting from zero; the update becomes m.
    fn blend(&mut self, update: &mut [f32], beta: f32) {
        self.momentum.resize(update.len(), 0.0);
        for (value, momentum) in update.iter_mut().zip(&mut self.momentum) {
            *momentum = beta * *momentum + (1.0 - beta) * *value;
            *value = *momentum;
        }
    }

    fn failed(&mut self, round: u32, reason: String) -> ClientMessage {
        self.answered = round;
        ClientMessage::Failed { round, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TrainConfig;

    const NOW: Duration = Duration::ZERO;
    const LAYOUT: LayoutDigest = LayoutDigest([1; 32]);

    fn request(round: u32, global: Vec<f32>) -> ServerMessage {
        ServerMessage::Train(TrainRequest {
            round,
            layout: LAYOUT,
            plan: TrainConfig::default().plan(round),
            global: global.into(),
            secure: None,
        })
    }

    fn update() -> Update {
        Update {
            examples: 4,
            loss: Some(0.5),
            values: vec![0.0; 2],
        }
    }

    #[test]
    fn repeated_and_stale_requests_do_not_train_again() {
        let mut client = Client::new(LAYOUT, 2, 4);
        assert!(matches!(
            client.receive(request(2, vec![0.0; 2]), NOW),
            ClientAction::Train(_)
        ));
        assert_eq!(
            client.receive(request(2, vec![0.0; 2]), NOW),
            ClientAction::Nothing
        );
        assert!(client.trained(2, Ok(update())).is_some());
        assert_eq!(
            client.receive(request(2, vec![0.0; 2]), NOW),
            ClientAction::Repeat { round: 2 }
        );
        assert_eq!(
            client.receive(request(1, vec![0.0; 2]), NOW),
            ClientAction::Nothing
        );
        assert_eq!(client.trained(2, Ok(update())), None);
        assert_eq!(
            client.receive(ServerMessage::Finished, NOW),
            ClientAction::Stop
        );
    }

    #[test]
    fn momentum_carries_over_and_can_be_restored() {
        let config = TrainConfig {
            client_momentum: 0.5,
            ..TrainConfig::default()
        };
        let request = |round| {
            ServerMessage::Train(TrainRequest {
                round,
                layout: LAYOUT,
                plan: config.plan(round),
                global: vec![0.0; 2].into(),
                secure: None,
            })
        };
        let sent = |client: &mut Client, round, values: [f32; 2]| {
            client.receive(request(round), NOW);
            let update = Update {
                values: values.to_vec(),
                ..update()
            };
            match client.trained(round, Ok(update)) {
                Some(ClientMessage::Reply(reply)) => reply.update,
                other => panic!("{other:?}"),
            }
        };
        let mut client = Client::new(LAYOUT, 2, 4);
        assert_eq!(sent(&mut client, 1, [4.0, 0.0]), [2.0, 0.0]);
        let mut restored = Client::new(LAYOUT, 2, 4);
        restored
            .restore_momentum(client.momentum().to_vec())
            .unwrap();
        for client in [&mut client, &mut restored] {
            assert_eq!(sent(client, 2, [0.0, 8.0]), [1.0, 4.0]);
        }
        assert!(client.restore_momentum(vec![0.0; 3]).is_err());
    }

    #[test]
    fn a_newer_round_replaces_one_in_training() {
        let mut client = Client::new(LAYOUT, 2, 4);
        client.receive(request(1, vec![0.0; 2]), NOW);
        assert!(matches!(
            client.receive(request(2, vec![0.0; 2]), NOW),
            ClientAction::Train(_)
        ));
        assert_eq!(client.trained(1, Ok(update())), None);
        assert!(client.trained(2, Ok(update())).is_some());
    }

    #[test]
    fn a_model_that_does_not_fit_is_answered_with_the_reason() {
        for (global, word) in [
            (vec![0.0; 3], "3 parameters"),
            (vec![0.0, f32::NAN], "parameter 1"),
        ] {
            let mut client = Client::new(LAYOUT, 2, 4);
            let action = client.receive(request(1, global), NOW);
            let ClientAction::Send(ClientMessage::Failed { round: 1, reason }) = action else {
                panic!("{action:?}");
            };
            assert!(reason.contains(word), "{reason}");
        }
        let mut client = Client::new(LayoutDigest([2; 32]), 2, 4);
        assert!(matches!(
            client.receive(request(1, vec![0.0; 2]), NOW),
            ClientAction::Send(ClientMessage::Failed { .. })
        ));
    }
}
