//! What has happened in experiments, read once: a page that is looked at again reads what is new.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use cloister_report::record::{Event, RoundRow, event_kind};
use serde::Deserialize;

use super::super::desk::Desk;
use super::words;
use crate::experiment::{Answer, Id, SiteAnswer, State};
use crate::store::StoreError;

/// Experiments that are remembered.
const EXPERIMENTS: usize = 128;
/// Happenings of an experiment that are remembered.
pub(super) const HAPPENINGS: usize = 50;
/// Anomalies of an experiment that are remembered in full.
pub(super) const FLAGS: usize = 50;
/// Characters of a site's reason that are shown.
pub(super) const REASON: usize = 300;
/// Lines that are read at a time.
const LINES: usize = 500;

/// The figures of a round that there are curves of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) round: u32,
    pub(super) train_loss: Option<f64>,
    pub(super) accuracy: Option<f64>,
    pub(super) epsilon: Option<f64>,
}

/// The privacy that an experiment's config promises.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promise {
    pub(super) budget: Option<f64>,
    pub(super) delta: f64,
}

/// One experiment.
#[derive(Clone, Debug, Default)]
pub(super) struct Chronicle {
    /// Lines of the story that were read.
    read: u64,
    pub(super) points: Vec<Point>,
    /// The last happenings, oldest first.
    pub(super) recent: VecDeque<Happening>,
    pub(super) promise: Option<Promise>,
    /// Anomalies in all, and the last of them, oldest first.
    pub(super) flagged: u64,
    pub(super) flags: VecDeque<Event>,
}

/// A line of the story that is not a round.
#[derive(Clone, Debug)]
pub(super) enum Happening {
    /// Something about the rounds.
    Event(Event),
    /// The experiment stands differently.
    State(State, String),
    /// A site has answered.
    Answer(SiteAnswer),
}

/// A line of the story.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Round(Box<RoundRow>),
    Event(Event),
    State { state: State, reason: String },
    Answer(SiteAnswer),
}

impl Chronicle {
    fn take(&mut self, line: &str) {
        // A later version may tell more.
        let Ok(line) = serde_json::from_str(line) else {
            return;
        };
        let happening = match line {
            Line::Round(row) => {
                return self.points.push(Point {
                    round: row.round,
                    train_loss: row.train_loss,
                    accuracy: row.test_accuracy,
                    epsilon: row.epsilon,
                });
            }
            Line::Event(event) if event.kind == event_kind::ANOMALY => {
                self.flagged += 1;
                if self.flags.len() == FLAGS {
                    self.flags.pop_front();
                }
                return self.flags.push_back(event);
            }
            Line::Event(event) => Happening::Event(event),
            Line::State { state, reason } => Happening::State(state, reason),
            Line::Answer(mut answer) => {
                if let Some(Answer::Decline { reason }) = &mut answer.answer {
                    *reason = words::foreign(reason, REASON);
                }
                Happening::Answer(answer)
            }
        };
        if self.recent.len() == HAPPENINGS {
            self.recent.pop_front();
        }
        self.recent.push_back(happening);
    }
}

/// Those of several experiments.
#[derive(Debug, Default)]
pub(super) struct Chronicles(BTreeMap<Id, Arc<Chronicle>>);

impl Chronicles {
    /// Reads what is new of an experiment.
    pub(super) fn read(&mut self, desk: &Desk, id: Id) -> Result<Arc<Chronicle>, StoreError> {
        if !self.0.contains_key(&id) {
            let promise = promise(&desk.store.experiment(id)?.config);
            if self.0.len() >= EXPERIMENTS {
                self.0.pop_first();
            }
            let chronicle = Chronicle {
                promise,
                ..Chronicle::default()
            };
            self.0.insert(id, Arc::new(chronicle));
        }
        let shared = self.0.entry(id).or_default();
        loop {
            let lines = desk.store.story(id, shared.read, LINES)?;
            if !lines.is_empty() {
                // Copied only while a page with the earlier state is being put together.
                let chronicle = Arc::make_mut(shared);
                chronicle.read += lines.len() as u64;
                lines.iter().for_each(|line| chronicle.take(line));
            }
            if lines.len() < LINES {
                return Ok(Arc::clone(shared));
            }
        }
    }
}

fn promise(config: &str) -> Option<Promise> {
    let (experiment, _) = crate::plan::read(config).ok()?;
    experiment.privacy.map(|privacy| Promise {
        budget: privacy.epsilon,
        delta: privacy.delta,
    })
}
