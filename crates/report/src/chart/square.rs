//! Curves of shares against shares: both axes go from 0 to 1.

use super::scale::Scale;
use super::{Px, Svg};
use crate::format;

const WIDTH: f64 = 430.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 62.0;
const TOP: f64 = 12.0;
const RIGHT: f64 = 18.0;
const BOTTOM: f64 = 48.0;

/// More points than this in a curve are thinned.
const MOST_POINTS: usize = 240;

/// A curve, or points with a size each.
pub(crate) struct SquareCurve {
    pub(crate) label: String,
    /// Class of its colour.
    pub(crate) class: String,
    pub(crate) points: Vec<[f64; 2]>,
    /// Shares of the largest point, 0 to 1, one a point, and what it says under the pointer; empty for a curve without dots.
    pub(crate) dots: Vec<(f64, String)>,
}

/// What a model without any skill would draw.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Guessing {
    /// From (0, 0) to (1, 1).
    Diagonal(&'static str),
    /// At this height.
    Level(f64, &'static str),
}

/// Curves in the unit square.
pub(crate) struct SquareChart<'a> {
    pub(crate) title: String,
    /// What the axes show: along, and up.
    pub(crate) axes: (&'static str, &'static str),
    pub(crate) curves: &'a [SquareCurve],
    pub(crate) guessing: Option<Guessing>,
}

impl SquareChart<'_> {
    /// The chart, or `None` when there is no point to draw.
    pub(crate) fn draw(&self) -> Option<String> {
        let drawable = |curve: &SquareCurve| curve.points.iter().any(|point| inside(*point));
        if !self.curves.iter().any(drawable) {
            return None;
        }
        let x = Scale::exact(0.0, 1.0, (LEFT, WIDTH - RIGHT), 5.0, 0.2);
        let y = Scale::exact(0.0, 1.0, (HEIGHT - BOTTOM, TOP), 5.0, 0.2);
        let mut svg = Svg::new(WIDTH, HEIGHT, "medium", &self.title, &self.description());
        self.draw_axes(&mut svg, &x, &y);
        self.draw_guessing(&mut svg, &x, &y);
        for curve in self.curves {
            curve.draw(&mut svg, &x, &y);
        }
        Some(svg.finish())
    }

    fn draw_axes(&self, svg: &mut Svg, x: &Scale, y: &Scale) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let words = |tick: f64| format!("{:.0}\u{a0}%", tick * 100.0);
        for &tick in &x.ticks {
            svg.line("grid", (x.at(tick), TOP), (x.at(tick), bottom + 4.0));
            svg.label("tick", (x.at(tick), bottom + 18.0), "middle", &words(tick));
        }
        for &tick in &y.ticks {
            svg.line("grid", (LEFT, y.at(tick)), (right, y.at(tick)));
            svg.label("tick", (LEFT - 7.0, y.at(tick) + 4.0), "end", &words(tick));
        }
        svg.line("axis", (LEFT, bottom), (right, bottom));
        let middle = ((LEFT + right) / 2.0, HEIGHT - 8.0);
        svg.label("tick", middle, "middle", self.axes.0);
        svg.raw(format_args!(
            "<text class=\"tick\" text-anchor=\"middle\" transform=\"translate(12 {})rotate(-90)\">{}</text>",
            Px((TOP + bottom) / 2.0),
            format::escaped(self.axes.1)
        ));
    }

    fn draw_guessing(&self, svg: &mut Svg, x: &Scale, y: &Scale) {
        let Some(guessing) = self.guessing else {
            return;
        };
        let (from, to, words) = match guessing {
            Guessing::Diagonal(words) => (0.0, 1.0, words),
            Guessing::Level(level, words) => (level, level, words),
        };
        if !inside([from, to]) {
            return;
        }
        svg.line(
            "curve rest dashed",
            (x.at(0.0), y.at(from)),
            (x.at(1.0), y.at(to)),
        );
        let place = match guessing {
            Guessing::Diagonal(_) => (x.at(0.42) + 8.0, y.at(0.42) + 16.0),
            Guessing::Level(level, _) if level > 0.92 => (x.at(0.02), y.at(level) + 16.0),
            Guessing::Level(level, _) => (x.at(0.02), y.at(level) - 7.0),
        };
        svg.label("tick halo", place, "start", words);
    }

    fn description(&self) -> String {
        let mut words = format!("{} over {}.", self.axes.1, self.axes.0);
        for curve in self.curves.iter().take(12) {
            words.push_str(&format!(" {}.", curve.label));
            for ((_, hint), _) in curve.dots.iter().zip(0..12) {
                words.push_str(&format!(" {hint}."));
            }
        }
        words
    }
}

impl SquareCurve {
    fn draw(&self, svg: &mut Svg, x: &Scale, y: &Scale) {
        let points: Vec<[f64; 2]> = self
            .points
            .iter()
            .copied()
            .filter(|point| inside(*point))
            .collect();
        let step = points.len().div_ceil(MOST_POINTS).max(1);
        let end = points.last().copied().filter(|_| step > 1);
        let mut path = String::new();
        for [at, height] in points.iter().copied().step_by(step).chain(end) {
            let command = if path.is_empty() { 'M' } else { 'L' };
            path.push_str(&format!("{command}{} {}", Px(x.at(at)), Px(y.at(height))));
        }
        if points.len() > 1 {
            svg.raw(format_args!(
                "<path class=\"curve {}\" d=\"{path}\"/>",
                self.class
            ));
        }
        for (point, (size, hint)) in self.points.iter().zip(&self.dots) {
            if inside(*point) && size.is_finite() {
                let radius = 2.2 + 5.0 * size.clamp(0.0, 1.0).sqrt();
                let class = format!("dot {}", self.class);
                svg.dot(&class, (x.at(point[0]), y.at(point[1])), radius, hint);
            }
        }
    }
}

fn inside(point: [f64; 2]) -> bool {
    point.iter().all(|value| (0.0..=1.0).contains(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(points: Vec<[f64; 2]>, dots: Vec<(f64, String)>) -> Option<String> {
        let curves = [SquareCurve {
            label: "<sick>".to_owned(),
            class: "s0".to_owned(),
            points,
            dots,
        }];
        SquareChart {
            title: "t".to_owned(),
            axes: ("a < b", "up"),
            curves: &curves,
            guessing: Some(Guessing::Diagonal("guessing")),
        }
        .draw()
    }

    #[test]
    fn a_curve_its_dots_and_guessing() {
        let points = vec![[0.0, 0.0], [0.1, 0.8], [f64::NAN, 0.5], [1.0, 1.0]];
        let dots = vec![
            (1.0, "4 < 5".to_owned()),
            (0.25, "x".to_owned()),
            (0.1, "no".to_owned()),
        ];
        let svg = drawn(points, dots).expect("there is something to draw");
        assert_eq!(svg.matches("class=\"curve s0\"").count(), 1);
        assert_eq!(
            svg.matches("<circle").count(),
            2,
            "a point that is no number has no dot"
        );
        assert!(
            svg.contains("4 &lt; 5") && svg.contains("&lt;sick&gt;") && svg.contains("a &lt; b")
        );
        assert!(svg.contains("guessing") && !svg.contains("NaN"), "{svg}");
        assert!(svg.contains(">100\u{a0}%<"), "{svg}");
    }

    #[test]
    fn nothing_to_draw_is_no_chart_and_much_is_thinned() {
        assert_eq!(drawn(Vec::new(), Vec::new()), None);
        assert_eq!(drawn(vec![[2.0, 0.5]], Vec::new()), None);
        let many = (0..100_000).map(|at| [f64::from(at) / 1e5, 0.5]).collect();
        assert!(drawn(many, Vec::new()).is_some_and(|svg| svg.len() < 20_000));
    }
}
