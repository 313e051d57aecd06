//! The variational bottleneck: a layer that is drawn anew in every pass (PRECODE, Scheliga et al. 2022, arXiv 2108.04725;
//! its convolutional variant 2309.04515).
//!
//! An encoder gives each latent number a mean `mu` and a deviation `s = softplus(rho)`; `z = mu + e s` with `e ~ N(0, 1)`
//! goes on to a decoder. Encoder and decoder are ordinary layers; [`Sampling`] is what stands between them. The divergence
//! of `N(mu, s^2)` from `N(0, 1)` is part of the loss, since deviations would otherwise shrink to nothing.
//!
//! The noise `e` is an input of every pass, in training and in evaluation, and is never made here from nothing:
//! [`Workspace::draw_noise`](crate::Workspace::draw_noise).

use rand::{Rng, RngExt};

use crate::kernels;

/// `[n, 2 latent, plane]` to `[n, latent, plane]`: the first half of the channels are the means, the second becomes the
/// deviations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sampling {
    pub(crate) latent: usize,
    /// Positions: 1 behind a linear encoder.
    pub(crate) plane: usize,
    /// What the divergence counts in the loss, a bit of it and not a nat: beta.
    pub(crate) beta: f32,
}

/// What a pass draws and keeps.
#[derive(Clone, Debug)]
pub(crate) struct Drawn {
    /// `e`, `[n, latent, plane]`.
    pub(crate) noise: Vec<f32>,
    /// `s`, likewise.
    pub(crate) deviations: Vec<f32>,
    /// What an example's loss counts in the derivative: `1 / n` of a mean, 1 of a sum.
    pub(crate) weight: f32,
}

impl Drawn {
    pub(crate) fn new(len: usize) -> Self {
        Self {
            noise: vec![0.0; len],
            deviations: vec![0.0; len],
            weight: 1.0,
        }
    }
}

impl Sampling {
    /// Latent numbers of an example, and numbers of noise.
    pub(crate) fn len(&self) -> usize {
        self.latent * self.plane
    }

    /// What a nat of one latent number's divergence counts in an example's loss. Positions are averaged, not summed, so that
    /// beta does not depend on the size of the image.
    fn share(&self) -> f64 {
        f64::from(self.beta) / (std::f64::consts::LN_2 * self.plane as f64)
    }

    /// `y = mu + e s`; keeps `s`.
    pub(crate) fn forward(&self, x: &[f32], y: &mut [f32], drawn: &mut Drawn) {
        let len = self.len();
        let rows = x
            .chunks_exact(2 * len)
            .zip(y.chunks_exact_mut(len))
            .zip(drawn.noise.chunks_exact(len))
            .zip(drawn.deviations.chunks_exact_mut(len));
        for (((x, y), noise), deviations) in rows {
            let (mu, rho) = x.split_at(len);
            kernels::softplus(rho, deviations);
            for (((y, mu), e), s) in y.iter_mut().zip(mu).zip(noise).zip(deviations.iter()) {
                *y = mu + e * s;
            }
        }
    }

    /// The derivative with respect to means and `rho`, of the loss behind (`dy`) and of the divergence.
    pub(crate) fn backward_input(&self, x: &[f32], dy: &[f32], dx: &mut [f32], drawn: &Drawn) {
        let len = self.len();
        let share = (self.share() * f64::from(drawn.weight)) as f32;
        let rows = x
            .chunks_exact(2 * len)
            .zip(dy.chunks_exact(len))
            .zip(dx.chunks_exact_mut(2 * len))
            .zip(drawn.noise.chunks_exact(len))
            .zip(drawn.deviations.chunks_exact(len));
        for ((((x, dy), dx), noise), deviations) in rows {
            let (mu, _) = x.split_at(len);
            let (to_mu, to_rho) = dx.split_at_mut(len);
            let means = to_mu.iter_mut().zip(mu).zip(dy);
            for ((dx, mu), dy) in means {
                *dx = dy + share * mu;
            }
            let deviations = to_rho.iter_mut().zip(deviations).zip(noise).zip(dy);
            for (((dx, s), e), dy) in deviations {
                let slope = slope(*s);
                *dx = (dy * e + share * s) * slope - share * slope_over(*s, slope);
            }
        }
    }

    /// The tangent of [`Self::forward`]'s output, from that of its input.
    pub(crate) fn tangent_forward(&self, x_dot: &[f32], y_dot: &mut [f32], drawn: &Drawn) {
        let len = self.len();
        let rows = x_dot
            .chunks_exact(2 * len)
            .zip(y_dot.chunks_exact_mut(len))
            .zip(drawn.noise.chunks_exact(len))
            .zip(drawn.deviations.chunks_exact(len));
        for (((x_dot, y_dot), noise), deviations) in rows {
            let (mu_dot, rho_dot) = x_dot.split_at(len);
            let terms = mu_dot.iter().zip(rho_dot).zip(noise).zip(deviations);
            for (y_dot, (((mu_dot, rho_dot), e), s)) in y_dot.iter_mut().zip(terms) {
                *y_dot = mu_dot + e * slope(*s) * rho_dot;
            }
        }
    }

    /// The tangent of what [`Self::backward_input`] gives: `x_dot` is None where the input does not move, and `dy`, which is
    /// read only where it does, None where nobody needs the derivatives.
    pub(crate) fn tangent_backward_input(
        &self,
        x_dot: Option<&[f32]>,
        dy: Option<&[f32]>,
        dy_dot: &[f32],
        dx_dot: &mut [f32],
        drawn: &Drawn,
    ) {
        let len = self.len();
        let share = (self.share() * f64::from(drawn.weight)) as f32;
        let rows = dy_dot
            .chunks_exact(len)
            .zip(dx_dot.chunks_exact_mut(2 * len))
            .zip(drawn.noise.chunks_exact(len))
            .zip(drawn.deviations.chunks_exact(len));
        for (row, (((dy_dot, dx_dot), noise), deviations)) in rows.enumerate() {
            let (to_mu, to_rho) = dx_dot.split_at_mut(len);
            to_mu.copy_from_slice(dy_dot);
            let terms = to_rho.iter_mut().zip(dy_dot).zip(noise).zip(deviations);
            for (((to_rho, dy_dot), e), s) in terms {
                *to_rho = dy_dot * e * slope(*s);
            }
            let (Some(x_dot), Some(dy)) = (x_dot, dy) else {
                continue;
            };
            let dy = &dy[row * len..][..len];
            let (mu_dot, rho_dot) = x_dot[2 * row * len..][..2 * len].split_at(len);
            for (to_mu, mu_dot) in to_mu.iter_mut().zip(mu_dot) {
                *to_mu += share * mu_dot;
            }
            let terms = rho_dot.iter().zip(dy).zip(noise).zip(deviations);
            for (to_rho, (((rho_dot, dy), e), s)) in to_rho.iter_mut().zip(terms) {
                // Of softplus' derivative `a` the derivative is `a (1 - a)`, of `a / s` it is `(1 - a) a / s - (a / s)^2`.
                let a = slope(*s);
                let over = slope_over(*s, a);
                let bend = (dy * e + share * s) * a * (1.0 - a);
                let pull = share * (a * a - over * (1.0 - a) + over * over);
                *to_rho += (bend + pull) * rho_dot;
            }
        }
    }

    /// The tangent of the loss' derivative with respect to the noise, `dy s`.
    pub(crate) fn tangent_noise(
        &self,
        x_dot: Option<&[f32]>,
        dy: &[f32],
        dy_dot: &[f32],
        noise_dot: &mut [f32],
        drawn: &Drawn,
    ) {
        let len = self.len();
        let terms = dy.iter().zip(dy_dot).zip(&drawn.deviations);
        for (place, (noise_dot, ((dy, dy_dot), s))) in noise_dot.iter_mut().zip(terms).enumerate() {
            let (row, k) = (place / len, place % len);
            let rho_dot = x_dot.map_or(0.0, |x_dot| x_dot[(2 * row + 1) * len + k]);
            *noise_dot = dy_dot * s + dy * slope(*s) * rho_dot;
        }
    }

    /// Beta times the divergence of `n` examples, in bits: `-1/2 sum (1 + 2 ln s - mu^2 - s^2) / ln 2`, over the latent
    /// channels, mean over the positions, sum over the examples.
    pub(crate) fn penalty(&self, x: &[f32], drawn: &Drawn) -> f64 {
        let len = self.len();
        let rows = x
            .chunks_exact(2 * len)
            .zip(drawn.deviations.chunks_exact(len));
        let mut nats = 0.0;
        for (x, deviations) in rows {
            let (mu, rho) = x.split_at(len);
            for ((mu, rho), s) in mu.iter().zip(rho).zip(deviations) {
                let (mu, s) = (f64::from(*mu), f64::from(*s));
                // Far down softplus is exp, whose result `f32` has no room for.
                let log = if *rho < -80.0 {
                    f64::from(*rho)
                } else {
                    s.ln()
                };
                nats -= 0.5 * (1.0 + 2.0 * log - mu * mu - s * s);
            }
        }
        nats * self.share()
    }
}

/// The derivative of softplus where it is `s`: `1 - exp(-s)`.
fn slope(s: f32) -> f32 {
    -(-s).exp_m1()
}

/// The derivative of the logarithm of softplus where it is `s`; 1 far down.
fn slope_over(s: f32, slope: f32) -> f32 {
    if s == 0.0 { 1.0 } else { slope / s }
}

/// Overwrites `noise` with independent standard normal numbers (Box and Muller 1958).
pub(crate) fn fill_normal(noise: &mut [f32], rng: &mut impl Rng) {
    for pair in noise.chunks_mut(2) {
        let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
        let angle = std::f64::consts::TAU * rng.random::<f64>();
        let (sine, cosine) = angle.sin_cos();
        for (number, part) in pair.iter_mut().zip([cosine, sine]) {
            *number = (radius * part) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

    /// Moments of 200,000 draws, each within five of its own deviations: a false alarm once in a million.
    #[test]
    fn noise_is_standard_normal() {
        let mut noise = vec![f32::NAN; 200_001];
        fill_normal(&mut noise, &mut ChaCha8Rng::seed_from_u64(3));
        let n = noise.len() as f64;
        let moment = |k: i32| noise.iter().map(|&e| f64::from(e).powi(k)).sum::<f64>() / n;
        for (k, expected, variance) in
            [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)]
        {
            let error = (moment(k) - expected).abs();
            let allowed = 5.0 * (variance / n).sqrt();
            assert!(error < allowed, "moment {k} is off by {error}");
        }
        let neighbours: f64 = noise.windows(2).map(|w| f64::from(w[0] * w[1])).sum();
        assert!(neighbours.abs() < 5.0 * n.sqrt(), "{neighbours}");
        let beyond = noise.iter().filter(|e| e.abs() > 1.959_964).count() as f64;
        assert!((beyond / n - 0.05).abs() < 5.0 * (0.0475 / n).sqrt());
    }

    /// At `s = 1` and `mu = 0` there is no divergence, and no derivative of it.
    #[test]
    fn the_prior_costs_nothing() {
        let layer = Sampling {
            latent: 2,
            plane: 1,
            beta: 1.0,
        };
        let one = (1.0_f64.exp() - 1.0).ln() as f32;
        let x = [0.0, 0.0, one, one];
        let mut drawn = Drawn::new(2);
        drawn.noise = vec![0.5, -2.0];
        let (mut y, mut dx) = ([f32::NAN; 2], [f32::NAN; 4]);
        layer.forward(&x, &mut y, &mut drawn);
        assert!(
            (y[0] - 0.5).abs() < 1e-6 && (y[1] + 2.0).abs() < 1e-6,
            "{y:?}"
        );
        assert!(layer.penalty(&x, &drawn).abs() < 1e-6);
        layer.backward_input(&x, &[0.0; 2], &mut dx, &drawn);
        assert!(dx.iter().all(|d| d.abs() < 1e-6), "{dx:?}");
    }

    /// A deviation that has shrunk out of the range of `f32` still has a finite loss, which pulls it back.
    #[test]
    fn extreme_deviations_stay_finite() {
        let layer = Sampling {
            latent: 1,
            plane: 1,
            beta: 1.0,
        };
        for (rho, pull) in [(-200.0, -1.0), (-30.0, -1.0), (200.0, 200.0)] {
            let x = [3.0, rho];
            let mut drawn = Drawn::new(1);
            let (mut y, mut dx) = ([f32::NAN; 1], [f32::NAN; 2]);
            layer.forward(&x, &mut y, &mut drawn);
            assert!(layer.penalty(&x, &drawn).is_finite());
            layer.backward_input(&x, &[0.0], &mut dx, &drawn);
            let expected = pull / std::f32::consts::LN_2;
            assert!((dx[1] / expected - 1.0).abs() < 1e-3, "{rho}: {dx:?}");
        }
    }
}
