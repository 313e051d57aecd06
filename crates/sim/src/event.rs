//! What a simulation tells while it goes, to a `&mut dyn FnMut(&SimEvent)`.

use cloister_report::record::{Event, RoundRow, Summary};

/// Something to show.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SimEvent<'a> {
    /// Data, clients and model are ready.
    Prepared(Prepared<'a>),
    /// A round ended.
    Round(&'a RoundRow),
    /// A line went into `events.jsonl`.
    Record(&'a Event),
    /// A baseline begins; they can take as long as the federation.
    BaselineStarted {
        /// Its name.
        name: &'a str,
    },
    /// The run ended.
    Finished(&'a Summary),
    /// A run of a sweep ended.
    CellFinished {
        /// Runs done.
        done: usize,
        /// Runs in all.
        of: usize,
        /// Its changed settings, in words.
        label: &'a str,
        /// How it ended: its summary, or why it failed.
        result: Result<&'a Summary, &'a str>,
    },
}

/// A simulation at its start.
#[derive(Clone, Debug)]
pub struct Prepared<'a> {
    /// The experiment's name.
    pub name: &'a str,
    /// The data set's name.
    pub dataset: &'a str,
    /// Training examples.
    pub train: usize,
    /// Test examples.
    pub test: usize,
    /// Clients.
    pub clients: usize,
    /// Rounds, and how many of them are done already in a resumed run.
    pub rounds: u32,
    /// Rounds done before a resume.
    pub done: u32,
    /// The model's kind.
    pub model: &'a str,
    /// Its parameters.
    pub parameters: usize,
    /// What the data's reader had to say.
    pub notes: &'a [String],
}
