//! Pools over windows of 2 x 2 with stride 2. An odd last row or column is left out, as in PyTorch.

/// The largest entry of each window. `argmax` receives its index *within its plane* (`0..height * width`); among equals
/// the first in row-major order wins, and NaN wins over numbers.
///
/// Shapes: `x` `[planes, height, width]`, `y` and `argmax` `[planes, height / 2, width / 2]`.
pub fn max_pool2(
    x: &[f32],
    y: &mut [f32],
    argmax: &mut [u32],
    planes: usize,
    height: usize,
    width: usize,
) {
    check(x.len(), y.len(), planes, height, width);
    assert_eq!(argmax.len(), y.len(), "argmax has the length of y");
    let (oh, ow) = (height / 2, width / 2);
    for p in 0..planes {
        let plane = &x[p * height * width..(p + 1) * height * width];
        for r in 0..oh {
            for c in 0..ow {
                let corner = 2 * r * width + 2 * c;
                let (mut at, mut best) = (corner, plane[corner]);
                for index in [corner + 1, corner + width, corner + width + 1] {
                    let v = plane[index];
                    if v > best || (v.is_nan() && !best.is_nan()) {
                        (at, best) = (index, v);
                    }
                }
                y[(p * oh + r) * ow + c] = best;
                argmax[(p * oh + r) * ow + c] = at as u32;
            }
        }
    }
}

/// Sends each entry of `dy` back to the entry that `argmax` names; every other entry of `dx` becomes 0.
///
/// Shapes: `dy` and `argmax` `[planes, height / 2, width / 2]`, `dx` `[planes, height, width]`.
pub fn max_pool2_backward(
    dy: &[f32],
    argmax: &[u32],
    dx: &mut [f32],
    planes: usize,
    height: usize,
    width: usize,
) {
    check(dx.len(), dy.len(), planes, height, width);
    assert_eq!(argmax.len(), dy.len(), "argmax has the length of dy");
    dx.fill(0.0);
    let windows = (height / 2) * (width / 2);
    if windows == 0 {
        return;
    }
    for (plane, (dy, argmax)) in dx
        .chunks_exact_mut(height * width)
        .zip(dy.chunks_exact(windows).zip(argmax.chunks_exact(windows)))
    {
        for (&g, &at) in dy.iter().zip(argmax) {
            plane[at as usize] = g;
        }
    }
}

/// The mean of each window.
///
/// Shapes: `x` `[planes, height, width]`, `y` `[planes, height / 2, width / 2]`.
pub fn avg_pool2(x: &[f32], y: &mut [f32], planes: usize, height: usize, width: usize) {
    check(x.len(), y.len(), planes, height, width);
    let (oh, ow) = (height / 2, width / 2);
    for p in 0..planes {
        for r in 0..oh {
            let top = &x[(p * height + 2 * r) * width..][..width];
            let bottom = &x[(p * height + 2 * r + 1) * width..][..width];
            for c in 0..ow {
                y[(p * oh + r) * ow + c] =
                    0.25 * ((top[2 * c] + top[2 * c + 1]) + (bottom[2 * c] + bottom[2 * c + 1]));
            }
        }
    }
}

/// Spreads each entry of `dy` evenly over its window; entries outside any window become 0.
///
/// Shapes: `dy` `[planes, height / 2, width / 2]`, `dx` `[planes, height, width]`.
pub fn avg_pool2_backward(dy: &[f32], dx: &mut [f32], planes: usize, height: usize, width: usize) {
    check(dx.len(), dy.len(), planes, height, width);
    let (oh, ow) = (height / 2, width / 2);
    dx.fill(0.0);
    for p in 0..planes {
        for r in 0..2 * oh {
            for c in 0..2 * ow {
                dx[(p * height + r) * width + c] = 0.25 * dy[(p * oh + r / 2) * ow + c / 2];
            }
        }
    }
}

fn check(full: usize, pooled: usize, planes: usize, height: usize, width: usize) {
    assert_eq!(
        full,
        planes * height * width,
        "the full side is [planes, height, width]"
    );
    assert_eq!(
        pooled,
        planes * (height / 2) * (width / 2),
        "the pooled side is [planes, height / 2, width / 2]"
    );
}
