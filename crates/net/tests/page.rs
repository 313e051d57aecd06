//! The page of a director that runs, over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cloister_net::clock::unix_now;
use cloister_net::director::Director;
use cloister_net::pki::{Federation, Use, init};
use cloister_net::transport::{Client, Credentials};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(5);

struct Running {
    dir: tempfile::TempDir,
    calls: SocketAddr,
    page: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let federation = Federation {
            name: "clinics".parse().unwrap(),
            sites: vec!["northgate".parse().unwrap()],
            operators: Vec::new(),
            hosts: Vec::new(),
            days: 30,
        };
        init(&dir.path().join("f"), &federation, unix_now()).unwrap();
        let folder = dir.path().join("f/director");
        let config = "federation = \"clinics\"\nlisten = \"127.0.0.1:0\"\npage = \"127.0.0.1:0\"\n";
        std::fs::write(folder.join("director.toml"), config).unwrap();
        let director = Director::bind(&folder, |_| {}).await.unwrap();
        let calls = director.address().unwrap();
        let page = director.page_address().unwrap().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            director.run(stopped).await.unwrap();
        });
        Self {
            dir,
            calls,
            page,
            stop,
            task,
        }
    }

    fn site(&self) -> PathBuf {
        self.dir.path().join("f/sites/northgate")
    }

    /// Sends these bytes, and gives all that comes back.
    async fn talk(&self, bytes: &[u8]) -> String {
        let mut tcp = TcpStream::connect(self.page).await.unwrap();
        // It may have hung up before all was said.
        let _ = tcp.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = timeout(SOON, tcp.read_to_end(&mut answer)).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn get(&self, path: &str) -> String {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        self.talk(request.as_bytes()).await
    }

    async fn end(self) {
        let _ = self.stop.send(());
        timeout(SOON, self.task).await.unwrap().unwrap();
        assert!(TcpStream::connect(self.page).await.is_err());
    }
}

/// Reads until these words have come.
async fn until(tcp: &mut TcpStream, words: &str) -> String {
    let mut all = Vec::new();
    while !String::from_utf8_lossy(&all).contains(words) {
        let mut chunk = [0; 1024];
        let read = timeout(SOON, tcp.read(&mut chunk)).await.unwrap().unwrap();
        assert!(read > 0, "ended after {}", String::from_utf8_lossy(&all));
        all.extend_from_slice(&chunk[..read]);
    }
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test]
async fn who_comes_shows_at_once_and_the_page_ends_with_the_director() {
    let director = Running::start().await;
    assert!(director.get("/").await.starts_with("HTTP/1.1 200 OK"));
    let mut live = TcpStream::connect(director.page).await.unwrap();
    let request = "GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n";
    live.write_all(request.as_bytes()).await.unwrap();
    let head = until(&mut live, "data: changed").await;
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    assert!(head.contains("cache-control: no-store"), "{head}");

    let credentials = Arc::new(Credentials::load(&director.site(), Use::Client).unwrap());
    let address = format!("localhost:{}", director.calls.port());
    let client = Client::connect(&address, credentials).await.unwrap();
    let mut attendance = client.attend("envoy <b>0</b>").await.unwrap();
    attendance.next().await.unwrap();
    until(&mut live, "data: changed").await;
    let page = director.get("/").await;
    assert!(page.contains("1 of 1") && page.contains("northgate"));
    assert!(page.contains("envoy &#60;b&#62;0"), "{page}");
    let metrics = director.get("/metrics").await;
    assert!(
        metrics.contains("cloister_sites_attending 1\n"),
        "{metrics}"
    );
    assert!(!metrics.contains("northgate"));
    assert!(director.get("/healthz").await.ends_with("ok\n"));
    drop((attendance, client));

    // The live page is open, and does not keep the director.
    director.end().await;
    let mut rest = Vec::new();
    let _ = timeout(SOON, live.read_to_end(&mut rest)).await.unwrap();
}

#[tokio::test]
async fn nobody_can_take_up_all_of_it() {
    let director = Running::start().await;
    let long = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n",
        "x".repeat(64 << 10)
    );
    let answer = director.talk(long.as_bytes()).await;
    assert!(!answer.contains("200 OK"), "{answer}");
    let many = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n",
        "X: 1\r\n".repeat(100)
    );
    let answer = director.talk(many.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert!(
        director
            .talk(b"\x16\x03\x01hello\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 400")
    );
    let foreign = "GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    let answer = director.talk(foreign.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");

    // More live pages than there is room for; the others still get their answers.
    let mut streams = Vec::new();
    for _ in 0..48 {
        let mut live = TcpStream::connect(director.page).await.unwrap();
        let request = "GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n";
        live.write_all(request.as_bytes()).await.unwrap();
        until(&mut live, "data: changed").await;
        streams.push(live);
    }
    let answer = director.get("/live").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(director.get("/healthz").await.ends_with("ok\n"));
    // A place is free again once somebody goes.
    streams.pop();
    let mut again = String::new();
    for _ in 0..50 {
        let mut live = TcpStream::connect(director.page).await.unwrap();
        let request = "GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n";
        live.write_all(request.as_bytes()).await.unwrap();
        again = until(&mut live, "\r\n\r\n").await;
        if again.starts_with("HTTP/1.1 200") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(again.starts_with("HTTP/1.1 200"), "{again}");
    director.end().await;
}
