//! What one pass over a column's cells finds out.

use super::cell::{Disguise, TimeFormat, disguise, looks_boolean, looks_missing, time};
use crate::decode::number;
use crate::moments::ColumnMoments;
use crate::sketch::{Counted, DistinctCount, Frequent, Quantiles};

/// Values that are gathered before they are taken in together.
const BATCH: usize = 512;
/// Different words for a missing value, and formats of times, that are told apart in a column.
const MOST_WORDS: usize = 20;

/// How much is kept of a column.
#[derive(Clone, Copy, Debug)]
pub(super) enum Keep {
    /// Everything.
    All,
    /// So many different values, and eight times so many numbers.
    Most(usize),
}

/// A column as far as it was read.
#[derive(Clone, Debug)]
pub(super) struct Profile {
    /// For each sign of a missing value how often it was seen; the last is for zeros that mean it.
    pub(super) missing: Vec<u64>,
    pub(super) zero_is_missing: bool,
    /// Numbers among the cells, and how many of them are whole.
    pub(super) numbers: u64,
    pub(super) whole: u64,
    /// Cells that are neither numbers nor missing, and what they look like.
    pub(super) texts: u64,
    pub(super) booleans: u64,
    pub(super) phrases: u64,
    pub(super) times: Vec<(TimeFormat, u64)>,
    pub(super) disguised: [u64; Disguise::ALL.len()],
    /// Texts that usually mean that there is no value.
    pub(super) looks_missing: Vec<(String, u64)>,
    /// Whether the numbers rise from row to row, all of them or without ever falling.
    pub(super) rises: bool,
    pub(super) never_falls: bool,
    last: f64,
    batch: Vec<f64>,
    pub(super) moments: ColumnMoments,
    quantiles: Quantiles,
    frequent: Frequent,
}

impl Profile {
    /// An empty one; `signs` is the number of signs for a missing value.
    pub(super) fn new(keep: Keep, signs: usize, zero_is_missing: bool) -> Self {
        Self {
            missing: vec![0; signs + 1],
            zero_is_missing,
            numbers: 0,
            whole: 0,
            texts: 0,
            booleans: 0,
            phrases: 0,
            times: Vec::new(),
            disguised: [0; Disguise::ALL.len()],
            looks_missing: Vec::new(),
            rises: true,
            never_falls: true,
            last: f64::NEG_INFINITY,
            batch: Vec::new(),
            moments: ColumnMoments::default(),
            quantiles: Quantiles::new(match keep {
                Keep::All => usize::MAX,
                Keep::Most(size) => size,
            }),
            frequent: match keep {
                Keep::All => Frequent::exact(),
                Keep::Most(size) => Frequent::new(size),
            },
        }
    }

    /// Takes a cell in; `signs` mean a missing value.
    pub(super) fn observe(&mut self, cell: &str, signs: &[String]) {
        // First of all: a declared sign may be a number, such as -9.
        if let Some(sign) = signs.iter().position(|sign| sign == cell) {
            self.missing[sign] += 1;
            return self.moments.observe(None);
        }
        match number(cell) {
            Some(0.0) if self.zero_is_missing => {
                if let Some(zeros) = self.missing.last_mut() {
                    *zeros += 1;
                }
                self.moments.observe(None);
            }
            Some(value) => {
                self.batch.push(value);
                if self.batch.len() >= BATCH {
                    self.settle();
                }
            }
            None => self.text(cell),
        }
    }

    /// Takes in the numbers gathered so far. To be called once more at the end.
    pub(super) fn settle(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        self.numbers += batch.len() as u64;
        self.moments.observe_all(&batch);
        for &value in &batch {
            self.whole += u64::from(value.fract() == 0.0);
            self.rises &= value > self.last;
            self.never_falls &= value >= self.last;
            self.last = value;
            self.quantiles.observe(value);
            self.frequent.number(value);
        }
        self.batch = batch;
        self.batch.clear();
    }

    fn text(&mut self, cell: &str) {
        self.texts += 1;
        self.booleans += u64::from(looks_boolean(cell));
        self.phrases +=
            u64::from(cell.len() > 30 || cell.bytes().filter(|b| *b == b' ').count() > 2);
        if looks_missing(cell) {
            tally(
                &mut self.looks_missing,
                cell,
                |word, cell| word == cell,
                str::to_owned,
            );
        }
        if let Some(format) = time(cell) {
            tally(
                &mut self.times,
                format,
                |known, format| known == format,
                |format| format,
            );
        } else if let Some(disguise) = disguise(cell) {
            self.disguised[disguise as usize] += 1;
        }
        self.frequent.text(cell);
    }

    /// Missing cells.
    pub(super) fn all_missing(&self) -> u64 {
        self.missing.iter().sum()
    }

    /// Cells that are not missing.
    pub(super) fn present(&self) -> u64 {
        self.numbers + self.texts
    }

    /// Different values.
    pub(super) fn distinct(&self) -> DistinctCount {
        let mut distinct = self.frequent.distinct();
        distinct.count = distinct.count.min(self.present());
        distinct
    }

    /// The most frequent values, and by how much a count may be too small.
    pub(super) fn top(&self, most: usize) -> (Vec<Counted>, u64) {
        (self.frequent.top(most), self.frequent.error())
    }

    /// The quartiles of the numbers, and by how much their rank may be off; none without a number.
    pub(super) fn quartiles(&self) -> (Option<[f64; 3]>, f64) {
        let found = self.quantiles.quantiles(&[0.25, 0.5, 0.75]);
        (<[f64; 3]>::try_from(found).ok(), self.quantiles.error())
    }
}

/// Counts `key` in a short list.
fn tally<K, T>(
    list: &mut Vec<(T, u64)>,
    key: K,
    is: impl Fn(&T, &K) -> bool,
    make: impl Fn(K) -> T,
) {
    if let Some((_, count)) = list.iter_mut().find(|(known, _)| is(known, &key)) {
        *count += 1;
    } else if list.len() < MOST_WORDS {
        list.push((make(key), 1));
    }
}
