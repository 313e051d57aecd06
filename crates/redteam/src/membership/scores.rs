//! From answers to scores: one number an example, larger for likelier members.

use cloister_privacy::special::ln_normal_cdf;

use super::{MembershipError, Roc, Signals};

/// From so many shadows on each example has a variance of its own; below, all share one (the rule of LeakPro, 32 a side).
const OWN_VARIANCE: usize = 64;

/// Least deviation of shadows' answers: none of them is as sure as that.
const LEAST_DEVIATION: f64 = 1e-6;

/// What a shadow model answers, and which examples it learnt from.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// For each example whether the shadow learnt from it.
    pub inside: Vec<bool>,
    /// Its answers, one [`Signals`] a query.
    pub queries: Vec<Signals>,
}

/// The answers of the target and of the shadow models about the same examples, to the same queries.
///
/// Where examples are shown in several ways (mirrored too), scores are averaged over them.
#[derive(Clone, Debug)]
pub struct Observations {
    target: Vec<Signals>,
    references: Vec<Reference>,
    examples: usize,
    candidates: usize,
}

/// Settings of RMIA (Zarifzadeh, Liu and Shokri 2024, arXiv 2312.03262).
#[derive(Clone, Debug, PartialEq)]
pub struct Rmia {
    /// Slope of the line by which the mean over *all* models is guessed from those that stayed away: p = ((1 + a) out + 1 -
    /// a) / 2. `None` searches 0, 0.1, ..., 1 for the best area with one shadow as target, and is 0.33 with fewer than four.
    pub a: Option<f64>,
    /// How much likelier an example must have become than those it is compared with. 1 in Privacy Meter, 2 in LeakPro.
    pub gamma: f64,
}

impl Default for Rmia {
    fn default() -> Self {
        Self {
            a: None,
            gamma: 1.0,
        }
    }
}

/// The a of LeakPro, where it cannot be searched for.
const DEFAULT_A: f64 = 0.33;

impl Observations {
    /// Joins answers about the examples of a [`Pool`](super::Pool), of which the first `candidates` get scores; the others are
    /// the population that [`rmia`](Self::rmia) compares with, all if there are no others. There may be no shadows.
    ///
    /// # Errors
    /// [`MembershipError::Length`] if they are about different numbers of examples or queries, or there is no query.
    pub fn new(
        target: Vec<Signals>,
        references: Vec<Reference>,
        candidates: usize,
    ) -> Result<Self, MembershipError> {
        let length = |what, expected, got| match expected == got {
            true => Ok(()),
            false => Err(MembershipError::Length {
                what,
                expected,
                got,
            }),
        };
        let examples = target.first().map_or(0, Signals::len);
        length("queries of the target", target.len().max(1), target.len())?;
        for signals in target
            .iter()
            .chain(references.iter().flat_map(|r| &r.queries))
        {
            length("answers", examples, signals.len())?;
        }
        for reference in &references {
            length("queries of a shadow", target.len(), reference.queries.len())?;
            length("examples of a shadow", examples, reference.inside.len())?;
        }
        length("candidates", examples.min(candidates), candidates)?;
        Ok(Self {
            target,
            references,
            examples,
            candidates,
        })
    }

    /// Examples that get scores.
    pub fn len(&self) -> usize {
        self.candidates
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.candidates == 0
    }

    /// The gap attack: 1 for an example that is classified rightly, else 0. It needs no probabilities.
    pub fn gap(&self) -> Vec<f64> {
        let plain = &self.target[0];
        let score = |correct: &bool| if *correct { 1.0 } else { 0.0 };
        plain.correct[..self.candidates].iter().map(score).collect()
    }

    /// Yeom et al. 2018: minus the loss. Their threshold is the mean training loss: an example whose score is at least minus
    /// that is called a member.
    pub fn yeom(&self) -> Vec<f64> {
        self.averaged(|target, _, example| Ok(target.log_probability[example]))
            .unwrap_or_default()
    }

    /// Attack-R, or difficulty calibration: the mean loss of the shadows that stayed away minus the target's.
    ///
    /// # Errors
    /// [`MembershipError::NoShadow`] if all learnt from an example.
    pub fn difficulty(&self) -> Result<Vec<f64>, MembershipError> {
        self.averaged(|target, query, example| {
            let out = self.sides(query, example, |s| &s.log_probability).1;
            let mean = mean(&out).ok_or(away(example))?;
            Ok(target.log_probability[example] - mean)
        })
    }

    /// LiRA with shadows on both sides (Carlini et al. 2022, algorithm 1): the log-likelihood ratio of the target's log-odds
    /// under normal distributions fitted to the shadows that did and did not learn from the example. Medians for means; one
    /// variance a side for all examples below 64 shadows.
    ///
    /// # Errors
    /// [`MembershipError::NoShadow`] if an example has no shadow on a side.
    pub fn lira_online(&self) -> Result<Vec<f64>, MembershipError> {
        let pooled = self.pooled_deviations();
        self.averaged(|target, query, example| {
            let (inside, out) = self.sides(query, example, |s| &s.log_odds);
            let centre = |side: &[f64], error| median(side).ok_or(error);
            let learnt = MembershipError::NoShadow {
                what: "learnt from",
                example,
            };
            let (m_in, m_out) = (centre(&inside, learnt)?, centre(&out, away(example))?);
            let phi = target.log_odds[example];
            let log_density = |centre: f64, deviation: f64| {
                -0.5 * ((phi - centre) / deviation).powi(2) - deviation.ln()
            };
            let (s_in, s_out) = match self.own_variance() {
                true => (deviation(&inside), deviation(&out)),
                false => pooled[query],
            };
            Ok(log_density(m_in, s_in) - log_density(m_out, s_out))
        })
    }

    /// LiRA with the shadows that stayed away only (the paper's section 5.2): ln Phi((phi - median) / deviation), one-sided.
    ///
    /// # Errors
    /// [`MembershipError::NoShadow`] if all learnt from an example.
    pub fn lira_offline(&self) -> Result<Vec<f64>, MembershipError> {
        let pooled = self.pooled_deviations();
        self.averaged(|target, query, example| {
            let out = self.sides(query, example, |s| &s.log_odds).1;
            let centre = median(&out).ok_or(away(example))?;
            let deviation = match self.own_variance() {
                true => deviation(&out),
                false => pooled[query].1,
            };
            Ok(ln_normal_cdf(
                (target.log_odds[example] - centre) / deviation,
            ))
        })
    }

    /// RMIA, offline: the share of the population over which the example's probability grew more than gamma times as much,
    /// against the shadows, as that of the other.
    ///
    /// # Errors
    /// [`MembershipError`] if all shadows learnt from an example, or for settings out of their range.
    pub fn rmia(&self, settings: &Rmia) -> Result<Vec<f64>, MembershipError> {
        let population = match self.candidates < self.examples {
            true => self.candidates..self.examples,
            false => 0..self.examples,
        };
        let a = settings.a.unwrap_or_else(|| self.best_a());
        for (name, found) in [("a", a), ("gamma", settings.gamma)] {
            if !(found >= 0.0 && found.is_finite()) || (name == "a" && found > 1.0) {
                return Err(MembershipError::Parameter {
                    name,
                    range: "at least 0 (a: and at most 1)",
                    found,
                });
            }
        }
        if let Some(example) = (0..self.examples).find(|e| !self.has_away(*e)) {
            return Err(away(example));
        }
        let mut sum = vec![0.0; self.candidates];
        for (query, target) in self.target.iter().enumerate() {
            let ratios = self.log_ratios(target, query, a, &self.references);
            let ratios: Vec<f64> = ratios.into_iter().map(|r| r.unwrap_or(0.0)).collect();
            let mut others = ratios[population.clone()].to_vec();
            others.sort_by(f64::total_cmp);
            for (sum, ratio) in sum.iter_mut().zip(&ratios) {
                let beaten = others.partition_point(|z| *z < ratio - settings.gamma.ln());
                *sum += beaten as f64 / others.len().max(1) as f64;
            }
        }
        let queries = self.target.len() as f64;
        Ok(sum.into_iter().map(|sum| sum / queries).collect())
    }

    /// ln p - ln p-bar of each example against those of `references` that stayed away; `None` where none did.
    fn log_ratios(
        &self,
        target: &Signals,
        query: usize,
        a: f64,
        references: &[Reference],
    ) -> Vec<Option<f64>> {
        let ratio = |example: usize| {
            let away = references.iter().filter(|r| !r.inside[example]);
            let probabilities: Vec<f64> = away
                .map(|r| r.queries[query].log_probability[example].exp())
                .collect();
            let out = mean(&probabilities)?;
            let all = 0.5 * ((1.0 + a) * out + 1.0 - a);
            // Carlini et al.'s floor, the least single-precision number.
            Some(target.log_probability[example] - all.max(1e-45).ln())
        };
        (0..self.examples).map(ratio).collect()
    }

    /// The a with the best area when the first shadow is attacked with the help of the others. Gamma moves no ranking of
    /// ratios, so the search need not know it.
    fn best_a(&self) -> f64 {
        let Some((first, others)) = self.references.split_first().filter(|(_, o)| o.len() >= 3)
        else {
            return DEFAULT_A;
        };
        let area = |a: f64| {
            let ratios = self.log_ratios(&first.queries[0], 0, a, others);
            let of = |side: bool| -> Vec<f64> {
                let pairs = ratios.iter().zip(&first.inside);
                pairs
                    .filter(|(_, inside)| **inside == side)
                    .filter_map(|(ratio, _)| *ratio)
                    .collect()
            };
            Roc::new(&of(true), &of(false), 0.95).map_or(0.0, |roc| roc.auc.value)
        };
        let mut best = (DEFAULT_A, area(DEFAULT_A));
        for a in (0..=10).map(|tenth| f64::from(tenth) / 10.0) {
            let area = area(a);
            if area > best.1 {
                best = (a, area);
            }
        }
        best.0
    }

    fn has_away(&self, example: usize) -> bool {
        self.references.iter().any(|r| !r.inside[example])
    }

    fn own_variance(&self) -> bool {
        self.references.len() >= OWN_VARIANCE
    }

    /// What the shadows that did and did not learn from an example answer about it.
    fn sides(
        &self,
        query: usize,
        example: usize,
        answer: fn(&Signals) -> &[f64],
    ) -> (Vec<f64>, Vec<f64>) {
        let (mut inside, mut out) = (Vec::new(), Vec::new());
        for reference in &self.references {
            let side = match reference.inside[example] {
                true => &mut inside,
                false => &mut out,
            };
            side.push(answer(&reference.queries[query])[example]);
        }
        (inside, out)
    }

    /// For each query the deviations, inside and out, of the shadows' log-odds about each example's own mean.
    fn pooled_deviations(&self) -> Vec<(f64, f64)> {
        let pooled = |query: usize| {
            let mut sums = [(0.0, 0_usize); 2];
            for example in 0..self.examples {
                let (inside, out) = self.sides(query, example, |s| &s.log_odds);
                for (sum, side) in sums.iter_mut().zip([inside, out]) {
                    let centre = mean(&side).unwrap_or(0.0);
                    sum.0 += side.iter().map(|x| (x - centre).powi(2)).sum::<f64>();
                    sum.1 += side.len().saturating_sub(1);
                }
            }
            // One shadow a side tells no spread; any number then gives the same ranking.
            let [inside, out] = sums.map(|(sum, freedom)| match freedom {
                0 => 1.0,
                freedom => (sum / freedom as f64).sqrt().max(LEAST_DEVIATION),
            });
            (inside, out)
        };
        (0..self.target.len()).map(pooled).collect()
    }

    /// The mean over the queries of a score of one query and example.
    fn averaged(
        &self,
        score: impl Fn(&Signals, usize, usize) -> Result<f64, MembershipError>,
    ) -> Result<Vec<f64>, MembershipError> {
        let one = |example: usize| {
            let mut sum = 0.0;
            for (query, target) in self.target.iter().enumerate() {
                sum += score(target, query, example)?;
            }
            Ok(sum / self.target.len() as f64)
        };
        (0..self.candidates).map(one).collect()
    }
}

fn away(example: usize) -> MembershipError {
    MembershipError::NoShadow {
        what: "stayed away from",
        example,
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some(0.5 * (sorted[middle - 1] + sorted[middle])),
    }
}

fn deviation(values: &[f64]) -> f64 {
    let centre = mean(values).unwrap_or(0.0);
    let squares: f64 = values.iter().map(|value| (value - centre).powi(2)).sum();
    let freedom = values.len().saturating_sub(1).max(1) as f64;
    (squares / freedom).sqrt().max(LEAST_DEVIATION)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, StandardNormal};

    use super::*;

    fn signals(odds: &[f64]) -> Signals {
        Signals {
            log_odds: odds.to_vec(),
            log_probability: odds.iter().map(|odds| -(-odds).exp().ln_1p()).collect(),
            correct: odds.iter().map(|odds| *odds > 0.0).collect(),
        }
    }

    fn reference(inside: &[bool], odds: &[f64]) -> Reference {
        Reference {
            inside: inside.to_vec(),
            queries: vec![signals(odds)],
        }
    }

    #[test]
    fn scores_by_hand() {
        let inside = [[true, false], [false, true]];
        let references = vec![
            reference(&inside[0], &[3.0, 0.0]),
            reference(&inside[1], &[1.0, 2.0]),
            reference(&inside[0], &[5.0, -2.0]),
            reference(&inside[1], &[3.0, 2.0]),
        ];
        let seen = Observations::new(vec![signals(&[4.0, -1.0])], references, 2).unwrap();
        assert_eq!(seen.gap(), [1.0, 0.0]);
        let yeom = seen.yeom();
        assert!((yeom[0] + (-4.0_f64).exp().ln_1p()).abs() < 1e-12);
        // Example 0: in 3, 5; out 1, 3. Example 1: in 2, 2; out 0, -2. Pooled variances: (2 + 0) / 2 and (2 + 2) / 2.
        let online = seen.lira_online().unwrap();
        let expected = -0.5 * (4.0_f64 - 4.0).powi(2)
            + 0.5 * (4.0_f64 - 2.0).powi(2) / 2.0
            + 2.0_f64.sqrt().ln();
        assert!((online[0] - expected).abs() < 1e-12, "{online:?}");
        let offline = seen.lira_offline().unwrap();
        assert!((offline[0] - ln_normal_cdf(2.0_f64.sqrt())).abs() < 1e-12);
        assert!((offline[1] - 0.5_f64.ln()).abs() < 1e-12);
        let difficulty = seen.difficulty().unwrap();
        let loss = |odds: f64| (-odds).exp().ln_1p();
        assert!((difficulty[0] - (0.5 * (loss(1.0) + loss(3.0)) - loss(4.0))).abs() < 1e-12);
        // RMIA with a = 1 compares with the mean that stayed away: example 0 grew more than example 1.
        let settings = Rmia {
            a: Some(1.0),
            gamma: 1.0,
        };
        assert_eq!(seen.rmia(&settings).unwrap(), [0.5, 0.0]);
        let one = Observations {
            candidates: 1,
            ..seen
        };
        assert_eq!(one.rmia(&settings).unwrap(), [1.0]);
        assert_eq!((one.gap().len(), one.yeom().len()), (1, 1));
    }

    /// A world in which LiRA is right: log-odds are normal about each example's own difficulty, 2 higher for members. All
    /// calibrated scores find more than Yeom's, at 1,000 examples a side; five standard errors are 0.06.
    #[test]
    fn calibrated_scores_beat_the_loss() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let n = 2000;
        let difficulty: Vec<f64> = (0..n)
            .map(|_| {
                let value: f64 = StandardNormal.sample(&mut rng);
                3.0 * value
            })
            .collect();
        let mut model = |inside: &[bool]| -> Vec<f64> {
            let pairs = difficulty.iter().zip(inside);
            pairs
                .map(|(difficulty, inside)| {
                    let noise: f64 = StandardNormal.sample(&mut rng);
                    difficulty + noise + if *inside { 2.0 } else { 0.0 }
                })
                .collect()
        };
        let truth: Vec<bool> = (0..n).map(|example| example < n / 2).collect();
        let target = signals(&model(&truth));
        let mut coins = ChaCha8Rng::seed_from_u64(4);
        let mut references = Vec::new();
        for _ in 0..8 {
            let inside: Vec<bool> = (0..n).map(|_| coins.random()).collect();
            let other: Vec<bool> = inside.iter().map(|inside| !inside).collect();
            references.push(reference(&inside, &model(&inside)));
            references.push(reference(&other, &model(&other)));
        }
        let seen = Observations::new(vec![target], references, n).unwrap();
        let area = |scores: Vec<f64>| {
            let (members, others) = scores.split_at(n / 2);
            Roc::new(members, others, 0.95).unwrap().auc.value
        };
        let yeom = area(seen.yeom());
        let online = area(seen.lira_online().unwrap());
        let offline = area(seen.lira_offline().unwrap());
        let rmia = area(seen.rmia(&Rmia::default()).unwrap());
        let difficulty = area(seen.difficulty().unwrap());
        // Truth: Phi(2 / sqrt 2 / sqrt(1 + 9)) = 0.67 for the loss, Phi(2 / sqrt 2) = 0.92 for the best test.
        assert!((0.61..0.73).contains(&yeom), "{yeom}");
        assert!(online > 0.88 && offline > 0.88, "{online} {offline}");
        assert!(
            rmia > yeom + 0.06 && difficulty > yeom + 0.06,
            "{rmia} {difficulty}"
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let inside = reference(&[true, true], &[0.0, 0.0]);
        let seen = Observations::new(vec![signals(&[0.0, 0.0])], vec![inside.clone()], 2).unwrap();
        let error = seen.lira_offline().unwrap_err().to_string();
        assert_eq!(error, "no shadow model stayed away from example 0");
        assert!(seen.rmia(&Rmia::default()).is_err() && seen.difficulty().is_err());
        assert!(Observations::new(vec![], vec![], 0).is_err());
        assert!(Observations::new(vec![signals(&[0.0])], vec![inside], 1).is_err());
        assert!(Observations::new(vec![signals(&[0.0])], vec![], 2).is_err());
        let alone = Observations::new(vec![signals(&[0.0])], vec![], 1).unwrap();
        assert!(alone.lira_online().is_err());
        assert_eq!((alone.len(), alone.yeom().len()), (1, 1));
        let out = reference(&[false], &[1.0]);
        let seen = Observations::new(vec![signals(&[0.0])], vec![out], 1).unwrap();
        let wrong = Rmia {
            a: Some(2.0),
            gamma: 1.0,
        };
        assert!(seen.rmia(&wrong).is_err() && seen.rmia(&Rmia::default()).is_ok());
    }

    #[test]
    fn many_shadows_have_variances_of_their_own() {
        // Example 0's shadows spread ten times as far as example 1's.
        let references: Vec<Reference> = (0..64)
            .map(|shadow| {
                let sign = if shadow % 2 == 0 { 1.0 } else { -1.0 };
                reference(&[false, false], &[10.0 * sign, sign])
            })
            .collect();
        let few = references[..62].to_vec();
        let target = vec![signals(&[5.0, 5.0])];
        let own = Observations::new(target.clone(), references, 2).unwrap();
        let scores = own.lira_offline().unwrap();
        assert!(scores[1] > scores[0]);
        let pooled = Observations::new(target, few, 2)
            .unwrap()
            .lira_offline()
            .unwrap();
        assert!((pooled[0] - pooled[1]).abs() < 1e-12);
    }
}
