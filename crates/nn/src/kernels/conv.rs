//! Two-dimensional convolution, stride 1, without an im2col buffer.
//!
//! Two ways are used, whichever wastes fewer lanes: vectors of output *channels* ([`super::conv_channels`]) for wide
//! layers, vectors of output *columns* ([`super::conv_rows`]) for narrow ones. The gradient with respect to the input is
//! itself a convolution: of `dy`, with the weights turned by half a turn and their two channel axes exchanged.

use super::conv_channels::{ChannelWeights, Channels};
use super::conv_rows::{RowWeights, Rows, gradient_plane};
use super::conv_weights::Weights;
use super::simd::{Kernel, Simd, product, run};

/// The shape of one convolution: stride 1, square kernel, the same zero padding on all four sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Examples in the batch.
    pub batch: usize,
    /// Channels of the input.
    pub in_channels: usize,
    /// Rows of the input.
    pub height: usize,
    /// Columns of the input.
    pub width: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Rows and columns of the kernel, at least 1.
    pub kernel: usize,
    /// Rows and columns of zeros around the input.
    pub padding: usize,
}

impl ConvShape {
    /// Rows of the output: `height + 2 padding - kernel + 1`, or 0 where the kernel does not fit.
    pub fn out_height(&self) -> usize {
        out_size(self.height, self.padding, self.kernel)
    }

    /// Columns of the output: `width + 2 padding - kernel + 1`, or 0 where the kernel does not fit.
    pub fn out_width(&self) -> usize {
        out_size(self.width, self.padding, self.kernel)
    }

    /// Length of the input: `batch * in_channels * height * width`.
    pub fn input_len(&self) -> usize {
        product(&[self.batch, self.in_channels, self.height, self.width])
    }

    /// Length of the output: `batch * out_channels * out_height * out_width`.
    pub fn output_len(&self) -> usize {
        let (height, width) = (self.out_height(), self.out_width());
        product(&[self.batch, self.out_channels, height, width])
    }

    /// Length of the weight: `out_channels * in_channels * kernel * kernel`.
    pub fn weight_len(&self) -> usize {
        let (outputs, inputs) = (self.out_channels, self.in_channels);
        product(&[outputs, inputs, self.kernel, self.kernel])
    }
}

fn out_size(size: usize, padding: usize, kernel: usize) -> usize {
    let padded = padding.saturating_mul(2).saturating_add(size);
    padded.saturating_add(1).saturating_sub(kernel)
}

/// Working memory of the convolutions, shared by all layers of a model.
///
/// [`ConvScratch::reserve`] it for every shape first and no convolution allocates; without that the first call grows it.
#[derive(Clone, Debug, Default)]
pub struct ConvScratch {
    lines: Vec<Line>,
    /// For the gradient of a folded kernel, before it is unfolded.
    folded: Vec<f32>,
}

/// A cache line, so that the scratch is aligned to whole vectors.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([f32; 16]);

impl ConvScratch {
    /// Empty working memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes room for all three passes of a shape, and for any smaller batch of it.
    pub fn reserve(&mut self, shape: &ConvShape) {
        if shape.output_len() == 0 {
            return;
        }
        let passes = [
            Correlation::forward(shape),
            Correlation::input_gradient(shape),
        ];
        // Both vector widths, because the level may be changed between calls.
        let needed = [8, 16]
            .into_iter()
            .flat_map(|lanes| {
                let weights = WeightPlan::new(&passes[0], lanes, false).total();
                passes
                    .map(|pass| pass.plan(lanes).total())
                    .into_iter()
                    .chain([weights])
            })
            .max();
        self.grow(needed.unwrap_or(0));
    }

    /// Makes room for [`super::conv2d_backward_parameters_in_turn`].
    pub(super) fn reserve_in_turn(&mut self, shape: &ConvShape) {
        let pass = Correlation::forward(shape);
        for lanes in [8, 16] {
            self.grow(WeightPlan::new(&pass, lanes, true).total());
        }
    }

    /// Makes room for a correlation.
    pub(super) fn reserve_pass(&mut self, pass: &Correlation) {
        for lanes in [8, 16] {
            self.grow(pass.plan(lanes).total());
        }
    }

    fn grow(&mut self, needed: usize) {
        let lines = needed.div_ceil(16);
        if self.lines.len() < lines {
            self.lines.resize(lines, Line([0.0; 16]));
        }
    }

    /// Calls `work` with a buffer of `len` numbers, of any values, and this scratch.
    pub(crate) fn with_folded(&mut self, len: usize, work: impl FnOnce(&mut [f32], &mut Self)) {
        let mut folded = std::mem::take(&mut self.folded);
        if folded.len() < len {
            folded.resize(len, 0.0);
        }
        work(&mut folded[..len], self);
        self.folded = folded;
    }

    pub(super) fn start(&mut self) -> *mut f32 {
        self.lines.as_mut_ptr().cast()
    }
}

/// The convolution (a cross-correlation, as in PyTorch): `y = conv(x, w) + b`.
///
/// Shapes: `x` `[batch, in_channels, height, width]`, `w` `[out_channels, in_channels, kernel, kernel]`,
/// `b` `[out_channels]` or empty for none, `y` `[batch, out_channels, out_height, out_width]`.
pub fn conv2d_forward(
    s: &ConvShape,
    x: &[f32],
    w: &[f32],
    b: &[f32],
    y: &mut [f32],
    scratch: &mut ConvScratch,
) {
    check(s, x.len(), w.len(), y.len());
    check_bias(s, b.len());
    if y.is_empty() {
        return;
    }
    scratch.reserve(s);
    let pass = Pass {
        shape: Correlation::forward(s),
        terms: 1,
        x: [x.as_ptr(); 2],
        w: [Weights::forward(s, w.as_ptr()); 2],
        b: (!b.is_empty()).then_some(b.as_ptr()),
        y: y.as_mut_ptr(),
        scratch: scratch.start(),
    };
    // SAFETY: the lengths were checked, `y` and the scratch are borrowed alone, and the scratch was sized for the shape.
    unsafe { run(pass) }
}

/// The gradient with respect to the input of the convolution: overwrites `dx`.
///
/// Shapes: `dy` `[batch, out_channels, out_height, out_width]`, `w` `[out_channels, in_channels, kernel, kernel]`,
/// `dx` `[batch, in_channels, height, width]`.
pub fn conv2d_backward_input(
    s: &ConvShape,
    dy: &[f32],
    w: &[f32],
    dx: &mut [f32],
    scratch: &mut ConvScratch,
) {
    check(s, dx.len(), w.len(), dy.len());
    if dy.is_empty() || dx.is_empty() {
        dx.fill(0.0);
        return;
    }
    scratch.reserve(s);
    let pass = Pass {
        shape: Correlation::input_gradient(s),
        terms: 1,
        x: [dy.as_ptr(); 2],
        w: [Weights::input_gradient(s, w.as_ptr()); 2],
        b: None,
        y: dx.as_mut_ptr(),
        scratch: scratch.start(),
    };
    // SAFETY: the lengths were checked, `dx` and the scratch are borrowed alone, and the scratch was sized for the shape.
    unsafe { run(pass) }
}

/// The gradients with respect to weight and bias of the convolution: overwrites `dw` and `db`.
///
/// Shapes: `x` `[batch, in_channels, height, width]`, `dy` `[batch, out_channels, out_height, out_width]`,
/// `dw` `[out_channels, in_channels, kernel, kernel]`, `db` `[out_channels]` or empty for none.
pub fn conv2d_backward_parameters(
    s: &ConvShape,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
    db: &mut [f32],
    scratch: &mut ConvScratch,
) {
    check(s, x.len(), dw.len(), dy.len());
    check_bias(s, db.len());
    if dy.is_empty() || x.is_empty() {
        dw.fill(0.0);
        db.fill(0.0);
        return;
    }
    scratch.reserve(s);
    let pass = WeightPass {
        shape: Correlation::forward(s),
        in_turn: false,
        x: x.as_ptr(),
        dy: dy.as_ptr(),
        dw: dw.as_mut_ptr(),
        db: bias_or_null(db),
        scratch: scratch.start(),
    };
    // SAFETY: the lengths were checked, `dw`, `db` and the scratch are borrowed alone, and the scratch was sized for the
    // shape.
    unsafe { run(pass) }
}

pub(super) fn check_bias(s: &ConvShape, len: usize) {
    assert!(
        len == s.out_channels || len == 0,
        "a bias is [out_channels] or empty, not {len}"
    );
}

/// As [`WeightPass::db`].
pub(super) fn bias_or_null(db: &mut [f32]) -> *mut f32 {
    match db.is_empty() {
        true => std::ptr::null_mut(),
        false => db.as_mut_ptr(),
    }
}

pub(super) fn check(s: &ConvShape, input: usize, weight: usize, output: usize) {
    assert!(s.kernel > 0, "a kernel has at least one row");
    // Far beyond any use; with it no index below can overflow.
    let limit = 1 << 20;
    assert!(
        s.kernel <= limit && s.padding <= limit,
        "kernel and padding are at most 2^20"
    );
    assert_eq!(
        input,
        s.input_len(),
        "input is [batch, in_channels, height, width]"
    );
    assert_eq!(
        weight,
        s.weight_len(),
        "weight is [out_channels, in_channels, kernel, kernel]"
    );
    assert_eq!(
        output,
        s.output_len(),
        "output is [batch, out_channels, out_height, out_width]"
    );
}

/// A correlation of `[batch, inputs, height, width]` to `[batch, outputs, out_height, out_width]`; the padding may be
/// negative, which cuts the input's border off.
#[derive(Clone, Copy)]
pub(super) struct Correlation {
    pub(super) batch: usize,
    pub(super) inputs: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) outputs: usize,
    pub(super) out_height: usize,
    pub(super) out_width: usize,
    pub(super) kernel: usize,
    pub(super) padding: isize,
}

impl Correlation {
    pub(super) fn forward(s: &ConvShape) -> Self {
        Correlation {
            batch: s.batch,
            inputs: s.in_channels,
            height: s.height,
            width: s.width,
            outputs: s.out_channels,
            out_height: s.out_height(),
            out_width: s.out_width(),
            kernel: s.kernel,
            padding: s.padding as isize,
        }
    }

    pub(super) fn input_gradient(s: &ConvShape) -> Self {
        Correlation {
            batch: s.batch,
            inputs: s.out_channels,
            height: s.out_height(),
            width: s.out_width(),
            outputs: s.in_channels,
            out_height: s.height,
            out_width: s.width,
            kernel: s.kernel,
            padding: s.kernel as isize - 1 - s.padding as isize,
        }
    }

    /// The sum of two such correlations.
    pub(super) fn pair(self) -> Self {
        Correlation {
            inputs: 2 * self.inputs,
            ..self
        }
    }

    /// Products that make one output entry.
    pub(super) fn taps(&self) -> usize {
        self.inputs * self.kernel * self.kernel
    }

    /// Rows of the padded input.
    pub(super) fn padded_height(&self) -> usize {
        self.out_height + self.kernel - 1
    }

    /// Columns of the padded input.
    pub(super) fn padded_width(&self) -> usize {
        self.out_width + self.kernel - 1
    }

    /// Length of one padded example.
    pub(super) fn padded_len(&self) -> usize {
        self.inputs * self.padded_height() * self.padded_width()
    }

    /// Entries of one output plane.
    pub(super) fn plane(&self) -> usize {
        self.out_height * self.out_width
    }

    /// How the correlation is done with vectors of `lanes`. The cost is counted in lanes of multiply-add; a vector of
    /// channels pays for the transposition of what it stores, and the batch for the packing of the weights.
    pub(super) fn plan(&self, lanes: usize) -> Plan {
        let taps = self.taps();
        let channels = self.outputs.next_multiple_of(lanes);
        // Packing a weight takes about two cycles, in which two vectors are multiplied and added each.
        let packing = 4 * lanes * taps * channels / self.batch.max(1);
        let by_channels = (taps + 10) * self.plane() * channels + packing;
        let by_rows =
            (taps + 2) * self.outputs * self.out_height * self.out_width.next_multiple_of(lanes);
        Plan {
            by_channels: by_channels <= by_rows,
            padded: (self.padded_len() + lanes).next_multiple_of(16),
            weights: (channels * taps).next_multiple_of(16),
            bias: channels.next_multiple_of(16),
        }
    }
}

/// Scratch of a correlation, in numbers: the padded example, the packed weights, the bias.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    by_channels: bool,
    pub(super) padded: usize,
    pub(super) weights: usize,
    bias: usize,
}

impl Plan {
    fn total(&self) -> usize {
        self.padded + self.weights + self.bias
    }
}

/// Scratch of the gradient of the weight, in numbers. `group` examples are prepared at a time, so that the sums, which
/// may not fit in the nearest cache, are touched less often.
#[derive(Clone, Copy)]
pub(super) struct WeightPlan {
    pub(super) by_channels: bool,
    pub(super) group: usize,
    /// One padded example.
    pub(super) padded: usize,
    /// The output gradient of one example, rearranged.
    pub(super) gradient: usize,
    pub(super) sums: usize,
}

impl WeightPlan {
    /// `in_turn` for sums over one example at a time, with vectors of output channels.
    pub(super) fn new(s: &Correlation, lanes: usize, in_turn: bool) -> Self {
        let taps = s.taps();
        let channels = s.outputs.next_multiple_of(lanes);
        let columns = s.out_width.next_multiple_of(lanes);
        let by_channels = (taps + 10) * s.plane() * channels;
        let by_rows = taps * s.outputs * (s.out_height * columns + 4 * lanes);
        let by_channels = in_turn || by_channels <= by_rows;
        let padded = (s.padded_len() + lanes).next_multiple_of(16);
        let (gradient, sums) = if by_channels {
            (channels * s.plane(), channels * taps)
        } else {
            (
                s.outputs * gradient_plane(s, lanes),
                s.outputs * taps * lanes,
            )
        };
        let gradient = gradient.next_multiple_of(16);
        // A quarter of a mebibyte, a share of the second-level cache.
        let group = if in_turn {
            1
        } else {
            ((1 << 16) / (padded + gradient)).clamp(1, s.batch.max(1))
        };
        WeightPlan {
            by_channels,
            group,
            padded,
            gradient,
            sums: sums.next_multiple_of(16),
        }
    }

    fn total(&self) -> usize {
        self.group * (self.padded + self.gradient) + self.sums
    }
}

/// A whole correlation. `x`, `w`, `b` and `y` are as long as the shape says; the scratch as its plan says.
///
/// A sum of two correlations is one whose input channels are those of both; the shape counts them together, half of its inputs
/// come from the first of `x` and `w` and half from the second.
#[derive(Clone, Copy)]
pub(super) struct Pass {
    pub(super) shape: Correlation,
    /// How many of `x` and `w` are read: 1 or 2.
    pub(super) terms: usize,
    pub(super) x: [*const f32; 2],
    pub(super) w: [Weights; 2],
    /// None is a bias of zeros.
    pub(super) b: Option<*const f32>,
    pub(super) y: *mut f32,
    pub(super) scratch: *mut f32,
}

impl Pass {
    /// Taps of each term.
    pub(super) fn term_taps(&self) -> usize {
        self.shape.taps() / self.terms
    }

    /// Copies the `n`-th example of every term into one padded example, whose border is 0 already.
    #[inline(always)]
    pub(super) unsafe fn pad<S: Simd>(&self, n: usize, to: *mut f32) {
        let shape = Correlation {
            inputs: self.shape.inputs / self.terms,
            ..self.shape
        };
        for term in 0..self.terms {
            S::call(Pad {
                shape,
                from: self.x[term].add(n * shape.inputs * shape.height * shape.width),
                to: to.add(term * shape.padded_len()),
            });
        }
    }
}

impl Kernel for Pass {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let plan = self.shape.plan(S::LANES);
        if plan.by_channels {
            S::call(Channels(self, plan));
        } else {
            S::call(Rows(self, plan));
        }
    }
}

/// The gradient of weight and bias. All but the scratch are as long as the shape says; the scratch as its plan says.
#[derive(Clone, Copy)]
pub(super) struct WeightPass {
    pub(super) shape: Correlation,
    /// Whether the sum over the positions of an example is finished before it is added to the others'.
    pub(super) in_turn: bool,
    pub(super) x: *const f32,
    pub(super) dy: *const f32,
    pub(super) dw: *mut f32,
    /// Null where there is no bias.
    pub(super) db: *mut f32,
    pub(super) scratch: *mut f32,
}

impl Kernel for WeightPass {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let plan = WeightPlan::new(&self.shape, S::LANES, self.in_turn);
        S::call(SumPlanes(self));
        if plan.by_channels {
            S::call(ChannelWeights(self, plan));
        } else {
            S::call(RowWeights(self, plan));
        }
    }
}

/// `db[channel]` = the sum of `dy` over examples and positions.
pub(super) struct SumPlanes(pub(super) WeightPass);

impl Kernel for SumPlanes {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let WeightPass { shape, dy, db, .. } = self.0;
        if db.is_null() {
            return;
        }
        let plane = shape.plane();
        for o in 0..shape.outputs {
            let mut acc = [S::splat(0.0); 4];
            for n in 0..shape.batch {
                let from = dy.add((n * shape.outputs + o) * plane);
                let mut at = 0;
                while at + 4 * S::LANES <= plane {
                    for (i, acc) in acc.iter_mut().enumerate() {
                        *acc = S::add(*acc, S::load(from.add(at + i * S::LANES)));
                    }
                    at += 4 * S::LANES;
                }
                while at < plane {
                    acc[0] = S::add(acc[0], S::load_masked(from.add(at), S::first(plane - at)));
                    at += S::LANES;
                }
            }
            let sum = S::add(S::add(acc[0], acc[1]), S::add(acc[2], acc[3]));
            S::store_sums(&sum, 1, db.add(o));
        }
    }
}

/// Copies one example into the middle of a padded one whose border is 0 already.
///
/// Pointers: `from` `[inputs, height, width]`, `to` of [`Correlation::padded_len`].
pub(super) struct Pad {
    pub(super) shape: Correlation,
    pub(super) from: *const f32,
    pub(super) to: *mut f32,
}

impl Kernel for Pad {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let s = self.shape;
        let (height, width) = (s.padded_height(), s.padded_width());
        let (border, cut) = (s.padding.max(0) as usize, (-s.padding).max(0) as usize);
        let columns = s.width.saturating_sub(2 * cut);
        let last = S::first((columns + S::LANES - 1) % S::LANES + 1);
        for plane in 0..s.inputs {
            for row in cut..s.height.saturating_sub(cut) {
                let from = self.from.add((plane * s.height + row) * s.width + cut);
                let to = self
                    .to
                    .add((plane * height + row + border - cut) * width + border);
                let mut at = 0;
                while at + S::LANES < columns {
                    S::store(to.add(at), S::load(from.add(at)));
                    at += S::LANES;
                }
                if at < columns {
                    S::store_masked(to.add(at), S::load_masked(from.add(at), last), last);
                }
            }
        }
    }
}
