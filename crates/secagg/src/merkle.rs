//! Merkle trees over lists of hashes: one hash for the list, a short proof for one entry.

use sha2::{Digest, Sha256};

/// The leaf of an entry: `H(0x00 ‖ parts)`.
pub fn leaf(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix([0]);
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

fn node(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix([1]);
    hash.update(left);
    hash.update(right);
    hash.finalize().into()
}

fn close(count: usize, top: [u8; 32]) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix("flsa1-root");
    hash.update((count as u32).to_le_bytes());
    hash.update(top);
    hash.finalize().into()
}

fn parents(level: &[[u8; 32]]) -> Vec<[u8; 32]> {
    let pair = |pair: &[[u8; 32]]| match pair {
        [left, right] => node(left, right),
        alone => alone[0],
    };
    level.chunks(2).map(pair).collect()
}

/// The root of a list of leaves; of none, that of a leaf of zeros counted as none.
pub fn root(leaves: &[[u8; 32]]) -> [u8; 32] {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        level = parents(&level);
    }
    close(leaves.len(), level.first().copied().unwrap_or([0; 32]))
}

/// A list of leaves with all its levels, to prove many entries.
#[derive(Clone, Debug)]
pub struct Tree {
    levels: Vec<Vec<[u8; 32]>>,
}

impl Tree {
    /// The tree over `leaves`.
    pub fn new(leaves: Vec<[u8; 32]>) -> Self {
        let mut levels = vec![leaves];
        while let Some(last) = levels.last()
            && last.len() > 1
        {
            let next = parents(last);
            levels.push(next);
        }
        Self { levels }
    }

    /// Its root.
    pub fn root(&self) -> [u8; 32] {
        let top = self.levels.last().and_then(|level| level.first()).copied();
        close(self.levels[0].len(), top.unwrap_or([0; 32]))
    }

    /// The partners of leaf `place` on its way up, from the bottom.
    pub fn proof(&self, place: usize) -> Vec<[u8; 32]> {
        let partner = |(level, nodes): (usize, &Vec<[u8; 32]>)| {
            let partner = (place >> level) ^ 1;
            nodes.get(partner).copied()
        };
        self.levels
            .iter()
            .enumerate()
            .take(self.levels.len() - 1)
            .filter_map(partner)
            .collect()
    }
}

/// Whether `leaf` is entry `place` of the list of `count` leaves with this root.
pub fn proves(
    root: &[u8; 32],
    count: usize,
    place: usize,
    leaf: &[u8; 32],
    proof: &[[u8; 32]],
) -> bool {
    if place >= count {
        return false;
    }
    let (mut at, mut width, mut hash) = (place, count, *leaf);
    let mut partners = proof.iter();
    while width > 1 {
        if at ^ 1 < width {
            let Some(partner) = partners.next() else {
                return false;
            };
            hash = match at % 2 {
                0 => node(&hash, partner),
                _ => node(partner, &hash),
            };
        }
        at /= 2;
        width = width.div_ceil(2);
    }
    partners.next().is_none() && close(count, hash) == *root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_leaf_is_proven_and_no_other() {
        for count in 1..20_usize {
            let leaves: Vec<[u8; 32]> = (0..count).map(|k| leaf(&[&[k as u8]])).collect();
            let tree = Tree::new(leaves.clone());
            assert_eq!(tree.root(), root(&leaves));
            for (place, leaf) in leaves.iter().enumerate() {
                let proof = tree.proof(place);
                assert!(proves(&tree.root(), count, place, leaf, &proof));
                for other in (0..count + 1).filter(|other| *other != place) {
                    assert!(!proves(&tree.root(), count, other, leaf, &proof));
                }
                assert!(!proves(&tree.root(), count + 1, place, leaf, &proof));
                let longer: Vec<[u8; 32]> = proof.iter().copied().chain([[0; 32]]).collect();
                assert!(!proves(&tree.root(), count, place, leaf, &longer));
                if let Some((_, shorter)) = proof.split_last() {
                    assert!(!proves(&tree.root(), count, place, leaf, shorter));
                }
            }
        }
    }

    #[test]
    fn roots_differ_in_entries_order_and_count() {
        let [a, b] = [leaf(&[b"a"]), leaf(&[b"b"])];
        let roots = [
            root(&[]),
            root(&[a]),
            root(&[a, b]),
            root(&[b, a]),
            root(&[a, b, b]),
        ];
        for (place, root) in roots.iter().enumerate() {
            assert!(!roots[..place].contains(root));
        }
        assert_eq!(leaf(&[b"ab", b"c"]), leaf(&[b"abc"]));
    }
}
