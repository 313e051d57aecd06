//! Parcels that come in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cloister_host::to_hex;
use tokio::time::{Instant, timeout_at};
use tonic::{Status, Streaming};

use super::connections::Peer;
use super::turns::Turn;
use super::{Hall, deadline, stops};
use crate::pki::Name;
use crate::transport::disk::{Incoming, remove, waiting};
use crate::transport::proto::deliver_part::Part;
use crate::transport::proto::{Chunk, DeliverPart};
use crate::transport::wire::invalid;
use crate::transport::{Admission, Fault, FaultKind, Parcel, ParcelKind, Receipt, Service, fault};

/// What a site may deliver one of at a time: experiment, kind, number and part.
pub(super) type Slot = (Name, u64, ParcelKind, u64, u32);

fn slot(site: &Name, parcel: &Parcel) -> Slot {
    let Parcel {
        experiment,
        kind,
        number,
        part,
        ..
    } = *parcel;
    (site.clone(), experiment, kind, number, part)
}

/// What the names of a slot's partial files begin with.
fn stem((site, experiment, kind, number, part): &Slot) -> String {
    let kind = match kind {
        ParcelKind::Answer => "answer",
        ParcelKind::Message => "message",
        ParcelKind::Done => "done",
    };
    format!("incoming-{site}-{experiment}-{kind}-{number}-{part}-")
}

/// The partial file of a parcel.
fn partial(folder: &Path, slot: &Slot, sha256: &[u8; 32]) -> PathBuf {
    folder.join(format!("{}{}.part", stem(slot), to_hex(&sha256[..8])))
}

/// Removes what other parcels for the same slot have left: of one slot there is one partial file, however many digests a site
/// claims.
fn remove_others(folder: &Path, slot: &Slot, own: &Path) {
    let stem = stem(slot);
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str());
        let digest = name
            .and_then(|name| name.strip_prefix(&stem))
            .and_then(|rest| rest.strip_suffix(".part"));
        let is_ours = |digest: &str| {
            digest.len() == 16 && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        if path != own && digest.is_some_and(is_ours) {
            remove(&path);
        }
    }
}

/// How much of a parcel is here; all of it, if it was settled before.
pub(super) async fn held<S: Service>(
    hall: &Hall<S>,
    site: Name,
    parcel: Parcel,
) -> Result<u64, Fault> {
    let slot = slot(&site, &parcel);
    let bytes = parcel.bytes;
    let sha256 = parcel.sha256;
    let admission = hall
        .ask(move |service| service.admit(&site, &parcel))
        .await??;
    match admission {
        Admission::Settled(_) => Ok(bytes),
        Admission::Into(folder) => {
            let path = partial(&folder, &slot, &sha256);
            waiting(move || Incoming::held(&path, bytes)).await
        }
    }
}

/// A parcel on its way.
struct Parts {
    parts: Streaming<DeliverPart>,
    /// When it is too late for all of it.
    last: Instant,
}

impl Parts {
    /// The next part; `None` at the end.
    async fn next<S: Service>(
        &mut self,
        hall: &Hall<S>,
        turn: Option<&mut Turn<Slot>>,
    ) -> Result<Option<Part>, Fault> {
        let lost = async {
            match turn {
                Some(turn) => turn.lost().await,
                None => std::future::pending().await,
            }
        };
        let until = deadline(hall.limits.idle).min(self.last);
        let message = tokio::select! {
            message = timeout_at(until, self.parts.message()) => message,
            () = lost => return Err(elsewhere()),
            () = hall.stopped() => return Err(stops()),
        };
        let message = message.map_err(|_| {
            let message = "the parcel came too slowly; what is here of it stays";
            Fault::new(FaultKind::Unavailable, message)
        })?;
        match message.map_err(broken)? {
            None => Ok(None),
            Some(DeliverPart { part: Some(part) }) => Ok(Some(part)),
            Some(DeliverPart { part: None }) => Err(invalid("a part of a parcel is empty")),
        }
    }
}

/// What the library says of a request's body.
fn broken(status: Status) -> Fault {
    fault::of_status(&status)
}

fn elsewhere() -> Fault {
    let message = "the same parcel is delivered on another call";
    Fault::new(FaultKind::Unavailable, message)
}

/// Takes a parcel.
pub(super) async fn receive<S: Service>(
    hall: &Arc<Hall<S>>,
    peer: &Peer,
    site: Name,
    parts: Streaming<DeliverPart>,
) -> Result<Receipt, Fault> {
    let idle = hall.limits.idle;
    let _place = hall.uploads.take(&peer.leaf.identity, idle).await?;
    let mut parts = Parts {
        parts,
        last: deadline(idle),
    };
    let Some(Part::Head(head)) = parts.next(hall, None).await? else {
        return Err(invalid("a parcel begins with its head"));
    };
    let parcel = head.parcel.ok_or_else(|| invalid("the head is empty"))?;
    let parcel = Parcel::try_from(parcel)?;
    let slot = slot(&site, &parcel);
    let delivering = Arc::clone(&hall.delivering);
    let mut turn = delivering.take(slot.clone()).await.ok_or_else(elsewhere)?;

    let (asked, by) = (parcel.clone(), site.clone());
    let admission = hall
        .ask(move |service| service.admit(&by, &asked))
        .await??;
    let folder = match admission {
        Admission::Settled(receipt) => return Ok(receipt),
        Admission::Into(folder) => folder,
    };
    let seconds = parcel.bytes.saturating_sub(head.offset) / hall.limits.slowest.max(1);
    // A claim that would take years is bounded by the service, and by this against an overflow.
    let time = std::time::Duration::from_secs(seconds.min(7 * 86_400));
    parts.last = deadline(idle) + time;
    let file = begin(folder, &slot, &parcel, head.offset).await?;
    let file = fill(hall, &mut parts, &mut turn, file).await?;
    let sha256 = parcel.sha256;
    let path = waiting(move || file.finish(&sha256)).await?;
    // From here on the turn is kept to the end: the service must not see the parcel twice at once. The work is not
    // broken off if the call is.
    let deliver = {
        let hall = Arc::clone(hall);
        async move {
            let _turn = turn;
            hall.ask(move |service| service.deliver(&site, &parcel, path))
                .await
        }
    };
    tokio::spawn(deliver).await.map_err(|_| fault::defect())??
}

/// Opens the partial file, which must end where the sender goes on.
async fn begin(
    folder: PathBuf,
    slot: &Slot,
    parcel: &Parcel,
    offset: u64,
) -> Result<Incoming, Fault> {
    let (path, slot) = (partial(&folder, slot, &parcel.sha256), slot.clone());
    let bytes = parcel.bytes;
    waiting(move || {
        let held = Incoming::held(&path, bytes)?;
        if held != offset {
            return Err(invalid(format!(
                "the parcel is sent from byte {offset} on, and {held} bytes of it are here"
            )));
        }
        remove_others(&folder, &slot, &path);
        Incoming::open(path, bytes)
    })
    .await
}

/// Receives until the end. What breaks off stays for the next attempt; what is more than was announced goes.
async fn fill<S: Service>(
    hall: &Hall<S>,
    parts: &mut Parts,
    turn: &mut Turn<Slot>,
    mut file: Incoming,
) -> Result<Incoming, Fault> {
    loop {
        match parts.next(hall, Some(&mut *turn)).await? {
            None => return Ok(file),
            Some(Part::Head(_)) => return Err(invalid("a parcel has one head")),
            Some(Part::Chunk(Chunk { data })) => {
                file = file.written_with(data).await.map_err(|(fault, path)| {
                    if fault.kind == FaultKind::Invalid {
                        remove(&path);
                    }
                    fault
                })?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_slot_one_partial_file_stays_and_others_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let slot = |site: &str, experiment, number, part| -> Slot {
            let site = site.parse().unwrap();
            (site, experiment, ParcelKind::Message, number, part)
        };
        let own = slot("a", 1, 2, 0);
        let path = partial(dir.path(), &own, &[7; 32]);
        let old = partial(dir.path(), &own, &[8; 32]);
        // A site whose name looks like a slot of another.
        let others = [
            partial(dir.path(), &slot("a-1-message-2-0", 5, 1, 0), &[8; 32]),
            partial(dir.path(), &slot("a", 1, 2, 1), &[8; 32]),
            dir.path().join("incoming-a-1-message-2-0-kept.part"),
        ];
        for path in [&path, &old].into_iter().chain(&others) {
            std::fs::write(path, b"x").unwrap();
        }
        remove_others(dir.path(), &own, &path);
        assert!(path.exists() && !old.exists());
        assert!(others.iter().all(|path| path.exists()));
    }
}
