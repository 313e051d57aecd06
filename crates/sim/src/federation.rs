//! What a run is made of before its first round: data, who owns which rows, and the model.

use std::path::Path;
use std::sync::Arc;

use cloister_config::Experiment;
use cloister_data::{ClientShare, Partition, TrainTest};
use cloister_host::{Member, Place, Setting, Spending};
use cloister_nn::{InputShape, Model};
use cloister_privacy::Entry;
use cloister_protocol::{ClientId, Learner, ModelLearner, Purpose, ScratchPool, Streams};
use cloister_protocol::{
    LearnerError, PrivacyPlan, ProtocolError, SecureSum, TrainJob, Update, most_called,
    most_replies,
};
use cloister_robust::Rule;
use cloister_secagg::Params;
use cloister_secagg::statement::honest_members;
use rand::seq::{SliceRandom, index};

use crate::error::SimError;
use crate::survey::{self, Survey, Surveyed};

/// An experiment with its data in memory, dealt to its clients, and its model built.
#[derive(Debug)]
pub struct Federation {
    /// The experiment.
    pub experiment: Experiment,
    /// Training and test examples, shared by the runs of a sweep.
    pub data: Arc<TrainTest>,
    /// Rows of the training examples, by client.
    pub partition: Partition,
    /// Rows from which the server makes an update of its own, for `rule = "fltrust"`; no client has them.
    pub root: Vec<u32>,
    /// The model.
    pub model: Model,
    /// What adds privacy noise, with its numbers.
    pub privacy: Option<PrivacyPlan>,
    /// The numbers of a round's secure sum, if the server sees sums only; under Poisson sampling, if all clients are called.
    pub sums: Option<Params>,
    /// What the clients found together before the training, with what that costs on the ledger.
    pub(crate) surveyed: Option<(Surveyed, Vec<Entry>)>,
    pub(crate) streams: Streams,
    pub(crate) pool: ScratchPool,
}

impl Federation {
    /// Reads the data of `experiment` and prepares it.
    ///
    /// # Errors
    /// [`SimError`] if the data cannot be read or dealt, or the model does not fit it.
    pub fn load(experiment: &Experiment) -> Result<Self, SimError> {
        Self::load_again(experiment, None)
    }

    /// As [`Self::load`], for the run in `folder` that is to go on: its clients are not asked again for what they found.
    ///
    /// # Errors
    /// As [`Self::load`], and if what they found cannot be read.
    pub fn load_again(experiment: &Experiment, folder: Option<&Path>) -> Result<Self, SimError> {
        let Some(config) = &experiment.statistics else {
            let data = cloister_data::load(&experiment.data, experiment.seed)?;
            return Self::prepare(experiment, Arc::new(data));
        };
        let raw = cloister_data::open(&experiment.data, experiment.seed)?;
        let partition = survey::partition(experiment, &raw)?;
        let question = Survey::question(&raw)?;
        let survey = Survey::new(experiment, config, &question, &raw, &partition)?;
        let found = match folder.map(Surveyed::read) {
            Some(found) => found?,
            None => None,
        };
        let surveyed = match found {
            Some(found) => found,
            None => survey.hold(std::thread::available_parallelism().map_or(1, Into::into))?,
        };
        let data = survey.prepared(&surveyed)?;
        let entries = surveyed.entries(&survey.plan);
        let mut federation = Self::prepare(experiment, Arc::new(data))?;
        federation.surveyed = Some((surveyed, entries));
        Ok(federation)
    }

    /// What the clients found together before the training, if they were asked.
    pub fn surveyed(&self) -> Option<&Surveyed> {
        self.surveyed.as_ref().map(|(surveyed, _)| surveyed)
    }

    /// Prepares `experiment` over data that is in memory already.
    ///
    /// # Errors
    /// [`SimError`] if the data cannot be dealt, or the model does not fit it.
    pub fn prepare(experiment: &Experiment, data: Arc<TrainTest>) -> Result<Self, SimError> {
        let streams = Streams::new(experiment.seed);
        let clients = experiment.federation.clients.map(|count| count as usize);
        let mut rng = streams.stream(Purpose::Partition, 0, 0);
        let mut partition = experiment
            .data
            .partition
            .split(&data.train, clients, &mut rng)?;
        let aggregation = &experiment.aggregation;
        let root = match aggregation.rule {
            Rule::Fltrust => take_root(&mut partition, aggregation.root_examples(), &streams),
            _ => Vec::new(),
        };
        if let Some(attack) = experiment.attack.as_ref().filter(|attack| attack.beside) {
            let streams = Streams::new(attack.seed.unwrap_or(experiment.seed));
            let count = attack.joining(experiment.seed);
            join_attackers(&mut partition, count, data.train.len(), &streams);
        }
        let shape = data.train.shape();
        let input = InputShape {
            channels: shape.channels,
            height: shape.height,
            width: shape.width,
        };
        let model = match data.train.target() {
            Some(_) => Model::build_for_numbers(&experiment.model, input)?,
            None => Model::build(&experiment.model, input, data.train.classes().len())?,
        };
        let called = most_called(&experiment.federation, partition.clients.len() as u32);
        let sums = experiment.secure_sums(called, model.layout().len())?;
        if sums.is_none() {
            let replies = most_replies(&experiment.federation, partition.clients.len() as u32);
            aggregation
                .check_rows(replies as usize)
                .map_err(ProtocolError::from)?;
        }
        let privacy = match &experiment.privacy {
            Some(config) => {
                let owned = partition
                    .clients
                    .iter()
                    .map(|share| share.rows.len() as u64);
                let examples: Vec<u64> = owned.collect();
                let (federation, train) = (&experiment.federation, &experiment.train);
                let sum = sums.as_ref().map(|params| SecureSum {
                    dimension: model.layout().len(),
                    members: called,
                    honest: honest_members(params),
                });
                let plan = PrivacyPlan::new(config, federation, train, &examples, sum)?;
                Some(plan)
            }
            None => None,
        };
        Ok(Self {
            experiment: experiment.clone(),
            data,
            partition,
            root,
            model,
            privacy,
            sums,
            surveyed: None,
            streams,
            pool: ScratchPool::default(),
        })
    }

    /// Parameters that every run of this experiment starts from.
    pub fn initial_parameters(&self) -> Vec<f32> {
        self.model
            .initial_parameters(&mut self.streams.stream(Purpose::Initialise, 0, 0))
    }

    /// Number of clients.
    pub fn clients(&self) -> usize {
        self.partition.clients.len()
    }

    /// The rows of a client's local steps in a round, step by step, as its training draws them; for whoever scores an attack
    /// on it. What `dp-sgd` draws is another matter: there each row has its own coin.
    pub fn batches(&self, round: u32, client: ClientId) -> Vec<Vec<u32>> {
        let plan = self.experiment.train.plan(round);
        let mut rng = self.streams.stream(Purpose::Train, round, client.0);
        cloister_protocol::batches(self.rows(client), &plan, &mut rng)
    }

    /// Rows of the training examples that a client has.
    pub fn rows(&self, client: ClientId) -> &[u32] {
        self.partition
            .clients
            .get(client.0 as usize)
            .map_or(&[], |share| &share.rows)
    }

    /// Runs `work` with a learner of the built-in model over `rows` of the training examples.
    pub(crate) fn with_learner<T>(
        &self,
        rows: &[u32],
        work: impl FnOnce(&mut ModelLearner<'_>) -> Result<T, LearnerError>,
    ) -> Result<T, LearnerError> {
        let scratch = self.pool.take();
        let learner = ModelLearner::new(&self.model, &self.data.train, rows, scratch)?;
        let mut learner = learner.evaluating_with(self.streams);
        let result = work(&mut learner);
        self.pool.put(learner.into_scratch());
        result
    }

    /// A client's local training in a round, with what its privacy needs.
    pub(crate) fn train(
        &self,
        client: ClientId,
        job: &TrainJob,
        privacy: Option<&Spending>,
    ) -> Result<Update, LearnerError> {
        let dp_sgd = match privacy {
            Some(privacy) => privacy.dp_sgd(job.round, client, self.rows(client).len() as u64),
            None => Ok(None),
        };
        let dp_sgd = dp_sgd.map_err(|error| LearnerError(error.to_string()))?;
        let mut rng = self.streams.stream(Purpose::Train, job.round, client.0);
        let defence = self.experiment.defence.as_ref();
        let scratch = self.pool.take();
        let learner = ModelLearner::new(&self.model, &self.data.train, self.rows(client), scratch)?;
        let mut learner = learner
            .hiding_examples(dp_sgd)
            .withholding(defence.and_then(|defence| defence.soteria));
        let trained = learner.train(&job.global, &job.plan, &mut rng);
        self.pool.put(learner.into_scratch());
        let mut update = trained?;
        if let Some(privacy) = privacy {
            let hidden = privacy.hide(job.round, client, &mut update);
            hidden.map_err(|error| LearnerError(error.to_string()))?;
        }
        Ok(update)
    }

    /// The server's own training on its root examples.
    pub(crate) fn train_root(&self, round: u32, global: &[f32]) -> Result<Update, LearnerError> {
        let mut rng = self.streams.stream(Purpose::Root, round, 0);
        let plan = self.experiment.train.plan(round);
        self.with_learner(&self.root, |learner| learner.train(global, &plan, &mut rng))
    }

    /// The clients, for the record.
    pub(crate) fn members(&self) -> Vec<Member> {
        self.owned()
            .map(|(name, examples)| Member { name, examples })
            .collect()
    }

    /// The clients' names, and how many examples each has.
    pub(crate) fn owned(&self) -> impl Iterator<Item = (String, u64)> {
        let shares = self.partition.clients.iter();
        shares.map(|share| (share.name.clone(), share.rows.len() as u64))
    }

    /// What the record tells of the run.
    pub(crate) fn setting<'a>(&'a self, members: &'a [Member]) -> Setting<'a> {
        Setting {
            experiment: &self.experiment,
            place: Place::Simulation,
            members,
            sums: self.sums.as_ref(),
            parameters: self.model.layout().len(),
            dataset: self.data.train.name(),
            classes: self.data.train.classes().len(),
            test: self.data.test.len() as u64,
            notes: &self.data.notes,
        }
    }

    /// A client's name.
    pub(crate) fn name(&self, client: ClientId) -> String {
        let share = self.partition.clients.get(client.0 as usize);
        share.map_or_else(|| client.to_string(), |share| share.name.clone())
    }
}

/// The numbers of the experiment's secure sums, as far as the config tells: `None` if it has none, or if only the data say how
/// many clients there are.
///
/// # Errors
/// [`SimError`] for sums that cannot be made.
pub fn planned_sums(experiment: &Experiment) -> Result<Option<Params>, SimError> {
    match experiment.population() {
        Some(clients) => {
            let called = most_called(&experiment.federation, clients);
            Ok(experiment.secure_sums(called, 1)?)
        }
        None => Ok(None),
    }
}

/// Takes `count` rows at random out of the clients' shares, but never a client's last one.
fn take_root(partition: &mut Partition, count: usize, streams: &Streams) -> Vec<u32> {
    let mut rng = streams.stream(Purpose::Root, 0, 0);
    let mut owned: Vec<(usize, u32)> = Vec::new();
    for (client, share) in partition.clients.iter().enumerate() {
        owned.extend(share.rows.iter().map(|row| (client, *row)));
    }
    owned.shuffle(&mut rng);
    let mut root = Vec::with_capacity(count);
    for (client, row) in owned {
        let rows = &mut partition.clients[client].rows;
        if root.len() < count && rows.len() > 1 {
            rows.retain(|other| *other != row);
            root.push(row);
        }
    }
    root.sort_unstable();
    root
}

/// Adds `count` clients, each with as many rows, drawn at random from all, as a client has on average.
fn join_attackers(partition: &mut Partition, count: u32, rows: usize, streams: &Streams) {
    let owned: usize = partition.clients.iter().map(|share| share.rows.len()).sum();
    let amount = owned.div_ceil(partition.clients.len().max(1)).min(rows);
    for attacker in 0..count {
        let mut rng = streams.stream(Purpose::Attackers, 0, attacker);
        let mut drawn: Vec<u32> = index::sample(&mut rng, rows, amount)
            .into_iter()
            .map(|row| row as u32)
            .collect();
        drawn.sort_unstable();
        partition.clients.push(ClientShare {
            name: format!("attacker-{}", attacker + 1),
            rows: drawn,
        });
    }
}
