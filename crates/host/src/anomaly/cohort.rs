//! One round: how far each reply lies from the others.

use cloister_protocol::ReplyFigures;

/// Makes the median absolute deviation of normal figures their standard deviation.
const NORMAL: f64 = 1.4826;
/// Least spread that is taken for one, of logarithms of norms and of losses: figures that lie closer together than a factor of
/// `exp(0.15)` are alike, however alike they are.
const LEAST_LOGARITHM: f64 = 0.15;
/// The same of cosines.
const LEAST_COSINE: f64 = 0.08;
/// Losses below this are equally good: their logarithms say nothing any more.
const LEAST_LOSS: f64 = 0.01;

/// How far a figure lies from the cohort's median.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Deviation {
    /// In robust standard deviations.
    pub(super) value: f64,
    /// The figure as it was measured.
    pub(super) measured: f64,
    /// The cohort's median of it.
    pub(super) median: f64,
}

/// How far a reply lies from the others; `None` where it has no such figure, or too few have.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Deviations {
    pub(super) norm: Option<Deviation>,
    pub(super) direction: Option<Deviation>,
    pub(super) loss: Option<Deviation>,
}

/// The deviations of a round's replies. Those beyond any measure are cut at `most` times a hundred, so that they can be counted
/// and drawn.
pub(super) fn deviations(replies: &[ReplyFigures], most: f64) -> Vec<Deviations> {
    let most = 100.0 * most;
    let of = |figure: &dyn Fn(&ReplyFigures) -> Option<f64>, scale: Scale| {
        let measured: Vec<Option<f64>> = replies.iter().map(figure).collect();
        scale.deviations(&measured, most)
    };
    let norms = of(&|reply| Some(reply.norm), Scale::Norm);
    let directions = of(&|reply| reply.direction, Scale::Cosine);
    let losses = of(&|reply| reply.loss, Scale::Loss);
    let all = norms.into_iter().zip(directions).zip(losses);
    all.map(|((norm, direction), loss)| Deviations {
        norm,
        direction,
        loss,
    })
    .collect()
}

/// In what figures are compared.
#[derive(Clone, Copy)]
enum Scale {
    Norm,
    Cosine,
    Loss,
}

impl Scale {
    fn of(self, measured: f64) -> f64 {
        match self {
            // An update of zeros lies far below all others, and not infinitely far.
            Self::Norm => measured.max(1e-30).ln(),
            Self::Cosine => measured,
            Self::Loss => (measured + LEAST_LOSS).ln(),
        }
    }

    fn least(self) -> f64 {
        match self {
            Self::Norm | Self::Loss => LEAST_LOGARITHM,
            Self::Cosine => LEAST_COSINE,
        }
    }

    fn deviations(self, measured: &[Option<f64>], most: f64) -> Vec<Option<Deviation>> {
        let there: Vec<f64> = measured.iter().flatten().copied().collect();
        // A median of one or two says nothing about them.
        if there.len() < 3 {
            return vec![None; measured.len()];
        }
        let scaled: Vec<f64> = there.iter().map(|value| self.of(*value)).collect();
        let centre = median(&scaled);
        let spread = NORMAL * spread(&scaled, centre);
        let spread = spread.max(self.least());
        let usual = median(&there);
        let deviation = |value: f64| Deviation {
            value: ((self.of(value) - centre) / spread).clamp(-most, most),
            measured: value,
            median: usual,
        };
        measured.iter().map(|value| value.map(deviation)).collect()
    }
}

/// The median; 0 of nothing. The mean of the middle two of an even number.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match (sorted.len() % 2, sorted.get(half)) {
        (_, None) => 0.0,
        (1, Some(middle)) => *middle,
        (_, Some(upper)) => 0.5 * (sorted[half - 1] + upper),
    }
}

/// The median absolute deviation from `centre`, as it is: times 1.4826 it estimates a standard deviation.
pub(super) fn spread(values: &[f64], centre: f64) -> f64 {
    let distances: Vec<f64> = values.iter().map(|value| (value - centre).abs()).collect();
    median(&distances)
}
