//! SIGKILL at random instants: every run ends, with the model of an undisturbed one.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use cloister_host::{read_transcript, recorded_rounds};
use cloister_protocol::transcript::Transcript;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::EXPERIMENT;
use super::federation::Federation;

/// Kills of a side while an experiment was running.
const KILLS: usize = 20;

/// The transcript of a round without the names of the clients: those of sites are others.
fn unnamed(run: &Path, round: u32) -> Transcript {
    let mut transcript = read_transcript(run, round).unwrap();
    assert_eq!(transcript.messages.len(), 3);
    for message in &mut transcript.messages {
        message.name.clear();
    }
    transcript
}

/// Kills while experiments run, one after another until there were enough; each experiment must end as the undisturbed one did.
fn survive(seed: u64, mut kill: impl FnMut(&Federation, &mut ChaCha8Rng)) {
    eprintln!("seed {seed}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let federation = Federation::new(3);
    let experiment = format!("{EXPERIMENT}[record]\nevery = 3\n");
    let simulated = federation.simulate(&experiment);
    let undisturbed = Federation::model(&simulated);
    let mut kills = 0;
    let mut runs = 0;
    // The first call starts what there is to be killed.
    kill(&federation, &mut rng);
    while kills < KILLS {
        let id = federation.submit(&experiment);
        runs += 1;
        while kills < KILLS && !federation.is_over(id) {
            sleep(Duration::from_millis(rng.random_range(20..700)));
            kill(&federation, &mut rng);
            kills += 1;
        }
        federation.wait(id);
        let folder = federation.fetch(id);
        assert!(
            Federation::model(&folder) == undisturbed,
            "another model after {kills} kills"
        );
        let rounds = std::fs::read_to_string(folder.join("rounds.csv")).unwrap();
        let numbers: Vec<&str> = rounds
            .lines()
            .skip(1)
            .filter_map(|line| line.split(',').next())
            .collect();
        assert_eq!(numbers, ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"]);
        assert_eq!(recorded_rounds(&folder).unwrap(), [1, 4, 7, 10]);
        for round in [1, 4, 7, 10] {
            let [found, expected] = [&folder, &simulated].map(|run| unnamed(run, round));
            assert!(found == expected, "another transcript of round {round}");
        }
    }
    eprintln!("{kills} kills in {runs} runs");
}

#[test]
fn a_director_that_is_killed_goes_on_where_it_was() {
    let mut director = None;
    let mut envoys = None;
    survive(11, |federation, _| {
        if let Some(director) = director.take() {
            super::federation::Process::kill(director);
        }
        director = Some(federation.director());
        envoys.get_or_insert_with(|| federation.envoys());
    });
}

#[test]
fn envoys_that_are_killed_go_on_where_they_were() {
    let mut director = None;
    let mut envoys: Vec<Option<super::federation::Process>> = Vec::new();
    survive(12, |federation, rng| {
        director.get_or_insert_with(|| federation.director());
        if envoys.is_empty() {
            envoys = federation.envoys().into_iter().map(Some).collect();
            return;
        }
        let place = rng.random_range(0..envoys.len());
        if let Some(envoy) = envoys[place].take() {
            envoy.kill();
        }
        envoys[place] = Some(federation.envoy(place));
    });
}
