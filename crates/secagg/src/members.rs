//! A set of session indices, as a bitmap.

use sha2::{Digest, Sha256};

/// A subset of the indices 0 to n - 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    universe: u32,
    bits: Vec<u8>,
}

impl Members {
    /// No member out of `universe`.
    pub fn none(universe: u32) -> Self {
        Self {
            universe,
            bits: vec![0; Self::bytes_for(universe)],
        }
    }

    /// These members out of `universe`; those beyond it are left out.
    pub fn of(universe: u32, members: impl IntoIterator<Item = u32>) -> Self {
        let mut set = Self::none(universe);
        members.into_iter().for_each(|index| set.insert(index));
        set
    }

    /// Length of the bitmap of a set out of `universe`.
    pub fn bytes_for(universe: u32) -> usize {
        universe.div_ceil(8) as usize
    }

    /// The set with this bitmap; `None` if it has another length, or names an index beyond the universe.
    pub fn from_bytes(universe: u32, bytes: &[u8]) -> Option<Self> {
        if bytes.len() != Self::bytes_for(universe) {
            return None;
        }
        let used = universe % 8;
        let beyond = match bytes.last() {
            Some(last) if used != 0 => last >> used,
            _ => 0,
        };
        (beyond == 0).then(|| Self {
            universe,
            bits: bytes.to_vec(),
        })
    }

    /// Puts `index` in; nothing for one beyond the universe.
    pub fn insert(&mut self, index: u32) {
        if index < self.universe {
            self.bits[(index / 8) as usize] |= 1 << (index % 8);
        }
    }

    /// Takes `index` out.
    pub fn remove(&mut self, index: u32) {
        if index < self.universe {
            self.bits[(index / 8) as usize] &= !(1 << (index % 8));
        }
    }

    /// Whether `index` is in the set.
    pub fn contains(&self, index: u32) -> bool {
        index < self.universe && self.bits[(index / 8) as usize] >> (index % 8) & 1 == 1
    }

    /// Its size.
    pub fn len(&self) -> u32 {
        self.bits.iter().map(|byte| byte.count_ones()).sum()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.bits.iter().all(|byte| *byte == 0)
    }

    /// The members in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        (0..self.universe).filter(|index| self.contains(*index))
    }

    /// Whether all of it is in `other`.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.universe == other.universe
            && self.bits.iter().zip(&other.bits).all(|(a, b)| a & !b == 0)
    }

    /// How many indices of `list` are in it.
    pub fn count_of(&self, list: &[u32]) -> u32 {
        list.iter().filter(|index| self.contains(**index)).count() as u32
    }

    /// The bitmap.
    pub fn bytes(&self) -> &[u8] {
        &self.bits
    }

    /// SHA-256 of the bitmap.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(&self.bits).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_what_was_put_in() {
        let mut set = Members::none(11);
        for index in [0, 3, 10, 11, 99] {
            set.insert(index);
        }
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 3, 10]);
        assert_eq!(set.bytes(), [0b1001, 0b100]);
        assert_eq!((set.len(), set.count_of(&[3, 4, 10])), (3, 2));
        assert_eq!(Members::from_bytes(11, set.bytes()), Some(set.clone()));
        let mut fewer = set.clone();
        fewer.remove(3);
        assert!(fewer.is_subset(&set) && !set.is_subset(&fewer));
    }

    #[test]
    fn bitmaps_have_one_form() {
        assert_eq!(Members::from_bytes(11, &[0, 0b1000]), None);
        assert_eq!(Members::from_bytes(11, &[0]), None);
        assert_eq!(Members::from_bytes(8, &[0, 0]), None);
        assert!(Members::from_bytes(8, &[255]).is_some());
        assert!(Members::from_bytes(0, &[]).is_some_and(|set| set.is_empty()));
    }
}
