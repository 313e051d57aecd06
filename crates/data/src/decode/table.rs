//! CSV and its relatives: a rectangle of text cells.

use super::number::number;
use super::records::{Batch, Records};
use crate::error::{DataError, Place};

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

    /// No rows yet of a table with this many columns.
    pub(crate) fn empty(header: Option<Vec<String>>, columns: usize) -> Self {
        Self {
            header,
            columns,
            text: String::new(),
            starts: Vec::new(),
            ends: Vec::new(),
            lines: Vec::new(),
        }
    }

    /// Takes in a row of a batch, which must have as many columns.
    pub(crate) fn push(&mut self, file: &str, batch: &Batch, row: usize) -> Result<(), DataError> {
        let start = self.text.len();
        let line = batch.line(row);
        for column in 0..self.columns {
            self.text.push_str(batch.cell(row, column));
            let end = u32::try_from(self.text.len() - start).map_err(|_| {
                DataError::malformed(file, Place::Line(line), "a row of more than 4 GiB")
            })?;
            self.ends.push(end);
        }
        self.starts.push(start);
        self.lines.push(line);
        Ok(())
    }

    /// Bytes of all cells.
    pub(crate) fn bytes(&self) -> usize {
        self.text.len() + 4 * self.ends.len()
    }

    /// The rows that `keep` says, and no others.
    pub(crate) fn retain(&mut self, keep: &[bool]) {
        let mut kept = Self::empty(self.header.take(), self.columns);
        for row in (0..self.rows()).filter(|&row| keep[row]) {
            let ends = &self.ends[row * self.columns..][..self.columns];
            let from = self.starts[row];
            let bytes = ends.last().copied().unwrap_or(0) as usize;
            kept.starts.push(kept.text.len());
            kept.text.push_str(&self.text[from..from + bytes]);
            kept.ends.extend(ends);
            kept.lines.push(self.lines[row]);
        }
        *self = kept;
    }

    /// Turns the first row into the header.
    pub(crate) fn take_header(&mut self) {
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
    let mut records = Records::with(file, content, dialect.delimiter, u32::MAX as usize)?;
    let mut grid = Grid::empty(None, 0);
    while let Some(batch) = records.batch()? {
        grid.columns = batch.columns();
        for row in 0..batch.rows() {
            grid.push(file, &batch, row)?;
        }
    }
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

/// Whether the first row names the columns: its cells are different texts (the first may be empty), none of them a
/// number or a sign for a missing value, and either some column holds numbers below or no cell recurs in its column.
pub(crate) fn has_header(grid: &Grid, missing: &[String]) -> bool {
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
        assert_eq!(
            error.to_string(),
            "t: byte 2: not UTF-8 text; it looks like Latin-1 or Windows-1252: save it as UTF-8"
        );
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
