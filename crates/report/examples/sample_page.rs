//! Writes sample pages from made-up runs, to look at: `cargo run -p cloister-report --example sample_page -- FOLDER`.
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
    for name in ["digits", "hospitals", "large", "sweep"] {
        let _ = fs::remove_dir_all(folder.join(name));
    }
    let runs = [digits(), hospitals(), large()];
    for run in &runs {
        let record = run.record(&folder.join(run.name))?;
        write(&folder, run.name, &html::run_page(&record)?)?;
    }
    let sweep = sweep(&folder.join("sweep"))?;
    write(&folder, "sweep", &html::comparison_page(&sweep)?)?;
    let several = Comparison::read(&[folder.join("digits"), folder.join("hospitals")])?;
    write(&folder, "comparison", &html::comparison_page(&several)?)
}

fn write(folder: &Path, name: &str, page: &str) -> Result<(), RecordError> {
    write_atomic(&folder.join(format!("{name}.html")), page.as_bytes())
}

/// A made-up run.
struct Sample {
    name: &'static str,
    config: String,
    seed: u64,
    rounds: u32,
    cohort: u32,
    clients: Vec<String>,
    classes: Vec<String>,
    metric: HeadlineMetric,
    start: f64,
    end: f64,
    pace: f64,
    centralised: f64,
    alone: f64,
    parameters: u64,
    faults: bool,
}

fn digits() -> Sample {
    Sample {
        name: "digits",
        config: config("digits", 1, "dirichlet", 0.5, 0.05),
        seed: 1,
        rounds: 50,
        cohort: 10,
        clients: (0..10).map(|client| format!("client-{client}")).collect(),
        classes: (0..10).map(|class| class.to_string()).collect(),
        metric: HeadlineMetric::Accuracy,
        start: 0.12,
        end: 0.952,
        pace: 6.0,
        centralised: 0.969,
        alone: 0.71,
        parameters: 4_810,
        faults: true,
    }
}

fn hospitals() -> Sample {
    Sample {
        name: "hospitals",
        config: config("hospitals", 3, "natural", 1.0, 0.1),
        seed: 3,
        rounds: 30,
        cohort: 4,
        clients: ["cleveland", "hungarian", "switzerland", "va-long-beach"]
            .map(str::to_owned)
            .to_vec(),
        classes: ["no disease", "disease"].map(str::to_owned).to_vec(),
        metric: HeadlineMetric::Auroc,
        start: 0.52,
        end: 0.874,
        pace: 5.0,
        centralised: 0.889,
        alone: 0.79,
        parameters: 20,
        faults: false,
    }
}

fn large() -> Sample {
    Sample {
        name: "large",
        config: config("large", 2, "quantity-skew", 0.3, 0.01),
        seed: 2,
        rounds: 1_000,
        cohort: 100,
        clients: (0..10_000)
            .map(|client| format!("phone-{client:05}"))
            .collect(),
        classes: (0..62).map(|class| format!("letter {class}")).collect(),
        metric: HeadlineMetric::Accuracy,
        start: 0.02,
        end: 0.84,
        pace: 180.0,
        centralised: 0.871,
        alone: 0.42,
        parameters: 1_206_590,
        faults: true,
    }
}

fn config(name: &str, seed: u64, partition: &str, alpha: f64, rate: f64) -> String {
    format!(
        "name = \"{name}\"\nseed = {seed}\n\n[data]\ndataset = \"{name}\"\n\n[data.partition]\nkind = \"{partition}\"\nalpha = {alpha:?}\n\n\
         [train]\nepochs = 1\nbatch_size = 32\nlearning_rate = {rate:?}\n"
    )
}

/// A number in 0..1 that looks random and is the same on every run.
fn noise(a: u64, b: u64) -> f64 {
    let mixed = (a.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ b.wrapping_mul(0xC2B2_AE3D_27D4_EB4F))
        .wrapping_mul(0xD6E8_FEB8_6659_FD93);
    ((mixed ^ (mixed >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 11) as f64 / (1u64 << 53) as f64
}

impl Sample {
    fn record(&self, folder: &Path) -> Result<RunRecord, RecordError> {
        let mut writer = RunWriter::create(folder, &self.config)?;
        let counts = self.counts();
        writer.partition(&self.clients, &self.classes, &counts)?;
        let mut rows = Vec::new();
        for round in 1..=self.rounds {
            let row = self.round(round);
            self.events(&mut writer, &row)?;
            writer.round(&row)?;
            rows.push(row);
        }
        writer.baseline("centralised", &self.baseline(self.centralised, 0.4, 0.0))?;
        writer.baseline("local", &self.baseline(self.alone, 0.5, 0.09))?;
        writer.clients(&self.client_rows(&counts))?;
        writer.confusion(&self.classes, &self.confusion())?;
        writer.summary(&self.summary(&rows))?;
        RunRecord::read(folder)
    }

    fn counts(&self) -> Vec<Vec<u32>> {
        let count = |client: usize, class: usize| {
            let share = noise(client as u64 + 1, class as u64 + 7).powi(4);
            let size = 20.0 + 180.0 * noise(client as u64, 3).powi(3);
            (share * size * if class % 5 == client % 5 { 3.0 } else { 0.8 }) as u32
        };
        let clients = 0..self.clients.len();
        clients
            .map(|client| {
                (0..self.classes.len())
                    .map(|class| count(client, class))
                    .collect()
            })
            .collect()
    }

    fn value(&self, round: u32) -> f64 {
        let reached = 1.0 - (-f64::from(round) / self.pace).exp();
        let wobble = (noise(u64::from(round), self.seed) - 0.5) * 0.02;
        (self.start + (self.end - self.start) * reached + wobble).min(1.0)
    }

    fn round(&self, round: u32) -> RoundRow {
        let value = self.value(round);
        let faulty = self.faults && noise(u64::from(round), 99) < 0.12;
        let abandoned = self.faults && noise(u64::from(round), 98) < 0.03;
        let refused = if faulty { 2 } else { 0 };
        let dropped = if abandoned {
            self.cohort / 2
        } else {
            u32::from(faulty)
        };
        let auroc = (self.metric == HeadlineMetric::Auroc).then_some(value);
        RoundRow {
            round,
            train_loss: Some(2.2 * (1.02 - value)),
            test_loss: Some(2.4 * (1.05 - value)),
            test_accuracy: Some(if auroc.is_some() { value - 0.07 } else { value }),
            test_auroc: auroc,
            cohort: self.cohort,
            accepted: self.cohort - refused - dropped,
            refused,
            dropped,
            late: 0,
            outcome: if abandoned {
                RoundOutcome::Abandoned
            } else {
                RoundOutcome::Completed
            },
            epsilon: None,
            bytes_up: u64::from(self.cohort) * (4 * self.parameters + 60),
            bytes_down: u64::from(self.cohort) * (4 * self.parameters + 90),
            seconds: 0.11,
            virtual_seconds: None,
            ..RoundRow::default()
        }
    }

    fn events(&self, writer: &mut RunWriter, row: &RoundRow) -> Result<(), RecordError> {
        let client = |salt| {
            let place = noise(u64::from(row.round), salt) * self.clients.len().min(40) as f64;
            self.clients[place as usize].as_str()
        };
        let reasons = [
            ("not-finite", "parameter 17 of the update is NaN"),
            (
                "example-count",
                "claims 1000000000000 examples, enrolled with 144",
            ),
            ("wrong-length", "update has 12 parameters, not 4810"),
        ];
        for reply in 0..row.refused {
            let (reason, message) = reasons[(row.round + reply) as usize % 3];
            writer.event(&Event::refused(
                row.round,
                client(u64::from(reply)),
                reason,
                message,
            ))?;
        }
        if row.dropped > 0 {
            let mut event = Event::new(row.round, event_kind::DROPPED, "never answered");
            event.client = Some(client(50).to_owned());
            writer.event(&event)?;
        }
        if row.outcome == RoundOutcome::Abandoned {
            let message = format!(
                "{} good replies, {} are needed",
                row.accepted,
                self.cohort * 3 / 4
            );
            writer.event(&Event::new(row.round, event_kind::ABANDONED, message))?;
        }
        Ok(())
    }

    fn baseline(&self, end: f64, pace: f64, range: f64) -> Vec<BaselinePoint> {
        let point = |round| {
            let reached = 1.0 - (-f64::from(round) / (self.pace * pace)).exp();
            let value = self.start + (end - self.start) * reached;
            let (low, high) = (
                (range > 0.0).then_some(value - range),
                (range > 0.0).then_some(value + range),
            );
            let auroc = self.metric == HeadlineMetric::Auroc;
            let fall = if auroc { 0.07 } else { 0.0 };
            BaselinePoint {
                round,
                loss: Some(2.4 * (1.05 - value)),
                accuracy: Some(value - fall),
                auroc: auroc.then_some(value),
                accuracy_min: low.map(|low| low - fall),
                accuracy_max: high.map(|high| high - fall),
                auroc_min: low.filter(|_| auroc),
                auroc_max: high.filter(|_| auroc),
                ..BaselinePoint::default()
            }
        };
        (1..=self.rounds)
            .step_by((self.rounds as usize / 25).max(1))
            .map(point)
            .collect()
    }

    fn client_rows(&self, counts: &[Vec<u32>]) -> Vec<ClientRow> {
        let rows = self.clients.iter().zip(counts).enumerate();
        rows.map(|(index, (name, counts))| {
            let luck = noise(index as u64, 11);
            let auroc = self.metric == HeadlineMetric::Auroc;
            let alone = self.alone - 0.09 + 0.18 * noise(index as u64, 12);
            ClientRow {
                client: name.clone(),
                examples: counts.iter().sum(),
                accuracy: Some((self.end - 0.2 * luck * luck).min(1.0)),
                loss: Some(0.2 + luck),
                alone_accuracy: Some(if auroc { alone - 0.07 } else { alone }),
                alone_auroc: auroc.then_some(alone),
                rounds: (f64::from(self.rounds * self.cohort) / self.clients.len() as f64) as u32,
                refused: u32::from(luck < 0.02),
                ..ClientRow::default()
            }
        })
        .collect()
    }

    fn confusion(&self) -> Vec<Vec<u64>> {
        let classes = self.classes.len();
        let count = |truth: usize, taken: usize| {
            if truth == taken {
                return 30 + (6.0 * noise(truth as u64, 21)) as u64;
            }
            let rare = noise(truth as u64 + 31, taken as u64);
            if rare > 0.9 || classes == 2 {
                1 + (4.0 * rare * rare) as u64
            } else {
                0
            }
        };
        (0..classes)
            .map(|truth| (0..classes).map(|taken| count(truth, taken)).collect())
            .collect()
    }

    fn summary(&self, rows: &[RoundRow]) -> Summary {
        let last = &rows[rows.len() - 1];
        let key = |row: &&RoundRow| row.test_auroc.or(row.test_accuracy).unwrap_or(0.0);
        let best = rows
            .iter()
            .max_by(|a, b| key(a).total_cmp(&key(b)))
            .unwrap_or(last);
        let abandoned = rows
            .iter()
            .filter(|row| row.outcome == RoundOutcome::Abandoned)
            .count() as u32;
        let auroc = self.metric == HeadlineMetric::Auroc;
        let fall = if auroc { 0.07 } else { 0.0 };
        let baseline = |value: f64| Baseline {
            accuracy: Some(value - fall),
            loss: Some(2.4 * (1.05 - value)),
            auroc: auroc.then_some(value),
            clients: None,
            ..Baseline::default()
        };
        let range = BaselineRange {
            count: self.clients.len() as u32,
            accuracy_min: Some(self.alone - fall - 0.09),
            accuracy_max: Some(self.alone - fall + 0.09),
            auroc_min: auroc.then_some(self.alone - 0.09),
            auroc_max: auroc.then_some(self.alone + 0.09),
            ..BaselineRange::default()
        };
        Summary {
            at_sites: None,
            quality: None,
            name: self.name.to_owned(),
            seed: self.seed,
            rounds: self.rounds,
            completed: self.rounds - abandoned,
            abandoned,
            metric: self.metric,
            final_: Metrics {
                accuracy: last.test_accuracy,
                balanced_accuracy: last.test_accuracy,
                loss: last.test_loss,
                auroc: last.test_auroc,
            ..Metrics::default() },
            best: Some(Best {
                round: best.round,
                accuracy: best.test_accuracy,
                loss: best.test_loss,
                auroc: best.test_auroc,
            ..Best::default() }),
            communication: Communication {
                bytes_up: rows.iter().map(|row| row.bytes_up).sum(),
                bytes_down: rows.iter().map(|row| row.bytes_down).sum(),
                bytes_per_parameter: 4.0 + 60.0 / self.parameters as f64,
                ..Communication::default()
            },
            refused: rows.iter().map(|row| u64::from(row.refused)).sum(),
            seconds: 0.11 * f64::from(self.rounds),
            virtual_seconds: None,
            threads: 2,
            version: "0.1.0".to_owned(),
            config_sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
            model_sha256: "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752".to_owned(),
            model: ModelInfo { kind: "mlp".to_owned(), parameters: self.parameters },
            data: DataInfo {
                dataset: self.name.to_owned(),
                partition: if auroc { "natural".to_owned() } else { "dirichlet, alpha 0.5".to_owned() },
                train: self.counts().iter().flatten().map(|&count| u64::from(count)).sum(),
                test: self.confusion().iter().flatten().sum(),
                classes: self.classes.len() as u32,
                clients: self.clients.len() as u32,
                notes: vec!["184 missing cells were filled with the mean of their column.".to_owned()],
            },
            baselines: [
                ("centralised".to_owned(), baseline(self.centralised)),
                ("local".to_owned(), Baseline { clients: Some(range), ..baseline(self.alone) }),
            ]
            .into(),
            trust: vec![
                "The server sees each client's update in the clear, and could learn about its training data from it.".to_owned(),
                "Clients see the global model of each round in which they take part, and nothing of each other.".to_owned(),
                "This run was simulated in one process: no data crossed a network.".to_owned(),
            ],
            ..Summary::default()
        }
    }
}

/// Two keys, three seeds.
fn sweep(folder: &Path) -> Result<Comparison, RecordError> {
    let keys = ["data.partition.alpha", "train.learning_rate"].map(str::to_owned);
    let mut writer = SweepWriter::open(folder, &keys)?;
    let mut cell = 0;
    for alpha in [0.1, 0.5, 5.0] {
        for rate in [0.01, 0.05, 0.2, 1.0] {
            for seed in [1, 2, 3] {
                let sample = Sample {
                    config: config("digits", seed, "dirichlet", alpha, rate),
                    seed,
                    end: 0.93 - 0.08 / (1.0 + 4.0 * alpha) - 0.05 * f64::log10(rate / 0.05).powi(2)
                        + 0.01 * noise(seed, cell),
                    pace: 1.2 / rate.sqrt(),
                    ..digits()
                };
                let name = format!("cell-{cell}-seed-{seed}");
                let settings = vec![alpha.to_string(), rate.to_string()];
                let result = if cell == 11 && seed == 3 {
                    SweepResult::failed(&name, "data.partition: client-3 would hold no example")
                } else {
                    let record = sample.record(&folder.join(&name))?;
                    record
                        .summary
                        .map(|summary| SweepResult::of(&summary, &name))
                        .unwrap_or_default()
                };
                writer.row(SweepRow {
                    cell: cell as u32,
                    seed,
                    settings,
                    result,
                })?;
            }
            cell += 1;
        }
    }
    Comparison::read(&[folder.to_owned()])
}
