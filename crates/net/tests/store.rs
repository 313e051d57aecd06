//! The director's store under what happens to machines: kills at any instant, full disks, changed files, many threads.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cloister_net::audit::{self, AuditLog};
use cloister_net::experiment::{Answer, Contract, State};
use cloister_net::pki::{Name, PrivateKey};
use cloister_net::store::{AnswerRecord, Closed, ExperimentRecord, RoundEntry, Store, StoreError};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Names the folder of a child's store.
const FOLDER: &str = "CLOISTER_TEST_STORE";
const SEED: &str = "CLOISTER_TEST_SEED";
const SITES: u64 = 6;

/// Opens a store. A child that another test is about to start holds all open files, and so their locks, until its program
/// begins: a store that was let go just now may be in use for a moment more.
fn opened(folder: &Path) -> Result<Store, StoreError> {
    let federation: Name = "clinics".parse().unwrap();
    for _ in 0..50 {
        match Store::open(folder, &federation) {
            Err(StoreError::InUse(_)) => std::thread::sleep(Duration::from_millis(20)),
            other => return other,
        }
    }
    Store::open(folder, &federation)
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
        sites: (0..SITES).map(site).collect(),
        minimum: 2,
        rounds: u32::MAX,
        state: State::Offered,
        reason: String::new(),
        answers: BTreeMap::new(),
        charter: None,
        run: String::new(),
    }
}

fn site(place: u64) -> String {
    format!("hospital-{place}")
}

/// Bytes that follow from what they are for.
fn content(what: &str, round: u64, place: u64) -> Vec<u8> {
    let seed = Sha256::digest(format!("{what} {round} {place}"));
    let length = 500 + 37 * usize::from(seed[0]);
    seed.iter().copied().cycle().take(length).collect()
}

fn noise(round: u32) -> Zeroizing<[u8; 32]> {
    let bytes = content("noise", round.into(), 0);
    Zeroizing::new(std::array::from_fn(|place| bytes[place]))
}

fn parcel(round: u32, place: u64) -> (RoundEntry, Vec<u8>) {
    let bytes = content("parcel", round.into(), place);
    let entry = RoundEntry::Parcel {
        now: Duration::from_secs(round.into()),
        site: site(place),
        client: place as u32,
        number: round.into(),
        part: 0,
        sha256: Sha256::digest(&bytes).into(),
        bytes: bytes.len() as u64,
    };
    (entry, bytes)
}

/// Hands in a parcel as the transport does: received into a file that is on the disk.
fn take(store: &Store, id: u64, round: u32, place: u64) -> Result<bool, StoreError> {
    let (entry, bytes) = parcel(round, place);
    let path = store.incoming(id).join(format!("{place}.part"));
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(&bytes).unwrap();
    file.sync_all().unwrap();
    store.take_parcel(id, round, entry, path)
}

fn close(store: &Store, id: u64, round: u32) -> Result<(), StoreError> {
    let state = content("state", round.into(), 0);
    let closed = Closed {
        round,
        state: &state,
        row: &format!("row {round}"),
        lines: vec![format!("begun {round}"), format!("closed {round}")],
    };
    store.close_round(id, closed)
}

/// This program again, at one of the tests that only work as a child.
fn child(test: &str, folder: &Path, seed: u64) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(SEED, seed.to_string());
    command
}

/// What a child has been told that it is done; a line each.
fn acknowledge(line: &str) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "ack {line}").unwrap();
    stdout.flush().unwrap();
}

/// Numbers that follow from a seed (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Works on the store until it is killed. Does nothing where it is not a child.
#[test]
fn works_until_it_is_killed() {
    let Some(folder) = env::var_os(FOLDER) else {
        return;
    };
    let seed: u64 = env::var(SEED).unwrap().parse().unwrap();
    let mut numbers = Numbers(seed | 1);
    let store = opened(Path::new(&folder)).unwrap();
    acknowledge("open");
    let (first, _) = store.submit(&[0; 16], record("first")).unwrap();
    let (id, is_new) = store
        .submit(&[seed as u8; 16], record(&format!("of {seed}")))
        .unwrap();
    assert_eq!(first, 1);
    assert!(is_new);
    acknowledge(&format!("submit {id} {seed}"));
    let answer = AnswerRecord {
        answer: Answer::Decline {
            reason: format!("{seed}"),
        },
        certificate: String::new(),
        when: seed,
    };
    store.answer(id, &site(seed % SITES), answer).unwrap();
    acknowledge(&format!("answer {id} {seed}"));
    store.set_state(id, State::Cancelled, "test").unwrap();
    store.forget(id).unwrap();
    acknowledge(&format!("cancel {id} {seed}"));
    loop {
        let (open, log) = store.round_log(first).unwrap();
        let round = match open {
            0 => store.progress(first).unwrap().round + 1,
            open => open,
        };
        if open == 0 {
            let now = Duration::from_secs(round.into());
            let began = store.begin_round(first, round, now, Some(noise(round)));
            began.unwrap();
            acknowledge(&format!("begin {round}"));
        }
        let ticks = numbers.below(4) as usize;
        let now = Duration::from_secs(9);
        let entries = vec![RoundEntry::Tick { now }; ticks];
        store.log(first, round, entries).unwrap();
        acknowledge(&format!("ticks {round} {}", ticks + ticks_of(&log)));
        std::thread::scope(|scope| {
            for place in 0..SITES {
                let store = &store;
                scope.spawn(move || {
                    take(store, first, round, place).unwrap();
                    acknowledge(&format!("parcel {round} {place}"));
                });
            }
        });
        let told = told(&store);
        store.tell(first, &[format!("told {told}")]).unwrap();
        acknowledge(&format!("told {told}"));
        close(&store, first, round).unwrap();
        acknowledge(&format!("close {round}"));
    }
}

fn ticks_of(log: &[RoundEntry]) -> usize {
    log.iter()
        .filter(|entry| matches!(entry, RoundEntry::Tick { .. }))
        .count()
}

fn told(store: &Store) -> usize {
    let story = store.story(1, 0, usize::MAX).unwrap();
    story.iter().filter(|line| line.starts_with("told")).count()
}

/// The acknowledged lines that a child has written before it was killed.
fn killed_after(mut worker: Child, micros: u64) -> Vec<String> {
    let stdout = BufReader::new(worker.stdout.take().unwrap());
    // What it writes is read while it works, so that it never waits for us.
    let reader = std::thread::spawn(move || {
        let lines = stdout.split(b'\n').map_while(Result::ok);
        // The last line may be cut.
        let lines = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
        lines
            .filter_map(|line| Some(line.split_once("ack ")?.1.to_owned()))
            .collect::<Vec<String>>()
    });
    std::thread::sleep(Duration::from_micros(micros));
    worker.kill().unwrap();
    worker.wait().unwrap();
    reader.join().unwrap()
}

/// Compares the store with what was acknowledged.
fn check(folder: &Path, acks: &[String]) {
    let store = opened(folder).unwrap();
    let experiments = store.experiments().unwrap();
    let numbers: Vec<u64> = experiments.iter().map(|record| record.id).collect();
    assert_eq!(numbers, (1..=experiments.len() as u64).collect::<Vec<_>>());
    if experiments.is_empty() {
        assert!(!acks.iter().any(|line| line.starts_with("submit")));
        return;
    }
    let progress = store.progress(1).unwrap();
    let (open, log) = store.round_log(1).unwrap();
    let mut taken = BTreeSet::new();
    for entry in &log {
        if let RoundEntry::Parcel { client, .. } = entry {
            let place = u64::from(*client);
            let (expected, bytes) = parcel(open, place);
            assert_eq!(*entry, expected);
            assert_eq!(store.read_parcel(1, entry).unwrap(), bytes);
            assert!(taken.insert(place), "parcel {place} twice");
        }
    }
    if open != 0 {
        assert_eq!(open, progress.round + 1);
        let now = Duration::from_secs(open.into());
        let began = RoundEntry::Began {
            now,
            noise: Some(noise(open)),
        };
        assert_eq!(log[0], began);
    }
    for (row, round) in progress.rows.iter().zip(1..) {
        assert_eq!(*row, format!("row {round}"));
    }
    assert_eq!(progress.rows.len(), progress.round as usize);
    let state = (progress.round > 0).then(|| content("state", progress.round.into(), 0));
    assert_eq!(progress.state, state);
    check_story(&store, progress.round);
    check_files(&store, open, progress.round, taken.len());
    let told = told(&store);
    for line in acks {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |place: usize| words[place].parse::<u64>().unwrap();
        let round = |place: usize| number(place) as u32;
        let holds = match words[0] {
            "open" => true,
            "submit" => experiments[number(1) as usize - 1].name == format!("of {}", number(2)),
            "answer" => {
                let site = site(number(2) % SITES);
                experiments[number(1) as usize - 1].answers[&site].when == number(2)
            }
            "cancel" => experiments[number(1) as usize - 1].state == State::Cancelled,
            "begin" => round(1) <= progress.round || round(1) == open,
            "ticks" => {
                round(1) <= progress.round
                    || (round(1) == open && number(2) as usize <= ticks_of(&log))
            }
            "parcel" => {
                round(1) <= progress.round || (round(1) == open && taken.contains(&number(2)))
            }
            "told" => (number(1) as usize) < told,
            "close" => round(1) <= progress.round,
            _ => panic!("'{line}'"),
        };
        assert!(holds, "'{line}' was acknowledged, and is not there");
    }
}

fn check_story(store: &Store, rounds: u32) {
    let story = store.story(1, 0, usize::MAX).unwrap();
    let of_rounds: Vec<String> = (1..=rounds)
        .flat_map(|round| [format!("begun {round}"), format!("closed {round}")])
        .collect();
    let (told, found): (Vec<String>, Vec<String>) =
        story.into_iter().partition(|line| line.starts_with("told"));
    assert_eq!(found, of_rounds);
    let expected: Vec<String> = (0..told.len()).map(|told| format!("told {told}")).collect();
    assert_eq!(told, expected);
}

/// Nothing half, nothing that nobody needs.
fn check_files(store: &Store, open: u32, rounds: u32, parcels: usize) {
    let names = |folder: &Path| -> BTreeSet<String> {
        let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
        entries
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect()
    };
    let mut expected = BTreeSet::from(["parcels", "incoming", "run"].map(str::to_owned));
    if open != 0 {
        expected.insert(format!("noise-{open}"));
    }
    if rounds != 0 {
        expected.insert(format!("state-{rounds}.bin"));
    }
    let folder = store.folder(1);
    assert_eq!(names(&folder), expected);
    assert_eq!(names(&folder.join("parcels")).len(), parcels);
}

#[test]
fn what_was_acknowledged_survives_kills() {
    let around = tempfile::tempdir().unwrap();
    let folder = around.path().join("state");
    let mut acks = Vec::new();
    let mut ends = BTreeMap::new();
    for seed in 1..=30_u64 {
        let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let micros = 3_000 + numbers.below(120_000);
        let worker = child("works_until_it_is_killed", &folder, seed)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let new = killed_after(worker, micros);
        let last = new.last().map_or("nothing", |line| line.as_str());
        println!("seed {seed}: killed after {micros} us and '{last}'");
        let kind = last.split(' ').next().unwrap().to_owned();
        *ends.entry(kind).or_insert(0) += 1;
        acks.extend(new);
        check(&folder, &acks);
    }
    println!("{} steps; killed after {ends:?}", acks.len());
    // Or it was killed before it did anything, and this test shows nothing.
    assert!(acks.iter().any(|line| line.starts_with("close")));
    assert!(ends.len() > 2, "{ends:?}");
}

#[test]
fn a_store_of_another_process_is_in_use() {
    let around = tempfile::tempdir().unwrap();
    let mut worker = child("works_until_it_is_killed", around.path(), 1)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(worker.stdout.take().unwrap());
    let mut lines = stdout.lines().map(Result::unwrap);
    assert!(lines.any(|line| line.ends_with("ack open")));
    let error = opened(around.path()).map(drop);
    worker.kill().unwrap();
    worker.wait().unwrap();
    assert!(matches!(error, Err(StoreError::InUse(_))), "{error:?}");
    drop(lines);
    opened(around.path()).unwrap();
}

#[test]
fn threads_share_transactions() {
    const THREADS: u64 = 16;
    const EACH: u64 = 12;
    let around = tempfile::tempdir().unwrap();
    let store = opened(around.path()).unwrap();
    for id in 1..=2_u8 {
        store.submit(&[id; 16], record("many")).unwrap();
        let began = store.begin_round(id.into(), 1, Duration::ZERO, None);
        began.unwrap();
    }
    let news = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, news) = (&store, &news);
            scope.spawn(move || {
                for step in 0..EACH {
                    // Two threads hand in each parcel, and each of those is taken once.
                    let place = thread / 2 * EACH + step;
                    let id = 1 + place % 2;
                    let (entry, bytes) = parcel(1, place);
                    let path = store.incoming(id).join(format!("{thread}-{step}"));
                    fs::write(&path, bytes).unwrap();
                    let is_new = store.take_parcel(id, 1, entry.clone(), path).unwrap();
                    news.fetch_add(usize::from(is_new), Ordering::Relaxed);
                    // At once, in the log and on the disk.
                    assert!(store.round_log(id).unwrap().1.contains(&entry));
                    store.read_parcel(id, &entry).unwrap();
                    // What is wrong with one is not the others' trouble.
                    let path = store.incoming(id).join(format!("{thread}-wrong"));
                    let (entry, bytes) = parcel(2, place);
                    fs::write(&path, bytes).unwrap();
                    let error = store.take_parcel(id, 2, entry, path).unwrap_err();
                    assert!(matches!(error, StoreError::WrongRound { .. }), "{error}");
                }
            });
        }
    });
    let all = (THREADS / 2 * EACH) as usize;
    assert_eq!(news.into_inner(), all);
    drop(store);
    let store = opened(around.path()).unwrap();
    let mut found = 0;
    for id in 1..=2 {
        let (_, log) = store.round_log(id).unwrap();
        for entry in &log[1..] {
            store.read_parcel(id, entry).unwrap();
            found += 1;
        }
        close(&store, id, 1).unwrap();
    }
    assert_eq!(found, all);
}

#[test]
fn changed_files_are_found() {
    let around = tempfile::tempdir().unwrap();
    let store = opened(around.path()).unwrap();
    store.submit(&[1; 16], record("first")).unwrap();
    let began = store.begin_round(1, 1, Duration::ZERO, None);
    began.unwrap();
    close(&store, 1, 1).unwrap();
    let began = store.begin_round(1, 2, Duration::ZERO, Some(noise(2)));
    began.unwrap();
    assert!(take(&store, 1, 2, 3).unwrap());
    let (_, log) = store.round_log(1).unwrap();
    let folder = store.folder(1);
    let mut paths = fs::read_dir(folder.join("parcels")).unwrap();
    let parcel = paths.next().unwrap().unwrap().path();
    let read: [(_, &dyn Fn() -> Result<(), StoreError>); 3] = [
        (parcel, &|| store.read_parcel(1, &log[1]).map(drop)),
        (folder.join("state-1.bin"), &|| store.progress(1).map(drop)),
        (folder.join("noise-2"), &|| store.round_log(1).map(drop)),
    ];
    for (path, read) in read {
        let whole = fs::read(&path).unwrap();
        let refused = |what: &str| {
            let error = read().expect_err(what);
            assert!(matches!(error, StoreError::Broken { .. }), "{error}");
            let words = error.to_string();
            assert!(words.contains(path.to_str().unwrap()), "{words}");
        };
        for place in [0, whole.len() / 2, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[place] ^= 1;
            fs::write(&path, &bytes).unwrap();
            refused("flipped");
        }
        fs::write(&path, &whole[1..]).unwrap();
        refused("shorter");
        fs::write(&path, [&whole[..], &[0]].concat()).unwrap();
        refused("longer");
        fs::remove_file(&path).unwrap();
        refused("missing");
        fs::write(&path, &whole).unwrap();
        read().unwrap();
    }
}

#[test]
fn a_broken_database_is_an_error_and_no_panic() {
    let around = tempfile::tempdir().unwrap();
    let store = opened(around.path()).unwrap();
    for request in 0..20 {
        store.submit(&[request; 16], record("one of many")).unwrap();
    }
    let experiments = store.experiments().unwrap();
    drop(store);
    let path = around.path().join("store.redb");
    let whole = fs::read(&path).unwrap();
    let refused = |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).unwrap();
        let error = opened(around.path()).map(drop).expect_err(what);
        let words = error.to_string();
        assert!(words.contains(path.to_str().unwrap()), "{what}: {words}");
    };
    for part in [0, 1, 9, 64, 320, 4096, whole.len() / 8] {
        refused(&whole[..part], &format!("cut at {part}"));
    }
    refused(b"something else altogether", "another file");
    refused(&vec![0; whole.len()], "zeros");
    // Most of the file is room for more.
    let used: Vec<usize> = (0..whole.len())
        .filter(|place| whole[*place] != 0)
        .collect();
    let mut numbers = Numbers(7);
    let mut found = 0;
    for _ in 0..60 {
        let mut bytes = whole.clone();
        let place = used[numbers.below(used.len() as u64) as usize];
        bytes[place] ^= 1 << numbers.below(8);
        fs::write(&path, &bytes).unwrap();
        // A byte that nothing stands in may be anything.
        match opened(around.path()) {
            Ok(store) => assert_eq!(store.experiments().unwrap(), experiments, "{place}"),
            Err(error) => {
                assert!(error.to_string().contains("store.redb"), "{error}");
                found += 1;
            }
        }
    }
    println!("{found} of 60 flips found, the others did no harm");
    fs::write(&path, &whole).unwrap();
    assert_eq!(
        opened(around.path()).unwrap().experiments().unwrap().len(),
        20
    );
}

/// Works on a small disk that is full. Does nothing where it is not a child.
#[test]
fn works_on_a_full_disk() {
    const PARCELS: u64 = 100;
    let Some(disk) = env::var_os(FOLDER) else {
        return;
    };
    let disk = Path::new(&disk);
    let folder = disk.join("state");
    let store = opened(&folder).unwrap();
    store.submit(&[1; 16], record("first")).unwrap();
    store
        .begin_round(1, 1, Duration::ZERO, Some(noise(1)))
        .unwrap();
    let mut files = Vec::new();
    for place in 0..PARCELS {
        let (entry, bytes) = parcel(1, place);
        let path = store.incoming(1).join(place.to_string());
        fs::write(&path, bytes).unwrap();
        files.push((entry, path));
    }
    let audit_path = disk.join("audit.jsonl");
    let key = Arc::new(PrivateKey::generate().unwrap());
    let federation: Name = "clinics".parse().unwrap();
    let log = AuditLog::open(&audit_path, key, &[], &federation, 1).unwrap();
    let mut acts = 0;
    let mut ballast = Ballast::new(disk);
    let (mut taken, mut full) = (0, 0);
    let mut waiting = files.iter().peekable();
    // Each time a little more room: the disk is full at every step of the way once.
    for room in 0..64 {
        ballast.leave(room % 32 * 4096);
        let Some((entry, path)) = waiting.peek() else {
            break;
        };
        match store.take_parcel(1, 1, entry.clone(), path.clone()) {
            Ok(is_new) => {
                assert!(is_new);
                taken += 1;
                waiting.next();
            }
            Err(error) => {
                assert!(error.is_full(), "{error:?}");
                assert!(path.exists());
                full += 1;
            }
        }
        assert_eq!(store.round_log(1).unwrap().1.len(), 1 + taken);
        match log.append(1, "a", "parcel", Vec::from([room; 3000]).into()) {
            Ok(()) => acts += 1,
            Err(error) => assert!(error.is_full(), "{error:?}"),
        }
    }
    acknowledge(&format!("acts: {acts}"));
    assert!(acts > 0 && acts < 64);
    // One more than the acts: the log begins with a line of its own.
    assert_eq!(audit::verify(&audit_path, None).unwrap().lines, 1 + acts);
    acknowledge(&format!("parcels: taken {taken}, full {full}"));
    assert!(taken > 0 && full > 0);
    ballast.remove();
    for (entry, path) in waiting {
        assert!(
            store
                .take_parcel(1, 1, entry.clone(), path.clone())
                .unwrap()
        );
    }

    full = 0;
    for room in 0.. {
        ballast.leave(room * 4096);
        // Long enough for the database to grow by it.
        let closed = Closed {
            round: 1,
            state: &content("state", 1, 0),
            row: "",
            lines: vec!["long".repeat(40_000)],
        };
        let Err(error) = store.close_round(1, closed) else {
            break;
        };
        assert!(error.is_full(), "{error:?}");
        assert_eq!(store.progress(1).unwrap().round, 0);
        let (open, log) = store.round_log(1).unwrap();
        assert_eq!((open, log.len() as u64), (1, 1 + PARCELS));
        assert!(!store.folder(1).join("state-1.bin").exists());
        full += 1;
    }
    acknowledge(&format!("closing: full {full}"));
    assert!(full > 0);
    ballast.remove();
    store
        .begin_round(1, 2, Duration::ZERO, Some(noise(2)))
        .unwrap();
    for place in 0..PARCELS {
        assert!(take(&store, 1, 2, place).unwrap());
    }
    drop(store);
    let store = opened(&folder).unwrap();
    let (_, log) = store.round_log(1).unwrap();
    assert_eq!(log.len() as u64, 1 + PARCELS);
    for entry in &log[1..] {
        store.read_parcel(1, entry).unwrap();
    }
    close(&store, 1, 2).unwrap();
    assert_eq!(store.progress(1).unwrap().round, 2);
    acknowledge("all");
}

/// A file that fills a disk.
struct Ballast {
    path: PathBuf,
    file: Option<fs::File>,
}

impl Ballast {
    fn new(disk: &Path) -> Self {
        Self {
            path: disk.join("ballast"),
            file: None,
        }
    }

    /// Fills the disk but for so many bytes.
    fn leave(&mut self, room: u64) {
        let file = self.file.get_or_insert_with(|| {
            let options = &mut fs::OpenOptions::new();
            options.append(true).create(true).open(&self.path).unwrap()
        });
        while file.write_all(&[1; 512]).is_ok() {}
        let bytes = file.metadata().unwrap().len();
        file.set_len(bytes.saturating_sub(room)).unwrap();
    }

    fn remove(&mut self) {
        self.file = None;
        fs::remove_file(&self.path).unwrap();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_loses_nothing() {
    let around = tempfile::tempdir().unwrap();
    let disk = around.path();
    let mount = "mount -t tmpfs -o size=8m tmpfs \"$0\" || exit 77; exec \"$@\"";
    let inner = child("works_on_a_full_disk", disk, 1);
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", mount]).arg(disk);
    command.arg(inner.get_program()).args(inner.get_args());
    command.env(FOLDER, disk).env(SEED, "1");
    let output = match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.code() != Some(77) => output,
        _ => {
            println!("skipped: no file system can be mounted here");
            return;
        }
    };
    let mut words = String::new();
    for mut stream in [&output.stdout[..], &output.stderr[..]] {
        stream.read_to_string(&mut words).unwrap();
    }
    if words.contains("unshare failed") || words.contains("unshare: ") {
        println!("skipped: no namespace of our own here: {words}");
        return;
    }
    assert!(output.status.success(), "{words}");
    assert!(words.contains("ack all"), "{words}");
    println!("{words}");
}
