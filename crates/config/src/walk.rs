//! Checks a document against a [`Shape`], before it is deserialised.
//!
//! Serde stops at the first fault and, inside tables with a `kind`, no longer knows where it is. This walk finds every
//! unknown key, unknown word, wrong type and missing key, with its place in the text and the nearest thing known.

use serde_json::Value as Json;

use crate::error::Fault;
use crate::hint::nearest;
use crate::node::{Node, Origin, Value};
use crate::shape::{Fields, Kinds, Shape, Tag, in_range, join, quote, words};

/// A problem that does not yet know its line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Finding {
    pub(crate) origin: Origin,
    pub(crate) key: String,
    pub(crate) fault: Fault,
    pub(crate) hint: Option<String>,
}

/// All that is wrong with `node`. Keys that a stronger voice has made moot are taken out of it: after
/// `--set model.kind=lenet5`, the file's `model.hidden` is gone without a complaint.
pub(crate) fn check(shape: &Shape, node: &mut Node) -> Vec<Finding> {
    let mut walk = Walk {
        shape,
        findings: Vec::new(),
    };
    walk.value(node, shape.root(), "", node.origin);
    walk.findings
}

struct Walk<'s> {
    shape: &'s Shape,
    findings: Vec<Finding>,
}

impl Walk<'_> {
    fn wrong_type(&mut self, node: &Node, key: &str, expected: String) {
        self.findings.push(Finding {
            origin: node.origin,
            key: key.to_owned(),
            fault: Fault::WrongType {
                expected,
                found: node.to_string(),
            },
            hint: None,
        });
    }

    fn unknown_word(&mut self, origin: Origin, key: &str, found: &str, known: &[&str]) {
        if known.contains(&found) {
            return;
        }
        self.findings.push(Finding {
            origin,
            key: key.to_owned(),
            fault: Fault::UnknownValue {
                found: format!("'{found}'"),
                known: quote(known.iter().copied()),
            },
            hint: nearest(found, known.iter().copied())
                .map(|word| format!("did you mean '{word}'?")),
        });
    }

    fn value(&mut self, node: &mut Node, schema: &Json, path: &str, key_origin: Origin) {
        let shape = self.shape;
        let schema = shape.resolve(schema);
        if schema.is_boolean() || (matches!(node.value, Value::Null) && shape.allows_null(schema)) {
            return;
        }
        if shape.tag(schema).is_none() && !shape.branches(schema).is_empty() {
            return self.alternatives(node, schema, path, key_origin);
        }
        let is_table = matches!(node.value, Value::Table(_));
        let fits = match shape.tag(schema) {
            Some(_) => is_table,
            None => shape.accepts_type(node, schema) && in_range(node, schema),
        };
        if !fits {
            self.wrong_type(node, path, shape.describe(schema));
        } else if is_table {
            self.table(node, schema, path, key_origin);
        } else if let (Value::Array(items), Some(schema)) = (&mut node.value, schema.get("items")) {
            for (index, item) in items.iter_mut().enumerate() {
                let origin = item.origin;
                self.value(item, schema, &format!("{path}[{index}]"), origin);
            }
        } else if let (Some(word), Some(known)) = (node.as_str(), words(schema)) {
            self.unknown_word(node.origin, path, word, &known);
        }
    }

    /// A value that may be one thing or another, without a `kind` that says which.
    fn alternatives(&mut self, node: &mut Node, schema: &Json, path: &str, key_origin: Origin) {
        let shape = self.shape;
        let fitting: Vec<&Json> = shape
            .branches(schema)
            .into_iter()
            .filter(|branch| shape.accepts_type(node, branch))
            .collect();
        if let Some(word) = node.as_str() {
            let lists: Option<Vec<Vec<&str>>> =
                fitting.iter().map(|branch| words(branch)).collect();
            if let Some(known) = lists
                .map(|lists| lists.concat())
                .filter(|all| !all.is_empty())
            {
                return self.unknown_word(node.origin, path, word, &known);
            }
        }
        let mut best: Option<(Vec<Finding>, Node)> = None;
        for branch in fitting {
            let mut tried = node.clone();
            let mut walk = Walk {
                shape,
                findings: Vec::new(),
            };
            walk.value(&mut tried, branch, path, key_origin);
            let found = walk.findings;
            if best
                .as_ref()
                .is_none_or(|(least, _)| found.len() < least.len())
            {
                best = Some((found, tried));
            }
        }
        match best {
            // Not the value inside but the value itself is wrong: then all that is allowed here is of interest.
            Some((found, _)) if found.iter().any(|finding| finding.key == path) => {
                self.wrong_type(node, path, shape.describe(schema));
            }
            Some((found, tried)) => {
                *node = tried;
                self.findings.extend(found);
            }
            None => self.wrong_type(node, path, shape.describe(schema)),
        }
    }

    fn table(&mut self, node: &mut Node, schema: &Json, path: &str, key_origin: Origin) {
        let shape = self.shape;
        let tag = shape.tag(schema);
        let kind = match &tag {
            Some(tag) => match self.kind(node, tag, path, key_origin) {
                Some(kind) => Some(kind),
                None => return,
            },
            None => None,
        };
        let word = kind.as_ref().map(|(word, _)| word.as_str());
        let fields = shape.fields(schema, Kinds::Only(word));
        let Value::Table(entries) = &mut node.value else {
            return;
        };
        if let Some((_, origin)) = &kind {
            entries.retain(|entry| {
                entry.origin.rank >= origin.rank || fields.known.contains_key(entry.key.as_str())
            });
        }
        for entry in entries.iter_mut() {
            let path = join(path, &entry.key);
            let schema = fields.known.get(entry.key.as_str()).copied();
            match schema.or(fields.others) {
                Some(schema) => self.value(&mut entry.node, schema, &path, entry.origin),
                None => self.findings.push(Finding {
                    origin: entry.origin,
                    fault: Fault::UnknownKey,
                    hint: self.key_hint(&entry.key, &path, &fields, tag.as_ref()),
                    key: path,
                }),
            }
        }
        for required in &fields.required {
            if !entries.iter().any(|entry| entry.key == *required) {
                let expected = fields.known.get(required);
                self.findings.push(Finding {
                    origin: key_origin,
                    key: join(path, required),
                    fault: Fault::Missing {
                        expected: expected
                            .map_or("a value".into(), |schema| shape.describe(schema)),
                    },
                    hint: None,
                });
            }
        }
    }

    /// The word that says which kind of table this is, and where it comes from; without a known one, a finding.
    fn kind(
        &mut self,
        node: &Node,
        tag: &Tag<'_>,
        path: &str,
        key_origin: Origin,
    ) -> Option<(String, Origin)> {
        let known: Vec<&str> = tag.kinds.iter().map(|(word, _)| *word).collect();
        let key = join(path, tag.key);
        let expected = format!("one of {}", quote(known.iter().copied()));
        let Some(entry) = node.entry(tag.key) else {
            self.findings.push(Finding {
                origin: key_origin,
                key,
                fault: Fault::Missing { expected },
                hint: None,
            });
            return None;
        };
        match entry.node.as_str() {
            Some(word) if known.contains(&word) => Some((word.to_owned(), entry.node.origin)),
            Some(word) => {
                self.unknown_word(entry.node.origin, &key, word, &known);
                None
            }
            None => {
                self.wrong_type(&entry.node, &key, expected);
                None
            }
        }
    }

    /// What an unknown key was probably meant to be: a key of another kind of this table, a key of this table, the same
    /// key of another table, and else the list of what is known here.
    fn key_hint(
        &self,
        key: &str,
        path: &str,
        fields: &Fields<'_>,
        tag: Option<&Tag<'_>>,
    ) -> Option<String> {
        let table = path.strip_suffix(&join("", key)).unwrap_or_default();
        if let Some(tag) = tag {
            let has_key = |schema: &Json| {
                self.shape
                    .fields(schema, Kinds::All)
                    .known
                    .contains_key(key)
            };
            let kinds = tag.kinds.iter().filter(|(_, schema)| has_key(schema));
            let kinds = quote(kinds.map(|(word, _)| *word));
            if !kinds.is_empty() {
                return Some(format!("only {} {kinds} has '{key}'", tag.key));
            }
        }
        if let Some(known) = nearest(key, fields.known.keys().copied()) {
            return Some(format!("did you mean '{}'?", join_raw(table, known)));
        }
        let leaf = |full: &str| {
            full.rsplit('.')
                .next()
                .map(str::to_owned)
                .unwrap_or_default()
        };
        let same_leaf: Vec<&str> = self
            .shape
            .keys()
            .iter()
            .map(String::as_str)
            .filter(|full| leaf(full) == key)
            .collect();
        if !same_leaf.is_empty() {
            return Some(format!(
                "did you mean {}?",
                quote(same_leaf).replace(", ", " or ")
            ));
        }
        let near = nearest(path, self.shape.keys().iter().map(String::as_str));
        near.map(|full| format!("did you mean '{full}'?"))
            .or_else(|| {
                let known = fields.known.keys().copied().collect::<Vec<_>>().join(", ");
                (!known.is_empty()).then(|| format!("known keys here: {known}"))
            })
    }
}

/// `table` already ends with its dot.
fn join_raw(table: &str, key: &str) -> String {
    format!("{table}{key}")
}
