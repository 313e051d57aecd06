//! A sweep as heat maps: one picture for each setting of the keys beside the two axes, all on one scale.

use super::page::{Figure, Section};
use crate::chart::{Cell, MatrixChart};
use crate::compare::{Comparison, Measure, Pivot, Place};
use crate::format::{self, counted};

/// A section a figure of merit: the headline metric, and what an attack did and reached.
pub(super) fn sections(comparison: &Comparison) -> Vec<Section> {
    let Some(pivot) = comparison.pivot() else {
        return Vec::new();
    };
    let measures = comparison.measures();
    let mut sections: Vec<Section> = Vec::new();
    for measure in &measures {
        let first = sections.is_empty();
        sections.extend(section(&pivot, measure, first));
    }
    sections
}

/// The first of them says what the marks mean.
fn section(pivot: &Pivot<'_>, measure: &Measure, first: bool) -> Option<Section> {
    let extent = pivot.extent(measure)?;
    let shown = (0..pivot.blocks.len()).filter(|&block| pivot.shows(measure, block));
    let figures: Vec<Figure> = shown
        .map(|block| figure(pivot, measure, block, extent))
        .collect();
    let mut section = Section {
        heading: measure.heading,
        wide: figures.len() < 2,
        sentences: vec![measure.note.to_owned()],
        figures,
        ..Section::default()
    };
    let shade = if measure.bad {
        "A stronger red is worse"
    } else {
        "A stronger blue is better"
    };
    let scale = if section.figures.len() > 1 {
        ", on one scale for all pictures"
    } else {
        ""
    };
    let means = if pivot.repeats() {
        "; cells hold means over the seeds, the pointer shows their spread"
    } else {
        ""
    };
    let mut notes = vec![format!("{shade}{scale}{means}.")];
    if first && pivot.refuses(measure) {
        notes.push(
            "Refused: the rule cannot work with that many malicious clients among so few replies; the reasons are below."
                .to_owned(),
        );
    }
    if first && pivot.starred(measure) {
        notes.push("A star: not all runs of the cell have a result.".to_owned());
    }
    if first && pivot.left_out > 0 {
        notes.push(format!(
            "{} more not drawn; the table below has all.",
            counted(pivot.left_out as u64, "picture is", "pictures are")
        ));
    }
    section.sentences.push(notes.join(" "));
    Some(section)
}

fn figure(pivot: &Pivot<'_>, measure: &Measure, block: usize, extent: (f64, f64)) -> Figure {
    let title = match pivot.blocks[block].as_str() {
        "" => measure.heading.to_owned(),
        settings => settings.to_owned(),
    };
    let cell = |row, column| cell(pivot, measure, (block, row, column), extent);
    let row = |row| {
        (0..pivot.columns.len())
            .map(|column| cell(row, column))
            .collect()
    };
    let (down, across) = &pivot.axes;
    let svg = MatrixChart {
        title: &title,
        description: format!(
            "{} by {down} (down) and {across} (across).",
            measure.heading
        ),
        axes: (down, across),
        rows: &pivot.rows,
        columns: &pivot.columns,
        cells: (0..pivot.rows.len()).map(row).collect(),
        ends: ("", Vec::new()),
    }
    .draw();
    Figure {
        heading: title,
        svg,
        ..Figure::default()
    }
}

fn cell(
    pivot: &Pivot<'_>,
    measure: &Measure,
    (block, row, column): (usize, usize, usize),
    (low, high): (f64, f64),
) -> Cell {
    let place = pivot.place(measure, block, row, column);
    // What is bad is shaded from nothing on; what is good from the worst that there is.
    let low = if measure.bad { low.max(0.0) } else { low };
    let level = match place {
        Place::Figure(spread) if spread.mean.is_finite() && high > low => {
            0.02 + 0.98 * ((spread.mean - low) / (high - low)).max(0.0)
        }
        Place::Figure(spread) if spread.mean.is_finite() && !measure.bad => 0.5,
        _ => 0.0,
    };
    Cell {
        level,
        class: if measure.bad { "wrong" } else { "fill" },
        text: pivot.text(measure, block, row, column),
        hint: hint(pivot, measure, (block, row, column), place),
    }
}

/// The cell's settings, its spread and its worst seed, in words.
fn hint(
    pivot: &Pivot<'_>,
    measure: &Measure,
    (block, row, column): (usize, usize, usize),
    place: Place,
) -> String {
    let (down, across) = &pivot.axes;
    let mut hint = format!(
        "{down} = {}, {across} = {}",
        pivot.rows[row], pivot.columns[column]
    );
    match place {
        Place::Figure(spread) => {
            hint.push_str(&format!(": {}", (measure.words)(spread.mean)));
            if let Some(sd) = spread.sd {
                hint.push_str(&format!(" \u{b1} {}", (measure.words)(sd)));
            }
            let worst = if measure.bad { spread.max } else { spread.min };
            if let Some(worst) = worst.filter(|_| spread.n > 1) {
                let seeds = format::count(spread.n as u64);
                hint.push_str(&format!(
                    " over {seeds} seeds, worst {}",
                    (measure.words)(worst)
                ));
            }
            if spread.not_finite > 0 {
                hint.push_str(&format!("; {} diverged", spread.not_finite));
            }
        }
        Place::Refused => hint.push_str(": refused"),
        Place::Failed => hint.push_str(": failed"),
        Place::Nothing => hint.push_str(": no figure"),
    }
    if let Some(cell) = pivot.cell(block, row, column)
        && cell.unfinished > 0
        && matches!(place, Place::Figure(_))
    {
        hint.push_str(&format!(
            "; {} of {} runs without a result",
            cell.unfinished,
            cell.runs.len()
        ));
    }
    hint
}
