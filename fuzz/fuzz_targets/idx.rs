//! IDX headers: whatever is accepted describes exactly the bytes that are there.
#![no_main]

use cloister_data::decode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|content: &[u8]| {
    if let Ok(header) = decode::idx("fuzz", content) {
        let values: usize = header.sizes.iter().product();
        assert_eq!(header.offset + values, content.len());
    }
});
