//! Columns that tell the label by themselves: most often the label in other words, or something that is known only later.

use super::column::{ColumnRole, ColumnSummary};
use super::findings::{Finding, Rule};
use super::view::{MISSING, Values, View, auroc};

/// AUROC from which on numbers tell two classes apart.
const AUROC: f64 = 0.95;
/// Share of the errors of guessing the most frequent class that must be gone.
const ERRORS_GONE: f64 = 0.9;
/// Rows of a class, and of a value, that are enough to say something.
const LEAST: usize = 10;
/// Bins of numbers where there are more than two classes.
const BINS: usize = 64;

pub(super) fn findings(view: &View<'_>) -> Vec<Finding> {
    let features = view.columns.iter();
    features
        .filter(|column| column.role == ColumnRole::Feature)
        .filter_map(|column| of_column(view, column))
        .collect()
}

fn of_column(view: &View<'_>, column: &ColumnSummary) -> Option<Finding> {
    let codes = match view.values(column) {
        Values::Numbers(values) if view.classes.len() == 2 => {
            let area = auroc(&values, |row| view.labels[row] == 1, LEAST)?;
            let area = area.max(1.0 - area);
            let text = format!("AUROC {area:.3} by itself: is it known before the label is?");
            return (area >= AUROC)
                .then(|| Finding::new(Rule::PredictsAlone, column, Some(area), text));
        }
        Values::Numbers(values) => binned(&values),
        Values::Codes(codes, _) => codes,
    };
    let (accuracy, base) = accuracy(&codes, view.labels, view.classes.len());
    let gone = (accuracy - base) / (1.0 - base);
    let text = format!(
        "guesses {:.1} % of the labels by itself, where the most frequent class has {:.1} %: is it known before the label is?",
        accuracy * 100.0,
        base * 100.0
    );
    (gone >= ERRORS_GONE).then(|| Finding::new(Rule::PredictsAlone, column, Some(accuracy), text))
}

/// Bins of about as many rows each.
fn binned(values: &[f64]) -> Vec<u32> {
    let ranks = super::view::ranks(values);
    let present = ranks.iter().filter(|rank| !rank.is_nan()).count().max(1) as f64;
    let bin = |rank: &f64| match rank.is_nan() {
        true => MISSING,
        false => ((rank - 0.5) / present * BINS as f64) as u32,
    };
    ranks.iter().map(bin).collect()
}

/// The share of rows whose label is guessed by the majority of the *other* rows with the same value (the most frequent
/// class where there are too few), and the share of the most frequent class.
fn accuracy(codes: &[u32], labels: &[u32], classes: usize) -> (f64, f64) {
    let mut pairs: Vec<(u32, u32)> = codes.iter().copied().zip(labels.iter().copied()).collect();
    pairs.sort_unstable();
    let mut counts = vec![0_usize; classes];
    for &label in labels {
        counts[label as usize] += 1;
    }
    let most = (0..classes).max_by_key(|&class| counts[class]).unwrap_or(0);
    let mut right = 0;
    for group in pairs.chunk_by(|a, b| a.0 == b.0) {
        let mut here = vec![0_usize; classes];
        for (_, label) in group {
            here[*label as usize] += 1;
        }
        let top = (0..classes).max_by_key(|&class| here[class]).unwrap_or(0);
        let second = (0..classes)
            .filter(|&class| class != top)
            .map(|class| here[class])
            .max();
        // A row must not vote for itself.
        let sure = group.len() >= LEAST && here[top] > second.unwrap_or(0) + 1;
        right += here[if sure { top } else { most }];
    }
    let rows = labels.len().max(1) as f64;
    (
        right as f64 / rows,
        counts.get(most).copied().unwrap_or(0) as f64 / rows,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_rows_do_not_vote_for_themselves() {
        let labels: Vec<u32> = (0..100).map(|row| row % 4 / 3).collect();
        let own: Vec<u32> = (0..100).collect();
        assert_eq!(accuracy(&own, &labels, 2), (0.75, 0.75));
        assert_eq!(accuracy(&labels, &labels, 2), (1.0, 0.75));
        assert_eq!(accuracy(&[7; 100], &labels, 2), (0.75, 0.75));
    }
}
