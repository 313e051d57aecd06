//! Model files: bytes that decode encode to a file that decodes to the same, others are refused.
#![no_main]

use cloister_nn::model_file::{decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(file) = decode(bytes) {
        let again = encode(&file.metadata, &file.layout, &file.parameters)
            .expect("what was decoded can be encoded");
        let second = decode(&again).expect("what was encoded can be decoded");
        assert_eq!(second.metadata, file.metadata);
        assert_eq!(second.layout, file.layout);
        let bits = |values: &[f32]| -> Vec<u32> { values.iter().map(|v| v.to_bits()).collect() };
        assert_eq!(bits(&second.parameters), bits(&file.parameters));
    }
});
