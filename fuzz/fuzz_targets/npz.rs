//! NumPy arrays, alone and in archives, within a limit of 16 MiB.
#![no_main]

use cloister_data::decode::{self, NpyArray, NpyFloats, NpyValues};
use libfuzzer_sys::fuzz_target;

fn check(array: &NpyArray) {
    let len = match &array.values {
        NpyValues::Bytes(bytes) => bytes.len(),
        NpyValues::Numbers(numbers) => {
            assert!(numbers.iter().all(|number| number.is_finite()));
            numbers.len()
        }
    };
    assert_eq!(array.shape.iter().product::<usize>(), len);
}

fuzz_target!(|content: &[u8]| {
    if let Ok(array) = decode::npy("fuzz", content) {
        check(&array);
    }
    if let Ok((shape, floats)) = decode::npy_floats("fuzz", content) {
        let len = match &floats {
            NpyFloats::F32(values) => values.len(),
            NpyFloats::F64(values) => values.len(),
        };
        assert_eq!(shape.iter().product::<usize>(), len);
        // What is written is read back as the same vector, NaN included.
        let bytes = decode::npy_bytes(&floats);
        let Ok((shape, again)) = decode::npy_floats("fuzz", &bytes) else {
            panic!("a written array is not read");
        };
        assert_eq!(shape, [len]);
        assert_eq!(decode::npy_bytes(&again), bytes);
    }
    if let Ok(arrays) = decode::npz("fuzz", content, 16 << 20, |_| true) {
        arrays.values().for_each(check);
    }
});
