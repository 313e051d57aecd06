//! PNG and JPEG: as many bytes as the header says.
#![no_main]

use cloister_data::decode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|content: &[u8]| {
    let Ok(size) = decode::picture_size("fuzz", content) else {
        return;
    };
    // A valid picture may be large; the fuzzer has 2 GiB.
    if size.height * size.width > 1 << 20 {
        return;
    }
    if let Ok(pixels) = decode::picture("fuzz", content, size.colour) {
        let channels = if size.colour { 3 } else { 1 };
        assert_eq!(pixels.len(), channels * size.height * size.width);
    }
});
