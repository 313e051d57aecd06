//! The tree of a document, TOML or JSON, in which every key and value knows where it was written.

use std::fmt;

use serde::{Serialize, Serializer};

/// What a value was said by, weakest first: a stronger voice may make keys of a weaker one moot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// The file (or a default put in its place).
    File,
    /// A `--set` argument.
    Set,
    /// A cell of `[sweep]`.
    Sweep,
}

/// Which text a key or value stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Text {
    /// The file, at this byte offset.
    File(usize),
    /// The `--set` argument of this number.
    Set(usize),
}

/// Where a key or value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) text: Text,
    pub(crate) rank: Rank,
}

impl Origin {
    pub(crate) fn file(offset: usize) -> Self {
        Self {
            text: Text::File(offset),
            rank: Rank::File,
        }
    }
}

/// A value and its origin.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) origin: Origin,
    pub(crate) value: Value,
}

/// The values of TOML and JSON together.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// JSON only: the same as leaving the key out.
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    String(String),
    /// TOML only; no key wants one.
    Datetime(toml::value::Datetime),
    Array(Vec<Node>),
    Table(Vec<Entry>),
}

/// A key of a table and what it holds.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) origin: Origin,
    pub(crate) node: Node,
}

impl Node {
    /// The entries, if this is a table.
    pub(crate) fn entries(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Table(entries) => Some(entries),
            _ => None,
        }
    }

    /// The entry under `key`, if this is a table that has it.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries()?.iter().find(|entry| entry.key == key)
    }

    /// The node under `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// The text, if this is a string.
    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Where `path` stands, or the nearest of its parents that was written.
    pub(crate) fn locate<'p>(&self, path: impl IntoIterator<Item = &'p str>) -> Origin {
        let (mut node, mut origin) = (self, self.origin);
        for key in path {
            let Some(entry) = node.entry(key) else { break };
            node = &entry.node;
            origin = entry.origin;
        }
        origin
    }

    /// Puts `node` at `path`, over what is there, making the tables on the way.
    ///
    /// # Errors
    /// The number of leading keys of `path` at which something else than a table stands.
    pub(crate) fn set(&mut self, path: &[String], origin: Origin, node: Node) -> Result<(), usize> {
        let Some((key, rest)) = path.split_first() else {
            *self = node;
            return Ok(());
        };
        let Value::Table(entries) = &mut self.value else {
            return Err(0);
        };
        let at = match entries.iter().position(|entry| &entry.key == key) {
            Some(at) => at,
            None => {
                let table = Self {
                    origin,
                    value: Value::Table(Vec::new()),
                };
                entries.push(Entry {
                    key: key.clone(),
                    origin,
                    node: table,
                });
                entries.len() - 1
            }
        };
        let entry = &mut entries[at];
        if rest.is_empty() {
            entry.origin = origin;
        }
        entry
            .node
            .set(rest, origin, node)
            .map_err(|depth| depth + 1)
    }

    /// Gives this node and all below it the origin.
    pub(crate) fn assign(&mut self, origin: Origin) {
        self.visit_origins(&mut |old| *old = origin);
    }

    /// Gives this node and all below it the rank.
    pub(crate) fn raise(&mut self, rank: Rank) {
        self.visit_origins(&mut |origin| origin.rank = rank);
    }

    fn visit_origins(&mut self, change: &mut impl FnMut(&mut Origin)) {
        change(&mut self.origin);
        match &mut self.value {
            Value::Array(items) => items.iter_mut().for_each(|item| item.visit_origins(change)),
            Value::Table(entries) => {
                for entry in entries {
                    change(&mut entry.origin);
                    entry.node.visit_origins(change);
                }
            }
            _ => {}
        }
    }

    /// The plain value, without nulls.
    pub(crate) fn to_toml(&self) -> Option<toml::Value> {
        Some(match &self.value {
            Value::Null => return None,
            Value::Bool(value) => toml::Value::Boolean(*value),
            Value::Integer(value) => toml::Value::Integer(*value),
            Value::Float(value) => toml::Value::Float(*value),
            Value::String(value) => toml::Value::String(value.clone()),
            Value::Datetime(value) => toml::Value::Datetime(*value),
            Value::Array(items) => {
                toml::Value::Array(items.iter().filter_map(Self::to_toml).collect())
            }
            Value::Table(entries) => toml::Value::Table(
                entries
                    .iter()
                    .filter_map(|entry| Some((entry.key.clone(), entry.node.to_toml()?)))
                    .collect(),
            ),
        })
    }
}

/// As plain data without nulls, tables in their order.
impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.value {
            Value::Null => serializer.serialize_none(),
            Value::Bool(value) => value.serialize(serializer),
            Value::Integer(value) => value.serialize(serializer),
            Value::Float(value) => value.serialize(serializer),
            Value::String(value) => value.serialize(serializer),
            Value::Datetime(value) => value.serialize(serializer),
            Value::Array(items) => serializer.collect_seq(items),
            Value::Table(entries) => serializer.collect_map(
                entries
                    .iter()
                    .filter(|entry| !matches!(entry.node.value, Value::Null))
                    .map(|entry| (&entry.key, &entry.node)),
            ),
        }
    }
}

/// The value as an error message names it: scalars as they are, lists and tables by their kind.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Null => f.write_str("null"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Integer(value) => write!(f, "{value}"),
            Value::Float(value) => write!(f, "{value:?}"),
            Value::String(value) if value.chars().count() > 40 => {
                let start: String = value.chars().take(40).collect();
                write!(f, "{start:?}...")
            }
            Value::String(value) => write!(f, "{value:?}"),
            Value::Datetime(value) => write!(f, "the date {value}"),
            Value::Array(_) => f.write_str("a list"),
            Value::Table(_) => f.write_str("a table"),
        }
    }
}
