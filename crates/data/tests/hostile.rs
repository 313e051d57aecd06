//! Bad input: each kind gives its one message, with the file and the place, and nothing panics.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper of tests fails as the test"
)]

mod support;

use std::path::Path;

use cloister_data::decode::{
    Dialect, cifar10, idx as decode_idx, npy as decode_npy, npz, picture, table,
};
use cloister_data::{ColumnRef, DataConfig, Normalise, Paths, load};
use proptest::prelude::*;
use support::{gz, idx, many, npy, png, write, zip};

/// Builds files in an empty folder, loads what the config says, and compares the message. `{}` is the folder.
fn refuses(expected: &str, build: impl FnOnce(&Path) -> DataConfig) {
    let folder = tempfile::tempdir().unwrap();
    let config = build(folder.path());
    let message = load(&config, 1).expect_err(expected).to_string();
    let message = message.replace(&folder.path().display().to_string(), "{}");
    assert_eq!(message, expected);
}

/// A table in one file.
fn refuses_table(expected: &str, content: &str, change: impl FnOnce(DataConfig) -> DataConfig) {
    refuses(expected, |at| {
        change(DataConfig::at(write(at, "a.csv", content)))
    });
}

fn as_is(config: DataConfig) -> DataConfig {
    config
}

fn name(column: &str) -> Option<ColumnRef> {
    Some(ColumnRef::Name(column.to_owned()))
}

#[test]
fn paths() {
    refuses(
        "data.dataset: 'mnist' is not inside the binary (digits, heart-disease, wdbc); give data.path to its files",
        |_| DataConfig::bundled("mnist"),
    );
    refuses(
        "{}/no: cannot be read: No such file or directory (os error 2)",
        |at| DataConfig::at(at.join("no")),
    );
    refuses("{}: the folder holds no data", |at| DataConfig::at(at));
    refuses("{}/a: the file is empty", |at| {
        DataConfig::at(write(at, "a", ""))
    });
    refuses("{}/a: the file is empty", |at| {
        write(at, "a", gz(b""));
        DataConfig::at(at)
    });
    refuses(
        "{}/a: format not recognised: neither IDX, CIFAR-10 binary, npz nor a table, as such or in gzip, nor a folder \
         of class folders",
        |at| DataConfig::at(write(at, "a", [1, 2, 3, 200])),
    );
    refuses(
        "{}: format not recognised: a mixture of formats: see {}/b",
        |at| {
            write(at, "a", idx(&[1], &[0]));
            write(at, "b", zip(&[]));
            DataConfig::at(at)
        },
    );
    refuses(
        "{}/b: format not recognised: holds table, beside others that hold npz",
        |at| {
            let archive = zip(&[
                ("x.npy", &npy("|u1", "(1, 1)", &[0])),
                ("y.npy", &npy("|u1", "(1,)", &[0])),
            ]);
            many(&[write(at, "a", archive), write(at, "b", "1,2\n")])
        },
    );
    refuses("data.path: the list is empty", |_| many(&[]));
    if Path::new("/dev/null").exists() {
        refuses(
            "/dev/null: format not recognised: neither a file nor a folder",
            |_| DataConfig::at("/dev/null"),
        );
    }
}

#[test]
fn idx_files() {
    let folder = |at: &Path, images: Vec<u8>, labels: Vec<u8>| {
        write(at, "images", images);
        write(at, "labels", labels);
        DataConfig::at(at)
    };
    refuses("{}/images: cut short: 20 bytes expected, 19 found", |at| {
        folder(at, idx(&[2, 1, 2], &[1, 2, 3]), idx(&[2], &[0, 1]))
    });
    refuses(
        "{}/images: byte 4: 2 images, but {}/labels has 3 labels",
        |at| folder(at, idx(&[2, 1, 1], &[1, 2]), idx(&[3], &[0, 1, 1])),
    );
    refuses("{}/images: holds no image", |at| {
        folder(at, idx(&[0, 1, 1], &[]), idx(&[0], &[]))
    });
    refuses("{}/images: holds images without pixels", |at| {
        folder(at, idx(&[1, 0, 1], &[]), idx(&[1], &[0]))
    });
    refuses(
        "{}/images: too large: 4 examples of 1x1x10 take 160 bytes, more than data.max_bytes = 100",
        |at| DataConfig {
            max_bytes: 100,
            ..folder(at, idx(&[4, 1, 10], &[7; 40]), idx(&[4], &[0, 1, 1, 0]))
        },
    );
    refuses(
        "{}/images: format not recognised: a part is one IDX file of images and one of labels; found: {}/images, \
         {}/labels",
        |at| folder(at, idx(&[1, 1, 1], &[1]), idx(&[1, 1, 1], &[1])),
    );
    refuses(
        "{}/labels: format not recognised: one IDX file; give the folder that holds images and labels",
        |at| {
            folder(at, idx(&[1, 1, 1], &[1]), idx(&[1], &[1]));
            DataConfig::at(at.join("labels"))
        },
    );
    // A label beyond the classes, in the test part: byte 9 of the file is its second label.
    refuses(
        "{}/t10k-labels: byte 9: label '7' is beyond the classes (0, 1)",
        |at| {
            write(at, "t10k-images", idx(&[2, 1, 1], &[1, 2]));
            write(at, "t10k-labels", idx(&[2], &[0, 7]));
            folder(at, idx(&[2, 1, 1], &[1, 2]), idx(&[2], &[0, 1]))
        },
    );
    refuses(
        "{}/test/images: test examples of 1x1x2, training examples of 1x1x1",
        |at| {
            for (part, width) in [("train", 1), ("test", 2)] {
                write(
                    at,
                    &format!("{part}/images"),
                    idx(&[1, 1, width], &vec![1; width as usize]),
                );
                write(at, &format!("{part}/labels"), idx(&[1], &[0]));
            }
            DataConfig::at(at)
        },
    );
    refuses("data.label: concerns tables, but these are images", |at| {
        DataConfig {
            label: name("x"),
            ..folder(at, idx(&[1, 1, 1], &[1]), idx(&[1], &[0]))
        }
    });
}

#[test]
fn compressed_files() {
    refuses(
        "{}/a.gz: byte 0: damaged gzip stream: corrupt deflate stream",
        |at| {
            let mut content = gz(b"1,2\n3,4\n");
            content[10] = 0xff;
            DataConfig::at(write(at, "a.gz", content))
        },
    );
    // 100 MiB of zeros in about 100 kB.
    refuses(
        "{}/bomb.gz: too large: decompresses to more than 67108864 bytes, 200 times its size: this looks like a \
         decompression bomb",
        |at| DataConfig::at(write(at, "bomb.gz", gz(&vec![b'0'; 100 << 20]))),
    );
    refuses(
        "{}/bomb.npz: too large: decompresses to more than 67108864 bytes, 200 times its size: this looks like a \
         decompression bomb",
        |at| {
            let huge = npy("|u1", "(100, 1024, 1024)", &vec![0; 100 << 20]);
            DataConfig::at(write(at, "bomb.npz", zip(&[("train_images.npy", &huge)])))
        },
    );
    refuses(
        "{}/a.csv: too large: more than data.max_bytes = 3 bytes",
        |at| DataConfig {
            max_bytes: 3,
            ..DataConfig::at(write(at, "a.csv", "1,2\n"))
        },
    );
}

#[test]
fn archives() {
    let labels = npy("|u1", "(2,)", &[0, 1]);
    let images = npy("|u1", "(2, 3)", &[1, 2, 3, 4, 5, 6]);
    let archive = |at: &Path, images: &[u8], labels: &[u8]| {
        DataConfig::at(write(
            at,
            "a.npz",
            zip(&[("x_train.npy", images), ("y_train.npy", labels)]),
        ))
    };
    refuses(
        "{}/a.npz: format not recognised: no arrays train_images and train_labels, x_train and y_train, or images and \
         labels; there are: z, x_train",
        |at| {
            DataConfig::at(write(
                at,
                "a.npz",
                zip(&[("x_train.npy", &images), ("z.npy", &labels)]),
            ))
        },
    );
    refuses(
        "{}/a.npz: damaged zip archive: invalid Zip archive: Could not find EOCD",
        |at| DataConfig::at(write(at, "a.npz", &zip(&[("x_train.npy", &images)])[..40])),
    );
    refuses(
        "{}/a.npz/x_train.npy: cut short: 76 bytes expected, 73 found",
        |at| archive(at, &images[..images.len() - 3], &labels),
    );
    refuses(
        "{}/a.npz/x_train.npy: 2 examples, but {}/a.npz/y_train.npy has 3 labels",
        |at| archive(at, &images, &npy("|u1", "(3,)", &[0, 1, 0])),
    );
    refuses(
        "{}/a.npz/y_train.npy: labels of shape [2, 2]; n or n x 1 are read",
        |at| archive(at, &images, &npy("|u1", "(2, 2)", &[0, 1, 0, 1])),
    );
    refuses(
        "{}/a.npz/y_train.npy: byte 69: label -1 is no whole number from 0 to 9999",
        |at| archive(at, &images, &npy("|i1", "(2,)", &[0, 255])),
    );
    refuses(
        "{}/a.npz/x_train.npy: byte 70: value NaN is not a finite number of at most 2^53",
        |at| {
            archive(
                at,
                &npy("<f4", "(2, 1)", &[0, 0, 0xc0, 0x7f, 0, 0, 0, 0]),
                &labels,
            )
        },
    );
    refuses(
        "{}/a.npz/x_train.npy: examples of shape [2]; n x d, n x h x w, n x h x w x c or n x c x h x w are read",
        |at| archive(at, &labels, &labels),
    );
}

#[test]
fn cifar_batches() {
    let batch = |label: u8| {
        let mut batch = vec![250; 4 * 3073];
        for record in 0..4 {
            batch[record * 3073] = 1;
        }
        batch[2 * 3073] = label;
        batch
    };
    refuses(
        "{}/a: byte 6146: label '10' is beyond the classes (10 of them)",
        |at| DataConfig::at(write(at, "a", batch(10))),
    );
    refuses("{}/a: cut short: 12292 bytes expected, 12291 found", |at| {
        DataConfig::at(write(at, "a", &batch(1)[..4 * 3073 - 1]))
    });
    refuses(
        "{}/batches.meta.txt: 0 class names; 1 to 256 are possible",
        |at| {
            write(at, "batches.meta.txt", "\n");
            DataConfig::at(write(at, "a", batch(1)))
        },
    );
}

#[test]
fn picture_folders() {
    refuses("{}/cat: the class folder holds no picture", |at| {
        write(at, "cat/.hidden", "");
        DataConfig::at(at)
    });
    refuses("{}/dog/b.png: 2x3 pixels, but {}/cat/a.png has 2x2", |at| {
        write(at, "cat/a.png", png(2, 2, None));
        write(at, "dog/b.png", png(3, 2, None));
        DataConfig::at(at)
    });
    refuses("{}/cat/a.png: neither a PNG nor a JPEG", |at| {
        write(at, "cat/a.png", "GIF89a");
        DataConfig::at(at)
    });
    refuses("{}/cat/a/b: a folder inside a class folder", |at| {
        write(at, "cat/a/b/c.png", png(1, 1, None));
        DataConfig::at(at.join("cat"))
    });
    refuses(
        "{}/test/dog: label 'dog' is beyond the classes (cat)",
        |at| {
            write(at, "train/cat/a.png", png(1, 1, None));
            write(at, "test/cat/a.png", png(1, 1, None));
            write(at, "test/dog/a.png", png(1, 1, None));
            DataConfig::at(at)
        },
    );
    refuses(
        "{}: too large: 1 pictures of 1x100x100 take 40000 bytes, more than data.max_bytes = 5000",
        |at| {
            write(at, "cat/a.png", png(100, 100, None));
            DataConfig {
                max_bytes: 5000,
                ..DataConfig::at(at)
            }
        },
    );
}

#[test]
fn tables() {
    refuses_table(
        "{}/a.csv:3: 3 cells, but the first row has 2",
        "a,b\n1,2\n3,4,5\n",
        as_is,
    );
    refuses_table(
        "{}/a.csv:4: column 0 ('a'): 'x' is not a number (a column of codes can be declared in data.categorical)",
        "a,b\n1,2\n3,2\nx,2\n1,2\n4,2\n",
        as_is,
    );
    refuses_table("{}/a.csv:2: column 1: no label", "1,2\n3,\n", |config| {
        DataConfig {
            header: Some(false),
            ..config
        }
    });
    refuses_table("{}/a.csv: holds no row", "a,b\n", |config| DataConfig {
        header: Some(true),
        ..config
    });
    refuses_table(
        "{}/a.csv:1: column 0: '1e300' does not fit a 32-bit fraction",
        "1e300,0\n1,1\n2,0\n1,1\n",
        |config| DataConfig {
            scaling: cloister_data::Scaling::None,
            test_path: config.path.clone(),
            ..config
        },
    );
    refuses_table(
        "data.label: no column is named 'c'; the columns are a, b",
        "a,b\n1,2\n",
        |config| DataConfig {
            label: name("c"),
            ..config
        },
    );
    refuses_table(
        "data.label: 'c' is a name, but the table has no header: give the index of the column, from 0",
        "1,2\n",
        |config| DataConfig {
            label: name("c"),
            ..config
        },
    );
    refuses_table(
        "data.site_column: column 2 does not exist; there are 2, counted from 0",
        "1,2\n",
        |config| DataConfig {
            site_column: Some(ColumnRef::Index(2)),
            ..config
        },
    );
    refuses_table(
        "data.drop: column 1 ('b') is the class as well",
        "a,b\n1,2\n",
        |config| DataConfig {
            drop: name("b").into_iter().collect(),
            ..config
        },
    );
    refuses_table(
        "data.drop: none of the 2 columns is left as a feature",
        "a,b\n1,2\n",
        |config| DataConfig {
            drop: name("a").into_iter().collect(),
            ..config
        },
    );
    refuses_table(
        "data.normalise: concerns images, but this is a table; see data.scaling",
        "a,b\n1,2\n",
        |config| DataConfig {
            normalise: Normalise::None,
            ..config
        },
    );
    let texts: String = (0..1200).map(|i| format!("row{i},{}\n", i % 2)).collect();
    refuses_table(
        "data.categorical: column 0 holds more than 1000 different codes; leave it out by data.drop",
        &texts,
        |config| DataConfig {
            test_fraction: 0.1,
            ..config
        },
    );
    refuses_table(
        "data.test_fraction: 0.2 of 2 rows leaves none to test on",
        "1,0\n2,1\n",
        as_is,
    );
    let numbers: String = (0..10_001).map(|i| format!("1,{i}\n")).collect();
    refuses_table(
        "data.label: the label column holds 10001 different values, more than 10000: is it a class?",
        &numbers,
        as_is,
    );
    refuses_table(
        "data.missing: is fixed for the set 'wdbc' inside the binary",
        "",
        |_| DataConfig {
            missing: vec![],
            ..DataConfig::bundled("wdbc")
        },
    );
}

#[test]
fn tables_that_do_not_fit_each_other() {
    refuses("{}/b.csv: 3 columns, but {}/a.csv has 2", |at| {
        write(at, "a.csv", "1,2\n");
        write(at, "b.csv", "1,2,3\n");
        DataConfig::at(at)
    });
    refuses("{}/b.csv: column 1 is 'z', but 'y' in {}/a.csv", |at| {
        write(at, "a.csv", "x,y\n1,2\n");
        write(at, "b.csv", "x,z\n1,2\n");
        DataConfig::at(at)
    });
    refuses(
        "{}/b.csv:2: column 1 ('y'): label 'c' is beyond the classes (a, b)",
        |at| {
            let train = write(at, "a.csv", "x,y\n1,a\n2,b\n");
            DataConfig {
                test_path: Some(Paths::One(write(at, "b.csv", "x,y\n1,c\n"))),
                ..DataConfig::at(train)
            }
        },
    );
    // The third row of the second file, named by its own line.
    refuses(
        "{}/b.csv:4: column 0 ('x'): 'n/a' is not a number (a column of codes can be declared in data.categorical)",
        |at| {
            write(at, "a.csv", "x,y\n1,0\n2,1\n1,0\n2,1\n");
            write(at, "b.csv", "x,y\n1,0\n2,1\nn/a,0\n2,1\n");
            DataConfig {
                test_fraction: 0.01,
                test_path: Some(at.to_owned().into()),
                ..DataConfig::at(at)
            }
        },
    );
}

proptest! {
    /// Random bytes, and valid files with random damage, never panic a decoder.
    #[test]
    fn decoders_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        damage in proptest::collection::vec((0_usize..4096, any::<u8>()), 0..6),
    ) {
        let array = npy("<i4", "(2, 2)", &[7; 16]);
        let archive = zip(&[("x.npy", &array)]);
        let valid = [idx(&[2, 1, 2], &[1, 2, 3, 4]), array, archive, png(3, 2, None), b"a,b\n\"1\",2\n".to_vec(), bytes];
        for mut content in valid {
            for &(at, byte) in &damage {
                if let Some(slot) = content.get_mut(at) {
                    *slot = byte;
                }
            }
            let _ = decode_idx("f", &content);
            let _ = cifar10("f", &content, 10);
            let _ = decode_npy("f", &content);
            let _ = npz("f", &content, 1 << 20, |_| true);
            let _ = picture("f", &content, true);
            let _ = table("f", &content, &Dialect::default());
        }
    }

    /// Whatever text a file holds, loading ends in data or in an error.
    #[test]
    fn any_text_loads_or_is_refused(text in "[a-c0-9,;\"\n\r\t .?-]{0,200}") {
        let folder = tempfile::tempdir().unwrap();
        let config = DataConfig::at(write(folder.path(), "a", &text));
        let _ = load(&config, 1);
        let _ = cloister_data::inspect(&config);
    }
}
