//! TOML text to a [`Node`] tree.

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::node::{Entry, Node, Origin, Value};

/// A complaint about the text and the byte offset at which it arises.
pub(crate) struct SyntaxFault {
    pub(crate) offset: usize,
    pub(crate) reason: String,
}

impl SyntaxFault {
    fn from_toml(error: &toml::de::Error, end: usize) -> Self {
        Self {
            offset: error.span().map_or(end, |span| span.start),
            reason: format!("not TOML: {}", error.message()),
        }
    }
}

/// The document's top table, with entries in the order of the text.
pub(crate) fn document(text: &str) -> Result<Node, SyntaxFault> {
    let table = DeTable::parse(text).map_err(|error| SyntaxFault::from_toml(&error, text.len()))?;
    Ok(Node {
        origin: Origin::file(0),
        value: entries(table.into_inner())?,
    })
}

/// One value, as it may stand right of a `=`.
pub(crate) fn value(text: &str) -> Result<Node, SyntaxFault> {
    let value = DeValue::parse(text).map_err(|error| SyntaxFault::from_toml(&error, text.len()))?;
    node(value)
}

/// A dotted key, as it may stand left of a `=`, as its parts.
pub(crate) fn dotted_key(text: &str) -> Result<Vec<String>, SyntaxFault> {
    let line = format!("{text} = 0");
    let mut node = match DeTable::parse(&line) {
        Ok(table) => entries(table.into_inner())?,
        Err(error) => return Err(SyntaxFault::from_toml(&error, text.len())),
    };
    let mut keys = Vec::new();
    while let Value::Table(mut entries) = node {
        // One line of the form `key = 0` makes tables of exactly one entry; a line break inside would make more.
        match (entries.pop(), entries.is_empty()) {
            (Some(entry), true) => {
                keys.push(entry.key);
                node = entry.node.value;
            }
            _ => {
                return Err(SyntaxFault {
                    offset: 0,
                    reason: "not a single key".into(),
                });
            }
        }
    }
    Ok(keys)
}

fn entries(table: DeTable<'_>) -> Result<Value, SyntaxFault> {
    let mut list: Vec<(Spanned<DeString<'_>>, Spanned<DeValue<'_>>)> = table.into_iter().collect();
    list.sort_by_key(|(key, _)| key.span().start);
    let mut entries = Vec::with_capacity(list.len());
    for (key, value) in list {
        entries.push(Entry {
            origin: Origin::file(key.span().start),
            key: key.into_inner().into_owned(),
            node: node(value)?,
        });
    }
    Ok(Value::Table(entries))
}

fn node(value: Spanned<DeValue<'_>>) -> Result<Node, SyntaxFault> {
    let offset = value.span().start;
    let fault = |reason: String| SyntaxFault { offset, reason };
    let value = match value.into_inner() {
        DeValue::String(text) => Value::String(text.into_owned()),
        DeValue::Boolean(value) => Value::Bool(value),
        DeValue::Datetime(value) => Value::Datetime(value),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            Value::Integer(parsed.map_err(|_| fault(beyond_64_bits(number.as_str())))?)
        }
        DeValue::Float(number) => {
            let parsed = number.as_str().parse();
            Value::Float(parsed.map_err(|_| fault(format!("{number} is not a number")))?)
        }
        DeValue::Array(items) => {
            Value::Array(items.into_iter().map(node).collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => entries(table)?,
    };
    Ok(Node {
        origin: Origin::file(offset),
        value,
    })
}

/// The reason for an integer that TOML cannot hold; also that of the JSON reader, since both make the same tree.
pub(crate) fn beyond_64_bits(digits: &str) -> String {
    format!("{digits} is beyond the range of 64-bit integers")
}
