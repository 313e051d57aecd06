//! CIFAR-10 records: labels in range, one image each.
#![no_main]

use cloister_data::decode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|content: &[u8]| {
    if let Ok((labels, pixels)) = decode::cifar10("fuzz", content, 10) {
        assert!(labels.iter().all(|&label| label < 10));
        assert_eq!(labels.len() * decode::CIFAR_PIXELS, pixels.len());
    }
});
