//! Rounds: the bits of a simulation, whatever is killed between.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cloister_config::Experiment;
use cloister_net::envoy::{Envoy, EnvoyError};
use cloister_net::transport::ParcelKind;
use cloister_protocol::message::{ClientMessage, ServerMessage};
use cloister_secagg::message::{Kind, peek};
use cloister_sim::{Federation, Options};

use super::support::*;

const TOP_K: &str = "client_momentum = 0.5\n[communication]\nupdate = \"top-k\"\nkeep = 0.3\n";
const INT8: &str = "[communication]\nupdate = \"int8\"\n";
const MASKED: &str = "[secure_aggregation]\nminimum_cohort = 3\n";
const LARGE: &str = "kind = \"mlp\"\nhidden = [128, 128]";

/// The bytes of the final model of a simulation.
fn simulated(experiment: &Experiment) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let federation = Federation::load(experiment).unwrap();
    let options = Options {
        folder: folder.path().join("run"),
        threads: 2,
        resume: false,
        stop: Arc::new(AtomicBool::new(false)),
        unattacked: None,
    };
    cloister_sim::run(&federation, &options, &mut |_| {}).unwrap();
    let file = fs::read(options.folder.join("model.safetensors")).unwrap();
    // The tensors lie at the end, in the order of the layout.
    let header = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    file[8 + header..].to_vec()
}

fn model(desk: &Desk) -> Vec<u8> {
    let global = desk.server.global().iter();
    global.flat_map(|value| value.to_le_bytes()).collect()
}

/// The final model of a deployment; a site is killed after every message, or after every round.
fn deployed(experiment: &Experiment, killed: Option<bool>) -> Vec<u8> {
    let house = House::new("");
    let mut envoys: Vec<Envoy> = (0..4).map(|place| house.open(place)).collect();
    let offer = house.offer(7, experiment);
    let charter = house.begin(&envoys, &offer);
    let mut desk = Desk::new(&house, &offer, &charter, experiment);
    while !desk.server.is_finished() {
        desk.round(&mut envoys, |place, envoy| {
            if killed == Some(true) {
                reopen(&house, place, envoy);
            }
        });
        if killed.is_some() {
            for (place, envoy) in envoys.iter_mut().enumerate() {
                reopen(&house, place, envoy);
            }
        }
    }
    assert_eq!(desk.refused, [""; 0]);
    for envoy in &envoys {
        envoy.closing(&json(&closing(7, 3))).unwrap();
        assert_eq!(sent(envoy).len(), 1);
        assert!(envoy.status().unwrap().experiments.is_empty());
    }
    model(&desk)
}

#[test]
fn the_model_has_the_bits_of_the_simulation_s_whatever_is_killed() {
    for more in ["", TOP_K, INT8] {
        let experiment = experiment(&format!("{SMALL}{more}"));
        let expected = simulated(&experiment);
        assert_eq!(deployed(&experiment, None), expected, "{more}");
        assert_eq!(deployed(&experiment, Some(true)), expected, "{more}");
    }
}

#[test]
fn masked_sums_have_the_bits_of_the_simulation_s() {
    let experiment = experiment(&format!("{SMALL}{MASKED}"));
    let expected = simulated(&experiment);
    assert_eq!(deployed(&experiment, None), expected);
    // Within a round a session would be lost; between them nothing is.
    assert_eq!(deployed(&experiment, Some(false)), expected);
}

#[test]
fn the_same_message_again_gives_the_same_bytes_and_no_second_training() {
    let house = House::new("");
    let envoys: Vec<Envoy> = (0..4).map(|place| house.open(place)).collect();
    let experiment = experiment(&SMALL.replace("kind = \"logistic\"", LARGE));
    let offer = house.offer(1, &experiment);
    let charter = house.begin(&envoys, &offer);
    let mut desk = Desk::new(&house, &offer, &charter, &experiment);
    desk.server.begin_round(desk.now).unwrap();
    let (place, number, file) = desk.calls().remove(0);
    assert_eq!(place, 0);
    let mut envoys = envoys.into_iter();
    let mut envoy = envoys.next().unwrap();
    let woken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&woken);
    envoy.on_outbox(move || {
        count.fetch_add(1, Ordering::Relaxed);
    });
    envoy.message(1, number, &file, desk.now).unwrap();
    assert!(woken.load(Ordering::Relaxed) > 0);
    // A large body is a file, and stays one over a restart.
    let folder = house.dir(0).join("outbox");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    fs::write(folder.join("999.bin"), b"left by a crash").unwrap();
    reopen(&house, 0, &mut envoy);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    let first = sent(&envoy);
    assert_eq!(first.len(), 1);
    assert!(envoy.outbox().unwrap().is_empty());
    // Asked again, in this process and in another: as it was, though the message itself is gone.
    fs::remove_file(&file).unwrap();
    for _ in 0..2 {
        envoy.message(1, number, &file, desk.now).unwrap();
        assert_eq!(sent(&envoy), first);
        reopen(&house, 0, &mut envoy);
    }
    // The same round under another number: the stored answer once more.
    desk.server.finish();
    let (bytes, number) = (first[0].1.clone(), number + 5);
    let request = ServerMessage::Train(cloister_protocol::message::TrainRequest {
        round: 1,
        layout: cloister_protocol::message::LayoutDigest::of(
            cloister_net::plan::Plan::new(experiment.clone(), offer.data.clone())
                .unwrap()
                .model
                .layout(),
        ),
        plan: experiment.train.plan(1),
        global: Arc::clone(desk.server.global()),
        secure: None,
    });
    fs::write(&file, request.encode()).unwrap();
    envoy.message(1, number, &file, desk.now).unwrap();
    let again = sent(&envoy);
    assert_eq!((again[0].0.number, &again[0].1), (number, &bytes));
    // The end has nothing to say.
    fs::write(&file, ServerMessage::Finished.encode()).unwrap();
    envoy.message(1, number + 1, &file, desk.now).unwrap();
    let done = sent(&envoy);
    assert_eq!((done[0].0.kind, done[0].1.len()), (ParcelKind::Done, 0));
}

/// The memory as it was before the answer was stored, and the ledger as it was after the training: a kill between.
#[test]
fn a_training_that_was_not_stored_is_repeated_to_the_same_bits_and_charged_once() {
    let house = House::new("");
    let mut envoys: Vec<Envoy> = (0..4).map(|place| house.open(place)).collect();
    let experiment = experiment(SMALL);
    let offer = house.offer(1, &experiment);
    let charter = house.begin(&envoys, &offer);
    let mut desk = Desk::new(&house, &offer, &charter, &experiment);
    desk.round(&mut envoys, |_, _| {});
    desk.server.begin_round(desk.now).unwrap();
    let (_, number, file) = desk.calls().remove(0);
    let (dir, kept) = (house.dir(0), house.around.path().join("kept"));
    let mut envoy = envoys.remove(0);
    reopen(&house, 0, &mut envoy);
    drop(envoy);
    copy(&dir, &kept, &["memory.redb"]);
    let envoy = house.open(0);
    envoy.message(1, number, &file, desk.now).unwrap();
    let first = sent(&envoy);
    drop(envoy);
    let ledger = || fs::read_to_string(dir.join("ledger/heart-disease.jsonl")).unwrap();
    let charged = ledger();
    assert_eq!(charged.lines().count(), 3);
    copy(&kept, &dir, &["memory.redb"]);
    let envoy = house.open(0);
    envoy.message(1, number, &file, desk.now).unwrap();
    assert_eq!(sent(&envoy), first);
    assert_eq!(ledger(), charged);
}

#[test]
fn a_secure_sum_that_a_restart_interrupts_is_given_up_and_never_joined_again() {
    let house = House::new("");
    let mut envoys: Vec<Envoy> = (0..4).map(|place| house.open(place)).collect();
    let experiment = experiment(&format!("{SMALL}{MASKED}"));
    let offer = house.offer(1, &experiment);
    let charter = house.begin(&envoys, &offer);
    let mut desk = Desk::new(&house, &offer, &charter, &experiment);
    let mut killed = None;
    desk.round(&mut envoys, |place, envoy| {
        if place == 2 && killed.is_none() {
            // After its keys, and perhaps its update, went into the outbox.
            reopen(&house, place, envoy);
            let messages: Vec<ClientMessage> = envoy
                .outbox()
                .unwrap()
                .iter()
                .filter(|one| one.parcel.kind == ParcelKind::Message)
                .map(|one| ClientMessage::decode(&bytes_of(&one.body), 1000).unwrap())
                .collect();
            killed = Some(messages);
        }
    });
    let killed = killed.unwrap();
    let [
        ClientMessage::Secure(_),
        ClientMessage::Failed { round: 1, reason },
    ] = killed.as_slice()
    else {
        panic!("{killed:?}");
    };
    assert!(
        reason.contains("restarted during the secure sum"),
        "{reason}"
    );
    // Once in words, and once when the server asked on.
    assert_eq!(desk.refused.len(), 2, "{:?}", desk.refused);
    // The same call again: what was sent, and no new keys.
    let file = house.around.path().join("2-1.bin");
    let envoy = &envoys[2];
    envoy.message(1, 1, &file, desk.now).unwrap();
    assert_eq!(sent(envoy).len(), 2);
    envoy.message(1, 90, &file, desk.now).unwrap();
    let repeated = sent(envoy);
    let message = ClientMessage::decode(&repeated[0].1, 1000).unwrap();
    // What was sent last: that it has left.
    let ClientMessage::Secure(bytes) = &message else {
        panic!("{message:?}");
    };
    assert_eq!(peek(bytes).unwrap().0, Kind::Abort);
    // The next round has all four again.
    let refused = desk.refused.len();
    desk.round(&mut envoys, |_, _| {});
    assert_eq!(desk.refused.len(), refused, "{:?}", desk.refused);
}

#[test]
fn a_director_that_asks_for_something_else_gets_the_reason() {
    let house = House::new("");
    let envoys: Vec<Envoy> = (0..4).map(|place| house.open(place)).collect();
    let experiment = experiment(SMALL);
    let offer = house.offer(1, &experiment);
    let charter = house.begin(&envoys, &offer);
    let mut desk = Desk::new(&house, &offer, &charter, &experiment);
    desk.server.begin_round(desk.now).unwrap();
    let (_, _, file) = desk.calls().remove(0);
    let bytes = fs::read(&file).unwrap();
    let Ok(ServerMessage::Train(request)) = ServerMessage::decode(&bytes, 1000) else {
        panic!("no request");
    };
    let (mut rounds, mut plan, mut long) = (request.clone(), request.clone(), request.clone());
    rounds.round = 4;
    plan.plan.epochs = 50;
    long.global = vec![0.0; 100_000].into();
    for (number, request, words) in [
        (10, rounds, "has 3 rounds, round 4 is none of them"),
        (11, plan, "another training than the experiment's"),
    ] {
        fs::write(&file, ServerMessage::Train(request).encode()).unwrap();
        envoys[0].message(1, number, &file, desk.now).unwrap();
        let sent = sent(&envoys[0]);
        let message = ClientMessage::decode(&sent[0].1, 1000).unwrap();
        let ClientMessage::Failed { reason, .. } = message else {
            panic!("{message:?}");
        };
        assert!(reason.contains(words), "{reason}");
    }
    fs::write(&file, ServerMessage::Train(long).encode()).unwrap();
    let error = envoys[0].message(1, 12, &file, desk.now).unwrap_err();
    assert!(matches!(error, EnvoyError::TooLong { .. }), "{error}");
    // What was refused does not stand in the way of what was planned.
    fs::write(&file, bytes).unwrap();
    envoys[0].message(1, 13, &file, desk.now).unwrap();
    let sent = sent(&envoys[0]);
    let message = ClientMessage::decode(&sent[0].1, 1000).unwrap();
    assert!(matches!(message, ClientMessage::Reply(_)), "{message:?}");
    let error = envoys[0].message(2, 1, &file, desk.now).unwrap_err();
    assert!(matches!(error, EnvoyError::Unknown(2)), "{error}");
}
