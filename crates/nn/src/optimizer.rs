//! Local optimisers, each one fused pass over the flat vectors.

/// Which optimiser, with its constants. The step length is given with each step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OptimizerConfig {
    /// Stochastic gradient descent, with or without momentum.
    Sgd {
        /// Momentum `m`, in [0, 1); 0 is none. As in PyTorch, `v <- m v + g`, then `w <- w - lr v`: the step length is
        /// outside of the velocity.
        momentum: f32,
        /// Nesterov's variant, `w <- w - lr (g + m v)` with the new `v`.
        nesterov: bool,
    },
    /// Adam (Kingma and Ba 2015, algorithm 1), bias-corrected: `w <- w - lr m' / (sqrt(v') + epsilon)`.
    Adam {
        /// Decay of the first moment, usually 0.9.
        beta1: f32,
        /// Decay of the second moment, usually 0.999.
        beta2: f32,
        /// Added to the root of the second moment, usually 1e-8.
        epsilon: f32,
        /// Weight decay outside of the moments, `w <- w - lr decay w` (AdamW, Loshchilov and Hutter 2019), instead of an
        /// L2 penalty in the gradient.
        decoupled: bool,
    },
}

impl OptimizerConfig {
    /// SGD without momentum.
    pub const SGD: Self = Self::Sgd {
        momentum: 0.0,
        nesterov: false,
    };

    /// SGD with heavy-ball momentum.
    pub const fn momentum(momentum: f32) -> Self {
        Self::Sgd {
            momentum,
            nesterov: false,
        }
    }

    /// Adam with the paper's constants: decays 0.9 and 0.999, epsilon 1e-8.
    pub const ADAM: Self = Self::Adam {
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        decoupled: false,
    };
}

/// The FedProx term `mu / 2 |w - global|^2` of the local objective (Li et al. 2020, equation 2); its gradient
/// `mu (w - global)` is added to the data's.
#[derive(Clone, Copy, Debug)]
pub struct Proximal<'a> {
    /// Strength; 0 is no term at all.
    pub mu: f32,
    /// The round's global parameters.
    pub global: &'a [f32],
}

/// An optimiser and its state (one velocity or two moments a parameter; nothing for plain SGD).
///
/// ```
/// use cloister_nn::{Optimizer, OptimizerConfig};
///
/// let mut optimizer = Optimizer::new(&OptimizerConfig::momentum(0.5), 1);
/// let mut w = [1.0];
/// optimizer.step(&mut w, &[1.0], 0.1, 0.0, None); // velocity 1
/// optimizer.step(&mut w, &[1.0], 0.1, 0.0, None); // velocity 1.5
/// assert!((w[0] - 0.75).abs() < 1e-6);
/// ```
#[derive(Clone, Debug)]
pub struct Optimizer {
    config: OptimizerConfig,
    /// Velocity or first moment; empty for plain SGD.
    first: Vec<f32>,
    /// Second moment; empty but for Adam.
    second: Vec<f32>,
    steps: u32,
}

/// The regularisers of one step.
#[derive(Clone, Copy)]
struct Pull<'a> {
    weight_decay: f32,
    mu: f32,
    /// Empty where there is no proximal term.
    global: &'a [f32],
}

/// Parameters handled at a time: the regularised gradient of a block stays in the first-level cache.
const BLOCK: usize = 1024;

impl Optimizer {
    /// An optimiser in its starting state, for `len` parameters.
    pub fn new(config: &OptimizerConfig, len: usize) -> Self {
        let (first, second) = match *config {
            OptimizerConfig::Sgd { momentum: 0.0, .. } => (0, 0),
            OptimizerConfig::Sgd { .. } => (len, 0),
            OptimizerConfig::Adam { .. } => (len, len),
        };
        Self {
            config: *config,
            first: vec![0.0; first],
            second: vec![0.0; second],
            steps: 0,
        }
    }

    /// Back to the starting state, as at the beginning of a client's round. Allocates nothing.
    pub fn reset(&mut self) {
        self.first.fill(0.0);
        self.second.fill(0.0);
        self.steps = 0;
    }

    /// One step. The gradient that the optimiser sees is `gradient + weight_decay w + mu (w - global)`. Allocates nothing.
    ///
    /// # Panics
    /// When the lengths of the vectors differ from each other, or from that given to [`Optimizer::new`].
    pub fn step(
        &mut self,
        parameters: &mut [f32],
        gradient: &[f32],
        learning_rate: f32,
        weight_decay: f32,
        proximal: Option<Proximal<'_>>,
    ) {
        let len = parameters.len();
        assert_eq!(len, gradient.len(), "length of the gradient");
        self.steps = self.steps.saturating_add(1);
        let rule = self.rule(learning_rate, weight_decay);
        let mut pull = Pull {
            weight_decay: rule.coupled(weight_decay),
            mu: 0.0,
            global: &[],
        };
        if let Some(Proximal { mu, global }) = proximal.filter(|term| term.mu != 0.0) {
            assert_eq!(len, global.len(), "length of the global parameters");
            pull.mu = mu;
            pull.global = global;
        }
        let mut buffer = [0.0_f32; BLOCK];
        for start in (0..len).step_by(BLOCK) {
            let block = start..(start + BLOCK).min(len);
            let w = &mut parameters[block.clone()];
            let g = pull.add(&gradient[block.clone()], w, start, &mut buffer);
            match rule {
                Rule::Plain { rate } => plain(w, g, rate),
                Rule::Momentum(rule) => rule.update(w, g, &mut self.first[block]),
                Rule::Adam(rule) => {
                    let m = &mut self.first[block.clone()];
                    rule.update(w, g, m, &mut self.second[block]);
                }
            }
        }
    }

    /// The constants of this step.
    fn rule(&self, rate: f32, weight_decay: f32) -> Rule {
        match self.config {
            OptimizerConfig::Sgd { momentum: 0.0, .. } => Rule::Plain { rate },
            OptimizerConfig::Sgd { momentum, nesterov } => {
                let (from_gradient, from_velocity) = if nesterov {
                    (rate, rate * momentum)
                } else {
                    (0.0, rate)
                };
                Rule::Momentum(Momentum {
                    momentum,
                    from_gradient,
                    from_velocity,
                })
            }
            OptimizerConfig::Adam {
                beta1,
                beta2,
                epsilon,
                decoupled,
            } => {
                let power = i32::try_from(self.steps).unwrap_or(i32::MAX);
                // In f64: 1 - beta2^t loses digits in f32 at the first steps, where it is about 0.001.
                let correction1 = 1.0 - f64::from(beta1).powi(power);
                let correction2 = 1.0 - f64::from(beta2).powi(power);
                Rule::Adam(Adam {
                    beta1,
                    beta2,
                    epsilon,
                    rate: (f64::from(rate) / correction1) as f32,
                    root: (1.0 / correction2.sqrt()) as f32,
                    shrink: if decoupled {
                        1.0 - rate * weight_decay
                    } else {
                        1.0
                    },
                    decoupled,
                })
            }
        }
    }
}

impl Pull<'_> {
    /// The regularised gradient of the block of `w` that begins at `start`; `gradient` itself where there is nothing to add.
    fn add<'b>(
        &self,
        gradient: &'b [f32],
        w: &[f32],
        start: usize,
        buffer: &'b mut [f32; BLOCK],
    ) -> &'b [f32] {
        if self.global.is_empty() && self.weight_decay == 0.0 {
            return gradient;
        }
        let out = &mut buffer[..w.len()];
        if self.global.is_empty() {
            for ((out, &g), &w) in out.iter_mut().zip(gradient).zip(w) {
                *out = g + self.weight_decay * w;
            }
        } else {
            let global = &self.global[start..start + w.len()];
            for (((out, &g), &w), &global) in out.iter_mut().zip(gradient).zip(w).zip(global) {
                *out = g + self.weight_decay * w + self.mu * (w - global);
            }
        }
        out
    }
}

/// One step's update, with its constants worked out.
#[derive(Clone, Copy)]
enum Rule {
    Plain { rate: f32 },
    Momentum(Momentum),
    Adam(Adam),
}

impl Rule {
    /// The part of the weight decay that goes through the gradient.
    fn coupled(&self, weight_decay: f32) -> f32 {
        match self {
            Self::Adam(Adam {
                decoupled: true, ..
            }) => 0.0,
            _ => weight_decay,
        }
    }
}

fn plain(w: &mut [f32], g: &[f32], rate: f32) {
    for (w, &g) in w.iter_mut().zip(g) {
        *w -= rate * g;
    }
}

#[derive(Clone, Copy)]
struct Momentum {
    momentum: f32,
    from_gradient: f32,
    from_velocity: f32,
}

impl Momentum {
    fn update(&self, w: &mut [f32], g: &[f32], velocity: &mut [f32]) {
        for ((w, &g), v) in w.iter_mut().zip(g).zip(velocity) {
            *v = self.momentum * *v + g;
            *w -= self.from_gradient * g + self.from_velocity * *v;
        }
    }
}

#[derive(Clone, Copy)]
struct Adam {
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    /// Step length over the first moment's correction.
    rate: f32,
    /// One over the root of the second moment's correction.
    root: f32,
    /// Factor on the weights of a decoupled weight decay.
    shrink: f32,
    decoupled: bool,
}

impl Adam {
    fn update(&self, w: &mut [f32], g: &[f32], first: &mut [f32], second: &mut [f32]) {
        for (((w, &g), m), v) in w.iter_mut().zip(g).zip(first).zip(second) {
            *m = self.beta1 * *m + (1.0 - self.beta1) * g;
            *v = self.beta2 * *v + (1.0 - self.beta2) * g * g;
            *w = *w * self.shrink - self.rate * *m / (v.sqrt() * self.root + self.epsilon);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(config: OptimizerConfig, decay: f32, proximal: Option<Proximal<'_>>) -> Vec<f32> {
        let mut optimizer = Optimizer::new(&config, 1);
        let mut w = [1.0];
        let mut path = Vec::new();
        for g in [1.0, -2.0, 0.5] {
            optimizer.step(&mut w, &[g], 0.1, decay, proximal);
            path.push(w[0]);
        }
        path
    }

    fn close(path: &[f32], expected: &[f32]) {
        assert_eq!(path.len(), expected.len());
        for (a, b) in path.iter().zip(expected) {
            assert!((a - b).abs() < 1e-6, "{path:?} is not {expected:?}");
        }
    }

    #[test]
    fn sgd_by_hand() {
        close(&run(OptimizerConfig::SGD, 0.0, None), &[0.9, 1.1, 1.05]);
        // 1 - 0.1 (1 + 0.5) = 0.85; 0.85 - 0.1 (-2 + 0.425) = 1.0075; 1.0075 - 0.1 (0.5 + 0.50375)
        close(
            &run(OptimizerConfig::SGD, 0.5, None),
            &[0.85, 1.0075, 0.907125],
        );
    }

    #[test]
    fn the_proximal_term_pulls_to_the_global_model() {
        let pull = |mu| {
            let proximal = Proximal { mu, global: &[3.0] };
            run(OptimizerConfig::SGD, 0.0, Some(proximal))
        };
        // 1 - 0.1 (1 - 1) = 1; 1 - 0.1 (-2 - 1) = 1.3; 1.3 - 0.1 (0.5 - 0.85)
        close(&pull(0.5), &[1.0, 1.3, 1.335]);
        close(&pull(0.0), &run(OptimizerConfig::SGD, 0.0, None));
    }

    #[test]
    fn momentum_by_hand() {
        // v: 1, -1.5, -0.25
        close(
            &run(OptimizerConfig::momentum(0.5), 0.0, None),
            &[0.9, 1.05, 1.075],
        );
        // g + 0.5 v: 1.5, -2.75, 0.375
        let nesterov = OptimizerConfig::Sgd {
            momentum: 0.5,
            nesterov: true,
        };
        close(&run(nesterov, 0.0, None), &[0.85, 1.125, 1.0875]);
    }

    /// m: 0.1, -0.11, -0.049; v: 0.001, 0.004999, 0.005244001; by hand from the paper's algorithm 1.
    #[test]
    fn adam_by_hand() {
        let steps = [
            0.1 / 0.1 / (0.001_f64 / 0.001).sqrt(),
            -0.11 / 0.19 / (0.004_999_f64 / 0.001_999).sqrt(),
            -0.049 / 0.271 / (0.005_244_001_f64 / 0.002_997_001).sqrt(),
        ];
        let mut w = 1.0;
        let expected: Vec<f32> = steps
            .iter()
            .map(|step| {
                w -= 0.1 * step;
                w as f32
            })
            .collect();
        close(&run(OptimizerConfig::ADAM, 0.0, None), &expected);
    }

    #[test]
    fn decoupled_decay_shrinks_the_weights_and_spares_the_moments() {
        let decoupled = OptimizerConfig::Adam {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            decoupled: true,
        };
        // The first step of Adam has length 1 whatever the gradient.
        let path = run(decoupled, 0.5, None);
        close(&path[..1], &[0.95 - 0.1]);
        let mut shrunk = 0.85_f64;
        let second = -0.11 / 0.19 / (0.004_999_f64 / 0.001_999).sqrt();
        shrunk = shrunk * 0.95 - 0.1 * second;
        close(&path[1..2], &[shrunk as f32]);
        // Coupled, the decay is lost in the first step's normalisation.
        close(&run(OptimizerConfig::ADAM, 0.5, None)[..1], &[0.9]);
    }

    #[test]
    fn long_vectors_are_stepped_like_short_ones() {
        let len = 2 * BLOCK + 77;
        let gradient: Vec<f32> = (0..len).map(|i| (i as f32 * 0.37).sin()).collect();
        let global: Vec<f32> = (0..len).map(|i| (i as f32 * 0.11).cos()).collect();
        for config in [
            OptimizerConfig::SGD,
            OptimizerConfig::momentum(0.9),
            OptimizerConfig::ADAM,
        ] {
            let mut whole = global.clone();
            let mut optimizer = Optimizer::new(&config, len);
            for _ in 0..3 {
                let proximal = Proximal {
                    mu: 0.3,
                    global: &global,
                };
                optimizer.step(&mut whole, &gradient, 0.1, 0.01, Some(proximal));
            }
            for index in [0, 1, BLOCK - 1, BLOCK, 2 * BLOCK + 76] {
                let mut one = [global[index]];
                let mut optimizer = Optimizer::new(&config, 1);
                for _ in 0..3 {
                    let proximal = Proximal {
                        mu: 0.3,
                        global: &global[index..=index],
                    };
                    optimizer.step(
                        &mut one,
                        &gradient[index..=index],
                        0.1,
                        0.01,
                        Some(proximal),
                    );
                }
                close(&whole[index..=index], &one);
            }
        }
    }

    #[test]
    fn reset_forgets() {
        for config in [OptimizerConfig::momentum(0.9), OptimizerConfig::ADAM] {
            let mut optimizer = Optimizer::new(&config, 2);
            let mut first = [1.0, 2.0];
            optimizer.step(&mut first, &[0.5, -0.1], 0.1, 0.0, None);
            optimizer.reset();
            let mut again = [1.0, 2.0];
            optimizer.step(&mut again, &[0.5, -0.1], 0.1, 0.0, None);
            assert_eq!(first.map(f32::to_bits), again.map(f32::to_bits));
        }
    }
}
