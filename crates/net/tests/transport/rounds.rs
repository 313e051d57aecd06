//! All that works.

use std::time::Duration;

use cloister_net::transport::{
    Backoff, Body, Errands, Fault, FaultKind, Paper, PaperKind, Receipt, Story, Submission,
};

use super::{Around, Director, errand, noise, parcel, quick, until};

#[tokio::test]
async fn a_site_attends_and_is_told_what_changes() {
    let around = Around::new();
    let director = Director::start(&around, quick()).await;
    let client = director.client(&around.site("a")).await;
    let mut attendance = client.attend("envoy 1\u{1b}[2J").await.unwrap();
    let first = attendance.next().await.unwrap().unwrap();
    let nothing = Errands {
        now: 1,
        errands: Vec::new(),
        waiting: "for b".into(),
    };
    assert_eq!(first, nothing);
    assert_eq!(director.service.state().software, "envoy 1[2J");
    // A change that changes nothing is not told.
    director.service.changed();
    let silence = tokio::time::timeout(Duration::from_millis(100), attendance.next());
    assert!(silence.await.is_err());
    let new = errand(3, b"hello");
    director.service.offer(&new, b"hello");
    let second = attendance.next().await.unwrap().unwrap();
    assert_eq!(second.errands, [new]);
    drop(attendance);
    until("the site left", || {
        director.service.state().comings == ["+a", "-a"]
    })
    .await;
    director.stop().await;
}

#[tokio::test]
async fn errands_come_again_while_nothing_changes() {
    let around = Around::new();
    let mut limits = quick();
    limits.attend = Duration::from_millis(50);
    let director = Director::start(&around, limits).await;
    let client = director.client(&around.site("a")).await;
    let mut attendance = client.attend("envoy").await.unwrap();
    for _ in 0..3 {
        attendance.next().await.unwrap().unwrap();
    }
    director.stop().await;
}

#[tokio::test]
async fn a_second_attendance_replaces_the_first_and_each_leaves_once() {
    let around = Around::new();
    let director = Director::start(&around, quick()).await;
    let old = director.client(&around.site("a")).await;
    let new = director.client(&around.site("a")).await;
    let other = director.client(&around.site("b")).await;
    let mut first = old.attend("old").await.unwrap();
    first.next().await.unwrap().unwrap();
    let mut second = new.attend("new").await.unwrap();
    second.next().await.unwrap().unwrap();
    let fault = first.next().await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unavailable);
    assert!(fault.message.contains("another connection"), "{fault}");
    let mut third = other.attend("other").await.unwrap();
    third.next().await.unwrap().unwrap();
    assert_eq!(director.service.state().comings, ["+a", "-a", "+a", "+b"]);
    let service = std::sync::Arc::clone(&director.service);
    director.stop().await;
    // All have left when the director has stopped, and were told so.
    let mut comings = service.state().comings.split_off(4);
    comings.sort();
    assert_eq!(comings, ["-a", "-b"]);
    assert!(second.next().await.is_err());
}

#[tokio::test]
async fn papers_are_fetched() {
    let around = Around::new();
    let director = Director::start(&around, quick()).await;
    let client = director.client(&around.site("a")).await;
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("paper");
    for (number, length) in [(1, 0), (2, 1), (3, 1_000_000)] {
        let bytes = noise(length);
        let errand = errand(number, &bytes);
        director.service.offer(&errand, &bytes);
        client.fetch(&errand, &into).await.unwrap();
        assert_eq!(std::fs::read(&into).unwrap(), bytes);
        assert_eq!(client.fetch_bytes(&errand, 1_000_000).await.unwrap(), bytes);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
    // From a file.
    let bytes = noise(700_000);
    let path = director.service.folder.path().join("file");
    std::fs::write(&path, &bytes).unwrap();
    let from_file = errand(4, &bytes);
    let body = Body::File(path);
    (director.service.state().papers).insert(from_file.paper, body);
    client.fetch(&from_file, &into).await.unwrap();
    assert_eq!(std::fs::read(&into).unwrap(), bytes);

    let too_much = client.fetch_bytes(&from_file, 699_999).await.unwrap_err();
    assert_eq!(too_much.kind, FaultKind::TooMuch);
    let missing = errand(9, b"");
    let fault = client.fetch(&missing, &into).await.unwrap_err();
    assert_eq!(
        (fault.kind, fault.message.as_str()),
        (FaultKind::Unknown, "that paper does not wait")
    );
    director.stop().await;
}

#[tokio::test]
async fn a_paper_that_is_not_the_errands_is_thrown_away() {
    let around = Around::new();
    let director = Director::start(&around, quick()).await;
    let client = director.client(&around.site("a")).await;
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("paper");
    let wanted = errand(1, b"abcdef");
    for sent in [&b"abcdeX"[..], b"abcdefg", b"abc"] {
        director.service.offer(&wanted, sent);
        let fault = client.fetch(&wanted, &into).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Invalid, "{fault}");
        let fault = client.fetch_bytes(&wanted, 6).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Invalid, "{fault}");
        assert!(!into.exists());
    }
    director.stop().await;
}

#[tokio::test]
async fn parcels_are_delivered_once() {
    let around = Around::new();
    let director = Director::start(&around, quick()).await;
    let client = director.client(&around.site("a")).await;
    let folder = tempfile::tempdir().unwrap();
    for (number, length) in [(1, 0), (2, 5), (3, 1_000_000)] {
        let bytes = noise(length);
        let path = folder.path().join("body");
        std::fs::write(&path, &bytes).unwrap();
        let parcel = parcel(number, &bytes);
        let body = Body::File(path);
        let receipt = client.deliver(&parcel, &body).await.unwrap();
        assert_eq!(receipt, Receipt::Taken);
        let body = Body::Memory(bytes.clone().into());
        let receipt = client.deliver(&parcel, &body).await.unwrap();
        assert_eq!(receipt, Receipt::Repeated);
        let (site, _, found) = director.service.state().delivered.pop().unwrap();
        assert_eq!((site.as_str(), found), ("a", bytes));
        assert!(director.service.state().delivered.is_empty());
        assert_eq!(director.service.partial().len(), 0);
    }
    let lie = parcel(4, b"abc");
    let short = Body::Memory(b"ab".as_slice().into());
    let fault = client.deliver(&lie, &short);
    assert_eq!(fault.await.unwrap_err().kind, FaultKind::Invalid);
    director.stop().await;
}

#[tokio::test]
async fn a_parcel_that_the_service_cannot_take_now_is_taken_later_without_being_sent_again() {
    let around = Around::new();
    let director = Director::start(&around, quick()).await;
    let client = director.client(&around.site("a")).await;
    let bytes = noise(300_000);
    let (parcel, body) = (parcel(1, &bytes), Body::Memory(bytes.clone().into()));
    let full = Fault::new(FaultKind::Unavailable, "the store is full");
    director.service.state().answer = Some(Err(full.clone()));
    assert_eq!(client.deliver(&parcel, &body).await.unwrap_err(), full);
    assert_eq!(director.service.partial_bytes(), 300_000);
    let receipt = client.deliver(&parcel, &body).await.unwrap();
    assert_eq!(receipt, Receipt::Taken);
    assert_eq!(director.service.state().delivered[0].2, bytes);
    let refused = Receipt::Refused("it comes too late".into());
    director.service.state().answer = Some(Ok(refused.clone()));
    let late = super::parcel(2, &bytes);
    assert_eq!(client.deliver(&late, &body).await.unwrap(), refused);
    director.stop().await;
}

#[tokio::test]
async fn an_operator_submits_follows_cancels_and_collects() {
    let around = Around::new();
    let director = Director::start(&around, quick()).await;
    let client = director.client(&around.operator()).await;
    let mut submission = Submission {
        request: [3; 16],
        config: "name = \"x\"".into(),
        sites: vec!["a".into()],
        minimum: 1,
    };
    let submitted = client.submit(submission.clone()).await.unwrap();
    assert_eq!(submitted.experiment, 7);
    assert_eq!(submitted.notes, ["faults: left out"]);
    assert_eq!(director.service.state().submissions, [submission.clone()]);
    submission.config.clear();
    let fault = client.submit(submission).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Invalid);
    assert_eq!(fault.message, "config, line 1:\n  nothing");
    assert_eq!(client.status().await.unwrap(), "{\"for\":\"ops\"}");
    client.cancel([9; 16], 7, "enough").await.unwrap();
    assert_eq!(director.service.state().cancelled, [(7, "enough".into())]);

    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("list");
    assert_eq!(client.collect(7, "", &into).await.unwrap(), 18);
    let model = noise(500_000);
    std::fs::write(director.service.folder.path().join("model"), &model).unwrap();
    client.collect(7, "model.safetensors", &into).await.unwrap();
    assert_eq!(std::fs::read(&into).unwrap(), model);
    let fault = client.collect(7, "../key.pem", &into).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unknown);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    director.stop().await;
}

#[tokio::test]
async fn a_story_is_followed_to_its_end() {
    let around = Around::new();
    let director = Director::start(&around, quick()).await;
    let client = director.client(&around.operator()).await;
    let line = |number: usize| format!("{{\"line\":{number}}}");
    director.service.state().story = Story {
        lines: (1..=100).map(line).collect(),
        ended: false,
    };
    let service = std::sync::Arc::clone(&director.service);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut state = service.state();
        state.story.lines.push(line(101));
        state.story.ended = true;
        drop(state);
        service.changed();
    });
    let mut lines = Vec::new();
    let follow = client.follow(7, 2, |number, json| lines.push((number, json.to_owned())));
    follow.await.unwrap();
    let expected: Vec<_> = (3..=101).map(|n| (n as u64, line(n))).collect();
    assert_eq!(lines, expected);
    let fault = client.follow(8, 0, |_, _| {}).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unknown);
    director.stop().await;
}

#[tokio::test]
async fn a_panic_ends_one_call_and_not_the_director() {
    let around = Around::new();
    let director = Director::start(&around, quick()).await;
    let client = director.client(&around.site("a")).await;
    director.service.state().panics = true;
    let mut attendance = client.attend("envoy").await.unwrap();
    let fault = attendance.next().await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Internal);
    until("the site left", || {
        director.service.state().comings == ["+a", "-a"]
    })
    .await;
    let body = Body::Memory(b"x".as_slice().into());
    let fault = client.deliver(&parcel(1, b"x"), &body).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Internal);
    director.service.state().panics = false;
    let receipt = client.deliver(&parcel(1, b"x"), &body).await.unwrap();
    assert_eq!(receipt, Receipt::Taken);
    director.stop().await;
}

#[tokio::test]
async fn a_client_finds_its_director_again() {
    let around = Around::new();
    let director = Director::start(&around, quick()).await;
    let client = director.client(&around.site("a")).await;
    let address = director.address;
    director.stop().await;
    let gone = Paper {
        experiment: 1,
        kind: PaperKind::Offer,
        number: 0,
    };
    let gone = cloister_net::transport::Errand {
        paper: gone,
        ..errand(0, b"")
    };
    let fault = client.fetch_bytes(&gone, 9).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unreachable, "{fault}");
    let mut backoff = Backoff::default();
    assert!(backoff.delay() < Duration::from_secs(1));
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let credentials = cloister_net::transport::Credentials::load(
        &around.director(),
        cloister_net::pki::Use::Server,
    );
    let service = std::sync::Arc::new(super::Fake::default());
    let task = tokio::spawn(cloister_net::transport::serve(
        listener,
        std::sync::Arc::new(credentials.unwrap()),
        service,
        quick(),
        tokio::time::sleep(Duration::from_millis(500)),
    ));
    let fault = client.fetch_bytes(&gone, 9).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unknown, "{fault}");
    task.await.unwrap().unwrap();
}
