//! `cloister federation` and `cloister envoy`: from a folder of keys to a roster's worth of certificates.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::{done, inside, run};

/// A federation of sites a and b in a temporary folder; its path, and the authority's fingerprint.
fn made() -> (tempfile::TempDir, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let dir = inside(&folder, "clinics");
    let print = done(&[
        "federation",
        "init",
        &dir,
        "--sites",
        "a,b",
        "--operators",
        "olga",
        "--director-host",
        "director.example.org",
    ]);
    (folder, dir, print.trim().to_owned())
}

/// Runs and expects this exit code, nothing on stdout, and these words somewhere on stderr.
#[track_caller]
fn refused(arguments: &[&str], code: i32, words: &str) {
    let said = run(arguments);
    assert!(
        said.stderr.contains(words),
        "{arguments:?}: {}",
        said.stderr
    );
    assert_eq!((said.code, said.stdout.as_str()), (Some(code), ""));
}

fn listed(dir: &str) -> Vec<(String, String)> {
    let json: Value = serde_json::from_str(&done(&["federation", "list", dir, "--json"])).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    json["certificates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (text(&entry["name"]), text(&entry["status"])))
        .collect()
}

#[test]
fn a_federation_is_made_once() {
    let (folder, dir, print) = made();
    assert_eq!(print.split(' ').count(), 16, "{print}");
    let names: Vec<String> = listed(&dir).into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        ["director", "site/a", "site/b", "operator/olga"]
            .map(|role| format!("cloister://clinics/{role}"))
    );
    let ca = fs::read(Path::new(&dir).join("authority/ca.pem")).unwrap();
    refused(
        &["federation", "init", &dir, "--sites", "c"],
        1,
        "already and not empty",
    );
    assert_eq!(
        fs::read(Path::new(&dir).join("authority/ca.pem")).unwrap(),
        ca
    );
    let new = inside(&folder, "new");
    for sites in [
        "a/b",
        "..",
        "",
        "a,a",
        "a,A",
        "a,,b",
        "-x",
        "director",
        &"x".repeat(65),
    ] {
        refused(&["federation", "init", &new, "--sites", sites], 2, "error");
    }
    refused(
        &["federation", "init", &new, "--sites", "c", "--days", "4000"],
        2,
        "outlast",
    );
    refused(
        &["federation", "init", &new, "--sites", "c", "--days", "0"],
        2,
        "--days",
    );
    refused(
        &[
            "federation",
            "init",
            &new,
            "--sites",
            "c",
            "--director-host",
            "a b",
        ],
        2,
        "host",
    );
    refused(
        &[
            "federation",
            "init",
            &inside(&folder, "b d"),
            "--sites",
            "c",
        ],
        2,
        "--name",
    );
    refused(&["federation", "list", &new], 1, "ca.pem");
    assert!(!Path::new(&new).exists());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[cfg(unix)]
#[test]
fn private_keys_are_0600() {
    use std::os::unix::fs::PermissionsExt;

    let (folder, dir, _) = made();
    let site = inside(&folder, "at-c");
    done(&["envoy", "enroll", &site, "--site", "c"]);
    let dir = Path::new(&dir);
    for key in [
        dir.join("authority/ca-key.pem"),
        dir.join("director/key.pem"),
        dir.join("sites/a/key.pem"),
        dir.join("operators/olga/key.pem"),
        Path::new(&site).join("key.pem"),
    ] {
        let mode = fs::metadata(&key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", key.display());
    }
}

#[test]
fn a_site_enrols_renews_and_is_denied() {
    let (folder, dir, authority) = made();
    let site = inside(&folder, "at-c");
    let print = done(&["envoy", "enroll", &site, "--site", "c"]);
    let print = print.trim();
    let key = fs::read(Path::new(&site).join("key.pem")).unwrap();
    refused(&["envoy", "enroll", &site, "--site", "c"], 2, "--renew");
    refused(
        &["envoy", "enroll", &inside(&folder, "x"), "--site", "a/b"],
        2,
        "no name",
    );
    let request = format!("{site}/request.pem");
    let sign = ["federation", "sign", &dir, &request];
    let with = |more: &[&'static str], print: &str| -> Vec<String> {
        let arguments = sign.iter().chain(more).map(|text| text.to_string());
        arguments
            .chain(["--fingerprint".into(), print.into()])
            .collect()
    };
    refused(&sign, 2, "--fingerprint");
    let wrong = with(&[], &authority);
    refused(&as_str(&wrong), 1, "does not fit");
    let half = with(&[], &print[..40]);
    refused(&as_str(&half), 2, "16 groups");
    let right = with(&[], print);
    let answer = done(&as_str(&right)).trim().to_owned();
    refused(&as_str(&right), 2, "--renew");

    refused(
        &["envoy", "install", &site, &answer, "--authority", print],
        1,
        "does not fit",
    );
    let trusting = run(&["envoy", "install", &site, &answer]);
    assert!(trusting.stderr.contains(&authority), "{}", trusting.stderr);
    let known = run(&[
        "envoy",
        "install",
        &site,
        &answer,
        "--authority",
        &authority,
    ]);
    assert!(!known.stderr.contains("warning"), "{}", known.stderr);
    assert_eq!((known.code, trusting.code), (Some(0), Some(0)));
    let b = format!("{dir}/sites/b");
    refused(&["envoy", "install", &b, &answer], 1, "not for the key");

    done(&["envoy", "enroll", &site, "--site", "c", "--renew"]);
    let renew = with(&["--renew", "--days", "60"], print);
    let answer = done(&as_str(&renew)).trim().to_owned();
    done(&["envoy", "install", &site, &answer]);
    assert_eq!(fs::read(Path::new(&site).join("key.pem")).unwrap(), key);

    done(&["federation", "revoke", &dir, "c", "--reason", "laptop lost"]);
    refused(
        &["federation", "revoke", &dir, "c"],
        1,
        "no certificate that is not denied",
    );
    refused(&as_str(&renew), 1, "is denied");
    let status: Vec<String> = listed(&dir).into_iter().map(|(_, status)| status).collect();
    assert_eq!(
        status,
        ["valid", "valid", "valid", "valid", "denied", "denied"]
    );
    let table = done(&["federation", "list", &dir]);
    assert_eq!(table.matches("laptop lost").count(), 2, "{table}");
    let denied = fs::read_to_string(Path::new(&dir).join("authority/denied.jsonl")).unwrap();
    assert_eq!(denied.lines().count(), 2);
}

fn as_str(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

#[test]
fn the_director_is_renewed_without_a_new_key() {
    let (_folder, dir, _) = made();
    let answer = done(&["federation", "renew", &dir, "director", "--days", "60"]);
    let kit = format!("{dir}/director");
    done(&["envoy", "install", &kit, answer.trim()]);
    let old = format!("{dir}/authority/issued");
    assert_eq!(fs::read_dir(old).unwrap().count(), 5);
    refused(
        &["federation", "renew", &dir, "nobody"],
        1,
        "cloister://clinics/site/nobody",
    );
    refused(&["federation", "renew", &dir, "site/../a"], 2, "no name");
}

#[test]
fn a_request_that_was_altered_is_refused() {
    let (folder, dir, _) = made();
    let site = inside(&folder, "at-c");
    let print = done(&["envoy", "enroll", &site, "--site", "c"]);
    let request = format!("{site}/request.pem");
    let text = fs::read_to_string(&request).unwrap();
    let body = text.find('\n').unwrap() + 1;
    // The middle of the base64 is in the key.
    let place = body + 60;
    let other = if &text[place..=place] == "A" {
        "B"
    } else {
        "A"
    };
    let altered = format!("{}{other}{}", &text[..place], &text[place + 1..]);
    for text in [altered.as_str(), "", "no request"] {
        fs::write(&request, text).unwrap();
        let arguments = [
            "federation",
            "sign",
            &dir,
            &request,
            "--fingerprint",
            print.trim(),
        ];
        refused(&arguments, 1, "not a request to sign");
    }
    assert_eq!(listed(&dir).len(), 4);
}
