//! What the server does with the aggregated update: FedAvg and FedOpt (Reddi et al. 2021, algorithm 2).

use crate::config::{ServerConfig, ServerOptimizerKind};
use crate::error::ProtocolError;

/// The server's optimiser with its state: for d parameters, nothing (`sgd`), d (`momentum`) or 2 d (the others) `f32`.
///
/// The aggregated update `delta` takes the place of a negative gradient. With learning rate `eta`, degree of
/// adaptivity `tau`, and element-wise operations:
///
/// | kind | step |
/// | --- | --- |
/// | `sgd` | `x += eta delta` |
/// | `momentum` | `m = momentum m + delta; x += eta m` |
/// | `adagrad`, `adam`, `yogi` | `m = beta1 m + (1 - beta1) delta; x += eta m / (sqrt(v) + tau)` |
///
/// with `v += delta²` (`adagrad`), `v = beta2 v + (1 - beta2) delta²` (`adam`), and
/// `v -= (1 - beta2) delta² sign(v - delta²)` (`yogi`); `v` starts at `tau²`, without bias correction, as in the paper.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerOptimizer {
    config: ServerConfig,
    first: Vec<f32>,
    second: Vec<f32>,
}

impl ServerOptimizer {
    /// A fresh optimiser for `len` parameters.
    pub fn new(config: ServerConfig, len: usize) -> Self {
        let (first, second) = match config.optimizer {
            ServerOptimizerKind::Sgd => (0, 0),
            ServerOptimizerKind::Momentum => (len, 0),
            ServerOptimizerKind::Adagrad
            | ServerOptimizerKind::Adam
            | ServerOptimizerKind::Yogi => (len, len),
        };
        let start = config.tau * config.tau;
        Self {
            config,
            first: vec![0.0; first],
            second: vec![start; second],
        }
    }

    /// One step of `parameters` along the aggregated update `delta`.
    pub fn step(&mut self, parameters: &mut [f32], delta: &[f32]) {
        let eta = self.config.effective_learning_rate();
        match self.config.optimizer {
            ServerOptimizerKind::Sgd => {
                for (x, d) in parameters.iter_mut().zip(delta) {
                    *x += eta * d;
                }
            }
            ServerOptimizerKind::Momentum => {
                let momentum = self.config.momentum;
                for ((x, d), m) in parameters.iter_mut().zip(delta).zip(&mut self.first) {
                    *m = momentum * *m + d;
                    *x += eta * *m;
                }
            }
            ServerOptimizerKind::Adagrad => self.adaptive(parameters, delta, |v, d2, _| v + d2),
            ServerOptimizerKind::Adam => {
                self.adaptive(parameters, delta, |v, d2, beta2| {
                    beta2 * v + (1.0 - beta2) * d2
                });
            }
            ServerOptimizerKind::Yogi => self.adaptive(parameters, delta, |v, d2, beta2| {
                // sign(0) is 0 here, unlike f32::signum.
                let sign = f32::from(i8::from(v > d2) - i8::from(v < d2));
                v - (1.0 - beta2) * d2 * sign
            }),
        }
    }

    fn adaptive(
        &mut self,
        parameters: &mut [f32],
        delta: &[f32],
        second: impl Fn(f32, f32, f32) -> f32,
    ) {
        let ServerConfig {
            beta1, beta2, tau, ..
        } = self.config;
        let eta = self.config.effective_learning_rate();
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((x, d), (m, v)) in parameters.iter_mut().zip(delta).zip(moments) {
            *m = beta1 * *m + (1.0 - beta1) * d;
            *v = second(*v, d * d, beta2);
            *x += eta * *m / (v.sqrt() + tau);
        }
    }

    /// The state, for a checkpoint: first and second moments, empty where the kind has none.
    pub fn state(&self) -> (&[f32], &[f32]) {
        (&self.first, &self.second)
    }

    /// Takes a stored state back.
    ///
    /// # Errors
    /// [`ProtocolError::StateMismatch`] if a length is not that of this kind of optimiser.
    pub fn restore(&mut self, first: Vec<f32>, second: Vec<f32>) -> Result<(), ProtocolError> {
        for (what, expected, got) in [
            ("first moment", self.first.len(), first.len()),
            ("second moment", self.second.len(), second.len()),
        ] {
            if expected != got {
                return Err(ProtocolError::StateMismatch {
                    what,
                    expected,
                    got,
                });
            }
        }
        self.first = first;
        self.second = second;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(optimizer: ServerOptimizerKind, beta1: f32) -> Vec<f32> {
        let config = ServerConfig {
            optimizer,
            learning_rate: Some(0.5),
            momentum: 0.5,
            beta1,
            beta2: 0.75,
            tau: 0.5,
        };
        let mut server = ServerOptimizer::new(config, 1);
        let mut x = [1.0];
        [2.0, 1.0]
            .iter()
            .map(|delta| {
                server.step(&mut x, &[*delta]);
                x[0]
            })
            .collect()
    }

    /// Two steps, delta = 2 then 1, worked by hand from the formulae of the paper.
    #[test]
    fn steps_equal_hand_computed_values() {
        assert_eq!(run(ServerOptimizerKind::Sgd, 0.0), [2.0, 2.5]);
        // m = 2, then 0.5 x 2 + 1 = 2
        assert_eq!(run(ServerOptimizerKind::Momentum, 0.0), [2.0, 3.0]);
        let close = |got: Vec<f32>, want: [f64; 2]| {
            for (got, want) in got.iter().zip(want) {
                assert!((f64::from(*got) - want).abs() < 1e-6, "{got} {want}");
            }
        };
        // v = 0.25 + 4 = 4.25, then 5.25; m = delta (beta1 = 0)
        let a1 = 1.0 + 0.5 * 2.0 / (4.25_f64.sqrt() + 0.5);
        close(
            run(ServerOptimizerKind::Adagrad, 0.0),
            [a1, a1 + 0.5 / (5.25_f64.sqrt() + 0.5)],
        );
        // v = 0.75 x 0.25 + 0.25 x 4 = 1.1875, then 0.75 x 1.1875 + 0.25 = 1.140625; m = 1, then 1 (beta1 = 0.5)
        let b1 = 1.0 + 0.5 * 1.0 / (1.1875_f64.sqrt() + 0.5);
        close(
            run(ServerOptimizerKind::Adam, 0.5),
            [b1, b1 + 0.5 / (1.140_625_f64.sqrt() + 0.5)],
        );
        // v = 0.25 + 0.25 x 4 = 1.25 (v < d²), then 1.25 - 0.25 = 1.0 (v > d²)
        let c1 = 1.0 + 0.5 * 1.0 / (1.25_f64.sqrt() + 0.5);
        close(
            run(ServerOptimizerKind::Yogi, 0.5),
            [c1, c1 + 0.5 / (1.0 + 0.5)],
        );
    }

    #[test]
    fn a_foreign_state_is_refused() {
        let config = ServerConfig {
            optimizer: ServerOptimizerKind::Momentum,
            ..ServerConfig::default()
        };
        let mut server = ServerOptimizer::new(config, 3);
        assert!(server.restore(vec![0.0; 3], vec![]).is_ok());
        assert_eq!(
            server.restore(vec![0.0; 2], vec![]),
            Err(ProtocolError::StateMismatch {
                what: "first moment",
                expected: 3,
                got: 2
            })
        );
    }
}
