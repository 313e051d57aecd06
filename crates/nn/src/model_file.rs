//! Model files: the flat parameter vector as named tensors in the safetensors format, with metadata.
//!
//! The bytes depend on nothing but the contents (tensors in the layout's order, metadata sorted by key), so that equal
//! models give equal files. Reading takes any file of `F32` tensors, such as one that PyTorch users have saved from a
//! `state_dict`; [`ModelFile::parameters_for`] brings its tensors into a model's own order.
//!
//! ```
//! use std::collections::BTreeMap;
//! use cloister_nn::{Layout, model_file};
//!
//! let layout = Layout::new([("fc1.weight", vec![1, 2]), ("fc1.bias", vec![1])])?;
//! let metadata = BTreeMap::from([("round".to_owned(), "7".to_owned())]);
//! let bytes = model_file::encode(&metadata, &layout, &[0.5, -0.5, 1.0])?;
//!
//! let file = model_file::decode(&bytes)?;
//! assert_eq!(file.metadata["round"], "7");
//! assert_eq!(file.parameters_for(&layout)?, [0.5, -0.5, 1.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;

use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::layout::{Layout, LayoutError, TensorSpec};

/// The reserved key of the metadata in a safetensors header.
const METADATA: &str = "__metadata__";

/// A model file's contents.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelFile {
    /// Free text by key.
    pub metadata: BTreeMap<String, String>,
    /// The tensors in the order of the file.
    pub layout: Layout,
    /// Their elements, as `layout` places them.
    pub parameters: Vec<f32>,
}

/// Bytes that are no model file, or not the one asked for.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelFileError {
    /// The bytes break the safetensors format.
    #[error("not a safetensors file: {0}")]
    Format(#[from] SafeTensorError),
    /// A tensor of numbers other than `f32`.
    #[error("tensor \"{name}\" holds {found} numbers, only F32 is read")]
    Dtype {
        /// The tensor.
        name: String,
        /// Its kind of number.
        found: String,
    },
    /// Tensors that make no layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A tensor that the model has and the file has not.
    #[error("the file has no tensor \"{name}\" of shape {shape:?}; it has {has}")]
    Missing {
        /// The tensor.
        name: String,
        /// Its shape in the model.
        shape: Vec<usize>,
        /// The file's tensors, with their shapes.
        has: String,
    },
    /// A tensor of another shape than the model's.
    #[error("tensor \"{name}\" has shape {found:?} in the file, the model has {expected:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape in the file.
        found: Vec<usize>,
        /// Its shape in the model.
        expected: Vec<usize>,
    },
    /// A tensor that the file has and the model has not.
    #[error("the file's tensor \"{name}\" of shape {shape:?} has no place in the model")]
    Unknown {
        /// The tensor.
        name: String,
        /// Its shape in the file.
        shape: Vec<usize>,
    },
    /// Parameters to be written that do not fill the layout.
    #[error("the layout has {expected} parameters, {found} are given")]
    Length {
        /// Length of the layout.
        expected: usize,
        /// Length of the vector.
        found: usize,
    },
    /// A tensor with the name that the format keeps for its metadata.
    #[error("no tensor can have the name \"__metadata__\"")]
    ReservedName,
    /// The header could not be written as JSON.
    #[error("the header cannot be written: {0}")]
    Header(#[from] serde_json::Error),
}

/// The bytes of a model file.
///
/// # Errors
/// When `parameters` has not the layout's length, or a tensor has the reserved name `__metadata__`.
pub fn encode(
    metadata: &BTreeMap<String, String>,
    layout: &Layout,
    parameters: &[f32],
) -> Result<Vec<u8>, ModelFileError> {
    if parameters.len() != layout.len() {
        return Err(ModelFileError::Length {
            expected: layout.len(),
            found: parameters.len(),
        });
    }
    if layout.tensor(METADATA).is_some() {
        return Err(ModelFileError::ReservedName);
    }
    let mut header = serde_json::to_vec(&Header { metadata, layout })?;
    // The format wants the data at a multiple of eight bytes, the header padded with spaces.
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut bytes = Vec::with_capacity(8 + header.len() + size_of_val(parameters));
    bytes.extend_from_slice(&(header.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&header);
    for value in parameters {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    Ok(bytes)
}

/// Reads a model file. Any bytes may be given: nothing is allocated beyond what their length allows.
///
/// # Errors
/// When the bytes break the format, or a tensor is not of `f32`. Values are not judged: they may be NaN or infinite.
pub fn decode(bytes: &[u8]) -> Result<ModelFile, ModelFileError> {
    let (header_len, header) = SafeTensors::read_metadata(bytes)?;
    let names = header.offset_keys();
    let mut tensors = Vec::with_capacity(names.len());
    for name in names {
        let Some(info) = header.info(&name) else {
            continue; // unreachable: the names are the header's own
        };
        if info.dtype != Dtype::F32 {
            let found = format!("{:?}", info.dtype);
            return Err(ModelFileError::Dtype { name, found });
        }
        let shape = info.shape.clone();
        tensors.push((name, shape));
    }
    let layout = Layout::new(tensors)?;
    let data = &bytes[8 + header_len..];
    let (numbers, _) = data.as_chunks::<4>();
    let parameters: Vec<f32> = numbers.iter().map(|b| f32::from_le_bytes(*b)).collect();
    if parameters.len() != layout.len() {
        return Err(ModelFileError::Length {
            expected: layout.len(),
            found: parameters.len(),
        });
    }
    let metadata = header.metadata().iter().flatten();
    Ok(ModelFile {
        metadata: metadata.map(|(k, v)| (k.clone(), v.clone())).collect(),
        layout,
        parameters,
    })
}

impl ModelFile {
    /// The parameters in the order of a model's layout; the file may hold the tensors in any order.
    ///
    /// # Errors
    /// When the file lacks a tensor, has it in another shape, or has one more than the model.
    pub fn parameters_for(&self, layout: &Layout) -> Result<Vec<f32>, ModelFileError> {
        let mut parameters = Vec::with_capacity(layout.len());
        for wanted in layout.tensors() {
            let Some(found) = self.layout.tensor(&wanted.name) else {
                return Err(ModelFileError::Missing {
                    name: wanted.name.clone(),
                    shape: wanted.shape.clone(),
                    has: list(self.layout.tensors()),
                });
            };
            if found.shape != wanted.shape {
                return Err(ModelFileError::Shape {
                    name: wanted.name.clone(),
                    found: found.shape.clone(),
                    expected: wanted.shape.clone(),
                });
            }
            parameters.extend_from_slice(&self.parameters[found.range()]);
        }
        let unknown = |tensor: &&TensorSpec| layout.tensor(&tensor.name).is_none();
        match self.layout.tensors().iter().find(unknown) {
            None => Ok(parameters),
            Some(tensor) => Err(ModelFileError::Unknown {
                name: tensor.name.clone(),
                shape: tensor.shape.clone(),
            }),
        }
    }
}

/// At most so many tensors are named in an error.
const MOST_NAMED: usize = 16;

fn list(tensors: &[TensorSpec]) -> String {
    let mut text: Vec<String> = tensors
        .iter()
        .take(MOST_NAMED)
        .map(|tensor| format!("{:?} {:?}", tensor.name, tensor.shape))
        .collect();
    match tensors.len().checked_sub(MOST_NAMED) {
        Some(more) if more > 0 => text.push(format!("{more} more")),
        _ if text.is_empty() => text.push("none".to_owned()),
        _ => {}
    }
    text.join(", ")
}

/// The JSON header, in a fixed order, unlike the hash maps of the `safetensors` crate.
struct Header<'a> {
    metadata: &'a BTreeMap<String, String>,
    layout: &'a Layout,
}

#[derive(Serialize)]
struct HeaderTensor<'a> {
    dtype: &'static str,
    shape: &'a [usize],
    data_offsets: [usize; 2],
}

impl Serialize for Header<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.metadata.is_empty() {
            map.serialize_entry(METADATA, self.metadata)?;
        }
        for tensor in self.layout.tensors() {
            let range = tensor.range();
            let value = HeaderTensor {
                dtype: "F32",
                shape: &tensor.shape,
                data_offsets: [range.start * 4, range.end * 4],
            };
            map.serialize_entry(&tensor.name, &value)?;
        }
        map.end()
    }
}
