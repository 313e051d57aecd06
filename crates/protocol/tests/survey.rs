//! Statistics found in rounds, plain and masked, are those of the pooled rows.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot unwrap has failed"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cloister_data::statistics::{Asked, ColumnStatistics, Question, TableStatistics, Value};
use cloister_privacy::noise::NoiseSource;
use cloister_protocol::message::LayoutDigest;
use cloister_protocol::survey::{Owned, Row, StatisticsConfig, SurveyLearner, SurveyPlan};
use cloister_protocol::*;
use cloister_secagg::{Entry, Identity, Mode, Policy, Roster, Secrets, SecureAggregationConfig};
use rand::SeedableRng;
use rand_chacha::{ChaCha8Rng, ChaCha20Rng};

const NOW: Duration = Duration::ZERO;

fn question() -> Question {
    Question {
        columns: vec![
            (
                "amount".to_owned(),
                Asked::Number {
                    quantiles: vec![0.5],
                    clip: Some((0.01, 0.99)),
                },
            ),
            ("bank".to_owned(), Asked::categories()),
            ("age".to_owned(), Asked::number()),
        ],
        classes: 2,
        correlation: true,
    }
}

/// Rows that differ from owner to owner, missing values among them.
fn rows(owner: u32) -> Vec<Row<'static>> {
    let row = |i: u32| {
        let k = f64::from(i * 7 + owner * 131 % 17);
        let amount = match i % 5 {
            0 => Value::Missing,
            _ => Value::Number((k * 1.37).sin() * 1e4 + f64::from(owner) * 0.001),
        };
        let bank = match i % 4 {
            3 => Value::Missing,
            _ => Value::Category(format!("bank {} of {}", i % 3, owner % 3).into()),
        };
        (vec![amount, bank, Value::Number(f64::from(i % 90))], i % 2)
    };
    (0..40 + 3 * owner).map(row).collect()
}

fn pooled(owners: u32) -> TableStatistics {
    let all: Vec<Row<'static>> = (0..owners).flat_map(rows).collect();
    TableStatistics::of_rows(
        &question(),
        all.iter().map(|(row, class)| (&row[..], *class)),
    )
}

struct World {
    plan: SurveyPlan,
    server: Server,
    clients: Vec<Client>,
    /// Whose answers are lost in the first rounds.
    silent: Option<(ClientId, u32)>,
    reports: Vec<RoundReport>,
}

impl World {
    fn new(config: &StatisticsConfig, owners: u32, masked: bool) -> Self {
        let plan = SurveyPlan::new(config.asking(&question()).unwrap(), owners).unwrap();
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let key = Identity::generate(&mut rng);
        let identities: Vec<Identity> = (0..owners).map(|_| Identity::generate(&mut rng)).collect();
        let entry = |(place, identity): (u32, &Identity)| Entry {
            client: roster_name(ClientId(place)),
            identity: identity.public(),
            not_after: 10,
        };
        let roster = Roster::new(key.public(), (0..).zip(&identities).map(entry).collect());
        let roster = Arc::new(roster.unwrap());
        let sums = plan.sums(&SecureAggregationConfig {
            minimum_cohort: 4,
            ..SecureAggregationConfig::default()
        });
        let secure = masked.then(|| SecurePlan {
            config: sums.clone(),
            task: [3; 16],
            roster: Arc::clone(&roster),
        });
        let layout = LayoutDigest::of(plan.layout());
        let settings = plan.settings(secure, None);
        let mut server = Server::new(settings, layout, plan.initial(), Streams::new(1)).unwrap();
        if masked {
            server.use_identity(key);
        }
        let mut clients = Vec::new();
        for (place, identity) in (0..).zip(identities) {
            server.enroll(ClientId(place), 1).unwrap();
            let mut client = Client::new(layout, plan.layout().len(), 1);
            if masked {
                let policy = Policy {
                    task: [3; 16],
                    roster: Arc::clone(&roster),
                    place,
                    identity: Some(identity),
                    mode: Mode::Malicious,
                    minimum_cohort: sums.minimum_cohort,
                    corrupt_ppm: sums.corrupt_ppm(),
                    today: 5,
                };
                let mut rng = ChaCha20Rng::seed_from_u64(100 + u64::from(place));
                let secrets = move |_| Ok(Secrets::draw(&mut rng));
                client.use_secure_aggregation(Arc::new(policy), secrets);
            }
            clients.push(client);
        }
        Self {
            plan,
            server,
            clients,
            silent: None,
            reports: Vec::new(),
        }
    }

    fn run(&mut self) -> TableStatistics {
        while !self.plan.is_done(self.server.global()) {
            assert!(!self.server.is_finished(), "{:?}", self.reports);
            self.server.begin_round(NOW).unwrap();
            self.settle();
        }
        self.plan.answer(self.server.global()).unwrap()
    }

    fn settle(&mut self) {
        while let Some(output) = self.server.poll_output() {
            match output {
                ServerOutput::Send { to, message } => {
                    let round = self.server.round();
                    if self
                        .silent
                        .is_some_and(|(who, until)| who == to && round <= until)
                    {
                        self.server.lost(to, NOW);
                        continue;
                    }
                    for answer in self.answer(to, message) {
                        self.server.receive(to, answer, NOW);
                    }
                }
                ServerOutput::Event(ServerEvent::RoundEnded(report)) => self.reports.push(report),
                _ => {}
            }
        }
    }

    fn answer(
        &mut self,
        to: ClientId,
        message: message::ServerMessage,
    ) -> Vec<message::ClientMessage> {
        let client = &mut self.clients[to.0 as usize];
        match client.receive(message, NOW) {
            ClientAction::Send(message) => vec![message],
            ClientAction::Train(job) => {
                let rows = rows(to.0);
                let owned = match self.plan.event() {
                    Some(_) => {
                        Owned::Hidden(&rows, Box::new(NoiseSource::seeded([to.0 as u8; 32])))
                    }
                    None => Owned::Rows(&rows),
                };
                let mut learner = SurveyLearner::new(&self.plan, owned);
                let mut rng = ChaCha8Rng::seed_from_u64(to.0.into());
                let update = learner.train(&job.global, &job.plan, &mut rng);
                let reply = client.trained(job.round, update).unwrap();
                let protection = Protection {
                    defence: None,
                    rounding: &mut rng,
                    noise: None,
                    threads: 1,
                    now: NOW,
                };
                let later = client.protect(reply, protection);
                job.first.into_iter().chain(later).collect()
            }
            _ => Vec::new(),
        }
    }
}

fn numbers(found: &TableStatistics, column: usize) -> &cloister_data::statistics::NumberStatistics {
    match &found.columns[column] {
        ColumnStatistics::Number(numbers) => numbers,
        other => panic!("{other:?}"),
    }
}

fn agree(found: &TableStatistics, pooled: &TableStatistics) {
    assert_eq!((found.rows, &found.classes), (pooled.rows, &pooled.classes));
    assert_eq!(found.columns[1], pooled.columns[1]);
    for column in [0, 2] {
        let (found, pooled) = (numbers(found, column), numbers(pooled, column));
        assert_eq!((found.count, found.missing), (pooled.count, pooled.missing));
        assert!((found.mean - pooled.mean).abs() < 1e-6);
        assert!((found.variance / pooled.variance - 1.0).abs() < 1e-6);
        for (a, b) in found.quantiles.iter().zip(&pooled.quantiles) {
            assert!((a - b).abs() < 1e-4);
        }
    }
    let correlations = found.correlation.iter().zip(&pooled.correlation);
    for (a, b) in correlations.flat_map(|(a, b)| a.iter().zip(b)) {
        assert!((a - b).abs() < 1e-6);
    }
}

#[test]
fn rounds_find_what_pooled_rows_say() {
    for owners in [1, 5, 33] {
        let mut world = World::new(&StatisticsConfig::default(), owners, false);
        agree(&world.run(), &pooled(owners));
        assert_eq!(world.reports.len() as u32, world.plan.passes());
    }
}

/// Masks take nothing away, not the last bit: the statistics are those of the plain rounds.
#[test]
fn masked_rounds_find_the_same_bits() {
    for owners in [5, 12] {
        let config = StatisticsConfig::default();
        let masked = World::new(&config, owners, true).run();
        assert_eq!(masked, World::new(&config, owners, false).run());
        agree(&masked, &pooled(owners));
    }
}

/// Without all owners a pass does not count; it is repeated.
#[test]
fn owners_that_are_silent_are_waited_for() {
    let mut world = World::new(&StatisticsConfig::default(), 4, false);
    world.silent = Some((ClientId(2), 3));
    agree(&world.run(), &pooled(4));
    let abandoned = world
        .reports
        .iter()
        .filter(|report| report.abandoned.is_some());
    assert_eq!(abandoned.count(), 3);
}

/// With noise the figures are near, within what the noise explains, and the release is on record.
#[test]
fn noise_hides_rows_and_is_accounted() {
    let config = StatisticsConfig {
        noise_multiplier: Some(2.0),
        bounds: BTreeMap::from([
            ("amount".to_owned(), [-1e4, 1e4]),
            ("age".to_owned(), [0.0, 100.0]),
        ]),
        known: BTreeMap::from([("bank".to_owned(), vec!["bank 0 of 0".to_owned()])]),
        ..StatisticsConfig::default()
    };
    let plain = Question {
        columns: vec![
            ("amount".to_owned(), Asked::number()),
            ("bank".to_owned(), Asked::categories()),
            ("age".to_owned(), Asked::number()),
        ],
        classes: 2,
        correlation: false,
    };
    let plan = SurveyPlan::new(config.asking(&plain).unwrap(), 5).unwrap();
    assert!(plan.event().is_some());
    let mut world = World::new(&StatisticsConfig::default(), 5, true);
    let layout = LayoutDigest::of(plan.layout());
    let settings = plan.settings(None, None);
    world.server = Server::new(settings, layout, plan.initial(), Streams::new(1)).unwrap();
    for (place, client) in (0..).zip(&mut world.clients) {
        world.server.enroll(ClientId(place), 1).unwrap();
        *client = Client::new(layout, plan.layout().len(), 1);
    }
    world.plan = plan;
    let found = world.run();
    // 230 rows; each of five owners adds noise of deviation 2 x sqrt(3 + 1 + 3 + 1).
    let deviation = 2.0 * 8.0_f64.sqrt() * 5.0_f64.sqrt();
    let exact = pooled(5);
    let off = |found: u64, exact: u64| (found as f64 - exact as f64).abs();
    assert!(off(found.rows, exact.rows) < 6.0 * deviation * 2.0_f64.sqrt());
    assert_ne!(found.rows, exact.rows);
    let (age, pooled_age) = (numbers(&found, 2), numbers(&exact, 2));
    assert!((age.mean - pooled_age.mean).abs() < 6.0 * 50.0 * deviation / 180.0);

    let refused = config.asking(&question()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "data.prepare: noise hides no correlations here: leave out what needs them (principal components)"
    );
}
