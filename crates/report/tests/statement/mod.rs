//! Privacy statements for tests.

#![allow(
    dead_code,
    reason = "each test binary has its own copy and uses a part of it"
)]

use cloister_privacy::{
    Assumption, Claim, ClientClaim, MechanismFacts, Neighbouring, Standing, State, Statement,
    Trust, Unit,
};

pub(crate) fn claim() -> Claim {
    Claim {
        epsilon: 3.2811,
        delta: 1e-5,
        epsilon_tenth_delta: 3.714,
        epsilon_rdp: 3.4099,
        found_at_0_1_percent: 0.02561,
        found_at_1_percent: 0.1213,
    }
}

/// A run with secret noise on the server.
pub(crate) fn claimed() -> Statement {
    let assumption = |text: &str, standing| Assumption {
        text: text.to_owned(),
        standing,
    };
    Statement {
        state: State::Private,
        reason: None,
        claim: Some(claim()),
        accounted: Some(claim()),
        unit: Unit::Client,
        neighbouring: Neighbouring::ZeroOut,
        trust: Trust::Central,
        released: vec!["the model of each round".to_owned()],
        mechanism: MechanismFacts {
            name: "central-gaussian".to_owned(),
            noise_multiplier: 1.1,
            clip: "0.5".to_owned(),
            sampling_rate: Some(0.1),
            steps: 50,
            ..MechanismFacts::default()
        },
        assumptions: vec![
            assumption(
                "each client takes part by a secret coin",
                Standing::Enforced,
            ),
            assumption("the ledger is complete", Standing::Verified),
            assumption("one client is one person", Standing::Trusted),
        ],
        voids: vec!["publishing the training loss of single clients".to_owned()],
        tuning_runs: 0,
        clients: Vec::new(),
    }
}

/// The same under a fixed seed.
pub(crate) fn seeded() -> Statement {
    Statement {
        state: State::NotPrivate,
        reason: Some("the noise comes from the seed 7".to_owned()),
        claim: None,
        ..claimed()
    }
}

/// The same about examples, with a client more than are listed, one of them without a bound.
pub(crate) fn of_examples() -> Statement {
    let client = |index: u32| ClientClaim {
        client: format!("site-{index:02}"),
        epsilon: (index != 3).then_some(1.0 + f64::from(index) / 10.0),
        sampling_rate: 0.0625,
        steps: 400,
    };
    Statement {
        state: State::PrivateWeakerUnit,
        reason: Some("one example is protected, not a client".to_owned()),
        unit: Unit::Example,
        clients: (0..22).map(client).collect(),
        ..claimed()
    }
}

/// A statement of hostile text and broken figures.
pub(crate) fn of_text(text: &str) -> Statement {
    let text = || text.to_owned();
    let claim = Claim {
        epsilon_tenth_delta: f64::NAN,
        epsilon_rdp: f64::INFINITY,
        found_at_0_1_percent: f64::NAN,
        found_at_1_percent: -1.0,
        ..claim()
    };
    Statement {
        state: State::NotPrivate,
        reason: Some(text()),
        claim: Some(claim),
        accounted: Some(claim),
        released: vec![text()],
        mechanism: MechanismFacts {
            name: text(),
            noise_multiplier: f64::NAN,
            clip: text(),
            sampling_rate: Some(f64::INFINITY),
            participation: Some(text()),
            discretisation: Some(text()),
            ..MechanismFacts::default()
        },
        assumptions: vec![Assumption {
            text: text(),
            standing: Standing::Trusted,
        }],
        voids: vec![text(); 100],
        clients: vec![ClientClaim {
            client: text(),
            epsilon: Some(2.0),
            sampling_rate: f64::NAN,
            steps: u64::MAX,
        }],
        ..of_examples()
    }
}
