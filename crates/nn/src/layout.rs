//! Where each named tensor lies in the flat parameter vector.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One named tensor of a [`Layout`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorSpec {
    /// PyTorch-style name, such as `conv1.weight` or `fc1.bias`.
    pub name: String,
    /// Sizes, slowest first: `[outputs, inputs]` for a linear weight, `[outputs, inputs, rows, columns]` for a
    /// convolution, `[outputs]` for a bias. Empty for a single number.
    pub shape: Vec<usize>,
    /// Index of the first element in the flat vector.
    pub offset: usize,
}

impl TensorSpec {
    /// Number of elements: the product of the sizes.
    pub fn len(&self) -> usize {
        // Cannot overflow: `Layout::new` has checked the product.
        self.shape.iter().product()
    }

    /// Whether the tensor has no element at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tensor's place in the flat vector.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.len()
    }
}

/// The named tensors of a flat parameter vector, in order and without gaps.
///
/// ```
/// use cloister_nn::Layout;
///
/// let layout = Layout::new([("fc1.weight", vec![2, 3]), ("fc1.bias", vec![2])])?;
/// assert_eq!(layout.len(), 8);
/// assert_eq!(layout.tensor("fc1.bias").map(|t| t.range()), Some(6..8));
/// # Ok::<(), cloister_nn::LayoutError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    tensors: Vec<TensorSpec>,
    len: usize,
}

/// A list of tensors that is no layout.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// Two tensors share a name.
    #[error("tensor \"{name}\" appears twice")]
    Repeated {
        /// The name.
        name: String,
    },
    /// The number of elements does not fit in memory's address range.
    #[error("tensor \"{name}\" of shape {shape:?} makes the parameter vector too long")]
    TooLong {
        /// The tensor at which the count overflows.
        name: String,
        /// Its sizes.
        shape: Vec<usize>,
    },
}

impl Layout {
    /// Lays tensors one after the other. `tensors` holds names and shapes.
    ///
    /// # Errors
    /// When a name appears twice, or the elements cannot be counted in an `isize`'s range of bytes.
    pub fn new<S: Into<String>>(
        tensors: impl IntoIterator<Item = (S, Vec<usize>)>,
    ) -> Result<Self, LayoutError> {
        let mut specs = Vec::new();
        let mut names = BTreeSet::new();
        let mut offset = 0_usize;
        for (name, shape) in tensors {
            let name = name.into();
            let end = shape
                .iter()
                .try_fold(1_usize, |product, &size| product.checked_mul(size))
                .and_then(|len| offset.checked_add(len))
                .filter(|&end| end <= isize::MAX as usize / size_of::<f32>());
            let Some(end) = end else {
                return Err(LayoutError::TooLong { name, shape });
            };
            if !names.insert(name.clone()) {
                return Err(LayoutError::Repeated { name });
            }
            specs.push(TensorSpec {
                name,
                shape,
                offset,
            });
            offset = end;
        }
        Ok(Self {
            tensors: specs,
            len: offset,
        })
    }

    /// Length d of the flat vector.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the vector has no element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The tensors, in the order of their offsets.
    pub fn tensors(&self) -> &[TensorSpec] {
        &self.tensors
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<&TensorSpec> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_follow_each_other_without_gaps() {
        let layout =
            Layout::new([("a", vec![2, 3]), ("scalar", vec![]), ("b", vec![4])]).expect("layout");
        let ranges: Vec<_> = layout.tensors().iter().map(TensorSpec::range).collect();
        assert_eq!(ranges, [0..6, 6..7, 7..11]);
        assert_eq!(layout.len(), 11);
        assert!(layout.tensor("c").is_none());
    }

    #[test]
    fn repeated_names_and_overflowing_shapes_are_refused() {
        let repeated = Layout::new([("a", vec![1]), ("a", vec![2])]);
        assert_eq!(
            repeated,
            Err(LayoutError::Repeated {
                name: "a".to_owned()
            })
        );
        let huge = Layout::new([("a", vec![usize::MAX, 2])]);
        assert!(matches!(huge, Err(LayoutError::TooLong { .. })));
        let sum = Layout::new([("a", vec![usize::MAX / 8]), ("b", vec![usize::MAX / 8])]);
        assert!(matches!(sum, Err(LayoutError::TooLong { .. })));
    }
}
