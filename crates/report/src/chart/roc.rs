//! Receiver operating characteristics on two logarithmic axes, where membership inference is to be judged.

use super::scale::Scale;
use super::{CHAR, Px, Svg};
use crate::format;

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 62.0;
const TOP: f64 = 12.0;
const RIGHT: f64 = 26.0;
const BOTTOM: f64 = 50.0;

/// More points than this in a curve are thinned.
const MOST_POINTS: usize = 240;

/// The least rate that an axis ever shows.
const LEAST: f64 = 1e-5;

/// A curve of (false positive rate, true positive rate), ascending.
pub(crate) struct RocCurve {
    pub(crate) label: String,
    /// Class of its colour.
    pub(crate) class: String,
    pub(crate) points: Vec<[f64; 2]>,
    /// (false positive rate, estimate, low, high).
    pub(crate) intervals: Vec<[f64; 4]>,
}

/// Curves beside guessing, and beside what a claimed epsilon allows.
pub(crate) struct RocChart<'a> {
    pub(crate) title: String,
    pub(crate) curves: &'a [RocCurve],
    /// No attack finds more members than this, if the claim holds; empty for none.
    pub(crate) ceiling: &'a [[f64; 2]],
    /// The least false positive rate to show.
    pub(crate) least: f64,
}

impl RocChart<'_> {
    /// The chart, or `None` when there is no curve to draw.
    pub(crate) fn draw(&self) -> Option<String> {
        let drawable = |curve: &RocCurve| curve.points.iter().any(|point| shown(*point));
        if !self.curves.iter().any(drawable) {
            return None;
        }
        let least = if self.least > 0.0 {
            self.least.clamp(LEAST, 0.1)
        } else {
            1e-3
        };
        let least = 10f64.powf(least.log10().floor());
        let x = Scale::log(least, 1.0, (LEFT, WIDTH - RIGHT));
        let y = Scale::log(least, 1.0, (HEIGHT - BOTTOM, TOP));
        let mut svg = Svg::new(WIDTH, HEIGHT, "medium", &self.title, &self.description());
        draw_axes(&mut svg, &x, &y);
        svg.line(
            "curve rest dashed",
            (x.at(least), y.at(least)),
            (x.at(1.0), y.at(1.0)),
        );
        let (guess_x, guess_y) = (least * 2.6, least * 2.6);
        let words = "guessing";
        svg.label(
            "tick halo",
            (x.at(guess_x) + 0.4 * CHAR, y.at(guess_y) + 16.0),
            "start",
            words,
        );
        self.draw_ceiling(&mut svg, &x, &y);
        for curve in self.curves {
            draw_path(
                &mut svg,
                &format!("curve {}", curve.class),
                &curve.points,
                (&x, &y),
                least,
            );
        }
        for curve in self.curves {
            curve.draw_intervals(&mut svg, &x, &y, least);
        }
        Some(svg.finish())
    }

    fn draw_ceiling(&self, svg: &mut Svg, x: &Scale, y: &Scale) {
        let from = x.ticks.first().copied().unwrap_or(LEAST);
        draw_path(svg, "ceiling", self.ceiling, (x, y), from);
        let inside =
            |point: &&[f64; 2]| shown(**point) && point[0] >= from * 2.0 && point[1] >= from;
        if let Some(&[at, rate]) = self.ceiling.iter().find(inside) {
            let place = (x.at(at) + 9.0, (y.at(rate) + 9.0).max(TOP + 16.0));
            svg.label("tick halo", place, "start", "ceiling");
        }
    }

    fn description(&self) -> String {
        let mut words =
            "True positive rate over false positive rate, both axes logarithmic.".to_owned();
        for curve in self.curves.iter().take(12) {
            words.push_str(&format!(" {}.", curve.label));
            for &[alarms, rate, low, high] in &curve.intervals {
                words.push_str(&format!(
                    " At {}: {} ({} to {}).",
                    rate_words(alarms),
                    rate_words(rate),
                    rate_words(low),
                    rate_words(high)
                ));
            }
        }
        words
    }
}

impl RocCurve {
    fn draw_intervals(&self, svg: &mut Svg, x: &Scale, y: &Scale, least: f64) {
        for &[alarms, rate, low, high] in &self.intervals {
            if ![alarms, rate, low, high]
                .iter()
                .all(|value| value.is_finite())
                || alarms < least
                || high < least
            {
                continue;
            }
            let (at, top, bottom) = (x.at(alarms), y.at(high), y.at(low.max(least)));
            svg.raw(format_args!(
                "<path class=\"whisker {}\" d=\"M{} {}h8m-4 0V{}m-4 0h8\"/>",
                self.class,
                Px(at - 4.0),
                Px(top),
                Px(bottom)
            ));
            let hint = format!(
                "{}: {} of the members ({} to {}) at {} false alarms",
                self.label,
                rate_words(rate),
                rate_words(low),
                rate_words(high),
                rate_words(alarms)
            );
            svg.dot(
                &format!("dot {}", self.class),
                (at, y.at(rate.max(least))),
                3.4,
                &hint,
            );
        }
    }
}

/// Whether a logarithmic axis has a place for the point.
fn shown([x, y]: [f64; 2]) -> bool {
    x.is_finite() && y.is_finite() && x > 0.0 && y > 0.0
}

fn draw_path(
    svg: &mut Svg,
    class: &str,
    points: &[[f64; 2]],
    (x, y): (&Scale, &Scale),
    least: f64,
) {
    let points: Vec<[f64; 2]> = points
        .iter()
        .copied()
        .filter(|&point| shown(point) && point[0] >= least * 0.999)
        .collect();
    let step = points.len().div_ceil(MOST_POINTS).max(1);
    let end = points.last().copied();
    let kept = points
        .iter()
        .copied()
        .step_by(step)
        .chain(end.filter(|_| step > 1));
    let mut path = String::new();
    for [at, rate] in kept.map(|[at, rate]| [at.min(1.0), rate.clamp(least, 1.0)]) {
        let command = if path.is_empty() { 'M' } else { 'L' };
        path.push_str(&format!("{command}{} {}", Px(x.at(at)), Px(y.at(rate))));
    }
    if !path.is_empty() {
        svg.raw(format_args!("<path class=\"{class}\" d=\"{path}\"/>"));
    }
}

fn draw_axes(svg: &mut Svg, x: &Scale, y: &Scale) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for &tick in &x.ticks {
        svg.line("grid", (x.at(tick), TOP), (x.at(tick), bottom + 4.0));
        svg.label(
            "tick",
            (x.at(tick), bottom + 18.0),
            "middle",
            &rate_words(tick),
        );
    }
    for &tick in &y.ticks {
        svg.line("grid", (LEFT, y.at(tick)), (right, y.at(tick)));
        svg.label(
            "tick",
            (LEFT - 7.0, y.at(tick) + 4.0),
            "end",
            &rate_words(tick),
        );
    }
    svg.line("axis", (LEFT, bottom), (right, bottom));
    svg.label(
        "tick",
        ((LEFT + right) / 2.0, HEIGHT - 10.0),
        "middle",
        "non-members taken for members",
    );
    svg.raw(format_args!(
        "<text class=\"tick\" text-anchor=\"middle\" transform=\"translate(12 {})rotate(-90)\">members found</text>",
        Px((TOP + bottom) / 2.0)
    ));
}

/// A rate as a percentage with as many digits as it needs.
fn rate_words(rate: f64) -> String {
    if !rate.is_finite() {
        return format::plain(rate);
    }
    format!("{}\u{a0}%", format::brief(rate * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(points: Vec<[f64; 2]>) -> RocCurve {
        RocCurve {
            label: "<rmia>".to_owned(),
            class: "s0".to_owned(),
            points,
            intervals: vec![[0.01, 0.05, 0.03, 0.08], [0.001, f64::NAN, 0.0, 1.0]],
        }
    }

    fn chart(curves: &[RocCurve], ceiling: &[[f64; 2]]) -> Option<String> {
        RocChart {
            title: "t".to_owned(),
            curves,
            ceiling,
            least: 2e-3,
        }
        .draw()
    }

    #[test]
    fn curves_intervals_and_ceiling_are_drawn() {
        let points = vec![
            [0.0, 0.0],
            [0.001, 0.002],
            [0.01, 0.05],
            [f64::NAN, 0.2],
            [1.0, 1.0],
        ];
        let svg = chart(&[curve(points)], &[[0.001, 0.01], [0.1, 0.9], [1.0, 1.0]]).unwrap();
        assert_eq!(svg.matches("class=\"curve s0\"").count(), 1);
        assert_eq!(svg.matches("class=\"ceiling\"").count(), 1);
        assert_eq!(
            svg.matches("whisker").count(),
            1,
            "an interval that is no number is left out"
        );
        assert!(svg.contains("&lt;rmia&gt;") && !svg.contains("<rmia>"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(
            svg.contains(">0.1\u{a0}%<") && svg.contains(">100\u{a0}%<"),
            "{svg}"
        );
    }

    #[test]
    fn nothing_drawable_is_no_chart() {
        assert_eq!(chart(&[], &[]), None);
        assert_eq!(
            chart(&[curve(vec![[0.0, 0.0], [f64::NAN, 1.0]])], &[]),
            None
        );
        assert!(
            chart(
                &[curve(
                    (0..10_000).map(|at| [f64::from(at) / 1e4, 0.5]).collect()
                )],
                &[]
            )
            .unwrap()
            .len()
                < 20_000
        );
    }
}
