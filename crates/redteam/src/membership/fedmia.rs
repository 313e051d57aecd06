//! FedMIA (Zhu et al. 2024, arXiv 2402.06289): what one client's recorded updates say about an example, next to what the
//! other clients' updates say. The others stand in for models that did not learn from it, so no shadow is trained.
//!
//! In each round and for each example a measure is taken of every client's update; the target's is set against the normal
//! distribution of the others' (one tail), and the tails' minus logarithms are summed over the rounds, which is Fisher's way
//! to combine independent tests.

use cloister_data::Dataset;
use cloister_nn::Model;
use cloister_privacy::special::ln_normal_cdf;
use cloister_protocol::Streams;

use super::pool::check_rows;
use super::shadow::in_order;
use super::signals::check_fit;
use super::{MembershipError, Query, Signals};

/// A recorded round: what the server had.
#[derive(Clone, Copy, Debug)]
pub struct Recorded<'a> {
    /// The global model that the cohort trained from: d values.
    pub global: &'a [f32],
    /// Who sent which update, as the server read it: d values each.
    pub updates: &'a [(u32, &'a [f32])],
}

/// What is measured of an update and an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// The cosine of the update with minus the gradient of the example's loss at the global model.
    Cosine,
    /// Minus the example's loss under the global model plus the update.
    Loss,
}

/// Fewest other clients in a round from which a spread can be told.
const LEAST_OTHERS: usize = 2;

/// The score of each of the `rows` of `data` for being `client`'s. Rounds without the client, or with fewer than two others,
/// say nothing; the cost is one gradient an example and round, and an inner product an update
/// ([`Measure::Cosine`]), or one forward pass an example, round and update ([`Measure::Loss`]).
///
/// # Errors
/// [`MembershipError`] if updates or examples do not fit the model, or no round says anything.
pub fn scores(
    model: &Model,
    rounds: &[Recorded<'_>],
    client: u32,
    data: &Dataset,
    rows: &[u32],
    measure: Measure,
    threads: usize,
) -> Result<Vec<f64>, MembershipError> {
    check_rows(data, rows)?;
    let mut sums = vec![0.0; rows.len()];
    let mut used = 0;
    for round in rounds {
        let updates = round.updates.iter().copied();
        let (target, others): (Vec<_>, Vec<_>) = updates.partition(|(sender, _)| *sender == client);
        let Some((_, target)) = target.first().filter(|_| others.len() >= LEAST_OTHERS) else {
            continue;
        };
        let mut updates = vec![*target];
        updates.extend(others.into_iter().map(|(_, update)| update));
        for update in &updates {
            if update.len() != round.global.len() {
                return Err(MembershipError::Length {
                    what: "update",
                    expected: round.global.len(),
                    got: update.len(),
                });
            }
        }
        let measured = match measure {
            Measure::Cosine => cosines(model, round.global, &updates, data, rows, threads)?,
            Measure::Loss => losses(model, round.global, &updates, data, rows, threads)?,
        };
        for (sum, of_example) in sums.iter_mut().zip(measured) {
            *sum += evidence(&of_example);
        }
        used += 1;
    }
    match used {
        0 => Err(MembershipError::TooFew {
            what: "rounds with this client and two others",
            least: 1,
            got: 0,
        }),
        _ => Ok(sums),
    }
}

/// Minus the logarithm of the chance that one of the others, as a normal distribution, reaches the first value.
fn evidence(measured: &[f64]) -> f64 {
    let [target, others @ ..] = measured else {
        return 0.0;
    };
    let n = others.len() as f64;
    let mean = others.iter().sum::<f64>() / n;
    let squares: f64 = others.iter().map(|other| (other - mean).powi(2)).sum();
    let deviation = (squares / (n - 1.0).max(1.0)).sqrt();
    if deviation.is_nan() || deviation <= 1e-12 * mean.abs().max(1e-12) {
        // No spread, no scale: nothing can be said.
        return 0.0;
    }
    // As far as it goes: beyond, a single round would drown the others.
    let z = ((target - mean) / deviation).clamp(-8.0, 8.0);
    -ln_normal_cdf(-z)
}

/// For each row the cosine of minus its gradient with each update; 0 where one of them is 0.
fn cosines(
    model: &Model,
    global: &[f32],
    updates: &[&[f32]],
    data: &Dataset,
    rows: &[u32],
    threads: usize,
) -> Result<Vec<Vec<f64>>, MembershipError> {
    check_fit(model, global, data)?;
    let norms: Vec<f64> = updates
        .iter()
        .map(|update| dot(update, update).sqrt())
        .collect();
    let share = rows.len().div_ceil(threads.max(1)).max(1);
    let parts: Vec<&[u32]> = rows.chunks(share).collect();
    let noise = Streams::new(0).evaluation();
    let found = in_order(&parts, threads, |part, _| {
        let mut workspace = model.workspace(1);
        let mut gradient = vec![0.0; global.len()];
        let mut of_row = |row: &u32| {
            let row = *row as usize;
            let label = &data.labels()[row..=row];
            workspace.draw_noise(&mut noise(row as u32), 1);
            model.gradient(global, data.row(row), label, &mut workspace, &mut gradient);
            let length = dot(&gradient, &gradient).sqrt();
            let pairs = updates.iter().zip(&norms);
            pairs
                .map(|(update, norm)| match length * norm {
                    0.0 => 0.0,
                    scale => -dot(update, &gradient) / scale,
                })
                .collect::<Vec<f64>>()
        };
        Ok(part.iter().map(&mut of_row).collect::<Vec<_>>())
    })?;
    Ok(found.into_iter().flatten().collect())
}

/// For each row minus its loss under the global model plus each update.
fn losses(
    model: &Model,
    global: &[f32],
    updates: &[&[f32]],
    data: &Dataset,
    rows: &[u32],
    threads: usize,
) -> Result<Vec<Vec<f64>>, MembershipError> {
    let asked = data.subset(rows);
    let asked = asked.map_err(|error| MembershipError::Data(error.to_string()))?;
    let mut found = vec![Vec::with_capacity(updates.len()); rows.len()];
    for update in updates {
        let local: Vec<f32> = global.iter().zip(*update).map(|(g, u)| g + u).collect();
        let answers = Signals::of(model, &local, &asked, Query::Plain, threads)?;
        for (of_row, answer) in found.iter_mut().zip(answers.log_probability) {
            of_row.push(answer);
        }
    }
    Ok(found)
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    let pairs = a.iter().zip(b);
    pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_a_tail() {
        // Others have mean 0 and deviation 1.
        assert!((evidence(&[0.0, -1.0, 1.0, 0.0, -1.0, 1.0]) - 2.0_f64.ln()).abs() < 1e-12);
        assert!(evidence(&[2.0, -1.0, 1.0, 0.0]) > evidence(&[1.0, -1.0, 1.0, 0.0]));
        assert!(evidence(&[1e9, -1.0, 1.0]).is_finite());
        assert_eq!(evidence(&[1.0, 3.0, 3.0]), 0.0);
    }
}
