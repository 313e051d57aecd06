//! A session that outlives its process.

use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::join::admitted;
use super::{Client, Held, Policy, Stage, Survived};
use crate::error::Abort;
use crate::keys::Secrets;
use crate::message::{ADVERT_LEN, Advert};
use crate::params::Params;
use crate::record::{RECORD_LEN, Record, flag};
use crate::session::Session;
use crate::shamir::Share;
use crate::wire::{DecodeError, Reader};

/// Format of what [`Client::save`] makes.
const FORMAT: u8 = 1;

const STAGES: [Stage; 6] = [
    Stage::Advertised,
    Stage::Shared,
    Stage::Ready,
    Stage::Masked,
    Stage::Acknowledged,
    Stage::Revealed,
];

impl Client {
    /// The session as bytes, secrets included: they belong where only this client can read them, and away when the session is
    /// over. `None` if it is.
    pub fn save(&self, now: Duration) -> Option<Zeroizing<Vec<u8>>> {
        if self.stage == Stage::Over {
            return None;
        }
        let params = self.params.to_bytes();
        // Room for all of it: a vector that grows leaves copies of secrets behind.
        let capacity = 1024
            + params.len()
            + self.params.cohort.len() * (ADVERT_LEN + 1)
            + self.held.len() * 84;
        let mut out = Zeroizing::new(Vec::with_capacity(capacity));
        out.extend([FORMAT, self.stage as u8]);
        let elapsed = self.elapsed(now).as_millis();
        out.extend(u64::try_from(elapsed).unwrap_or(u64::MAX).to_le_bytes());
        out.extend(self.record.to_bytes());
        out.extend(params);
        out.extend(self.params_signature);
        let secrets = &self.secrets;
        for secret in [&secrets.r, &secrets.b, &secrets.c, &secrets.z] {
            out.extend(secret);
        }
        out.extend(self.last);
        out.extend(self.advert.to_bytes());
        put_flag(&mut out, self.session.is_some());
        if let Some(session) = &self.session {
            out.extend(session.advertised.bytes());
            for advert in session.adverts() {
                out.extend(advert.to_bytes());
            }
        }
        put_flag(&mut out, self.shared.is_some());
        if let Some(shared) = &self.shared {
            out.extend(shared.bytes());
        }
        out.extend((self.held.len() as u32).to_le_bytes());
        for held in &self.held {
            out.extend(held.owner.to_le_bytes());
            out.extend(held.b.to_bytes());
            out.extend(held.r.to_bytes());
        }
        put_flag(&mut out, self.survived.is_some());
        if let Some(survived) = &self.survived {
            out.extend(survived.members.bytes());
            out.extend(survived.bodies_root);
        }
        Some(out)
    }

    /// Goes on with a session from its bytes and the client's record. The record wins: if it says that a vector was masked, no
    /// other is, and the session goes on after it; the bytes that were sent must come from where they were stored. The same
    /// holds for the survivors that were acknowledged and for what was revealed.
    ///
    /// # Errors
    /// [`Abort`] for bytes that are none, a policy that no longer allows the session, or a record that is of another session or
    /// too far ahead. The record is stored before the first message: without it, this session may have been gone through.
    pub fn restore(
        policy: Arc<Policy>,
        record: &Record,
        bytes: &[u8],
        now: Duration,
    ) -> Result<Self, Abort> {
        let mut client = read(policy, bytes, now)?;
        let own = admitted(&client.policy, &client.params, &client.params_signature)?;
        if own != client.own {
            return Err(Abort::Roster("it has another place for this client"));
        }
        let session = |record: &Record| (record.task, record.round, record.attempt);
        if session(record) != session(&client.record) {
            let Record { round, attempt, .. } = client.record;
            return Err(Abort::Replay { round, attempt });
        }
        client.catch_up(record)?;
        Ok(client)
    }

    /// Takes over what the record knows and the saved session does not.
    fn catch_up(&mut self, record: &Record) -> Result<(), Abort> {
        let ahead = Abort::State {
            got: "a record of later steps",
            after: self.stage.name(),
        };
        match (record.masked, self.record.masked) {
            (Some(one), Some(other)) if one != other => return Err(Abort::BodyHash),
            (Some(_), None) if self.stage != Stage::Ready => return Err(ahead),
            (Some(hash), None) => {
                self.record.masked = Some(hash);
                self.body_hash = Some(hash);
                self.stage = Stage::Masked;
            }
            _ => {}
        }
        match (record.acknowledged, self.record.acknowledged) {
            (Some(one), Some(other)) if one != other => return Err(ahead),
            // It may sign the same once more, and nothing else.
            (Some(hash), None) => self.record.acknowledged = Some(hash),
            _ => {}
        }
        if record.revealed && !self.record.revealed {
            if self.survived.is_none() {
                // It could not even check the result.
                return Err(ahead);
            }
            self.record.revealed = true;
            self.stage = Stage::Revealed;
            self.held.clear();
        }
        Ok(())
    }
}

fn put_flag(out: &mut Vec<u8>, flag: bool) {
    out.push(u8::from(flag));
}

/// Reads what [`Client::save`] made.
fn read(policy: Arc<Policy>, bytes: &[u8], now: Duration) -> Result<Client, Abort> {
    let mut reader = Reader::new(bytes);
    if reader.u8("format")? != FORMAT {
        return Err(reader.invalid("format", 1).into());
    }
    let stage = reader.u8("stage")?;
    let Some(stage) = STAGES.into_iter().find(|known| *known as u8 == stage) else {
        return Err(reader.invalid("stage", 1).into());
    };
    let elapsed = Duration::from_millis(reader.u64("elapsed")?);
    let record = Record::from_bytes(reader.take("record", RECORD_LEN)?)?;
    let params = Params::read(&mut reader)?;
    let members = params.members();
    let params_hash = params.hash();
    let params_signature = reader.array("signature")?;
    let secrets = Secrets {
        r: reader.array("secret")?,
        b: reader.array("secret")?,
        c: reader.array("secret")?,
        z: reader.array("secret")?,
    };
    let last = reader.array("last")?;
    let advert = Advert::read(&mut reader)?;
    let session = match flag(&mut reader, "session")? {
        true => Some(read_session(&mut reader, &params, &params_hash)?),
        false => None,
    };
    let shared = match flag(&mut reader, "shared")? {
        true => Some(reader.members("members", members)?),
        false => None,
    };
    let held = (0..reader.count("held", members as usize)?)
        .map(|_| read_held(&mut reader))
        .collect::<Result<_, DecodeError>>()?;
    let survived = match flag(&mut reader, "survived")? {
        true => Some(Survived {
            members: reader.members("members", members)?,
            bodies_root: reader.array("root")?,
        }),
        false => None,
    };
    let whole = session.is_some() >= (stage >= Stage::Shared)
        && shared.is_some() >= (stage >= Stage::Ready)
        && record.masked.is_some() == (stage >= Stage::Masked)
        && survived.is_some() >= (stage >= Stage::Acknowledged);
    if !whole || (record.round, record.attempt) != (params.round, params.attempt) {
        return Err(reader.invalid("stage", reader.offset()).into());
    }
    let client = Client {
        policy,
        own: advert.index,
        params,
        params_signature,
        params_hash,
        secrets,
        advert,
        stage,
        session,
        shared,
        channels: Vec::new(),
        held,
        body_hash: record.masked,
        survived,
        last,
        // The clock may have begun anew: the time before it is kept apart.
        started: now,
        spent: elapsed,
        record,
    };
    Ok(reader.end(client)?)
}

fn read_held(reader: &mut Reader<'_>) -> Result<Held, DecodeError> {
    let owner = reader.u32("owner")?;
    let mut share = || {
        let bytes = Zeroizing::new(reader.array("share")?);
        Share::from_bytes(&bytes).ok_or_else(|| reader.invalid("share", bytes.len()))
    };
    Ok(Held {
        owner,
        b: share()?,
        r: share()?,
    })
}

fn read_session(
    reader: &mut Reader<'_>,
    params: &Params,
    params_hash: &[u8; 32],
) -> Result<Session, DecodeError> {
    let advertised = reader.members("members", params.members())?;
    let adverts = (0..advertised.len())
        .map(|_| Advert::read(reader))
        .collect::<Result<Vec<_>, _>>()?;
    let ordered = adverts
        .iter()
        .map(|advert| advert.index)
        .eq(advertised.iter());
    let session = match ordered {
        true => Session::new(params, params_hash, advertised, adverts).ok(),
        false => None,
    };
    session.ok_or_else(|| reader.invalid("session", 0))
}
