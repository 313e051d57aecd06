//! Attacks a recorded run, and says what leaks.
//!
//! The red team's attacks (`cloister_redteam`) read vectors and models. This room opens a *run*: its config, its data, the
//! transcripts of its recorded rounds with every defence on ([`Subject`]), makes the attacks that fit, scores them against
//! the truth that only the owner of the run has, and files rows of the report (`cloister_report::record::leakage`).
//!
//! | item | what it does |
//! | --- | --- |
//! | [`Subject`], [`Sight`] | a run, and a vector that its server saw |
//! | [`attacks`], [`reconstruct`] | which reconstructions fit, and one of them on several sights |
//! | [`membership`] | membership and label mixes, from the final model and the recorded rounds |
//! | [`audit`] | a twin with canaries, and the lower bound of its epsilon |
//! | [`Defence`], [`laboratory`] | the same model and data under one defence at a time |
//! | [`report`] | all of it |

mod audit;
mod clock;
mod derive;
mod error;
mod guards;
mod membership;
mod picture;
mod plan;
mod reconstruct;
mod self_tests;
mod space;
mod subject;
mod suite;
mod table;

pub use audit::{AuditPlan, audit};
pub use derive::{Defence, defended, laboratory, with_settings};
pub use error::LeakError;
pub use membership::{ATTACKS, Inferred, MembershipPlan, membership};
pub use picture::strip;
pub use plan::{Overrides, Planned, Suite, attacks};
pub use reconstruct::{Outcome, Tried, picture, reconstruct};
pub use subject::{Sight, Subject};
pub use suite::{SuitePlan, report};
