//! What a client does at each stage.

use std::collections::BTreeSet;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{Client, Held, Stage, Step, Survived};
use crate::error::Abort;
use crate::graph::Graph;
use crate::keys::{
    CIPHERTEXT_LEN, Coefficients, PairMasks, Shared, channel_agreement, commitment, open, seal,
    self_mask,
};
use crate::lanes::Vector;
use crate::mask::{self, MaskKey, Sign};
use crate::members::Members;
use crate::merkle;
use crate::message::{Advert, ClientMessage, Kind};
use crate::params::Mode;
use crate::session::{Session, body_leaf, signed_by};
use crate::shamir::{LIMBS, Share, share};
use crate::sign::{SERVER, SignatureBytes, verifies};

impl Client {
    /// 1a to 1b: checks everybody's keys, shares the secrets.
    pub(super) fn share(
        &mut self,
        advertised: Members,
        adverts: Vec<Advert>,
        now: Duration,
    ) -> Result<Step, Abort> {
        self.in_time(0, "the shares", now)?;
        let session = self.check_adverts(advertised, adverts)?;
        let neighbours = session.neighbours_in(self.own, &session.advertised);
        let mut points = neighbours.clone();
        points.insert(points.partition_point(|other| *other < self.own), self.own);
        let sharings = self.sharings(&session, &points);
        let mut ciphertexts = Vec::with_capacity(neighbours.len());
        // Whole at once: a vector that grows leaves copies of secrets behind.
        self.channels = Vec::with_capacity(neighbours.len());
        self.held = Vec::with_capacity(points.len());
        for ((place, to), [b, r]) in points.iter().enumerate().zip(sharings) {
            if *to == self.own {
                let held = Held {
                    owner: self.own,
                    b,
                    r,
                };
                self.held.push(held);
                continue;
            }
            let zero = Abort::ZeroSharedSecret(points[place]);
            let other = session
                .advert(*to)
                .ok_or(Abort::SelfMissing("the roster"))?;
            let agreement = channel_agreement(&self.secrets.c, &other.channel).ok_or(zero)?;
            let sealed = seal(&agreement, &session.id, self.own, *to, [&b, &r]);
            ciphertexts.push(sealed.ok_or(Abort::ShareOpen(*to))?);
            self.channels.push((*to, agreement));
        }
        let commitment = commitment(&self.secrets.b, &session.id, self.own);
        let leaves: Vec<[u8; 32]> = ciphertexts
            .iter()
            .map(|sealed| merkle::leaf(&[sealed]))
            .collect();
        let body: [&[u8]; 2] = [&commitment, &merkle::root(&leaves)];
        let signature = self.sign(Kind::Shares, &session.id, &body);
        self.session = Some(session);
        self.stage = Stage::Shared;
        let message = ClientMessage::Shares {
            index: self.own,
            commitment,
            ciphertexts,
            signature,
        };
        Ok(Step::Send(message.encode(self.header())))
    }

    /// The shares of b and r for each of `points`.
    fn sharings(&self, session: &Session, points: &[u32]) -> Vec<[Share; 2]> {
        let threshold = self.params.threshold as usize;
        let of = |secret: &[u8; 32], which| {
            let expected = LIMBS * threshold.saturating_sub(1);
            let mut drawn = Coefficients::new(&self.secrets.z, &session.id, which, expected);
            share(secret, threshold, points, &mut || drawn.draw())
        };
        let (b, r) = (
            of(&self.secrets.b, Shared::B),
            of(&self.secrets.r, Shared::R),
        );
        b.into_iter().zip(r).map(|(b, r)| [b, r]).collect()
    }

    fn check_adverts(&self, advertised: Members, adverts: Vec<Advert>) -> Result<Session, Abort> {
        let ordered = adverts
            .iter()
            .map(|advert| advert.index)
            .eq(advertised.iter());
        if !ordered {
            return Err(Abort::Roster("keys are not those of the members named"));
        }
        if !advertised.contains(self.own) {
            return Err(Abort::SelfMissing("the roster"));
        }
        if !adverts.contains(&self.advert) {
            return Err(Abort::Roster("it has other keys for this client"));
        }
        no_key_twice(&adverts)?;
        let needed = self.params.needed();
        let smallest = advertised.len() / self.params.buckets();
        if smallest < needed {
            return Err(Abort::SmallCohort {
                stage: "the roster",
                got: smallest,
                needed,
            });
        }
        for advert in &adverts {
            let keys: [&[u8]; 2] = [&advert.channel, &advert.mask];
            let (kind, context) = (Kind::Advertise, &self.params_hash);
            if !self.signed_by(advert.index, kind, context, &keys, &advert.signature) {
                return Err(Abort::Signature {
                    kind,
                    member: Some(advert.index),
                });
            }
        }
        let got = advertised.len();
        Session::new(&self.params, &self.params_hash, advertised, adverts).map_err(|_| {
            Abort::SmallCohort {
                stage: "the roster",
                got,
                needed: got + 1,
            }
        })
    }

    /// 2a: opens the shares of the neighbours.
    pub(super) fn open(
        &mut self,
        shared: Members,
        ciphertexts: &[[u8; CIPHERTEXT_LEN]],
    ) -> Result<Step, Abort> {
        let session = self.session()?;
        if !shared.is_subset(&session.advertised) {
            return Err(Abort::SharedNotAdvertised);
        }
        if !shared.contains(self.own) {
            return Err(Abort::SelfMissing("those who shared"));
        }
        self.enough(&shared, "those who shared")?;
        let from = session.neighbours_in(self.own, &shared);
        if from.len() != ciphertexts.len() {
            return Err(Abort::Roster("shares are not those of the members named"));
        }
        let mut held = Vec::with_capacity(from.len() + 1);
        for (owner, sealed) in from.into_iter().zip(ciphertexts) {
            let advert = session.advert(owner).ok_or(Abort::ShareOpen(owner))?;
            // In index order, as they were made.
            let known = self
                .channels
                .binary_search_by_key(&owner, |(other, _)| *other);
            let agreement = match known {
                Ok(place) => self.channels[place].1.clone(),
                Err(_) => channel_agreement(&self.secrets.c, &advert.channel)
                    .ok_or(Abort::ZeroSharedSecret(owner))?,
            };
            let opened = open(&agreement, &session.id, owner, self.own, sealed);
            let [b, r] = opened.ok_or(Abort::ShareOpen(owner))?;
            held.push(Held { owner, b, r });
        }
        self.held.extend(held);
        self.held.sort_by_key(|held| held.owner);
        self.channels.clear();
        self.shared = Some(shared);
        self.stage = Stage::Ready;
        Ok(Step::Ready)
    }

    /// 2b: masks and signs the vector.
    pub(super) fn masked(
        &mut self,
        mut vector: Vector,
        threads: usize,
        now: Duration,
    ) -> Result<Step, Abort> {
        if self.stage != Stage::Ready || self.record.masked.is_some() {
            return Err(Abort::State {
                got: "a vector to be masked",
                after: self.stage.name(),
            });
        }
        self.in_time(1, "the masked vector", now)?;
        if vector.layout() != self.params.layout() {
            return Err(Abort::Config("the vector has another layout"));
        }
        vector.set_meta(0, 1);
        let masks = self.masks()?;
        mask::apply(&mut vector, &masks, threads);
        let body_hash: [u8; 32] = Sha256::digest(vector.bytes()).into();
        let (session, shared_hash) = (self.session()?.id, self.shared()?.hash());
        let signature = self.sign(Kind::Masked, &session, &[&shared_hash, &body_hash]);
        self.body_hash = Some(body_hash);
        self.record.masked = Some(body_hash);
        self.stage = Stage::Masked;
        let message = ClientMessage::Masked {
            index: self.own,
            shared_hash,
            vector: vector.bytes(),
            signature,
        };
        Ok(Step::Send(message.encode(self.header())))
    }

    /// The self mask, and the pair masks: added for members after this one, subtracted for those before.
    fn masks(&self) -> Result<Vec<(MaskKey, Sign)>, Abort> {
        let (session, shared) = (self.session()?, self.shared()?);
        let salt = session.mask_salt(&self.params, shared);
        let pairs = PairMasks::new(&self.secrets.r);
        let neighbours = session.neighbours_in(self.own, shared);
        let mut masks = Vec::with_capacity(neighbours.len() + 1);
        masks.push((self_mask(&self.secrets.b, &salt, self.own), Sign::Add));
        for other in neighbours {
            let zero = Abort::ZeroSharedSecret(other);
            let advert = session.advert(other).ok_or(Abort::ShareOpen(other))?;
            let key = pairs
                .with(&advert.mask, &salt, (self.own, other))
                .ok_or(zero)?;
            let sign = match other > self.own {
                true => Sign::Add,
                false => Sign::Subtract,
            };
            masks.push((key, sign));
        }
        Ok(masks)
    }

    /// 3a: that the survivors are members, enough, and hold this client's own vector.
    pub(super) fn survive(
        &mut self,
        survivors: Members,
        bodies_root: [u8; 32],
        proof: &[[u8; 32]],
    ) -> Result<(), Abort> {
        if !survivors.is_subset(self.shared()?) {
            return Err(Abort::SurvivedNotShared);
        }
        if !survivors.contains(self.own) {
            return Err(Abort::SelfMissing("the survivors"));
        }
        self.enough(&survivors, "the survivors")?;
        let body_hash = self.body_hash.ok_or(Abort::BodyHash)?;
        let place = survivors.iter().take_while(|i| *i < self.own).count();
        let leaf = body_leaf(self.own, &body_hash);
        let count = survivors.len() as usize;
        if !merkle::proves(&bodies_root, count, place, &leaf, proof) {
            return Err(Abort::BodyHash);
        }
        self.survived = Some(Survived {
            members: survivors,
            bodies_root,
        });
        Ok(())
    }

    /// 3b: says which survivors it has seen.
    pub(super) fn acknowledge(&mut self, now: Duration) -> Result<Step, Abort> {
        self.in_time(2, "the acknowledgement", now)?;
        let session = self.session()?.id;
        let view = self.view()?;
        let seen: [u8; 32] = Sha256::digest(&view).into();
        if self.record.acknowledged.is_some_and(|other| other != seen) {
            return Err(Abort::State {
                got: "other survivors than those acknowledged",
                after: self.stage.name(),
            });
        }
        self.record.acknowledged = Some(seen);
        let signature = self.sign(Kind::Ack, &session, &[&view]);
        self.stage = Stage::Acknowledged;
        let message = ClientMessage::Ack {
            index: self.own,
            signature,
        };
        Ok(Step::Send(message.encode(self.header())))
    }

    /// 4a: that a threshold of those whose vectors are added up have seen the same.
    pub(super) fn check_acks(&self, acks: &[(u32, SignatureBytes)]) -> Result<(), Abort> {
        let session = self.session()?;
        let survivors = &self.survived()?.members;
        let group = session.group(self.own);
        let view = self.view()?;
        let mut seen = BTreeSet::new();
        for (index, signature) in acks {
            let counts = survivors.contains(*index)
                && group.binary_search(index).is_ok()
                && !seen.contains(index)
                && self.signed_by(*index, Kind::Ack, &session.id, &[&view], signature);
            if counts {
                seen.insert(*index);
            }
            if seen.len() >= self.params.threshold as usize {
                return Ok(());
            }
        }
        Err(Abort::Acks {
            got: seen.len() as u32,
            needed: self.params.threshold,
        })
    }

    /// 4b: the share of b of each survivor, the share of r of each dropout; once, and never both.
    pub(super) fn reveal(&mut self, now: Duration) -> Result<Step, Abort> {
        if self.record.revealed {
            return Err(Abort::SecondReveal(self.params.round));
        }
        self.in_time(3, "the reveal", now)?;
        let survivors = &self.survived()?.members;
        let shares: Vec<_> = self
            .held
            .iter()
            .map(|held| match survivors.contains(held.owner) {
                true => held.b.to_bytes(),
                false => held.r.to_bytes(),
            })
            .collect();
        let session = self.session()?.id;
        let signature = self.sign(Kind::Reveal, &session, &[shares.as_flattened()]);
        self.record.revealed = true;
        self.stage = Stage::Revealed;
        // They are of no more use here.
        self.held.clear();
        let message = ClientMessage::Reveal {
            index: self.own,
            shares,
            signature,
        };
        Ok(Step::Send(message.encode(self.header())))
    }

    pub(super) fn check_result(
        &self,
        session: &[u8; 32],
        hashes: [&[u8; 32]; 3],
        signature: &SignatureBytes,
    ) -> Result<(), Abort> {
        let own = self.session()?.id;
        if *session != own || *hashes[0] != self.survived()?.members.hash() {
            return Err(Abort::Config("the result is of another session"));
        }
        let signed = match self.params.mode {
            Mode::SemiHonest => *signature == [0; 64],
            Mode::Malicious => {
                let server = self.policy.roster.server();
                let body = hashes.map(|hash| hash.as_slice());
                verifies(server, Kind::Result as u8, &own, SERVER, &body, signature)
            }
        };
        match signed {
            true => Ok(()),
            false => Err(Abort::Signature {
                kind: Kind::Result,
                member: None,
            }),
        }
    }

    /// What an acknowledgement is of: U2, U3 and the vectors.
    fn view(&self) -> Result<Vec<u8>, Abort> {
        let survived = self.survived()?;
        let hashes = [
            self.shared()?.hash(),
            survived.members.hash(),
            survived.bodies_root,
        ];
        Ok(hashes.concat())
    }

    /// Whether enough of `set` are added up with this client.
    fn enough(&self, set: &Members, stage: &'static str) -> Result<(), Abort> {
        let session = self.session()?;
        let needed = self.params.needed();
        let mut got = set.count_of(session.group(self.own));
        if matches!(self.params.graph, Graph::Harary { .. }) && got >= needed {
            // Its secrets must be restorable as well: neighbours and itself hold shares.
            got = session.neighbours_in(self.own, set).len() as u32 + 1;
            if got >= self.params.threshold {
                return Ok(());
            }
        }
        match got >= needed {
            true => Ok(()),
            false => Err(Abort::SmallCohort { stage, got, needed }),
        }
    }

    fn session(&self) -> Result<&Session, Abort> {
        self.session.as_ref().ok_or(self.too_early())
    }

    fn shared(&self) -> Result<&Members, Abort> {
        self.shared.as_ref().ok_or(self.too_early())
    }

    fn survived(&self) -> Result<&Survived, Abort> {
        self.survived.as_ref().ok_or(self.too_early())
    }

    fn too_early(&self) -> Abort {
        Abort::State {
            got: "a message of a later stage",
            after: self.stage.name(),
        }
    }

    /// This client's signature; zeros where nothing is signed.
    fn sign(&self, kind: Kind, context: &[u8; 32], rest: &[&[u8]]) -> SignatureBytes {
        match (&self.policy.identity, self.params.mode) {
            (Some(identity), Mode::Malicious) => {
                let index = self.own.to_le_bytes();
                let body: Vec<&[u8]> = [index.as_slice()]
                    .into_iter()
                    .chain(rest.iter().copied())
                    .collect();
                identity.sign(kind as u8, context, self.own, &body)
            }
            _ => [0; 64],
        }
    }

    fn signed_by(
        &self,
        index: u32,
        kind: Kind,
        context: &[u8; 32],
        rest: &[&[u8]],
        signature: &SignatureBytes,
    ) -> bool {
        let roster = &self.policy.roster;
        signed_by(&self.params, roster, index, kind, context, rest, signature)
    }
}

/// No public key may stand twice, neither as channel nor as mask key.
fn no_key_twice(adverts: &[Advert]) -> Result<(), Abort> {
    let mut keys: Vec<([u8; 32], u32)> = adverts
        .iter()
        .flat_map(|advert| [(advert.channel, advert.index), (advert.mask, advert.index)])
        .collect();
    keys.sort_unstable();
    match keys.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(Abort::DuplicateKey(pair[0].1, pair[1].1)),
        None => Ok(()),
    }
}
