//! Transcripts: bytes that decode encode to themselves, and what is in them is read without a panic; also with a right digest.
#![no_main]

use cloister_protocol::transcript::Transcript;
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};

fn read(bytes: &[u8]) {
    let Ok(transcript) = Transcript::decode(bytes) else {
        return;
    };
    assert_eq!(transcript.encode(), bytes);
    assert_eq!(transcript.encoded_len(), bytes.len());
    for update in transcript.updates().flatten() {
        assert!(update.values.len() <= transcript.global().len());
    }
    let _ = transcript.masked();
}

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    // No fuzzer guesses a digest.
    let digest = Sha256::digest(bytes);
    read(&[bytes, &digest].concat());
});
