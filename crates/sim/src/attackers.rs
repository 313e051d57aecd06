//! The malicious clients of a simulation, and how far they got.

use cloister_data::Dataset;
use cloister_nn::metrics::Evaluation;
use cloister_nn::parallel;
use cloister_privacy::Unit;
use cloister_protocol::{ClientId, LearnerError, PrivacyPlan, Purpose, TrainJob, Update};
use cloister_redteam::{Adversary, AttackConfig, AttackKind};
use cloister_report::record::{AttackInfo, HeadlineMetric, Metrics, RoundRow, Unattacked};

use crate::error::SimError;
use crate::federation::Federation;

/// The adversary, and test examples that carry its trigger.
#[derive(Debug)]
pub(crate) struct Attackers {
    pub(crate) adversary: Adversary,
    config: AttackConfig,
    triggered: Option<Dataset>,
}

impl Attackers {
    /// Those of `federation`, if its experiment has an attack.
    pub(crate) fn of(federation: &Federation) -> Result<Option<Self>, SimError> {
        let experiment = &federation.experiment;
        let Some(attack) = &experiment.attack else {
            return Ok(None);
        };
        let rows: Vec<&[u32]> = federation
            .partition
            .clients
            .iter()
            .map(|share| share.rows.as_slice())
            .collect();
        let attack = &with_sensitivity(attack, federation.privacy.as_ref());
        let adversary = Adversary::new(attack, experiment.seed, &rows, &federation.data.train)?;
        let triggered = adversary.triggered(&federation.data.test);
        Ok(Some(Self {
            adversary,
            config: attack.clone(),
            triggered,
        }))
    }

    /// Whether `client` is malicious.
    pub(crate) fn includes(&self, client: ClientId) -> bool {
        let malicious = self.adversary.malicious().get(client.0 as usize);
        malicious.copied().unwrap_or(false)
    }

    /// Whether `client` attacks in `round`.
    pub(crate) fn misbehaves(&self, client: ClientId, round: u32) -> bool {
        self.adversary.active(round) && self.includes(client)
    }

    /// What a malicious client does on its own in a round.
    pub(crate) fn train(
        &self,
        federation: &Federation,
        client: ClientId,
        job: &TrainJob,
    ) -> Result<Update, LearnerError> {
        let mut rng = federation
            .streams
            .stream(Purpose::Train, job.round, client.0);
        self.adversary.train(
            client.0,
            job.round,
            &federation.model,
            &federation.data.train,
            federation.rows(client),
            &job.global,
            &job.plan,
            &mut rng,
            &federation.pool,
        )
    }

    /// Share of the test examples with the trigger that the model takes for the target class.
    pub(crate) fn success(
        &self,
        federation: &Federation,
        parameters: &[f32],
        threads: usize,
    ) -> Option<f64> {
        let target = self.adversary.target()?;
        let test = self.triggered.as_ref().filter(|test| !test.is_empty())?;
        let evaluation = parallel::evaluate(
            &federation.model,
            parameters,
            test.features(),
            test.labels(),
            threads,
            federation.streams.evaluation(),
        );
        let hits: u64 = evaluation.confusion.iter().map(|row| row[target]).sum();
        Some(hits as f64 / test.len() as f64)
    }

    /// Share of the source class's test examples that are classified rightly.
    pub(crate) fn source_recall(&self, evaluation: &Evaluation) -> Option<f64> {
        let source = self.adversary.source()?;
        let row = evaluation.confusion.get(source)?;
        let all: u64 = row.iter().sum();
        (all > 0).then(|| row[source] as f64 / all as f64)
    }

    /// What the attack did, from the rounds of the run, its last evaluation and the same run without the attack.
    pub(crate) fn info(
        &self,
        federation: &Federation,
        rows: &[RoundRow],
        ending: &Metrics,
        metric: HeadlineMetric,
        unattacked: Option<Unattacked>,
    ) -> AttackInfo {
        let classes = federation.data.train.classes();
        let class = |class: Option<usize>| class.and_then(|class| classes.get(class).cloned());
        let attack = &self.config;
        let names: Vec<String> = (0..federation.clients() as u32)
            .map(ClientId)
            .filter(|client| self.includes(*client))
            .map(|client| federation.name(client))
            .collect();
        let value = |row: &RoundRow| row.value(metric);
        let highest = |rows: &[RoundRow]| rows.iter().filter_map(value).reduce(f64::max);
        let clean = unattacked.as_ref().and_then(|run| run.value(metric));
        let best_clean = unattacked.as_ref().and_then(|run| run.best(metric));
        let before = rows.partition_point(|row| row.round < attack.start_round);
        let reference = clean.or_else(|| highest(&rows[..before]));
        let difference = |a: Option<f64>, b: Option<f64>| Some(a? - b?);
        let last = |figure: fn(&RoundRow) -> Option<f64>| rows.iter().rev().find_map(figure);
        AttackInfo {
            kind: attack.kind.name().to_owned(),
            description: self.adversary.describe(),
            clients: names.len() as u32,
            names,
            of: federation.clients() as u32,
            start_round: attack.start_round,
            seed: attack.seed.unwrap_or(federation.experiment.seed),
            impact: difference(clean, ending.value(metric)),
            impact_best: difference(best_clean, highest(rows)),
            unattacked,
            source_class: class(self.adversary.source()),
            target_class: class(self.adversary.target()),
            source_recall: last(|row| row.source_recall),
            attack_success: last(|row| row.attack_success),
            malicious_accepted: total(&rows[before..], |row| row.malicious),
            malicious_kept: total(&rows[before..], |row| row.malicious_kept),
            failure_round: reference
                .and_then(|reference| failure_round(&rows[before..], value, reference / 2.0)),
        }
    }
}

fn total(rows: &[RoundRow], count: impl Fn(&RoundRow) -> Option<u32>) -> u64 {
    rows.iter().filter_map(count).map(u64::from).sum()
}

/// The first measured round from which the figure never again rises above `floor`. A figure that is not a number has
/// not risen.
fn failure_round(
    rows: &[RoundRow],
    value: impl Fn(&RoundRow) -> Option<f64>,
    floor: f64,
) -> Option<u32> {
    let measured: Vec<(u32, f64)> = rows
        .iter()
        .filter_map(|row| Some((row.round, value(row)?)))
        .collect();
    let alive = measured.iter().rposition(|(_, value)| *value > floor);
    let failed = alive.map_or(0, |alive| alive + 1);
    measured.get(failed).map(|(round, _)| *round)
}

/// Canaries of a run that is private by client send as much as one client may: the whole sensitivity. Where the clipping norm
/// moves they send far more, which is clipped to that.
fn with_sensitivity(attack: &AttackConfig, privacy: Option<&PrivacyPlan>) -> AttackConfig {
    /// How far a moving clipping norm may grow.
    const ROOM: f64 = 1e3;
    let mut attack = attack.clone();
    if attack.kind == AttackKind::Canary
        && let Some(privacy) = privacy.map(PrivacyPlan::config)
        && privacy.mechanism.unit() == Unit::Client
    {
        let room = if privacy.adaptive_clip.is_some() {
            ROOM
        } else {
            1.0
        };
        attack.scale = Some(privacy.clip * room);
    }
    attack
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_is_for_good() {
        let rows = |values: &[Option<f64>]| -> Vec<RoundRow> {
            let row = |(index, value): (usize, &Option<f64>)| RoundRow {
                round: index as u32 + 1,
                test_accuracy: *value,
                ..RoundRow::default()
            };
            values.iter().enumerate().map(row).collect()
        };
        let failed =
            |values: &[Option<f64>]| failure_round(&rows(values), |row| row.test_accuracy, 0.4);
        assert_eq!(failed(&[Some(0.9), Some(0.1), Some(0.9)]), None);
        assert_eq!(failed(&[Some(0.9), Some(0.1), None, Some(0.3)]), Some(2));
        assert_eq!(failed(&[Some(0.2), Some(0.1)]), Some(1));
        assert_eq!(failed(&[Some(0.9), Some(f64::NAN)]), Some(2));
        assert_eq!(failed(&[]), None);
    }
}
