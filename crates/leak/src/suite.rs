//! The whole suite on one run: its leakage report.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cloister_config::Experiment;
use cloister_data::TrainTest;
use cloister_report::record::leakage::{
    Band, FORMAT, LeakageReport, SelfTest, Skipped, write_picture,
};
use tempfile::TempDir;

use crate::audit::{AuditPlan, audit};
use crate::clock::Stopwatch;
use crate::derive::{Defence, defended, laboratory};
use crate::error::LeakError;
use crate::guards::guard_rows;
use crate::membership::{MembershipPlan, membership};
use crate::picture::is_image;
use crate::plan::{Overrides, Planned, Suite, attacks};
use crate::reconstruct::{Outcome, Tried, picture, reconstruct};
use crate::self_tests::{masks_cancel, mechanisms};
use crate::subject::{Sight, Subject};

/// PSNR in dB that an undefended attack must reach before "none found" is believed.
const CONTROL: f64 = 35.0;
/// Clients of a laboratory round under a sum: enough for every secure sum.
const COHORT: u32 = 8;
/// Most seconds that a run may have taken for the quick suite to run a twin of it for an audit.
const MOST_QUICK: f64 = 60.0;

/// What the suite does.
#[derive(Clone, Debug, PartialEq)]
pub struct SuitePlan {
    /// How much is tried.
    pub suite: Suite,
    /// The defences that are compared in laboratory rounds; the undefended one is always there, as a control.
    pub compare: Vec<Defence>,
    /// Seed of all draws.
    pub seed: u64,
}

/// Attacks `subject` and writes the report into `out`, a run folder: `leakage/leakage.json` and its pictures. `say` hears what
/// is being done.
///
/// # Errors
/// [`LeakError`] if a transcript cannot be read, an attack cannot begin, or the report cannot be written;
/// [`LeakError::Stopped`].
pub fn report(
    subject: &Subject,
    plan: &SuitePlan,
    out: &Path,
    threads: usize,
    stop: &Arc<AtomicBool>,
    say: &mut dyn FnMut(&str),
) -> Result<LeakageReport, LeakError> {
    let watch = Stopwatch::start();
    let mut work = Work {
        subject,
        plan,
        out,
        threads,
        stop,
        report: LeakageReport {
            format: FORMAT,
            cloister: env!("CARGO_PKG_VERSION").to_owned(),
            subject: subject.described(),
            suite: plan.suite.name().to_owned(),
            seed: plan.seed,
            ..LeakageReport::default()
        },
        controls: BTreeMap::new(),
        loaded: None,
    };
    say("self-tests");
    work.report.self_tests = mechanisms(subject);
    work.laboratories(say)?;
    work.recorded(say)?;
    work.judge();
    work.utility(say)?;
    work.infer(say)?;
    work.audit(say)?;
    say("malicious models against the guard");
    work.report.guards = guard_rows(subject, plan.seed);
    work.report.seconds = watch.seconds();
    work.report.write(out)?;
    Ok(work.report)
}

struct Work<'a> {
    subject: &'a Subject,
    plan: &'a SuitePlan,
    out: &'a Path,
    threads: usize,
    stop: &'a Arc<AtomicBool>,
    report: LeakageReport,
    /// What each attack finds without a defence.
    controls: BTreeMap<String, Band>,
    /// The experiment that was simulated last, and its data: of the next it is often the same.
    loaded: Option<(Experiment, Arc<TrainTest>)>,
}

impl Work<'_> {
    fn go_on(&self) -> Result<(), LeakError> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(LeakError::Stopped),
            false => Ok(()),
        }
    }

    /// One step of each client over a small batch, under each defence in turn.
    fn laboratories(&mut self, say: &mut dyn FnMut(&str)) -> Result<(), LeakError> {
        let mut defences = vec![Defence::None];
        let others = self.plan.compare.iter().copied();
        defences.extend(others.filter(|defence| *defence != Defence::None));
        let mut plain = None;
        for defence in defences {
            self.go_on()?;
            say(&format!("reconstruction under {}", defence.name()));
            let folder = scratch()?;
            let lab = match self.laboratory(defence, folder.path()) {
                Ok(lab) => lab,
                Err(error @ (LeakError::Config(_) | LeakError::Simulation(_))) => {
                    self.skip(defence.name(), &error.to_string());
                    continue;
                }
                Err(error) => return Err(error),
            };
            let from = self.report.inversions.len();
            let sights = lab.sights(1)?;
            self.attack(&lab, &sights, Some(defence))?;
            if defence == Defence::None {
                self.control(from);
                plain = Some(sights);
            } else if defence == Defence::Masking
                && let Some(plain) = &plain
            {
                self.report.self_tests.push(masks_cancel(plain, &sights));
            }
        }
        Ok(())
    }

    fn laboratory(&mut self, defence: Defence, folder: &Path) -> Result<Subject, LeakError> {
        let clients = match defence {
            // The same clients, so that the sum can be held against their updates.
            Defence::Masking | Defence::None => self.plan.suite.victims().max(COHORT),
            _ => self.plan.suite.victims(),
        };
        let experiment = laboratory(self.subject.experiment(), defence, clients, self.plan.seed)?;
        self.simulate(&experiment, folder)
    }

    /// Simulates in `folder`, over the data of the subject or of the simulation before where they are the same.
    fn simulate(&mut self, experiment: &Experiment, folder: &Path) -> Result<Subject, LeakError> {
        let own = self.subject.experiment();
        let same =
            |other: &Experiment| (&other.data, other.seed) == (&experiment.data, experiment.seed);
        let data = match &self.loaded {
            _ if same(own) => Some(&self.subject.federation().data),
            Some((other, data)) if same(other) => Some(data),
            _ => None,
        };
        let made = Subject::simulate(
            experiment,
            data.cloned(),
            &folder.join("run"),
            self.threads,
            self.stop,
        )?;
        let data = Arc::clone(&made.federation().data);
        self.loaded = Some((experiment.clone(), data));
        Ok(made)
    }

    /// What the undefended attacks reach: the self-test of all others.
    fn control(&mut self, from: usize) {
        let mut best: Option<(f64, String)> = None;
        for row in &self.report.inversions[from..] {
            let reached = row.psnr.worst;
            self.controls.insert(row.attack.clone(), row.band);
            if best.as_ref().is_none_or(|(most, _)| reached > *most) {
                best = Some((reached, row.attack.clone()));
            }
        }
        let images = is_image(self.subject.shape());
        if let Some((reached, attack)) = best.filter(|_| images) {
            self.report.self_tests.push(SelfTest {
                name: "an undefended update is reconstructed".to_owned(),
                passed: reached >= CONTROL,
                detail: format!("{attack} reaches {reached:.1} dB, {CONTROL:.0} are wanted"),
            });
        }
    }

    /// What the server saw in the run itself: its first and its last recorded round.
    fn recorded(&mut self, say: &mut dyn FnMut(&str)) -> Result<(), LeakError> {
        let rounds = self.subject.rounds();
        let mut chosen: Vec<u32> = rounds
            .first()
            .into_iter()
            .chain(rounds.last())
            .copied()
            .collect();
        chosen.dedup();
        if chosen.is_empty() {
            self.skip(
                "reconstruction from the run's own rounds",
                "no round was recorded: set record.rounds in the config",
            );
        }
        for round in chosen {
            self.go_on()?;
            say(&format!("reconstruction from round {round}"));
            let mut sights = self.subject.sights(round)?;
            // The smallest updates give most away: they are attacked first.
            sights.sort_by_key(|sight| sight.examples);
            sights.truncate(self.plan.suite.victims() as usize);
            self.attack(self.subject, &sights, None)?;
        }
        Ok(())
    }

    /// Makes all attacks that fit, each on the sights that it fits, and files rows and pictures.
    fn attack(
        &mut self,
        subject: &Subject,
        sights: &[Sight],
        what_if: Option<Defence>,
    ) -> Result<(), LeakError> {
        let suite = self.plan.suite;
        let overrides = Overrides::default();
        let of = |sight: &Sight| attacks(subject, sight, suite, None, &overrides);
        let planned: Vec<Vec<Planned>> = sights.iter().map(of).collect::<Result<_, _>>()?;
        let mut kinds: Vec<(&str, Option<&str>)> = Vec::new();
        for kind in planned.iter().flatten().map(Planned::kind) {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        if kinds.is_empty()
            && let Some(sight) = sights.first()
        {
            let place = what_if.map_or("the run's own rounds", Defence::name);
            let why = format!(
                "no attack of this suite fits {} examples in {} steps",
                sight.examples,
                sight.steps()
            );
            self.skip(&format!("reconstruction from {place}"), &why);
        }
        let mut made: Vec<Outcome> = Vec::new();
        for kind in kinds {
            self.go_on()?;
            let fitting = sights.iter().zip(&planned).filter_map(|(sight, all)| {
                let plan = all.iter().find(|plan| plan.kind() == kind)?;
                Some((sight, plan))
            });
            let jobs: Vec<(&Sight, &Planned)> = fitting.collect();
            match reconstruct(subject, &jobs, self.plan.seed, self.threads)? {
                Tried::Made(outcome) => made.push(*outcome),
                Tried::Skipped(why) => {
                    let place = what_if.map_or("the run", Defence::name);
                    self.skip(&format!("{} under {place}", kind.0), &why);
                }
            }
        }
        for outcome in &made {
            if outcome.row.adaptive_to.is_some() {
                continue;
            }
            let knowing = made.iter().find(|other| {
                other.row.attack == outcome.row.attack && other.row.adaptive_to.is_some()
            });
            self.file(subject, outcome, knowing, what_if)?;
        }
        Ok(())
    }

    /// Rows of an attack and of the one that knows the defence, with one picture of both.
    fn file(
        &mut self,
        subject: &Subject,
        outcome: &Outcome,
        knowing: Option<&Outcome>,
        what_if: Option<Defence>,
    ) -> Result<(), LeakError> {
        let defence = what_if.map_or("run", Defence::name);
        let mut drawn = None;
        if !outcome.panels[0].is_empty() {
            let (png, panels) = picture(subject, outcome, knowing)?;
            let name = format!(
                "round-{}-{defence}-{}.png",
                outcome.row.round, outcome.row.attack
            );
            write_picture(self.out, &name, &png)?;
            drawn = Some((name, panels));
        }
        for outcome in [Some(outcome), knowing].into_iter().flatten() {
            let mut row = outcome.row.clone();
            row.what_if = what_if.is_some();
            match what_if {
                Some(defence) => row.defence = defence.name().to_owned(),
                None => row.accuracy = self.subject.accuracy(),
            }
            if let Some((name, panels)) = &drawn {
                row.picture = Some(name.clone());
                row.panels.clone_from(panels);
            }
            self.report.inversions.push(row);
        }
        Ok(())
    }

    /// An attack that finds nothing without a defence either says nothing about one that is on.
    fn judge(&mut self) {
        for row in &mut self.report.inversions {
            let control = self.controls.get(&row.attack);
            let works = control.is_none_or(|band| *band >= Band::Recognisable);
            if row.band == Band::NoneFound && !works {
                row.band = Band::AttackFailed;
            }
        }
    }

    fn infer(&mut self, say: &mut dyn FnMut(&str)) -> Result<(), LeakError> {
        self.go_on()?;
        if self.subject.summary().is_none() {
            self.skip("membership", "the run has not ended: it has no final model");
            return Ok(());
        }
        say("membership");
        let full = self.plan.suite == Suite::Full;
        let plan = MembershipPlan {
            attacks: Vec::new(),
            shadows: if full { 16 } else { 4 },
            members: (!full).then_some(2000),
            seed: self.plan.seed,
        };
        let found = membership(self.subject, &plan, self.threads)?;
        self.report.memberships = found.memberships;
        self.report.properties = found.properties;
        self.report.skipped.extend(found.skipped);
        Ok(())
    }

    fn audit(&mut self, say: &mut dyn FnMut(&str)) -> Result<(), LeakError> {
        self.go_on()?;
        let experiment = self.subject.experiment();
        if experiment.privacy.is_none() {
            self.skip("audit of epsilon", "the run promises none");
            return Ok(());
        }
        let took = self
            .subject
            .summary()
            .map_or(f64::INFINITY, |summary| summary.seconds);
        if self.plan.suite == Suite::Quick && took > MOST_QUICK {
            let why = format!(
                "a twin of the run takes {took:.0} s: use --suite full, or cloister leak audit"
            );
            self.skip("audit of epsilon", &why);
            return Ok(());
        }
        say("audit");
        let plan = AuditPlan {
            canaries: if self.plan.suite == Suite::Full {
                1000
            } else {
                100
            },
            guesses: 0.2,
            seed: self.plan.seed,
        };
        let folder = scratch()?;
        match audit(
            experiment,
            &plan,
            &folder.path().join("twin"),
            self.threads,
            self.stop,
        ) {
            Ok(rows) => self.report.audits = rows,
            Err(error @ (LeakError::Config(_) | LeakError::Simulation(_))) => {
                self.skip("audit of epsilon", &error.to_string());
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// What each compared defence costs: a whole run of the experiment with it, for the full suite.
    fn utility(&mut self, say: &mut dyn FnMut(&str)) -> Result<(), LeakError> {
        if self.plan.suite == Suite::Quick {
            return Ok(());
        }
        for defence in self.plan.compare.clone() {
            if defence.batch() != (1, 1) {
                continue;
            }
            self.go_on()?;
            say(&format!("what {} costs in accuracy", defence.name()));
            let folder = scratch()?;
            let run = defended(self.subject.experiment(), defence)
                .and_then(|experiment| self.simulate(&experiment, folder.path()));
            let run = match run {
                Ok(run) => run,
                Err(LeakError::Stopped) => return Err(LeakError::Stopped),
                Err(error) => {
                    self.skip(
                        &format!("accuracy under {}", defence.name()),
                        &error.to_string(),
                    );
                    continue;
                }
            };
            let rows = self.report.inversions.iter_mut();
            for row in rows.filter(|row| row.what_if && row.defence == defence.name()) {
                row.accuracy = run.accuracy();
                row.epsilon = run.promise().map(|(epsilon, _)| epsilon);
            }
        }
        Ok(())
    }

    fn skip(&mut self, what: &str, why: &str) {
        self.report.skipped.push(Skipped {
            what: what.to_owned(),
            why: why.to_owned(),
        });
    }
}

/// A folder for a run that nobody keeps.
fn scratch() -> Result<TempDir, LeakError> {
    tempfile::tempdir().map_err(|error| LeakError::file(&std::env::temp_dir(), error))
}
