//! Partitions by label: a fixed number of classes or of shards a client.

use rand::Rng;
use rand::seq::SliceRandom;

use super::{Roll, even_cut, even_parts, shuffled, shuffled_classes};
use crate::error::PartitionError;

/// Exactly `per_client` classes a client, every row used, each class split evenly among its clients.
pub(super) fn pathological(
    roll: &Roll<'_>,
    clients: usize,
    per_client: usize,
    rng: &mut impl Rng,
) -> Result<Vec<Vec<u32>>, PartitionError> {
    let mut classes = shuffled_classes(roll, rng);
    classes.retain(|rows| !rows.is_empty());
    check_count("classes_per_client", per_client)?;
    if per_client > classes.len() {
        return Err(PartitionError::TooManyClasses {
            per_client,
            classes: classes.len(),
        });
    }
    let places = clients.saturating_mul(per_client);
    if places < classes.len() {
        return Err(PartitionError::TooFewPlaces {
            clients,
            per_client,
            places,
            classes: classes.len(),
        });
    }
    let holders = assign_classes(clients, per_client, classes.len(), rng);
    let mut shares = vec![Vec::new(); clients];
    for (rows, holders) in classes.iter().zip(&holders) {
        for (part, &client) in even_parts(rows, holders.len()).iter().zip(holders) {
            shares[client].extend_from_slice(part);
        }
    }
    Ok(shares)
}

/// For each class the clients that hold it: every client has `per_client` different classes, and classes have equally
/// many holders, give or take one.
///
/// Each client takes the classes with the most places left, ties broken at random. Taking the fullest first keeps the
/// places of any two classes within one of each other, so that a later client always finds enough different classes.
fn assign_classes(
    clients: usize,
    per_client: usize,
    classes: usize,
    rng: &mut impl Rng,
) -> Vec<Vec<usize>> {
    let places = clients * per_client;
    let mut order: Vec<usize> = (0..classes).collect();
    order.shuffle(rng);
    let mut left = vec![0_usize; classes];
    for (rank, &class) in order.iter().enumerate() {
        left[class] = even_cut(places, classes, rank + 1) - even_cut(places, classes, rank);
    }
    let mut holders = vec![Vec::new(); classes];
    for client in 0..clients {
        order.shuffle(rng);
        order.sort_by_key(|&class| std::cmp::Reverse(left[class]));
        for &class in &order[..per_client] {
            left[class] = left[class].saturating_sub(1);
            holders[class].push(client);
        }
    }
    holders
}

/// Rows sorted by label, cut into shards, `per_client` random shards a client (McMahan et al. 2017).
pub(super) fn shards(
    roll: &Roll<'_>,
    clients: usize,
    per_client: usize,
    rng: &mut impl Rng,
) -> Result<Vec<Vec<u32>>, PartitionError> {
    check_count("per_client", per_client)?;
    let shards = clients.saturating_mul(per_client);
    if shards > roll.labels.len() {
        return Err(PartitionError::TooManyShards {
            clients,
            per_client,
            shards,
            rows: roll.labels.len(),
        });
    }
    let mut rows = shuffled(roll.labels.len(), rng);
    rows.sort_by_key(|&row| roll.labels[row as usize]);
    let mut pieces = even_parts(&rows, shards);
    pieces.shuffle(rng);
    Ok(pieces.chunks(per_client).map(<[_]>::concat).collect())
}

fn check_count(key: &'static str, count: usize) -> Result<(), PartitionError> {
    if count > 0 {
        return Ok(());
    }
    Err(PartitionError::Setting {
        key,
        value: count.to_string(),
        reason: "must be at least 1",
    })
}
