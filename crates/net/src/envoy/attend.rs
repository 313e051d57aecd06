//! The loop of an envoy: it dials the director, does what waits there, and sends what lies in the outbox, until it is stopped.
//!
//! Nothing is decided here. Errands that were done before are handed to [`Envoy`] again, which remembers.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use super::{Envoy, EnvoyError};
use crate::clock::{unix_now, unix_time};
use crate::experiment::MAX_DOCUMENT;
use crate::pki::Use;
use crate::transport::{
    Backoff, Client, Credentials, Errand, Errands, Fault, FaultKind, Paper, PaperKind,
};

/// What director and sites say of their program.
const SOFTWARE: &str = concat!("cloister ", env!("CARGO_PKG_VERSION"));
/// Clocks that differ by more make deadlines and certificates go wrong.
const SKEW: Duration = Duration::from_secs(60);
/// How often the folder of the kit is looked at.
const RELOAD: Duration = Duration::from_secs(5);
/// Papers that are worked on at the same time: one trains, and others are messages of its secure sum.
const HANDS: usize = 4;
/// The folder of papers that are being fetched.
const PAPERS: &str = "papers";

/// What tells whoever watches the envoy's output.
type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// An envoy at work.
struct Attending {
    envoy: Arc<Envoy>,
    credentials: Arc<Credentials>,
    papers: PathBuf,
    log: Log,
    outbox: Notify,
    hands: Semaphore,
    /// What is being worked on, and what was done on this connection.
    taken: Mutex<BTreeSet<Paper>>,
    waiting: Mutex<String>,
}

/// Serves the site of the folder `dir` until `stop`; `log` is told what happens, line by line. An unreachable director is waited
/// for; one that turns this site away is tried again, since it may change its mind.
///
/// # Errors
/// [`EnvoyError`] for a folder that cannot be used.
pub async fn attend(
    dir: &Path,
    log: impl Fn(&str) + Send + Sync + 'static,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), EnvoyError> {
    let envoy = Arc::new(Envoy::open(dir)?);
    let credentials = Arc::new(Credentials::load(dir, Use::Client)?);
    let papers = dir.join(PAPERS);
    // Of an earlier life: they are fetched again.
    let _ = std::fs::remove_dir_all(&papers);
    std::fs::create_dir_all(&papers).map_err(EnvoyError::file("make", &papers))?;
    let attending = Arc::new(Attending {
        envoy,
        credentials,
        papers,
        log: Arc::new(log),
        outbox: Notify::new(),
        hands: Semaphore::new(HANDS),
        taken: Mutex::default(),
        waiting: Mutex::default(),
    });
    let said = Arc::clone(&attending.log);
    attending.envoy.on_word(move |line| said(line));
    let woken = Arc::downgrade(&attending);
    attending.envoy.on_outbox(move || {
        if let Some(attending) = woken.upgrade() {
            attending.outbox.notify_one();
        }
    });
    tokio::select! {
        () = attending.serve() => {}
        () = stop => {}
    }
    Ok(())
}

impl Attending {
    fn log(&self, line: &str) {
        (self.log)(line);
    }

    /// Dials again and again.
    async fn serve(self: &Arc<Self>) {
        let director = self.envoy.config().director.clone();
        let mut backoff = Backoff::default();
        let mut said = String::new();
        loop {
            match self.connection(&director, &mut backoff).await {
                Ok(reason) => self.log(reason),
                Err(fault) => {
                    let words = fault.to_string();
                    let wait = backoff.delay();
                    if words != said {
                        self.log(&format!("{words}; trying again"));
                        said = words;
                    }
                    tokio::time::sleep(wait).await;
                    continue;
                }
            }
            said.clear();
            backoff.wait().await;
        }
    }

    /// One connection, for as long as it lasts; why it ended, where that is no fault.
    async fn connection(
        self: &Arc<Self>,
        director: &str,
        backoff: &mut Backoff,
    ) -> Result<&'static str, Fault> {
        if let Err(error) = self.credentials.reload_if_changed() {
            self.log(&error.to_string());
        }
        let client = Client::connect(director, Arc::clone(&self.credentials)).await?;
        let mut attendance = client.attend(SOFTWARE).await?;
        backoff.reset();
        self.log(&format!("attends at {director}"));
        self.taken().clear();
        let mut work = JoinSet::new();
        let sender = Arc::clone(self);
        let sending = client.clone();
        work.spawn(async move { sender.send(&sending).await });
        let mut reload = tokio::time::interval(RELOAD);
        loop {
            tokio::select! {
                errands = attendance.next() => match errands? {
                    Some(errands) => self.hand_out(errands, &client, &mut work),
                    None => return Ok("the director ended the attendance; dialling again"),
                },
                Some(done) = work.join_next() => match done {
                    Ok(result) => result?,
                    Err(error) => {
                        return Err(Fault::new(FaultKind::Internal, format!("a defect: {error}")));
                    }
                },
                _ = reload.tick() => match self.credentials.reload_if_changed() {
                    Ok(true) => return Ok("the certificate was renewed; dialling again with it"),
                    Ok(false) => {}
                    Err(error) => self.log(&error.to_string()),
                },
            }
        }
    }

    fn taken(&self) -> MutexGuard<'_, BTreeSet<Paper>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins the errands that are not begun.
    fn hand_out(
        self: &Arc<Self>,
        errands: Errands,
        client: &Client,
        work: &mut JoinSet<Result<(), Fault>>,
    ) {
        self.tell(&errands);
        for errand in errands.errands {
            if !self.taken().insert(errand.paper) {
                continue;
            }
            let (this, client) = (Arc::clone(self), client.clone());
            work.spawn(async move {
                let Ok(_hand) = this.hands.acquire().await else {
                    return Ok(());
                };
                let done = this.run(&client, &errand).await;
                match done {
                    // The connection broke; the errand comes again on the next one.
                    Err(Trouble::Fault(fault)) if fault.kind == FaultKind::Unreachable => {
                        Err(fault)
                    }
                    Err(Trouble::Fault(fault)) if fault.kind == FaultKind::Unknown => Ok(()),
                    Err(trouble) => {
                        this.log(&format!(
                            "experiment {}: {trouble}",
                            errand.paper.experiment
                        ));
                        // Not at once: what is wrong here takes a while to be put right.
                        tokio::time::sleep(RELOAD).await;
                        this.taken().remove(&errand.paper);
                        Ok(())
                    }
                    Ok(()) => Ok(()),
                }
            });
        }
    }

    /// Says what the director waits for, when that changes.
    fn tell(&self, errands: &Errands) {
        let skew = Duration::from_millis(errands.now).abs_diff(unix_time());
        let mut waiting = errands.waiting.clone();
        if skew > SKEW {
            waiting += &format!(
                " (the director's clock and this one differ by {} seconds)",
                skew.as_secs()
            );
        }
        let mut said = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if *said != waiting {
            self.log(&waiting);
            *said = waiting;
        }
    }

    async fn run(self: &Arc<Self>, client: &Client, errand: &Errand) -> Result<(), Trouble> {
        let paper = errand.paper;
        match paper.kind {
            PaperKind::Message => self.message(client, errand).await,
            PaperKind::Offer => {
                let bytes = client.fetch_bytes(errand, MAX_DOCUMENT as u64).await?;
                self.with_envoy(move |envoy| envoy.offer(&bytes, unix_now()))
                    .await
            }
            PaperKind::Charter => {
                let bytes = client.fetch_bytes(errand, MAX_DOCUMENT as u64).await?;
                let authority = self.credentials.authority_der();
                let director = client.director_certificate();
                let charter =
                    move |envoy: &Envoy| envoy.charter(&bytes, &authority, &director, unix_now());
                self.with_envoy(charter).await?;
                self.log(&format!("experiment {} begins", paper.experiment));
                Ok(())
            }
            PaperKind::Closing => {
                let bytes = client.fetch_bytes(errand, MAX_DOCUMENT as u64).await?;
                self.with_envoy(move |envoy| envoy.closing(&bytes)).await?;
                self.log(&format!("experiment {} is over", paper.experiment));
                Ok(())
            }
        }
    }

    async fn message(self: &Arc<Self>, client: &Client, errand: &Errand) -> Result<(), Trouble> {
        let Paper {
            experiment, number, ..
        } = errand.paper;
        let most = self
            .with_envoy(move |envoy| envoy.longest_message(experiment, unix_time()))
            .await?;
        if errand.bytes > most {
            let reason = format!(
                "message {number} has {} bytes, at most {most} are taken",
                errand.bytes
            );
            return Err(Fault::new(FaultKind::TooMuch, reason).into());
        }
        let file = self.papers.join(format!("{experiment}-{number}"));
        client.fetch(errand, &file).await?;
        let paper = file.clone();
        let worked = self
            .with_envoy(move |envoy| envoy.message(experiment, number, &paper, unix_time()))
            .await;
        // What stays is removed at the next start.
        let _ = std::fs::remove_file(file);
        worked
    }

    /// Does what trains, or waits for a disk, where it keeps nobody else from anything.
    async fn with_envoy<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Envoy) -> Result<T, EnvoyError> + Send + 'static,
    ) -> Result<T, Trouble> {
        let envoy = Arc::clone(&self.envoy);
        match tokio::task::spawn_blocking(move || work(&envoy)).await {
            Ok(result) => Ok(result?),
            Err(error) => Err(Fault::new(FaultKind::Internal, format!("a defect: {error}")).into()),
        }
    }

    /// Sends what lies in the outbox, in its order, and then whatever comes.
    async fn send(self: &Arc<Self>, client: &Client) -> Result<(), Fault> {
        loop {
            let pending = match self.with_envoy(Envoy::outbox).await {
                Ok(pending) => pending,
                Err(trouble) => {
                    self.log(&trouble.to_string());
                    tokio::time::sleep(RELOAD).await;
                    continue;
                }
            };
            if pending.is_empty() {
                self.outbox.notified().await;
                continue;
            }
            for pending in pending {
                let receipt = match client.deliver(&pending.parcel, &pending.body).await {
                    Ok(receipt) => receipt,
                    // It is not ours any more: the experiment is over, or of another director.
                    Err(fault)
                        if matches!(
                            fault.kind,
                            FaultKind::Unknown | FaultKind::TooMuch | FaultKind::Invalid
                        ) =>
                    {
                        crate::transport::Receipt::Refused(fault.message)
                    }
                    Err(fault) if fault.kind == FaultKind::Unavailable => {
                        self.log(&format!(
                            "the director cannot take it now: {fault}; trying again"
                        ));
                        tokio::time::sleep(RELOAD).await;
                        break;
                    }
                    Err(fault) => return Err(fault),
                };
                if let crate::transport::Receipt::Refused(reason) = &receipt {
                    self.log(&format!(
                        "experiment {}: refused: {reason}",
                        pending.parcel.experiment
                    ));
                }
                let parcel = pending.parcel.clone();
                let noted = self
                    .with_envoy(move |envoy| envoy.receipt(&parcel, &receipt))
                    .await;
                if let Err(trouble) = noted {
                    self.log(&trouble.to_string());
                    tokio::time::sleep(RELOAD).await;
                }
            }
        }
    }
}

/// Why an errand was not done.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error(transparent)]
    Envoy(#[from] EnvoyError),
}
