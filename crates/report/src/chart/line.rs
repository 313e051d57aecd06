//! Curves over rounds or bytes.

use super::scale::Scale;
use super::{CHAR, Px, Svg};
use crate::format;

const WIDTH: f64 = 540.0;
const HEIGHT: f64 = 290.0;
const TOP: f64 = 12.0;
const RIGHT: f64 = 18.0;
const BOTTOM: f64 = 46.0;

/// More points than this in a curve are thinned: the chart is 540 pixels wide.
const MOST_POINTS: usize = 360;

/// Charts of at most this many points show each of them, with its value under the pointer.
const MOST_DOTS: usize = 240;

/// What an axis counts.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Unit {
    /// Bytes, in decimal units.
    Bytes,
    /// Whole numbers.
    Count,
    /// Shares of 1, as percentages.
    Percent,
    /// Figures without a unit.
    Plain,
    /// Figures between 0 and 1 that are no shares.
    Interval,
    /// Privacy loss: never rounded down.
    Epsilon,
}

impl Unit {
    pub(crate) fn words(self, value: f64) -> String {
        match self {
            Self::Bytes => format::bytes(value.max(0.0) as u64),
            Self::Count => format::count(value.max(0.0) as u64),
            Self::Percent => format::percent(value),
            Self::Plain => format::plain(value),
            Self::Interval => format::unit_interval(value),
            Self::Epsilon => cloister_privacy::rounded_up(value),
        }
    }

    /// Bounds that no value of the unit passes.
    pub(super) fn limits(self) -> (f64, f64) {
        match self {
            Self::Percent | Self::Interval => (0.0, 1.0),
            Self::Bytes | Self::Count | Self::Epsilon => (0.0, f64::MAX),
            Self::Plain => (f64::MIN, f64::MAX),
        }
    }

    /// A tick's label: as short as the distance of the ticks allows.
    pub(super) fn tick(self, value: f64, step: f64, largest: f64) -> String {
        let decimals = |step: f64| (-step.log10() - 1e-9).ceil().clamp(0.0, 6.0) as usize;
        match self {
            Self::Percent => format!("{:.*}\u{a0}%", decimals(step * 100.0), value * 100.0),
            Self::Bytes => {
                let (size, _) = format::byte_unit(largest);
                format!("{:.*}", decimals(step / size), value / size)
            }
            Self::Count => format::count(value.round().max(0.0) as u64),
            _ if step > 0.0 && (1e-5..1e6).contains(&largest.abs()) => {
                format!("{:.*}", decimals(step), value)
            }
            _ => format::plain(value),
        }
    }
}

/// An axis: what it shows, in which unit.
pub(crate) struct Axis {
    pub(crate) label: &'static str,
    pub(crate) unit: Unit,
}

/// A curve.
#[derive(Clone, Default)]
pub(crate) struct Series {
    pub(crate) label: String,
    /// Class of its colour: `s0` to `s7`, or `rest`.
    pub(crate) class: String,
    pub(crate) dashed: bool,
    /// By ascending x; a y that is not finite breaks the curve.
    pub(crate) points: Vec<(f64, f64)>,
    /// (x, low, high) around the curve; empty for none.
    pub(crate) band: Vec<(f64, f64, f64)>,
}

/// Curves on common axes. Later series lie on top.
pub(crate) struct LineChart<'a> {
    pub(crate) title: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) series: &'a [Series],
    /// Marked places on the x axis, and what they mean.
    pub(crate) marks: &'a [f64],
    pub(crate) marks_label: &'static str,
    /// A place on the x axis from which on things are different, and how.
    pub(crate) start: Option<(f64, &'static str)>,
    /// Whether the y axis begins at 0, as shares of a whole want it.
    pub(crate) from_zero: bool,
}

impl LineChart<'_> {
    /// The chart, or `None` when there is not one finite point to draw.
    pub(crate) fn draw(&self) -> Option<String> {
        let (x_low, x_high) = extent(self.series.iter().flat_map(|series| {
            series
                .points
                .iter()
                .filter(|(_, y)| y.is_finite())
                .map(|&(x, _)| x)
        }))?;
        let (y_low, y_high) = extent(self.series.iter().flat_map(Series::heights))?;
        let y_low = if self.from_zero {
            y_low.min(0.0)
        } else {
            y_low
        };
        let unbounded = matches!(self.y.unit, Unit::Plain | Unit::Epsilon);
        let log = unbounded && y_low > 0.0 && y_high / y_low > 100.0;
        let vertical = (HEIGHT - BOTTOM, TOP);
        let y = if log {
            Scale::log(y_low, y_high, vertical)
        } else {
            Scale::rounded(y_low, y_high, vertical, 5.0, self.y.unit.limits())
        };
        let y_ticks = self.y.tick_labels(&y, log);
        let widest = y_ticks
            .iter()
            .map(|label| label.chars().count())
            .max()
            .unwrap_or(0);
        // Small screens set the labels larger.
        let left = 16.0 + 1.17 * CHAR * widest as f64;
        let least = if self.x.unit == Unit::Count { 1.0 } else { 0.0 };
        let x = self.horizontal(x_low, x_high, (left, WIDTH - RIGHT), least);

        let mut svg = Svg::new(WIDTH, HEIGHT, "fluid", &self.title, &self.description());
        for (tick, label) in y.ticks.iter().zip(&y_ticks) {
            svg.line("grid", (left, y.at(*tick)), (WIDTH - RIGHT, y.at(*tick)));
            svg.label("tick", (left - 7.0, y.at(*tick) + 4.0), "end", label);
        }
        self.draw_x_axis(&mut svg, &x, left, x_high);
        for series in self.series {
            series.draw_band(&mut svg, &x, &y);
        }
        for series in self.series {
            series.draw(&mut svg, &x, &y, self);
        }
        self.draw_start(&mut svg, &x, (x_low, x_high));
        for &mark in self.marks {
            let (at, bottom) = (x.at(mark), HEIGHT - BOTTOM);
            svg.raw(format_args!(
                "<path class=\"mark\" d=\"M{} {}l-4 7h8z\"><title>{} {}</title></path>",
                Px(at),
                Px(bottom),
                self.marks_label,
                self.x.unit.words(mark)
            ));
        }
        Some(svg.finish())
    }

    fn horizontal(&self, low: f64, high: f64, pixels: (f64, f64), least: f64) -> Scale {
        let target = match self.x.unit {
            Unit::Bytes => 5.0,
            _ => 7.0,
        };
        if low == high && self.x.unit == Unit::Count {
            return Scale::exact(low - 1.0, high + 1.0, pixels, target, least);
        }
        if self.x.unit == Unit::Epsilon && low > 0.0 && high / low > 12.0 {
            return Scale::log_exact(low, high, pixels);
        }
        let low = if self.x.unit == Unit::Bytes { 0.0 } else { low };
        Scale::exact(low, high, pixels, target, least)
    }

    fn draw_x_axis(&self, svg: &mut Svg, x: &Scale, left: f64, x_high: f64) {
        let bottom = HEIGHT - BOTTOM;
        svg.line("axis", (left, bottom), (WIDTH - RIGHT, bottom));
        let step = step_of(&x.ticks);
        for &tick in &x.ticks {
            let label = if x.log {
                format::plain(tick)
            } else {
                self.x.unit.tick(tick, step, x_high)
            };
            svg.line("axis", (x.at(tick), bottom), (x.at(tick), bottom + 4.0));
            svg.label("tick", (x.at(tick), bottom + 18.0), "middle", &label);
        }
        let label = match self.x.unit {
            Unit::Bytes => format!("{} ({})", self.x.label, format::byte_unit(x_high).1),
            _ => self.x.label.to_owned(),
        };
        svg.label(
            "tick",
            ((left + WIDTH - RIGHT) / 2.0, HEIGHT - 7.0),
            "middle",
            &label,
        );
    }

    /// A line across the chart where something begins; none at the very left, where it says nothing.
    fn draw_start(&self, svg: &mut Svg, x: &Scale, (low, high): (f64, f64)) {
        let Some((at, words)) = self.start.filter(|&(at, _)| at > low && at <= high) else {
            return;
        };
        let at = x.at(at);
        svg.line("start", (at, TOP - 4.0), (at, HEIGHT - BOTTOM));
        let room = CHAR * words.chars().count() as f64;
        let (at, anchor) = if at + 5.0 + room > WIDTH {
            (at - 5.0, "end")
        } else {
            (at + 5.0, "start")
        };
        svg.label("tick halo", (at, TOP + 5.0), anchor, words);
    }

    /// What the curves do, in words.
    fn description(&self) -> String {
        let mut words = format!("{} over {}.", self.y.label, self.x.label);
        for series in self.series.iter().take(12) {
            let finite = || series.points.iter().filter(|(_, y)| y.is_finite());
            if let (Some(first), Some(last)) = (finite().next(), finite().next_back()) {
                let (from, to) = (self.y.unit.words(first.1), self.y.unit.words(last.1));
                words.push_str(&if from == to {
                    format!(" {}: {to}.", series.label)
                } else {
                    format!(" {}: from {from} to {to}.", series.label)
                });
            }
        }
        words
    }
}

impl Axis {
    fn tick_labels(&self, scale: &Scale, log: bool) -> Vec<String> {
        if log {
            return scale
                .ticks
                .iter()
                .map(|&tick| format::plain(tick))
                .collect();
        }
        let step = step_of(&scale.ticks);
        let largest = scale
            .ticks
            .iter()
            .fold(0.0f64, |largest, tick| largest.max(tick.abs()));
        scale
            .ticks
            .iter()
            .map(|&tick| self.unit.tick(tick, step, largest))
            .collect()
    }
}

impl Series {
    fn heights(&self) -> impl Iterator<Item = f64> {
        let band = self.band.iter().flat_map(|&(_, low, high)| [low, high]);
        self.points.iter().map(|&(_, y)| y).chain(band)
    }

    fn draw_band(&self, svg: &mut Svg, x: &Scale, y: &Scale) {
        let band: Vec<_> = self
            .band
            .iter()
            .filter(|(_, low, high)| low.is_finite() && high.is_finite())
            .collect();
        if band.len() < 2 {
            return;
        }
        let step = band.len().div_ceil(MOST_POINTS);
        let kept: Vec<_> = band
            .iter()
            .step_by(step)
            .copied()
            .chain(band.last().copied())
            .collect();
        svg.raw(format_args!("<path class=\"band {}\" d=\"M", self.class));
        for (index, (at, _, high)) in kept.iter().enumerate() {
            let separator = if index == 0 { "" } else { "L" };
            svg.raw(format_args!(
                "{separator}{} {}",
                Px(x.at(*at)),
                Px(y.at(*high))
            ));
        }
        for (at, low, _) in kept.iter().rev() {
            svg.raw(format_args!("L{} {}", Px(x.at(*at)), Px(y.at(*low))));
        }
        svg.raw(format_args!("z\"/>"));
    }

    fn draw(&self, svg: &mut Svg, x: &Scale, y: &Scale, chart: &LineChart<'_>) {
        let points = thinned(&self.points);
        let dashed = if self.dashed { " dashed" } else { "" };
        svg.raw(format_args!(
            "<path class=\"curve {}{dashed}\" d=\"",
            self.class
        ));
        let mut pen_up = true;
        for &(at, value) in &points {
            if value.is_finite() {
                let command = if pen_up { 'M' } else { 'L' };
                svg.raw(format_args!(
                    "{command}{} {}",
                    Px(x.at(at)),
                    Px(y.at(value))
                ));
            }
            pen_up = !value.is_finite();
        }
        svg.raw(format_args!("\"/>"));
        // The ends of a straight dashed line are no measurements.
        let all: usize = chart.series.iter().map(|series| series.points.len()).sum();
        if all > MOST_DOTS || (self.dashed && self.points.len() <= 2) {
            return;
        }
        for &(at, value) in self.points.iter().filter(|(_, value)| value.is_finite()) {
            let hint = format!(
                "{}: {} at {} {}",
                self.label,
                chart.y.unit.words(value),
                chart.x.label,
                chart.x.unit.words(at)
            );
            svg.dot(
                &format!("dot {}", self.class),
                (x.at(at), y.at(value)),
                2.4,
                &hint,
            );
        }
    }
}

/// Lowest and highest finite value.
pub(super) fn extent(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values
        .filter(|value| value.is_finite())
        .fold(None, |extent, value| match extent {
            None => Some((value, value)),
            Some((low, high)) => Some((value.min(low), value.max(high))),
        })
}

pub(super) fn step_of(ticks: &[f64]) -> f64 {
    match ticks {
        [first, second, ..] => second - first,
        [only] => only.abs().max(1e-9),
        [] => 1.0,
    }
}

/// The lowest and the highest point of each of some 180 stretches, so that no peak and no dip is lost.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= MOST_POINTS {
        return points.to_vec();
    }
    let mut kept = Vec::with_capacity(MOST_POINTS + 2);
    for stretch in points.chunks(points.len().div_ceil(MOST_POINTS / 2)) {
        let by_height = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let low = stretch.iter().min_by(by_height);
        let high = stretch.iter().max_by(by_height);
        if let (Some(&low), Some(&high)) = (low, high) {
            let (first, second) = if low.0 <= high.0 {
                (low, high)
            } else {
                (high, low)
            };
            kept.push(first);
            if second.0 > first.0 {
                kept.push(second);
            }
        }
    }
    if let (Some(last), Some(end)) = (points.last(), kept.last())
        && end.0 < last.0
    {
        kept.push(*last);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(series: &[Series], unit: Unit) -> Option<String> {
        LineChart {
            title: "t".to_owned(),
            x: Axis {
                label: "round",
                unit: Unit::Count,
            },
            y: Axis {
                label: "loss",
                unit,
            },
            series,
            marks: &[2.0],
            marks_label: "abandoned round",
            start: Some((2.0, "attack <starts>")),
            from_zero: false,
        }
        .draw()
    }

    fn series(points: Vec<(f64, f64)>) -> Series {
        Series {
            label: "a<b".to_owned(),
            class: "s0".to_owned(),
            points,
            ..Series::default()
        }
    }

    #[test]
    fn a_value_that_is_not_finite_breaks_the_curve() {
        let points = vec![
            (1.0, 1.0),
            (2.0, f64::NAN),
            (3.0, 2.0),
            (4.0, f64::INFINITY),
            (5.0, 1.5),
        ];
        let svg = chart(&[series(points)], Unit::Plain).unwrap();
        let path = svg
            .split("class=\"curve s0\" d=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        assert_eq!(path.matches('M').count(), 3, "{path}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(svg.contains("a&lt;b") && !svg.contains("a<b"));
        assert!(svg.contains("abandoned round 2"));
        assert!(svg.contains("attack &lt;starts&gt;"));
    }

    #[test]
    fn nothing_finite_draws_nothing() {
        assert_eq!(chart(&[], Unit::Plain), None);
        assert_eq!(chart(&[series(vec![(1.0, f64::NAN)])], Unit::Plain), None);
        assert!(chart(&[series(vec![(1.0, 0.5)])], Unit::Percent).is_some());
    }

    #[test]
    fn a_wide_range_of_losses_gets_a_logarithmic_axis() {
        let svg = chart(&[series(vec![(1.0, 0.01), (2.0, 1e4)])], Unit::Plain).unwrap();
        for label in [">0.01<", ">1<", ">100<", ">10000<"] {
            assert!(svg.contains(label), "{label} in {svg}");
        }
    }

    #[test]
    fn thinning_keeps_ends_and_extremes() {
        let mut points: Vec<_> = (0..10_000).map(|x| (f64::from(x), 0.5)).collect();
        points[1234].1 = 9.0;
        points[4321].1 = -9.0;
        let kept = thinned(&points);
        assert!(kept.len() <= MOST_POINTS + 2, "{}", kept.len());
        assert!(kept.contains(&(1234.0, 9.0)) && kept.contains(&(4321.0, -9.0)));
        assert_eq!((kept[0].0, kept[kept.len() - 1].0), (0.0, 9999.0));
        assert!(kept.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
