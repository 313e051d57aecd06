//! Reconstruction: attacks on what the server saw, scored into one row of the report.

use std::collections::BTreeMap;
use std::thread;

use cloister_redteam::inversion::floor::{self, Band as Found, Population};
use cloister_redteam::inversion::score::{self, ImageScore};
use cloister_redteam::inversion::{
    InversionError, Labels, MOST_STEPS, Observation, Reconstruction, invert, labels,
};
use cloister_report::record::leakage::{Band, ColumnError, InversionRow, Spread};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::json;

use crate::clock::Stopwatch;
use crate::error::LeakError;
use crate::picture::{is_image, strip};
use crate::plan::Planned;
use crate::subject::{Sight, Subject};
use crate::table::columns;

/// Most examples of the population that a floor is made of.
const MOST_POPULATION: usize = 2000;
/// Most lines of a picture.
const MOST_LINES: usize = 8;
/// Points of an objective's curve in the report.
const MOST_POINTS: usize = 200;

/// What an attack made of some sights, scored.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The row, without the figures of a defence that only a whole run has.
    pub row: InversionRow,
    /// Truth, floor and what was found, in pixels, an image each; empty for tables.
    pub panels: [Vec<f32>; 3],
}

/// One sight's share of an outcome.
struct Single {
    scores: Vec<ImageScore>,
    floors: Vec<(f64, Option<f64>)>,
    truth: Vec<f32>,
    guess: Vec<f32>,
    found: Vec<f32>,
    identified: Option<f64>,
    labels: f64,
    reconstruction: Reconstruction,
    columns: Vec<ColumnError>,
}

/// Why an attack was not made, where it does not fit what was seen; that is no protection.
#[derive(Debug)]
pub enum Tried {
    /// It was made.
    Made(Box<Outcome>),
    /// It was not, for this reason.
    Skipped(String),
}

/// Makes one kind of attack on several sights, each as planned for it, some at a time, and scores all of them as one row.
///
/// # Errors
/// [`LeakError::Attack`] if an attack cannot begin for another reason than that it does not fit.
pub fn reconstruct(
    subject: &Subject,
    jobs: &[(&Sight, &Planned)],
    seed: u64,
    threads: usize,
) -> Result<Tried, LeakError> {
    let watch = Stopwatch::start();
    let Some(&(sight, planned)) = jobs.first() else {
        return Ok(Tried::Skipped("nothing was recorded to attack".to_owned()));
    };
    let per = jobs.len().div_ceil(threads.max(1)).max(1);
    let inner = (threads / jobs.len().max(1)).max(1);
    let results: Vec<Result<Single, InversionError>> = thread::scope(|scope| {
        let work = |jobs| {
            move || -> Vec<_> {
                let one = |(sight, planned): &(&Sight, &Planned)| {
                    single(subject, sight, planned, seed, inner)
                };
                let jobs: &[(&Sight, &Planned)] = jobs;
                jobs.iter().map(one).collect()
            }
        };
        let handles: Vec<_> = jobs
            .chunks(per)
            .map(|jobs| scope.spawn(work(jobs)))
            .collect();
        handles.into_iter().flat_map(joined).collect()
    });
    let mut singles = Vec::new();
    for result in results {
        match result {
            Ok(single) => singles.push(single),
            Err(InversionError::NotAttackable(reason)) => {
                return Ok(Tried::Skipped(reason.to_string()));
            }
            Err(InversionError::Model { attack, needs }) => {
                return Ok(Tried::Skipped(format!("{attack} needs {needs}")));
            }
            Err(error) => return Err(LeakError::attack(&planned.name, error)),
        }
    }
    let mut outcome = Outcome {
        row: row(subject, sight, planned, &singles),
        panels: [Vec::new(), Vec::new(), Vec::new()],
    };
    outcome.row.seed = seed;
    outcome.row.seconds = watch.seconds();
    if is_image(subject.shape()) {
        for single in &singles {
            outcome.panels[0].extend_from_slice(&single.truth);
            outcome.panels[1].extend_from_slice(&single.guess);
            outcome.panels[2].extend_from_slice(&single.found);
        }
    }
    Ok(Tried::Made(Box::new(outcome)))
}

fn joined<T>(handle: thread::ScopedJoinHandle<'_, T>) -> T {
    match handle.join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn single(
    subject: &Subject,
    sight: &Sight,
    planned: &Planned,
    seed: u64,
    threads: usize,
) -> Result<Single, InversionError> {
    let (model, shape) = (subject.model(), subject.shape());
    let (inputs, truth_labels) = subject.examples(&sight.rows());
    let observation = observe(subject, sight)?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(
        u64::from(sight.round) << 32 | sight.members.first().map_or(0, |c| u64::from(c.0)),
    );
    let reconstruction = invert(model, &observation, &planned.attack, threads, &mut rng)?;
    let recovered = labels::recover(model, &observation, &Labels::BiasCorrected, None)?;
    let recovered = match planned.attack.labels {
        Labels::Given(_) => labels::recovered(&truth_labels, &recovered),
        _ => labels::recovered(&truth_labels, &reconstruction.labels),
    };
    let mut single = Single {
        scores: Vec::new(),
        floors: Vec::new(),
        truth: Vec::new(),
        guess: Vec::new(),
        found: Vec::new(),
        identified: None,
        labels: recovered,
        columns: Vec::new(),
        reconstruction,
    };
    if is_image(shape) {
        score_images(
            subject,
            sight,
            (&inputs, &truth_labels),
            &mut single,
            &mut rng,
        )?;
    } else {
        let test = &subject.federation().data.test;
        single.columns = columns(
            subject,
            &inputs,
            &single.reconstruction.inputs,
            test.features(),
        )?;
    }
    Ok(single)
}

/// What the sight says of gradients. Of a sum, all members' examples are one batch, and steps are taken to be of one
/// gradient: exact for one step, a first order for several. So are more steps than can be unrolled.
fn observe(subject: &Subject, sight: &Sight) -> Result<Observation, InversionError> {
    let mut plan = sight.plan.clone();
    if sight.is_sum || sight.steps() > MOST_STEPS {
        plan.batch_size = 0;
        plan.epochs = 1;
        plan.max_steps = 0;
        plan.learning_rate *= sight.steps() as f32;
    }
    Observation::of_update(
        subject.model(),
        sight.global.to_vec(),
        &sight.update,
        &plan,
        sight.examples,
        subject.space().clone(),
    )
}

fn score_images(
    subject: &Subject,
    sight: &Sight,
    (inputs, labels): (&[f32], &[u32]),
    single: &mut Single,
    rng: &mut ChaCha8Rng,
) -> Result<(), InversionError> {
    let (space, shape) = (subject.space(), subject.shape());
    let truth = space.to_pixels(inputs);
    let found = space.to_pixels(&single.reconstruction.inputs);
    let scores = score::score_images(&truth, &found, shape)?;
    let test = &subject.federation().data.test;
    let known = test.len().min(MOST_POPULATION);
    let features = shape.len();
    let images = space.to_pixels(&test.features()[..known * features]);
    let population = Population {
        images: &images,
        labels: &test.labels()[..known],
    };
    let floors = floor::floors(&truth, labels, shape, Some(population), None, rng)?;
    single.floors = floor::best(&floors);
    single.guess = floor::mean_image(&images, features).repeat(labels.len());
    // In the order of the truth.
    for score in &scores {
        single
            .found
            .extend_from_slice(&found[score.found * features..][..features]);
    }
    if let [client] = sight.members[..] {
        let owned = subject.federation().rows(client);
        let places = sight.rows();
        let of: Option<Vec<usize>> = places
            .iter()
            .map(|row| owned.iter().position(|other| other == row))
            .collect();
        if let Some(of) = of.filter(|_| owned.len() > 1 && owned.len() <= MOST_POPULATION) {
            let (all, _) = subject.examples(owned);
            let all = space.to_pixels(&all);
            single.identified = Some(score::identified(&single.found, &all, &of, features));
        }
    }
    single.truth = truth;
    single.scores = scores;
    Ok(())
}

fn row(subject: &Subject, sight: &Sight, planned: &Planned, singles: &[Single]) -> InversionRow {
    let scores = || singles.iter().flat_map(|single| &single.scores);
    let floors: Vec<(f64, Option<f64>)> = singles
        .iter()
        .flat_map(|single| single.floors.clone())
        .collect();
    let psnr: Vec<f64> = scores().map(|score| score.psnr).collect();
    let ssim: Vec<f64> = scores()
        .map(|score| score.ssim.unwrap_or(f64::NAN))
        .collect();
    let gain: Vec<f64> = psnr
        .iter()
        .zip(&floors)
        .map(|(psnr, floor)| psnr - floor.0)
        .collect();
    let relative: Vec<f64> = ssim
        .iter()
        .zip(&floors)
        .map(|(ssim, floor)| floor::relative_ssim_gain(*ssim, floor.1.unwrap_or(f64::NAN)))
        .collect();
    let owned: Vec<ImageScore> = scores().cloned().collect();
    let floor_psnr: Vec<f64> = floors.iter().map(|floor| floor.0).collect();
    let bands = owned
        .iter()
        .zip(&floors)
        .map(|(score, floor)| Found::of(score.psnr, score.ssim, *floor));
    let count = singles.len().max(1) as f64;
    let average = |of: &dyn Fn(&Single) -> f64| singles.iter().map(of).sum::<f64>() / count;
    let identified: Vec<f64> = singles
        .iter()
        .filter_map(|single| single.identified)
        .collect();
    let columns = mean_columns(singles);
    InversionRow {
        threat: threat(sight),
        attack: planned.name.clone(),
        adaptive_to: planned.adaptive_to.clone(),
        defence: subject.defences(),
        setting: setting(sight),
        round: sight.round,
        images: singles
            .iter()
            .map(|single| single.scores.len() as u32)
            .sum(),
        labels: Some(average(&|single| single.labels)),
        psnr: Spread::of(&psnr),
        floor: Spread::of(&floor_psnr).median,
        gain: Spread::of(&gain),
        ssim: Spread::of(&ssim),
        relative_ssim: Spread::of(&relative),
        asr: score::success_rate(&owned, &floor_psnr),
        iip: (!identified.is_empty())
            .then(|| identified.iter().sum::<f64>() / identified.len() as f64),
        objective: average(&|single| single.reconstruction.objective),
        band: match columns.is_empty() {
            true => bands.max().map_or(Band::NotRun, band),
            false => of_columns(&columns),
        },
        accuracy: None,
        epsilon: subject.promise().map(|(epsilon, _)| epsilon),
        bytes_up: Some(sight.bytes),
        iterations: singles
            .iter()
            .map(|_| u64::from(planned.attack.iterations) * u64::from(planned.attack.restarts))
            .sum(),
        settings: settings(planned),
        curve: singles.first().map_or_else(Vec::new, curve),
        columns,
        ..InversionRow::default()
    }
}

fn band(found: Found) -> Band {
    match found {
        Found::Exact => Band::Exact,
        Found::Recognisable => Band::Recognisable,
        Found::Partial => Band::Partial,
        Found::NoneFound => Band::NoneFound,
        Found::AttackFailed => Band::AttackFailed,
    }
}

/// Rows of a table: how much better than a guess the middle column came back.
fn of_columns(columns: &[ColumnError]) -> Band {
    let mut shares: Vec<f64> = columns
        .iter()
        .filter(|column| column.floor > 0.0)
        .map(|column| column.error / column.floor)
        .collect();
    shares.sort_by(f64::total_cmp);
    match shares.get(shares.len() / 2) {
        Some(share) if *share < 0.01 => Band::Exact,
        Some(share) if *share < 0.35 => Band::Recognisable,
        Some(share) if *share < 0.7 => Band::Partial,
        Some(_) => Band::NoneFound,
        None => Band::NotRun,
    }
}

fn mean_columns(singles: &[Single]) -> Vec<ColumnError> {
    let Some(first) = singles.first() else {
        return Vec::new();
    };
    let mut columns = first.columns.clone();
    let count = singles.len() as f64;
    for (place, column) in columns.iter_mut().enumerate() {
        let of = |of: &dyn Fn(&ColumnError) -> f64| {
            singles
                .iter()
                .map(|single| of(&single.columns[place]))
                .sum::<f64>()
                / count
        };
        (column.error, column.floor) = (of(&|column| column.error), of(&|column| column.floor));
    }
    columns
}

fn threat(sight: &Sight) -> String {
    let steps = sight.steps();
    match (sight.is_sum, steps) {
        (false, 0 | 1) => "server, one update of one step".to_owned(),
        (false, _) if steps > MOST_STEPS => {
            format!("server, one update of {steps} steps, taken for one")
        }
        (false, _) => format!("server, one update of {steps} steps, training settings known"),
        (true, _) => format!(
            "server, the sum of {} clients' updates",
            sight.members.len()
        ),
    }
}

fn setting(sight: &Sight) -> String {
    let stage = match sight.round {
        1 => "untrained".to_owned(),
        round => format!("after {} rounds", round - 1),
    };
    let examples = match sight.examples {
        1 => "1 example".to_owned(),
        examples => format!("{examples} examples"),
    };
    let steps = match sight.steps() {
        0 | 1 => "1 step".to_owned(),
        steps => format!("{steps} steps"),
    };
    format!("{examples}, {steps}, {stage}")
}

fn settings(planned: &Planned) -> BTreeMap<String, serde_json::Value> {
    let mut settings = match serde_json::to_value(&planned.attack) {
        Ok(serde_json::Value::Object(settings)) => settings,
        _ => serde_json::Map::new(),
    };
    if settings
        .get("labels")
        .is_some_and(serde_json::Value::is_object)
    {
        settings.insert("labels".to_owned(), json!("given"));
    }
    settings.into_iter().collect()
}

fn curve(single: &Single) -> Vec<[f64; 2]> {
    let points = &single.reconstruction.curve;
    let every = points.len().div_ceil(MOST_POINTS).max(1);
    let thinned = points.iter().step_by(every).chain(points.last());
    let mut curve: Vec<[f64; 2]> = thinned
        .map(|(at, value)| [f64::from(*at), *value])
        .collect();
    curve.dedup();
    curve
}

/// The picture of an outcome, with the adaptive attack beside it where there is one: the PNG and what its columns show.
///
/// # Errors
/// [`LeakError::Picture`].
pub fn picture(
    subject: &Subject,
    outcome: &Outcome,
    adaptive: Option<&Outcome>,
) -> Result<(Vec<u8>, Vec<String>), LeakError> {
    let shape = subject.shape();
    let most = MOST_LINES * shape.len();
    let cut = |panel: &Vec<f32>| panel[..panel.len().min(most)].to_vec();
    let mut panels: Vec<Vec<f32>> = outcome.panels.iter().map(cut).collect();
    let mut names = ["truth", "floor", "attack"].map(str::to_owned).to_vec();
    if let Some(adaptive) = adaptive {
        panels.push(cut(&adaptive.panels[2]));
        names.push("adaptive attack".to_owned());
    }
    Ok((strip(shape, &panels)?, names))
}
