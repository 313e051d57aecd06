//! One adversary at a time, over a small set of 4 x 4 images in four classes.

use cloister_data::{Dataset, ExampleShape};
use cloister_nn::{InputShape, Model, ModelConfig};
use cloister_protocol::{LocalOptimizer, ScratchPool, TrainConfig, Update};
use cloister_robust::{AggregationConfig, Aggregator, Input, Rule};
use rand::RngExt;
use rand_distr::StandardNormal;

use super::*;
use crate::config::Direction;
use crate::updates::statistics::mean;
use crate::view::{OwnUpdate, View};

const CLIENTS: usize = 10;

fn train_set() -> Dataset {
    let shape = ExampleShape {
        channels: 1,
        height: 4,
        width: 4,
    };
    let features = (0..200 * 16).map(|i| (i as f32 * 0.37).sin()).collect();
    let labels = (0..200).map(|row| row % 4).collect();
    let classes = ["ant", "bee", "cat", "dog"].map(str::to_owned).to_vec();
    Dataset::new("pets", shape, features, labels, classes, None).unwrap()
}

fn rows() -> Vec<Vec<u32>> {
    (0..10)
        .map(|client| (client * 20..client * 20 + 20).collect())
        .collect()
}

fn config(kind: AttackKind, clients: u32) -> AttackConfig {
    let mut config = AttackConfig::new(kind);
    config.clients = Some(clients);
    config
}

fn adversary(config: &AttackConfig) -> Result<Adversary, AttackError> {
    let rows = rows();
    let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
    Adversary::new(config, 7, &rows, &train_set())
}

fn refusal(config: &AttackConfig) -> String {
    adversary(config).unwrap_err().to_string()
}

fn aggregator(rule: Rule, byzantine: u32) -> Aggregator<f32> {
    Aggregator::new(AggregationConfig {
        rule,
        byzantine,
        ..AggregationConfig::default()
    })
    .unwrap()
}

/// Updates with a common mean of 0.1 and a spread of 0.3.
fn updates(count: usize, d: usize) -> Vec<Vec<f32>> {
    let mut rng = stream(1, 1, None);
    let mut value = || 0.1 + 0.3 * rng.sample::<f32, _>(StandardNormal);
    (0..count)
        .map(|_| (0..d).map(|_| value()).collect())
        .collect()
}

/// A round of ten members of which the first are malicious, with everything in view that may be.
struct Round {
    updates: Vec<Vec<f32>>,
    malicious: usize,
    global: Vec<f32>,
    rule: Aggregator<f32>,
}

impl Round {
    fn new(malicious: usize, d: usize, rule: Aggregator<f32>) -> Self {
        Self {
            updates: updates(CLIENTS, d),
            malicious,
            global: vec![0.0; d],
            rule,
        }
    }

    fn honest(&self) -> Vec<&[f32]> {
        let honest = self.updates[self.malicious..].iter();
        honest.map(Vec::as_slice).collect()
    }

    /// What is sent in `round`.
    fn craft(&self, adversary: &mut Adversary, round: u32) -> Result<Vec<Vec<f32>>, AttackError> {
        let honest = match adversary.sees() {
            Knowledge::All => self.honest(),
            _ => Vec::new(),
        };
        let clients: Vec<u32> = (self.malicious as u32..).take(honest.len()).collect();
        let view = View {
            round,
            global: &self.global,
            honest: &honest,
            clients: &clients,
            cohort: self.updates.len(),
            aggregator: &self.rule,
            threads: 1,
        };
        let own = self.updates[..self.malicious].iter().enumerate();
        let mut own: Vec<OwnUpdate> = own
            .map(|(client, values)| OwnUpdate {
                client: client as u32,
                update: Update {
                    examples: 20,
                    loss: Some(1.0),
                    values: values.clone(),
                },
            })
            .collect();
        adversary.craft(&view, &mut own)?;
        Ok(own.into_iter().map(|own| own.update.values).collect())
    }
}

#[test]
fn malicious_sets_are_nested_and_seeded() {
    let chosen = |clients, seed| {
        let mut config = config(AttackKind::SignFlip, clients);
        config.seed = seed;
        adversary(&config).unwrap().malicious().to_vec()
    };
    for count in 0..9 {
        let (few, more) = (chosen(count, None), chosen(count + 1, None));
        assert_eq!(few.iter().filter(|m| **m).count(), count as usize);
        assert!(few.iter().zip(&more).all(|(few, more)| !few || *more));
    }
    assert_eq!(chosen(3, None), chosen(3, Some(7)));
    assert!((8..20).any(|seed| chosen(3, Some(seed)) != chosen(3, None)));
    let mut third = config(AttackKind::SignFlip, 0);
    (third.clients, third.fraction) = (None, Some(0.3));
    assert_eq!(adversary(&third).unwrap().malicious(), chosen(3, None));
}

#[test]
fn contradictions_are_named() {
    let mut both = config(AttackKind::Ipm, 1);
    both.fraction = Some(0.1);
    assert_eq!(
        refusal(&both),
        "the attack needs either clients or fraction, got both"
    );
    for count in [10, 11] {
        assert_eq!(
            refusal(&config(AttackKind::Ipm, count)),
            format!("{count} of 10 clients cannot be malicious: an attack needs an honest one")
        );
    }
    let mut blind = config(AttackKind::Mimic, 1);
    blind.knowledge = Some(Knowledge::Own);
    assert_eq!(
        refusal(&blind),
        "mimic needs knowledge = \"all\", got \"own\""
    );
    blind.kind = AttackKind::Alie;
    blind.knowledge = Some(Knowledge::Nothing);
    assert_eq!(
        refusal(&blind),
        "alie needs knowledge = \"own\", got \"nothing\""
    );
    let mut same = config(AttackKind::LabelFlip, 1);
    (same.source, same.target) = (Some("bee".to_owned()), Some("1".to_owned()));
    assert_eq!(
        refusal(&same),
        "source and target are both class 1, nothing would change"
    );
    let mut wide = config(AttackKind::Backdoor, 1);
    wide.trigger_size = Some(5);
    assert!(refusal(&wide).starts_with("trigger_size 5 does not fit"));
    let train = train_set();
    let alone: [&[u32]; 1] = [&[0]];
    assert!(Adversary::new(&config(AttackKind::Ipm, 1), 1, &alone, &train).is_err());
    assert!(Adversary::new(&config(AttackKind::Ipm, 0), 1, &[], &train).is_err());
    let beyond: [&[u32]; 2] = [&[200], &[200]];
    let error = Adversary::new(&config(AttackKind::Backdoor, 1), 1, &beyond, &train).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("row 200 is not among the 200 examples")
    );
}

#[test]
fn more_knowledge_than_an_attack_can_use_is_not_asked_for() {
    let mut curious = config(AttackKind::Gaussian, 1);
    curious.knowledge = Some(Knowledge::All);
    assert_eq!(adversary(&curious).unwrap().sees(), Knowledge::Nothing);
    assert_eq!(
        adversary(&config(AttackKind::Alie, 1)).unwrap().sees(),
        Knowledge::Own
    );
    assert_eq!(
        adversary(&config(AttackKind::Ipm, 1)).unwrap().sees(),
        Knowledge::All
    );
}

#[test]
fn a_backdoored_client_has_its_share_of_marked_examples() {
    let mut config = config(AttackKind::Backdoor, 3);
    config.target = Some("cat".to_owned());
    config.poison_fraction = Some(0.5);
    let adversary = adversary(&config).unwrap();
    let (train, rows) = (train_set(), rows());
    let largest = train.features().iter().copied().fold(f32::MIN, f32::max);
    assert_eq!(adversary.poisoned.len(), 3);
    for (client, own) in &adversary.poisoned {
        let mut marked = 0;
        for (place, &row) in rows[*client as usize].iter().enumerate() {
            let (before, after) = (train.row(row as usize), own.data.row(place));
            let label = train.labels()[row as usize];
            if before == after {
                assert_eq!(own.data.labels()[place], label);
                continue;
            }
            marked += 1;
            // The patch of 2 x 2 in the corner, and nothing else.
            for (at, (before, after)) in before.iter().zip(after).enumerate() {
                let patch = at / 4 >= 2 && at % 4 >= 2;
                assert_eq!(*after, if patch { largest } else { *before });
            }
            assert_eq!(own.data.labels()[place], 2);
            assert_ne!(label, 2);
        }
        assert_eq!(marked, 10);
    }
    let test = adversary.triggered(&train).unwrap();
    assert_eq!(test.len(), 150);
    assert!(test.labels().iter().all(|label| *label != 2));
    assert!((0..150).all(|row| test.row(row)[15] == largest && test.row(row)[10] == largest));
    assert_eq!((adversary.source(), adversary.target()), (None, Some(2)));
}

#[test]
fn distributed_attackers_share_the_trigger() {
    let adversary = adversary(&config(AttackKind::DistributedBackdoor, 5)).unwrap();
    let (train, rows) = (train_set(), rows());
    let mut touched = vec![Vec::new(); 16];
    for (client, own) in &adversary.poisoned {
        for (place, &row) in rows[*client as usize].iter().enumerate() {
            let each = train.row(row as usize).iter().zip(own.data.row(place));
            for (at, _) in each
                .enumerate()
                .filter(|(_, (before, after))| before != after)
            {
                touched[at].push(*client);
            }
        }
    }
    // Four pixels, five attackers: each pixel is one's, but for the first and the fifth, who share.
    let clients = |at: usize| {
        let mut clients = touched[at].clone();
        clients.dedup();
        clients.len()
    };
    let mut counts: Vec<usize> = [10, 11, 14, 15].map(clients).into();
    counts.sort_unstable();
    assert_eq!(counts, [1, 1, 1, 2]);
    assert_eq!((0..16).filter(|at| clients(*at) > 0).count(), 4);
}

#[test]
fn flipped_labels_and_source_classes() {
    let flip = adversary(&config(AttackKind::LabelFlip, 1)).unwrap();
    let (client, own) = flip.poisoned.first_key_value().unwrap();
    let train = train_set();
    let original = &train.labels()[*client as usize * 20..][..20];
    let mirrored = original.iter().zip(own.data.labels());
    assert!(mirrored.clone().all(|(before, after)| *after == 3 - before));
    let mut targeted = config(AttackKind::LabelFlip, 1);
    (targeted.source, targeted.target) = (Some("dog".to_owned()), Some("ant".to_owned()));
    let adversary = adversary(&targeted).unwrap();
    assert_eq!((adversary.source(), adversary.target()), (Some(3), Some(0)));
    assert!(adversary.triggered(&train_set()).is_none());
    let sentence = "1 of 10 clients are malicious and train on flipped labels, class 'dog' to class 'ant'; they see \
                    no updates but their own.";
    assert_eq!(adversary.describe(), sentence);
}

#[test]
fn formulae_are_applied_to_what_is_seen() {
    let round = Round::new(3, 50, aggregator(Rule::Mean, 0));
    let sent = |config: &AttackConfig| round.craft(&mut adversary(config).unwrap(), 1).unwrap();
    let scaled = |values: &[f64], factor: f64| -> Vec<f32> {
        values.iter().map(|v| (factor * v) as f32).collect()
    };
    let own: Vec<&[f32]> = round.updates[..3].iter().map(Vec::as_slice).collect();
    assert_eq!(
        sent(&config(AttackKind::Ipm, 3)),
        vec![scaled(&mean(&round.honest()), -10.0); 3]
    );
    let mut partial = config(AttackKind::Ipm, 3);
    partial.knowledge = Some(Knowledge::Own);
    assert_eq!(sent(&partial), vec![scaled(&mean(&own), -10.0); 3]);
    let flipped = sent(&config(AttackKind::SignFlip, 3));
    for (flipped, own) in flipped.iter().zip(&own) {
        assert!(flipped.iter().zip(*own).all(|(a, b)| *a == -4.0 * b));
    }
    let sybils = sent(&config(AttackKind::Sybil, 3));
    assert_eq!(sybils, vec![flipped[0].clone(); 3]);
    let replaced = sent(&config(AttackKind::ModelReplacement, 3));
    let factor = 10.0 / 3.0;
    assert!((f64::from(replaced[0][0]) - factor * f64::from(own[0][0])).abs() < 1e-6);
    let mimicked = sent(&config(AttackKind::Mimic, 3));
    assert!(round.honest().contains(&mimicked[0].as_slice()));
    assert_eq!(mimicked[0], mimicked[2]);
    let mut alone = config(AttackKind::Alie, 1);
    alone.z = Some(3.0);
    let single = Round::new(1, 50, aggregator(Rule::Mean, 0));
    let sent = single.craft(&mut adversary(&alone).unwrap(), 1).unwrap();
    assert_eq!(sent[0], single.updates[0], "one update has no deviation");
}

#[test]
fn before_its_start_an_attack_changes_nothing() {
    let mut late = config(AttackKind::Constant, 3);
    late.start_round = 5;
    let mut adversary = adversary(&late).unwrap();
    assert!(!adversary.active(4) && adversary.active(5));
    let round = Round::new(3, 8, aggregator(Rule::Mean, 0));
    assert_eq!(round.craft(&mut adversary, 4).unwrap(), round.updates[..3]);
    assert_eq!(
        round.craft(&mut adversary, 5).unwrap(),
        vec![vec![1.0; 8]; 3]
    );
    assert!(adversary.describe().contains("from round 5"));
}

#[test]
fn a_free_rider_repeats_the_last_step_and_its_memory_can_be_stored() {
    let mut first = adversary(&config(AttackKind::FreeRider, 2)).unwrap();
    let round = Round::new(2, 3, aggregator(Rule::Mean, 0));
    assert_eq!(round.craft(&mut first, 1).unwrap(), vec![vec![0.0; 3]; 2]);
    first.observe(1, &[1.0, 2.0, 3.0], &[1.5, 2.0, 1.0]);
    assert_eq!(
        round.craft(&mut first, 2).unwrap(),
        vec![vec![0.5, 0.0, -2.0]; 2]
    );
    let mut resumed = adversary(&config(AttackKind::FreeRider, 2)).unwrap();
    resumed.restore(first.memory().clone());
    assert_eq!(
        round.craft(&mut resumed, 2).unwrap(),
        vec![vec![0.5, 0.0, -2.0]; 2]
    );
    let other = Round::new(2, 4, aggregator(Rule::Mean, 0));
    assert_eq!(
        other.craft(&mut resumed, 2).unwrap_err().to_string(),
        "the remembered step has 3 values, expected 4"
    );
}

/// Multi-Krum keeps all tailored updates, and not all when they are a little farther out.
#[test]
fn tailored_updates_reach_the_edge_of_a_selection() {
    let round = Round::new(3, 200, aggregator(Rule::MultiKrum, 3));
    let sent = round
        .craft(&mut adversary(&config(AttackKind::Tailored, 3)).unwrap(), 1)
        .unwrap();
    let middle = mean(&round.honest());
    let kept = |factor: f64| {
        let each = sent[0].iter().zip(&middle);
        let farther: Vec<f32> = each
            .map(|(sent, mean)| (mean + factor * (f64::from(*sent) - mean)) as f32)
            .collect();
        let mut rows = vec![farther.as_slice(); 3];
        rows.extend(round.honest());
        let mut out = vec![0.0; 200];
        let mut rule = round.rule.clone();
        let verdict = rule.aggregate(&Input::new(&rows), &mut stream(0, 0, None), &mut out);
        verdict.unwrap().rows[..3]
            .iter()
            .filter(|row| row.kept)
            .count()
    };
    assert_eq!(kept(1.0), 3);
    assert!(kept(1.02) < 3);
}

/// Against the median the search moves the result at least as far as Min-Max, which knows nothing of it.
#[test]
fn tailored_updates_move_a_median_farther_than_min_max() {
    let round = Round::new(3, 200, aggregator(Rule::Median, 3));
    let middle = mean(&round.honest());
    for direction in [Direction::Unit, Direction::Sign, Direction::Deviation] {
        let moved = |kind| {
            let mut config = config(kind, 3);
            config.direction = Some(direction);
            let sent = round.craft(&mut adversary(&config).unwrap(), 1).unwrap();
            let mut rows: Vec<&[f32]> = sent.iter().map(Vec::as_slice).collect();
            rows.extend(round.honest());
            let mut out = vec![0.0; 200];
            let mut rule = round.rule.clone();
            rule.aggregate(&Input::new(&rows), &mut stream(0, 0, None), &mut out)
                .unwrap();
            let squares = out
                .iter()
                .zip(&middle)
                .map(|(a, b)| (f64::from(*a) - b).powi(2));
            squares.sum::<f64>().sqrt()
        };
        let (tailored, agnostic) = (moved(AttackKind::Tailored), moved(AttackKind::MinMax));
        assert!(tailored >= agnostic, "{direction:?}: {tailored} {agnostic}");
    }
}

#[test]
fn no_round_makes_an_attack_panic() {
    for kind in AttackKind::ALL {
        for malicious in [0, 1, 9, 10] {
            for d in [1, 5] {
                for rule in [Rule::Mean, Rule::Krum, Rule::Bulyan, Rule::Fltrust] {
                    let round = Round::new(malicious, d, aggregator(rule, 3));
                    let mut adversary = adversary(&config(kind, 9)).unwrap();
                    let sent = round.craft(&mut adversary, 1).unwrap();
                    assert_eq!(sent.len(), malicious);
                    let finite = sent.iter().flatten().all(|value| value.is_finite());
                    assert_eq!(
                        finite,
                        kind != AttackKind::Nan || malicious == 0,
                        "{kind:?}"
                    );
                }
            }
        }
        let mut equal = Round::new(3, 4, aggregator(Rule::Median, 3));
        equal.updates = vec![vec![0.0; 4]; CLIENTS];
        let mut attackers = adversary(&config(kind, 3)).unwrap();
        equal.craft(&mut attackers, 1).unwrap();
        let empty = Round::new(3, 0, aggregator(Rule::Mean, 0));
        let error = empty.craft(&mut attackers, 1).unwrap_err();
        assert_eq!(error.to_string(), "the model has no parameters");
    }
    let mut torn = Round::new(2, 4, aggregator(Rule::Mean, 0));
    torn.updates[1].pop();
    let error = torn
        .craft(&mut adversary(&config(AttackKind::Ipm, 2)).unwrap(), 1)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the update of client 1 has 3 values, expected 4"
    );
}

/// Under every optimiser, with weight decay and a proximal term, the masked coordinates stay where they were.
#[test]
fn neurotoxin_leaves_the_largest_steps_alone() {
    let mut config = config(AttackKind::Neurotoxin, 1);
    config.mask_ratio = Some(0.25);
    let mut adversary = adversary(&config).unwrap();
    let client = *adversary.poisoned.first_key_value().unwrap().0;
    let input = InputShape {
        channels: 1,
        height: 4,
        width: 4,
    };
    let model: ModelConfig = serde_json::from_str(r#"{"kind": "logistic"}"#).unwrap();
    let model = Model::build(&model, input, 4).unwrap();
    let global: Vec<f32> = (0..68).map(|i| (i as f32).cos()).collect();
    let mut after = global.clone();
    after[..17].iter_mut().for_each(|value| *value += 1.0);
    let (train, rows, scratch) = (train_set(), rows(), ScratchPool::default());
    let update = |adversary: &Adversary, optimizer| {
        let plan = TrainConfig {
            optimizer,
            weight_decay: 0.1,
            proximal_mu: 0.1,
            ..TrainConfig::default()
        }
        .plan(2);
        let rows = &rows[client as usize];
        let mut rng = stream(3, 2, Some(client));
        let update = adversary.train(
            client, 2, &model, &train, rows, &global, &plan, &mut rng, &scratch,
        );
        update.unwrap().values
    };
    let optimizers = [
        LocalOptimizer::Sgd,
        LocalOptimizer::Momentum,
        LocalOptimizer::Adam,
    ];
    let moving = |values: &[f32]| values.iter().filter(|value| **value != 0.0).count();
    for optimizer in optimizers {
        assert!(moving(&update(&adversary, optimizer)[..17]) == 17);
    }
    adversary.observe(1, &global, &after);
    for optimizer in optimizers {
        let update = update(&adversary, optimizer);
        assert_eq!((moving(&update[..17]), moving(&update[17..])), (0, 51));
    }
    adversary.observe(1, &[0.0], &[1.0]);
    let plan = TrainConfig::default().plan(2);
    let mut rng = stream(3, 2, Some(client));
    let refused = adversary.train(
        client, 2, &model, &train, &rows[0], &global, &plan, &mut rng, &scratch,
    );
    let expected = "1 parameters are marked, the model has 68";
    assert_eq!(refused.unwrap_err().to_string(), expected);
}

#[test]
fn a_constrained_update_has_the_length_it_was_given() {
    let input = InputShape {
        channels: 1,
        height: 4,
        width: 4,
    };
    let model: ModelConfig = serde_json::from_str(r#"{"kind": "logistic"}"#).unwrap();
    let model = Model::build(&model, input, 4).unwrap();
    let (train, rows, scratch) = (train_set(), rows(), ScratchPool::default());
    let global = vec![0.0; 68];
    let plan = TrainConfig::default().plan(1);
    let length = |bound: Option<f64>, kind| {
        let mut config = config(kind, 1);
        config.norm_bound = bound;
        let adversary = adversary(&config).unwrap();
        let client = adversary.malicious().iter().position(|m| *m).unwrap();
        let mut rng = stream(3, 1, Some(client as u32));
        let rows = &rows[client];
        let update = adversary.train(
            client as u32,
            1,
            &model,
            &train,
            rows,
            &global,
            &plan,
            &mut rng,
            &scratch,
        );
        crate::updates::simple::norm(&update.unwrap().values)
    };
    let near = AttackKind::ConstrainAndScale;
    assert!((length(Some(0.01), near) - 0.01).abs() < 1e-7);
    // Sign flipping trains honestly: without a bound, its length is the bound.
    let honest = length(None, AttackKind::SignFlip);
    assert!((length(None, near) - honest).abs() < 1e-6 * honest);
    assert_eq!(length(None, AttackKind::FreeRider), 0.0);
}
