//! Decoders: bytes in, checked arrays out, no files touched.
//!
//! Each takes the name of the file for its errors and never panics, whatever the bytes: these are the functions that
//! the fuzz targets call. Sizes that a header claims are compared with the bytes that are there before anything is
//! allocated for them.

mod cifar;
mod idx;
mod npy;
mod npz;
mod number;
mod picture;
mod records;
mod table;

pub use cifar::{CIFAR_PIXELS, CIFAR_RECORD, cifar10};
pub use idx::{IdxHeader, idx};
pub use npy::{NpyArray, NpyFloats, NpyValues, npy, npy_bytes, npy_floats};
pub use npz::npz;
pub(crate) use number::number;
pub use picture::{PictureSize, picture, picture_size};
pub use records::{Batch, Records};
pub(crate) use table::has_header;
pub use table::{Dialect, Grid, table};
