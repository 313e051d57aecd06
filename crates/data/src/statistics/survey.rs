//! Statistics from sums: what owners add up, pass by pass, so that nobody sees a row, or one owner's own figures.
//!
//! A [`Survey`] turns a [`Question`] into a fixed sequence of passes. In each pass every owner makes a vector of whole
//! numbers of its own rows ([`Survey::observe`]); only the sum of these vectors over the owners is needed to go on
//! ([`Survey::learn`]). What comes out depends on the rows alone, bit for bit, however they are dealt to owners:
//!
//! | pass | an owner counts or adds up |
//! | --- | --- |
//! | scale | rows, rows of each class, values and missing ones, how large values are (to a factor of 16), names of categories (`names`) |
//! | refine, six times | values in 64 equal bins of what is left of each quantile's bracket |
//! | mean | clipped values; rows of each category |
//! | spread | squared distances from the mean |
//! | correlation | products of standardised values, if they are asked for |
//!
//! Means and variances are exact to the rounding of one `f64` division. A quantile, and the range, is a number that is at
//! most [`RESOLUTION`] times the column's largest magnitude below the true one; whole numbers and short binary fractions come
//! out exactly. Sums are fixed point: 2^-96 of the column's scale.

use super::names::{self, NameTable};
use super::pooled::rank;
use super::{
    Asked, CategoryStatistics, ColumnStatistics, NumberStatistics, Question, TableStatistics, Value,
};

/// The error of a quantile over the column's largest magnitude: 36 bits of a bracket that is at most 2 x 16 times as wide.
pub const RESOLUTION: f64 = 1.0 / (1_u64 << 31) as f64;

/// Bins of a refinement, and how often a bracket is refined.
const BINS: usize = 64;
const BIN_BITS: u32 = 6;
const REFINEMENTS: u32 = 6;
const CODE_BITS: u32 = BIN_BITS * REFINEMENTS;

/// Magnitudes are told apart by powers of 16, from 2^-32 on.
const MAGNITUDES: usize = 24;
const LEAST_EXPONENT: i32 = -32;

/// Fixed point of sums of values up to 1, and of products of standardised values.
const FRACTION: f64 = (1_u128 << 96) as f64;
const PRODUCT_FRACTION: f64 = (1_u64 << 40) as f64;
/// Largest standardised value in a product; beyond, it is cut. No value of fewer than 2^28 rows is so far out.
const MOST_DEVIATIONS: f64 = 16_384.0;

/// Most rows of all owners together.
pub const MOST_ROWS: u64 = 1 << 28;

/// Why an owner cannot take part, or sums make no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SurveyError {
    /// A setting that the question does not fit.
    #[error("{key}: {reason}")]
    Setting {
        /// The key of the config.
        key: &'static str,
        /// Why.
        reason: String,
    },
    /// A number that is too large.
    #[error("column '{column}': {value} is beyond 2^64")]
    Magnitude {
        /// The column.
        column: String,
        /// The number.
        value: String,
    },
    /// A category's name that is too long.
    #[error("column '{column}': a category's name of {length} bytes; at most {most} can be agreed on", most = names::LONGEST)]
    Name {
        /// The column.
        column: String,
        /// Bytes of the name.
        length: usize,
    },
    /// More different categories than there is room for.
    #[error(
        "the owners hold more categories than the {room} that there is room for; raise statistics.categories, or drop a column"
    )]
    Room {
        /// What there is room for.
        room: usize,
    },
    /// Too many rows.
    #[error("{rows} rows are more than {most}", most = MOST_ROWS)]
    Rows {
        /// Rows.
        rows: u64,
    },
    /// An owner's vector, or a sum, that cannot be.
    #[error("the sums of the pass '{pass}' cannot be: {reason}")]
    Impossible {
        /// The pass.
        pass: &'static str,
        /// Why.
        reason: String,
    },
}

/// How large a whole number of an owner's vector may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Width {
    /// Bits, with the sign if there is one; at most 126.
    pub bits: u32,
    /// Whether it may be negative.
    pub signed: bool,
}

impl Width {
    const COUNT: Self = Self {
        bits: 32,
        signed: false,
    };
    const SUM: Self = Self {
        bits: 126,
        signed: true,
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    Scale,
    Refine,
    Mean,
    Spread,
    Correlation,
}

impl Pass {
    fn name(self) -> &'static str {
        match self {
            Self::Scale => "scale",
            Self::Refine => "refine",
            Self::Mean => "mean",
            Self::Spread => "spread",
            Self::Correlation => "correlation",
        }
    }
}

/// The passes that answer a question.
#[derive(Clone, Debug)]
pub struct Survey {
    question: Question,
    passes: Vec<Pass>,
    /// Places of the columns of numbers, and the quantiles that are searched: smallest, asked, clips, largest.
    numbers: Vec<(usize, Vec<f64>)>,
    /// Places of the columns of categories, and the rows from which on an owner names one.
    categories: Vec<(usize, u64)>,
    /// Categories of all columns together that there is room for.
    room: usize,
}

/// What is known after some passes; the same at every owner.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    done: usize,
    rows: u64,
    classes: Vec<u64>,
    numbers: Vec<KnownNumber>,
    /// Missing values of each column of categories, and its categories with their rows.
    missing: Vec<u64>,
    names: Vec<(usize, String)>,
    counts: Vec<u64>,
    products: Vec<f64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct KnownNumber {
    count: u64,
    missing: u64,
    /// A power of two above every magnitude.
    scale: f64,
    /// For each searched quantile the bits of its code so far, and the values below.
    brackets: Vec<(u64, u64)>,
    statistics: NumberStatistics,
}

impl Survey {
    /// The passes for `question`, with room for so many different categories in all columns together.
    pub fn new(question: &Question, room: usize) -> Self {
        let mut numbers = Vec::new();
        let mut categories = Vec::new();
        for (place, (_, asked)) in question.columns.iter().enumerate() {
            match asked {
                Asked::Nothing => {}
                Asked::Number { quantiles, clip } => {
                    let mut searched = vec![0.0];
                    searched.extend(quantiles);
                    searched.extend(clip.iter().flat_map(|(low, high)| [*low, *high]));
                    searched.push(1.0);
                    numbers.push((place, searched));
                }
                Asked::Category { at_least, .. } => categories.push((place, *at_least)),
            }
        }
        let mut passes = vec![Pass::Scale];
        if !numbers.is_empty() {
            passes.extend([Pass::Refine; REFINEMENTS as usize]);
            passes.extend([Pass::Mean, Pass::Spread]);
            if question.correlation {
                passes.push(Pass::Correlation);
            }
        } else if !categories.is_empty() {
            passes.push(Pass::Mean);
        }
        Self {
            question: question.clone(),
            passes,
            numbers,
            categories,
            room,
        }
    }

    /// How many passes there are.
    pub fn passes(&self) -> usize {
        self.passes.len()
    }

    /// The numbers of an owner's vector in a pass.
    ///
    /// # Panics
    /// If there is no such pass.
    pub fn widths(&self, pass: usize) -> Vec<Width> {
        let (numbers, categories) = (self.numbers.len(), self.categories.len());
        let counts = |count: usize| vec![Width::COUNT; count];
        match self.passes[pass] {
            Pass::Scale => {
                let mut widths =
                    counts(1 + self.question.classes + numbers * (2 + MAGNITUDES) + categories);
                if categories > 0 {
                    widths.extend(NameTable::widths(self.room));
                }
                widths
            }
            Pass::Refine => {
                let searched: usize = self
                    .numbers
                    .iter()
                    .map(|(_, searched)| searched.len())
                    .sum();
                counts(searched * BINS)
            }
            Pass::Mean => {
                let mut widths = vec![Width::SUM; numbers];
                widths.extend(counts(if categories > 0 { self.room } else { 0 }));
                widths
            }
            Pass::Spread => vec![Width::SUM; numbers],
            Pass::Correlation => vec![Width::SUM; numbers * (numbers + 1) / 2],
        }
    }

    /// Nothing known yet.
    pub fn begin(&self) -> Known {
        let numbers = self.numbers.iter().map(|(_, searched)| KnownNumber {
            brackets: vec![(0, 0); searched.len()],
            ..KnownNumber::default()
        });
        Known {
            done: 0,
            rows: 0,
            classes: vec![0; self.question.classes],
            numbers: numbers.collect(),
            missing: vec![0; self.categories.len()],
            names: Vec::new(),
            counts: Vec::new(),
            products: Vec::new(),
        }
    }

    /// An owner's vector for the next pass, over its rows of values and their class; empty when all passes are done. A value
    /// of another kind than is asked for counts as missing.
    ///
    /// # Errors
    /// [`SurveyError`] for values that cannot be told.
    pub fn observe<'a>(
        &self,
        known: &Known,
        rows: impl IntoIterator<Item = (&'a [Value<'a>], u32)>,
    ) -> Result<Vec<i128>, SurveyError> {
        match self.passes.get(known.done) {
            None => Ok(Vec::new()),
            Some(Pass::Scale) => self.observe_scale(rows),
            Some(Pass::Refine) => Ok(self.observe_bins(known, rows)),
            Some(Pass::Mean) => Ok(self.observe_mean(known, rows)),
            Some(Pass::Spread) => Ok(self.observe_spread(known, rows)),
            Some(Pass::Correlation) => Ok(self.observe_products(known, rows)),
        }
    }

    fn observe_scale<'a>(
        &self,
        rows: impl IntoIterator<Item = (&'a [Value<'a>], u32)>,
    ) -> Result<Vec<i128>, SurveyError> {
        let mut sums = vec![0; 1 + self.question.classes];
        let mut numbers = vec![[0_i128; 2 + MAGNITUDES]; self.numbers.len()];
        let mut missing = vec![0_i128; self.categories.len()];
        let mut found: Vec<names::Counts> = vec![names::Counts::default(); self.categories.len()];
        for (row, class) in rows {
            sums[0] += 1;
            if (class as usize) < self.question.classes {
                sums[1 + class as usize] += 1;
            }
            for ((place, _), counts) in self.numbers.iter().zip(&mut numbers) {
                match row[*place] {
                    Value::Number(value) => {
                        counts[0] += 1;
                        counts[2 + self.magnitude(*place, value)?] += 1;
                    }
                    _ => counts[1] += 1,
                }
            }
            for (((place, _), missing), found) in
                self.categories.iter().zip(&mut missing).zip(&mut found)
            {
                match &row[*place] {
                    Value::Category(name) => found.add(name),
                    _ => *missing += 1,
                }
            }
        }
        sums.extend(numbers.into_iter().flatten());
        sums.extend(missing);
        if !self.categories.is_empty() {
            let mut table = NameTable::new(self.room);
            for (column, ((place, at_least), found)) in
                self.categories.iter().zip(&found).enumerate()
            {
                for (name, _) in found.iter().filter(|(_, count)| count >= at_least) {
                    if name.len() > names::LONGEST {
                        return Err(SurveyError::Name {
                            column: self.question.columns[*place].0.clone(),
                            length: name.len(),
                        });
                    }
                    table.add(column, name);
                }
            }
            sums.extend(table.into_numbers());
        }
        Ok(sums)
    }

    /// Which power of 16 a magnitude stays below.
    fn magnitude(&self, place: usize, value: f64) -> Result<usize, SurveyError> {
        let at = (0..MAGNITUDES).find(|at| value.abs() < scale_of(*at));
        at.ok_or_else(|| SurveyError::Magnitude {
            column: self.question.columns[place].0.clone(),
            value: value.to_string(),
        })
    }

    fn observe_bins<'a>(
        &self,
        known: &Known,
        rows: impl IntoIterator<Item = (&'a [Value<'a>], u32)>,
    ) -> Vec<i128> {
        // The bits of a code that this pass is the first to look at lie above `rest` others.
        let depth = known.done as u32;
        let rest = CODE_BITS - BIN_BITS * depth;
        let searched = self
            .numbers
            .iter()
            .map(|(_, searched)| searched.len() * BINS);
        let mut sums = vec![0; searched.sum()];
        for (row, _) in rows {
            let mut bins = sums.as_chunks_mut::<BINS>().0.iter_mut();
            for ((place, _), known) in self.numbers.iter().zip(&known.numbers) {
                let code = match row[*place] {
                    Value::Number(value) => Some(code(value, known.scale)),
                    _ => None,
                };
                for ((prefix, _), bins) in known.brackets.iter().zip(&mut bins) {
                    if let Some(code) = code
                        && code >> (rest + BIN_BITS) == *prefix
                    {
                        bins[(code >> rest) as usize % BINS] += 1;
                    }
                }
            }
        }
        sums
    }

    fn observe_mean<'a>(
        &self,
        known: &Known,
        rows: impl IntoIterator<Item = (&'a [Value<'a>], u32)>,
    ) -> Vec<i128> {
        let numbers = self.numbers.len();
        let mut sums = vec![0; self.widths(known.done).len()];
        for (row, _) in rows {
            for (at, ((place, _), known)) in self.numbers.iter().zip(&known.numbers).enumerate() {
                if let Value::Number(value) = row[*place] {
                    sums[at] += (known.clipped(value) / known.scale * FRACTION) as i128;
                }
            }
            for (column, (place, _)) in self.categories.iter().enumerate() {
                if let Value::Category(name) = &row[*place]
                    && let Some(slot) = known.slot(column, name)
                {
                    sums[numbers + slot] += 1;
                }
            }
        }
        sums
    }

    fn observe_spread<'a>(
        &self,
        known: &Known,
        rows: impl IntoIterator<Item = (&'a [Value<'a>], u32)>,
    ) -> Vec<i128> {
        let mut sums = vec![0; self.numbers.len()];
        for (row, _) in rows {
            for ((sum, (place, _)), known) in sums.iter_mut().zip(&self.numbers).zip(&known.numbers)
            {
                if let Value::Number(value) = row[*place] {
                    let distance = (known.clipped(value) - known.statistics.mean) / known.scale;
                    // At most 2^2, so that half the fraction keeps 2^28 rows inside the number.
                    *sum += (distance * distance * (FRACTION / 4.0)) as i128;
                }
            }
        }
        sums
    }

    fn observe_products<'a>(
        &self,
        known: &Known,
        rows: impl IntoIterator<Item = (&'a [Value<'a>], u32)>,
    ) -> Vec<i128> {
        let width = self.numbers.len();
        let mut sums = vec![0; width * (width + 1) / 2];
        let mut scaled = vec![0.0; width];
        for (row, _) in rows {
            for ((scaled, (place, _)), known) in
                scaled.iter_mut().zip(&self.numbers).zip(&known.numbers)
            {
                let value = match row[*place] {
                    Value::Number(value) => Some(value),
                    _ => None,
                };
                let value = known.statistics.standardised(value);
                *scaled = value.clamp(-MOST_DEVIATIONS, MOST_DEVIATIONS);
            }
            let mut sums = sums.iter_mut();
            for (at, first) in scaled.iter().enumerate() {
                for (second, sum) in scaled[at..].iter().zip(&mut sums) {
                    *sum += (first * second * PRODUCT_FRACTION) as i128;
                }
            }
        }
        sums
    }

    /// Takes in the owners' vectors of the next pass, added up.
    ///
    /// # Errors
    /// [`SurveyError`] for sums that no owners can have made, too many rows or too many categories.
    pub fn learn(&self, known: &mut Known, sums: &[i128]) -> Result<(), SurveyError> {
        let Some(pass) = self.passes.get(known.done).copied() else {
            return Ok(());
        };
        let expected = self.widths(known.done).len();
        if sums.len() != expected {
            let reason = format!("{} numbers instead of {expected}", sums.len());
            return Err(impossible(pass, reason));
        }
        match pass {
            Pass::Scale => self.learn_scale(known, sums)?,
            Pass::Refine => self.learn_bins(known, sums)?,
            Pass::Mean => {
                let (numbers, counts) = sums.split_at(self.numbers.len());
                for (known, sum) in known.numbers.iter_mut().zip(numbers) {
                    known.statistics.mean = ratio(*sum, known.count, FRACTION) * known.scale;
                }
                let counts: Result<Vec<u64>, _> =
                    counts.iter().map(|count| counted(pass, *count)).collect();
                known.counts = counts?;
                known.counts.truncate(known.names.len());
            }
            Pass::Spread => {
                for (known, sum) in known.numbers.iter_mut().zip(sums) {
                    let share = ratio(*sum, known.count, FRACTION / 4.0).max(0.0);
                    known.statistics.variance = share * known.scale * known.scale;
                }
            }
            Pass::Correlation => {
                let rows = known.rows;
                let share = |sum: &i128| ratio(*sum, rows, PRODUCT_FRACTION);
                known.products = sums.iter().map(share).collect();
            }
        }
        known.done += 1;
        Ok(())
    }

    fn learn_scale(&self, known: &mut Known, sums: &[i128]) -> Result<(), SurveyError> {
        let count = |sum: &i128| counted(Pass::Scale, *sum);
        let (rows, sums) = sums.split_at(1);
        known.rows = count(&rows[0])?;
        if known.rows > MOST_ROWS {
            return Err(SurveyError::Rows { rows: known.rows });
        }
        let (classes, sums) = sums.split_at(self.question.classes);
        known.classes = classes.iter().map(count).collect::<Result<_, _>>()?;
        let (numbers, sums) = sums.split_at(self.numbers.len() * (2 + MAGNITUDES));
        let of_columns = numbers.chunks_exact(2 + MAGNITUDES);
        for (known, counts) in known.numbers.iter_mut().zip(of_columns) {
            known.count = count(&counts[0])?;
            known.missing = count(&counts[1])?;
            let largest = counts[2..].iter().rposition(|count| *count > 0);
            known.scale = scale_of(largest.unwrap_or(0));
        }
        let (missing, names) = sums.split_at(self.categories.len());
        known.missing = missing.iter().map(count).collect::<Result<_, _>>()?;
        if !self.categories.is_empty() {
            let listed = NameTable::of_numbers(names, self.room).list();
            let listed = listed.ok_or(SurveyError::Room { room: self.room })?;
            if listed.len() > self.room {
                return Err(SurveyError::Room { room: self.room });
            }
            known.names = listed;
        }
        Ok(())
    }

    fn learn_bins(&self, known: &mut Known, sums: &[i128]) -> Result<(), SurveyError> {
        let last = known.done as u32 == REFINEMENTS;
        let mut bins = sums.as_chunks::<BINS>().0.iter();
        for ((place, searched), known) in self.numbers.iter().zip(&mut known.numbers) {
            for (p, (prefix, below)) in searched.iter().zip(&mut known.brackets) {
                let (Some(bins), true) = (bins.next(), known.count > 0) else {
                    continue;
                };
                let wanted = rank(known.count, *p);
                let mut at = None;
                for (bin, count) in bins.iter().enumerate() {
                    let count = counted(Pass::Refine, *count)?;
                    if at.is_none() {
                        match below.saturating_add(count) > wanted {
                            true => at = Some(bin as u64),
                            false => *below += count,
                        }
                    }
                }
                let Some(at) = at else {
                    let reason = "the bins hold fewer values than the column".to_owned();
                    return Err(impossible(Pass::Refine, reason));
                };
                *prefix = *prefix << BIN_BITS | at;
            }
            if last {
                let (_, asked) = &self.question.columns[*place];
                known.settle(asked);
            }
        }
        Ok(())
    }

    /// The answer, once all passes are done.
    pub fn finish(&self, known: Known) -> Option<TableStatistics> {
        if known.done < self.passes.len() {
            return None;
        }
        let mut columns = vec![ColumnStatistics::Nothing; self.question.columns.len()];
        for ((place, _), known) in self.numbers.iter().zip(&known.numbers) {
            let mut statistics = known.statistics.clone();
            (statistics.count, statistics.missing) = (known.count, known.missing);
            columns[*place] = ColumnStatistics::Number(statistics);
        }
        for (column, (place, _)) in self.categories.iter().enumerate() {
            let Asked::Category { at_least, most } = self.question.columns[*place].1 else {
                continue;
            };
            let named = known.names.iter().zip(&known.counts);
            let counts: Vec<(String, u64)> = named
                .filter(|((of, _), _)| *of == column)
                .map(|((_, name), count)| (name.clone(), *count))
                .collect();
            let missing = known.missing[column];
            let mut statistics = CategoryStatistics::of_counts(counts, missing, at_least, most);
            let listed: u64 = statistics.counts.iter().map(|(_, count)| count).sum();
            // Rows of names that no owner told are rows without a listed name as well.
            statistics.others = known.rows.saturating_sub(missing + listed);
            columns[*place] = ColumnStatistics::Category(statistics);
        }
        let correlation = self
            .question
            .correlation
            .then(|| square(&known.products, self.numbers.len()));
        Some(TableStatistics {
            rows: known.rows,
            classes: known.classes,
            columns,
            correlation,
        })
    }
}

impl Known {
    /// Passes done.
    pub fn done(&self) -> usize {
        self.done
    }

    /// The place of a category among all that are known.
    fn slot(&self, column: usize, name: &str) -> Option<usize> {
        let order =
            |(of, other): &(usize, String)| of.cmp(&column).then_with(|| other.as_str().cmp(name));
        self.names.binary_search_by(order).ok()
    }
}

impl KnownNumber {
    /// Reads range, quantiles and clips out of the finished codes.
    fn settle(&mut self, asked: &Asked) {
        let Asked::Number { quantiles, clip } = asked else {
            return;
        };
        if self.count == 0 {
            return;
        }
        let mut found = self
            .brackets
            .iter()
            .map(|(code, _)| decoded(*code, self.scale));
        let mut next = || found.next().unwrap_or_default();
        let low = next();
        self.statistics.quantiles = quantiles.iter().map(|_| next()).collect();
        self.statistics.clip = clip.map(|_| (next(), next()));
        let range = (low, next());
        self.statistics.range = Some(match self.statistics.clip {
            Some((low, high)) => (range.0.clamp(low, high), range.1.clamp(low, high)),
            None => range,
        });
    }

    fn clipped(&self, value: f64) -> f64 {
        self.statistics
            .clip
            .map_or(value, |(low, high)| value.clamp(low, high))
    }
}

/// The least power of 16 of a place in the magnitudes that is above it.
fn scale_of(magnitude: usize) -> f64 {
    2_f64.powi(LEAST_EXPONENT + 4 * (magnitude as i32 + 1))
}

/// A value in (-scale, scale) as one of 2^36 places, rising.
fn code(value: f64, scale: f64) -> u64 {
    let places = (1_u64 << CODE_BITS) as f64;
    let place = ((value / scale + 1.0) * (places / 2.0)).floor();
    place.clamp(0.0, places - 1.0) as u64
}

/// The least value of a place.
fn decoded(code: u64, scale: f64) -> f64 {
    let places = (1_u64 << CODE_BITS) as f64;
    (code as f64 / (places / 2.0) - 1.0) * scale
}

fn ratio(sum: i128, count: u64, fraction: f64) -> f64 {
    match count {
        0 => 0.0,
        count => sum as f64 / fraction / count as f64,
    }
}

fn counted(pass: Pass, sum: i128) -> Result<u64, SurveyError> {
    u64::try_from(sum).map_err(|_| impossible(pass, format!("a count of {sum}")))
}

fn impossible(pass: Pass, reason: String) -> SurveyError {
    SurveyError::Impossible {
        pass: pass.name(),
        reason,
    }
}

/// The whole of a symmetric matrix of which the upper triangle is given, row by row.
fn square(triangle: &[f64], width: usize) -> Vec<f64> {
    let mut all = vec![0.0; width * width];
    let mut values = triangle.iter();
    for row in 0..width {
        for column in row..width {
            let value = values.next().copied().unwrap_or_default();
            all[row * width + column] = value;
            all[column * width + row] = value;
        }
    }
    all
}
