//! What a director knows of the federation's data sets: their contract, and examples of its own to measure models with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use cloister_data::Dataset;

use super::DirectorError;
use super::config::DataEntry;
use crate::experiment::Contract;

/// Examples to measure models with.
#[derive(Debug)]
pub(crate) struct TestSet(Dataset);

impl TestSet {
    pub(crate) fn features(&self) -> &[f32] {
        self.0.features()
    }

    pub(crate) fn labels(&self) -> &[u32] {
        self.0.labels()
    }
}

/// A data set: its contract, and the director's own examples of it.
pub(crate) type Known = (Contract, Option<Arc<TestSet>>);

/// The data sets by name, each read when it is first asked for.
#[derive(Debug)]
pub(crate) struct DataSets {
    entries: BTreeMap<String, DataEntry>,
    known: Mutex<BTreeMap<String, Known>>,
}

impl DataSets {
    pub(crate) fn new(entries: BTreeMap<String, DataEntry>) -> Self {
        Self {
            entries,
            known: Mutex::default(),
        }
    }

    /// The names, for a message.
    pub(crate) fn names(&self) -> String {
        let names: Vec<&str> = self.entries.keys().map(String::as_str).collect();
        match names.is_empty() {
            true => "none".to_owned(),
            false => names.join(", "),
        }
    }

    /// A data set; `None` for a name that `director.toml` does not have.
    pub(crate) fn get(&self, name: &str) -> Result<Option<Known>, DirectorError> {
        let Some(entry) = self.entries.get(name) else {
            return Ok(None);
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(name) {
            return Ok(Some(found.clone()));
        }
        let read = read(name, entry)?;
        known.insert(name.to_owned(), read.clone());
        Ok(Some(read))
    }
}

fn read(name: &str, entry: &DataEntry) -> Result<Known, DirectorError> {
    let mut contract = Contract {
        dataset: name.to_owned(),
        shape: entry.shape.unwrap_or_default(),
        classes: entry.classes.clone().unwrap_or_default(),
    };
    let Some(config) = &entry.test else {
        return Ok((contract, None));
    };
    let test = cloister_data::load(config, entry.seed)?.test;
    let shape = [
        test.shape().channels,
        test.shape().height,
        test.shape().width,
    ];
    let classes = test.classes().to_vec();
    let differs = entry.shape.is_some_and(|told| told != shape)
        || entry.classes.as_ref().is_some_and(|told| *told != classes);
    if differs {
        return Err(DirectorError::Defect(format!(
            "data.{name}: the examples have shape {shape:?} and classes {classes:?}, director.toml says otherwise"
        )));
    }
    contract.shape = shape;
    contract.classes = classes;
    Ok((contract, Some(Arc::new(TestSet(test)))))
}
