//! What the server takes at each stage, and how it goes on to the next.

use sha2::{Digest, Sha256};

use super::{Output, Server, Stage, Sum};
use crate::error::{Failure, Rejection};
use crate::keys::CIPHERTEXT_LEN;
use crate::lanes::Vector;
use crate::members::Members;
use crate::merkle;
use crate::message::{Advert, Kind, ServerMessage};
use crate::params::Mode;
use crate::session::Session;
use crate::shamir::SHARE_LEN;
use crate::sign::SignatureBytes;

impl Server {
    pub(super) fn take_advert(&mut self, advert: Advert) -> Result<(), Rejection> {
        let keys: [&[u8]; 2] = [&advert.channel, &advert.mask];
        self.signed_by(advert.index, Kind::Advertise, &keys, &advert.signature)?;
        let taken = |key: &[u8; 32]| {
            let twin = |other: &Advert| other.channel == *key || other.mask == *key;
            self.adverts.values().any(twin)
        };
        if advert.channel == advert.mask || taken(&advert.channel) || taken(&advert.mask) {
            return Err(Rejection::Key);
        }
        // A key of small order would make each honest neighbour leave.
        let contributes = |key| crate::keys::channel_agreement(&[1; 32], key).is_some();
        if !contributes(&advert.channel) || !contributes(&advert.mask) {
            return Err(Rejection::Key);
        }
        self.adverts.insert(advert.index, advert);
        Ok(())
    }

    pub(super) fn take_shares(
        &mut self,
        from: u32,
        commitment: [u8; 32],
        ciphertexts: Vec<[u8; CIPHERTEXT_LEN]>,
        signature: &SignatureBytes,
    ) -> Result<(), Rejection> {
        let Some(session) = &self.session else {
            return Err(Rejection::NotAwaited { kind: Kind::Shares });
        };
        let neighbours = session.neighbours_in(from, &session.advertised);
        if ciphertexts.len() != neighbours.len() {
            return Err(Rejection::Content {
                what: "the number of shares",
                expected: neighbours.len(),
                got: ciphertexts.len(),
            });
        }
        let leaves: Vec<[u8; 32]> = ciphertexts
            .iter()
            .map(|sealed| merkle::leaf(&[sealed]))
            .collect();
        let body: [&[u8]; 2] = [&commitment, &merkle::root(&leaves)];
        self.signed_by(from, Kind::Shares, &body, signature)?;
        self.commitments.insert(from, commitment);
        for (to, sealed) in neighbours.into_iter().zip(ciphertexts) {
            self.parcels.insert((to, from), sealed);
        }
        Ok(())
    }

    pub(super) fn take_vector(
        &mut self,
        from: u32,
        shared_hash: &[u8; 32],
        vector: &[u8],
        signature: &SignatureBytes,
    ) -> Result<(), Rejection> {
        if *shared_hash != self.shared.hash() {
            return Err(Rejection::OtherView("set of sharers"));
        }
        let expected = self.params.layout().len();
        if vector.len() != expected {
            return Err(Rejection::Content {
                what: "the length of the vector",
                expected,
                got: vector.len(),
            });
        }
        let body_hash: [u8; 32] = Sha256::digest(vector).into();
        self.signed_by(from, Kind::Masked, &[shared_hash, &body_hash], signature)?;
        let bucket = self.bucket_of(from);
        let Some(sum) = bucket.and_then(|bucket| self.sums.get_mut(bucket)) else {
            return Err(Rejection::NotAwaited { kind: Kind::Masked });
        };
        // Its length was checked: the sum takes it whole.
        if sum.add(vector).is_err() {
            return Err(Rejection::NotAwaited { kind: Kind::Masked });
        }
        self.bodies.insert(from, body_hash);
        self.output.push_back(Output::Added { index: from });
        Ok(())
    }

    pub(super) fn take_ack(
        &mut self,
        from: u32,
        signature: SignatureBytes,
    ) -> Result<(), Rejection> {
        let view = [self.shared.hash(), self.survivors.hash(), self.bodies_root];
        self.signed_by(from, Kind::Ack, &[view.as_flattened()], &signature)?;
        self.acks.insert(from, signature);
        Ok(())
    }

    pub(super) fn take_reveal(
        &mut self,
        from: u32,
        shares: Vec<[u8; SHARE_LEN]>,
        signature: &SignatureBytes,
    ) -> Result<(), Rejection> {
        let expected = match &self.session {
            Some(session) => session.owners(from, &self.shared).len(),
            None => 0,
        };
        if shares.len() != expected {
            return Err(Rejection::Content {
                what: "the number of shares",
                expected,
                got: shares.len(),
            });
        }
        self.signed_by(from, Kind::Reveal, &[shares.as_flattened()], signature)?;
        self.reveals.insert(from, shares);
        Ok(())
    }

    /// Goes on to the next stage with those who answered.
    pub(super) fn advance(&mut self) {
        match self.stage {
            Stage::Advertise => self.begin_shares(),
            Stage::Shares => self.begin_masked(),
            Stage::Masked => self.begin_survivors(),
            Stage::Ack => self.begin_reveal(),
            Stage::Reveal => self.make_sums(),
            Stage::Over => {}
        }
    }

    fn begin_shares(&mut self) {
        let advertised = self.set_of(self.adverts.keys().copied());
        let got = advertised.len() / self.params.buckets();
        let needed = self.params.needed();
        let too_few = Failure::TooFew {
            stage: "the roster",
            got,
            needed,
        };
        if got < needed {
            return self.fail(too_few);
        }
        let adverts: Vec<Advert> = self.adverts.values().copied().collect();
        let hash = &self.params_hash;
        let session = Session::new(&self.params, hash, advertised.clone(), adverts.clone());
        let Ok(session) = session else {
            // A ring needs more members than each has neighbours.
            return self.fail(too_few);
        };
        self.session = Some(session);
        self.stage = Stage::Shares;
        let message = ServerMessage::Roster {
            advertised: advertised.clone(),
            adverts,
        };
        self.broadcast(&message, advertised.iter().collect());
        self.awaited = advertised;
    }

    fn begin_masked(&mut self) {
        let shared = self.set_of(self.commitments.keys().copied());
        let groups = self.keep_full_buckets(&shared, "those who shared");
        self.shared = shared;
        let members: Vec<u32> = groups.into_iter().flatten().collect();
        if members.is_empty() {
            return;
        }
        self.stage = Stage::Masked;
        let layout = self.params.layout();
        self.sums = self.live.iter().map(|_| Vector::zero(layout)).collect();
        self.awaited = self.set_of(members.iter().copied());
        for to in members {
            let Some(session) = &self.session else {
                return;
            };
            let from = session.neighbours_in(to, &self.shared);
            let parcel = |from: &u32| self.parcels.get(&(to, *from)).copied();
            let message = ServerMessage::Deliver {
                shared: self.shared.clone(),
                ciphertexts: from.iter().filter_map(parcel).collect(),
            };
            self.send(to, &message);
        }
        self.parcels.clear();
    }

    fn begin_survivors(&mut self) {
        let uploaded = self.set_of(self.bodies.keys().copied());
        let groups = self.keep_full_buckets(&uploaded, "the survivors");
        self.survivors = self.set_of(groups.into_iter().flatten());
        if self.survivors.is_empty() {
            return;
        }
        let tree = self.bodies_tree();
        self.bodies_root = tree.root();
        self.stage = match self.params.mode {
            Mode::Malicious => Stage::Ack,
            Mode::SemiHonest => Stage::Reveal,
        };
        self.awaited = self.survivors.clone();
        let survivors: Vec<u32> = self.survivors.iter().collect();
        for (place, to) in survivors.into_iter().enumerate() {
            let message = ServerMessage::Survivors {
                survivors: self.survivors.clone(),
                bodies_root: self.bodies_root,
                proof: tree.proof(place),
            };
            self.send(to, &message);
        }
    }

    fn begin_reveal(&mut self) {
        let acknowledged = self.set_of(self.acks.keys().copied());
        let threshold = self.params.threshold;
        let groups = self.keep_buckets(&acknowledged, "the acknowledgement", threshold);
        if groups.iter().all(Vec::is_empty) {
            return;
        }
        self.stage = Stage::Reveal;
        self.awaited = self.set_of(groups.iter().flatten().copied());
        for group in groups {
            let ack = |index: &u32| Some((*index, *self.acks.get(index)?));
            let message = ServerMessage::Acks(group.iter().filter_map(ack).collect());
            self.broadcast(&message, group);
        }
    }

    fn make_sums(&mut self) {
        let revealed = self.set_of(self.reveals.keys().copied());
        let threshold = self.params.threshold;
        let responders = self.keep_buckets(&revealed, "the reveal", threshold);
        let survivors = self.grouped(&self.survivors);
        let mut sums = Vec::new();
        let mut hash = Sha256::new();
        let mut last = None;
        for (bucket, (members, responders)) in survivors.into_iter().zip(responders).enumerate() {
            if responders.is_empty() {
                continue;
            }
            match self.unmask(bucket, &members, &responders) {
                Ok(vector) => {
                    hash.update(vector.bytes());
                    sums.push(Sum {
                        bucket: bucket as u32,
                        members,
                        vector,
                    });
                }
                Err(reason) => last = self.bucket_fails(bucket, reason),
            }
        }
        if let Some(reason) = last {
            return self.fail(reason);
        }
        if self.stage != Stage::Over {
            self.stage = Stage::Over;
            self.result_hash = Some(hash.finalize().into());
            self.output.push_back(Output::Sums(sums));
        }
    }

    fn set_of(&self, members: impl IntoIterator<Item = u32>) -> Members {
        Members::of(self.params.members(), members)
    }

    fn keep_full_buckets(&mut self, set: &Members, stage: &'static str) -> Vec<Vec<u32>> {
        self.keep_buckets(set, stage, self.params.needed())
    }

    /// The members of `set` by bucket; none for a bucket with fewer than `needed`, which fails. If all have failed the session
    /// does.
    fn keep_buckets(&mut self, set: &Members, stage: &'static str, needed: u32) -> Vec<Vec<u32>> {
        let mut groups = self.grouped(set);
        let mut last = None;
        for (bucket, group) in groups.iter_mut().enumerate() {
            let got = group.len() as u32;
            if !self.live[bucket] || got < needed {
                group.clear();
            }
            if self.live[bucket] && got < needed {
                let reason = Failure::TooFew { stage, got, needed };
                last = self.bucket_fails(bucket, reason);
            }
        }
        if let Some(reason) = last {
            self.fail(reason);
        }
        groups
    }

    /// Gives a bucket up and tells its members; gives the reason back if it was the last one.
    fn bucket_fails(&mut self, bucket: usize, reason: Failure) -> Option<Failure> {
        self.live[bucket] = false;
        if !self.live.contains(&true) {
            return Some(reason);
        }
        if let Some(session) = &self.session {
            let members = session.topology.bucket_members(bucket as u32).to_vec();
            self.broadcast(&ServerMessage::Abandoned(reason.code()), members);
        }
        self.output.push_back(Output::BucketFailed {
            bucket: bucket as u32,
            reason,
        });
        None
    }

    fn bucket_of(&self, index: u32) -> Option<usize> {
        let bucket = self.session.as_ref()?.topology.bucket(index)?;
        Some(bucket as usize)
    }
}
