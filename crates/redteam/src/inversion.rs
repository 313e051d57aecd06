//! Reconstruction: what a server can rebuild of a client's examples from the update that it received.
//!
//! An [`Observation`] is what the server has: the global parameters that it sent, the update as it came over the wire, the
//! declared training plan, and the shape and range of inputs. Attacks read nothing else; the truth is read only to score
//! ([`score`]) what they give, beside what a trivial guess would have scored ([`floor`]).
//!
//! | room | what it does |
//! | --- | --- |
//! | [`invert`] | an [`Attack`] on an [`Observation`]: inputs and labels |
//! | [`labels`] | labels from the last layer's bias |
//! | [`closed_form`] | inputs of a first linear layer, without optimising anything |
//! | [`malicious`] | models of a malicious server: imprint, trap weights |
//! | [`score`] | MSE, PSNR, SSIM after an assignment; rows of tables |
//! | [`floor`] | what needs no update, and the verdict in words |
//!
//! A reconstruction that fails proves nothing: "none found by this suite" is the best verdict there is.

mod attack;
pub mod closed_form;
mod error;
pub mod floor;
mod invert;
pub mod labels;
pub mod malicious;
mod objective;
mod observation;
mod optimise;
mod problem;
pub mod score;
mod space;
mod variation;

pub use attack::{Adaptation, Attack, Method, Noise, Order, PRESETS, Start, Variation};
pub use error::InversionError;
pub use invert::{Reconstruction, invert};
pub use labels::Labels;
pub use objective::Distance;
pub use observation::{Evidence, MOST_STEPS, NotAttackable, Observation};
pub use optimise::{Adam, Lbfgs};
pub use space::InputSpace;
