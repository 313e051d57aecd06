//! Files in; cleaned, normalised, partitioned examples out.

mod bundled;
mod classes;
mod config;
mod dataset;
pub mod decode;
mod duplicates;
mod encode;
mod error;
mod images;
mod load;
mod moments;
mod partition;
mod read;
mod recognise;
mod select;
mod sites;
mod source;
mod tables;

pub use bundled::{BundledInfo, bundled};
pub use config::{ClassRule, ColumnRef, DataConfig, Normalise, Paths, Scaling};
pub use dataset::{Dataset, ExampleShape, Sites, TrainTest};
pub use error::{DataError, PartitionError, Place};
pub use load::load;
pub use moments::ColumnMoments;
pub use partition::{ClientShare, DEFAULT_CLIENTS, MAX_DRAWS, Partition, PartitionConfig};
