//! How a figure is spread over the clients: a row a client for few, a histogram for many.

use super::line::{Unit, extent, step_of};
use super::scale::Scale;
use super::{CHAR, Px, Svg};
use crate::format;

const WIDTH: f64 = 450.0;
const MOST_LABEL: usize = 20;

/// A vertical line to compare with.
pub(crate) struct Reference {
    pub(crate) label: String,
    pub(crate) value: f64,
    /// Class of its colour.
    pub(crate) class: &'static str,
    pub(crate) dashed: bool,
}

/// A row a client, with a dot at its value.
pub(crate) struct DotRows<'a> {
    pub(crate) title: &'a str,
    pub(crate) axis: &'a str,
    pub(crate) unit: Unit,
    pub(crate) class: &'static str,
    /// Name and value; values that are not finite have no dot.
    pub(crate) rows: Vec<(&'a str, f64)>,
    pub(crate) references: &'a [Reference],
    /// Whether the axis begins at 0.
    pub(crate) from_zero: bool,
}

impl DotRows<'_> {
    /// The chart, or `None` when no value is finite.
    pub(crate) fn draw(&self) -> Option<String> {
        let values = self.rows.iter().map(|&(_, value)| value);
        let (low, high) = extent(values.chain(self.references.iter().map(|line| line.value)))?;
        let low = if self.from_zero { low.min(0.0) } else { low };
        let (low_value, high_value) = extent(self.rows.iter().map(|&(_, value)| value))?;
        let names = self
            .rows
            .iter()
            .map(|(name, _)| name.chars().count().min(MOST_LABEL))
            .max();
        let left = 14.0 + CHAR * names.unwrap_or(0) as f64;
        let right = WIDTH - 64.0;
        let (top, row) = (8.0, 24.0);
        let bottom = top + row * self.rows.len() as f64;
        let height = bottom + 42.0;
        let x = Scale::rounded(low, high, (left, right), 5.0, self.unit.limits());

        let description = format!(
            "{} of {} clients, from {} to {}.",
            self.axis,
            self.rows.len(),
            self.unit.words(low_value),
            self.unit.words(high_value)
        );
        let mut svg = Svg::new(WIDTH, height, "medium", self.title, &description);
        draw_value_axis(
            &mut svg,
            &x,
            self.unit,
            self.axis,
            (top, bottom),
            (left, right),
        );
        draw_references(&mut svg, &x, self.references, self.unit, (top, bottom));
        for (index, (name, value)) in self.rows.iter().enumerate() {
            let y = top + (index as f64 + 0.5) * row;
            let short = format::shortened(name, MOST_LABEL);
            svg.label("name", (left - 9.0, y + 4.0), "end", &short);
            let words = self.unit.words(*value);
            if value.is_finite() {
                svg.line("grid", (left, y), (x.at(*value), y));
                let hint = format!("{name}: {words}");
                svg.dot(
                    &format!("dot {}", self.class),
                    (x.at(*value), y),
                    5.0,
                    &hint,
                );
            }
            svg.label("name", (right + 10.0, y + 4.0), "start", &words);
        }
        Some(svg.finish())
    }
}

/// How many of the values lie where.
pub(crate) struct Histogram<'a> {
    pub(crate) title: &'a str,
    pub(crate) axis: &'a str,
    pub(crate) unit: Unit,
    pub(crate) class: &'static str,
    pub(crate) values: &'a [f64],
    pub(crate) references: &'a [Reference],
}

impl Histogram<'_> {
    /// The chart, or `None` when no value is finite.
    pub(crate) fn draw(&self) -> Option<String> {
        const BINS: usize = 24;
        let references = self.references.iter().map(|line| line.value);
        let (low, high) = extent(self.values.iter().copied().chain(references))?;
        extent(self.values.iter().copied())?;
        let (left, right, top, bottom) = (56.0, WIDTH - 18.0, 14.0, 170.0);
        let x = Scale::rounded(low, high, (left, right), 6.0, self.unit.limits());
        let mut bins = [0u64; BINS];
        let mut counted = 0u64;
        for value in self.values.iter().filter(|value| value.is_finite()) {
            let share = (x.at(*value) - left) / (right - left);
            bins[((share * BINS as f64) as usize).min(BINS - 1)] += 1;
            counted += 1;
        }
        let most = bins.iter().copied().max().unwrap_or(1).max(1);
        let y = Scale::rounded(0.0, most as f64, (bottom, top), 3.0, (0.0, f64::MAX));

        let description = format!("Distribution of {} over {counted} clients.", self.axis);
        let mut svg = Svg::new(WIDTH, bottom + 42.0, "medium", self.title, &description);
        for &tick in y.ticks.iter().filter(|tick| tick.fract() == 0.0) {
            svg.line("grid", (left, y.at(tick)), (right, y.at(tick)));
            svg.label(
                "tick",
                (left - 7.0, y.at(tick) + 4.0),
                "end",
                &format::count(tick as u64),
            );
        }
        draw_value_axis(
            &mut svg,
            &x,
            self.unit,
            self.axis,
            (bottom, bottom),
            (left, right),
        );
        svg.raw(format_args!(
            "<text class=\"tick\" text-anchor=\"middle\" transform=\"translate(12 {})rotate(-90)\">clients</text>",
            Px((top + bottom) / 2.0)
        ));
        let width = (right - left) / BINS as f64;
        for (index, &count) in bins.iter().enumerate().filter(|&(_, &count)| count > 0) {
            let (from, height) = (left + index as f64 * width, bottom - y.at(count as f64));
            let class = format!("bar {}", self.class);
            let hint = format::counted(count, "client", "clients");
            svg.rect(
                &class,
                "",
                [from + 0.5, bottom - height, width - 1.0, height],
                &hint,
            );
        }
        draw_references(&mut svg, &x, self.references, self.unit, (top, bottom));
        Some(svg.finish())
    }
}

fn draw_value_axis(
    svg: &mut Svg,
    x: &Scale,
    unit: Unit,
    label: &str,
    (top, bottom): (f64, f64),
    (left, right): (f64, f64),
) {
    let step = step_of(&x.ticks);
    let largest = x
        .ticks
        .iter()
        .fold(0.0f64, |largest, tick| largest.max(tick.abs()));
    for &tick in &x.ticks {
        svg.line("grid", (x.at(tick), top), (x.at(tick), bottom + 4.0));
        svg.label(
            "tick",
            (x.at(tick), bottom + 18.0),
            "middle",
            &unit.tick(tick, step, largest),
        );
    }
    svg.line("axis", (left, bottom), (right, bottom));
    let label = match unit {
        Unit::Bytes => format!("{label} ({})", format::byte_unit(largest).1),
        _ => label.to_owned(),
    };
    svg.label(
        "tick",
        ((left + right) / 2.0, bottom + 36.0),
        "middle",
        &label,
    );
}

fn draw_references(
    svg: &mut Svg,
    x: &Scale,
    references: &[Reference],
    unit: Unit,
    (top, bottom): (f64, f64),
) {
    for line in references.iter().filter(|line| line.value.is_finite()) {
        let dashed = if line.dashed { " dashed" } else { "" };
        svg.raw(format_args!(
            "<path class=\"curve {}{dashed}\" d=\"M{} {}V{}\"><title>{}: {}</title></path>",
            line.class,
            Px(x.at(line.value)),
            Px(top),
            Px(bottom),
            format::escaped(&line.label),
            format::escaped(&unit.words(line.value))
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_has_a_row_and_only_finite_values_a_dot() {
        let rows = vec![("<a>", 0.5), ("b", f64::NAN), ("c", 0.9)];
        let chart = DotRows {
            title: "t",
            axis: "accuracy",
            unit: Unit::Percent,
            class: "s2",
            rows,
            references: &[],
            from_zero: false,
        };
        let svg = chart.draw().unwrap();
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(svg.contains("&lt;a&gt;") && !svg.contains("<a>") && svg.contains("not a number"));
        assert_eq!(
            DotRows {
                rows: vec![("b", f64::NAN)],
                ..chart
            }
            .draw(),
            None
        );
    }

    #[test]
    fn a_histogram_counts_each_finite_value_once() {
        let mut values: Vec<f64> = (0..1_000).map(|value| f64::from(value) / 1_000.0).collect();
        values.push(f64::NAN);
        let chart = Histogram {
            title: "t",
            axis: "accuracy",
            unit: Unit::Percent,
            class: "s0",
            values: &values,
            references: &[],
        };
        let svg = chart.draw().unwrap();
        let bars = svg.split("<rect").skip(1).filter_map(|bar| {
            let hint = bar.split("<title>").nth(1)?;
            hint.split('\u{a0}').next()?.parse::<u64>().ok()
        });
        assert_eq!(bars.sum::<u64>(), 1_000);
        assert!(svg.contains("over 1000 clients"));
    }
}
