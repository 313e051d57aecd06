//! Reconstructions: every attack beside every defence, pictures, and objectives.

use super::super::page::{Figure, Judged, JudgedGroup, JudgedRow, Key, Section, Table, strings};
use super::{MOST_CHARS, MOST_ROWS, band_chip, defence, epsilon, figure, left_out, share, strips};
use crate::chart::{Axis, COLOURS, Inline, InlineAxis, LineChart, Series, Unit};
use crate::format;
use crate::record::leakage::{Band, InversionRow, Leakage};

/// Charts of objectives, and curves of each.
const MOST_CHARTS: usize = 6;
const MOST_CURVES: usize = 8;

/// Gain over the floor; the zones are those of the bands.
const GAIN: InlineAxis = InlineAxis {
    from: -3.0,
    to: 30.0,
    zones: &[0.0, 3.0, 8.0],
    ticks: &[
        (0.0, "0"),
        (3.0, "3"),
        (8.0, "8"),
        (20.0, "20"),
        (29.0, "30"),
    ],
};

pub(super) fn section(leakage: &Leakage) -> Option<Section> {
    let rows = &leakage.report.inversions;
    if rows.is_empty() {
        return None;
    }
    Some(Section {
        heading: "Reconstructed examples",
        judged: vec![table(rows)],
        strips: strips::strips(leakage),
        figures: curves(rows),
        tables: columns(rows),
        ..Section::default()
    })
}

/// Rows of the same threat, setting and round, in the order in which they first appear; the run's own first.
fn groups(rows: &[InversionRow]) -> Vec<(String, Vec<&InversionRow>)> {
    let mut groups: Vec<(String, Vec<&InversionRow>)> = Vec::new();
    for row in rows.iter().take(MOST_ROWS) {
        let title = place(row);
        match groups.iter_mut().find(|(known, _)| *known == title) {
            Some((_, rows)) => rows.push(row),
            None => groups.push((title, vec![row])),
        }
    }
    for (_, rows) in &mut groups {
        rows.sort_by_key(|row| row.what_if);
    }
    groups
}

/// From where and at what an attack looks.
pub(super) fn place(row: &InversionRow) -> String {
    let parts = [row.threat.as_str(), row.setting.as_str()];
    let mut parts: Vec<String> = parts
        .into_iter()
        .filter(|part| !part.is_empty())
        .map(|part| format::shortened(part, 80))
        .collect();
    parts.push(format!("round {}", row.round));
    parts.join(" \u{b7} ")
}

/// What an attack knows; and why, where it did not get as far as a result.
fn remark(row: &InversionRow) -> String {
    let adaptive = row
        .adaptive_to
        .as_ref()
        .map(|to| format!("adaptive: knows {to}"));
    let why = row.note.clone().filter(|_| row.band < Band::NoneFound);
    let parts: Vec<String> = adaptive.into_iter().chain(why).collect();
    format::shortened(&parts.join(". "), 200)
}

fn table(rows: &[InversionRow]) -> Judged {
    let mut table = Judged {
        title: "Attacks and defences".to_owned(),
        words: vec!["defence", "attack"],
        picture: ("gain over the floor, dB", GAIN.labels()),
        figures: vec![
            "PSNR, median",
            "PSNR, worst",
            "floor",
            "SSIM, worst",
            "images got",
            "labels got",
            "accuracy",
            "\u{3b5}",
            "sent",
            "time",
        ],
        groups: groups(rows)
            .into_iter()
            .map(|(title, rows)| JudgedGroup {
                title,
                rows: rows.into_iter().map(judged).collect(),
            })
            .collect(),
        ..Judged::default()
    };
    table.drop_empty_columns();
    let mut notes = vec![
        "A ring is the median image, a dot the worst; an arrow points beyond the axis. The shades begin at 0, 3 and 8 dB: \
         the guess, partial, recognisable. PSNR and floor in dB."
            .to_owned(),
    ];
    notes.extend(left_out(rows.len()));
    table.note = notes.join(" ");
    table
}

fn judged(row: &InversionRow) -> JudgedRow {
    let ran = row.band > Band::NotRun;
    let number = |value: f64, digits| {
        if ran {
            figure(value, digits)
        } else {
            String::new()
        }
    };
    let rate = |value: Option<f64>| value.map_or_else(String::new, |value| share(value, 0));
    JudgedRow {
        words: vec![
            defence(&row.defence, row.what_if),
            (format::shortened(&row.attack, 60), remark(row)),
        ],
        chip: band_chip(row.band),
        picture: if ran { gain(row) } else { String::new() },
        figures: vec![
            number(row.psnr.median, 1),
            number(row.psnr.worst, 1),
            number(row.floor, 1),
            number(row.ssim.worst, 2),
            if ran {
                rate(Some(row.asr))
            } else {
                String::new()
            },
            rate(row.labels.filter(|_| ran)),
            row.accuracy
                .map_or_else(String::new, |value| share(value, 1)),
            epsilon(row.epsilon),
            row.bytes_up.map_or_else(String::new, format::bytes),
            if ran {
                format::seconds(row.seconds)
            } else {
                String::new()
            },
        ],
        strong: !row.what_if,
    }
}

fn gain(row: &InversionRow) -> String {
    GAIN.cell(&Inline {
        span: Some((row.gain.median, row.gain.worst)),
        hollow: Some(row.gain.median),
        solid: Some(row.gain.worst),
        reference: None,
        class: band_chip(row.band).class,
        hint: format!(
            "gain over the floor: median {} dB, worst {} dB",
            figure(row.gain.median, 1),
            figure(row.gain.worst, 1)
        ),
    })
}

/// A curve's name.
fn series_label(row: &InversionRow) -> String {
    let adaptive = if row.adaptive_to.is_some() {
        ", adaptive"
    } else {
        ""
    };
    format!("{}{adaptive}", format::shortened(&row.defence, 40))
}

/// What the attacker sees of its own success. Objectives of different attacks do not compare; the same defence has the
/// same colour in all charts.
fn curves(rows: &[InversionRow]) -> Vec<Figure> {
    let mut charts: Vec<(String, &str, Vec<&InversionRow>)> = Vec::new();
    let mut labels: Vec<String> = Vec::new();
    for row in rows
        .iter()
        .take(MOST_ROWS)
        .filter(|row| row.curve.len() > 1)
    {
        let key = (place(row), row.attack.as_str());
        let known = |chart: &&mut (String, &str, Vec<_>)| (&chart.0, chart.1) == (&key.0, key.1);
        match charts.iter_mut().find(known) {
            Some((.., rows)) => rows.push(row),
            None => charts.push((key.0, key.1, vec![row])),
        }
        let label = series_label(row);
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    charts
        .into_iter()
        .take(MOST_CHARTS)
        .filter_map(|(place, attack, rows)| objective(&place, attack, &rows, &labels))
        .collect()
}

fn objective(
    place: &str,
    attack: &str,
    rows: &[&InversionRow],
    labels: &[String],
) -> Option<Figure> {
    let series = rows.iter().take(MOST_CURVES).map(|row| {
        let label = series_label(row);
        let colour = labels.iter().position(|known| *known == label);
        Series {
            class: format!("s{}", colour.unwrap_or(0) % COLOURS),
            label,
            points: row.curve.iter().map(|&[x, y]| (x, y)).collect(),
            ..Series::default()
        }
    });
    let series: Vec<Series> = series.collect();
    let heading = format!("Objective of {}", format::shortened(attack, 60));
    let svg = LineChart {
        title: heading.clone(),
        x: Axis {
            label: "iteration",
            unit: Unit::Count,
        },
        y: Axis {
            label: "objective",
            unit: Unit::Plain,
        },
        series: &series,
        marks: &[],
        marks_label: "",
        start: None,
        from_zero: false,
    }
    .draw()?;
    let keys = series.iter().map(|series| Key {
        class: series.class.clone(),
        label: series.label.clone(),
        value: String::new(),
        dashed: false,
        dot: false,
    });
    let mut note = format!(
        "{place}. The attacker sees this and nothing else; what it comes to, only the table says."
    );
    if rows.len() > MOST_CURVES {
        note.push_str(&format!(" {} more not shown.", rows.len() - MOST_CURVES));
    }
    Some(Figure {
        heading,
        keys: keys.collect(),
        svg,
        note,
    })
}

/// What came back of the columns of tables.
fn columns(rows: &[InversionRow]) -> Vec<Table> {
    const MOST_TABLES: usize = 12;
    let tables = rows
        .iter()
        .filter(|row| !row.columns.is_empty())
        .take(MOST_TABLES);
    let table = |row: &InversionRow| {
        let lines = row.columns.iter().take(MOST_ROWS).map(|column| {
            let words = |value: f64| {
                if column.categorical {
                    share(value, 1)
                } else {
                    figure(value, 3)
                }
            };
            let kind = if column.categorical {
                "category"
            } else {
                "number"
            };
            vec![
                format::shortened(&column.name, 60),
                kind.to_owned(),
                words(column.error),
                words(column.floor),
            ]
        });
        let mut note = format!(
            "{}. Errors of numbers are in deviations of their column, those of categories the share that is wrong.",
            place(row)
        );
        if let Some(more) = left_out(row.columns.len()) {
            note.push_str(&format!(" {more}"));
        }
        Table {
            title: format!(
                "Columns by {}, defence: {}",
                format::shortened(&row.attack, 60),
                format::shortened(&row.defence, 60)
            ),
            head: strings(["column", "holds", "error", "floor"]),
            words: 2,
            rows: lines.collect(),
            note,
            ..Table::default()
        }
    };
    tables.map(table).collect()
}

/// What the table of verdicts has no room for.
pub(super) fn all_figures(rows: &[InversionRow]) -> Option<Table> {
    let ran = rows
        .iter()
        .take(MOST_ROWS)
        .filter(|row| row.band > Band::NotRun);
    let mut table = Table {
        title: "All figures and settings of the reconstructions".to_owned(),
        folded: true,
        head: strings([
            "threat",
            "defence",
            "attack",
            "settings",
            "images",
            "gain, median",
            "worst",
            "SSIM, median",
            "worst",
            "rel. SSIM, median",
            "worst",
            "IIP",
            "objective",
            "iterations",
            "seed",
        ]),
        words: 4,
        rows: ran.map(all_figures_of).collect(),
        note: "Gain in dB over the floor of the same image. Relative SSIM is (SSIM \u{2212} floor\u{2019}s) / (1 \u{2212} \
               floor\u{2019}s). IIP: share of reconstructions that lie nearest to their own image among the client\u{2019}s."
            .to_owned(),
    };
    table.drop_empty_columns();
    (!table.rows.is_empty()).then_some(table)
}

fn all_figures_of(row: &InversionRow) -> Vec<String> {
    let knows = row.adaptive_to.as_ref().map(|to| format!(", knows {to}"));
    let settings = row
        .settings
        .iter()
        .map(|(name, value)| format!("{name} {value}"));
    let settings: Vec<String> = settings.chain(row.note.clone()).collect();
    let words = [
        place(row),
        row.defence.clone(),
        format!("{}{}", row.attack, knows.unwrap_or_default()),
        settings.join(", "),
    ];
    let objective = Some(row.objective).filter(|value| !value.is_nan());
    let figures = [
        format::count(u64::from(row.images)),
        figure(row.gain.median, 1),
        figure(row.gain.worst, 1),
        figure(row.ssim.median, 3),
        figure(row.ssim.worst, 3),
        figure(row.relative_ssim.median, 3),
        figure(row.relative_ssim.worst, 3),
        row.iip.map_or_else(String::new, |value| share(value, 1)),
        objective.map_or_else(String::new, format::plain),
        format::count(row.iterations),
        row.seed.to_string(),
    ];
    let short = |text: String| format::shortened(&text, MOST_CHARS);
    words.map(short).into_iter().chain(figures).collect()
}
