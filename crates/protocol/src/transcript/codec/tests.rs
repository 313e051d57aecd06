use std::sync::Arc;

use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use super::*;
use crate::compression::{Coding, CommunicationConfig, Compact};
use crate::config::TrainConfig;
use crate::message::{ClientMessage, CompactReply, LayoutDigest, TrainReply, TrainRequest};

const LAYOUT: LayoutDigest = LayoutDigest([3; 32]);

fn transcript(global: Vec<f32>, updates: &[(Coding, Vec<f32>)], secure: bool) -> Transcript {
    let reply = |(client, (coding, update)): (usize, &(Coding, Vec<f32>))| {
        let (round, layout, examples, loss) = (2, LAYOUT, 7, Some(0.5));
        let message = match coding {
            Coding::F32 => ClientMessage::Reply(TrainReply {
                round,
                layout,
                examples,
                loss,
                update: update.clone(),
            }),
            coding => {
                let config = CommunicationConfig {
                    update: *coding,
                    keep: 0.3,
                };
                let mut rng = ChaCha8Rng::seed_from_u64(client as u64);
                ClientMessage::Compact(CompactReply {
                    round,
                    layout,
                    examples,
                    loss,
                    update: Compact::encode(update, &config, &mut rng),
                })
            }
        };
        Recorded {
            client: ClientId(3 * client as u32),
            name: format!("Städtisches {client}"),
            accepted: client % 3 != 2,
            bytes: message.encode(),
        }
    };
    let after: Arc<[f32]> = global.iter().map(|value| value + 1.0).collect();
    Transcript {
        messages: updates.iter().enumerate().map(reply).collect(),
        sums: match secure {
            true => vec![Summed {
                clients: vec![ClientId(0), ClientId(3)],
                weight: 14,
                mean: global.clone(),
            }],
            false => Vec::new(),
        },
        request: TrainRequest {
            round: 2,
            layout: LAYOUT,
            plan: TrainConfig::default().plan(2),
            global: global.into(),
            secure: secure.then(|| vec![1, 2, 3].into()),
        },
        after,
    }
}

fn sample() -> Transcript {
    let updates = [
        (Coding::F32, vec![1.0, -2.0, 0.5]),
        (Coding::TopK, vec![0.1, -2.0, 0.5]),
        (Coding::Int8, vec![0.0; 3]),
    ];
    transcript(vec![0.25, -1.0, 3.0], &updates, true)
}

/// As a forger would: changed, and sealed again.
fn sealed(mut body: Vec<u8>) -> Vec<u8> {
    let digest = Sha256::digest(&body);
    body.extend(digest);
    body
}

#[test]
fn every_changed_byte_and_every_prefix_is_an_error() {
    let whole = sample().encode();
    assert_eq!(whole.len(), sample().encoded_len());
    for place in 0..whole.len() {
        for bit in [1, 0x80] {
            let mut changed = whole.clone();
            changed[place] ^= bit;
            assert!(Transcript::decode(&changed).is_err(), "byte {place}");
        }
        assert!(Transcript::decode(&whole[..place]).is_err());
    }
    let body = &whole[..whole.len() - DIGEST];
    for end in 0..body.len() {
        assert!(
            Transcript::decode(&sealed(body[..end].to_vec())).is_err(),
            "{end}"
        );
    }
    let more = sealed([body, &[0]].concat());
    let trailing = DecodeError::Trailing(1);
    assert_eq!(Transcript::decode(&more), Err(trailing.into()));
}

#[test]
fn hostile_counts_allocate_nothing() {
    let whole = transcript(vec![0.0; 2], &[], false).encode();
    let body = &whole[..whole.len() - DIGEST];
    // From the end: the model after (4 + 8), sums (4), messages (4).
    let after = body.len() - 12;
    for (place, what) in [
        (after - 8, "messages"),
        (after - 4, "sums"),
        (HEADER, "call"),
    ] {
        let mut changed = body.to_vec();
        changed[place..place + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        let error = Transcript::decode(&sealed(changed)).unwrap_err();
        let TranscriptError::Format(DecodeError::Truncated { what: found, .. }) = error else {
            panic!("{error}");
        };
        assert_eq!(found, what);
    }
    let mut changed = body.to_vec();
    changed[after..after + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    let error = Transcript::decode(&sealed(changed)).unwrap_err();
    assert!(
        matches!(error, TranscriptError::Format(DecodeError::TooLong { .. })),
        "{error}"
    );
}

#[test]
fn clients_are_in_order_and_vectors_fit() {
    let mut doubled = sample();
    let again = doubled.messages[0].clone();
    doubled.messages.push(again);
    assert!(Transcript::decode(&doubled.encode()).is_err());
    let mut short = sample();
    short.after = vec![0.0; 2].into();
    assert!(Transcript::decode(&short.encode()).is_err());
    let mut short = sample();
    short.sums[0].mean.pop();
    assert!(Transcript::decode(&short.encode()).is_err());
}

#[test]
fn updates_are_read_as_the_server_reads_them() {
    let updates = [
        (Coding::F32, vec![1.0, -2.0, 0.5, 0.25]),
        (Coding::TopK, vec![0.1, -2.0, 0.5, 1.0]),
        (Coding::Int8, vec![9.0; 4]),
        (Coding::Int8, vec![1.27, 0.0, -0.5, 0.25]),
        (Coding::F16, vec![1.0, 2.0, 70_000.0, 0.1]),
    ];
    let transcript = transcript(vec![0.0; 4], &updates, false);
    let sent: Vec<_> = transcript.updates().map(Result::unwrap).collect();
    // Client 6, the third, was refused.
    let clients: Vec<u32> = sent.iter().map(|sent| sent.client.0).collect();
    assert_eq!(clients, [0, 3, 9, 12]);
    assert_eq!(sent[0].values, updates[0].1);
    assert_eq!((sent[0].examples, sent[0].loss), (7, Some(0.5)));
    assert_eq!(sent[1].places.as_deref(), Some(&[1, 3][..]));
    assert_eq!(sent[1].values, [0.0, -2.0, 0.0, 1.0]);
    assert_eq!(sent[2].coding, Coding::Int8);
    assert!((sent[2].steps[0] - 0.01).abs() < 1e-6);
    for (sent, value) in sent[2].values.iter().zip(&updates[3].1) {
        assert!((sent - value).abs() <= 0.0101);
    }
    assert_eq!(sent[3].values[2], 65504.0);
    assert_eq!(sent[3].name, "Städtisches 4");
}

#[test]
fn an_accepted_message_that_is_none_is_an_error() {
    let mut transcript = sample();
    transcript.messages[0].bytes.truncate(9);
    let first = transcript.updates().next();
    assert!(matches!(
        first,
        Some(Err(TranscriptError::Message {
            client: ClientId(0),
            ..
        }))
    ));
    // Its secure sum was never one.
    assert!(matches!(
        transcript.masked(),
        Err(TranscriptError::Masked(_))
    ));
}

proptest! {
    #[test]
    fn round_trips(
        global in prop::collection::vec(-9.0_f32..9.0, 0..40),
        codings in prop::collection::vec(0_usize..4, 0..6),
        secure in any::<bool>(),
    ) {
        let coding = |which: &usize| [Coding::F32, Coding::F16, Coding::Int8, Coding::TopK][*which];
        let updates: Vec<_> = codings.iter().map(|which| (coding(which), global.clone())).collect();
        let transcript = transcript(global, &updates, secure);
        let bytes = transcript.encode();
        prop_assert_eq!(bytes.len(), transcript.encoded_len());
        prop_assert_eq!(Transcript::decode(&bytes), Ok(transcript));
    }

    #[test]
    fn garbage_never_panics(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Transcript::decode(&body);
        let framed = sealed([&MAGIC[..], &[VERSION], &body].concat());
        let _ = Transcript::decode(&framed);
    }
}
