//! Masks: every kernel of this processor gives the bits of the portable one, and that one those of the stream.
#![no_main]

mod secagg;

use cloister_secagg::lanes::{Lane, LaneLayout, Vector};
use cloister_secagg::mask::{Kernel, MaskKey, Sign, apply_with, stream};
use libfuzzer_sys::fuzz_target;
use secagg::Input;

fn masks(keys: &[([u8; 32], Sign)]) -> Vec<(MaskKey, Sign)> {
    let make = |(key, sign): &([u8; 32], Sign)| (MaskKey::from_bytes(key), *sign);
    keys.iter().map(make).collect()
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let how = input.u8();
    let lane = if how & 1 == 0 { Lane::U16 } else { Lane::U32 };
    let model = match how & 6 {
        0 => usize::from(input.u16()),
        _ => usize::from(input.u8()),
    };
    let meta = usize::from(input.u8()) + 1;
    let Some(layout) = LaneLayout::new(lane, model + 1, meta) else {
        return;
    };
    let keys: Vec<([u8; 32], Sign)> = (0..how / 64)
        .map(|_| match input.u8() & 1 {
            0 => (input.array(), Sign::Add),
            _ => (input.array(), Sign::Subtract),
        })
        .collect();
    let threads = usize::from(how >> 3 & 1) + 1;
    let mut start = vec![0; layout.len()];
    for (place, byte) in start.iter_mut().enumerate() {
        *byte = input
            .0
            .get(place % input.0.len().max(1))
            .copied()
            .unwrap_or(0)
            ^ place as u8;
    }
    let start = Vector::from_bytes(layout, start).unwrap();
    let mut expected = start.clone();
    apply_with(Kernel::Portable, &mut expected, &masks(&keys), 1);
    for kernel in Kernel::available() {
        let mut vector = start.clone();
        apply_with(kernel, &mut vector, &masks(&keys), threads);
        assert_eq!(vector, expected, "{kernel:?}");
    }
    if let Some((key, _)) = keys.first() {
        let mut alone = Vector::zero(layout);
        apply_with(
            Kernel::Portable,
            &mut alone,
            &masks(&[(*key, Sign::Add)]),
            1,
        );
        let mut bytes = vec![0; layout.len()];
        stream(&MaskKey::from_bytes(key), &mut bytes);
        assert_eq!(alone.bytes(), bytes);
    }
});
