//! What a crash leaves behind, and nobody needs.

use std::collections::BTreeSet;

use super::record::Standing;
use super::rounds::{NOISE_FILE, STATE_FILE, noise_name};
use super::{LOG, RoundEntry, STANDINGS, Store, StoreError, files};
use crate::experiment::Id;

use redb::ReadableTable;

impl Store {
    /// Removes files that were not finished, parcels that are in no log, states and noise that are not the round's.
    pub(super) fn sweep(&self) -> Result<(), StoreError> {
        for name in files::names(&self.folder)? {
            if name.starts_with(files::UNFINISHED) {
                files::remove(&self.folder.join(name))?;
            }
        }
        let standings = self.database.read(|transaction| {
            let standings = transaction.open_table(STANDINGS)?;
            let mut all = Vec::new();
            for found in standings.iter()? {
                let (id, standing) = found?;
                all.push((id.value(), self.parsed::<Standing>(standing.value())?));
            }
            Ok(all)
        })?;
        for (id, standing) in standings {
            self.sweep_folder(id, &standing)?;
            self.sweep_parcels(id)?;
        }
        Ok(())
    }

    /// Leaves of states and noise what an experiment that stands so needs.
    pub(super) fn sweep_folder(&self, id: Id, standing: &Standing) -> Result<(), StoreError> {
        let folder = self.folder(id);
        let noise = standing.open.map(noise_name);
        let state = standing.state.as_ref().map(|state| &state.name);
        for name in files::names(&folder)? {
            let path = folder.join(&name);
            if name.starts_with(NOISE_FILE) && Some(&name) != noise.as_ref() {
                files::wipe(&path)?;
            } else if name.starts_with(files::UNFINISHED) {
                // It may be of noise.
                files::wipe(&path)?;
            } else if name.starts_with(STATE_FILE) && Some(&name) != state {
                files::remove(&path)?;
            }
        }
        Ok(())
    }

    fn sweep_parcels(&self, id: Id) -> Result<(), StoreError> {
        let (folder, incoming) = (self.parcels(id), self.incoming(id));
        let logged = self.logged(id)?;
        for name in files::names(&folder)? {
            if !logged.contains(&name) {
                files::remove(&folder.join(name))?;
            }
        }
        // A parcel in the log has lost its other name, unless the crash came first.
        #[cfg(unix)]
        for name in files::names(&incoming)? {
            use std::os::unix::fs::MetadataExt;
            let path = incoming.join(name);
            if path.metadata().is_ok_and(|meta| meta.nlink() > 1) {
                files::remove(&path)?;
            }
        }
        #[cfg(not(unix))]
        let _ = incoming;
        Ok(())
    }

    /// The files of the parcels in an experiment's log.
    pub(super) fn logged(&self, id: Id) -> Result<BTreeSet<String>, StoreError> {
        self.database.read(|transaction| {
            let log = transaction.open_table(LOG)?;
            let mut names = BTreeSet::new();
            for found in log.range((id, 0)..=(id, u64::MAX))? {
                let stored = RoundEntry::decode(found?.1.value())
                    .map_err(|reason| StoreError::broken(self.database.path(), reason))?;
                names.extend(stored.entry.file());
            }
            Ok(names)
        })
    }
}
