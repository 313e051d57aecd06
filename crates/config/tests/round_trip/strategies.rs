//! Random experiments.

use super::anomalies::anomalies;
use super::numbers::{numbers, predicting};
use cloister_config::{Baseline, Evaluate, Experiment, Faults, Straggler, Sweep};
use cloister_data::{
    ClassRule, ColumnRef, DataConfig, Normalise, PartitionConfig, Paths, PrepareConfig, Scaling,
};
use cloister_nn::{Activation, BottleneckConfig, LossConfig, ModelConfig, Pooling};
use cloister_privacy::{AdaptiveClipConfig, Correlation, Mechanism, NoiseOrigin, PrivacyConfig};
use cloister_protocol::defence::DefenceConfig;
use cloister_protocol::guard::{GuardConfig, GuardMode};
use cloister_protocol::survey::StatisticsConfig;
use cloister_protocol::transcript::RecordConfig;
use cloister_protocol::{
    Coding, CommunicationConfig, FederationConfig, LocalOptimizer, Sampling, ServerConfig,
    ServerOptimizerKind, TrainConfig,
};
use cloister_redteam::{AttackConfig, AttackKind, Direction, Knowledge};
use cloister_robust::{AggregationConfig, Before, Rule, Start, Weights};
use cloister_secagg::{SecureAggregationConfig, ServerTrust};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use std::path::PathBuf;

/// Positive and finite, over the whole range of sizes.
fn positive() -> impl Strategy<Value = f32> {
    (1u32..0x7f80_0000).prop_map(f32::from_bits)
}

fn below_one() -> impl Strategy<Value = f32> {
    0.0f32..1.0
}

/// Texts with everything that TOML must escape.
pub(crate) fn text() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9 ./_'\"\\\\\n\t#=\u{1}é日]{1,12}"
}

fn path() -> impl Strategy<Value = PathBuf> {
    text().prop_map(|text| PathBuf::from(format!("x{text}")))
}

fn paths() -> impl Strategy<Value = Paths> {
    prop_oneof![
        path().prop_map(Paths::One),
        prop::collection::vec(path(), 1..4).prop_map(Paths::Many),
    ]
}

fn column() -> impl Strategy<Value = ColumnRef> {
    prop_oneof![
        (0usize..1000).prop_map(ColumnRef::Index),
        text().prop_map(ColumnRef::Name),
    ]
}

fn partition() -> impl Strategy<Value = PartitionConfig> {
    let minimum = || 0usize..100;
    let alpha = || 1e-6f64..1e6;
    prop_oneof![
        minimum().prop_map(|minimum| PartitionConfig::Iid { minimum }),
        (alpha(), any::<bool>(), minimum()).prop_map(|(alpha, balanced, minimum)| {
            PartitionConfig::Dirichlet {
                alpha,
                balanced,
                minimum,
            }
        }),
        (alpha(), minimum())
            .prop_map(|(alpha, minimum)| PartitionConfig::QuantitySkew { alpha, minimum }),
        (1usize..50, minimum()).prop_map(|(classes_per_client, minimum)| {
            PartitionConfig::Pathological {
                classes_per_client,
                minimum,
            }
        }),
        (1usize..50, minimum()).prop_map(|(per_client, minimum)| PartitionConfig::Shards {
            per_client,
            minimum
        }),
        minimum().prop_map(|minimum| PartitionConfig::Natural { minimum }),
    ]
}

fn data() -> impl Strategy<Value = DataConfig> {
    let files = (
        option::of(text()),
        paths(),
        option::of(paths()),
        0.01f64..0.99,
        option::of(1usize..9999),
    );
    let columns = (
        option::of(any::<bool>()),
        option::of(select(vec![',', ';', '\t', '"', '\\'])),
        option::of(column()),
        option::of(column()),
        prop::collection::vec(column(), 0..3),
        prop::collection::vec(text(), 0..3),
    );
    let classes = (
        any::<bool>(),
        prop::collection::vec(text(), 0..3),
        prop::collection::vec((text(), prop::collection::vec(text(), 0..3)), 0..3),
    );
    let words = (
        select(vec![Normalise::None, Normalise::Unit, Normalise::Standard]),
        select(vec![
            Scaling::None,
            Scaling::MinMax,
            Scaling::Standard,
            Scaling::Robust,
            Scaling::Quantile,
        ]),
        prepare(),
    );
    (files, columns, classes, words, partition()).prop_map(
        |(files, columns, (positive, labels, rules), (normalise, scaling, prepare), partition)| {
            let rules = rules
                .into_iter()
                .map(|(name, labels)| ClassRule { name, labels });
            DataConfig {
                dataset: files.0,
                path: Some(files.1),
                test_path: files.2,
                test_fraction: files.3,
                limit: files.4,
                partition,
                normalise,
                positive: if positive { labels } else { Vec::new() },
                classes: if positive {
                    Vec::new()
                } else {
                    rules.collect()
                },
                header: columns.0,
                delimiter: columns.1,
                label: columns.2,
                site_column: columns.3,
                drop: columns.4,
                missing: columns.5,
                scaling,
                prepare,
                ..DataConfig::default()
            }
        },
    )
}

/// Preparations of which each has other keys.
fn prepare() -> impl Strategy<Value = PrepareConfig> {
    let texts = [
        "",
        "duplicates = 'drop'\nresample = 'over'\nclass_weights = 'balanced'\npca = { variance = 0.9 }",
        "class_weights = { yes = 2.5 }\nfourier = { features = 8, gamma = 0.5, seed = 3 }\npca = { components = 2 }",
        "[all]\nscaling = 'robust'\nclip_quantiles = [0.01, 0.99]\nmissing = 'median'\nindicator = true",
        "[columns.age]\ntype = 'number'\nunit = 'years'\nrange = [0.0, 120.0]\noutside = 'missing'\n\
         missing = { constant = 40.0 }\nbuckets = { edges = [20.0, 40.0] }\nmissing_values = ['-9']",
        "[columns.'a b']\ntype = 'category'\ncase = 'lower'\ntrim = true\nat_least = 2\nmost = 9\nunseen = 'zeros'\n\
         missing = { constant = 'none' }\nencoding = 'target'\nsmoothing = 2.0",
        "[columns.3]\ntype = 'time'\nformats = ['%d/%m/%Y', '%s']\nambiguous = 'first'\nparts = ['hour', 'year-cycle']\n\
         since = '2020-01-01'\n[columns.t]\ntype = 'text'\ngrams = 'bytes'\nlengths = [2, 3]\nwidth = 64\n\
         [columns.o]\ntype = 'ordinal'\norder = ['low', 'high']\n[columns.b]\ntype = 'boolean'\nyes = ['ja']\nno = ['nein']",
        "[flow]\nbytes = ['src', 3]\npackets = ['n']\nduration = 'd'\ntransform = 'signed-log'",
        "[images]\ncrop = [0, 1, 8, 8]\ngrey = true\nresize = { height = 4, width = 4, filter = 'bilinear' }\n\
         augment = { flip = true, rotate = 10.0, shift = 0.1 }",
        "[images.hog]\ncell = 4\nblock = 2\nbins = 6",
    ];
    let parsed = texts.map(|text| toml::from_str(text).expect("a good table"));
    select(parsed.to_vec())
}

fn model() -> impl Strategy<Value = ModelConfig> {
    let loss = || {
        select(vec![
            LossConfig::Auto,
            LossConfig::Softmax,
            LossConfig::Binary,
        ])
    };
    let activation = || {
        select(vec![
            Activation::Relu,
            Activation::Tanh,
            Activation::Sigmoid,
            Activation::Softplus,
        ])
    };
    let pooling = || select(vec![Pooling::Average, Pooling::Max]);
    let place = || option::of(select(vec!["fc1".to_owned(), "conv2".to_owned()]));
    let bottleneck = || {
        option::of(prop_oneof![
            (1usize..500, 0.0f32..1.0, place(), any::<bool>()).prop_map(
                |(latent, beta, place, may_outgrow)| BottleneckConfig::Precode {
                    latent,
                    beta,
                    place,
                    may_outgrow,
                }
            ),
            (option::of(1usize..50), 0.0f32..1.0, place(), any::<bool>()).prop_map(
                |(latent, beta, place, may_outgrow)| BottleneckConfig::Convolutional {
                    latent,
                    beta,
                    place,
                    may_outgrow,
                }
            ),
        ])
    };
    prop_oneof![
        loss().prop_map(|loss| ModelConfig::Logistic { loss }),
        loss().prop_map(|loss| ModelConfig::Cnn {
            loss,
            bottleneck: None
        }),
        loss().prop_map(|loss| ModelConfig::Cnn3 {
            loss,
            bottleneck: None
        }),
        (
            prop::collection::vec(1usize..5000, 0..4),
            activation(),
            loss()
        )
            .prop_map(|(hidden, activation, loss)| ModelConfig::Mlp {
                hidden,
                activation,
                loss,
                bottleneck: None
            }),
        (activation(), pooling(), 1usize..9, loss()).prop_map(
            |(activation, pooling, width, loss)| ModelConfig::Lenet5 {
                activation,
                pooling,
                width,
                loss,
                bottleneck: None
            }
        ),
        (activation(), pooling(), loss(), bottleneck()).prop_map(
            |(activation, pooling, loss, bottleneck)| {
                ModelConfig::Convnet {
                    activation,
                    pooling,
                    loss,
                    bottleneck,
                }
            }
        ),
        (activation(), 0.0f32..4.0, loss()).prop_map(|(activation, spread, loss)| {
            ModelConfig::DlgLenet {
                activation,
                spread,
                loss,
                bottleneck: None,
            }
        }),
    ]
}

fn federation() -> impl Strategy<Value = FederationConfig> {
    (
        option::of(1u32..100_000),
        1u32..=u32::MAX,
        1e-9f64..=1.0,
        any::<bool>(),
        0.0f64..100.0,
        option::of(1e-9f64..1e9),
    )
        .prop_map(
            |(clients, rounds, fraction, poisson, over, deadline)| FederationConfig {
                clients,
                rounds,
                fraction,
                sampling: if poisson {
                    Sampling::Poisson
                } else {
                    Sampling::Fixed
                },
                over_selection: if poisson { 0.0 } else { over },
                deadline,
                minimum_replies: 1,
            },
        )
}

fn train() -> impl Strategy<Value = TrainConfig> {
    let optimizer = select(vec![
        LocalOptimizer::Sgd,
        LocalOptimizer::Momentum,
        LocalOptimizer::Adam,
    ]);
    let steps = (1u32..=u32::MAX, any::<u32>(), any::<u32>());
    (
        steps,
        optimizer,
        positive(),
        positive(),
        below_one(),
        below_one(),
        below_one(),
        positive(),
        (positive(), below_one()),
    )
        .prop_map(
            |(steps, optimizer, rate, decay, momentum, beta1, beta2, weight_decay, last)| {
                TrainConfig {
                    epochs: steps.0,
                    batch_size: steps.1,
                    max_steps: steps.2,
                    optimizer,
                    learning_rate: rate,
                    learning_rate_decay: decay,
                    momentum,
                    beta1,
                    beta2,
                    weight_decay,
                    proximal_mu: last.0,
                    client_momentum: last.1,
                }
            },
        )
}

fn server() -> impl Strategy<Value = ServerConfig> {
    let optimizer = select(vec![
        ServerOptimizerKind::Sgd,
        ServerOptimizerKind::Momentum,
        ServerOptimizerKind::Adagrad,
        ServerOptimizerKind::Adam,
        ServerOptimizerKind::Yogi,
    ]);
    (
        optimizer,
        option::of(positive()),
        below_one(),
        below_one(),
        below_one(),
        positive(),
    )
        .prop_map(
            |(optimizer, learning_rate, momentum, beta1, beta2, tau)| ServerConfig {
                optimizer,
                learning_rate,
                momentum,
                beta1,
                beta2,
                tau,
            },
        )
}

fn faults() -> impl Strategy<Value = Faults> {
    (
        0.0f64..=1.0,
        0.0f64..=1.0,
        0.0f64..=1e6,
        0.0f64..=10.0,
        0.0f64..=1.0,
        1.0f64..=1e6,
    )
        .prop_map(
            |(dropout, corrupt, seconds_per_step, seconds_spread, chance, slowdown)| Faults {
                dropout,
                corrupt,
                seconds_per_step,
                seconds_spread,
                straggler: Straggler { chance, slowdown },
            },
        )
}

fn sweep() -> impl Strategy<Value = Option<Sweep>> {
    let integers = |low: i64, high: i64| {
        prop::collection::vec((low..high).prop_map(toml::Value::Integer), 1..4)
    };
    let rates = prop::collection::vec((1e-6f64..1.0).prop_map(toml::Value::Float), 1..4);
    let settings = (
        integers(0, 99),
        integers(1, 99),
        rates,
        any::<prop::sample::Index>(),
    );
    option::of(settings.prop_map(|(seeds, epochs, rates, turn)| {
        let mut settings = vec![
            ("seed".to_owned(), seeds),
            ("train.epochs".to_owned(), epochs),
            ("train.learning_rate".to_owned(), rates),
        ];
        let turn = turn.index(settings.len());
        settings.rotate_left(turn);
        Sweep { settings }
    }))
}

fn parameter() -> impl Strategy<Value = Option<f64>> {
    option::of(1e-9..1e6)
}

/// With `byzantine = 0`, which any cohort withstands.
fn aggregation() -> impl Strategy<Value = AggregationConfig> {
    let choices = (
        select(Rule::ALL.to_vec()),
        prop::collection::vec(
            select(vec![
                Before::Nnm,
                Before::Bucketing,
                Before::Clip,
                Before::Arc,
            ]),
            0..3,
        ),
        option::of(select(vec![Weights::Examples, Weights::Uniform])),
        option::of(select(vec![Start::Mean, Start::Zero])),
    );
    let counts = (
        option::of(0u32..100),
        option::of(1u32..100),
        option::of(1u32..100),
    );
    let numbers = (
        parameter(),
        parameter(),
        parameter(),
        parameter(),
        parameter(),
        parameter(),
    );
    (choices, counts, numbers).prop_map(
        |((rule, before, weights, start), (iterations, sample, root), numbers)| {
            let weights = weights.filter(|_| rule == Rule::Mean && before.is_empty());
            let (smoothing, radius, noise, clip_norm, drop_factor, sign_step) = numbers;
            // Rules that need three updates are given to cohorts that may be smaller.
            let rule = match rule {
                Rule::Krum | Rule::MultiKrum | Rule::Bulyan => Rule::Median,
                rule => rule,
            };
            AggregationConfig {
                rule,
                before,
                weights,
                start,
                iterations,
                sample,
                root_examples: root,
                smoothing,
                radius,
                noise,
                clip_norm,
                drop_factor,
                sign_step,
                ..AggregationConfig::default()
            }
        },
    )
}

fn statistics() -> impl Strategy<Value = StatisticsConfig> {
    let noisy = (0.1..100.0, -1e3..0.0, 0.5..1e3).prop_map(|(noise, low, high)| StatisticsConfig {
        noise_multiplier: Some(noise),
        bounds: [("age".to_owned(), [low, high])].into(),
        known: [("sex".to_owned(), vec!["f".to_owned(), "m".to_owned()])].into(),
        ..StatisticsConfig::default()
    });
    let exact =
        (1_u32..=StatisticsConfig::MOST_CATEGORIES).prop_map(|categories| StatisticsConfig {
            categories,
            ..StatisticsConfig::default()
        });
    prop_oneof![exact, noisy]
}

/// Malicious clients by fraction: a number could exceed that of the clients.
fn attack() -> impl Strategy<Value = AttackConfig> {
    let choices = (
        select(vec![
            AttackKind::Ipm,
            AttackKind::SignFlip,
            AttackKind::LabelFlip,
        ]),
        option::of(select(vec![Knowledge::Own, Knowledge::All])),
        option::of(select(vec![
            Direction::Unit,
            Direction::Sign,
            Direction::Deviation,
        ])),
        0.01..0.4,
    );
    (
        choices,
        1u32..100,
        option::of(0..=i64::MAX as u64),
        any::<bool>(),
        parameter(),
    )
        .prop_map(
            |((kind, knowledge, direction, fraction), start_round, seed, unattacked, epsilon)| {
                AttackConfig {
                    kind,
                    clients: None,
                    fraction: Some(fraction),
                    start_round,
                    seed,
                    knowledge,
                    unattacked,
                    direction,
                    epsilon,
                    ..AttackConfig::new(kind)
                }
            },
        )
}

fn privacy() -> impl Strategy<Value = PrivacyConfig> {
    let choices = (
        select(vec![
            Mechanism::CentralGaussian,
            Mechanism::CorrelatedGaussian,
            Mechanism::LocalGaussian,
            Mechanism::DpSgd,
        ]),
        select(vec![NoiseOrigin::System, NoiseOrigin::Seeded]),
        option::of(1e-3..100.0),
        1e-3..100.0,
    );
    let adaptive = (0.01..0.99, 0.01..1.0, option::of(0.1..100.0)).prop_map(
        |(quantile, rate, count_noise)| AdaptiveClipConfig {
            quantile,
            rate,
            count_noise,
        },
    );
    let counts = (
        option::of(1u32..100),
        option::of(1u32..100),
        option::of(select(vec![Correlation::Blt, Correlation::Tree])),
    );
    (
        choices,
        1e-12..0.5,
        1e-3..100.0,
        option::of(adaptive),
        counts,
    )
        .prop_map(
            |((mechanism, noise, epsilon, multiplier), delta, clip, adaptive, counts)| {
                PrivacyConfig {
                    mechanism,
                    unit: Some(mechanism.unit()),
                    noise_multiplier: Some(multiplier),
                    epsilon,
                    delta,
                    clip,
                    adaptive_clip: adaptive.filter(|_| mechanism == Mechanism::CentralGaussian),
                    noise,
                    neighbouring: None,
                    max_batch: None,
                    separation: counts.0,
                    correlation: counts.2,
                    bands: counts.1,
                    bits: None,
                    honest: None,
                }
            },
        )
}

fn communication() -> impl Strategy<Value = CommunicationConfig> {
    let coding = select(vec![Coding::F32, Coding::F16, Coding::Int8, Coding::TopK]);
    (coding, 0.001..1.0_f64).prop_map(|(update, keep)| CommunicationConfig { update, keep })
}

fn defence() -> impl Strategy<Value = DefenceConfig> {
    let share = || option::of(0.001..0.999_f64);
    let size = || option::of(0.001..100.0_f64);
    (size(), size(), share(), option::of(2u32..=8), share()).prop_map(
        |(clip_norm, noise, prune, quantise_bits, soteria)| DefenceConfig {
            clip_norm,
            noise,
            prune,
            quantise_bits,
            soteria,
        },
    )
}

fn record() -> impl Strategy<Value = RecordConfig> {
    let rounds = prop::collection::vec(1u32..100, 0..4);
    (rounds, option::of(1u32..9)).prop_map(|(rounds, every)| RecordConfig { rounds, every })
}

fn secure_aggregation() -> impl Strategy<Value = SecureAggregationConfig> {
    let numbers = (0.0..0.5_f64, 0.0..0.5_f64, 3u32..20, 1u32..5);
    let range = option::of(0.01_f32..100.0);
    (
        any::<bool>(),
        any::<bool>(),
        numbers,
        range,
        option::of(0.7..1.0_f64),
    )
        .prop_map(
            |(
                semi_honest,
                narrow,
                (collusion, dropout, minimum_cohort, buckets),
                range,
                threshold,
            )| {
                SecureAggregationConfig {
                    mode: match semi_honest {
                        true => ServerTrust::SemiHonest,
                        false => ServerTrust::Malicious,
                    },
                    threshold,
                    collusion,
                    dropout,
                    minimum_cohort,
                    lanes: if narrow { 16 } else { 32 },
                    range,
                    buckets,
                    ..SecureAggregationConfig::default()
                }
            },
        )
}

pub(crate) fn experiment() -> impl Strategy<Value = Experiment> {
    let small = (
        "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,20}",
        0u64..=i64::MAX as u64,
        select(vec![
            vec![],
            vec![Baseline::Local],
            vec![Baseline::Centralised, Baseline::Local],
        ]),
        aggregation(),
        option::of(attack()),
        option::of(privacy()),
        (
            option::of(secure_aggregation()),
            option::of(communication()),
            (option::of(record()), option::of(defence())),
            select(vec![GuardMode::Refuse, GuardMode::Warn, GuardMode::Off]),
        ),
        (1u32..=u32::MAX, any::<bool>(), any::<bool>(), anomalies()),
    );
    let tables = (
        (data(), option::of(statistics())),
        federation(),
        model(),
        train(),
        server(),
        faults(),
        (sweep(), numbers()),
    );
    (small, tables).prop_map(
        |(
            (
                name,
                seed,
                baselines,
                aggregation,
                attack,
                privacy,
                (secure_aggregation, communication, (record, defence), guard),
                evaluate,
            ),
            ((data, statistics), federation, model, train, server, faults, (sweep, numbers)),
        )| {
            let experiment = Experiment {
                name,
                seed,
                baselines,
                data,
                statistics,
                federation,
                model,
                train,
                server,
                aggregation,
                privacy,
                secure_aggregation,
                communication,
                defence,
                guard: GuardConfig { mode: guard },
                anomalies: evaluate.3,
                record,
                attack,
                faults,
                evaluate: Evaluate {
                    every: evaluate.0,
                    clients: evaluate.1,
                    at_sites: evaluate.2,
                },
                sweep,
            };
            let mut experiment = predicting(experiment, numbers);
            // Rows are hidden where rows are what is promised for.
            if experiment.check().is_err() {
                experiment.statistics = None;
            }
            // Not every defence goes with every mechanism.
            if experiment.check().is_err() {
                experiment.defence = None;
            }
            // Rounds that are recorded must be there.
            if experiment.check().is_err() {
                experiment.record = None;
            }
            // Not every mechanism goes with every rule and cohort, nor does every secure sum.
            if experiment.check().is_err() {
                experiment.secure_aggregation = None;
            }
            if experiment.check().is_err() {
                experiment.privacy = None;
            }
            experiment
        },
    )
}
