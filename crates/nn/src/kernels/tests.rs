//! Every kernel against plain loops in `f64`, over odd shapes.

#![allow(clippy::float_cmp, reason = "pools move values without changing them")]

use proptest::prelude::*;

use super::*;

/// Deterministic values in about -1..1, another sequence per `salt`.
fn values(len: usize, salt: u64) -> Vec<f32> {
    (0..len as u64)
        .map(|i| {
            // splitmix64
            let mut z = (salt << 32 | i).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// Each entry is a sum of `terms` products of values in -1..1, so rounding grows with that count.
fn assert_near(got: &[f32], want: &[f64], terms: usize, what: &str) {
    assert_eq!(got.len(), want.len());
    let tolerance = 2e-6 + 1e-7 * terms as f64;
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!(
            (f64::from(*g) - w).abs() <= tolerance,
            "{what}[{i}] is {g}, should be {w} within {tolerance}"
        );
    }
}

/// Runs a check at every level that this machine has.
fn at_every_level(check: impl Fn()) {
    for &level in Level::supported() {
        with_level(level, || {
            assert_eq!(Level::current(), level);
            check();
        });
    }
}

fn check_linear(n: usize, inputs: usize, outputs: usize, salt: u64) {
    let x = values(n * inputs, salt);
    let w = values(outputs * inputs, salt + 1);
    let b = values(outputs, salt + 2);
    let dy = values(n * outputs, salt + 3);
    let at = |v: &[f32], i: usize| f64::from(v[i]);

    let mut y = vec![f32::NAN; n * outputs];
    linear_forward(&x, &w, &b, &mut y, n, inputs, outputs);
    let mut want = vec![0.0; n * outputs];
    for i in 0..n {
        for o in 0..outputs {
            want[i * outputs + o] = at(&b, o)
                + (0..inputs)
                    .map(|k| at(&x, i * inputs + k) * at(&w, o * inputs + k))
                    .sum::<f64>();
        }
    }
    assert_near(&y, &want, inputs + 1, "y");

    let mut dx = vec![f32::NAN; n * inputs];
    linear_backward_input(&dy, &w, &mut dx, n, inputs, outputs);
    let mut want = vec![0.0; n * inputs];
    for i in 0..n {
        for k in 0..inputs {
            want[i * inputs + k] = (0..outputs)
                .map(|o| at(&dy, i * outputs + o) * at(&w, o * inputs + k))
                .sum();
        }
    }
    assert_near(&dx, &want, outputs, "dx");

    let (mut dw, mut db) = (vec![f32::NAN; outputs * inputs], vec![f32::NAN; outputs]);
    linear_backward_parameters(&x, &dy, &mut dw, &mut db, n, inputs, outputs);
    let mut want = vec![0.0; outputs * inputs];
    for o in 0..outputs {
        for k in 0..inputs {
            want[o * inputs + k] = (0..n)
                .map(|i| at(&dy, i * outputs + o) * at(&x, i * inputs + k))
                .sum();
        }
    }
    assert_near(&dw, &want, n, "dw");
    let want: Vec<f64> = (0..outputs)
        .map(|o| (0..n).map(|i| at(&dy, i * outputs + o)).sum())
        .collect();
    assert_near(&db, &want, n, "db");
}

fn check_conv(s: &ConvShape, salt: u64) {
    let (oh, ow, k) = (s.out_height(), s.out_width(), s.kernel);
    let x = values(s.input_len(), salt);
    let w = values(s.weight_len(), salt + 1);
    let b = values(s.out_channels, salt + 2);
    let dy = values(s.output_len(), salt + 3);
    let mut want_y = vec![0.0f64; s.output_len()];
    let mut want_dx = vec![0.0f64; s.input_len()];
    let mut want_dw = vec![0.0f64; s.weight_len()];
    let mut want_db = vec![0.0f64; s.out_channels];
    for n in 0..s.batch {
        for o in 0..s.out_channels {
            for r in 0..oh {
                for c in 0..ow {
                    let out = ((n * s.out_channels + o) * oh + r) * ow + c;
                    want_y[out] = f64::from(b[o]);
                    want_db[o] += f64::from(dy[out]);
                    for i in 0..s.in_channels {
                        for ky in 0..k {
                            for kx in 0..k {
                                let (iy, ix) = (r + ky, c + kx);
                                if iy < s.padding
                                    || ix < s.padding
                                    || iy - s.padding >= s.height
                                    || ix - s.padding >= s.width
                                {
                                    continue;
                                }
                                let input = ((n * s.in_channels + i) * s.height + iy - s.padding)
                                    * s.width
                                    + ix
                                    - s.padding;
                                let weight = ((o * s.in_channels + i) * k + ky) * k + kx;
                                want_y[out] += f64::from(w[weight]) * f64::from(x[input]);
                                want_dx[input] += f64::from(w[weight]) * f64::from(dy[out]);
                                want_dw[weight] += f64::from(x[input]) * f64::from(dy[out]);
                            }
                        }
                    }
                }
            }
        }
    }
    let mut scratch = ConvScratch::new();
    let mut y = vec![f32::NAN; s.output_len()];
    conv2d_forward(s, &x, &w, &b, &mut y, &mut scratch);
    assert_near(&y, &want_y, s.in_channels * k * k + 1, "y");
    let mut dx = vec![f32::NAN; s.input_len()];
    conv2d_backward_input(s, &dy, &w, &mut dx, &mut scratch);
    assert_near(&dx, &want_dx, s.out_channels * k * k, "dx");
    let (mut dw, mut db) = (
        vec![f32::NAN; s.weight_len()],
        vec![f32::NAN; s.out_channels],
    );
    conv2d_backward_parameters(s, &x, &dy, &mut dw, &mut db, &mut scratch);
    assert_near(&dw, &want_dw, s.batch * oh * ow, "dw");
    assert_near(&db, &want_db, s.batch * oh * ow, "db");

    dw.fill(f32::NAN);
    db.fill(f32::NAN);
    conv2d_backward_parameters_in_turn(s, &x, &dy, &mut dw, &mut db, &mut scratch);
    assert_near(&dw, &want_dw, s.batch * oh * ow, "dw in turn");
    assert_near(&db, &want_db, s.batch * oh * ow, "db in turn");

    check_kept(s, &x, &dy);
}

/// Kept gradients measure and add up as those of batches of one do.
fn check_kept(s: &ConvShape, x: &[f32], dy: &[f32]) {
    let mut scratch = ConvScratch::new();
    let width = conv2d_kept_width(s);
    let mut kept = vec![f32::NAN; s.batch * width];
    conv2d_keep_gradients(s, x, dy, &mut kept, &mut scratch);
    let mut squares = vec![f64::NAN; s.batch];
    row_squares(&kept, &mut squares, width);
    let scales: Vec<f32> = (1..=s.batch).map(|n| 0.3 * n as f32).collect();
    let (mut want_dw, mut want_db) = (vec![0.0; s.weight_len()], vec![0.0; s.out_channels]);
    let (mut dw, mut db) = (
        vec![f32::NAN; s.weight_len()],
        vec![f32::NAN; s.out_channels],
    );
    let one = ConvShape { batch: 1, ..*s };
    let (x_len, dy_len) = (one.input_len(), one.output_len());
    for (n, square) in squares.iter().enumerate() {
        let (x, dy) = (&x[n * x_len..][..x_len], &dy[n * dy_len..][..dy_len]);
        conv2d_backward_parameters(&one, x, dy, &mut dw, &mut db, &mut scratch);
        let want: f64 = dw.iter().chain(&db).map(|&g| f64::from(g).powi(2)).sum();
        assert!((square - want).abs() <= 1e-4 * want.max(1e-6));
        let pairs = want_dw.iter_mut().chain(&mut want_db);
        for (want, g) in pairs.zip(dw.iter().chain(&db)) {
            *want += f64::from(scales[n]) * f64::from(*g);
        }
    }
    dw.fill(f32::NAN);
    db.fill(f32::NAN);
    conv2d_weigh_kept(s, &kept, &scales, &mut dw, &mut db, &mut scratch);
    let terms = s.batch * s.batch * dy_len;
    assert_near(&dw, &want_dw, terms, "weighed dw");
    assert_near(&db, &want_db, terms, "weighed db");
}

/// Products of 2^30 that cancel within each example: the sum over examples must not feel them.
#[test]
fn sums_in_turn_round_by_example_only() {
    let s = ConvShape {
        batch: 64,
        in_channels: 1,
        height: 1,
        width: 2,
        out_channels: 3,
        kernel: 1,
        padding: 0,
    };
    let large = 1_073_741_824.0;
    let dy: Vec<f32> = [large, 64.0 - large]
        .into_iter()
        .cycle()
        .take(s.output_len())
        .collect();
    let x = vec![1.0; s.input_len()];
    at_every_level(|| {
        let (mut dw, mut db) = ([0.0; 3], [0.0; 3]);
        let mut scratch = ConvScratch::new();
        conv2d_backward_parameters_in_turn(&s, &x, &dy, &mut dw, &mut db, &mut scratch);
        assert_eq!((dw, db), ([4096.0; 3], [4096.0; 3]));
    });
}

#[test]
#[should_panic(expected = "w is [outputs, inputs]")]
fn a_length_that_overflows_is_refused() {
    let half = 1 << (usize::BITS / 2);
    linear_forward(&[], &[], &[], &mut [], 0, half, half);
}

/// Bits of everything that the kernels write must not depend on what was in the outputs or the scratch before.
#[test]
fn equal_inputs_give_equal_bits() {
    let s = ConvShape {
        batch: 5,
        in_channels: 6,
        height: 14,
        width: 14,
        out_channels: 16,
        kernel: 5,
        padding: 1,
    };
    let (x, w, b) = (
        values(s.input_len(), 1),
        values(s.weight_len(), 2),
        values(16, 3),
    );
    let dy = values(s.output_len(), 4);
    let pass = |fill: f32, scratch: &mut ConvScratch| {
        let mut out = [s.output_len(), s.input_len(), s.weight_len(), 16].map(|n| vec![fill; n]);
        let [y, dx, dw, db] = &mut out;
        conv2d_forward(&s, &x, &w, &b, y, scratch);
        conv2d_backward_input(&s, &dy, &w, dx, scratch);
        conv2d_backward_parameters(&s, &x, &dy, dw, db, scratch);
        out.map(|v| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>())
    };
    at_every_level(|| {
        let first = pass(0.0, &mut ConvScratch::new());
        // A scratch that a larger layer has filled with NaN.
        let large = ConvShape {
            batch: 9,
            in_channels: 30,
            ..s
        };
        let mut scratch = ConvScratch::new();
        let nan = vec![f32::NAN; large.input_len().max(large.weight_len())];
        let mut y = vec![0.0; large.output_len()];
        let w = &nan[..large.weight_len()];
        conv2d_forward(
            &large,
            &nan[..large.input_len()],
            w,
            &b,
            &mut y,
            &mut scratch,
        );
        assert_eq!(pass(f32::NAN, &mut scratch), first);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn linear_matches_plain_loops(n in 0usize..40, inputs in 0usize..70, outputs in 0usize..40, salt in 1u64..1000) {
        at_every_level(|| check_linear(n, inputs, outputs, salt));
    }

    #[test]
    fn conv_matches_plain_loops(
        (batch, in_channels, out_channels) in (0usize..4, 1usize..5, 1usize..10),
        (height, width) in (1usize..24, 1usize..40),
        (kernel, padding) in (1usize..6, 0usize..4),
        salt in 1u64..1000,
    ) {
        let s = ConvShape { batch, in_channels, height, width, out_channels, kernel, padding };
        at_every_level(|| check_conv(&s, salt));
    }
}

#[test]
fn shapes_of_the_shipped_models() {
    at_every_level(|| check_linear(10, 784, 10, 1));
    at_every_level(|| check_linear(32, 784, 200, 2));
    at_every_level(|| check_linear(10, 200, 200, 3));
    for (in_channels, height, out_channels, kernel, padding) in [
        (1, 28, 6, 5, 2),
        (6, 14, 16, 5, 0),
        (3, 32, 6, 5, 0),
        (1, 28, 32, 5, 2),
        (32, 14, 64, 5, 2),
        (3, 32, 32, 3, 1),
        (32, 16, 64, 3, 1),
        (64, 8, 128, 3, 1),
    ] {
        let s = ConvShape {
            batch: 3,
            in_channels,
            height,
            width: height,
            out_channels,
            kernel,
            padding,
        };
        at_every_level(|| check_conv(&s, 5));
    }
}

/// Both signs of every magnitude from 1e-30 to 1e4 in steps of 2 %, and a fine grid around 0.
fn arguments() -> Vec<f32> {
    let magnitudes = (0..4000)
        .map(|i| 1e-30 * 1.02f64.powi(i))
        .take_while(|x| *x < 1e4);
    let mut x: Vec<f32> = magnitudes.flat_map(|x| [x as f32, -x as f32]).collect();
    x.extend((-8000..=8000).map(|i| i as f32 * 0.0025));
    x
}

type Forward = fn(&[f32], &mut [f32]);

/// The largest error of `forward` against `exact` in units of the last place of the exact value, where that is above
/// `floor`; below it the error may be `floor` itself.
fn largest_ulps(forward: Forward, exact: fn(f64) -> f64, floor: f64) -> f64 {
    let x = arguments();
    let mut y = vec![0.0; x.len()];
    forward(&x, &mut y);
    let mut worst = 0.0f64;
    for (x, y) in x.iter().zip(&y) {
        let want = exact(f64::from(*x));
        let error = (f64::from(*y) - want).abs();
        if want.abs() > floor {
            let ulp = 2f64.powi(want.abs().log2().floor() as i32 - 23);
            worst = worst.max(error / ulp);
        } else {
            assert!(error <= floor, "at {x}: {y}, should be {want}");
        }
    }
    worst
}

#[test]
fn activations_are_as_accurate_as_documented() {
    at_every_level(|| {
        let level = Level::current();
        let tanh = largest_ulps(tanh, f64::tanh, 1e-37);
        assert!(tanh <= 4.0, "{level:?}: tanh is {tanh} ulp off");
        let sigmoid = largest_ulps(sigmoid, |x| 1.0 / (1.0 + (-x).exp()), 1e-37);
        assert!(sigmoid <= 6.0, "{level:?}: sigmoid is {sigmoid} ulp off");
        let softplus = largest_ulps(softplus, |x| x.max(0.0) + (-x.abs()).exp().ln_1p(), 1e-37);
        assert!(softplus <= 6.0, "{level:?}: softplus is {softplus} ulp off");
        let relu = largest_ulps(relu, |x| x.max(0.0), 0.0);
        assert_eq!(relu, 0.0);
    });
}

#[test]
fn activations_of_infinities_and_nan() {
    at_every_level(|| {
        let (x, mut y) = ([f32::INFINITY, f32::NEG_INFINITY, f32::NAN], [0.0; 3]);
        let limits: [(Forward, [f32; 2]); 4] = [
            (relu, [f32::INFINITY, 0.0]),
            (tanh, [1.0, -1.0]),
            (sigmoid, [1.0, 0.0]),
            (softplus, [f32::INFINITY, 0.0]),
        ];
        for (forward, [high, low]) in limits {
            forward(&x, &mut y);
            assert_eq!(y[0], high);
            assert!((y[1] - low).abs() < 1e-37, "{y:?}");
            assert!(y[2].is_nan());
        }
    });
}

type Pass = (Forward, fn(&[f32], &[f32], &mut [f32]), fn(f64) -> f64);

#[test]
fn backward_of_activations_is_the_derivative() {
    let x: Vec<f32> = (-160..160).map(|i| i as f32 * 0.05 + 0.01).collect();
    let dy = values(x.len(), 9);
    let passes: [Pass; 4] = [
        (relu, relu_backward, |x| f64::from(u8::from(x > 0.0))),
        (tanh, tanh_backward, |x| 1.0 - x.tanh().powi(2)),
        (sigmoid, sigmoid_backward, |x| {
            let s = 1.0 / (1.0 + (-x).exp());
            s * (1.0 - s)
        }),
        (softplus, softplus_backward, |x| 1.0 / (1.0 + (-x).exp())),
    ];
    at_every_level(|| {
        for (forward, backward, derivative) in passes {
            let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            forward(&x, &mut y);
            backward(&y, &dy, &mut dx);
            for i in 0..x.len() {
                let want = f64::from(dy[i]) * derivative(f64::from(x[i]));
                let error = (f64::from(dx[i]) - want).abs();
                assert!(error < 5e-7, "at {}: {} should be {want}", x[i], dx[i]);
            }
        }
    });
}

#[test]
fn max_pool_takes_the_first_of_equals_and_keeps_nan() {
    let x = [
        1.0, 1.0, 2.0, 3.0, 9.0, //
        1.0, 1.0, 3.0, 3.0, 9.0, //
        9.0, 9.0, 9.0, 9.0, 9.0,
    ];
    at_every_level(|| {
        let (mut y, mut at) = ([0.0; 2], [9u32; 2]);
        max_pool2(&x, &mut y, &mut at, 1, 3, 5);
        assert_eq!((y, at), ([1.0, 3.0], [0, 3]));
        let mut dx = [7.0; 15];
        max_pool2_backward(&[5.0, 6.0], &at, &mut dx, 1, 3, 5);
        let mut want = [0.0; 15];
        (want[0], want[3]) = (5.0, 6.0);
        assert_eq!(dx, want);
        let (mut y, mut at) = ([0.0; 8], [9u32; 8]);
        max_pool2_dense(&x, &mut y, &mut at, 1, 3, 5);
        assert_eq!(y, [1.0, 3.0, 3.0, 9.0, 9.0, 9.0, 9.0, 9.0]);
        assert_eq!(at, [0, 7, 3, 4, 10, 11, 12, 9]);
        for place in 0..4 {
            let mut window = [1.0, 2.0, 3.0, 4.0];
            window[place] = f32::NAN;
            for pool in [max_pool2, max_pool2_dense] {
                let (mut y, mut at) = ([0.0; 1], [9u32; 1]);
                pool(&window, &mut y, &mut at, 1, 2, 2);
                assert!(y[0].is_nan() && at[0] as usize == place);
            }
        }
    });
}

fn check_dense_pool(planes: usize, h: usize, w: usize, salt: u64) {
    // Few different values, so that there are equals in most windows.
    let mut x = values(planes * h * w, salt);
    for x in &mut x {
        *x = (*x * 2.0).round();
    }
    let (oh, ow) = (h - 1, w - 1);
    let dy = values(planes * oh * ow, salt + 1);
    let (mut y, mut at) = (vec![9.0; dy.len()], vec![9u32; dy.len()]);
    max_pool2_dense(&x, &mut y, &mut at, planes, h, w);
    let mut dx = vec![9.0; x.len()];
    max_pool2_dense_backward(&dy, &at, &mut dx, planes, h, w);
    let mut want = vec![0.0f64; x.len()];
    for out in 0..dy.len() {
        let (p, r, c) = (out / (oh * ow), out / ow % oh, out % ow);
        let window = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(a, b)| (r + a) * w + c + b);
        let value = |i: usize| x[p * h * w + i];
        let mut first = window[0];
        for i in window {
            if value(i) > value(first) {
                first = i;
            }
        }
        assert_eq!((at[out] as usize, y[out]), (first, value(first)));
        want[p * h * w + first] += f64::from(dy[out]);
    }
    assert_near(&dx, &want, 4, "dx");
}

/// Rows of `square` are their squared norms within the documented share, at any magnitude.
fn check_squares(rows: usize, width: usize, scale: f32, salt: u64) {
    let mut x = values(rows * width, salt);
    for x in &mut x {
        *x *= scale;
    }
    let mut squares = vec![f64::NAN; rows];
    row_squares(&x, &mut squares, width);
    for (row, square) in squares.iter().enumerate() {
        let row = &x[row * width..][..width];
        let want: f64 = row.iter().map(|&x| f64::from(x).powi(2)).sum();
        assert!(
            (square - want).abs() <= 1.5e-6 * want,
            "{square} should be {want}"
        );
    }
}

#[test]
fn squares_of_long_rows_and_of_broken_ones() {
    at_every_level(|| {
        // Equal terms are the worst case of rounding: they have no luck.
        for width in [1, 512, 1 << 20] {
            let x = vec![1.1f32; width];
            let mut square = [0.0];
            row_squares(&x, &mut square, width);
            let want = f64::from(1.1f32).powi(2) * width as f64;
            assert!((square[0] - want).abs() <= 1.5e-6 * want);
        }
        let mut squares = [0.0; 4];
        let x = [1.0, f32::NAN, f32::INFINITY, 0.0, 0.0, 0.0, 3.0, 4.0];
        row_squares(&x, &mut squares, 2);
        assert!(squares[0].is_nan() && squares[1] == f64::INFINITY);
        assert_eq!(squares[2..], [0.0, 25.0]);
    });
}

fn check_pools(planes: usize, h: usize, w: usize, salt: u64) {
    let x = values(planes * h * w, salt);
    let (oh, ow) = (h / 2, w / 2);
    let dy = values(planes * oh * ow, salt + 1);
    let (mut most, mut mean) = (vec![0.0; dy.len()], vec![0.0; dy.len()]);
    let mut at = vec![0u32; dy.len()];
    max_pool2(&x, &mut most, &mut at, planes, h, w);
    avg_pool2(&x, &mut mean, planes, h, w);
    let (mut d_most, mut d_mean) = (vec![9.0; x.len()], vec![9.0; x.len()]);
    max_pool2_backward(&dy, &at, &mut d_most, planes, h, w);
    avg_pool2_backward(&dy, &mut d_mean, planes, h, w);
    let (mut want_most, mut want_mean) = (vec![0.0f32; x.len()], vec![0.0f32; x.len()]);
    for out in 0..dy.len() {
        let (p, r, c) = (out / (oh * ow), out / ow % oh, out % ow);
        let window = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(a, b)| (2 * r + a) * w + 2 * c + b);
        let value = |i: usize| x[p * h * w + i];
        let mut first = window[0];
        for i in window {
            if value(i) > value(first) {
                first = i;
            }
        }
        assert_eq!(at[out] as usize, first);
        assert_eq!(most[out], value(first));
        let sum: f64 = window.iter().map(|&i| f64::from(value(i))).sum();
        assert!((f64::from(mean[out]) - sum / 4.0).abs() < 1e-6);
        want_most[p * h * w + first] = dy[out];
        for i in window {
            want_mean[p * h * w + i] = dy[out] * 0.25;
        }
    }
    assert_eq!(d_most, want_most);
    assert_eq!(d_mean, want_mean);
}

proptest! {
    #[test]
    fn dense_pools_match_plain_loops(planes in 0usize..5, h in 1usize..20, w in 1usize..40, salt in 1u64..1000) {
        at_every_level(|| check_dense_pool(planes, h, w, salt));
    }

    #[test]
    fn squares_match_plain_loops(rows in 0usize..5, width in 1usize..1500, power in -60i32..60, salt in 1u64..1000) {
        at_every_level(|| check_squares(rows, width, 2.0f32.powi(power), salt));
    }

    #[test]
    fn pools_match_plain_loops(planes in 0usize..5, h in 1usize..20, w in 1usize..90, salt in 1u64..1000) {
        at_every_level(|| check_pools(planes, h, w, salt));
    }
}
