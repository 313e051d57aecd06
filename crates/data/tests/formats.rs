//! Generated files of every format, read by path.

mod support;

use std::fs;
use std::path::PathBuf;

use cloister_data::{
    ClassRule, ColumnKind, ColumnRef, ColumnRole, DataConfig, Normalise, PartitionConfig, Paths,
    Scaling, inspect, load,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use support::{gz, idx, many, npy, png, write, zip};

fn name(column: &str) -> ColumnRef {
    ColumnRef::Name(column.to_owned())
}

#[test]
fn idx_by_content_whatever_the_names() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "README.md", "nothing, that matters\n");
    write(at, "a.csv", idx(&[3, 1, 2], &[0, 255, 51, 102, 153, 204]));
    write(at, "b.jpg", gz(&idx(&[3], &[0, 2, 2])));
    write(at, "c test", idx(&[1, 1, 2], &[51, 102]));
    write(at, "d.test.txt", idx(&[1], &[2]));
    let data = load(&DataConfig::at(at), 1).unwrap();
    assert_eq!(data.train.features(), [0.0, 1.0, 0.2, 0.4, 0.6, 0.8]);
    assert_eq!(data.train.shape().to_string(), "1x1x2");
    // Label 1 has no row: classes are the labels that training rows have.
    assert_eq!(data.train.classes(), ["0", "2"]);
    assert_eq!(
        (data.train.labels(), data.test.labels()),
        (&[0, 1, 1][..], &[1][..])
    );
    let folder_name = at.display().to_string();
    assert_eq!(
        data.notes,
        [
            format!("{folder_name}: passed over: README.md"),
            "1 of 1 test rows also occur among the training rows".to_owned()
        ]
    );
    let raw = DataConfig {
        normalise: Normalise::None,
        ..DataConfig::at(at)
    };
    assert_eq!(load(&raw, 1).unwrap().test.features(), [51.0, 102.0]);
}

#[test]
fn standard_images_have_mean_0_and_deviation_1_in_each_channel() {
    let folder = tempfile::tempdir().unwrap();
    // Two images of 3 channels, 1 x 2: HWC in the archive, CHW here.
    let images = npy(
        "|u1",
        "(2, 1, 2, 3)",
        &[0, 10, 7, 100, 20, 7, 100, 30, 7, 200, 40, 7],
    );
    let labels = npy(
        "<i8",
        "(2, 1)",
        &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    );
    let archive = zip(&[
        ("x_train.npy", &images),
        ("Y_train.npy", &labels),
        ("x_test.npy", &images),
        ("y_test.npy", &labels),
        ("other.npy", &labels),
    ]);
    let path = write(folder.path(), "archive", archive);
    let raw = DataConfig {
        normalise: Normalise::None,
        ..DataConfig::at(&path)
    };
    let data = load(&raw, 1).unwrap();
    assert_eq!(data.train.row(0), [0.0, 100.0, 10.0, 20.0, 7.0, 7.0]);
    assert_eq!(data.train.labels(), [1, 0]);
    assert!(
        data.notes[0].ends_with("archive: arrays not used: other"),
        "{:?}",
        data.notes
    );

    let data = load(
        &DataConfig {
            normalise: Normalise::Standard,
            ..raw
        },
        1,
    )
    .unwrap();
    let root2 = 2_f32.sqrt();
    let expected = [
        -root2,
        0.0,
        -15.0 / 125_f32.sqrt(),
        -5.0 / 125_f32.sqrt(),
        0.0,
        0.0,
    ];
    for (value, expected) in data.train.row(0).iter().zip(expected) {
        assert!((value - expected).abs() < 1e-6, "{value} for {expected}");
    }
}

#[test]
fn fractions_in_npz_stay_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let values: Vec<u8> = [0.5_f32, -2.0, 3.25, 4.0]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let images = npy("<f4", "(2, 2)", &values);
    let labels = npy("|u1", "(2,)", &[0, 1]);
    let archive = zip(&[("images.npy", &images), ("labels.npy", &labels)]);
    let path = write(folder.path(), "a.npz", &archive);
    let config = DataConfig {
        test_path: Some(Paths::One(path.clone())),
        ..DataConfig::at(path)
    };
    let data = load(&config, 1).unwrap();
    assert_eq!(data.train.features(), [0.5, -2.0, 3.25, 4.0]);
    assert_eq!(data.test.len(), 2);
}

#[test]
fn cifar_takes_class_names_from_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut batch = vec![255; 2 * 3073];
    batch[0] = 1;
    batch[3073] = 0;
    batch[3073 + 1] = 51;
    write(folder.path(), "data_batch_1.bin", &batch);
    write(folder.path(), "data_batch_2.bin", gz(&batch));
    write(folder.path(), "test_batch.bin", &batch);
    write(folder.path(), "batches.meta.txt", "cat\ndog\n\n");
    let data = load(&DataConfig::at(folder.path()), 1).unwrap();
    assert_eq!(data.train.classes(), ["cat", "dog"]);
    assert_eq!(data.train.labels(), [1, 0, 1, 0]);
    assert_eq!(data.train.row(1)[..2], [0.2, 1.0]);
    assert_eq!(data.train.shape().to_string(), "3x32x32");
}

#[test]
fn picture_folders_with_their_own_test_part() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for part in ["train", "test"] {
        write(at, &format!("{part}/cat/1.png"), png(2, 1, None));
        write(
            at,
            &format!("{part}/dog/1.dat"),
            png(2, 1, Some([255, 0, 51])),
        );
        write(at, &format!("{part}/dog/.hidden"), "x");
    }
    write(at, "val/cat/1.png", png(2, 1, None));
    let data = load(&DataConfig::at(at), 1).unwrap();
    assert_eq!(data.train.classes(), ["cat", "dog"]);
    assert_eq!(data.train.row(1), [1.0, 1.0, 0.0, 0.0, 0.2, 0.2]);
    assert_eq!(data.test.labels(), [0, 1]);
    assert!(
        data.notes
            .iter()
            .any(|note| note.ends_with("passed over: val")),
        "{:?}",
        data.notes
    );

    // Only grey pictures: one channel.
    fs::remove_dir_all(at.join("train/dog")).unwrap();
    fs::remove_dir_all(at.join("test/dog")).unwrap();
    assert_eq!(
        load(&DataConfig::at(at), 1)
            .unwrap()
            .train
            .shape()
            .to_string(),
        "1x1x2"
    );
}

/// Statistics come from training rows only, unseen and missing codes are zeros, missing numbers the training mean.
#[test]
fn tables_are_coded_by_their_training_rows() {
    let folder = tempfile::tempdir().unwrap();
    let train = "id,age,town,grade,class\n1,10,Ulm,2,no\n2,20,Bonn,10,yes\n3,?,Ulm,2,no\n4,60, Bonn ,10,yes\n";
    let test = "id,age,town,grade,class\n9,NA,Rome,2,yes\n9,90,,3,no\n";
    let config = DataConfig {
        test_path: Some(write(folder.path(), "t.csv", test).into()),
        drop: vec![name("id")],
        categorical: vec![ColumnRef::Index(3)],
        ..DataConfig::at(write(folder.path(), "a.csv", train))
    };
    // age, town = Bonn, town = Ulm, grade = 2, grade = 10
    let plain = load(
        &DataConfig {
            scaling: Scaling::None,
            ..config.clone()
        },
        1,
    )
    .unwrap();
    assert_eq!(plain.train.classes(), ["no", "yes"]);
    assert_eq!(plain.train.labels(), [0, 1, 0, 1]);
    assert_eq!(plain.train.row(2), [30.0, 0.0, 1.0, 1.0, 0.0]);
    assert_eq!(plain.train.row(3), [60.0, 1.0, 0.0, 0.0, 1.0]);
    assert_eq!(
        plain.test.features(),
        [30.0, 0.0, 0.0, 1.0, 0.0, 90.0, 0.0, 0.0, 0.0, 0.0]
    );
    assert_eq!(
        plain.notes,
        [
            "data.label is not given: column 4 ('class') is taken for the class",
            "1 of 4 training rows have missing cells, 1 in all: numbers are filled with the training mean, codes are \
             left without a 1",
        ]
    );

    let min_max = load(
        &DataConfig {
            scaling: Scaling::MinMax,
            ..config.clone()
        },
        1,
    )
    .unwrap();
    assert_eq!(
        (min_max.train.row(1)[0], min_max.test.row(1)[0]),
        (0.2, 1.6)
    );
    let standard = load(&config, 1).unwrap();
    let deviation = (1400.0_f64 / 3.0).sqrt();
    assert!((f64::from(standard.train.row(3)[0]) - 30.0 / deviation).abs() < 1e-6);
    assert_eq!(standard.train.row(2)[0], 0.0);
}

#[test]
fn owners_come_from_a_column_a_folder_or_a_list() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let rows = |from: usize| {
        (from..from + 10)
            .map(|i| format!("{i},{}\n", i % 2))
            .collect::<String>()
    };
    let north = write(at, "set/north.csv", rows(0));
    let south = write(at, "set/south.csv.gz", gz(rows(20).as_bytes()));
    let by_folder = load(&DataConfig::at(at.join("set")), 1).unwrap();
    let by_list = load(
        &DataConfig {
            dataset: Some("set".into()),
            ..many(&[north, south])
        },
        1,
    )
    .unwrap();
    assert_eq!(by_folder.train, by_list.train);
    let sites = by_list.train.sites().unwrap();
    assert_eq!(sites.names, ["north", "south"]);
    assert_eq!((by_list.train.len(), by_list.test.len()), (16, 4));
    let test_sites = &by_list.test.sites().unwrap().of_row;
    assert_eq!(test_sites.iter().filter(|&&site| site == 0).count(), 2);

    let table: String = (0..12)
        .map(|i| format!("{i};{};{}\n", ["b", "a"][i / 6], i % 2))
        .collect();
    let config = DataConfig {
        header: Some(false),
        site_column: Some(ColumnRef::Index(1)),
        ..DataConfig::at(write(at, "by-column", table))
    };
    let data = load(&config, 1).unwrap();
    let natural = PartitionConfig::Natural { minimum: 1 };
    let partition = natural
        .split(&data.train, None, &mut ChaCha8Rng::seed_from_u64(1))
        .unwrap();
    let names: Vec<&str> = partition
        .clients
        .iter()
        .map(|client| client.name.as_str())
        .collect();
    assert_eq!((names, data.train.shape().width), (vec!["b", "a"], 1));
}

#[test]
fn images_may_have_owners_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut paths: Vec<PathBuf> = Vec::new();
    for (site, classes) in [("left", ["cat", "dog"]), ("right", ["dog", "eel"])] {
        for class in classes {
            for copy in 0..3 {
                write(
                    folder.path(),
                    &format!("{site}/{class}/{copy}.png"),
                    png(2, 2, None),
                );
            }
        }
        paths.push(folder.path().join(site));
    }
    let data = load(&many(&paths), 1).unwrap();
    assert_eq!(data.train.classes(), ["cat", "dog", "eel"]);
    assert_eq!(data.train.sites().unwrap().names, ["left", "right"]);
}

/// Merging the figures of owners gives the coding of the pooled rows.
#[test]
fn scaling_by_owners_is_scaling_of_the_pool() {
    let folder = tempfile::tempdir().unwrap();
    let rows: String = (0..40)
        .map(|i| format!("{},{},{}\n", (i * 37 % 11) as f64 * 1e3 + 1e6, i % 3, i % 2))
        .collect();
    let pooled = write(folder.path(), "a.csv", &rows);
    let test = write(folder.path(), "b.csv", &rows);
    let config = DataConfig {
        test_path: Some(test.into()),
        header: Some(false),
        ..DataConfig::at(&pooled)
    };
    let all = load(&config, 1).unwrap();
    // The owner column is one-hot's third value; leaving it out leaves column 0.
    let owned = DataConfig {
        site_column: Some(ColumnRef::Index(1)),
        ..config.clone()
    };
    let owned = load(&owned, 1).unwrap();
    for row in 0..all.train.len() {
        assert!((all.train.row(row)[0] - owned.train.row(row)[0]).abs() < 1e-6);
    }
}

#[test]
fn the_seed_decides_what_is_held_out_and_nothing_else() {
    let config = DataConfig {
        limit: Some(100),
        ..DataConfig::bundled("wdbc")
    };
    let (a, again, b) = (
        load(&config, 1).unwrap(),
        load(&config, 1).unwrap(),
        load(&config, 2).unwrap(),
    );
    assert_eq!(a, again);
    assert_ne!(a.test, b.test);
    assert_eq!((a.train.len(), a.test.len()), (100, 114));
}

#[test]
fn the_sets_inside_the_binary() {
    for info in cloister_data::bundled() {
        let found = inspect(&DataConfig::bundled(info.name)).unwrap();
        assert_eq!(found.train.rows, info.rows, "{}", info.name);
        assert_eq!(found.classes.len(), info.classes);
        assert_eq!(found.train.sites.len(), info.sites);
        let data = load(&DataConfig::bundled(info.name), 1).unwrap();
        assert_eq!(data.train.len() + data.test.len(), info.rows);
        assert_eq!(data.train.name(), info.name);
    }
    let heart = inspect(&DataConfig::bundled("heart-disease")).unwrap();
    let disease: Vec<(usize, &str)> = heart
        .classes
        .iter()
        .map(|c| (c.train, c.name.as_str()))
        .collect();
    assert_eq!(disease, [(411, "healthy"), (509, "disease")]);
    let rows: Vec<usize> = heart.train.sites.iter().map(|site| site.rows).collect();
    assert_eq!(rows, [303, 294, 123, 200]);
    // 6 + 782 + 273 + 698 cells are marked, and zeros of cholesterol and blood pressure mean the same.
    let zeros = 172 + 1;
    assert_eq!(
        heart
            .columns
            .iter()
            .map(|column| column.missing)
            .sum::<u64>(),
        6 + 782 + 273 + 698 + zeros
    );
    assert_eq!(
        (heart.columns[2].kind, heart.columns[13].role),
        (ColumnKind::Codes, ColumnRole::Label)
    );

    let data = load(&DataConfig::bundled("heart-disease"), 1).unwrap();
    let sites = data.test.sites().unwrap();
    let held: Vec<usize> = (0..4)
        .map(|site| sites.of_row.iter().filter(|&&of| of == site).count())
        .collect();
    assert_eq!(held.iter().sum::<usize>(), 184);
    for (held, all) in held.iter().zip(rows) {
        assert!(
            (*held as f64 - 0.2 * all as f64).abs() <= 1.0,
            "{held} of {all}"
        );
    }
    let wide = DataConfig {
        drop: vec![name("slope"), name("ca"), name("thal")],
        ..DataConfig::bundled("heart-disease")
    };
    assert_eq!(load(&wide, 1).unwrap().train.shape().width, 8 + 4 + 3);
}

#[test]
fn classes_of_images_may_be_joined() {
    let rule = |name: &str, labels: &[&str]| ClassRule {
        name: name.into(),
        labels: labels.iter().map(|&label| label.into()).collect(),
    };
    let config = DataConfig {
        classes: vec![rule("round", &["0", "6", "8", "9"]), rule("straight", &[])],
        ..DataConfig::bundled("digits")
    };
    let data = load(&config, 1).unwrap();
    assert_eq!(data.train.classes(), ["round", "straight"]);
    let config = DataConfig {
        positive: vec!["7".into()],
        ..DataConfig::bundled("digits")
    };
    assert_eq!(load(&config, 1).unwrap().train.classes(), ["negative", "7"]);
}
