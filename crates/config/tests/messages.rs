//! Wrong configs and the exact words about each.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::path::Path;

use cloister_config::{ConfigError, Loaded, parse};

const GOOD: &str = r#"name = "good"
[data]
dataset = "digits"
[model]
kind = "mlp"
"#;

fn read(text: &str, file: &str, set: &[&str]) -> Result<Loaded, ConfigError> {
    let set: Vec<String> = set.iter().map(|argument| (*argument).to_owned()).collect();
    parse(text.to_owned(), Path::new(file), &set, Some("/sets"))
}

#[track_caller]
fn says(text: &str, file: &str, set: &[&str], expected: &str) {
    match read(text, file, set) {
        Ok(_) => panic!("accepted:\n{text}{set:?}"),
        Err(error) => assert_eq!(error.to_string(), expected, "for:\n{text}{set:?}"),
    }
}

/// `tail` comes after the five lines of [`GOOD`].
#[track_caller]
fn tail_says(tail: &str, expected: &str) {
    says(&format!("{GOOD}{tail}"), "a.toml", &[], expected);
}

#[test]
fn unknown_keys_name_the_nearest_known_one() {
    tail_says(
        "[federation]\nrounds = 3\ncleints = 5\n",
        "a.toml:8:1: unknown key 'federation.cleints'\n  hint: did you mean 'federation.clients'?",
    );
    tail_says(
        "[fedration]\n",
        "a.toml:6:2: unknown key 'fedration'\n  hint: did you mean 'federation'?",
    );
    tail_says(
        "hiden = [5]\n",
        "a.toml:6:1: unknown key 'model.hiden'\n  hint: did you mean 'model.hidden'?",
    );
    // Another table's key, and one that stands after a table header by mistake.
    tail_says(
        "[train]\nrounds = 5\n",
        "a.toml:7:1: unknown key 'train.rounds'\n  hint: did you mean 'federation.rounds' or 'record.rounds'?",
    );
    tail_says(
        "[train]\nepochs = 2\nseed = 4\n",
        "a.toml:8:1: unknown key 'train.seed'\n  hint: did you mean 'attack.seed' or 'data.prepare.fourier.seed' or 'seed'?",
    );
    // A key of another kind of the same table.
    tail_says(
        "pooling = \"max\"\n",
        "a.toml:6:1: unknown key 'model.pooling'\n  hint: only kind 'lenet5', 'convnet' has 'pooling'",
    );
    tail_says(
        "[evaluate]\n\"quite strange\" = 1\n",
        "a.toml:7:1: unknown key 'evaluate.\"quite strange\"'\n  hint: known keys here: at_sites, clients, every",
    );
}

#[test]
fn unknown_words_name_the_known_ones() {
    tail_says(
        "[federation]\nsampling = \"poison\"\n",
        "a.toml:7:12: federation.sampling: unknown value 'poison', expected one of 'fixed', 'poisson'\n  \
         hint: did you mean 'poisson'?",
    );
    says(
        "[data]\ndataset = \"digits\"\n[model]\nkind = \"lenet-5\"\n",
        "a.toml",
        &[],
        "a.toml:4:8: model.kind: unknown value 'lenet-5', expected one of 'logistic', 'linear', 'mlp', 'lenet5', 'cnn', 'cnn3', 'papernot-cnn', 'dlg-lenet', 'convnet'\n  \
         hint: did you mean 'lenet5'?",
    );
    says(
        "baselines = [\"local\", \"centralized\"]\n[data]\ndataset = \"digits\"\n[model]\nkind = \"cnn\"\n",
        "a.toml",
        &[],
        "a.toml:1:23: baselines[1]: unknown value 'centralized', expected one of 'centralised', 'local'\n  \
         hint: did you mean 'centralised'?",
    );
}

#[test]
fn wrong_types_and_ranges_of_types() {
    for (line, found) in [
        ("rounds = \"ten\"", "\"ten\""),
        ("rounds = 10.0", "10.0"),
        ("rounds = -1", "-1"),
        ("rounds = 5_000_000_000", "5000000000"),
        ("rounds = [1]", "a list"),
        ("rounds = { a = 1 }", "a table"),
        ("rounds = 2020-01-01", "the date 2020-01-01"),
    ] {
        let message = format!(
            "a.toml:7:10: federation.rounds: expected a whole number from 0 to 4294967295, found {found}"
        );
        tail_says(&format!("[federation]\n{line}\n"), &message);
    }
    tail_says(
        "[federation]\nfraction = \"half\"\n",
        "a.toml:7:12: federation.fraction: expected a number, found \"half\"",
    );
    tail_says(
        "[evaluate]\nclients = 1\n",
        "a.toml:7:11: evaluate.clients: expected true or false, found 1",
    );
    tail_says(
        "hidden = [100, \"x\"]\n",
        "a.toml:6:16: model.hidden[1]: expected a whole number of at least 0, found \"x\"",
    );
    says(
        "model = 3\n[data]\ndataset = \"digits\"\n",
        "a.toml",
        &[],
        "a.toml:1:9: model: expected a table with 'kind', found 3",
    );
    says(
        "train = 3\n[data]\ndataset = \"digits\"\n[model]\nkind = \"mlp\"\n",
        "a.toml",
        &[],
        "a.toml:1:9: train: expected a table, found 3",
    );
}

#[test]
fn missing_tables_and_kinds() {
    says(
        "name = \"x\"\n",
        "a.toml",
        &[],
        "a.toml:1:1: 'data' is missing, expected a table\n\
         a.toml:1:1: 'model' is missing, expected a table with 'kind'",
    );
    says(
        "[data]\ndataset = \"digits\"\n[model]\nhidden = [3]\n",
        "a.toml",
        &[],
        "a.toml:3:2: 'model.kind' is missing, expected one of 'logistic', 'linear', 'mlp', 'lenet5', 'cnn', 'cnn3', 'papernot-cnn', 'dlg-lenet', 'convnet'",
    );
}

#[test]
fn several_problems_come_in_the_order_of_the_file() {
    says(
        "[modle]\nkind = \"mlp\"\n[data]\ndataset = \"digits\"\n[federation]\nrounds = \"x\"\n[model]\nkind = \"cnn\"\n",
        "a.toml",
        &[],
        "a.toml:1:2: unknown key 'modle'\n  hint: did you mean 'model'?\n\
         a.toml:6:10: federation.rounds: expected a whole number from 0 to 4294967295, found \"x\"",
    );
}

#[test]
fn values_that_cannot_work() {
    for (tail, expected) in [
        (
            "[federation]\nrounds = 0\n",
            "7:1: federation.rounds: must be at least 1, found 0",
        ),
        (
            "[federation]\nclients = 0\n",
            "7:1: federation.clients: must be at least 1, found 0",
        ),
        (
            "[federation]\nfraction = 1.5\n",
            "7:1: federation.fraction: must be above 0 and at most 1, found 1.5",
        ),
        (
            "[federation]\nfraction = 0\n",
            "7:1: federation.fraction: must be above 0 and at most 1, found 0",
        ),
        (
            "[federation]\nfraction = nan\n",
            "7:1: federation.fraction: must be above 0 and at most 1, found NaN",
        ),
        (
            "[federation]\ndeadline = -3\n",
            "7:1: federation.deadline: must be above 0 and at most 1000000000 seconds, found -3",
        ),
        (
            "[federation]\nminimum_replies = 0\n",
            "7:1: federation.minimum_replies: must be at least 1, found 0",
        ),
        (
            "[federation]\nclients = 20\nfraction = 0.1\nminimum_replies = 3\n",
            "9:1: federation.minimum_replies: 3 good replies are needed, but a cohort has at most 2 clients",
        ),
        (
            "[federation]\nsampling = \"poisson\"\nover_selection = 0.3\n",
            "8:1: federation.over_selection: needs sampling = \"fixed\": under poisson sampling each client decides by its own coin",
        ),
        (
            "[train]\nepochs = 0\n",
            "7:1: train.epochs: must be at least 1, found 0",
        ),
        (
            "[train]\nlearning_rate = inf\n",
            "7:1: train.learning_rate: must be finite and above 0, found inf",
        ),
        (
            "[train]\nlearning_rate = 1e300\n",
            "7:1: train.learning_rate: must be finite and above 0, found inf",
        ),
        (
            "[train]\nlearning_rate = 0\n",
            "7:1: train.learning_rate: must be finite and above 0, found 0",
        ),
        (
            "[train]\nmomentum = 1.0\n",
            "7:1: train.momentum: must be at least 0 and below 1, found 1",
        ),
        (
            "[train]\nbeta1 = 1.1\n",
            "7:1: train.beta1: must be at least 0 and below 1, found 1.1",
        ),
        (
            "[train]\nweight_decay = -0.1\n",
            "7:1: train.weight_decay: must be finite and at least 0, found -0.1",
        ),
        (
            "[train]\nproximal_mu = -1\n",
            "7:1: train.proximal_mu: must be finite and at least 0, found -1",
        ),
        (
            "[server]\nlearning_rate = -1\n",
            "7:1: server.learning_rate: must be finite and above 0, found -1",
        ),
        (
            "[server]\ntau = 0\n",
            "7:1: server.tau: must be finite and above 0, found 0",
        ),
        (
            "[faults]\ndropout = 1.01\n",
            "7:1: faults.dropout: must be a chance from 0 to 1, found 1.01",
        ),
        (
            "[faults.straggler]\nslowdown = 0.5\n",
            "7:1: faults.straggler.slowdown: must be from 1 to 1000000, found 0.5",
        ),
        (
            "[evaluate]\nevery = 0\n",
            "7:1: evaluate.every: must be at least 1, found 0",
        ),
        (
            "hidden = [10, 0]\n",
            "6:1: model.hidden: layer 2 has 0 units",
        ),
    ] {
        tail_says(tail, &format!("a.toml:{expected}"));
    }
}

#[test]
fn data_that_cannot_work() {
    for (line, expected) in [
        (
            "dataset = \"digit\"",
            "2:1: data.dataset: 'digit' is not inside the binary, which has 'digits', 'heart-disease', 'wdbc'\n  \
          hint: did you mean 'digits'?",
        ),
        (
            "dataset = \"mnist\"",
            "2:1: data.dataset: 'mnist' is not inside the binary, which has 'digits', 'heart-disease', 'wdbc'\n  \
          hint: give data.path to its files",
        ),
        ("", "1:2: data.path: give data.dataset or data.path"),
        (
            "path = 3",
            "2:8: data.path: expected a list or a string, found 3",
        ),
        (
            "path = [\"a\", 3]",
            "2:14: data.path[1]: expected a string, found 3",
        ),
        (
            "path = \"x\"\ntest_fraction = 1.0",
            "3:1: data.test_fraction: 1 is not between 0 and 1",
        ),
        (
            "path = \"x\"\nprepare.all.missing = \"men\"",
            "3:23: data.prepare.all.missing: expected 'category' or 'drop-row' or 'mean' or 'median' or 'most-frequent' or 'zeros' or a table, found \"men\"",
        ),
        (
            "path = \"x\"\nprepare.columns.age = { rnage = [0, 1] }",
            "3:25: unknown key 'data.prepare.columns.age.rnage'\n  hint: did you mean 'data.prepare.columns.age.range'?",
        ),
        (
            "path = \"x\"\nprepare.columns.\"a b\" = { range = [3, 1] }",
            "3:9: data.prepare.columns.\"a b\".range: [3, 1] is not rising",
        ),
        (
            "path = \"x\"\nprepare.class_weights = \"blanced\"",
            "3:25: data.prepare.class_weights: expected 'balanced' or a table, found \"blanced\"",
        ),
        (
            "path = \"x\"\nprepare.pca = { components = 3, variance = 0.5 }",
            "3:9: data.prepare.pca: give either `components` or `variance`",
        ),
        (
            "path = \"x\"\ndelimiter = \"ab\"",
            "3:13: data.delimiter: expected a single character, found \"ab\"",
        ),
        (
            "path = \"x\"\nlabel = -1",
            "3:9: data.label: expected a string or a whole number of at least 0, found -1",
        ),
        (
            "path = \"x\"\nclasses = [{ nam = \"a\" }]",
            "3:12: 'data.classes[0].name' is missing, expected a string\n\
          a.toml:3:14: unknown key 'data.classes[0].nam'\n  hint: did you mean 'data.classes[0].name'?",
        ),
        (
            "path = \"x\"\npartition = { kind = \"dirichlet\" }",
            "3:1: 'data.partition.alpha' is missing, expected a number",
        ),
        (
            "path = \"x\"\npartition = { kind = \"dirichlet\", alpha = 0 }",
            "3:35: data.partition.alpha: must be finite and above 0, found 0",
        ),
        (
            "path = \"x\"\npartition = { kind = \"iid\", alpha = 1 }",
            "3:29: unknown key 'data.partition.alpha'\n  hint: only kind 'dirichlet', 'quantity-skew' has 'alpha'",
        ),
        (
            "path = \"x\"\npartition = \"iid\"",
            "3:13: data.partition: expected a table with 'kind', found \"iid\"",
        ),
    ] {
        let text = format!("[data]\n{line}\n[model]\nkind = \"mlp\"\n");
        says(&text, "a.toml", &[], &format!("a.toml:{expected}"));
    }
}

#[test]
fn names_become_folders_and_are_held_to_it() {
    for (name, expected) in [
        (
            "a/b",
            "may have letters, digits, '.', '_' and '-', found '/'",
        ),
        ("..", "must begin with a letter, a digit or '_'"),
        ("", "must begin with a letter, a digit or '_'"),
    ] {
        let text = GOOD.replace("good", name);
        says(
            &text,
            "a.toml",
            &[],
            &format!("a.toml:1:1: name: {expected}"),
        );
    }
    let unnamed = GOOD.replace("name = \"good\"", "");
    for (file, name) in [
        ("dir/my run.toml", "my-run"),
        (".toml", "_.toml"),
        ("x.y.toml", "x.y"),
    ] {
        let loaded = read(&unnamed, file, &[]).expect(file);
        assert_eq!(loaded.experiment.name, name);
    }
}

#[test]
fn text_that_is_no_toml() {
    for (text, expected) in [
        ("[data\n", "a.toml:1:6: not TOML: "),
        ("a = \n", "a.toml:1:5: not TOML: "),
        ("a = 1\na = 2\n", "a.toml:2:1: not TOML: duplicate key"),
        (
            "seed = 99999999999999999999\n",
            "a.toml:1:8: 99999999999999999999 is beyond the range of 64-bit integers",
        ),
    ] {
        let error = read(text, "a.toml", &[]).expect_err(text).to_string();
        assert!(error.starts_with(expected), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn json_has_the_same_messages() {
    let text = "{\n  \"data\": {\"dataset\": \"digits\"},\n  \"model\": {\"kind\": \"mlp\"},\n  \"federation\": {\"cleints\": 5}\n}";
    says(
        text,
        "a.json",
        &[],
        "a.json:4:18: unknown key 'federation.cleints'\n  hint: did you mean 'federation.clients'?",
    );
    says(
        "{\"data\": {\"dataset\": \"digits\"}, \"data\": {}}",
        "a.json",
        &[],
        "a.json:1:33: key \"data\" is given twice",
    );
    says(
        "{\"data\": }",
        "a.JSON",
        &[],
        "a.JSON:1:10: not JSON: expected value",
    );
    says(
        "[1]",
        "a.json",
        &[],
        "a.json:1:1: expected an object, found a list",
    );
    says(
        "{\"data\": {\"dataset\": \"digits\"}, \"model\": {\"kind\": \"mlp\"}, \"seed\": null}",
        "a.json",
        &[],
        "a.json:1:67: seed: expected a whole number of at least 0, found null",
    );
}

#[test]
fn wrong_arguments() {
    for (set, expected) in [
        (
            "federation.rounds",
            "expected key=value, as in train.learning_rate=0.1",
        ),
        ("=3", "'' is not a dotted key"),
        ("a b=3", "'a b' is not a dotted key"),
        ("a = 1\nb = 2", "'a' is not a table"),
        ("name.first=3", "'name' is not a table"),
    ] {
        let expected = match set {
            // The value is the whole rest, a bare word; only the key is unknown.
            "a = 1\nb = 2" => format!("--set {set}: unknown key 'a'"),
            _ => format!("--set {set}: {expected}"),
        };
        let error = read(GOOD, "a.toml", &[set]).expect_err(set).to_string();
        assert!(error.starts_with(&expected), "{error:?} for {set:?}");
    }
    says(
        GOOD,
        "a.toml",
        &["federation.cleints=3"],
        "--set federation.cleints=3: unknown key 'federation.cleints'\n  hint: did you mean 'federation.clients'?",
    );
    says(
        GOOD,
        "a.toml",
        &["seed=2", "federation.rounds=many"],
        "--set federation.rounds=many: federation.rounds: expected a whole number from 0 to 4294967295, found \"many\"",
    );
    let error = read(GOOD, "a.toml", &["model.hidden=[1,"])
        .expect_err("list")
        .to_string();
    assert!(
        error.starts_with("--set model.hidden=[1,: not TOML: "),
        "{error}"
    );
}

#[test]
fn sweeps_are_checked_cell_by_cell() {
    for (tail, expected) in [
        (
            "[sweep]\n\"train.learning_rat\" = [1]\n",
            "a.toml:7:1: unknown key 'sweep.\"train.learning_rat\"'\n  hint: did you mean 'train.learning_rate'?",
        ),
        (
            "[sweep]\ntrain.epochs = []\n",
            "a.toml:7:7: sweep.\"train.epochs\": has no values",
        ),
        (
            "[sweep]\ntrain.epochs = 3\n",
            "a.toml:7:16: sweep.\"train.epochs\": expected a list, found 3",
        ),
        (
            "[sweep]\nname = [\"a\"]\n",
            "a.toml:7:1: sweep.name: cannot be swept",
        ),
        (
            "[sweep]\ntrain.epochs = [1, 0]\n",
            "a.toml:7:7: train.epochs: must be at least 1, found 0",
        ),
        (
            "[sweep]\ntrain.epochs = [1, \"x\"]\n",
            "a.toml:7:20: train.epochs: expected a whole number from 0 to 4294967295, found \"x\"",
        ),
        (
            "[sweep]\nseed = [1]\nseeds = [2]\n",
            "a.toml:8:1: 'sweep.seed' is given twice",
        ),
    ] {
        tail_says(tail, expected);
    }
    let many: Vec<String> = (1..=101).map(|n| n.to_string()).collect();
    let many = many.join(", ");
    tail_says(
        &format!("[sweep]\nseeds = [{many}]\ntrain.epochs = [{many}]\n"),
        "a.toml:6:2: sweep: more than 10000 combinations",
    );
}

#[test]
fn no_text_makes_it_panic() {
    let deep_list = format!("seed = {}", "[".repeat(100_000));
    let deep_key = format!("{}a = 1", "a.".repeat(100_000));
    let deep_table = format!("[{}a]", "a.".repeat(100_000));
    let deep_json = format!("{{\"seed\": {}", "[".repeat(100_000));
    for (text, file) in [
        (deep_list.as_str(), "a.toml"),
        (&deep_key, "a.toml"),
        (&deep_table, "a.toml"),
        (&deep_json, "a.json"),
        ("", "a.json"),
        ("\u{feff}", "a.toml"),
        ("\"", "a.json"),
        ("{\"a\\\"\": 1}", "a.json"),
        ("é = 1", "a.toml"),
        ("[sweep]\na = 1\n", "a.toml"),
        ("sweep = 1\n", "a.toml"),
        ("[[sweep]]\n", "a.toml"),
        ("[[data]]\n", "a.toml"),
        ("data = {}\nmodel = {}\n\"\" = 1\n", "a.toml"),
    ] {
        assert!(
            read(text, file, &[]).is_err(),
            "{}",
            &text[..text.len().min(80)]
        );
    }
}

#[test]
fn rules_that_cannot_keep_their_promise_are_refused_with_the_numbers() {
    let federation = "[federation]\nclients = 40\nfraction = 0.25\n";
    tail_says(
        &format!("{federation}[aggregation]\nrule = \"krum\"\nbyzantine = 4\n"),
        "a.toml:11:1: aggregation.byzantine: krum with byzantine = 4 needs 11 rows (2f + 3), got 10: a cohort has at \
         most 10 of 40 clients",
    );
    tail_says(
        &format!("{federation}[aggregation]\nrule = \"bulyan\"\nbyzantine = 2\n"),
        "a.toml:11:1: aggregation.byzantine: bulyan with byzantine = 2 needs 11 rows (4f + 3), got 10: a cohort has \
         at most 10 of 40 clients",
    );
    tail_says(
        &format!(
            "{federation}[aggregation]\nrule = \"median\"\nbyzantine = 3\nbefore = [\"bucketing\"]\n"
        ),
        "a.toml:11:1: aggregation.byzantine: median with byzantine = 3 needs 7 rows (2f + 1), got 5: a cohort has at \
         most 10 of 40 clients",
    );
    tail_says(
        "[aggregation]\nrule = \"median\"\nweights = \"examples\"\n",
        "a.toml:8:1: aggregation.weights: is for the plain mean: every other rule takes clients as equals, because a \
         client could claim any number of examples",
    );
    tail_says(
        "[aggregation]\nrule = \"geometric-median\"\nsmoothing = -1\n",
        "a.toml:8:1: aggregation.smoothing: must be a number above 0, found -1",
    );
}

#[test]
fn attacks_name_what_is_missing_and_what_is_too_much() {
    tail_says(
        "[attack]\nkind = \"ipm\"\n",
        "a.toml:6:2: attack.clients: how many clients are malicious? give attack.clients or attack.fraction",
    );
    tail_says(
        "[attack]\nkind = \"ipm\"\nclients = 2\nfraction = 0.5\n",
        "a.toml:9:1: attack.fraction: attack.clients says already how many clients are malicious",
    );
    tail_says(
        "[federation]\nclients = 5\n[attack]\nkind = \"xie\"\nclients = 6\n",
        "a.toml:10:1: attack.clients: 6 malicious clients among 5",
    );
    tail_says(
        "[attack]\nkind = \"inm\"\nclients = 1\n",
        "a.toml:7:8: attack.kind: unknown value 'inm', expected one of 'gaussian', 'sign-flip', 'ipm', 'alie', \
         'fang-krum', 'fang-trimmed-mean', 'min-max', 'min-sum', 'tailored', 'mimic', 'free-rider', 'sybil', \
         'constant', 'nan', 'label-flip', 'dynamic-label-flip', 'backdoor', 'model-replacement', \
         'distributed-backdoor', 'constrain-and-scale', 'neurotoxin', 'canary', 'xie', 'lie'\n  hint: did you mean 'ipm'?",
    );
}

#[test]
fn thresholds_of_anomalies_must_mean_something() {
    for (line, expected) in [
        (
            "deviation = 0",
            "deviation: must be finite and above 0, found 0",
        ),
        (
            "accuracy_drop = 1.5",
            "accuracy_drop: must be above 0 and at most 1, found 1.5",
        ),
        ("window = 0", "window: must be from 1 to 100, found 0"),
        (
            "persistence = 6",
            "persistence: must be from 1 to anomalies.window, which is 5, found 6",
        ),
        (
            "least_replies = 3",
            "least_replies: must be at least 4, found 3",
        ),
        ("silences = 0", "silences: must be at least 1, found 0"),
    ] {
        let error = read(&format!("{GOOD}[anomalies]\n{line}\n"), "a.toml", &[]).expect_err(line);
        let words = error.to_string();
        assert!(words.contains(&format!("anomalies.{expected}")), "{words}");
    }
    tail_says(
        "[anomalies]\ndeviatoin = 3\n",
        "a.toml:7:1: unknown key 'anomalies.deviatoin'\n  hint: did you mean 'anomalies.deviation'?",
    );
}

/// The names that papers and other programs use.
#[test]
fn aliases_mean_the_same() {
    for (alias, name) in [("xie", "ipm"), ("lie", "alie")] {
        let text = format!("{GOOD}[attack]\nkind = \"{alias}\"\nclients = 1\n");
        let loaded = read(&text, "a.toml", &[]).expect(alias);
        let resolved = loaded.experiment.resolved_toml().expect("toml");
        assert!(
            resolved.contains(&format!("kind = \"{name}\"")),
            "{resolved}"
        );
    }
    let text = format!("{GOOD}[aggregation]\nrule = \"centered-clipping\"\n");
    let loaded = read(&text, "a.toml", &[]).expect("the other spelling");
    let resolved = loaded.experiment.resolved_toml().expect("toml");
    assert!(
        resolved.contains("rule = \"centred-clipping\""),
        "{resolved}"
    );
}

/// A number that is to be predicted, and what needs classes.
#[test]
fn a_target_goes_with_models_of_numbers() {
    let text = |data: &str, model: &str, more: &str| {
        format!(
            "{more}[data]\ndataset = \"heart-disease\"\n{data}\n[data.partition]\nkind = \"natural\"\n[model]\n{model}\n"
        )
    };
    let target = "target = \"thalach\"";
    let linear = "kind = \"linear\"";
    for (model, loss) in [("linear", "mae"), ("mlp", "mse"), ("mlp", "auto")] {
        let model = format!("kind = \"{model}\"\nloss = \"{loss}\"");
        read(&text(target, &model, ""), "a.toml", &[]).expect("a good config");
    }
    let no_target = |what: &str| {
        format!("answers with a number: name the column to be predicted in data.target{what}")
    };
    let cases = [
        (
            text("", linear, ""),
            format!("a.toml:7:1: model.kind: 'linear' {}", no_target("")),
        ),
        (
            text("", "kind = \"mlp\"\nloss = \"mse\"", ""),
            format!("a.toml:8:1: model.loss: 'mse' {}", no_target("")),
        ),
        (
            text(target, "kind = \"logistic\"", ""),
            "a.toml:7:1: model.kind: 'logistic' tells classes apart, but data.target is a number; take 'linear' or 'mlp'"
                .to_owned(),
        ),
        (
            text(target, "kind = \"mlp\"\nloss = \"binary\"", ""),
            "a.toml:8:1: model.loss: 'binary' tells classes apart, but data.target is a number; take 'mse' or 'mae'".to_owned(),
        ),
        (
            text(&format!("{target}\nlabel = \"num\""), linear, ""),
            "a.toml:4:1: data.label: is about classes, but data.target is a number; give one of the two".to_owned(),
        ),
        (
            text(
                &format!("{target}\nprepare = {{ class_weights = \"balanced\" }}"),
                linear,
                "",
            ),
            "a.toml:4:13: data.prepare.class_weights: is about classes, but data.target is a number; give one of the two"
                .to_owned(),
        ),
        (
            text(target, linear, "").replace("natural\"", "shards\"\nper_client = 2"),
            "a.toml:5:1: data.partition.kind: 'shards' deals rows by their classes, but data.target is a number; take iid, \
             quantity-skew or natural"
                .to_owned(),
        ),
        (
            text(
                target,
                linear,
                "attack = { kind = \"label-flip\", clients = 1 }\n",
            ),
            "a.toml:1:12: attack.kind: 'label-flip' needs classes, but data.target is a number".to_owned(),
        ),
        (
            text(target, linear, "evaluate = { at_sites = true }\n"),
            "a.toml:1:14: evaluate.at_sites: clients count scores of classes, but data.target is a number".to_owned(),
        ),
    ];
    for (text, expected) in &cases {
        says(text, "a.toml", &[], expected);
    }
}
