//! The samplers draw from the distributions that they claim. Streams are seeded, so that a passing test passes always;
//! with another seed, each would raise a false alarm once in 1e8 or less.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails where something is missing"
)]

use cloister_privacy::noise::{
    DiscreteGaussian, DiscreteLaplace, ExactDiscreteGaussian, NoiseSource, RoundedGaussian,
};

const DRAWS: usize = 1_000_000;

/// Fails if chi-square of the draws against `mass`, which is symmetric, is above what 1e-9 of all seeds reach.
fn assert_chi_square(name: &str, draws: &[i64], mass: impl Fn(i64) -> f64) {
    let n = draws.len() as f64;
    let spread = (draws.iter().map(|&x| (x as f64).powi(2)).sum::<f64>() / n).sqrt();
    // Bins of about a twentieth of a standard deviation; both tails in two more.
    let width = ((spread / 20.0) as i64).max(1);
    let mut edge = 0;
    while n * (edge..edge + width).map(&mass).sum::<f64>() >= 20.0 {
        edge += width;
    }
    let bins = (edge / width) as usize;
    let mut observed = vec![0.0; 2 * bins + 2];
    for &x in draws {
        let bin = if x >= edge {
            2 * bins
        } else if x < -edge {
            2 * bins + 1
        } else {
            ((x + edge) / width) as usize
        };
        observed[bin] += 1.0;
    }
    let mut expected: Vec<f64> = (0..2 * bins as i64)
        .map(|bin| {
            n * (bin * width - edge..(bin + 1) * width - edge)
                .map(&mass)
                .sum::<f64>()
        })
        .collect();
    let tail: f64 = n
        * (edge..edge + 20 * spread.ceil() as i64)
            .map(&mass)
            .sum::<f64>();
    expected.extend([tail, tail - n * mass(edge)]);
    let statistic: f64 = observed
        .iter()
        .zip(&expected)
        .filter(|(_, e)| **e > 1.0)
        .map(|(o, e): (&f64, &f64)| (o - e).powi(2) / e)
        .sum();
    // Wilson and Hilferty's approximation of the quantile at 6 standard deviations.
    let k = (expected.len() - 1) as f64;
    let limit = k * (1.0 - 2.0 / (9.0 * k) + 6.0 * (2.0 / (9.0 * k)).sqrt()).powi(3);
    assert!(
        statistic < limit,
        "{name}: {statistic} of {limit}, {k} degrees"
    );
}

/// The mean within 6 standard errors, the variance within 6, for a variance and a kurtosis that are known.
fn assert_moments(name: &str, draws: &[i64], variance: f64, kurtosis: f64) {
    let n = draws.len() as f64;
    let mean = draws.iter().map(|&x| x as f64).sum::<f64>() / n;
    assert!(
        mean.abs() < 6.0 * (variance / n).sqrt(),
        "{name}: mean {mean}"
    );
    let found = draws.iter().map(|&x| (x as f64).powi(2)).sum::<f64>() / n;
    let error = variance * ((kurtosis - 1.0) / n).sqrt();
    assert!(
        (found - variance).abs() < 6.0 * error,
        "{name}: variance {found}, not {variance}"
    );
}

fn draws(seed: u8, mut sample: impl FnMut(&mut NoiseSource) -> i64) -> Vec<i64> {
    let mut source = NoiseSource::seeded([seed; 32]);
    (0..DRAWS).map(|_| sample(&mut source)).collect()
}

fn discrete_mass(sigma: f64) -> impl Fn(i64) -> f64 {
    let weight = move |x: i64| (-(x as f64).powi(2) / (2.0 * sigma * sigma)).exp();
    let reach = (40.0 * sigma) as i64 + 10;
    let total: f64 = (-reach..=reach).map(weight).sum();
    move |x| weight(x) / total
}

/// Variance and kurtosis, by summing.
fn moments(mass: impl Fn(i64) -> f64, reach: i64) -> (f64, f64) {
    let power = |p| {
        (-reach..=reach)
            .map(|x| mass(x) * (x as f64).powi(p))
            .sum::<f64>()
    };
    (power(2), power(4) / power(2).powi(2))
}

#[test]
fn rounded_gaussian_has_the_mass_of_its_intervals() {
    for (seed, sigma) in [(1, 0.3), (2, 1.0), (3, 7.7), (4, 300.0)] {
        let noise = RoundedGaussian::new(sigma).unwrap();
        let mut all = vec![0; DRAWS];
        noise.add(&mut NoiseSource::seeded([seed; 32]), &mut all);
        let upper = |x: f64| libm::erfc(x / sigma / std::f64::consts::SQRT_2) / 2.0;
        let mass = |x: i64| {
            let x = x.unsigned_abs() as f64;
            upper(x - 0.5) - upper(x + 0.5)
        };
        assert_chi_square("rounded", &all, mass);
        let (variance, kurtosis) = moments(mass, (12.0 * sigma) as i64 + 3);
        assert_moments("rounded", &all, variance, kurtosis);
    }
}

#[test]
fn rounded_gaussian_one_at_a_time() {
    let noise = RoundedGaussian::new(2.5).unwrap();
    let all = draws(7, |source| noise.sample(source));
    let upper = |x: f64| libm::erfc(x / 2.5 / std::f64::consts::SQRT_2) / 2.0;
    assert_chi_square("single", &all, |x| {
        let x = x.unsigned_abs() as f64;
        upper(x - 0.5) - upper(x + 0.5)
    });
}

#[test]
fn rounded_gaussian_with_a_fine_grid_is_normal() {
    let noise = RoundedGaussian::new(1e7).unwrap();
    let mut all = vec![0; DRAWS];
    noise.add(&mut NoiseSource::seeded([5; 32]), &mut all);
    assert_moments("fine", &all, 1e14, 3.0);
    // Tails: of a million, 6 standard errors about 31.7, 1350 and 2700 a side.
    for (edge, chance) in [
        (3.0, 1.349_898e-3),
        (4.0, 3.167_124e-5),
        (2.0, 2.275_013e-2),
    ] {
        for sign in [1, -1] {
            let count = all
                .iter()
                .filter(|&&x| (sign * x) as f64 > edge * 1e7)
                .count() as f64;
            let expected = chance * DRAWS as f64;
            assert!(
                (count - expected).abs() < 6.0 * expected.sqrt(),
                "{edge}: {count}"
            );
        }
    }
}

/// Neighbours in a block come from the two halves of one radius, and must be independent all the same: their products'
/// mean within 6 standard errors, and that of their squares' products.
#[test]
fn the_two_coordinates_of_a_pair_are_independent() {
    let noise = RoundedGaussian::new(1e6).unwrap();
    let mut all = vec![0; 512 * 1000];
    noise.add(&mut NoiseSource::seeded([6; 32]), &mut all);
    let (mut product, mut squares) = (0.0, 0.0);
    for block in all.chunks(512) {
        for i in 0..256 {
            let (x, y) = (block[i] as f64 / 1e6, block[i + 256] as f64 / 1e6);
            product += x * y;
            squares += (x * x - 1.0) * (y * y - 1.0);
        }
    }
    let n: f64 = 256_000.0;
    assert!(product.abs() < 6.0 * n.sqrt(), "{product}");
    assert!(squares.abs() < 6.0 * 2.0 * n.sqrt(), "{squares}");
}

#[test]
fn discrete_gaussian_from_a_table() {
    for (seed, sigma) in [
        (10, 0.125),
        (11, 0.5),
        (12, 1.0),
        (13, 3.3),
        (14, 50.0),
        (15, 2000.0),
    ] {
        let noise = DiscreteGaussian::new(sigma).unwrap();
        assert!(noise.distance() < 2e-34, "{}", noise.distance());
        let all = draws(seed, |source| noise.sample(source));
        let mass = discrete_mass(sigma);
        let (variance, kurtosis) = moments(&mass, (12.0 * sigma) as i64 + 3);
        if sigma > 0.2 {
            assert_chi_square("table", &all, &mass);
            assert_moments("table", &all, variance, kurtosis);
        } else {
            // 1 comes with the chance exp(-32).
            assert!(all.iter().all(|&x| x == 0));
        }
    }
}

#[test]
fn discrete_gaussian_of_two_parts() {
    for (seed, sigma) in [(20, 2100.0), (21, 13_107.0), (22, 500_000.0)] {
        let noise = DiscreteGaussian::new(sigma).unwrap();
        assert!(noise.distance() < 1e-29, "{}", noise.distance());
        let all = draws(seed, |source| noise.sample(source));
        assert_moments("sum", &all, sigma * sigma, 3.0);
        assert_chi_square("sum", &all, |x| {
            (-(x as f64 / sigma).powi(2) / 2.0).exp()
                / (sigma * (2.0 * std::f64::consts::PI).sqrt())
        });
    }
}

#[test]
fn discrete_gaussian_by_rejection() {
    for (seed, n, d) in [(30, 1, 4), (31, 1, 1), (32, 109, 10)] {
        let noise = ExactDiscreteGaussian::new(n, d).unwrap();
        let all = draws(seed, |source| noise.sample(source));
        let sigma = (f64::from(n) / f64::from(d)).sqrt();
        let mass = discrete_mass(sigma);
        let (variance, kurtosis) = moments(&mass, (12.0 * sigma) as i64 + 3);
        assert_chi_square("rejection", &all, &mass);
        assert_moments("rejection", &all, variance, kurtosis);
    }
}

#[test]
fn discrete_laplace() {
    for (seed, rate) in [(40, 2.0), (41, 0.5), (42, 0.01)] {
        let noise = DiscreteLaplace::new(rate).unwrap();
        let all = draws(seed, |source| noise.sample(source));
        let e = (-rate).exp();
        let mass = |x: i64| (1.0 - e) / (1.0 + e) * (-rate * x.unsigned_abs() as f64).exp();
        let (variance, kurtosis) = moments(mass, (60.0 / rate) as i64);
        assert_chi_square("Laplace", &all, mass);
        assert_moments("Laplace", &all, variance, kurtosis);
    }
}

/// What a fixed stream gives. Stored experiments with seeded noise depend on it.
#[test]
fn known_answers() {
    let source = || NoiseSource::seeded([42; 32]);
    let noise = RoundedGaussian::new(1000.0).unwrap();
    let mut rounded = [0; 6];
    noise.add(&mut source(), &mut rounded);
    let mut block = vec![0; 600];
    noise.add(&mut source(), &mut block);
    let several = |sample: &dyn Fn(&mut NoiseSource) -> i64| {
        let mut source = source();
        [(); 6].map(|()| sample(&mut source))
    };
    let table = DiscreteGaussian::new(1000.0).unwrap();
    let two = DiscreteGaussian::new(100_000.0).unwrap();
    let exact = ExactDiscreteGaussian::new(1_000_000, 1).unwrap();
    let laplace = DiscreteLaplace::new(0.001).unwrap();
    let found = [
        rounded,
        [
            block[0], block[1], block[255], block[256], block[511], block[599],
        ],
        several(&|source| table.sample(source)),
        several(&|source| two.sample(source)),
        several(&|source| exact.sample(source)),
        several(&|source| laplace.sample(source)),
    ];
    let expected = [
        [138, -1526, -952, -1180, 900, 1804],
        [788, -226, 1233, 583, -1334, -87],
        [-302, 341, -60, -31, 82, 273],
        [33_796, -3099, 27_425, 243_137, -35_837, -91_155],
        [-237, -24, 117, 787, 573, -325],
        [-237, 65, -1261, 1850, 117, -297],
    ];
    assert_eq!(found, expected);
}

#[test]
fn bad_parameters_are_refused() {
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(RoundedGaussian::new(bad).is_err());
        assert!(DiscreteGaussian::new(bad).is_err());
        assert!(DiscreteLaplace::new(bad).is_err());
    }
    assert!(ExactDiscreteGaussian::new(0, 1).is_err());
    assert!(ExactDiscreteGaussian::new(1, 0).is_err());
    assert!(ExactDiscreteGaussian::new(1, 1 << 27).is_err());
    let error = DiscreteGaussian::new(1e6).unwrap_err().to_string();
    assert_eq!(
        error,
        "the parameter of discrete Gaussian noise, in steps of the grid must be between 0.125 and 524288, found 1000000"
    );
}

#[test]
fn coins_and_subsets_are_fair() {
    let mut source = NoiseSource::seeded([50; 32]);
    for chance in [0.5, 0.01, 0.999] {
        let heads = (0..DRAWS).filter(|_| source.coin(chance)).count() as f64;
        let n = DRAWS as f64;
        assert!((heads - n * chance).abs() < 6.0 * (n * chance * (1.0 - chance)).sqrt());
    }
    assert!(!source.coin(f64::NAN) && !source.coin(0.0) && !source.coin(-1.0) && source.coin(1.0));
    assert_eq!((source.below(0), source.below(1)), (0, 0));
    let mut pairs = [0; 10];
    for _ in 0..100_000 {
        let mut list = vec![0, 1, 2, 3, 4];
        source.keep(&mut list, 2);
        let [a, b] = list[..] else { panic!("{list:?}") };
        // 0-1, 0-2, ..., 3-4.
        pairs[a * (9 - a) / 2 + b - a - 1] += 1;
    }
    for count in pairs {
        assert!(
            (f64::from(count) - 10_000.0).abs() < 6.0 * 95.0,
            "{pairs:?}"
        );
    }
    let mut list = vec![1, 2];
    source.keep(&mut list, 2);
    assert_eq!(list, [1, 2]);
}

#[test]
fn the_system_gives_another_stream_each_time() {
    let (mut a, mut b) = (
        NoiseSource::system().unwrap(),
        NoiseSource::system().unwrap(),
    );
    assert!(a.is_secret() && a.split().is_secret());
    assert_ne!([a.word(), a.word()], [b.word(), b.word()]);
    let mut seeded = NoiseSource::seeded([1; 32]);
    assert!(!seeded.is_secret() && !seeded.split().is_secret());
}

#[test]
fn the_error_of_rounded_noise_is_what_its_page_says() {
    let error = |sigma, order, coordinates| {
        RoundedGaussian::new(sigma)
            .unwrap()
            .renyi_error(order, coordinates)
    };
    let found = error(1e6, 2.0, 1e10);
    assert!((5e-7..7e-7).contains(&found), "{found}");
    assert!(error(1e4, 10.0, 1e10) < 1e-9);
    assert!(error(1e6, 2.0, 2e10) > 1.99 * found && error(1e6, 4.0, 1e10) > 1.99 * found);
}
