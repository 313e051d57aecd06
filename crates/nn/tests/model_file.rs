//! Model files: round trips, files of others, and hostile bytes.

use std::collections::BTreeMap;

use cloister_nn::model_file::{self, ModelFileError};
use cloister_nn::{InputShape, Layout, LossConfig, Model, ModelConfig};
use proptest::prelude::*;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

fn metadata() -> BTreeMap<String, String> {
    ["name", "round", "config", "a \"quoted\" key\n"]
        .into_iter()
        .map(|key| (key.to_owned(), format!("value of {key}")))
        .collect()
}

fn file(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(data);
    bytes
}

#[test]
fn a_model_survives_a_round_trip_bit_for_bit() {
    let shape = InputShape {
        channels: 1,
        height: 28,
        width: 28,
    };
    let config = ModelConfig::Cnn3 {
        loss: LossConfig::Auto,
        bottleneck: None,
    };
    let model = Model::build(&config, shape, 10).expect("model");
    let mut parameters = model.initial_parameters(&mut ChaCha8Rng::seed_from_u64(3));
    parameters[0] = f32::NAN;
    parameters[1] = -0.0;
    parameters[2] = f32::MIN_POSITIVE / 2.0;
    let bytes = model_file::encode(&metadata(), model.layout(), &parameters).expect("encode");
    let back = model_file::decode(&bytes).expect("decode");
    assert_eq!(back.metadata, metadata());
    assert_eq!(&back.layout, model.layout());
    let again = back.parameters_for(model.layout()).expect("same layout");
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&again), bits(&parameters));
    let repeated = model_file::encode(&back.metadata, &back.layout, &back.parameters);
    assert_eq!(repeated.expect("encode again"), bytes);
}

/// The bytes are the format's, written out by hand.
#[test]
fn the_bytes_are_safetensors() {
    let layout = Layout::new([("b", vec![2]), ("a", vec![])]).expect("layout");
    let metadata = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
    let bytes = model_file::encode(&metadata, &layout, &[1.0, -2.0, 0.5]).expect("encode");
    let header = concat!(
        r#"{"__metadata__":{"k":"v"},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"#,
        r#""a":{"dtype":"F32","shape":[],"data_offsets":[8,12]}}"#
    );
    let padded = format!("{header:<width$}", width = header.len().next_multiple_of(8));
    let data = [0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0, 0, 0, 0, 0x3f];
    assert_eq!(bytes, file(&padded, &data));
}

#[test]
fn tensors_may_come_in_any_order() {
    let header = concat!(
        r#"{"fc1.bias":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"#,
        r#""fc1.weight":{"dtype":"F32","shape":[1,2],"data_offsets":[4,12]}}"#
    );
    let data: Vec<u8> = [7.0_f32, 1.0, 2.0]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let read = model_file::decode(&file(header, &data)).expect("decode");
    let layout = |tensors: &[(&str, &[usize])]| {
        Layout::new(tensors.iter().map(|(n, s)| (*n, s.to_vec()))).expect("layout")
    };
    let wanted = layout(&[("fc1.weight", &[1, 2]), ("fc1.bias", &[1])]);
    assert_eq!(
        read.parameters_for(&wanted).expect("reordered"),
        [1.0, 2.0, 7.0]
    );

    let shape = layout(&[("fc1.weight", &[2, 1]), ("fc1.bias", &[1])]);
    let error = read.parameters_for(&shape).expect_err("another shape");
    assert!(error.to_string().contains("[1, 2]") && error.to_string().contains("[2, 1]"));
    let missing = layout(&[("conv1.weight", &[1, 2]), ("fc1.bias", &[1])]);
    let error = read.parameters_for(&missing).expect_err("a missing tensor");
    assert!(
        error.to_string().contains("\"fc1.weight\" [1, 2]"),
        "{error}"
    );
    let fewer = layout(&[("fc1.bias", &[1])]);
    let error = read.parameters_for(&fewer).expect_err("one too many");
    assert!(matches!(error, ModelFileError::Unknown { name, .. } if name == "fc1.weight"));
}

#[test]
fn what_cannot_be_written_is_refused() {
    let layout = Layout::new([("a", vec![2])]).expect("layout");
    let error = model_file::encode(&BTreeMap::new(), &layout, &[1.0]).expect_err("too short");
    assert!(matches!(
        error,
        ModelFileError::Length {
            expected: 2,
            found: 1
        }
    ));
    let layout = Layout::new([("__metadata__", vec![1])]).expect("layout");
    let error = model_file::encode(&BTreeMap::new(), &layout, &[1.0]).expect_err("reserved");
    assert!(matches!(error, ModelFileError::ReservedName));
}

#[test]
fn hostile_headers_are_refused() {
    let tensor = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    let cases = [
        ("wrong number", tensor("F16", "[2]", "[0,4]"), 4),
        ("unknown number", tensor("Q7", "[2]", "[0,4]"), 4),
        ("short data", tensor("F32", "[2]", "[0,8]"), 7),
        ("long data", tensor("F32", "[2]", "[0,8]"), 9),
        ("shape against offsets", tensor("F32", "[3]", "[0,8]"), 8),
        (
            "overflowing shape",
            tensor("F32", "[4294967296,4294967296,4]", "[0,8]"),
            8,
        ),
        (
            "huge offsets",
            tensor("F32", "[2]", "[0,18446744073709551615]"),
            8,
        ),
        ("backward offsets", tensor("F32", "[2]", "[8,0]"), 8),
        ("a gap", tensor("F32", "[1]", "[4,8]"), 8),
        ("negative shape", tensor("F32", "[-2]", "[0,8]"), 8),
        ("not an object", "[1,2]".to_owned(), 0),
        ("not JSON", "{{{".to_owned(), 0),
        ("deep nesting", "[".repeat(100_000), 0),
    ];
    for (what, header, data) in cases {
        let result = model_file::decode(&file(&header, &vec![0; data]));
        assert!(result.is_err(), "{what}");
    }
    let repeated = concat!(
        r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"#,
        r#""a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#
    );
    assert!(model_file::decode(&file(repeated, &[0; 8])).is_err());
    assert!(model_file::decode(&u64::MAX.to_le_bytes()).is_err());
    assert!(model_file::decode(&[]).is_err());
    assert!(model_file::decode(&[0xff; 64]).is_err());
}

#[test]
fn every_truncation_is_refused() {
    let layout = Layout::new([("a", vec![3, 2]), ("b", vec![5])]).expect("layout");
    let bytes = model_file::encode(&metadata(), &layout, &[0.25; 11]).expect("encode");
    for end in 0..bytes.len() {
        assert!(model_file::decode(&bytes[..end]).is_err(), "{end} bytes");
    }
}

proptest! {
    #[test]
    fn flipped_bytes_never_panic(flips in prop::collection::vec((0_usize..400, any::<u8>()), 1..8)) {
        let layout = Layout::new([("a", vec![3, 2]), ("b", vec![5])]).expect("layout");
        let mut bytes = model_file::encode(&metadata(), &layout, &[0.25; 11]).expect("encode");
        for (place, value) in flips {
            let len = bytes.len();
            bytes[place % len] = value;
        }
        if let Ok(file) = model_file::decode(&bytes) {
            prop_assert_eq!(file.parameters.len(), file.layout.len());
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(file) = model_file::decode(&bytes) {
            prop_assert_eq!(file.parameters.len(), file.layout.len());
        }
    }
}
