//! A run's privacy: noise, ledger, and what was spent so far.

use std::collections::BTreeMap;
use std::path::Path;

use cloister_privacy::accounting::{self, Question};
use cloister_privacy::noise::NoiseSource;
use cloister_privacy::{
    Entry, Event, Ledger, LedgerError, Mark, Mechanism, NoiseOrigin, PrivacyError, Receipt,
};
use cloister_protocol::{ClientId, DpSgd, PrivacyPlan, Purpose, Streams, Update};
use rand::Rng;

/// So many different sampling rates are accounted one by one after each round; more are bounded in groups.
const GROUPS: usize = 16;

/// Why a release could not be accounted for, so that it must not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpendingError {
    /// It cannot be accounted.
    #[error("privacy: {0}")]
    Privacy(#[from] PrivacyError),
    /// The ledger is missing, changed, or cannot be written.
    #[error("privacy ledger {0}")]
    Ledger(#[from] LedgerError),
}

/// What a ledger has beyond the plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Excess {
    /// Whose units were touched more often than planned: the first such client by name, or all.
    pub holder: String,
    /// How often they were.
    pub releases: u64,
    /// How often the plan has it for as many rounds.
    pub planned: u64,
    /// Epsilon by now.
    pub epsilon: f64,
    /// What it would be by the plan.
    pub planned_epsilon: f64,
}

/// The privacy of a run in progress.
#[derive(Debug)]
pub struct Spending {
    plan: PrivacyPlan,
    ledger: Ledger,
    streams: Streams,
    /// Releases so far, equal ones counted, by whose units they touch.
    spent: BTreeMap<String, Vec<(Event, u64)>>,
    /// Whether the ledger has what the rounds of this process release together.
    begun: bool,
    /// What they amount to, after the last round.
    epsilon: f64,
}

impl Spending {
    /// What the run `config_sha256` spends by `plan`; its ledger at `path` is new, or goes on from a mark after so many rounds.
    ///
    /// # Errors
    /// [`SpendingError`].
    pub fn start(
        plan: &PrivacyPlan,
        streams: Streams,
        path: &Path,
        config_sha256: &str,
        resumed: Option<(&Mark, u32)>,
    ) -> Result<Self, SpendingError> {
        // What is not private anyway does not have to wait for the disk.
        let durable = plan.config().noise == NoiseOrigin::System;
        let ledger = match resumed {
            Some((mark, _)) => Ledger::reopen(path, config_sha256, mark, durable)?,
            None => Ledger::create(path, config_sha256, durable)?,
        };
        let mut spending = Self {
            plan: plan.clone(),
            spent: BTreeMap::new(),
            streams,
            begun: resumed.is_some_and(|(_, done)| done > 0 && !durable),
            epsilon: 0.0,
            ledger,
        };
        // Rounds after the checkpoint may have been released, so they count, and count again when they are run again. With
        // noise from the seed they are run again to the same bits, which is no second release.
        let repeats = resumed.filter(|_| !durable).map(|(_, done)| done);
        for entry in spending.ledger.entries().to_vec() {
            if repeats.is_none_or(|done| entry.round <= done) {
                spending.count(&entry);
            }
        }
        spending.epsilon = spending.loss(&spending.spent, &spending.plan.question())?;
        Ok(spending)
    }

    /// The mechanism with its numbers.
    pub fn plan(&self) -> &PrivacyPlan {
        &self.plan
    }

    /// Where the ledger stands.
    pub fn mark(&self) -> Mark {
        self.ledger.mark()
    }

    /// The privacy loss so far; with examples as units, that of the client that lost most.
    pub fn epsilon(&self) -> f64 {
        self.epsilon
    }

    /// Whether noise and coins are secret.
    pub fn is_secret(&self) -> bool {
        self.plan.config().noise == NoiseOrigin::System
    }

    /// Noise and coins of the server in a round.
    ///
    /// # Errors
    /// [`PrivacyError`].
    pub fn server_noise(&self, round: u32) -> Result<NoiseSource, PrivacyError> {
        self.noise(Purpose::ServerNoise, round, 0)
    }

    /// What a client needs to train privately in a round.
    ///
    /// # Errors
    /// [`PrivacyError`].
    pub fn client_noise(&self, round: u32, client: ClientId) -> Result<NoiseSource, PrivacyError> {
        self.noise(Purpose::ClientNoise, round, client.0)
    }

    fn noise(
        &self,
        purpose: Purpose,
        round: u32,
        client: u32,
    ) -> Result<NoiseSource, PrivacyError> {
        if self.is_secret() {
            return NoiseSource::system();
        }
        let mut seed = [0; 32];
        self.streams
            .stream(purpose, round, client)
            .fill_bytes(&mut seed);
        Ok(NoiseSource::seeded(seed))
    }

    /// Hides the update of a client's training, where each client does so.
    ///
    /// # Errors
    /// [`PrivacyError`].
    pub fn hide(
        &self,
        round: u32,
        client: ClientId,
        update: &mut Update,
    ) -> Result<(), PrivacyError> {
        if self.plan.config().mechanism != Mechanism::LocalGaussian {
            return Ok(());
        }
        let mut source = self.client_noise(round, client)?;
        self.plan.hide(update, &mut source)
    }

    /// How a client with so many examples trains, where examples are the unit.
    ///
    /// # Errors
    /// [`PrivacyError`].
    pub fn dp_sgd(
        &self,
        round: u32,
        client: ClientId,
        examples: u64,
    ) -> Result<Option<DpSgd>, PrivacyError> {
        if self.plan.config().mechanism != Mechanism::DpSgd {
            return Ok(None);
        }
        let source = self.client_noise(round, client)?;
        self.plan.dp_sgd(examples, source).transpose()
    }

    /// Whether a round releases one noisy sum, to which all clients' units belong.
    fn releases_sum(&self) -> bool {
        self.plan.at_server() || self.plan.is_distributed()
    }

    /// Commits what the cohort's noisy sum releases in `round`; `None` if there is none.
    ///
    /// # Errors
    /// [`SpendingError`].
    pub fn commit_round(&mut self, round: u32) -> Result<Option<Receipt>, SpendingError> {
        if !self.releases_sum() {
            return Ok(None);
        }
        let entries = self.round_events(round)?.into_iter().map(|event| Entry {
            round,
            holder: Entry::ALL.to_owned(),
            event,
            count: 1,
        });
        let receipt = self.commit(round, entries.collect())?;
        self.begun = true;
        Ok(Some(receipt))
    }

    /// As [`Self::commit_round`], for a round that a host repeats after a crash with the same noise: what the ledger has of it is
    /// not released a second time. Noise that is tied to earlier rounds is drawn anew, and is a release of its own.
    ///
    /// # Errors
    /// [`SpendingError`].
    pub fn commit_repeated_round(&mut self, round: u32) -> Result<Option<Receipt>, SpendingError> {
        let tied = self.plan.config().mechanism == Mechanism::CorrelatedGaussian;
        match !tied && self.releases_sum() && self.has(round, Entry::ALL) {
            true => Ok(Some(self.ledger.commit(round, Vec::new())?)),
            false => self.commit_round(round),
        }
    }

    /// Commits what clients released about their tables before the first round.
    ///
    /// # Errors
    /// [`SpendingError`].
    pub fn commit_statistics(&mut self, entries: Vec<Entry>) -> Result<(), SpendingError> {
        self.commit(0, entries)?;
        self.epsilon = self.loss(&self.spent, &self.plan.question())?;
        Ok(())
    }

    /// Whether the ledger has a release of `holder` in `round`.
    pub fn has(&self, round: u32, holder: &str) -> bool {
        let entries = self.ledger.entries().iter().rev();
        entries
            .take_while(|entry| entry.round >= round)
            .any(|entry| entry.round == round && entry.holder == holder)
    }

    /// What `round` releases of the server's; the first of this process stands for all that its noise is tied to.
    fn round_events(&self, round: u32) -> Result<Vec<Event>, PrivacyError> {
        let mut events = Vec::from_iter(self.plan.round_event());
        if !self.begun
            && let Some(run) = self.plan.run_event(round.saturating_sub(1))
        {
            events.push(run?);
        }
        Ok(events)
    }

    /// Commits what the trainings of these clients (names, and counts of examples) release in `round`.
    ///
    /// # Errors
    /// [`SpendingError`].
    pub fn commit_trainings(
        &mut self,
        round: u32,
        clients: impl Iterator<Item = (String, u64)>,
    ) -> Result<(), SpendingError> {
        if self.releases_sum() {
            return Ok(());
        }
        let plan = &self.plan;
        let entries = clients.filter_map(|(holder, examples)| {
            let (event, count) = plan.client_event(examples)?;
            Some(Entry {
                round,
                holder,
                event,
                count,
            })
        });
        let entries: Vec<Entry> = entries.collect();
        self.commit(round, entries).map(drop)
    }

    fn commit(&mut self, round: u32, entries: Vec<Entry>) -> Result<Receipt, SpendingError> {
        for entry in &entries {
            self.count(entry);
        }
        let known = self.ledger.entries();
        // Rounds never go back in the ledger of a seeded run.
        let again = !self.is_secret() && known.last().is_some_and(|entry| entry.round >= round);
        let fresh = entries
            .into_iter()
            .filter(|entry| !again || !known.contains(entry));
        let fresh: Vec<Entry> = fresh.collect();
        let receipt = self.ledger.commit(round, fresh)?;
        self.epsilon = self.loss(&self.spent, &self.plan.question())?;
        Ok(receipt)
    }

    fn count(&mut self, entry: &Entry) {
        let events = self.spent.entry(entry.holder.clone()).or_default();
        add(events, &entry.event, entry.count);
    }

    /// What the loss would be after one more round in which all of `clients` (names, and counts of examples) take part, if that is above the budget.
    ///
    /// # Errors
    /// [`SpendingError`].
    pub fn would_exceed(
        &self,
        round: u32,
        clients: impl Iterator<Item = (String, u64)>,
    ) -> Result<Option<f64>, SpendingError> {
        let Some(budget) = self.plan.config().epsilon else {
            return Ok(None);
        };
        let mut next = self.spent.clone();
        for event in self.round_events(round)? {
            add(next.entry(Entry::ALL.to_owned()).or_default(), &event, 1);
        }
        for (holder, examples) in clients {
            if let Some((event, count)) = self.plan.client_event(examples) {
                add(next.entry(holder).or_default(), &event, count);
            }
        }
        let within = |loss: f64| loss <= budget * (1.0 + 1e-9);
        if within(self.loss(&next, &self.plan.question())?) {
            return Ok(None);
        }
        // One by one: a bound for a group must not end a run.
        let mut loss = 0.0_f64;
        for run in distinct(&next).into_iter().map(|events| composed(events)) {
            loss = loss.max(accounting::epsilon(&run, &self.plan.fine_question())?.epsilon);
        }
        Ok(Some(loss).filter(|loss| !within(*loss)))
    }

    /// The largest loss of any holder. Holders with equal releases count once; many different ones are bounded in groups.
    fn loss(
        &self,
        spent: &BTreeMap<String, Vec<(Event, u64)>>,
        question: &Question,
    ) -> Result<f64, SpendingError> {
        let distinct = distinct(spent);
        let runs: Vec<Event> = match distinct.len() {
            0..=GROUPS => distinct
                .into_iter()
                .map(|events| composed(events))
                .collect(),
            _ => grouped(distinct),
        };
        let mut worst = 0.0_f64;
        for run in runs {
            worst = worst.max(accounting::epsilon(&run, question)?.epsilon);
        }
        Ok(worst)
    }

    /// What the ledger has beyond one release a round, after so many `rounds` in which all of `clients` (names, and counts of
    /// examples) could take part: a run that went on after a crash with secret noise has released some rounds twice.
    ///
    /// # Errors
    /// [`SpendingError`].
    pub fn excess(
        &self,
        rounds: u32,
        clients: impl Iterator<Item = (String, u64)>,
    ) -> Result<Option<Excess>, SpendingError> {
        let rounds = u64::from(rounds);
        let planned: Vec<(String, Event, u64)> = match self.releases_sum() {
            true => match (self.plan.round_event(), self.plan.run_event(0)) {
                (Some(event), _) => vec![(Entry::ALL.to_owned(), event, rounds)],
                (None, Some(event)) => vec![(Entry::ALL.to_owned(), event?, 1)],
                (None, None) => Vec::new(),
            },
            false => clients
                .filter_map(|(holder, examples)| {
                    let (event, count) = self.plan.client_event(examples)?;
                    Some((holder, event, count.saturating_mul(rounds)))
                })
                .collect(),
        };
        for (holder, event, planned) in planned {
            let events = self.spent.get(&holder).map_or(&[][..], Vec::as_slice);
            // Statistics of the tables stand on the same ledger, and are no rounds.
            let rounds = events.iter().filter(|(known, _)| *known == event);
            let releases: u64 = rounds.map(|(_, count)| count).sum();
            if releases > planned {
                let by_plan = BTreeMap::from([(holder.clone(), vec![(event, planned)])]);
                return Ok(Some(Excess {
                    releases,
                    planned,
                    epsilon: self.epsilon,
                    planned_epsilon: self.loss(&by_plan, &self.plan.question())?,
                    holder,
                }));
            }
        }
        Ok(None)
    }

    /// The epsilon of all rounds of the plan for a client that takes part in each, and the budget, if the budget is less: noise
    /// that was not made for it ends the run early.
    ///
    /// # Errors
    /// [`SpendingError`].
    pub fn beyond_budget(
        &self,
        clients: impl Iterator<Item = (String, u64)>,
    ) -> Result<Option<(f64, f64)>, SpendingError> {
        let config = self.plan.config();
        let (Some(budget), Some(_)) = (config.epsilon, config.noise_multiplier) else {
            return Ok(None);
        };
        let mut sizes: Vec<u64> = clients.map(|(_, examples)| examples).collect();
        sizes.sort_unstable();
        // The fewest examples are the largest share of a batch, the most take the most steps.
        let ends = [sizes.first().copied(), sizes.last().copied()];
        let mut worst = 0.0_f64;
        for examples in ends.into_iter().flatten() {
            let run = self.plan.whole_run(examples);
            worst = worst.max(accounting::epsilon(&run, &self.plan.question())?.epsilon);
        }
        Ok((worst > budget * (1.0 + 1e-6)).then_some((worst, budget)))
    }

    /// The releases about each holder's units, as one event each.
    pub fn by_holder(&self) -> impl Iterator<Item = (&str, Event, u64)> {
        self.spent.iter().map(|(holder, events)| {
            let steps = events.iter().map(|(_, count)| count).sum();
            (holder.as_str(), composed(events), steps)
        })
    }
}

/// What holders lost, each different loss once.
fn distinct(spent: &BTreeMap<String, Vec<(Event, u64)>>) -> Vec<&Vec<(Event, u64)>> {
    let mut distinct = Vec::new();
    for events in spent.values() {
        if !distinct.contains(&events) {
            distinct.push(events);
        }
    }
    distinct
}

fn add(events: &mut Vec<(Event, u64)>, event: &Event, count: u64) {
    match events.iter_mut().find(|(known, _)| known == event) {
        Some((_, sum)) => *sum += count,
        None => events.push((event.clone(), count)),
    }
}

fn composed(events: &[(Event, u64)]) -> Event {
    let repeated = events.iter().map(|(event, count)| Event::Repeated {
        event: Box::new(event.clone()),
        count: *count,
    });
    let mut repeated: Vec<Event> = repeated.collect();
    match (repeated.len(), repeated.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            repeated.extend(last);
            Event::Composed { events: repeated }
        }
    }
}

/// Holders in groups of like sampling rates, each with the largest rate and the most steps among them: a bound, since the
/// loss grows with both. Holders that are not of that simple kind stand alone.
fn grouped(distinct: Vec<&Vec<(Event, u64)>>) -> Vec<Event> {
    let mut simple: Vec<(f64, f64, u64)> = Vec::new();
    let mut runs = Vec::new();
    for events in distinct {
        match events.as_slice() {
            [
                (
                    Event::PoissonGaussian {
                        noise_multiplier,
                        sampling_rate,
                    },
                    count,
                ),
            ] => simple.push((*sampling_rate, *noise_multiplier, *count)),
            _ => runs.push(composed(events)),
        }
    }
    simple.sort_by(|a, b| a.0.total_cmp(&b.0));
    for group in simple.chunks(simple.len().div_ceil(GROUPS).max(1)) {
        let Some((sampling_rate, ..)) = group.last() else {
            continue;
        };
        let noise = group.iter().map(|(_, noise, _)| *noise);
        runs.push(Event::Repeated {
            event: Box::new(Event::PoissonGaussian {
                noise_multiplier: noise.fold(f64::INFINITY, f64::min),
                sampling_rate: *sampling_rate,
            }),
            count: group.iter().map(|(.., count)| *count).max().unwrap_or(0),
        });
    }
    runs
}

/// A ledger at `path` for what the run `config_sha256` releases although its training has no noise.
///
/// # Errors
/// [`SpendingError::Ledger`] if it is there already or cannot be written.
pub fn ledger_of(
    path: &Path,
    config_sha256: &str,
    entries: Vec<Entry>,
) -> Result<(), SpendingError> {
    let mut ledger = Ledger::create(path, config_sha256, true)?;
    ledger.commit(0, entries)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampled(sampling_rate: f64) -> Event {
        Event::PoissonGaussian {
            noise_multiplier: 1.0,
            sampling_rate,
        }
    }

    #[test]
    fn groups_bound_every_member() {
        let holders: Vec<Vec<(Event, u64)>> = (1..=100)
            .map(|i| vec![(sampled(f64::from(i) / 1000.0), 200 - i as u64)])
            .collect();
        let runs = grouped(holders.iter().collect());
        assert!(runs.len() <= GROUPS);
        for holder in &holders {
            let (Event::PoissonGaussian { sampling_rate, .. }, steps) = &holder[0] else {
                panic!("sampled");
            };
            let bounded = runs.iter().any(|run| {
                let Event::Repeated { event, count } = run else {
                    return false;
                };
                matches!(**event, Event::PoissonGaussian { sampling_rate: rate, .. } if rate >= *sampling_rate)
                    && count >= steps
            });
            assert!(bounded, "{sampling_rate}");
        }
    }

    #[test]
    fn equal_releases_are_counted() {
        let mut events = Vec::new();
        for (rate, count) in [(0.1, 2), (0.2, 1), (0.1, 3)] {
            add(&mut events, &sampled(rate), count);
        }
        assert_eq!(events, [(sampled(0.1), 5), (sampled(0.2), 1)]);
    }
}
