//! A recorded run, opened to be attacked: its data, its model, what went over the wire, and the truth to score against.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use cloister_config::Experiment;
use cloister_data::TrainTest;
use cloister_nn::{InputShape, Model, model_file};
use cloister_privacy::Mechanism;
use cloister_protocol::transcript::Transcript;
use cloister_protocol::{ClientId, TrainPlan};
use cloister_redteam::inversion::InputSpace;
use cloister_report::record::leakage::Subject as Described;
use cloister_report::record::{Summary, file_name};
use cloister_sim::{Federation, Options};

use crate::error::LeakError;
use crate::space::input_space;

/// A run folder that is attacked.
#[derive(Debug)]
pub struct Subject {
    folder: PathBuf,
    federation: Federation,
    space: InputSpace,
    rounds: Vec<u32>,
    summary: Option<Summary>,
}

/// A vector that the server got to see in a round, and what it is made of.
#[derive(Clone, Debug)]
pub struct Sight {
    /// The round.
    pub round: u32,
    /// In words: `client-3`, `the sum of 8 clients`.
    pub name: String,
    /// The clients behind it: one, or all of a secure sum.
    pub members: Vec<ClientId>,
    /// Examples that the server knows to be behind it.
    pub examples: usize,
    /// Trained minus global parameters; of a sum the weighted mean over its members.
    pub update: Vec<f32>,
    /// Whether it is a secure sum, and no client's own update.
    pub is_sum: bool,
    /// The global model of the round.
    pub global: Arc<[f32]>,
    /// What its clients were told to do.
    pub plan: TrainPlan,
    /// Bytes of the message.
    pub bytes: u64,
    /// The rows of the training examples behind it, step by step, members one after the other. For scoring only.
    pub truth: Vec<Vec<u32>>,
}

impl Sight {
    /// The rows behind it, each once, in order of use.
    pub fn rows(&self) -> Vec<u32> {
        let mut rows: Vec<u32> = Vec::new();
        let mut seen = BTreeSet::new();
        for row in self.truth.iter().flatten() {
            if seen.insert(*row) {
                rows.push(*row);
            }
        }
        rows
    }

    /// Steps that each client took.
    pub fn steps(&self) -> usize {
        self.truth.len() / self.members.len().max(1)
    }
}

impl Subject {
    /// Opens a run folder; data that its config names by a relative path are looked for from here.
    ///
    /// # Errors
    /// [`LeakError`] if the folder holds no run, or its data cannot be read.
    pub fn open(folder: &Path) -> Result<Self, LeakError> {
        let config = folder.join(file_name::CONFIG);
        let experiment = cloister_config::load(&config, &[])?.experiment;
        let federation = Federation::load(&experiment)?;
        Self::over(folder, federation)
    }

    /// Simulates an experiment into `folder` and opens what it left.
    ///
    /// # Errors
    /// [`LeakError`] if it cannot be run; [`LeakError::Stopped`].
    pub fn simulate(
        experiment: &Experiment,
        data: Option<Arc<TrainTest>>,
        folder: &Path,
        threads: usize,
        stop: &Arc<AtomicBool>,
    ) -> Result<Self, LeakError> {
        let federation = match data {
            Some(data) => Federation::prepare(experiment, data)?,
            None => Federation::load(experiment)?,
        };
        let options = Options {
            folder: folder.to_owned(),
            threads,
            resume: false,
            stop: Arc::clone(stop),
            unattacked: None,
        };
        let outcome = cloister_sim::run(&federation, &options, &mut |_| {})?;
        if outcome.summary.is_none() {
            return Err(LeakError::Stopped);
        }
        Self::over(folder, federation)
    }

    fn over(folder: &Path, federation: Federation) -> Result<Self, LeakError> {
        if federation.model.answers_numbers() {
            let reason = "the run predicts a number: the attacks look for classes, members and pictures of a classifier";
            return Err(LeakError::Request(reason.to_owned()));
        }
        let shape = federation.model.input();
        let space = input_space(&federation.experiment, &federation.data, shape)?;
        Ok(Self {
            folder: folder.to_owned(),
            federation,
            space,
            rounds: cloister_host::recorded_rounds(folder)?,
            summary: Summary::read(folder)?,
        })
    }

    /// The run folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The run's experiment, data, clients and model.
    pub fn federation(&self) -> &Federation {
        &self.federation
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.federation.model
    }

    /// The experiment.
    pub fn experiment(&self) -> &Experiment {
        &self.federation.experiment
    }

    /// Shape of an example.
    pub fn shape(&self) -> InputShape {
        self.federation.model.input()
    }

    /// The range of the model's inputs.
    pub fn space(&self) -> &InputSpace {
        &self.space
    }

    /// How the run ended; `None` while it goes on.
    pub fn summary(&self) -> Option<&Summary> {
        self.summary.as_ref()
    }

    /// The recorded rounds.
    pub fn rounds(&self) -> Vec<u32> {
        self.rounds.clone()
    }

    /// The transcript of a round.
    ///
    /// # Errors
    /// [`LeakError::NoTranscript`]; [`LeakError::File`] for one that cannot be read or is of another model.
    pub fn transcript(&self, round: u32) -> Result<Transcript, LeakError> {
        if !self.rounds.contains(&round) {
            let path = self.folder.clone();
            let of = format!(" of round {round}");
            return Err(LeakError::NoTranscript { path, of });
        }
        let transcript = cloister_host::read_transcript(&self.folder, round)?;
        let parameters = self.model().layout().len();
        if transcript.global().len() != parameters {
            let reason = format!(
                "is of a model with {} parameters, this run's has {parameters}",
                transcript.global().len()
            );
            return Err(self.unreadable(round, &reason));
        }
        Ok(transcript)
    }

    /// All that the server saw in a round: each client's update, or the sums.
    ///
    /// # Errors
    /// As [`transcript`](Self::transcript).
    pub fn sights(&self, round: u32) -> Result<Vec<Sight>, LeakError> {
        let transcript = self.transcript(round)?;
        let mut sights = Vec::new();
        let global: Arc<[f32]> = Arc::clone(transcript.global());
        for update in transcript.updates() {
            let update = update.map_err(|error| self.unreadable(round, &error))?;
            let bytes = transcript
                .messages
                .iter()
                .find(|message| message.client == update.client)
                .map_or(0, |message| message.bytes.len() as u64);
            let truth = self.truth(round, update.client);
            sights.push(Sight {
                round,
                name: update.name,
                members: vec![update.client],
                examples: distinct(&truth),
                update: update.values,
                is_sum: false,
                global: Arc::clone(&global),
                plan: transcript.plan().clone(),
                bytes,
                truth,
            });
        }
        for sum in &transcript.sums {
            let truth: Vec<Vec<u32>> = sum
                .clients
                .iter()
                .flat_map(|client| self.truth(round, *client))
                .collect();
            let of_sum = transcript
                .messages
                .iter()
                .filter(|message| sum.clients.contains(&message.client));
            sights.push(Sight {
                round,
                name: format!("the sum of {} clients", sum.clients.len()),
                members: sum.clients.clone(),
                examples: distinct(&truth),
                update: sum.mean.clone(),
                is_sum: true,
                global: Arc::clone(&global),
                plan: transcript.plan().clone(),
                bytes: of_sum
                    .map(|message| message.bytes.len() as u64)
                    .max()
                    .unwrap_or(0),
                truth,
            });
        }
        Ok(sights)
    }

    fn unreadable(&self, round: u32, error: &dyn std::fmt::Display) -> LeakError {
        LeakError::file(&cloister_host::transcript_path(&self.folder, round), error)
    }

    /// The rows behind a client's update, step by step. Under DP-SGD each example has its own coin, whose outcome is a
    /// secret: then all rows of the client, once.
    fn truth(&self, round: u32, client: ClientId) -> Vec<Vec<u32>> {
        let privacy = self.experiment().privacy.as_ref();
        if privacy.is_some_and(|privacy| privacy.mechanism == Mechanism::DpSgd) {
            return vec![self.federation.rows(client).to_vec()];
        }
        self.federation.batches(round, client)
    }

    /// The examples of those rows of the training part, `[n, features]`, and their labels.
    pub fn examples(&self, rows: &[u32]) -> (Vec<f32>, Vec<u32>) {
        let train = &self.federation.data.train;
        let mut features = Vec::with_capacity(rows.len() * train.shape().len());
        for row in rows {
            features.extend_from_slice(train.row(*row as usize));
        }
        let labels = rows.iter().map(|row| train.labels()[*row as usize]);
        (features, labels.collect())
    }

    /// The final model.
    ///
    /// # Errors
    /// [`LeakError::File`].
    pub fn final_model(&self) -> Result<Vec<f32>, LeakError> {
        let path = self.folder.join(file_name::MODEL);
        let bytes = fs::read(&path).map_err(|error| LeakError::file(&path, error))?;
        let stored = model_file::decode(&bytes).map_err(|error| LeakError::file(&path, error))?;
        let parameters = stored.parameters_for(self.model().layout());
        parameters.map_err(|error| LeakError::file(&path, error))
    }

    /// The epsilon and delta that the run's accounting comes to, whether or not it may be claimed (seeded noise is as much
    /// noise to an attacker who does not know the seed); `None` without differential privacy.
    pub fn promise(&self) -> Option<(f64, f64)> {
        let privacy = self.summary.as_ref()?.privacy.as_ref()?;
        let epsilon = privacy.epsilon.or(privacy.accounted_epsilon)?;
        Some((epsilon, privacy.delta))
    }

    /// Test accuracy of the final model.
    pub fn accuracy(&self) -> Option<f64> {
        self.summary.as_ref()?.final_.accuracy
    }

    /// The defences that the run has on, by their words in the config; `none` without any.
    pub fn defences(&self) -> String {
        let experiment = self.experiment();
        let mut on: Vec<String> = Vec::new();
        if let Some(bottleneck) = experiment.model.bottleneck() {
            on.push(bottleneck.kind().to_owned());
        }
        if let Some(privacy) = &experiment.privacy {
            on.push(privacy.mechanism.name().to_owned());
        }
        if experiment.secure_aggregation.is_some() {
            on.push("masking".to_owned());
        }
        if let Some(defence) = &experiment.defence {
            on.extend(defence.names().into_iter().map(str::to_owned));
        }
        match on.is_empty() {
            true => "none".to_owned(),
            false => on.join(" + "),
        }
    }

    /// What a report says of the run.
    pub fn described(&self) -> Described {
        let experiment = self.experiment();
        let summary = self.summary.as_ref();
        let privacy = summary.and_then(|summary| summary.privacy.as_ref());
        Described {
            run: experiment.name.clone(),
            config_sha256: experiment.sha256().unwrap_or_default(),
            dataset: self.federation.data.train.name().to_owned(),
            model: experiment.model.kind().to_owned(),
            parameters: self.model().layout().len() as u64,
            clients: self.federation.clients() as u32,
            trust: match &experiment.secure_aggregation {
                Some(_) => "the server sees sums of a cohort's updates only",
                None => "the server sees each client's update",
            }
            .to_owned(),
            privacy: privacy.map(|privacy| privacy.statement.sentence()),
            epsilon: privacy.and_then(|privacy| privacy.epsilon),
            delta: privacy.map(|privacy| privacy.delta),
            recorded_rounds: self.rounds(),
        }
    }
}

fn distinct(truth: &[Vec<u32>]) -> usize {
    let rows: BTreeSet<u32> = truth.iter().flatten().copied().collect();
    rows.len()
}
