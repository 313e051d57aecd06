//! Nanoseconds a coordinate of each kind of noise, on one thread: `cargo run --release -p cloister-privacy --example noise_time`.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a measurement reads the clock and prints"
)]

use std::error::Error;
use std::time::Instant;

use cloister_privacy::PrivacyError;
use cloister_privacy::mechanism::central::GaussianSum;
use cloister_privacy::mechanism::correlated::{
    Blt, CorrelatedGaussian, CorrelatedSettings, Participation, Strategy,
};
use cloister_privacy::mechanism::distributed::{DistributedGaussian, DistributedSettings};
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
        report(
            &format!("discrete Gaussian of {sigma} added to i64"),
            || {
                discrete.add(&mut source, &mut integers);
            },
        );
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
    mechanisms(&mut source)?;
    report("words alone", || {
        integers.fill_with(|| source.word() as i64);
    });
    Ok(())
}

/// What a server or a client does with a whole vector.
fn mechanisms(source: &mut NoiseSource) -> Result<(), PrivacyError> {
    let vector = vec![0.01_f32; LENGTH];
    let mut sum = GaussianSum::new(LENGTH, 1.0, 1.0, 100.0)?;
    let mut result = Ok(());
    report("clip, round to the grid, add to a sum", || {
        result = sum.add(&vector).map(|_| ());
    });
    result?;
    let distributed = DistributedGaussian::new(DistributedSettings {
        dimension: LENGTH,
        clip: 1.0,
        noise_multiplier: 1.0,
        clients: 100,
        honest: 60,
        bits: Some(16),
        room: 4.0,
    })?;
    let mut words = Ok(Vec::new());
    report("distributed: encode", || {
        words = distributed.encode(&vector, [1; 32], source);
    });
    let words = words?;
    let mut mean = Ok(Vec::new());
    report("distributed: decode", || {
        mean = distributed.decode(&words, [1; 32]);
    });
    mean?;
    let participation = Participation::new(1000, 100)?;
    let mut correlated = CorrelatedGaussian::new(CorrelatedSettings {
        dimension: LENGTH,
        clip: 1.0,
        noise_multiplier: 1.0,
        expected: 100.0,
        participation,
        strategy: Strategy::Blt(Blt::optimised(participation, 4)?),
    })?;
    let mut mean = Ok(Vec::new());
    report("correlated: a round with four buffers", || {
        mean = correlated.release(source);
    });
    mean.map(|_| ())
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
