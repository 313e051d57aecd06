//! Certificates and requests of strangers.
#![no_main]

use cloister_net::pki::{Leaf, Request, Use, verify};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Leaf::of(bytes);
    let half = bytes.len() / 2;
    let _ = verify(&bytes[..half], &bytes[half..], Use::Client, 1_700_000_000);
    let _ = Request::from_pem(bytes);
});
