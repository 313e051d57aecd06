//! A client of secure aggregation under messages of any kind: it does not panic, never reveals twice, never masks two vectors,
//! not even when it is restored from old states, as long as its record is kept.
#![no_main]

mod secagg;

use cloister_secagg::members::Members;
use cloister_secagg::merkle::{self, Tree};
use cloister_secagg::message::{Header, Kind, ServerMessage, peek};
use cloister_secagg::{Client, Record, Step};
use libfuzzer_sys::fuzz_target;
use secagg::{Input, NOW, World};

const MOST_STEPS: usize = 64;

/// What the client under test has sent.
#[derive(Default)]
struct Sent {
    masked: Option<Vec<u8>>,
    ack: Option<Vec<u8>>,
    revealed: bool,
}

impl Sent {
    fn note(&mut self, step: &Step) {
        let Step::Send(bytes) = step else {
            return;
        };
        match peek(bytes).unwrap().0 {
            Kind::Masked => {
                assert!(self.masked.is_none(), "two masked vectors");
                self.masked = Some(bytes.clone());
            }
            // The same one may go out again after a step back.
            Kind::Ack => match &self.ack {
                Some(before) => assert_eq!(before, bytes, "two acknowledgements"),
                None => self.ack = Some(bytes.clone()),
            },
            Kind::Reveal => {
                assert!(!self.revealed, "two reveals");
                self.revealed = true;
            }
            _ => {}
        }
    }
}

fn give(client: &mut Client, sent: &mut Sent, bytes: &[u8]) {
    let over = client.is_over();
    if let Ok(step) = client.receive(bytes, NOW) {
        assert!(!over || matches!(step, Step::Ignored | Step::Repeat));
        sent.note(&step);
    }
}

/// Survivors that the server makes up, with a proof that the client's own vector is among them.
fn made_up(world: &World, set: u8, sent: &Sent) -> Option<Vec<u8>> {
    let layout = world.params.layout();
    let masked = sent.masked.as_ref()?;
    // Header, index, hash of U2, length, vector, signature.
    let vector = &masked[13 + 4 + 32 + 4..][..layout.len()];
    let own = merkle::leaf(&[&0_u32.to_le_bytes(), &digest(vector)]);
    let mut survivors = Members::none(world.params.members());
    survivors.insert(0);
    (0..8)
        .filter(|index| set >> index & 1 == 1)
        .for_each(|index| survivors.insert(index));
    let leaves = survivors.iter().map(|index| match index {
        0 => own,
        _ => [index as u8; 32],
    });
    let tree = Tree::new(leaves.collect());
    let message = ServerMessage::Survivors {
        survivors,
        bodies_root: tree.root(),
        proof: tree.proof(0),
    };
    Some(message.encode(Header {
        round: world.params.round,
        attempt: world.params.attempt,
    }))
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).into()
}

/// A client out of bytes that may be anything: it must not panic, whatever comes.
fn restore_edited(world: &World, record: &Record, input: &mut Input<'_>) {
    let which = usize::from(input.u8());
    let mut bytes = match which % 8 {
        7 => input.take(255).to_vec(),
        which => world.saved[which % world.saved.len()].clone(),
    };
    input.edit(&mut bytes);
    let record = match which / 8 % 3 {
        0 => *record,
        1 => Record::from_bytes(input.take(cloister_secagg::RECORD_LEN)).unwrap_or_default(),
        _ => Record::default(),
    };
    let policy = world.policy(0);
    if let Ok(mut client) = Client::restore(policy, &record, &bytes, NOW) {
        if let Some(saved) = client.save(NOW) {
            // A record may be so far ahead of the state that the two together are not restored again.
            if let Ok(again) = Client::restore(world.policy(0), client.record(), &saved, NOW) {
                assert_eq!(again.save(NOW), Some(saved));
            }
        }
        for message in &world.told[1..] {
            if client.receive(message, NOW) == Ok(Step::Ready) {
                let vector = cloister_secagg::lanes::Vector::zero(client.layout());
                // The edit may have made them many.
                if vector.bytes().len() < 1 << 16 {
                    let _ = client.mask(vector, 1, NOW);
                }
            }
        }
    }
}

fn step(
    world: &World,
    client: &mut Client,
    sent: &mut Sent,
    kept: &mut Vec<Vec<u8>>,
    input: &mut Input<'_>,
) {
    let op = input.u8();
    let told = &world.told[usize::from(op / 16) % world.told.len()];
    match op % 16 {
        0 => {
            let length = input.u8();
            give(client, sent, input.take(length.into()));
        }
        // As the server of the recorded session goes on.
        1..=4 => give(client, sent, told),
        5 | 6 => {
            let mut message = told.clone();
            input.edit(&mut message);
            give(client, sent, &message);
        }
        7 => {
            let length = input.u8();
            let mut message = told[..13].to_vec();
            message.extend(input.take(length.into()));
            give(client, sent, &message);
        }
        8 => {
            if let Some(message) = made_up(world, input.u8(), sent) {
                give(client, sent, &message);
            }
        }
        9..=11 => {
            let mut vector = world.vector(0);
            if op % 16 == 11 {
                // Not the one of the recorded session, whose survivors and result then are others'.
                vector.set_meta(1, input.u8().into());
            }
            let due = client.is_ready();
            let step = client.mask(vector, 1, NOW);
            assert!(due || step.is_err());
            step.iter().for_each(|step| sent.note(step));
        }
        12 => kept.extend(client.save(NOW).map(|saved| saved.to_vec())),
        13 => {
            // What the host has on its disk: some earlier state, and the record.
            let place = usize::from(input.u8());
            if let Some(saved) = kept.get(place % kept.len().max(1)) {
                let restored = Client::restore(world.policy(0), client.record(), saved, NOW);
                if let Ok(restored) = restored {
                    *client = restored;
                }
            }
        }
        14 => {
            let again = world.join(0, client.record(), &world.told[0]);
            assert!(again.is_err(), "joined the same session twice");
        }
        _ => restore_edited(world, client.record(), input),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let worlds = secagg::worlds();
    let choice = usize::from(input.u8());
    let world = &worlds[choice % worlds.len()];
    let mut first = world.told[0].clone();
    if choice >= 192 {
        input.edit(&mut first);
    }
    let Ok((mut client, _)) = world.join(0, &Record::default(), &first) else {
        return;
    };
    if first != world.told[0] {
        // Other parameters: the session goes nowhere, but it must not panic.
        world
            .told
            .iter()
            .for_each(|message| drop(client.receive(message, NOW)));
        return;
    }
    let (mut sent, mut kept) = (Sent::default(), Vec::new());
    for _ in 0..MOST_STEPS {
        if input.is_empty() {
            break;
        }
        step(world, &mut client, &mut sent, &mut kept, &mut input);
    }
});
