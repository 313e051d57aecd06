//! What attackers remember from round to round.

/// What the attackers remember from round to round, for a checkpoint; each attack uses its own part.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// `free-rider`, `neurotoxin`: the last step of the global model, d values.
    pub last_step: Option<Vec<f32>>,
    /// `mimic`: running mean of the updates seen while warming up, d values.
    pub mean: Option<Vec<f32>>,
    /// `mimic`: running direction in which the updates differ most, a unit vector of d values.
    pub direction: Option<Vec<f32>>,
    /// `mimic`: rounds of warming up that are done.
    pub warmed_up: u32,
    /// `mimic`: the client that is mimicked until further notice, after the warming up for good.
    pub mimicked: Option<u32>,
}
