//! What every host of a run keeps beside moving messages: what privacy was spent and may be claimed, who can see what, and the
//! summary and model that a run leaves.
//!
//! A simulation and a deployment differ in who the clients are and how messages travel. What they owe to the reader of a
//! record is the same, and is here: [`Spending`] is the run's privacy ledger and its epsilon, [`statement`] what may be
//! claimed of it, [`trust`] who sees what, [`summary`] the figures of the end, [`Monitor`] what departs from the usual on the way.

mod anomaly;
mod checkpoint;
mod pipeline;
mod quality;
mod round;
mod setting;
mod spending;
mod statement;
mod summary;
mod transcript;
mod trust;

pub use anomaly::{Findings, Memory, Monitor, Observed};
pub use checkpoint::{Checkpoint, CheckpointError};
pub use pipeline::{PipelineFileError, write_pipeline};
pub use quality::{Groups, Judging, NumberJudging, ThresholdChoice};
pub use round::{bucket_failed, budget_spent, ending, guard_finding, row, verdicts};
pub use setting::{Member, Place, Setting};
pub use spending::{Excess, Spending, SpendingError, ledger_of};
pub use statement::statement;
pub use summary::{Ending, ModelError, headline, metrics, model_file, summary, to_hex};
pub use transcript::{
    TRANSCRIPTS, TranscriptFileError, drop_transcripts, read_transcript, recorded_rounds, records,
    transcript_path, write_transcript,
};
pub use trust::{seeded, trust};
