//! Owners of rows while parts are read and joined.

use std::collections::BTreeMap;
use std::path::Path;

use crate::dataset::Sites;

/// Owners by run of rows, as files are appended: the name of each file's owner, if it has one, and its rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Owners(Vec<(Option<String>, usize)>);

impl Owners {
    /// All `rows` belong to `owner`.
    pub(crate) fn new(owner: Option<String>, rows: usize) -> Self {
        Self(vec![(owner, rows)])
    }

    pub(crate) fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The owner of every row; none unless every run has one.
    pub(crate) fn of_row(&self) -> Option<Vec<&str>> {
        let mut of_row = Vec::new();
        for (owner, rows) in &self.0 {
            of_row.extend(std::iter::repeat_n(owner.as_deref()?, *rows));
        }
        Some(of_row)
    }
}

impl Sites {
    /// The owners of some of the rows; the names stay.
    pub(crate) fn of_rows(&self, rows: &[u32]) -> Self {
        Self {
            names: self.names.clone(),
            of_row: rows.iter().map(|&row| self.of_row[row as usize]).collect(),
        }
    }
}

/// Owners of both parts, numbered alike: names in order of their first training row, then those of test rows only.
pub(crate) fn numbered(
    train: Option<&[&str]>,
    test: Option<&[&str]>,
) -> (Option<Sites>, Option<Sites>) {
    let mut names = Vec::new();
    let mut known: BTreeMap<String, u32> = BTreeMap::new();
    let mut number = |part: Option<&[&str]>| {
        let of_row = part?
            .iter()
            .map(|&owner| {
                *known.entry(owner.to_owned()).or_insert_with(|| {
                    names.push(owner.to_owned());
                    (names.len() - 1) as u32
                })
            })
            .collect();
        Some(Sites {
            names: names.clone(),
            of_row,
        })
    };
    let train = number(train);
    (train, number(test))
}

/// [`numbered`] of the owners that files give.
pub(crate) fn of_parts(train: &Owners, test: Option<&Owners>) -> (Option<Sites>, Option<Sites>) {
    let test = test.and_then(Owners::of_row);
    numbered(train.of_row().as_deref(), test.as_deref())
}

/// What a file or folder is called without its endings, and without the words that tell training from test files.
fn stem(path: &Path) -> String {
    const ENDINGS: [&str; 8] = ["gz", "csv", "tsv", "txt", "data", "npz", "bin", "idx"];
    let name = path.file_name().map_or_else(
        || path.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    );
    let mut stem = name.as_str();
    while let Some((before, ending)) = stem.rsplit_once('.')
        && ENDINGS.contains(&ending)
        && !before.is_empty()
    {
        stem = before;
    }
    let parts: Vec<&str> = stem.split(['-', '_', '.', ' ']).collect();
    let kept: Vec<&str> = parts
        .iter()
        .copied()
        .filter(|part| !matches!(Role::of_word(part), Some(Role::Train | Role::Test)))
        .collect();
    if kept.len() == parts.len() || kept.is_empty() {
        return stem.to_owned();
    }
    kept.join("-")
}

/// Names for the owners that `paths` are: their stems, or the whole paths where two stems are the same.
pub(crate) fn owner_names(paths: &[&Path]) -> Vec<String> {
    let stems: Vec<String> = paths.iter().map(|path| stem(path)).collect();
    let mut sorted = stems.clone();
    sorted.sort();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        return paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
    }
    stems
}

/// Which part of a set a file belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Train,
    Test,
    Validation,
}

impl Role {
    fn of_word(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "train" | "training" => Some(Self::Train),
            "test" | "testing" | "t10k" => Some(Self::Test),
            "val" | "valid" | "validation" => Some(Self::Validation),
            _ => None,
        }
    }

    /// The role that a file's name tells by one of its words; training without such a word.
    pub(crate) fn of_name(path: &Path) -> Self {
        Self::told(path).unwrap_or(Self::Train)
    }

    /// The role that a file's name tells, if it does.
    pub(crate) fn told(path: &Path) -> Option<Self> {
        path.file_name()?
            .to_string_lossy()
            .split(|c: char| !c.is_ascii_alphanumeric())
            .find_map(Self::of_word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_part_and_the_owner() {
        let role = |name: &str| Role::of_name(Path::new(name));
        assert_eq!(role("a/t10k-images-idx3-ubyte.gz"), Role::Test);
        assert_eq!(role("adult.test.gz"), Role::Test);
        assert_eq!(role("test/adult.data"), Role::Train);
        assert_eq!(role("testaccio.csv"), Role::Train);
        assert_eq!(role("val"), Role::Validation);
        let names = |paths: &[&str]| owner_names(&paths.iter().map(Path::new).collect::<Vec<_>>());
        assert_eq!(names(&["x/a.csv.gz", "x/b_train.csv"]), ["a", "b"]);
        assert_eq!(names(&["x/a.csv", "y/a.csv"]), ["x/a.csv", "y/a.csv"]);
    }

    #[test]
    fn owners_are_numbered_alike_in_both_parts() {
        let (train, test) = numbered(Some(&["b", "a", "b"]), Some(&["c", "a"]));
        assert_eq!(train.unwrap().of_row, [0, 1, 0]);
        let test = test.unwrap();
        assert_eq!(
            (test.names, test.of_row),
            (vec!["b".into(), "a".into(), "c".into()], vec![2, 1])
        );
    }
}
