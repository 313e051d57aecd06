//! Gradients of a convolution's parameters by example.

use super::conv::{
    ConvScratch, ConvShape, Correlation, SumPlanes, WeightPass, WeightPlan, bias_or_null, check,
    check_bias,
};
use super::conv_channels::{KeptWeights, store_weights};
use super::conv_rows::RowWeights;
use super::level::Level;
use super::product::Outer;
use super::simd::{Kernel, Simd, product, run};

/// Numbers that [`conv2d_keep_gradients`] writes an example, at the [`Level`] in force: at least those of weight and bias.
pub fn conv2d_kept_width(s: &ConvShape) -> usize {
    width(&Correlation::forward(s), Level::current().lanes()).saturating_add(s.out_channels)
}

/// Numbers of a weight that is kept.
fn width(s: &Correlation, lanes: usize) -> usize {
    let outputs = if WeightPlan::new(s, lanes, false).by_channels {
        s.outputs.next_multiple_of(lanes)
    } else {
        s.outputs
    };
    outputs * s.taps()
}

/// The gradients with respect to weight and bias of each example by itself, to be measured and added up by
/// [`conv2d_weigh_kept`]: `kept` is `[batch, `[`conv2d_kept_width`]`]`. The entries of a row are in an order of the kernels'
/// own, with zeros between them, which spares a transposition an example.
///
/// Shapes: `x` `[batch, in_channels, height, width]`, `dy` `[batch, out_channels, out_height, out_width]`.
pub fn conv2d_keep_gradients(
    s: &ConvShape,
    x: &[f32],
    dy: &[f32],
    kept: &mut [f32],
    scratch: &mut ConvScratch,
) {
    check(s, x.len(), s.weight_len(), dy.len());
    let width = conv2d_kept_width(s);
    assert_eq!(
        kept.len(),
        product(&[s.batch, width]),
        "kept is [batch, kept width]"
    );
    if dy.is_empty() || x.is_empty() {
        kept.fill(0.0);
        return;
    }
    scratch.reserve(s);
    let pass = WeightPass {
        shape: Correlation::forward(s),
        in_turn: false,
        x: x.as_ptr(),
        dy: dy.as_ptr(),
        dw: kept.as_mut_ptr(),
        db: kept.as_mut_ptr(),
        scratch: scratch.start(),
    };
    // SAFETY: the lengths were checked, `kept` and the scratch are borrowed alone, and the scratch was sized for the shape.
    unsafe { run(Keep { pass, width }) }
}

/// Writes rows of `width` numbers to `pass.dw`.
struct Keep {
    pass: WeightPass,
    width: usize,
}

impl Kernel for Keep {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Keep { pass, width } = self;
        let s = pass.shape;
        let one = |n: usize| WeightPass {
            shape: Correlation { batch: 1, ..s },
            x: pass.x.add(n * s.inputs * s.height * s.width),
            dy: pass.dy.add(n * s.outputs * s.plane()),
            dw: pass.dw.add(n * width),
            db: pass.dw.add((n + 1) * width - s.outputs),
            ..pass
        };
        let plan = WeightPlan::new(&s, S::LANES, false);
        if plan.by_channels {
            S::call(KeptWeights { pass, plan, width });
        } else {
            let plan = WeightPlan::new(&one(0).shape, S::LANES, false);
            for n in 0..s.batch {
                S::call(RowWeights(one(n), plan));
            }
        }
        for n in 0..s.batch {
            S::call(SumPlanes(one(n)));
        }
    }
}

/// The sum over the rows of `kept`, as [`conv2d_keep_gradients`] left them at the same [`Level`], each times its scale.
///
/// Shapes: `scales` `[batch]`, `dw` `[out_channels, in_channels, kernel, kernel]`, `db` `[out_channels]`.
pub fn conv2d_weigh_kept(
    s: &ConvShape,
    kept: &[f32],
    scales: &[f32],
    dw: &mut [f32],
    db: &mut [f32],
    scratch: &mut ConvScratch,
) {
    let width = conv2d_kept_width(s);
    check(s, s.input_len(), dw.len(), s.output_len());
    assert_eq!(
        kept.len(),
        product(&[s.batch, width]),
        "kept is [batch, kept width]"
    );
    assert_eq!(scales.len(), s.batch, "scales is [batch]");
    assert_eq!(db.len(), s.out_channels, "db is [out_channels]");
    if s.output_len() == 0 || s.input_len() == 0 {
        dw.fill(0.0);
        db.fill(0.0);
        return;
    }
    scratch.reserve(s);
    let weigh = Weigh {
        shape: Correlation::forward(s),
        kept: kept.as_ptr(),
        scales: scales.as_ptr(),
        width,
        sums: scratch.start(),
        dw: dw.as_mut_ptr(),
        db: db.as_mut_ptr(),
    };
    // SAFETY: the lengths were checked; `dw`, `db` and the scratch are borrowed alone, and the scratch, which has room for
    // the sums of the usual gradient of the shape and what makes them, has it for a row.
    unsafe { run(weigh) }
}

/// `kept` is `[batch, width]`, `scales` `[batch]`, `sums` has room for a row.
struct Weigh {
    shape: Correlation,
    kept: *const f32,
    scales: *const f32,
    width: usize,
    sums: *mut f32,
    dw: *mut f32,
    db: *mut f32,
}

impl Kernel for Weigh {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let s = self.shape;
        S::call(Outer {
            a: [self.scales; 2],
            a_row: s.batch,
            a_depth: 1,
            b: [self.kept; 2],
            terms: 1,
            c: self.sums,
            rows: 1,
            depth: s.batch,
            columns: self.width,
            far: true,
        });
        if WeightPlan::new(&s, S::LANES, false).by_channels {
            store_weights::<S>(&s, self.sums, self.dw);
        } else {
            self.dw
                .copy_from_nonoverlapping(self.sums, s.outputs * s.taps());
        }
        let bias = self.sums.add(self.width - s.outputs);
        self.db.copy_from_nonoverlapping(bias, s.outputs);
    }
}

/// As [`super::conv2d_backward_parameters`], but each example's own gradient is finished before it is added to the others'.
/// So the sum is within n roundings of what it would be, were these exact: `n 2^-24 / (1 - n 2^-24)` of the sum of their
/// magnitudes, however much the products of one example cancel. The sum for the bias is in `f64`. `db` may be empty.
pub fn conv2d_backward_parameters_in_turn(
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
    scratch.reserve_in_turn(s);
    let pass = WeightPass {
        shape: Correlation::forward(s),
        in_turn: true,
        x: x.as_ptr(),
        dy: dy.as_ptr(),
        dw: dw.as_mut_ptr(),
        db: bias_or_null(db),
        scratch: scratch.start(),
    };
    // SAFETY: the lengths were checked, `dw`, `db` and the scratch are borrowed alone, and the scratch was sized for the
    // shape.
    unsafe { run(pass) }
    let plane = s.out_height() * s.out_width();
    for (channel, db) in db.iter_mut().enumerate() {
        let planes = dy.chunks_exact(plane).skip(channel).step_by(s.out_channels);
        *db = planes.flatten().map(|&d| f64::from(d)).sum::<f64>() as f32;
    }
}
