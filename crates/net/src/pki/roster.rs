//! From certificates to the roster of secure aggregation.

use cloister_secagg::{Entry, Roster, SignatureBytes};

use super::register::{Record, Status};
use super::{Authority, PkiError, Role};

/// A roster and the authority's signature on it; [`Roster::open`] checks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRoster {
    /// Who may take part.
    pub roster: Roster,
    /// The authority's signature.
    pub signature: SignatureBytes,
}

impl Authority {
    /// The sites that may take part in secure aggregation at `now`: those with a certificate that is alive and not
    /// denied, each with the key and the end of its newest one. Names are [`Identity::roster_name`], and the server's key is the
    /// director's.
    ///
    /// # Errors
    /// [`PkiError::NoDirector`] if the director has no living certificate; books that cannot be read.
    ///
    /// [`Identity::roster_name`]: super::Identity::roster_name
    pub fn roster(&self, now: u64) -> Result<SignedRoster, PkiError> {
        let mut living: Vec<Record> = Vec::new();
        for standing in self.register.standings(now)? {
            if standing.status == Status::Valid {
                living.retain(|earlier| earlier.name != standing.record.name);
                living.push(standing.record);
            }
        }
        let director = living
            .iter()
            .find(|record| record.name.role == Role::Director)
            .ok_or_else(|| PkiError::NoDirector(self.identity(Role::Director)))?;
        let mut entries: Vec<Entry> = living
            .iter()
            .filter(|record| matches!(record.name.role, Role::Site(_)))
            .map(|record| Entry {
                client: record.name.roster_name(),
                identity: *record.key.as_bytes(),
                not_after: record.until,
            })
            .collect();
        entries.sort_unstable_by_key(|entry| entry.client);
        let roster = Roster::new(*director.key.as_bytes(), entries)?;
        let signature = roster.sign(&self.key.secagg());
        Ok(SignedRoster { roster, signature })
    }
}
