//! The rules straight from their formulae: rows of `f64`, differences instead of inner products, sorting, enumeration.

use cloister_robust::{AggregationConfig, Before, Rule, Square, Start, detect};

type Rows = [Vec<f64>];

/// The aggregate by the book. Steps and rules that draw at random are not here; `dnc` looks at all columns.
pub(crate) fn aggregate(config: &AggregationConfig, rows: &Rows, trusted: &[f64]) -> Vec<f64> {
    let f = config.byzantine as usize;
    let mut x = rows.to_vec();
    for step in &config.before {
        x = match step {
            Before::Nnm => nearest_mixing(&x, f),
            Before::Clip => clipped(&x, config.clip_norm.unwrap_or(2.0)),
            Before::Arc => {
                let mut lengths: Vec<f64> = x.iter().map(|row| length(row)).collect();
                lengths.sort_by(f64::total_cmp);
                let clip = (2.0 * f as f64 / x.len() as f64 * (x.len() - f) as f64 + 1e-9).floor();
                clipped(&x, lengths[x.len() - clip as usize - 1])
            }
            other => panic!("{other:?} draws at random"),
        };
    }
    let n = x.len();
    match config.rule {
        Rule::Mean => mean(&x),
        Rule::Median => by_column(&x, |column| middle(&column)),
        Rule::TrimmedMean => by_column(&x, |column| trimmed(&column, f)),
        Rule::Meamed => by_column(&x, |column| near(&column, middle(&column), n - f)),
        Rule::Phocas => by_column(&x, |column| near(&column, trimmed(&column, f), n - f)),
        Rule::SignMajority => by_column(&x, |column| {
            let signs: f64 = column.iter().map(|v| sign(*v)).sum();
            0.001 * sign(signs)
        }),
        Rule::Krum => mean(&krum(&x, f, n - f - 2, 1)),
        Rule::KrumByzfl => mean(&krum(&x, f, n - f - 1, 1)),
        Rule::MultiKrum => mean(&krum(&x, f, n - f - 2, n - f - 2)),
        Rule::MultiKrumByzfl => mean(&krum(&x, f, n - f - 1, n - f)),
        Rule::MultiKrumFlower => mean(&krum(&x, f, (n - f).saturating_sub(2).max(1), 1)),
        Rule::Bulyan => bulyan(&x, f),
        Rule::GeometricMedian => weiszfeld(&x, config),
        Rule::CentredClipping => centred_clipping(&x),
        Rule::Mda => least_diameter(&x, n - f),
        Rule::Cge => {
            let mut sorted = x.clone();
            sorted.sort_by(|a, b| length(a).total_cmp(&length(b)));
            mean(&sorted[..n - f])
        }
        Rule::Dnc => top_direction_dropped(&x, f),
        Rule::NormClipping => mean(&clipped(&x, median_length(&x))),
        Rule::Fltrust => fltrust(&x, trusted),
        Rule::Foolsgold => {
            let weights = detect::foolsgold_weights(&Square::from_fn(n, |i, j| {
                if i == j {
                    1.0
                } else {
                    cosine(&rows[i], &rows[j])
                }
            }));
            weighted(&x, &weights)
        }
        Rule::Flame => {
            let apart = Square::from_fn(n, |i, j| {
                if i == j {
                    0.0
                } else {
                    1.0 - cosine(&x[i], &x[j])
                }
            });
            let labels = detect::hdbscan(&apart, n / 2 + 1, 1);
            let all = labels.iter().all(Option::is_none);
            let clipped = clipped(&x, median_length(&x));
            let kept = clipped.into_iter().zip(labels);
            let kept: Vec<_> = kept
                .filter(|(_, l)| all || l.is_some())
                .map(|(row, _)| row)
                .collect();
            mean(&kept)
        }
        other => panic!("no naive {other:?}"),
    }
}

/// Krum scores, from differences.
pub(crate) fn krum_scores(x: &Rows, neighbours: usize) -> Vec<f64> {
    let score = |i: usize| {
        let others = (0..x.len()).filter(|&j| j != i);
        let mut squares: Vec<f64> = others.map(|j| squared_distance(&x[i], &x[j])).collect();
        squares.sort_by(f64::total_cmp);
        squares.iter().take(neighbours).sum()
    };
    (0..x.len()).map(score).collect()
}

fn krum(x: &Rows, f: usize, neighbours: usize, selected: usize) -> Vec<Vec<f64>> {
    assert!(f < x.len());
    let scores = krum_scores(x, neighbours);
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    order[..selected].iter().map(|&i| x[i].clone()).collect()
}

fn bulyan(x: &Rows, f: usize) -> Vec<f64> {
    let mut left = x.to_vec();
    let mut picked = Vec::new();
    while picked.len() < x.len() - 2 * f {
        let neighbours = left.len().saturating_sub(f + 2).max(1);
        let scores = krum_scores(&left, neighbours);
        let best = (0..left.len()).min_by(|&a, &b| scores[a].total_cmp(&scores[b]));
        picked.push(left.remove(best.unwrap()));
    }
    by_column(&picked, |column| {
        near(&column, middle(&column), x.len() - 4 * f)
    })
}

fn weiszfeld(x: &Rows, config: &AggregationConfig) -> Vec<f64> {
    let mut z = match config.start {
        Some(Start::Zero) => vec![0.0; x[0].len()],
        _ => mean(x),
    };
    let smoothing = config.smoothing.unwrap_or(1e-6);
    for _ in 0..config.iterations.unwrap_or(3) {
        let weight = |row: &Vec<f64>| 1.0 / squared_distance(row, &z).sqrt().max(smoothing);
        let weights: Vec<f64> = x.iter().map(weight).collect();
        z = weighted(x, &weights);
    }
    z
}

fn centred_clipping(x: &Rows) -> Vec<f64> {
    let mut v = vec![0.0; x[0].len()];
    let radius = median_length(x);
    for _ in 0..3 {
        let around: Vec<Vec<f64>> = x
            .iter()
            .map(|row| row.iter().zip(&v).map(|(a, b)| a - b).collect())
            .collect();
        let step = mean(&clipped(&around, radius));
        v = v.iter().zip(step).map(|(a, b)| a + b).collect();
    }
    v
}

fn least_diameter(x: &Rows, size: usize) -> Vec<f64> {
    let mut best = (f64::INFINITY, Vec::new());
    for bits in 0..1_u32 << x.len() {
        if bits.count_ones() as usize != size {
            continue;
        }
        let some: Vec<usize> = (0..x.len()).filter(|i| bits >> i & 1 == 1).collect();
        let pairs = some.iter().flat_map(|&i| some.iter().map(move |&j| (i, j)));
        let widest = pairs.map(|(i, j)| squared_distance(&x[i], &x[j]));
        let widest = widest.fold(0.0, f64::max);
        // Equal diameters: the first in lexicographic order.
        if widest < best.0 || (widest == best.0 && some < best.1) {
            best = (widest, some);
        }
    }
    let kept: Vec<Vec<f64>> = best.1.iter().map(|&i| x[i].clone()).collect();
    mean(&kept)
}

/// One iteration of divide-and-conquer: the power iteration runs on vectors of d values.
fn top_direction_dropped(x: &Rows, drop: usize) -> Vec<f64> {
    let centre = mean(x);
    let around: Vec<Vec<f64>> = x
        .iter()
        .map(|row| row.iter().zip(&centre).map(|(a, b)| a - b).collect())
        .collect();
    let longest = around.iter().max_by(|a, b| length(a).total_cmp(&length(b)));
    let mut v = longest.unwrap().clone();
    for _ in 0..20_000 {
        let shares: Vec<f64> = around.iter().map(|row| dot(row, &v)).collect();
        let mut next = vec![0.0; v.len()];
        for (row, share) in around.iter().zip(shares) {
            for (next, value) in next.iter_mut().zip(row) {
                *next += share * value;
            }
        }
        let size = length(&next);
        if size == 0.0 {
            break;
        }
        v = next.iter().map(|value| value / size).collect();
    }
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|&a, &b| {
        dot(&around[a], &v)
            .powi(2)
            .total_cmp(&dot(&around[b], &v).powi(2))
    });
    let kept: Vec<Vec<f64>> = order[..x.len() - drop]
        .iter()
        .map(|&i| x[i].clone())
        .collect();
    mean(&kept)
}

fn fltrust(x: &Rows, own: &[f64]) -> Vec<f64> {
    let scaled: Vec<Vec<f64>> = x
        .iter()
        .map(|row| {
            let factor = length(own) / length(row);
            row.iter().map(|value| factor * value).collect()
        })
        .collect();
    let trust: Vec<f64> = x.iter().map(|row| cosine(row, own).max(0.0)).collect();
    if trust.iter().all(|&trust| trust == 0.0) {
        return vec![0.0; own.len()];
    }
    weighted(&scaled, &trust)
}

fn nearest_mixing(x: &Rows, f: usize) -> Vec<Vec<f64>> {
    let mix = |row: &Vec<f64>| {
        let mut sorted = x.to_vec();
        sorted.sort_by(|a, b| squared_distance(row, a).total_cmp(&squared_distance(row, b)));
        mean(&sorted[..x.len() - f])
    };
    x.iter().map(mix).collect()
}

fn clipped(x: &Rows, limit: f64) -> Vec<Vec<f64>> {
    let clip = |row: &Vec<f64>| {
        let factor = if length(row) > limit {
            limit / length(row)
        } else {
            1.0
        };
        row.iter().map(|value| factor * value).collect()
    };
    x.iter().map(clip).collect()
}

fn by_column(x: &Rows, of: impl Fn(Vec<f64>) -> f64) -> Vec<f64> {
    let column = |j: usize| {
        let mut column: Vec<f64> = x.iter().map(|row| row[j]).collect();
        column.sort_by(f64::total_cmp);
        column
    };
    (0..x[0].len()).map(|j| of(column(j))).collect()
}

fn middle(sorted: &[f64]) -> f64 {
    0.5 * (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2])
}

fn trimmed(sorted: &[f64], trim: usize) -> f64 {
    let kept = &sorted[trim..sorted.len() - trim];
    kept.iter().sum::<f64>() / kept.len() as f64
}

fn near(sorted: &[f64], centre: f64, keep: usize) -> f64 {
    let mut values = sorted.to_vec();
    values.sort_by(|a, b| (a - centre).abs().total_cmp(&(b - centre).abs()));
    values[..keep].iter().sum::<f64>() / keep as f64
}

fn median_length(x: &Rows) -> f64 {
    let mut lengths: Vec<f64> = x.iter().map(|row| length(row)).collect();
    lengths.sort_by(f64::total_cmp);
    middle(&lengths)
}

fn weighted(x: &Rows, weights: &[f64]) -> Vec<f64> {
    let total: f64 = weights.iter().sum();
    let entry = |j: usize| {
        let terms = x.iter().zip(weights).map(|(row, weight)| weight * row[j]);
        terms.sum::<f64>() / total
    };
    (0..x[0].len()).map(entry).collect()
}

fn mean(x: &Rows) -> Vec<f64> {
    weighted(x, &vec![1.0; x.len()])
}

fn sign(value: f64) -> f64 {
    if value == 0.0 { 0.0 } else { value.signum() }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn length(row: &[f64]) -> f64 {
    dot(row, row).sqrt()
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    dot(a, b) / (length(a) * length(b))
}

fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}
