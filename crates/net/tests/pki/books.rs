//! Lists, denials and the roster.

use std::fs;

use cloister_net::pki::{DenyList, PkiError, Register, Role, Status};
use cloister_secagg::Roster;

use super::{DAY, NOW, asked, made, name, open, refused};

#[test]
fn the_roster_holds_the_living_and_verifies() {
    let (around, dir) = made();
    let authority = open(&dir);
    let (_folder, told, request) = asked(around.path(), "c");
    let long = authority.sign(&request, &told, false, 60, NOW).unwrap();
    let signed = authority.roster(NOW).unwrap();
    let key = authority.register().standings(NOW).unwrap();
    let key = |site: &str| {
        let role = Role::Site(name(site));
        let standing = key
            .iter()
            .find(|standing| standing.record.name.role == role);
        standing.unwrap().record.clone()
    };
    let public = {
        let ca = super::der(&dir.join("authority/ca.pem")).remove(0);
        // The last 32 bytes of the SubjectPublicKeyInfo, wherever it stands.
        let mark = [0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
        let at = ca.windows(6).position(|window| window == mark).unwrap() + 6;
        <[u8; 32]>::try_from(&ca[at..at + 32]).unwrap()
    };
    let opened = Roster::open(&signed.roster.to_bytes(), &signed.signature, &public).unwrap();
    assert_eq!(opened, signed.roster);
    let mut expected: Vec<_> = ["a", "b", "c"]
        .map(|site| {
            let record = key(site);
            (
                record.name.roster_name(),
                *record.key.as_bytes(),
                record.until,
            )
        })
        .into();
    expected.sort();
    let found: Vec<_> = opened
        .entries()
        .iter()
        .map(|entry| (entry.client, entry.identity, entry.not_after))
        .collect();
    assert_eq!(found, expected);

    // A denied site is out; one with a new certificate is in with the new end.
    authority
        .register()
        .revoke(&key("a").name, "lost", NOW)
        .unwrap();
    let renewed = authority.renew(&Role::Site(name("b")), 40, NOW).unwrap();
    let roster = authority.roster(NOW).unwrap().roster;
    assert_eq!(roster.entries().len(), 2);
    let b = key("b").name.roster_name();
    let b = roster
        .entries()
        .iter()
        .find(|entry| entry.client == b)
        .unwrap();
    assert_eq!(b.not_after, renewed.record.until);

    // After 30 days the director is not renewed; when it is, b has ended on day 40 and c has not.
    let later = NOW + 41 * DAY;
    let none = authority.roster(later);
    assert!(matches!(none, Err(PkiError::NoDirector(_))), "{none:?}");
    let director = authority.renew(&Role::Director, 30, later).unwrap();
    assert_eq!(director.record.hosts.len(), 4);
    let roster = authority.roster(later).unwrap().roster;
    assert_eq!(roster.server(), director.record.key.as_bytes());
    let [c] = roster.entries() else { panic!() };
    assert_eq!(c.client, long.record.name.roster_name());
}

#[test]
fn who_is_denied_stays_denied() {
    let (around, dir) = made();
    let authority = open(&dir);
    let (_folder, told, request) = asked(around.path(), "c");
    let first = authority.sign(&request, &told, false, 30, NOW).unwrap();
    let second = authority.renew(&Role::Site(name("c")), 60, NOW).unwrap();
    let identity = first.record.name.clone();
    assert_eq!(
        authority
            .register()
            .revoke(&identity, "stolen \"disk\"\n", NOW)
            .unwrap(),
        2
    );
    refused(
        authority.register().revoke(&identity, "", NOW),
        "no certificate that is not denied",
    );
    let path = dir.join("authority/denied.jsonl");
    let denied = DenyList::read(&path).unwrap();
    for issued in [&first, &second] {
        let leaf = super::der(&issued.path).remove(0);
        assert!(denied.denies(&cloister_net::pki::Leaf::of(&leaf).unwrap().serial));
    }
    assert!(
        !denied.denies(
            &authority.register().standings(NOW).unwrap()[0]
                .record
                .serial
        )
    );
    let again = authority.sign(&request, &told, true, 30, NOW);
    assert!(matches!(again, Err(PkiError::KeyDenied(_))), "{again:?}");
    refused(
        authority.renew(&Role::Site(name("c")), 30, NOW),
        "not denied",
    );
    let standings = authority.register().standings(NOW + 61 * DAY).unwrap();
    let of_c: Vec<Status> = standings
        .iter()
        .filter(|standing| standing.record.name == identity)
        .map(|standing| standing.status)
        .collect();
    assert_eq!(of_c, [Status::Denied, Status::Denied]);
    // With a new key the site is let in again.
    let folder = around.path().join("again");
    let told = cloister_net::pki::enroll(&folder, &name("c")).unwrap();
    let request = cloister_net::pki::Request::read(&folder.join("request.pem")).unwrap();
    authority.sign(&request, &told, false, 30, NOW).unwrap();

    // A deny list that cannot be read lets nobody pass unseen.
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, &text[..text.len() - 5]).unwrap();
    refused(DenyList::read(&path), "line 2");
    refused(authority.register().standings(NOW), "line 2");
    fs::remove_file(&path).unwrap();
    assert_eq!(DenyList::read(&path).unwrap(), DenyList::default());
}

#[test]
fn books_that_were_changed_are_seen() {
    let (_around, dir) = made();
    let path = dir.join("authority/issued.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 4);
    let other = cloister_net::pki::PrivateKey::generate().unwrap().public();
    let key = open(&dir).register().standings(NOW).unwrap()[1].record.key;
    fs::write(
        &path,
        text.replace(&String::from(key), &String::from(other)),
    )
    .unwrap();
    refused(
        Register::open(&dir).unwrap().standings(NOW),
        "not the key's",
    );
    let (_two, another) = made();
    fs::remove_file(dir.join("authority/ca.pem")).unwrap();
    refused(Register::open(&dir), "ca.pem");
    fs::copy(
        another.join("authority/ca.pem"),
        dir.join("authority/ca.pem"),
    )
    .unwrap();
    refused(
        cloister_net::pki::Authority::open(&dir),
        "not the key of the authority's",
    );
}
