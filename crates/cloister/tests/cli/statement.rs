//! `cloister privacy statement`: what the ledger bears out, and what it does not.

use std::fs;

use super::{cloister, said};

#[test]
fn a_statement_is_as_good_as_its_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let config = folder.path().join("p.toml");
    let text = "data = { dataset = \"wdbc\", partition = { kind = \"iid\" } }\n\
                federation = { clients = 5, rounds = 3 }\n\
                model = { kind = \"logistic\" }\n\
                privacy = { mechanism = \"dp-sgd\", epsilon = 8.0, delta = 1e-3 }\n";
    fs::write(&config, text).unwrap();
    let trained = cloister()
        .args(["simulate", "--quiet"])
        .arg(&config)
        .arg("--out")
        .arg(&run)
        .output()
        .unwrap();
    let trained = said(trained);
    assert_eq!(trained.code, Some(0), "{}", trained.stderr);
    let statement = |json: bool| {
        let mut command = cloister();
        command.args(["privacy", "statement"]).arg(&run);
        if json {
            command.arg("--json");
        }
        said(command.output().unwrap())
    };
    let whole = statement(false);
    assert_eq!(whole.code, Some(0), "{}", whole.stderr);
    assert!(
        whole.stdout.starts_with("PRIVATE (weaker unit)"),
        "{}",
        whole.stdout
    );
    assert!(whole.stdout.contains("ledger: whole"), "{}", whole.stdout);
    let json: serde_json::Value = serde_json::from_str(&statement(true).stdout).unwrap();
    let claimed = json["statement"]["claim"]["epsilon"].as_f64().unwrap();
    let recomputed = json["epsilon_of_ledger"].as_f64().unwrap();
    assert!(
        (claimed - recomputed).abs() < 2e-3 * claimed,
        "{claimed}, {recomputed}"
    );

    let ledger = run.join("ledger.jsonl");
    let text = fs::read_to_string(&ledger).unwrap();
    let noisier = text.replacen("\"noise_multiplier\":", "\"noise_multiplier\":9", 1);
    for changed in [Some(noisier), None] {
        match changed {
            Some(text) => fs::write(&ledger, text).unwrap(),
            None => fs::remove_file(&ledger).unwrap(),
        }
        let broken = statement(false);
        assert_ne!(broken.code, Some(0));
        assert!(
            broken.stdout.starts_with("NOT PRIVATE"),
            "{}",
            broken.stdout
        );
    }
}
