//! Words and figures for people.

use std::io::{self, IsTerminal, Write};

use anyhow::Result;
use comfy_table::{Table, presets};
use serde::Serialize;

/// Writes a line for people to stderr. Nobody reading it is no reason to fail.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// A line of a long-lived process, with the time, to stderr.
pub(crate) fn log(text: &str) {
    let now = cloister_net::clock::unix_now();
    let date = cloister_net::pki::date(now);
    note(&format!(
        "{}:{:02}  {text}",
        date.trim_end_matches(" UTC"),
        now % 60
    ));
}

/// Writes `warning: ...` to stderr.
pub(crate) fn warning(text: &str) {
    note(&format!("{} {text}", styled("warning:", "33")));
}

/// Writes `error: ...` to stderr.
pub(crate) fn error(text: &str) {
    note(&format!("{} {text}", styled("error:", "31")));
}

/// The word in bold and in a colour, where stderr is a terminal and NO_COLOR does not forbid it.
fn styled(word: &str, colour: &str) -> String {
    let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    if forbidden || !io::stderr().is_terminal() {
        return word.to_owned();
    }
    format!("\u{1b}[1;{colour}m{word}\u{1b}[0m")
}

/// Writes text to stdout, with a line end.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", text.trim_end())?;
    Ok(stdout.flush()?)
}

/// Writes a JSON document to stdout.
pub(crate) fn print_json(value: &impl Serialize) -> Result<()> {
    print(&serde_json::to_string_pretty(value)?)
}

/// A table of plain columns, all but the first aligned to the right.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.to_vec());
    table
}

/// The lines of a table without the blanks at their ends and on their left.
pub(crate) fn lines(table: &Table) -> String {
    table
        .lines()
        .map(|line| {
            line.strip_prefix(' ')
                .unwrap_or(&line)
                .trim_end()
                .to_owned()
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// Aligns all columns but the first `left` ones to the right.
pub(crate) fn align_right(table: &mut Table, left: usize) {
    for column in table.column_iter_mut().skip(left) {
        column.set_cell_alignment(comfy_table::CellAlignment::Right);
    }
}

/// `12.3 MB`: decimal units, as networks are sold.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    let mut value = count as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 999.95 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    if unit == "B" {
        format!("{count} B")
    } else {
        format!("{value:.1} {unit}")
    }
}

/// `91.2 %`
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// `1,797`
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (12_345_678, "12.3 MB"),
            (u64::MAX, "18446.7 PB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1797, "1,797"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(percent(0.9123), "91.2 %");
    }
}
