//! What must hold in every schedule.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cloister_privacy::{Entry, Ledger};
use cloister_protocol::message::ClientMessage;
use cloister_report::record::{RoundOutcome, RoundRow, RunRecord};
use cloister_secagg::message::{Kind, peek};

use super::super::board::round_of;
use super::super::hosted::Hosted;
use super::house::{ROUNDS, Spent};
use super::office::told;
use super::site::LEDGER;
use super::world::{Check, Event, World, number};
use crate::envoy::Envoy;
use crate::experiment::State;
use crate::plan::digest;
use crate::store::{RoundEntry, Store};
use crate::transport::{Errand, PaperKind, Parcel, ParcelKind};

/// The deadline of mixtures that have one.
const DEADLINE: Duration = Duration::from_secs(60);
/// More parameters than any model here has.
const PARAMETERS: usize = 1000;

/// What was seen from outside, over all lives of both sides.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// SHA-256 of what a site was given under a number.
    papers: BTreeMap<(usize, u64), [u8; 32]>,
    /// Parcels that a site has a receipt for: site, number, part, SHA-256.
    pub(super) acknowledged: Vec<(String, u64, u32, [u8; 32])>,
    /// Hostile parcels.
    pub(super) rubbish: BTreeSet<[u8; 32]>,
    /// Rows of rounds, and digests of the models after them, also of lives that were lost before anybody knew.
    closed: BTreeMap<u32, (String, Option<String>)>,
    /// Rounds that are closed for good.
    kept: usize,
    /// Whose updates counted in a round, and how often each site's did up to it.
    counted: BTreeMap<u32, BTreeSet<u32>>,
    totals: BTreeMap<u32, Vec<u32>>,
    /// The final model.
    pub(super) model: Option<String>,
}

/// An experiment before a step.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) rows: usize,
    pub(super) begun: u32,
    log: Vec<RoundEntry>,
}

fn ensure(holds: bool, words: impl FnOnce() -> String) -> Check {
    match holds {
        true => Ok(()),
        false => Err(words()),
    }
}

fn model_of(hosted: &Hosted) -> String {
    let values = hosted.server.global().iter();
    let bytes: Vec<u8> = values.flat_map(|value| value.to_le_bytes()).collect();
    digest(&bytes)
}

impl World<'_> {
    pub(super) fn standing(&self, hosted: &Hosted) -> Result<Standing, String> {
        Ok(Standing {
            rows: hosted.rows().len(),
            begun: hosted.round(),
            log: hosted.setup.store.round_log(hosted.id).map_err(told)?.1,
        })
    }

    fn is_disturbed(&self) -> bool {
        let mixture = self.template.mixture;
        mixture.deadline || mixture.masked || self.profile.hostile.is_some() || self.given_up
    }

    /// What was acknowledged is in the log, and rounds that are done stay done.
    pub(super) fn check_reopened(&self, store: &Store, hosted: &Hosted) -> Check {
        let progress = store.progress(hosted.id).map_err(told)?;
        let done = progress.round;
        ensure(done as usize >= self.seen.kept, || {
            format!("{} rounds were done, the store has {done}", self.seen.kept)
        })?;
        let rows = hosted.rows().iter().map(|row| row.round);
        ensure(rows.eq(1..=done), || {
            format!("{done} rounds are done, rounds.csv has others")
        })?;
        let (_, log) = store.round_log(hosted.id).map_err(told)?;
        for (site, number_, part, sha256) in &self.seen.acknowledged {
            let is_there = log.iter().any(|entry| {
                matches!(entry, RoundEntry::Parcel { site: s, number: n, part: p, sha256: h, .. }
                    if (s, n, p, h) == (site, number_, part, sha256))
            });
            ensure(round_of(*number_) <= done || is_there, || {
                format!(
                    "parcel {}/{part} of {site} was acknowledged, and is not in the log",
                    number(*number_)
                )
            })?;
        }
        Ok(())
    }

    /// What a step has closed, if anything; `kept` unless nobody will ever know.
    pub(super) fn check_closed(&mut self, hosted: &Hosted, old: &Standing, kept: bool) -> Check {
        let rows = hosted.rows();
        let fresh = &rows[old.rows..];
        for row in fresh {
            let round = row.round;
            ensure(round as usize > self.seen.kept, || {
                format!("round {round} is closed twice")
            })?;
            let is_last = round as usize == rows.len();
            let model = is_last.then(|| model_of(hosted));
            let closed = (serde_json::to_string(row).unwrap(), model);
            let known = self
                .seen
                .closed
                .entry(round)
                .or_insert_with(|| closed.clone());
            let is_same = known.0 == closed.0
                && (known.1 == closed.1 || closed.1.is_none() || known.1.is_none());
            ensure(is_same, || {
                format!("round {round} was {known:?}, repeated it is {closed:?}")
            })?;
        }
        if let [row] = fresh {
            self.check_counted(hosted, row, &old.log)?;
        }
        if kept {
            self.seen.kept = rows.len();
        }
        Ok(())
    }

    /// Each accepted update counts exactly once.
    fn check_counted(&mut self, hosted: &Hosted, row: &RoundRow, log: &[RoundEntry]) -> Check {
        let round = row.round;
        let sites = hosted.participations.len();
        let zero = vec![0; sites];
        let before = self.seen.totals.get(&(round - 1));
        if before.is_none() && round > 1 {
            return Ok(());
        }
        let before = before.unwrap_or(&zero);
        let gained: Vec<u32> = hosted
            .participations
            .iter()
            .zip(before)
            .map(|(new, old)| new - old)
            .collect();
        ensure(gained.iter().all(|count| *count <= 1), || {
            format!("round {round} counts {gained:?}")
        })?;
        let counted: BTreeSet<u32> = (0..sites as u32)
            .filter(|site| gained[*site as usize] == 1)
            .collect();
        ensure(counted.len() as u32 == row.accepted, || {
            format!(
                "round {round} has {} replies, and counts {counted:?}",
                row.accepted
            )
        })?;
        let expected = self.expected(log);
        let fits = match self.template.mixture.masked || self.profile.hostile.is_some() {
            true => counted.is_subset(&expected),
            false => counted == expected,
        };
        ensure(fits, || {
            format!("round {round} counts {counted:?}, its log has {expected:?}: {log:?}")
        })?;
        if !self.is_disturbed() {
            let refused: u32 = hosted.refusals.iter().sum();
            ensure(refused == 0 && row.refused == 0, || {
                format!("round {round} has refused {refused}")
            })?;
        }
        self.seen.counted.insert(round, counted);
        self.seen
            .totals
            .insert(round, hosted.participations.clone());
        Ok(())
    }

    /// Whose updates a log holds in time.
    fn expected(&self, log: &[RoundEntry]) -> BTreeSet<u32> {
        let mixture = self.template.mixture;
        let mut until = Duration::MAX;
        let (mut expected, mut refused) = (BTreeSet::new(), BTreeSet::new());
        for entry in log {
            match entry {
                RoundEntry::Began { now, .. } if mixture.deadline && !mixture.masked => {
                    until = *now + DEADLINE;
                }
                RoundEntry::Parcel {
                    now,
                    client,
                    sha256,
                    ..
                } if *now < until => {
                    if self.seen.rubbish.contains(sha256) {
                        refused.insert(*client);
                    } else if !refused.contains(client) || mixture.masked {
                        expected.insert(*client);
                    }
                }
                _ => {}
            }
        }
        expected
    }

    /// A site is shown a message: always the same one, and what it releases is on the ledger.
    pub(super) fn check_shown(&mut self, place: usize, errand: &Errand) -> Check {
        let paper = errand.paper;
        if paper.kind != PaperKind::Message {
            return Ok(());
        }
        let known = *self
            .seen
            .papers
            .entry((place, paper.number))
            .or_insert(errand.sha256);
        ensure(known == errand.sha256, || {
            format!(
                "message {} to site {place} is another than before",
                number(paper.number)
            )
        })?;
        let round = round_of(paper.number);
        self.check_ledger(round, |entry, of| match self.template.mixture.spent {
            Spent::Nothing => true,
            Spent::ByRound => entry.round == of && entry.holder == Entry::ALL,
            Spent::BySite => {
                entry.round == of && (of < round || entry.holder == self.template.names[place])
            }
        })
    }

    /// The director's ledger has a release of each round up to this one.
    fn check_ledger(&self, rounds: u32, is_of: impl Fn(&Entry, u32) -> bool) -> Check {
        if self.template.mixture.spent == Spent::Nothing {
            return Ok(());
        }
        let ledger = Ledger::read(&self.ledger(&self.office_folder())).map_err(told)?;
        for round in 1..=rounds {
            let is_there = ledger.entries().iter().any(|entry| is_of(entry, round));
            ensure(is_there, || {
                format!("round {round} was shown, and its release is not on the ledger")
            })?;
        }
        Ok(())
    }

    /// What leaves a site is what left it before under the same number, and is on its ledger.
    pub(super) fn check_sent(&mut self, place: usize, parcel: &Parcel, bytes: &[u8]) -> Check {
        let key = (parcel.kind, parcel.number, parcel.part);
        let known = *self.sites[place].sent.entry(key).or_insert(parcel.sha256);
        ensure(known == parcel.sha256, || {
            format!(
                "site {place} sends another {}/{} than before",
                number(parcel.number),
                parcel.part
            )
        })?;
        if parcel.kind != ParcelKind::Message {
            return Ok(());
        }
        let message =
            ClientMessage::decode(bytes, PARAMETERS).map_err(|error| error.to_string())?;
        let round = match &message {
            ClientMessage::Reply(reply) => reply.round,
            ClientMessage::Compact(reply) => reply.round,
            ClientMessage::Secure(bytes) => match peek(bytes) {
                Ok((Kind::Masked, header)) => header.round as u32,
                _ => return Ok(()),
            },
            _ => return Ok(()),
        };
        let ledger = Ledger::read(&self.site_folder(place).join(LEDGER)).map_err(told)?;
        let is_there = ledger.entries().iter().any(|entry| entry.round == round);
        ensure(is_there, || {
            format!("site {place} sends an update of round {round}, and it is not on its ledger")
        })
    }

    /// A run that does not go on waits for a site that is gone, and says so.
    pub(super) fn give_up(&mut self) -> Check {
        let waiting = self.office.waiting();
        let gone = self
            .profile
            .gone
            .ok_or_else(|| format!("nobody is gone: {waiting}"))?;
        let name = &self.template.names[gone];
        let awaited: Vec<&str> = self
            .office
            .hosted
            .iter()
            .flat_map(Hosted::awaited)
            .collect();
        ensure(awaited == [name], || {
            format!("{name} is gone, the director says: {waiting}")
        })?;
        self.note(format!("{name} is given up"));
        self.given_up = true;
        self.soon(Event::Work);
        Ok(())
    }

    pub(super) fn is_done(&self) -> Result<bool, String> {
        if self.office.closing.is_none() {
            return Ok(false);
        }
        for site in self.sites.iter().filter(|site| !site.gone) {
            let Some(envoy) = site.envoy.as_ref().filter(|_| site.closed) else {
                return Ok(false);
            };
            if !envoy.outbox().map_err(told)?.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The model that a run ends with: that of an undisturbed run, if all updates are in it.
    pub(super) fn check_model(&mut self, hosted: &Hosted) -> Check {
        let mixture = self.template.mixture;
        let all = mixture.sites as u32;
        let mut rows = hosted.rows().iter();
        let is_full = rows.all(|row| row.accepted == all && row.outcome == RoundOutcome::Completed);
        let model = model_of(hosted);
        if mixture.is_exact() {
            ensure(is_full || self.is_disturbed(), || {
                "an update is missing, and nothing explains it".to_owned()
            })?;
            let reference = self.reference.filter(|_| is_full);
            ensure(
                reference.is_none_or(|reference| *reference == model),
                || "the model is another than that of the undisturbed run".to_owned(),
            )?;
        }
        self.seen.model = Some(model);
        Ok(())
    }

    /// What is left on the disks.
    pub(super) fn check_end(&mut self) -> Check {
        let id = self.template.id;
        let folder = self.office_folder();
        self.office.store = None;
        let store = Store::open(&folder, &self.template.federation).map_err(told)?;
        let state = store.experiment(id).map_err(told)?.state;
        ensure(state == State::Finished, || {
            format!("the run ends {state:?}")
        })?;
        let record = RunRecord::read(&store.run_folder(id)).map_err(told)?;
        let rounds = record.rounds.iter().map(|row| row.round);
        ensure(rounds.eq(1..=ROUNDS), || {
            "rounds.csv has not each round once, in order".to_owned()
        })?;
        let rows = store.progress(id).map_err(told)?.rows;
        for (row, stored) in record.rounds.iter().zip(&rows) {
            let stored: RoundRow = serde_json::from_str(stored).map_err(told)?;
            ensure(*row == stored, || {
                format!("rounds.csv has {row:?}, the store {stored:?}")
            })?;
        }
        ensure(rows.len() == record.rounds.len(), || {
            format!("the store has {} rows", rows.len())
        })?;
        self.check_names(&record)?;
        self.check_ledger(ROUNDS, |entry, round| entry.round == round)?;
        for place in 0..self.sites.len() {
            let is_gone = self.sites[place].gone;
            self.sites[place].envoy = None;
            let envoy = Envoy::open(&self.site_folder(place)).map_err(told)?;
            let status = envoy.status().map_err(told)?;
            let is_over = status.experiments.is_empty() && status.pending == 0;
            ensure(is_gone || is_over, || {
                format!("site {place} is left with {status:?}")
            })?;
        }
        Ok(())
    }

    /// The record counts each site's rounds, and names whoever is missing in one.
    fn check_names(&self, record: &RunRecord) -> Check {
        let sites = self.template.names.len();
        let clients = record.clients.as_ref().ok_or("no table of clients")?;
        let counted: u32 = clients.iter().map(|client| client.rounds).sum();
        let accepted: u32 = record.rounds.iter().map(|row| row.accepted).sum();
        ensure(counted == accepted, || {
            format!("sites took part {counted} times, rounds have {accepted} replies")
        })?;
        for row in record
            .rounds
            .iter()
            .filter(|row| row.cohort as usize == sites)
        {
            let Some(counted) = self.seen.counted.get(&row.round) else {
                continue;
            };
            let events = record
                .events
                .iter()
                .filter(|event| event.round == row.round);
            let named: BTreeSet<&str> =
                events.filter_map(|event| event.client.as_deref()).collect();
            for (place, name) in self.template.names.iter().enumerate() {
                let is_named = counted.contains(&(place as u32)) || named.contains(name.as_str());
                ensure(is_named, || {
                    format!(
                        "{name} is missing in round {}, and the record does not say",
                        row.round
                    )
                })?;
            }
            let is_abandoned = row.outcome == RoundOutcome::Abandoned;
            ensure(
                row.accepted > 0 || is_abandoned || !self.template.mixture.is_exact(),
                || format!("round {} is made of nothing", row.round),
            )?;
        }
        Ok(())
    }
}
