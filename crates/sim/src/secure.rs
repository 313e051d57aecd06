//! Secure sums in one process: the keys of server and clients, each with its own secrets.

use std::sync::Arc;

use cloister_config::Experiment;
use cloister_host::seeded;
use cloister_protocol::{Client, ClientId, Purpose, SecurePlan, Streams, roster_name};
use cloister_secagg::message::{Kind, peek};
use cloister_secagg::{Entry, Identity, Mode, Policy, Roster, Secrets};

use rand::Rng;
use zeroize::Zeroizing;

use crate::error::SimError;

/// What a run with secure sums has fixed before its first round.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) plan: SecurePlan,
    pub(crate) server: Identity,
    pub(crate) policies: Vec<Arc<Policy>>,
    origin: Origin,
    mode: Mode,
}

/// Where keys come from.
#[derive(Clone, Copy, Debug)]
enum Origin {
    /// The operating system. No mask is left in a sum, so no result depends on them.
    System,
    /// The run's seed: who is in a bucket with whom is drawn from the keys, so a run that is to be repeated needs the same.
    Seed(Streams),
}

impl Keys {
    /// Draws the keys of a run with so many clients; `None` if it has no secure sums.
    pub(crate) fn draw(
        experiment: &Experiment,
        clients: u32,
        streams: Streams,
        config_sha256: &str,
    ) -> Result<Option<Self>, SimError> {
        let Some(config) = &experiment.secure_aggregation else {
            return Ok(None);
        };
        let origin = match seeded(experiment) {
            true => Origin::Seed(streams),
            false => Origin::System,
        };
        let mode = Mode::from(config.mode);
        let identity = |place| {
            let mut secret = Zeroizing::new([0; 32]);
            // Round 0 is before the first.
            origin.fill(0, place, &mut [&mut secret])?;
            Ok::<_, String>(Identity::from_secret(&secret))
        };
        let server = identity(u32::MAX).map_err(SimError::Keys)?;
        let mut identities = Vec::with_capacity(clients as usize);
        let mut entries = Vec::with_capacity(clients as usize);
        for place in 0..clients {
            let identity = match mode {
                Mode::Malicious => Some(identity(place).map_err(SimError::Keys)?),
                Mode::SemiHonest => None,
            };
            let public = identity.as_ref().map(Identity::public);
            entries.push(Entry {
                client: roster_name(ClientId(place)),
                identity: public.unwrap_or_default(),
                // A simulation has no calendar.
                not_after: u64::MAX,
            });
            identities.push(identity);
        }
        let roster = Roster::new(server.public(), entries);
        let roster = Arc::new(roster.map_err(|error| SimError::Keys(error.to_string()))?);
        let task = task(config_sha256);
        let policy = |(place, identity)| {
            Arc::new(Policy {
                task,
                roster: Arc::clone(&roster),
                place,
                identity,
                mode,
                minimum_cohort: config.minimum_cohort,
                corrupt_ppm: config.corrupt_ppm(),
                today: 0,
            })
        };
        Ok(Some(Self {
            policies: (0..).zip(identities).map(policy).collect(),
            plan: SecurePlan {
                config: config.clone(),
                task,
                roster: Arc::clone(&roster),
            },
            server,
            origin,
            mode,
        }))
    }

    /// Lets a client send masked updates only.
    pub(crate) fn equip(&self, place: usize, client: &mut Client) {
        let (policy, origin) = (Arc::clone(&self.policies[place]), self.origin);
        client.use_secure_aggregation(policy, move |round| origin.secrets(round, place as u32));
    }

    /// What a client answers to a message of a secure sum; `None` if nothing at once.
    pub(crate) fn answer_to(&self, message: &[u8]) -> Option<Kind> {
        match peek(message).ok()?.0 {
            Kind::Roster => Some(Kind::Shares),
            Kind::Survivors if self.mode == Mode::Malicious => Some(Kind::Ack),
            Kind::Survivors | Kind::Acks => Some(Kind::Reveal),
            _ => None,
        }
    }
}

/// The run's name among its clients: the beginning of its config's hash.
fn task(config_sha256: &str) -> [u8; 16] {
    let mut task = [0; 16];
    for (byte, digits) in task.iter_mut().zip(config_sha256.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).unwrap_or_default();
        *byte = u8::from_str_radix(digits, 16).unwrap_or_default();
    }
    task
}

impl Origin {
    /// The secrets of a client in the session of a round.
    fn secrets(self, round: u32, place: u32) -> Result<Secrets, String> {
        let mut secrets = Secrets {
            r: [0; 32],
            b: [0; 32],
            c: [0; 32],
            z: [0; 32],
        };
        let Secrets { r, b, c, z } = &mut secrets;
        self.fill(round, place, &mut [r, b, c, z])?;
        Ok(secrets)
    }

    fn fill(self, round: u32, place: u32, out: &mut [&mut [u8; 32]]) -> Result<(), String> {
        match self {
            Self::System => {
                let fill = |bytes: &mut &mut [u8; 32]| getrandom::fill(bytes.as_mut());
                let filled: Result<(), _> = out.iter_mut().try_for_each(fill);
                filled.map_err(|error| format!("the system gives no randomness: {error}"))
            }
            Self::Seed(streams) => {
                let mut rng = streams.stream(Purpose::Keys, round, place);
                out.iter_mut()
                    .for_each(|bytes| rng.fill_bytes(bytes.as_mut()));
                Ok(())
            }
        }
    }
}
