//! Membership and property inference on a run: its final model, and its recorded rounds.

use cloister_protocol::ClientId;
use cloister_redteam::membership::fedmia::{self, Measure, Recorded};
use cloister_redteam::membership::shadow::{self, Shadow, ShadowPlan, Split};
use cloister_redteam::membership::shokri::{self, Shokri};
use cloister_redteam::membership::{
    Ceiling, Column, Estimate, MembershipError, Observations, Pool, Query, Rmia, Roc, Signals,
    Verdict, per_class,
};
use cloister_redteam::property::{self, MixScore};
use cloister_report::record::leakage::{
    Estimate as Figure, MembershipRow, MembershipVerdict, PropertyRow, Skipped,
};
use rand::seq::index;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::clock::Stopwatch;
use crate::error::LeakError;
use crate::subject::Subject;

/// Confidence of all intervals.
const CONFIDENCE: f64 = 0.95;
/// Members at most, and as many non-members: 10,000 support a rate of 0.1 %.
const MOST_ASKED: usize = 10_000;
/// The same for attacks that cost a gradient an example, round and client.
const MOST_GRADIENTS: usize = 1000;
/// Members, and non-members, without which there is no rate to speak of.
const LEAST_ASKED: usize = 10;
/// Points of a ceiling's curve.
const CEILING_POINTS: usize = 60;

/// The attacks, by the names of the command line.
pub const ATTACKS: [(&str, &str); 9] = [
    ("gap", "members are what is classified rightly"),
    ("yeom", "members have a small loss (Yeom et al. 2018)"),
    (
        "shokri",
        "an attack net on shadows' softmax (Shokri et al. 2017)",
    ),
    (
        "difficulty",
        "the loss against that of shadows without the example",
    ),
    (
        "lira-online",
        "likelihood ratio of shadows with and without it (Carlini et al. 2022)",
    ),
    ("lira-offline", "the same with shadows without it only"),
    (
        "rmia",
        "growth of its probability against others' (Zarifzadeh et al. 2024)",
    ),
    (
        "fedmia-cosine",
        "updates against its gradient, over recorded rounds (Zhu et al. 2024)",
    ),
    (
        "fedmia-loss",
        "its loss under each client's update, over recorded rounds",
    ),
];

/// What is tried.
#[derive(Clone, Debug, PartialEq)]
pub struct MembershipPlan {
    /// Names of [`ATTACKS`]; empty stands for all that fit.
    pub attacks: Vec<String>,
    /// Shadow models.
    pub shadows: usize,
    /// Members, and non-members, at most.
    pub members: Option<usize>,
    /// Seed of all draws.
    pub seed: u64,
}

/// Rows, and what was not tried.
#[derive(Clone, Debug, Default)]
pub struct Inferred {
    /// One an attack.
    pub memberships: Vec<MembershipRow>,
    /// Estimates of clients' label mixes.
    pub properties: Vec<PropertyRow>,
    /// What was not tried.
    pub skipped: Vec<Skipped>,
}

/// Tries the attacks of `plan` on the final model of the run and on its recorded rounds.
///
/// # Errors
/// [`LeakError`] if the model or a transcript cannot be read, or an attack cannot begin.
pub fn membership(
    subject: &Subject,
    plan: &MembershipPlan,
    threads: usize,
) -> Result<Inferred, LeakError> {
    for name in &plan.attacks {
        if ATTACKS.iter().all(|(known, _)| known != name) {
            let known = ATTACKS.map(|(name, _)| name).join(", ");
            return Err(LeakError::Request(format!(
                "there is no membership attack '{name}'; there are {known}"
            )));
        }
    }
    let mut inferred = Inferred::default();
    let wanted = |name: &str| plan.attacks.is_empty() || plan.attacks.iter().any(|w| w == name);
    let on_model = ATTACKS
        .iter()
        .any(|(name, _)| !name.starts_with("fedmia") && wanted(name));
    if on_model {
        on_the_model(subject, plan, &wanted, threads, &mut inferred)?;
    }
    if wanted("fedmia-cosine") || wanted("fedmia-loss") {
        on_the_rounds(subject, plan, &wanted, threads, &mut inferred)?;
    }
    if plan.attacks.is_empty() {
        label_mix(subject, threads, &mut inferred)?;
    }
    Ok(inferred)
}

fn too_few(what: &str, members: usize) -> Skipped {
    Skipped {
        what: what.to_owned(),
        why: format!("{members} members are too few for a rate, {LEAST_ASKED} are needed"),
    }
}

fn failed(attack: &str) -> impl Fn(MembershipError) -> LeakError + '_ {
    move |error| LeakError::attack(attack, error)
}

/// Rows of the training part that some client has, and rows of the test part: as many of both, drawn at random.
fn asked(subject: &Subject, most: usize, rng: &mut ChaCha8Rng) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
    let federation = subject.federation();
    let owned: Vec<u32> = (0..federation.clients() as u32)
        .flat_map(|client| federation.rows(ClientId(client)).to_vec())
        .collect();
    let test = federation.data.test.len();
    // A part of the test examples is the attacker's own population, beside those that are asked about.
    let amount = most.min(owned.len()).min(test - test / 5);
    let members = index::sample(rng, owned.len(), amount).into_iter();
    let mut others: Vec<u32> = index::sample(rng, test, test)
        .into_iter()
        .map(|row| row as u32)
        .collect();
    let population = others.split_off(amount);
    (
        members.map(|place| owned[place]).collect(),
        others,
        population,
    )
}

fn on_the_model(
    subject: &Subject,
    plan: &MembershipPlan,
    wanted: &dyn Fn(&str) -> bool,
    threads: usize,
    inferred: &mut Inferred,
) -> Result<(), LeakError> {
    let mut rng = ChaCha8Rng::seed_from_u64(plan.seed);
    let data = &subject.federation().data;
    let most = plan.members.unwrap_or(MOST_ASKED);
    let (members, others, population) = asked(subject, most, &mut rng);
    if members.len() < LEAST_ASKED {
        inferred
            .skipped
            .push(too_few("membership in the final model", members.len()));
        return Ok(());
    }
    let pool = Pool::join(&data.train, &members, &data.test, &others, &population);
    let pool = pool.map_err(failed("membership"))?;
    let target = subject.final_model()?;
    let watch = Stopwatch::start();
    let queries = Query::of(pool.data().shape());
    let ask = |parameters: &[f32]| -> Result<Vec<Signals>, MembershipError> {
        let one =
            |query: &Query| Signals::of(subject.model(), parameters, pool.data(), *query, threads);
        queries.iter().map(one).collect()
    };
    let answers = ask(&target).map_err(failed("membership"))?;
    let bare = Observations::new(answers.clone(), Vec::new(), pool.candidates())
        .map_err(failed("membership"))?;
    let basis = watch.seconds();
    for (name, scores) in [("gap", bare.gap()), ("yeom", bare.yeom())] {
        if wanted(name) {
            let row = scored(subject, &pool, name, "final model", &scores, basis, plan)?;
            inferred.memberships.push(row);
        }
    }
    let with_shadows = [
        "shokri",
        "difficulty",
        "lira-online",
        "lira-offline",
        "rmia",
    ];
    if !with_shadows.into_iter().any(wanted) {
        return Ok(());
    }
    let watch = Stopwatch::start();
    let all = 0..pool.data().len() as u32;
    let shadows = shadows(
        subject,
        &pool,
        all,
        plan.shadows,
        Split::Half,
        threads,
        &mut rng,
    )?;
    let answer = |shadow: &Shadow| shadow.answer(subject.model(), pool.data(), queries, threads);
    let references: Result<Vec<_>, _> = shadows.iter().map(answer).collect();
    let references = references.map_err(failed("shadow models"))?;
    let observed = Observations::new(answers, references, pool.candidates())
        .map_err(failed("shadow models"))?;
    let shared = watch.seconds();
    let scores = [
        ("difficulty", observed.difficulty()),
        ("lira-online", observed.lira_online()),
        ("lira-offline", observed.lira_offline()),
        ("rmia", observed.rmia(&Rmia::default())),
    ];
    for (name, scores) in scores {
        if wanted(name) {
            let scores = scores.map_err(failed(name))?;
            let mut row = scored(subject, &pool, name, "final model", &scores, shared, plan)?;
            row.note = Some(format!(
                "{} shadow models, trained in one place; the seconds are theirs, shared by all attacks with shadows",
                plan.shadows
            ));
            inferred.memberships.push(row);
        }
    }
    if wanted("shokri") {
        let row = by_attack_net(subject, &pool, &target, plan, threads, &mut rng)?;
        inferred.memberships.push(row);
    }
    Ok(())
}

/// Shadows on the pool, with as many passes as a client's examples get in the run.
fn shadows(
    subject: &Subject,
    pool: &Pool,
    rows: std::ops::Range<u32>,
    count: usize,
    split: Split,
    threads: usize,
    rng: &mut ChaCha8Rng,
) -> Result<Vec<Shadow>, LeakError> {
    let experiment = subject.experiment();
    let federation = &experiment.federation;
    let passes =
        f64::from(federation.rounds) * federation.fraction * f64::from(experiment.train.epochs);
    let plan = ShadowPlan {
        model: subject.model(),
        plan: &experiment.train.plan(1),
        epochs: (passes.round() as u32).max(1),
        shadows: count,
        split,
    };
    let rows: Vec<u32> = rows.collect();
    shadow::train(&plan, pool.data(), &rows, threads, rng).map_err(failed("shadow models"))
}

fn by_attack_net(
    subject: &Subject,
    pool: &Pool,
    target: &[f32],
    plan: &MembershipPlan,
    threads: usize,
    rng: &mut ChaCha8Rng,
) -> Result<MembershipRow, LeakError> {
    let watch = Stopwatch::start();
    let failed = failed("shokri");
    // What the nets take for "not a member" must be no member of the target: shadows have the population only.
    let rows = pool.candidates() as u32..pool.data().len() as u32;
    let count = plan.shadows.min(4);
    let shadows = shadows(subject, pool, rows, count, Split::Disjoint, threads, rng)?;
    let net = Shokri::train(subject.model(), &shadows, pool.data(), threads, rng);
    let net = net.map_err(&failed)?;
    let scores = net.scores(subject.model(), target, pool.data(), threads);
    let scores = scores.map_err(&failed)?;
    let (members, others) = pool.split(&scores).map_err(&failed)?;
    let balanced = shokri::balanced(members, others, CONFIDENCE, rng).map_err(&failed)?;
    let mut row = scored(subject, pool, "shokri", "final model", &scores, 0.0, plan)?;
    row.seconds = watch.seconds();
    row.note = Some(balanced.words());
    Ok(row)
}

/// FedMIA needs each client's update: it asks whether examples are those of the clients who have most of them.
fn on_the_rounds(
    subject: &Subject,
    plan: &MembershipPlan,
    wanted: &dyn Fn(&str) -> bool,
    threads: usize,
    inferred: &mut Inferred,
) -> Result<(), LeakError> {
    let what = "membership over recorded rounds (FedMIA)";
    let mut skip = |why: &str| {
        inferred.skipped.push(Skipped {
            what: what.to_owned(),
            why: why.to_owned(),
        });
    };
    if subject.rounds().is_empty() {
        skip("no round was recorded");
        return Ok(());
    }
    let mut rounds = Vec::new();
    for round in subject.rounds() {
        let sights = subject.sights(round)?;
        let single: Vec<_> = sights.into_iter().filter(|sight| !sight.is_sum).collect();
        if single.len() >= 3 {
            rounds.push(single);
        }
    }
    let Some(first) = rounds.first() else {
        skip("the server saw sums only, or fewer than three updates a round");
        return Ok(());
    };
    let client = first
        .iter()
        .map(|sight| sight.members[0])
        .max_by_key(|client| subject.federation().rows(*client).len());
    let Some(client) = client else {
        return Ok(());
    };
    let updates: Vec<Vec<(u32, &[f32])>> = rounds
        .iter()
        .map(|round| {
            let pair = |sight: &crate::subject::Sight| sight.members[0].0;
            round
                .iter()
                .map(|sight| (pair(sight), &sight.update[..]))
                .collect()
        })
        .collect();
    let recorded: Vec<Recorded<'_>> = rounds
        .iter()
        .zip(&updates)
        .map(|(round, updates)| Recorded {
            global: &round[0].global,
            updates,
        })
        .collect();
    let owned = subject.federation().rows(client).len();
    if owned < LEAST_ASKED {
        inferred.skipped.push(too_few(what, owned));
        return Ok(());
    }
    let mut rng = ChaCha8Rng::seed_from_u64(plan.seed);
    let most = plan.members.unwrap_or(MOST_GRADIENTS).min(MOST_GRADIENTS);
    let (pool, name) = of_client(subject, client, most, &mut rng)?;
    for (attack, measure) in [
        ("fedmia-cosine", Measure::Cosine),
        ("fedmia-loss", Measure::Loss),
    ] {
        if !wanted(attack) {
            continue;
        }
        let watch = Stopwatch::start();
        let rows: Vec<u32> = (0..pool.candidates() as u32).collect();
        let scores = fedmia::scores(
            subject.model(),
            &recorded,
            client.0,
            pool.data(),
            &rows,
            measure,
            threads,
        );
        let scores = scores.map_err(failed(attack))?;
        let target = format!("{} recorded rounds, {name}", recorded.len());
        let row = scored(subject, &pool, attack, &target, &scores, 0.0, plan)?;
        inferred.memberships.push(MembershipRow {
            seconds: watch.seconds(),
            ..row
        });
    }
    Ok(())
}

/// A client's examples, and as many that no client has.
fn of_client(
    subject: &Subject,
    client: ClientId,
    most: usize,
    rng: &mut ChaCha8Rng,
) -> Result<(Pool, String), LeakError> {
    let federation = subject.federation();
    let owned = federation.rows(client);
    let test = &federation.data.test;
    let amount = most.min(owned.len()).min(test.len());
    let members: Vec<u32> = index::sample(rng, owned.len(), amount)
        .into_iter()
        .map(|place| owned[place])
        .collect();
    let others: Vec<u32> = index::sample(rng, test.len(), amount)
        .into_iter()
        .map(|row| row as u32)
        .collect();
    let pool = Pool::join(&federation.data.train, &members, test, &others, &[]);
    let name = federation.partition.clients[client.0 as usize].name.clone();
    Ok((pool.map_err(failed("fedmia"))?, name))
}

/// One attack's scores as a row of the report.
fn scored(
    subject: &Subject,
    pool: &Pool,
    attack: &str,
    target: &str,
    scores: &[f64],
    seconds: f64,
    plan: &MembershipPlan,
) -> Result<MembershipRow, LeakError> {
    let (members, others) = pool.split(scores).map_err(failed(attack))?;
    let roc = Roc::new(members, others, CONFIDENCE).map_err(failed(attack))?;
    let promise = subject.promise();
    // The promise of a client-level mechanism holds for each of its examples all the more.
    let ceiling = promise.map(|(epsilon, delta)| Ceiling::EpsilonDelta { epsilon, delta });
    let column = |column: &Result<Column, String>| column.as_ref().ok().map(|c| figure(&c.tpr));
    let refused = [&roc.tpr_1, &roc.tpr_01]
        .into_iter()
        .find_map(|column| column.as_ref().err().cloned());
    let labels = pool.data().labels();
    let (in_labels, out_labels) = (
        &labels[..pool.members()],
        &labels[pool.members()..pool.candidates()],
    );
    let names = pool.data().classes();
    let classes = per_class(
        (members, in_labels),
        (others, out_labels),
        names.len(),
        CONFIDENCE,
    )
    .map_err(failed(attack))?;
    let classes = names.iter().zip(classes);
    Ok(MembershipRow {
        attack: attack.to_owned(),
        target: target.to_owned(),
        defence: subject.defences(),
        members: roc.members as u32,
        nonmembers: roc.nonmembers as u32,
        auc: figure(&roc.auc),
        balanced_accuracy: roc.balanced_accuracy,
        tpr_1: column(&roc.tpr_1),
        tpr_01: column(&roc.tpr_01),
        refused,
        ceiling_1: ceiling.map(|ceiling| ceiling.tpr(0.01)),
        ceiling_01: ceiling.map(|ceiling| ceiling.tpr(0.001)),
        roc: roc.points.clone(),
        ceiling: ceiling.map_or_else(Vec::new, |ceiling| curve(&ceiling)),
        verdict: match roc.verdict(ceiling.as_ref()) {
            Verdict::NoneFound => MembershipVerdict::NoneFound,
            Verdict::Leaks => MembershipVerdict::Leaks,
            Verdict::Strong => MembershipVerdict::Strong,
            Verdict::AboveCeiling => MembershipVerdict::AboveCeiling,
        },
        classes: classes
            .filter_map(|(name, auc)| Some((name.clone(), auc?.value)))
            .collect(),
        accuracy: subject.accuracy(),
        epsilon: promise.map(|(epsilon, _)| epsilon),
        seconds,
        seed: plan.seed,
        ..MembershipRow::default()
    })
}

fn figure(estimate: &Estimate) -> Figure {
    Figure {
        value: estimate.value,
        low: estimate.low,
        high: estimate.high,
    }
}

/// The ceiling from a false-positive rate of 1e-4 to 1, evenly on a logarithmic axis.
fn curve(ceiling: &Ceiling) -> Vec<[f64; 2]> {
    let rate = |step: usize| 10_f64.powf(-4.0 + 4.0 * step as f64 / CEILING_POINTS as f64);
    let point = |step: usize| [rate(step), ceiling.tpr(rate(step))];
    (0..=CEILING_POINTS).map(point).collect()
}

/// Whose labels are in which shares, from the last bias of each update of the first recorded round.
fn label_mix(subject: &Subject, threads: usize, inferred: &mut Inferred) -> Result<(), LeakError> {
    let Some(round) = subject.rounds().first().copied() else {
        return Ok(());
    };
    let data = &subject.federation().data;
    let everybody: Vec<u32> = (0..data.test.len() as u32).collect();
    let population = property::label_mix(&data.test, &everybody);
    let mut scores: Vec<MixScore> = Vec::new();
    let mut why = None;
    for sight in subject.sights(round)? {
        let estimate = property::from_bias_gradient(
            subject.model(),
            &sight.global,
            &sight.update,
            f64::from(sight.plan.learning_rate),
            sight.steps() as u64,
            &data.test,
            threads,
        );
        match estimate {
            Ok(estimate) => {
                let truth = property::label_mix(&data.train, &sight.truth.concat());
                let score = MixScore::new(&estimate, &truth, &population);
                scores.extend(score.ok());
            }
            Err(error) => why = Some(error.to_string()),
        }
    }
    if scores.is_empty() {
        inferred.skipped.push(Skipped {
            what: "label mix of a client".to_owned(),
            why: why.unwrap_or_else(|| "no update was recorded".to_owned()),
        });
        return Ok(());
    }
    let mean =
        |of: &dyn Fn(&MixScore) -> f64| scores.iter().map(of).sum::<f64>() / scores.len() as f64;
    inferred.properties.push(PropertyRow {
        attack: "label mix from the last bias".to_owned(),
        target: format!("round {round}, {} updates", scores.len()),
        error: mean(&|score| score.error),
        floor: mean(&|score| score.floor),
        cosine: mean(&|score| score.cosine),
        dominant: mean(&|score| f64::from(u8::from(score.dominant))),
        note: None,
    });
    Ok(())
}
