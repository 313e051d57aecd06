//! Messages of a round: bytes that decode encode to themselves, others are refused.
#![no_main]

use cloister_protocol::message::{ClientMessage, ServerMessage};
use libfuzzer_sys::fuzz_target;

const MOST_PARAMETERS: usize = 1 << 16;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = ClientMessage::decode(bytes, MOST_PARAMETERS) {
        assert_eq!(message.encode(), bytes);
        assert_eq!(message.encoded_len(), bytes.len());
    }
    if let Ok(message) = ServerMessage::decode(bytes, MOST_PARAMETERS) {
        assert_eq!(message.encode(), bytes);
        assert_eq!(message.encoded_len(), bytes.len());
    }
});
