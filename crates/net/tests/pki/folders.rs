//! What `init` makes, and what it does not touch.

use std::fs;
use std::path::Path;

use cloister_net::director::DirectorConfig;
use cloister_net::envoy::EnvoyConfig;
use cloister_net::operator::OperatorConfig;
use cloister_net::pki::{self, Leaf, Use, verify};

use super::{DAY, NOW, der, federation, made, refused};

/// All files and folders below, with their bytes.
fn tree(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        let bytes = if path.is_dir() {
            found.extend(tree(&path));
            Vec::new()
        } else {
            fs::read(&path).unwrap()
        };
        found.push((path.to_str().unwrap().to_owned(), bytes));
    }
    found.sort();
    found
}

#[test]
fn everybody_has_a_kit_that_verifies() {
    let (_around, dir) = made();
    let ca = der(&dir.join("authority/ca.pem")).remove(0);
    for (kit, identity) in [
        ("director", "cloister://clinics/director"),
        ("sites/a", "cloister://clinics/site/a"),
        ("sites/b", "cloister://clinics/site/b"),
        ("operators/olga", "cloister://clinics/operator/olga"),
    ] {
        let kit = dir.join(kit);
        assert_eq!(der(&kit.join("ca.pem")), std::slice::from_ref(&ca));
        let certificate = der(&kit.join("cert.pem")).remove(0);
        let leaf = verify(&certificate, &ca, Use::Client, NOW).unwrap();
        assert_eq!(leaf.identity.to_string(), identity);
        assert_eq!((leaf.from, leaf.until), (NOW - 300, NOW + 30 * DAY));
        let key = pki::PrivateKey::read(&kit.join("key.pem")).unwrap();
        assert_eq!(key.public(), leaf.key);
        let as_server = verify(&certificate, &ca, Use::Server, NOW);
        assert_eq!(as_server.is_ok(), kit.ends_with("director"));
        for (now, words) in [(NOW - 301, "NotValidYet"), (NOW + 30 * DAY + 1, "Expired")] {
            let result = verify(&certificate, &ca, Use::Client, now);
            if words == "Expired" {
                refused(result, words);
            } else {
                refused(result, "not valid at this time");
            }
        }
    }
    for config in [
        "director/director.toml",
        "sites/a/envoy.toml",
        "operators/olga/operator.toml",
    ] {
        let text = fs::read_to_string(dir.join(config)).unwrap();
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["federation"].as_str(), Some("clinics"));
    }
    let text = fs::read_to_string(dir.join("sites/a/envoy.toml")).unwrap();
    assert!(text.contains("director.example.org:8443"), "{text}");
    // The programs that they are for read them as they are.
    DirectorConfig::read(&dir.join("director")).unwrap();
    EnvoyConfig::read(&dir.join("sites/a")).unwrap();
    let operator = OperatorConfig::read(&dir.join("operators/olga")).unwrap();
    assert_eq!(operator.director, "director.example.org:8443");
}

#[test]
fn another_authority_s_certificates_are_nobody_s() {
    let ((_one, dir), (_two, other)) = (made(), made());
    let certificate = der(&dir.join("sites/a/cert.pem")).remove(0);
    let ca = der(&other.join("authority/ca.pem")).remove(0);
    // The names are the same; the signature is not.
    refused(
        verify(&certificate, &ca, Use::Client, NOW),
        "InvalidSignature",
    );
    let own = der(&dir.join("authority/ca.pem")).remove(0);
    refused(
        verify(&own, &own, Use::Client, NOW),
        "not a certificate to trust",
    );
    refused(Leaf::of(&own), "an authority's");
    for place in 0..certificate.len() {
        let mut changed = certificate.clone();
        changed[place] ^= 1;
        assert!(
            verify(&changed, &own, Use::Client, NOW).is_err(),
            "byte {place}"
        );
        let _ = Leaf::of(&changed);
        let _ = Leaf::of(&certificate[..place]);
    }
}

#[cfg(unix)]
#[test]
fn keys_are_their_owner_s_alone() {
    use std::os::unix::fs::PermissionsExt;

    let (_around, dir) = made();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let mut keys = 0;
    for (path, _) in tree(&dir) {
        let path = Path::new(&path);
        if path.is_dir() {
            assert_eq!(mode(path), 0o700, "{}", path.display());
        } else if path.to_str().unwrap().ends_with("key.pem") {
            assert_eq!(mode(path), 0o600, "{}", path.display());
            keys += 1;
        }
    }
    assert_eq!(keys, 5);
    assert_eq!(mode(&dir), 0o700);
}

#[test]
fn nothing_is_overwritten_and_nothing_left_half_made() {
    let (around, dir) = made();
    let before = tree(around.path());
    refused(
        pki::init(&dir, &federation(&["c"]), NOW),
        "already and not empty",
    );
    for (sites, words) in [(["c", "c"], "the same name"), (["c", "C"], "the same name")] {
        let new = around.path().join("new");
        refused(pki::init(&new, &federation(&sites), NOW), words);
    }
    let mut long = federation(&["c"]);
    long.days = 3_653;
    refused(pki::init(&around.path().join("new"), &long, NOW), "outlast");
    refused(
        pki::init(&around.path().join("no/new"), &federation(&["c"]), NOW),
        "cannot",
    );
    refused(
        pki::enroll(&dir.join("sites/a"), &super::name("a")),
        "already and not empty",
    );
    assert_eq!(tree(around.path()), before);
    let empty = around.path().join("empty");
    fs::create_dir(&empty).unwrap();
    pki::init(&empty, &federation(&["c"]), NOW).unwrap();
}
