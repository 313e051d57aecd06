//! Tangents of group normalisation. With `s` the reciprocal deviation and `h = (x - mean) s`:
//! `h_dot = s (x_dot - mean(x_dot) - h mean(h x_dot))` and `s_dot = -s^2 mean(h x_dot)`, the means over the group.

use super::{GroupNorm, Moments};

/// One group of one example, with what moves in it.
struct Group<'a> {
    plane: usize,
    x: &'a [f32],
    /// None where the input does not move.
    x_dot: Option<&'a [f32]>,
    moments: Moments,
    mean_dot: f32,
    mean_h_dot: f32,
}

impl<'a> Group<'a> {
    fn new(
        shape: &GroupNorm,
        index: usize,
        x: &'a [f32],
        x_dot: Option<&'a [f32]>,
        moments: &[Moments],
    ) -> Self {
        let len = shape.group_len();
        let range = index * len..(index + 1) * len;
        let mut group = Group {
            plane: shape.plane,
            x: &x[range.clone()],
            x_dot: x_dot.map(|x_dot| &x_dot[range]),
            moments: moments[index],
            mean_dot: 0.0,
            mean_h_dot: 0.0,
        };
        if let Some(x_dot) = group.x_dot {
            let (mut sum, mut product) = (0.0, 0.0);
            for (at, &x_dot) in x_dot.iter().enumerate() {
                sum += f64::from(x_dot);
                product += f64::from(x_dot) * f64::from(group.h(at));
            }
            group.mean_dot = (sum / len as f64) as f32;
            group.mean_h_dot = (product / len as f64) as f32;
        }
        group
    }

    fn h(&self, at: usize) -> f32 {
        (self.x[at] - self.moments.mean) * self.moments.inverse_deviation
    }

    fn h_dot(&self, at: usize) -> f32 {
        self.x_dot.map_or(0.0, |x_dot| {
            (x_dot[at] - self.mean_dot - self.h(at) * self.mean_h_dot)
                * self.moments.inverse_deviation
        })
    }
}

/// `y_dot = w h_dot + w_dot h + b_dot`; `scale` is `[w, w_dot]`, shapes are those of [`super::forward`].
pub(crate) fn forward(
    shape: &GroupNorm,
    x: &[f32],
    x_dot: Option<&[f32]>,
    scale: [&[f32]; 2],
    b_dot: &[f32],
    y_dot: &mut [f32],
    moments: &[Moments],
) {
    let per_group = shape.channels_of_group();
    for (index, y_dot) in y_dot.chunks_exact_mut(shape.group_len()).enumerate() {
        let group = Group::new(shape, index, x, x_dot, moments);
        let first = index % shape.groups * per_group;
        for (at, y_dot) in y_dot.iter_mut().enumerate() {
            let channel = first + at / group.plane;
            *y_dot = scale[0][channel] * group.h_dot(at)
                + scale[1][channel] * group.h(at)
                + b_dot[channel];
        }
    }
}

/// The tangent of [`super::backward_input`], with `g = dy w` and `g_dot = dy_dot w + dy w_dot`:
/// `dx_dot = s (g_dot - mean(g_dot) - h_dot mean(g h) - h mean(g_dot h + g h_dot)) + s_dot / s dx`.
#[allow(clippy::too_many_arguments, reason = "values and their tangents")]
pub(crate) fn backward_input(
    shape: &GroupNorm,
    x: &[f32],
    x_dot: Option<&[f32]>,
    scale: [&[f32]; 2],
    dy: &[f32],
    dy_dot: &[f32],
    dx_dot: &mut [f32],
    moments: &[Moments],
) {
    let len = shape.group_len();
    let per_group = shape.channels_of_group();
    let groups = dy.chunks_exact(len).zip(dy_dot.chunks_exact(len));
    for (index, ((dy, dy_dot), dx_dot)) in groups.zip(dx_dot.chunks_exact_mut(len)).enumerate() {
        let group = Group::new(shape, index, x, x_dot, moments);
        let first = index % shape.groups * per_group;
        let gradient = |at: usize| {
            let channel = first + at / group.plane;
            let (w, w_dot) = (scale[0][channel], scale[1][channel]);
            (dy[at] * w, dy_dot[at] * w + dy[at] * w_dot)
        };
        let mut sums = [0.0_f64; 4];
        for at in 0..len {
            let (g, g_dot) = gradient(at);
            let (h, h_dot) = (group.h(at), group.h_dot(at));
            sums[0] += f64::from(g);
            sums[1] += f64::from(g * h);
            sums[2] += f64::from(g_dot);
            sums[3] += f64::from(g_dot * h + g * h_dot);
        }
        let [mean_g, mean_gh, mean_g_dot, mean_gh_dot] = sums.map(|sum| (sum / len as f64) as f32);
        let s = group.moments.inverse_deviation;
        for (at, dx_dot) in dx_dot.iter_mut().enumerate() {
            let (g, g_dot) = gradient(at);
            let (h, h_dot) = (group.h(at), group.h_dot(at));
            let dx = s * (g - mean_g - h * mean_gh);
            *dx_dot = s * (g_dot - mean_g_dot - h_dot * mean_gh - h * mean_gh_dot)
                - s * group.mean_h_dot * dx;
        }
    }
}

/// `dw_dot[c] = sum dy_dot h + dy h_dot` and `db_dot[c] = sum dy_dot`, over the examples and the plane.
#[allow(clippy::too_many_arguments, reason = "values and their tangents")]
pub(crate) fn backward_parameters(
    shape: &GroupNorm,
    x: &[f32],
    x_dot: Option<&[f32]>,
    dy: &[f32],
    dy_dot: &[f32],
    dw_dot: &mut [f32],
    db_dot: &mut [f32],
    moments: &[Moments],
) {
    dw_dot.fill(0.0);
    db_dot.fill(0.0);
    let len = shape.group_len();
    let per_group = shape.channels_of_group();
    let groups = dy.chunks_exact(len).zip(dy_dot.chunks_exact(len));
    for (index, (dy, dy_dot)) in groups.enumerate() {
        let group = Group::new(shape, index, x, x_dot, moments);
        let first = index % shape.groups * per_group;
        for at in 0..len {
            let channel = first + at / group.plane;
            dw_dot[channel] += dy_dot[at] * group.h(at) + dy[at] * group.h_dot(at);
            db_dot[channel] += dy_dot[at];
        }
    }
}
