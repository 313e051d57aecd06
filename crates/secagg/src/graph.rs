//! Who shares secrets and masks with whom, and how many of them must answer.
//!
//! Members are known by their session indices. A graph on those taking part is made from a seed that all of them know;
//! every party makes it anew, so how it is made is part of the protocol (see [`Topology::new`]).

use sha2::{Digest as _, Sha256};

mod hypergeometric;
mod threshold;

pub use threshold::{Assumptions, MIN_MEMBERS, Rule, check, complete_threshold, find};

/// Which members are neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Graph {
    /// All of each other.
    Complete,
    /// A Harary graph on a random ring: each member with the `degree / 2` before and after it (Bell et al. 2020).
    Harary {
        /// Neighbours of each, even, from 2 to one less than the members.
        degree: u32,
    },
    /// Random groups, complete inside, without edges between them.
    Buckets {
        /// Groups, from 1 to the number of members. Sizes differ by at most one.
        count: u32,
    },
}

/// A graph that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// Nobody takes part.
    #[error("a graph needs members")]
    NoMembers,
    /// The members are not in ascending order, or one is there twice.
    #[error("member {index} comes after one that is not below it")]
    Unsorted {
        /// The first out of order.
        index: u32,
    },
    /// A Harary graph's degree is odd, zero, or not below the number of members.
    #[error("the degree is {degree}, must be even, above 0 and below the {members} members")]
    Degree {
        /// The degree.
        degree: u32,
        /// Members taking part.
        members: usize,
    },
    /// No bucket, or more than members.
    #[error("{count} buckets do not fit {members} members")]
    Buckets {
        /// Buckets asked for.
        count: u32,
        /// Members taking part.
        members: usize,
    },
}

/// A graph on the members taking part. Memory O(members), whatever the degree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    graph: Graph,
    /// Ascending.
    members: Vec<u32>,
    /// The ring, or the buckets one after another, each ascending; the members where all are joined.
    order: Vec<u32>,
    /// For each of `members`, its place in `order`. Empty where all are joined.
    places: Vec<usize>,
}

impl Topology {
    /// The graph on `members` (session indices, ascending) from `seed`, which a complete graph does not use.
    ///
    /// All parties must come to the same graph. The members, ascending, are permuted by Fisher and Yates' method from
    /// the top: for i = n - 1 down to 1, j is uniform in 0..=i, and entries i and j change places. Uniform numbers come
    /// from the 64-bit little-endian words of the blocks SHA-256(seed || "flsa1/graph" || counter), four words a block,
    /// the counter a little-endian u64 from 0: words of floor(2^64 / (i + 1)) (i + 1) and more are skipped, j is the
    /// word modulo i + 1. The result is the ring of [`Graph::Harary`], its last member followed by the first. For
    /// [`Graph::Buckets`] it is cut into `count` runs, the first n mod `count` of them one longer than the others.
    ///
    /// # Errors
    /// [`GraphError`] if the members are none or out of order, or do not suffice for the graph.
    pub fn new(graph: Graph, members: &[u32], seed: &[u8; 32]) -> Result<Self, GraphError> {
        let n = members.len();
        if n == 0 {
            return Err(GraphError::NoMembers);
        }
        if let Some(pair) = members.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(GraphError::Unsorted { index: pair[1] });
        }
        let mut order = members.to_vec();
        match graph {
            Graph::Complete => {}
            Graph::Harary { degree } => {
                if degree == 0 || degree % 2 == 1 || degree as usize >= n {
                    return Err(GraphError::Degree { degree, members: n });
                }
                permute(&mut order, seed);
            }
            Graph::Buckets { count } => {
                if count == 0 || count as usize > n {
                    return Err(GraphError::Buckets { count, members: n });
                }
                permute(&mut order, seed);
                for bucket in 0..count {
                    order[span(n, count, bucket)].sort_unstable();
                }
            }
        }
        let mut places = Vec::new();
        if graph != Graph::Complete {
            let mut sorted: Vec<(u32, usize)> =
                order.iter().enumerate().map(|(at, &m)| (m, at)).collect();
            sorted.sort_unstable();
            places.extend(sorted.into_iter().map(|(_, at)| at));
        }
        Ok(Self {
            graph,
            members: members.to_vec(),
            order,
            places,
        })
    }

    /// The graph as asked for.
    pub fn graph(&self) -> Graph {
        self.graph
    }

    /// Who takes part, ascending.
    pub fn members(&self) -> &[u32] {
        &self.members
    }

    /// The neighbours of the member `index`, ascending, itself not among them; none of one who does not take part.
    pub fn neighbours(&self, index: u32) -> Vec<u32> {
        let Some(place) = self.place(index) else {
            return Vec::new();
        };
        let Graph::Harary { degree } = self.graph else {
            let all = self.bucket_members(self.bucket_at(place));
            return all.iter().copied().filter(|&m| m != index).collect();
        };
        let (n, reach) = (self.order.len(), degree as usize / 2);
        let mut out: Vec<u32> = (1..=reach)
            .flat_map(|step| [(place + step) % n, (place + n - step) % n])
            .map(|at| self.order[at])
            .collect();
        out.sort_unstable();
        out
    }

    /// Whether two members are neighbours; false if one does not take part, and of a member with itself.
    pub fn joined(&self, a: u32, b: u32) -> bool {
        let (Some(x), Some(y)) = (self.place(a), self.place(b)) else {
            return false;
        };
        if a == b {
            return false;
        }
        match self.graph {
            Graph::Complete => true,
            Graph::Harary { degree } => {
                let apart = x.abs_diff(y);
                apart.min(self.order.len() - apart) <= degree as usize / 2
            }
            Graph::Buckets { .. } => self.bucket_at(x) == self.bucket_at(y),
        }
    }

    /// The bucket of the member `index`: 0 unless the graph is [`Graph::Buckets`]; none of one who does not take part.
    pub fn bucket(&self, index: u32) -> Option<u32> {
        self.place(index).map(|place| self.bucket_at(place))
    }

    /// Who is in a bucket, ascending; nobody from [`Self::buckets`] on.
    pub fn bucket_members(&self, bucket: u32) -> &[u32] {
        match self.graph {
            Graph::Buckets { count } if bucket < count => {
                &self.order[span(self.order.len(), count, bucket)]
            }
            Graph::Complete | Graph::Harary { .. } if bucket == 0 => &self.members,
            _ => &[],
        }
    }

    /// Buckets: 1 unless the graph is [`Graph::Buckets`].
    pub fn buckets(&self) -> u32 {
        match self.graph {
            Graph::Buckets { count } => count,
            Graph::Complete | Graph::Harary { .. } => 1,
        }
    }

    /// Where the member `index` is in `order`.
    fn place(&self, index: u32) -> Option<usize> {
        let rank = self.members.binary_search(&index).ok()?;
        Some(self.places.get(rank).copied().unwrap_or(rank))
    }

    /// The bucket that a place of `order` is in.
    fn bucket_at(&self, place: usize) -> u32 {
        let Graph::Buckets { count } = self.graph else {
            return 0;
        };
        let (size, longer) = sizes(self.order.len(), count);
        let bucket = if place < longer * (size + 1) {
            place / (size + 1)
        } else {
            (place - longer) / size
        };
        bucket as u32
    }
}

/// The size of the smaller of `count` buckets of n members, and how many have one more.
fn sizes(n: usize, count: u32) -> (usize, usize) {
    (n / count as usize, n % count as usize)
}

/// The places of a bucket.
fn span(n: usize, count: u32, bucket: u32) -> std::ops::Range<usize> {
    let (size, longer) = sizes(n, count);
    let start = |bucket: usize| bucket * size + bucket.min(longer);
    start(bucket as usize)..start(bucket as usize + 1)
}

/// Permutes as [`Topology::new`] says.
fn permute(order: &mut [u32], seed: &[u8; 32]) {
    let mut words = Words::new(seed);
    for i in (1..order.len()).rev() {
        let j = words.below(i as u64 + 1) as usize;
        order.swap(i, j);
    }
}

/// The stream of 64-bit words of a seed.
struct Words {
    start: Sha256,
    counter: u64,
    block: [u64; 4],
    /// Words of the block already given.
    used: usize,
}

impl Words {
    fn new(seed: &[u8; 32]) -> Self {
        Self {
            start: Sha256::new()
                .chain_update(seed)
                .chain_update(b"flsa1/graph"),
            counter: 0,
            block: [0; 4],
            used: 4,
        }
    }

    fn next(&mut self) -> u64 {
        if self.used == self.block.len() {
            let hash: [u8; 32] = self
                .start
                .clone()
                .chain_update(self.counter.to_le_bytes())
                .finalize()
                .into();
            for (word, bytes) in self.block.iter_mut().zip(hash.as_chunks::<8>().0) {
                *word = u64::from_le_bytes(*bytes);
            }
            self.counter += 1;
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// Uniform in 0..bound.
    fn below(&mut self, bound: u64) -> u64 {
        // 2^64 mod bound words at the top would favour small remainders.
        let excess = (u64::MAX % bound + 1) % bound;
        loop {
            let word = self.next();
            if word <= u64::MAX - excess {
                return word % bound;
            }
        }
    }
}

#[cfg(test)]
mod tests;
