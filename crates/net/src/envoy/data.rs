//! A site's own examples.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use cloister_data::{Dataset, TrainTest};
use cloister_protocol::{Purpose, Streams};

use super::{DataEntry, EnvoyError, data_words, partition_words};
use crate::experiment::Contract;

/// Decides which rows of a site's own data are held out for testing. It is the same for all experiments, so that none is ever
/// trained on what another was tested with.
const SEED: u64 = 1;

/// Examples in memory, and which of them are this site's to train on.
#[derive(Debug)]
pub struct Examples {
    data: TrainTest,
    rows: Vec<u32>,
}

impl Examples {
    /// Reads what `entry` names. Rows of a share are those of its client in a simulation with its seed, in the same order.
    ///
    /// # Errors
    /// [`EnvoyError::Data`].
    pub fn load(name: &str, entry: &DataEntry) -> Result<Self, EnvoyError> {
        let refused = |reason: String| EnvoyError::data(name, reason);
        let seed = entry.share.as_ref().map_or(SEED, |share| share.seed);
        let data =
            cloister_data::load(&entry.data, seed).map_err(|error| refused(data_words(error)))?;
        let Some(share) = &entry.share else {
            let rows = (0..data.train.len() as u32).collect();
            return Ok(Self { data, rows });
        };
        let mut rng = Streams::new(seed).stream(Purpose::Partition, 0, 0);
        let clients = share.clients.map(|count| count as usize);
        let partition = entry.data.partition.split(&data.train, clients, &mut rng);
        let partition = partition.map_err(|error| refused(partition_words(error)))?;
        let names: Vec<&str> = partition
            .clients
            .iter()
            .map(|one| one.name.as_str())
            .collect();
        let Some(place) = names.iter().position(|name| *name == share.client) else {
            let reason = format!(
                "share.client: there is no '{}' among {}",
                share.client,
                shortened(&names)
            );
            return Err(refused(reason));
        };
        let rows = partition.clients[place].rows.clone();
        Ok(Self { data, rows })
    }

    /// The examples that [`Self::rows`] counts in.
    pub fn train(&self) -> &Dataset {
        &self.data.train
    }

    /// The rows that this site trains on.
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// What was noticed when they were read, in words.
    pub fn notes(&self) -> &[String] {
        &self.data.notes
    }

    /// Whether they look as `contract` says.
    ///
    /// # Errors
    /// What they look like and what was asked for, in words.
    pub fn fit(&self, contract: &Contract) -> Result<(), String> {
        let shape = self.data.train.shape();
        let [channels, height, width] = contract.shape;
        if [shape.channels, shape.height, shape.width] != contract.shape {
            return Err(format!(
                "the examples of '{}' are {shape} at this site, the experiment needs {channels}x{height}x{width}",
                contract.dataset
            ));
        }
        let own = self.data.train.classes();
        match own == contract.classes {
            true => Ok(()),
            false => Err(format!(
                "the classes of '{}' are {} at this site, the experiment needs {}",
                contract.dataset,
                shortened(own),
                shortened(&contract.classes)
            )),
        }
    }
}

/// A list for people.
fn shortened<T: AsRef<str>>(list: &[T]) -> String {
    const MOST: usize = 12;
    let shown: Vec<String> = list
        .iter()
        .take(MOST)
        .map(|text| text.as_ref().chars().take(40).collect())
        .collect();
    let rest = match list.len().saturating_sub(MOST) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{rest}", shown.join(", "))
}

/// A site's data sets, of which the last one used is in memory.
#[derive(Debug)]
pub struct LocalData {
    entries: BTreeMap<String, DataEntry>,
    last: Mutex<Option<(String, Arc<Examples>)>>,
}

impl LocalData {
    /// The data sets of a config.
    pub fn new(entries: BTreeMap<String, DataEntry>) -> Self {
        Self {
            entries,
            last: Mutex::new(None),
        }
    }

    /// The names of the data sets.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The examples of a data set, `None` if the site has none of that name.
    ///
    /// # Errors
    /// [`EnvoyError::Data`].
    pub fn examples(&self, name: &str) -> Result<Option<Arc<Examples>>, EnvoyError> {
        let Some(entry) = self.entries.get(name) else {
            return Ok(None);
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, examples)) = &*last
            && known == name
        {
            return Ok(Some(Arc::clone(examples)));
        }
        // The one before must not take memory beside the new one.
        *last = None;
        let examples = Arc::new(Examples::load(name, entry)?);
        *last = Some((name.to_owned(), Arc::clone(&examples)));
        Ok(Some(examples))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envoy::Share;
    use cloister_data::{DataConfig, PartitionConfig};

    fn heart(client: &str) -> DataEntry {
        DataEntry {
            data: DataConfig {
                partition: PartitionConfig::Natural { minimum: 1 },
                ..DataConfig::bundled("heart-disease")
            },
            share: Some(Share {
                client: client.to_owned(),
                clients: None,
                seed: 1,
            }),
        }
    }

    #[test]
    fn a_share_is_a_client_of_a_simulation() {
        let examples = Examples::load("heart-disease", &heart("cleveland")).unwrap();
        let data = cloister_data::load(&DataConfig::bundled("heart-disease"), 1).unwrap();
        let sites = data.train.sites().unwrap();
        for row in examples.rows() {
            let owner = sites.of_row[*row as usize] as usize;
            assert_eq!(sites.names[owner], "cleveland");
        }
        assert!(examples.rows().len() < data.train.len());
        let error = Examples::load("heart-disease", &heart("Cleveland")).unwrap_err();
        assert!(error.to_string().contains("cleveland"), "{error}");
        let mut whole = heart("x");
        whole.share = None;
        let whole = Examples::load("heart-disease", &whole).unwrap();
        assert_eq!(whole.rows().len(), data.train.len());
    }

    #[test]
    fn a_contract_that_does_not_fit_is_told_with_both_sides() {
        let examples = Examples::load("heart-disease", &heart("cleveland")).unwrap();
        let shape = examples.train().shape();
        let mut contract = Contract {
            dataset: "heart-disease".to_owned(),
            shape: [shape.channels, shape.height, shape.width],
            classes: examples.train().classes().to_vec(),
        };
        assert_eq!(examples.fit(&contract), Ok(()));
        contract.classes.reverse();
        let reason = examples.fit(&contract).unwrap_err();
        assert!(reason.contains("needs"), "{reason}");
        contract.shape = [1, 2, 3];
        let reason = examples.fit(&contract).unwrap_err();
        assert!(reason.contains("needs 1x2x3"), "{reason}");
    }

    #[test]
    fn only_the_last_data_set_stays_in_memory() {
        let entries = [("a", "cleveland"), ("b", "long-beach")]
            .map(|(name, client)| (name.to_owned(), heart(client)));
        let local = LocalData::new(entries.into_iter().collect());
        let a = local.examples("a").unwrap().unwrap();
        assert!(Arc::ptr_eq(&a, &local.examples("a").unwrap().unwrap()));
        assert!(local.examples("none").unwrap().is_none());
        let _ = local.examples("b");
        assert!(!Arc::ptr_eq(&a, &local.examples("a").unwrap().unwrap()));
    }
}
