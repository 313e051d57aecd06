//! A leakage report with rows of all kinds, for tests and for the sample page. Its figures are invented.

#![allow(
    dead_code,
    reason = "each binary has its own copy and uses a part of it"
)]

use std::collections::BTreeMap;

use cloister_report::record::leakage::*;

/// A run of a small convolutional net with a variational bottleneck, and variants of it.
pub(crate) fn report() -> LeakageReport {
    LeakageReport {
        format: FORMAT,
        cloister: "0.1.0 (b6f55e4)".to_owned(),
        subject: subject(),
        suite: "quick".to_owned(),
        seed: 7,
        self_tests: self_tests(),
        inversions: inversions(),
        memberships: memberships(),
        properties: vec![PropertyRow {
            attack: "label counts".to_owned(),
            target: "one update, 4 clients".to_owned(),
            error: 0.0021,
            floor: 0.0175,
            cosine: 0.981,
            dominant: 0.9,
            note: Some("Two classes each, by the partition.".to_owned()),
        }],
        audits: audits(),
        guards: vec![
            GuardRow {
                attack: "imprint, 128 bins".to_owned(),
                flagged: true,
                finding: "rows of fc1.weight are collinear (cosine 1.000) with ordered biases"
                    .to_owned(),
            },
            GuardRow {
                attack: "trap weights, scale 0.97".to_owned(),
                flagged: false,
                finding: "nothing found".to_owned(),
            },
        ],
        skipped: vec![
            Skipped {
                what: "unrolled FedAvg".to_owned(),
                why: "the clients take 40 local steps; the attack unrolls at most 10".to_owned(),
            },
            Skipped {
                what: "LiRA online".to_owned(),
                why: "only in the full suite: 32 shadow models".to_owned(),
            },
        ],
        seconds: 94.2,
    }
}

fn subject() -> Subject {
    Subject {
        run: "digits-precode".to_owned(),
        config_sha256: "9f2c".repeat(16),
        dataset: "digits".to_owned(),
        model: "convnet".to_owned(),
        parameters: 87_114,
        clients: 10,
        trust: "The server sees each client's update by itself.".to_owned(),
        privacy: Some("no differential privacy".to_owned()),
        epsilon: None,
        delta: Some(1e-5),
        recorded_rounds: vec![1, 2, 3, 10],
    }
}

fn self_tests() -> Vec<SelfTest> {
    let test = |name: &str, passed, detail: &str| SelfTest {
        name: name.to_owned(),
        passed,
        detail: detail.to_owned(),
    };
    vec![
        test(
            "undefended cosine attack, LeNet",
            true,
            "36.2 dB, at least 35 dB are needed",
        ),
        test(
            "undefended closed form, MLP",
            true,
            "163.0 dB, at least 100 dB are needed",
        ),
        test(
            "undefended L-BFGS, LeNet-5",
            false,
            "13.1 dB, at least 35 dB are needed",
        ),
        test(
            "clipped norms",
            true,
            "largest 1.000 of 640 examples, at most 1 is allowed",
        ),
        test(
            "two seeds give different noise",
            true,
            "0 of 87,114 coordinates agree",
        ),
    ]
}

fn inversion(
    defence: &str,
    attack: &str,
    band: Band,
    psnr: (f64, f64),
    ssim: (f64, f64),
) -> InversionRow {
    let floor = 13.1;
    let iterations = if attack == "closed-form" { 0 } else { 400 };
    let relative = |ssim: f64| (ssim - 0.1) / 0.9;
    InversionRow {
        threat: "server, one update".to_owned(),
        attack: attack.to_owned(),
        defence: defence.to_owned(),
        setting: "batch 1, 1 step, untrained".to_owned(),
        round: 1,
        images: 4,
        labels: Some(1.0),
        psnr: Spread {
            median: psnr.0,
            worst: psnr.1,
        },
        floor,
        gain: Spread {
            median: psnr.0 - floor,
            worst: psnr.1 - floor,
        },
        ssim: Spread {
            median: ssim.0,
            worst: ssim.1,
        },
        relative_ssim: Spread {
            median: relative(ssim.0),
            worst: relative(ssim.1),
        },
        asr: if psnr.0 > 16.0 { 1.0 } else { 0.0 },
        iip: Some(if psnr.0 > 16.0 { 1.0 } else { 0.25 }),
        objective: (-psnr.0 / 9.0).exp(),
        band,
        accuracy: Some(0.941),
        bytes_up: Some(348_600),
        iterations,
        seconds: 4.2,
        seed: 7,
        settings: BTreeMap::from([
            ("step".to_owned(), 0.1.into()),
            ("total variation".to_owned(), 1e-4.into()),
        ]),
        curve: (0..iterations / 10)
            .map(|at| {
                let done = at as f64 / (iterations / 10) as f64;
                [at as f64 * 10.0, 0.9 * (-psnr.0 / 9.0 * done).exp() + 0.002]
            })
            .collect(),
        ..InversionRow::default()
    }
}

fn inversions() -> Vec<InversionRow> {
    let strip = |name: &str| Some(format!("{name}.png"));
    let panels = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let two: Vec<String> = panels(&["truth", "floor", "attack"]);
    let three: Vec<String> = panels(&["truth", "floor", "attack", "adaptive attack"]);
    let cosine = "inverting-gradients";
    let mut rows = vec![
        InversionRow {
            picture: strip("precode"),
            panels: three.clone(),
            ..inversion(
                "precode, K = 64",
                cosine,
                Band::NoneFound,
                (4.2, 4.5),
                (0.02, 0.05),
            )
        },
        InversionRow {
            adaptive_to: Some("precode".to_owned()),
            picture: strip("precode"),
            panels: three,
            note: Some("Leaves the gradients of decoder and head out of the objective.".to_owned()),
            ..inversion(
                "precode, K = 64",
                cosine,
                Band::Recognisable,
                (22.9, 23.2),
                (0.71, 0.76),
            )
        },
        InversionRow {
            what_if: true,
            picture: strip("none"),
            panels: two.clone(),
            ..inversion("none", cosine, Band::Exact, (44.6, 48.2), (0.97, 0.98))
        },
        InversionRow {
            what_if: true,
            ..inversion(
                "none",
                "closed-form",
                Band::Exact,
                (f64::INFINITY, f64::INFINITY),
                (1.0, 1.0),
            )
        },
        InversionRow {
            what_if: true,
            picture: strip("prune"),
            panels: two.clone(),
            bytes_up: Some(71_900),
            accuracy: Some(0.938),
            ..inversion(
                "prune 90 %",
                cosine,
                Band::Recognisable,
                (24.1, 25.0),
                (0.8, 0.84),
            )
        },
        InversionRow {
            what_if: true,
            adaptive_to: Some("prune".to_owned()),
            bytes_up: Some(71_900),
            accuracy: Some(0.938),
            ..inversion(
                "prune 90 %",
                cosine,
                Band::Recognisable,
                (22.0, 23.5),
                (0.74, 0.8),
            )
        },
        InversionRow {
            what_if: true,
            picture: strip("dp"),
            panels: two.clone(),
            accuracy: Some(0.871),
            epsilon: Some(3.2811),
            ..inversion(
                "DP-SGD, \u{3b5} = 3.3",
                cosine,
                Band::NoneFound,
                (6.2, 6.8),
                (0.01, 0.04),
            )
        },
        InversionRow {
            what_if: true,
            labels: None,
            iip: None,
            ..inversion(
                "soteria 0.8",
                "dlg",
                Band::AttackFailed,
                (11.0, 12.9),
                (0.1, 0.2),
            )
        },
    ];
    for row in [
        inversion(
            "precode, K = 64",
            cosine,
            Band::Partial,
            (15.1, 18.1),
            (0.3, 0.41),
        ),
        InversionRow {
            what_if: true,
            ..inversion("none", cosine, Band::Partial, (16.0, 18.4), (0.33, 0.45))
        },
    ] {
        rows.push(InversionRow {
            setting: "batch 8, 1 step, untrained".to_owned(),
            images: 8,
            labels: Some(0.875),
            ..row
        });
    }
    rows.push(masked());
    rows.push(tabular());
    rows
}

/// An attack that the defence left nothing to be run on.
fn masked() -> InversionRow {
    InversionRow {
        threat: "server, masked sum of 10 clients".to_owned(),
        attack: "inverting-gradients".to_owned(),
        defence: "secure aggregation".to_owned(),
        what_if: true,
        setting: "batch 80, 1 step, untrained".to_owned(),
        round: 1,
        images: 80,
        psnr: Spread::NONE,
        floor: f64::NAN,
        gain: Spread::NONE,
        ssim: Spread::NONE,
        relative_ssim: Spread::NONE,
        asr: f64::NAN,
        objective: f64::NAN,
        note: Some("The time of the quick suite was up.".to_owned()),
        ..InversionRow::default()
    }
}

fn tabular() -> InversionRow {
    let column = |name: &str, error, floor, categorical| ColumnError {
        name: name.to_owned(),
        error,
        floor,
        categorical,
    };
    InversionRow {
        threat: "server, one update".to_owned(),
        attack: "closed-form".to_owned(),
        defence: "none".to_owned(),
        what_if: true,
        setting: "rows of a table, batch 1, 1 step".to_owned(),
        round: 1,
        images: 32,
        labels: Some(1.0),
        psnr: Spread::NONE,
        floor: f64::NAN,
        gain: Spread::NONE,
        ssim: Spread::NONE,
        relative_ssim: Spread::NONE,
        asr: f64::NAN,
        objective: 0.0,
        band: Band::Exact,
        columns: vec![
            column("age", 0.001, 0.98, false),
            column("blood pressure", 0.02, 1.01, false),
            column("ward", 0.0, 0.62, true),
        ],
        ..InversionRow::default()
    }
}

fn estimate(value: f64, room: f64) -> Estimate {
    Estimate {
        value,
        low: (value - room).max(0.0),
        high: (value + room).min(1.0),
    }
}

fn membership(
    attack: &str,
    defence: &str,
    verdict: MembershipVerdict,
    power: f64,
    auc: f64,
) -> MembershipRow {
    let rate = |alarms: f64| alarms.powf(power);
    MembershipRow {
        attack: attack.to_owned(),
        target: "final model".to_owned(),
        defence: defence.to_owned(),
        members: 1_000,
        nonmembers: 1_000,
        auc: estimate(auc, 0.013),
        balanced_accuracy: 0.5 + (auc - 0.5) * 0.75,
        tpr_1: Some(estimate(rate(0.01), 0.012)),
        refused: Some("0.1 % false alarms need 10,000 non-members, there are 1,000".to_owned()),
        roc: (0..=60)
            .map(|step| 10f64.powf(-3.0 + step as f64 / 20.0))
            .map(|at| [at, rate(at)])
            .collect(),
        verdict,
        classes: (0..10)
            .map(|class| (class.to_string(), auc + 0.01 * f64::from(class % 3)))
            .collect(),
        accuracy: Some(0.941),
        seconds: 21.4,
        seed: 7,
        ..MembershipRow::default()
    }
}

fn memberships() -> Vec<MembershipRow> {
    vec![
        membership(
            "yeom",
            "precode, K = 64",
            MembershipVerdict::Leaks,
            0.78,
            0.571,
        ),
        membership(
            "rmia",
            "precode, K = 64",
            MembershipVerdict::Leaks,
            0.66,
            0.624,
        ),
        MembershipRow {
            nonmembers: 10_000,
            members: 10_000,
            tpr_01: Some(estimate(0.024, 0.004)),
            refused: None,
            ..membership(
                "lira-offline",
                "precode, K = 64",
                MembershipVerdict::Strong,
                0.54,
                0.641,
            )
        },
        MembershipRow {
            what_if: true,
            epsilon: Some(3.2811),
            ceiling: (0..=60)
                .map(|step| 10f64.powf(-3.0 + f64::from(step) / 20.0))
                .map(|at| [at, (26.6 * at).min(1.0 - 0.0376 * (1.0 - at))])
                .collect(),
            ceiling_1: Some(0.266),
            ceiling_01: Some(0.0266),
            accuracy: Some(0.871),
            ..membership(
                "rmia",
                "DP-SGD, \u{3b5} = 3.3",
                MembershipVerdict::NoneFound,
                0.97,
                0.506,
            )
        },
        MembershipRow {
            attack: "fedmia".to_owned(),
            target: "recorded rounds".to_owned(),
            defence: "secure aggregation".to_owned(),
            what_if: true,
            refused: Some("masked updates show no client's own".to_owned()),
            auc: Estimate {
                value: f64::NAN,
                low: f64::NAN,
                high: f64::NAN,
            },
            balanced_accuracy: f64::NAN,
            ..MembershipRow::default()
        },
    ]
}

fn audits() -> Vec<AuditRow> {
    let row = AuditRow {
        method: "one-run, f-DP".to_owned(),
        unit: "client".to_owned(),
        canaries: 1_000,
        guesses: 540,
        correct: 371,
        lower_bound: Some(1.31),
        confidence: 0.95,
        claim: Some(2.0),
        delta: 1e-5,
        passed: true,
        seconds: 12.0,
        seed: 3,
        ..AuditRow::default()
    };
    vec![
        AuditRow {
            method: "one-shot".to_owned(),
            guesses: 0,
            correct: 0,
            lower_bound: None,
            estimate: Some(1.74),
            note: Some("An estimate, which bounds nothing.".to_owned()),
            ..row.clone()
        },
        row,
    ]
}

/// The pictures of the report: gray tiles of the panels side by side, an image a line.
pub(crate) fn pictures() -> BTreeMap<String, Vec<u8>> {
    let strips = [
        ("precode.png", vec![0.0, 2.0, 1.6, 0.45]),
        ("none.png", vec![0.0, 2.0, 0.04]),
        ("prune.png", vec![0.0, 2.0, 0.35]),
        ("dp.png", vec![0.0, 2.0, 1.8]),
    ];
    let strip = |(name, noise): (&str, Vec<f64>)| (name.to_owned(), strip(&noise));
    strips.into_iter().map(strip).collect()
}

/// Four drawn digits, each once for every noise; a noise of 2 is the mean of the digits.
fn strip(noise: &[f64]) -> Vec<u8> {
    const SIDE: usize = 28;
    let (width, height) = (SIDE * noise.len(), SIDE * 4);
    let mut pixels = Vec::with_capacity(width * height);
    let mut state = 12_345u64;
    for y in 0..height {
        for x in 0..width {
            let noise = noise[x / SIDE];
            let (digit, at) = (y / SIDE, ((x % SIDE) as f64, (y % SIDE) as f64));
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let random = (state >> 33) as f64 / f64::from(1u32 << 31);
            let value = if noise == 2.0 {
                (0..4).map(|digit| stroke(digit, at)).sum::<f64>() / 4.0
            } else {
                let kept = (1.0 - noise * 0.6).max(0.0);
                kept * stroke(digit, at) + noise * 0.6 * random
            };
            pixels.push((value.clamp(0.0, 1.0) * 255.0) as u8);
        }
    }
    png(width, height, &pixels)
}

/// How bright a pixel of a digit is: 0, 1, 4 and 7 drawn with a thick pen.
fn stroke(digit: usize, (x, y): (f64, f64)) -> f64 {
    let segment = |(x1, y1): (f64, f64), (x2, y2): (f64, f64)| {
        let (dx, dy) = (x2 - x1, y2 - y1);
        let along = (((x - x1) * dx + (y - y1) * dy) / (dx * dx + dy * dy)).clamp(0.0, 1.0);
        ((x - x1 - along * dx).powi(2) + (y - y1 - along * dy).powi(2)).sqrt()
    };
    let distance = match digit {
        0 => ((((x - 14.0) / 0.72).powi(2) + (y - 14.0).powi(2)).sqrt() - 8.5).abs(),
        1 => segment((15.0, 5.0), (14.0, 23.0)).min(segment((15.0, 5.0), (10.0, 9.0))),
        2 => segment((9.0, 5.0), (8.0, 15.0))
            .min(segment((8.0, 15.0), (20.0, 15.0)))
            .min(segment((18.0, 7.0), (17.0, 24.0))),
        _ => segment((7.0, 6.0), (20.0, 6.0)).min(segment((20.0, 6.0), (12.0, 23.0))),
    };
    (2.4 - distance).clamp(0.0, 1.0)
}

/// A gray PNG without compression.
pub(crate) fn png(width: usize, height: usize, pixels: &[u8]) -> Vec<u8> {
    let mut lines = Vec::new();
    for line in pixels.chunks(width) {
        lines.push(0);
        lines.extend_from_slice(line);
    }
    let mut data = vec![0x78, 0x01];
    let blocks = lines.chunks(65_535);
    let last = blocks.len().saturating_sub(1);
    for (index, block) in blocks.enumerate() {
        let length = block.len() as u16;
        data.push(u8::from(index == last));
        data.extend(length.to_le_bytes());
        data.extend((!length).to_le_bytes());
        data.extend_from_slice(block);
    }
    let (a, b) = lines.iter().fold((1u32, 0u32), |(a, b), &byte| {
        let a = (a + u32::from(byte)) % 65_521;
        (a, (a + b) % 65_521)
    });
    data.extend(((b << 16) | a).to_be_bytes());
    let mut header = Vec::new();
    header.extend((width as u32).to_be_bytes());
    header.extend((height as u32).to_be_bytes());
    header.extend([8, 0, 0, 0, 0]);
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, data) in [(b"IHDR", &header), (b"IDAT", &data), (b"IEND", &Vec::new())] {
        let mut chunk = kind.to_vec();
        chunk.extend(data);
        file.extend((data.len() as u32).to_be_bytes());
        file.extend(&chunk);
        file.extend(crc(&chunk).to_be_bytes());
    }
    file
}

fn crc(bytes: &[u8]) -> u32 {
    let table = |byte: u32| {
        (0..8).fold(byte, |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    };
    !bytes.iter().fold(!0, |crc, &byte| {
        table((crc ^ u32::from(byte)) & 0xff) ^ (crc >> 8)
    })
}
