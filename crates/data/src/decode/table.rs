//! CSV and its relatives: a rectangle of text cells.

use csv::{ReaderBuilder, StringRecord};

use crate::error::{DataError, Place};

/// Most columns of a table.
const MAX_COLUMNS: usize = 65_536;
/// Rows looked at to tell a header from data.
const HEADER_ROWS: usize = 100;

/// How a table is written, where it is declared; what is `None` is seen from the content.
#[derive(Clone, Debug, Default)]
pub struct Dialect {
    /// Whether the first line names the columns.
    pub header: Option<bool>,
    /// The byte between cells.
    pub delimiter: Option<u8>,
    /// Cells that mean a missing value: never the name of a column.
    pub missing: Vec<String>,
}

/// A rectangle of cells, each trimmed of white space.
#[derive(Clone, Debug)]
pub struct Grid {
    header: Option<Vec<String>>,
    columns: usize,
    text: String,
    /// For each row the byte of `text` where it begins.
    starts: Vec<usize>,
    /// For each cell its end, counted from the start of its row.
    ends: Vec<u32>,
    /// For each row its line in the file, from 1.
    lines: Vec<u64>,
}

impl Grid {
    /// Names of the columns, if there is a header.
    pub fn header(&self) -> Option<&[String]> {
        self.header.as_deref()
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Number of rows, without the header.
    pub fn rows(&self) -> usize {
        self.lines.len()
    }

    /// A cell.
    ///
    /// # Panics
    /// If there is no such row or column.
    pub fn cell(&self, row: usize, column: usize) -> &str {
        let ends = &self.ends[row * self.columns..][..self.columns];
        let from = column.checked_sub(1).map_or(0, |before| ends[before]);
        let start = self.starts[row];
        &self.text[start + from as usize..start + ends[column] as usize]
    }

    /// The line of the file, from 1, where a row begins.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn line(&self, row: usize) -> u64 {
        self.lines[row]
    }

    /// A column by index and, if there is a header, name: `column 3 ('chol')`.
    pub fn column_name(&self, column: usize) -> String {
        match self.header.as_ref().and_then(|names| names.get(column)) {
            Some(name) => format!("column {column} ('{name}')"),
            None => format!("column {column}"),
        }
    }

    fn first_row(&self) -> Vec<&str> {
        (0..self.columns)
            .map(|column| self.cell(0, column))
            .collect()
    }

    fn push(&mut self, file: &str, line: u64, record: &StringRecord) -> Result<(), DataError> {
        let start = self.text.len();
        for cell in record {
            self.text.push_str(cell.trim());
            let end = u32::try_from(self.text.len() - start).map_err(|_| {
                DataError::malformed(file, Place::Line(line), "a row of more than 4 GiB")
            })?;
            self.ends.push(end);
        }
        self.starts.push(start);
        self.lines.push(line);
        Ok(())
    }

    /// Turns the first row into the header.
    fn take_header(&mut self) {
        let names = self.first_row().into_iter().map(str::to_owned).collect();
        self.header = Some(names);
        self.starts.remove(0);
        self.lines.remove(0);
        self.ends.drain(..self.columns);
    }
}

/// Reads a table: UTF-8, every row with the same number of cells, blank lines skipped, cells quoted by `"`.
///
/// # Errors
/// [`DataError::Malformed`] with the line of a ragged row, or the byte that is not UTF-8; [`DataError::Empty`]
/// without a row.
pub fn table(file: &str, content: &[u8], dialect: &Dialect) -> Result<Grid, DataError> {
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    let text = std::str::from_utf8(content).map_err(|error| {
        DataError::malformed(
            file,
            Place::Byte(error.valid_up_to() as u64),
            "not UTF-8 text",
        )
    })?;
    let delimiter = dialect.delimiter.unwrap_or_else(|| guess_delimiter(text));
    let mut grid = cells(file, text, delimiter)?;
    let named = match dialect.header {
        Some(declared) => declared && grid.rows() > 0,
        None => has_header(&grid, &dialect.missing),
    };
    if named {
        grid.take_header();
    }
    if grid.rows() == 0 {
        return Err(DataError::empty(file, "holds no row"));
    }
    Ok(grid)
}

fn cells(file: &str, text: &str, delimiter: u8) -> Result<Grid, DataError> {
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .from_reader(text.as_bytes());
    let mut grid = Grid {
        header: None,
        columns: 0,
        text: String::new(),
        starts: Vec::new(),
        ends: Vec::new(),
        lines: Vec::new(),
    };
    let mut lines = LineCounter::default();
    let mut record = StringRecord::new();
    loop {
        let start = usize::try_from(reader.position().byte()).unwrap_or(usize::MAX);
        let more = reader.read_record(&mut record).map_err(|error| {
            let line = error.position().map_or(0, csv::Position::line);
            DataError::malformed(file, Place::Line(line), error.to_string())
        })?;
        if !more {
            return Ok(grid);
        }
        let line = lines.at(text.as_bytes(), start);
        // A line of blanks is a row of one empty cell to the csv reader.
        if record.len() == 1 && record[0].trim().is_empty() && grid.columns != 1 {
            continue;
        }
        if grid.columns == 0 {
            grid.columns = record.len();
            if grid.columns > MAX_COLUMNS {
                let reason = format!("{} columns; at most {MAX_COLUMNS} are read", grid.columns);
                return Err(DataError::too_large(file, reason));
            }
        }
        if record.len() != grid.columns {
            let reason = format!(
                "{} cells, but the first row has {}",
                record.len(),
                grid.columns
            );
            return Err(DataError::malformed(file, Place::Line(line), reason));
        }
        grid.push(file, line, &record)?;
    }
}

/// Line numbers of rising byte positions, for the line ends LF, CR LF and CR.
struct LineCounter {
    at: usize,
    line: u64,
}

impl Default for LineCounter {
    fn default() -> Self {
        Self { at: 0, line: 1 }
    }
}

impl LineCounter {
    /// The line of the first byte from `start` on that ends no line.
    fn at(&mut self, bytes: &[u8], start: usize) -> u64 {
        while let Some(&byte) = bytes.get(self.at) {
            if self.at >= start && !matches!(byte, b'\n' | b'\r') {
                break;
            }
            let ends_line = match byte {
                b'\n' => true,
                b'\r' => bytes.get(self.at + 1) != Some(&b'\n'),
                _ => false,
            };
            self.line += u64::from(ends_line);
            self.at += 1;
        }
        self.line
    }
}

/// Comma, semicolon or tab: the one that the first line holds most often outside quotes, the comma on a tie.
fn guess_delimiter(text: &str) -> u8 {
    let line = text.trim_start().lines().next().unwrap_or("");
    let mut counts = [(b',', 0), (b';', 0), (b'\t', 0)];
    let mut quoted = false;
    for byte in line.bytes() {
        quoted ^= byte == b'"';
        for (delimiter, count) in &mut counts {
            *count += usize::from(!quoted && byte == *delimiter);
        }
    }
    let mut best = counts[0];
    for candidate in counts {
        if candidate.1 > best.1 {
            best = candidate;
        }
    }
    best.0
}

/// Whether a cell is a number that a feature could hold.
pub(crate) fn number(cell: &str) -> Option<f64> {
    cell.parse().ok().filter(|value: &f64| value.is_finite())
}

/// Whether the first row names the columns: its cells are different texts (the first may be empty), none of them a
/// number or a sign for a missing value, and either some column holds numbers below or no cell recurs in its column.
fn has_header(grid: &Grid, missing: &[String]) -> bool {
    if grid.rows() == 0 {
        return false;
    }
    let first = grid.first_row();
    let nameless = |(column, cell): (usize, &&str)| {
        number(cell).is_some()
            || (missing.iter().any(|token| token == cell) && !(column == 0 && cell.is_empty()))
    };
    let mut sorted = first.clone();
    sorted.sort_unstable();
    if first.iter().enumerate().any(nameless) || sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        return false;
    }
    let rows = 1..grid.rows().min(HEADER_ROWS);
    let numbers_below = rows
        .clone()
        .any(|row| (0..grid.columns).any(|column| number(grid.cell(row, column)).is_some()));
    numbers_below
        || rows.clone().all(|row| {
            first
                .iter()
                .enumerate()
                .all(|(column, cell)| grid.cell(row, column) != *cell)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Grid, DataError> {
        table("t.csv", text.as_bytes(), &Dialect::default())
    }

    #[test]
    fn headers_are_told_from_data() {
        let cases = [
            ("a,b\n1,2\n", true),
            ("1,b\n1,2\n", false),
            ("tcp,x\ntcp,y\n", false),
            ("proto,x\ntcp,y\n", true),
            (",b\n1,2\n", true),
            ("a,a\n1,2\n", false),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text).unwrap().header().is_some(), expected, "{text}");
        }
    }

    #[test]
    fn lines_are_counted_over_blanks_quotes_and_every_line_end() {
        for end in ["\n", "\r\n", "\r"] {
            let text = ["x,y", "", "1,\"a", "b\"", "", "", " 2 ,c"].join(end);
            let grid = read(&text).unwrap();
            assert_eq!((grid.rows(), grid.columns()), (2, 2), "{end:?}");
            assert_eq!((grid.line(0), grid.line(1)), (3, 7), "{end:?}");
            assert_eq!(grid.cell(1, 0), "2");
        }
        let error = read("x,y\n1,2\n\n1,2,3\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "t.csv:4: 3 cells, but the first row has 2"
        );
    }

    #[test]
    fn delimiters_are_seen_and_byte_order_marks_dropped() {
        let grid = read("\u{feff}\"a,a\";b\n1;2\n").unwrap();
        assert_eq!(grid.header().unwrap(), ["a,a", "b"]);
        assert_eq!(read("a\tb\n1\t2\n").unwrap().columns(), 2);
    }

    #[test]
    fn text_that_is_no_table_is_refused() {
        let error = table("t", b"a,\xff\n", &Dialect::default()).unwrap_err();
        assert_eq!(error.to_string(), "t: byte 2: not UTF-8 text");
        for text in ["", "\n\n", "a,b\n"] {
            let dialect = Dialect {
                header: Some(true),
                ..Dialect::default()
            };
            let error = table("t", text.as_bytes(), &dialect).unwrap_err();
            assert_eq!(error.to_string(), "t: holds no row");
        }
    }
}
