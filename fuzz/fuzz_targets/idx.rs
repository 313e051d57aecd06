//! IDX headers: whatever is accepted describes exactly the bytes that are there.
#![no_main]

use cloister_data::decode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|content: &[u8]| {
    if let Ok(header) = decode::idx("fuzz", content) {
        // Three huge sizes and a zero make an empty array: the product needs 128 bits.
        let values: u128 = header.sizes.iter().map(|&size| size as u128).product();
        assert_eq!(header.offset as u128 + values, content.len() as u128);
    }
});
