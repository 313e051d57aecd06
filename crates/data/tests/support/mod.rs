//! What several test files need.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests: a failure is the test's, and a skipped test says so"
)]

pub(crate) mod prepare;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use cloister_data::{DataConfig, Dataset, ExampleShape, Paths, Sites};
use flate2::{Compression, write::GzEncoder};
use zip::write::{SimpleFileOptions, ZipWriter};

/// Writes a file below `folder`, which is made where it is missing.
pub(crate) fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    path
}

pub(crate) fn gz(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// An IDX file of bytes.
pub(crate) fn idx(sizes: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, sizes.len() as u8];
    for size in sizes {
        bytes.extend(size.to_be_bytes());
    }
    bytes.extend(values);
    bytes
}

/// A NumPy array.
pub(crate) fn npy(descr: &str, shape: &str, values: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    bytes.extend(values);
    bytes
}

/// A deflated zip archive.
pub(crate) fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in members {
        archive
            .start_file(*name, SimpleFileOptions::default())
            .unwrap();
        archive.write_all(content).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// A grey or colour picture of one value.
pub(crate) fn png(width: u32, height: u32, colour: Option<[u8; 3]>) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let picture = match colour {
        Some(rgb) => image::DynamicImage::ImageRgb8(image::RgbImage::from_pixel(
            width,
            height,
            image::Rgb(rgb),
        )),
        None => image::DynamicImage::ImageLuma8(image::GrayImage::from_pixel(
            width,
            height,
            image::Luma([100]),
        )),
    };
    picture
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

pub(crate) fn many(paths: &[PathBuf]) -> DataConfig {
    DataConfig {
        path: Some(Paths::Many(paths.to_vec())),
        ..DataConfig::default()
    }
}

/// A dataset with the given labels and owners, one feature each.
pub(crate) fn labelled(labels: Vec<u32>, classes: usize, sites: Option<Vec<u32>>) -> Dataset {
    let features = (0..labels.len()).map(|row| row as f32).collect();
    let names = |count: usize| (0..count).map(|i| format!("n{i}")).collect::<Vec<_>>();
    let sites = sites.map(|of_row| Sites {
        names: names(of_row.iter().max().map_or(0, |&site| site as usize + 1)),
        of_row,
    });
    Dataset::new(
        "toy",
        ExampleShape::flat(1),
        features,
        labels,
        names(classes),
        sites,
    )
    .unwrap()
}

/// The folder of data sets that are not in the repository: `CLOISTER_DATA`, else `shared/data` beside the repository.
/// `None`, with a message, where there is none.
pub(crate) fn shared_data(set: &str) -> Option<PathBuf> {
    let root = std::env::var_os("CLOISTER_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let folder = root.join(set);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no {set} in the data folder; set CLOISTER_DATA to a folder that holds it");
    None
}
