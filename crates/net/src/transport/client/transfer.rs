//! Papers, parcels and files, which go on where they broke off.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cloister_host::to_hex;
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{Backoff, Client, answered, silent};
use crate::transport::disk::{Incoming, Outgoing, failed, remove, waiting};
use crate::transport::proto::deliver_part::Part;
use crate::transport::wire::{CHUNK, fetch_request, invalid};
use crate::transport::{Body, Errand, Fault, FaultKind, Parcel, Receipt, fault, proto};

/// How often a broken connection is dialled again for one file.
const ATTEMPTS: u32 = 5;

/// Most of a file that is collected: whatever a run folder holds is far below.
const LARGEST: u64 = 1 << 40;

/// `into` with something behind its name.
fn beside(into: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = into.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Puts a complete file in its place at one instant.
async fn put(from: PathBuf, into: &Path) -> Result<(), Fault> {
    let into = into.to_owned();
    waiting(move || {
        std::fs::rename(&from, &into).map_err(|error| failed("write", &into, &error))?;
        // The name is on the disk when its folder is; where that cannot be, the file comes again.
        if let Some(folder) = into.parent().and_then(|of| std::fs::File::open(of).ok()) {
            let _ = folder.sync_all();
        }
        Ok(())
    })
    .await
}

/// Makes a fault about a file of ours ours.
fn here(fault: Fault) -> Fault {
    match fault.kind {
        // Not the director's fault, and not the connection's.
        FaultKind::Unavailable => Fault::new(FaultKind::Internal, fault.message),
        _ => fault,
    }
}

impl Client {
    async fn chunk(
        &self,
        chunks: &mut Streaming<proto::Chunk>,
    ) -> Result<Option<bytes::Bytes>, Fault> {
        match timeout(self.idle, chunks.message()).await {
            Ok(Ok(chunk)) => Ok(chunk.map(|chunk| chunk.data)),
            Ok(Err(status)) => Err(fault::of_status(&status)),
            Err(_) => Err(silent(self.idle)),
        }
    }

    /// Writes a paper to the file `into`, whole and right or not at all. What came before a break is kept beside it, and the
    /// next attempt goes on there.
    ///
    /// # Errors
    /// [`FaultKind::Unknown`] if it does not wait any more; [`FaultKind::Invalid`] if it is not what the errand says;
    /// [`FaultKind::Internal`] if it cannot be written here; [`Fault`].
    pub async fn fetch(&self, errand: &Errand, into: &Path) -> Result<(), Fault> {
        let digest = to_hex(&errand.sha256[..8]);
        let part = beside(into, &format!(".{digest}.part"));
        let (path, most) = (part.clone(), errand.bytes);
        let mut file = waiting(move || Incoming::open(path, most))
            .await
            .map_err(here)?;
        if !file.is_full() || errand.bytes == 0 {
            let request = fetch_request(&errand.paper, file.written());
            let mut envoys = self.envoys();
            let mut chunks = answered(envoys.fetch(request)).await?;
            while let Some(chunk) = self.chunk(&mut chunks).await? {
                let written = file.written_with(chunk).await;
                file = written.map_err(|(fault, path)| {
                    if fault.kind == FaultKind::Invalid {
                        remove(&path);
                    }
                    here(fault)
                })?;
            }
        }
        let sha256 = errand.sha256;
        let whole = waiting(move || file.finish(&sha256)).await.map_err(here)?;
        put(whole, into).await.map_err(here)
    }

    /// A small paper in memory.
    ///
    /// # Errors
    /// [`FaultKind::TooMuch`] for one of more than `most` bytes; as [`fetch`](Self::fetch).
    pub async fn fetch_bytes(&self, errand: &Errand, most: u64) -> Result<Vec<u8>, Fault> {
        if errand.bytes > most {
            let message = format!("a paper of {} bytes, and {most} are allowed", errand.bytes);
            return Err(Fault::new(FaultKind::TooMuch, message));
        }
        let mut bytes = Vec::new();
        let mut envoys = self.envoys();
        let mut chunks = answered(envoys.fetch(fetch_request(&errand.paper, 0))).await?;
        while let Some(chunk) = self.chunk(&mut chunks).await? {
            if chunk.is_empty() || chunk.len() > CHUNK {
                return Err(invalid("a chunk that is empty or too large"));
            }
            if chunk.len() as u64 > errand.bytes - bytes.len() as u64 {
                return Err(invalid("more bytes than the errand says"));
            }
            bytes.extend_from_slice(&chunk);
        }
        let found: [u8; 32] = Sha256::digest(&bytes).into();
        if bytes.len() as u64 != errand.bytes || found != errand.sha256 {
            return Err(invalid("the paper is not the one of the errand"));
        }
        Ok(bytes)
    }

    /// Hands in a parcel; the receipt says that the director has it on its disk. Asks first how much of it is there, so that
    /// calling this again after a break sends the rest.
    ///
    /// # Errors
    /// [`FaultKind::Invalid`] for a body that is not the parcel's; [`Fault`].
    pub async fn deliver(&self, parcel: &Parcel, body: &Body) -> Result<Receipt, Fault> {
        let length = Outgoing::open(body, 0).await.map_err(here)?.total();
        if length != parcel.bytes {
            let message = format!("a body of {length} bytes for a parcel of {}", parcel.bytes);
            return Err(invalid(message));
        }
        let mut envoys = self.envoys();
        let held = answered(envoys.held(proto::Parcel::from(parcel))).await?;
        let outgoing = Outgoing::open(body, held.bytes).await.map_err(here)?;
        let head = proto::DeliverHead {
            parcel: Some(parcel.into()),
            offset: held.bytes,
        };
        let (sender, parts) = mpsc::channel(1);
        let progress = Arc::new(watch::Sender::new(0_u64));
        let feeding = feed(head, outgoing, sender, Arc::clone(&progress));
        let call = envoys.deliver(ReceiverStream::new(parts));
        let (mut call, mut feeding) = (Box::pin(call), Box::pin(feeding));
        let (mut fed, mut seen) = (None, 0);
        // The director may take its time for a place and for its disk.
        let patience = self.idle * 2;
        loop {
            tokio::select! {
                answer = &mut call => {
                    // A file of ours that cannot be read shows to the director as a call that ended early.
                    if let Some(Err(fault)) = fed {
                        return Err(fault);
                    }
                    let receipt = answer.map_err(|status| fault::of_status(&status))?;
                    return receipt.into_inner().try_into();
                }
                done = &mut feeding, if fed.is_none() => fed = Some(done),
                () = tokio::time::sleep(patience) => {
                    let now = *progress.borrow();
                    if now == seen {
                        return Err(silent(patience));
                    }
                    seen = now;
                }
            }
        }
    }
}

/// Sends a parcel, part after part, as the director takes them.
async fn feed(
    head: proto::DeliverHead,
    mut outgoing: Outgoing,
    sender: mpsc::Sender<proto::DeliverPart>,
    progress: Arc<watch::Sender<u64>>,
) -> Result<(), Fault> {
    let mut part = Part::Head(head);
    loop {
        let message = proto::DeliverPart { part: Some(part) };
        if sender.send(message).await.is_err() {
            // The director has answered already.
            return Ok(());
        }
        progress.send_modify(|parts| *parts += 1);
        match outgoing.next().await.map_err(here)? {
            None => return Ok(()),
            Some(data) => part = Part::Chunk(proto::Chunk { data }),
        }
    }
}

/// Collects a file of an experiment.
pub(super) async fn collect(
    client: &Client,
    experiment: u64,
    file: &str,
    into: &Path,
) -> Result<u64, Fault> {
    let part = beside(into, ".part");
    // What another attempt has left may be of another file: there is no digest to know by.
    remove(&part);
    let mut backoff = Backoff::default();
    for attempt in 1.. {
        match collect_rest(client, experiment, file, &part).await {
            Ok(bytes) => {
                put(part, into).await.map_err(here)?;
                return Ok(bytes);
            }
            Err(fault) if fault.kind == FaultKind::Unreachable && attempt < ATTEMPTS => {
                backoff.wait().await;
            }
            Err(fault) => {
                remove(&part);
                return Err(fault);
            }
        }
    }
    Err(fault::defect())
}

async fn collect_rest(
    client: &Client,
    experiment: u64,
    file: &str,
    part: &Path,
) -> Result<u64, Fault> {
    let path = part.to_owned();
    let mut incoming = waiting(move || Incoming::open(path, LARGEST))
        .await
        .map_err(here)?;
    let request = proto::CollectRequest {
        experiment,
        file: file.to_owned(),
        offset: incoming.written(),
    };
    let mut operators = client.operators();
    let mut chunks = answered(operators.collect(request)).await?;
    while let Some(chunk) = client.chunk(&mut chunks).await? {
        let written = incoming.written_with(chunk).await;
        incoming = written.map_err(|(fault, _)| here(fault))?;
    }
    let bytes = incoming.written();
    waiting(move || incoming.sync()).await.map_err(here)?;
    Ok(bytes)
}
