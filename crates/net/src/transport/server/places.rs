//! So many at once, and of them so many of one caller.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::pki::Identity;
use crate::transport::{Fault, FaultKind};

/// Places for transfers, each of which needs memory and time.
#[derive(Debug)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    each: usize,
    taken: Mutex<BTreeMap<Identity, usize>>,
}

impl Places {
    pub(super) fn new(all: usize, each: usize) -> Arc<Self> {
        Arc::new(Self {
            all: Arc::new(Semaphore::new(all)),
            each,
            taken: Mutex::default(),
        })
    }

    /// A place for somebody, at most after a while.
    pub(super) async fn take(
        self: &Arc<Self>,
        who: &Identity,
        wait: Duration,
    ) -> Result<Taken, Fault> {
        {
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            let count = taken.entry(who.clone()).or_default();
            if *count >= self.each {
                let message =
                    format!("you have {count} transfers under way, and may not have more");
                return Err(Fault::new(FaultKind::TooMuch, message));
            }
            *count += 1;
        }
        // From here on, dropping it gives the place back.
        let mut place = Taken {
            places: Arc::clone(self),
            who: who.clone(),
            permit: None,
        };
        let permit = tokio::time::timeout(wait, Arc::clone(&self.all).acquire_owned());
        match permit.await {
            Ok(Ok(permit)) => {
                place.permit = Some(permit);
                Ok(place)
            }
            Ok(Err(_)) | Err(_) => Err(Fault::new(
                FaultKind::Unavailable,
                "the director is busy with the transfers of others",
            )),
        }
    }
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    places: Arc<Places>,
    who: Identity,
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.permit = None;
        let mut taken = self
            .places
            .taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.who) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_takes_all_places() {
        let (a, b, c) = (
            "cloister://f/site/a",
            "cloister://f/site/b",
            "cloister://f/site/c",
        );
        let [a, b, c] = [a, b, c].map(|name| name.parse::<Identity>().unwrap());
        let places = Places::new(3, 2);
        let wait = Duration::from_millis(10);
        let first = places.take(&a, wait).await.unwrap();
        let _second = places.take(&a, wait).await.unwrap();
        let fault = places.take(&a, wait).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::TooMuch);
        let _third = places.take(&b, wait).await.unwrap();
        let fault = places.take(&c, wait).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unavailable);
        drop(first);
        let last = places.take(&c, wait).await.unwrap();
        drop(last);
        assert_eq!(places.taken.lock().unwrap().len(), 2);
    }
}
