//! Rounds that are recorded: what the transcript holds is what the server had, and recording changes nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use std::fs;
use std::path::Path;

use cloister_host::{read_transcript, recorded_rounds, transcript_path};
use cloister_protocol::Coding;
use cloister_protocol::transcript::{SentUpdate, Transcript};
use cloister_report::record::{RoundOutcome, RunRecord};
use cloister_sim::{Federation, run};

use support::{experiment, go, model, options, rounds, stopped};

const TEN: &str = "federation = { clients = 10, rounds = 4 }\n\
                   train = { epochs = 1, batch_size = 32, learning_rate = 0.2 }\n";
const ALL: &str = "record = { every = 1 }\n";

fn recorded(config: &str) -> (tempfile::TempDir, Vec<Transcript>) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    go(&experiment(config), &options(&out, 2));
    let rounds = recorded_rounds(&out).unwrap();
    let transcripts = rounds
        .iter()
        .map(|round| read_transcript(&out, *round).unwrap());
    let transcripts = transcripts.collect();
    (folder, transcripts)
}

fn updates(transcript: &Transcript) -> Vec<SentUpdate> {
    transcript.updates().map(Result::unwrap).collect()
}

/// The mean of the updates by their examples.
fn mean(sent: &[SentUpdate]) -> Vec<f64> {
    let total: i64 = sent.iter().map(|one| one.examples).sum();
    let mut mean = vec![0.0; sent[0].values.len()];
    for one in sent {
        let share = one.examples as f64 / total as f64;
        for (sum, value) in mean.iter_mut().zip(&one.values) {
            *sum += share * f64::from(*value);
        }
    }
    mean
}

/// The largest distance between the step that the model made and `update`.
fn distance(transcript: &Transcript, update: &[f64]) -> f64 {
    let step = transcript.after.iter().zip(transcript.global().iter());
    let step = step.map(|(after, before)| f64::from(*after) - f64::from(*before));
    let both = step.zip(update);
    both.map(|(step, update)| (step - update).abs())
        .fold(0.0, f64::max)
}

#[test]
fn the_updates_of_a_transcript_are_what_the_server_summed() {
    for more in [
        "",
        "communication = { update = \"f16\" }\n",
        "communication = { update = \"int8\" }\n",
        "communication = { update = \"top-k\", keep = 0.2 }\n",
        "defence = { clip_norm = 0.05, prune = 0.5, quantise_bits = 6, noise = 1e-4 }\n",
    ] {
        let (_folder, transcripts) = recorded(&format!("{TEN}{ALL}{more}"));
        assert_eq!(transcripts.len(), 4);
        for pair in transcripts.windows(2) {
            assert_eq!(pair[0].after, *pair[1].global());
        }
        for transcript in &transcripts {
            let sent = updates(transcript);
            assert_eq!(sent.len(), 10);
            assert!(transcript.sums.is_empty() && !transcript.is_masked());
            // The server sums exactly and rounds once; the rest is the addition to the model, of numbers below 4.
            let away = distance(transcript, &mean(&sent));
            assert!(away < 1e-6, "{more} {away}");
            let moved = distance(transcript, &vec![0.0; sent[0].values.len()]);
            assert!(moved > 1e-4, "{moved}");
        }
        let sent = updates(&transcripts[0]);
        match sent[0].coding {
            Coding::TopK => {
                let places = sent[0].places.as_ref().unwrap();
                let count = (0.2 * sent[0].values.len() as f64).ceil() as usize;
                assert_eq!(places.len(), count);
                let beyond = |place: &u32| sent[0].values[*place as usize] != 0.0;
                assert_eq!(
                    sent[0].values.iter().filter(|v| **v != 0.0).count(),
                    places.iter().filter(|p| beyond(p)).count()
                );
            }
            Coding::Int8 => assert_eq!(sent[0].steps.len(), sent[0].values.len().div_ceil(256)),
            _ => assert_eq!(
                (sent[0].places.is_none(), sent[0].steps.is_empty()),
                (true, true)
            ),
        }
    }
}

#[test]
fn what_leaves_a_client_is_defended_and_the_same_on_any_number_of_threads() {
    let defence = "defence = { clip_norm = 0.05, prune = 0.5, quantise_bits = 4 }\n";
    let (_folder, transcripts) = recorded(&format!("{TEN}record = {{ rounds = [2] }}\n{defence}"));
    for sent in updates(&transcripts[0]) {
        let norm: f64 = sent.values.iter().map(|v| f64::from(*v).powi(2)).sum();
        assert!(norm.sqrt() < 0.06, "{}", norm.sqrt());
        let zeros = sent.values.iter().filter(|value| **value == 0.0).count();
        assert!(2 * zeros >= sent.values.len(), "{zeros}");
        let mut levels = sent.values.clone();
        levels.sort_by(f32::total_cmp);
        levels.dedup();
        assert!(levels.len() <= 15, "{}", levels.len());
    }
    let folder = tempfile::tempdir().unwrap();
    let soteria = experiment(&format!(
        "{TEN}defence = {{ soteria = 0.25, noise = 0.01 }}\n{ALL}"
    ));
    for (name, threads) in [("one", 1), ("three", 3)] {
        go(&soteria, &options(&folder.path().join(name), threads));
    }
    assert_eq!(
        model(&folder.path().join("one")),
        model(&folder.path().join("three"))
    );
}

#[test]
fn soteria_leaves_the_last_layer_s_columns_alone() {
    // One step in all: the columns that were withheld have not moved.
    let one = "federation = { clients = 10, rounds = 1 }\ntrain = { epochs = 1, batch_size = 0, learning_rate = 0.2 }\n";
    let still = |more: &str| -> Vec<usize> {
        let (_folder, transcripts) = recorded(&format!("{one}{ALL}{more}"));
        let sent = updates(&transcripts[0]).into_iter();
        sent.map(|sent| {
            // digits, mlp of 16: fc2.weight is 10 x 16, before 10 biases.
            let end = sent.values.len() - 10;
            let head = &sent.values[end - 160..end];
            let rests = |column: &usize| {
                head.iter()
                    .skip(*column)
                    .step_by(16)
                    .all(|value| *value == 0.0)
            };
            (0..16).filter(rests).count()
        })
        .collect()
    };
    let (plain, withheld) = (still(""), still("defence = { soteria = 0.25 }\n"));
    for (plain, withheld) in plain.iter().zip(&withheld) {
        // A unit that is off for all of a client's examples does not move either.
        assert!((4..=4 + plain).contains(withheld), "{plain} {withheld}");
    }
}

#[test]
fn recording_changes_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let [bare, kept] = ["bare", "kept"].map(|name| folder.path().join(name));
    let faults = "faults = { dropout = 0.2, corrupt = 0.3 }\n";
    go(&experiment(&format!("{TEN}{faults}")), &options(&bare, 2));
    go(
        &experiment(&format!("{TEN}{faults}record = {{ rounds = [1, 3] }}\n")),
        &options(&kept, 1),
    );
    assert_eq!(rounds(&bare), rounds(&kept));
    assert_eq!(recorded_rounds(&kept).unwrap(), [1, 3]);
    assert!(!bare.join("transcript").exists());
    let tail = |path: &Path| {
        let bytes = model(path);
        let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        bytes[8 + header..].to_vec()
    };
    assert_eq!(tail(&bare), tail(&kept));
    // Garbled replies are there as they came.
    let record = RunRecord::read(&kept).unwrap();
    let mut refused = 0;
    for round in [1, 3] {
        let transcript = read_transcript(&kept, round).unwrap();
        let row = &record.rounds[round as usize - 1];
        let accepted = transcript.messages.iter().filter(|m| m.accepted).count();
        assert_eq!(accepted as u32, row.accepted);
        assert_eq!((transcript.messages.len() - accepted) as u32, row.refused);
        refused += row.refused;
    }
    assert!(refused > 0, "no reply was garbled");
    let kinds = record
        .events
        .iter()
        .filter(|event| event.kind == "recorded")
        .count();
    assert_eq!(kinds, 2);
}

#[test]
fn a_run_that_goes_on_has_each_transcript_once() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, cut] = ["whole", "cut"].map(|name| folder.path().join(name));
    let config = experiment(&format!("{TEN}{ALL}"));
    let federation = Federation::load(&config).unwrap();
    go(&config, &options(&whole, 2));
    stopped(&federation, &cut, 2);
    assert_eq!(recorded_rounds(&cut).unwrap(), [1, 2]);
    // Left by a crash after the last checkpoint.
    fs::copy(transcript_path(&cut, 2), transcript_path(&cut, 4)).unwrap();
    let again = cloister_sim::Options {
        resume: true,
        ..options(&cut, 2)
    };
    run(&federation, &again, &mut |_| {}).unwrap();
    for round in 1..=4 {
        let [a, b] = [&whole, &cut].map(|run| fs::read(transcript_path(run, round)).unwrap());
        assert_eq!(a, b, "round {round}");
    }
}

#[test]
fn masked_vectors_look_random_and_their_sum_is_the_step() {
    let masked = "secure_aggregation = { minimum_cohort = 6 }\nfaults = { dropout = 0.1 }\n";
    let (folder, transcripts) = recorded(&format!("{TEN}{ALL}{masked}"));
    let record = RunRecord::read(&folder.path().join("run")).unwrap();
    let (mut counts, mut total) = ([0_u64; 256], 0_u64);
    let mut completed = 0;
    for transcript in &transcripts {
        assert!(transcript.is_masked());
        assert_eq!(transcript.updates().count(), 0, "nothing is in the clear");
        let vectors = transcript.masked().unwrap();
        let row = &record.rounds[transcript.round() as usize - 1];
        assert_eq!(vectors.len() as u32, row.accepted);
        for (_, vector) in &vectors {
            for byte in vector.bytes() {
                counts[*byte as usize] += 1;
                total += 1;
            }
        }
        if row.outcome == RoundOutcome::Completed {
            completed += 1;
            let [sum] = transcript.sums.as_slice() else {
                panic!("{} sums", transcript.sums.len());
            };
            assert_eq!(sum.clients.len() as u32, row.accepted);
            let step: Vec<f64> = sum.mean.iter().map(|value| f64::from(*value)).collect();
            let away = distance(transcript, &step);
            assert!(away < 1e-6, "{away}");
            let moved = distance(transcript, &vec![0.0; step.len()]);
            assert!(moved > 1e-4, "{moved}");
        }
    }
    assert!(completed > 0);
    // Chi-square of 255 degrees of freedom: 255 + 6 standard deviations of 22.6 is passed once in ten million. The masks are
    // fresh in each run.
    let expected = total as f64 / 256.0;
    let square: f64 = counts
        .iter()
        .map(|n| (*n as f64 - expected).powi(2) / expected)
        .sum();
    assert!(
        total > 50_000 && square < 255.0 + 6.0 * 22.6,
        "{square} of {total}"
    );
}

#[test]
fn a_malicious_model_is_refused_by_all_and_the_record_says_why() {
    // A step length that throws the parameters beyond all bounds at once stands for a server that lies.
    let lying = "federation = { clients = 10, rounds = 2 }\nserver = { learning_rate = 1e30 }\n";
    let folder = tempfile::tempdir().unwrap();
    for (name, more, abandoned) in [
        ("default", "", true),
        ("warned", "guard = { mode = \"warn\" }\n", false),
    ] {
        let out = folder.path().join(name);
        go(&experiment(&format!("{lying}{more}")), &options(&out, 2));
        let record = RunRecord::read(&out).unwrap();
        let found = record
            .events
            .iter()
            .filter(|event| event.kind == "guard")
            .count();
        assert_eq!(found, 10, "{name}");
        let refused = |event: &&cloister_report::record::Event| {
            event.kind == "refused" && event.message.contains("absurd")
        };
        let refusals = record.events.iter().filter(refused).count();
        assert_eq!(refusals, if abandoned { 10 } else { 0 }, "{name}");
        if abandoned {
            assert_eq!(record.rounds[1].outcome, RoundOutcome::Abandoned);
        }
    }
}
