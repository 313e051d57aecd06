//! Tables: every cell of what is accepted can be read, and lines rise; read block by block it is the same.
#![no_main]

use cloister_data::decode::{self, Dialect, Records};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|content: &[u8]| {
    for header in [None, Some(true), Some(false)] {
        let dialect = Dialect {
            header,
            ..Dialect::default()
        };
        let Ok(grid) = decode::table("fuzz", content, &dialect) else {
            continue;
        };
        assert!(grid.rows() > 0 && grid.columns() > 0);
        let mut last = 0;
        for row in 0..grid.rows() {
            assert!(grid.line(row) > last);
            last = grid.line(row);
            for column in 0..grid.columns() {
                let cell = grid.cell(row, column);
                assert_eq!(cell, cell.trim());
            }
        }
        same_in_blocks(content, &grid);
    }
});

fn same_in_blocks(content: &[u8], grid: &decode::Grid) {
    let mut records = Records::new("fuzz", content, None).expect("it was read before");
    let mut at = 0;
    while let Some(batch) = records.batch().expect("it was read before") {
        for row in 0..batch.rows() {
            // The first line may be the header.
            if at == 0 && batch.line(row) < grid.line(0) {
                continue;
            }
            assert_eq!(batch.line(row), grid.line(at));
            for column in 0..grid.columns() {
                assert_eq!(batch.cell(row, column), grid.cell(at, column));
            }
            at += 1;
        }
    }
    assert_eq!(at, grid.rows());
}
