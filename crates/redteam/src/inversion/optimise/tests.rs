use super::*;

/// Rosenbrock's valley in 2n dimensions; least at ones.
fn rosenbrock(x: &[f32], gradient: &mut [f32]) -> f64 {
    let mut sum = 0.0;
    for (x, g) in x.chunks_exact(2).zip(gradient.chunks_exact_mut(2)) {
        let (a, b) = (f64::from(x[0]), f64::from(x[1]));
        let steep = b - a * a;
        sum += (1.0 - a).powi(2) + 100.0 * steep * steep;
        g[0] = (-2.0 * (1.0 - a) - 400.0 * a * steep) as f32;
        g[1] = (200.0 * steep) as f32;
    }
    sum
}

#[test]
fn l_bfgs_finds_the_end_of_the_valley() {
    let start = [-1.2, 1.0, 0.3, -0.7].to_vec();
    let outcome = Lbfgs::default().minimise(start, 200, &mut rosenbrock, &|_| {});
    assert!(outcome.objective < 1e-8, "{}", outcome.objective);
    assert!(outcome.best.iter().all(|x| (x - 1.0).abs() < 1e-3));
    assert!(outcome.curve.windows(2).all(|pair| pair[0].0 <= pair[1].0));
}

/// On a quadratic, unit steps from PyTorch's first step converge as well.
#[test]
fn l_bfgs_without_backtracking_solves_a_quadratic() {
    let plain = Lbfgs {
        backtrack: false,
        ..Lbfgs::default()
    };
    let mut bowl = |x: &[f32], g: &mut [f32]| {
        let mut sum = 0.0;
        for (index, (x, g)) in x.iter().zip(g).enumerate() {
            let curvature = (1 + index) as f32;
            *g = 2.0 * curvature * (x - 3.0);
            sum += f64::from(curvature * (x - 3.0) * (x - 3.0));
        }
        sum
    };
    let outcome = plain.minimise(vec![0.0; 12], 60, &mut bowl, &|_| {});
    assert!(outcome.objective < 1e-6, "{}", outcome.objective);
}

#[test]
fn signed_adam_stays_in_the_box_and_ends_within_its_last_step_length() {
    let mut bowl = |x: &[f32], g: &mut [f32]| {
        let targets = [0.3, -0.25, 5.0];
        let mut sum = 0.0;
        for ((x, g), target) in x.iter().zip(g).zip(targets) {
            *g = 1e-6 * (x - target);
            sum += f64::from(x - target).powi(2);
        }
        sum
    };
    let project = |x: &mut [f32]| x.iter_mut().for_each(|x| *x = x.clamp(-1.0, 1.0));
    let adam = Adam::default();
    let outcome = adam.minimise(vec![0.9, 0.9, -0.9], &[1.0; 3], 400, &mut bowl, &project);
    for (x, expected) in outcome.best.iter().zip([0.3, -0.25, 1.0]) {
        assert!((x - expected).abs() < 2e-3, "{x} is not {expected}");
    }
}

#[test]
fn what_is_not_finite_ends_a_start_with_the_best_before() {
    let mut calls = 0;
    let mut breaks = |x: &[f32], g: &mut [f32]| {
        calls += 1;
        g.fill(1.0);
        if calls == 4 {
            f64::NAN
        } else {
            f64::from(x[0])
        }
    };
    let outcome = Adam::default().minimise(vec![1.0], &[1.0], 100, &mut breaks, &|_| {});
    assert_eq!(calls, 4);
    assert!(outcome.objective.is_finite() && outcome.objective < 1.0);
    assert!(
        Adam {
            rate: 0.0,
            ..Adam::default()
        }
        .check()
        .is_err()
    );
    assert!(
        Lbfgs {
            history: 0,
            ..Lbfgs::default()
        }
        .check()
        .is_err()
    );
}
