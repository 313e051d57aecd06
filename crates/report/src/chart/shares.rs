//! Clients x rounds: how much of what each client sent was used, one small bar a cell.
//!
//! A cell tells its state by its shape, not by colour alone: full, partly full, crossed, or not there.

use super::matrix::{cell_path, every};
use super::{CHAR, Px, Svg};
use crate::format;

const MOST_LABEL: usize = 22;
const WIDTH: f64 = 1000.0;
/// Room above the first group, for the mark of the attack's start.
const TOP: f64 = 20.0;
const GROUP: f64 = 24.0;
/// Distances of labelled rounds.
const TICKS: [u64; 13] = [
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000,
];

/// Rows of one kind of client.
pub(crate) struct Group {
    /// `malicious clients (3)`; empty where nobody knows who is malicious.
    pub(crate) heading: String,
    /// `fill`, or `wrong` for those that should not be used.
    pub(crate) class: &'static str,
    pub(crate) rows: Vec<Row>,
}

/// One client, or several taken together.
pub(crate) struct Row {
    pub(crate) name: String,
    /// For each column the height of the bar, 0 to 1; `None` where there was nothing to use.
    pub(crate) shares: Vec<Option<f64>>,
    /// Appears when the pointer rests on the row.
    pub(crate) hint: String,
}

/// Groups of rows over common columns of `step` rounds each.
pub(crate) struct ShareGrid<'a> {
    pub(crate) title: &'a str,
    pub(crate) description: String,
    pub(crate) groups: Vec<Group>,
    /// First round of the first column.
    pub(crate) first: u32,
    /// Rounds in a column.
    pub(crate) step: u32,
    pub(crate) columns: usize,
    /// The round in which the attack begins, if that is to be marked.
    pub(crate) start: Option<u32>,
    /// What a full, a partly full, a crossed and an absent cell mean; empty text leaves one out.
    pub(crate) legend: [&'a str; 4],
}

/// Where things are, in pixels.
struct Layout {
    left: f64,
    column: f64,
    row: f64,
    bottom: f64,
}

impl ShareGrid<'_> {
    pub(crate) fn draw(&self) -> String {
        let rows = || self.groups.iter().flat_map(|group| &group.rows);
        let longest = rows()
            .map(|row| row.name.chars().count().min(MOST_LABEL))
            .max();
        let left = 14.0 + CHAR * longest.unwrap_or(0) as f64;
        let many = rows().count() > 24;
        let headings = self
            .groups
            .iter()
            .filter(|group| !group.heading.is_empty())
            .count();
        let row = if many { 13.0 } else { 18.0 };
        let layout = Layout {
            left,
            column: ((WIDTH - left - 10.0) / self.columns.max(1) as f64).clamp(3.0, 22.0),
            row,
            bottom: TOP + headings as f64 * GROUP + rows().count() as f64 * row,
        };
        let right = left + layout.column * self.columns as f64;
        let width = (right + 14.0)
            .max(self.legend_width() + 20.0)
            .max(left + 110.0);
        let height = layout.bottom + 70.0;
        let mut svg = Svg::new(width, height, "fixed", self.title, &self.description);
        let mut y = TOP;
        for group in &self.groups {
            if !group.heading.is_empty() {
                svg.label("name strong", (4.0, y + 16.0), "start", &group.heading);
                y += GROUP;
            }
            for row in &group.rows {
                draw_row(&mut svg, group.class, row, y, &layout);
                y += layout.row;
            }
        }
        self.draw_axis(&mut svg, &layout);
        self.draw_start(&mut svg, &layout, width);
        self.draw_legend(&mut svg, layout.bottom + 50.0);
        svg.finish()
    }

    fn draw_axis(&self, svg: &mut Svg, layout: &Layout) {
        let (first, rounds) = (u64::from(self.first), u64::from(self.step.max(1)));
        let last = first + rounds * self.columns.saturating_sub(1) as u64;
        let widest = 12.0 + CHAR * last.to_string().len() as f64;
        let apart = every(widest, layout.column) as u64 * rounds;
        let fits = |&tick: &u64| tick >= apart && tick.is_multiple_of(rounds);
        let apart = TICKS.into_iter().find(fits).unwrap_or(apart);
        for column in 0..self.columns {
            // A column is labelled with the round number in it, if it has one.
            let from = first + rounds * column as u64;
            let tick = (from + rounds - 1) / apart * apart;
            if tick >= from {
                let x = layout.left + (column as f64 + 0.5) * layout.column;
                svg.label(
                    "tick",
                    (x, layout.bottom + 15.0),
                    "middle",
                    &tick.to_string(),
                );
            }
        }
        let axis = match self.step {
            0 | 1 => "round".to_owned(),
            step => format!("round; a column is {step} rounds"),
        };
        let middle = layout.left + layout.column * self.columns as f64 / 2.0;
        // A narrow grid must not push its axis title out of the picture.
        let middle = middle.max(6.0 + CHAR * axis.chars().count() as f64 / 2.0);
        svg.label("tick", (middle, layout.bottom + 32.0), "middle", &axis);
    }

    fn draw_start(&self, svg: &mut Svg, layout: &Layout, width: f64) {
        let Some(start) = self.start.filter(|&start| start > self.first) else {
            return;
        };
        let column = f64::from(start - self.first) / f64::from(self.step.max(1));
        if column >= self.columns as f64 {
            return;
        }
        let x = layout.left + column * layout.column - 0.5;
        svg.line("start", (x, TOP - 6.0), (x, layout.bottom));
        let words = format!("attack starts in round {start}");
        let room = CHAR * words.chars().count() as f64;
        let (x, anchor) = if x + room > width {
            (x - 5.0, "end")
        } else {
            (x + 5.0, "start")
        };
        svg.label("tick", (x, TOP - 7.0), anchor, &words);
    }

    fn samples(&self) -> impl Iterator<Item = (&str, Option<f64>)> {
        let shares = [Some(1.0), Some(0.5), Some(0.0), None];
        self.legend
            .into_iter()
            .zip(shares)
            .filter(|(words, _)| !words.is_empty())
    }

    fn legend_width(&self) -> f64 {
        let width = |words: &str| 38.0 + CHAR * words.chars().count() as f64;
        self.samples().map(|(words, _)| width(words)).sum()
    }

    fn draw_legend(&self, svg: &mut Svg, y: f64) {
        let mut x = 6.0;
        for (words, share) in self.samples() {
            let row = Row {
                name: String::new(),
                shares: vec![share],
                hint: String::new(),
            };
            let place = Layout {
                left: x,
                column: 16.0,
                row: 14.0,
                bottom: y,
            };
            draw_row(svg, "fill", &row, y - 1.0, &place);
            if share.is_none() {
                svg.raw(format_args!(
                    "<path class=\"grid\" stroke-dasharray=\"2 2\" d=\"M{} {}h14v12h-14z\"/>",
                    Px(x),
                    Px(y - 1.0)
                ));
            }
            svg.label("name", (x + 22.0, y + 10.0), "start", words);
            x += 38.0 + CHAR * words.chars().count() as f64;
        }
    }
}

/// One row: its name, the places where there was something to use, and the bars of what was used.
fn draw_row(svg: &mut Svg, class: &str, row: &Row, y: f64, layout: &Layout) {
    let (column, height) = (layout.column, layout.row - 2.0);
    let width = if column > 6.0 { column - 1.5 } else { column };
    let name = format::shortened(&row.name, MOST_LABEL);
    svg.raw(format_args!("<g>"));
    if !row.hint.is_empty() {
        svg.raw(format_args!(
            "<title>{}</title>",
            format::escaped(&row.hint)
        ));
    }
    if !name.is_empty() {
        svg.label(
            "name",
            (layout.left - 8.0, y + height / 2.0 + 4.0),
            "end",
            &name,
        );
    }
    let there = || {
        let places = row.shares.iter().enumerate();
        places.filter_map(|(place, share)| {
            let share = share.filter(|share| share.is_finite())?.clamp(0.0, 1.0);
            Some((layout.left + place as f64 * column, share))
        })
    };
    svg.raw(format_args!("<path class=\"{class} track\" d=\""));
    for (x, _) in there() {
        cell_path(svg, [x, y, width, height]);
    }
    svg.raw(format_args!("\"/><path class=\"{class}\" d=\""));
    for (x, share) in there().filter(|&(_, share)| share > 0.0) {
        // Something is never nothing to the eye.
        let bar = (share * height).max(1.5);
        cell_path(svg, [x, y + height - bar, width, bar]);
    }
    svg.raw(format_args!("\"/><path class=\"cross\" d=\""));
    for (x, _) in there().filter(|&(_, share)| share == 0.0) {
        let arm = (width.min(height) / 2.0 - 1.5).min(4.0);
        let (middle, centre) = (x + width / 2.0, y + height / 2.0);
        if arm >= 1.2 {
            svg.raw(format_args!(
                "M{} {}l{2} {2}m0 {3}l{3} {2}",
                Px(middle - arm),
                Px(centre - arm),
                Px(2.0 * arm),
                Px(-2.0 * arm)
            ));
        } else {
            svg.raw(format_args!("M{} {}h{}", Px(x), Px(centre), Px(width)));
        }
    }
    svg.raw(format_args!("\"/></g>"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(shares: Vec<Option<f64>>, step: u32) -> String {
        let columns = shares.len();
        let row = Row {
            name: "<x>".to_owned(),
            shares,
            hint: "kept <2>".to_owned(),
        };
        ShareGrid {
            title: "t",
            description: String::new(),
            groups: vec![Group {
                heading: "malicious clients (1)".to_owned(),
                class: "wrong",
                rows: vec![row],
            }],
            first: 1,
            step,
            columns,
            start: Some(2),
            legend: ["kept", "", "dropped", "absent"],
        }
        .draw()
    }

    #[test]
    fn states_differ_in_shape() {
        let svg = grid(vec![Some(1.0), Some(0.0), None, Some(f64::NAN)], 1);
        let row = svg.split("<g>").nth(1).unwrap();
        let path = |class: &str| {
            let start = format!("class=\"{class}\" d=\"");
            row.split(&start)
                .nth(1)
                .unwrap()
                .split('"')
                .next()
                .unwrap()
                .to_owned()
        };
        assert_eq!(
            path("wrong track").matches('z').count(),
            2,
            "took part twice"
        );
        assert_eq!(path("wrong").matches('z').count(), 1, "kept once");
        assert_eq!(path("cross").matches('M').count(), 1, "dropped once");
        assert!(
            svg.contains("&lt;x&gt;") && svg.contains("kept &lt;2&gt;") && !svg.contains("<x>")
        );
        assert!(svg.contains("attack starts in round 2") && !svg.contains("NaN"));
    }

    #[test]
    fn labels_are_round_numbers_and_do_not_touch() {
        let labels = |svg: &str| -> Vec<String> {
            let texts = svg.split("text-anchor=\"middle\">").skip(1);
            texts
                .map(|text| text.split('<').next().unwrap().to_owned())
                .collect()
        };
        assert_eq!(
            labels(&grid(vec![Some(1.0); 3], 1)),
            ["1", "2", "3", "round"]
        );
        let many = labels(&grid(vec![Some(0.5); 100], 10));
        assert_eq!(many[..3], ["50", "100", "150"]);
        assert_eq!(many[many.len() - 1], "round; a column is 10 rounds");
    }
}
