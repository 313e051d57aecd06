//! A client that sends its updates masked only.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cloister_privacy::noise::NoiseSource;
use cloister_secagg::lanes::Vector;
use cloister_secagg::quantise::{Contribution, FIGURES, Figure, Quantiser};
use cloister_secagg::{Client as Member, Policy, Record, Secrets, Step, Work};
use rand_chacha::ChaCha8Rng;
use zeroize::Zeroize;

use super::{Client, ClientAction};
use crate::compression::Coding;
use crate::defence::DefenceNoise;
use crate::message::{ClientMessage, TrainReply, TrainRequest};
use crate::privacy::PrivacyPlan;
use crate::secure::{config_hash, model_hash};

/// Draws the secrets of a round's session.
type Entropy = Box<dyn FnMut(u32) -> Result<Secrets, String> + Send>;

/// What a client needs for secure sums, and the one in progress.
pub(super) struct Masking {
    policy: Arc<Policy>,
    entropy: Entropy,
    record: Record,
    session: Option<Member>,
    /// The round's update as lanes, until the masks are ready.
    unmasked: Option<Unmasked>,
}

impl fmt::Debug for Masking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Masking")
            .field("record", &self.record)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

/// Lanes that nobody else may see.
#[derive(Debug)]
struct Unmasked(Vector);

impl Drop for Unmasked {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// What [`Client::protect`] works with.
#[derive(Debug)]
pub struct Protection<'a> {
    /// Random rounding; no secret.
    pub rounding: &'a mut ChaCha8Rng,
    /// Noise of the client's `[defence]`; `None` leaves the update undefended, as an attacker would.
    pub defence: Option<DefenceNoise>,
    /// The client's share of noise that is added up in the secure sum, where the run has such.
    pub noise: Option<(&'a PrivacyPlan, &'a mut NoiseSource)>,
    /// Threads to mask on; the result does not depend on it.
    pub threads: usize,
    /// The host's clock.
    pub now: Duration,
}

impl Client {
    /// Lets the client send its updates masked only, under `policy`. It insists on that from now on: a round without a secure
    /// sum is answered with the reason. `entropy` draws the secrets of a round's session: afresh, whenever it is called.
    pub fn use_secure_aggregation(
        &mut self,
        policy: Arc<Policy>,
        entropy: impl FnMut(u32) -> Result<Secrets, String> + Send + 'static,
    ) {
        self.masking = Some(Box::new(Masking {
            policy,
            entropy: Box::new(entropy),
            record: Record::default(),
            session: None,
            unmasked: None,
        }));
    }

    /// What must be on the disk before the next message of a secure sum goes out.
    pub fn record(&self) -> Option<&Record> {
        let masking = self.masking.as_ref()?;
        Some(match &masking.session {
            Some(session) => session.record(),
            None => &masking.record,
        })
    }

    /// Goes on from a stored record, so that no session before it is joined again; due after [`Self::use_secure_aggregation`]. The
    /// secrets of a session in progress are not in it: that session is lost.
    pub fn restore_record(&mut self, record: Record) {
        if let Some(masking) = &mut self.masking {
            masking.close();
            masking.record = record;
        }
    }

    /// Takes part in the request's secure sum: the first message of it, if there is one.
    pub(super) fn join(
        &mut self,
        request: &TrainRequest,
        now: Duration,
    ) -> Result<Option<ClientMessage>, String> {
        let (masking, params) = match (&mut self.masking, &request.secure) {
            (None, None) => return Ok(None),
            (Some(masking), Some(params)) => (masking, params),
            (Some(_), None) => {
                return Err("this client sends masked updates only, the round has no masks".into());
            }
            (None, Some(_)) => {
                return Err(
                    "the round wants masked updates, this client has no keys for that".into(),
                );
            }
        };
        let work = Work {
            model_hash: model_hash(request.layout, &request.global),
            config_hash: config_hash(request.layout, &request.plan),
            model_lanes: request.global.len(),
            meta_lanes: FIGURES,
        };
        let secrets = (masking.entropy)(request.round)?;
        let policy = Arc::clone(&masking.policy);
        // The session before may have been given up by the server without a word.
        masking.close();
        let joined = Member::join(policy, &masking.record, &work, params, secrets, now);
        let (session, first) =
            joined.map_err(|abort| format!("secure sum: {} ({abort})", abort.name()))?;
        masking.session = Some(session);
        Ok(Some(ClientMessage::Secure(first)))
    }

    /// Makes of the client's answer what may leave it: of an update a masked one, if the client masks them, or one in fewer bytes,
    /// if it compresses them. `None` if it is to be sent later, when the masks are ready.
    pub fn protect(
        &mut self,
        message: ClientMessage,
        protection: Protection<'_>,
    ) -> Option<ClientMessage> {
        let ClientMessage::Reply(mut reply) = message else {
            return Some(message);
        };
        if let (Some(defence), Some(noise)) = (&self.defence, protection.defence) {
            defence.apply(&mut reply.update, noise);
        }
        let Some(masking) = &mut self.masking else {
            return Some(match self.communication.update {
                Coding::F32 => ClientMessage::Reply(reply),
                _ => self.compress(reply, protection.rounding),
            });
        };
        let round = reply.round;
        let failed = |reason: String| Some(ClientMessage::Failed { round, reason });
        let Some(session) = masking
            .session
            .as_ref()
            .filter(|session| !session.is_over())
        else {
            return failed("the secure sum has ended before the training".to_owned());
        };
        let Protection {
            rounding,
            noise,
            threads,
            now,
            ..
        } = protection;
        match lanes(session, &reply, rounding, noise) {
            Ok(vector) => masking.unmasked = Some(Unmasked(vector)),
            Err(reason) => return failed(reason),
        }
        masking.mask(threads, now)
    }

    pub(super) fn receive_secure(&mut self, bytes: &[u8], now: Duration) -> ClientAction {
        let Some(masking) = &mut self.masking else {
            return ClientAction::Nothing;
        };
        let Some(session) = &mut masking.session else {
            return ClientAction::Nothing;
        };
        let step = session.receive(bytes, now);
        match step {
            Ok(Step::Send(message)) => ClientAction::Send(ClientMessage::Secure(message)),
            Ok(Step::Ready) => match masking.mask(1, now) {
                Some(message) => ClientAction::Send(message),
                None => ClientAction::Nothing,
            },
            Ok(Step::Repeat) => ClientAction::Repeat {
                round: self.answered,
            },
            Ok(Step::Done { .. } | Step::Abandoned { .. }) => {
                masking.close();
                ClientAction::Nothing
            }
            Ok(_) => ClientAction::Nothing,
            Err(reason) => {
                let farewell = session.farewell(&reason);
                masking.close();
                ClientAction::Send(ClientMessage::Secure(farewell))
            }
        }
    }
}

impl Masking {
    /// Masks the update if both it and the masks are there.
    fn mask(&mut self, threads: usize, now: Duration) -> Option<ClientMessage> {
        let session = self.session.as_mut().filter(|session| session.is_ready())?;
        let mut unmasked = self.unmasked.take()?;
        let layout = cloister_secagg::lanes::LaneLayout {
            model: 0,
            meta: 0,
            ..session.layout()
        };
        let vector = std::mem::replace(&mut unmasked.0, Vector::zero(layout));
        let message = match session.mask(vector, threads, now) {
            Ok(Step::Send(message)) => message,
            Ok(_) => return None,
            Err(reason) => {
                let farewell = session.farewell(&reason);
                self.close();
                farewell
            }
        };
        Some(ClientMessage::Secure(message))
    }

    /// Ends the session, and keeps what must never be done again.
    fn close(&mut self) {
        if let Some(session) = self.session.take() {
            self.record = *session.record();
        }
        self.unmasked = None;
    }
}

/// A client's update as the lanes of a session.
fn lanes(
    session: &Member,
    reply: &TrainReply,
    rounding: &mut ChaCha8Rng,
    noise: Option<(&PrivacyPlan, &mut NoiseSource)>,
) -> Result<Vector, String> {
    let params = session.params();
    let mut vector = Vector::zero(session.layout());
    let examples = u64::try_from(reply.examples).unwrap_or(0);
    match (Quantiser::of(params), noise) {
        (Some(quantiser), None) => {
            let contribution = Contribution {
                weight: examples.clamp(1, params.most_weight),
                examples,
                loss: reply.loss,
            };
            let encoded = quantiser.encode(&reply.update, &contribution, rounding, &mut vector);
            encoded.map_err(|error| error.to_string())?;
        }
        (None, Some((plan, source))) => {
            let distributed = plan.distributed().map_err(|error| error.to_string())?;
            let words = distributed.encode(&reply.update, params.nonce, source);
            vector.fill_model(words.map_err(|error| error.to_string())?);
            vector.set_meta(Figure::Weight as usize, 1);
        }
        (Some(_), Some(_)) => return Err("the session's lanes have no room for noise".to_owned()),
        (None, None) => {
            return Err("the session sums noisy updates, this client adds no noise".to_owned());
        }
    }
    Ok(vector)
}
