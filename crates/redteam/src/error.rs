//! Why an attack was refused.

use cloister_data::DataError;

/// The attack cannot be made as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttackError {
    /// The number of malicious clients is not given, or twice.
    #[error("the attack needs either clients or fraction, {given}")]
    Count {
        /// `got both` or `got neither`.
        given: &'static str,
    },
    /// Nobody would be left to attack.
    #[error("{malicious} of {clients} clients cannot be malicious: an attack needs an honest one")]
    NobodyHonest {
        /// How many were to be malicious.
        malicious: u32,
        /// How many clients there are.
        clients: usize,
    },
    /// A parameter is out of its range.
    #[error("{key} {reason}")]
    Parameter {
        /// Its key.
        key: &'static str,
        /// What it must be, and was.
        reason: String,
    },
    /// The attack cannot be made with so little knowledge.
    #[error("{kind} needs knowledge = \"{needs}\", got \"{got}\"")]
    Knowledge {
        /// The attack.
        kind: &'static str,
        /// The least that it needs.
        needs: &'static str,
        /// What it was given.
        got: &'static str,
    },
    /// A class that the data does not have.
    #[error("{key} '{class}' is neither a class of '{dataset}' nor a number below {classes}")]
    Class {
        /// `source` or `target`.
        key: &'static str,
        /// What was asked for.
        class: String,
        /// The data set.
        dataset: String,
        /// How many classes it has.
        classes: usize,
    },
    /// The labels would stay as they are.
    #[error("source and target are both class {class}, nothing would change")]
    SameClass {
        /// The class, by number.
        class: usize,
    },
    /// The trigger is larger than an example, or has fewer values than parts.
    #[error("trigger_size {size} does not fit examples of shape {shape}: {reason}")]
    Trigger {
        /// The size.
        size: u32,
        /// The shape of an example.
        shape: String,
        /// What does not fit.
        reason: String,
    },
    /// A client's rows are not in the training set, or the poisoned rows make no data set.
    #[error("client {client}: {source}")]
    Data {
        /// The client.
        client: u32,
        /// Why.
        source: DataError,
    },
    /// A row that is not in the data.
    #[error("client {client}: row {row} is not among the {rows} examples")]
    Row {
        /// The client.
        client: u32,
        /// Its row.
        row: u32,
        /// Rows of the data.
        rows: usize,
    },
    /// The data has too few classes for labels to be changed.
    #[error("{kind} needs two classes, the data has {classes}")]
    Classes {
        /// The attack.
        kind: &'static str,
        /// How many classes there are.
        classes: usize,
    },
    /// The model has no parameters.
    #[error("the model has no parameters")]
    NoParameters,
    /// A vector has another length than the global model.
    #[error("{what} has {got} values, expected {expected}")]
    Length {
        /// Which vector.
        what: String,
        /// Its expected length.
        expected: usize,
        /// Its length.
        got: usize,
    },
}
