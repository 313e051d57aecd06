//! The rows of a table's file, batch by batch, where they are too many for the memory.

use std::sync::mpsc::sync_channel;
use std::thread;

use crate::decode::{Batch, Dialect, Grid, Records, has_header};
use crate::error::DataError;
use crate::read::stream;
use crate::source::TablePath;
use crate::tables::TableFile;

/// Rows that are looked at to tell a header from a row.
const HEADER_ROWS: usize = 128;

/// A file of which the first rows have been read.
pub(crate) struct Batches {
    /// Its columns, without rows.
    pub(crate) first: TableFile,
    /// The rows that were read, without the header.
    batch: Batch,
    records: Records<Box<dyn std::io::Read + Send>>,
}

impl Batches {
    pub(crate) fn open(path: &TablePath, dialect: &Dialect) -> Result<Self, DataError> {
        let file = path.path.display().to_string();
        let mut records = Records::new(&file, stream(&path.path)?, dialect.delimiter)?;
        let mut batch = records
            .batch()?
            .ok_or_else(|| DataError::empty(&file, "holds no row"))?;
        let mut grid = Grid::empty(None, batch.columns());
        for row in 0..batch.rows().min(HEADER_ROWS) {
            grid.push(&file, &batch, row)?;
        }
        let named = dialect
            .header
            .unwrap_or_else(|| has_header(&grid, &dialect.missing));
        if named {
            grid.take_header();
            batch.drop_first();
        }
        grid.retain(&vec![false; grid.rows()]);
        let first = TableFile {
            file,
            owner: path.owner.clone(),
            grid,
        };
        Ok(Self {
            first,
            batch,
            records,
        })
    }

    /// Gives each batch to `take`, while another thread reads the next ones. A file without a row is an error.
    pub(crate) fn each<E: From<DataError>>(
        self,
        mut take: impl FnMut(&Batch) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut records = self.records;
        let mut rows = self.batch.rows();
        thread::scope(|scope| {
            let (send, receive) = sync_channel(2);
            scope.spawn(move || {
                loop {
                    let next = records.batch().transpose();
                    let last = !matches!(next, Some(Ok(_)));
                    if next.is_none_or(|next| send.send(next).is_err()) || last {
                        return;
                    }
                }
            });
            take(&self.batch)?;
            for batch in receive {
                let batch = batch?;
                rows += batch.rows();
                take(&batch)?;
            }
            Ok::<(), E>(())
        })?;
        match rows {
            0 => Err(DataError::empty(&self.first.file, "holds no row").into()),
            _ => Ok(()),
        }
    }
}
