//! Images: arrays of NumPy, IDX files, PNG and JPEG.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cloister_data::decode::{self, NpyArray, NpyValues};
use cloister_data::{DataError, Pipeline};

use super::Answers;
use crate::args::PredictArgs;

/// Most bytes of a file of arrays, once decompressed.
const MOST_BYTES: u64 = 16 << 30;

/// Arrays of an archive that are taken without being named, the first that there is.
const ARRAYS: [&str; 6] = ["test_images", "x_test", "images", "x", "X", "arr_0"];

/// Answers for each image of the input, in order.
pub(super) fn answer(
    args: &PredictArgs,
    pipeline: &Pipeline,
    answers: &mut Answers<'_>,
) -> Result<()> {
    let path = &args.input;
    if path == Path::new("-") {
        bail!("the model reads images: give a file or a folder, not the standard input");
    }
    if !args.keep.is_empty() {
        bail!("--keep {}: images have no columns", args.keep[0]);
    }
    if path.is_dir() {
        return pictures(path, pipeline, answers);
    }
    let name = path.display().to_string();
    let content = fs::read(path).with_context(|| format!("cannot read {name}"))?;
    match &content[..] {
        [b'P', b'K', ..] => {
            let array = of_archive(&name, &content, args.array.as_deref())?;
            images(&name, array, pipeline, answers)
        }
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => {
            images(&name, decode::npy(&name, &content)?, pipeline, answers)
        }
        [0, 0, 8, ..] => {
            let header = decode::idx(&name, &content)?;
            let array = NpyArray {
                shape: header.sizes.clone(),
                values: NpyValues::Bytes(content[header.offset..].to_vec()),
                white: Some(255.0),
                layout: (header.offset as u64, 1),
            };
            images(&name, array, pipeline, answers)
        }
        [0x89, b'P', b'N', b'G', ..] | [0xff, 0xd8, 0xff, ..] => {
            answers.begin("row", &[])?;
            answers.answer("1", &[], picture(&name, &content, pipeline))
        }
        _ => bail!("{name}: neither npz, npy, IDX, PNG nor JPEG, which a model of images reads"),
    }
}

/// The array of an archive that is meant.
fn of_archive(name: &str, content: &[u8], wanted: Option<&str>) -> Result<NpyArray> {
    let mut there = Vec::new();
    let mut arrays = decode::npz(name, content, MOST_BYTES, |array| {
        there.push(array.to_owned());
        wanted.map_or(ARRAYS.contains(&array), |wanted| array == wanted)
    })?;
    let known = match wanted {
        Some(wanted) => arrays.remove(wanted),
        None => ARRAYS.iter().find_map(|known| arrays.remove(*known)),
    };
    known.with_context(|| {
        let asked = wanted.map_or("an array of images".to_owned(), |wanted| {
            format!("array '{wanted}'")
        });
        format!(
            "{name}: no {asked}; it has {} (choose one with --array)",
            there.join(", ")
        )
    })
}

fn images(
    name: &str,
    array: NpyArray,
    pipeline: &Pipeline,
    answers: &mut Answers<'_>,
) -> Result<()> {
    let (n, channels, channels_last) = match array.shape[..] {
        [n, _] | [n, _, _] => (n, 1, false),
        // As the data of training are read: three or four last numbers are channels.
        [n, _, _, channels @ (1 | 3 | 4)] => (n, channels, true),
        [n, channels, _, _] => (n, channels, false),
        _ => bail!(
            "{name}: an array of shape {:?}; n x h x w, with channels first or last, is read",
            array.shape
        ),
    };
    let width: usize = array.shape[1..].iter().product();
    if width == 0 {
        bail!("{name}: holds images without pixels");
    }
    answers.begin("row", &[])?;
    for row in 0..n {
        let range = row * width..(row + 1) * width;
        let mut pixels: Vec<f32> = match &array.values {
            NpyValues::Bytes(bytes) => bytes[range].iter().map(|byte| f32::from(*byte)).collect(),
            NpyValues::Numbers(numbers) => {
                numbers[range].iter().map(|number| *number as f32).collect()
            }
        };
        if channels_last && channels > 1 {
            let planes = (0..channels)
                .flat_map(|channel| pixels.iter().skip(channel).step_by(channels).copied());
            pixels = planes.collect();
        }
        let answered = answers.answer(&(row + 1).to_string(), &[], pipeline.apply_image(&pixels));
        answered.with_context(|| name.to_owned())?;
    }
    Ok(())
}

/// The pictures in a folder, by name; each row is called after its file.
fn pictures(folder: &Path, pipeline: &Pipeline, answers: &mut Answers<'_>) -> Result<()> {
    let cannot = || format!("cannot read {}", folder.display());
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        bail!("{}: holds no picture", folder.display());
    }
    answers.begin("file", &[])?;
    for path in files {
        let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.display().to_string();
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        answers.answer(&file, &[], picture(&name, &content, pipeline))?;
    }
    Ok(())
}

/// A picture in its own colours, or in those that the model knows.
fn picture(name: &str, content: &[u8], pipeline: &Pipeline) -> Result<Vec<f32>, DataError> {
    let colour = decode::picture_size(name, content)?.colour;
    let read = |colour: bool| {
        let pixels = decode::picture(name, content, colour)?;
        let pixels: Vec<f32> = pixels.into_iter().map(f32::from).collect();
        pipeline.apply_image(&pixels)
    };
    read(colour).or_else(|error| read(!colour).map_err(|_| error))
}
