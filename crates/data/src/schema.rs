//! What the sites of a federation must agree on before they train over tables, told without showing a value.
//!
//! Each site describes its own table as a [`Schema`]: names, types, units, how many categories there are, no value of any
//! cell. Schemas are JSON, so that sites can send them to each other; [`compare`] says in what they differ.
//!
//! ```
//! use cloister_data::{DataConfig, Schema, compare_schemas, inspect};
//!
//! let here = Schema::of("here", &inspect(&DataConfig::bundled("wdbc"))?);
//! let there = Schema::of("there", &inspect(&DataConfig::bundled("heart-disease"))?);
//! assert!(compare_schemas(&[here.clone(), here.clone()]).is_empty());
//! let differ = compare_schemas(&[here, there]);
//! assert!(differ.to_string().contains("'chol' is at there only"), "{differ}");
//! # Ok::<(), cloister_data::DataError>(())
//! ```

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::inspect::{ColumnKind, ColumnRole, ColumnSummary, Holds, Inspection};
use crate::sketch::hash_bytes;

/// Version of the form of a schema.
const VERSION: u32 = 1;

/// A site's table, described without its values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    /// Version of this form: 1.
    pub version: u32,
    /// Name of the site.
    pub site: String,
    /// Number of classes.
    pub classes: usize,
    /// The columns in order.
    pub columns: Vec<SchemaColumn>,
    /// A hash of all but the site's name and the numbers of categories: equal schemas have equal ones. It is no proof
    /// against somebody who wants two to be equal.
    pub digest: String,
}

/// One column of a [`Schema`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemaColumn {
    /// Its name, without the unit; `column N` where there is no header.
    pub name: String,
    /// What it is used for.
    pub role: ColumnRole,
    /// What it is read as.
    pub kind: ColumnKind,
    /// What it seems to hold.
    pub holds: Holds,
    /// The unit that the header gives in brackets behind the name, as in `weight [kg]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The format of times, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Number of categories, of codes; it may be an estimate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub categories: Option<usize>,
    /// Whether a cell is missing.
    pub missing: bool,
}

impl Schema {
    /// The schema of what was inspected. Images have no columns.
    pub fn of(site: impl Into<String>, inspection: &Inspection) -> Self {
        let mut schema = Self {
            version: VERSION,
            site: site.into(),
            classes: inspection.classes.len(),
            columns: inspection.columns.iter().map(SchemaColumn::of).collect(),
            digest: String::new(),
        };
        schema.digest = schema.hashed();
        schema
    }

    /// Refuses a schema of another version, or one that was changed without its digest.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check(&self) -> Result<(), String> {
        if self.version != VERSION {
            return Err(format!(
                "schema version {}; {VERSION} is known",
                self.version
            ));
        }
        match self.hashed() == self.digest {
            true => Ok(()),
            false => Err(format!(
                "the schema of '{}' does not have the digest {}",
                self.site, self.digest
            )),
        }
    }

    fn hashed(&self) -> String {
        let columns = self.columns.iter().map(|column| {
            format!(
                "{:?} {:?} {:?} {:?} {:?} {:?}",
                column.name, column.role, column.kind, column.holds, column.unit, column.time
            )
        });
        let text = format!(
            "{VERSION}\n{}\n{}",
            self.classes,
            columns.collect::<Vec<_>>().join("\n")
        );
        format!("{:016x}", hash_bytes(text.as_bytes()))
    }
}

impl SchemaColumn {
    fn of(column: &ColumnSummary) -> Self {
        let (name, unit) = match &column.name {
            Some(name) => with_unit(name),
            None => (format!("column {}", column.index), None),
        };
        Self {
            name,
            role: column.role,
            kind: column.kind,
            holds: column.holds,
            unit,
            time: match &column.times[..] {
                [] => None,
                times => Some(
                    times
                        .iter()
                        .map(|time| time.value.as_str())
                        .collect::<Vec<_>>()
                        .join(", "),
                ),
            },
            categories: column.codes,
            missing: column.missing > 0,
        }
    }
}

/// A name and the unit in brackets behind it.
fn with_unit(name: &str) -> (String, Option<String>) {
    for (open, close) in [('[', ']'), ('(', ')')] {
        if let Some((before, unit)) = name
            .strip_suffix(close)
            .and_then(|name| name.rsplit_once(open))
            && !before.trim().is_empty()
            && !unit.trim().is_empty()
        {
            return (before.trim().to_owned(), Some(unit.trim().to_owned()));
        }
    }
    (name.to_owned(), None)
}

/// One thing in which sites differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Disagreement {
    /// A column that some sites have not.
    Absent {
        /// Name of the column.
        column: String,
        /// Sites that have it.
        at: Vec<String>,
    },
    /// A column that sites read differently: as numbers or codes, as times, in its format or its role.
    Type {
        /// Name of the column.
        column: String,
        /// What it is, and at which sites.
        is: Vec<(String, Vec<String>)>,
    },
    /// A column in several units; a site that gives none has an empty one.
    Unit {
        /// Name of the column.
        column: String,
        /// The units, and at which sites.
        is: Vec<(String, Vec<String>)>,
    },
    /// A name that a site gives to several columns.
    Twice {
        /// Name of the columns.
        column: String,
        /// Sites that have it several times.
        at: Vec<String>,
    },
    /// Columns that are the same in another order than at the first site.
    Order {
        /// Sites with another order.
        at: Vec<String>,
    },
    /// Another number of classes.
    Classes {
        /// The numbers, and at which sites.
        is: Vec<(String, Vec<String>)>,
    },
}

/// In what sites differ; nothing if they agree.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Disagreements(pub Vec<Disagreement>);

impl Disagreements {
    /// Whether the sites agree.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Disagreements {
    /// One sentence a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups = |is: &[(String, Vec<String>)]| {
            let groups = is.iter().map(|(what, sites)| {
                let what = if what.is_empty() { "none" } else { what };
                format!("{what} at {}", sites.join(", "))
            });
            groups.collect::<Vec<_>>().join("; ")
        };
        for disagreement in &self.0 {
            match disagreement {
                Disagreement::Absent { column, at } => {
                    writeln!(f, "'{column}' is at {} only", at.join(", "))?
                }
                Disagreement::Type { column, is } => writeln!(f, "'{column}' is {}", groups(is))?,
                Disagreement::Unit { column, is } => {
                    writeln!(f, "'{column}' has the unit {}", groups(is))?
                }
                Disagreement::Twice { column, at } => {
                    writeln!(f, "'{column}' names several columns at {}", at.join(", "))?;
                }
                Disagreement::Order { at } => {
                    writeln!(f, "the columns are in another order at {}", at.join(", "))?
                }
                Disagreement::Classes { is } => {
                    writeln!(f, "the number of classes is {}", groups(is))?
                }
            }
        }
        Ok(())
    }
}

/// In what the schemas differ: first names, then types and units of the columns that all have, then order and classes.
///
/// Numbers with and without decimals, and 0 and 1, are one type; a column that is all missing at a site fits any.
pub fn compare(schemas: &[Schema]) -> Disagreements {
    let mut found = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    let mut known = BTreeSet::new();
    for column in schemas.iter().flat_map(|schema| &schema.columns) {
        if known.insert(column.name.as_str()) {
            names.push(&column.name);
        }
    }
    let mut shared = Vec::new();
    for name in names {
        let column = name.to_owned();
        let names_of = |schemas: &mut dyn Iterator<Item = &Schema>| -> Vec<String> {
            schemas.map(|schema| schema.site.clone()).collect()
        };
        let of_name = |schema: &Schema| {
            let columns = schema.columns.iter();
            columns.filter(|column| column.name == name).count()
        };
        let have = names_of(&mut schemas.iter().filter(|schema| of_name(schema) > 0));
        let twice = names_of(&mut schemas.iter().filter(|schema| of_name(schema) > 1));
        if !twice.is_empty() {
            found.push(Disagreement::Twice { column, at: twice });
        } else if have.len() < schemas.len() {
            found.push(Disagreement::Absent { column, at: have });
        } else {
            shared.push(name);
        }
    }
    for name in &shared {
        let column = (*name).to_owned();
        let is = grouped(schemas, |schema| type_of(find(schema, name)?));
        if is.len() > 1 {
            found.push(Disagreement::Type {
                column: column.clone(),
                is,
            });
        }
        let is = grouped(schemas, |schema| {
            Some(find(schema, name)?.unit.clone().unwrap_or_default())
        });
        if is.len() > 1 {
            found.push(Disagreement::Unit { column, is });
        }
    }
    let order = |schema: &Schema| -> Vec<String> {
        let columns = schema.columns.iter().map(|column| column.name.clone());
        columns
            .filter(|name| shared.contains(&name.as_str()))
            .collect()
    };
    if let Some((first, others)) = schemas.split_first() {
        let wanted = order(first);
        let others = others.iter().filter(|schema| order(schema) != wanted);
        let at: Vec<String> = others.map(|schema| schema.site.clone()).collect();
        if !at.is_empty() {
            found.push(Disagreement::Order { at });
        }
    }
    let is = grouped(schemas, |schema| Some(schema.classes.to_string()));
    if is.len() > 1 {
        found.push(Disagreement::Classes { is });
    }
    Disagreements(found)
}

fn find<'a>(schema: &'a Schema, name: &str) -> Option<&'a SchemaColumn> {
    schema.columns.iter().find(|column| column.name == name)
}

/// The sites by what `of` says of them, in their order.
fn grouped(
    schemas: &[Schema],
    of: impl Fn(&Schema) -> Option<String>,
) -> Vec<(String, Vec<String>)> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for schema in schemas {
        let Some(what) = of(schema) else { continue };
        match groups.iter_mut().find(|(known, _)| *known == what) {
            Some((_, sites)) => sites.push(schema.site.clone()),
            None => groups.push((what, vec![schema.site.clone()])),
        }
    }
    groups
}

/// What sites must agree on of a column's type; none if it has no value to tell it by.
fn type_of(column: &SchemaColumn) -> Option<String> {
    let role = match column.role {
        ColumnRole::Feature => "",
        ColumnRole::Label => " (the label)",
        ColumnRole::Site => " (the owner)",
        ColumnRole::Dropped => " (left out)",
    };
    let is = match (column.kind, column.holds, &column.time) {
        (_, Holds::Empty, _) => return None,
        (_, Holds::Time, Some(format)) => format!("times {format}"),
        (ColumnKind::Number, ..) => "numbers".to_owned(),
        (ColumnKind::Codes, Holds::Text, _) => "texts".to_owned(),
        (ColumnKind::Codes, ..) => "codes".to_owned(),
    };
    Some(format!("{is}{role}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, kind: ColumnKind, holds: Holds) -> SchemaColumn {
        let (name, unit) = with_unit(name);
        SchemaColumn {
            name,
            role: ColumnRole::Feature,
            kind,
            holds,
            unit,
            time: None,
            categories: None,
            missing: false,
        }
    }

    fn schema(site: &str, columns: Vec<SchemaColumn>) -> Schema {
        let mut schema = Schema {
            version: VERSION,
            site: site.into(),
            classes: 2,
            columns,
            digest: String::new(),
        };
        schema.digest = schema.hashed();
        schema
    }

    #[test]
    fn differences_are_told_and_agreement_is_silence() {
        use ColumnKind::{Codes, Number};
        let a = schema(
            "a",
            vec![
                column("age", Number, Holds::WholeNumber),
                column("weight [kg]", Number, Holds::Number),
                column("sex", Codes, Holds::Category),
                column("x", Number, Holds::Number),
            ],
        );
        let mut b = schema(
            "b",
            vec![
                column("age", Number, Holds::Number),
                column("sex", Number, Holds::Boolean),
                column("weight (lb)", Number, Holds::Number),
                column("y", Number, Holds::Number),
                column("y", Number, Holds::Number),
            ],
        );
        b.classes = 3;
        let said = compare(&[a.clone(), b]).to_string();
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(
            lines,
            [
                "'x' is at a only",
                "'y' names several columns at b",
                "'weight' has the unit kg at a; lb at b",
                "'sex' is codes at a; numbers at b",
                "the columns are in another order at b",
                "the number of classes is 2 at a; 3 at b",
            ]
        );
        let mut c = a.clone();
        c.site = "c".into();
        c.columns[2].holds = Holds::Empty;
        c.columns[2].kind = Number;
        assert!(compare(&[a.clone(), c.clone(), a]).is_empty());
        assert!(compare(&[c]).is_empty() && compare(&[]).is_empty());
    }

    #[test]
    fn a_schema_survives_json_and_changes_are_seen() {
        let one = schema("a", vec![column("age", ColumnKind::Number, Holds::Number)]);
        let text = serde_json::to_string(&one).unwrap();
        let mut again: Schema = serde_json::from_str(&text).unwrap();
        assert_eq!(again, one);
        assert_eq!(again.check(), Ok(()));
        again.columns[0].kind = ColumnKind::Codes;
        assert!(
            again
                .check()
                .unwrap_err()
                .contains("does not have the digest")
        );
        again.version = 2;
        assert_eq!(again.check().unwrap_err(), "schema version 2; 1 is known");
    }
}
