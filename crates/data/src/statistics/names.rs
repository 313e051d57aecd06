//! The union of the owners' names, from sums alone: an invertible Bloom lookup table (Goodrich and Mitzenmacher 2011,
//! arXiv 1101.2245).
//!
//! A name goes into five cells, chosen by its hash; a cell adds up whole numbers that spell the names in it. When the
//! owners' tables are added, a cell in which only one name is left spells it (as often as owners have it); it is read, taken
//! out of its other cells, and so on until nothing is left. Who held which name cannot be seen in the sum.

use std::collections::{BTreeMap, BTreeSet};

use super::survey::Width;

/// Most bytes of a name.
pub(super) const LONGEST: usize = 48;

/// Bytes of a name in one number: with them a sum over 2^13 owners has 110 bits.
const CHUNK: usize = 12;
const CHUNKS: usize = LONGEST / CHUNK;
/// Numbers of a cell: owners, column and length, check, the name.
const CELL: usize = 3 + CHUNKS;
/// Cells in which a name is.
const CHOICES: usize = 5;

/// Cells of a part beyond what the room asks for.
const SPARE: usize = 16;

/// How often an owner has each name.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts(BTreeMap<String, u64>);

impl Counts {
    pub(super) fn add(&mut self, name: &str) {
        match self.0.get_mut(name) {
            Some(count) => *count += 1,
            None => {
                self.0.insert(name.to_owned(), 1);
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, count)| (name.as_str(), *count))
    }
}

/// A table of names of columns.
#[derive(Clone, Debug)]
pub(super) struct NameTable {
    cells: Vec<[i128; CELL]>,
}

/// Cells of each of the five parts: 1.43 times the names would do for large tables; with 2 times, and some more for small ones,
/// fewer than one full table in ten thousand cannot be read (two names in the same five cells).
fn part(room: usize) -> usize {
    room.div_ceil(5) * 2 + SPARE
}

/// What a name adds to its cells, and where they are.
struct Spelled {
    numbers: [i128; CELL],
    hash: u64,
}

impl Spelled {
    fn new(column: usize, name: &str) -> Self {
        let mut numbers = [0; CELL];
        numbers[0] = 1;
        numbers[1] = ((column as i128) << 8) | name.len() as i128;
        for (number, bytes) in numbers[3..].iter_mut().zip(name.as_bytes().chunks(CHUNK)) {
            *number = bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | i128::from(*byte));
        }
        let hash = hash(column, name);
        numbers[2] = i128::from(mixed(hash ^ 0x9e37_79b9_7f4a_7c15));
        Self { numbers, hash }
    }

    /// Where it is in a table whose parts have so many cells.
    fn places(&self, part: usize) -> [usize; CHOICES] {
        let mut hash = self.hash;
        std::array::from_fn(|choice| {
            hash = mixed(hash.wrapping_add(choice as u64 + 1));
            choice * part + (hash % part as u64) as usize
        })
    }
}

/// FNV-1a, which no version of a library changes: owners must agree.
fn hash(column: usize, name: &str) -> u64 {
    let bytes = (column as u64).to_le_bytes();
    let bytes = bytes.iter().chain(name.as_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The finaliser of SplitMix64.
fn mixed(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

impl NameTable {
    /// An empty table with room for so many names.
    pub(super) fn new(room: usize) -> Self {
        Self {
            cells: vec![[0; CELL]; CHOICES * part(room)],
        }
    }

    /// The numbers of a table.
    pub(super) fn widths(room: usize) -> impl Iterator<Item = Width> {
        let of = |bits| Width {
            bits,
            signed: false,
        };
        let chunk = of(8 * CHUNK as u32 + 13);
        let mut cell = vec![of(32), of(48), of(80)];
        cell.extend([chunk; CHUNKS]);
        std::iter::repeat_n(cell, CHOICES * part(room)).flatten()
    }

    /// Puts a name in that is not in yet.
    pub(super) fn add(&mut self, column: usize, name: &str) {
        let spelled = Spelled::new(column, name);
        self.change(&spelled, 1);
    }

    fn change(&mut self, spelled: &Spelled, times: i128) {
        for place in spelled.places(self.cells.len() / CHOICES) {
            for (number, part) in self.cells[place].iter_mut().zip(spelled.numbers) {
                *number += times * part;
            }
        }
    }

    /// All numbers in order.
    pub(super) fn into_numbers(self) -> impl Iterator<Item = i128> {
        self.cells.into_iter().flatten()
    }

    /// A table, or a sum of tables, from its numbers.
    pub(super) fn of_numbers(numbers: &[i128], room: usize) -> Self {
        let mut table = Self::new(room);
        for (cell, numbers) in table.cells.iter_mut().zip(numbers.as_chunks::<CELL>().0) {
            *cell = *numbers;
        }
        table
    }

    /// The names and their columns, sorted; `None` if there are more than can be told apart.
    pub(super) fn list(mut self) -> Option<Vec<(usize, String)>> {
        let part = self.cells.len() / CHOICES;
        let mut names = BTreeSet::new();
        let mut open: Vec<usize> = (0..self.cells.len()).collect();
        while let Some(place) = open.pop() {
            let Some((column, name)) = alone(&self.cells[place]) else {
                continue;
            };
            let spelled = Spelled::new(column, &name);
            let times = self.cells[place][0];
            // A cell is read only if the name belongs there, so that each reading empties it.
            if !spelled.places(part).contains(&place) || !names.insert((column, name)) {
                return None;
            }
            self.change(&spelled, -times);
            open.extend(spelled.places(part));
        }
        let empty = self.cells.iter().flatten().all(|number| *number == 0);
        empty.then(|| names.into_iter().collect())
    }
}

/// The name in a cell, if it is the only one.
fn alone(cell: &[i128; CELL]) -> Option<(usize, String)> {
    let owners = cell[0];
    if owners < 1 || cell.iter().any(|number| number % owners != 0) {
        return None;
    }
    let once = cell.map(|number| number / owners);
    let column = usize::try_from(once[1] >> 8).ok()?;
    let mut length = (once[1] & 0xff) as usize;
    let mut bytes = Vec::with_capacity(length);
    for number in &once[3..] {
        let here = length.min(CHUNK);
        length -= here;
        let spelled = number.to_be_bytes();
        bytes.extend_from_slice(&spelled[16 - here..]);
    }
    let name = String::from_utf8(bytes).ok()?;
    (Spelled::new(column, &name).numbers == once).then_some((column, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn summed(owners: &[BTreeSet<(usize, String)>], room: usize) -> NameTable {
        let mut sum = NameTable::new(room);
        for owner in owners {
            let mut table = NameTable::new(room);
            for (column, name) in owner {
                table.add(*column, name);
            }
            for (sum, cell) in sum.cells.iter_mut().zip(table.cells) {
                for (sum, number) in sum.iter_mut().zip(cell) {
                    *sum += number;
                }
            }
        }
        sum
    }

    proptest! {
        /// What comes out of the sum is the union, in order, whoever held what.
        #[test]
        fn the_sum_spells_the_union(
            owners in proptest::collection::vec(
                proptest::collection::btree_set((0_usize..5, "[a-z0-9 é]{0,20}"), 0..25), 1..8),
        ) {
            let union: BTreeSet<_> = owners.iter().flatten().cloned().collect();
            let listed = summed(&owners, 200).list();
            prop_assert_eq!(listed, Some(union.into_iter().collect::<Vec<_>>()));
        }
    }

    #[test]
    fn a_table_that_is_too_full_says_so() {
        let owner: BTreeSet<_> = (0..200).map(|i| (0, format!("name-{i}"))).collect();
        assert_eq!(summed(&[owner], 20).list(), None);
    }

    #[test]
    fn a_full_table_of_every_size_can_be_read() {
        for room in [1, 2, 8, 64, 512, 4096] {
            let owner: BTreeSet<_> = (0..room).map(|i| (i % 3, format!("n{i}"))).collect();
            assert_eq!(
                summed(&[owner.clone(), owner], room)
                    .list()
                    .map(|l| l.len()),
                Some(room)
            );
        }
    }
}
