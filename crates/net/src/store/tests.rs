use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::*;
use crate::experiment::{Answer, Contract, Member};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn opened(folder: &Path) -> Store {
    Store::open(folder, &name("clinics")).unwrap()
}

fn record(title: &str) -> ExperimentRecord {
    ExperimentRecord {
        id: 0,
        name: title.to_owned(),
        operator: "olga".to_owned(),
        submitted: 1_765_000_000,
        config: "seed = 1\n".to_owned(),
        contract: Contract {
            dataset: "digits".to_owned(),
            shape: [1, 8, 8],
            classes: vec!["0".to_owned(), "1".to_owned()],
        },
        sites: vec!["a".to_owned(), "b".to_owned()],
        minimum: 2,
        rounds: 3,
        state: State::Offered,
        reason: String::new(),
        answers: BTreeMap::new(),
        charter: None,
        run: String::new(),
    }
}

fn accepted(examples: u64) -> AnswerRecord {
    AnswerRecord {
        answer: Answer::Accept {
            examples,
            layout: "00".to_owned(),
        },
        certificate: "3082".to_owned(),
        when: 1_765_000_001,
    }
}

fn charter() -> Charter {
    Charter {
        experiment: 1,
        config_sha256: String::new(),
        members: vec![Member {
            site: "a".to_owned(),
            client: 0,
            examples: 7,
            certificate: "3082".to_owned(),
        }],
        director: "3082".to_owned(),
    }
}

fn parcel(site: &str, number: u64, content: &[u8]) -> RoundEntry {
    RoundEntry::Parcel {
        now: Duration::new(5, 6),
        site: site.to_owned(),
        client: 1,
        number,
        part: 0,
        sha256: Sha256::digest(content).into(),
        bytes: content.len() as u64,
    }
}

/// Hands in a parcel that has been received.
fn take(store: &Store, round: u32, entry: &RoundEntry, content: &[u8]) -> Result<bool, StoreError> {
    let path = store.incoming(1).join("received");
    fs::write(&path, content).unwrap();
    let taken = store.take_parcel(1, round, entry.clone(), path.clone());
    assert_eq!(path.exists(), taken.is_err());
    taken
}

fn close(store: &Store, round: u32, state: &[u8]) -> Result<(), StoreError> {
    let row = format!("{{\"round\":{round}}}");
    store.close_round(
        1,
        Closed {
            round,
            state,
            row: &row,
            lines: vec![format!("\"closed {round}\"")],
        },
    )
}

/// A store with one experiment, whose first round is in progress.
fn begun(folder: &Path) -> Store {
    let store = opened(folder);
    store.submit(&[1; 16], record("first")).unwrap();
    let noise = Some(Zeroizing::new([9; 32]));
    store
        .begin_round(1, 1, Duration::from_secs(4), noise)
        .unwrap();
    store
}

#[test]
fn an_experiment_goes_its_way() {
    let around = tempfile::tempdir().unwrap();
    let folder = around.path().join("state");
    let store = opened(&folder);
    assert_eq!(store.submit(&[1; 16], record("first")).unwrap(), (1, true));
    assert_eq!(store.submit(&[2; 16], record("second")).unwrap(), (2, true));
    assert_eq!(store.submit(&[1; 16], record("other")).unwrap(), (1, false));
    assert!(store.answer(1, "a", accepted(7)).unwrap());
    assert!(!store.answer(1, "a", accepted(8)).unwrap());
    let error = store.answer(1, "c", accepted(8)).unwrap_err();
    assert!(matches!(error, StoreError::NotAsked { .. }), "{error}");
    store.set_state(1, State::Queued, "another one").unwrap();
    store.charter(1, &charter()).unwrap();
    store.charter(1, &charter()).unwrap();
    let mut other = charter();
    other.members.clear();
    let error = store.charter(1, &other).unwrap_err();
    assert!(matches!(error, StoreError::Chartered(1)), "{error}");
    store.note(1, "{}").unwrap();
    store.set_state(2, State::Cancelled, "by olga").unwrap();
    drop(store);

    let store = opened(&folder);
    let all = store.experiments().unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!(all[0], store.experiment(1).unwrap());
    assert_eq!((all[0].id, all[0].name.as_str()), (1, "first"));
    assert_eq!(all[0].answers["a"], accepted(7));
    assert_eq!(all[0].charter, Some(charter()));
    assert_eq!((all[0].state, all[0].run.as_str()), (State::Running, "{}"));
    assert_eq!(all[1].state, State::Cancelled);
    assert_eq!(all[1].reason, "by olga");
    for done in [
        store.set_state(2, State::Running, ""),
        store.set_state(2, State::Cancelled, ""),
        store.charter(2, &charter()),
        store.answer(2, "a", accepted(1)).map(drop),
        store.begin_round(2, 1, Duration::ZERO, None),
    ] {
        let error = done.unwrap_err();
        assert!(matches!(error, StoreError::Over { id: 2, .. }), "{error}");
    }
    for done in [
        store.experiment(3).map(drop),
        store.tell(3, &[]),
        store.story(3, 0, 1).map(drop),
        store.progress(3).map(drop),
        store.forget(3),
        store.begin_round(3, 1, Duration::ZERO, None),
        store.log(3, 1, Vec::new()),
    ] {
        let error = done.unwrap_err();
        assert!(matches!(error, StoreError::Unknown(3)), "{error}");
    }
    assert_eq!(store.submit(&[3; 16], record("third")).unwrap(), (3, true));
}

#[test]
fn rounds_are_logged_and_closed_in_order() {
    let around = tempfile::tempdir().unwrap();
    let store = begun(around.path());
    let again = store.begin_round(1, 1, Duration::ZERO, Some(Zeroizing::new([8; 32])));
    let error = again.unwrap_err();
    assert!(
        matches!(error, StoreError::InProgress { id: 1, open: 1 }),
        "{error}"
    );
    let now = Duration::from_millis(4321);
    let small = vec![
        RoundEntry::Lost { now, client: 3 },
        RoundEntry::Tick { now },
    ];
    store.log(1, 1, small.clone()).unwrap();
    let error = store.log(1, 2, small.clone()).unwrap_err();
    assert!(matches!(error, StoreError::WrongRound { .. }), "{error}");
    let error = store.log(1, 1, vec![parcel("a", 1, b"")]).unwrap_err();
    assert!(matches!(error, StoreError::Misfit { .. }), "{error}");
    let first = parcel("a", 1, b"update");
    assert!(take(&store, 1, &first, b"update").unwrap());
    assert!(!take(&store, 1, &first, b"update").unwrap());
    assert!(!take(&store, 1, &parcel("a", 1, b"another"), b"another").unwrap());
    assert!(take(&store, 1, &parcel("b", 1, b"update"), b"update").unwrap());
    for (entry, content) in [
        (parcel("a", 2, b"update"), &b"longer update"[..]),
        (parcel("../a", 2, b"update"), b"update"),
        (RoundEntry::Tick { now }, b""),
    ] {
        let error = take(&store, 1, &entry, content).unwrap_err();
        assert!(matches!(error, StoreError::Misfit { .. }), "{error}");
    }
    let error = take(&store, 2, &parcel("a", 2, b"x"), b"x").unwrap_err();
    assert!(matches!(error, StoreError::WrongRound { .. }), "{error}");
    drop(store);

    let store = opened(around.path());
    let (round, log) = store.round_log(1).unwrap();
    let began = RoundEntry::Began {
        now: Duration::from_secs(4),
        noise: Some(Zeroizing::new([9; 32])),
    };
    assert_eq!(round, 1);
    assert_eq!(log[0], began);
    assert_eq!(log[1..3], small[..]);
    assert_eq!(log[3], first);
    assert_eq!(log.len(), 5);
    for entry in &log[3..] {
        assert_eq!(store.read_parcel(1, entry).unwrap(), b"update");
    }
    let error = close(&store, 2, b"state").unwrap_err();
    assert!(matches!(error, StoreError::WrongRound { .. }), "{error}");
    close(&store, 1, b"state 1").unwrap();
    let error = close(&store, 1, b"another state").unwrap_err();
    assert!(matches!(error, StoreError::WrongRound { .. }), "{error}");
    assert_eq!(store.round_log(1).unwrap(), (0, Vec::new()));
    assert_eq!(fs::read_dir(store.parcels(1)).unwrap().count(), 0);
    let error = store.begin_round(1, 3, now, None).unwrap_err();
    assert!(matches!(error, StoreError::WrongRound { .. }), "{error}");
    store.begin_round(1, 2, now, None).unwrap();
    // What a round of before had is news in the next one.
    assert!(take(&store, 2, &first, b"update").unwrap());
    close(&store, 2, b"state 2").unwrap();
    let progress = store.progress(1).unwrap();
    assert_eq!((progress.round, progress.rows.len()), (2, 2));
    assert_eq!(progress.rows[1], "{\"round\":2}");
    assert_eq!(progress.state.unwrap(), b"state 2");
    let names = files::names(&store.folder(1)).unwrap();
    assert_eq!(names, ["state-2.bin"]);
}

#[test]
fn stories_are_read_from_any_place() {
    let around = tempfile::tempdir().unwrap();
    let store = begun(around.path());
    store.submit(&[2; 16], record("second")).unwrap();
    store.tell(1, &["1".to_owned(), "2".to_owned()]).unwrap();
    store.tell(2, &["other".to_owned()]).unwrap();
    close(&store, 1, b"").unwrap();
    let all = ["1", "2", "\"closed 1\""];
    assert_eq!(store.story(1, 0, usize::MAX).unwrap(), all);
    assert_eq!(store.story(1, 1, 1).unwrap(), all[1..2]);
    assert_eq!(store.story(1, 2, 5).unwrap(), all[2..]);
    assert!(store.story(1, 3, 5).unwrap().is_empty());
    assert!(store.story(1, u64::MAX, 5).unwrap().is_empty());
    assert_eq!(store.progress(1).unwrap().state.unwrap(), b"");
}

#[test]
fn what_is_over_can_be_forgotten() {
    let around = tempfile::tempdir().unwrap();
    let store = begun(around.path());
    close(&store, 1, b"state").unwrap();
    let noise = Some(Zeroizing::new([7; 32]));
    store.begin_round(1, 2, Duration::ZERO, noise).unwrap();
    assert!(take(&store, 2, &parcel("a", 1, b"update"), b"update").unwrap());
    fs::write(store.incoming(1).join("half"), b"hal").unwrap();
    let error = store.forget(1).unwrap_err();
    assert!(matches!(error, StoreError::NotOver(1)), "{error}");
    store.set_state(1, State::Cancelled, "").unwrap();
    let error = close(&store, 2, b"state").unwrap_err();
    assert!(matches!(error, StoreError::Over { .. }), "{error}");
    assert_eq!(store.round_log(1).unwrap().1.len(), 2);
    store.forget(1).unwrap();
    store.forget(1).unwrap();
    let progress = store.progress(1).unwrap();
    assert_eq!((progress.round, progress.state), (1, None));
    assert_eq!(progress.rows.len(), 1);
    assert_eq!(store.story(1, 0, 9).unwrap().len(), 1);
    assert_eq!(store.round_log(1).unwrap(), (0, Vec::new()));
    for folder in [store.folder(1), store.parcels(1), store.incoming(1)] {
        assert_eq!(files::names(&folder).unwrap(), [""; 0]);
    }
}

#[test]
fn noise_leaves_no_trace_in_the_folder() {
    let around = tempfile::tempdir().unwrap();
    let store = opened(around.path());
    store.submit(&[1; 16], record("first")).unwrap();
    let secret = *b"a secret that noise is made from";
    store
        .begin_round(1, 1, Duration::ZERO, Some(Zeroizing::new(secret)))
        .unwrap();
    close(&store, 1, b"state").unwrap();
    drop(store);
    let mut folders = vec![around.path().to_owned()];
    let mut count = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let content = fs::read(&path).unwrap();
            let found = content.windows(16).any(|part| part == &secret[..16]);
            assert!(!found, "{}", path.display());
            count += 1;
        }
    }
    assert_eq!(count, 3);
}

#[test]
fn leftovers_are_swept_and_nothing_else() {
    let around = tempfile::tempdir().unwrap();
    let store = begun(around.path());
    close(&store, 1, b"state").unwrap();
    let noise = Some(Zeroizing::new([7; 32]));
    store.begin_round(1, 2, Duration::ZERO, noise).unwrap();
    let entry = parcel("a", 1, b"update");
    assert!(take(&store, 2, &entry, b"update").unwrap());
    let (folder, parcels, incoming, run) = (
        store.folder(1),
        store.parcels(1),
        store.incoming(1),
        store.run_folder(1),
    );
    let taken = parcels.join(entry.file().unwrap());
    drop(store);
    let leftovers = [
        around.path().join(".new-store.redb"),
        folder.join(".new-a1b2c3"),
        folder.join("state-0.bin"),
        folder.join("state-2.bin"),
        folder.join("noise-1"),
        parcels.join(".new-a1b2c3"),
        parcels.join("2-0-a-00.bin"),
        incoming.join("taken"),
    ];
    for path in &leftovers[..7] {
        fs::write(path, b"left").unwrap();
    }
    fs::hard_link(&taken, &leftovers[7]).unwrap();
    let kept = [incoming.join("half"), run.join("rounds.csv")];
    for path in &kept {
        fs::write(path, b"kept").unwrap();
    }
    let store = opened(around.path());
    for path in leftovers {
        assert!(!path.exists(), "{}", path.display());
    }
    for path in kept {
        assert_eq!(fs::read(&path).unwrap(), b"kept");
    }
    assert_eq!(store.progress(1).unwrap().state.unwrap(), b"state");
    assert_eq!(store.read_parcel(1, &entry).unwrap(), b"update");
    let (round, log) = store.round_log(1).unwrap();
    assert_eq!((round, log.len()), (2, 2));
}

#[test]
fn stores_of_others_are_refused() {
    let around = tempfile::tempdir().unwrap();
    let store = begun(around.path());
    let error = Store::open(around.path(), &name("clinics")).unwrap_err();
    assert!(matches!(error, StoreError::InUse(_)), "{error}");
    let folder = around.path().display().to_string();
    assert_eq!(
        error.to_string(),
        format!("{folder} is in use by another director")
    );
    drop(store);
    let error = Store::open(around.path(), &name("banks")).unwrap_err();
    assert!(
        matches!(error, StoreError::OtherFederation { .. }),
        "{error}"
    );
    let store = opened(around.path());
    store
        .database
        .write("change", |transaction| {
            let mut about = transaction.open_table(ABOUT)?;
            about.insert("version", "2")?;
            Ok(())
        })
        .unwrap();
    drop(store);
    let error = Store::open(around.path(), &name("clinics")).unwrap_err();
    assert!(error.to_string().contains("newer version"), "{error}");
    fs::remove_file(around.path().join(DATABASE)).unwrap();
    let error = Store::open(around.path(), &name("clinics")).unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
}
