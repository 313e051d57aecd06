//! `evaluate` at length, and `predict`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;

use crate::{cloister, done, fails, inside, run};

/// A table of two sites: a number that tells the classes apart, one that does not, a code, and a column that is no feature.
fn table(rows: std::ops::Range<usize>) -> String {
    let mut text = "size,noise,colour,age,site,outcome\n".to_owned();
    for row in rows {
        let sick = row % 3 == 0;
        let size = (row * 7 % 10) as f64 / 10.0 + if sick { 0.8 } else { 0.0 };
        let colour = ["red", "blue"][row % 2];
        let site = ["north", "south"][row / 2 % 2];
        let outcome = if sick { "sick" } else { "well" };
        let line = format!(
            "{size},{},{colour},{},{site},{outcome}\n",
            row * 13 % 11,
            20 + row % 50
        );
        text += &line;
    }
    text
}

/// A run over the table; its folder is `run`.
fn trained() -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = inside(&folder, "data.csv");
    fs::write(&data, table(0..240)).expect("the table is written");
    let config = inside(&folder, "table.toml");
    let text = format!(
        "[data]\npath = '{data}'\nlabel = \"outcome\"\nsite_column = \"site\"\ndrop = [\"age\"]\npositive = [\"sick\"]\n\
         [data.partition]\nkind = \"natural\"\n[model]\nkind = \"logistic\"\n[federation]\nrounds = 10\n[train]\nlearning_rate = 0.5\n"
    );
    fs::write(&config, text).expect("the config is written");
    let out = inside(&folder, "run");
    let said = run(&["simulate", &config, "--quiet", "--out", &out]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    (folder, out)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_run_is_judged_when_it_ends_and_again() {
    let (folder, out) = trained();
    let summary = fs::read_to_string(folder.path().join("run/summary.json")).expect("a summary");
    let quality = &json(&summary)["quality"];
    let thresholds = &quality["thresholds"];
    assert_eq!(thresholds["chosen_on"], "the 192 training examples");
    assert_eq!(thresholds["chosen"]["rule"], "Youden's index");
    assert_eq!(thresholds["at_specificity"]["rule"], "specificity 0.9");
    assert_eq!(
        quality["sites"].as_array().map(Vec::len),
        Some(2),
        "{quality}"
    );
    assert!(
        quality["intervals"]["auroc"]["low"].is_number(),
        "{quality}"
    );
    let curves = fs::read_to_string(folder.path().join("run/curves.json")).expect("curves");
    assert_eq!(json(&curves)["roc"].as_array().map(Vec::len), Some(1));
    let page = fs::read_to_string(folder.path().join("run/report.html")).expect("a page");
    for words in [
        "How good it is",
        "Reliability",
        "For whom it is good",
        "Precision against recall",
    ] {
        assert!(page.contains(words), "{words}");
    }

    // Judged again, to the same figures.
    let again = json(&done(&[
        "evaluate",
        &out,
        "--json",
        "--subgroup",
        "colour",
        "--subgroup",
        "age",
    ]));
    for part in ["thresholds", "intervals", "sites", "classes", "brier"] {
        assert_eq!(again["quality"][part], quality[part], "{part}");
    }
    let groups = again["quality"]["subgroups"].as_array().expect("subgroups");
    assert_eq!(groups[0]["groups"][0]["name"], "blue");
    assert_eq!(
        groups[1]["groups"].as_array().map(Vec::len),
        Some(4),
        "quarters of a column that is no feature"
    );
    assert!(groups[0]["gaps"]["tpr"].is_number());

    let text = done(&[
        "evaluate",
        &out,
        "--subgroup",
        "colour",
        "--threshold",
        "0.25",
        "--replicates",
        "0",
    ]);
    for words in [
        "average precision",
        "given",
        "By colour",
        "largest gap",
        "By site",
        "macro mean",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains("Intervals:"), "{text}");
    assert!(done(&["report", &out]).contains("average precision"));

    let said = run(&["evaluate", &out, "--subgroup", "colours"]);
    assert_eq!(said.code, Some(2));
    assert!(
        said.stderr.contains("--subgroup colours") && said.stderr.contains("noise"),
        "{}",
        said.stderr
    );
    fails(
        &["evaluate", &out, "--specificity", "1.5"],
        2,
        "error: --specificity must be from 0 to 1, found 1.5",
    );
}

#[test]
fn a_private_run_chooses_no_threshold_on_its_training_examples() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = inside(&folder, "private.toml");
    let text = "[data]\ndataset = \"wdbc\"\n[federation]\nclients = 5\nrounds = 2\n[model]\nkind = \"logistic\"\n\
                [privacy]\nmechanism = \"central-gaussian\"\nclip = 1.0\nnoise_multiplier = 1.0\ndelta = 1e-5\n";
    fs::write(&config, text).expect("the config is written");
    let out = inside(&folder, "run");
    let said = run(&["simulate", &config, "--quiet", "--out", &out]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let summary = fs::read_to_string(folder.path().join("run/summary.json")).expect("a summary");
    let thresholds = &json(&summary)["quality"]["thresholds"];
    assert_eq!(thresholds["chosen_on"], "no examples");
    assert_eq!(thresholds["chosen"]["threshold"], 0.5);
    let again = json(&done(&["evaluate", &out, "--json"]));
    assert_eq!(&again["quality"]["thresholds"], thresholds);
}

#[test]
fn rows_are_judged_as_the_evaluation_judges_them() {
    let (folder, out) = trained();
    let new = inside(&folder, "new.csv");
    fs::write(&new, table(300..340)).expect("the table is written");
    let answers = done(&["predict", &out, &new, "--threshold", "0.5", "--keep", "age"]);
    let mut lines = answers.lines();
    assert_eq!(lines.next(), Some("row,age,class,alert,p_well,p_sick"));
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 40);
    assert_eq!((rows[0][0], rows[0][1]), ("1", "20"));
    // As many of each class as the evaluation counts.
    let evaluated = json(&done(&["evaluate", &out, "--data", &new, "--json"]));
    let confusion = &evaluated["metrics"]["confusion"];
    let taken: u64 = (0..2)
        .filter_map(|label| confusion[label][1].as_u64())
        .sum();
    assert_eq!(
        rows.iter().filter(|row| row[2] == "sick").count() as u64,
        taken
    );
    for row in &rows {
        let [zero, one] = [row[4], row[5]].map(|p| p.parse::<f64>().expect("a number"));
        assert!((zero + one - 1.0).abs() < 2e-6, "{row:?}");
        assert_eq!(row[3], if one >= 0.5 { "1" } else { "0" }, "{row:?}");
    }

    // Columns in another order, without the label: the same answers.
    let reordered: String = table(300..340)
        .lines()
        .map(|line| line.split(',').collect::<Vec<_>>())
        .map(|cells| format!("{};{};{};{}\n", cells[4], cells[2], cells[1], cells[0]))
        .collect();
    let other = inside(&folder, "other.csv");
    fs::write(&other, reordered).expect("the table is written");
    let again = done(&["predict", &out, &other]);
    let scores = |text: &str| -> Vec<String> {
        text.lines()
            .skip(1)
            .map(|line| line.rsplit(',').take(2).collect())
            .collect()
    };
    assert_eq!(scores(&again), scores(&answers));

    let alerts = done(&["predict", &out, &new, "--only-alerts", "--threshold", "0.5"]);
    assert_eq!(alerts.lines().count() as u64, taken + 1);
}

#[test]
fn each_line_is_answered_as_it_comes() {
    let (_folder, out) = trained();
    let mut child = cloister()
        .args(["predict", &out, "-", "--only-alerts"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let mut input = child.stdin.take().expect("a pipe");
    let mut answers = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut answer = || answers.next().expect("an answer").expect("text");
    writeln!(input, "size,noise,colour").expect("it listens");
    assert_eq!(answer(), "row,class,alert,p_well,p_sick");
    // No end of the input is needed for an answer; what is well is passed over in silence.
    writeln!(input, "0.1,3,red").expect("it listens");
    writeln!(input, "2.5,3,red").expect("it listens");
    assert!(answer().starts_with("2,sick,1,"), "the second row is sick");
    writeln!(input, "2.6,3,blue").expect("it listens");
    assert!(answer().starts_with("3,sick,1,"));
    drop(input);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn a_schema_that_does_not_match_is_refused_by_name() {
    let (folder, out) = trained();
    let file = |name: &str, text: &str| {
        let path = inside(&folder, name);
        fs::write(&path, text).expect("the file is written");
        path
    };
    let lacking = file("lacking.csv", "noise,colour\n1,red\n");
    let said = run(&["predict", &out, &lacking]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""));
    assert!(
        said.stderr.contains("no column 'size' (number)"),
        "{}",
        said.stderr
    );

    let wrong = file("wrong.csv", "size,noise,colour\n0.5,1,red\n0.5,many,red\n");
    let said = run(&["predict", &out, &wrong]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.stderr.contains("line 3") && said.stderr.contains("column 'noise'"),
        "{}",
        said.stderr
    );
    let said = run(&["predict", &out, &wrong, "--skip-faulty"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(
        said.stderr.contains("warning") && said.stderr.contains("1 skipped"),
        "{}",
        said.stderr
    );
    assert_eq!(said.stdout.lines().count(), 2);

    let ragged = file("ragged.csv", "size,noise,colour\n0.5,1\n");
    let said = run(&["predict", &out, &ragged]);
    assert!(
        said.stderr.contains("a record of 2 cells, not of 3"),
        "{}",
        said.stderr
    );
    let empty = file("empty.csv", "");
    assert!(
        run(&["predict", &out, &empty])
            .stderr
            .contains("holds nothing")
    );

    fs::remove_file(folder.path().join("run/pipeline.json")).expect("the pipeline is there");
    let said = run(&["predict", &out, &lacking]);
    assert!(said.stderr.contains("no pipeline.json"), "{}", said.stderr);
}

#[test]
fn images_are_judged() {
    let (folder, config) = crate::small_run();
    let out = inside(&folder, "run");
    done(&["simulate", &config, "--quiet", "--out", &out]);
    // Three images of 8 x 8 as NumPy stores them, in the range of the digits.
    let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 8, 8), }";
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    let padded = format!("{header:<117}\n");
    bytes.extend((padded.len() as u16).to_le_bytes());
    bytes.extend(padded.as_bytes());
    bytes.extend((0..3 * 64_u32).map(|pixel| (pixel * 37 % 17) as u8));
    let path = inside(&folder, "three.npy");
    fs::write(&path, &bytes).expect("the array is written");
    let answers = done(&["predict", &out, &path]);
    let lines: Vec<&str> = answers.lines().collect();
    assert_eq!(lines.len(), 4, "{answers}");
    assert!(lines[0].starts_with("row,class,p_0,p_1,"), "{answers}");
    assert_eq!(lines[1].split(',').count(), 12);

    let header = header.replace("(3, 8, 8)", "(4, 8, 6)");
    let padded = format!("{header:<117}\n");
    bytes.splice(10..10 + padded.len(), padded.bytes());
    fs::write(&path, &bytes).expect("the array is written");
    let said = run(&["predict", &out, &path]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.stderr.contains("an image of 48 values, not of 1x8x8"),
        "{}",
        said.stderr
    );
}

/// A number from the run to the last row: simulated, judged again to the same figures, asked.
#[test]
fn a_number_is_predicted() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = inside(&folder, "data.csv");
    fs::write(&data, table(0..240)).expect("the table is written");
    let config = inside(&folder, "size.toml");
    let text = format!(
        "[data]\npath = '{data}'\ntarget = \"size\"\nsite_column = \"site\"\ndrop = [\"age\"]\n[data.partition]\nkind = \"natural\"\n\
         [model]\nkind = \"linear\"\n[federation]\nrounds = 10\n[train]\nlearning_rate = 0.05\n"
    );
    fs::write(&config, text).expect("the config is written");
    let out = inside(&folder, "run");
    let said = run(&["simulate", &config, "--out", &out]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stderr.contains(" r2 0."), "{}", said.stderr);
    assert!(!said.stderr.contains("accuracy"), "{}", said.stderr);

    let summary = fs::read_to_string(folder.path().join("run/summary.json")).expect("a summary");
    let summary = json(&summary);
    assert_eq!(summary["metric"], "r2");
    let again = json(&done(&["evaluate", &out, "--json", "--subgroup", "colour"]));
    assert_eq!(again["target"], "size");
    for figure in ["r2", "rmse", "mae"] {
        assert_eq!(
            again["metrics"][figure], summary["final"][figure],
            "{figure}"
        );
        let interval = &again["quality"]["intervals"][figure];
        assert_eq!(
            *interval, summary["quality"]["intervals"][figure],
            "{figure}"
        );
    }
    let group = &again["quality"]["subgroups"][0];
    assert!(group["gaps"]["rmse"].is_number(), "{group}");
    let text = done(&["evaluate", &out, "--subgroup", "colour"]);
    for words in [
        "data: 48 examples, size",
        "R\u{b2}",
        "RMSE",
        "By site (lowest R\u{b2}: ",
        "largest gap",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains("accuracy"), "{text}");

    // Rows without the target; a sick row is larger than a well one by 0.8.
    let rows = inside(&folder, "rows.csv");
    fs::write(&rows, "noise,colour,outcome\n3,red,sick\n3,red,well\n")
        .expect("the rows are written");
    let text = done(&["predict", &out, &rows, "--keep", "outcome"]);
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(lines[0], ["row", "outcome", "prediction"]);
    let value = |line: &[&str]| line[2].parse::<f64>().expect("a number");
    let difference = value(&lines[1]) - value(&lines[2]);
    assert!((difference - 0.8).abs() < 0.2, "{text}");

    let said = run(&["predict", &out, &rows, "--only-alerts"]);
    assert_eq!(said.code, Some(2));
    assert!(
        said.stderr.contains("alerts are of classes"),
        "{}",
        said.stderr
    );
    let said = run(&["evaluate", &out, "--threshold", "0.5"]);
    assert_eq!(said.code, Some(2));
    let said = run(&["leak", "report", &out]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.stderr.contains("the run predicts a number"),
        "{}",
        said.stderr
    );
}
