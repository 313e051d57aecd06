//! The page of one run: result first, then who can see what, then how it came about.

use super::page::{List, Page, Section, Table, Tile, strings};
use super::{anomalies, at_sites, attack, clients, curves, kept, leakage, privacy, quality, wire};
use crate::format::{self, counted};
use crate::record::{HeadlineMetric, Metrics, RoundOutcome, RoundRow, RunRecord, Summary};

pub(super) const CENTRALISED: &str = "centralised";
pub(super) const LOCAL: &str = "local";

pub(super) fn page(record: &RunRecord) -> Page {
    let leaks = record.leakage.as_ref().map(leakage::sections);
    let first = [Some(trust(record)), privacy::section(record)];
    let sections = [
        attack::section(record),
        kept::section(record),
        anomalies::section(record),
        curves::section(record),
        quality::section(record),
        quality::classes(record),
        clients::confusion(record),
        quality::groups(record),
        at_sites::section(record),
        clients::alone(record),
        clients::partition(record),
        clients::spread(record),
        Some(wire::communication(record)),
        Some(wire::refused(record)),
        wire::abandoned(record),
        wire::other_events(record),
        Some(reproduction(record)),
    ];
    Page {
        over: over(record),
        title: record.name(),
        lead: lead(record),
        warnings: warnings(record),
        tiles: tiles(record),
        sections: (first.into_iter().flatten())
            .chain(leaks.into_iter().flatten())
            .chain(sections.into_iter().flatten())
            .collect(),
        footer: "This page is self-contained: it runs no scripts and fetches nothing. Its figures are those of the \
                 files in the run folder."
            .to_owned(),
    }
}

/// The metric by which the run is judged.
pub(super) fn metric(record: &RunRecord) -> HeadlineMetric {
    record
        .summary
        .as_ref()
        .map_or_else(|| of_rounds(&record.rounds), |summary| summary.metric)
}

/// That of a run that has not ended.
fn of_rounds(rounds: &[RoundRow]) -> HeadlineMetric {
    match rounds.iter().any(|row| row.test_rmse.is_some()) {
        true => HeadlineMetric::R2,
        false => HeadlineMetric::Accuracy,
    }
}

/// The final figures, or those of the last evaluated round of a run that has not ended.
pub(super) fn latest(record: &RunRecord) -> Metrics {
    if let Some(summary) = &record.summary {
        return summary.final_.clone();
    }
    let evaluated = |row: &&RoundRow| row.test_accuracy.is_some() || row.test_loss.is_some();
    let row = record.rounds.iter().rev().find(evaluated);
    row.map_or_else(Metrics::default, |row| Metrics {
        accuracy: row.test_accuracy,
        balanced_accuracy: None,
        loss: row.test_loss,
        auroc: row.test_auroc,
        r2: row.test_r2,
        rmse: row.test_rmse,
        mae: row.test_mae,
    })
}

/// A figure of a metric, in words.
pub(super) fn words(metric: HeadlineMetric, value: f64) -> String {
    match metric {
        HeadlineMetric::Accuracy => format::percent(value),
        HeadlineMetric::Auroc | HeadlineMetric::R2 => format::unit_interval(value),
    }
}

/// How far a figure lies from another, in words: `1.2 points below`.
fn distance(metric: HeadlineMetric, ours: f64, theirs: f64) -> String {
    let gap = match metric {
        HeadlineMetric::Accuracy => format!("{:.1}", (ours - theirs).abs() * 100.0),
        HeadlineMetric::Auroc | HeadlineMetric::R2 => format!("{:.3}", (ours - theirs).abs()),
    };
    if gap.bytes().all(|byte| matches!(byte, b'0' | b'.')) {
        return "level with".to_owned();
    }
    let unit = match (metric, gap.as_str()) {
        (HeadlineMetric::Accuracy, "1.0") => "\u{a0}point",
        (HeadlineMetric::Accuracy, _) => "\u{a0}points",
        (HeadlineMetric::Auroc | HeadlineMetric::R2, _) => "",
    };
    format!(
        "{gap}{unit} {}",
        if ours < theirs { "below" } else { "above" }
    )
}

fn signed(metric: HeadlineMetric, gap: f64) -> String {
    let sign = if gap < 0.0 { "\u{2212}" } else { "+" };
    match metric {
        HeadlineMetric::Accuracy => format!("{sign}{:.1}", gap.abs() * 100.0),
        HeadlineMetric::Auroc | HeadlineMetric::R2 => format!("{sign}{:.3}", gap.abs()),
    }
}

fn baseline(summary: &Summary, name: &str) -> Option<f64> {
    let baseline = summary.baselines.get(name)?;
    let value = baseline.value(summary.metric);
    value.filter(|value| value.is_finite())
}

fn over(record: &RunRecord) -> String {
    match &record.summary {
        Some(summary) => format!("Federated training, seed {}", summary.seed),
        None => "Federated training".to_owned(),
    }
}

fn lead(record: &RunRecord) -> Vec<String> {
    let Some(summary) = &record.summary else {
        return Vec::new();
    };
    let (data, model) = (&summary.data, &summary.model);
    let shared = match data.partition.as_str() {
        "" => String::new(),
        partition => format!(" (partition: {partition})"),
    };
    let set_up = format!(
        "{} trained one model ({}, {}) together on {}, without pooling their {}{shared}.",
        capitalised(&counted(u64::from(data.clients), "client", "clients")),
        model.kind,
        counted(model.parameters, "parameter", "parameters"),
        data.dataset,
        counted(data.train, "training example", "training examples")
    );
    let metric = summary.metric;
    let tests = counted(data.test, "test example", "test examples");
    let Some(value) = summary.final_.value(metric) else {
        return vec![set_up, "The final model was not evaluated.".to_owned()];
    };
    let mut result = match metric {
        HeadlineMetric::Accuracy => {
            format!(
                "The final model classifies {} of {tests} correctly",
                format::percent(value)
            )
        }
        HeadlineMetric::Auroc => format!(
            "The final model reaches an AUROC of {} on {tests} (1 is perfect, 0.5 is guessing)",
            format::unit_interval(value)
        ),
        HeadlineMetric::R2 => format!(
            "The final model explains an R\u{b2} of {} on {tests} (1 is perfect, 0 is no better than their mean){}",
            format::unit_interval(value),
            match summary.final_.mae {
                Some(error) => format!(", and is off by {} on average", format::plain(error)),
                None => String::new(),
            }
        ),
    };
    let pooled = baseline(summary, CENTRALISED).map(|theirs| {
        format!(
            "{} the same model trained on the pooled data",
            distance(metric, value, theirs)
        )
    });
    let alone = baseline(summary, LOCAL).map(|theirs| {
        format!(
            "{} the mean of the clients training alone",
            distance(metric, value, theirs)
        )
    });
    let gaps: Vec<String> = pooled.into_iter().chain(alone).collect();
    if value.is_finite() && !gaps.is_empty() {
        result = format!("{result}: {}", gaps.join(" and "));
    }
    vec![set_up, format!("{result}.")]
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

fn warnings(record: &RunRecord) -> Vec<String> {
    let mut warnings = Vec::new();
    if record.summary.is_none() {
        let rounds = record.rounds.len() as u64;
        warnings.push(format!(
            "This run has not ended, or was stopped: {} recorded so far.",
            counted(rounds, "round is", "rounds are")
        ));
    }
    let broken = |value: Option<f64>| value.is_some_and(|value| !value.is_finite());
    let diverged: Vec<u32> = record
        .rounds
        .iter()
        .filter(|row| broken(row.test_loss) || broken(row.train_loss))
        .map(|row| row.round)
        .collect();
    if let Some(first) = diverged.first() {
        warnings.push(format!(
            "The loss was not a finite number in {}, first in round {first}: training diverged. \
             A smaller learning rate is the usual remedy.",
            counted(diverged.len() as u64, "round", "rounds")
        ));
    }
    warnings
}

fn tiles(record: &RunRecord) -> Vec<Tile> {
    let metrics = latest(record);
    let metric = metric(record);
    let shown = match metric {
        HeadlineMetric::Accuracy => [Some(metric), Some(HeadlineMetric::Auroc)],
        HeadlineMetric::Auroc => [Some(metric), Some(HeadlineMetric::Accuracy)],
        HeadlineMetric::R2 => [Some(metric), None],
    };
    let mut tiles = Vec::new();
    for shown in shown.into_iter().flatten() {
        if let Some(value) = metrics.value(shown) {
            tiles.push(metric_tile(record, shown, value));
        }
    }
    tiles.extend(metrics.rmse.map(|error| Tile {
        name: "Test RMSE",
        value: format::plain(error),
        note: match metrics.mae {
            Some(mean) => format!("mean error {}", format::plain(mean)),
            None => String::new(),
        },
    }));
    if let Some(loss) = metrics.loss.filter(|_| tiles.len() < 2) {
        let note = "mean over the test examples".to_owned();
        tiles.push(Tile {
            name: "Test loss",
            value: format::plain(loss),
            note,
        });
    }
    if let Some(summary) = &record.summary {
        tiles.extend(gap_tiles(summary));
        tiles.push(privacy::tile(summary.privacy.as_ref()));
    }
    tiles.extend(
        record
            .leakage
            .as_ref()
            .map(|leakage| leakage::tile(&leakage.report)),
    );
    tiles.extend(wire_tiles(record));
    tiles
}

/// The federation against the baselines.
fn gap_tiles(summary: &Summary) -> Vec<Tile> {
    let metric = summary.metric;
    let Some(value) = summary
        .final_
        .value(metric)
        .filter(|value| value.is_finite())
    else {
        return Vec::new();
    };
    let names = match metric {
        HeadlineMetric::Accuracy => [
            "Points against pooled data",
            "Points against training alone",
        ],
        HeadlineMetric::Auroc => ["AUROC against pooled data", "AUROC against training alone"],
        HeadlineMetric::R2 => [
            "R\u{b2} against pooled data",
            "R\u{b2} against training alone",
        ],
    };
    let others = [(CENTRALISED, "pooled data"), (LOCAL, "mean client alone")];
    let tile = |(name, (other, what))| {
        let theirs = baseline(summary, other)?;
        let note = format!("{what}: {}", words(metric, theirs));
        Some(Tile {
            name,
            value: signed(metric, value - theirs),
            note,
        })
    };
    names.into_iter().zip(others).filter_map(tile).collect()
}

fn wire_tiles(record: &RunRecord) -> Vec<Tile> {
    let (up, down) = wire::bytes(record);
    let communication = Tile {
        name: "Communication",
        value: format::bytes(up.saturating_add(down)),
        note: format!("{} up, {} down", format::bytes(up), format::bytes(down)),
    };
    let refused: u64 = record.rounds.iter().map(|row| u64::from(row.refused)).sum();
    let accepted: u64 = record
        .rounds
        .iter()
        .map(|row| u64::from(row.accepted))
        .sum();
    let rounds = Tile {
        name: "Rounds",
        value: format::count(record.rounds.iter().filter(|row| row.round > 0).count() as u64),
        note: match abandoned_rounds(record).len() as u64 {
            0 => "none abandoned".to_owned(),
            abandoned => format!("{} of them abandoned", format::count(abandoned)),
        },
    };
    let replies = Tile {
        name: "Refused replies",
        value: format::count(refused),
        note: format!("{} accepted", format::count(accepted)),
    };
    vec![communication, rounds, replies]
}

fn metric_tile(record: &RunRecord, shown: HeadlineMetric, value: f64) -> Tile {
    let best = record
        .summary
        .as_ref()
        .and_then(|summary| summary.best.as_ref());
    let best_value = best.and_then(|best| best.value(shown));
    let note = match (best, best_value) {
        (Some(best), Some(best_value)) if shown == metric(record) => {
            format!("best {} in round {}", words(shown, best_value), best.round)
        }
        _ if record.summary.is_none() => "last evaluated round".to_owned(),
        _ => "final model".to_owned(),
    };
    let name = match shown {
        HeadlineMetric::Accuracy => "Test accuracy",
        HeadlineMetric::Auroc => "Test AUROC",
        HeadlineMetric::R2 => "Test R\u{b2}",
    };
    Tile {
        name,
        value: words(shown, value),
        note,
    }
}

pub(super) fn abandoned_rounds(record: &RunRecord) -> Vec<u32> {
    let abandoned = record
        .rounds
        .iter()
        .filter(|row| row.outcome == RoundOutcome::Abandoned);
    abandoned.map(|row| row.round).collect()
}

fn trust(record: &RunRecord) -> Section {
    let mut section = Section {
        heading: "Who can see what",
        ..Section::default()
    };
    let Some(summary) = &record.summary else {
        section
            .sentences
            .push("The run states this when it ends.".to_owned());
        return section;
    };
    if summary.trust.is_empty() {
        section
            .sentences
            .push("This run's record makes no statement on it.".to_owned());
    }
    const NOT: &str = "Not promised: ";
    let (not, seen): (Vec<&String>, Vec<&String>) = summary
        .trust
        .iter()
        .partition(|sentence| sentence.starts_with(NOT));
    let seen = seen.into_iter().cloned().collect();
    if not.is_empty() {
        section.bullets = seen;
    } else {
        let bare = |sentence: &String| sentence.replacen(NOT, "", 1);
        section.lists = vec![
            List {
                title: "What each party learns",
                items: seen,
            },
            List {
                title: "What is not promised",
                items: not.into_iter().map(bare).collect(),
            },
        ];
    }
    if summary.privacy.is_none() {
        section.sentences.push(
            "No differential privacy was used: no formal guarantee limits what the model, or an update, can give away about \
             a single training example."
                .to_owned(),
        );
    }
    section
}

fn reproduction(record: &RunRecord) -> Section {
    let mut section = Section {
        heading: "Reproducing this run",
        ..Section::default()
    };
    if let Some(summary) = &record.summary {
        let mut rows = vec![
            strings(["version", &summary.version]),
            strings(["seed", &summary.seed.to_string()]),
            strings(["threads", &summary.threads.to_string()]),
            strings(["time", &format::seconds(summary.seconds)]),
        ];
        if let Some(seconds) = summary.virtual_seconds {
            rows.push(strings([
                "time on the simulated clock",
                &format::seconds(seconds),
            ]));
        }
        rows.push(strings(["SHA-256 of config.toml", &summary.config_sha256]));
        rows.push(strings([
            "SHA-256 of model.safetensors",
            &summary.model_sha256,
        ]));
        section.tables.push(Table {
            words: 2,
            rows,
            ..Table::default()
        });
    }
    if let Some(config) = &record.config {
        section.verbatim_title = "The config, with all defaults";
        section.verbatim = cut(config);
    }
    section
}

/// A config of a sane size; what is beyond it is left to the file.
fn cut(config: &str) -> String {
    const MOST: usize = 64 << 10;
    if config.len() <= MOST {
        return config.to_owned();
    }
    let end = (0..=MOST)
        .rev()
        .find(|&end| config.is_char_boundary(end))
        .unwrap_or(0);
    format!("{}\n\u{2026} the rest is in config.toml", &config[..end])
}
