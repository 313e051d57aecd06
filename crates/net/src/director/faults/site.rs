//! A site in a schedule: what `envoy/attend.rs` does, and its deaths.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};

use super::house::{bytes_of, copy};
use super::world::{Check, Event, Sabotage, World, number};
use crate::envoy::{Envoy, EnvoyError};
use crate::transport::{Errand, Paper, PaperKind, Parcel, ParcelKind, Receipt};

/// The site's ledger of the data set.
pub(super) const LEDGER: &str = "ledger/tiny.jsonl";
/// Milliseconds after which a parcel without a receipt is sent again.
const AGAIN: u64 = 5_000;

/// A site and its connection.
#[derive(Debug, Default)]
pub(super) struct Site {
    /// Which of its folders it lives in: each death leaves one behind.
    pub(super) generation: u32,
    pub(super) envoy: Option<Arc<Envoy>>,
    /// Counts its connections.
    pub(super) epoch: u32,
    pub(super) connected: bool,
    taken: BTreeSet<Paper>,
    /// It has dealt with the closing.
    pub(super) closed: bool,
    /// It never comes back.
    pub(super) gone: bool,
    pub(super) offset: i64,
    /// A look into the outbox is due.
    armed: bool,
    /// All that ever left it.
    pub(super) sent: BTreeMap<(ParcelKind, u64, u32), [u8; 32]>,
    /// Its memory before the last message.
    remembered: Option<PathBuf>,
}

/// When a site dies that has a paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Before,
    /// When something new lies in the outbox for the first time.
    Woken,
    /// What was charged is on the ledger, and nothing of it in the memory.
    Charged,
    After,
}

impl World<'_> {
    pub(super) fn site_folder(&self, place: usize) -> PathBuf {
        let generation = self.sites[place].generation;
        self.folder
            .path()
            .join(format!("site-{place}-{generation}"))
    }

    pub(super) fn start_site(&mut self, place: usize) -> Check {
        if self.sites[place].envoy.is_some() || self.sites[place].gone {
            return Ok(());
        }
        let folder = self.site_folder(place);
        if let (Sabotage::Amnesia, Some(old)) = (self.sabotage, &self.sites[place].remembered) {
            fs::copy(old, folder.join("memory.redb")).unwrap();
        }
        let envoy = Envoy::open(&folder).map_err(|error| format!("site {place}: {error}"))?;
        self.sites[place].envoy = Some(Arc::new(envoy));
        self.soon(Event::Connect(place));
        Ok(())
    }

    /// Ends a site's process. Half of the time its folder is taken as it is while the process runs.
    pub(super) fn kill_site(&mut self, place: usize) {
        let folder = self.site_folder(place);
        let plainly = self.dice.chance(0.5);
        let next = self.next_site_folder(place);
        if plainly {
            copy(&folder, &next);
        }
        self.sites[place].envoy = None;
        if !plainly {
            fs::rename(&folder, &next).unwrap();
        }
        self.died(place);
    }

    fn next_site_folder(&mut self, place: usize) -> PathBuf {
        self.sites[place].generation += 1;
        self.site_folder(place)
    }

    fn died(&mut self, place: usize) {
        self.note(format!("site {place} is killed"));
        self.sites[place].envoy = None;
        self.disconnect(place);
        if self.profile.gone == Some(place) {
            self.sites[place].gone = true;
            self.note(format!("site {place} never comes back"));
            return;
        }
        let delay = 100 + self.dice.below(20_000);
        self.after(delay, Event::StartSite(place));
    }

    /// The connection of a site breaks; it dials again.
    pub(super) fn disconnect(&mut self, place: usize) {
        let site = &mut self.sites[place];
        site.connected = false;
        site.epoch += 1;
        site.armed = false;
        let delay = 50 + self.dice.below(3_000);
        self.after(delay, Event::Connect(place));
    }

    pub(super) fn connect(&mut self, place: usize) {
        let site = &mut self.sites[place];
        if site.envoy.is_none() || site.connected {
            return;
        }
        if self.office.store.is_none() {
            let delay = 200 + self.dice.below(2_000);
            return self.after(delay, Event::Connect(place));
        }
        site.connected = true;
        site.taken.clear();
        let epoch = site.epoch;
        self.remind(place, epoch);
        self.look(place);
    }

    /// The site looks into its outbox soon.
    fn look(&mut self, place: usize) {
        if !self.sites[place].armed {
            self.sites[place].armed = true;
            self.soon(Event::Send(place));
        }
    }

    pub(super) fn hand_out(&mut self, place: usize, epoch: u32, errands: Vec<Errand>) {
        if epoch != self.sites[place].epoch || !self.sites[place].connected {
            return;
        }
        for errand in errands {
            if self.sites[place].taken.insert(errand.paper) {
                self.soon(Event::Fetch(place, epoch, errand));
            }
        }
    }

    /// A paper is there that could not be had: it is asked for again.
    pub(super) fn untake(&mut self, place: usize, paper: &Paper) {
        self.sites[place].taken.remove(paper);
    }

    fn site_cut(&mut self) -> Option<Cut> {
        if !self.dies() {
            return None;
        }
        Some(match self.dice.below(4) {
            0 => Cut::Before,
            1 => Cut::Woken,
            2 if !self.template.mixture.masked => Cut::Charged,
            _ => Cut::After,
        })
    }

    pub(super) fn paper(
        &mut self,
        place: usize,
        epoch: u32,
        errand: &Errand,
        bytes: &[u8],
    ) -> Check {
        let site = &self.sites[place];
        let Some(envoy) = site.envoy.clone().filter(|_| epoch == site.epoch) else {
            return Ok(());
        };
        let cut = self.site_cut();
        if cut == Some(Cut::Before) {
            drop(envoy);
            self.kill_site(place);
            return Ok(());
        }
        let folder = self.site_folder(place);
        let [before, woken] = ["before", "woken"].map(|name| {
            self.folder
                .path()
                .join(format!("{name}-{place}-{}", self.sites[place].generation))
        });
        if cut == Some(Cut::Charged) {
            copy(&folder, &before);
        }
        if self.sabotage == Sabotage::Amnesia {
            let kept = self.folder.path().join(format!("memory-{place}"));
            fs::copy(folder.join("memory.redb"), &kept).unwrap();
            self.sites[place].remembered = Some(kept);
        }
        let is_woken = Arc::new(AtomicBool::new(cut != Some(Cut::Woken)));
        let flag = Arc::clone(&is_woken);
        let (from, to) = (folder.clone(), woken.clone());
        envoy.on_outbox(move || {
            if !flag.swap(true, Ordering::Relaxed) {
                copy(&from, &to);
            }
        });
        let was_closed = self.sites[place].closed;
        self.work_on(place, &envoy, errand, bytes)?;
        drop(envoy);
        match cut {
            Some(Cut::Woken) if woken.exists() => {
                self.sites[place].envoy = None;
                let next = self.next_site_folder(place);
                fs::rename(woken, next).unwrap();
                self.note("at the first word of its");
                self.died(place);
            }
            Some(Cut::Charged) => {
                self.sites[place].envoy = None;
                self.tear(&before.join(LEDGER), &folder.join(LEDGER));
                copy(&folder.join("ledger"), &before.join("ledger"));
                let next = self.next_site_folder(place);
                fs::rename(before, next).unwrap();
                // What it knows of a closing, it knows no more.
                self.sites[place].closed = was_closed;
                self.note("with nothing but the ledger written");
                self.died(place);
            }
            Some(_) => self.kill_site(place),
            None => self.look(place),
        }
        Ok(())
    }

    /// Half of the time, takes away some of what a file has more than it had.
    pub(super) fn tear(&mut self, before: &Path, after: &Path) {
        let length = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.len());
        // A ledger gets its name when its first line is whole.
        let header = fs::read(after).map_or(0, |bytes| {
            bytes.iter().take_while(|byte| **byte != b'\n').count() + 1
        });
        let (old, new) = (length(before).max(header as u64), length(after));
        if new > old && self.dice.chance(0.5) {
            let kept = old + self.dice.below(new - old);
            let file = fs::OpenOptions::new().write(true).open(after).unwrap();
            file.set_len(kept).unwrap();
            self.note(format!(
                "{kept} of {new} bytes of a ledger, {old} were there before"
            ));
        }
    }

    fn work_on(&mut self, place: usize, envoy: &Envoy, errand: &Errand, bytes: &[u8]) -> Check {
        let now = self.at(self.sites[place].offset);
        let Paper {
            experiment,
            kind,
            number,
        } = errand.paper;
        let template = self.template;
        let worked = match kind {
            PaperKind::Message => {
                let file = self.folder.path().join(format!("paper-{place}"));
                fs::write(&file, bytes).unwrap();
                envoy.message(experiment, number, &file, now)
            }
            PaperKind::Charter => {
                let (authority, director) = (&template.authority, &template.certificate);
                envoy.charter(bytes, authority, director, now.as_secs())
            }
            PaperKind::Closing => envoy.closing(bytes),
            PaperKind::Offer => return Err("an offer of what has begun".to_owned()),
        };
        match worked {
            Ok(()) => {
                self.sites[place].closed |= kind == PaperKind::Closing;
                Ok(())
            }
            // A late paper of an experiment that is over.
            Err(EnvoyError::Unknown(_)) if self.sites[place].closed => Ok(()),
            Err(error) => Err(format!("site {place}: {error}")),
        }
    }

    pub(super) fn send(&mut self, place: usize) -> Check {
        self.sites[place].armed = false;
        let site = &self.sites[place];
        let Some(envoy) = site.envoy.clone().filter(|_| site.connected) else {
            return Ok(());
        };
        let epoch = site.epoch;
        let pending = envoy
            .outbox()
            .map_err(|error| format!("site {place}: {error}"))?;
        if pending.is_empty() {
            return Ok(());
        }
        // One after the other; in disorder where older connections still deliver.
        let many = !self.calm && self.dice.chance(0.2);
        let most = if many { pending.len() } else { 1 };
        for pending in pending.into_iter().take(most) {
            let bytes = bytes_of(&pending.body);
            self.check_sent(place, &pending.parcel, &bytes)?;
            self.transfer(place, Event::Parcel(place, epoch, pending.parcel, bytes));
        }
        if self.profile.hostile == Some(place) && !self.calm && self.dice.chance(0.4) {
            self.rubbish(place, epoch);
        }
        if self.sites[place].connected {
            self.sites[place].armed = true;
            self.after(AGAIN, Event::Send(place));
        }
        Ok(())
    }

    /// A hostile site sends bytes that nobody can read, with the right digest.
    fn rubbish(&mut self, place: usize, epoch: u32) {
        let taken = self.sites[place].taken.iter().map(|paper| paper.number);
        let numbers: Vec<u64> = taken.collect();
        let Some(chosen) = numbers.get(self.dice.below(numbers.len() as u64) as usize) else {
            return;
        };
        let bytes = self.dice.bytes(200);
        let sha256: [u8; 32] = Sha256::digest(&bytes).into();
        let parcel = Parcel {
            experiment: self.template.id,
            kind: ParcelKind::Message,
            number: chosen + self.dice.below(4) / 3,
            part: self.dice.below(6) as u32,
            bytes: bytes.len() as u64,
            sha256,
        };
        self.seen.rubbish.insert(sha256);
        self.note(format!("rubbish of {place} for {}", number(parcel.number)));
        self.soon(Event::Parcel(place, epoch, parcel, bytes));
    }

    pub(super) fn receipt(
        &mut self,
        place: usize,
        epoch: u32,
        parcel: &Parcel,
        receipt: &Receipt,
    ) -> Check {
        let site = &self.sites[place];
        let Some(envoy) = site.envoy.clone().filter(|_| epoch == site.epoch) else {
            return Ok(());
        };
        envoy
            .receipt(parcel, receipt)
            .map_err(|error| format!("site {place}: {error}"))?;
        drop(envoy);
        if self.dies() {
            self.kill_site(place);
        } else {
            self.sites[place].armed = false;
            self.look(place);
        }
        Ok(())
    }
}
