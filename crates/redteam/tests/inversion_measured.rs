//! Measurements of reconstruction, beside published values and those of PyTorch: run with
//! `cargo test --release -p cloister-redteam --test inversion_measured -- --ignored --nocapture --test-threads 1`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    dead_code,
    reason = "tests"
)]

mod inversion_support;

use cloister_redteam::inversion::floor::{self, Population};
use cloister_redteam::inversion::{Attack, Evidence, Labels};
use inversion_support::{Images, MNIST_SHAPE, Victim, cosine, digits, model, shared};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

const CONVNET: &str = r#"{"kind": "convnet"}"#;
const SEEDS: [u64; 3] = [7, 8, 9];

fn row(name: &str, victim: &Victim, attack: &Attack, seed: u64) {
    let found = victim.attack(attack, 1, seed);
    let scores = victim.scores(&found);
    let psnr: Vec<String> = scores.iter().map(|s| format!("{:.1}", s.psnr)).collect();
    let ssim: Vec<String> = scores
        .iter()
        .map(|s| format!("{:.2}", s.ssim.unwrap_or(f64::NAN)))
        .collect();
    println!(
        "{name:32} seed {seed}: {} dB, SSIM {}, objective {:.2e}",
        psnr.join(" "),
        ssim.join(" "),
        found.objective
    );
}

fn gradient(victim: &mut Victim) -> &mut Vec<f32> {
    match &mut victim.observation.evidence {
        Evidence::Gradient(gradient) => gradient,
        Evidence::Update { .. } => panic!("one step"),
    }
}

fn images() -> Images {
    shared("mnist", "mnist").unwrap_or_else(digits)
}

fn floor_of(images: &Images, truth: &[f32], labels: &[u32]) -> f64 {
    let population = Population {
        images: &images.pixels,
        labels: &images.labels,
    };
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let floors = floor::floors(
        truth,
        labels,
        images.shape,
        Some(population),
        None,
        &mut rng,
    )
    .unwrap();
    let best = floor::best(&floors);
    best.iter().map(|(psnr, _)| psnr).sum::<f64>() / best.len() as f64
}

/// The table of spec 4.1: a ConvNet, one image of 28 x 28, cosine, 300 steps.
#[test]
#[ignore = "a measurement"]
fn defences() {
    let images = images();
    for seed in SEEDS {
        let (truth, labels) = images.pick(&[seed as usize]);
        println!("floor {:.1} dB", floor_of(&images, &truth, &labels));
        let victim = || {
            Victim::new(
                model(CONVNET, MNIST_SHAPE),
                truth.clone(),
                labels.clone(),
                seed,
            )
        };
        let plain = cosine(300, 1e-4, &labels);
        row("none", &victim(), &plain, seed);
        for deviation in [1e-3, 1e-2, 1e-1] {
            let mut victim = victim();
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            for g in gradient(&mut victim) {
                let noise: f32 = StandardNormal.sample(&mut rng);
                *g += deviation * noise;
            }
            row(&format!("noise {deviation}"), &victim, &plain, seed);
        }
        for share in [0.9, 0.99] {
            let mut victim = victim();
            let g = gradient(&mut victim);
            let mut sorted: Vec<f32> = g.iter().map(|g| g.abs()).collect();
            sorted.sort_by(f32::total_cmp);
            let least = sorted[(share * sorted.len() as f64) as usize];
            g.iter_mut()
                .for_each(|g| *g *= f32::from(u8::from(g.abs() >= least)));
            row(&format!("prune {share}"), &victim, &plain, seed);
            let mut masked = plain.clone();
            masked.adaptation.sent_only = true;
            row(&format!("prune {share} masked"), &victim, &masked, seed);
        }
        for bits in [8, 4] {
            let mut victim = victim();
            let g = gradient(&mut victim);
            let most = g.iter().map(|g| g.abs()).fold(0.0, f32::max);
            let quantum = most / ((1 << (bits - 1)) - 1) as f32;
            g.iter_mut()
                .for_each(|g| *g = (*g / quantum).round() * quantum);
            row(&format!("{bits} bits"), &victim, &plain, seed);
            let mut aware = plain.clone();
            aware.adaptation.quantum = quantum;
            row(&format!("{bits} bits dequantised"), &victim, &aware, seed);
        }
    }
}

#[test]
#[ignore = "a measurement"]
fn batches() {
    let images = images();
    for n in [2, 4, 8] {
        let rows: Vec<usize> = (0..n).map(|i| i * 11 + 3).collect();
        let (truth, labels) = images.pick(&rows);
        let attack = cosine(300, 1e-4, &labels);
        let victim = Victim::new(model(CONVNET, MNIST_SHAPE), truth, labels, 7);
        row(&format!("batch {n}"), &victim, &attack, 7);
    }
}

/// Undefended, batch 1: the rows of spec 2.5.
#[test]
#[ignore = "a measurement"]
fn undefended() {
    let images = images();
    for seed in SEEDS {
        let (truth, labels) = images.pick(&[seed as usize]);
        let lenet = model(r#"{"kind": "dlg-lenet"}"#, MNIST_SHAPE);
        let attack = cosine(400, 1e-4, &labels);
        let victim = Victim::new(lenet, truth.clone(), labels.clone(), seed);
        for variation in [0.0, 1e-6, 1e-4, 1e-2] {
            let mut attack = attack.clone();
            attack.variation.weight = variation;
            row(
                &format!("dlg-lenet, variation {variation}"),
                &victim,
                &attack,
                seed,
            );
        }
        let mut dlg = Attack::preset("dlg").unwrap();
        dlg.iterations = 1200;
        dlg.restarts = 1;
        row("dlg-lenet, dlg", &victim, &dlg, seed);
        dlg.labels = Labels::Distinct;
        row("dlg-lenet, idlg", &victim, &dlg, seed);
        let mlp = model(r#"{"kind": "mlp", "hidden": [256, 256]}"#, MNIST_SHAPE);
        let victim = Victim::new(mlp, truth, labels, seed);
        row(
            "mlp, closed form",
            &victim,
            &Attack::preset("closed-form").unwrap(),
            seed,
        );
        row("mlp, cosine", &victim, &attack, seed);
    }
}

/// Batches of the closed form: spec 2.2.
#[test]
#[ignore = "a measurement"]
fn closed_form_batches() {
    let images = images();
    for n in [1, 4, 8, 16, 32, 64] {
        let rows: Vec<usize> = (0..n).map(|i| i * 7 + 5).collect();
        let (truth, labels) = images.pick(&rows);
        let mlp = model(r#"{"kind": "mlp", "hidden": [256, 256]}"#, MNIST_SHAPE);
        let victim = Victim::new(mlp, truth, labels, 7);
        let found = victim.attack(&Attack::preset("closed-form").unwrap(), 1, 7);
        let scores = victim.scores(&found);
        let good = scores.iter().filter(|s| s.ssim.unwrap() >= 0.6).count();
        let mean = scores.iter().map(|s| s.psnr).sum::<f64>() / n as f64;
        println!("closed form, batch {n}: {mean:.1} dB, SSIM >= 0.6: {good}");
    }
}

/// The thesis' setting (spec 1.2): LeNet-5 of three times the width, tanh, max-pool, three images of CIFAR-10.
#[test]
#[ignore = "a measurement"]
fn thesis() {
    let Some(images) = shared("cifar10", "cifar10-subset") else {
        return;
    };
    let config = r#"{"kind": "lenet5", "width": 3, "pooling": "max"}"#;
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for seed in SEEDS {
        let rows = [0, 1, 2].map(|_| rng.random_range(0..images.labels.len()));
        let (truth, labels) = images.pick(&rows);
        println!("floor {:.1} dB", floor_of(&images, &truth, &labels));
        let model = model(config, images.shape);
        let space =
            cloister_redteam::inversion::InputSpace::new(images.shape, vec![[-1.0, 1.0]; 3]);
        let attack = cosine(4000, 1e-6, &labels);
        let victim = Victim::in_space(model, truth, labels, space.unwrap(), seed);
        row("thesis", &victim, &attack, seed);
    }
}
