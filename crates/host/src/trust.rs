//! Who can see what.

use cloister_config::Experiment;
use cloister_privacy::{Mechanism, NoiseOrigin};
use cloister_robust::Rule;
use cloister_secagg::Params;
use cloister_secagg::statement::Statement;

use crate::setting::Place;

/// Who can see what, in sentences for the reader of the report.
///
/// `sums` are the numbers of its secure sums, where it has such and they are known.
pub fn trust(experiment: &Experiment, sums: Option<&Params>, place: Place) -> Vec<String> {
    let mechanism = experiment.privacy.as_ref().map(|privacy| privacy.mechanism);
    let server = match mechanism {
        _ if experiment.secure_aggregation.is_some() => {
            "The server sees no single update, only sums of masked ones. Which, and against whom that holds:"
        }
        Some(Mechanism::DpSgd) => {
            "The server sees each client's update of each round and its example count, both after the client's own noise \
             has hidden each single example."
        }
        Some(Mechanism::LocalGaussian) => {
            "The server sees each client's update of each round only with the client's own noise on it."
        }
        _ => {
            "The server sees each client's update of each round in the clear, its example count and its training loss. \
             Updates can reveal training examples, so the server must be trusted."
        }
    };
    let model = match mechanism {
        Some(_) => {
            "Clients, and whoever gets the final model, see each round's global model. What it can reveal of the data is \
             bounded: see the privacy statement."
        }
        None => {
            "Clients, and whoever gets the final model, see each round's global model. No differential privacy was \
             applied: there is no bound on what the model reveals of a client or an example (epsilon is infinite)."
        }
    };
    let mut sentences = vec![
        match place {
            Place::Simulation => {
                "Data: no training example leaves its client; the simulation keeps them apart in one process."
            }
            Place::Deployment => "Data: no training example leaves its site; what leaves it is what the next sentences say.",
        }
        .to_owned(),
        server.to_owned(),
    ];
    if experiment.secure_aggregation.is_some() {
        sentences.extend(sums_in_words(sums));
    }
    sentences.push(model.to_owned());
    sentences.extend(defence(experiment));
    sentences.extend(recorded(experiment));
    sentences.push(byzantine(experiment));
    sentences.push(match place {
        Place::Simulation => seed(experiment),
        Place::Deployment => deployed(experiment),
    });
    if experiment.secure_aggregation.is_some() {
        sentences.extend(not_promised(experiment, sums, place));
    }
    sentences
}

/// What is done to updates without a promise.
fn defence(experiment: &Experiment) -> Option<String> {
    let names = experiment.defence.as_ref()?.names();
    (!names.is_empty()).then(|| {
        format!(
            "Defences without a promise: {}. NOT PRIVATE: none of them bounds what an update reveals, and attacks are known that \
             each of them does not stop.",
            names.join(", ")
        )
    })
}

/// What of the rounds is kept.
fn recorded(experiment: &Experiment) -> Option<String> {
    let rounds = experiment.federation.rounds;
    let count = experiment.record.as_ref()?.count(rounds);
    (count > 0).then(|| {
        format!(
            "Recorded: the transcripts of {count} of the {rounds} rounds are kept, with each message as the server saw it. Whoever reads \
             them can attack the updates at leisure, as the server could."
        )
    })
}

/// What of a simulation can be repeated by whoever knows its seed.
fn seed(experiment: &Experiment) -> String {
    let seed = experiment.seed;
    let secret = experiment
        .privacy
        .as_ref()
        .is_some_and(|privacy| privacy.noise == NoiseOrigin::System);
    match secret {
        true => format!(
            "Simulation under the fixed seed {seed}: data, first model and order of training can be repeated; privacy noise \
             and the coins that it counts on came from the operating system and cannot."
        ),
        false => {
            let (keys, else_) = match experiment.secure_aggregation.is_some() && !seeded(experiment)
            {
                true => (" but for the keys of the secure sums", " else"),
                false => ("", ""),
            };
            format!(
                "Simulation under the fixed seed {seed}: every random draw can be repeated{keys}, so nothing{else_} random in this run is \
                 secret. NOT PRIVATE."
            )
        }
    }
}

/// What of a deployment comes from its seed.
fn deployed(experiment: &Experiment) -> String {
    format!(
        "The seed {} decides the first model, who is called (but for secret coins) and the order of training, so that a run can be \
         repeated. Keys, masks, privacy noise and the coins that it counts on come from the operating systems of sites and \
         director. Between them everything travels over mutual TLS.",
        experiment.seed
    )
}

/// Whether a simulation's keys of secure sums come from the run's seed: buckets are drawn from them, and are to be the same when
/// the run is repeated.
pub fn seeded(experiment: &Experiment) -> bool {
    let buckets = experiment
        .secure_aggregation
        .as_ref()
        .map_or(1, |config| config.buckets);
    let privacy = experiment.privacy.as_ref();
    // A run with secret noise cannot be repeated anyway.
    let secret = privacy.is_some_and(|privacy| privacy.noise == NoiseOrigin::System);
    buckets > 1 && !secret
}

/// What a secure sum shows to whom.
fn sums_in_words(sums: Option<&Params>) -> Vec<String> {
    let Some(params) = sums else {
        return vec![
            "Secure sum: its numbers depend on how many clients the data give.".to_owned(),
        ];
    };
    let statement = Statement::of(params);
    let mut sentences = vec![format!("Secure sum: {}", statement.guarantee)];
    let learns = statement.learns.iter();
    sentences.extend(learns.map(|learns| format!("Secure sum, {}: {}", learns.who, learns.what)));
    sentences
}

/// What nobody should conclude from a secure sum.
fn not_promised(experiment: &Experiment, sums: Option<&Params>, place: Place) -> Vec<String> {
    let mut lines = sums.map_or_else(Vec::new, |params| Statement::of(params).not_promised);
    let simulated = place == Place::Simulation;
    if simulated {
        lines.push(
            "In a simulation all clients are in one process; whoever runs it can see everything."
                .to_owned(),
        );
    }
    if simulated && seeded(experiment) {
        lines.push(
            "The keys come from the seed too, because buckets are drawn from them: NOT PRIVATE."
                .to_owned(),
        );
    }
    let lines = lines.into_iter();
    lines.map(|line| format!("Not promised: {line}")).collect()
}

fn byzantine(experiment: &Experiment) -> String {
    let config = &experiment.aggregation;
    if let Some(secure) = &experiment.secure_aggregation {
        const UNSEEN: &str = "Byzantine clients: nobody can check a masked update. What one client adds is bounded by the \
                              range of a lane and by the largest weight, and by nothing else";
        return match secure.buckets {
            1 => format!("{UNSEEN}; one malicious client can move the model."),
            _ if config.is_plain_mean() => {
                format!("{UNSEEN}; one malicious client can move the model.")
            }
            buckets => {
                let spoilt = match config.rule {
                    // They need not be told.
                    Rule::Median | Rule::GeometricMedian => buckets.saturating_sub(1) / 2,
                    _ => config.byzantine,
                };
                format!(
                    "{UNSEEN}; {} over the means of {buckets} buckets withstands {spoilt} of them spoilt, each by one \
                     malicious client or more.",
                    config.rule.name(),
                )
            }
        };
    }
    const CHECKS: &str = "Byzantine clients: replies are checked for layout, length, finite values and honest counts";
    if config.rule == Rule::Mean {
        return format!(
            "{CHECKS}, but the mean follows any well-formed update; one malicious client can move the model."
        );
    }
    let before: Vec<&str> = config.before.iter().map(|step| step.name()).collect();
    let after = match before.as_slice() {
        [] => String::new(),
        steps => format!(" after {}", steps.join(" and ")),
    };
    format!(
        "{CHECKS}, and aggregated by {}{after} for at most {} malicious ones in a cohort. With more than that, or \
         against an attack made for the rule, the model can still be moved.",
        config.rule.name(),
        config.byzantine
    )
}
