//! The tables of an envoy's memory, and what is done within one transaction.

use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::rows::{BodyRow, ParcelRow, decoded};
use super::{MemoryError, json};
use crate::experiment::Id;

/// The version of the format.
pub(super) const VERSION: u64 = 1;

/// The database in the folder of the site.
pub(super) const FILE: &str = "memory.redb";

/// The folder of large bodies.
pub(super) const FOLDER: &str = "outbox";

/// The largest body that lies in the database.
pub(super) const INLINE: usize = 64 << 10;

pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
pub(super) const EXPERIMENTS: TableDefinition<'_, Id, &[u8]> = TableDefinition::new("experiments");
pub(super) const STATES: TableDefinition<'_, Id, &[u8]> = TableDefinition::new("states");
pub(super) const MESSAGES: TableDefinition<'_, (Id, u64), &[u8]> = TableDefinition::new("messages");
/// By experiment, number, kind and part.
pub(super) const PARCELS: TableDefinition<'_, Key, &[u8]> = TableDefinition::new("parcels");
/// What waits for a receipt, in the order in which it is to be sent.
pub(super) const PENDING: TableDefinition<'_, u64, Key> = TableDefinition::new("pending");
pub(super) const BODIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("bodies");
pub(super) const LEDGERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("ledgers");
/// Experiments that are over, by number and digest of the offer.
pub(super) const HISTORY: TableDefinition<'_, &str, &str> = TableDefinition::new("history");

pub(super) type Key = (Id, u64, u8, u32);

pub(super) fn range(experiment: Id) -> std::ops::RangeInclusive<Key> {
    (experiment, 0, 0, 0)..=(experiment, u64::MAX, u8::MAX, u32::MAX)
}

/// A number that was never given before.
pub(super) fn next(tx: &WriteTransaction) -> Result<u64, MemoryError> {
    let mut meta = tx.open_table(META)?;
    let next = meta.get("next")?.map_or(1, |next| next.value());
    meta.insert("next", next + 1)?;
    Ok(next)
}

/// Lets a parcel wait for a receipt, behind all that wait.
pub(super) fn pend(tx: &WriteTransaction, key: Key) -> Result<(), MemoryError> {
    let mut table = tx.open_table(PARCELS)?;
    let mut row: ParcelRow = match table.get(key)? {
        Some(row) => decoded(row.value())?,
        None => return Ok(()),
    };
    if row.pending {
        return Ok(());
    }
    row.pending = true;
    table.insert(key, json(&row)?.as_slice())?;
    drop(table);
    let order = next(tx)?;
    tx.open_table(PENDING)?.insert(order, key)?;
    Ok(())
}

pub(super) fn keys(tx: &WriteTransaction, experiment: Id) -> Result<Vec<Key>, MemoryError> {
    let table = tx.open_table(PARCELS)?;
    let rows = table.range(range(experiment))?;
    rows.map(|row| Ok(row?.0.value())).collect()
}

pub(super) fn remove_parcels(
    tx: &WriteTransaction,
    leftovers: &mut Vec<u64>,
    experiment: Id,
    which: impl Fn(&ParcelRow) -> bool,
) -> Result<(), MemoryError> {
    for key in keys(tx, experiment)? {
        let row: ParcelRow = match tx.open_table(PARCELS)?.get(key)? {
            Some(row) => decoded(row.value())?,
            None => continue,
        };
        if which(&row) {
            remove_parcel(tx, leftovers, key, &row.body)?;
        }
    }
    Ok(())
}

pub(super) fn remove_parcel(
    tx: &WriteTransaction,
    leftovers: &mut Vec<u64>,
    key: Key,
    body: &BodyRow,
) -> Result<(), MemoryError> {
    tx.open_table(PARCELS)?.remove(key)?;
    tx.open_table(PENDING)?
        .retain(|_, waiting| waiting != key)?;
    remove_body(tx, leftovers, body)
}

pub(super) fn remove_body(
    tx: &WriteTransaction,
    leftovers: &mut Vec<u64>,
    body: &BodyRow,
) -> Result<(), MemoryError> {
    match body.file {
        true => leftovers.push(body.id),
        false => drop(tx.open_table(BODIES)?.remove(body.id)?),
    }
    Ok(())
}
