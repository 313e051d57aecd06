//! Questions about the JSON Schema of a type.
//!
//! Understands the part of JSON Schema that `schemars` derives: `$ref`, `properties`, `required`,
//! `additionalProperties`, `items`, `oneOf`/`anyOf`/`allOf`, `const`, `enum`, numeric ranges and formats.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde_json::Value as Json;

use crate::node::{Node, Value};

/// The schema that documents are held against.
pub(crate) struct Shape {
    root: Json,
    /// Every dotted key that some document may have, with the tables of all kinds.
    keys: BTreeSet<String>,
}

/// A table whose other keys depend on the word under one of them.
pub(crate) struct Tag<'s> {
    /// That one: `kind`.
    pub(crate) key: &'s str,
    /// The words and the schema that belongs to each.
    pub(crate) kinds: Vec<(&'s str, &'s Json)>,
}

/// What a table may hold.
#[derive(Default)]
pub(crate) struct Fields<'s> {
    pub(crate) known: BTreeMap<&'s str, &'s Json>,
    pub(crate) required: BTreeSet<&'s str>,
    /// The schema of keys that are not known by name; without one, there are none.
    pub(crate) others: Option<&'s Json>,
}

/// Which kinds of a tagged table to look at.
#[derive(Clone, Copy)]
pub(crate) enum Kinds<'w> {
    All,
    Only(Option<&'w str>),
}

impl Shape {
    /// The shape of `T`.
    pub(crate) fn of<T: JsonSchema>() -> Self {
        let mut shape = Self {
            root: schemars::schema_for!(T).to_value(),
            keys: BTreeSet::new(),
        };
        let mut keys = BTreeSet::new();
        shape.collect_keys(&shape.root, "", 0, &mut keys);
        shape.keys = keys;
        shape
    }

    /// Lets a key of the top table be left out.
    pub(crate) fn make_optional(&mut self, key: &str) {
        if let Some(required) = self.root.get_mut("required").and_then(Json::as_array_mut) {
            required.retain(|name| name.as_str() != Some(key));
        }
    }

    pub(crate) fn root(&self) -> &Json {
        &self.root
    }

    pub(crate) fn into_json(self) -> Json {
        self.root
    }

    /// Every dotted key that some document may have.
    pub(crate) fn keys(&self) -> &BTreeSet<String> {
        &self.keys
    }

    /// Follows `$ref`. Keywords beside a `$ref` are only descriptions and defaults in what `schemars` derives.
    pub(crate) fn resolve<'s>(&'s self, mut schema: &'s Json) -> &'s Json {
        // A chain of references is never long; the bound only keeps a circular one from hanging.
        for _ in 0..16 {
            let target = schema
                .get("$ref")
                .and_then(Json::as_str)
                .and_then(|reference| reference.strip_prefix('#'))
                .and_then(|pointer| self.root.pointer(pointer));
            match target {
                Some(target) => schema = target,
                None => break,
            }
        }
        schema
    }

    /// The branches of `oneOf` or `anyOf`, without the one for null.
    pub(crate) fn branches<'s>(&'s self, schema: &'s Json) -> Vec<&'s Json> {
        ["oneOf", "anyOf"]
            .iter()
            .filter_map(|keyword| schema.get(keyword)?.as_array())
            .flatten()
            .map(|branch| self.resolve(branch))
            .filter(|branch| branch.get("type").and_then(Json::as_str) != Some("null"))
            .collect()
    }

    /// The key whose word tells the branches of `schema` apart, if they are told apart so.
    pub(crate) fn tag<'s>(&'s self, schema: &'s Json) -> Option<Tag<'s>> {
        let branches = self.branches(schema);
        let word = |branch: &'s Json, key: &str| {
            branch
                .get("properties")?
                .get(key)?
                .get("const")
                .and_then(Json::as_str)
        };
        let properties = branches.first()?.get("properties")?.as_object()?;
        let key = properties
            .keys()
            .find(|key| branches.iter().all(|branch| word(branch, key).is_some()))?;
        let kinds = branches
            .iter()
            .filter_map(|branch| Some((word(branch, key)?, *branch)))
            .collect();
        Some(Tag { key, kinds })
    }

    /// What a table of `schema` may hold when it is of the given kind.
    pub(crate) fn fields<'s>(&'s self, schema: &'s Json, kinds: Kinds<'_>) -> Fields<'s> {
        let mut fields = Fields::default();
        self.collect_fields(schema, kinds, &mut fields);
        fields
    }

    fn collect_fields<'s>(&'s self, schema: &'s Json, kinds: Kinds<'_>, fields: &mut Fields<'s>) {
        let schema = self.resolve(schema);
        if let Some(properties) = schema.get("properties").and_then(Json::as_object) {
            for (key, schema) in properties {
                fields.known.insert(key, schema);
            }
        }
        if let Some(required) = schema.get("required").and_then(Json::as_array) {
            fields
                .required
                .extend(required.iter().filter_map(Json::as_str));
        }
        if let Some(others) = schema.get("additionalProperties") {
            fields.others = Some(others).filter(|others| !others.is_boolean());
        }
        for part in schema
            .get("allOf")
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
        {
            self.collect_fields(part, kinds, fields);
        }
        let Some(tag) = self.tag(schema) else { return };
        for (kind, branch) in tag.kinds {
            let wanted = match kinds {
                Kinds::All => true,
                Kinds::Only(word) => word == Some(kind),
            };
            if wanted {
                self.collect_fields(branch, kinds, fields);
            }
        }
    }

    /// All dotted keys below `schema`.
    fn collect_keys(&self, schema: &Json, path: &str, depth: u32, keys: &mut BTreeSet<String>) {
        if depth > 6 {
            return;
        }
        let schema = self.resolve(schema);
        for (key, schema) in self.fields(schema, Kinds::All).known {
            let path = join(path, key);
            self.collect_keys(schema, &path, depth + 1, keys);
            keys.insert(path);
        }
        if self.tag(schema).is_none() {
            for branch in self.branches(schema) {
                self.collect_keys(branch, path, depth + 1, keys);
            }
        }
    }

    /// Whether a value of this JSON type may stand here. What has no type takes any.
    pub(crate) fn accepts_type(&self, node: &Node, schema: &Json) -> bool {
        let types = types(schema);
        types.is_empty()
            || types.iter().any(|name| match &node.value {
                Value::Null => *name == "null",
                Value::Bool(_) => *name == "boolean",
                Value::Integer(_) => matches!(*name, "integer" | "number"),
                Value::Float(_) => *name == "number",
                Value::String(_) => *name == "string",
                Value::Datetime(_) => false,
                Value::Array(_) => *name == "array",
                Value::Table(_) => *name == "object",
            })
    }

    /// Whether leaving the value out is allowed here.
    pub(crate) fn allows_null(&self, schema: &Json) -> bool {
        types(schema).contains(&"null")
            || ["oneOf", "anyOf"]
                .iter()
                .filter_map(|keyword| schema.get(keyword)?.as_array())
                .flatten()
                .any(|branch| types(self.resolve(branch)).contains(&"null"))
    }

    /// What `schema` wants, in words.
    pub(crate) fn describe(&self, schema: &Json) -> String {
        let schema = self.resolve(schema);
        if let Some(words) = words(schema) {
            return one_of(&words);
        }
        if let Some(tag) = self.tag(schema) {
            return format!("a table with '{}'", tag.key);
        }
        let branches = self.branches(schema);
        if !branches.is_empty() {
            let all: Option<Vec<_>> = branches.iter().map(|branch| words(branch)).collect();
            return match all {
                Some(lists) => one_of(&lists.concat()),
                None => {
                    let each: BTreeSet<String> = branches
                        .iter()
                        .map(|branch| self.describe(branch))
                        .collect();
                    Vec::from_iter(each).join(" or ")
                }
            };
        }
        let each: Vec<String> = types(schema)
            .into_iter()
            .filter(|name| *name != "null")
            .map(|name| describe_type(name, schema))
            .collect();
        match each.is_empty() {
            true => "a value".into(),
            false => each.join(" or "),
        }
    }
}

/// `path.key`, with the key quoted where TOML would need it.
pub(crate) fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    let key = if bare {
        key.to_owned()
    } else {
        format!("{key:?}")
    };
    match path {
        "" => key,
        _ => format!("{path}.{key}"),
    }
}

/// The words that alone may stand here; `None` where anything else than a word may.
pub(crate) fn words(schema: &Json) -> Option<Vec<&str>> {
    if let Some(word) = schema.get("const") {
        return Some(vec![word.as_str()?]);
    }
    schema
        .get("enum")?
        .as_array()?
        .iter()
        .filter(|word| !word.is_null())
        .map(Json::as_str)
        .collect()
}

/// `one of 'a', 'b'`, or the single word.
fn one_of(words: &[&str]) -> String {
    match words {
        [word] => format!("'{word}'"),
        _ => format!("one of {}", quote(words.iter().copied())),
    }
}

/// `'a', 'b', 'c'`
pub(crate) fn quote<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    let quoted: Vec<String> = words.into_iter().map(|word| format!("'{word}'")).collect();
    quoted.join(", ")
}

fn types(schema: &Json) -> Vec<&str> {
    match schema.get("type") {
        Some(Json::String(name)) => vec![name],
        Some(Json::Array(names)) => names.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    }
}

fn describe_type(name: &str, schema: &Json) -> String {
    match name {
        "integer" => match integer_range(schema) {
            (Some(least), Some(most)) => format!("a whole number from {least} to {most}"),
            (Some(least), None) => format!("a whole number of at least {least}"),
            _ => "a whole number".into(),
        },
        "number" => "a number".into(),
        "boolean" => "true or false".into(),
        "string" if is_character(schema) => "a single character".into(),
        "string" => "a string".into(),
        "array" => "a list".into(),
        "object" => "a table".into(),
        other => other.into(),
    }
}

fn is_character(schema: &Json) -> bool {
    schema.get("maxLength").and_then(Json::as_u64) == Some(1)
}

/// Whether an integer is within what the schema, or its Rust type, allows, and a character is one. Ranges of real
/// numbers are checked with their meaning, after reading.
pub(crate) fn in_range(node: &Node, schema: &Json) -> bool {
    if let (Some(text), true) = (node.as_str(), is_character(schema)) {
        return text.chars().count() == 1;
    }
    let (Value::Integer(value), true) = (&node.value, types(schema).contains(&"integer")) else {
        return true;
    };
    let (least, most) = integer_range(schema);
    least.is_none_or(|least| *value >= least) && most.is_none_or(|most| *value <= most)
}

fn integer_range(schema: &Json) -> (Option<i64>, Option<i64>) {
    let bound = |keyword| {
        let value: &Json = schema.get(keyword)?;
        // Bounds are small whole numbers, but may be written as 0.0.
        value.as_i64().or_else(|| value.as_f64().map(|v| v as i64))
    };
    let (least, most) = match schema.get("format").and_then(Json::as_str) {
        Some("uint8") => (Some(0), Some(i64::from(u8::MAX))),
        Some("uint16") => (Some(0), Some(i64::from(u16::MAX))),
        Some("uint32") => (Some(0), Some(i64::from(u32::MAX))),
        Some("uint64" | "uint") => (Some(0), None),
        Some("int8") => (Some(i64::from(i8::MIN)), Some(i64::from(i8::MAX))),
        Some("int16") => (Some(i64::from(i16::MIN)), Some(i64::from(i16::MAX))),
        Some("int32") => (Some(i64::from(i32::MIN)), Some(i64::from(i32::MAX))),
        _ => (None, None),
    };
    (
        bound("minimum").max(least),
        bound("maximum").or(most).into_iter().chain(most).min(),
    )
}
