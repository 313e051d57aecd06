//! What goes on where it broke off: a proxy counts bytes and cuts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cloister_net::transport::{Body, FaultKind, Receipt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Around, Director, dial, errand, noise, parcel, quick, until};

/// Stands between a client and a director. Cuts a connection after so many bytes to one side; 0 is never.
struct Proxy {
    address: SocketAddr,
    up: Arc<AtomicU64>,
    down: Arc<AtomicU64>,
    /// All bytes that were let through, up and down.
    carried: Arc<[AtomicU64; 2]>,
}

impl Proxy {
    async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            up: Arc::default(),
            down: Arc::default(),
            carried: Arc::default(),
        };
        let (up, down) = (Arc::clone(&proxy.up), Arc::clone(&proxy.down));
        let carried = Arc::clone(&proxy.carried);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let director = TcpStream::connect(to).await.unwrap();
                let (up, down) = (up.swap(0, Ordering::SeqCst), down.swap(0, Ordering::SeqCst));
                let carried = Arc::clone(&carried);
                tokio::spawn(async move {
                    let (client_in, client_out) = client.into_split();
                    let (director_in, director_out) = director.into_split();
                    tokio::select! {
                        () = carry(client_in, director_out, up, &carried[0]) => {}
                        () = carry(director_in, client_out, down, &carried[1]) => {}
                    }
                });
            }
        });
        proxy
    }
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    most: u64,
    carried: &AtomicU64,
) {
    let mut buffer = vec![0; 16 << 10];
    let mut total = 0;
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
        total += length as u64;
        carried.fetch_add(length as u64, Ordering::SeqCst);
        if most > 0 && total >= most {
            return;
        }
    }
}

#[tokio::test]
async fn a_parcel_goes_on_at_the_byte_where_the_connection_broke() {
    let around = Around::new();
    let director = Director::start(&around, quick()).await;
    let proxy = Proxy::start(director.address).await;
    proxy.up.store(3_000_000, Ordering::SeqCst);
    let client = dial(proxy.address, &around.site("a")).await.unwrap();
    let bytes = noise(8_000_000);
    let (parcel, body) = (parcel(1, &bytes), Body::Memory(bytes.clone().into()));
    let fault = client.deliver(&parcel, &body).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unreachable, "{fault}");
    // What came over the wire is kept, up to what was in flight.
    until("the director holds it", || {
        director.service.partial_bytes() > 2_000_000
    })
    .await;
    let before = proxy.carried[0].load(Ordering::SeqCst);
    let receipt = client.deliver(&parcel, &body).await.unwrap();
    assert_eq!(receipt, Receipt::Taken);
    let again = proxy.carried[0].load(Ordering::SeqCst) - before;
    assert!(again < 6_100_000, "{again} bytes were sent the second time");
    assert_eq!(director.service.state().delivered.len(), 1);
    assert!(director.service.state().delivered[0].2 == bytes);
    director.stop().await;
}

#[tokio::test]
async fn a_paper_goes_on_at_the_byte_where_the_connection_broke() {
    let around = Around::new();
    let director = Director::start(&around, quick()).await;
    let proxy = Proxy::start(director.address).await;
    proxy.down.store(3_000_000, Ordering::SeqCst);
    let client = dial(proxy.address, &around.site("a")).await.unwrap();
    let bytes = noise(8_000_000);
    let errand = errand(1, &bytes);
    director.service.offer(&errand, &bytes);
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("paper");
    let fault = client.fetch(&errand, &into).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unreachable, "{fault}");
    assert!(!into.exists());
    let before = proxy.carried[1].load(Ordering::SeqCst);
    client.fetch(&errand, &into).await.unwrap();
    let again = proxy.carried[1].load(Ordering::SeqCst) - before;
    assert!(again < 6_100_000, "{again} bytes were sent the second time");
    assert!(std::fs::read(&into).unwrap() == bytes);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    director.stop().await;
}

#[tokio::test]
async fn a_file_is_collected_over_a_connection_that_breaks() {
    let around = Around::new();
    let director = Director::start(&around, quick()).await;
    let proxy = Proxy::start(director.address).await;
    proxy.down.store(1_000_000, Ordering::SeqCst);
    let client = dial(proxy.address, &around.operator()).await.unwrap();
    let model = noise(3_000_000);
    std::fs::write(director.service.folder.path().join("model"), &model).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("model");
    let bytes = client.collect(7, "model.safetensors", &into).await.unwrap();
    assert_eq!(bytes, 3_000_000);
    assert!(std::fs::read(&into).unwrap() == model);
    let carried = proxy.carried[1].load(Ordering::SeqCst);
    assert!(carried < 3_900_000, "{carried} bytes for 3,000,000");
    director.stop().await;
}

#[tokio::test]
async fn a_partial_parcel_that_was_spoilt_is_thrown_away_and_sent_anew() {
    let around = Around::new();
    let director = Director::start(&around, quick()).await;
    let proxy = Proxy::start(director.address).await;
    proxy.up.store(500_000, Ordering::SeqCst);
    let client = dial(proxy.address, &around.site("a")).await.unwrap();
    let bytes = noise(2_000_000);
    let (parcel, body) = (parcel(1, &bytes), Body::Memory(bytes.clone().into()));
    client.deliver(&parcel, &body).await.unwrap_err();
    until("a part is there", || director.service.partial_bytes() > 0).await;
    // The director has noticed the break when it takes no more.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let path = director.service.partial().remove(0);
    let mut held = std::fs::read(&path).unwrap();
    held[7] ^= 1;
    std::fs::write(&path, held).unwrap();
    let fault = client.deliver(&parcel, &body).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Invalid, "{fault}");
    assert!(!path.exists());
    let receipt = client.deliver(&parcel, &body).await.unwrap();
    assert_eq!(receipt, Receipt::Taken);
    director.stop().await;
}
