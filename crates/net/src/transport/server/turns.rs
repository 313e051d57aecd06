//! One at a time, the newest first: who begins anew, after a connection that broke without a word, takes over from itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as Lock, OwnedMutexGuard, watch};

/// For each key, at most one holds the turn.
#[derive(Debug)]
pub(super) struct Turns<K: Ord + Clone>(Mutex<BTreeMap<K, Arc<Place>>>);

#[derive(Debug)]
struct Place {
    lock: Arc<Lock<()>>,
    newest: watch::Sender<u64>,
}

impl<K: Ord + Clone> Default for Turns<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord + Clone> Turns<K> {
    /// Asks the holder to stop and waits until it has; `None` if somebody newer came in the meantime.
    pub(super) async fn take(self: &Arc<Self>, key: K) -> Option<Turn<K>> {
        let mut turn = {
            let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let place = places.entry(key.clone()).or_insert_with(|| {
                Arc::new(Place {
                    lock: Arc::default(),
                    newest: watch::Sender::new(0),
                })
            });
            place.newest.send_modify(|newest| *newest += 1);
            let newest = place.newest.subscribe();
            let number = *newest.borrow();
            Turn {
                turns: Arc::clone(self),
                key,
                place: Arc::clone(place),
                number,
                newest,
                held: None,
            }
        };
        let lock = Arc::clone(&turn.place.lock);
        tokio::select! {
            held = lock.lock_owned() => turn.held = Some(held),
            () = turn.lost() => return None,
        }
        Some(turn)
    }
}

/// Held until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<K: Ord + Clone> {
    turns: Arc<Turns<K>>,
    key: K,
    place: Arc<Place>,
    number: u64,
    newest: watch::Receiver<u64>,
    held: Option<OwnedMutexGuard<()>>,
}

impl<K: Ord + Clone> Turn<K> {
    /// Comes back when somebody newer asks for the turn.
    pub(super) async fn lost(&mut self) {
        let number = self.number;
        // It cannot be closed: the place is ours too.
        let _ = self.newest.wait_for(|newest| *newest != number).await;
    }
}

impl<K: Ord + Clone> Drop for Turn<K> {
    fn drop(&mut self) {
        self.held = None;
        let mut places = self.turns.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The map's and ours: nobody waits, and nobody can begin to while the map is locked.
        if Arc::strong_count(&self.place) == 2 {
            places.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_has_the_turn_and_nothing_is_left_behind() {
        let turns: Arc<Turns<u8>> = Arc::default();
        let mut first = turns.take(1).await.unwrap();
        let other = turns.take(2).await.unwrap();
        let second = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move { turns.take(1).await }
        });
        first.lost().await;
        let third = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move { turns.take(1).await }
        });
        assert!(second.await.unwrap().is_none());
        assert!(!third.is_finished());
        drop(first);
        let third = third.await.unwrap().unwrap();
        drop((third, other));
        assert!(turns.0.lock().unwrap().is_empty());
    }
}
