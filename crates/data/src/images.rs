//! Image parts as they were read, and the step from them to a dataset.

use std::hash::{DefaultHasher, Hash};

use crate::classes::ClassMap;
use crate::config::{DataConfig, Normalise};
use crate::dataset::{ExampleShape, Sites};
use crate::duplicates::{Duplicates, Rows};
use crate::error::{DataError, Place};
use crate::moments::ColumnMoments;
use crate::prepare::{ImagePipeline, Pipeline};
use crate::raw::{RawContent, RawData};
use crate::select::{Chosen, select};
use crate::sites::{self, Owners};

/// Values of images, row-major, each image CHW.
#[derive(Clone, Debug)]
pub(crate) enum Pixels {
    Bytes(Vec<u8>),
    Numbers(Vec<f32>),
}

/// Where rows came from, for errors about their labels.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) first_row: usize,
    pub(crate) file: String,
    /// Byte of the first label and bytes from one to the next, where labels are bytes of a file.
    pub(crate) label_bytes: Option<(u64, u64)>,
}

/// Images of one part, before classes are mapped and values normalised.
#[derive(Clone, Debug)]
pub(crate) struct Images {
    /// The first file that holds pixels, for errors about them.
    pub(crate) file: String,
    pub(crate) shape: ExampleShape,
    pub(crate) pixels: Pixels,
    /// The value that `unit` maps to 1.
    pub(crate) white: f32,
    pub(crate) labels: Vec<u32>,
    /// What the labels are called.
    pub(crate) names: Vec<String>,
    pub(crate) origins: Vec<Origin>,
    pub(crate) owners: Owners,
}

impl Images {
    pub(crate) fn rows(&self) -> usize {
        self.labels.len()
    }

    /// Takes in the images of another file.
    pub(crate) fn append(&mut self, other: Self) -> Result<(), DataError> {
        let mismatch = |reason: String| DataError::malformed(&other.file, Place::File, reason);
        if other.shape != self.shape {
            let reason = format!(
                "examples of {}, but those of {} are {}",
                other.shape, self.file, self.shape
            );
            return Err(mismatch(reason));
        }
        match (&mut self.pixels, &other.pixels) {
            (Pixels::Bytes(all), Pixels::Bytes(more)) => all.extend_from_slice(more),
            (Pixels::Numbers(all), Pixels::Numbers(more)) if self.white == other.white => {
                all.extend_from_slice(more);
            }
            _ => {
                return Err(mismatch(format!(
                    "values of another type than those of {}",
                    self.file
                )));
            }
        }
        let rows = self.rows();
        let known: Vec<u32> = other
            .names
            .iter()
            .map(|name| position_or_push(&mut self.names, name))
            .collect();
        self.labels
            .extend(other.labels.iter().map(|&label| known[label as usize]));
        self.origins
            .extend(other.origins.into_iter().map(|origin| Origin {
                first_row: origin.first_row + rows,
                ..origin
            }));
        self.owners.append(other.owners);
        Ok(())
    }

    fn row_range(&self, row: u32) -> std::ops::Range<usize> {
        let width = self.shape.len();
        row as usize * width..(row as usize + 1) * width
    }

    /// The class of every row.
    fn classes(&self, map: &ClassMap) -> Result<Vec<u32>, DataError> {
        let of_name: Vec<Option<u32>> = self.names.iter().map(|name| map.class(name)).collect();
        self.labels
            .iter()
            .enumerate()
            .map(|(row, &label)| {
                of_name[label as usize].ok_or_else(|| self.unknown_label(row, map))
            })
            .collect()
    }

    fn unknown_label(&self, row: usize, map: &ClassMap) -> DataError {
        let origin = self
            .origins
            .iter()
            .rev()
            .find(|origin| origin.first_row <= row);
        let place = match origin.and_then(|origin| Some((origin.first_row, origin.label_bytes?))) {
            Some((first, (start, stride))) => Place::Byte(start + (row - first) as u64 * stride),
            None => Place::File,
        };
        DataError::UnknownLabel {
            file: origin.map(|origin| origin.file.clone()).unwrap_or_default(),
            place,
            label: self.names[self.labels[row] as usize].clone(),
            classes: map.describe(),
        }
    }

    /// The values of the chosen rows, divided by `white` (correctly rounded, as a reciprocal would not be).
    fn values(&self, rows: &[u32], white: f32) -> Vec<f32> {
        let mut values = Vec::with_capacity(rows.len() * self.shape.len());
        for &row in rows {
            let range = self.row_range(row);
            match &self.pixels {
                Pixels::Bytes(bytes) => {
                    values.extend(bytes[range].iter().map(|&byte| f32::from(byte) / white));
                }
                Pixels::Numbers(numbers) => {
                    values.extend(numbers[range].iter().map(|&number| number / white));
                }
            }
        }
        values
    }

    /// The values of the chosen rows, divided and reshaped, but not standardised.
    fn coded(&self, pipeline: &ImagePipeline, rows: &[u32]) -> Vec<f32> {
        if pipeline.is_plain() {
            return self.values(rows, pipeline.white);
        }
        let mut coded = Vec::with_capacity(rows.len() * pipeline.shape.len());
        for row in rows {
            coded.extend(pipeline.reshape(&self.values(&[*row], pipeline.white)));
        }
        coded
    }

    /// Smallest and largest value.
    pub(crate) fn range(&self) -> (f32, f32) {
        let fold = |values: &mut dyn Iterator<Item = f32>| {
            values.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            })
        };
        match &self.pixels {
            Pixels::Bytes(bytes) => fold(&mut bytes.iter().map(|&byte| f32::from(byte))),
            Pixels::Numbers(numbers) => fold(&mut numbers.iter().copied()),
        }
    }
}

impl Rows for Images {
    fn hash(&self, row: u32, hasher: &mut DefaultHasher) {
        match &self.pixels {
            Pixels::Bytes(bytes) => bytes[self.row_range(row)].hash(hasher),
            Pixels::Numbers(numbers) => {
                for number in &numbers[self.row_range(row)] {
                    number.to_bits().hash(hasher);
                }
            }
        }
    }

    fn same(&self, row: u32, other: &Self, other_row: u32) -> bool {
        let (range, other_range) = (self.row_range(row), other.row_range(other_row));
        match (&self.pixels, &other.pixels) {
            (Pixels::Bytes(a), Pixels::Bytes(b)) => a[range] == b[other_range],
            (Pixels::Numbers(a), Pixels::Numbers(b)) => a[range] == b[other_range],
            _ => false,
        }
    }
}

/// The index of `name`, which is appended if it is new.
pub(crate) fn position_or_push(names: &mut Vec<String>, name: &str) -> u32 {
    let at = names
        .iter()
        .position(|known| known == name)
        .unwrap_or_else(|| {
            names.push(name.to_owned());
            names.len() - 1
        });
    at as u32
}

/// Both parts of an image set.
pub(crate) struct ImageSet {
    pub(crate) train: Images,
    pub(crate) test: Option<Images>,
}

impl ImageSet {
    /// Refuses parts that do not fit each other or the limits, and settings that do not concern images.
    pub(crate) fn check(&self, config: &DataConfig) -> Result<(), DataError> {
        if let Some(key) = config.table_key() {
            return Err(DataError::setting(
                key,
                "concerns tables, but these are images",
            ));
        }
        if let Some(test) = &self.test
            && (test.shape != self.train.shape || test.white != self.train.white)
        {
            let reason = format!(
                "test examples of {}, training examples of {}",
                test.shape, self.train.shape
            );
            return Err(DataError::malformed(&test.file, Place::File, reason));
        }
        for images in std::iter::once(&self.train).chain(&self.test) {
            let bytes = images.rows() as u64 * images.shape.len() as u64 * 4;
            if bytes > config.max_bytes {
                let reason = format!(
                    "{} examples of {} take {bytes} bytes, more than data.max_bytes = {}",
                    images.rows(),
                    images.shape,
                    config.max_bytes
                );
                return Err(DataError::too_large(&images.file, reason));
            }
        }
        Ok(())
    }

    /// The names of labels that training rows have.
    fn training_names(&self) -> Vec<String> {
        let mut seen = vec![false; self.train.names.len()];
        for &label in &self.train.labels {
            seen[label as usize] = true;
        }
        let names = self.train.names.iter().zip(seen);
        names
            .filter(|(_, seen)| *seen)
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// The class of each training and test row.
    pub(crate) fn class_map(&self, config: &DataConfig) -> Result<ClassMap, DataError> {
        ClassMap::new(config, &self.training_names())
    }

    pub(crate) fn classes(
        &self,
        map: &ClassMap,
    ) -> Result<(Vec<u32>, Option<Vec<u32>>), DataError> {
        let test = self
            .test
            .as_ref()
            .map(|test| test.classes(map))
            .transpose()?;
        Ok((self.train.classes(map)?, test))
    }

    /// Chooses rows and maps classes.
    pub(crate) fn open(
        self,
        config: &DataConfig,
        name: String,
        seed: u64,
        mut notes: Vec<String>,
    ) -> Result<RawData, DataError> {
        self.check(config)?;
        let map = self.class_map(config)?;
        let (labels, test_labels) = self.classes(&map)?;
        let (train_sites, test_sites) = sites::of_parts(
            &self.train.owners,
            self.test.as_ref().map(|test| &test.owners),
        );
        let all = |rows: usize| (0..rows as u32).collect::<Vec<u32>>();
        let test_rows = self.test.as_ref().map(|test| all(test.rows()));
        let selection = select(
            config,
            &name,
            all(labels.len()),
            (&labels, train_sites.as_ref()),
            test_rows,
            seed,
            &mut notes,
        )?;
        let (train, test) = (&selection.train, &selection.test);
        let test_images = self.test.as_ref().unwrap_or(&self.train);
        let duplicates = Duplicates::count((&self.train, train), (test_images, test));
        notes.extend(duplicates.notes(train.len(), test.len()));
        let test = test_labels.as_ref();
        let chosen = selection.of(
            (&labels, train_sites.as_ref()),
            test.map(|labels| (&labels[..], test_sites.as_ref())),
        );
        let white = match config.normalise {
            Normalise::None => 1.0,
            Normalise::Unit | Normalise::Standard => self.train.white,
        };
        let steps = config.prepare.images.clone().unwrap_or_default();
        let pipeline = ImagePipeline::new(self.train.shape, white, &steps)?;
        let mut raw = RawData {
            name,
            classes: map.names().to_vec(),
            chosen,
            content: RawContent::Images {
                set: Box::new(self),
                pipeline,
                standard: config.normalise == Normalise::Standard,
            },
            max_bytes: config.max_bytes,
            prepare: config.prepare.clone(),
            seed,
            notes,
        };
        raw.choose()?;
        Ok(raw)
    }

    /// The pipeline, with the figures of the training rows that it needs.
    pub(crate) fn fit(
        &self,
        mut pipeline: ImagePipeline,
        standard: bool,
        classes: &[String],
        chosen: &Chosen,
    ) -> Pipeline {
        if standard {
            let values = self.train.coded(&pipeline, &chosen.train);
            let sites = chosen.train_sites.as_ref();
            pipeline.channels = Some(scales(&channel_moments(&values, pipeline.shape, sites)));
        }
        Pipeline::of_images(classes, pipeline)
    }

    /// The values of the chosen rows of both parts.
    pub(crate) fn coded(
        &self,
        pipeline: &ImagePipeline,
        chosen: &Chosen,
        max_bytes: u64,
    ) -> Result<(Vec<f32>, Vec<f32>), DataError> {
        if pipeline.from != self.train.shape {
            let reason = format!(
                "made for images of {}, but these are {}",
                pipeline.from, self.train.shape
            );
            return Err(DataError::statistics(reason));
        }
        let rows = chosen.train.len().max(chosen.test.len()) as u64;
        let bytes = rows.saturating_mul(pipeline.shape.len() as u64 * 4);
        if bytes > max_bytes {
            let reason = format!(
                "{rows} examples of {} take {bytes} bytes, more than data.max_bytes = {max_bytes}",
                pipeline.shape
            );
            return Err(DataError::too_large(&self.train.file, reason));
        }
        let coded = |images: &Images, rows: &[u32]| {
            let mut values = images.coded(pipeline, rows);
            pipeline.standardise(&mut values);
            values
        };
        let test_images = self.test.as_ref().unwrap_or(&self.train);
        Ok((
            coded(&self.train, &chosen.train),
            coded(test_images, &chosen.test),
        ))
    }
}

/// Mean and spread of each channel, observed owner by owner and merged.
fn channel_moments(
    values: &[f32],
    shape: ExampleShape,
    sites: Option<&Sites>,
) -> Vec<ColumnMoments> {
    let owners = sites.map_or(1, |sites| sites.names.len());
    let mut by_owner = vec![vec![ColumnMoments::default(); shape.channels]; owners];
    let plane = shape.height * shape.width;
    for (row, image) in values.chunks_exact(shape.len()).enumerate() {
        let owner = sites.map_or(0, |sites| sites.of_row[row] as usize);
        for (moments, plane) in by_owner[owner].iter_mut().zip(image.chunks_exact(plane)) {
            for &value in plane {
                moments.observe(Some(f64::from(value)));
            }
        }
    }
    let mut merged = vec![ColumnMoments::default(); shape.channels];
    for owner in &by_owner {
        for (all, own) in merged.iter_mut().zip(owner) {
            all.merge(own);
        }
    }
    merged
}

/// Mean and deviation of each channel, a deviation of 0 as 1.
fn scales(channels: &[ColumnMoments]) -> Vec<(f64, f64)> {
    let scale = |moments: &ColumnMoments| {
        let deviation = moments.variance().sqrt();
        let deviation = if deviation > 0.0 { deviation } else { 1.0 };
        (moments.mean(), deviation)
    };
    channels.iter().map(scale).collect()
}
