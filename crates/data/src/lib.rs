//! Files in; cleaned, normalised, partitioned examples out.
//!
//! A federation learns from rows that lie with many owners. This crate reads the rows, makes numbers of them, and
//! says whose they are:
//!
//! ```text
//! files -- decode --> arrays and cells -- load --> Dataset (train), Dataset (test) -- split --> rows of each client
//! ```
//!
//! ```
//! use cloister_data::{DataConfig, PartitionConfig};
//! use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
//!
//! // 1,797 images of 8x8, inside the binary; one in five is held out.
//! let digits = cloister_data::load(&DataConfig::bundled("digits"), 7)?;
//!
//! // Ten clients with skewed labels; the same stream gives the same partition.
//! let skewed = PartitionConfig::Dirichlet { alpha: 0.5, balanced: false, minimum: 10 };
//! let partition = skewed.split(&digits.train, Some(10), &mut ChaCha8Rng::seed_from_u64(7))?;
//!
//! // A client sees its own rows.
//! let client = &partition.clients[3];
//! let first = digits.train.row(client.rows[0] as usize);
//! assert_eq!((client.name.as_str(), first.len()), ("client-3", 64));
//!
//! // The picture of the partition: clients x classes, every row once.
//! let picture = partition.class_counts(&digits.train);
//! assert_eq!(picture.iter().flatten().sum::<u32>() as usize, digits.train.len());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Formats
//!
//! The format of a file is told by its content, never by its name, and any file may be gzip as well. Names are used
//! for two things only: a file or folder with the word `test`, `testing` or `t10k` in its name is a test part (`val`,
//! `valid` and `validation` are passed over, with a note), and a path in a list names its owner.
//!
//! | format | as | parts | classes |
//! | --- | --- | --- | --- |
//! | IDX of bytes | a folder with one file of images and one of labels a part | by name | 0 to the largest label |
//! | CIFAR-10 binary | a file or a folder of batches | by name | `batches.meta.txt` beside it, else 0 to 9 |
//! | npz | an archive with `train_images` and `train_labels`, `x_train` and `y_train`, or `images` and `labels` (in any case of letters); the like for test | by array | 0 to the largest label |
//! | table | CSV, or with semicolons or tabs, with or without a header; a folder of them is one owner a file | by name | the label column, or `positive`, or `classes` |
//! | pictures | a folder of class folders of PNG or JPEG, all of one size | folders `train` and `test` | folder names |
//!
//! A path may be a list; then each entry is the data of one owner, whatever its format, and [`PartitionConfig::Natural`]
//! makes a client of each.
//!
//! # What is done to the values
//!
//! Images: [`Normalise`]. Tables: texts and declared columns become one-hot codes, numbers are scaled by [`Scaling`],
//! missing numbers become the training mean, missing or unseen codes all zeros. Every statistic comes from training
//! rows only, and can be found from sums over owners ([`statistics`]), so that a deployed federation can compute the
//! same without pooling rows. [`PrepareConfig`] says more, and [`Pipeline`] is what comes of it. Labels and codes that are whole numbers are compared as numbers: `1`, `1.0` and `01`
//! are one class. What was done is said in [`TrainTest::notes`], as are rows that occur twice and test
//! rows that occur in training.
//!
//! # Input is not trusted
//!
//! Every decoder compares what a header claims with the bytes that are there before it allocates. Decompressed content
//! stops at `max_bytes` (4 GiB), and beyond 64 MiB at 200 times the compressed size. A fault is a [`DataError`] that
//! names the file and the line, byte or column; nothing panics. The decoders are public in [`decode`] and are fuzzed.

mod batches;
mod bundled;
mod classes;
mod config;
mod dataset;
pub mod decode;
mod duplicates;
mod encode;
mod error;
mod images;
mod inspect;
mod large;
mod load;
mod moments;
mod partition;
mod prepare;
mod raw;
mod read;
mod recognise;
mod schema;
mod select;
mod sites;
pub mod sketch;
mod source;
pub mod statistics;
mod tables;

pub use bundled::{BundledInfo, bundled};
pub use config::{ClassRule, ColumnRef, DataConfig, Normalise, Paths, Scaling};
pub use dataset::{Column, Dataset, ExampleShape, NumericTarget, Sites, TargetScale, TrainTest};
pub use error::{DataError, PartitionError, Place};
pub use inspect::{
    ClassSummary, ColumnKind, ColumnRole, ColumnSummary, Finding, Holds, InspectOptions,
    Inspection, Measure, PartSummary, Rule, SiteDifference, SiteSummary, inspect, inspect_with,
};
pub use large::{LargePart, LargeTable, open_large};
pub use load::{load, open};
pub use moments::ColumnMoments;
pub use partition::{ClientShare, DEFAULT_CLIENTS, MAX_DRAWS, Partition, PartitionConfig, Roll};
pub use prepare::{
    Ambiguous, AugmentConfig, Binding, Buckets, Case, ClassWeights, ColumnConfig, ColumnType,
    Constant, Encoding, Fill, FlowConfig, FourierConfig, Grams, HogConfig, ImagesConfig, Outside,
    PcaConfig, Pipeline, PrepareConfig, PreparePlan, Repeated, Resample, ResizeConfig,
    ResizeFilter, TimePart, Transform, Unseen, WeightRule, augment,
};
pub use raw::RawData;
pub use read::table_reader;
pub use schema::{Disagreement, Disagreements, Schema, SchemaColumn, compare as compare_schemas};
