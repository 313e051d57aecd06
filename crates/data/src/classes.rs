//! From the labels that a file holds to the classes of the task.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::config::{ClassRule, DataConfig};
use crate::dataset::MAX_CLASSES;
use crate::decode::number;
use crate::error::DataError;

/// One spelling for equal codes: `1.0`, `1` and `+1` are all `1`; texts stay as they are.
pub(crate) fn canonical(label: &str) -> Cow<'_, str> {
    if label.bytes().all(|byte| byte.is_ascii_digit()) && !label.starts_with('0') {
        return Cow::Borrowed(label);
    }
    match number(label) {
        // Whole numbers of this size are exact in f64 and i64.
        Some(value) if value.fract() == 0.0 && value.abs() < 1e15 => {
            Cow::Owned((value as i64).to_string())
        }
        _ => Cow::Borrowed(label),
    }
}

/// Numbers by value, before texts by their bytes.
pub(crate) fn natural_order(a: &str, b: &str) -> Ordering {
    match (number(a), number(b)) {
        (Some(x), Some(y)) => x.total_cmp(&y).then_with(|| a.cmp(b)),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// A short list for error messages.
pub(crate) fn shortened<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 12;
    let total = names.len();
    let mut text: Vec<&str> = names.take(SHOWN).collect();
    let more = format!("and {} more", total.saturating_sub(SHOWN));
    if total > SHOWN {
        text.push(&more);
    }
    text.join(", ")
}

/// Which class a label means.
#[derive(Debug)]
pub(crate) struct ClassMap {
    classes: Vec<String>,
    by_label: BTreeMap<String, u32>,
    /// The class of every label that no class lists.
    rest: Option<u32>,
}

impl ClassMap {
    /// Reads `classes` or `positive` of the config, or makes each of the training labels `names` a class, in order.
    pub(crate) fn new(config: &DataConfig, names: &[String]) -> Result<Self, DataError> {
        let rules = if !config.positive.is_empty() {
            two_classes(&config.positive, names)?
        } else {
            config.classes.clone()
        };
        let map = if rules.is_empty() {
            Self::one_each(names)?
        } else {
            Self::of_rules(&rules)?
        };
        for (class, name) in (0..).zip(&map.classes) {
            if !names.iter().any(|label| map.class(label) == Some(class)) {
                let labels = shortened(names.iter().map(String::as_str));
                let reason = format!(
                    "no training row has a label of class '{name}'; the labels are {labels}"
                );
                return Err(DataError::setting("classes", reason));
            }
        }
        Ok(map)
    }

    /// The one class of rows whose answer is a number of that name.
    pub(crate) fn of_target(name: String) -> Self {
        Self {
            classes: vec![name],
            by_label: BTreeMap::new(),
            rest: Some(0),
        }
    }

    fn one_each(names: &[String]) -> Result<Self, DataError> {
        if names.len() > MAX_CLASSES {
            let reason = format!(
                "the label column holds {} different values, more than {MAX_CLASSES}: is it a class?",
                names.len()
            );
            return Err(DataError::setting("label", reason));
        }
        let by_label = (0..)
            .zip(names)
            .map(|(class, name)| (canonical(name).into_owned(), class));
        Ok(Self {
            classes: names.to_vec(),
            by_label: by_label.collect(),
            rest: None,
        })
    }

    fn of_rules(rules: &[ClassRule]) -> Result<Self, DataError> {
        let mut map = Self {
            classes: rules.iter().map(|rule| rule.name.clone()).collect(),
            by_label: BTreeMap::new(),
            rest: None,
        };
        for (class, rule) in (0..).zip(rules) {
            if map.classes[..class as usize].contains(&rule.name) {
                let reason = format!("class '{}' is there twice", rule.name);
                return Err(DataError::setting("classes", reason));
            }
            if rule.labels.is_empty() && map.rest.replace(class).is_some() {
                let reason = format!(
                    "two classes without labels, the second is '{}'; one can stand for the rest",
                    rule.name
                );
                return Err(DataError::setting("classes", reason));
            }
            for label in &rule.labels {
                if map
                    .by_label
                    .insert(canonical(label).into_owned(), class)
                    .is_some()
                {
                    let reason = format!("label '{label}' is listed twice");
                    return Err(DataError::setting("classes", reason));
                }
            }
        }
        Ok(map)
    }

    /// The class of a label, if it means one.
    pub(crate) fn class(&self, label: &str) -> Option<u32> {
        self.by_label
            .get(canonical(label).as_ref())
            .copied()
            .or(self.rest)
    }

    /// Names of the classes in order.
    pub(crate) fn names(&self) -> &[String] {
        &self.classes
    }

    /// The classes in a few words, for errors.
    pub(crate) fn describe(&self) -> String {
        shortened(self.classes.iter().map(String::as_str))
    }
}

/// The rest and the positive labels as two classes, each named by its label where it has only one.
fn two_classes(positive: &[String], names: &[String]) -> Result<Vec<ClassRule>, DataError> {
    let is_positive = |name: &&String| {
        positive
            .iter()
            .any(|label| canonical(label) == canonical(name))
    };
    let (yes, no): (Vec<&String>, Vec<&String>) = names.iter().partition(is_positive);
    if yes.is_empty() || no.is_empty() {
        let labels = shortened(names.iter().map(String::as_str));
        let which = if yes.is_empty() { "no" } else { "every" };
        return Err(DataError::setting(
            "positive",
            format!("{which} training row has one of these labels; the labels are {labels}"),
        ));
    }
    let name = |labels: &[&String], otherwise: &str| match labels {
        [only] => (*only).clone(),
        _ => otherwise.to_owned(),
    };
    Ok(vec![
        ClassRule {
            name: name(&no, "negative"),
            labels: Vec::new(),
        },
        ClassRule {
            name: name(&yes, "positive"),
            labels: positive.to_vec(),
        },
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(labels: &[&str]) -> Vec<String> {
        labels.iter().map(|&label| label.to_owned()).collect()
    }

    fn rule(name: &str, labels: &[&str]) -> ClassRule {
        ClassRule {
            name: name.to_owned(),
            labels: names(labels),
        }
    }

    #[test]
    fn labels_find_their_class() {
        let config = DataConfig {
            classes: vec![rule("normal", &["normal"]), rule("attack", &[])],
            ..DataConfig::default()
        };
        let map = ClassMap::new(&config, &names(&["neptune", "normal"])).unwrap();
        assert_eq!(
            (map.class("normal"), map.class("apache2")),
            (Some(0), Some(1))
        );

        let config = DataConfig {
            positive: names(&["1"]),
            ..DataConfig::default()
        };
        let map = ClassMap::new(&config, &names(&["0", "1.0"])).unwrap();
        assert_eq!(map.names(), ["0", "1.0"]);
        assert_eq!(
            (map.class("1"), map.class("+1.00"), map.class("0")),
            (Some(1), Some(1), Some(0))
        );

        let map = ClassMap::new(&DataConfig::default(), &names(&["b", "a"])).unwrap();
        assert_eq!((map.class("b"), map.class("c")), (Some(0), None));
    }

    #[test]
    fn rules_that_cannot_be_meant_are_refused() {
        let cases: [(&[ClassRule], &str); 4] = [
            (
                &[rule("a", &[]), rule("b", &[])],
                "data.classes: two classes without labels, the second is 'b'; one can stand for the rest",
            ),
            (
                &[rule("a", &["x"]), rule("b", &["x"])],
                "data.classes: label 'x' is listed twice",
            ),
            (
                &[rule("a", &["x"]), rule("a", &["y"])],
                "data.classes: class 'a' is there twice",
            ),
            (
                &[rule("a", &["z"]), rule("b", &[])],
                "data.classes: no training row has a label of class 'a'; the labels are x, y",
            ),
        ];
        for (rules, expected) in cases {
            let config = DataConfig {
                classes: rules.to_vec(),
                ..DataConfig::default()
            };
            let error = ClassMap::new(&config, &names(&["x", "y"])).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
        let config = DataConfig {
            positive: names(&["yes"]),
            ..DataConfig::default()
        };
        assert_eq!(
            ClassMap::new(&config, &names(&["x", "y"]))
                .unwrap_err()
                .to_string(),
            "data.positive: no training row has one of these labels; the labels are x, y"
        );
    }

    #[test]
    fn codes_sort_as_numbers() {
        let mut labels = ["10", "b", "2", "a", "-1"];
        labels.sort_by(|a, b| natural_order(a, b));
        assert_eq!(labels, ["-1", "2", "10", "a", "b"]);
    }
}
