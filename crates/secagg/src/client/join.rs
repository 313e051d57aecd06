//! From the server's parameters to the client's first message.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{Client, Policy, Stage, Work};
use crate::error::Abort;
use crate::keys::Secrets;
use crate::message::{Advert, ClientMessage, Kind, ServerMessage};
use crate::params::{Mode, Params};
use crate::record::Record;
use crate::sign::{SERVER, SignatureBytes, verifies};

impl Client {
    /// Takes part in the session that `bytes` propose: the client, and its first message. [`Self::record`] must be on the disk
    /// before that goes out.
    ///
    /// # Errors
    /// [`Abort`] for a session that the policy, the record or the client's own view of the work does not allow.
    pub fn join(
        policy: Arc<Policy>,
        record: &Record,
        work: &Work,
        bytes: &[u8],
        secrets: Secrets,
        now: Duration,
    ) -> Result<(Self, Vec<u8>), Abort> {
        let (message, header) = ServerMessage::decode(bytes, 0)?;
        let ServerMessage::Params(params, params_signature) = message else {
            return Err(Abort::State {
                got: "something else than parameters",
                after: "nothing",
            });
        };
        if (header.round, header.attempt) != (params.round, params.attempt) {
            return Err(Abort::Config("the header is of another round"));
        }
        let own = admitted(&policy, &params, &params_signature)?;
        not_before(record, &params)?;
        fits(work, &params)?;
        let params_hash = params.hash();
        let mut advert = Advert {
            index: own,
            channel: secrets.channel_public(),
            mask: secrets.mask_public(),
            signature: [0; 64],
        };
        if params.mode == Mode::Malicious
            && let Some(identity) = &policy.identity
        {
            let body = advert.body();
            advert.signature = identity.sign(Kind::Advertise as u8, &params_hash, own, &[&body]);
        }
        let first = ClientMessage::Advertise(advert).encode(header);
        let client = Self {
            record: Record {
                task: params.task,
                round: params.round,
                attempt: params.attempt,
                masked: None,
                acknowledged: None,
                revealed: false,
            },
            policy,
            params: *params,
            params_signature,
            params_hash,
            own,
            secrets,
            advert,
            stage: Stage::Advertised,
            session: None,
            shared: None,
            channels: Vec::new(),
            held: Vec::new(),
            body_hash: None,
            survived: None,
            last: Sha256::digest(bytes).into(),
            started: now,
            spent: Duration::ZERO,
        };
        Ok((client, first))
    }
}

/// Whether the policy allows these parameters; the client's session index if so.
pub(super) fn admitted(
    policy: &Policy,
    params: &Params,
    signature: &SignatureBytes,
) -> Result<u32, Abort> {
    if params.mode < policy.mode {
        return Err(Abort::Config(
            "the session trusts the server more than this client does",
        ));
    }
    params.check()?;
    let roster = &policy.roster;
    let signed = match params.mode {
        Mode::SemiHonest => *signature == [0; 64],
        Mode::Malicious => verifies(
            roster.server(),
            Kind::Params as u8,
            &[0; 32],
            SERVER,
            &[&params.to_bytes()],
            signature,
        ),
    };
    if !signed {
        return Err(Abort::Signature {
            kind: Kind::Params,
            member: None,
        });
    }
    if params.roster_hash != *roster.hash() {
        return Err(Abort::Roster(
            "it is not the one that this client was given",
        ));
    }
    if params.task != policy.task {
        return Err(Abort::Config("they are of another run"));
    }
    if params.least_survivors < policy.minimum_cohort {
        return Err(Abort::SmallCohort {
            stage: "the call",
            got: params.least_survivors,
            needed: policy.minimum_cohort,
        });
    }
    if params.corrupt_ppm < policy.corrupt_ppm {
        return Err(Abort::Threshold {
            got: params.threshold,
            reason: format!(
                "it assumes that {:.1} % may be corrupt, this client {:.1} %",
                f64::from(params.corrupt_ppm) / 1e4,
                f64::from(policy.corrupt_ppm) / 1e4
            ),
        });
    }
    place_in(policy, params)
}

fn place_in(policy: &Policy, params: &Params) -> Result<u32, Abort> {
    let entries = policy.roster.entries();
    for place in &params.cohort {
        match entries.get(*place as usize) {
            None => return Err(Abort::Roster("the cohort has a member that it has not")),
            Some(entry) if entry.not_after < policy.today => {
                return Err(Abort::Roster("a member's entry has run out"));
            }
            Some(_) => {}
        }
    }
    let Ok(own) = params.cohort.binary_search(&policy.place) else {
        return Err(Abort::SelfMissing("the cohort"));
    };
    if params.mode == Mode::Malicious {
        let listed = entries
            .get(policy.place as usize)
            .map(|entry| entry.identity);
        let held = policy.identity.as_ref().map(|identity| identity.public());
        if listed.is_none() || listed != held {
            return Err(Abort::Roster("it has another key for this client"));
        }
    }
    Ok(own as u32)
}

/// Whether these parameters come after everything that the client has done.
fn not_before(record: &Record, params: &Params) -> Result<(), Abort> {
    if record.task != params.task {
        return Ok(());
    }
    if record.revealed && record.round == params.round {
        return Err(Abort::SecondReveal(params.round));
    }
    match (params.round, params.attempt) > (record.round, record.attempt) {
        true => Ok(()),
        false => Err(Abort::Replay {
            round: params.round,
            attempt: params.attempt,
        }),
    }
}

/// Whether the parameters are for the work that the client was given.
fn fits(work: &Work, params: &Params) -> Result<(), Abort> {
    if params.model_hash != work.model_hash {
        return Err(Abort::ModelHash);
    }
    if params.config_hash != work.config_hash {
        return Err(Abort::Config("they are for another training"));
    }
    let lanes = (params.model_lanes as usize, usize::from(params.meta_lanes));
    match lanes == (work.model_lanes, work.meta_lanes) {
        true => Ok(()),
        false => Err(Abort::Config("they are for vectors of another length")),
    }
}
