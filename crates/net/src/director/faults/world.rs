//! Virtual time, the queue of what is on its way, and the dice that disturb it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use cloister_protocol::{Purpose, Streams};
use rand::{Rng, RngExt};
use tempfile::TempDir;

use super::checks::Seen;
use super::house::{BEGIN, Template};
use super::office::Office;
use super::site::Site;
use crate::transport::{Errand, Parcel, Receipt};

/// What a schedule may find out, in words.
pub(super) type Check = Result<(), String>;

/// Events after which a schedule that is left in peace must have ended.
const PATIENCE: usize = 6_000;
/// Events in peace after which a site that never came back is given up.
const WAITED: usize = 2_500;

/// A step that is deliberately wrong, so that it is seen that the checks see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sabotage {
    Nothing,
    /// Parcels are acknowledged, and the director dies before they are in the log.
    AcknowledgeFirst,
    /// The server is told of each parcel twice.
    TakeTwice,
    /// The noise of a round is another than the one that is kept for repeating it.
    ForgetNoise,
    /// A round is called before its release is on the ledger.
    CallFirst,
    /// A site is started again with the memory from before its last message.
    Amnesia,
}

/// Random numbers of a schedule: a ChaCha stream of its seed.
pub(super) struct Dice(Box<dyn Rng>);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(Box::new(Streams::new(seed).stream(Purpose::Faults, 0, 0)))
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0.random_range(0..end.max(1))
    }

    pub(super) fn chance(&mut self, share: f64) -> bool {
        self.0.random_bool(share.clamp(0.0, 1.0))
    }

    pub(super) fn bytes(&mut self, most: u64) -> Vec<u8> {
        let mut bytes = vec![0; self.below(most) as usize + 1];
        self.0.fill_bytes(&mut bytes);
        bytes
    }
}

/// What disturbs a schedule.
#[derive(Clone, Debug, Default)]
pub(super) struct Profile {
    /// Share of transfers that meet something.
    loss: f64,
    /// Chance of a kill at each step of either side.
    pub(super) kill: f64,
    /// Chance that a clock jumps at an event.
    jump: f64,
    /// A site that also sends rubbish.
    pub(super) hostile: Option<usize>,
    /// A site that never comes back after its next kill.
    pub(super) gone: Option<usize>,
    /// Events until there is peace.
    events: usize,
}

impl Profile {
    fn draw(dice: &mut Dice, sites: usize) -> Self {
        let one_of = |dice: &mut Dice, values: [f64; 4]| values[dice.below(4) as usize];
        let some = |dice: &mut Dice, share: f64| {
            let site = dice.below(sites as u64) as usize;
            dice.chance(share).then_some(site)
        };
        Self {
            loss: one_of(dice, [0.0, 0.05, 0.15, 0.3]),
            kill: one_of(dice, [0.0, 0.03, 0.08, 0.2]),
            jump: one_of(dice, [0.0, 0.0, 0.02, 0.1]),
            hostile: some(dice, 0.15),
            gone: some(dice, 0.08),
            events: 30 + dice.below(220) as usize,
        }
    }
}

/// What is on its way, or due.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// The director's thread looks at what has come.
    Work,
    StartDirector,
    StartSite(usize),
    Connect(usize),
    /// The list of errands goes out again, as it does every quarter of a minute.
    Remind(usize, u32),
    /// Errands reach a site.
    Errands(usize, u32, Vec<Errand>),
    /// A site asks for a paper.
    Fetch(usize, u32, Errand),
    /// A paper reaches a site.
    Paper(usize, u32, Errand, Vec<u8>),
    /// A site looks into its outbox.
    Send(usize),
    /// A parcel reaches the director.
    Parcel(usize, u32, Parcel, Vec<u8>),
    Receipt(usize, u32, Parcel, Receipt),
}

impl Event {
    fn words(&self) -> String {
        match self {
            Self::Errands(site, epoch, errands) => {
                let numbers: Vec<String> =
                    errands.iter().map(|one| number(one.paper.number)).collect();
                format!("errands {} to {site} ({epoch})", numbers.join(" "))
            }
            Self::Fetch(site, epoch, errand) => {
                format!(
                    "{site} ({epoch}) fetches {:?} {}",
                    errand.paper.kind,
                    number(errand.paper.number)
                )
            }
            Self::Paper(site, epoch, errand, _) => {
                format!(
                    "{site} ({epoch}) has {:?} {}",
                    errand.paper.kind,
                    number(errand.paper.number)
                )
            }
            Self::Parcel(site, epoch, parcel, _) => format!(
                "{:?} {}/{} of {site} ({epoch})",
                parcel.kind,
                number(parcel.number),
                parcel.part
            ),
            Self::Receipt(site, epoch, parcel, receipt) => format!(
                "{site} ({epoch}) has receipt of {}/{}: {receipt:?}",
                number(parcel.number),
                parcel.part
            ),
            other => format!("{other:?}"),
        }
    }
}

/// A number of a message, in rounds and places.
pub(super) fn number(number: u64) -> String {
    format!("{}.{}", number >> 20, number & 0xf_ffff)
}

/// A federation in one thread.
pub(super) struct World<'a> {
    pub(super) template: &'a Template,
    /// The model of the undisturbed run.
    pub(super) reference: Option<&'a String>,
    pub(super) folder: TempDir,
    pub(super) dice: Dice,
    pub(super) profile: Profile,
    pub(super) sabotage: Sabotage,
    /// Milliseconds since 1970, on no side's clock.
    pub(super) clock: u64,
    queue: BTreeMap<(u64, u64), Event>,
    order: u64,
    handled: usize,
    /// Nothing goes wrong any more.
    pub(super) calm: bool,
    /// A site that is not waited for any more.
    pub(super) given_up: bool,
    pub(super) office: Office,
    pub(super) sites: Vec<Site>,
    pub(super) seen: Seen,
    log: &'a RefCell<Vec<String>>,
}

impl<'a> World<'a> {
    /// A schedule that a seed decides; without one, nothing is disturbed.
    pub(super) fn new(
        template: &'a Template,
        reference: Option<&'a String>,
        seed: Option<u64>,
        sabotage: Sabotage,
        log: &'a RefCell<Vec<String>>,
    ) -> Self {
        let mut dice = Dice::new(seed.unwrap_or(0));
        let count = template.mixture.sites;
        let profile = match (seed, sabotage) {
            (None, _) => Profile::default(),
            (Some(_), Sabotage::Nothing) => Profile::draw(&mut dice, count),
            (Some(_), _) => Profile {
                loss: 0.2,
                kill: 0.12,
                hostile: None,
                gone: None,
                events: 300,
                ..Profile::draw(&mut dice, count)
            },
        };
        Self {
            folder: template.settle(),
            template,
            reference,
            dice,
            profile,
            sabotage,
            clock: BEGIN,
            queue: BTreeMap::new(),
            order: 0,
            handled: 0,
            calm: seed.is_none(),
            given_up: false,
            office: Office::default(),
            sites: (0..count).map(|_| Site::default()).collect(),
            seen: Seen::default(),
            log,
        }
    }

    pub(super) fn note(&self, words: impl Into<String>) {
        let time = self.clock - BEGIN;
        let words = words.into();
        self.log
            .borrow_mut()
            .push(format!("{:5}.{:03} {words}", time / 1000, time % 1000));
    }

    /// Something happens after so many milliseconds.
    pub(super) fn after(&mut self, delay: u64, event: Event) {
        self.order += 1;
        self.queue.insert((self.clock + delay, self.order), event);
    }

    /// Something happens soon.
    pub(super) fn soon(&mut self, event: Event) {
        let delay = 1 + self.dice.below(80);
        self.after(delay, event);
    }

    pub(super) fn at(&self, offset: i64) -> Duration {
        Duration::from_millis(self.clock.saturating_add_signed(offset))
    }

    /// Whether one of the two sides dies at this step.
    pub(super) fn dies(&mut self) -> bool {
        let kill = self.profile.kill;
        !self.calm && self.dice.chance(kill)
    }

    /// A transfer of a site's connection: it arrives, late, twice, damaged or not at all.
    pub(super) fn transfer(&mut self, site: usize, event: Event) {
        let meets = !self.calm && self.dice.chance(self.profile.loss);
        if !meets {
            return self.soon(event);
        }
        match self.dice.below(6) {
            0 => {
                self.note(format!("lost: {}", event.words()));
                self.disconnect(site);
            }
            1 => {
                // The transport finds that the digest is another, and refuses it.
                self.note(format!("damaged: {}", event.words()));
                self.disconnect(site);
            }
            2 => {
                self.soon(event.clone());
                let delay = self.dice.below(30_000);
                self.after(delay, event);
            }
            3 => {
                // It arrives, and nobody at the other end is there for the answer.
                self.soon(event);
                self.disconnect(site);
            }
            _ => {
                let delay = self.dice.below(20_000);
                self.after(delay, event);
            }
        }
    }

    /// Runs to the end.
    pub(super) fn run(&mut self) -> Check {
        self.start_director()?;
        for site in 0..self.sites.len() {
            self.start_site(site)?;
        }
        let mut peace = 0;
        while !self.is_done()? {
            let Some((due, event)) = self.queue.pop_first() else {
                return Err("nothing is on its way, and the run has not ended".to_owned());
            };
            self.clock = self.clock.max(due.0);
            self.handled += 1;
            if !self.calm && self.handled > self.profile.events {
                self.settle()?;
            }
            if self.calm {
                peace += 1;
                if peace == WAITED {
                    self.give_up()?;
                }
                if peace > PATIENCE {
                    return Err(format!("no end in sight: {}", self.office.waiting()));
                }
            } else {
                self.jump();
            }
            let is_idle = match &event {
                Event::Remind(..) => true,
                Event::Errands(_, _, errands) => errands.is_empty(),
                _ => false,
            };
            if !is_idle {
                self.note(event.words());
            }
            self.handle(event)?;
        }
        self.check_end()
    }

    fn jump(&mut self) {
        if !self.dice.chance(self.profile.jump) {
            return;
        }
        let hour = 3_600_000;
        let back = self.dice.chance(0.5);
        let span = match self.dice.chance(0.5) {
            true => self.dice.below(hour),
            false => self.dice.below(90_000),
        };
        let span = if back { -(span as i64) } else { span as i64 };
        let side = self.dice.below(self.sites.len() as u64 + 1) as usize;
        // Certificates are valid for weeks: clocks stay within some hours.
        let moved = |offset: i64| (offset + span).clamp(-12 * hour as i64, 12 * hour as i64);
        match self.sites.get_mut(side) {
            Some(site) => site.offset = moved(site.offset),
            None => self.office.offset = moved(self.office.offset),
        }
        self.note(format!("the clock of {side} jumps by {span} ms"));
    }

    /// Lets peace begin: whoever is down comes back, unless it never will.
    fn settle(&mut self) -> Check {
        self.calm = true;
        self.note("peace");
        if let Some(gone) = self.profile.gone
            && self.sites[gone].envoy.is_some()
        {
            self.kill_site(gone);
        }
        Ok(())
    }

    fn handle(&mut self, event: Event) -> Check {
        match event {
            Event::Work => return self.work(),
            Event::StartDirector => return self.start_director(),
            Event::StartSite(site) => return self.start_site(site),
            Event::Connect(site) => self.connect(site),
            Event::Remind(site, epoch) => self.remind(site, epoch),
            Event::Errands(site, epoch, errands) => self.hand_out(site, epoch, errands),
            Event::Fetch(site, epoch, errand) => return self.fetch(site, epoch, errand),
            Event::Paper(site, epoch, errand, bytes) => {
                return self.paper(site, epoch, &errand, &bytes);
            }
            Event::Send(site) => return self.send(site),
            Event::Parcel(site, epoch, parcel, bytes) => {
                return self.arrived(site, epoch, parcel, &bytes);
            }
            Event::Receipt(site, epoch, parcel, receipt) => {
                return self.receipt(site, epoch, &parcel, &receipt);
            }
        }
        Ok(())
    }
}
