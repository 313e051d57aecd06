//! More connections than there is room for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cloister_net::transport::{Body, Receipt};
use tokio::net::TcpStream;

use super::{Around, Director, dial, parcel, quick, until};

/// Connections that never say a word; by the thousands in the wild.
const SILENT: usize = 2000;

/// How many of them are held open here: this process has both ends, and a limit on open files.
const HELD: usize = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_keep_nobody_out() {
    let around = Around::new();
    let mut limits = quick();
    limits.handshakes = 64;
    let director = Director::start(&around, limits).await;
    let client = director.client(&around.site("a")).await;
    let (address, opened) = (director.address, Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&opened);
    let flood = tokio::spawn(async move {
        let mut held = VecDeque::new();
        for _ in 0..SILENT {
            held.push_back(TcpStream::connect(address).await.unwrap());
            count.fetch_add(1, Ordering::SeqCst);
            if held.len() > HELD {
                held.pop_front();
            }
        }
        held
    });
    let mut delivered = 0;
    while delivered < 20 || !flood.is_finished() {
        let bytes = vec![7; 1000];
        let body = Body::Memory(bytes.clone().into());
        let receipt = client.deliver(&parcel(delivered, &bytes), &body).await;
        assert_eq!(receipt.unwrap(), Receipt::Taken);
        delivered += 1;
    }
    assert_eq!(opened.load(Ordering::SeqCst), SILENT);
    // Every place is taken by somebody silent, and a newcomer gets in at once.
    let _held = flood.await.unwrap();
    let newcomer = tokio::time::timeout(std::time::Duration::from_secs(3), async {
        dial(address, &around.site("b")).await.unwrap()
    });
    let newcomer = newcomer.await.unwrap();
    let mut attendance = newcomer.attend("envoy").await.unwrap();
    attendance.next().await.unwrap().unwrap();
    until("it is told", || {
        director.service.has_turned_away("without a handshake")
    })
    .await;
    director.stop().await;
}

#[tokio::test]
async fn a_handshake_has_its_time() {
    let around = Around::new();
    let mut limits = quick();
    limits.handshake = std::time::Duration::from_millis(100);
    let director = Director::start(&around, limits).await;
    let tcp = TcpStream::connect(director.address).await.unwrap();
    let mut byte = [0];
    let closed = tokio::time::timeout(std::time::Duration::from_secs(3), async {
        tcp.readable().await.unwrap();
        tcp.try_read(&mut byte)
    });
    assert!(matches!(closed.await.unwrap(), Ok(0) | Err(_)));
    director.stop().await;
}

#[tokio::test]
async fn one_caller_has_so_many_connections_and_all_have_so_many() {
    let around = Around::new();
    let mut limits = quick();
    limits.connections = 3;
    limits.connections_each = 2;
    let director = Director::start(&around, limits).await;
    let first = director.client(&around.site("a")).await;
    let mut attendance = first.attend("envoy").await.unwrap();
    attendance.next().await.unwrap().unwrap();
    let _second = director.client(&around.site("a")).await;
    // Its oldest gives way.
    let _third = director.client(&around.site("a")).await;
    assert!(attendance.next().await.is_err());
    let _other = director.client(&around.site("b")).await;
    let fault = dial(director.address, &around.operator()).await;
    let fault = fault.map(drop).unwrap_err();
    assert_eq!(fault.kind, cloister_net::transport::FaultKind::Unreachable);
    until("it is told", || {
        director.service.has_turned_away("too many connections")
    })
    .await;
    director.stop().await;
}
