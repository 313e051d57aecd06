//! The statement in sentences, for the terminal and the page.

use super::{Assumption, Claim, ClientClaim, Standing, State, Statement, Trust};
use crate::event::{Neighbouring, Unit};

/// Clients that are listed by name; the others are counted.
const MOST_CLIENTS: usize = 20;

/// Digits of an epsilon.
const DIGITS: usize = 3;

/// A line of the statement: what it is about, and what there is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// One or two words.
    pub name: &'static str,
    /// A phrase without a full stop.
    pub text: String,
}

impl Statement {
    /// What may be claimed. `None` is an infinite epsilon: for a run that is not private, and for a claim whose figures
    /// are not finite, negative, or have a delta of 1 or more.
    pub fn claimed(&self) -> Option<&Claim> {
        let claim = self.claim.as_ref()?;
        (self.state != State::NotPrivate && claim.holds()).then_some(claim)
    }

    /// What the accounting gives, whether or not it may be claimed; `None` where that is not finite either.
    pub fn accounted_claim(&self) -> Option<&Claim> {
        let accounted = self.accounted.as_ref().filter(|claim| claim.holds());
        accounted.or_else(|| self.claimed())
    }

    /// The state that the figures support: without a finite claim a run is not private, and a claim about examples is one
    /// about a weaker unit than a client, whatever [`Statement::state`] says.
    pub fn verdict(&self) -> State {
        match (self.claimed(), self.state, self.unit) {
            (None, _, _) | (_, State::NotPrivate, _) => State::NotPrivate,
            (_, State::PrivateWeakerUnit, _) | (_, _, Unit::Example) => State::PrivateWeakerUnit,
            (_, State::Private, Unit::Client) => State::Private,
        }
    }

    /// `PRIVATE`, `PRIVATE (weaker unit)` or `NOT PRIVATE: reason`.
    pub fn title(&self) -> String {
        match self.verdict() {
            State::Private => "PRIVATE".to_owned(),
            State::PrivateWeakerUnit => "PRIVATE (weaker unit)".to_owned(),
            State::NotPrivate => {
                let reason = self.reason.as_deref().filter(|reason| !reason.is_empty());
                let reason = reason.unwrap_or("no finite epsilon can be claimed");
                format!("NOT PRIVATE: {reason}")
            }
        }
    }

    /// What is promised, in one or two sentences (in the style of Ponomareva et al., "How to DP-fy ML", arXiv 2303.00654,
    /// section 5.3).
    pub fn sentence(&self) -> String {
        let change = match (self.unit, self.neighbouring) {
            (Unit::Client, Neighbouring::ReplaceOne) => {
                "one client's whole data were exchanged for any other"
            }
            (Unit::Client, _) => "one client's whole data were absent",
            (Unit::Example, Neighbouring::ReplaceOne) => {
                "one example of one client were exchanged for any other"
            }
            (Unit::Example, _) => "one example of one client were absent",
        };
        if let Some(claim) = self.claimed() {
            return format!(
                "If {change}, any conclusion's odds would change by at most {}.",
                claim.factor()
            );
        }
        let nothing =
            format!("Nothing limits by how much any conclusion's odds would change if {change}.");
        match self.accounted_claim() {
            None => nothing,
            Some(claim) => {
                format!(
                    "{nothing} Were the noise secret, it would be at most {}.",
                    claim.factor()
                )
            }
        }
    }

    /// The figures of the claim and of the accounting: `epsilon`, `accounted` and `attacks`.
    pub fn figures(&self) -> Vec<Fact> {
        let mut facts = Vec::new();
        let mut fact = |name, text| facts.push(Fact { name, text });
        match (self.claimed(), self.accounted_claim()) {
            (Some(claim), _) => {
                fact("epsilon", claim.epsilons());
                fact("attacks", claim.found(self.unit));
            }
            (None, Some(claim)) => {
                fact("epsilon", "infinite".to_owned());
                let secret = format!("were the noise secret: epsilon {}", claim.epsilons());
                fact("accounted", secret);
                let found = format!("were the noise secret: {}", claim.found(self.unit));
                fact("attacks", found);
            }
            (None, None) => fact("epsilon", "infinite".to_owned()),
        }
        facts
    }

    /// What the promise is about, who must be trusted, what it covers, and what made the noise.
    pub fn facts(&self) -> Vec<Fact> {
        let mut facts = Vec::new();
        let mut fact = |name, text| facts.push(Fact { name, text });
        fact("unit", unit_words(self.unit).to_owned());
        fact(
            "neighbouring",
            neighbouring_words(self.neighbouring, self.unit).to_owned(),
        );
        fact("trust", trust_words(&self.trust));
        let covers = match self.released.as_slice() {
            [] => "nothing is listed".to_owned(),
            released => released.join("; "),
        };
        fact("covers", covers);
        fact("mechanism", self.mechanism_words());
        if let Some(participation) = &self.mechanism.participation {
            fact("participation", participation.clone());
        }
        if let Some(discretisation) = &self.mechanism.discretisation {
            fact("discretisation", discretisation.clone());
        }
        fact(
            "tuning runs",
            format!("not accounted: {}", self.tuning_runs),
        );
        facts
    }

    fn mechanism_words(&self) -> String {
        let facts = &self.mechanism;
        let mut words = Vec::new();
        if !facts.name.is_empty() {
            words.push(facts.name.clone());
        }
        words.push(format!(
            "noise multiplier {}",
            figure(facts.noise_multiplier)
        ));
        if !facts.clip.is_empty() {
            words.push(format!("clipping norm {}", facts.clip));
        }
        words.push(match facts.sampling_rate {
            Some(rate) => format!("sampling rate {}", figure(rate)),
            None => "no sampling".to_owned(),
        });
        let steps = if facts.steps == 1 { "step" } else { "steps" };
        words.push(format!("{} noisy {steps} executed", facts.steps));
        words.join("; ")
    }

    /// The clients' own claims, the weakest first.
    pub fn clients_by_epsilon(&self) -> Vec<&ClientClaim> {
        let mut clients: Vec<&ClientClaim> = self.clients.iter().collect();
        clients.sort_by(|a, b| b.upper().total_cmp(&a.upper()));
        clients
    }

    /// The whole statement for a terminal: lines without an end and without control characters, not wrapped.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.title(), self.sentence()];
        if let Some(reason) = &self.reason
            && self.verdict() == State::PrivateWeakerUnit
        {
            lines.push(format!("Weaker unit: {reason}."));
        }
        let facts = self.figures().into_iter().chain(self.facts());
        lines.extend(facts.map(|fact| format!("{:<16}{}", fact.name, fact.text)));
        let assumption = |of: &Assumption| format!("  {}: {}", of.standing.words(), of.text);
        if !self.assumptions.is_empty() {
            lines.push("assumptions".to_owned());
            lines.extend(self.assumptions.iter().map(assumption));
        }
        if !self.voids.is_empty() {
            lines.push("voids".to_owned());
            lines.extend(self.voids.iter().map(|what| format!("  - {what}")));
        }
        lines.extend(self.client_lines());
        // Names and reasons may come from a stranger's file.
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        let clean = |line: String| line.chars().map(printable).collect();
        lines.into_iter().map(clean).collect()
    }

    fn client_lines(&self) -> Vec<String> {
        let clients = self.clients_by_epsilon();
        if clients.is_empty() {
            return Vec::new();
        }
        let mut lines = vec![
            match self.claimed() {
                Some(_) => "clients",
                None => "clients, were the noise secret",
            }
            .to_owned(),
        ];
        for client in clients.iter().take(MOST_CLIENTS) {
            lines.push(format!(
                "  {}: epsilon {}; sampling rate {}; {} {}",
                client.client,
                rounded_up(client.upper()),
                figure(client.sampling_rate),
                client.steps,
                if client.steps == 1 { "step" } else { "steps" }
            ));
        }
        if let Some(next) = clients.get(MOST_CLIENTS) {
            let more = clients.len() - MOST_CLIENTS;
            lines.push(format!(
                "  and {more} more, of epsilon {} or less",
                rounded_up(next.upper())
            ));
        }
        lines
    }
}

impl Claim {
    /// Whether the figures are a promise at all.
    fn holds(&self) -> bool {
        self.epsilon.is_finite() && self.epsilon >= 0.0 && (0.0..1.0).contains(&self.delta)
    }

    /// `a factor e^3.29 = 26.9 (except with probability 1e-5)`.
    fn factor(&self) -> String {
        let epsilon = rounded_up(self.epsilon);
        // Of the printed epsilon, so that a reader who computes it agrees.
        let factor = epsilon.parse::<f64>().unwrap_or(f64::INFINITY).exp();
        let mut words = format!("a factor e^{epsilon}");
        if self.epsilon == 0.0 {
            words.push_str(" = 1");
        } else if factor.is_finite() {
            words.push_str(&format!(" = {}", rounded_up(factor)));
        }
        if self.delta > 0.0 {
            words.push_str(&format!(
                " (except with probability {})",
                rounded_up(self.delta)
            ));
        }
        words
    }

    fn epsilons(&self) -> String {
        let mut words = format!(
            "{} at delta {}",
            rounded_up(self.epsilon),
            rounded_up(self.delta)
        );
        if self.delta > 0.0 {
            words.push_str(&format!(
                "; {} at delta {}",
                rounded_up(self.epsilon_tenth_delta),
                self.tenth_delta()
            ));
        }
        words.push_str(&format!(
            "; by R\u{e9}nyi divergences, an independent bound, {}",
            rounded_up(self.epsilon_rdp)
        ));
        words
    }

    /// A tenth of delta by its digits: divided, 1e-5 would come out above 1e-6 and be rounded up.
    pub fn tenth_delta(&self) -> String {
        let (units, exponent) = digits_up(self.delta, DIGITS);
        decimal(units, exponent - 1)
    }

    fn found(&self, unit: Unit) -> String {
        let whom = match unit {
            Unit::Client => "clients that took part",
            Unit::Example => "training examples",
        };
        format!(
            "of the {whom}, at most {} can be found with 0.1 % false alarms, {} with 1 %",
            found_words(self.found_at_0_1_percent),
            found_words(self.found_at_1_percent)
        )
    }
}

impl ClientClaim {
    /// Its epsilon, or infinity for whatever is not one.
    pub fn upper(&self) -> f64 {
        let epsilon = self.epsilon.filter(|&epsilon| epsilon >= 0.0);
        epsilon.unwrap_or(f64::INFINITY)
    }
}

impl Standing {
    /// Who or what vouches for it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Enforced => "enforced by the code",
            Self::Verified => "verified from the record",
            Self::Trusted => "taken on trust",
        }
    }
}

/// A share that an attack finds at most, as a percentage rounded up; all of them where the bound is none.
pub fn found_words(share: f64) -> String {
    // A comparison with NaN is false, and so says: all.
    let share = if (0.0..1.0).contains(&share) {
        share
    } else {
        1.0
    };
    let (units, exponent) = digits_up(share, DIGITS);
    format!("{} %", decimal(units, exponent + 2))
}

fn unit_words(unit: Unit) -> &'static str {
    match unit {
        Unit::Client => "one client: all its examples together",
        Unit::Example => {
            "one example of one client; many examples of one person are not protected together"
        }
    }
}

fn neighbouring_words(neighbouring: Neighbouring, unit: Unit) -> &'static str {
    match (neighbouring, unit) {
        (Neighbouring::AddRemove, Unit::Client) => {
            "add or remove: one client more or less; how many there are is private"
        }
        (Neighbouring::AddRemove, Unit::Example) => {
            "add or remove: one example more or less; how many there are is private"
        }
        (Neighbouring::ReplaceOne, Unit::Client) => {
            "replace one: one client's data exchanged for any other; how many clients there are is public"
        }
        (Neighbouring::ReplaceOne, Unit::Example) => {
            "replace one: one example exchanged for any other; how many there are is public"
        }
        (Neighbouring::ZeroOut, Unit::Client) => {
            "zero-out: one client blanked, as if it contributed nothing; how many clients there are is public"
        }
        (Neighbouring::ZeroOut, Unit::Example) => {
            "zero-out: one example blanked, as if it contributed nothing; how many there are is public"
        }
    }
}

fn trust_words(trust: &Trust) -> String {
    match trust {
        Trust::Central => {
            "central: the server sees clipped updates before there is noise on them".to_owned()
        }
        Trust::Distributed(collusion) => format!(
            "distributed: the server sees only the sum, with the clients' own noise; that of {} honest clients is counted \
             on, so that {} may drop out of a round and {} may show the server theirs",
            collusion.honest, collusion.dropouts, collusion.colluders
        ),
        Trust::Local => {
            "local: nobody but the client sees its data before there is noise on them".to_owned()
        }
    }
}

/// A figure of three digits, rounded up and never to the nearest: `3.29` for 3.281, `1e-5`. What is infinite or not a number
/// reads `infinite`, which is the least that can be said of it.
pub fn rounded_up(value: f64) -> String {
    if !value.is_finite() && value != f64::NEG_INFINITY {
        return "infinite".to_owned();
    }
    if value <= 0.0 {
        return "0".to_owned();
    }
    let (units, exponent) = digits_up(value, DIGITS);
    decimal(units, exponent)
}

/// A setting, to the nearest of four digits.
fn figure(value: f64) -> String {
    if !value.is_finite() {
        return if value.is_nan() {
            "not a number"
        } else {
            "infinite"
        }
        .to_owned();
    }
    let (units, exponent) = digits(value.abs(), 4);
    let sign = if value < 0.0 { "-" } else { "" };
    format!("{sign}{}", decimal(units, exponent))
}

/// The nearest so many digits, and the power of ten of the first.
fn digits(value: f64, count: usize) -> (u64, i32) {
    let text = format!("{value:.*e}", count - 1);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let units: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    (units.parse().unwrap_or(0), exponent.parse().unwrap_or(0))
}

/// So many digits that are no less than the value, and the power of ten of the first. A decimal that reads back to the
/// value's own bits counts as equal to it.
fn digits_up(value: f64, count: usize) -> (u64, i32) {
    let (units, exponent) = digits(value, count);
    let nearest = format!("{units}e{}", exponent + 1 - count as i32);
    if nearest.parse::<f64>().is_ok_and(|nearest| nearest >= value) {
        return (units, exponent);
    }
    // 9.99 becomes 10.0.
    match units + 1 {
        carried if carried == 10u64.pow(count as u32) => (carried / 10, exponent + 1),
        units => (units, exponent),
    }
}

/// Digits as people write them, the first of which stands for `10^exponent`; powers of ten where it is very large or small.
fn decimal(units: u64, exponent: i32) -> String {
    if units == 0 {
        return "0".to_owned();
    }
    let digits = units.to_string();
    let digits = digits.trim_end_matches('0');
    let (first, rest) = digits.split_at_checked(1).unwrap_or(("0", ""));
    let place = exponent.unsigned_abs() as usize;
    match exponent {
        -3..0 => format!("0.{}{digits}", "0".repeat(place - 1)),
        0..6 if digits.len() <= place + 1 => format!("{digits:0<width$}", width = place + 1),
        0..6 => {
            let (whole, part) = digits.split_at(place + 1);
            format!("{whole}.{part}")
        }
        _ if rest.is_empty() => format!("{first}e{exponent}"),
        _ => format!("{first}.{rest}e{exponent}"),
    }
}
