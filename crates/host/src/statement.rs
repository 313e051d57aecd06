//! What a run may promise about privacy, from its ledger and from what the code did.

use cloister_config::Experiment;
use cloister_privacy::accounting::{self, TradeOff};
use cloister_privacy::{
    Assumption, Claim, ClientClaim, Collusion, Entry, Event, Mechanism, MechanismFacts,
    PrivacyError, Standing, State, Statement, Trust, Unit,
};
use cloister_protocol::Sampling;
use cloister_report::record::RoundRow;
use cloister_secagg::statement::{corrupt_members, honest_members};

use crate::setting::Setting;
use crate::spending::Spending;

/// The statement of a run that has ended.
///
/// # Errors
/// [`PrivacyError`] for releases that cannot be accounted.
pub fn statement(
    privacy: &Spending,
    setting: &Setting<'_>,
    rows: &[RoundRow],
) -> Result<Statement, PrivacyError> {
    let plan = privacy.plan();
    let clients = client_claims(privacy, setting)?;
    let accounted = claim(privacy, &clients)?;
    let finite = accounted.epsilon.is_finite();
    let unit = plan.config().mechanism.unit();
    let (state, reason) = match (privacy.is_secret(), finite, unit) {
        (false, _, _) => (
            State::NotPrivate,
            Some(
                "noise and coins come from the run's seed, so that whoever has it can take them off again",
            ),
        ),
        (true, false, _) => (State::NotPrivate, Some("a release had no noise")),
        (true, true, Unit::Example) => (
            State::PrivateWeakerUnit,
            Some("it hides single examples, not a client's data as a whole"),
        ),
        (true, true, Unit::Client) => (State::Private, None),
    };
    let claimed = privacy.is_secret() && finite;
    Ok(Statement {
        state,
        reason: reason.map(str::to_owned),
        claim: claimed.then_some(accounted),
        accounted: Some(accounted),
        unit,
        neighbouring: plan.neighbouring(),
        trust: trust(privacy, setting),
        released: released(plan.config().mechanism),
        mechanism: facts(privacy, rows),
        assumptions: assumptions(privacy, setting.experiment),
        voids: voids(setting.experiment),
        tuning_runs: 0,
        clients,
    })
}

/// The loss of the holder that lost most, read in several ways.
fn claim(privacy: &Spending, clients: &[ClientClaim]) -> Result<Claim, PrivacyError> {
    let question = privacy.plan().fine_question();
    let worst = clients.first().map(|client| client.client.as_str());
    let events = privacy
        .by_holder()
        .filter(|(holder, ..)| worst.is_none_or(|worst| worst == *holder));
    let events: Vec<Event> = events.map(|(_, event, _)| event).collect();
    let event = Event::Composed { events };
    if event == (Event::Composed { events: Vec::new() }) {
        return Ok(nothing(question.delta));
    }
    let certificate = accounting::epsilon(&event, &question)?;
    let mut tenth = question;
    tenth.delta /= 10.0;
    let curve = TradeOff::new(&event, &question)?;
    Ok(Claim {
        epsilon: certificate.epsilon,
        delta: question.delta,
        epsilon_tenth_delta: accounting::epsilon(&event, &tenth)?.epsilon,
        epsilon_rdp: certificate.epsilon_rdp.unwrap_or(f64::INFINITY),
        found_at_0_1_percent: curve.found_at(0.001)?,
        found_at_1_percent: curve.found_at(0.01)?,
    })
}

/// What a run that released nothing may claim.
fn nothing(delta: f64) -> Claim {
    Claim {
        epsilon: 0.0,
        delta,
        epsilon_tenth_delta: 0.0,
        epsilon_rdp: 0.0,
        found_at_0_1_percent: 0.001,
        found_at_1_percent: 0.01,
    }
}

/// Where clients add the noise: the loss of each, the largest first.
fn client_claims(
    privacy: &Spending,
    setting: &Setting<'_>,
) -> Result<Vec<ClientClaim>, PrivacyError> {
    let question = privacy.plan().fine_question();
    let mut known: Vec<(Event, f64)> = Vec::new();
    let mut claims = Vec::new();
    for (holder, event, steps) in privacy.by_holder() {
        if holder == Entry::ALL {
            continue;
        }
        let epsilon = match known.iter().find(|(other, _)| *other == event) {
            Some((_, epsilon)) => *epsilon,
            None => {
                let epsilon = accounting::epsilon(&event, &question)?.epsilon;
                known.push((event, epsilon));
                epsilon
            }
        };
        let member = setting.members.iter().find(|member| member.name == holder);
        let examples = member.map_or(0, |member| member.examples);
        claims.push(ClientClaim {
            client: holder.to_owned(),
            epsilon: Some(epsilon).filter(|epsilon| epsilon.is_finite()),
            sampling_rate: privacy.plan().sampling_rate(examples).unwrap_or(1.0),
            steps,
        });
    }
    let loss = |claim: &ClientClaim| claim.epsilon.unwrap_or(f64::INFINITY);
    claims.sort_by(|a, b| {
        loss(b)
            .total_cmp(&loss(a))
            .then_with(|| a.client.cmp(&b.client))
    });
    Ok(claims)
}

fn trust(privacy: &Spending, setting: &Setting<'_>) -> Trust {
    let config = privacy.plan().config();
    match (config.mechanism, setting.sums) {
        (Mechanism::LocalGaussian | Mechanism::DpSgd, _) => Trust::Local,
        (Mechanism::DistributedDiscreteGaussian, Some(params)) => Trust::Distributed(Collusion {
            honest: config.honest.unwrap_or(honest_members(params)),
            dropouts: params.members().saturating_sub(params.needed()),
            colluders: corrupt_members(params),
        }),
        _ => Trust::Central,
    }
}

fn released(mechanism: Mechanism) -> Vec<String> {
    let what: &[&str] = match mechanism {
        Mechanism::LocalGaussian | Mechanism::DpSgd => &[
            "every update that a client sent",
            "the model of each round",
            "the final model",
        ],
        _ => &["the model of each round", "the final model"],
    };
    what.iter().map(|what| (*what).to_owned()).collect()
}

fn facts(privacy: &Spending, rows: &[RoundRow]) -> MechanismFacts {
    let config = privacy.plan().config();
    let clips: Vec<f64> = rows.iter().filter_map(|row| row.clip).collect();
    let clip = match (&config.adaptive_clip, clips.first(), clips.last()) {
        (Some(_), Some(first), Some(last)) => {
            format!("{first:.4} in the first round, {last:.4} in the last")
        }
        _ => format!("{}", config.clip),
    };
    let steps = privacy.by_holder().map(|(.., steps)| steps).max();
    let rates = privacy.by_holder().filter_map(|(_, event, _)| rate(&event));
    MechanismFacts {
        name: config.mechanism.name().to_owned(),
        noise_multiplier: privacy.plan().noise_multiplier(),
        clip,
        sampling_rate: rates.max_by(f64::total_cmp),
        steps: steps.unwrap_or(0),
        participation: participation(privacy),
        discretisation: Some(discretisation(privacy)),
    }
}

fn discretisation(privacy: &Spending) -> String {
    match privacy.plan().distributed() {
        Ok(distributed) => format!(
            "each client rounds its rotated update at random to a grid of {} bits, and adds discrete Gaussian noise there; the \
             rounding is part of the accounted sensitivity",
            distributed.bits()
        ),
        Err(_) => "sums on an integer grid so fine that rounding adds at most 0.3 % to the sensitivity; the noise covers it"
            .to_owned(),
    }
}

/// How often a client took part, where that is what the accounting rests on.
fn participation(privacy: &Spending) -> Option<String> {
    let separation = match privacy.plan().config().mechanism {
        Mechanism::CorrelatedGaussian => privacy.plan().separation(),
        _ => return None,
    };
    Some(match separation {
        1 => "every client in every round".to_owned(),
        rounds => format!("each client once in {rounds} rounds, by turns"),
    })
}

/// The sampling rate of the first sampled release within `event`.
fn rate(event: &Event) -> Option<f64> {
    match event {
        Event::PoissonGaussian { sampling_rate, .. }
        | Event::TruncatedPoissonGaussian { sampling_rate, .. } => Some(*sampling_rate),
        Event::FixedSizeGaussian {
            sample, population, ..
        } => Some(*sample as f64 / *population as f64),
        Event::Repeated { event, .. } => rate(event),
        Event::Composed { events } => events.iter().find_map(rate),
        _ => None,
    }
}

fn assumptions(privacy: &Spending, experiment: &Experiment) -> Vec<Assumption> {
    let mut all = Vec::new();
    let mut assume = |standing, text: &str| {
        all.push(Assumption {
            text: text.to_owned(),
            standing,
        });
    };
    assume(
        Standing::Enforced,
        "each round's release was on the ledger before the round began, and the ledger is whole",
    );
    let unit = match privacy.plan().config().mechanism {
        Mechanism::DpSgd => {
            "each example's gradient was clipped; sums are divided by the planned batch, not the drawn one"
        }
        _ => "each update was clipped; sums are divided by the planned cohort, not by who came",
    };
    assume(Standing::Enforced, unit);
    let coins = match (
        privacy.plan().config().mechanism,
        experiment.federation.sampling,
    ) {
        (Mechanism::DpSgd, _) => {
            Some("batches are drawn by a coin an example; an empty batch is a noisy step")
        }
        (Mechanism::CentralGaussian, Sampling::Poisson) => Some(
            "cohorts are drawn by a coin a client, nobody is added; an empty cohort is a noisy round",
        ),
        _ => None,
    };
    if let Some(coins) = coins {
        assume(Standing::Enforced, coins);
    }
    if privacy.is_secret() {
        assume(
            Standing::Enforced,
            "noise and coins come from the operating system, not from a seed",
        );
    }
    match privacy.plan().config().mechanism {
        Mechanism::CentralGaussian | Mechanism::CorrelatedGaussian => {
            assume(
                Standing::Trusted,
                "the server adds the noise and shows nobody the updates without it",
            );
        }
        Mechanism::DistributedDiscreteGaussian => {
            assume(
                Standing::Enforced,
                "the server gets no sum of fewer updates than the secure aggregation waits for",
            );
            assume(
                Standing::Trusted,
                "no more clients than stated work with the server; the others run this program unchanged",
            );
        }
        _ => assume(Standing::Trusted, "each client runs this program unchanged"),
    }
    assume(
        Standing::Trusted,
        match privacy.plan().config().mechanism {
            Mechanism::DpSgd => {
                "how many examples a client has is public, and no example is held by two clients"
            }
            _ => "who takes part in the federation is public, and nobody takes part as two clients",
        },
    );
    assume(
        Standing::Trusted,
        "settings were not chosen by looking at other runs on these data",
    );
    all
}

/// What lies in the run folder without noise.
fn voids(experiment: &Experiment) -> Vec<String> {
    let mut all = vec![
        "publishing partition.csv, clients.csv or events.jsonl of the run folder: they tell of single clients without noise"
            .to_owned(),
    ];
    if !experiment.baselines.is_empty() {
        all.push("publishing baselines.csv: the baselines were trained on the same examples without noise".to_owned());
    }
    if experiment.attack.is_some() {
        all.push(
            "publishing the run without the attack, or verdicts.csv: they are further releases about the same data".to_owned(),
        );
    }
    all.push("repeating the run with other settings and publishing the best: each repetition costs as much again".to_owned());
    all
}
