//! Gradients of large batches, and evaluation, over several threads, with the same bits for any number of them.
//!
//! A federation runs one client a thread and needs none of this; it is for few clients, for the centralised baseline and
//! for evaluation. Rows are cut into parts that depend on the number of rows only, and the parts' results are joined in
//! their order.

use std::ops::Range;
use std::thread;

use rand::Rng;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

use crate::loss::{BatchLoss, Targets};
use crate::metrics::{Evaluation, NumberTally, Tally};
use crate::model::{Model, Noise, Workspace};

/// Most parts of a batch, and so most threads that one gradient can use.
const MOST_PARTS: usize = 8;

/// Examples under which a part is not worth a thread.
const LEAST_PART: usize = 16;

/// Rows that go through a model at a time: enough for the kernels to run at full speed, few enough for the cache.
const MOST_ROWS: usize = 64;

/// Parameters that one task of the reduction sums.
const REDUCTION_BLOCK: usize = 16 * 1024;

/// Threads and working memory of [`gradient_parallel`].
#[derive(Debug)]
pub struct ParallelWorkspace {
    /// `None` where the caller's own thread does the work.
    pool: Option<ThreadPool>,
    parts: Vec<Part>,
    max_batch: usize,
    noise: Noise,
}

/// What one part of a batch needs and gives.
#[derive(Debug)]
struct Part {
    workspace: Workspace,
    /// Gradient of the part's mean loss.
    gradient: Vec<f32>,
    /// Gradient of one piece of a part that is longer than [`MOST_ROWS`]; empty where none can be.
    piece: Vec<f32>,
    loss: BatchLoss,
}

impl ParallelWorkspace {
    /// Allocates for batches of up to `max_batch` examples, in memory that grows with the model but, beyond a few hundred
    /// examples, not with the batch; and starts `threads` threads (none for 0 and 1).
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn new(
        model: &Model,
        max_batch: usize,
        threads: usize,
    ) -> Result<Self, ThreadPoolBuildError> {
        let pool = (threads > 1)
            .then(|| ThreadPoolBuilder::new().num_threads(threads).build())
            .transpose()?;
        // Batches from 16 up have parts of less than 32 rows, until there are eight parts and these grow.
        let longest = max_batch
            .min(2 * LEAST_PART - 1)
            .max(max_batch.div_ceil(MOST_PARTS));
        let parameters = model.layout().len();
        let piece = if longest > MOST_ROWS { parameters } else { 0 };
        let part = |_| Part {
            workspace: model.workspace(longest.min(MOST_ROWS)),
            gradient: vec![0.0; parameters],
            piece: vec![0.0; piece],
            loss: BatchLoss::default(),
        };
        Ok(Self {
            pool,
            parts: (0..part_count(max_batch)).map(part).collect(),
            max_batch,
            noise: Noise::new(model.noise_len()),
        })
    }

    /// Most examples in a batch.
    pub fn max_batch(&self) -> usize {
        self.max_batch
    }

    /// Draws the noise of the next gradient, as [`Workspace::draw_noise`] does.
    pub fn draw_noise(&mut self, rng: &mut impl Rng, n: usize) {
        self.noise.draw(rng, n);
    }
}

/// How many parts a batch of `n` examples is cut into.
fn part_count(n: usize) -> usize {
    (n / LEAST_PART).clamp(1, MOST_PARTS)
}

/// Piece `index` of `n` rows cut into `count` pieces whose lengths differ by one at most.
fn cut(n: usize, count: usize, index: usize) -> Range<usize> {
    index * n / count..(index + 1) * n / count
}

/// [`Model::gradient`] with the batch cut into at most eight parts of at least 16 examples, over the threads of `ws`.
///
/// The result is bit-equal for any number of threads, and differs from that of [`Model::gradient`] by rounding only.
///
/// ```
/// use cloister_nn::parallel::{ParallelWorkspace, gradient_parallel};
/// use cloister_nn::{InputShape, LossConfig, Model, ModelConfig};
///
/// let shape = InputShape { channels: 1, height: 1, width: 3 };
/// let model = Model::build(&ModelConfig::Logistic { loss: LossConfig::Auto }, shape, 2)?;
/// let (inputs, labels) = (vec![0.5; 3 * 100], vec![1; 100]);
/// let mut gradient = vec![0.0; model.layout().len()];
/// let mut ws = ParallelWorkspace::new(&model, 100, 2)?;
/// let loss = gradient_parallel(&model, &[0.0; 4], &inputs, &labels, &mut ws, &mut gradient);
/// assert!((loss.loss_sum / 100.0 - 2.0_f64.ln()).abs() < 1e-6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Panics
/// As [`Model::gradient`].
pub fn gradient_parallel<'t>(
    model: &Model,
    parameters: &[f32],
    inputs: &[f32],
    targets: impl Into<Targets<'t>>,
    ws: &mut ParallelWorkspace,
    gradient: &mut [f32],
) -> BatchLoss {
    let targets = targets.into();
    let n = targets.examples(model.outputs());
    let max = ws.max_batch;
    let features = model.input().len();
    assert!(n <= max, "{n} examples in a workspace for {max}");
    assert_eq!(inputs.len(), n * features, "length of the inputs");
    assert_eq!(
        gradient.len(),
        model.layout().len(),
        "length of the gradient"
    );
    let count = part_count(n);
    let pool = ws.pool.as_ref();
    let parts = &mut ws.parts[..count];
    let noise = ws.noise.take(n);
    let width = model.noise_len();
    each(pool, parts.iter_mut().collect(), |index, part| {
        let rows = cut(n, count, index);
        let inputs = &inputs[rows.start * features..rows.end * features];
        let noise = &noise[rows.start * width..rows.end * width];
        part.run(model, parameters, inputs, targets.rows(rows), noise);
    });
    ws.noise.put_back(noise);
    let parts = &*parts;
    let blocks = gradient.chunks_mut(REDUCTION_BLOCK).collect();
    each(pool, blocks, |block, out| {
        out.fill(0.0);
        for (index, part) in parts.iter().enumerate() {
            let weight = share(cut(n, count, index).len(), n);
            add(out, &part.gradient[block * REDUCTION_BLOCK..], weight);
        }
    });
    let mut loss = BatchLoss::default();
    for part in parts {
        loss.add(part.loss);
    }
    loss
}

impl Part {
    fn run(
        &mut self,
        model: &Model,
        parameters: &[f32],
        inputs: &[f32],
        targets: Targets<'_>,
        noise: &[f32],
    ) {
        let n = targets.examples(model.outputs());
        let (features, width) = (model.input().len(), model.noise_len());
        let pieces = n.div_ceil(MOST_ROWS);
        if pieces <= 1 {
            self.workspace.set_noise(noise);
            let (ws, gradient) = (&mut self.workspace, &mut self.gradient);
            self.loss = model.gradient(parameters, inputs, targets, ws, gradient);
            return;
        }
        self.loss = BatchLoss::default();
        self.gradient.fill(0.0);
        for index in 0..pieces {
            let rows = cut(n, pieces, index);
            let inputs = &inputs[rows.start * features..rows.end * features];
            let weight = share(rows.len(), n);
            self.workspace
                .set_noise(&noise[rows.start * width..rows.end * width]);
            let (ws, piece) = (&mut self.workspace, &mut self.piece);
            let loss = model.gradient(parameters, inputs, targets.rows(rows), ws, piece);
            self.loss.add(loss);
            add(&mut self.gradient, piece, weight);
        }
    }
}

fn share(part: usize, whole: usize) -> f32 {
    if whole == 0 {
        0.0
    } else {
        (part as f64 / whole as f64) as f32
    }
}

/// `sum += weight * gradient`, over the length of `sum`.
fn add(sum: &mut [f32], gradient: &[f32], weight: f32) {
    for (sum, &g) in sum.iter_mut().zip(gradient) {
        *sum += weight * g;
    }
}

/// Calls `work` on each item, over the pool or, without one, here.
fn each<T: Send>(pool: Option<&ThreadPool>, items: Vec<T>, work: impl Fn(usize, T) + Sync) {
    let numbered = |(index, item)| work(index, item);
    match pool {
        Some(pool) => pool.install(|| items.into_par_iter().enumerate().for_each(numbered)),
        None => items.into_iter().enumerate().for_each(numbered),
    }
}

/// The measures of a classifier on labelled examples, by [`logits_of`]. Bit-equal for any number of `threads`.
///
/// # Panics
/// As [`logits_of`].
pub fn evaluate<R: Rng>(
    model: &Model,
    parameters: &[f32],
    features: &[f32],
    labels: &[u32],
    threads: usize,
    noise: impl Fn(u32) -> R + Sync,
) -> Evaluation {
    logits_of(model, parameters, features, labels, threads, noise).finish()
}

/// The logits of a classifier on labelled examples: `features` is `[n, features]`, `labels` is `[n]`. Bit-equal for any
/// number of `threads` (0 counts as 1).
///
/// A variational bottleneck draws in evaluation, too: `noise` gives the generator of each block of 64 rows, by its number. Of
/// other models it is not called. The loss is the cross-entropy alone.
///
/// # Panics
/// When a length does not fit, or a label is not below the classes.
pub fn logits_of<R: Rng>(
    model: &Model,
    parameters: &[f32],
    features: &[f32],
    labels: &[u32],
    threads: usize,
    noise: impl Fn(u32) -> R + Sync,
) -> Tally {
    let mut tally = Tally::for_model(model);
    let logits = outputs_of(model, parameters, features, labels.len(), threads, noise);
    tally.add(&logits, labels);
    tally
}

/// What a predictor of numbers gives for examples, beside the numbers that they should be, both in the units that it is
/// trained in; `scale` is one of these units in that of the figures. Otherwise as [`logits_of`].
///
/// # Panics
/// When a length does not fit, or the model tells classes apart.
pub fn numbers_of<R: Rng>(
    model: &Model,
    parameters: &[f32],
    features: &[f32],
    values: (&[f32], f64),
    threads: usize,
    noise: impl Fn(u32) -> R + Sync,
) -> NumberTally {
    let (values, scale) = values;
    let mut tally = NumberTally::for_model(model, scale);
    let outputs = outputs_of(model, parameters, features, values.len(), threads, noise);
    tally.add(&outputs, values);
    tally
}

/// The outputs of a model for `n` examples: `[n, outputs]`.
fn outputs_of<R: Rng>(
    model: &Model,
    parameters: &[f32],
    features: &[f32],
    n: usize,
    threads: usize,
    noise: impl Fn(u32) -> R + Sync,
) -> Vec<f32> {
    let width = model.input().len();
    assert_eq!(features.len(), n * width, "length of the features");
    // Whole blocks go to a thread, so that a row has the same neighbours in the kernels for any number of threads.
    let blocks = n.div_ceil(MOST_ROWS);
    let threads = threads.clamp(1, blocks.max(1));
    let draws = model.noise_len() > 0;
    let work = |thread: usize| {
        let mut workspace = model.workspace(n.min(MOST_ROWS));
        let mut part = Vec::new();
        for block in cut(blocks, threads, thread) {
            let rows = block * MOST_ROWS..n.min((block + 1) * MOST_ROWS);
            if draws {
                workspace.draw_noise(&mut noise(block as u32), rows.len());
            }
            let inputs = &features[rows.start * width..rows.end * width];
            part.extend_from_slice(model.logits(parameters, inputs, rows.len(), &mut workspace));
        }
        part
    };
    let work = &work;
    let mut all = Vec::new();
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads)
            .map(|index| {
                let builder = thread::Builder::new().name(format!("evaluate-{index}"));
                (index, builder.spawn_scoped(scope, move || work(index)))
            })
            .collect();
        all = work(0);
        for (index, other) in others {
            match other.map(thread::ScopedJoinHandle::join) {
                Ok(Ok(part)) => all.extend(part),
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                // The system refused a thread: its rows are done here.
                Err(_) => all.extend(work(index)),
            }
        }
    });
    all
}
