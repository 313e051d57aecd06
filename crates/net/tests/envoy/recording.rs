//! What is recorded, what a site lets be recorded, and models that it does not train.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use cloister_config::Experiment;
use cloister_host::read_transcript;
use cloister_net::envoy::Envoy;
use cloister_protocol::message::{ClientMessage, ServerMessage};
use cloister_protocol::transcript::Transcript;
use cloister_sim::{Federation, Options};

use super::support::*;

const RECORD: &str = "[record]\nevery = 1\n";
const ALLOW: &str = "[policy]\nrecording = \"allow\"\n";
const DEFENCE: &str = "[defence]\nclip_norm = 0.1\nprune = 0.3\nquantise_bits = 5\n";
const SOTERIA: &str = "[defence]\nsoteria = 0.25\n[communication]\nupdate = \"f16\"\n";
const MASKED: &str = "[secure_aggregation]\nminimum_cohort = 3\n";

/// The transcripts of a simulation.
fn simulated(experiment: &Experiment) -> Vec<Transcript> {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        folder: folder.path().join("run"),
        threads: 2,
        resume: false,
        stop: Arc::new(AtomicBool::new(false)),
        unattacked: None,
    };
    let federation = Federation::load(experiment).unwrap();
    cloister_sim::run(&federation, &options, &mut |_| {}).unwrap();
    let rounds = 1..=experiment.federation.rounds;
    rounds
        .map(|round| read_transcript(&options.folder, round).unwrap())
        .collect()
}

#[test]
fn a_director_s_transcript_has_the_bytes_of_the_simulation_s() {
    let small = SMALL.replace("kind = \"logistic\"", "kind = \"mlp\"\nhidden = [16]");
    for more in ["", DEFENCE, SOTERIA] {
        let experiment = experiment(&format!("{small}{RECORD}{more}"));
        let expected = simulated(&experiment);
        let house = House::new(ALLOW);
        let mut envoys: Vec<Envoy> = (0..4).map(|place| house.open(place)).collect();
        let offer = house.offer(7, &experiment);
        let charter = house.begin(&envoys, &offer);
        let mut desk = Desk::new(&house, &offer, &charter, &experiment);
        for expected in &expected {
            desk.server.record_next();
            desk.round(&mut envoys, |_, _| {});
            let owners = owners();
            let found = desk
                .server
                .take_transcript(|client| owners[client.0 as usize].clone());
            let found = found.unwrap();
            assert_eq!(found.messages.len(), 4);
            assert_eq!(found.encode(), expected.encode(), "{more}");
            assert!(desk.server.take_transcript(|_| String::new()).is_none());
        }
        // The next round was not asked for.
        assert!(desk.server.is_finished());
    }
}

#[test]
fn a_site_says_what_may_be_recorded_and_reads_what_is() {
    let plain = experiment(&format!("{SMALL}{RECORD}"));
    let masked = experiment(&format!("{SMALL}{RECORD}{MASKED}"));
    let bare = experiment(SMALL);
    for (policy, experiment, refused) in [
        ("", &bare, None),
        ("[policy]\nrecording = \"refuse\"\n", &bare, None),
        (
            "",
            &plain,
            Some("only if they are masked; the experiment keeps transcripts of 3 rounds"),
        ),
        ("", &masked, None),
        (ALLOW, &plain, None),
        (
            "[policy]\nrecording = \"refuse\"\n",
            &masked,
            Some("lets nothing be recorded"),
        ),
    ] {
        let house = House::new(policy);
        let envoy = house.open(0);
        let lines = Arc::new(Mutex::new(Vec::new()));
        let said = Arc::clone(&lines);
        envoy.on_word(move |line| said.lock().unwrap().push(line.to_owned()));
        let offer = house.offer(3, experiment);
        let is_recorded = experiment.record.is_some();
        match refused {
            Some(words) => {
                let reason = declined(&envoy, &offer);
                assert!(reason.contains(words), "{reason}");
            }
            None => {
                answered(&envoy, &offer);
                let lines = lines.lock().unwrap().join("\n");
                let seen = match experiment.secure_aggregation {
                    Some(_) => "masked updates and their sums",
                    None => "updates in the clear",
                };
                assert_eq!(
                    lines.contains("keeps transcripts of 3 of 3 rounds"),
                    is_recorded,
                    "{lines}"
                );
                assert!(!is_recorded || lines.contains(seen), "{lines}");
            }
        }
    }
}

#[test]
fn a_site_s_own_guard_decides_whatever_the_experiment_says() {
    let experiment = experiment(&format!("{SMALL}[guard]\nmode = \"off\"\n"));
    for (own, refuses) in [("", true), ("[guard]\nmode = \"warn\"\n", false)] {
        let house = House::new(own);
        let envoys: Vec<Envoy> = (0..4).map(|place| house.open(place)).collect();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let said = Arc::clone(&lines);
        envoys[0].on_word(move |line| said.lock().unwrap().push(line.to_owned()));
        let offer = house.offer(1, &experiment);
        let charter = house.begin(&envoys, &offer);
        let mut desk = Desk::new(&house, &offer, &charter, &experiment);
        desk.server.begin_round(desk.now).unwrap();
        let (place, number, file) = desk.calls().remove(0);
        // The director puts a bias of 1000 on the one output.
        let bytes = std::fs::read(&file).unwrap();
        let Ok(ServerMessage::Train(mut request)) = ServerMessage::decode(&bytes, 1 << 20) else {
            panic!("no call");
        };
        let mut global = request.global.to_vec();
        *global.last_mut().unwrap() = 1000.0;
        request.global = global.into();
        std::fs::write(&file, ServerMessage::Train(request).encode()).unwrap();
        envoys[place].message(1, number, &file, desk.now).unwrap();
        let sent = sent(&envoys[place]);
        let message = ClientMessage::decode(&sent[0].1, 1 << 20).unwrap();
        match message {
            ClientMessage::Failed { reason, .. } if refuses => {
                assert!(
                    reason.contains("guard") && reason.contains("fishing"),
                    "{reason}"
                );
            }
            ClientMessage::Reply(_) if !refuses => {}
            other => panic!("{other:?}"),
        }
        let lines = lines.lock().unwrap().join("\n");
        assert!(lines.contains("round 1: guard: fishing"), "{lines}");
    }
}
