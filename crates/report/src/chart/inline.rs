//! Small pictures for the cells of a table: one figure on an axis that all rows share.

use super::{Px, Svg};

const WIDTH: f64 = 136.0;
const HEIGHT: f64 = 20.0;
/// Room on both sides for what lies beyond the axis.
const SIDE: f64 = 9.0;

/// An axis that the cells of a column share.
pub(crate) struct InlineAxis {
    pub(crate) from: f64,
    pub(crate) to: f64,
    /// Boundaries of zones, ascending, each darker than the one before.
    pub(crate) zones: &'static [f64],
    /// Labelled places.
    pub(crate) ticks: &'static [(f64, &'static str)],
}

/// What a cell shows.
#[derive(Default)]
pub(crate) struct Inline {
    /// A bar between two values.
    pub(crate) span: Option<(f64, f64)>,
    pub(crate) hollow: Option<f64>,
    pub(crate) solid: Option<f64>,
    /// A place to compare with.
    pub(crate) reference: Option<f64>,
    /// Class of its colour.
    pub(crate) class: &'static str,
    /// What it says, in words.
    pub(crate) hint: String,
}

impl InlineAxis {
    fn at(&self, value: f64) -> f64 {
        let share = (value - self.from) / (self.to - self.from);
        SIDE + share.clamp(0.0, 1.0) * (WIDTH - 2.0 * SIDE)
    }

    /// The labels, for the head of the column.
    pub(crate) fn labels(&self) -> String {
        let mut svg = Svg::new(WIDTH, 16.0, "inline", "axis", "");
        for &(tick, label) in self.ticks {
            svg.label("tick", (self.at(tick), 12.0), "middle", label);
        }
        svg.finish()
    }

    /// A cell, or nothing where no value is a number. What lies beyond the axis is drawn at its end, with an arrow.
    pub(crate) fn cell(&self, cell: &Inline) -> String {
        let values = [cell.hollow, cell.solid, cell.reference];
        let span = cell.span.into_iter().flat_map(|(low, high)| [low, high]);
        if values.into_iter().flatten().chain(span).all(f64::is_nan) {
            return String::new();
        }
        let known = |value: Option<f64>| value.filter(|value| !value.is_nan());
        let mut svg = Svg::new(WIDTH, HEIGHT, "inline", &cell.hint, "");
        self.draw_zones(&mut svg);
        if let Some((low, high)) = cell
            .span
            .filter(|(low, high)| !low.is_nan() && !high.is_nan())
        {
            let (from, to) = (self.at(low), self.at(high));
            let class = format!("bar {}", cell.class);
            svg.rect(&class, "", [from, HEIGHT / 2.0 - 1.5, to - from, 3.0], "");
        }
        if let Some(value) = known(cell.reference) {
            let x = self.at(value);
            svg.line("start", (x, 1.0), (x, HEIGHT - 1.0));
        }
        // Beyond the axis the arrow of the other speaks for both.
        let beyond = |value: f64| value > self.to || value < self.from;
        let spoken_for = cell.solid.is_some_and(beyond);
        if let Some(value) = known(cell.hollow).filter(|&value| !(spoken_for && beyond(value))) {
            svg.dot(
                &format!("ring {}", cell.class),
                (self.at(value), HEIGHT / 2.0),
                3.6,
                "",
            );
        }
        if let Some(value) = known(cell.solid) {
            let class = format!("dot {}", cell.class);
            if beyond(value) {
                let (x, way) = if value > self.to {
                    (self.at(self.to), 1.0)
                } else {
                    (self.at(self.from), -1.0)
                };
                svg.raw(format_args!(
                    "<path class=\"{class}\" d=\"M{} {}l{} 5l{} 5z\"/>",
                    Px(x),
                    Px(HEIGHT / 2.0 - 5.0),
                    Px(7.5 * way),
                    Px(-7.5 * way)
                ));
            } else {
                svg.dot(&class, (self.at(value), HEIGHT / 2.0), 4.6, "");
            }
        }
        svg.finish()
    }

    fn draw_zones(&self, svg: &mut Svg) {
        let ends = self.zones.iter().skip(1).chain([&self.to]);
        let from = SIDE;
        let first = self.zones.first().map_or(self.to, |&zone| zone);
        svg.rect(
            "zone",
            "",
            [from, 3.0, self.at(first) - from, HEIGHT - 6.0],
            "",
        );
        for (index, (&low, &high)) in self.zones.iter().zip(ends).enumerate() {
            let (x, end) = (self.at(low), self.at(high));
            svg.rect(
                &format!("zone z{}", (index + 1).min(3)),
                "",
                [x, 3.0, end - x, HEIGHT - 6.0],
                "",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AXIS: InlineAxis = InlineAxis {
        from: 0.0,
        to: 30.0,
        zones: &[3.0, 8.0],
        ticks: &[(0.0, "0"), (8.0, "8")],
    };

    fn cell(solid: f64, hollow: f64) -> String {
        AXIS.cell(&Inline {
            span: Some((hollow, solid)),
            hollow: Some(hollow),
            solid: Some(solid),
            class: "wrong",
            hint: "<b>".to_owned(),
            ..Inline::default()
        })
    }

    #[test]
    fn a_cell_has_its_zones_and_dots() {
        let svg = cell(10.0, 5.0);
        assert_eq!(svg.matches("class=\"zone").count(), 3);
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(svg.contains("&lt;b&gt;") && !svg.contains("<b>"));
    }

    #[test]
    fn what_is_beyond_the_axis_is_an_arrow_and_what_is_no_number_is_not_drawn() {
        let svg = cell(f64::INFINITY, 160.0);
        assert_eq!(
            (svg.matches("<circle").count(), svg.contains("inf")),
            (0, false),
            "{svg}"
        );
        assert!(svg.contains("l7.5 5l-7.5 5z"), "{svg}");
        assert!(cell(-9.0, -9.0).contains("l-7.5 5l7.5 5z"));
        assert_eq!(cell(f64::NAN, f64::NAN), "");
        let half = cell(5.0, f64::NAN);
        assert!(
            !half.contains("NaN") && half.matches("<circle").count() == 1,
            "{half}"
        );
    }
}
