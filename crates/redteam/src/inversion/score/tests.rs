use super::*;

/// The image of the reference script below.
fn image(shape: InputShape, seed: f64) -> Vec<f32> {
    let value = |i: usize| {
        let i = i as f64;
        (((i * 0.37 + seed).sin() + (i * i * 0.011 * seed).cos() + 2.0) / 4.0) as f32
    };
    (0..shape.len()).map(value).collect()
}

/// Values of scikit-image 0.25 and scipy 1.15, by
///
/// ```python
/// def img(c, h, w, seed):
///     i = np.arange(c * h * w, dtype=np.float64)
///     return ((np.sin(i * 0.37 + seed) + np.cos(i * i * 0.011 * seed) + 2) / 4).astype(np.float32).reshape(c, h, w)
/// a = img(c, h, w, 1.0).astype(np.float64)
/// b = (0.7 * a + 0.3 * img(c, h, w, 2.0)).astype(np.float32).astype(np.float64)
/// np.mean([structural_similarity(a[k], b[k], data_range=1, gaussian_weights=True, sigma=1.5,
///          use_sample_covariance=False) for k in range(c)]), peak_signal_noise_ratio(a, b, data_range=1)
/// ```
///
/// and for sides below 11 the same formula with `scipy.ndimage.gaussian_filter(x, 1.5, radius=r)[r:h-r, r:w-r]`.
#[test]
fn ssim_and_psnr_are_those_of_scikit_image() {
    let cases = [
        ((1, 28, 28), 0.9165077779124945, 20.830256458433603),
        ((3, 32, 32), 0.9189367555261848, 20.94561109427156),
        ((1, 11, 17), 0.8697112839232696, 20.629664336585734),
        ((1, 8, 8), 0.9281345130287089, 20.908829593550976),
        ((2, 9, 30), 0.9124581863575825, 20.81283955408141),
    ];
    for ((channels, height, width), similarity, decibels) in cases {
        let shape = InputShape {
            channels,
            height,
            width,
        };
        let a = image(shape, 1.0);
        let other = image(shape, 2.0);
        let mix = a.iter().zip(&other);
        let b: Vec<f32> = mix
            .map(|(&a, &b)| (0.7 * f64::from(a) + 0.3 * f64::from(b)) as f32)
            .collect();
        let got = ssim(&a, &b, shape).unwrap();
        assert!((got - similarity).abs() < 1e-6, "{got} is not {similarity}");
        let got = psnr(mse(&a, &b));
        assert!((got - decibels).abs() < 1e-5, "{got} is not {decibels}");
        assert!((ssim(&a, &a, shape).unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(psnr(mse(&a, &a)), MOST_DECIBELS);
    }
}

const SMALL: InputShape = InputShape {
    channels: 1,
    height: 4,
    width: 4,
};

#[test]
fn shuffled_reconstructions_find_their_truth() {
    let images: Vec<Vec<f32>> = (1..=4).map(|seed| image(SMALL, f64::from(seed))).collect();
    let truth = images.concat();
    let found = [2, 0, 3, 1].map(|i| images[i].clone()).concat();
    let scores = score_images(&truth, &found, SMALL).unwrap();
    let places: Vec<usize> = scores.iter().map(|score| score.found).collect();
    assert_eq!(places, [1, 3, 0, 2]);
    assert!(scores.iter().all(|score| score.psnr == MOST_DECIBELS));
    assert_eq!(success_rate(&scores, &[10.0; 4]), 1.0);
    assert_eq!(success_rate(&scores, &[10.0, 199.0, 10.0, 10.0]), 0.75);
    assert_eq!(identified(&found, &truth, &[2, 0, 3, 1], 16), 1.0);
    assert_eq!(identified(&found, &truth, &[0, 2, 3, 1], 16), 0.5);
    assert!(score_images(&truth, &found[..16], SMALL).is_err());
    assert!(score_images(&[], &[], SMALL).is_err());
    assert!(score_images(&truth[1..], &found, SMALL).is_err());
}

#[test]
fn a_black_reconstruction_of_a_structured_image_is_no_success() {
    let truth = image(SMALL, 1.0);
    let scores = score_images(&truth, &[0.0; 16], SMALL).unwrap();
    assert!(scores[0].ssim.unwrap() < SUCCESS_SSIM);
    assert_eq!(success_rate(&scores, &[0.0]), 0.0);
}

#[test]
fn medians() {
    assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
    assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    assert!(median(&[]).is_nan());
}

#[test]
fn columns_of_a_table_are_scored_in_deviations_and_categories() {
    let columns = [
        Column::Number {
            name: "age".to_owned(),
            at: 0,
        },
        Column::Category {
            name: "job".to_owned(),
            from: 1,
            len: 3,
        },
    ];
    // Ages 10, 20, 30, 40: median 25, deviation sqrt(125). Jobs: the second is commonest.
    let population = [
        10.0, 0.0, 1.0, 0.0, 20.0, 0.0, 1.0, 0.0, 30.0, 1.0, 0.0, 0.0, 40.0, 0.0, 0.0, 1.0,
    ];
    let truth = [20.0, 0.0, 1.0, 0.0, 40.0, 0.0, 0.0, 1.0];
    // The rows in the other order, one age wrong by ten, one job wrong.
    let found = [40.0, 0.2, 0.1, 0.0, 10.0, 0.1, 0.8, 0.3];
    let scores = score_table(&truth, &found, &population, 4, &columns).unwrap();
    let deviation = 125.0_f64.sqrt();
    assert!((scores[0].error - 5.0 / deviation).abs() < 1e-9);
    assert!((scores[0].floor - 10.0 / deviation).abs() < 1e-9);
    assert_eq!((scores[1].error, scores[1].floor), (0.5, 0.5));
    assert!(scores[1].categorical && !scores[0].categorical);
    let outside = [Column::Category {
        name: "job".to_owned(),
        from: 2,
        len: 3,
    }];
    assert!(score_table(&truth, &found, &population, 4, &outside).is_err());
    assert!(score_table(&truth, &found[..4], &population, 4, &columns).is_err());
}
