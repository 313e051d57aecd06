//! The privacy loss of a run in progress.

use super::account::Account;
use super::compose::{Composition, Kind, Layout, Obstacle, losses};
use super::grid::Grid;
use super::query::{Part, all_losses, parts, swapped};
use super::rdp::Total;
use super::{Certificate, Question, query};
use crate::error::PrivacyError;
use crate::event::{Event, Neighbouring};

/// A grid has room for so many times the releases that there were when it was made.
const ROOM: u64 = 2;

/// Adds up the releases of a run and tells its epsilon at any time.
///
/// The transformed composition is kept and multiplied, so that a question after each round costs one inverse transform.
/// Releases may differ, but their parameters must not depend on what was released before.
pub struct Odometer {
    question: Question,
    account: Account,
    kept: Option<Kept>,
}

/// A composition that can grow.
struct Kept {
    removed: Composition,
    /// The other order of the neighbours, where it is not the same.
    added: Option<Composition>,
    grid: Grid,
    /// What is in the composition.
    included: Account,
    /// Releases in it, and for how many its grid was made.
    steps: u64,
    room: u64,
}

impl Odometer {
    /// Nothing spent yet.
    ///
    /// # Errors
    ///
    /// If delta is not between 0 and 1.
    pub fn new(neighbouring: Neighbouring, delta: f64) -> Result<Self, PrivacyError> {
        let question = Question::new(neighbouring, delta);
        question.check()?;
        Ok(Self {
            question,
            account: Account::default(),
            kept: None,
        })
    }

    /// Adds an event, so many times.
    ///
    /// # Errors
    ///
    /// If the event has no accounting; nothing is added then.
    pub fn spend(&mut self, event: &Event, count: u64) -> Result<(), PrivacyError> {
        let mut account = self.account.clone();
        account.add(event, count, self.question.neighbouring)?;
        self.account = account;
        Ok(())
    }

    /// Epsilon of all that was spent: an upper bound, infinite if something had no noise.
    ///
    /// # Errors
    ///
    /// None for events that [`Self::spend`] has taken.
    pub fn epsilon(&mut self) -> Result<f64, PrivacyError> {
        let account = self.account.clone();
        self.epsilon_of(&account)
    }

    /// Whether an event, so many times after all that was spent, would take epsilon above a budget. Nothing is spent.
    ///
    /// # Errors
    ///
    /// If the event has no accounting.
    pub fn would_exceed(
        &mut self,
        event: &Event,
        count: u64,
        budget: f64,
    ) -> Result<bool, PrivacyError> {
        let mut account = self.account.clone();
        account.add(event, count, self.question.neighbouring)?;
        Ok(self.epsilon_of(&account)? > budget)
    }

    /// The full certificate of all that was spent.
    ///
    /// # Errors
    ///
    /// None for events that [`Self::spend`] has taken.
    pub fn certificate(&self) -> Result<Certificate, PrivacyError> {
        query::epsilon_of(&self.account, &self.question)
    }

    fn epsilon_of(&mut self, account: &Account) -> Result<f64, PrivacyError> {
        let composed = !account.not_private
            && !account.releases.is_empty()
            && account.renyi_only().is_none()
            && count(account) > 1;
        if !composed {
            return Ok(query::epsilon_of(account, &self.question)?.epsilon);
        }
        if !self.grow(account) {
            self.kept = self.plan(account)?;
        }
        let answer = self
            .kept
            .as_ref()
            .and_then(|kept| kept.epsilon(self.question.delta));
        match answer {
            Some(epsilon) => Ok(epsilon),
            None => {
                self.kept = None;
                Ok(query::epsilon_of(account, &self.question)?.epsilon)
            }
        }
    }

    /// Multiplies the kept composition by what an account has beyond it. False if there is none, the account is not its
    /// continuation, or there is no room.
    fn grow(&mut self, account: &Account) -> bool {
        let Some(kept) = &mut self.kept else {
            return false;
        };
        let Some(new) = beyond(&kept.included, account) else {
            return false;
        };
        let added: u64 = new.iter().map(|(_, count)| count).sum();
        if kept.steps + added > kept.room {
            return false;
        }
        if !new.iter().all(|(kind, count)| kept.multiply(kind, *count)) {
            return false;
        }
        kept.steps += added;
        kept.included = account.clone();
        true
    }

    fn plan(&self, account: &Account) -> Result<Option<Kept>, PrivacyError> {
        let mut planned = account.clone();
        for (_, count) in &mut planned.releases {
            *count = count.saturating_mul(ROOM);
        }
        planned.mu_squared *= ROOM as f64;
        let delta = self.question.delta;
        let renyi = Total::new(&planned).epsilon(delta);
        let wanted = parts(&planned);
        let mut grid = Grid::new(&wanted, &self.question, renyi.order, renyi.value, delta);
        let now = parts(account);
        let compositions = grid.settle(|layout| {
            let room = all_losses(&wanted, layout)?;
            let mut spent = room.clone();
            for (part, (kind, count)) in spent.iter_mut().zip(&now) {
                // Only the one Gaussian of all is another than the one there is room for.
                if part.0 != *kind {
                    (part.0, part.1) = (*kind, losses(kind, layout)?);
                }
                part.2 = *count;
            }
            let added = match (swapped(&room), swapped(&spent)) {
                (Some(room), Some(spent)) => Some(start(&room, &spent, layout)?),
                _ => None,
            };
            Ok((start(&room, &spent, layout)?, added))
        })?;
        let steps = now.iter().map(|(_, count)| count).sum();
        Ok(compositions.map(|(removed, added)| Kept {
            removed,
            added,
            grid,
            included: account.clone(),
            steps,
            room: steps.saturating_mul(ROOM),
        }))
    }
}

/// A composition of what was spent, with room for more.
fn start(room: &[Part], spent: &[Part], layout: &Layout) -> Result<Composition, Obstacle> {
    let room: Vec<_> = room.iter().map(|(_, pmf, count)| (pmf, *count)).collect();
    let mut composition = Composition::plan(&room, *layout)?;
    for (kind, pmf, count) in spent {
        composition.multiply(kind, pmf, *count);
    }
    Ok(composition)
}

impl Kept {
    /// The larger epsilon of the two orders; `None` if the grid is too wide for it or its window too small.
    fn epsilon(&self, delta: f64) -> Option<f64> {
        let mut answer = self.removed.epsilon(delta)?;
        if let Some(added) = &self.added {
            let other = added.epsilon(delta)?;
            if other.value > answer.value {
                answer = other;
            }
        }
        let error = self.grid.error(self.steps as f64, answer.steepness);
        (answer.value.is_finite() && error <= 2.0 * self.grid.wanted).then_some(answer.value)
    }

    /// Composes with a release; false if it does not fit the grid.
    fn multiply(&mut self, kind: &Kind, count: u64) -> bool {
        let again = self.removed.multiply_again(kind, count);
        match &mut self.added {
            Some(added) if again => return added.multiply_again(kind, count),
            None if again => return true,
            _ => {}
        }
        let Ok(pmf) = losses(kind, &self.grid.layout) else {
            return false;
        };
        match &mut self.added {
            Some(added) => added.multiply(kind, &pmf.swapped(), count),
            None if !pmf.symmetric => return false,
            None => {}
        }
        self.removed.multiply(kind, &pmf, count);
        true
    }
}

fn count(account: &Account) -> u64 {
    parts(account).iter().map(|(_, count)| count).sum()
}

/// What an account has that another, which it continues, has not.
fn beyond(old: &Account, new: &Account) -> Option<Vec<(Kind, u64)>> {
    let mut more = Vec::new();
    for (release, count) in &new.releases {
        let known = old.releases.iter().find(|(known, _)| known == release);
        let before = known.map_or(0, |(_, count)| *count);
        let added = count.checked_sub(before)?;
        if added > 0 {
            more.push((Kind::Release(*release), added));
        }
    }
    let gaussian = new.mu_squared - old.mu_squared;
    if gaussian > 0.0 {
        more.push((Kind::Gaussian(gaussian.sqrt()), 1));
    }
    (gaussian >= 0.0).then_some(more)
}
