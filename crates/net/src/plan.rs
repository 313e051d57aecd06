//! What director and envoys each build from the words of an experiment: the same config and contract give both the same model,
//! layout, privacy plan and roster, so that nobody has to be told them.

use std::path::Path;
use std::sync::Arc;

use cloister_config::{ConfigError, Experiment};
use cloister_host::to_hex;
use cloister_nn::{InputShape, Model, ModelError};
use cloister_privacy::{NoiseOrigin, PrivacyError};
use cloister_protocol::message::LayoutDigest;
use cloister_protocol::{
    ClientId, PrivacyPlan, ProtocolError, Purpose, SecurePlan, SecureSum, Streams, most_called,
    most_replies, roster_name,
};
use cloister_robust::Rule;
use cloister_secagg::statement::honest_members;
use cloister_secagg::{Entry, Params, Roster};
use sha2::{Digest, Sha256};

use crate::experiment::{Charter, Contract};
use crate::pki::{Leaf, Name, PkiError, Role, Use, verify};

/// Why words do not make an experiment of a deployment.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The config is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A part of the config is for simulations.
    #[error("{key}: {reason}")]
    OnlySimulated {
        /// The key.
        key: &'static str,
        /// Why it cannot be deployed.
        reason: &'static str,
    },
    /// The config names no data set.
    #[error("data.dataset: name the data set, by the name that sites have it under")]
    NoDataset,
    /// The model does not fit the data.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The rounds cannot be held.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The privacy asked for cannot be had.
    #[error("privacy: {0}")]
    Privacy(#[from] PrivacyError),
    /// A charter does not fit the experiment, or a certificate in it is not one to trust.
    #[error("charter: {0}")]
    Charter(String),
}

/// An experiment over examples of a contract.
#[derive(Debug)]
pub struct Plan {
    /// The experiment.
    pub experiment: Experiment,
    /// What examples look like.
    pub contract: Contract,
    /// The model.
    pub model: Model,
    /// The layout of its parameters.
    pub layout: LayoutDigest,
    /// The reproducible random streams of the run; no secret comes from them.
    pub streams: Streams,
}

/// Why sites have no numeric targets.
pub(crate) const NO_TARGET: &str = "a numeric target is for simulations: sites that know their own rows only would each standardise it otherwise";

/// Reads the config of an experiment that is to be deployed, without touching data. Gives it with what of it will have no
/// effect, in words.
///
/// # Errors
/// [`PlanError`] for a config that is wrong, or that only a simulation can obey.
pub fn read(config: &str) -> Result<(Experiment, Vec<String>), PlanError> {
    let loaded =
        cloister_config::parse(config.to_owned(), Path::new("experiment.toml"), &[], None)?;
    let mut experiment = loaded.experiment;
    let simulated = |key, reason| Err(PlanError::OnlySimulated { key, reason });
    if experiment.attack.is_some() {
        return simulated(
            "attack",
            "attacks are for simulations, a deployment has real clients",
        );
    }
    if experiment.sweep.is_some() {
        return simulated(
            "sweep",
            "a deployment trains one experiment at a time; submit them one by one",
        );
    }
    if experiment.data.target.is_some() {
        return simulated("data.target", NO_TARGET);
    }
    if experiment.aggregation.rule == Rule::Fltrust {
        return simulated(
            "aggregation.rule",
            "fltrust needs examples of the server's own, which a director trains on nowhere",
        );
    }
    if let Some(privacy) = &experiment.privacy
        && privacy.noise == NoiseOrigin::Seeded
    {
        return simulated(
            "privacy.noise",
            "noise from the seed is not private, and a deployment has real data; leave it out",
        );
    }
    if experiment.statistics.is_some() {
        return simulated(
            "statistics",
            "sites prepare their tables by what they agree on beforehand: no rounds find it here",
        );
    }
    if experiment.data.dataset.is_none() {
        return Err(PlanError::NoDataset);
    }
    let mut notes = Vec::new();
    if experiment.faults != Default::default() {
        notes.push("faults: left out, a deployment has its own".to_owned());
        experiment.faults = Default::default();
    }
    if experiment.evaluate.at_sites {
        notes.push(
            "evaluate.at_sites: left out, only the director judges the model here".to_owned(),
        );
        experiment.evaluate.at_sites = false;
    }
    if !experiment.baselines.is_empty() {
        notes.push("baselines: left out, nobody has the data of all".to_owned());
        experiment.baselines.clear();
    }
    Ok((experiment, notes))
}

impl Plan {
    /// The plan of `experiment`, as [`read`] gives it.
    ///
    /// # Errors
    /// [`PlanError::Model`] if the model does not fit the contract.
    pub fn new(experiment: Experiment, contract: Contract) -> Result<Self, PlanError> {
        let [channels, height, width] = contract.shape;
        let input = InputShape {
            channels,
            height,
            width,
        };
        let model = Model::build(&experiment.model, input, contract.classes.len())?;
        Ok(Self {
            layout: LayoutDigest::of(model.layout()),
            streams: Streams::new(experiment.seed),
            experiment,
            contract,
            model,
        })
    }

    /// The plan of a config that [`read`] has let through.
    ///
    /// # Errors
    /// As [`read`] and [`Self::new`].
    pub fn of(config: &str, contract: &Contract) -> Result<Self, PlanError> {
        let (experiment, _) = read(config)?;
        Self::new(experiment, contract.clone())
    }

    /// Parameters of the model.
    pub fn parameters(&self) -> usize {
        self.model.layout().len()
    }

    /// Parameters that the run starts from.
    pub fn initial_parameters(&self) -> Vec<f32> {
        let mut rng = self.streams.stream(Purpose::Initialise, 0, 0);
        self.model.initial_parameters(&mut rng)
    }

    /// The numbers of a round's secure sum over `members` sites, `None` if the director sees each update.
    ///
    /// # Errors
    /// [`PlanError::Protocol`] for sums that cannot be made.
    pub fn sums(&self, members: u32) -> Result<Option<Params>, PlanError> {
        let called = most_called(&self.experiment.federation, members);
        Ok(self.experiment.secure_sums(called, self.parameters())?)
    }

    /// What adds noise, among sites with so many `examples`; `None` if nothing does. Refuses a federation that is too small for
    /// the rule.
    ///
    /// # Errors
    /// [`PlanError::Protocol`], [`PlanError::Privacy`].
    pub fn privacy(&self, examples: &[u64]) -> Result<Option<PrivacyPlan>, PlanError> {
        let members = examples.len() as u32;
        let federation = &self.experiment.federation;
        let sums = self.sums(members)?;
        if sums.is_none() {
            let replies = most_replies(federation, members) as usize;
            let rows = self.experiment.aggregation.check_rows(replies);
            rows.map_err(ProtocolError::from)?;
        }
        let Some(config) = &self.experiment.privacy else {
            return Ok(None);
        };
        let sum = sums.as_ref().map(|params| SecureSum {
            dimension: self.parameters(),
            members: most_called(federation, members),
            honest: honest_members(params),
        });
        let train = &self.experiment.train;
        Ok(Some(PrivacyPlan::new(
            config, federation, train, examples, sum,
        )?))
    }

    /// The secure sums of the experiment among the members of its charter; `None` if it has none. Every certificate in the
    /// charter is checked against the authority's, `ca`, in DER, at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// [`PlanError::Charter`] for a certificate that is not of the member that it stands for.
    pub fn secure(
        &self,
        charter: &Charter,
        ca: &[u8],
        now: u64,
    ) -> Result<Option<SecurePlan>, PlanError> {
        let Some(config) = &self.experiment.secure_aggregation else {
            return Ok(None);
        };
        let director = trusted(&charter.director, ca, Use::Server, now)?;
        if director.identity.role != Role::Director {
            return Err(PlanError::Charter(format!(
                "{} is not a director",
                director.identity
            )));
        }
        let mut entries = Vec::with_capacity(charter.members.len());
        for member in &charter.members {
            let leaf = trusted(&member.certificate, ca, Use::Client, now)?;
            let is_named =
                matches!(&leaf.identity.role, Role::Site(name) if name.as_str() == member.site);
            if !is_named || leaf.identity.federation != director.identity.federation {
                return Err(PlanError::Charter(format!(
                    "the certificate of '{}' is of {}",
                    member.site, leaf.identity
                )));
            }
            entries.push(Entry {
                client: roster_name(ClientId(member.client)),
                identity: *leaf.key.as_bytes(),
                not_after: leaf.until,
            });
        }
        let roster = Roster::new(*director.key.as_bytes(), entries)
            .map_err(|abort| PlanError::Charter(abort.to_string()))?;
        Ok(Some(SecurePlan {
            config: config.clone(),
            task: task(charter, &director.identity.federation),
            roster: Arc::new(roster),
        }))
    }
}

/// The run, as the members of its secure sums know it: no other run of the federation has the same.
fn task(charter: &Charter, federation: &Name) -> [u8; 16] {
    let mut hash = Sha256::new_with_prefix("cloister-task");
    hash.update((federation.as_str().len() as u64).to_le_bytes());
    hash.update(federation.as_str());
    hash.update(charter.experiment.to_le_bytes());
    hash.update(charter.config_sha256.as_bytes());
    let hash: [u8; 32] = hash.finalize().into();
    std::array::from_fn(|place| hash[place])
}

/// The leaf in `hex`, checked against the authority.
fn trusted(hex: &str, ca: &[u8], purpose: Use, now: u64) -> Result<Leaf, PlanError> {
    let der = from_hex(hex).ok_or_else(|| PlanError::Charter("a certificate is not hex".into()))?;
    verify(&der, ca, purpose, now).map_err(|error: PkiError| PlanError::Charter(error.to_string()))
}

/// The bytes of hexadecimal digits; `None` for anything else.
pub fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let (pairs, rest) = digits.as_bytes().as_chunks();
    let pairs = pairs
        .iter()
        .map(|[high, low]| u8::try_from(16 * digit(*high)? + digit(*low)?).ok());
    pairs.collect::<Option<_>>().filter(|_| rest.is_empty())
}

/// SHA-256 in hex.
pub fn digest(bytes: &[u8]) -> String {
    to_hex(&Sha256::digest(bytes))
}
