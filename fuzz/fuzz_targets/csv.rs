//! Tables: every cell of what is accepted can be read, and lines rise.
#![no_main]

use cloister_data::decode::{self, Dialect};
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
    }
});
