//! What the attackers of a round see, and what they hold.

use cloister_protocol::Update;
use cloister_robust::Aggregator;

/// What the attackers of a round see.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The round, from 1.
    pub round: u32,
    /// The global model of the round: d values.
    pub global: &'a [f32],
    /// Updates of the cohort's other members, d values each; empty unless [`Adversary::sees`](crate::Adversary::sees)
    /// is [`Knowledge::All`](crate::Knowledge::All).
    pub honest: &'a [&'a [f32]],
    /// Who made each of `honest`.
    pub clients: &'a [u32],
    /// Members of the cohort, the malicious ones included.
    pub cohort: usize,
    /// The deployed rule with the steps before it and its memory, which `tailored` asks.
    pub aggregator: &'a Aggregator<f32>,
    /// Threads that the rule may work on when it is asked; the result does not depend on it.
    pub threads: usize,
}

/// The update of one malicious member of the cohort: first what [`Adversary::train`](crate::Adversary::train) made,
/// then what it sends.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnUpdate {
    /// The client.
    pub client: u32,
    /// Its update.
    pub update: Update,
}
