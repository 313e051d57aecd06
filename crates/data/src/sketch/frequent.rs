//! The most frequent values.

use std::borrow::Cow;

use super::{Distinct, hash_bytes, hash_number};

/// Bytes of a text that are kept to show it.
const SHOWN: usize = 60;

/// A value as it is shown.
#[derive(Clone, Debug, PartialEq)]
enum Key {
    Number(f64),
    Text(Box<str>),
}

/// A value and how often it was seen.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Counted {
    /// The value; a long text is cut.
    pub value: String,
    /// How often it was seen, at least; [`Frequent::error`] says by how much it may be more.
    pub count: u64,
}

/// Counts of the values that are seen most often, in the manner of Misra and Gries (1982): a table that is full takes the
/// median count off all counts and drops what has none left (Anderson et al., arXiv:1705.07001).
///
/// Exact until `capacity` different values are in. After that a count is too small by at most [`Frequent::error`], and
/// every value seen more often than that is listed.
///
/// ```
/// use cloister_data::sketch::Frequent;
///
/// let mut seen = Frequent::new(64);
/// for i in 0..10_000 {
///     seen.text(if i % 4 == 0 { "tcp" } else { "udp" });
///     seen.number(f64::from(i));
/// }
/// let top = seen.top(2);
/// assert_eq!((top[0].value.as_str(), top[1].value.as_str()), ("udp", "tcp"));
/// assert!(top[0].count <= 7_500 && top[0].count + seen.error() >= 7_500);
/// ```
#[derive(Clone, Debug)]
pub struct Frequent {
    /// Most values; none is kept out if there is no bound.
    capacity: Option<usize>,
    /// Open addressing, a power of two of places; a place with count 0 is free.
    hashes: Vec<u64>,
    counts: Vec<u64>,
    keys: Vec<Key>,
    used: usize,
    error: u64,
    /// How many there were, once some were dropped.
    seen: Option<Distinct>,
}

/// A number of different values.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct DistinctCount {
    /// How many.
    pub count: u64,
    /// Standard error as a share of the count; 0 where it is exact.
    pub error: f64,
}

impl Frequent {
    /// Counts of at most `capacity` values, 8 at least.
    pub fn new(capacity: usize) -> Self {
        Self::with(Some(capacity.max(8)))
    }

    /// Counts of all values.
    pub fn exact() -> Self {
        Self::with(None)
    }

    fn with(capacity: Option<usize>) -> Self {
        Self {
            capacity,
            hashes: Vec::new(),
            counts: Vec::new(),
            keys: Vec::new(),
            used: 0,
            error: 0,
            seen: None,
        }
    }

    /// By how much a count may be too small; 0 while all is exact.
    pub fn error(&self) -> u64 {
        self.error
    }

    /// Number of different values: exact while no count was dropped, else estimated by [`Distinct`].
    pub fn distinct(&self) -> DistinctCount {
        match &self.seen {
            Some(seen) => DistinctCount {
                count: seen.estimate().round() as u64,
                error: Distinct::ERROR,
            },
            None => DistinctCount {
                count: self.used as u64,
                error: 0.0,
            },
        }
    }

    /// Takes in a text.
    pub fn text(&mut self, text: &str) {
        self.add(hash_bytes(text.as_bytes()), 1, || {
            Key::Text(cut(text).into())
        });
    }

    /// Takes in a number.
    pub fn number(&mut self, value: f64) {
        self.add(hash_number(value), 1, || Key::Number(value + 0.0));
    }

    fn add(&mut self, hash: u64, count: u64, key: impl FnOnce() -> Key) {
        if self.hashes.is_empty() {
            self.resize(16);
        }
        if let Some(seen) = &mut self.seen {
            seen.observe(hash);
        }
        let place = self.place(hash);
        if self.counts[place] > 0 {
            self.counts[place] += count;
            return;
        }
        self.hashes[place] = hash;
        self.counts[place] = count;
        self.keys[place] = key();
        self.used += 1;
        if self.capacity.is_some_and(|most| self.used > most) {
            self.purge();
        } else if self.used * 2 > self.hashes.len() {
            self.resize(self.hashes.len() * 2);
        }
    }

    fn place(&self, hash: u64) -> usize {
        let mask = self.hashes.len() - 1;
        let mut place = hash as usize & mask;
        while self.counts[place] > 0 && self.hashes[place] != hash {
            place = (place + 1) & mask;
        }
        place
    }

    fn resize(&mut self, places: usize) {
        let hashes = std::mem::replace(&mut self.hashes, vec![0; places]);
        let counts = std::mem::replace(&mut self.counts, vec![0; places]);
        let keys = std::mem::replace(&mut self.keys, vec![Key::Number(0.0); places]);
        for ((hash, count), key) in hashes.into_iter().zip(counts).zip(keys) {
            if count > 0 {
                let place = self.place(hash);
                self.hashes[place] = hash;
                self.counts[place] = count;
                self.keys[place] = key;
            }
        }
    }

    /// Takes the median count off all.
    fn purge(&mut self) {
        if self.seen.is_none() {
            self.seen = Some(self.estimator());
        }
        let mut counts: Vec<u64> = self
            .counts
            .iter()
            .copied()
            .filter(|&count| count > 0)
            .collect();
        let middle = counts.len() / 2;
        let (_, &mut median, _) = counts.select_nth_unstable(middle);
        self.error += median;
        self.used = 0;
        for count in &mut self.counts {
            *count = count.saturating_sub(median);
            self.used += usize::from(*count > 0);
        }
        self.resize(self.hashes.len());
    }

    /// An estimator that has seen all that is listed.
    fn estimator(&self) -> Distinct {
        let mut seen = Distinct::default();
        for (&hash, &count) in self.hashes.iter().zip(&self.counts) {
            if count > 0 {
                seen.observe(hash);
            }
        }
        seen
    }

    /// Takes in what another one counted.
    pub fn merge(&mut self, other: &Self) {
        self.error += other.error;
        if let Some(theirs) = &other.seen {
            let mut seen = self.seen.take().unwrap_or_else(|| self.estimator());
            seen.merge(theirs);
            self.seen = Some(seen);
        }
        for ((&hash, &count), key) in other.hashes.iter().zip(&other.counts).zip(&other.keys) {
            if count > 0 {
                self.add(hash, count, || key.clone());
            }
        }
    }

    /// The most frequent values, ties in order of the values.
    pub fn top(&self, most: usize) -> Vec<Counted> {
        let mut all: Vec<(u64, &Key)> = self.counts.iter().copied().zip(&self.keys).collect();
        all.retain(|(count, _)| *count > 0);
        all.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| in_order(a.1, b.1)));
        let shown = all.into_iter().take(most);
        shown
            .map(|(count, key)| Counted {
                value: words(key).into_owned(),
                count,
            })
            .collect()
    }
}

fn words(key: &Key) -> Cow<'_, str> {
    match key {
        Key::Number(value) => Cow::Owned(value.to_string()),
        Key::Text(text) => Cow::Borrowed(text),
    }
}

fn in_order(a: &Key, b: &Key) -> std::cmp::Ordering {
    match (a, b) {
        (Key::Number(a), Key::Number(b)) => a.total_cmp(b),
        (Key::Number(_), Key::Text(_)) => std::cmp::Ordering::Less,
        (Key::Text(_), Key::Number(_)) => std::cmp::Ordering::Greater,
        (Key::Text(a), Key::Text(b)) => a.cmp(b),
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(SHOWN)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// No count is too large, none too small by more than stated, and no frequent value is left out; also after a
        /// merge, and exactly without a bound.
        #[test]
        fn counts_are_as_good_as_stated(
            values in proptest::collection::vec(prop_oneof![0_u32..5, 0_u32..400], 1..3000),
            cut in 0.0..1.0,
            capacity in 8_usize..100,
        ) {
            let mut truth = BTreeMap::new();
            for value in &values {
                *truth.entry(value.to_string()).or_insert(0_u64) += 1;
            }
            let observed = |values: &[u32], mut seen: Frequent| {
                for value in values {
                    seen.text(&value.to_string());
                }
                seen
            };
            let (left, right) = values.split_at((cut * values.len() as f64) as usize);
            let mut merged = observed(left, Frequent::new(capacity));
            merged.merge(&observed(right, Frequent::new(capacity)));
            for seen in [observed(&values, Frequent::new(capacity)), merged] {
                let listed: BTreeMap<String, u64> = seen.top(usize::MAX).into_iter().map(|c| (c.value, c.count)).collect();
                prop_assert!(listed.len() <= capacity);
                for (value, count) in &truth {
                    let found = listed.get(value).copied().unwrap_or(0);
                    prop_assert!(found <= *count && found + seen.error() >= *count, "{value}: {found} of {count}");
                }
                let distinct = seen.distinct();
                let off = (distinct.count as f64 - truth.len() as f64).abs();
                prop_assert!(off <= 5.0 * distinct.error * truth.len() as f64 + 1.0);
                prop_assert!(seen.error() <= values.len() as u64 * 3 / capacity as u64);
            }
            let exact = observed(&values, Frequent::exact());
            prop_assert_eq!(exact.distinct(), DistinctCount { count: truth.len() as u64, error: 0.0 });
            let listed: BTreeMap<String, u64> = exact.top(usize::MAX).into_iter().map(|c| (c.value, c.count)).collect();
            prop_assert_eq!(listed, truth);
        }
    }

    #[test]
    fn numbers_are_one_value_however_they_are_written() {
        let mut seen = Frequent::exact();
        for value in [0.0, -0.0, 2.5] {
            seen.number(value);
        }
        seen.text("2.5");
        let top = seen.top(9);
        assert_eq!((top[0].value.as_str(), top[0].count), ("0", 2));
        assert_eq!(top.len(), 3);
    }
}
