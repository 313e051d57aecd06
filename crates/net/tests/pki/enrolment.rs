//! Sites whose keys never travel.

use std::fs;

use cloister_net::pki::{self, PkiError, Request, Role};
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject;

use super::{DAY, NOW, asked, made, name, open, refused};

#[test]
fn a_site_asks_and_is_answered() {
    let (around, dir) = made();
    let (folder, told, request) = asked(around.path(), "c");
    let authority = open(&dir);
    let issued = authority.sign(&request, &told, false, 7, NOW).unwrap();
    assert_eq!(issued.record.name.to_string(), "cloister://clinics/site/c");
    assert_eq!(issued.record.until, NOW + 7 * DAY);
    let ca = authority.register().fingerprint();
    let key = fs::read(folder.join("key.pem")).unwrap();
    let installed = pki::install(&folder, &issued.path, Some(&ca), NOW).unwrap();
    assert_eq!(
        (installed.leaf.serial, installed.authority),
        (issued.record.serial, ca)
    );
    assert!(folder.join("envoy.toml").exists());

    // A month later, with the same key; the old certificate stays.
    refused(
        authority.sign(&request, &told, false, 30, NOW + DAY),
        "has a certificate until",
    );
    assert_eq!(pki::renewal(&folder, &name("c")).unwrap(), told);
    refused(pki::renewal(&folder, &name("a")), "not of the site a");
    let again = Request::read(&folder.join("request.pem")).unwrap();
    let longer = authority.sign(&again, &told, true, 30, NOW + DAY).unwrap();
    pki::install(&folder, &longer.path, None, NOW + DAY).unwrap();
    refused(
        pki::install(&folder, &issued.path, None, NOW + DAY),
        "valid for longer",
    );
    assert_eq!(fs::read(folder.join("key.pem")).unwrap(), key);
    let expired = pki::install(&folder, &longer.path, None, NOW + 32 * DAY);
    refused(expired, "Expired");
}

#[test]
fn what_was_changed_on_its_way_is_not_signed() {
    let (around, dir) = made();
    let (folder, told, request) = asked(around.path(), "c");
    let other = pki::PrivateKey::generate().unwrap().public().fingerprint();
    let result = open(&dir).sign(&request, &other, false, 30, NOW);
    assert!(
        matches!(result, Err(PkiError::Fingerprint { expected, found })
        if expected == other && found == told)
    );
    let pem = fs::read(folder.join("request.pem")).unwrap();
    let der = CertificateSigningRequestDer::from_pem_slice(&pem).unwrap();
    let mut passed = 0;
    for place in 0..der.len() {
        let mut changed = der.to_vec();
        changed[place] ^= 1;
        // A tag outside of what is signed may be read either way; name and key may not.
        match Request::from_pem(pem_of(&changed).as_bytes()) {
            Ok(found) => {
                assert_eq!(found, request, "byte {place}");
                passed += 1;
            }
            Err(error) => assert!(matches!(error, PkiError::Request(_)), "{error}"),
        }
        let cut = pem_of(&der[..place]);
        assert!(Request::from_pem(cut.as_bytes()).is_err(), "{place} bytes");
    }
    assert!(passed <= 2, "{passed} of {} bytes do not matter", der.len());
    assert!(Request::from_pem(b"").is_err());
    let issued = fs::read_dir(dir.join("authority/issued")).unwrap().count();
    assert_eq!(issued, 4);
}

/// PEM of a request by hand.
fn pem_of(der: &[u8]) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in der.chunks(3) {
        let number = (0..3).fold(0, |number, place| {
            number << 8 | u32::from(*chunk.get(place).unwrap_or(&0))
        });
        for place in 0..4 {
            let digit = number >> (18 - 6 * place) & 63;
            text.push(match place <= chunk.len() {
                true => char::from(alphabet[digit as usize]),
                false => '=',
            });
        }
    }
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n")
}

/// A request of somebody else's making, with whatever it likes in it.
fn foreign(common_name: &str, uri: &str) -> String {
    use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ED25519, SanType};
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.serialize_request(&key).unwrap().pem().unwrap()
}

#[test]
fn a_request_is_asked_for_its_name_and_key_only() {
    let (_around, dir) = made();
    let text = foreign("c", "cloister://clinics/director");
    let request = Request::from_pem(text.as_bytes()).unwrap();
    let told = request.key.fingerprint();
    let issued = open(&dir).sign(&request, &told, false, 30, NOW).unwrap();
    let leaf = super::der(&issued.path).remove(0);
    let leaf = pki::Leaf::of(&leaf).unwrap();
    assert_eq!(leaf.identity.role, Role::Site(name("c")));
    for bad in ["..", "a/b", "../../etc", "", "director", "site/a"] {
        let request = Request::from_pem(foreign(bad, "x:y").as_bytes());
        assert!(request.is_err(), "{bad}");
    }
}

#[test]
fn an_answer_must_fit() {
    let (around, dir) = made();
    let (c, told_c, request_c) = asked(around.path(), "c");
    let (d, told_d, request_d) = asked(around.path(), "d");
    let authority = open(&dir);
    let to_c = authority.sign(&request_c, &told_c, false, 30, NOW).unwrap();
    refused(
        pki::install(&d, &to_c.path, None, NOW),
        "not for the key in this folder",
    );
    let (_elsewhere, other) = made();
    let foreign = open(&other)
        .sign(&request_c, &told_c, false, 30, NOW)
        .unwrap();
    let ca = authority.register().fingerprint();
    let result = pki::install(&c, &foreign.path, Some(&ca), NOW);
    assert!(
        matches!(result, Err(PkiError::Fingerprint { .. })),
        "{result:?}"
    );
    assert!(!c.join("ca.pem").exists() && !c.join("cert.pem").exists());
    pki::install(&c, &to_c.path, None, NOW).unwrap();
    refused(
        pki::install(&c, &foreign.path, None, NOW),
        "not the one in ca.pem",
    );

    // Signed for the right key, but under another name than the one asked for.
    let mut renamed = request_d.clone();
    renamed.site = name("e");
    let to_e = authority.sign(&renamed, &told_d, false, 30, NOW).unwrap();
    refused(
        pki::install(&d, &to_e.path, None, NOW),
        "site/d was asked for",
    );

    // A mixed answer: this federation's certificate with another's authority behind it.
    let [leaf, _] = &super::der(&to_c.path)[..] else {
        panic!()
    };
    let [_, ca] = &super::der(&foreign.path)[..] else {
        panic!()
    };
    let mixed = [leaf, ca].map(|der| pem_of(der).replace("CERTIFICATE REQUEST", "CERTIFICATE"));
    let path = around.path().join("mixed.pem");
    fs::write(&path, mixed.concat()).unwrap();
    refused(pki::install(&d, &path, None, NOW), "InvalidSignature");
    fs::write(&path, &mixed[0]).unwrap();
    refused(
        pki::install(&d, &path, None, NOW),
        "expected two certificates",
    );
}

#[test]
fn a_key_has_one_name() {
    let (around, dir) = made();
    let (_folder, told, request) = asked(around.path(), "c");
    let authority = open(&dir);
    authority.sign(&request, &told, false, 30, NOW).unwrap();
    let mut renamed = request.clone();
    renamed.site = name("d");
    let result = authority.sign(&renamed, &told, false, 30, NOW);
    assert!(matches!(result, Err(PkiError::KeyTaken(_))), "{result:?}");
    let (_folder, told, request) = asked(around.path(), "A");
    refused(
        authority.sign(&request, &told, false, 30, NOW),
        "the same name",
    );
}
