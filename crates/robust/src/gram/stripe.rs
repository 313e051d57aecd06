//! Inner products of centred vectors over a stripe of columns.
//!
//! A block of columns is packed (centred, converted, padded with zeros) where it stays near the processor; then tiles of
//! 3 x 4 pairs run along its columns with one vector of partial sums a pair. The partial sums stay vectors of the
//! working type over at most [`GROUP`] columns, and are added in `f64` from there on.

use std::marker::PhantomData;
use std::ops::Range;

use crate::kernels::{self, Kernel, Level};
use crate::scalar::Scalar;

/// A vector of the round; `None` is the zero vector.
pub(crate) type Vector<'a, T> = Option<&'a [T]>;

/// Bytes of a cache line.
const LINE: usize = 64;
/// Columns of a packed block.
const COLUMNS: usize = 256;
/// Columns of a packed block where partial sums are not kept from block to block.
const COLUMNS_OF_MANY: usize = 512;
/// Columns over which partial sums are kept in the working type.
const GROUP: usize = 2048;
/// Most vectors for which partial sums are kept from block to block: they take 1 MB.
const MOST_KEPT: usize = 256;
/// Vectors whose mean is the centre. Distances are the same around any; more would cost time, and a single one might
/// lie far out.
const MIDDLE: usize = 8;
/// Pairs of a tile.
const TALL: usize = 3;
const WIDE: usize = 4;
/// Vectors are padded to whole tiles both ways.
const PAD: usize = 12;

/// What is subtracted from every vector.
#[derive(Clone, Copy, Debug)]
pub(super) enum Centre {
    /// The mean of about [`MIDDLE`] vectors.
    Middle,
    /// The vector of this number.
    Vector(usize),
}

/// The work: `F` is the type of the products.
pub(super) struct Stripe<'a, 'v, T, F> {
    pub(super) vectors: &'a [Vector<'v, T>],
    pub(super) columns: Range<usize>,
    pub(super) centre: Centre,
    pub(super) working: PhantomData<F>,
}

/// Inner products over a stripe.
pub(super) struct Partial<T: Scalar> {
    /// Entry (i, j), j <= i, at i x count + j; the rest is 0.
    pub(super) gram: Vec<f64>,
    /// The largest magnitude of any value.
    pub(super) largest: T::Magnitude,
}

impl<T: Scalar, F: Scalar> Kernel for Stripe<'_, '_, T, F> {
    type Output = Partial<T>;

    #[inline(always)]
    fn run(self, level: Level) -> Partial<T> {
        let single = size_of::<F>() == 4;
        match level {
            Level::Portable if single => self.products::<4, false>(),
            Level::Portable => self.products::<2, false>(),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 if single => self.products::<8, true>(),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => self.products::<4, true>(),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 if single => self.products::<16, true>(),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => self.products::<8, true>(),
        }
    }
}

/// Partial sums of a tile.
type Tile<F, const L: usize> = [[[F; L]; WIDE]; TALL];

impl<T: Scalar, F: Scalar> Stripe<'_, '_, T, F> {
    #[inline(always)]
    fn products<const L: usize, const FUSED: bool>(self) -> Partial<T> {
        let count = self.vectors.len();
        let keep = count <= MOST_KEPT;
        let block = if keep { COLUMNS } else { COLUMNS_OF_MANY };
        let mut packed = Packed::<F>::new(count, block);
        let mut tiles: Vec<Tile<F, L>> = Vec::new();
        if keep {
            tiles.resize(
                tile_places(count).count(),
                [[[F::default(); L]; WIDE]; TALL],
            );
        }
        let mut gram = vec![0.0; count * count];
        let mut largest = T::Magnitude::default();
        for group in self.columns.clone().step_by(GROUP) {
            let end = (group + GROUP).min(self.columns.end);
            for start in (group..end).step_by(block) {
                let columns = start..(start + block).min(end);
                let found = packed.fill::<T, L>(self.vectors, columns, self.centre);
                largest = largest.max(found);
                let next = end.min(start + block)..(start + 2 * block).min(self.columns.end);
                let mut ahead = Ahead::new(self.vectors, next, tile_places(count).count());
                for (place, (row, column)) in tile_places(count).enumerate() {
                    ahead.fetch();
                    if keep {
                        packed.tile::<L, FUSED>(row, column, &mut tiles[place]);
                    } else {
                        let mut tile = [[[F::default(); L]; WIDE]; TALL];
                        packed.tile::<L, FUSED>(row, column, &mut tile);
                        add_tile(&tile, row, column, count, &mut gram);
                    }
                }
            }
            for (tile, (row, column)) in tiles.iter_mut().zip(tile_places(count)) {
                add_tile(tile, row, column, count, &mut gram);
                *tile = [[[F::default(); L]; WIDE]; TALL];
            }
        }
        Partial { gram, largest }
    }
}

/// The cache lines of the next block, to be fetched while this one is multiplied.
struct Ahead<'a, 'v, T> {
    vectors: std::slice::Iter<'a, Vector<'v, T>>,
    columns: Range<usize>,
    /// What is left of the vector whose turn it is.
    values: &'a [T],
    /// Lines fetched at a time.
    share: usize,
}

impl<'a, 'v, T: Scalar> Ahead<'a, 'v, T> {
    /// Values of a line.
    const LINE: usize = LINE / size_of::<T>();

    #[inline(always)]
    fn new(vectors: &'a [Vector<'v, T>], columns: Range<usize>, times: usize) -> Self {
        // One turn a vector goes to finding it.
        let lines = (columns.len().div_ceil(Self::LINE) + 1) * vectors.len();
        Self {
            vectors: vectors.iter(),
            columns,
            values: &[],
            share: lines.div_ceil(times.max(1)),
        }
    }

    /// Asks for the next share.
    #[inline(always)]
    fn fetch(&mut self) {
        for _ in 0..self.share {
            if let Some(first) = self.values.first() {
                kernels::prefetch(first);
                self.values = self.values.get(Self::LINE..).unwrap_or_default();
            } else if let Some(vector) = self.vectors.next() {
                self.values = vector.map_or(&[], |values| &values[self.columns.clone()]);
            }
        }
    }
}

/// First row and first column of every tile that touches the lower triangle.
#[inline(always)]
fn tile_places(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).step_by(TALL).flat_map(move |row| {
        (0..(row + TALL).min(count))
            .step_by(WIDE)
            .map(move |column| (row, column))
    })
}

/// Adds the lanes of a tile to the lower triangle of `gram`.
#[inline(always)]
fn add_tile<F: Scalar, const L: usize>(
    tile: &Tile<F, L>,
    row: usize,
    column: usize,
    count: usize,
    gram: &mut [f64],
) {
    for (i, sums) in tile.iter().enumerate().take(count - row) {
        for (j, sum) in sums.iter().enumerate() {
            if column + j <= row + i {
                gram[(row + i) * count + column + j] += sum_of_lanes(sum);
            }
        }
    }
}

/// The sum of the lanes, halves first.
#[inline(always)]
fn sum_of_lanes<F: Scalar, const L: usize>(lanes: &[F; L]) -> f64 {
    let mut lanes = *lanes;
    let mut half = L / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0].into()
}

/// A block of columns, centred.
struct Packed<F> {
    /// Vector i begins at i x `stride`.
    values: Vec<F>,
    stride: usize,
    /// Columns in use, a multiple of the lanes.
    width: usize,
    centre: Vec<F>,
}

impl<F: Scalar> Packed<F> {
    fn new(count: usize, stride: usize) -> Self {
        Self {
            values: vec![F::default(); count.next_multiple_of(PAD) * stride],
            stride,
            width: 0,
            centre: vec![F::default(); stride],
        }
    }

    /// Packs these columns and returns the largest magnitude among them.
    #[inline(always)]
    fn fill<T: Scalar, const L: usize>(
        &mut self,
        vectors: &[Vector<'_, T>],
        columns: Range<usize>,
        centre: Centre,
    ) -> T::Magnitude {
        let length = columns.len();
        let middle = &mut self.centre[..length];
        middle.fill(F::default());
        match centre {
            Centre::Middle => {
                let some = vectors.len().div_ceil(MIDDLE).max(1);
                let some = vectors.iter().flatten().step_by(some);
                let share = F::of(1.0 / (some.clone().count() as f64).max(1.0));
                for values in some {
                    for (middle, &value) in middle.iter_mut().zip(&values[columns.clone()]) {
                        *middle += F::of(value.into());
                    }
                }
                middle
                    .iter_mut()
                    .for_each(|middle| *middle = *middle * share);
            }
            Centre::Vector(at) => {
                if let Some(values) = vectors[at] {
                    for (middle, &value) in middle.iter_mut().zip(&values[columns.clone()]) {
                        *middle = F::of(value.into());
                    }
                }
            }
        }
        let mut largest = T::Magnitude::default();
        self.width = length.next_multiple_of(L);
        for (vector, packed) in vectors.iter().zip(self.values.chunks_mut(self.stride)) {
            match vector {
                Some(values) => {
                    let values = &values[columns.clone()];
                    for ((packed, &value), &middle) in packed.iter_mut().zip(values).zip(&*middle) {
                        *packed = F::of(value.into()) - middle;
                        largest = largest.max(value.magnitude());
                    }
                }
                None => {
                    for (packed, &middle) in packed.iter_mut().zip(&*middle) {
                        *packed = -middle;
                    }
                }
            }
            packed[length..self.width].fill(F::default());
        }
        largest
    }

    /// Adds the products of 3 vectors from `row` on with 4 vectors from `column` on.
    #[inline(always)]
    fn tile<const L: usize, const FUSED: bool>(
        &self,
        row: usize,
        column: usize,
        sums: &mut Tile<F, L>,
    ) {
        let steps = self.width / L;
        let lanes = |vector: usize| {
            let start = vector * self.stride;
            &self.values[start..start + self.width].as_chunks::<L>().0[..steps]
        };
        let [a0, a1, a2] = [lanes(row), lanes(row + 1), lanes(row + 2)];
        let [b0, b1, b2, b3] = [
            lanes(column),
            lanes(column + 1),
            lanes(column + 2),
            lanes(column + 3),
        ];
        let mut tile = *sums;
        for step in 0..steps {
            let left = [&a0[step], &a1[step], &a2[step]];
            for (j, right) in [&b0[step], &b1[step], &b2[step], &b3[step]]
                .into_iter()
                .enumerate()
            {
                for (i, left) in left.iter().enumerate() {
                    for lane in 0..L {
                        tile[i][j][lane] =
                            left[lane].multiply_add::<FUSED>(right[lane], tile[i][j][lane]);
                    }
                }
            }
        }
        *sums = tile;
    }
}
