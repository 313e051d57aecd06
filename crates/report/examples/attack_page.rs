//! Writes sample pages of attacked runs and of a sweep over attacks, to look at:
//! `cargo run -p cloister-report --example attack_page -- FOLDER`.
//!
//! Each run is first recorded by [`RunWriter`] and read back, as a host's would be. The figures are invented.

use std::fs;
use std::path::{Path, PathBuf};

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
    for name in [
        "ipm-krum",
        "backdoor-geometric-median",
        "flip-large",
        "attack-sweep",
    ] {
        let _ = fs::remove_dir_all(folder.join(name));
    }
    for run in [small(), weighed(), large()] {
        let record = run.record(&folder.join(run.name))?;
        write(&folder, run.name, &html::run_page(&record)?)?;
    }
    let sweep = sweep(&folder.join("attack-sweep"))?;
    write(&folder, "attack-sweep", &html::comparison_page(&sweep)?)?;
    write_atomic(&folder.join("attack-sweep.txt"), sweep.text().as_bytes())?;
    let runs = ["ipm-krum", "backdoor-geometric-median", "flip-large"].map(|run| folder.join(run));
    let several = Comparison::read(&runs)?;
    write_atomic(&folder.join("attacked-runs.txt"), several.text().as_bytes())
}

fn write(folder: &Path, name: &str, page: &str) -> Result<(), RecordError> {
    write_atomic(&folder.join(format!("{name}.html")), page.as_bytes())
}

/// A made-up attacked run.
struct Sample {
    name: &'static str,
    rule: &'static str,
    kind: &'static str,
    rounds: u32,
    clients: u32,
    cohort: u32,
    malicious: u32,
    start: u32,
    /// Chance that a malicious reply passes the rule.
    passes: f64,
    /// Share of the headline metric that the attack takes.
    harm: f64,
    backdoor: bool,
    weights: bool,
}

fn small() -> Sample {
    Sample {
        name: "ipm-krum",
        rule: "multi-krum",
        kind: "ipm",
        rounds: 40,
        clients: 15,
        cohort: 12,
        malicious: 3,
        start: 10,
        passes: 0.12,
        harm: 0.05,
        backdoor: false,
        weights: false,
    }
}

fn weighed() -> Sample {
    Sample {
        name: "backdoor-geometric-median",
        rule: "geometric-median",
        kind: "backdoor",
        rounds: 60,
        clients: 20,
        cohort: 20,
        malicious: 4,
        start: 1,
        passes: 1.0,
        harm: 0.01,
        backdoor: true,
        weights: true,
    }
}

fn large() -> Sample {
    Sample {
        name: "flip-large",
        rule: "multi-krum",
        kind: "label-flip",
        rounds: 1_000,
        clients: 100,
        cohort: 60,
        malicious: 25,
        start: 100,
        passes: 0.6,
        harm: 0.6,
        backdoor: false,
        weights: false,
    }
}

/// A number in 0..1 that looks random and is the same on every run.
fn noise(a: u64, b: u64) -> f64 {
    let mixed = (a.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ b.wrapping_mul(0xC2B2_AE3D_27D4_EB4F))
        .wrapping_mul(0xD6E8_FEB8_6659_FD93);
    ((mixed ^ (mixed >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 11) as f64 / (1u64 << 53) as f64
}

impl Sample {
    fn record(&self, folder: &Path) -> Result<RunRecord, RecordError> {
        let config = format!(
            "name = \"{}\"\nseed = 1\n\n[federation]\nclients = {}\nrounds = {}\n\n[aggregation]\nrule = \"{}\"\nbyzantine = {}\n\n\
             [attack]\nkind = \"{}\"\nclients = {}\nstart_round = {}\n",
            self.name,
            self.clients,
            self.rounds,
            self.rule,
            self.malicious,
            self.kind,
            self.malicious,
            self.start
        );
        let mut writer = RunWriter::create(folder, &config)?;
        let names: Vec<String> = (0..self.clients)
            .map(|client| format!("client-{client}"))
            .collect();
        let counts = vec![vec![40, 60]; names.len()];
        writer.partition(&names, &["0".to_owned(), "1".to_owned()], &counts)?;
        let mut rows = Vec::new();
        let mut tally = vec![(0, 0); names.len()];
        for round in 1..=self.rounds {
            let verdicts = self.verdicts(round);
            for verdict in &verdicts {
                if let Some(place) = names.iter().position(|name| *name == verdict.client) {
                    tally[place].0 += 1;
                    tally[place].1 += u32::from(verdict.kept);
                }
            }
            writer.verdicts(&verdicts)?;
            let row = self.row(round, &verdicts, true);
            writer.round(&row)?;
            rows.push(row);
        }
        let mut twin = RunWriter::create(&folder.join(file_name::UNATTACKED), &config)?;
        for round in 1..=self.rounds {
            twin.round(&self.row(round, &[], false))?;
        }
        let clients: Vec<ClientRow> = names
            .iter()
            .zip(&tally)
            .enumerate()
            .map(|(place, (name, &(rounds, kept)))| ClientRow {
                client: name.clone(),
                examples: 100,
                accuracy: Some(0.7 + 0.2 * noise(place as u64, 5)),
                rounds,
                malicious: Some(self.is_malicious(place as u32)),
                kept: Some(kept),
                ..ClientRow::default()
            })
            .collect();
        writer.clients(&clients)?;
        writer.summary(&self.summary(&rows))?;
        RunRecord::read(folder)
    }

    /// Every `clients / malicious`-th client.
    fn is_malicious(&self, client: u32) -> bool {
        let apart = self.clients / self.malicious;
        client % apart == 1 && client / apart < self.malicious
    }

    fn verdicts(&self, round: u32) -> Vec<VerdictRow> {
        let chance = |client: u32, salt: u64| {
            noise(u64::from(client) * 7_919 + salt, u64::from(round) + salt)
        };
        let cohort: Vec<u32> = (0..self.clients)
            .filter(|&client| chance(client, 1) < f64::from(self.cohort) / f64::from(self.clients))
            .collect();
        let weight = |client: u32| {
            let attacks = self.is_malicious(client) && round >= self.start;
            (if attacks { 0.25 } else { 1.0 }) * (0.8 + 0.4 * chance(client, 2))
        };
        let total: f64 = cohort.iter().map(|&client| weight(client)).sum();
        cohort
            .iter()
            .map(|&client| {
                let malicious = self.is_malicious(client);
                let attacks = malicious && round >= self.start;
                let passes = if attacks { self.passes } else { 0.9 };
                VerdictRow {
                    round,
                    client: format!("client-{client}"),
                    kept: self.weights || chance(client, 3) < passes,
                    weight: self.weights.then(|| weight(client) / total),
                    score: (!self.weights)
                        .then(|| if attacks { 40.0 } else { 3.0 } * (0.5 + chance(client, 4))),
                    malicious: Some(malicious),
                }
            })
            .collect()
    }

    fn row(&self, round: u32, verdicts: &[VerdictRow], attacked: bool) -> RoundRow {
        let reached = 1.0 - (-6.0 * f64::from(round) / f64::from(self.rounds)).exp();
        let harm = if attacked && round >= self.start {
            self.harm * (1.0 - (-f64::from(round - self.start) / 6.0).exp())
        } else {
            0.0
        };
        let accuracy =
            (0.1 + 0.83 * reached - harm + 0.01 * noise(u64::from(round), 77)).clamp(0.08, 1.0);
        let count = |of: fn(&VerdictRow) -> bool| {
            verdicts.iter().filter(|verdict| of(verdict)).count() as u32
        };
        let malicious = |verdict: &VerdictRow| verdict.malicious == Some(true);
        let weight: f64 = verdicts
            .iter()
            .filter(|v| malicious(v))
            .filter_map(|v| v.weight)
            .sum();
        RoundRow {
            round,
            train_loss: Some(2.2 * (1.02 - accuracy)),
            test_loss: Some(2.4 * (1.05 - accuracy)),
            test_accuracy: Some(accuracy),
            cohort: self.cohort,
            accepted: verdicts.len() as u32,
            bytes_up: 4_810 * verdicts.len() as u64,
            bytes_down: 4_810 * u64::from(self.cohort),
            seconds: 0.1,
            kept: attacked.then(|| count(|verdict| verdict.kept)),
            malicious: attacked.then(|| count(|verdict| verdict.malicious == Some(true))),
            malicious_kept: attacked
                .then(|| count(|verdict| verdict.kept && verdict.malicious == Some(true))),
            malicious_weight: (attacked && self.weights).then_some(weight),
            source_recall: (attacked && !self.backdoor).then_some((accuracy - harm).max(0.0)),
            attack_success: (attacked && self.backdoor)
                .then(|| 0.05 + 0.8 * reached * (0.9 + 0.1 * noise(u64::from(round), 5))),
            ..RoundRow::default()
        }
    }

    fn summary(&self, rows: &[RoundRow]) -> Summary {
        let last = &rows[rows.len() - 1];
        let twin = self.row(self.rounds, &[], false);
        let sum = |field: fn(&RoundRow) -> Option<u32>| {
            rows.iter().filter_map(field).map(u64::from).sum()
        };
        let gap = twin
            .test_accuracy
            .zip(last.test_accuracy)
            .map(|(without, with)| without - with);
        let names = (0..self.clients).filter(|&client| self.is_malicious(client));
        Summary {
            at_sites: None,
            quality: None,
            name: self.name.to_owned(),
            seed: 1,
            rounds: self.rounds,
            completed: self.rounds,
            final_: Metrics { accuracy: last.test_accuracy, loss: last.test_loss, ..Metrics::default() },
            best: Some(Best { round: self.rounds, accuracy: last.test_accuracy, ..Best::default() }),
            seconds: 4.0,
            threads: 2,
            version: "0.1.0".to_owned(),
            model: ModelInfo { kind: "mlp".to_owned(), parameters: 4_810 },
            data: DataInfo { dataset: "digits".to_owned(), clients: self.clients, train: 1_500, test: 297, classes: 2, ..DataInfo::default() },
            aggregation: Some(AggregationInfo {
                rule: self.rule.to_owned(),
                byzantine: self.malicious,
                before: vec!["nnm".to_owned()],
                score: (!self.weights).then(|| "sum of squared distances to the nearest other replies, low is good".to_owned()),
            }),
            attack: Some(AttackInfo {
                kind: self.kind.to_owned(),
                description: "The malicious clients send the negative mean of the honest updates, so that the aggregate points away from them.".to_owned(),
                clients: self.malicious,
                names: names.map(|client| format!("client-{client}")).collect(),
                of: self.clients,
                start_round: self.start,
                seed: 7,
                unattacked: Some(Unattacked {
                    accuracy: twin.test_accuracy,
                    best_accuracy: twin.test_accuracy,
                    folder: Some(file_name::UNATTACKED.to_owned()),
                    ..Unattacked::default()
                }),
                impact: gap,
                impact_best: gap.map(|gap| gap * 0.9),
                source_class: (!self.backdoor).then(|| "7".to_owned()),
                target_class: Some("1".to_owned()),
                source_recall: last.source_recall,
                attack_success: last.attack_success,
                malicious_accepted: sum(|row| row.malicious),
                malicious_kept: sum(|row| row.malicious_kept),
                failure_round: (self.harm > 0.5).then_some(130),
            }),
            ..Summary::default()
        }
    }
}

/// Attacks x rules x numbers of malicious clients x partitions, three seeds.
fn sweep(folder: &Path) -> Result<Comparison, RecordError> {
    let keys = [
        "attack.kind",
        "data.partition",
        "aggregation.rule",
        "attack.clients",
    ]
    .map(str::to_owned);
    let mut writer = SweepWriter::open(folder, &keys)?;
    let mut cell = 0;
    for (attack, strength) in [("sign-flip", 0.02), ("ipm", 0.035), ("backdoor", 0.004)] {
        for (partition, skew) in [
            ("{ alpha = 0.1, kind = \"dirichlet\" }", 1.6),
            ("{ kind = \"iid\" }", 1.0),
        ] {
            for (rule, weakness) in [
                ("mean", 1.6),
                ("krum", 0.5),
                ("multi-krum", 0.3),
                ("trimmed-mean", 0.6),
                ("geometric-median", 0.45),
            ] {
                for clients in [1u32, 3, 5, 7, 9, 11] {
                    for seed in [1, 2, 3] {
                        let name = format!("{:03}-seed-{seed}", cell + 1);
                        let harm = (strength * weakness * skew * f64::from(clients * clients)
                            / 4.0)
                            .min(0.8)
                            + 0.01 * noise(seed, cell);
                        let result = swept(&name, (attack, rule, clients, seed), weakness, harm);
                        let settings =
                            [attack, partition, rule, &clients.to_string()].map(str::to_owned);
                        writer.row(SweepRow {
                            cell: cell as u32,
                            seed,
                            settings: settings.to_vec(),
                            result,
                        })?;
                    }
                    cell += 1;
                }
            }
        }
    }
    Comparison::read(&[folder.to_owned()])
}

/// A run of the sweep: refused, failed, or done with `harm` to its accuracy.
fn swept(
    name: &str,
    (attack, rule, clients, seed): (&str, &str, u32, u64),
    weakness: f64,
    harm: f64,
) -> SweepResult {
    if rule == "krum" && clients == 11 {
        return SweepResult::refused(name, "krum with byzantine = 11 needs 25 replies");
    }
    if attack == "ipm" && rule == "mean" && clients == 9 && seed < 3 {
        return SweepResult::failed(name, "cannot make folder: no space left on device");
    }
    SweepResult {
        accuracy: Some(0.94 - harm),
        loss: Some(0.2 + harm),
        best_accuracy: Some(0.95 - harm / 2.0),
        impact: Some(harm - 0.005),
        impact_best: Some(harm / 2.0),
        attack_success: (attack == "backdoor").then_some((harm * 20.0).min(0.99)),
        malicious_accepted: Some(u64::from(clients) * 50),
        malicious_kept: Some((f64::from(clients) * 50.0 * (weakness / 1.6)) as u64),
        bytes_up: 12_000_000,
        seconds: 3.25,
        folder: name.to_owned(),
        ..SweepResult::default()
    }
}
