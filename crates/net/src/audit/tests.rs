use std::fs;

use proptest::prelude::*;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::*;
use crate::pki::{self, Authority, Federation, Fingerprint};

const NOW: u64 = 1_765_000_000;

/// A federation in a temporary folder.
struct Place {
    around: tempfile::TempDir,
    federation: Name,
    key: Arc<PrivateKey>,
    certificate: Vec<u8>,
    ca: Vec<u8>,
}

fn made() -> Place {
    let around = tempfile::tempdir().unwrap();
    let dir = around.path().join("clinics");
    let federation = Federation {
        name: "clinics".parse().unwrap(),
        sites: vec!["a".parse().unwrap()],
        operators: vec!["olga".parse().unwrap()],
        hosts: Vec::new(),
        days: 30,
    };
    pki::init(&dir, &federation, NOW).unwrap();
    let kit = dir.join(pki::file_name::DIRECTOR);
    Place {
        key: Arc::new(PrivateKey::read(&kit.join("key.pem")).unwrap()),
        certificate: authority(&kit.join("cert.pem")).unwrap(),
        ca: authority(&kit.join("ca.pem")).unwrap(),
        federation: federation.name,
        around,
    }
}

impl Place {
    fn path(&self) -> PathBuf {
        self.around.path().join("audit.jsonl")
    }

    fn open(&self, now: u64) -> Result<AuditLog, AuditError> {
        let key = Arc::clone(&self.key);
        AuditLog::open(&self.path(), key, &self.certificate, &self.federation, now)
    }

    /// A log of six lines, the first of which introduces the director.
    fn written(&self) -> Vec<u8> {
        let log = self.open(NOW).unwrap();
        let olga = "cloister://clinics/operator/olga";
        for (step, what) in ["submit", "cancel", "submit", "collect", "stop"]
            .into_iter()
            .enumerate()
        {
            let about = json!({ "experiment": step, "name": "näme \"of\"\n it" });
            log.append(NOW + step as u64, olga, what, about).unwrap();
        }
        drop(log);
        fs::read(self.path()).unwrap()
    }

    fn check(&self, log: &[u8]) -> Result<Verified, AuditError> {
        verify::read(log, &self.path(), Some(&self.ca))
    }

    /// The line that is found to be wrong.
    fn broken(&self, log: &[u8]) -> u64 {
        match self.check(log) {
            Err(AuditError::Broken { line, .. }) => line,
            other => panic!("{other:?}"),
        }
    }
}

fn lines(log: &[u8]) -> Vec<&[u8]> {
    log.split_inclusive(|byte| *byte == b'\n').collect()
}

#[test]
fn a_log_is_what_was_appended() {
    let place = made();
    let log = place.written();
    let verified = verify(&place.path(), Some(&place.ca)).unwrap();
    assert_eq!(verified.lines, 6);
    assert_eq!((verified.first, verified.last), (NOW, NOW + 4));
    assert_eq!(verified.federation, place.federation);
    assert!(verified.certified && verified.gaps.is_empty());
    let key = KeyUse {
        line: 1,
        fingerprint: place.key.public().fingerprint(),
    };
    assert_eq!(verified.keys, [key]);
    let last = lines(&log)[5];
    assert_eq!(verified.head, hash(&last[..last.len() - 1]));
    let text = std::str::from_utf8(lines(&log)[1]).unwrap();
    let start = r#"{"n":2,"when":1765000000,"who":"cloister://clinics/operator/olga","what":"submit","about":{"experiment":0,"name":"näme \"of\"\n it"},"previous":""#;
    assert!(text.starts_with(start), "{text}");
    // Opened again it goes on, and introduces nobody whom it knows.
    let again = place.open(NOW + 9).unwrap();
    assert_eq!(again.head(), (6, verified.head));
    let error = place.open(NOW).unwrap_err();
    assert!(matches!(error, AuditError::InUse(_)), "{error}");
    again
        .append(NOW + 9, "somebody", "knock", json!(null))
        .unwrap();
    let long = json!("x".repeat(MAX_LINE));
    let error = again.append(NOW, "somebody", "knock", long).unwrap_err();
    assert!(matches!(error, AuditError::TooLong(_)), "{error}");
    let head = again.head();
    drop(again);
    let verified = verify(&place.path(), Some(&place.ca)).unwrap();
    assert_eq!((verified.lines, verified.head), head);
}

#[test]
fn every_changed_byte_is_found() {
    let place = made();
    let log = place.written();
    let mut line = 1;
    for position in 0..log.len() {
        // Capitals and small letters differ in 0x20.
        for mask in [1 << (position % 8), 0x20, 0x01] {
            let mut changed = log.clone();
            changed[position] ^= mask;
            assert_eq!(place.broken(&changed), line, "byte {position} ^ {mask:#x}");
        }
        line += u64::from(log[position] == b'\n');
    }
    assert_eq!(line, 7);
}

#[test]
fn missing_swapped_repeated_and_cut_lines_are_found() {
    let place = made();
    let log = place.written();
    let whole = lines(&log);
    for at in 0..5 {
        let mut some = whole.clone();
        some.remove(at);
        assert_eq!(place.broken(&some.concat()), at as u64 + 1);
    }
    for first in 0..6 {
        let mut more = whole.clone();
        more.insert(first, whole[first]);
        assert_eq!(place.broken(&more.concat()), first as u64 + 2);
        for second in first + 1..6 {
            let mut swapped = whole.clone();
            swapped.swap(first, second);
            assert_eq!(place.broken(&swapped.concat()), first as u64 + 1);
        }
    }
    for end in 0..log.len() {
        let line = lines(&log[..end]).len().max(1) as u64;
        match place.check(&log[..end]) {
            // Whole lines that are missing at the end show by the head alone.
            Ok(verified) => {
                assert_eq!(log[end - 1], b'\n');
                assert_ne!(verified.head, place.check(&log).unwrap().head);
            }
            Err(AuditError::Broken { line: found, .. }) => assert_eq!(found, line),
            Err(error) => panic!("{error}"),
        }
    }
    for end in [log.len() - 1, log.len() / 2] {
        let cut = [&log[..end], b"\n", &log[end..]].concat();
        assert!(place.check(&cut).is_err());
    }
}

/// The same acts in a log that another key has signed.
fn forged(place: &Place, key: PrivateKey, certificate: &[u8], from: usize) -> Vec<u8> {
    let log = fs::read(place.path()).unwrap();
    let whole = lines(&log);
    let path = place.around.path().join("forged.jsonl");
    fs::write(&path, whole[..from].concat()).unwrap();
    let introduction = introduction(&place.federation, &key, certificate);
    let mut writer = Writer {
        file: OpenOptions::new().append(true).open(&path).unwrap(),
        key: Arc::new(key),
        n: from as u64,
        bytes: whole[..from].concat().len() as u64,
        head: match from {
            0 => nothing(),
            from => hash(whole[from - 1].strip_suffix(b"\n").unwrap()),
        },
    };
    for line in &whole[from..] {
        let mut line: Line = serde_json::from_slice(line).unwrap();
        if line.what == BEGIN {
            line.about = json!(introduction);
        }
        let act = (line.who.as_str(), line.what.as_str(), &line.about);
        writer.append(&path, line.when, act).unwrap();
    }
    fs::read(path).unwrap()
}

#[test]
fn another_key_cannot_write_the_log_again() {
    let place = made();
    place.written();
    let certificate = place.certificate.clone();
    let other = PrivateKey::generate().unwrap();
    let print: Fingerprint = other.public().fingerprint();
    let log = forged(&place, other, &certificate, 0);
    // A whole log, but not the director's.
    assert_eq!(place.broken(&log), 1);
    let verified = verify::read(&log[..], &place.path(), None).unwrap();
    assert!(!verified.certified);
    assert_eq!(verified.keys[0].fingerprint, print);
    for from in 1..6 {
        let log = forged(&place, PrivateKey::generate().unwrap(), &certificate, from);
        assert_eq!(place.broken(&log), from as u64 + 1);
    }
    // A site's key with the site's own certificate.
    let kit = place.around.path().join("clinics/sites/a");
    let key = PrivateKey::read(&kit.join("key.pem")).unwrap();
    let certificate = authority(&kit.join("cert.pem")).unwrap();
    assert_eq!(place.broken(&forged(&place, key, &certificate, 0)), 1);
    // Somebody else's word for the director's key.
    let log = fs::read(place.path()).unwrap();
    let mut writer = Writer {
        file: OpenOptions::new().append(true).open(place.path()).unwrap(),
        key: Arc::clone(&place.key),
        n: 6,
        bytes: log.len() as u64,
        head: place.check(&log).unwrap().head,
    };
    let about = json!(introduction(
        &place.federation,
        &place.key,
        &place.certificate
    ));
    let olga = "cloister://clinics/operator/olga";
    writer
        .append(&place.path(), NOW, (olga, KEY, &about))
        .unwrap();
    assert_eq!(place.broken(&fs::read(place.path()).unwrap()), 7);
    fs::write(place.path(), log).unwrap();
    // The authority of another federation.
    let foreign = made();
    let log = fs::read(place.path()).unwrap();
    assert_eq!(foreign.broken(&log), 1);
    fs::copy(place.path(), foreign.path()).unwrap();
    let banks = "banks".parse().unwrap();
    let opened = AuditLog::open(
        &foreign.path(),
        Arc::clone(&foreign.key),
        &foreign.certificate,
        &banks,
        NOW,
    );
    let error = opened.unwrap_err();
    assert!(matches!(error, AuditError::OfAnother { .. }), "{error}");
}

#[test]
fn a_renewed_certificate_is_introduced() {
    let mut place = made();
    place.written();
    let dir = place.around.path().join("clinics");
    let renewed = Authority::open(&dir).unwrap();
    let issued = renewed.renew(&Role::Director, 60, NOW + 86_400).unwrap();
    place.certificate = CertificateDer::from_pem_file(&issued.path)
        .unwrap()
        .to_vec();
    let log = place.open(NOW + 86_400).unwrap();
    log.append(NOW + 86_400, "a", "attend", json!({})).unwrap();
    let key = Arc::new(PrivateKey::generate().unwrap());
    let verified = verify(&place.path(), Some(&place.ca)).unwrap();
    assert_eq!(verified.lines, 8);
    assert_eq!(verified.keys.len(), 2);
    assert_eq!(verified.keys[1].line, 7);
    // A key of which the authority knows nothing.
    log.renew(key, &place.certificate, NOW + 86_401).unwrap();
    log.append(NOW + 86_402, "a", "leave", json!({})).unwrap();
    drop(log);
    assert_eq!(place.broken(&fs::read(place.path()).unwrap()), 9);
    let verified = verify(&place.path(), None).unwrap();
    assert_eq!((verified.lines, verified.keys.len()), (10, 3));
}

#[test]
fn a_line_that_a_crash_has_cut_is_removed_and_told_of() {
    let place = made();
    let log = place.written();
    let whole = lines(&log);
    let start = log.len() - whole[5].len();
    for end in [start + 1, start + 100, log.len() - 2, log.len() - 1] {
        fs::write(place.path(), &log[..end]).unwrap();
        let opened = place.open(NOW + 10).unwrap();
        opened.append(NOW + 11, "a", "attend", json!({})).unwrap();
        drop(opened);
        let verified = verify(&place.path(), Some(&place.ca)).unwrap();
        assert_eq!((verified.lines, verified.gaps), (7, vec![6]));
        let text = fs::read_to_string(place.path()).unwrap();
        let about = format!("\"bytes\":{}", end - start);
        assert!(text.contains(&about), "{text}");
        assert_eq!(text.as_bytes()[..start], log[..start]);
    }
    // The very first line.
    fs::write(place.path(), &log[..50]).unwrap();
    drop(place.open(NOW).unwrap());
    let verified = verify(&place.path(), Some(&place.ca)).unwrap();
    assert_eq!((verified.lines, verified.gaps), (2, vec![2]));
    // What is not only cut is not gone on with.
    let mut changed = log.clone();
    changed[start - 200] ^= 1;
    fs::write(place.path(), &changed).unwrap();
    let error = place.open(NOW).unwrap_err();
    assert!(
        matches!(error, AuditError::Broken { line: 5 | 6, .. }),
        "{error}"
    );
    let mut changed = log.clone();
    changed[log.len() - 200] ^= 1;
    fs::write(place.path(), &changed).unwrap();
    let error = place.open(NOW).unwrap_err();
    assert!(
        matches!(error, AuditError::Broken { line: 6, .. }),
        "{error}"
    );
}

#[test]
fn threads_append_whole_lines() {
    let place = made();
    let log = place.open(NOW).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let log = &log;
            scope.spawn(move || {
                for step in 0..10 {
                    let about = json!({ "thread": thread, "step": step });
                    log.append(NOW, "a", "attend", about).unwrap();
                }
            });
        }
    });
    let verified = verify(&place.path(), Some(&place.ca)).unwrap();
    assert_eq!((verified.lines, verified.head), log.head());
    assert_eq!(verified.lines, 81);
}

proptest! {
    #[test]
    fn rubbish_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let path = Path::new("rubbish");
        prop_assert!(verify::read(&bytes[..], path, None).is_err());
    }
}
