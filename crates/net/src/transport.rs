//! gRPC over HTTP/2 and TLS 1.3, both sides authenticated: the only room that knows the RPC library.
//!
//! A director calls [`serve`] with its [`Service`]; envoys and operators dial with a [`Client`]. Both know each other by
//! their certificates: [`crate::pki`]. The contract is `proto/cloister/v1/federation.proto`. What one side wants from the
//! other is small and typed; models and updates are *papers* (director to site) and *parcels* (site to director), which
//! travel in chunks, with a digest, and go on at the byte where a connection broke.

mod client;
mod disk;
mod fault;
pub mod measure;
mod proto;
mod server;
mod tls;
mod wire;

pub use client::{Attendance, Backoff, Client};
pub use server::{Limits, ServeError, serve};
pub use tls::{CredentialError, Credentials};

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use crate::pki::{Leaf, Name};

/// What the director hands to sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PaperKind {
    /// An experiment, to be accepted or declined: [`crate::experiment::Offer`] as JSON.
    Offer,
    /// The experiment begins: [`crate::experiment::Charter`] as JSON.
    Charter,
    /// A message of the round protocol.
    Message,
    /// The experiment is over: [`crate::experiment::Closing`] as JSON.
    Closing,
}

/// Which paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Paper {
    /// The experiment.
    pub experiment: u64,
    /// What it is.
    pub kind: PaperKind,
    /// Counts the site's messages within the experiment, upwards but not without gaps; 0 for other papers.
    pub number: u64,
}

/// A paper that waits for a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errand {
    /// Which.
    pub paper: Paper,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
}

/// All that waits for a site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Errands {
    /// The director's clock, in milliseconds since 1970.
    pub now: u64,
    /// In the order in which they are to be done.
    pub errands: Vec<Errand>,
    /// What the director waits for, in words.
    pub waiting: String,
}

/// What a site hands to the director.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ParcelKind {
    /// Accepts or declines an offer: [`crate::experiment::Answer`] as JSON.
    Answer,
    /// A message of the round protocol.
    Message,
    /// Nothing to say to the errand, which is done. Has no bytes.
    Done,
}

/// A parcel, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// The experiment.
    pub experiment: u64,
    /// What it is.
    pub kind: ParcelKind,
    /// The number of the message that it answers; 0 for an offer.
    pub number: u64,
    /// Tells apart several parcels that answer one message, from 0.
    pub part: u32,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
}

/// What became of a parcel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// Taken, and on the disk.
    Taken,
    /// The same parcel was taken before.
    Repeated,
    /// It will never be taken; why, in words.
    Refused(String),
}

/// Where a parcel goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Into a file of the transport's own choice in this folder, and then to [`Service::deliver`].
    Into(PathBuf),
    /// Nowhere: it was settled before.
    Settled(Receipt),
}

/// Bytes to be sent.
#[derive(Clone, Debug)]
pub enum Body {
    /// In memory, shared by all who fetch it.
    Memory(Arc<[u8]>),
    /// A file that does not change while it is there.
    File(PathBuf),
}

/// What an operator hands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Drawn at random by the operator's program: a repeated request submits nothing.
    pub request: [u8; 16],
    /// The experiment, as TOML.
    pub config: String,
    /// The sites in the order of their client numbers; empty for all.
    pub sites: Vec<String>,
    /// Sites that must accept; 0 for all.
    pub minimum: u32,
}

/// An experiment in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// Its number.
    pub experiment: u64,
    /// What the operator should know, in words.
    pub notes: Vec<String>,
}

/// Lines of an experiment's story.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Story {
    /// JSON documents; the first has the number that was asked after, plus one.
    pub lines: Vec<String>,
    /// Whether no more will come.
    pub ended: bool,
}

/// Whose fault it is that a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The caller may not do this.
    NotAllowed,
    /// There is no such thing.
    Unknown,
    /// The request cannot be meant.
    Invalid,
    /// Too large, or too much at once.
    TooMuch,
    /// Not now; the same request may succeed later (a full disk, a director that stops).
    Unavailable,
    /// The other side cannot be reached, or the connection broke.
    Unreachable,
    /// Neither side could prove who it is to the other.
    NotAuthentic,
    /// A defect.
    Internal,
}

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// Whose fault.
    pub kind: FaultKind,
    /// What happened, in words.
    pub message: String,
}

impl Fault {
    /// A fault in words.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

/// What a director does with the calls that reach it. The caller is who the certificate says. Methods may wait for a disk and
/// are called on threads that may; none may wait for another call.
pub trait Service: Send + Sync + 'static {
    /// A site's envoy, with this certificate and program, began to attend.
    fn arrived(&self, site: &Name, leaf: &Leaf, certificate: &[u8], software: &str);

    /// It ended; nothing is known of the site until it arrives again.
    fn left(&self, site: &Name);

    /// What waits for a site now. In memory, at once.
    fn errands(&self, site: &Name) -> Errands;

    /// Counts up whenever errands or stories may have changed.
    fn changes(&self) -> watch::Receiver<u64>;

    /// Counts up whenever the errands of this site may have changed: with a thousand sites, each is not to be asked for what is
    /// new for another.
    fn site_changes(&self, site: &Name) -> watch::Receiver<u64> {
        let _ = site;
        self.changes()
    }

    /// The bytes of a paper of a site's errands.
    ///
    /// # Errors
    /// [`FaultKind::Unknown`] for one that does not wait for this site (any more).
    fn paper(&self, site: &Name, paper: &Paper) -> Result<Body, Fault>;

    /// Whether a parcel is awaited, before any of its bytes is: its length is bounded here.
    ///
    /// # Errors
    /// [`FaultKind::TooMuch`], [`FaultKind::Invalid`], [`FaultKind::Unavailable`].
    fn admit(&self, site: &Name, parcel: &Parcel) -> Result<Admission, Fault>;

    /// Takes a parcel that is complete, whose digest is right and whose file is on the disk. The file becomes the service's.
    ///
    /// # Errors
    /// [`FaultKind::Unavailable`] if it cannot be made durable now; it is then delivered again.
    fn deliver(&self, site: &Name, parcel: &Parcel, body: PathBuf) -> Result<Receipt, Fault>;

    /// Puts an experiment into the queue.
    ///
    /// # Errors
    /// [`FaultKind::Invalid`] with what is wrong with it.
    fn submit(&self, operator: &Name, submission: Submission) -> Result<Submitted, Fault>;

    /// What there is: [`crate::experiment::Status`] as JSON.
    ///
    /// # Errors
    /// [`FaultKind::Unavailable`].
    fn status(&self, operator: &Name) -> Result<String, Fault>;

    /// The lines of an experiment's story after the first `after`, at most `most`.
    ///
    /// # Errors
    /// [`FaultKind::Unknown`].
    fn story(&self, experiment: u64, after: u64, most: usize) -> Result<Story, Fault>;

    /// Ends an experiment.
    ///
    /// # Errors
    /// [`FaultKind::Unknown`], or [`FaultKind::Invalid`] for one that has ended.
    fn cancel(
        &self,
        operator: &Name,
        request: [u8; 16],
        experiment: u64,
        reason: &str,
    ) -> Result<(), Fault>;

    /// A file of an experiment's run folder; for an empty name the list of them, one a line.
    ///
    /// # Errors
    /// [`FaultKind::Unknown`].
    fn collect(&self, operator: &Name, experiment: u64, file: &str) -> Result<Body, Fault>;

    /// A call was refused before it reached any of the above; for the log.
    fn turned_away(&self, who: &str, reason: &str);
}
