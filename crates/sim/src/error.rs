//! What can end a simulation.

use std::path::PathBuf;

/// Why a simulation could not start or go on. A client's fault never ends one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimError {
    /// The data could not be read.
    #[error(transparent)]
    Data(#[from] cloister_data::DataError),
    /// The rows could not be dealt to the clients.
    #[error(transparent)]
    Partition(#[from] cloister_data::PartitionError),
    /// The model does not fit the data.
    #[error(transparent)]
    Model(#[from] cloister_nn::ModelError),
    /// The model file could not be made.
    #[error(transparent)]
    ModelFile(#[from] cloister_host::ModelError),
    /// The pipeline could not be kept.
    #[error(transparent)]
    Pipeline(#[from] cloister_host::PipelineFileError),
    /// The config is wrong.
    #[error(transparent)]
    Config(#[from] cloister_config::ConfigError),
    /// The run folder could not be written or read.
    #[error(transparent)]
    Record(#[from] cloister_report::record::RecordError),
    /// The server was driven wrongly, or a checkpoint does not fit it.
    #[error(transparent)]
    Protocol(#[from] cloister_protocol::ProtocolError),
    /// The privacy asked for cannot be had, or not be accounted.
    #[error("privacy: {0}")]
    Privacy(#[from] cloister_privacy::PrivacyError),
    /// A release could not be accounted for.
    #[error(transparent)]
    Spending(#[from] cloister_host::SpendingError),
    /// The keys of secure sums cannot be drawn.
    #[error("keys of secure sums: {0}")]
    Keys(String),
    /// The clients cannot be asked what the preparation needs.
    #[error(transparent)]
    Survey(#[from] cloister_data::statistics::survey::SurveyError),
    /// The clients could not find the figures of the preparation.
    #[error("statistics: {0}")]
    Statistics(String),
    /// The attack cannot be made on this federation.
    #[error("attack: {0}")]
    Attack(#[from] cloister_redteam::AttackError),
    /// The server could not make an update of its own.
    #[error("the server's own update: {0}")]
    Root(String),
    /// A baseline could not train.
    #[error("baseline {name}: {reason}")]
    Baseline {
        /// Which one.
        name: &'static str,
        /// Why.
        reason: String,
    },
    /// A checkpoint is not one, or not of this run.
    #[error("{path}: {reason}")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A transcript could not be kept.
    #[error(transparent)]
    Transcript(#[from] cloister_host::TranscriptFileError),
    /// A file could not be written or read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The experiment has a sweep, which is not one run.
    #[error("this config is a sweep of {cells} runs")]
    IsSweep {
        /// How many.
        cells: usize,
    },
    /// The experiment has no sweep.
    #[error("this config has no [sweep] table")]
    NoSweep,
}
