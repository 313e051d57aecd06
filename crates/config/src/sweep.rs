//! `[sweep]`: one experiment over a grid of settings.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::experiment::Experiment;

/// `[sweep]`: lists of values for dotted keys. Every combination is a run; the last key varies fastest.
///
/// ```toml
/// [sweep]
/// "train.learning_rate" = [0.01, 0.1]
/// "model.kind" = ["logistic", "mlp"]
/// seeds = [1, 2, 3]                     # the same as "seed"
/// ```
///
/// Where a cell changes the `kind` of a table, keys of that table that the new kind does not have are left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sweep {
    /// The keys and their values, in the order of the file.
    pub settings: Vec<(String, Vec<toml::Value>)>,
}

/// One point of the grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// What this cell sets: dotted key and value, in the order of the file. Empty if there is no sweep.
    pub settings: Vec<(String, toml::Value)>,
    /// The experiment of the cell, without a sweep.
    pub experiment: Experiment,
}

impl Sweep {
    /// Cells of the grid.
    pub fn len(&self) -> usize {
        self.settings
            .iter()
            .fold(1, |cells, (_, values)| cells.saturating_mul(values.len()))
    }

    /// Whether the grid has no cell, because some key has no value. A loaded sweep is never empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Serialize for Sweep {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.settings.len()))?;
        for (key, values) in &self.settings {
            map.serialize_entry(key, values)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Sweep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Settings;
        impl<'de> Visitor<'de> for Settings {
            type Value = Sweep;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of lists")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Sweep, A::Error> {
                let mut settings = Vec::new();
                while let Some(setting) = map.next_entry()? {
                    settings.push(setting);
                }
                Ok(Sweep { settings })
            }
        }
        deserializer.deserialize_map(Settings)
    }
}

impl JsonSchema for Sweep {
    fn schema_name() -> Cow<'static, str> {
        "Sweep".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": { "type": "array", "minItems": 1 },
        })
    }
}
