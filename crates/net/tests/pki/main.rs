//! Keys and certificates from outside: folders made, requests answered, chains verified by rustls.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

mod books;
mod enrolment;
mod folders;
mod handshake;

use std::path::{Path, PathBuf};

use cloister_net::pki::{self, Authority, Federation, Name, PkiError};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// A day in the winter of 2025.
const NOW: u64 = 1_765_000_000;
const DAY: u64 = 86_400;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn federation(sites: &[&str]) -> Federation {
    Federation {
        name: name("clinics"),
        sites: sites.iter().map(|site| name(site)).collect(),
        operators: vec![name("olga")],
        hosts: vec![
            "director.example.org".parse().unwrap(),
            "10.0.0.7".parse().unwrap(),
        ],
        days: 30,
    }
}

/// A federation of sites a and b in a temporary folder.
fn made() -> (tempfile::TempDir, PathBuf) {
    let around = tempfile::tempdir().unwrap();
    let dir = around.path().join("clinics");
    pki::init(&dir, &federation(&["a", "b"]), NOW).unwrap();
    (around, dir)
}

/// The certificates of a file in DER.
fn der(path: &Path) -> Vec<Vec<u8>> {
    CertificateDer::pem_file_iter(path)
        .unwrap()
        .map(|der| der.unwrap().to_vec())
        .collect()
}

/// A site that has asked, and the fingerprint that it tells.
fn asked(around: &Path, site: &str) -> (PathBuf, pki::Fingerprint, pki::Request) {
    let folder = around.join(format!("at-{site}"));
    let told = pki::enroll(&folder, &name(site)).unwrap();
    let request = pki::Request::read(&folder.join("request.pem")).unwrap();
    (folder, told, request)
}

fn open(dir: &Path) -> Authority {
    Authority::open(dir).unwrap()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, PkiError>, words: &str) {
    let error = result.unwrap_err().to_string();
    assert!(error.contains(words), "{error}");
}
