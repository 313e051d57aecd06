//! Callers whose certificate is good and whose calls are not.

use std::time::Duration;

use bytes::Bytes;
use cloister_net::transport::{Body, FaultKind, Receipt};

use super::raw::{call, chunk, head, message, parcel_bytes};
use super::{Around, Director, errand, noise, parcel, quick, raw, sha, until};

const HELD: &str = "/cloister.v1.Envoys/Held";
const DELIVER: &str = "/cloister.v1.Envoys/Deliver";
const FETCH: &str = "/cloister.v1.Envoys/Fetch";

// Codes of gRPC.
const INVALID: &str = "3";
const EXHAUSTED: &str = "8";
const OUT_OF_RANGE: &str = "11";
const UNIMPLEMENTED: &str = "12";
const UNAVAILABLE: &str = "14";

/// A director whose site a calls by hand.
async fn by_hand(
    limits: cloister_net::transport::Limits,
) -> (Around, Director, h2::client::SendRequest<Bytes>) {
    let around = Around::new();
    let director = Director::start(&around, limits).await;
    let http = raw::http(director.address, &around.site("a")).await;
    (around, director, http)
}

#[tokio::test]
async fn a_replayed_parcel_reaches_the_service_once() {
    let (_around, director, http) = by_hand(quick()).await;
    let bytes = noise(1000);
    let body = || vec![head(&parcel(1, &bytes), 0), chunk(&bytes)];
    for _ in 0..3 {
        let ended = call(&http, DELIVER, &[], body(), true).await.unwrap();
        assert_eq!(ended.code, "0", "{}", ended.words);
    }
    assert_eq!(director.service.state().delivered.len(), 1);
    director.stop().await;
}

#[tokio::test]
async fn a_claim_that_is_too_large_is_refused_before_any_byte() {
    let (_around, director, http) = by_hand(quick()).await;
    for bytes in [super::fake::MOST + 1, u64::MAX] {
        let mut large = parcel(1, b"");
        large.bytes = bytes;
        let body = vec![message(0, &parcel_bytes(&large))];
        let ended = call(&http, HELD, &[], body, true).await.unwrap();
        assert_eq!(ended.code, EXHAUSTED);
        let body = vec![head(&large, 0), chunk(b"x")];
        let ended = call(&http, DELIVER, &[], body, false).await.unwrap();
        assert_eq!(ended.code, EXHAUSTED);
    }
    assert!(director.service.partial().is_empty());
    director.stop().await;
}

#[tokio::test]
async fn no_more_is_written_than_was_announced() {
    let (_around, director, http) = by_hand(quick()).await;
    let announced = parcel(1, &noise(100_000));
    let mut body = vec![head(&announced, 0)];
    body.resize(200, chunk(&noise(60_000)));
    let ended = call(&http, DELIVER, &[], body, false).await.unwrap();
    assert_eq!(ended.code, INVALID, "{}", ended.words);
    assert!(
        ended.words.contains("more than the 100000"),
        "{}",
        ended.words
    );
    assert!(director.service.partial().is_empty());
    assert!(director.service.state().delivered.is_empty());
    director.stop().await;
}

#[tokio::test]
async fn what_is_not_a_parcel_is_refused() {
    let (_around, director, http) = by_hand(quick()).await;
    let small = parcel(1, b"abc");
    let mut wrong = small.clone();
    wrong.sha256 = sha(b"abd");
    let large = parcel(2, &noise(300_000));
    for (what, body) in [
        ("nothing", vec![]),
        ("no head", vec![chunk(b"abc")]),
        ("no parcel", vec![message(0, &raw::bytes(1, &[]))]),
        ("an empty part", vec![head(&small, 0), message(0, &[])]),
        ("two heads", vec![head(&small, 0), head(&small, 0)]),
        ("an empty chunk", vec![head(&small, 0), chunk(b"")]),
        (
            "a huge chunk",
            vec![head(&large, 0), chunk(&noise(262_145))],
        ),
        ("too few", vec![head(&large, 0), chunk(b"ab")]),
        ("another offset", vec![head(&small, 2), chunk(b"c")]),
        ("a wrong digest", vec![head(&wrong, 0), chunk(b"abc")]),
    ] {
        let ended = call(&http, DELIVER, &[], body, true).await.unwrap();
        assert_eq!(ended.code, INVALID, "{what}: {}", ended.words);
    }
    assert!(director.service.state().delivered.is_empty());
    // Of each, what is sound is there for the next attempt, and nothing else: 2 bytes of the one that had too few.
    assert_eq!(director.service.partial_bytes(), 2);
    let body = vec![head(&small, 0), chunk(b"ab"), chunk(b"c")];
    let ended = call(&http, DELIVER, &[], body, true).await.unwrap();
    assert_eq!(ended.code, "0", "{}", ended.words);
    director.stop().await;
}

#[tokio::test]
async fn a_site_that_claims_many_digests_has_one_partial_file() {
    let (_around, director, http) = by_hand(quick()).await;
    for digest in 0..5 {
        let mut claimed = parcel(1, b"abc");
        claimed.sha256 = [digest; 32];
        let body = vec![head(&claimed, 0), chunk(b"ab")];
        let ended = call(&http, DELIVER, &[], body, true).await.unwrap();
        assert_eq!(ended.code, INVALID);
    }
    assert_eq!(director.service.partial().len(), 1);
    director.stop().await;
}

#[tokio::test]
async fn rubbish_on_the_wire_ends_a_call_and_nothing_else() {
    let (_around, director, http) = by_hand(quick()).await;
    let huge = [&[0][..], &u32::MAX.to_be_bytes(), b"abc"].concat();
    let bomb = [&[1][..], &3_u32.to_be_bytes(), b"abc"].concat();
    for path in [HELD, DELIVER, FETCH] {
        for (body, codes) in [
            (message(0, &noise(100)), ["13", INVALID]),
            (message(0, &[0xff; 64]), ["13", INVALID]),
            (huge.clone().into(), [OUT_OF_RANGE, INVALID]),
            // Compressed, though nobody said so.
            (bomb.clone().into(), ["13", INVALID]),
            (Bytes::from_static(b"\x07\0\0\0\x01x"), ["13", INVALID]),
        ] {
            let ended = call(&http, path, &[], vec![body], true).await.unwrap();
            let words = &ended.words;
            assert!(
                codes.contains(&&*ended.code),
                "{path}: {} {words}",
                ended.code
            );
        }
        // Compressed: refused, and never inflated.
        let gzip = [("grpc-encoding", "gzip")];
        let body = vec![bomb.clone().into()];
        let ended = call(&http, path, &gzip, body, true).await.unwrap();
        assert_eq!(ended.code, UNIMPLEMENTED, "{path}: {}", ended.words);
    }
    let long = "x".repeat(40_000);
    let ended = call(&http, HELD, &[("long", &long)], vec![], true).await;
    assert!(ended.map_or(true, |ended| ended.code != "0"));
    let ended = call(&http, "/cloister.v1.Envoys/Nothing", &[], vec![], true).await;
    assert_eq!(ended.unwrap().code, UNIMPLEMENTED);
    let body = vec![head(&parcel(1, b""), 0)];
    let ended = call(&http, DELIVER, &[], body, true).await.unwrap();
    assert_ne!(ended.code, "13", "{}", ended.words);
    director.stop().await;
}

#[tokio::test]
async fn a_slow_sender_is_not_waited_for() {
    let mut limits = quick();
    limits.idle = Duration::from_millis(200);
    let (_around, director, http) = by_hand(limits).await;
    let bytes = noise(1000);
    for body in [
        vec![],
        vec![head(&parcel(1, &bytes), 0)],
        vec![head(&parcel(1, &bytes), 0), chunk(&bytes[..10])],
    ] {
        let ended = call(&http, DELIVER, &[], body, false).await.unwrap();
        assert_eq!(ended.code, UNAVAILABLE);
        assert!(ended.words.contains("too slowly"), "{}", ended.words);
    }
    // What came is kept.
    assert_eq!(director.service.partial_bytes(), 10);
    let ended = call(&http, HELD, &[], vec![], false).await.unwrap();
    assert_eq!(ended.code, UNAVAILABLE, "{}", ended.words);
    let rest = vec![head(&parcel(1, &bytes), 10), chunk(&bytes[10..])];
    let ended = call(&http, DELIVER, &[], rest, true).await.unwrap();
    assert_eq!(ended.code, "0");
    director.stop().await;
}

#[tokio::test]
async fn who_drips_is_cut_off_too() {
    let mut limits = quick();
    limits.idle = Duration::from_millis(400);
    limits.slowest = 1 << 20;
    let (_around, director, http) = by_hand(limits).await;
    let request = http::Request::post(format!("http://localhost{DELIVER}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let mut http = http.ready().await.unwrap();
    let (response, mut sending) = http.send_request(request, false).unwrap();
    sending
        .send_data(head(&parcel(1, &noise(1000)), 0), false)
        .unwrap();
    let dripping = tokio::spawn(async move {
        while sending.send_data(chunk(b"x"), false).is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let response = tokio::time::timeout(Duration::from_secs(5), response);
    let response = response.await.unwrap().unwrap();
    assert_eq!(response.headers()["grpc-status"], UNAVAILABLE);
    dripping.await.unwrap();
    director.stop().await;
}

#[tokio::test]
async fn a_slow_reader_loses_its_connection() {
    let mut limits = quick();
    limits.idle = Duration::from_millis(200);
    let (around, director, http) = by_hand(limits).await;
    let bytes = noise(8_000_000);
    let errand = errand(1, &bytes);
    director.service.offer(&errand, &bytes);
    let ask = [raw::number(1, 1), raw::number(2, 3), raw::number(3, 1)].concat();
    let request = http::Request::post(format!("http://localhost{FETCH}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let mut http = http.ready().await.unwrap();
    let (response, mut sending) = http.send_request(request, false).unwrap();
    sending.send_data(message(0, &ask), true).unwrap();
    let mut body = response.await.unwrap().into_body();
    // Reads, and never says that it has room for more.
    let ended = tokio::time::timeout(Duration::from_secs(5), async {
        while let Some(data) = body.data().await {
            data?;
        }
        Ok::<_, h2::Error>(())
    });
    assert!(ended.await.expect("it is cut off").is_err());
    // One that reads gets it all.
    let client = director.client(&around.site("a")).await;
    let whole = client.fetch_bytes(&errand, u64::MAX).await.unwrap();
    assert!(whole == bytes);
    director.stop().await;
}

#[tokio::test]
async fn the_newer_of_two_deliveries_of_one_parcel_goes_on() {
    let (around, director, http) = by_hand(quick()).await;
    let bytes = noise(100_000);
    let old = tokio::spawn({
        let (http, body) = (
            http.clone(),
            vec![head(&parcel(1, &bytes), 0), chunk(&bytes[..7])],
        );
        async move { call(&http, DELIVER, &[], body, false).await.unwrap() }
    });
    until("it has begun", || director.service.partial_bytes() == 7).await;
    let client = director.client(&around.site("a")).await;
    let body = Body::Memory(bytes.clone().into());
    let receipt = client.deliver(&parcel(1, &bytes), &body).await.unwrap();
    assert_eq!(receipt, Receipt::Taken);
    let ended = old.await.unwrap();
    assert_eq!(ended.code, UNAVAILABLE, "{}", ended.words);
    assert!(director.service.state().delivered[0].2 == bytes);
    director.stop().await;
}

#[tokio::test]
async fn one_site_cannot_take_all_places() {
    let (around, director, http) = by_hand(quick()).await;
    let hang = |number| {
        let (http, body) = (
            http.clone(),
            vec![head(&parcel(number, b"abc"), 0), chunk(b"a")],
        );
        tokio::spawn(async move { call(&http, DELIVER, &[], body, false).await })
    };
    let hung: Vec<_> = (0..4).map(hang).collect();
    until("they hang", || director.service.partial().len() == 4).await;
    let ended = hang(5).await.unwrap().unwrap();
    assert_eq!(ended.code, EXHAUSTED, "{}", ended.words);
    let other = director.client(&around.site("b")).await;
    let body = Body::Memory(b"abc".as_slice().into());
    let receipt = other.deliver(&parcel(1, b"abc"), &body).await.unwrap();
    assert_eq!(receipt, Receipt::Taken);
    director.stop().await;
    for call in hung {
        assert_eq!(call.await.unwrap().unwrap().code, UNAVAILABLE);
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_is_said_and_the_parcel_comes_later() {
    let around = Around::new();
    let director = Director::start(&around, quick()).await;
    let client = director.client(&around.site("a")).await;
    let parcel = parcel(1, b"abc");
    let digits: String = parcel.sha256[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let name = format!("incoming-a-1-message-1-0-{digits}.part");
    let path = director.service.folder.path().join(name);
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let body = Body::Memory(b"abc".as_slice().into());
    let fault = client.deliver(&parcel, &body).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unavailable);
    assert!(fault.message.contains("no space left on device"), "{fault}");
    assert!(!fault.message.contains('/'), "{fault}");
    std::fs::remove_file(path).unwrap();
    let receipt = client.deliver(&parcel, &body).await.unwrap();
    assert_eq!(receipt, Receipt::Taken);
    // A folder that is not there.
    director.service.state().elsewhere = Some("/nowhere".into());
    let fault = client.deliver(&super::parcel(2, b"abc"), &body).await;
    assert_eq!(fault.unwrap_err().kind, FaultKind::Unavailable);
    director.stop().await;
}
