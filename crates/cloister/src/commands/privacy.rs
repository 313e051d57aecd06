//! `cloister privacy`

mod statement;

use std::fs;

use anyhow::{Context, Result};
use cloister_privacy::accounting::{
    Accountant, Certificate, Direction, Question, Side, TradeOff, epsilon, noise_multiplier,
};
use cloister_privacy::{Event, Neighbouring, PrivacyError, found_words, rounded_up};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::args::{
    AccountantArg, NeighbouringArg, PrivacyCommand, PrivacyEpsilonArgs, PrivacyEventArgs,
    PrivacyNoiseArgs, PrivacyQuestionArgs, PrivacyStepsArgs,
};
use crate::failure::Usage;
use crate::output;

pub(crate) fn run(command: &PrivacyCommand) -> Result<()> {
    match command {
        PrivacyCommand::Epsilon(args) => say_epsilon(args),
        PrivacyCommand::Noise(args) => say_noise(args),
        PrivacyCommand::Statement(args) => statement::statement(&args.run, args.json),
    }
}

fn say_epsilon(args: &PrivacyEpsilonArgs) -> Result<()> {
    let mut events = listed(&args.events)?;
    if let Some(noise) = args.noise_multiplier {
        events.push(steps(noise, &args.steps));
    }
    if events.is_empty() {
        return Err(Usage(
            "nothing to account: give --noise-multiplier, --event or --events".into(),
        )
        .into());
    }
    let event = Event::Composed { events };
    let answer = Answer::new(event, question(&args.question))?;
    if args.question.json {
        return output::print_json(&answer.document());
    }
    output::print(&answer.words())
}

fn say_noise(args: &PrivacyNoiseArgs) -> Result<()> {
    let besides = listed(&args.events)?;
    let plan = |noise: f64| {
        let mut events = besides.clone();
        events.push(steps(noise, &args.steps));
        Event::Composed { events }
    };
    let question = question(&args.question);
    let noise = noise_multiplier(args.epsilon, &question, &plan).map_err(usage)?;
    // As closely as the search looked, or the answer could be above the epsilon that was asked for.
    let closely = Question {
        error: 0.1 * question.error,
        ..question
    };
    let answer = Answer::new(plan(noise), closely)?;
    if args.question.json {
        let mut document = answer.document();
        document["noise_multiplier"] = json!(noise);
        return output::print_json(&document);
    }
    output::print(&format!("noise multiplier {noise}\n{}", answer.words()))
}

/// Gaussian noise on so many samples.
fn steps(noise_multiplier: f64, args: &PrivacyStepsArgs) -> Event {
    Event::Repeated {
        event: Box::new(Event::PoissonGaussian {
            noise_multiplier,
            sampling_rate: args.sampling_rate,
        }),
        count: args.steps,
    }
}

/// Other numbers would do.
fn usage(error: PrivacyError) -> Usage {
    Usage(error.to_string())
}

fn question(args: &PrivacyQuestionArgs) -> Question {
    let neighbouring = match args.neighbouring {
        NeighbouringArg::AddRemove => Neighbouring::AddRemove,
        NeighbouringArg::ReplaceOne => Neighbouring::ReplaceOne,
        NeighbouringArg::ZeroOut => Neighbouring::ZeroOut,
    };
    Question {
        accountant: args.accountant.map(|accountant| match accountant {
            AccountantArg::Pld => Accountant::Pld,
            AccountantArg::Rdp => Accountant::Rdp,
        }),
        error: args.error,
        step: args.grid_step,
        ..Question::new(neighbouring, args.delta)
    }
}

/// The events of `--event` and of `--events`.
fn listed(args: &PrivacyEventArgs) -> Result<Vec<Event>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        event: Vec<Map<String, Value>>,
    }

    let mut events = Vec::new();
    for text in &args.event {
        let fields = fields(text)?;
        events.push(of_fields(fields).with_context(|| format!("--event \"{text}\""))?);
    }
    if let Some(path) = &args.events {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let file: File =
            toml::from_str(&text).map_err(|error| Usage(format!("{}: {error}", path.display())))?;
        for (at, fields) in file.event.into_iter().enumerate() {
            let event = of_fields(fields);
            events.push(event.with_context(|| format!("{}, event {}", path.display(), at + 1))?);
        }
    }
    Ok(events)
}

/// `key=value,...`, where a value that is not a number is a text.
fn fields(text: &str) -> Result<Map<String, Value>> {
    text.split(',')
        .map(|part| {
            let (key, value) = part
                .split_once('=')
                .ok_or_else(|| Usage(format!("--event \"{text}\": '{part}' is not KEY=VALUE")))?;
            let value = value.trim();
            let value = serde_json::from_str(value)
                .ok()
                .filter(Value::is_number)
                .unwrap_or_else(|| value.into());
            Ok((key.trim().to_owned(), value))
        })
        .collect()
}

/// An event from its fields, dashes or underscores in their names; `steps` repeats it. Without a kind it is Gaussian noise,
/// on a sample if there is a sampling rate.
fn of_fields(fields: Map<String, Value>) -> Result<Event> {
    let mut fields: Map<String, Value> = fields
        .into_iter()
        .map(|(key, value)| (key.replace('-', "_"), value))
        .collect();
    let count = match fields.remove("steps") {
        None => 1,
        Some(steps) => steps
            .as_u64()
            .ok_or_else(|| Usage(format!("steps must be a whole number, found {steps}")))?,
    };
    if !fields.contains_key("kind") {
        let kind = if fields.contains_key("sampling_rate") {
            "poisson-gaussian"
        } else {
            "gaussian"
        };
        fields.insert("kind".into(), kind.into());
    }
    let event =
        serde_json::from_value(Value::Object(fields)).map_err(|error| Usage(error.to_string()))?;
    Ok(Event::Repeated {
        event: Box::new(event),
        count,
    })
}

/// All that is said of an event.
struct Answer {
    certificate: Certificate,
    neighbouring: Neighbouring,
    /// With one false alarm in a thousand, and in a hundred.
    found: [f64; 2],
    mu: f64,
}

impl Answer {
    fn new(event: Event, question: Question) -> Result<Self> {
        let certificate = epsilon(&event, &question).map_err(usage)?;
        if certificate.epsilon.is_infinite() {
            let reason = "epsilon is infinite: something is released without noise; \
                          noise_multiplier, scale and sigma must be above 0";
            return Err(Usage(reason.into()).into());
        }
        let curve = TradeOff::new(&event, &question).map_err(usage)?;
        Ok(Self {
            certificate,
            neighbouring: question.neighbouring,
            found: [
                curve.found_at(0.001).map_err(usage)?,
                curve.found_at(0.01).map_err(usage)?,
            ],
            mu: curve.mu(),
        })
    }

    fn document(&self) -> Value {
        let Certificate {
            epsilon,
            delta,
            epsilon_rdp,
            certified_error,
            direction,
            side,
            accountant,
            step,
            points,
            slack,
        } = self.certificate;
        json!({
            "epsilon": epsilon,
            "delta": delta,
            "epsilon_rdp": epsilon_rdp,
            "certified_error": certified_error,
            "direction": direction,
            "side": side,
            "accountant": accountant,
            "neighbouring": self.neighbouring,
            "found_at_0_1_percent": self.found[0],
            "found_at_1_percent": self.found[1],
            "mu": self.mu,
            "step": step,
            "points": points,
            "slack": slack,
        })
    }

    fn words(&self) -> String {
        let certificate = &self.certificate;
        let neighbours = match self.neighbouring {
            Neighbouring::AddRemove => "one unit more or less",
            Neighbouring::ReplaceOne => "one unit exchanged for another",
            Neighbouring::ZeroOut => "one unit blanked",
        };
        let mut text = format!(
            "epsilon {} at delta {}: {neighbours}\n",
            rounded_up(certificate.epsilon),
            certificate.delta
        );
        text += &match (certificate.direction, certificate.certified_error) {
            (Direction::Exact, _) => "exact, by a closed form\n".to_owned(),
            (Direction::Upper, Some(error)) => format!(
                "an upper bound by privacy-loss distributions{}, above the true value by at most {}\n",
                match certificate.side {
                    Some(Side::Remove) => " (a unit less costs more than one more)",
                    Some(Side::Add) => " (a unit more costs more than one less)",
                    _ => "",
                },
                rounded_up(error),
            ),
            (Direction::Upper, None) => "an upper bound by Rényi divergences\n".to_owned(),
        };
        if let Some(epsilon_rdp) = certificate.epsilon_rdp
            && certificate.accountant != Accountant::Rdp
        {
            text += &format!("by Rényi divergences: {}\n", rounded_up(epsilon_rdp));
        }
        text += &format!(
            "an attacker who takes 0.1 % of the others for members finds at most {} of the members, with 1 %: {}\n",
            found_words(self.found[0]),
            found_words(self.found[1]),
        );
        text
    }
}
