//! The rows of a table, block by block, from a reader that need not fit into memory.

use std::io::Read;

use crate::error::{DataError, Place};

/// Most columns of a table.
const MAX_COLUMNS: usize = 65_536;
/// Bytes that are read at once.
const BLOCK: usize = 2 << 20;
/// Most bytes of a row, unless all is in memory anyway.
const MAX_ROW: usize = 64 << 20;

/// Some rows of a table that follow each other.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    text: String,
    columns: usize,
    /// Begin and end of each cell in `text`, row by row.
    cells: Vec<(u32, u32)>,
    /// For each row its line in the file, from 1.
    lines: Vec<u64>,
}

impl Batch {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.lines.len()
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// A cell without the white space around it.
    ///
    /// # Panics
    /// If there is no such row or column.
    pub fn cell(&self, row: usize, column: usize) -> &str {
        let (start, end) = self.cells[row * self.columns..][..self.columns][column];
        let cell = &self.text[start as usize..end as usize];
        // Blanks of ASCII are gone already.
        match cell.as_bytes() {
            [first, .., last] if first | last >= 0x80 => cell.trim(),
            _ => cell,
        }
    }

    /// The line of the file, from 1, where a row begins.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn line(&self, row: usize) -> u64 {
        self.lines[row]
    }

    /// Forgets the first row.
    pub(crate) fn drop_first(&mut self) {
        if self.rows() > 0 {
            self.lines.remove(0);
            self.cells.drain(..self.columns);
        }
    }
}

/// Reads rows of cells: UTF-8, every row with the same number of cells, blank lines skipped, cells quoted by `"` with `""`
/// for one in them, lines that end in LF, CR LF or CR. A quote inside a cell that does not begin with one is a character
/// like others.
#[derive(Debug)]
pub struct Records<R> {
    file: String,
    reader: R,
    delimiter: u8,
    max_row: usize,
    columns: usize,
    /// Bytes that were read and are in no batch yet.
    rest: Vec<u8>,
    ended: bool,
    line: u64,
    /// Bytes of the content before `rest`.
    before: u64,
}

/// What became of the bytes of a row.
enum Row {
    /// It ends before this byte; so many cells.
    Whole(usize, usize),
    /// The block ends in it.
    Cut,
    /// The content ends within the quotes that were opened on this line.
    Unclosed(u64),
}

impl<R: Read> Records<R> {
    /// Reads rows of cells with `delimiter` between them; without one it is comma, semicolon or tab: whichever the first
    /// line holds most often outside quotes, the comma on a tie.
    ///
    /// # Errors
    /// As [`Records::batch`].
    pub fn new(file: &str, reader: R, delimiter: Option<u8>) -> Result<Self, DataError> {
        Self::with(file, reader, delimiter, MAX_ROW)
    }

    pub(super) fn with(
        file: &str,
        reader: R,
        delimiter: Option<u8>,
        max_row: usize,
    ) -> Result<Self, DataError> {
        let mut records = Self {
            file: file.to_owned(),
            reader,
            delimiter: b',',
            max_row,
            columns: 0,
            rest: Vec::new(),
            ended: false,
            line: 1,
            before: 0,
        };
        records.more()?;
        if records.rest.starts_with(b"\xef\xbb\xbf") {
            records.rest.drain(..3);
            records.before = 3;
        }
        records.delimiter = delimiter.unwrap_or_else(|| guess_delimiter(&records.rest));
        Ok(records)
    }

    /// The next rows, as many as end in the next two mebibytes or so; none at the end of the content.
    ///
    /// # Errors
    /// [`DataError::Malformed`] with the line of a ragged row or of a quote that is never closed, or the byte that is not
    /// UTF-8 text; [`DataError::TooLarge`] for more than 65,536 columns or a row of more than 64 MiB;
    /// [`DataError::Read`].
    pub fn batch(&mut self) -> Result<Option<Batch>, DataError> {
        loop {
            let mut batch = Batch::default();
            let mut at = 0;
            while at < self.rest.len() {
                at = self.skip_line_ends(at);
                let from = at;
                let (line, cells) = (self.line, batch.cells.len());
                match self.row(at, &mut batch.cells) {
                    Row::Whole(end, count) => {
                        at = end;
                        self.take_row(line, cells, count, &mut batch)?;
                    }
                    Row::Cut => {
                        self.line = line;
                        batch.cells.truncate(cells);
                        at = from;
                        break;
                    }
                    Row::Unclosed(line) => {
                        let reason = "a quote that is opened in this line is never closed";
                        return Err(DataError::malformed(&self.file, Place::Line(line), reason));
                    }
                }
            }
            self.cut(at, &mut batch)?;
            if !batch.lines.is_empty() {
                return Ok(Some(batch));
            }
            if self.ended && self.rest.is_empty() {
                return Ok(None);
            }
            if self.rest.len() >= self.max_row {
                let reason = format!(
                    "line {} begins a row of more than {} MiB: is a quote never closed?",
                    self.line,
                    self.max_row >> 20
                );
                return Err(DataError::too_large(&self.file, reason));
            }
            self.more()?;
        }
    }

    /// Reads another block behind the rest: as much again where a row is longer than that.
    fn more(&mut self) -> Result<(), DataError> {
        let left = self
            .max_row
            .saturating_add(1)
            .saturating_sub(self.rest.len());
        let wanted = BLOCK.max(self.rest.len()).min(left);
        let before = self.rest.len();
        self.rest.reserve(wanted + 1);
        let read = (&mut self.reader)
            .take(wanted as u64)
            .read_to_end(&mut self.rest);
        let read = read.map_err(|error| {
            let at = self.before + self.rest.len() as u64;
            DataError::malformed(
                &self.file,
                Place::Byte(at),
                format!("cannot be read on: {error}"),
            )
        })?;
        self.ended = read < wanted;
        if let Some(at) = self.rest[before..].iter().position(|&byte| byte == 0) {
            let at = before + at;
            return Err(no_text(&self.file, &self.rest, at, self.before));
        }
        Ok(())
    }

    /// Gives the bytes before `at` to the batch.
    fn cut(&mut self, at: usize, batch: &mut Batch) -> Result<(), DataError> {
        let rest = self.rest.split_off(at);
        let taken = std::mem::replace(&mut self.rest, rest);
        let bytes = taken.len() as u64;
        batch.columns = self.columns;
        batch.text = String::from_utf8(taken).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            no_text(&self.file, error.as_bytes(), at, self.before)
        })?;
        self.before += bytes;
        if self.rest.len() < BLOCK && !self.ended {
            self.more()?;
        }
        Ok(())
    }

    fn skip_line_ends(&mut self, mut at: usize) -> usize {
        while let Some(end) = line_end(&self.rest, at, self.ended) {
            self.line += 1;
            at = end;
        }
        at
    }

    /// Reads the cells of a row from byte `at` on. `self.line` becomes the line after it.
    fn row(&mut self, at: usize, cells: &mut Vec<(u32, u32)>) -> Row {
        let (mut at, mut count) = (at, 0);
        // More cells than there may be are counted, not kept.
        let most = if self.columns == 0 {
            MAX_COLUMNS
        } else {
            self.columns
        };
        if at == self.rest.len() {
            return Row::Cut;
        }
        loop {
            let cell = if self.rest.get(at) == Some(&b'"') {
                let line = self.line;
                match self.quoted(at) {
                    Some(found) => found,
                    None if self.ended => return Row::Unclosed(line),
                    None => return Row::Cut,
                }
            } else {
                let end = find(&self.rest, at, self.delimiter);
                (at, end, end)
            };
            let (start, end, stop) = cell;
            if stop == self.rest.len() && !self.ended {
                return Row::Cut;
            }
            count += 1;
            if count <= most {
                let (start, end) = trimmed(&self.rest, start, end);
                cells.push((start as u32, end as u32));
            }
            at = stop;
            match self.rest.get(at) {
                Some(&byte) if byte == self.delimiter => at += 1,
                None => return Row::Whole(at, count),
                Some(_) => match line_end(&self.rest, at, self.ended) {
                    Some(end) => {
                        self.line += 1;
                        return Row::Whole(end, count);
                    }
                    None => return Row::Cut,
                },
            }
        }
    }

    /// A cell that begins with a quote: where its text begins and ends, and where the cell stops. The text is moved
    /// together over doubled quotes. None if the content ends before the quotes do.
    fn quoted(&mut self, at: usize) -> Option<(usize, usize, usize)> {
        let bytes = &self.rest;
        let (mut read, mut lines, mut doubled) = (at + 1, 0, false);
        let close = loop {
            match *bytes.get(read)? {
                b'"' if bytes.get(read + 1) == Some(&b'"') => {
                    doubled = true;
                    read += 2;
                }
                // The next block may begin with the second one.
                b'"' if read + 1 == bytes.len() && !self.ended => return None,
                b'"' => break read,
                b'\n' => {
                    lines += 1;
                    read += 1;
                }
                b'\r' => {
                    lines += u64::from(bytes.get(read + 1) != Some(&b'\n'));
                    read += 1;
                }
                _ => read += 1,
            }
        };
        self.line += lines;
        // What follows the closing quote up to the delimiter belongs to the cell as well.
        let stop = find(&self.rest, close + 1, self.delimiter);
        if !doubled && stop == close + 1 {
            return Some((at + 1, close, stop));
        }
        if stop == self.rest.len() && !self.ended {
            return None;
        }
        let mut write = at + 1;
        let mut read = at + 1;
        while read < stop {
            let quote = self.rest[read] == b'"' && read <= close;
            if !(quote && read == close) {
                self.rest[write] = self.rest[read];
                write += 1;
            }
            // Of two quotes, one was written.
            read += if quote && read < close { 2 } else { 1 };
        }
        // Blanks in what is left over, so that it stays UTF-8 and is trimmed away.
        self.rest[write..stop].fill(b' ');
        Some((at + 1, write, stop))
    }

    /// Checks a row's cells against the first row's.
    fn take_row(
        &mut self,
        line: u64,
        cells: usize,
        count: usize,
        batch: &mut Batch,
    ) -> Result<(), DataError> {
        let blank = count == 1 && batch.cells[cells].0 == batch.cells[cells].1;
        if blank && self.columns != 1 {
            batch.cells.truncate(cells);
            return Ok(());
        }
        if self.columns == 0 {
            if count > MAX_COLUMNS {
                let reason = format!("{count} columns; at most {MAX_COLUMNS} are read");
                return Err(DataError::too_large(&self.file, reason));
            }
            self.columns = count;
        }
        if count != self.columns {
            let reason = format!("{count} cells, but the first row has {}", self.columns);
            return Err(DataError::malformed(&self.file, Place::Line(line), reason));
        }
        batch.lines.push(line);
        Ok(())
    }
}

/// Where the line end at `at` ends, if there is one and all of it was read.
fn line_end(bytes: &[u8], at: usize, ended: bool) -> Option<usize> {
    match (bytes.get(at)?, bytes.get(at + 1)) {
        (b'\n', _) => Some(at + 1),
        (b'\r', Some(b'\n')) => Some(at + 2),
        (b'\r', None) if !ended => None,
        (b'\r', _) => Some(at + 1),
        _ => None,
    }
}

fn trimmed(bytes: &[u8], mut start: usize, mut end: usize) -> (usize, usize) {
    let blank = |byte: u8| byte <= b' ' && (byte == b' ' || (9..=13).contains(&byte));
    while start < end && blank(bytes[start]) {
        start += 1;
    }
    while start < end && blank(bytes[end - 1]) {
        end -= 1;
    }
    (start, end)
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The first delimiter or line end from `at` on, eight bytes at a time (Mycroft's test for a zero byte: the lowest byte
/// that it marks is right).
fn find(bytes: &[u8], at: usize, delimiter: u8) -> usize {
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let pattern = ONES * u64::from(delimiter);
    let mut from = at.min(bytes.len());
    while let Some(chunk) = bytes[from..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        let lf = ONES * u64::from(b'\n');
        let cr = ONES * u64::from(b'\r');
        let found = zero(word ^ pattern) | zero(word ^ lf) | zero(word ^ cr);
        if found != 0 {
            return from + found.trailing_zeros() as usize / 8;
        }
        from += 8;
    }
    let ends = |byte: &u8| *byte == delimiter || matches!(byte, b'\n' | b'\r');
    from + bytes[from..]
        .iter()
        .position(ends)
        .unwrap_or(bytes.len() - from)
}

/// Comma, semicolon or tab: the one that the first line holds most often outside quotes, the comma on a tie.
fn guess_delimiter(bytes: &[u8]) -> u8 {
    let mut counts = [(b',', 0), (b';', 0), (b'\t', 0)];
    let mut quoted = false;
    let content = bytes.trim_ascii_start();
    for &byte in content
        .iter()
        .take_while(|byte| !matches!(byte, b'\n' | b'\r'))
    {
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

/// The error of content that is no UTF-8 text at `at`, with a word on what it looks like. `before` bytes were read before.
pub(super) fn no_text(file: &str, bytes: &[u8], at: usize, before: u64) -> DataError {
    let head = &bytes[..bytes.len().min(4096)];
    let zeros = |parity: usize| {
        head.iter()
            .skip(parity)
            .step_by(2)
            .filter(|byte| **byte == 0)
            .count()
    };
    let wide = before <= 3 && (bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff"));
    let half = head.len() / 4;
    let around = &bytes[at.saturating_sub(20)..bytes.len().min(at + 20)];
    // Letters with accents are 0xc0 to 0xff there.
    let accents = around.iter().filter(|byte| **byte >= 0xa0).count();
    let text = around
        .iter()
        .filter(|byte| byte.is_ascii_graphic() || **byte == b' ')
        .count();
    let looks = if wide || (head.len() > 3 && (zeros(0) > half || zeros(1) > half)) {
        "it looks like UTF-16: save it as UTF-8"
    } else if bytes.get(at) == Some(&0) {
        "a NUL byte: no table of text holds one"
    } else if accents > 0 && text >= accents {
        "it looks like Latin-1 or Windows-1252: save it as UTF-8"
    } else {
        "it looks like binary content"
    };
    let place = Place::Byte(before + at as u64);
    DataError::malformed(file, place, format!("not UTF-8 text; {looks}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A reader that gives a few bytes at a time.
    struct Drops<'a>(&'a [u8], usize);

    impl Read for Drops<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            let (now, later) = self.0.split_at(count);
            buffer[..count].copy_from_slice(now);
            self.0 = later;
            Ok(count)
        }
    }

    fn rows(text: &str) -> Result<Vec<Vec<String>>, DataError> {
        let mut records = Records::new("t", Drops(text.as_bytes(), 3), Some(b','))?;
        let mut rows = Vec::new();
        while let Some(batch) = records.batch()? {
            for row in 0..batch.rows() {
                rows.push(
                    (0..batch.columns())
                        .map(|column| batch.cell(row, column).to_owned())
                        .collect(),
                );
            }
        }
        Ok(rows)
    }

    /// The same by the csv crate.
    fn reference(text: &str) -> Option<Vec<Vec<String>>> {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(text.as_bytes());
        let mut rows: Vec<Vec<String>> = Vec::new();
        for record in reader.records() {
            let row: Vec<String> = record
                .ok()?
                .iter()
                .map(|cell| cell.trim().to_owned())
                .collect();
            let columns = rows.first().map_or(0, Vec::len);
            if row.len() == 1 && row[0].is_empty() && columns != 1 {
                continue;
            }
            if columns > 0 && row.len() != columns {
                return None;
            }
            rows.push(row);
        }
        Some(rows)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Cells are those of the csv crate, where quotes are balanced; ragged rows are refused by both.
        #[test]
        fn cells_are_those_of_the_csv_crate(text in "([abé \"\",\n\r]|\"\"|\",|,\"|\r\n){0,40}") {
            match (rows(&text), reference(&text)) {
                (Ok(found), Some(expected)) => prop_assert_eq!(found, expected),
                (Err(error), Some(_)) => {
                    let said = error.to_string();
                    prop_assert!(said.contains("never closed"), "{}", said);
                }
                (Ok(found), None) => prop_assert!(false, "{:?} should be refused", found),
                (Err(_), None) => {}
            }
        }

        #[test]
        fn ends_of_cells_are_found_like_byte_by_byte(bytes in proptest::collection::vec(0_u8..45, 0..60), at in 0_usize..60) {
            let plain = bytes.iter().skip(at).position(|byte| matches!(byte, b',' | b'\n' | b'\r'));
            let expected = plain.map_or(bytes.len(), |place| at + place).max(at.min(bytes.len()));
            prop_assert_eq!(find(&bytes, at, b','), expected);
        }
    }

    #[test]
    fn rows_may_be_longer_than_a_block_and_not_longer_than_the_limit() {
        let long = "x".repeat(5 << 20);
        let text = format!("a,b\n1,\"{long}\n\"\"\"\n2,c\n");
        let found = rows(&text).unwrap();
        assert_eq!((found.len(), found[1][1].len()), (3, (5 << 20) + 2));
        assert_eq!(found[2], ["2", "c"]);

        let reader = Records::with("t", text.as_bytes(), None, 1 << 20);
        let mut records = reader.unwrap();
        let error = loop {
            match records.batch() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the row should be too long"),
                Err(error) => break error.to_string(),
            }
        };
        assert_eq!(
            error,
            "t: too large: line 2 begins a row of more than 1 MiB: is a quote never closed?"
        );
    }

    #[test]
    fn what_is_no_text_is_told_by_its_looks() {
        let wide: Vec<u8> = "a,b\n1,2\n"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let mut marked = vec![0xff, 0xfe];
        marked.extend(&wide);
        let cases: [(&[u8], &str); 5] = [
            (
                &wide,
                "t: byte 1: not UTF-8 text; it looks like UTF-16: save it as UTF-8",
            ),
            (
                &marked,
                "t: byte 3: not UTF-8 text; it looks like UTF-16: save it as UTF-8",
            ),
            (
                b"name,city\nJos\xe9,M\xe1laga\n",
                "t: byte 13: not UTF-8 text; it looks like Latin-1 or Windows-1252: save it as UTF-8",
            ),
            (
                b"a,b\n1,\x002\n",
                "t: byte 6: not UTF-8 text; a NUL byte: no table of text holds one",
            ),
            (
                b"a,\x80\x81\x82\n",
                "t: byte 2: not UTF-8 text; it looks like binary content",
            ),
        ];
        for (bytes, expected) in cases {
            let mut records = match Records::new("t", bytes, None) {
                Ok(records) => records,
                Err(error) => {
                    assert_eq!(error.to_string(), expected);
                    continue;
                }
            };
            assert_eq!(records.batch().unwrap_err().to_string(), expected);
        }
        let error = rows("a,b\n1,\"2\n3,4\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "t:2: a quote that is opened in this line is never closed"
        );
    }
}
