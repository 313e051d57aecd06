//! Secure aggregation: messages, records and rosters that decode encode to the same bytes, others are refused.
#![no_main]

mod secagg;

use cloister_secagg::message::{ClientMessage, ServerMessage};
use cloister_secagg::{Record, Roster};
use ed25519_dalek::{Signer, SigningKey};
use libfuzzer_sys::fuzz_target;
use secagg::Input;
use sha2::{Digest, Sha256};

const MOST_VECTOR: usize = 1 << 16;

fn round_trip(bytes: &[u8], members: u32) {
    if let Ok((message, header)) = ServerMessage::decode(bytes, members) {
        assert_eq!(message.encode(header), bytes);
    }
    if let Ok((message, header)) = ClientMessage::decode(bytes, members, MOST_VECTOR) {
        assert_eq!(message.encode(header), bytes);
    }
    if let Ok(record) = Record::from_bytes(bytes) {
        assert_eq!(record.to_bytes(), bytes);
    }
}

/// A roster of any bytes, rightly signed: what they hold is still to be checked.
fn open_roster(bytes: &[u8]) {
    let authority = SigningKey::from_bytes(&[5; 32]);
    let mut text = b"flsa1-sig\0\0".to_vec();
    text.extend([0; 32]);
    text.extend([0xff; 4]);
    text.extend(Sha256::digest(bytes));
    let signature = authority.sign(&text).to_bytes();
    let public = authority.verifying_key().to_bytes();
    if let Ok(roster) = Roster::open(bytes, &signature, &public) {
        assert_eq!(roster.to_bytes(), bytes);
    }
    assert!(Roster::open(bytes, &[0; 64], &public).is_err());
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    match input.u8() % 4 {
        0 => round_trip(input.0, 0),
        1 => {
            let members = input.u8().into();
            round_trip(input.0, members);
        }
        2 => {
            let worlds = secagg::worlds();
            let world = &worlds[usize::from(input.u8()) % worlds.len()];
            let mut message = world.told[usize::from(input.u8()) % world.told.len()].clone();
            input.edit(&mut message);
            round_trip(&message, world.params.members());
        }
        _ => open_roster(input.0),
    }
});
