//! The figures by which a table is prepared, found by the clients in rounds before the training.

use std::path::Path;

use cloister_config::Experiment;
use cloister_data::statistics::{Asked, Question, TableStatistics};
use cloister_data::{Partition, Pipeline, RawData, TrainTest};
use cloister_privacy::noise::NoiseSource;
use cloister_privacy::{Entry, NoiseOrigin};
use cloister_protocol::survey::{Owned, Row, StatisticsConfig, SurveyPlan};
use cloister_protocol::{ClientId, Purpose, Streams};
use cloister_report::record::{Event, file_name, write_atomic};
use rand::Rng;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::error::SimError;
use crate::inquiry::Inquiry;

/// What the clients found together, and what that took; `statistics.json` of a run folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Surveyed {
    /// The figures.
    pub statistics: TableStatistics,
    /// Names of the clients that were asked.
    pub clients: Vec<String>,
    /// Rounds.
    pub rounds: u32,
    /// Whether the server saw sums only.
    pub masked: bool,
    /// Noise of each client over the longest vector that a row adds, if rows were hidden.
    pub noise_multiplier: Option<f64>,
    /// Bytes from the clients to the server.
    pub bytes_up: u64,
    /// Bytes from the server to the clients.
    pub bytes_down: u64,
}

impl Surveyed {
    /// What the ledger has to hold: a release of each client about its rows.
    pub(crate) fn entries(&self, plan: &SurveyPlan) -> Vec<Entry> {
        let Some(event) = plan.event() else {
            return Vec::new();
        };
        let entry = |holder: &String| Entry {
            round: 0,
            holder: holder.clone(),
            event: event.clone(),
            count: 1,
        };
        self.clients.iter().map(entry).collect()
    }

    /// For the record of the run.
    pub(crate) fn event(&self) -> Event {
        let how = match (self.masked, self.noise_multiplier) {
            (_, Some(noise)) => format!(
                "each client hid each of its rows with noise of {noise} times what a row adds"
            ),
            (true, None) => "the server saw masked sums only".to_owned(),
            (false, None) => "the server saw each client's sums".to_owned(),
        };
        let message = format!(
            "{} clients found the figures of the preparation in {} rounds: {how}",
            self.clients.len(),
            self.rounds
        );
        let mut event = Event::new(0, "statistics", message);
        let details = [
            ("rounds", json!(self.rounds)),
            ("masked", json!(self.masked)),
            ("noise_multiplier", json!(self.noise_multiplier)),
            ("bytes_up", json!(self.bytes_up)),
            ("bytes_down", json!(self.bytes_down)),
        ];
        event
            .detail
            .extend(details.map(|(key, value)| (key.to_owned(), value)));
        event
    }

    /// Writes `statistics.json` into a run folder.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), SimError> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| SimError::Statistics(error.to_string()))?;
        Ok(write_atomic(&folder.join(file_name::STATISTICS), &text)?)
    }

    /// Reads `statistics.json` of a run folder; `None` if there is none.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>, SimError> {
        let path = folder.join(file_name::STATISTICS);
        let failed = |reason: String| SimError::Statistics(format!("{}: {reason}", path.display()));
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| failed(error.to_string())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error.to_string())),
        }
    }
}

/// Asks the clients of an experiment for the figures of its preparation, and for quartiles of numbers beside them where the sums
/// are exact; for whoever wants to look at them.
///
/// # Errors
/// [`SimError`] if the data cannot be read or dealt, are images, or hold what cannot be told.
pub fn find_statistics(
    experiment: &Experiment,
    threads: usize,
) -> Result<(Question, Surveyed), SimError> {
    let raw = cloister_data::open(&experiment.data, experiment.seed)?;
    let partition = partition(experiment, &raw)?;
    let config = experiment.statistics.clone().unwrap_or_default();
    let mut question = Survey::question(&raw)?;
    if config.noise_multiplier.is_none() {
        for (_, asked) in &mut question.columns {
            if let Asked::Number {
                quantiles,
                clip: None,
            } = asked
            {
                *quantiles = vec![0.25, 0.5, 0.75];
            }
        }
    }
    let survey = Survey::new(experiment, &config, &question, &raw, &partition)?;
    Ok((question, survey.hold(threads)?))
}

/// How the rows of `raw` are dealt, before they are prepared: as they are dealt when they are.
pub(crate) fn partition(experiment: &Experiment, raw: &RawData) -> Result<Partition, SimError> {
    let clients = experiment.federation.clients.map(|count| count as usize);
    let mut rng = Streams::new(experiment.seed).stream(Purpose::Partition, 0, 0);
    let dealt = experiment
        .data
        .partition
        .split(raw.roll(), clients, &mut rng);
    Ok(dealt?)
}

/// A survey of the clients of an experiment.
pub(crate) struct Survey<'a> {
    experiment: &'a Experiment,
    config: &'a StatisticsConfig,
    raw: &'a RawData,
    partition: &'a Partition,
    pub(crate) plan: SurveyPlan,
    streams: Streams,
}

impl<'a> Survey<'a> {
    /// What the preparation of `raw` asks.
    pub(crate) fn question(raw: &RawData) -> Result<Question, SimError> {
        let images = || {
            SimError::Statistics("[statistics] concerns tables, but these are images".to_owned())
        };
        Ok(raw.plan().ok_or_else(images)?.question())
    }

    /// The clients that `partition` makes are asked `question` about their rows of `raw`.
    pub(crate) fn new(
        experiment: &'a Experiment,
        config: &'a StatisticsConfig,
        question: &Question,
        raw: &'a RawData,
        partition: &'a Partition,
    ) -> Result<Self, SimError> {
        let asking = config.asking(question)?;
        Ok(Self {
            experiment,
            config,
            raw,
            partition,
            plan: SurveyPlan::new(asking, partition.clients.len() as u32)?,
            streams: Streams::new(experiment.seed),
        })
    }

    /// The data, prepared by what was found.
    pub(crate) fn prepared(&self, found: &Surveyed) -> Result<TrainTest, SimError> {
        let Some(plan) = self.raw.plan() else {
            return Err(SimError::Statistics("these are no tables".to_owned()));
        };
        let pipeline = Pipeline::fit(plan, &found.statistics)?;
        let mut data = self.raw.prepared(&pipeline)?;
        data.notes.push(found.event().message);
        Ok(data)
    }

    /// Holds the rounds.
    pub(crate) fn hold(&self, threads: usize) -> Result<Surveyed, SimError> {
        let shares = &self.partition.clients;
        let mut rows = Vec::with_capacity(shares.len());
        for share in shares {
            let values = share.rows.iter().map(|row| self.raw.values(*row));
            rows.push(values.collect::<Result<Vec<Row<'_>>, _>>()?);
        }
        let names: Vec<String> = shares.iter().map(|share| share.name.clone()).collect();
        let inquiry = Inquiry {
            experiment: self.experiment,
            plan: &self.plan,
            names: &names,
            purpose: "statistics",
            threads,
        };
        let found = inquiry.hold(|client| {
            let rows = &rows[client.0 as usize];
            Ok(match self.noise(client)? {
                Some(noise) => Owned::Hidden(rows, Box::new(noise)),
                None => Owned::Rows(rows),
            })
        })?;
        Ok(Surveyed {
            statistics: self.plan.answer(&found.sums)?,
            clients: names,
            rounds: found.rounds,
            masked: self.experiment.secure_aggregation.is_some(),
            noise_multiplier: self.config.noise_multiplier,
            bytes_up: found.bytes_up,
            bytes_down: found.bytes_down,
        })
    }

    fn noise(&self, client: ClientId) -> Result<Option<NoiseSource>, SimError> {
        if self.config.noise_multiplier.is_none() {
            return Ok(None);
        }
        let privacy = self.experiment.privacy.as_ref();
        if privacy.is_none_or(|privacy| privacy.noise == NoiseOrigin::System) {
            return Ok(Some(NoiseSource::system()?));
        }
        let mut seed = [0; 32];
        let mut rng = self.streams.stream(Purpose::ClientNoise, 0, client.0);
        rng.fill_bytes(&mut seed);
        Ok(Some(NoiseSource::seeded(seed)))
    }
}
