//! What a host knows of a run beside its config.

use cloister_config::Experiment;
use cloister_secagg::Params;

/// Where the clients of a run are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In one process.
    Simulation,
    /// With their owners.
    Deployment,
}

/// A client and what it brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Examples that it trains on.
    pub examples: u64,
}

/// A run, as far as its record tells of it.
#[derive(Clone, Debug)]
pub struct Setting<'a> {
    /// The experiment.
    pub experiment: &'a Experiment,
    /// Where its clients are.
    pub place: Place,
    /// The clients, by number.
    pub members: &'a [Member],
    /// The numbers of a round's secure sum, where the server sees sums only.
    pub sums: Option<&'a Params>,
    /// Parameters of the model.
    pub parameters: usize,
    /// The data set.
    pub dataset: &'a str,
    /// Its classes.
    pub classes: usize,
    /// Test examples of the host.
    pub test: u64,
    /// What a reader must know about the data.
    pub notes: &'a [String],
}
