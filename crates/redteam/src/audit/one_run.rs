//! Lower bounds on epsilon from one run.

use cloister_privacy::accounting::{Question, epsilon};
use cloister_privacy::special::normal_cdf;
use cloister_privacy::{Event, Neighbouring};

use super::{AuditError, finite, in_range};
use crate::normal::normal_quantile;

/// What an auditor guessed of canaries each of which a fair coin had put into the run or left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guesses {
    canaries: u64,
    guesses: u64,
    correct: u64,
    opposite: bool,
}

impl Guesses {
    /// `correct` of `guesses` about some of `canaries` were right. How many guesses there are must have been settled
    /// before the scores were looked at.
    ///
    /// # Errors
    /// [`AuditError::Counts`] if there is no guess, or they cannot be.
    pub fn new(canaries: u64, guesses: u64, correct: u64) -> Result<Self, AuditError> {
        if guesses == 0 || correct > guesses || guesses > canaries {
            return Err(AuditError::Counts {
                canaries,
                guesses,
                correct,
            });
        }
        Ok(Self {
            canaries,
            guesses,
            correct,
            opposite: false,
        })
    }

    /// The coins chose between sending a contribution and sending its opposite, not between sending and staying out. Such
    /// canaries are twice as far apart. What holds of a run with and without a unit holds of one unit exchanged for another
    /// twice over (group privacy: 2 mu, or 2 epsilon with (1 + e^epsilon) delta), and the bounds are still on the former.
    #[must_use]
    pub fn opposite(mut self) -> Self {
        self.opposite = true;
        self
    }

    /// Guesses that the `highest` scores are of canaries that were `inside`, and the `lowest` of ones that were not; no
    /// guess about the others. Ties are broken by the canaries' order, which knows nothing of the coins.
    ///
    /// # Errors
    /// [`AuditError`] if the lists differ in length, a score is no number, or there are more guesses than canaries.
    pub fn of(
        scores: &[f64],
        inside: &[bool],
        highest: usize,
        lowest: usize,
    ) -> Result<Self, AuditError> {
        if scores.len() != inside.len() {
            return Err(AuditError::Length {
                what: "coins of the canaries",
                expected: scores.len(),
                got: inside.len(),
            });
        }
        finite(scores)?;
        let guesses = highest.saturating_add(lowest);
        if guesses > scores.len() {
            return Self::new(scores.len() as u64, guesses as u64, 0);
        }
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]).then(a.cmp(b)));
        let right = |places: &[usize], coin: bool| {
            places
                .iter()
                .filter(|place| inside[**place] == coin)
                .count()
        };
        let correct = right(&order[..lowest], false) + right(&order[order.len() - highest..], true);
        Self::new(scores.len() as u64, guesses as u64, correct as u64)
    }

    /// Canaries m.
    pub fn canaries(&self) -> u64 {
        self.canaries
    }

    /// Guesses r.
    pub fn guesses(&self) -> u64 {
        self.guesses
    }

    /// Right ones v.
    pub fn correct(&self) -> u64 {
        self.correct
    }

    /// At most the chance of so many right guesses, had the run been (`epsilon`, `delta`)-DP: Steinke, Nasr and Jagielski
    /// 2023 (arXiv 2305.08846), theorem 5.2 with the maximum of its section on computation:
    /// beta + 2 m delta max_i (P\[v - i <= Bin(r, p) < v\] / i), p = e^epsilon / (1 + e^epsilon).
    ///
    /// # Errors
    /// [`AuditError::Parameter`] for a negative `epsilon`, or a `delta` outside of \[0, 1\].
    pub fn p_value(&self, epsilon: f64, delta: f64) -> Result<f64, AuditError> {
        in_range(epsilon, "epsilon", "at least 0", epsilon >= 0.0)?;
        check_delta(delta)?;
        Ok(self.chance(epsilon, delta))
    }

    fn chance(&self, epsilon: f64, delta: f64) -> f64 {
        let (epsilon, delta) = match self.opposite {
            true => (2.0 * epsilon, ((1.0 + epsilon.exp()) * delta).min(1.0)),
            false => (epsilon, delta),
        };
        let masses = binomial_logs(self.guesses, epsilon);
        let correct = self.correct as usize;
        let beta = exp_sum(&masses[correct..]);
        if delta == 0.0 {
            return beta.min(1.0);
        }
        let (mut below, mut alpha) = (0.0, 0.0_f64);
        for i in 1..=correct {
            below += masses[correct - i].exp();
            alpha = alpha.max(below / i as f64);
        }
        (beta + 2.0 * self.canaries as f64 * delta * alpha).min(1.0)
    }

    /// The lower bound of Steinke, Nasr and Jagielski on the epsilon at `delta` of the run, at this `confidence`: the
    /// largest epsilon whose [`p_value`](Self::p_value) is at most 1 - `confidence`; 0 if there is none.
    ///
    /// # Errors
    /// [`AuditError::Parameter`] for a `delta` outside of \[0, 1\] or a confidence outside of (0, 1).
    pub fn lower_bound(&self, delta: f64, confidence: f64) -> Result<f64, AuditError> {
        check_delta(delta)?;
        let level = check_confidence(confidence)?;
        Ok(largest(|epsilon| self.chance(epsilon, delta) <= level))
    }

    /// Whether so many right guesses refute, at this `confidence`, that the run was `mu`-GDP (Dong, Roth and Su: no easier
    /// to tell with and without a canary than N(0, 1) and N(mu, 1)): the recursion of Mahloujifar, Melis and Chaudhuri
    /// 2025 (arXiv 2410.22235, algorithm 3, with abstentions).
    ///
    /// # Errors
    /// [`AuditError::Parameter`] for a negative `mu`, or a confidence outside of (0, 1).
    pub fn refutes(&self, mu: f64, confidence: f64) -> Result<bool, AuditError> {
        in_range(mu, "mu", "at least 0", mu >= 0.0)?;
        Ok(self.refuted(mu, check_confidence(confidence)?))
    }

    /// r and h are bounds on the shares of canaries that are guessed rightly and wrongly while more than i guesses are
    /// right, if the chance of `correct` right ones were `level`; together they cannot be more than the guesses.
    fn refuted(&self, mu: f64, level: f64) -> bool {
        let mu = if self.opposite { 2.0 * mu } else { mu };
        let (all, given) = (self.canaries as f64, self.guesses as f64);
        let mut right = level * self.correct as f64 / all;
        let mut wrong = level * (self.guesses - self.correct) as f64 / all;
        for i in (0..self.correct).rev() {
            let least = normal_cdf(normal_quantile(right.min(1.0)) - mu);
            if least <= wrong {
                break; // Neither changes any more.
            }
            right += i as f64 / (given - i as f64) * (least - wrong);
            wrong = least;
        }
        right + wrong > given / all
    }

    /// The largest mu that is refuted at this `confidence`, 0 if there is none.
    ///
    /// # Errors
    /// [`AuditError::Parameter`] for a confidence outside of (0, 1).
    pub fn lower_bound_mu(&self, confidence: f64) -> Result<f64, AuditError> {
        let level = check_confidence(confidence)?;
        Ok(largest(|mu| self.refuted(mu, level)))
    }

    /// The epsilon at `delta` of [`lower_bound_mu`](Self::lower_bound_mu): a lower bound on the run's own, if the run's
    /// trade-off is that of a Gaussian, as it is of full-batch Gaussian noise; tighter than
    /// [`lower_bound`](Self::lower_bound) there. Where the trade-off has another shape it tests just that hypothesis.
    ///
    /// # Errors
    /// [`AuditError`] for a `delta` or a confidence outside of (0, 1).
    pub fn lower_bound_gaussian(&self, delta: f64, confidence: f64) -> Result<f64, AuditError> {
        let mu = self.lower_bound_mu(confidence)?;
        if mu == 0.0 {
            return Ok(0.0);
        }
        let event = Event::Gaussian {
            noise_multiplier: 1.0 / mu,
        };
        let question = Question::new(Neighbouring::AddRemove, delta);
        match epsilon(&event, &question) {
            Ok(certificate) => Ok(certificate.epsilon),
            Err(error) => Err(AuditError::Accountant(error.to_string())),
        }
    }
}

fn check_delta(delta: f64) -> Result<(), AuditError> {
    in_range(delta, "delta", "from 0 to 1", (0.0..=1.0).contains(&delta))
}

fn check_confidence(confidence: f64) -> Result<f64, AuditError> {
    let fits = confidence > 0.0 && confidence < 1.0;
    in_range(confidence, "confidence", "above 0 and below 1", fits)?;
    Ok(1.0 - confidence)
}

/// The largest number from 0 on that is `refuted`, as all smaller ones are; 0 if none is.
fn largest(refuted: impl Fn(f64) -> bool) -> f64 {
    /// Nothing finite can be refuted beyond.
    const MOST: f64 = 1024.0;
    if !refuted(0.0) {
        return 0.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    while high < MOST && refuted(high) {
        (low, high) = (high, 2.0 * high);
    }
    for _ in 0..50 {
        let middle = 0.5 * (low + high);
        match refuted(middle) {
            true => low = middle,
            false => high = middle,
        }
    }
    low
}

/// Logarithms of P\[Bin(n, p) = k\] for k = 0..=n, p = e^epsilon / (1 + e^epsilon), by ratios from one to the next.
fn binomial_logs(n: u64, epsilon: f64) -> Vec<f64> {
    let mut logs = Vec::with_capacity(n as usize + 1);
    let mut log = 0.0;
    logs.push(log);
    for k in 0..n {
        log += ((n - k) as f64 / (k + 1) as f64).ln() + epsilon;
        logs.push(log);
    }
    let highest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total = highest
        + logs
            .iter()
            .map(|log| (log - highest).exp())
            .sum::<f64>()
            .ln();
    for log in &mut logs {
        *log -= total;
    }
    logs
}

fn exp_sum(logs: &[f64]) -> f64 {
    // Smallest first: the tail falls from its first term.
    logs.iter().rev().map(|log| log.exp()).sum()
}

#[cfg(test)]
mod tests {
    use cloister_privacy::accounting::noise_multiplier;
    use rand::{Rng, RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, StandardNormal};
    use serde_json::Value;

    use super::*;

    const REFERENCE: &str = include_str!("reference.json");

    fn records(kind: &str) -> Vec<Value> {
        let all: Value = serde_json::from_str(REFERENCE).unwrap();
        let all = all["records"].as_array().unwrap();
        let found: Vec<Value> = all.iter().filter(|r| r["kind"] == kind).cloned().collect();
        assert!(!found.is_empty(), "no record of kind {kind}");
        found
    }

    fn of(record: &Value) -> Guesses {
        let count = |key: &str| record["params"][key].as_u64().unwrap();
        Guesses::new(count("m"), count("guesses"), count("correct")).unwrap()
    }

    #[test]
    fn p_values_are_those_of_the_reference() {
        for record in records("one_run_audit_p_value") {
            let number = |key: &str| record["params"][key].as_f64().unwrap();
            let expected = record["value"].as_f64().unwrap();
            let got = of(&record).p_value(number("eps"), number("delta")).unwrap();
            assert!((got - expected).abs() <= 1e-9 * expected, "{got} {record}");
        }
    }

    #[test]
    fn lower_bounds_are_those_of_the_reference() {
        for record in records("one_run_audit_eps_lower") {
            let number = |key: &str| record["params"][key].as_f64().unwrap();
            let confidence = 1.0 - number("p");
            let expected = record["value"].as_f64().unwrap();
            let got = of(&record)
                .lower_bound(number("delta"), confidence)
                .unwrap();
            assert!((got - expected).abs() <= 1e-6, "{got} {record}");
        }
    }

    /// The ceilings and typical values of the specification, to two digits.
    #[test]
    fn bounds_have_their_ceilings() {
        for (m, r, v, expected) in [
            (20, 20, 20, 1.82),
            (50, 50, 50, 2.78),
            (100, 100, 100, 3.49),
            (200, 200, 200, 4.19),
            (500, 500, 500, 5.11),
            (1000, 1000, 1000, 5.81),
            (1000, 1000, 600, 0.30),
            (1000, 1000, 700, 0.73),
            (1000, 200, 160, 1.09),
            (1000, 200, 180, 1.80),
        ] {
            let bound = Guesses::new(m, r, v)
                .unwrap()
                .lower_bound(0.0, 0.95)
                .unwrap();
            assert!(
                (bound - expected).abs() <= 0.005 + 1e-9,
                "{m} {r} {v}: {bound}"
            );
        }
    }

    /// Scores of canaries under Gaussian noise of multiplier 1 / mu: N(0, 1) outside, N(mu, 1) inside.
    fn experiment(m: usize, mu: f64, rng: &mut impl Rng) -> (Vec<f64>, Vec<bool>) {
        let coins: Vec<bool> = (0..m).map(|_| rng.random()).collect();
        let noise = |coin: &bool| {
            let noise: f64 = StandardNormal.sample(rng);
            noise + if *coin { mu } else { 0.0 }
        };
        let scores = coins.iter().map(noise).collect();
        (scores, coins)
    }

    /// The mu of the Gaussian mechanism at epsilon 2 and delta 1e-5.
    fn claimed() -> f64 {
        let question = Question::new(Neighbouring::AddRemove, 1e-5);
        let gaussian = |noise_multiplier| Event::Gaussian { noise_multiplier };
        1.0 / noise_multiplier(2.0, &question, &gaussian).unwrap()
    }

    /// A tenth on either side, settled before looking: for a mu near 1 the bound is best from 5 to 12 %.
    fn guess(scores: &[f64], coins: &[bool]) -> Guesses {
        let tail = scores.len() / 10;
        Guesses::of(scores, coins, tail, tail).unwrap()
    }

    /// 1,000 canaries send a direction or its opposite. Each seed meets this with a chance of 87 % (400 simulations); the
    /// seeds are the first ten. Canaries that send or stay out, half as far apart, get a median of 1.05 at best.
    #[test]
    fn the_gaussian_mechanism_at_epsilon_2_is_bounded_between_1_and_2() {
        let mu = claimed();
        let mut within = 0;
        for seed in 0..10 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let (scores, coins) = experiment(1000, 2.0 * mu, &mut rng);
            let guesses = guess(&scores, &coins).opposite();
            let bound = guesses.lower_bound_gaussian(1e-5, 0.95).unwrap();
            let plain = guesses.lower_bound(1e-5, 0.95).unwrap();
            eprintln!(
                "seed {seed}: {} right, {bound:.3}, {plain:.3}",
                guesses.correct()
            );
            within += u32::from((1.0..=2.0).contains(&bound));
            assert!(plain <= 2.0, "{plain}");
        }
        assert!(within >= 9, "{within} of 10");
    }

    #[test]
    fn without_noise_the_bounds_exceed_the_claim() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (mut scores, coins) = experiment(1000, 1.0, &mut rng);
        for (score, coin) in scores.iter_mut().zip(&coins) {
            *score = f64::from(u8::from(*coin)) + 1e-3 * *score;
        }
        let guesses = guess(&scores, &coins);
        assert_eq!(guesses.correct(), guesses.guesses());
        assert!(guesses.lower_bound(1e-5, 0.95).unwrap() > 2.0);
        assert!(guesses.lower_bound_gaussian(1e-5, 0.95).unwrap() > 2.0);
    }

    /// The bounds hold: the truth is refuted in at most 5 % of runs. 300 runs, each bound: more than 27 refutals have a
    /// chance below 0.2 % if 5 % is what there is.
    #[test]
    fn the_truth_is_refuted_as_rarely_as_promised() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        for mu in [0.5, 2.0] {
            let (mut steinke, mut fdp) = (0, 0);
            let event = Event::Gaussian {
                noise_multiplier: 1.0 / mu,
            };
            let question = Question::new(Neighbouring::AddRemove, 1e-3);
            let truth = epsilon(&event, &question).unwrap().epsilon;
            for _ in 0..300 {
                let (scores, coins) = experiment(200, mu, &mut rng);
                let guesses = guess(&scores, &coins);
                fdp += u32::from(guesses.refutes(mu, 0.95).unwrap());
                steinke += u32::from(guesses.p_value(truth, 1e-3).unwrap() <= 0.05);
            }
            assert!(steinke <= 27 && fdp <= 27, "mu {mu}: {steinke} {fdp}");
        }
    }

    #[test]
    fn guesses_are_made_at_the_ends() {
        let scores = [3.0, -1.0, 0.0, 2.0, 1.0];
        let coins = [true, false, true, false, true];
        let two = Guesses::of(&scores, &coins, 2, 1).unwrap();
        assert_eq!((two.canaries(), two.guesses(), two.correct()), (5, 3, 2));
        assert!(Guesses::of(&scores, &coins[1..], 1, 1).is_err());
        assert!(Guesses::of(&scores, &coins, 3, 3).is_err());
        assert!(Guesses::of(&scores, &coins, 0, 0).is_err());
        assert!(Guesses::of(&[f64::NAN], &[true], 1, 0).is_err());
        let error = Guesses::new(3, 4, 1).unwrap_err().to_string();
        assert!(
            error.starts_with("1 correct of 4 guesses about 3 canaries"),
            "{error}"
        );
        let one = Guesses::new(1, 1, 1).unwrap();
        assert!(one.p_value(-1.0, 0.0).is_err() && one.p_value(1.0, 2.0).is_err());
        assert!(one.lower_bound(0.0, 1.0).is_err() && one.refutes(f64::NAN, 0.9).is_err());
        assert_eq!(one.lower_bound(0.0, 0.95).unwrap(), 0.0);
    }
}
