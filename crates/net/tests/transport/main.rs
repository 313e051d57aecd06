//! Director and envoys over real sockets: what works, what goes on after a break, and what is refused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod abuse;
mod certificates;
mod crowds;
mod fake;
mod raw;
mod resume;
mod rounds;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cloister_net::clock::unix_now;
use cloister_net::pki::{Federation, Identity, Register, Use, init};
use cloister_net::transport::{
    Client, Credentials, Errand, Fault, Limits, Paper, PaperKind, Parcel, ParcelKind, ServeError,
    serve,
};
use fake::Fake;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A federation on the disk, `clinics`, with the sites a and b and the operator ops.
struct Around {
    dir: tempfile::TempDir,
}

impl Around {
    fn new() -> Self {
        Self::at(unix_now())
    }

    fn at(now: u64) -> Self {
        let around = tempfile::tempdir().unwrap();
        let federation = Federation {
            name: "clinics".parse().unwrap(),
            sites: vec!["a".parse().unwrap(), "b".parse().unwrap()],
            operators: vec!["ops".parse().unwrap()],
            hosts: Vec::new(),
            days: 30,
        };
        init(&around.path().join("f"), &federation, now).unwrap();
        Self { dir: around }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("f")
    }

    fn director(&self) -> PathBuf {
        self.root().join("director")
    }

    fn site(&self, name: &str) -> PathBuf {
        self.root().join("sites").join(name)
    }

    fn operator(&self) -> PathBuf {
        self.root().join("operators/ops")
    }

    /// Denies a name, at the director too.
    fn revoke(&self, name: &str) {
        let name: Identity = format!("cloister://clinics/{name}").parse().unwrap();
        let register = Register::open(&self.root()).unwrap();
        register.revoke(&name, "lost", unix_now()).unwrap();
        let denied = self.root().join("authority/denied.jsonl");
        std::fs::copy(denied, self.director().join("denied.jsonl")).unwrap();
    }
}

/// Limits with which tests are quick.
fn quick() -> Limits {
    Limits {
        reload: Duration::from_millis(50),
        grace: Duration::from_millis(300),
        ..Limits::default()
    }
}

/// A director that runs.
struct Director {
    address: SocketAddr,
    service: Arc<Fake>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), ServeError>>,
}

impl Director {
    async fn start(around: &Around, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let credentials = Credentials::load(&around.director(), Use::Server).unwrap();
        let service = Arc::new(Fake::default());
        let (stop, stopped) = oneshot::channel();
        let stopped = async move {
            let _ = stopped.await;
        };
        let own = Arc::clone(&service);
        let task = tokio::spawn(serve(listener, Arc::new(credentials), own, limits, stopped));
        Self {
            address,
            service,
            stop: Some(stop),
            task,
        }
    }

    async fn client(&self, folder: &Path) -> Client {
        dial(self.address, folder).await.unwrap()
    }

    async fn stop(mut self) {
        let _ = self.stop.take().unwrap().send(());
        self.task.await.unwrap().unwrap();
    }
}

async fn dial(address: SocketAddr, folder: &Path) -> Result<Client, Fault> {
    let credentials = Credentials::load(folder, Use::Client).unwrap();
    Client::connect(&address.to_string(), Arc::new(credentials)).await
}

fn sha(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// So many bytes in which no place looks like another.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    (0..length)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as u8
        })
        .collect()
}

fn errand(number: u64, bytes: &[u8]) -> Errand {
    Errand {
        paper: Paper {
            experiment: 1,
            kind: PaperKind::Message,
            number,
        },
        bytes: bytes.len() as u64,
        sha256: sha(bytes),
    }
}

fn parcel(number: u64, bytes: &[u8]) -> Parcel {
    Parcel {
        experiment: 1,
        kind: ParcelKind::Message,
        number,
        part: 0,
        bytes: bytes.len() as u64,
        sha256: sha(bytes),
    }
}

/// Waits until something is so.
async fn until(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..500 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}
