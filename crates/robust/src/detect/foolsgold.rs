//! FoolsGold (Fung, Yoon, Beschastnikh 2020, "The Limitations of Federated Learning in Sybil Settings", algorithm 1).

use crate::matrix::Square;

/// Largest weight before the logit, which would be infinite at 1.
const CLIP: f64 = 0.99;

/// Weights in [0, 1] of n clients from the cosines between their summed updates (n x n, symmetric, its diagonal not
/// read): low for clients that look like another. One client has weight 1.
///
/// v_i = max_j cos_ij; where v_i < v_j, cos_ij is multiplied by v_i / v_j ("pardoning"); w_i = 1 - max_j cos_ij, cut to
/// [0, 1], divided by the largest, cut to 0.99, then ln(w / (1 - w)) + 0.5 cut to [0, 1].
pub fn foolsgold_weights(cosines: &Square) -> Vec<f64> {
    let n = cosines.n();
    let others = |i: usize| (0..n).filter(move |&j| j != i);
    let nearest: Vec<f64> = (0..n)
        .map(|i| {
            let most = others(i).map(|j| cosines.at(i, j)).fold(-1.0, f64::max);
            // Only similarity counts; and a quotient of negative numbers would pardon the wrong one.
            most.max(0.0)
        })
        .collect();
    let mut weights: Vec<f64> = (0..n)
        .map(|i| {
            let likeness = others(i)
                .map(|j| {
                    let pardon = if nearest[i] < nearest[j] {
                        nearest[i] / nearest[j]
                    } else {
                        1.0
                    };
                    cosines.at(i, j) * pardon
                })
                .fold(0.0, f64::max);
            (1.0 - likeness).clamp(0.0, 1.0)
        })
        .collect();
    let greatest = weights.iter().copied().fold(0.0, f64::max);
    for weight in &mut weights {
        // All clients alike: nobody can be told apart, and nobody counts.
        if greatest <= 0.0 {
            *weight = 0.0;
            continue;
        }
        let scaled = (*weight / greatest).min(CLIP);
        *weight = ((scaled / (1.0 - scaled)).ln() + 0.5).clamp(0.0, 1.0);
    }
    weights
}
