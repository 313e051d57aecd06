//! Tables as pictures: confusion, and who holds which classes.

use super::{CHAR, Px, Svg};
use crate::format;

/// Shades of the style sheet, `q0` (nothing) to `q8`.
const SHADES: f64 = 8.0;

const MOST_LABEL: usize = 18;

/// A cell of a [`MatrixChart`].
pub(crate) struct Cell {
    /// How dark, 0 to 1.
    pub(crate) level: f64,
    /// `fill`, or `wrong` for what should not be.
    pub(crate) class: &'static str,
    pub(crate) text: String,
    /// Appears when the pointer rests on the cell.
    pub(crate) hint: String,
}

/// Named rows and columns of shaded cells, with a figure at the end of each row.
pub(crate) struct MatrixChart<'a> {
    pub(crate) title: &'a str,
    pub(crate) description: String,
    /// What the rows and the columns are.
    pub(crate) axes: (&'a str, &'a str),
    pub(crate) rows: &'a [String],
    pub(crate) columns: &'a [String],
    /// Row by row.
    pub(crate) cells: Vec<Vec<Cell>>,
    /// Heading of the figures at the end of the rows, and the figures; empty for none.
    pub(crate) ends: (&'a str, Vec<String>),
}

impl MatrixChart<'_> {
    pub(crate) fn draw(&self) -> String {
        let label_width = widest(self.rows).max(self.axes.0.chars().count().min(MOST_LABEL));
        let left = 12.0 + CHAR * label_width as f64;
        let end_width = widest(&self.ends.1).max(self.ends.0.chars().count());
        let right = if self.ends.1.is_empty() {
            8.0
        } else {
            18.0 + CHAR * end_width as f64
        };
        let text_width = self
            .cells
            .iter()
            .flatten()
            .map(|cell| cell.text.chars().count())
            .max();
        let text_width = 10.0 + CHAR * text_width.unwrap_or(0) as f64;
        let columns = self.columns.len().max(1) as f64;
        let cell_width = ((820.0 - left - right) / columns)
            .min(76.0)
            .max(text_width)
            .max(5.0);
        let cell_height = if self.rows.len() > 30 {
            cell_width.min(14.0)
        } else {
            25.0
        };
        let slanted = CHAR * widest(self.columns) as f64 > cell_width - 4.0;
        let top = if slanted {
            30.0 + 4.6 * widest(self.columns) as f64
        } else {
            42.0
        };
        let overhang = if slanted {
            // The last name leaves its column at 38 degrees.
            let last = self.columns.last().map_or(0, |name| name.chars().count());
            let length = CHAR * last.min(MOST_LABEL) as f64;
            (length * 38f64.to_radians().cos() - cell_width / 2.0).max(30.0)
        } else {
            0.0
        };
        let width = left + columns * cell_width + right + overhang;
        let height = top + self.rows.len() as f64 * cell_height + 6.0;

        // Shades behind text stay light enough for one text colour to be readable on all of them.
        let texts = self
            .cells
            .iter()
            .flatten()
            .any(|cell| !cell.text.is_empty());
        let class = if texts { "fixed soft" } else { "fixed" };
        let mut svg = Svg::new(width, height, class, self.title, &self.description);
        let middle = left + columns * cell_width / 2.0;
        svg.label("tick", (middle, 13.0), "middle", self.axes.1);
        svg.label("tick", (left - 8.0, top - 8.0), "end", self.axes.0);
        self.draw_head(&mut svg, [left, top, cell_width], slanted);
        let row_step = every(13.0, cell_height);
        for (index, name) in self.rows.iter().enumerate() {
            let y = top + index as f64 * cell_height;
            if index % row_step == 0 {
                let name = format::shortened(name, MOST_LABEL);
                svg.label(
                    "name",
                    (left - 8.0, y + cell_height / 2.0 + 4.0),
                    "end",
                    &name,
                );
            }
            self.draw_row(&mut svg, index, [left, y, cell_width, cell_height]);
        }
        svg.finish()
    }

    /// The names of the columns, slanted where they would touch.
    fn draw_head(&self, svg: &mut Svg, [left, top, cell_width]: [f64; 3], slanted: bool) {
        let step = every(CHAR * 2.5, cell_width);
        for (index, name) in self.columns.iter().enumerate().step_by(step) {
            let x = left + (index as f64 + 0.5) * cell_width;
            let name = format::shortened(name, MOST_LABEL);
            if slanted {
                svg.raw(format_args!(
                    "<text class=\"tick\" text-anchor=\"start\" transform=\"translate({} {})rotate(-38)\">{}</text>",
                    Px(x),
                    Px(top - 7.0),
                    format::escaped(&name)
                ));
            } else {
                svg.label("tick", (x, top - 8.0), "middle", &name);
            }
        }
        if !self.ends.1.is_empty() && !slanted {
            let x = left + self.columns.len() as f64 * cell_width + 10.0;
            svg.label("tick", (x, top - 8.0), "start", self.ends.0);
        }
    }

    fn draw_row(&self, svg: &mut Svg, index: usize, [left, y, width, height]: [f64; 4]) {
        let gap = if width > 8.0 && height > 8.0 {
            1.5
        } else {
            0.0
        };
        let cells = self.cells.get(index).map_or(&[][..], Vec::as_slice);
        for (column, cell) in cells.iter().enumerate() {
            let x = left + column as f64 * width;
            let shade = shade(cell.level);
            let class = format!("{} q{shade}", cell.class);
            svg.rect(&class, "", [x, y, width - gap, height - gap], &cell.hint);
            if !cell.text.is_empty() {
                let class = if shade == 0 { "in none" } else { "in" };
                let at = (x + (width - gap) / 2.0, y + height / 2.0 + 3.5);
                svg.label(class, at, "middle", &cell.text);
            }
        }
        if let Some(end) = self.ends.1.get(index) {
            let x = left + self.columns.len() as f64 * width + 10.0;
            svg.label("name", (x, y + height / 2.0 + 4.0), "start", end);
        }
    }
}

/// Many clients side by side, one narrow column each: size as a bar on top, classes as shaded cells below.
///
/// Cells of one shade are one path, so that the picture stays small.
pub(crate) fn client_grid(title: &str, classes: &[String], counts: &[&[u32]]) -> String {
    let left = 12.0 + CHAR * widest(classes).max(8) as f64;
    let column = ((1000.0 - left) / counts.len().max(1) as f64).clamp(4.0, 26.0);
    let row = (260.0 / classes.len().max(1) as f64).clamp(2.0, 20.0);
    let (bars_top, bars) = (20.0, 70.0);
    let top = bars_top + bars + 8.0;
    let width = left + counts.len() as f64 * column + 8.0;
    let height = top + row * classes.len() as f64 + 28.0;
    let sizes: Vec<u64> = counts
        .iter()
        .map(|row| row.iter().map(|&n| u64::from(n)).sum())
        .collect();
    let largest = sizes.iter().copied().max().unwrap_or(0).max(1);
    let most = counts
        .iter()
        .flat_map(|row| row.iter().copied())
        .max()
        .unwrap_or(0)
        .max(1);

    let description = format!(
        "One column a client, by size. Bars: examples, up to {}. Cells: examples of each class, up to {}.",
        format::count(largest),
        format::count(u64::from(most))
    );
    let mut svg = Svg::new(width, height, "fixed", title, &description);
    svg.label(
        "tick",
        (left - 8.0, bars_top + 4.0),
        "end",
        &format::count(largest),
    );
    svg.label("tick", (left - 8.0, bars_top + bars), "end", "0");
    svg.line(
        "axis",
        (left, bars_top + bars),
        (width - 8.0, bars_top + bars),
    );
    draw_bars(
        &mut svg,
        &sizes,
        [left, bars_top + bars, column, bars / largest as f64],
    );
    let step = every(13.0, row);
    for (index, name) in classes.iter().enumerate().step_by(step) {
        let y = top + (index as f64 + 0.5) * row + 4.0;
        svg.label(
            "name",
            (left - 8.0, y),
            "end",
            &format::shortened(name, MOST_LABEL),
        );
    }
    draw_shades(&mut svg, counts, most, [left, top, column, row]);
    let middle = left + counts.len() as f64 * column / 2.0;
    svg.label(
        "tick",
        (middle, height - 8.0),
        "middle",
        "clients, largest first",
    );
    svg.finish()
}

/// One bar a client, standing on `bottom`.
fn draw_bars(svg: &mut Svg, sizes: &[u64], [left, bottom, column, scale]: [f64; 4]) {
    svg.raw(format_args!("<path class=\"fill q6\" d=\""));
    for (client, &size) in sizes.iter().enumerate() {
        let (x, height) = (left + client as f64 * column, scale * size as f64);
        cell_path(svg, [x, bottom - height, column - gap(column), height]);
    }
    svg.raw(format_args!("\"/>"));
}

/// Clients x classes, one path a shade.
fn draw_shades(svg: &mut Svg, counts: &[&[u32]], most: u32, [left, top, column, row]: [f64; 4]) {
    for level in 0..=SHADES as u32 {
        svg.raw(format_args!("<path class=\"fill q{level}\" d=\""));
        for (client, counts) in counts.iter().enumerate() {
            for (class, &count) in counts.iter().enumerate() {
                if shade(f64::from(count) / f64::from(most)) == level {
                    let (x, y) = (left + client as f64 * column, top + class as f64 * row);
                    cell_path(svg, [x, y, column - gap(column), row - gap(row)]);
                }
            }
        }
        svg.raw(format_args!("\"/>"));
    }
}

/// Narrow cells touch.
fn gap(size: f64) -> f64 {
    if size > 6.0 { 1.0 } else { 0.0 }
}

pub(super) fn cell_path(svg: &mut Svg, [x, y, width, height]: [f64; 4]) {
    svg.raw(format_args!(
        "M{} {}h{}v{}h{}z",
        Px(x),
        Px(y),
        Px(width),
        Px(height),
        Px(-width)
    ));
}

/// Nothing is white, something is never white.
fn shade(level: f64) -> u32 {
    if level > 0.0 {
        (level.min(1.0) * SHADES).ceil() as u32
    } else {
        0
    }
}

fn widest(names: &[String]) -> usize {
    names
        .iter()
        .map(|name| name.chars().count())
        .max()
        .unwrap_or(0)
        .min(MOST_LABEL)
}

/// Label each n-th place so that labels of this size do not touch.
pub(super) fn every(label: f64, place: f64) -> usize {
    (label / place.max(0.1)).ceil().max(1.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_example_is_visible() {
        assert_eq!(
            [0.0, 1e-9, 0.5, 1.0, 7.0, f64::NAN].map(shade),
            [0, 1, 4, 8, 8, 0]
        );
    }

    #[test]
    fn names_are_escaped_and_cut() {
        let names = ["<b>".to_owned(), "x".repeat(400)];
        let cell = || Cell {
            level: 1.0,
            class: "fill",
            text: "1".to_owned(),
            hint: "<i>".to_owned(),
        };
        let svg = MatrixChart {
            title: "t",
            description: String::new(),
            axes: ("true", "taken for"),
            rows: &names,
            columns: &names,
            cells: vec![vec![cell(), cell()], vec![cell(), cell()]],
            ends: ("share", vec!["1".to_owned(), "2".to_owned()]),
        }
        .draw();
        assert!(!svg.contains("<b>") && !svg.contains("<i>") && svg.contains("&lt;b&gt;"));
        assert!(!svg.contains(&"x".repeat(19)));
    }

    #[test]
    fn sixty_clients_of_a_hundred_classes_stay_small() {
        let counts: Vec<Vec<u32>> = (0..60)
            .map(|c| (0..100).map(|k| (c * k) % 7).collect())
            .collect();
        let rows: Vec<&[u32]> = counts.iter().map(Vec::as_slice).collect();
        let classes: Vec<String> = (0..100).map(|class| class.to_string()).collect();
        let svg = client_grid("t", &classes, &rows);
        assert!(svg.len() < 250_000, "{}", svg.len());
    }
}
