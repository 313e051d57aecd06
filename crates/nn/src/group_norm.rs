//! Group normalisation (Wu and He 2018): each example's channels are normalised in groups, so that, unlike with batch
//! normalisation, no example sees another. That is why per-example clipping and small federated batches can use it.

pub(crate) mod tangent;

/// Sizes of a group normalisation; `groups` divides `channels`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupNorm {
    pub(crate) channels: usize,
    /// Numbers in a channel: height times width.
    pub(crate) plane: usize,
    pub(crate) groups: usize,
}

/// Mean and reciprocal standard deviation of one group of one example.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moments {
    pub(crate) mean: f32,
    pub(crate) inverse_deviation: f32,
}

/// Added to the variance, PyTorch's default.
const EPSILON: f32 = 1e-5;

impl GroupNorm {
    /// Features of one example.
    pub(crate) fn len(&self) -> usize {
        self.channels * self.plane
    }

    fn group_len(&self) -> usize {
        self.len() / self.groups
    }

    fn channels_of_group(&self) -> usize {
        self.channels / self.groups
    }
}

/// `y = (x - mean) / sqrt(variance + epsilon) * w + b`, with the biased variance; `x`, `y` are `[n, channels, plane]`,
/// `w`, `b` are `[channels]`, `moments` is `[n, groups]` and is written.
pub(crate) fn forward(
    shape: &GroupNorm,
    x: &[f32],
    w: &[f32],
    b: &[f32],
    y: &mut [f32],
    moments: &mut [Moments],
) {
    let len = shape.group_len();
    let per_group = shape.channels_of_group();
    let groups = x.chunks_exact(len).zip(y.chunks_exact_mut(len));
    for (index, ((x, y), m)) in groups.zip(moments).enumerate() {
        *m = moments_of(x);
        let first = index % shape.groups * per_group;
        let planes = x
            .chunks_exact(shape.plane)
            .zip(y.chunks_exact_mut(shape.plane));
        for (channel, (x, y)) in (first..).zip(planes) {
            let scale = m.inverse_deviation * w[channel];
            let shift = b[channel];
            for (y, &x) in y.iter_mut().zip(x) {
                *y = (x - m.mean) * scale + shift;
            }
        }
    }
}

/// With `h` the normalised input and `g = dy * w`: `dx = (g - mean(g) - h mean(g h)) / sqrt(variance + epsilon)`, the means
/// over the group.
pub(crate) fn backward_input(
    shape: &GroupNorm,
    x: &[f32],
    w: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    moments: &[Moments],
) {
    let len = shape.group_len();
    let per_group = shape.channels_of_group();
    let groups = x
        .chunks_exact(len)
        .zip(dy.chunks_exact(len))
        .zip(dx.chunks_exact_mut(len));
    for (index, (((x, dy), dx), m)) in groups.zip(moments).enumerate() {
        let first = index % shape.groups * per_group;
        let weights = &w[first..first + per_group];
        let (mut sum_g, mut sum_gh) = (0.0, 0.0);
        let planes = x
            .chunks_exact(shape.plane)
            .zip(dy.chunks_exact(shape.plane));
        for ((x, dy), &w) in planes.zip(weights) {
            let (sum, product) = sums(x, dy, *m);
            sum_g += sum * w;
            sum_gh += product * w;
        }
        let mean_g = sum_g / len as f32;
        let mean_gh = sum_gh / len as f32;
        let planes = x
            .chunks_exact(shape.plane)
            .zip(dy.chunks_exact(shape.plane))
            .zip(dx.chunks_exact_mut(shape.plane));
        for (((x, dy), dx), &w) in planes.zip(weights) {
            for ((dx, &x), &dy) in dx.iter_mut().zip(x).zip(dy) {
                let h = (x - m.mean) * m.inverse_deviation;
                *dx = (dy * w - mean_g - h * mean_gh) * m.inverse_deviation;
            }
        }
    }
}

/// `dw[c] = sum dy h` and `db[c] = sum dy` over the examples and the plane.
pub(crate) fn backward_parameters(
    shape: &GroupNorm,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
    db: &mut [f32],
    moments: &[Moments],
) {
    dw.fill(0.0);
    db.fill(0.0);
    let per_group = shape.channels_of_group();
    let planes = x
        .chunks_exact(shape.plane)
        .zip(dy.chunks_exact(shape.plane));
    for (index, (x, dy)) in planes.enumerate() {
        let (sum, product) = sums(x, dy, moments[index / per_group]);
        let channel = index % shape.channels;
        db[channel] += sum;
        dw[channel] += product;
    }
}

/// Independent partial sums, so that the compiler can keep them in vector registers (of any processor: more would spill).
const LANES: usize = 8;

fn moments_of(x: &[f32]) -> Moments {
    let len = x.len() as f32;
    let mean = sum_by(x, |x| x) / len;
    // Two passes: the one-pass formula cancels when the mean is large against the deviation.
    let variance = sum_by(x, |x| (x - mean) * (x - mean)) / len;
    Moments {
        mean,
        inverse_deviation: 1.0 / (variance + EPSILON).sqrt(),
    }
}

fn sum_by(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let (blocks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [0.0_f32; LANES];
    for block in blocks {
        for (lane, &x) in lanes.iter_mut().zip(block) {
            *lane += f(x);
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|&x| f(x)).sum::<f32>()
}

/// The sums of `dy` and of `dy h` over one channel.
fn sums(x: &[f32], dy: &[f32], m: Moments) -> (f32, f32) {
    // Two loops: one loop over two arrays of sums is not turned into vectors.
    let sum = sum_by(dy, |dy| dy);
    let (x_blocks, x_rest) = x.as_chunks::<LANES>();
    let (dy_blocks, dy_rest) = dy.as_chunks::<LANES>();
    let mut lanes = [0.0_f32; LANES];
    for (x, dy) in x_blocks.iter().zip(dy_blocks) {
        for ((lane, &x), &dy) in lanes.iter_mut().zip(x).zip(dy) {
            *lane += dy * (x - m.mean);
        }
    }
    let rest = x_rest
        .iter()
        .zip(dy_rest)
        .map(|(&x, &dy)| dy * (x - m.mean));
    let product = lanes.iter().sum::<f32>() + rest.sum::<f32>();
    (sum, product * m.inverse_deviation)
}
