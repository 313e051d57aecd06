//! HDBSCAN* on a matrix of distances (Campello, Moulavi, Sander 2013; Campello, Moulavi, Zimek, Sander 2015).
//!
//! Mutual reachability, its minimum spanning tree, the tree of merges, condensed to clusters of a least size, and the
//! clusters with the greatest excess of mass; the whole set may be one cluster. As scikit-learn with
//! `metric="precomputed", allow_single_cluster=True`, except that distances of 0 are taken as 1e-300 (so that the mass
//! of copies is finite) and that equal distances merge in a fixed order.

use crate::matrix::Square;

/// Smallest distance that is divided by.
const LEAST: f64 = 1e-300;

/// The cluster of each row, `None` for noise. Clusters count from 0 in the order of their first rows.
///
/// `distances` is symmetric, not negative, with zeros on the diagonal. A cluster has at least `min_cluster_size` rows
/// (at least 2 are meant if it is less), unless there are fewer rows in all: those are one cluster. The core distance of
/// a row is that to its `min_samples`-th nearest row, itself counted, so 1 stands for plain single linkage.
///
/// Where the whole set is the only cluster, the rows in it are those that hold together longest: what is left when it
/// falls below `min_cluster_size`.
pub fn hdbscan(
    distances: &Square,
    min_cluster_size: usize,
    min_samples: usize,
) -> Vec<Option<usize>> {
    let n = distances.n();
    if n < 2 {
        return vec![Some(0); n];
    }
    let merges = single_linkage(n, spanning_tree(distances, &cores(distances, min_samples)));
    let tree = Condensed::new(n, &merges, min_cluster_size.max(2));
    let chosen = tree.choose();
    number(&tree.assign(&chosen))
}

/// Distance of each row to its `min_samples`-th nearest.
fn cores(distances: &Square, min_samples: usize) -> Vec<f64> {
    let n = distances.n();
    let place = min_samples.clamp(1, n) - 1;
    (0..n)
        .map(|row| {
            let mut sorted = distances.row(row).to_vec();
            sorted.sort_by(f64::total_cmp);
            sorted[place]
        })
        .collect()
}

/// An edge of the spanning tree.
#[derive(Clone, Copy)]
struct Edge {
    rows: (usize, usize),
    length: f64,
}

/// Prim's algorithm from row 0; of equal edges, to the lowest row.
fn spanning_tree(distances: &Square, cores: &[f64]) -> Vec<Edge> {
    let n = distances.n();
    let mut left: Vec<usize> = (1..n).collect();
    let mut nearest = vec![(f64::INFINITY, 0); n];
    let mut edges = Vec::with_capacity(n - 1);
    let mut newest = 0;
    while !left.is_empty() {
        for &row in &left {
            let reach = distances.at(newest, row).max(cores[newest]).max(cores[row]);
            if reach < nearest[row].0 {
                nearest[row] = (reach, newest);
            }
        }
        let mut best = 0;
        for place in 1..left.len() {
            if nearest[left[place]].0 < nearest[left[best]].0 {
                best = place;
            }
        }
        newest = left.remove(best);
        let (length, from) = nearest[newest];
        edges.push(Edge {
            rows: (from, newest),
            length,
        });
    }
    edges
}

/// A merge of two nodes: rows are nodes 0..n, the merge at place i is node n + i.
struct Merge {
    children: [usize; 2],
    length: f64,
    size: usize,
}

fn single_linkage(n: usize, mut edges: Vec<Edge>) -> Vec<Merge> {
    // Stable: equal lengths keep the order in which the tree grew.
    edges.sort_by(|a, b| a.length.total_cmp(&b.length));
    let mut parent: Vec<usize> = (0..2 * n - 1).collect();
    let mut merges: Vec<Merge> = Vec::with_capacity(n - 1);
    for edge in edges {
        let children = [edge.rows.0, edge.rows.1].map(|row| {
            let mut node = row;
            while parent[node] != node {
                parent[node] = parent[parent[node]];
                node = parent[node];
            }
            node
        });
        let size = children
            .iter()
            .map(|&child| size_of(n, &merges, child))
            .sum();
        for child in children {
            parent[child] = n + merges.len();
        }
        merges.push(Merge {
            children,
            length: edge.length,
            size,
        });
    }
    merges
}

fn size_of(n: usize, merges: &[Merge], node: usize) -> usize {
    node.checked_sub(n).map_or(1, |merge| merges[merge].size)
}

/// A cluster of the condensed tree.
#[derive(Default)]
struct Cluster {
    parent: Option<usize>,
    /// 1 / distance at which it came apart from its parent; 0 for the root.
    birth: f64,
    /// Sum over its rows of (1 / distance at which the row leaves) - birth.
    mass: f64,
    children: Vec<usize>,
    /// Greatest 1 / distance at which a row or a child leaves it.
    last: f64,
}

/// The tree of merges, with splits that leave a part below the least size seen as rows falling off.
struct Condensed {
    /// Parents come before their children; the root is 0.
    clusters: Vec<Cluster>,
    /// For each row the cluster that it falls off, and 1 / distance.
    falls: Vec<(usize, f64)>,
}

impl Condensed {
    fn new(n: usize, merges: &[Merge], least: usize) -> Self {
        let mut tree = Self {
            clusters: vec![Cluster::default()],
            falls: vec![(0, 0.0); n],
        };
        let mut open = vec![(n + merges.len() - 1, 0)];
        while let Some((node, cluster)) = open.pop() {
            // Only nodes of at least two rows are opened.
            let merge = &merges[node - n];
            let lambda = 1.0 / merge.length.max(LEAST);
            let large = merge
                .children
                .map(|child| size_of(n, merges, child) >= least);
            for (child, large_child) in merge.children.into_iter().zip(large) {
                let size = size_of(n, merges, child);
                if !large_child {
                    tree.fall(n, merges, child, cluster, lambda);
                } else if large == [true; 2] {
                    tree.leave(cluster, lambda, size);
                    let part = tree.clusters.len();
                    tree.clusters[cluster].children.push(part);
                    open.push((child, part));
                    tree.clusters.push(Cluster {
                        parent: Some(cluster),
                        birth: lambda,
                        ..Cluster::default()
                    });
                } else {
                    open.push((child, cluster));
                }
            }
        }
        tree
    }

    /// Lets all rows under `node` fall off `cluster`.
    fn fall(&mut self, n: usize, merges: &[Merge], node: usize, cluster: usize, lambda: f64) {
        let mut open = vec![node];
        while let Some(node) = open.pop() {
            match node.checked_sub(n) {
                Some(merge) => open.extend(merges[merge].children),
                None => {
                    self.falls[node] = (cluster, lambda);
                    self.leave(cluster, lambda, 1);
                }
            }
        }
    }

    fn leave(&mut self, cluster: usize, lambda: f64, size: usize) {
        let cluster = &mut self.clusters[cluster];
        cluster.mass += (lambda - cluster.birth) * size as f64;
        cluster.last = cluster.last.max(lambda);
    }

    /// Whether each cluster is among those of greatest mass, none of which lies within another.
    fn choose(&self) -> Vec<bool> {
        let mut best: Vec<f64> = self.clusters.iter().map(|cluster| cluster.mass).collect();
        let mut chosen = vec![true; self.clusters.len()];
        for at in (0..self.clusters.len()).rev() {
            let children = &self.clusters[at].children;
            let below: f64 = children.iter().map(|&child| best[child]).sum();
            if below > best[at] {
                chosen[at] = false;
                best[at] = below;
            }
        }
        let mut covered = vec![false; self.clusters.len()];
        for (at, cluster) in self.clusters.iter().enumerate() {
            if let Some(parent) = cluster.parent {
                covered[at] = covered[parent] || chosen[parent];
                chosen[at] &= !covered[at];
            }
        }
        chosen
    }

    /// The chosen cluster that each row is in.
    fn assign(&self, chosen: &[bool]) -> Vec<Option<usize>> {
        let only_root = chosen[0];
        self.falls
            .iter()
            .map(|&(fell_off, lambda)| {
                let mut at = Some(fell_off);
                while let Some(cluster) = at {
                    if chosen[cluster] {
                        break;
                    }
                    at = self.clusters[cluster].parent;
                }
                // Of the whole set, what fell off before its end is noise.
                at.filter(|_| !only_root || lambda >= self.clusters[0].last)
            })
            .collect()
    }
}

/// Numbers clusters in the order of their first rows.
fn number(clusters: &[Option<usize>]) -> Vec<Option<usize>> {
    let mut seen: Vec<usize> = Vec::new();
    clusters
        .iter()
        .map(|cluster| {
            cluster.map(|cluster| {
                seen.iter()
                    .position(|&other| other == cluster)
                    .unwrap_or_else(|| {
                        seen.push(cluster);
                        seen.len() - 1
                    })
            })
        })
        .collect()
}
