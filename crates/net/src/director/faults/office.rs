//! The director in a schedule: what `service.rs` and `worker.rs` do, and its deaths.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cloister_privacy::noise::NoiseSource;
use cloister_report::record::file_name;

use super::super::board::{Board, MAX_PARTS, Shared, round_of};
use super::super::hosted::{Arrived, Hosted, Setup, Step, lock};
use super::super::worker::words;
use super::house::copy;
use super::world::{Check, Event, Sabotage, World};
use crate::experiment::{Closing, State};
use crate::store::{RoundEntry, Store};
use crate::transport::{Body, Errand, Paper, PaperKind, Parcel, ParcelKind, Receipt};

/// How often lists of errands go out again.
const REMIND: u64 = 15_000;

/// The director and its connections.
#[derive(Default)]
pub(super) struct Office {
    generation: u32,
    pub(super) store: Option<Arc<Store>>,
    pub(super) hosted: Option<Hosted>,
    board: Arc<Mutex<Board>>,
    inbox: Vec<Order>,
    /// Sites that have their charter, and those that know the end.
    chartered: BTreeSet<usize>,
    closed: BTreeSet<usize>,
    pub(super) closing: Option<Shared>,
    pub(super) offset: i64,
    /// The latest time that any of its lives was told.
    high: Duration,
    files: u64,
}

#[derive(Clone, Debug)]
enum Order {
    Parcel(usize, u32, Parcel, PathBuf),
    Done(usize, u64),
}

/// When the director dies at its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Before,
    /// Parcels are in the log, and nobody has looked into them.
    Logged,
    /// They were looked into, and nobody has a receipt.
    Taken,
    Acknowledged,
    /// A round is in the run folder, as far as that was written, and not closed in the store.
    Recorded,
    /// A round is begun in the log, and its release on the ledger as far as that was written.
    Begun,
    Stepped,
}

const CUTS: [Cut; 7] = [
    Cut::Before,
    Cut::Logged,
    Cut::Taken,
    Cut::Acknowledged,
    Cut::Recorded,
    Cut::Begun,
    Cut::Stepped,
];

impl Office {
    /// What the director says that it waits for.
    pub(super) fn waiting(&self) -> String {
        match &self.hosted {
            Some(hosted) => {
                let sites: Vec<&str> = hosted.awaited().collect();
                format!("round {}, waiting for {}", hosted.round(), sites.join(", "))
            }
            None => "no director at work".to_owned(),
        }
    }
}

impl World<'_> {
    pub(super) fn office_folder(&self) -> PathBuf {
        self.folder
            .path()
            .join(format!("director-{}", self.office.generation))
    }

    fn next_office_folder(&mut self) -> PathBuf {
        self.office.generation += 1;
        self.office_folder()
    }

    fn run_folder(&self, director: &Path) -> PathBuf {
        director
            .join("experiments")
            .join(self.template.id.to_string())
            .join("run")
    }

    pub(super) fn ledger(&self, director: &Path) -> PathBuf {
        self.run_folder(director).join(file_name::LEDGER)
    }

    fn office_now(&mut self) -> Duration {
        let now = self.at(self.office.offset);
        self.office.high = self.office.high.max(now);
        now
    }

    pub(super) fn start_director(&mut self) -> Check {
        let template = self.template;
        let store = Store::open(&self.office_folder(), &template.federation).map_err(told)?;
        let store = Arc::new(store);
        let record = store.experiment(template.id).map_err(told)?;
        self.office.board = Arc::default();
        if record.state.is_over() {
            self.close_experiment(&store)?;
        } else {
            let setup = Setup {
                store: Arc::clone(&store),
                authority: template.authority.clone(),
                identity: template.identity.clone(),
                threads: 1,
                test: None,
            };
            let now = self.office_now();
            let board = Arc::clone(&self.office.board);
            let mut hosted = Hosted::open(setup, &record, board, now).map_err(told)?;
            if self.sabotage == Sabotage::ForgetNoise {
                hosted
                    .server
                    .use_noise(NoiseSource::system().map_err(told)?);
            }
            self.check_reopened(&store, &hosted)?;
            self.office.hosted = Some(hosted);
        }
        self.office.store = Some(store);
        self.soon(Event::Work);
        Ok(())
    }

    /// Ends the director's process. Half of the time its folder is taken as it is while the process runs.
    fn kill_director(&mut self) {
        let folder = self.office_folder();
        let plainly = self.dice.chance(0.5);
        let next = self.next_office_folder();
        if plainly {
            copy(&folder, &next);
        }
        self.let_go();
        if !plainly {
            fs::rename(&folder, &next).unwrap();
        }
        self.director_died();
    }

    fn let_go(&mut self) {
        self.office.hosted = None;
        self.office.store = None;
    }

    fn director_died(&mut self) {
        self.note("the director is killed");
        self.let_go();
        self.office.inbox.clear();
        self.office.chartered.clear();
        self.office.closed.clear();
        self.office.closing = None;
        for site in 0..self.sites.len() {
            self.disconnect(site);
        }
        let delay = 100 + self.dice.below(20_000);
        self.after(delay, Event::StartDirector);
    }

    pub(super) fn remind(&mut self, place: usize, epoch: u32) {
        let site = &self.sites[place];
        if epoch != site.epoch || !site.connected || self.office.store.is_none() {
            return;
        }
        let errands = self.errands(place);
        self.transfer(place, Event::Errands(place, epoch, errands));
        self.after(REMIND, Event::Remind(place, epoch));
    }

    fn errands(&self, place: usize) -> Vec<Errand> {
        let paper = |kind| Paper {
            experiment: self.template.id,
            kind,
            number: 0,
        };
        let mut errands = Vec::new();
        match &self.office.closing {
            Some(closing) if !self.office.closed.contains(&place) => {
                errands.push(closing.errand(paper(PaperKind::Closing)));
            }
            None if !self.office.chartered.contains(&place) => {
                let charter = Shared::new(self.template.charter.clone());
                errands.push(charter.errand(paper(PaperKind::Charter)));
            }
            _ => {}
        }
        let name = &self.template.names[place];
        if self.office.hosted.is_some() {
            errands.extend(lock(&self.office.board).errands(self.template.id, name));
        }
        errands
    }

    pub(super) fn fetch(&mut self, place: usize, epoch: u32, errand: Errand) -> Check {
        let site = &self.sites[place];
        if epoch != site.epoch || self.office.store.is_none() {
            return Ok(());
        }
        let name = &self.template.names[place];
        let number = errand.paper.number;
        let bytes = match errand.paper.kind {
            PaperKind::Charter => Some(self.template.charter.clone()),
            PaperKind::Closing => self
                .office
                .closing
                .as_ref()
                .map(|shared| shared.bytes.to_vec()),
            _ if self.office.hosted.is_none() => None,
            _ => match lock(&self.office.board).paper(name, number) {
                Ok(Body::Memory(bytes)) => Some(bytes.to_vec()),
                _ => None,
            },
        };
        let Some(bytes) = bytes else { return Ok(()) };
        let shared = Shared::new(bytes);
        if shared.sha256 != errand.sha256 {
            // The transport has noticed it, and asks again.
            self.untake(place, &errand.paper);
            return Ok(());
        }
        self.check_shown(place, &errand)?;
        self.transfer(
            place,
            Event::Paper(place, epoch, errand, shared.bytes.to_vec()),
        );
        Ok(())
    }

    /// A parcel has come as a whole.
    pub(super) fn arrived(
        &mut self,
        place: usize,
        epoch: u32,
        parcel: Parcel,
        bytes: &[u8],
    ) -> Check {
        let Some(store) = &self.office.store else {
            return Ok(());
        };
        let receipt = match parcel.kind {
            ParcelKind::Answer => return Err(format!("site {place} answers what was settled")),
            ParcelKind::Done if parcel.number == 0 => {
                match (self.office.closing.is_some(), parcel.part > 0) {
                    (true, true) => drop(self.office.closed.insert(place)),
                    (false, false) => drop(self.office.chartered.insert(place)),
                    // A late word on the charter.
                    _ => {}
                }
                Receipt::Taken
            }
            ParcelKind::Done => {
                self.office.inbox.push(Order::Done(place, parcel.number));
                Receipt::Taken
            }
            ParcelKind::Message if self.office.hosted.is_none() => {
                Receipt::Refused("it is not running".to_owned())
            }
            ParcelKind::Message => {
                self.office.files += 1;
                let name = format!("{}.part", self.office.files);
                let file = store.incoming(self.template.id).join(name);
                fs::write(&file, bytes).unwrap();
                self.office
                    .inbox
                    .push(Order::Parcel(place, epoch, parcel, file));
                let delay = self.dice.below(400);
                self.after(delay, Event::Work);
                return Ok(());
            }
        };
        self.soon(Event::Work);
        self.transfer(place, Event::Receipt(place, epoch, parcel, receipt));
        Ok(())
    }

    fn cut(&mut self) -> Option<Cut> {
        if self.sabotage == Sabotage::ForgetNoise {
            // Seen only where a round is repeated that has ended, and was not taken up before.
            return (!self.calm && self.dice.chance(0.1)).then_some(Cut::Recorded);
        }
        let dies = self.dies();
        let which = CUTS[self.dice.below(CUTS.len() as u64) as usize];
        dies.then_some(which)
    }

    pub(super) fn work(&mut self) -> Check {
        let Some(mut hosted) = self.office.hosted.take() else {
            return Ok(());
        };
        let cut = self.cut();
        let goes_on = self.work_with(&mut hosted, cut)?;
        self.office.hosted = Some(hosted);
        match goes_on {
            Goes::On => {}
            Goes::Killed => self.kill_director(),
            Goes::KilledAs(folder) => {
                self.let_go();
                let next = self.next_office_folder();
                fs::rename(folder, next).unwrap();
                self.director_died();
            }
            Goes::Over => return self.finish(),
        }
        for place in 0..self.sites.len() {
            let site = &self.sites[place];
            if site.connected && self.office.store.is_some() {
                let epoch = site.epoch;
                let errands = self.errands(place);
                self.transfer(place, Event::Errands(place, epoch, errands));
            }
        }
        Ok(())
    }

    fn work_with(&mut self, hosted: &mut Hosted, cut: Option<Cut>) -> Result<Goes, String> {
        if cut == Some(Cut::Before) {
            return Ok(Goes::Killed);
        }
        let mut batch = Vec::new();
        for order in std::mem::take(&mut self.office.inbox) {
            match order {
                Order::Done(place, number) => {
                    hosted.done(place as u32, number);
                }
                Order::Parcel(place, epoch, parcel, file) => {
                    batch.push((place, epoch, parcel, file))
                }
            }
        }
        if !batch.is_empty() && self.take(hosted, batch, cut)? {
            return Ok(Goes::Killed);
        }
        if self.given_up
            && let Some(gone) = self.profile.gone
        {
            let now = self.office_now();
            hosted.lose(gone as u32, now).map_err(told)?;
        }
        self.step(hosted, cut)
    }

    /// Takes a batch; true if the director dies of it.
    fn take(
        &mut self,
        hosted: &mut Hosted,
        batch: Vec<(usize, u32, Parcel, PathBuf)>,
        cut: Option<Cut>,
    ) -> Result<bool, String> {
        let now = self.office_now();
        let arrived: Vec<Arrived> = batch
            .iter()
            .map(|(place, _, parcel, file)| Arrived {
                client: *place as u32,
                number: parcel.number,
                part: parcel.part,
                sha256: parcel.sha256,
                bytes: parcel.bytes,
                file: file.clone(),
            })
            .collect();
        if cut == Some(Cut::Logged) {
            self.log_only(hosted, &arrived)?;
            return Ok(true);
        }
        let is_early = self.sabotage == Sabotage::AcknowledgeFirst && self.dice.chance(0.3);
        let receipts = match is_early {
            true => vec![Receipt::Taken; arrived.len()],
            false => hosted.take(arrived, now).map_err(told)?,
        };
        if self.sabotage == Sabotage::TakeTwice {
            let log = hosted.setup.store.round_log(hosted.id).map_err(told)?.1;
            for entry in log
                .iter()
                .filter(|entry| matches!(entry, RoundEntry::Parcel { .. }))
            {
                let bytes = hosted
                    .setup
                    .store
                    .read_parcel(hosted.id, entry)
                    .map_err(told)?;
                if let RoundEntry::Parcel { client, now, .. } = entry {
                    let client = cloister_protocol::ClientId(*client);
                    hosted.server.receive_bytes(client, &bytes, *now);
                }
            }
        }
        if cut == Some(Cut::Taken) {
            return Ok(true);
        }
        for ((place, epoch, parcel, _), receipt) in batch.into_iter().zip(receipts) {
            if receipt == Receipt::Taken {
                let name = self.template.names[place].clone();
                self.seen
                    .acknowledged
                    .push((name, parcel.number, parcel.part, parcel.sha256));
            }
            self.transfer(place, Event::Receipt(place, epoch, parcel, receipt));
        }
        Ok(is_early || cut == Some(Cut::Acknowledged))
    }

    /// What `Hosted::take` does before it looks into parcels.
    fn log_only(&mut self, hosted: &Hosted, arrived: &[Arrived]) -> Check {
        let round = hosted.round();
        let mut entries = Vec::new();
        for parcel in arrived {
            let site = self.template.names[parcel.client as usize].clone();
            let sent = lock(&self.office.board).was_sent(&site, parcel.number);
            let is_wanted = hosted.server.in_round() && round_of(parcel.number) == round;
            if !is_wanted || !sent || parcel.part >= MAX_PARTS {
                continue;
            }
            let entry = RoundEntry::Parcel {
                now: self.office.high,
                site,
                client: parcel.client,
                number: parcel.number,
                part: parcel.part,
                sha256: parcel.sha256,
                bytes: parcel.bytes,
            };
            entries.push((entry, parcel.file.clone()));
        }
        let taken = hosted
            .setup
            .store
            .take_parcels(hosted.id, round, entries)
            .map_err(told)?;
        self.note(format!(
            "{} parcels logged, and not looked into",
            taken.len()
        ));
        Ok(())
    }

    fn step(&mut self, hosted: &mut Hosted, cut: Option<Cut>) -> Result<Goes, String> {
        let now = self.office_now();
        let high = self.office.high;
        let folder = self.office_folder();
        // The log of a deadline that passes now would be missing from the folder as it was before.
        let ticks = hosted
            .server
            .deadline()
            .is_some_and(|deadline| deadline <= high);
        let inner = cut.filter(|cut| matches!(cut, Cut::Recorded | Cut::Begun) && !ticks);
        let before = self.folder.path().join("before");
        if inner.is_some() {
            copy(&folder, &before);
        }
        let old = self.standing(hosted)?;
        let step = hosted.step(now).map_err(told)?;
        let closed = hosted.rows().len() - old.rows;
        let began = hosted.server.in_round() && hosted.round() != old.begun;
        if self.sabotage == Sabotage::ForgetNoise && began {
            let other = NoiseSource::system().map_err(told)?;
            hosted.server.use_noise(other);
        }
        if self.sabotage == Sabotage::CallFirst && began {
            let _ = fs::remove_file(self.ledger(&folder));
        }
        let goes = match inner {
            Some(Cut::Recorded) if closed == 1 => {
                self.check_closed(hosted, &old, false)?;
                self.note(format!(
                    "round {} is recorded, and not closed",
                    hosted.rows().len()
                ));
                self.recorded(&folder, &before);
                Goes::KilledAs(before)
            }
            Some(Cut::Begun) if began && closed <= 1 => {
                self.check_closed(hosted, &old, true)?;
                self.note(format!(
                    "round {} is begun, and nobody is called",
                    hosted.round()
                ));
                let ledger = self.ledger(&folder);
                if ledger.exists() {
                    self.tear(&self.ledger(&before), &ledger);
                }
                let _ = fs::remove_dir_all(&before);
                copy(&folder, &before);
                Goes::KilledAs(before)
            }
            _ => {
                let _ = fs::remove_dir_all(&before);
                self.check_closed(hosted, &old, true)?;
                if cut == Some(Cut::Stepped) || (inner.is_some() && step != Step::Over) {
                    return Ok(Goes::Killed);
                }
                if self.given_up {
                    // It may be called again.
                    self.after(1_000, Event::Work);
                }
                match step {
                    Step::Over => Goes::Over,
                    Step::Wait(None) => Goes::On,
                    Step::Wait(Some(until)) => {
                        let wait = until.saturating_sub(self.at(self.office.offset));
                        let wait = (wait.as_millis() as u64).clamp(1, 3_600_000);
                        self.after(wait, Event::Work);
                        Goes::On
                    }
                }
            }
        };
        Ok(goes)
    }

    /// Makes of the folder `before` a step what a kill leaves between the record of a round and its end in the store.
    fn recorded(&mut self, after: &Path, before: &Path) {
        let (new, old) = (self.run_folder(after), self.run_folder(before));
        let is_whole = self.dice.chance(0.5);
        let length = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.len());
        // In the order in which they are written.
        let files = [file_name::EVENTS, file_name::VERDICTS, file_name::ROUNDS];
        let growth = |file: &str| length(&new.join(file)) - length(&old.join(file));
        let total: u64 = files.iter().map(|file| growth(file)).sum();
        let mut left = match is_whole {
            true => total,
            false => self.dice.below(total + 1),
        };
        for file in files {
            let written = growth(file).min(left);
            left -= written;
            if written > 0 {
                let mut bytes = fs::read(new.join(file)).unwrap();
                bytes.truncate((length(&old.join(file)) + written) as usize);
                fs::write(old.join(file), bytes).unwrap();
            }
        }
    }

    /// The experiment has come to its end.
    fn finish(&mut self) -> Check {
        let Some(hosted) = self.office.hosted.take() else {
            return Ok(());
        };
        self.check_model(&hosted)?;
        let Some(store) = self.office.store.clone() else {
            return Ok(());
        };
        let id = self.template.id;
        let folder = self.office_folder();
        let before = self.folder.path().join("before");
        let dies = self.dies();
        if dies {
            copy(&folder, &before);
        }
        let model = hosted.finish(State::Finished, "").map_err(told)?;
        if dies {
            drop(store);
            let run = self.run_folder(&before);
            fs::remove_dir_all(&run).unwrap();
            copy(&self.run_folder(&folder), &run);
            self.note("the end is recorded, and not stored");
            self.let_go();
            let next = self.next_office_folder();
            fs::rename(before, next).unwrap();
            self.director_died();
            return Ok(());
        }
        store.note(id, &model).map_err(told)?;
        self.close_experiment(&store)?;
        if self.dies() {
            drop(store);
            self.kill_director();
        }
        Ok(())
    }

    /// The experiment is over, also for the sites.
    fn close_experiment(&mut self, store: &Store) -> Check {
        let id = self.template.id;
        store.forget(id).map_err(told)?;
        let closing = Closing {
            experiment: id,
            state: State::Finished,
            reason: String::new(),
            rounds: store.progress(id).map_err(told)?.round,
            model_sha256: store.experiment(id).map_err(told)?.run,
        };
        self.office.closing = Some(Shared::new(serde_json::to_vec(&closing).unwrap()));
        Ok(())
    }
}

/// How the work goes on.
enum Goes {
    On,
    Killed,
    /// With what is in this folder.
    KilledAs(PathBuf),
    Over,
}

/// An error, in words.
pub(super) fn told(error: impl std::error::Error) -> String {
    format!("director: {}", words(&error))
}
