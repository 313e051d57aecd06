//! The private round: sensitivity by replay on neighbours, noise where it must be, nothing before the ledger.
#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

use std::path::Path;
use std::time::Duration;

use cloister_data::{Dataset, ExampleShape};
use cloister_nn::{InputShape, Model, ModelConfig};
use cloister_privacy::noise::NoiseSource;
use cloister_privacy::{Entry, Ledger, Mechanism, NoiseOrigin, PrivacyConfig};
use cloister_protocol::message::{ClientMessage, LayoutDigest, TrainReply};
use cloister_protocol::{
    ClientId, FederationConfig, Learner, ModelLearner, PrivacyPlan, ProtocolError, Purpose,
    Sampling, Scratch, Server, ServerEvent, ServerOutput, ServerSettings, Streams, TrainConfig,
};

const LAYOUT: LayoutDigest = LayoutDigest([5; 32]);
const CLIENTS: u32 = 20;

fn config(mechanism: Mechanism) -> PrivacyConfig {
    PrivacyConfig {
        mechanism,
        unit: None,
        noise_multiplier: Some(1.5),
        epsilon: None,
        delta: 1e-5,
        clip: 2.0,
        adaptive_clip: None,
        noise: NoiseOrigin::Seeded,
        neighbouring: None,
        max_batch: None,
        separation: None,
        correlation: None,
        bands: None,
        bits: None,
        honest: None,
    }
}

fn settings(fraction: f64, sampling: Sampling) -> ServerSettings {
    let federation = FederationConfig {
        rounds: 3,
        fraction,
        sampling,
        ..FederationConfig::default()
    };
    let train = TrainConfig::default();
    let examples = [10; CLIENTS as usize];
    let plan = PrivacyPlan::new(
        &config(Mechanism::CentralGaussian),
        &federation,
        &train,
        &examples,
        None,
    );
    ServerSettings {
        privacy: Some(plan.unwrap()),
        federation,
        train,
        ..ServerSettings::default()
    }
}

fn server(settings: ServerSettings, parameters: usize) -> Server {
    let mut server = Server::new(settings, LAYOUT, vec![0.0; parameters], Streams::new(3)).unwrap();
    for client in 0..CLIENTS {
        server.enroll(ClientId(client), 10).unwrap();
    }
    server
}

/// Begins the next round with noise from this seed, as a host does.
fn begin(server: &mut Server, folder: &Path, seed: u8) {
    let round = server.round() + 1;
    let path = folder.join(format!("{seed}-{round}.jsonl"));
    let mut ledger = Ledger::create(&path, "run", false).unwrap();
    let entry = Entry {
        round,
        holder: Entry::ALL.to_owned(),
        event: settings(1.0, Sampling::Fixed)
            .privacy
            .unwrap()
            .round_event()
            .unwrap(),
        count: 1,
    };
    let receipt = ledger.commit(round, vec![entry]).unwrap();
    server.use_noise(NoiseSource::seeded([seed; 32]));
    server.committed(&receipt);
    server.begin_round(Duration::ZERO).unwrap();
}

/// Plays a round in which each asked client sends what `update` says; gives the step that the model made.
fn step(
    server: &mut Server,
    folder: &Path,
    seed: u8,
    update: impl Fn(u32) -> Vec<f32>,
) -> Vec<f64> {
    let before = server.global().clone();
    begin(server, folder, seed);
    let mut asked = Vec::new();
    while let Some(output) = server.poll_output() {
        if let ServerOutput::Send { to, .. } = output {
            asked.push(to);
        }
    }
    for client in asked {
        let reply = TrainReply {
            round: server.round(),
            layout: LAYOUT,
            examples: 10,
            loss: None,
            update: update(client.0),
        };
        server.receive(client, ClientMessage::Reply(reply), Duration::ZERO);
    }
    assert!(!server.in_round());
    let pairs = server.global().iter().zip(before.iter());
    pairs
        .map(|(after, before)| f64::from(after - before))
        .collect()
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}

fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

/// Kills "noise / sqrt 2", "no noise on a block" and "divide by the realised batch": zero updates leave the noise alone,
/// of standard deviation z C / m in every block. 40,000 draws a round: the variance is within 5 of its own deviations
/// (false alarm below 1e-6 a block, and the seed is fixed).
#[test]
fn the_noise_is_there_whoever_came() {
    let folder = tempfile::tempdir().unwrap();
    for (fraction, sampling, expected) in
        [(1.0, Sampling::Fixed, 20.0), (0.3, Sampling::Poisson, 6.0)]
    {
        let mut server = server(settings(fraction, sampling), 40_000);
        let noise = step(&mut server, folder.path(), fraction as u8, |_| {
            vec![0.0; 40_000]
        });
        let deviation = 1.5 * 2.0 / expected;
        for block in noise.chunks(10_000) {
            let variance = block.iter().map(|x| x * x).sum::<f64>() / block.len() as f64;
            let ratio = variance / (deviation * deviation);
            let bound = 5.0 * (2.0 / block.len() as f64).sqrt();
            // Rounding to the grid adds at most 0.3 % to the sensitivity.
            assert!(
                (1.0 - bound..1.006 + bound).contains(&ratio),
                "{fraction}: {ratio}"
            );
        }
    }
}

/// Kills "clip after the sum" and "divide by the realised cohort": with the same coins and noise, leaving out one client,
/// however long its update, moves the step by at most C / m, and nothing else changes.
#[test]
fn one_client_moves_the_sum_by_no_more_than_the_clip() {
    let folder = tempfile::tempdir().unwrap();
    let update = |client: u32| -> Vec<f32> {
        (0..50)
            .map(|k| ((client * 50 + k) as f32).sin() * 10_f32.powi(client as i32 % 5 - 2))
            .collect()
    };
    let mut first = server(settings(0.5, Sampling::Poisson), 50);
    let whole = step(&mut first, folder.path(), 10, update);
    for client in 0..CLIENTS {
        let folder = tempfile::tempdir().unwrap();
        let mut server = server(settings(0.5, Sampling::Poisson), 50);
        let without = step(&mut server, folder.path(), 10, |other| {
            match other == client {
                true => vec![0.0; 50],
                false => update(other),
            }
        });
        let moved = norm(&difference(&whole, &without));
        assert!(moved <= 2.0 * 1.002 / 10.0, "{client}: {moved}");
    }
}

/// Kills "an empty batch is no step": nobody is drawn, and the model moves by noise alone.
#[test]
fn an_empty_cohort_is_a_noisy_round() {
    let folder = tempfile::tempdir().unwrap();
    // One client is expected, so nobody comes in one round of three.
    let (server, report) = (0..50)
        .find_map(|seed| {
            let mut server = server(settings(0.05, Sampling::Poisson), 100);
            begin(&mut server, folder.path(), seed);
            let report =
                std::iter::from_fn(|| server.poll_output()).find_map(|output| match output {
                    ServerOutput::Event(ServerEvent::RoundEnded(report)) => Some(report),
                    _ => None,
                });
            report.map(|report| (server, report))
        })
        .unwrap();
    assert_eq!(
        (report.cohort, report.abandoned, report.train_loss),
        (0, None, None)
    );
    assert!(server.global().iter().all(|value| *value != 0.0));
}

/// No receipt, a receipt of another round, or no noise: the round does not begin, and can begin later.
#[test]
fn nothing_begins_before_the_ledger_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = server(settings(1.0, Sampling::Fixed), 4);
    let refused = |server: &mut Server| {
        assert_eq!(
            server.begin_round(Duration::ZERO),
            Err(ProtocolError::NotCommitted(server.round() + 1))
        );
    };
    refused(&mut server);
    server.use_noise(NoiseSource::seeded([1; 32]));
    refused(&mut server);
    let mut ledger = Ledger::create(&folder.path().join("other.jsonl"), "run", false).unwrap();
    server.committed(&ledger.commit(2, Vec::new()).unwrap());
    refused(&mut server);
    step(&mut server, folder.path(), 2, |_| vec![0.0; 4]);
    // The receipt of the first round does not cover the second.
    refused(&mut server);
    assert_eq!(server.round(), 1);
}

/// The members' mean loss and counts have no noise, so a private round does not tell them.
#[test]
fn a_private_round_tells_no_losses_and_no_verdicts() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = server(settings(1.0, Sampling::Fixed), 4);
    begin(&mut server, folder.path(), 4);
    for client in 0..CLIENTS {
        let reply = TrainReply {
            round: 1,
            layout: LAYOUT,
            examples: 10,
            loss: Some(0.5),
            update: vec![1.0; 4],
        };
        server.receive(
            ClientId(client),
            ClientMessage::Reply(reply),
            Duration::ZERO,
        );
    }
    let report = std::iter::from_fn(|| server.poll_output()).find_map(|output| match output {
        ServerOutput::Event(ServerEvent::RoundEnded(report)) => Some(report),
        _ => None,
    });
    let report = report.unwrap();
    assert_eq!(
        (report.train_loss, report.verdicts.len(), report.clip),
        (None, 0, Some(2.0))
    );
}

/// Two clouds of points.
fn points(rows: usize) -> Dataset {
    let features = (0..rows * 4)
        .map(|i| ((i * 37) as f32).sin() * 3.0)
        .collect();
    let labels = (0..rows).map(|row| (row % 2) as u32).collect();
    let classes = vec!["a".to_owned(), "b".to_owned()];
    Dataset::new(
        "points",
        ExampleShape::flat(4),
        features,
        labels,
        classes,
        None,
    )
    .unwrap()
}

fn model() -> Model {
    let input = InputShape {
        channels: 1,
        height: 1,
        width: 4,
    };
    let config: ModelConfig = serde_json::from_str("{\"kind\": \"mlp\", \"hidden\": [5]}").unwrap();
    Model::build(&config, input, 2).unwrap()
}

/// Replay on neighbours for DP-SGD: with the same coins and noise, one step on data in which one example is blank (its
/// gradient overflows, so that it contributes nothing) differs by at most rate C / B; and the batch is drawn alike.
/// Kills "divide by the realised batch", "clip per layer" and "clip after the sum".
#[test]
fn one_example_moves_a_step_by_no_more_than_the_clip() {
    let (model, data) = (model(), points(40));
    let start = model.initial_parameters(&mut Streams::new(1).stream(Purpose::Initialise, 0, 0));
    let rows: Vec<u32> = (0..40).collect();
    let train = TrainConfig {
        batch_size: 8,
        max_steps: 1,
        learning_rate: 0.5,
        ..TrainConfig::default()
    };
    let mut settings = config(Mechanism::DpSgd);
    settings.clip = 0.05;
    let plan =
        PrivacyPlan::new(&settings, &FederationConfig::default(), &train, &[40], None).unwrap();
    assert_eq!(plan.client_event(40).unwrap().1, 1);
    let step = |data: &Dataset, seed| -> Vec<f64> {
        let noise = NoiseSource::seeded([seed; 32]);
        let dp_sgd = plan.dp_sgd(40, noise).unwrap().unwrap();
        let learner = ModelLearner::new(&model, data, &rows, Scratch::default()).unwrap();
        let mut learner = learner.hiding_examples(Some(dp_sgd));
        let mut rng = Streams::new(1).stream(Purpose::Train, 1, 0);
        let update = learner.train(&start, &train.plan(1), &mut rng).unwrap();
        assert_eq!(update.loss, None);
        update
            .values
            .iter()
            .map(|value| f64::from(*value))
            .collect()
    };
    let mut moved = 0;
    for seed in 0..5 {
        let whole = step(&data, seed);
        for blank in 0..40 {
            let mut features = data.features().to_vec();
            features[blank * 4..][..4].fill(f32::MAX);
            let classes = data.classes().to_vec();
            let labels = data.labels().to_vec();
            let blanked = Dataset::new(
                "points",
                ExampleShape::flat(4),
                features,
                labels,
                classes,
                None,
            );
            let by = norm(&difference(&whole, &step(&blanked.unwrap(), seed)));
            assert!(by <= 0.5 * 0.05 / 8.0 * 1.01, "{blank}: {by}");
            moved += usize::from(by > 0.5 * 0.05 / 8.0 * 0.5);
        }
    }
    // A batch of 8 in 40: about a fifth of the examples are in it.
    assert!((15..70).contains(&moved), "{moved}");
}

/// Steps follow from public numbers: passes, examples, planned batch. Kills "T - 1 steps".
#[test]
fn the_event_counts_each_step() {
    let train = TrainConfig {
        batch_size: 256,
        epochs: 2,
        ..TrainConfig::default()
    };
    let federation = FederationConfig::default();
    let plan = PrivacyPlan::new(
        &config(Mechanism::DpSgd),
        &federation,
        &train,
        &[60_000],
        None,
    )
    .unwrap();
    let (event, steps) = plan.client_event(60_000).unwrap();
    assert_eq!(steps, 2 * 235);
    let expected = cloister_privacy::Event::PoissonGaussian {
        noise_multiplier: 1.5,
        sampling_rate: 256.0 / 60_000.0,
    };
    assert_eq!(event, expected);
}

/// Without a multiplier the plan finds the least that stays within epsilon over all rounds and for every client.
#[test]
fn noise_is_calibrated_to_the_budget() {
    let mut settings = config(Mechanism::DpSgd);
    settings.noise_multiplier = None;
    settings.epsilon = Some(2.0);
    let train = TrainConfig {
        batch_size: 16,
        ..TrainConfig::default()
    };
    let federation = FederationConfig::default();
    let sizes = [50, 400, 3000];
    let plan = PrivacyPlan::new(&settings, &federation, &train, &sizes, None).unwrap();
    let losses: Vec<f64> = sizes
        .iter()
        .map(|examples| {
            let (event, count) = plan.client_event(*examples).unwrap();
            let run = cloister_privacy::Event::Repeated {
                event: Box::new(event),
                count: count * u64::from(federation.rounds),
            };
            cloister_privacy::accounting::epsilon(&run, &plan.fine_question())
                .unwrap()
                .epsilon
        })
        .collect();
    let worst = losses.iter().copied().fold(0.0, f64::max);
    assert!(worst <= 2.0 && worst > 1.99, "{losses:?}");
}
