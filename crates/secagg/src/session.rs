//! What all members of a session agree on once its keys are known.

use sha2::{Digest, Sha256};

use crate::graph::{GraphError, Topology};
use crate::members::Members;
use crate::merkle;
use crate::message::{Advert, Kind};
use crate::params::{Mode, Params};
use crate::roster::Roster;
use crate::sign::{SignatureBytes, verifies};

/// The members that advertised, their keys, and who shares with whom.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) id: [u8; 32],
    pub(crate) advertised: Members,
    /// In index order.
    adverts: Vec<Advert>,
    pub(crate) topology: Topology,
}

impl Session {
    /// The session of these adverts, which are those of `advertised`, in index order.
    pub(crate) fn new(
        params: &Params,
        params_hash: &[u8; 32],
        advertised: Members,
        adverts: Vec<Advert>,
    ) -> Result<Self, GraphError> {
        let leaves: Vec<[u8; 32]> = adverts
            .iter()
            .map(|advert| merkle::leaf(&[&advert.to_bytes()]))
            .collect();
        let mut hash = Sha256::new_with_prefix("flsa1-sid");
        hash.update(params_hash);
        hash.update(merkle::root(&leaves));
        hash.update(advertised.bytes());
        let id = hash.finalize().into();
        let members: Vec<u32> = advertised.iter().collect();
        Ok(Self {
            topology: Topology::new(params.graph, &members, &id)?,
            id,
            advertised,
            adverts,
        })
    }

    pub(crate) fn adverts(&self) -> &[Advert] {
        &self.adverts
    }

    pub(crate) fn advert(&self, index: u32) -> Option<&Advert> {
        let place = self
            .adverts
            .binary_search_by_key(&index, |advert| advert.index);
        place.ok().map(|place| &self.adverts[place])
    }

    /// The members whose vectors are added to that of `index`, itself included.
    pub(crate) fn group(&self, index: u32) -> &[u32] {
        match self.topology.bucket(index) {
            Some(bucket) => self.topology.bucket_members(bucket),
            None => &[],
        }
    }

    /// The neighbours of `index` that are in `set`, and itself, ascending: whose shares it reveals, in this order.
    pub(crate) fn owners(&self, index: u32, set: &Members) -> Vec<u32> {
        let mut owners = self.neighbours_in(index, set);
        let place = owners.partition_point(|other| *other < index);
        owners.insert(place, index);
        owners
    }

    /// The neighbours of `index` that are in `set`, ascending.
    pub(crate) fn neighbours_in(&self, index: u32, set: &Members) -> Vec<u32> {
        let neighbours = self.topology.neighbours(index);
        neighbours
            .iter()
            .copied()
            .filter(|other| set.contains(*other))
            .collect()
    }

    /// The salt of all masks, given who shared: whoever saw another model, config, set or round makes other masks.
    pub(crate) fn mask_salt(&self, params: &Params, shared: &Members) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.id);
        hash.update(shared.hash());
        hash.update(params.model_hash);
        hash.update(params.config_hash);
        hash.update(params.round.to_le_bytes());
        hash.finalize().into()
    }
}

/// The leaf of a vector among those of the survivors.
pub(crate) fn body_leaf(index: u32, body_hash: &[u8; 32]) -> [u8; 32] {
    merkle::leaf(&[&index.to_le_bytes(), body_hash])
}

/// Whether member `index` has signed its index and `rest`; in mode S, whether the field is zeros.
pub(crate) fn signed_by(
    params: &Params,
    roster: &Roster,
    index: u32,
    kind: Kind,
    context: &[u8; 32],
    rest: &[&[u8]],
    signature: &SignatureBytes,
) -> bool {
    if params.mode == Mode::SemiHonest {
        return *signature == [0; 64];
    }
    let place = params.cohort.get(index as usize);
    let entry = place.and_then(|place| roster.entries().get(*place as usize));
    let Some(entry) = entry else {
        return false;
    };
    let named = index.to_le_bytes();
    let body: Vec<&[u8]> = [named.as_slice()]
        .into_iter()
        .chain(rest.iter().copied())
        .collect();
    verifies(
        &entry.identity,
        kind as u8,
        context,
        index,
        &body,
        signature,
    )
}
