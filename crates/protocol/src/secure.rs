//! Rounds whose server sees only sums: what is fixed before the first of them.

use std::sync::Arc;

use cloister_secagg::{Params, Roster, SecureAggregationConfig};
use sha2::{Digest, Sha256};

use crate::config::TrainPlan;
use crate::error::{ClientId, ProtocolError};
use crate::message::{LayoutDigest, plan_bytes};

/// The secure sums of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct SecurePlan {
    /// The settings.
    pub config: SecureAggregationConfig,
    /// The run, as its clients know it.
    pub task: [u8; 16],
    /// Who may be in a sum; its names are those of [`roster_name`].
    pub roster: Arc<Roster>,
}

/// What a client is called in a roster.
pub fn roster_name(client: ClientId) -> [u8; 16] {
    u128::from(client.0).to_be_bytes()
}

/// What a round adds to the plan.
pub(crate) struct Session<'a> {
    pub(crate) round: u32,
    pub(crate) cohort: &'a [ClientId],
    pub(crate) coordinates: usize,
    pub(crate) nonce: [u8; 32],
    pub(crate) model_hash: [u8; 32],
    pub(crate) config_hash: [u8; 32],
    /// Largest weight of a member; 1 if all weigh the same.
    pub(crate) most_weight: u64,
    /// Milliseconds that each stage may take.
    pub(crate) patience: Option<u64>,
    /// Whether lanes are used whole: noise that clients add is modulo their width.
    pub(crate) whole_lanes: bool,
}

impl SecurePlan {
    /// The parameters of a round's session.
    pub(crate) fn params(&self, session: &Session<'_>) -> Result<Params, ProtocolError> {
        let entries = self.roster.entries();
        let place = |client: &ClientId| {
            let name = roster_name(*client);
            let found = entries.binary_search_by_key(&name, |entry| entry.client);
            found.map(|place| place as u32).map_err(|_| {
                ProtocolError::SecureAggregation(format!("client {client} is not in the roster"))
            })
        };
        let cohort = session.cohort.iter().map(place).collect::<Result<_, _>>()?;
        let members = session.cohort.len() as u32;
        let params = self.config.params(members, session.coordinates);
        let params = params.map_err(|abort| ProtocolError::SecureAggregation(abort.to_string()))?;
        // Shares and vectors are due by the round's own deadline, what follows within as long again, each.
        let until = |times| match session.patience {
            Some(patience) => patience.saturating_mul(times),
            None => u64::MAX,
        };
        Ok(Params {
            task: self.task,
            round: session.round.into(),
            nonce: session.nonce,
            model_hash: session.model_hash,
            config_hash: session.config_hash,
            most_weight: session.most_weight,
            bits: if session.whole_lanes { 0 } else { params.bits },
            deadlines: [until(1), until(1), until(2), until(3)],
            roster_hash: *self.roster.hash(),
            cohort,
            ..params
        })
    }
}

/// SHA-256 of a model: its layout and its parameters.
pub(crate) fn model_hash(layout: LayoutDigest, global: &[f32]) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix("cloister-model");
    hash.update(layout.0);
    let mut bytes = [0; 4 * 1024];
    for values in global.chunks(1024) {
        let bytes = &mut bytes[..4 * values.len()];
        for (bytes, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
            *bytes = value.to_le_bytes();
        }
        hash.update(bytes);
    }
    hash.finalize().into()
}

/// SHA-256 of what a client is to do with a model.
pub(crate) fn config_hash(layout: LayoutDigest, plan: &TrainPlan) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix("cloister-train");
    hash.update(layout.0);
    hash.update(plan_bytes(plan));
    hash.finalize().into()
}
