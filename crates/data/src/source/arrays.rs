//! Files of arrays: IDX pairs, CIFAR-10 batches, npz archives.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Format, Piece, Pieces, note_validation};
use crate::classes::shortened;
use crate::config::DataConfig;
use crate::dataset::{ExampleShape, MAX_CLASSES};
use crate::decode::{self, NpyArray, NpyValues};
use crate::error::{DataError, Place};
use crate::images::{Images, Origin, Pixels};
use crate::read;
use crate::sites::{Owners, Role, owner_names};

fn empty_pieces(format: Format) -> Pieces {
    Pieces {
        format,
        train: Vec::new(),
        test: Vec::new(),
        notes: Vec::new(),
    }
}

/// The names 0, 1, ... up to the largest label.
fn numbers_as_names(labels: &[u32]) -> Vec<String> {
    let largest = labels.iter().copied().max();
    (0..largest.map_or(0, |largest| largest + 1))
        .map(|label| label.to_string())
        .collect()
}

/// One pair of images and labels a part; names tell the parts apart, dimensions the pair.
pub(super) fn idx(
    files: &[PathBuf],
    owner: Option<&str>,
    config: &DataConfig,
) -> Result<Pieces, DataError> {
    let mut pieces = empty_pieces(Format::Idx);
    for (role, into) in [
        (Role::Train, &mut pieces.train),
        (Role::Test, &mut pieces.test),
    ] {
        let of_role: Vec<&PathBuf> = files
            .iter()
            .filter(|file| Role::of_name(file) == role)
            .collect();
        if of_role.is_empty() {
            continue;
        }
        let mut labels = None;
        let mut images = None;
        for path in &of_role {
            let file = path.display().to_string();
            let content = read::content(path, config.max_bytes)?;
            let header = decode::idx(&file, &content)?;
            let slot = if header.sizes.len() == 1 {
                &mut labels
            } else {
                &mut images
            };
            if slot.replace((file, content, header)).is_some() {
                images = None;
                break;
            }
        }
        let (Some(labels), Some(images)) = (labels, images) else {
            let names: Vec<String> = of_role
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            return Err(DataError::Unrecognised {
                file: names[0].clone(),
                reason: format!(
                    "a part is one IDX file of images and one of labels; found: {}",
                    shortened(names.iter().map(String::as_str))
                ),
            });
        };
        into.push(Piece::Images(idx_pair(labels, images, owner)?));
    }
    note_validation(files, &mut pieces.notes);
    Ok(pieces)
}

type IdxFile = (String, Vec<u8>, decode::IdxHeader);

fn idx_pair(labels: IdxFile, images: IdxFile, owner: Option<&str>) -> Result<Images, DataError> {
    let (label_file, label_content, label_header) = labels;
    let (image_file, mut pixels, header) = images;
    let rows = label_header.sizes[0];
    if header.sizes[0] != rows {
        let reason = format!(
            "{} images, but {label_file} has {rows} labels",
            header.sizes[0]
        );
        return Err(DataError::malformed(&image_file, Place::Byte(4), reason));
    }
    if rows == 0 {
        return Err(DataError::empty(&image_file, "holds no image"));
    }
    let shape = match header.sizes[1..] {
        [width] => ExampleShape::flat(width),
        [height, width] => ExampleShape {
            channels: 1,
            height,
            width,
        },
        [channels, height, width] => ExampleShape {
            channels,
            height,
            width,
        },
        _ => ExampleShape::flat(0),
    };
    if shape.len() == 0 {
        return Err(DataError::empty(&image_file, "holds images without pixels"));
    }
    // In place: the pixels stay where they were read to.
    pixels.drain(..header.offset);
    let labels: Vec<u32> = label_content[label_header.offset..]
        .iter()
        .map(|&label| u32::from(label))
        .collect();
    Ok(Images {
        file: image_file,
        shape,
        pixels: Pixels::Bytes(pixels),
        white: 255.0,
        names: numbers_as_names(&labels),
        owners: Owners::new(owner.map(str::to_owned), labels.len()),
        labels,
        origins: vec![Origin {
            first_row: 0,
            file: label_file,
            label_bytes: Some((label_header.offset as u64, 1)),
        }],
    })
}

/// Batches of CIFAR-10 records; `batches.meta.txt` beside them names the classes.
pub(super) fn cifar10(
    files: &[PathBuf],
    owner: Option<&str>,
    config: &DataConfig,
) -> Result<Pieces, DataError> {
    let mut pieces = empty_pieces(Format::Cifar10);
    for path in files {
        let into = match Role::of_name(path) {
            Role::Train => &mut pieces.train,
            Role::Test => &mut pieces.test,
            Role::Validation => continue,
        };
        let names = cifar_names(path, config)?;
        let file = path.display().to_string();
        let content = read::content(path, config.max_bytes)?;
        let (labels, pixels) = decode::cifar10(&file, &content, names.len())?;
        into.push(Piece::Images(Images {
            file: file.clone(),
            shape: ExampleShape {
                channels: 3,
                height: 32,
                width: 32,
            },
            pixels: Pixels::Bytes(pixels),
            white: 255.0,
            names,
            owners: Owners::new(owner.map(str::to_owned), labels.len()),
            labels,
            origins: vec![Origin {
                first_row: 0,
                file,
                label_bytes: Some((0, decode::CIFAR_RECORD as u64)),
            }],
        }));
    }
    note_validation(files, &mut pieces.notes);
    Ok(pieces)
}

fn cifar_names(batch: &Path, config: &DataConfig) -> Result<Vec<String>, DataError> {
    let path = batch.with_file_name("batches.meta.txt");
    if !path.is_file() {
        return Ok((0..10).map(|class| class.to_string()).collect());
    }
    let content = read::content(&path, config.max_bytes)?;
    let file = path.display().to_string();
    let text = std::str::from_utf8(&content).map_err(|error| {
        DataError::malformed(
            &file,
            Place::Byte(error.valid_up_to() as u64),
            "not UTF-8 text",
        )
    })?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let names: Vec<String> = lines.map(str::to_owned).collect();
    if !(1..=256).contains(&names.len()) {
        let reason = format!("{} class names; 1 to 256 are possible", names.len());
        return Err(DataError::malformed(&file, Place::File, reason));
    }
    Ok(names)
}

/// Names of the arrays (lower case) for images and labels of the training and the test part.
const TRAIN_KEYS: [(&str, &str); 5] = [
    ("train_images", "train_labels"),
    ("x_train", "y_train"),
    ("train_x", "train_y"),
    ("images", "labels"),
    ("x", "y"),
];
const TEST_KEYS: [(&str, &str); 3] = [
    ("test_images", "test_labels"),
    ("x_test", "y_test"),
    ("test_x", "test_y"),
];

/// Archives: each holds a training part and perhaps a test part; several archives are several owners.
pub(super) fn npz(
    files: &[PathBuf],
    owner: Option<&str>,
    config: &DataConfig,
) -> Result<Pieces, DataError> {
    let mut pieces = empty_pieces(Format::Npz);
    let paths: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    let owners = if files.len() > 1 {
        owner_names(&paths)
    } else {
        Vec::new()
    };
    for (index, path) in paths.iter().enumerate() {
        let owner = owner.or(owners.get(index).map(String::as_str));
        npz_file(path, owner, config, &mut pieces)?;
    }
    Ok(pieces)
}

fn npz_file(
    path: &Path,
    owner: Option<&str>,
    config: &DataConfig,
    pieces: &mut Pieces,
) -> Result<(), DataError> {
    let file = path.display().to_string();
    let content = read::content(path, config.max_bytes)?;
    let mut unused = Vec::new();
    let mut arrays: BTreeMap<String, (String, NpyArray)> =
        decode::npz(&file, &content, config.max_bytes, |name| {
            let key = name.to_ascii_lowercase();
            let known = TRAIN_KEYS
                .iter()
                .chain(&TEST_KEYS)
                .any(|&(images, labels)| key == images || key == labels);
            if !known {
                unused.push(name.to_owned());
            }
            known
        })?
        .into_iter()
        .map(|(name, array)| {
            (
                name.to_ascii_lowercase(),
                (format!("{file}/{name}.npy"), array),
            )
        })
        .collect();
    drop(content);
    let mut take = |keys: &[(&str, &str)]| {
        let &(images, labels) = keys.iter().find(|(images, labels)| {
            arrays.contains_key(*images) && arrays.contains_key(*labels)
        })?;
        Some((arrays.remove(images)?, arrays.remove(labels)?))
    };
    let (train, test) = (take(&TRAIN_KEYS), take(&TEST_KEYS));
    if train.is_none() && test.is_none() {
        unused.extend(arrays.into_keys());
        return Err(DataError::Unrecognised {
            file,
            reason: format!(
                "no arrays train_images and train_labels, x_train and y_train, or images and labels; there are: {}",
                shortened(unused.iter().map(String::as_str))
            ),
        });
    }
    let is_test = Role::of_name(path) == Role::Test && test.is_none();
    for (pair, into) in [(train, &mut pieces.train), (test, &mut pieces.test)] {
        if let Some((images, labels)) = pair {
            into.push(Piece::Images(npz_pair(images, labels, owner)?));
        }
    }
    if is_test {
        pieces
            .test
            .append(&mut pieces.train.split_off(pieces.train.len() - 1));
    }
    unused.extend(arrays.into_keys());
    if !unused.is_empty() {
        let names = shortened(unused.iter().map(String::as_str));
        pieces
            .notes
            .push(format!("{file}: arrays not used: {names}"));
    }
    Ok(())
}

fn npz_pair(
    images: (String, NpyArray),
    labels: (String, NpyArray),
    owner: Option<&str>,
) -> Result<Images, DataError> {
    let (image_file, images) = images;
    let (label_file, labels) = labels;
    let label_bytes = labels.layout;
    let labels = npz_labels(&label_file, labels)?;
    let rows = images.shape.first().copied().unwrap_or(0);
    if rows != labels.len() {
        let reason = format!(
            "{rows} examples, but {label_file} has {} labels",
            labels.len()
        );
        return Err(DataError::malformed(&image_file, Place::File, reason));
    }
    if rows == 0 {
        return Err(DataError::empty(&image_file, "holds no example"));
    }
    let (shape, channels_last) = npz_shape(&image_file, &images.shape)?;
    let white = images.white.unwrap_or(1.0);
    let pixels = match images.values {
        NpyValues::Bytes(bytes) if channels_last => Pixels::Bytes(planes(&bytes, shape)),
        NpyValues::Bytes(bytes) => Pixels::Bytes(bytes),
        NpyValues::Numbers(numbers) => {
            let narrow: Vec<f32> = numbers.iter().map(|&number| number as f32).collect();
            if let Some(at) = narrow.iter().position(|value| !value.is_finite()) {
                let place = Place::Byte(images.layout.0 + at as u64 * images.layout.1);
                let reason = format!("value {} does not fit a 32-bit fraction", numbers[at]);
                return Err(DataError::malformed(&image_file, place, reason));
            }
            Pixels::Numbers(if channels_last {
                planes(&narrow, shape)
            } else {
                narrow
            })
        }
    };
    Ok(Images {
        file: image_file,
        shape,
        pixels,
        white,
        names: numbers_as_names(&labels),
        owners: Owners::new(owner.map(str::to_owned), rows),
        labels,
        origins: vec![Origin {
            first_row: 0,
            file: label_file,
            label_bytes: Some(label_bytes),
        }],
    })
}

/// Whole numbers from 0, n or n x 1 of them.
fn npz_labels(file: &str, array: NpyArray) -> Result<Vec<u32>, DataError> {
    if !matches!(array.shape[..], [_] | [_, 1]) {
        let reason = format!("labels of shape {:?}; n or n x 1 are read", array.shape);
        return Err(DataError::malformed(file, Place::File, reason));
    }
    let (start, stride) = array.layout;
    let numbers = match array.values {
        NpyValues::Bytes(bytes) => return Ok(bytes.into_iter().map(u32::from).collect()),
        NpyValues::Numbers(numbers) => numbers,
    };
    (0..)
        .zip(numbers)
        .map(|(row, label): (u64, f64)| {
            if label.fract() == 0.0 && (0.0..MAX_CLASSES as f64).contains(&label) {
                return Ok(label as u32);
            }
            let reason = format!(
                "label {label} is no whole number from 0 to {}",
                MAX_CLASSES - 1
            );
            Err(DataError::malformed(
                file,
                Place::Byte(start + row * stride),
                reason,
            ))
        })
        .collect()
}

/// Shape of an example, and whether its channels come last.
fn npz_shape(file: &str, sizes: &[usize]) -> Result<(ExampleShape, bool), DataError> {
    let (shape, channels_last) = match *sizes {
        [_, width] => (ExampleShape::flat(width), false),
        [_, height, width] => (
            ExampleShape {
                channels: 1,
                height,
                width,
            },
            false,
        ),
        [_, height, width, channels @ (1 | 3 | 4)] => (
            ExampleShape {
                channels,
                height,
                width,
            },
            true,
        ),
        [_, channels, height, width] => (
            ExampleShape {
                channels,
                height,
                width,
            },
            false,
        ),
        _ => {
            let reason = format!(
                "examples of shape {sizes:?}; n x d, n x h x w, n x h x w x c or n x c x h x w are read"
            );
            return Err(DataError::malformed(file, Place::File, reason));
        }
    };
    if shape.len() == 0 {
        return Err(DataError::empty(file, "holds examples without values"));
    }
    Ok((shape, channels_last))
}

/// HWC to CHW, image by image.
fn planes<T: Copy>(values: &[T], shape: ExampleShape) -> Vec<T> {
    values
        .chunks_exact(shape.len())
        .flat_map(|image| {
            (0..shape.channels).flat_map(move |channel| {
                image.iter().skip(channel).step_by(shape.channels).copied()
            })
        })
        .collect()
}
