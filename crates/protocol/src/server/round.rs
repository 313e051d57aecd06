//! The round in progress: who has answered, and what.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::aggregation::Replies;
use crate::error::ClientId;
use crate::server::event::RoundReport;

/// The round in progress.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) started: Duration,
    pub(super) wanted: usize,
    pub(super) members: BTreeMap<ClientId, Member>,
    /// How many members are `Waiting`: counted, so that a reply costs no pass over the cohort.
    pub(super) waiting: usize,
    pub(super) replies: Replies,
    /// The server's own update, for rules that compare with one.
    pub(super) trusted: Option<Vec<f32>>,
}

/// Where a member of the cohort stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Member {
    Waiting,
    Lost,
    Refused,
    Accepted { weight: u32, loss: Option<f64> },
}

impl Round {
    fn count(&self, is: impl Fn(&Member) -> bool) -> usize {
        self.members.values().filter(|member| is(member)).count()
    }

    fn members_that(&self, is: impl Fn(&Member) -> bool) -> Vec<ClientId> {
        let members = self.members.iter().filter(|(_, member)| is(member));
        members.map(|(client, _)| *client).collect()
    }

    pub(super) fn accepted(&self) -> usize {
        self.replies.count()
    }

    /// Gives `client`, if its answer is still awaited, another standing; false if it is not.
    pub(super) fn resolve(&mut self, client: ClientId, standing: Member) -> bool {
        let Some(member @ (Member::Waiting | Member::Lost)) = self.members.get_mut(&client) else {
            return false;
        };
        self.waiting -= usize::from(*member == Member::Waiting);
        *member = standing;
        true
    }

    /// What is known of the round before its replies are aggregated.
    pub(super) fn report(&self, round: u32, now: Duration) -> RoundReport {
        RoundReport {
            round,
            abandoned: None,
            cohort: self.members.len() as u32,
            accepted: self.accepted() as u32,
            refused: self.count(|member| *member == Member::Refused) as u32,
            missing: self.count(|member| matches!(member, Member::Waiting | Member::Lost)) as u32,
            train_loss: self.train_loss(),
            clip: None,
            bytes_up: 0,
            bytes_down: 0,
            duration: now.saturating_sub(self.started),
            verdicts: Vec::new(),
            replies: Vec::new(),
            turned_away: self.members_that(|member| *member == Member::Refused),
            silent: self.members_that(|member| match member {
                Member::Lost => true,
                Member::Waiting => self.accepted() < self.wanted,
                Member::Refused | Member::Accepted { .. } => false,
            }),
            masked: None,
        }
    }

    /// Mean loss in the order of the roster, so that it does not depend on the order of arrival.
    fn train_loss(&self) -> Option<f64> {
        let (mut total, mut weights) = (0.0, 0.0);
        for member in self.members.values() {
            if let Member::Accepted {
                weight,
                loss: Some(loss),
            } = member
            {
                total += f64::from(*weight) * loss;
                weights += f64::from(*weight);
            }
        }
        (weights > 0.0).then(|| total / weights)
    }
}
