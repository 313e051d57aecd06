//! Small tables and what `[data.prepare]` makes of them.

use cloister_data::{DataConfig, DataError, TrainTest, load};
use serde_json::{Value, json};

use super::write;

/// A training and a test table in a folder, and a config for them.
pub(crate) struct Case {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) config: DataConfig,
}

impl Case {
    pub(crate) fn new(train: &str, test: &str, prepare: Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "train.csv", train);
        write(folder.path(), "test.csv", test);
        let config = DataConfig {
            test_path: Some(folder.path().join("test.csv").into()),
            label: Some(cloister_data::ColumnRef::Name("class".to_owned())),
            header: Some(true),
            scaling: cloister_data::Scaling::None,
            prepare: serde_json::from_value(prepare).unwrap(),
            ..DataConfig::at(folder.path().join("train.csv"))
        };
        Self { folder, config }
    }

    pub(crate) fn load(&self) -> Result<TrainTest, DataError> {
        load(&self.config, 1)
    }

    /// The error, without the path of the folder.
    pub(crate) fn error(&self) -> String {
        let error = self.load().unwrap_err().to_string();
        error.replace(&format!("{}/", self.folder.path().display()), "")
    }
}

/// The features of both parts, row by row.
pub(crate) fn rows(data: &TrainTest) -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
    let of =
        |part: &cloister_data::Dataset| (0..part.len()).map(|i| part.row(i).to_vec()).collect();
    (of(&data.train), of(&data.test))
}

pub(crate) fn column(settings: Value) -> Value {
    json!({ "columns": { "x": settings } })
}

/// The single column x of both parts.
pub(crate) fn of_column(
    train: &[&str],
    test: &[&str],
    settings: Value,
) -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
    rows(&case_of_column(train, test, settings).load().unwrap())
}

pub(crate) fn case_of_column(train: &[&str], test: &[&str], settings: Value) -> Case {
    let table = |cells: &[&str]| {
        let lines = cells.iter().enumerate();
        let lines = lines.map(|(at, cell)| format!("\"{cell}\",{}\n", at % 2));
        format!("x,class\n{}", lines.collect::<String>())
    };
    // A test part needs no class that training has not.
    Case::new(&table(train), &table(test), column(settings))
}

pub(crate) fn flat(rows: &[Vec<f32>]) -> Vec<f32> {
    rows.concat()
}
