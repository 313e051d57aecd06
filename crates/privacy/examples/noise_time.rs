//! Nanoseconds a coordinate of each kind of noise, on one thread: `cargo run --release -p cloister-privacy --example noise_time`.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a measurement reads the clock and prints"
)]

use std::error::Error;
use std::time::Instant;

use cloister_privacy::mechanism::dp_sgd::GradientNoise;
use cloister_privacy::noise::{DiscreteGaussian, NoiseSource, RoundedGaussian};

const LENGTH: usize = 1 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let mut source = NoiseSource::system()?;
    let mut integers = vec![0_i64; LENGTH];
    let rounded = RoundedGaussian::new(1e6)?;
    report("rounded Gaussian added to i64", || {
        rounded.add(&mut source, &mut integers);
    });
    for sigma in [50.0, 1000.0, 10_000.0] {
        let discrete = DiscreteGaussian::new(sigma)?;
        report(&format!("discrete Gaussian of {sigma} added to i64"), || {
            discrete.add(&mut source, &mut integers);
        });
    }
    let mut gradient = vec![0.01_f32; LENGTH];
    let noise = GradientNoise::new(LENGTH, 1.0, 1.0, 64.0, 64)?;
    let mut refused = None;
    report("noise of DP-SGD on an f32 gradient", || {
        refused = refused
            .take()
            .or(noise.apply(&mut gradient, &mut source).err());
    });
    if let Some(error) = refused {
        return Err(error.into());
    }
    let mut source = NoiseSource::system()?;
    report("words alone", || {
        integers.fill_with(|| source.word() as i64);
    });
    Ok(())
}

/// Prints the median of 21 runs over [`LENGTH`] coordinates.
fn report(name: &str, mut work: impl FnMut()) {
    let mut times: Vec<f64> = (0..21)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("{name:40} {:6.2} ns", times[10] * 1e9 / LENGTH as f64);
}
