//! The deployed rule, asked what it would make of a vector.

use cloister_robust::{Aggregator, Input, Rule, Verdict};
use rand_chacha::ChaCha8Rng;

use crate::updates::statistics::mean;
use crate::view::View;

/// What a search against a rule is after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// To be among the updates that the rule selects.
    Selected,
    /// To move the result.
    Moved,
}

/// A round as the attackers imagine it: a clone of the deployed rule with the steps before it and its memory, the
/// updates that they see, and one vector that all of them send.
#[derive(Debug)]
pub(crate) struct Oracle<'a> {
    aggregator: Aggregator<f32>,
    /// Who sends what, in the order of the clients; `None` is the vector in question.
    senders: Vec<(u32, Option<&'a [f32]>)>,
    /// The server's own update, as far as the attackers can guess it: the mean of what they see.
    trusted: Option<Vec<f32>>,
    rng: ChaCha8Rng,
    threads: usize,
}

impl<'a> Oracle<'a> {
    /// With the updates of the other members in view, the round is as it will be, but for weights by examples (all
    /// count alike) and the server's random numbers, which are drawn from `rng`.
    pub(crate) fn of_round(view: &View<'a>, malicious: &[u32], rng: ChaCha8Rng) -> Self {
        let others = view.clients.iter().zip(view.honest);
        let mut senders: Vec<(u32, Option<&'a [f32]>)> =
            others.map(|(client, row)| (*client, Some(*row))).collect();
        senders.extend(malicious.iter().map(|client| (*client, None)));
        Self::new(view.aggregator.clone(), senders, rng, view.threads)
    }

    /// With only the attackers' own honest updates in view, these stand for the honest ones, and as many more are
    /// malicious as makes the share of the cohort (Shejwalkar and Houmansadr's released code), as the rule is told.
    /// `None` if the rule cannot be set up so.
    pub(crate) fn of_own(
        view: &View<'_>,
        own: &[(u32, &'a [f32])],
        rng: ChaCha8Rng,
    ) -> Option<Self> {
        let honest = own.len();
        let others = view.cohort.saturating_sub(honest).max(1);
        let liars = ((honest * honest) as f64 / others as f64).round().max(1.0) as usize;
        let mut config = view.aggregator.config().clone();
        config.byzantine = config.byzantine.min(liars as u32);
        config.trim = config.trim.map(|_| config.byzantine);
        config.selected = None;
        let mut aggregator = Aggregator::new(config).ok()?;
        aggregator.restore(view.aggregator.state().clone());
        let mut senders: Vec<(u32, Option<&'a [f32]>)> = own
            .iter()
            .map(|(client, row)| (*client, Some(*row)))
            .collect();
        // Numbers that no client has: the liars of the imagined round have no history.
        senders.extend((0..liars).map(|liar| (u32::MAX - liar as u32, None)));
        Some(Self::new(aggregator, senders, rng, view.threads))
    }

    fn new(
        aggregator: Aggregator<f32>,
        mut senders: Vec<(u32, Option<&'a [f32]>)>,
        rng: ChaCha8Rng,
        threads: usize,
    ) -> Self {
        senders.sort_by_key(|(client, _)| *client);
        let seen: Vec<&[f32]> = senders.iter().filter_map(|(_, row)| *row).collect();
        let trusted = (aggregator.config().rule == Rule::Fltrust && !seen.is_empty())
            .then(|| mean(&seen).into_iter().map(|value| value as f32).collect());
        Self {
            aggregator,
            senders,
            trusted,
            rng,
            threads,
        }
    }

    /// What a search against this rule is after: Shejwalkar and Houmansadr's objectives.
    pub(crate) fn goal(&self) -> Goal {
        match self.aggregator.config().rule {
            Rule::Krum
            | Rule::MultiKrum
            | Rule::KrumByzfl
            | Rule::MultiKrumByzfl
            | Rule::MultiKrumFlower
            | Rule::Bulyan
            | Rule::Mda
            | Rule::Cge
            | Rule::Dnc
            | Rule::Flame => Goal::Selected,
            _ => Goal::Moved,
        }
    }

    /// Whether as many of the malicious rows are kept as there is room for: all, or, where the rule keeps fewer rows
    /// than that, nothing else. `None` if the rule refuses the round.
    pub(crate) fn selects(&self, candidate: &[f32]) -> Option<bool> {
        let (verdict, _) = self.ask(candidate)?;
        let rows = || self.senders.iter().zip(&verdict.rows);
        let kept = rows().filter(|(_, row)| row.kept).count();
        let liars = rows().filter(|((_, row), _)| row.is_none()).count();
        let liars_kept = rows()
            .filter(|((_, sent), row)| sent.is_none() && row.kept)
            .count();
        Some(liars_kept > 0 && liars_kept == liars.min(kept))
    }

    /// How far from `from` the result is. `None` if the rule refuses the round.
    pub(crate) fn deviation(&self, candidate: &[f32], from: &[f64]) -> Option<f64> {
        let (_, result) = self.ask(candidate)?;
        let each = result.iter().zip(from);
        let squares = each.map(|(result, from)| (f64::from(*result) - from).powi(2));
        Some(squares.sum::<f64>().sqrt())
    }

    fn ask(&self, candidate: &[f32]) -> Option<(Verdict, Vec<f32>)> {
        let clients: Vec<u32> = self.senders.iter().map(|(client, _)| *client).collect();
        let rows: Vec<&[f32]> = self
            .senders
            .iter()
            .map(|(_, row)| row.unwrap_or(candidate))
            .collect();
        let input = Input {
            clients: Some(&clients),
            trusted: self.trusted.as_deref(),
            threads: self.threads,
            ..Input::new(&rows)
        };
        let mut result = vec![0.0; candidate.len()];
        // Each question starts from the same memory and the same random numbers.
        let mut aggregator = self.aggregator.clone();
        let mut rng = self.rng.clone();
        let verdict = aggregator.aggregate(&input, &mut rng, &mut result).ok()?;
        Some((verdict, result))
    }
}
