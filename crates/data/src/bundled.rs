//! The sets inside the binary.

use crate::config::{ClassRule, ColumnRef, DataConfig};
use crate::dataset::ExampleShape;
use crate::decode::{Dialect, Grid, table};
use crate::error::{DataError, Place};
use crate::images::{ImageSet, Images, Origin, Pixels};
use crate::prepare::PrepareConfig;
use crate::read::gunzip;
use crate::sites::Owners;
use crate::source::{Content, Format, Source};
use crate::tables::{TableFile, TablePart, TableSet};

/// What `cloister data list` shows of a set inside the binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct BundledInfo {
    /// Name for `data.dataset`.
    pub name: &'static str,
    /// What it holds and asks.
    pub summary: &'static str,
    /// Rows in all.
    pub rows: usize,
    /// Shape of an example, or columns of a table before coding.
    pub inputs: &'static str,
    /// Number of classes.
    pub classes: usize,
    /// Natural owners, if the data names them.
    pub sites: usize,
    /// Where it comes from, and under which terms.
    pub source: &'static str,
}

const INFOS: [BundledInfo; 3] = [
    BundledInfo {
        name: "digits",
        summary: "handwritten digits, the test part of the optical recognition set",
        rows: 1797,
        inputs: "images of 1x8x8",
        classes: 10,
        sites: 0,
        source: "UCI 80, Alpaydin and Kaynak 1998, CC BY 4.0",
    },
    BundledInfo {
        name: "heart-disease",
        summary: "heart disease in four hospitals, with missing cells",
        rows: 920,
        inputs: "13 columns",
        classes: 2,
        sites: 4,
        source: "UCI 45, Janosi, Steinbrunn, Pfisterer and Detrano 1988, CC BY 4.0",
    },
    BundledInfo {
        name: "wdbc",
        summary: "breast tumours, benign or malignant, by figures of cell nuclei",
        rows: 569,
        inputs: "30 columns",
        classes: 2,
        sites: 0,
        source: "UCI 17, Wolberg, Mangasarian, Street and Street 1995, CC BY 4.0",
    },
];

/// The sets inside the binary, by name.
pub fn bundled() -> &'static [BundledInfo] {
    &INFOS
}

const HEART_HEADER: &str =
    "age,sex,cp,trestbps,chol,fbs,restecg,thalach,exang,oldpeak,slope,ca,thal,num\n";

/// Hospital, file name, content.
const HEART: [(&str, &str, &str); 4] = [
    (
        "cleveland",
        "processed.cleveland.data",
        include_str!("../bundled/processed.cleveland.data"),
    ),
    (
        "hungarian",
        "processed.hungarian.data",
        include_str!("../bundled/processed.hungarian.data"),
    ),
    (
        "switzerland",
        "processed.switzerland.data",
        include_str!("../bundled/processed.switzerland.data"),
    ),
    (
        "va",
        "processed.va.data",
        include_str!("../bundled/processed.va.data"),
    ),
];

/// The set of that name, and the config with the set's own settings filled in.
pub(crate) fn source(name: &str, config: &DataConfig) -> Result<(Source, DataConfig), DataError> {
    let content = match name {
        "digits" => digits()?,
        "heart-disease" => heart()?,
        "wdbc" => wdbc()?,
        _ => {
            let known: Vec<&str> = INFOS.iter().map(|info| info.name).collect();
            return Err(DataError::UnknownDataset {
                name: name.to_owned(),
                known: known.join(", "),
            });
        }
    };
    let mut config = config.clone();
    if let Content::Tables(_) = content {
        let plain = DataConfig {
            drop: Vec::new(),
            target: None,
            scaling: DataConfig::default().scaling,
            prepare: PrepareConfig::default(),
            ..config.clone()
        };
        if let Some(key) = plain.table_key() {
            let reason = format!("is fixed for the set '{name}' inside the binary");
            return Err(DataError::setting(key, reason));
        }
        settings(name, &mut config);
    }
    let source = Source {
        format: Format::Bundled,
        content,
        notes: Vec::new(),
    };
    Ok((source, config))
}

/// Columns and classes of the bundled tables.
fn settings(name: &str, config: &mut DataConfig) {
    let rule = |name: &str, labels: &[&str]| ClassRule {
        name: name.to_owned(),
        labels: labels.iter().map(|&label| label.to_owned()).collect(),
    };
    let columns = |names: &[&str]| -> Vec<ColumnRef> {
        names
            .iter()
            .map(|&name| ColumnRef::Name(name.to_owned()))
            .collect()
    };
    let predicts = config.target.is_some();
    let own_classes = config.positive.is_empty() && config.classes.is_empty() && !predicts;
    let label = |config: &mut DataConfig, name: &str| {
        let column = ColumnRef::Name(name.to_owned());
        match config.target.clone() {
            None => config.label = Some(column),
            // A diagnosis is made of the other columns: it tells of a number that is to be predicted from them.
            Some(target) if target != column && !config.drop.contains(&column) => {
                config.drop.push(column);
            }
            Some(_) => {}
        }
    };
    if name == "heart-disease" {
        label(config, "num");
        config.categorical = columns(&["cp", "restecg", "slope", "thal"]);
        // No living patient has a cholesterol or a blood pressure of 0; Switzerland writes every missing one so.
        config.zero_is_missing = columns(&["trestbps", "chol"]);
        if own_classes {
            config.classes = vec![rule("healthy", &["0"]), rule("disease", &[])];
        }
    } else {
        label(config, "diagnosis");
        if own_classes {
            config.classes = vec![
                rule("benign", &["benign"]),
                rule("malignant", &["malignant"]),
            ];
        }
    }
}

fn with_header() -> Dialect {
    Dialect {
        header: Some(true),
        delimiter: Some(b','),
        missing: Vec::new(),
    }
}

fn wdbc() -> Result<Content, DataError> {
    let grid = table(
        "wdbc.csv",
        include_bytes!("../bundled/wdbc.csv"),
        &with_header(),
    )?;
    tables(vec![("wdbc.csv", None, grid)])
}

fn heart() -> Result<Content, DataError> {
    let mut files = Vec::new();
    for (hospital, file, content) in HEART {
        let content = format!("{HEART_HEADER}{content}");
        files.push((
            file,
            Some(hospital),
            table(file, content.as_bytes(), &with_header())?,
        ));
    }
    tables(files)
}

fn tables(files: Vec<(&str, Option<&str>, Grid)>) -> Result<Content, DataError> {
    let files = files.into_iter().map(|(file, owner, grid)| TableFile {
        file: file.to_owned(),
        owner: owner.map(str::to_owned),
        grid,
    });
    Ok(Content::Tables(TableSet {
        train: TablePart::new(files.collect())?,
        test: None,
    }))
}

/// 64 pixel columns of 0 to 16, then the digit.
fn digits() -> Result<Content, DataError> {
    const FILE: &str = "digits.csv.gz";
    const LIMIT: u64 = 1 << 20;
    let content = gunzip(
        FILE,
        include_bytes!("../bundled/digits.csv.gz").to_vec(),
        LIMIT,
    )?;
    let grid = table(FILE, &content, &with_header())?;
    let shape = ExampleShape {
        channels: 1,
        height: 8,
        width: 8,
    };
    let byte = |row: usize, column: usize| {
        grid.cell(row, column).parse::<u8>().map_err(|error| {
            DataError::malformed(FILE, Place::Line(grid.line(row)), error.to_string())
        })
    };
    let mut pixels = Vec::with_capacity(grid.rows() * shape.len());
    let mut labels = Vec::with_capacity(grid.rows());
    for row in 0..grid.rows() {
        for column in 0..shape.len() {
            pixels.push(byte(row, column)?);
        }
        labels.push(u32::from(byte(row, shape.len())?));
    }
    let train = Images {
        file: FILE.to_owned(),
        shape,
        owners: Owners::new(None, labels.len()),
        pixels: Pixels::Bytes(pixels),
        white: 16.0,
        labels,
        names: (0..10).map(|digit| digit.to_string()).collect(),
        origins: vec![Origin {
            first_row: 0,
            file: FILE.to_owned(),
            label_bytes: None,
        }],
    };
    Ok(Content::Images(Box::new(ImageSet { train, test: None })))
}
