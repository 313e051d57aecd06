//! Writes sample pages of runs with differential privacy and of a sweep over budgets, to look at:
//! `cargo run -p cloister-report --example privacy_page -- FOLDER`.
//!
//! Each run is first recorded by [`RunWriter`] and read back, as a host's would be. The figures are invented.

use std::fs;
use std::path::{Path, PathBuf};

use cloister_privacy::{
    Assumption, Claim, ClientClaim, Collusion, MechanismFacts, Neighbouring, Standing, State,
    Statement, Trust, Unit,
};
use cloister_report::compare::Comparison;
use cloister_report::html;
use cloister_report::record::*;

fn main() -> Result<(), RecordError> {
    let folder = PathBuf::from(
        std::env::args()
            .nth(1)
            .unwrap_or_else(|| "sample-pages".to_owned()),
    );
    // Old samples are replaced; only what this program made is removed.
    for name in ["dp-seeded", "dp-distributed", "dp-examples", "dp-sweep"] {
        let _ = fs::remove_dir_all(folder.join(name));
    }
    let runs = [
        ("dp-seeded", seeded(central())),
        ("dp-distributed", distributed()),
        ("dp-examples", examples()),
    ];
    for (name, statement) in runs {
        let record = run(&folder.join(name), name, statement)?;
        write(&folder, name, &html::run_page(&record)?)?;
        let info = PrivacyInfo::read(&folder.join(name))?;
        let lines = info.map_or_else(Vec::new, |info| info.statement.lines());
        let text = lines.join("\n") + "\n";
        write_atomic(&folder.join(format!("{name}.txt")), text.as_bytes())?;
    }
    let sweep = sweep(&folder.join("dp-sweep"))?;
    write(&folder, "dp-sweep", &html::comparison_page(&sweep)?)?;
    write_atomic(&folder.join("dp-sweep.txt"), sweep.text().as_bytes())
}

fn write(folder: &Path, name: &str, page: &str) -> Result<(), RecordError> {
    write_atomic(&folder.join(format!("{name}.html")), page.as_bytes())
}

fn assume(text: &str, standing: Standing) -> Assumption {
    Assumption {
        text: text.to_owned(),
        standing,
    }
}

fn texts<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

fn claim(epsilon: f64) -> Claim {
    Claim {
        epsilon,
        delta: 1e-5,
        epsilon_tenth_delta: epsilon * 1.13,
        epsilon_rdp: epsilon * 1.04,
        found_at_0_1_percent: 0.0256,
        found_at_1_percent: 0.121,
    }
}

fn central() -> Statement {
    Statement {
        state: State::Private,
        reason: None,
        claim: Some(claim(3.2811)),
        accounted: Some(claim(3.2811)),
        unit: Unit::Client,
        neighbouring: Neighbouring::ZeroOut,
        trust: Trust::Central,
        released: texts(["the model of each round", "the clipping norm of each round"]),
        mechanism: MechanismFacts {
            name: "central-gaussian".to_owned(),
            noise_multiplier: 1.1,
            clip: "0.1 at first, 0.43 at last".to_owned(),
            sampling_rate: Some(0.1),
            steps: 80,
            discretisation: Some(
                "grid of 2^-21 clipping norms, which costs 0.05 % of the noise".to_owned(),
            ),
            participation: None,
        },
        assumptions: vec![
            assume(
                "each client takes part by a coin of its own, and none is added when few come",
                Standing::Enforced,
            ),
            assume(
                "updates are clipped before they are summed, and divided by the expected cohort",
                Standing::Enforced,
            ),
            assume(
                "the ledger is whole: its chain of hashes closes, and each round of the record is in it",
                Standing::Verified,
            ),
            assume(
                "one client is one person or one institution",
                Standing::Trusted,
            ),
            assume(
                "the server keeps what it sees before there is noise on it",
                Standing::Trusted,
            ),
        ],
        voids: texts([
            "publishing the training loss or the example count of single clients",
            "publishing a checkpoint with the state of the server's optimiser before the noise",
            "a restart without the ledger",
        ]),
        tuning_runs: 0,
        clients: Vec::new(),
    }
}

fn seeded(statement: Statement) -> Statement {
    let mut statement = Statement {
        state: State::NotPrivate,
        reason: Some(
            "the noise of this simulation comes from the seed 1, which is in its record".to_owned(),
        ),
        claim: None,
        tuning_runs: 2,
        ..statement
    };
    statement.voids.insert(
        0,
        "the noise can be computed from the seed and taken off again (done already)".to_owned(),
    );
    statement
}

fn distributed() -> Statement {
    let collusion = Collusion {
        honest: 60,
        dropouts: 30,
        colluders: 10,
    };
    let mut statement = Statement {
        trust: Trust::Distributed(collusion),
        ..central()
    };
    statement.mechanism.name = "distributed-discrete-gaussian".to_owned();
    statement
}

fn examples() -> Statement {
    let client = |index: u32| {
        let size = 1.0 + 9.0 * noise(u64::from(index), 4).powi(2);
        ClientClaim {
            client: format!("clinic-{index:02}"),
            epsilon: Some(6.2 / size.sqrt()),
            sampling_rate: 0.25 / size,
            steps: 1_600,
        }
    };
    let clients: Vec<ClientClaim> = (0..34).map(client).collect();
    let most = clients
        .iter()
        .filter_map(|client| client.epsilon)
        .fold(0.0, f64::max);
    let mut statement = Statement {
        state: State::PrivateWeakerUnit,
        reason: Some(
            "it protects single examples; a client with many examples is not protected as a whole"
                .to_owned(),
        ),
        unit: Unit::Example,
        trust: Trust::Local,
        claim: Some(claim(most)),
        accounted: Some(claim(most)),
        clients,
        ..central()
    };
    statement.mechanism.name = "dp-sgd".to_owned();
    statement.mechanism.clip = "1".to_owned();
    statement.mechanism.steps = 1_600;
    statement
}

/// A number in 0..1 that looks random and is the same on every run.
fn noise(a: u64, b: u64) -> f64 {
    let mixed = (a.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ b.wrapping_mul(0xC2B2_AE3D_27D4_EB4F))
        .wrapping_mul(0xD6E8_FEB8_6659_FD93);
    ((mixed ^ (mixed >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 11) as f64 / (1u64 << 53) as f64
}

fn run(folder: &Path, name: &str, statement: Statement) -> Result<RunRecord, RecordError> {
    const ROUNDS: u32 = 80;
    let adaptive = statement.unit == Unit::Client;
    let spent = statement.accounted.map_or(0.0, |claim| claim.epsilon);
    let mut writer = RunWriter::create(folder, &format!("name = \"{name}\"\nseed = 1\n"))?;
    let mut last = RoundRow::default();
    for round in 1..=ROUNDS {
        let share = f64::from(round) / f64::from(ROUNDS);
        let learned = 1.0 - (-5.0 * share).exp();
        let clip = 0.1 + 0.33 * (1.0 - (-9.0 * share).exp()) + 0.01 * noise(u64::from(round), 3);
        last = RoundRow {
            round,
            train_loss: Some(2.3 - 2.0 * learned),
            test_loss: Some(2.3 - 1.9 * learned),
            test_accuracy: Some(0.1 + 0.79 * learned + 0.02 * noise(u64::from(round), 1)),
            cohort: 10,
            accepted: 10,
            epsilon: Some(spent * (0.25 + 0.75 * share.sqrt())),
            clip: Some(if adaptive { clip } else { 1.0 }),
            clipped: adaptive.then(|| 0.5 + 0.4 * (1.0 - learned) * noise(u64::from(round), 2)),
            bytes_up: 192_400,
            bytes_down: 192_400,
            seconds: 0.1,
            ..RoundRow::default()
        };
        writer.round(&last)?;
    }
    writer.summary(&Summary {
        at_sites: None,
        quality: None,
        name: name.to_owned(),
        seed: 1,
        rounds: ROUNDS,
        completed: ROUNDS,
        final_: Metrics {
            accuracy: last.test_accuracy,
            loss: last.test_loss,
            ..Metrics::default()
        },
        privacy: Some(PrivacyInfo::of(statement, 1e-5)),
        model: ModelInfo {
            kind: "mlp".to_owned(),
            parameters: 4_810,
        },
        data: DataInfo {
            dataset: "digits".to_owned(),
            clients: 100,
            train: 1_500,
            test: 297,
            classes: 10,
            ..DataInfo::default()
        },
        trust: texts(["The server sees each client's update of each round."]),
        version: "0.1.0".to_owned(),
        ..Summary::default()
    })?;
    RunRecord::read(folder)
}

/// Budgets x clipping norms with three seeds, and the same without privacy.
fn sweep(folder: &Path) -> Result<Comparison, RecordError> {
    let keys = ["privacy.epsilon", "privacy.clip"].map(str::to_owned);
    let mut writer = SweepWriter::open(folder, &keys)?;
    let mut cell = 0;
    for budget in [
        None,
        Some(0.5),
        Some(1.0),
        Some(2.0),
        Some(4.0),
        Some(8.0),
        Some(16.0),
    ] {
        for (clip, cost) in [
            ("0.1", 0.05),
            ("0.5", 0.03),
            ("{ kind = \"adaptive\", quantile = 0.5 }", 0.02),
        ] {
            for seed in [1, 2, 3] {
                let name = format!("{cell:03}-seed-{seed}");
                let lost = budget.map_or(0.0, |budget: f64| 0.01 + cost * 6.0 / budget.sqrt());
                let result = SweepResult {
                    accuracy: Some(0.94 - lost + 0.02 * (noise(seed, cell) - 0.5)),
                    loss: Some(0.2 + lost),
                    epsilon: budget.map(|_| f64::INFINITY),
                    accounted_epsilon: budget.map(|budget| budget * 0.998),
                    seconds: 3.25,
                    folder: name,
                    ..SweepResult::default()
                };
                let budget = budget.map_or_else(String::new, |budget| budget.to_string());
                writer.row(SweepRow {
                    cell: cell as u32,
                    seed,
                    settings: vec![budget, clip.to_owned()],
                    result,
                })?;
            }
            cell += 1;
        }
    }
    Comparison::read(&[folder.to_owned()])
}
