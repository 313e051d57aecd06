//! Who may come in, and who may not.

use std::path::Path;

use cloister_net::clock::unix_now;
use cloister_net::pki::{Authority, Role, Use};
use cloister_net::transport::{Client, CredentialError, Credentials, FaultKind, Submission};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Around, Director, dial, errand, quick, raw, until};

const DAY: u64 = 86_400;

/// Puts a new certificate for the key of a folder there, issued at another time.
fn reissue(around: &Around, role: &str, folder: &Path, at: u64) {
    let role: Role = role.parse().unwrap();
    let authority = Authority::open(&around.root()).unwrap();
    let issued = authority.renew(&role, 30, at).unwrap();
    let both = std::fs::read_to_string(issued.path).unwrap();
    let end = "-----END CERTIFICATE-----\n";
    let (first, _) = both.split_once(end).unwrap();
    // In two steps, as no program would: a reader may see the half of it.
    std::fs::write(folder.join("cert.pem"), format!("{first}{end}")).unwrap();
}

#[tokio::test]
async fn a_good_certificate_is_let_in_and_none_is_not() {
    let around = Around::new();
    let director = Director::start(&around, quick()).await;
    let a = around.site("a");
    assert_eq!(raw::objection(director.address, Some(&a)).await, None);
    let objection = raw::objection(director.address, None).await.unwrap();
    assert!(objection.contains("CertificateRequired"), "{objection}");
    until("it is told", || {
        director.service.has_turned_away("NoCertificatesPresented")
            || director.service.has_turned_away("no certificates")
    })
    .await;
    director.stop().await;
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_turned_away() {
    let (around, elsewhere) = (Around::new(), Around::new());
    let director = Director::start(&around, quick()).await;
    // Names are the same in both federations.
    let stranger = elsewhere.site("a");
    let objection = raw::objection(director.address, Some(&stranger)).await;
    assert!(objection.unwrap().contains("CertificateUnknown"));
    // On its own side it does not trust the director either.
    let fault = dial(director.address, &stranger).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::NotAuthentic);
    assert!(fault.message.contains("no director to trust"), "{fault}");
    director.stop().await;
}

#[tokio::test]
async fn certificates_are_good_in_their_time_only() {
    let around = Around::new();
    let director = Director::start(&around, quick()).await;
    let (a, now) = (around.site("a"), unix_now());
    for (at, words) in [(now - 40 * DAY, "ended on"), (now + 10 * DAY, "begins on")] {
        reissue(&around, "a", &a, at);
        let objection = raw::objection(director.address, Some(&a)).await.unwrap();
        assert!(objection.contains("CertificateExpired"), "{objection}");
        let error = Credentials::load(&a, Use::Client).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("sites"), "{error}");
    }
    director.stop().await;
}

#[tokio::test]
async fn a_denied_certificate_does_not_come_in_and_is_thrown_out() {
    let around = Around::new();
    let director = Director::start(&around, quick()).await;
    let site = director.client(&around.site("a")).await;
    let other = director.client(&around.site("b")).await;
    let mut attendance = site.attend("envoy").await.unwrap();
    attendance.next().await.unwrap().unwrap();
    let mut others = other.attend("envoy").await.unwrap();
    others.next().await.unwrap().unwrap();
    around.revoke("site/a");
    // The open stream ends, without a word on it.
    let fault = attendance.next().await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unreachable, "{fault}");
    until("it has left", || {
        director.service.state().comings == ["+a", "+b", "-a"]
    })
    .await;
    until("it is told", || {
        director.service.has_turned_away("is denied")
    })
    .await;
    let fault = dial(director.address, &around.site("a")).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::NotAuthentic);
    assert_eq!(
        fault.message,
        "the director turned our certificate away: it is denied"
    );
    let fault = site.attend("envoy").await.map(drop).unwrap_err();
    assert_eq!(fault.kind, FaultKind::NotAuthentic, "{fault}");
    // Nobody else has noticed.
    director.service.offer(&errand(1, b"x"), b"x");
    assert_eq!(others.next().await.unwrap().unwrap().errands.len(), 1);
    director.stop().await;
}

#[tokio::test]
async fn a_broken_deny_list_changes_nothing_and_is_told() {
    let around = Around::new();
    around.revoke("site/a");
    let director = Director::start(&around, quick()).await;
    assert!(dial(director.address, &around.site("a")).await.is_err());
    std::fs::write(around.director().join("denied.jsonl"), "{").unwrap();
    until("it is told", || {
        director.service.has_turned_away("stays in force")
    })
    .await;
    assert!(dial(director.address, &around.site("a")).await.is_err());
    director.client(&around.site("b")).await;
    let told = director.service.state();
    let told = told.turned_away.iter();
    assert_eq!(told.filter(|line| line.contains("in force")).count(), 1);
    director.task.abort();
}

#[tokio::test]
async fn a_director_is_no_caller_and_a_site_no_director() {
    let around = Around::new();
    let director = Director::start(&around, quick()).await;
    let folder = around.director();
    let objection = raw::objection(director.address, Some(&folder)).await;
    assert!(objection.unwrap().contains("AccessDenied"));
    for (folder, usage) in [(folder, Use::Client), (around.site("a"), Use::Server)] {
        let error = Credentials::load(&folder, usage).unwrap_err();
        assert!(
            matches!(error, CredentialError::WrongRole { .. }),
            "{error}"
        );
    }
    director.stop().await;
}

#[tokio::test]
async fn sites_and_operators_have_calls_of_their_own() {
    let around = Around::new();
    let director = Director::start(&around, quick()).await;
    let site = director.client(&around.site("a")).await;
    let operator = director.client(&around.operator()).await;
    let fault = site.status().await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::NotAllowed);
    assert!(fault.message.contains("site/a may not call"), "{fault}");
    let submission = Submission {
        request: [0; 16],
        config: "x".into(),
        sites: Vec::new(),
        minimum: 0,
    };
    let fault = site.submit(submission).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::NotAllowed);
    let fault = operator.attend("envoy").await.map(drop).unwrap_err();
    assert_eq!(fault.kind, FaultKind::NotAllowed);
    let fault = operator.fetch_bytes(&errand(1, b""), 9).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::NotAllowed);
    assert!(director.service.state().submissions.is_empty());
    assert!(director.service.state().comings.is_empty());
    until("it is told", || {
        director
            .service
            .has_turned_away("cloister://clinics/site/a")
            && director.service.has_turned_away("operator/ops may not")
    })
    .await;
    director.stop().await;
}

#[tokio::test]
async fn a_director_is_found_under_its_own_hosts_only() {
    let around = Around::new();
    let director = Director::start(&around, quick()).await;
    let port = director.address.port();
    let a = || std::sync::Arc::new(Credentials::load(&around.site("a"), Use::Client).unwrap());
    Client::connect(&format!("localhost:{port}"), a())
        .await
        .unwrap();
    let refused = |host: &str| {
        let address = format!("{host}:{port}");
        let credentials = a();
        async move {
            Client::connect(&address, credentials)
                .await
                .map(drop)
                .unwrap_err()
        }
    };
    // The same machine by a name that is not in the certificate.
    let fault = refused("127.0.0.2").await;
    match fault.kind {
        FaultKind::NotAuthentic => assert_eq!(
            fault.message,
            "the director's certificate is not for host 127.0.0.2"
        ),
        // Where the listener cannot be reached under it.
        kind => assert_eq!(kind, FaultKind::Unreachable),
    }
    let fault = refused("no-such-host.invalid").await;
    assert_eq!(fault.kind, FaultKind::Unreachable);
    assert!(fault.message.contains("cannot find the address"), "{fault}");
    let address = director.address;
    director.stop().await;
    let fault = dial(address, &around.site("a")).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unreachable);
    assert!(fault.message.contains("cannot reach"), "{fault}");
}

#[tokio::test]
async fn tls_1_2_and_other_protocols_are_refused() {
    let around = Around::new();
    let director = Director::start(&around, quick()).await;
    let extensions = [
        &[0, 10, 0, 4, 0, 2, 0, 29][..],     // x25519
        &[0, 13, 0, 6, 0, 4, 8, 7, 4, 3],    // ed25519, ecdsa
        &[0, 11, 0, 2, 1, 0],                // uncompressed points
        &[0, 16, 0, 5, 0, 3, 2, b'h', b'2'], // alpn
    ]
    .concat();
    let hello = [
        &[3, 3][..],
        &[7; 32],
        &[0],
        &[0, 4, 0xc0, 0x2b, 0xc0, 0x2f],
        &[1, 0],
        &(extensions.len() as u16).to_be_bytes(),
        &extensions,
    ]
    .concat();
    let length = hello.len() as u16;
    let record = [
        &[22, 3, 1][..],
        &(length + 4).to_be_bytes(),
        &[1, 0],
        &length.to_be_bytes(),
        &hello,
    ]
    .concat();
    let mut tcp = TcpStream::connect(director.address).await.unwrap();
    tcp.write_all(&record).await.unwrap();
    let mut answer = Vec::new();
    tcp.read_to_end(&mut answer).await.unwrap();
    // A fatal alert: protocol_version.
    assert_eq!(answer[..1], [21]);
    assert_eq!(answer[5..], [2, 70]);

    let mut tcp = TcpStream::connect(director.address).await.unwrap();
    tcp.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = tcp.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");

    let a = around.site("a");
    assert!(
        raw::shake(director.address, Some(&a), b"http/1.1")
            .await
            .is_err()
    );
    director.client(&a).await;
    director.stop().await;
}

#[test]
fn credentials_are_read_again_when_they_change() {
    let around = Around::new();
    let a = around.site("a");
    let credentials = Credentials::load(&a, Use::Client).unwrap();
    assert!(!credentials.reload_if_changed().unwrap());
    let before = credentials.leaf();
    assert!(!format!("{credentials:?}").contains("BEGIN"));

    std::fs::write(a.join("cert.pem"), "half").unwrap();
    let error = credentials.reload_if_changed().unwrap_err().to_string();
    assert!(error.contains("cert.pem"), "{error}");
    assert!(!credentials.reload_if_changed().unwrap());
    assert_eq!(credentials.leaf(), before);

    reissue(&around, "a", &a, unix_now() + 100);
    assert!(credentials.reload_if_changed().unwrap());
    let after = credentials.leaf();
    assert_ne!(after.serial, before.serial);
    assert_eq!(after.key, credentials.key().public());

    // Somebody else's certificate.
    std::fs::copy(around.site("b").join("cert.pem"), a.join("cert.pem")).unwrap();
    let error = credentials.reload_if_changed().unwrap_err();
    assert!(matches!(error, CredentialError::KeyMismatch(_)), "{error}");
}

#[tokio::test]
async fn a_certificate_that_the_director_renews_is_shown_without_a_restart() {
    let around = Around::new();
    let director = Director::start(&around, quick()).await;
    let serial = |certificate: &[u8]| {
        let leaf = cloister_net::pki::Leaf::of(certificate).unwrap();
        leaf.serial
    };
    let shown = || async {
        let a = around.site("a");
        let tls = raw::shake(director.address, Some(&a), b"h2").await.unwrap();
        serial(&tls.get_ref().1.peer_certificates().unwrap()[0])
    };
    let before = shown().await;
    reissue(&around, "director", &around.director(), unix_now() + 100);
    for _ in 0..100 {
        if shown().await != before {
            return director.stop().await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("it still shows the old one");
}
