//! Attacks, rules and verdicts: what a host records of them comes back, and is on the pages and in the tables.

#![allow(
    clippy::unwrap_used,
    reason = "a test's helpers fail by panicking, as its tests do"
)]

use std::fs;
use std::path::Path;

use cloister_report::html;
use cloister_report::record::*;

const CONFIG: &str = "name = \"attacked\"\nseed = 1\n";

fn verdict(round: u32, client: &str, kept: bool, malicious: bool) -> VerdictRow {
    VerdictRow {
        round,
        client: client.to_owned(),
        kept,
        weight: None,
        score: Some(if malicious { 40.0 } else { 2.5 }),
        malicious: Some(malicious),
    }
}

/// Four clients of which the rule keeps the honest ones, and the malicious one until it attacks in round 3.
fn verdicts(round: u32) -> Vec<VerdictRow> {
    ["b", "evil", "a", "c"]
        .into_iter()
        // One is absent now and then.
        .filter(|&client| client != "c" || round.is_multiple_of(2))
        .map(|client| {
            let malicious = client == "evil";
            verdict(round, client, !malicious || round < 3, malicious)
        })
        .collect()
}

fn row(round: u32, accuracy: f64) -> RoundRow {
    let verdicts = verdicts(round);
    let count =
        |of: fn(&VerdictRow) -> bool| verdicts.iter().filter(|verdict| of(verdict)).count() as u32;
    RoundRow {
        round,
        test_accuracy: Some(accuracy),
        cohort: 4,
        accepted: verdicts.len() as u32,
        kept: Some(count(|verdict| verdict.kept)),
        malicious: Some(1),
        malicious_kept: Some(count(|verdict| verdict.kept && verdict.client == "evil")),
        malicious_weight: None,
        source_recall: Some(0.75),
        attack_success: Some(0.125),
        ..RoundRow::default()
    }
}

fn attack() -> AttackInfo {
    AttackInfo {
        kind: "label-flip".to_owned(),
        description: "Malicious clients call every seven a one.".to_owned(),
        clients: 1,
        names: vec!["evil".to_owned()],
        of: 4,
        start_round: 3,
        seed: 9,
        unattacked: Some(Unattacked {
            accuracy: Some(0.95),
            best_accuracy: Some(0.96),
            folder: Some("twin".to_owned()),
            ..Unattacked::default()
        }),
        impact: Some(0.15),
        impact_best: Some(0.1),
        source_class: Some("7".to_owned()),
        target_class: Some("1".to_owned()),
        source_recall: Some(0.75),
        attack_success: Some(0.125),
        malicious_accepted: 6,
        malicious_kept: 2,
        failure_round: None,
    }
}

fn summary() -> Summary {
    Summary {
        name: "attacked".to_owned(),
        seed: 1,
        rounds: 6,
        completed: 6,
        final_: Metrics {
            accuracy: Some(0.8),
            ..Metrics::default()
        },
        aggregation: Some(AggregationInfo {
            rule: "krum".to_owned(),
            byzantine: 1,
            before: vec!["nnm".to_owned(), "bucketing".to_owned()],
            score: Some("sum of squared distances".to_owned()),
        }),
        attack: Some(attack()),
        ..Summary::default()
    }
}

/// A recorded attacked run of six rounds, with its twin in the folder that the summary names.
fn write_run(folder: &Path) -> RunWriter {
    let mut writer = RunWriter::create(folder, CONFIG).unwrap();
    let clients = ["a", "b", "c", "evil"].map(str::to_owned);
    let classes = ["0".to_owned()];
    writer
        .partition(&clients, &classes, &[[5], [5], [5], [5]].map(Vec::from))
        .unwrap();
    let mut twin = RunWriter::create(&folder.join("twin"), CONFIG).unwrap();
    for round in 1..=6 {
        writer.verdicts(&verdicts(round)).unwrap();
        writer
            .round(&row(round, 0.5 + 0.05 * f64::from(round)))
            .unwrap();
        twin.round(&row(round, 0.65 + 0.05 * f64::from(round)))
            .unwrap();
    }
    writer
        .clients(&[ClientRow {
            client: "evil".to_owned(),
            examples: 5,
            accuracy: Some(0.5),
            rounds: 6,
            malicious: Some(true),
            kept: Some(2),
            ..ClientRow::default()
        }])
        .unwrap();
    writer.summary(&summary()).unwrap();
    writer
}

fn attacked() -> RunRecord {
    let folder = tempfile::tempdir().unwrap();
    write_run(folder.path());
    RunRecord::read(folder.path()).unwrap()
}

fn page(record: &RunRecord) -> String {
    let page = html::run_page(record).unwrap();
    page.replace('\u{a0}', " ").replace("&#39;", "'")
}

/// The text between a heading and the next one of its kind.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let start = page.find(&format!("<h2>{heading}</h2>")).unwrap();
    let rest = &page[start + 4..];
    &rest[..rest.find("<h2>").unwrap_or(rest.len())]
}

#[test]
fn all_of_it_comes_back_as_it_was_written() {
    let record = attacked();
    let expected: Vec<VerdictRow> = (1..=6).flat_map(verdicts).collect();
    assert_eq!(record.verdicts, expected);
    assert_eq!(record.rounds[2], row(3, 0.65));
    assert_eq!(record.unattacked.len(), 6);
    assert_eq!(record.summary, Some(summary()));
    let client = &record.clients.unwrap()[0];
    assert_eq!((client.malicious, client.kept), (Some(true), Some(2)));
}

#[test]
fn verdicts_are_a_table_with_one_head() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = RunWriter::create(folder.path(), CONFIG).unwrap();
    let path = folder.path().join(file_name::VERDICTS);
    writer.verdicts(&[]).unwrap();
    assert!(!path.exists(), "a run without verdicts has no file of them");
    let odd = VerdictRow {
        round: 1,
        client: "a,\"b\"\n".to_owned(),
        weight: Some(0.25),
        score: Some(f64::NAN),
        ..VerdictRow::default()
    };
    writer.verdicts(std::slice::from_ref(&odd)).unwrap();
    writer.verdicts(&[verdict(2, "c", true, true)]).unwrap();
    writer.sync().unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(
        text,
        "round,client,kept,weight,score,malicious\n1,\"a,\"\"b\"\"\n\",false,0.25,NaN,\n2,c,true,,40.0,true\n"
    );
    fs::write(&path, text + "3,d,tr").unwrap();
    let record = RunRecord::read(folder.path()).unwrap();
    assert_eq!(
        format!("{:?}", record.verdicts),
        format!("{:?}", [odd, verdict(2, "c", true, true)]),
        "a torn line is none"
    );
    let error = RunWriter::create(folder.path(), CONFIG).unwrap_err();
    assert!(
        matches!(error, RecordError::AlreadyHoldsRun { .. }),
        "{error}"
    );
}

#[test]
fn resuming_drops_verdicts_of_later_rounds() {
    let folder = tempfile::tempdir().unwrap();
    drop(write_run(folder.path()));
    let path = folder.path().join(file_name::VERDICTS);
    let torn = fs::read_to_string(&path).unwrap() + "7,b,tr";
    fs::write(&path, torn).unwrap();
    let mut writer = RunWriter::reopen(folder.path(), 4).unwrap();
    let rounds = |record: RunRecord| -> Vec<u32> {
        record
            .verdicts
            .iter()
            .map(|verdict| verdict.round)
            .collect()
    };
    let kept = [1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 4, 4, 4];
    assert_eq!(rounds(RunRecord::read(folder.path()).unwrap()), kept);
    writer.verdicts(&verdicts(5)).unwrap();
    let again = rounds(RunRecord::read(folder.path()).unwrap());
    assert_eq!(again[kept.len()..], [5, 5, 5]);
    drop(writer);

    let bytes = fs::read(&path).unwrap();
    RunWriter::reopen(folder.path(), 4).unwrap();
    RunWriter::reopen(folder.path(), 4).unwrap();
    assert_ne!(fs::read(&path).unwrap(), bytes);
    // Nothing is left: the next first row writes the head anew.
    let mut writer = RunWriter::reopen(folder.path(), 0).unwrap();
    assert!(!path.exists());
    writer.verdicts(&verdicts(1)).unwrap();
    assert_eq!(
        RunRecord::read(folder.path()).unwrap().verdicts,
        verdicts(1)
    );
}

#[test]
fn broken_verdicts_are_named_with_their_line() {
    let folder = tempfile::tempdir().unwrap();
    RunWriter::create(folder.path(), CONFIG).unwrap();
    let head = "round,client,kept,weight,score,malicious\n";
    let read = |tail: &str| {
        let path = folder.path().join(file_name::VERDICTS);
        fs::write(path, format!("{head}{tail}")).unwrap();
        let error = RunRecord::read(folder.path()).unwrap_err().to_string();
        error.replace(&folder.path().display().to_string(), "RUN")
    };
    assert!(read("1,a,maybe,,,\n").starts_with("RUN/verdicts.csv:2: "));
    assert_eq!(
        read("1,a,true,,,\n2,a\n"),
        "RUN/verdicts.csv:3: row has 2 cells, expected 6"
    );
}

#[test]
fn files_of_before_are_read_and_gain_the_columns_when_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write(file_name::CONFIG, CONFIG);
    write(
        file_name::ROUNDS,
        "round,train_loss,test_loss,test_accuracy,test_auroc,cohort,accepted,refused,dropped,late,outcome,epsilon,\
         bytes_up,bytes_down,seconds,virtual_seconds\n1,,,0.5,,4,4,0,0,0,completed,,1,1,0.5,\n",
    );
    write(
        file_name::CLIENTS,
        "client,examples,accuracy,loss,rounds,refused\na,5,,,1,0\n",
    );
    let mut old = serde_json::to_value(Summary::default()).unwrap();
    assert!(old.get("attack").is_none() && old.get("aggregation").is_none());
    old["name"] = "old".into();
    write(file_name::SUMMARY, &old.to_string());
    let record = RunRecord::read(folder.path()).unwrap();
    assert_eq!(
        (record.rounds[0].kept, record.rounds[0].malicious_weight),
        (None, None)
    );
    assert_eq!(record.clients.as_ref().unwrap()[0].malicious, None);
    assert!(record.summary.as_ref().unwrap().attack.is_none() && record.verdicts.is_empty());
    let old_page = page(&record);
    assert!(!old_page.contains("Attack and defence") && !old_page.contains("Whom the rule kept"));

    let mut writer = RunWriter::reopen(folder.path(), 1).unwrap();
    writer.round(&row(2, 0.75)).unwrap();
    let record = RunRecord::read(folder.path()).unwrap();
    assert_eq!(record.rounds[1], row(2, 0.75));
}

#[test]
fn a_sweep_of_before_is_read_and_continued() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(file_name::SWEEP);
    let head = "cell,seed,k,status,completed,abandoned,refused,accuracy,balanced_accuracy,loss,auroc,best_accuracy,best_auroc,\
                epsilon,bytes_up,bytes_down,seconds,folder,message\n";
    fs::write(
        &path,
        format!("{head}0,1,v,done,3,0,0,0.5,,,,,,,7,8,1.5,x,\n"),
    )
    .unwrap();
    let mut writer = SweepWriter::open(folder.path(), &["k".to_owned()]).unwrap();
    let attacked = SweepResult::of(&summary(), "y");
    writer
        .row(SweepRow {
            cell: 1,
            seed: 1,
            settings: vec!["w".to_owned()],
            result: attacked.clone(),
        })
        .unwrap();
    let rows = SweepRecord::read(folder.path()).unwrap().rows;
    assert_eq!(
        (rows[0].result.accuracy, rows[0].result.bytes_up),
        (Some(0.5), 7)
    );
    assert_eq!(
        (rows[0].result.impact, rows[0].result.malicious_kept),
        (None, None)
    );
    assert_eq!(rows[1].result, attacked);
    assert_eq!(
        (attacked.impact, attacked.impact_best),
        (Some(0.15), Some(0.1))
    );
    assert_eq!(
        (attacked.attack_success, attacked.source_recall),
        (Some(0.125), Some(0.75))
    );
    assert_eq!(
        (attacked.malicious_accepted, attacked.malicious_kept),
        (Some(6), Some(2))
    );
}

#[test]
fn the_page_of_an_attacked_run_says_what_was_done_and_what_came_of_it() {
    let page = page(&attacked());
    let attack = section(&page, "Attack and defence");
    for part in [
        "Malicious clients: evil (1 of 4, chosen by seed 9), from round 3 on. The attack: label-flip.",
        "Malicious clients call every seven a one.",
        "by the rule krum, told to withstand 1 malicious reply a round; before it, nnm, then bucketing.",
        "The same run without the attack ends at a test accuracy of 95.0 %, this one at 80.0 %.",
        "15.0 points lost",
        "best against best: 10.0 points lost",
        "<dd>0.0 %<small>0 of 4 that passed the server's checks since the attack began",
        "<dd>100.0 %<small>10 of 10 that passed",
        "<dt>Attack success</dt><dd>12.5 %<small>of test examples with the trigger are taken for class 1",
        "<dt>Source recall</dt><dd>75.0 %<small>of class 7 are still recognised",
        "<dt>Training fails</dt><dd>never",
        "<h3>With and without the attack</h3>",
        "with the attack: from 55.0 % to 80.0 %",
        "without the attack: from 70.0 % to 95.0 %",
        "<h3>What the attack reaches</h3>",
        "<h3>How much of it is malicious</h3>",
        "attack starts",
    ] {
        assert!(attack.contains(part), "{part} in {attack}");
    }
    assert!(
        section(&page, "How it learned").contains("attack starts"),
        "the curves of training are marked too"
    );
    assert!(section(&page, "How it serves each client").contains("evil (malicious)"));
}

#[test]
fn the_page_shows_whom_the_rule_kept_the_malicious_first() {
    let page = page(&attacked());
    let kept = section(&page, "Whom the rule kept");
    assert!(kept.contains(
        "From round 3 on it kept 0.0 % of the malicious clients' replies and 100.0 % of the honest ones'."
    ));
    let places: Vec<usize> = [
        "1 malicious client<",
        ">evil<",
        "3 honest clients<",
        ">a<",
        ">b<",
        ">c<",
    ]
    .iter()
    .map(|text| kept.find(text).unwrap())
    .collect();
    assert!(places.is_sorted(), "{places:?}");
    assert!(kept.contains("<title>evil: kept 2 of 6 replies</title>"));
    // Client c took part in three rounds of six, and evil was dropped in four.
    let row = |name: &str| {
        let from = kept.find(&format!("<title>{name}: kept")).unwrap();
        let text = &kept[from..];
        text[..text.find("</g>").unwrap()].to_owned()
    };
    let path = |row: &str, class: &str| {
        let mark = format!("class=\"{class}\" d=\"");
        let from = row.find(&mark).unwrap() + mark.len();
        row[from..].split('"').next().unwrap().matches('M').count()
    };
    assert_eq!(path(&row("c"), "fill track"), 3);
    assert_eq!(
        (path(&row("evil"), "wrong"), path(&row("evil"), "cross")),
        (2, 4)
    );
    assert!(kept.contains("Score: sum of squared distances."));
    assert!(kept.contains("attack starts in round 3"));
}

#[test]
fn rules_that_leave_nobody_out_are_shown_for_what_they_do() {
    let mut weighed = attacked();
    for verdict in &mut weighed.verdicts {
        verdict.kept = true;
        verdict.weight = Some(if verdict.malicious == Some(true) {
            0.04
        } else {
            0.32
        });
    }
    for row in &mut weighed.rounds {
        row.kept = Some(row.accepted);
        row.malicious_weight = Some(0.04);
    }
    let by_weight = page(&weighed);
    let section_text = section(&by_weight, "How much each client weighed");
    assert!(section_text.contains(
        "A malicious reply had 4.0 % of the aggregate on average, an honest one 32.0 %."
    ));
    assert!(
        section(&by_weight, "Attack and defence")
            .contains("<dt>Malicious share of the aggregate</dt><dd>4.0 %")
    );

    let rule = |record: &mut RunRecord, rule: &str| {
        let summary = record.summary.as_mut().unwrap();
        summary.aggregation.as_mut().unwrap().rule = rule.to_owned();
    };
    assert!(section_text.contains("a low weight is how it defends itself"));
    rule(&mut weighed, "mean");
    assert!(page(&weighed).contains("it is no defence"));

    let mut by_coordinate = weighed.clone();
    for verdict in &mut by_coordinate.verdicts {
        verdict.weight = None;
    }
    for row in &mut by_coordinate.rounds {
        row.malicious_weight = None;
    }
    let judged = page(&by_coordinate);
    assert!(
        section(&judged, "How the rule judged replies").contains("leaves no reply out as a whole")
    );
    assert!(!judged.contains("Kept and dropped, by client and round"));
}

#[test]
fn a_defence_without_an_attack_and_a_run_in_progress_have_pages() {
    let mut defended = attacked();
    defended.summary.as_mut().unwrap().attack = None;
    defended.clients = None;
    defended.unattacked.clear();
    for verdict in &mut defended.verdicts {
        verdict.malicious = None;
    }
    for row in &mut defended.rounds {
        (row.malicious, row.malicious_kept) = (None, None);
        (row.source_recall, row.attack_success) = (None, None);
    }
    let defended = page(&defended);
    let attack = section(&defended, "Attack and defence");
    assert!(attack.contains("No client was made to attack this run."));
    assert!(attack.contains("<dt>Updates used</dt><dd>81.0 %<small>17 of 21 that passed"));
    let kept = section(&defended, "Whom the rule kept");
    assert!(kept.contains("It kept 81.0 % of the replies.") && !kept.contains("malicious"));

    let mut going = attacked();
    going.summary = None;
    let going = page(&going);
    assert!(section(&going, "Attack and defence").contains("<dt>Honest updates used</dt>"));
    assert!(section(&going, "Whom the rule kept").contains("1 malicious client<"));
}

#[test]
fn the_twin_may_be_absent_and_then_its_end_is_a_level_line() {
    let mut record = attacked();
    record.unattacked.clear();
    let page = page(&record);
    assert!(section(&page, "Attack and defence").contains("without the attack, final: 95.0 %"));
    record
        .summary
        .as_mut()
        .unwrap()
        .attack
        .as_mut()
        .unwrap()
        .unattacked = None;
    assert!(
        !html::run_page(&record)
            .unwrap()
            .contains("With and without the attack")
    );
}
