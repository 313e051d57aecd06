//! Charts as inline SVG: real text, colours from the page's CSS, a title and a description for those who cannot see them.
//!
//! Every chart is drawn at its natural size in CSS pixels and scales down with the page. Colours and strokes are classes
//! (`s0` to `s7` for series), so that dark mode and print are the style sheet's business.

mod inline;
mod line;
mod matrix;
mod roc;
mod scale;
mod shares;
mod spread;
mod square;

use std::fmt::Write;

use crate::format::escaped;

pub(crate) use inline::{Inline, InlineAxis};
pub(crate) use line::{Axis, LineChart, Series, Unit};
pub(crate) use matrix::{Cell, MatrixChart, client_grid};
pub(crate) use roc::{RocChart, RocCurve};
pub(crate) use shares::{Group, Row, ShareGrid};
pub(crate) use spread::{DotRows, Histogram, Reference};
pub(crate) use square::{Guessing, SquareChart, SquareCurve};

/// Distinct series colours of the style sheet.
pub(crate) const COLOURS: usize = 8;

/// Mean width of a character of the charts' 12 px text, in pixels: on the generous side, so that labels do not collide.
const CHAR: f64 = 6.7;

/// An SVG element under construction.
struct Svg {
    text: String,
}

impl Svg {
    /// `class` is `fluid` for charts that fill their column, `medium` for those that do so up to a comfortable width, and
    /// `fixed` for those that only shrink.
    fn new(width: f64, height: f64, class: &str, title: &str, description: &str) -> Self {
        let mut text = String::new();
        let _ = write!(
            text,
            "<svg class=\"chart {class}\" viewBox=\"0 0 {} {}\" width=\"{}\" height=\"{}\" role=\"img\"><title>{}</title><desc>{}</desc>",
            Px(width),
            Px(height),
            Px(width),
            Px(height),
            escaped(title),
            escaped(description)
        );
        Self { text }
    }

    fn finish(mut self) -> String {
        self.text.push_str("</svg>");
        self.text
    }

    fn raw(&mut self, markup: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.text.write_fmt(markup);
    }

    fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.raw(format_args!(
            "<path class=\"{class}\" d=\"M{} {}L{} {}\"/>",
            Px(x1),
            Px(y1),
            Px(x2),
            Px(y2)
        ));
    }

    /// `anchor` is `start`, `middle` or `end`.
    fn label(&mut self, class: &str, (x, y): (f64, f64), anchor: &str, text: &str) {
        self.raw(format_args!(
            "<text class=\"{class}\" x=\"{}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
            Px(x),
            Px(y),
            escaped(text)
        ));
    }

    /// A rectangle; `hint` appears when the pointer rests on it.
    fn rect(&mut self, class: &str, style: &str, [x, y, width, height]: [f64; 4], hint: &str) {
        self.raw(format_args!(
            "<rect class=\"{class}\"{style} x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"",
            Px(x),
            Px(y),
            Px(width),
            Px(height)
        ));
        self.close_with_hint("rect", hint);
    }

    fn dot(&mut self, class: &str, (x, y): (f64, f64), radius: f64, hint: &str) {
        self.raw(format_args!(
            "<circle class=\"{class}\" cx=\"{}\" cy=\"{}\" r=\"{}\"",
            Px(x),
            Px(y),
            Px(radius)
        ));
        self.close_with_hint("circle", hint);
    }

    fn close_with_hint(&mut self, tag: &str, hint: &str) {
        if hint.is_empty() {
            self.text.push_str("/>");
        } else {
            self.raw(format_args!("><title>{}</title></{tag}>", escaped(hint)));
        }
    }
}

/// A coordinate with at most one digit after the point: a tenth of a pixel is enough and keeps pages small.
struct Px(f64);

impl std::fmt::Display for Px {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tenths = (self.0 * 10.0).round();
        if tenths % 10.0 == 0.0 {
            write!(f, "{:.0}", tenths / 10.0)
        } else {
            write!(f, "{:.1}", tenths / 10.0)
        }
    }
}
