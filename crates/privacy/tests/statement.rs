//! The statement in words, to the letter, and in JSON.

#![allow(
    clippy::unwrap_used,
    reason = "a test's helpers fail by panicking, as its tests do"
)]

use cloister_privacy::{
    Assumption, Claim, ClientClaim, Collusion, MechanismFacts, Neighbouring, Standing, State,
    Statement, Trust, Unit, found_words, rounded_up,
};

fn claim() -> Claim {
    Claim {
        epsilon: 3.2811,
        delta: 1e-5,
        epsilon_tenth_delta: 3.714,
        epsilon_rdp: 3.4099,
        found_at_0_1_percent: 0.02561,
        found_at_1_percent: 0.1213,
    }
}

/// Client-level privacy with central noise and an adaptive clipping norm.
fn central() -> Statement {
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
        released: vec![
            "the model of each round".to_owned(),
            "the clipping norm".to_owned(),
        ],
        mechanism: MechanismFacts {
            name: "central-gaussian".to_owned(),
            noise_multiplier: 1.1,
            clip: "0.1 at first, 0.43 at last".to_owned(),
            sampling_rate: Some(0.1),
            steps: 50,
            participation: None,
            discretisation: Some("grid step 2^-20 of the norm".to_owned()),
        },
        assumptions: vec![
            assumption(
                "each client takes part by a secret coin of its own",
                Standing::Enforced,
            ),
            assumption("the ledger is complete", Standing::Verified),
            assumption("one client is one person", Standing::Trusted),
        ],
        voids: vec!["publishing the training loss of single clients".to_owned()],
        tuning_runs: 3,
        clients: Vec::new(),
    }
}

/// The same under a fixed seed, as almost every simulation is.
fn seeded() -> Statement {
    Statement {
        state: State::NotPrivate,
        reason: Some("the noise comes from the seed 7, which is in the record".to_owned()),
        claim: None,
        ..central()
    }
}

const CENTRAL: &str = "\
PRIVATE
If one client's whole data were absent, any conclusion's odds would change by at most a factor e^3.29 = 26.9 (except with probability 1e-5).
epsilon         3.29 at delta 1e-5; 3.72 at delta 1e-6; by Rényi divergences, an independent bound, 3.41
attacks         of the clients that took part, at most 2.57 % can be found with 0.1 % false alarms, 12.2 % with 1 %
unit            one client: all its examples together
neighbouring    zero-out: one client blanked, as if it contributed nothing; how many clients there are is public
trust           central: the server sees clipped updates before there is noise on them
covers          the model of each round; the clipping norm
mechanism       central-gaussian; noise multiplier 1.1; clipping norm 0.1 at first, 0.43 at last; sampling rate 0.1; 50 noisy steps executed
discretisation  grid step 2^-20 of the norm
tuning runs     not accounted: 3
assumptions
  enforced by the code: each client takes part by a secret coin of its own
  verified from the record: the ledger is complete
  taken on trust: one client is one person
voids
  - publishing the training loss of single clients";

#[test]
fn a_private_run_in_words() {
    assert_eq!(central().lines().join("\n"), CENTRAL);
}

#[test]
fn a_seeded_simulation_in_words() {
    let expected = "\
NOT PRIVATE: the noise comes from the seed 7, which is in the record
Nothing limits by how much any conclusion's odds would change if one client's whole data were absent. Were the noise secret, it would be at most a factor e^3.29 = 26.9 (except with probability 1e-5).
epsilon         infinite
accounted       were the noise secret: epsilon 3.29 at delta 1e-5; 3.72 at delta 1e-6; by Rényi divergences, an independent bound, 3.41
attacks         were the noise secret: of the clients that took part, at most 2.57 % can be found with 0.1 % false alarms, 12.2 % with 1 %";
    let lines = seeded().lines();
    assert_eq!(lines[..5].join("\n"), expected);
    // All else is as in the run with secret noise.
    let central: Vec<&str> = CENTRAL.lines().collect();
    assert_eq!(lines[5..], central[4..]);
}

#[test]
fn examples_of_clients_in_words() {
    let client = |name: &str, epsilon| ClientClaim {
        client: name.to_owned(),
        epsilon,
        sampling_rate: 0.0625,
        steps: 400,
    };
    let statement = Statement {
        reason: Some("it protects single examples, not all of a client's together".to_owned()),
        unit: Unit::Example,
        neighbouring: Neighbouring::ReplaceOne,
        trust: Trust::Local,
        clients: vec![
            client("small", Some(3.2811)),
            client("none", None),
            client("large", Some(0.5)),
        ],
        assumptions: Vec::new(),
        voids: Vec::new(),
        ..central()
    };
    // The state's own claim to be private is corrected: the unit is the weaker one.
    let lines = statement.lines();
    assert_eq!(lines[0], "PRIVATE (weaker unit)");
    assert_eq!(
        lines[1],
        "If one example of one client were exchanged for any other, any conclusion's odds would change by at most a \
         factor e^3.29 = 26.9 (except with probability 1e-5)."
    );
    assert_eq!(
        lines[2],
        "Weaker unit: it protects single examples, not all of a client's together."
    );
    assert_eq!(
        lines[lines.len() - 4..],
        [
            "clients",
            "  none: epsilon infinite; sampling rate 0.0625; 400 steps",
            "  small: epsilon 3.29; sampling rate 0.0625; 400 steps",
            "  large: epsilon 0.5; sampling rate 0.0625; 400 steps",
        ]
    );
    let trust =
        "trust           local: nobody but the client sees its data before there is noise on them";
    assert!(lines.iter().any(|line| line == trust), "{lines:#?}");
}

#[test]
fn distributed_noise_names_whom_it_counts_on() {
    let statement = Statement {
        trust: Trust::Distributed(Collusion {
            honest: 60,
            dropouts: 30,
            colluders: 10,
        }),
        ..central()
    };
    let trust = "trust           distributed: the server sees only the sum, with the clients' own noise; that of 60 honest \
                 clients is counted on, so that 30 may drop out of a round and 10 may show the server theirs";
    assert!(statement.lines().iter().any(|line| line == trust));
}

#[test]
fn nothing_short_of_a_finite_claim_reads_as_private() {
    let figures = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0];
    for epsilon in figures {
        let broken = Claim { epsilon, ..claim() };
        let statement = Statement {
            claim: Some(broken),
            accounted: Some(broken),
            ..central()
        };
        let lines = statement.lines();
        assert_eq!(
            lines[0], "NOT PRIVATE: no finite epsilon can be claimed",
            "{epsilon}"
        );
        assert_eq!(lines[2], "epsilon         infinite");
        assert!(!lines.iter().any(|line| line.starts_with("accounted")));
        assert_eq!(statement.claimed(), None);
    }
    for delta in [f64::NAN, 1.0, -1e-5, f64::INFINITY] {
        let broken = Claim { delta, ..claim() };
        let statement = Statement {
            claim: Some(broken),
            ..central()
        };
        assert_eq!(statement.verdict(), State::NotPrivate, "{delta}");
    }
    // A claim beside the state of none is none.
    let statement = Statement {
        claim: Some(claim()),
        ..seeded()
    };
    assert_eq!(statement.claimed(), None);
    assert!(statement.title().starts_with("NOT PRIVATE"));
    let without = Statement {
        claim: None,
        ..central()
    };
    assert_eq!(without.verdict(), State::NotPrivate);
}

#[test]
fn figures_are_rounded_up() {
    let cases = [
        (0.0, "0"),
        (-0.0, "0"),
        (8.0, "8"),
        (8.000_000_1, "8.01"),
        (3.281, "3.29"),
        (3.29, "3.29"),
        (0.1 + 0.2, "0.301"),
        (9.991, "10"),
        (99.91, "100"),
        (0.012_34, "0.0124"),
        (0.001, "0.001"),
        (1e-5, "1e-5"),
        (1.2301e-6, "1.24e-6"),
        (1234.0, "1240"),
        (999_900.0, "1e6"),
        (5_088_492.0, "5.09e6"),
        (f64::MAX, "1.8e308"),
        (f64::MIN_POSITIVE, "2.23e-308"),
        (f64::INFINITY, "infinite"),
        (f64::NAN, "infinite"),
    ];
    for (value, text) in cases {
        assert_eq!(rounded_up(value), text, "{value}");
    }
    // Over sixty powers of ten: what is printed is never below the value, and never a hundredth above it.
    let mut value = 1.000_3e-30;
    while value < 1e30 {
        let printed: f64 = rounded_up(value).parse().unwrap();
        assert!(
            printed >= value && printed <= value * 1.01,
            "{value} {printed}"
        );
        value *= 1.003_7;
    }
    let shares = [0.0, 0.001, 0.07, 0.12341, 1.0, 2.0, f64::NAN];
    assert_eq!(
        shares.map(found_words),
        ["0 %", "0.1 %", "7 %", "12.4 %", "100 %", "100 %", "100 %"]
    );
}

#[test]
fn extreme_claims_have_words() {
    let of = |epsilon, delta| {
        let claim = Claim {
            epsilon,
            delta,
            ..claim()
        };
        Statement {
            claim: Some(claim),
            ..central()
        }
        .sentence()
    };
    let tail = |sentence: String| sentence.split("at most ").nth(1).unwrap().to_owned();
    assert_eq!(tail(of(0.0, 0.0)), "a factor e^0 = 1.");
    assert_eq!(
        tail(of(800.0, 0.01)),
        "a factor e^800 (except with probability 0.01)."
    );
    assert_eq!(tail(of(1e-9, 0.0)), "a factor e^1e-9 = 1.01.");
}

#[test]
fn no_control_character_of_a_record_reaches_a_terminal() {
    let hostile = "\u{1b}[31m\nPRIVATE";
    let mut statement = seeded();
    statement.reason = Some(hostile.to_owned());
    statement.released = vec![hostile.to_owned()];
    statement.voids = vec![hostile.to_owned()];
    statement.assumptions[0].text = hostile.to_owned();
    statement.mechanism.name = hostile.to_owned();
    statement.clients = vec![ClientClaim {
        client: hostile.to_owned(),
        epsilon: Some(f64::NAN),
        sampling_rate: f64::NAN,
        steps: 1,
    }];
    let lines = statement.lines();
    assert!(
        !lines.iter().any(|line| line.chars().any(char::is_control)),
        "{lines:#?}"
    );
}

#[test]
fn clients_beyond_twenty_are_counted() {
    let client = |index: u32| ClientClaim {
        client: format!("client-{index}"),
        epsilon: Some(f64::from(index) / 10.0),
        sampling_rate: 0.1,
        steps: 10,
    };
    let statement = Statement {
        clients: (0..50).map(client).collect(),
        ..seeded()
    };
    let lines = statement.lines();
    let at = lines.len() - 22;
    assert_eq!(lines[at], "clients, were the noise secret");
    assert_eq!(
        lines[at + 1],
        "  client-49: epsilon 4.9; sampling rate 0.1; 10 steps"
    );
    assert_eq!(lines[at + 21], "  and 30 more, of epsilon 2.9 or less");
}

#[test]
fn json_brings_back_every_figure() {
    for statement in [central(), seeded()] {
        let json = serde_json::to_string(&statement).unwrap();
        assert_eq!(serde_json::from_str::<Statement>(&json).unwrap(), statement);
    }
    let json = serde_json::to_value(central()).unwrap();
    assert_eq!(json["state"], "private");
    assert_eq!(json["claim"]["epsilon"], 3.2811);
    assert_eq!(json["trust"]["model"], "central");

    let broken = Claim {
        epsilon: f64::NAN,
        epsilon_rdp: f64::INFINITY,
        epsilon_tenth_delta: f64::NEG_INFINITY,
        ..claim()
    };
    let mut statement = Statement {
        claim: Some(broken),
        ..seeded()
    };
    statement.mechanism.noise_multiplier = f64::INFINITY;
    statement.clients = vec![ClientClaim {
        client: "a".to_owned(),
        epsilon: Some(f64::INFINITY),
        sampling_rate: f64::NAN,
        steps: 0,
    }];
    let json = serde_json::to_string(&statement).unwrap();
    assert!(json.contains("\"epsilon_rdp\":\"inf\""), "{json}");
    let back: Statement = serde_json::from_str(&json).unwrap();
    assert_eq!(serde_json::to_string(&back).unwrap(), json);
    assert!(back.claim.unwrap().epsilon.is_nan());
    let bad = json.replace("\"epsilon_rdp\":\"inf\"", "\"epsilon_rdp\":\"vast\"");
    assert!(serde_json::from_str::<Statement>(&bad).is_err());
}
