//! Curves over rounds as inline SVG, in the classes and colours of a run's report.

use std::fmt::Write;

use cloister_report::html::escaped;

use super::words;

const WIDTH: f64 = 540.0;
const HEIGHT: f64 = 250.0;
const TOP: f64 = 12.0;
const RIGHT: f64 = 18.0;
const BOTTOM: f64 = 44.0;
const SMALL: (f64, f64) = (240.0, 52.0);
/// Rounds for which a small curve leaves room from the start.
const FEW_ROUNDS: u32 = 20;
/// Mean width of a character of the 12 px labels.
const CHAR: f64 = 6.7;
/// More points than this are thinned: no screen shows them.
const MOST_POINTS: usize = 360;
/// Up to so many points are marked.
const MOST_DOTS: usize = 60;

/// What a curve shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Unit {
    /// A share of 1.
    Percent,
    /// A figure without a unit.
    Plain,
    /// Privacy loss: never rounded down.
    Epsilon,
}

impl Unit {
    pub(super) fn words(self, value: f64) -> String {
        match self {
            Self::Percent => words::percent(Some(value)),
            Self::Plain => words::plain(value),
            Self::Epsilon => cloister_privacy::rounded_up(value),
        }
    }

    fn tick(self, value: f64, step: f64) -> String {
        let digits = |step: f64| (-step.log10() - 1e-9).ceil().clamp(0.0, 6.0) as usize;
        match self {
            Self::Percent => format!("{:.*}\u{a0}%", digits(step * 100.0), value * 100.0),
            _ if value.abs() < 1e6 => format!("{:.*}", digits(step), value),
            _ => format!("{value:.1e}"),
        }
    }

    /// Bounds of the axis around values between these.
    fn limits(self, low: f64, high: f64) -> (f64, f64) {
        // A curve that hardly moves must not look like a mountain range.
        let room = match self {
            Self::Percent => 0.02,
            _ => 0.02 * low.abs().max(high.abs()).max(1e-6),
        };
        let middle = (low + high) / 2.0;
        let (low, high) = (low.min(middle - room), high.max(middle + room));
        match self {
            Self::Percent => (low.max(0.0), high.min(1.0)),
            Self::Epsilon => (0.0, high),
            Self::Plain => (low, high),
        }
    }
}

/// A figure by round.
pub(super) struct Curve {
    pub(super) label: &'static str,
    pub(super) unit: Unit,
    /// Class of its colour, `s0` to `s7`.
    pub(super) class: &'static str,
    /// By ascending round.
    pub(super) points: Vec<(u32, f64)>,
}

impl Curve {
    /// Of those rounds that have the figure.
    pub(super) fn new(
        label: &'static str,
        unit: Unit,
        class: &'static str,
        points: impl Iterator<Item = (u32, Option<f64>)>,
    ) -> Self {
        let finite = points.filter_map(|(round, value)| Some((round, value?)));
        Self {
            label,
            unit,
            class,
            points: finite.filter(|(_, value)| value.is_finite()).collect(),
        }
    }

    /// The curve without axes, over the rounds so far, or over those that are planned where they are few; empty where there is
    /// no point. It fills whatever place the style sheet gives it.
    pub(super) fn small(&self, rounds: u32) -> String {
        let Some((low, high)) = self.extent() else {
            return String::new();
        };
        let (low, high) = self.unit.limits(low, high);
        let first = self.points.first().map_or(1, |(round, _)| *round);
        let last = self.points.last().map_or(1, |(round, _)| *round);
        let last = last.max(rounds.min(FEW_ROUNDS)).max(first + 1);
        let (width, height) = SMALL;
        let x = Axis::new((f64::from(first), f64::from(last)), (3.0, width - 3.0));
        let y = Axis::new((low, high), (height - 5.0, 5.0));
        let mut svg = self.opened("spark\" preserveAspectRatio=\"none", SMALL);
        let base = height - 0.5;
        let _ = write!(svg, "<path class=\"axis\" d=\"M0 {base}H{width}\"/>");
        self.path(&mut svg, &x, &y);
        if let Some((round, value)) = self.points.last() {
            let (at, up) = (x.at(f64::from(*round)), y.at(*value));
            // A line of no length has round ends, which stretching does not distort.
            let _ = write!(
                svg,
                "<path class=\"curve tip {}\" d=\"M{at:.1} {up:.1}h0.01\"/>",
                self.class
            );
        }
        svg + "</svg>"
    }

    /// The curve with axes; empty where there is no point.
    pub(super) fn large(&self) -> String {
        let Some((low, high)) = self.extent() else {
            return String::new();
        };
        let (low, high) = self.unit.limits(low, high);
        let step = step(low, high, 5.0, 0.0);
        let (low, high) = (
            (low / step + 1e-9).floor() * step,
            (high / step - 1e-9).ceil() * step,
        );
        let ticks: Vec<(f64, String)> = multiples(step, low, high)
            .map(|tick| (tick, self.unit.tick(tick, step)))
            .collect();
        let widest = ticks.iter().map(|(_, label)| label.chars().count()).max();
        let left = 16.0 + 1.1 * CHAR * widest.unwrap_or(0) as f64;
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let first = self.points.first().map_or(0, |(round, _)| *round);
        let last = self.points.last().map_or(0, |(round, _)| *round);
        let rounds = match first == last {
            true => (f64::from(first) - 1.0, f64::from(first) + 1.0),
            false => (f64::from(first), f64::from(last)),
        };
        let (x, y) = (
            Axis::new(rounds, (left, right)),
            Axis::new((low, high), (bottom, TOP)),
        );
        let mut svg = self.opened("chart fluid", (WIDTH, HEIGHT));
        for (tick, label) in &ticks {
            let at = y.at(*tick);
            let _ = write!(
                svg,
                "<path class=\"grid\" d=\"M{left:.1} {at:.1}H{right:.1}\"/><text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                left - 7.0,
                at + 4.0
            );
        }
        let _ = write!(
            svg,
            "<path class=\"axis\" d=\"M{left:.1} {bottom:.1}H{right:.1}\"/>"
        );
        let every = step_of_rounds(rounds);
        for tick in multiples(every, rounds.0, rounds.1).filter(|tick| *tick >= 0.0) {
            let at = x.at(tick);
            let _ = write!(
                svg,
                "<path class=\"axis\" d=\"M{at:.1} {bottom:.1}v4\"/><text class=\"tick\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 18.0,
                words::count(tick as u64)
            );
        }
        let middle = (left + right) / 2.0;
        let _ = write!(
            svg,
            "<text class=\"tick\" x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">round</text>",
            HEIGHT - 7.0
        );
        self.path(&mut svg, &x, &y);
        if self.points.len() <= MOST_DOTS {
            self.dots(&mut svg, &x, &y);
        }
        svg + "</svg>"
    }

    fn extent(&self) -> Option<(f64, f64)> {
        let values = self.points.iter().map(|(_, value)| *value);
        values.fold(None, |extent, value| match extent {
            None => Some((value, value)),
            Some((low, high)) => Some((value.min(low), value.max(high))),
        })
    }

    fn opened(&self, class: &str, (width, height): (f64, f64)) -> String {
        let words =
            |at: Option<&(u32, f64)>| at.map_or_else(String::new, |at| self.unit.words(at.1));
        format!(
            "<svg class=\"{class}\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\"><title>{}: from {} to {} in {} rounds</title>",
            escaped(self.label),
            words(self.points.first()),
            words(self.points.last()),
            self.points.len()
        )
    }

    fn path(&self, svg: &mut String, x: &Axis, y: &Axis) {
        let _ = write!(svg, "<path class=\"curve {}\" d=\"", self.class);
        let every = self.points.len().div_ceil(MOST_POINTS).max(1);
        let last = self.points.len().saturating_sub(1);
        let kept = self.points.iter().enumerate();
        let kept = kept.filter(|(place, _)| place.is_multiple_of(every) || *place == last);
        for (place, (round, value)) in kept {
            let command = if place == 0 { 'M' } else { 'L' };
            let _ = write!(
                svg,
                "{command}{:.1} {:.1}",
                x.at(f64::from(*round)),
                y.at(*value)
            );
        }
        svg.push_str("\"/>");
    }

    fn dots(&self, svg: &mut String, x: &Axis, y: &Axis) {
        for (round, value) in &self.points {
            let _ = write!(
                svg,
                "<circle class=\"dot {}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.4\"><title>round {round}: {}</title></circle>",
                self.class,
                x.at(f64::from(*round)),
                y.at(*value),
                self.unit.words(*value)
            );
        }
    }
}

/// From values to pixels.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn new((low, high): (f64, f64), (from, to): (f64, f64)) -> Self {
        Self {
            low,
            high,
            from,
            to,
        }
    }

    fn at(&self, value: f64) -> f64 {
        let share = (value - self.low) / (self.high - self.low);
        let share = if share.is_finite() { share } else { 0.5 };
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }
}

fn step_of_rounds((low, high): (f64, f64)) -> f64 {
    step(low, high, 7.0, 1.0)
}

/// A round distance of about `target` ticks, no less than `least`.
fn step(low: f64, high: f64, target: f64, least: f64) -> f64 {
    let rough = ((high - low) / target).max(1e-300);
    let decade = 10f64.powf(rough.log10().floor());
    let nice = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * decade);
    let step = nice.into_iter().find(|step| *step >= rough * 0.999);
    step.unwrap_or(10.0 * decade).max(least)
}

fn multiples(step: f64, low: f64, high: f64) -> impl Iterator<Item = f64> {
    let (first, last) = ((low / step - 1e-9).ceil(), (high / step + 1e-9).floor());
    // No more than an axis has room for, whatever became of the figures.
    let count = (last - first).clamp(0.0, 20.0) as u32;
    (0..=count).map(move |place| (first + f64::from(place)) * step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(unit: Unit, values: &[Option<f64>]) -> Curve {
        let points = values.iter().enumerate();
        Curve::new(
            "loss",
            unit,
            "s1",
            points.map(|(place, value)| (place as u32 + 1, *value)),
        )
    }

    #[test]
    fn what_is_not_finite_is_left_out_and_nothing_is_drawn_of_nothing() {
        let none = curve(Unit::Plain, &[None, Some(f64::NAN)]);
        assert_eq!(
            (none.small(5), none.large()),
            (String::new(), String::new())
        );
        let some = curve(Unit::Plain, &[Some(2.0), Some(f64::INFINITY), Some(1.0)]);
        assert_eq!(some.points, [(1, 2.0), (3, 1.0)]);
        let svg = some.large();
        assert!(svg.contains("round 3: 1.000") && !svg.contains("NaN"));
        assert!(svg.contains("from 2.000 to 1.000"));
    }

    #[test]
    fn extremes_stay_on_the_sheet() {
        for (unit, values) in [
            (Unit::Percent, vec![Some(0.5)]),
            (Unit::Percent, vec![Some(1.0), Some(1.0)]),
            (Unit::Plain, vec![Some(0.0), Some(0.0)]),
            (Unit::Plain, vec![Some(-1e300), Some(1e300)]),
            (Unit::Plain, vec![Some(1e-300)]),
            (Unit::Epsilon, vec![Some(3.0), Some(3.1)]),
        ] {
            let curve = curve(unit, &values);
            for svg in [curve.small(1), curve.large()] {
                let wrong = ["NaN", "inf\"", "-inf"];
                assert!(wrong.iter().all(|word| !svg.contains(word)), "{svg}");
                assert!(svg.len() < 8_000, "{}", svg.len());
            }
        }
    }

    #[test]
    fn a_long_curve_is_thinned_and_ends_where_it_ends() {
        let values: Vec<_> = (0..10_000).map(|round| Some(f64::from(round))).collect();
        let svg = curve(Unit::Plain, &values).large();
        assert!(svg.len() < 12_000, "{}", svg.len());
        assert!(svg.contains(&format!("{:.1} {TOP:.1}\"/>", WIDTH - RIGHT)));
    }
}
