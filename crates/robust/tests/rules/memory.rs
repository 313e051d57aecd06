//! Rules that remember, rules that draw at random.

use cloister_robust::{AggregationConfig, Aggregator, Before, Input, Rule};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::common::{cohort, config, relative_error, run, run_input, widened};

#[test]
fn centred_clipping_goes_on_from_its_result() {
    let config = AggregationConfig {
        radius: Some(1.0),
        iterations: Some(2),
        ..config(Rule::CentredClipping, 1)
    };
    let twice = AggregationConfig {
        iterations: Some(4),
        ..config.clone()
    };
    let rows = widened(&cohort(6, 1, 40, 1));
    let slices: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut aggregator = Aggregator::new(config.clone()).unwrap();
    let mut out = vec![0.0; 40];
    aggregator
        .aggregate(&Input::new(&slices), &mut rng, &mut out)
        .unwrap();
    let state = aggregator.state().clone();
    assert_eq!(state.previous.as_ref(), Some(&out));
    let mut restored = Aggregator::new(config).unwrap();
    restored.restore(state);
    restored
        .aggregate(&Input::new(&slices), &mut rng, &mut out)
        .unwrap();
    let (at_once, _) = run(&twice, &rows).unwrap();
    assert!(relative_error(&out, &at_once) < 1e-12);
}

#[test]
fn foolsgold_remembers_clients_by_name() {
    // 7 and 9 send the same thing over two rounds, in changing places; the others differ.
    let honest = widened(&cohort(3, 0, 200, 2));
    let copied = &widened(&cohort(1, 0, 200, 3))[0];
    let mut aggregator = Aggregator::new(config(Rule::Foolsgold, 0)).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut out = vec![0.0; 200];
    let first: [&[f64]; 3] = [copied, &honest[0], &honest[1]];
    let second: [&[f64]; 3] = [&honest[2], copied, &honest[0]];
    for (rows, clients) in [(first, [7, 1, 2]), (second, [3, 9, 1])] {
        let input = Input {
            clients: Some(&clients),
            ..Input::new(&rows)
        };
        let verdict = aggregator.aggregate(&input, &mut rng, &mut out).unwrap();
        // In no round are two alike: 7 is not there when 9 is.
        assert!(verdict.rows.iter().all(|row| row.kept), "{verdict:?}");
    }
    let state = aggregator.state();
    assert_eq!(
        state.histories.keys().copied().collect::<Vec<_>>(),
        [1, 2, 3, 7, 9]
    );
    for (sum, one) in state.histories[&1].iter().zip(&honest[0]) {
        assert_eq!(*sum, 2.0 * one);
    }
    let third: [&[f64]; 3] = [&honest[1], copied, copied];
    let input = Input {
        clients: Some(&[2, 7, 9]),
        ..Input::new(&third)
    };
    let verdict = aggregator.aggregate(&input, &mut rng, &mut out).unwrap();
    let kept: Vec<bool> = verdict.rows.iter().map(|row| row.kept).collect();
    assert_eq!(kept, [true, false, false]);
    assert!(verdict.rows[1].score.unwrap() > 0.999_999);
}

#[test]
fn an_error_leaves_the_memory_alone() {
    for rule in [Rule::CentredClipping, Rule::Foolsgold] {
        let mut aggregator = Aggregator::new(config(rule, 0)).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut out = [0.0_f32; 2];
        let good: [&[f32]; 2] = [&[1.0, 2.0], &[2.0, 1.0]];
        aggregator
            .aggregate(&Input::new(&good), &mut rng, &mut out)
            .unwrap();
        let before = aggregator.state().clone();
        let bad: [&[f32]; 2] = [&[1.0, 2.0], &[2.0, f32::NAN]];
        let error = aggregator
            .aggregate(&Input::new(&bad), &mut rng, &mut out)
            .unwrap_err();
        assert_eq!(error.to_string(), "row 1 has NaN at column 1");
        assert_eq!(*aggregator.state(), before, "{rule:?}");
    }
}

#[test]
fn noise_has_the_stated_deviation() {
    // 20,000 draws: the deviation's own standard error is 1 / sqrt(40,000) = 0.5 %; 3 % is six of them.
    let rows = vec![vec![1.0_f64; 20_000]; 5];
    let norm_clipping = AggregationConfig {
        noise: Some(0.3),
        ..config(Rule::NormClipping, 0)
    };
    // The clipping norm of `flame` is the median length, sqrt(20,000).
    let flame = config(Rule::Flame, 1);
    for (config, deviation) in [(norm_clipping, 0.3), (flame, 0.001 * 20_000_f64.sqrt())] {
        let (out, _) = run(&config, &rows).unwrap();
        let squares: f64 = out.iter().map(|value| (value - 1.0).powi(2)).sum();
        let got = (squares / 20_000.0).sqrt();
        assert!((got / deviation - 1.0).abs() < 0.03, "{config:?}: {got}");
        assert_eq!(
            run(&config, &rows).unwrap().0,
            out,
            "the stream decides alone"
        );
    }
}

#[test]
fn buckets_hold_every_row_once() {
    let rows = widened(&cohort(12, 0, 30, 5));
    let (mean, _) = run(&config(Rule::Mean, 0), &rows).unwrap();
    for (size, equal) in [(2, true), (3, true), (5, false), (100, true)] {
        let bucketed = AggregationConfig {
            before: vec![Before::Bucketing],
            bucket_size: Some(size),
            ..config(Rule::Mean, 0)
        };
        let (out, verdict) = run(&bucketed, &rows).unwrap();
        let weights: f64 = verdict.rows.iter().map(|row| row.weight.unwrap()).sum();
        assert!((weights - 1.0).abs() < 1e-12);
        let same = relative_error(&out, &mean) < 1e-12;
        assert_eq!(same, equal, "buckets of {size}");
    }
    // Krum after bucketing gives one bucket: two rows of weight 1/2, with one score.
    let krum = AggregationConfig {
        before: vec![Before::Bucketing],
        ..config(Rule::Krum, 1)
    };
    let (_, verdict) = run(&krum, &rows).unwrap();
    let kept: Vec<_> = verdict.rows.iter().filter(|row| row.kept).collect();
    assert_eq!(kept.len(), 2);
    assert_eq!(kept[0], kept[1]);
    assert_eq!(kept[0].weight, Some(0.5));
}

#[test]
fn client_weights_are_the_means() {
    let rows = [[1.0, 0.0], [0.0, 1.0], [4.0, 4.0]].map(Vec::from);
    let slices: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
    let input = Input {
        weights: Some(&[3.0, 1.0, 0.0]),
        ..Input::new(&slices)
    };
    let (out, verdict) = run_input(&config(Rule::Mean, 0), &input).unwrap();
    assert_eq!(out, [0.75, 0.25]);
    assert_eq!(verdict.rows[0].weight, Some(0.75));
    assert!(!verdict.rows[2].kept);
    let bucketed = AggregationConfig {
        before: vec![Before::Bucketing],
        bucket_size: Some(3),
        ..config(Rule::Mean, 0)
    };
    let (out, _) = run_input(&bucketed, &input).unwrap();
    assert!(relative_error(&out, &[5.0 / 3.0, 5.0 / 3.0]) < 1e-15);
}

#[test]
fn dnc_samples_with_the_stream_and_intersects() {
    let rows = cohort(20, 4, 5000, 6);
    let dnc = AggregationConfig {
        sample: Some(200),
        iterations: Some(4),
        ..config(Rule::Dnc, 4)
    };
    let (out, verdict) = run(&dnc, &rows).unwrap();
    assert_eq!(run(&dnc, &rows).unwrap().0, out);
    for (row, verdict) in verdict.rows.iter().enumerate() {
        assert!(row >= 4 || !verdict.kept, "liar {row} was kept");
    }
    let greedy = AggregationConfig {
        drop_factor: Some(5.0),
        ..dnc
    };
    let error = run(&greedy, &rows).unwrap_err().to_string();
    assert!(
        error.starts_with("drop_factor is 5, must be less: 4 times 20 of 20"),
        "{error}"
    );
}
