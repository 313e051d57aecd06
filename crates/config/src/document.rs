//! A config as written: its text, its tree, and what `--set` changed.

use std::path::{Path, PathBuf};

use crate::error::{ConfigError, Fault, Location, Problem, Problems};
use crate::node::{Entry, Node, Origin, Rank, Text, Value};
use crate::read_toml::{self, SyntaxFault};
use crate::walk::Finding;
use crate::{read_json, shape};

/// What stands at the start of a path for the folder of data sets.
const DATA_ROOT: [&str; 2] = ["${CLOISTER_DATA}", "$CLOISTER_DATA"];

#[derive(Clone, Debug)]
pub(crate) struct Document {
    path: PathBuf,
    text: String,
    arguments: Vec<String>,
    pub(crate) root: Node,
}

impl Document {
    /// Reads `text` as JSON if `path` ends in `.json`, else as TOML, and puts the `--set` arguments over it.
    pub(crate) fn parse(
        text: String,
        path: &Path,
        overrides: &[String],
    ) -> Result<Self, ConfigError> {
        let is_json = path
            .extension()
            .is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
        let parsed = match is_json {
            true => read_json::document(&text),
            false => read_toml::document(&text),
        };
        let root = match parsed {
            Ok(root) => root,
            Err(SyntaxFault { offset, reason }) => {
                return Err(ConfigError::Syntax {
                    location: file_location(path, &text, offset),
                    reason,
                });
            }
        };
        let mut document = Self {
            path: path.to_owned(),
            text,
            arguments: overrides.to_vec(),
            root,
        };
        document.drop_schema_link();
        for (index, argument) in overrides.iter().enumerate() {
            document.apply(index, argument)?;
        }
        document.spread_sweep()?;
        Ok(document)
    }

    /// Where `origin` is, for people.
    pub(crate) fn location(&self, origin: Origin) -> Location {
        match origin.text {
            Text::File(offset) => file_location(&self.path, &self.text, offset),
            Text::Set(index) => {
                Location::Argument(self.arguments.get(index).cloned().unwrap_or_default())
            }
        }
    }

    /// An [`ConfigError::Invalid`] of the findings, in the order of the text, each once.
    pub(crate) fn invalid(&self, findings: Vec<Finding>) -> ConfigError {
        let mut findings = findings;
        findings.sort_by_key(|finding| finding.origin.text);
        let mut problems: Vec<Problem> = Vec::new();
        for finding in findings {
            let problem = Problem {
                location: self.location(finding.origin),
                key: finding.key,
                fault: finding.fault,
                hint: finding.hint,
            };
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        ConfigError::Invalid(Problems(problems))
    }

    /// Editors let a JSON file name its own schema; that is for them only.
    fn drop_schema_link(&mut self) {
        if let Value::Table(entries) = &mut self.root.value {
            entries.retain(|entry| entry.key != "$schema");
        }
    }

    /// Puts one `--set key=value` over the file.
    fn apply(&mut self, index: usize, argument: &str) -> Result<(), ConfigError> {
        let fault = |reason: String| ConfigError::Override {
            argument: argument.to_owned(),
            reason,
        };
        let (key, text) = split_argument(argument)
            .ok_or_else(|| fault("expected key=value, as in train.learning_rate=0.1".into()))?;
        let path = read_toml::dotted_key(key)
            .map_err(|_| fault(format!("'{key}' is not a dotted key")))?;
        let origin = Origin {
            text: Text::Set(index),
            rank: Rank::Set,
        };
        let mut node = match read_toml::value(text) {
            Ok(node) => node,
            Err(error) if text.starts_with(['[', '{', '"', '\'']) => {
                return Err(fault(error.reason));
            }
            // A bare word needs no quotes on a command line.
            Err(_) => Node {
                origin,
                value: Value::String(text.to_owned()),
            },
        };
        node.assign(origin);
        self.root.set(&path, origin, node).map_err(|depth| {
            let parent = path[..depth].join(".");
            fault(format!("'{parent}' is not a table"))
        })
    }

    /// Makes the keys of `[sweep]` single dotted ones, so that `train.learning_rate = [..]` means the same with and
    /// without quotes.
    fn spread_sweep(&mut self) -> Result<(), ConfigError> {
        let Value::Table(entries) = &mut self.root.value else {
            return Ok(());
        };
        let Some(sweep) = entries.iter_mut().find(|entry| entry.key == "sweep") else {
            return Ok(());
        };
        let Value::Table(keys) = &mut sweep.node.value else {
            return Ok(());
        };
        let mut flat = Vec::new();
        spread("", std::mem::take(keys), &mut flat);
        let mut findings = Vec::new();
        for (index, entry) in flat.iter().enumerate() {
            if flat[..index].iter().any(|other| other.key == entry.key) {
                findings.push(Finding {
                    origin: entry.origin,
                    key: shape::join("sweep", &entry.key),
                    fault: Fault::Repeated,
                    hint: None,
                });
            }
        }
        *keys = flat;
        match findings.is_empty() {
            true => Ok(()),
            false => Err(self.invalid(findings)),
        }
    }
}

/// Puts `data_root` in the place of a leading `${CLOISTER_DATA}` in `data.path` and `data.test_path`, also in lists.
/// Returns whether there was one.
pub(crate) fn expand_data_root(root: &mut Node, data_root: &str) -> bool {
    let mut expanded = false;
    let Value::Table(entries) = &mut root.value else {
        return false;
    };
    let data = entries.iter_mut().filter(|entry| entry.key == "data");
    for entry in data {
        let Value::Table(entries) = &mut entry.node.value else {
            continue;
        };
        for entry in entries {
            if entry.key == "path" || entry.key == "test_path" {
                expanded |= expand(&mut entry.node, data_root);
            }
        }
    }
    expanded
}

fn expand(node: &mut Node, data_root: &str) -> bool {
    match &mut node.value {
        Value::Array(items) => items
            .iter_mut()
            .fold(false, |any, item| expand(item, data_root) | any),
        Value::String(path) => {
            let rest = DATA_ROOT.iter().find_map(|name| path.strip_prefix(name));
            match rest {
                Some(rest) if rest.is_empty() || rest.starts_with(['/', '\\']) => {
                    *path = format!("{data_root}{rest}");
                    true
                }
                _ => false,
            }
        }
        _ => false,
    }
}

/// Splits at the first `=` that is not inside quotes.
fn split_argument(argument: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    for (at, c) in argument.char_indices() {
        match (quote, c) {
            (None, '=') => return Some((argument[..at].trim(), argument[at + 1..].trim())),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            _ => {}
        }
    }
    None
}

fn spread(path: &str, entries: Vec<Entry>, flat: &mut Vec<Entry>) {
    for mut entry in entries {
        let key = match path {
            "" => entry.key,
            _ => format!("{path}.{}", entry.key),
        };
        match entry.node.value {
            Value::Table(entries) if !entries.is_empty() => spread(&key, entries, flat),
            value => {
                entry.key = match key.as_str() {
                    "seeds" => "seed".into(),
                    _ => key,
                };
                entry.node.value = value;
                flat.push(Entry {
                    key: entry.key,
                    origin: entry.origin,
                    node: entry.node,
                });
            }
        }
    }
}

fn file_location(path: &Path, text: &str, offset: usize) -> Location {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Location::File {
        path: path.to_owned(),
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}
