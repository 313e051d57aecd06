//! Host 1: a whole federation in one process.
//!
//! [`Federation::load`] reads the data of an experiment, deals it to the clients and builds the model; [`run()`] then
//! carries out the rounds and leaves a run folder; [`run_sweep`] does so for a grid. The rounds themselves are
//! `cloister_protocol`'s state machines: the simulator only delivers their messages, one client a thread, on a virtual
//! clock that drops, delays and garbles them as `[faults]` says.
//!
//! - Idle clients cost their row indices and a few bytes; there are as many model copies as threads, and a few.
//! - The same seed gives the same model file, bit for bit, for any number of threads, and whether or not the run was
//!   stopped and resumed.
//! - Every second or so, between two rounds, the state is written atomically: a run that was killed goes on from there, to
//!   the same bits.
//!
//! ```
//! use std::sync::{Arc, atomic::AtomicBool};
//! use cloister_sim::{Federation, Options, run};
//!
//! let text = "name = 'hospitals'\n\
//!             data = { dataset = 'heart-disease', partition = { kind = 'natural' } }\n\
//!             federation = { rounds = 3 }\n\
//!             model = { kind = 'logistic' }";
//! let federation = Federation::load(&toml::from_str(text)?)?;
//! assert_eq!(federation.clients(), 4);
//! let folder = tempfile::tempdir()?;
//! let options = Options {
//!     folder: folder.path().join("run"),
//!     threads: 2,
//!     resume: false,
//!     stop: Arc::new(AtomicBool::new(false)),
//!     unattacked: None,
//! };
//! let outcome = run(&federation, &options, &mut |_| {})?;
//! assert!(outcome.summary.is_some_and(|summary| summary.final_.auroc > Some(0.5)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod at_sites;
mod attackers;
mod baselines;
mod checkpoint;
mod clock;
mod error;
mod event;
mod faults;
mod federation;
mod inquiry;
mod ordered;
mod results;
mod run;
mod secure;
mod survey;
mod sweep;
mod unattacked;

pub use error::SimError;
pub use event::{Prepared, SimEvent};
pub use federation::{Federation, planned_sums};
pub use run::{Options, Outcome, run};
pub use survey::{Surveyed, find_statistics};
pub use sweep::{SweepOutcome, run_sweep};
pub use unattacked::UnattackedRun;
