//! Quantiles of more values than are kept.

use super::next;

/// Levels that are kept; below them values are drawn.
const LEVELS: usize = 8;

/// Quantiles of a stream of numbers, in the manner of Karnin, Lang and Liberty (FOCS 2016): a level that is full is
/// sorted and every other value of it goes up one level, where it counts twice; once there are eight levels, the lowest
/// is replaced by drawing one value of each block.
///
/// Exact until `size` values are in. After that the rank of an answer is off by a random amount whose standard deviation
/// is at most `1.5 / size` of the count; [`Quantiles::error`] states three of them.
///
/// ```
/// use cloister_data::sketch::Quantiles;
///
/// let mut seen = Quantiles::new(512);
/// (0..100_000).for_each(|i| seen.observe(f64::from(i * 7919 % 100_000)));
/// assert!((seen.quantiles(&[0.5])[0] / 1e5 - 0.5).abs() <= seen.error());
/// ```
#[derive(Clone, Debug)]
pub struct Quantiles {
    size: usize,
    count: u64,
    /// A value of `levels[i]` stands for `2^(base + i)`; all levels but the first are sorted.
    levels: Vec<Vec<f64>>,
    base: u32,
    /// Values of the block that is being read, the place of the one to be kept, and that value.
    block: (u64, u64, f64),
    random: u64,
}

impl Quantiles {
    /// A summary that keeps up to eight times `size` values; `size` is at least 16.
    pub fn new(size: usize) -> Self {
        Self {
            size: size.max(16),
            count: 0,
            levels: vec![Vec::new()],
            base: 0,
            block: (0, 0, 0.0),
            random: 0,
        }
    }

    /// Values seen.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// By how much the rank of an answer may be off, as a share of the count: three standard deviations; 0 while all is
    /// exact.
    pub fn error(&self) -> f64 {
        match self.base == 0 && self.levels.len() == 1 {
            true => 0.0,
            false => 4.5 / self.size as f64,
        }
    }

    /// Takes a value in. It must not be NaN.
    pub fn observe(&mut self, value: f64) {
        self.count += 1;
        if self.base == 0 {
            return self.push(value);
        }
        let weight = 1 << self.base;
        if self.block.0 == 0 {
            self.block.1 = next(&mut self.random) & (weight - 1);
        }
        if self.block.0 == self.block.1 {
            self.block.2 = value;
        }
        self.block.0 += 1;
        if self.block.0 == weight {
            self.block.0 = 0;
            self.push(self.block.2);
        }
    }

    fn push(&mut self, value: f64) {
        self.levels[0].push(value);
        if self.levels[0].len() >= self.size {
            self.compact();
        }
    }

    /// Empties every full level into the next, from below.
    fn compact(&mut self) {
        let mut level = 0;
        while level < self.levels.len() && self.levels[level].len() >= self.size {
            self.lift(level);
            level += 1;
        }
        while self.levels.len() > LEVELS {
            if !self.levels[0].is_empty() {
                self.lift(0);
            }
            self.rise();
        }
    }

    /// Sends every other value of a level up. An odd one out stays for a later time.
    fn lift(&mut self, level: usize) {
        let mut values = std::mem::take(&mut self.levels[level]);
        if level == 0 {
            values.sort_unstable_by(f64::total_cmp);
        }
        let odd = (values.len() % 2 == 1).then(|| values.pop()).flatten();
        let first = (next(&mut self.random) >> 63) as usize;
        let kept: Vec<f64> = values.iter().skip(first).step_by(2).copied().collect();
        values.clear();
        values.extend(odd);
        self.levels[level] = values;
        if level + 1 == self.levels.len() {
            self.levels.push(kept);
        } else {
            let upper = std::mem::take(&mut self.levels[level + 1]);
            self.levels[level + 1] = merged(&upper, &kept);
        }
    }

    /// Does away with the lowest level: a single value left in it goes up with a chance of one half. The block that was
    /// being read goes on, twice as long.
    fn rise(&mut self) {
        let lone = self.levels.remove(0).pop();
        if let Some(value) = lone
            && next(&mut self.random) >> 63 == 1
        {
            let at = self.levels[0].partition_point(|&other| other < value);
            self.levels[0].insert(at, value);
        }
        self.base += 1;
        let (seen, ..) = self.block;
        // A block that is half read is read on with a place drawn anew: what it had is kept in proportion.
        if seen > 0 && next(&mut self.random) & ((1 << self.base) - 1) < seen {
            self.block.1 = u64::MAX;
        } else if seen > 0 {
            let left = (1 << self.base) - seen;
            self.block.1 = seen + next(&mut self.random) % left;
        }
    }

    /// Takes in what another summary saw.
    pub fn merge(&mut self, other: &Self) {
        let mut other = other.clone();
        self.random ^= other.random.rotate_left(17);
        let base = self.base.max(other.base);
        for one in [&mut other, &mut *self] {
            while one.base < base {
                if one.levels.len() == 1 {
                    one.levels.push(Vec::new());
                }
                if one.levels[0].len() > 1 {
                    one.lift(0);
                }
                one.rise();
            }
        }
        while self.levels.len() < other.levels.len() {
            self.levels.push(Vec::new());
        }
        self.levels[0].extend(&other.levels[0]);
        for (level, values) in other.levels.iter().enumerate().skip(1) {
            let mine = std::mem::take(&mut self.levels[level]);
            self.levels[level] = merged(&mine, values);
        }
        self.count += other.count;
        let weight = 1_u64 << self.base;
        let (seen, chosen, value) = other.block;
        let has_value = seen > chosen || chosen == u64::MAX;
        if seen > 0 && has_value && next(&mut self.random) & (weight - 1) < seen {
            self.levels[0].push(value);
        }
        let mut level = 0;
        while level < self.levels.len() {
            while self.levels[level].len() >= self.size {
                self.lift(level);
            }
            level += 1;
        }
        self.compact();
    }

    /// For each share in `shares`, the smallest value that at least this share of the values does not exceed; empty
    /// without a value.
    pub fn quantiles(&self, shares: &[f64]) -> Vec<f64> {
        let mut weighed: Vec<(f64, u64)> = Vec::new();
        for (level, values) in (0..).zip(&self.levels) {
            weighed.extend(
                values
                    .iter()
                    .map(|&value| (value, 1 << (self.base + level))),
            );
        }
        if self.block.0 > 0 && (self.block.0 > self.block.1 || self.block.1 == u64::MAX) {
            weighed.push((self.block.2, self.block.0));
        }
        weighed.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let total: u64 = weighed.iter().map(|(_, weight)| weight).sum();
        let mut upto = Vec::with_capacity(weighed.len());
        let mut sum = 0;
        for (_, weight) in &weighed {
            sum += weight;
            upto.push(sum);
        }
        let Some(last) = weighed.len().checked_sub(1) else {
            return Vec::new();
        };
        shares
            .iter()
            .map(|share| {
                let wanted = (share * total as f64).ceil().max(1.0) as u64;
                weighed[upto.partition_point(|&sum| sum < wanted).min(last)].0
            })
            .collect()
    }
}

/// Two sorted lists as one.
fn merged(a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut all = Vec::with_capacity(a.len() + b.len());
    let (mut i, mut j) = (0, 0);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        if x <= y {
            all.push(*x);
            i += 1;
        } else {
            all.push(*y);
            j += 1;
        }
    }
    all.extend(&a[i..]);
    all.extend(&b[j..]);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rank_error(seen: &Quantiles, values: &[f64]) -> f64 {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let shares: Vec<f64> = (1..20).map(|i| f64::from(i) / 20.0).collect();
        let found = seen.quantiles(&shares);
        let error = |(share, value): (&f64, &f64)| {
            let n = sorted.len() as f64;
            let below = sorted.partition_point(|other| other < value) as f64 / n;
            let upto = sorted.partition_point(|other| other <= value) as f64 / n;
            (below - share).max(share - upto).max(0.0)
        };
        shares.iter().zip(&found).map(error).fold(0.0, f64::max)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Ranks are within the stated error, whole or cut in two and merged, sorted or not, with ties or without.
        #[test]
        fn ranks_are_as_good_as_stated(
            seed: u64,
            rows in 1_usize..60_000,
            distinct in 1_u64..100_000,
            cut in 0.0..1.0,
            sorted: bool,
            size in 64_usize..300,
        ) {
            let mut state = seed;
            let mut values: Vec<f64> = (0..rows).map(|_| (next(&mut state) % distinct) as f64).collect();
            if sorted {
                values.sort_by(f64::total_cmp);
            }
            let observed = |values: &[f64]| {
                let mut seen = Quantiles::new(size);
                values.iter().for_each(|&value| seen.observe(value));
                seen
            };
            let whole = observed(&values);
            prop_assert!(rank_error(&whole, &values) <= whole.error() + 1e-12, "{}", rank_error(&whole, &values));
            let (left, right) = values.split_at((cut * rows as f64) as usize);
            let mut merged = observed(left);
            merged.merge(&observed(right));
            prop_assert_eq!(merged.count(), rows as u64);
            prop_assert!(rank_error(&merged, &values) <= 1.5 * merged.error() + 1e-12, "{}", rank_error(&merged, &values));
        }
    }

    #[test]
    fn few_values_are_exact_and_many_take_little_memory() {
        let mut seen = Quantiles::new(64);
        for value in [3.0, 1.0, 2.0, 4.0] {
            seen.observe(value);
        }
        assert_eq!(
            seen.quantiles(&[0.0, 0.25, 0.5, 0.51, 1.0]),
            [1.0, 1.0, 2.0, 3.0, 4.0]
        );
        assert_eq!(seen.error(), 0.0);
        (0..3_000_000).for_each(|i| seen.observe(f64::from(i)));
        assert!(seen.levels.iter().map(Vec::len).sum::<usize>() <= 64 * LEVELS);
        let median = seen.quantiles(&[0.5])[0] / 3e6;
        assert!((median - 0.5).abs() <= seen.error(), "{median}");
        assert!(Quantiles::new(64).quantiles(&[0.5]).is_empty());
    }
}
