//! The flagship federations: every one over so many clients and shares, beside the pooled data and each client alone.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::quickstart::run;

const CONFIGS: &str = "configs/flagships";
const RUNS: &str = "runs/flagships";
const RESULTS: &str = "docs/results/flagships.md";
/// The tables stand between these lines of the page, and nothing else there is touched.
const MARKS: [[&str; 2]; 2] = [
    ["<!-- grid -->", "<!-- end of grid -->"],
    ["<!-- forms -->", "<!-- end of forms -->"],
];

/// In the order of the page.
const NAMES: [&str; 10] = [
    "pneumonia",
    "heart",
    "fraud",
    "credit",
    "intrusion",
    "intrusion-families",
    "malware",
    "mnist",
    "fashion-mnist",
    "cifar10",
];

/// Makes the runs that are not there yet, of the flagships of these names or of all, and writes the tables of all that are.
pub(crate) fn measure(names: &[String]) -> Result<()> {
    ensure!(
        std::env::var_os("CLOISTER_DATA").is_some(),
        "set CLOISTER_DATA to the folder that holds mnist/ and the others"
    );
    for name in NAMES {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            runs(name)?;
        }
    }
    table(Path::new(RUNS))
}

/// Writes the tables of the runs in `folder`.
pub(crate) fn table(folder: &Path) -> Result<()> {
    let page = fs::read_to_string(RESULTS)
        .with_context(|| format!("{RESULTS}: run from the root of the checkout"))?;
    let page = between(&page, MARKS[0], &grid(folder)?)?;
    let page = between(&page, MARKS[1], &forms(folder)?)?;
    Ok(fs::write(RESULTS, page)?)
}

fn runs(name: &str) -> Result<()> {
    for clients in ["5", "10"] {
        for shares in ["iid", "dirichlet"] {
            let clients_are = format!("federation.clients={clients}");
            let kind = format!("data.partition.kind={shares}");
            let mut set = vec![clients_are.as_str(), kind.as_str()];
            if shares == "dirichlet" {
                set.extend(["data.partition.alpha=0.5", "data.partition.minimum=20"]);
            }
            simulate(name, &format!("{name}-{clients}-{shares}"), &set)?;
        }
    }
    if name == "heart" {
        simulate(name, "heart-4-natural", &[])?;
    }
    for form in ["private", "defended"] {
        let form = format!("{name}-{form}");
        simulate(&form, &form, &["baselines=[]"])?;
    }
    Ok(())
}

/// Runs a config into a folder, unless it has ended there already.
fn simulate(config: &str, run_name: &str, set: &[&str]) -> Result<()> {
    let folder = format!("{RUNS}/{run_name}");
    if Path::new(&folder).join("summary.json").exists() {
        return Ok(());
    }
    let _ = fs::remove_dir_all(&folder);
    let config = format!("{CONFIGS}/{config}.toml");
    let mut arguments = vec!["run", "--release", "--quiet", "--", "simulate", &config];
    arguments.extend(["--out", &folder, "--threads", "1", "--quiet"]);
    for key in set {
        arguments.extend(["--set", key]);
    }
    run("cargo", &arguments)
}

/// What a run came to; `None` where there is none.
fn summary(folder: &Path, run_name: &str) -> Result<Option<Value>> {
    let path = folder.join(run_name).join("summary.json");
    if !path.exists() {
        return Ok(None);
    }
    let value = serde_json::from_slice(&fs::read(&path)?);
    Ok(Some(value.with_context(|| path.display().to_string())?))
}

fn percent(value: &Value) -> String {
    value
        .as_f64()
        .map_or_else(|| "-".to_owned(), |value| format!("{:.1}", 100.0 * value))
}

/// The figure that a run is judged by: AUROC for two classes, else accuracy.
fn headline(summary: &Value) -> &'static str {
    match summary["metric"].as_str() {
        Some("auroc") => "auroc",
        _ => "accuracy",
    }
}

fn grid(folder: &Path) -> Result<String> {
    let mut table = String::from(
        "| flagship | clients | shares | accuracy | pooled | alone | AUROC | pooled | alone | gap to pooled, points |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for name in NAMES {
        for shape in [
            "4-natural",
            "5-iid",
            "5-dirichlet",
            "10-iid",
            "10-dirichlet",
        ] {
            let Some(found) = summary(folder, &format!("{name}-{shape}"))? else {
                continue;
            };
            let (clients, shares) = shape.split_once('-').unwrap_or((shape, ""));
            let baselines = &found["baselines"];
            let three = |metric: &str| {
                let of = |value: &Value| percent(&value[metric]);
                [
                    &found["final"],
                    &baselines["centralised"],
                    &baselines["local"],
                ]
                .map(of)
            };
            let metric = headline(&found);
            let gap = baselines["centralised"][metric]
                .as_f64()
                .zip(found["final"][metric].as_f64());
            let gap = gap.map_or(f64::NAN, |(pooled, ours)| 100.0 * (pooled - ours));
            writeln!(
                table,
                "| {name} | {clients} | {shares} | {} | {} | {gap:.1} |",
                three("accuracy").join(" | "),
                three("auroc").join(" | "),
            )?;
        }
    }
    Ok(table)
}

fn forms(folder: &Path) -> Result<String> {
    let mut table = String::from(
        "| flagship | plain | private | epsilon | attacked and defended | the same without the attack | attackers flagged | honest flagged |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for name in NAMES {
        let plain = match name {
            "heart" => "heart-4-natural".to_owned(),
            _ => format!("{name}-10-dirichlet"),
        };
        let found = [plain, format!("{name}-private"), format!("{name}-defended")];
        let mut found = found.iter().map(|run_name| summary(folder, run_name));
        let (Some(plain), Some(private), Some(defended)) = (
            found.next().transpose()?.flatten(),
            found.next().transpose()?.flatten(),
            found.next().transpose()?.flatten(),
        ) else {
            continue;
        };
        let metric = headline(&plain);
        let attack = &defended["attack"];
        let names = |value: &Value| -> Vec<String> {
            let names = value.as_array().into_iter().flatten();
            names
                .filter_map(|name| Some(name.as_str()?.to_owned()))
                .collect()
        };
        let (malicious, flagged) = (
            names(&attack["names"]),
            names(&defended["anomalies"]["clients"]),
        );
        let hit = flagged
            .iter()
            .filter(|name| malicious.contains(name))
            .count();
        let epsilon = private["privacy"]["accounted_epsilon"].as_f64();
        let head = if metric == "auroc" {
            "AUROC"
        } else {
            "accuracy"
        };
        writeln!(
            table,
            "| {name} ({head}) | {} | {} | {} | {} | {} | {hit} of {} | {} of {} |",
            percent(&plain["final"][metric]),
            percent(&private["final"][metric]),
            epsilon.map_or_else(
                || "masks only".to_owned(),
                |epsilon| format!("{epsilon:.2}")
            ),
            percent(&defended["final"][metric]),
            percent(&attack["unattacked"][metric]),
            malicious.len(),
            flagged.len() - hit,
            attack["of"]
                .as_u64()
                .unwrap_or(0)
                .saturating_sub(malicious.len() as u64),
        )?;
    }
    Ok(table)
}

/// The page with `text` between two of its lines.
fn between(page: &str, [begin, end]: [&str; 2], text: &str) -> Result<String> {
    let (before, rest) = page
        .split_once(begin)
        .with_context(|| format!("{RESULTS} has no line {begin}"))?;
    let (_, after) = rest
        .split_once(end)
        .with_context(|| format!("{RESULTS} has no line {end}"))?;
    Ok(format!("{before}{begin}\n{text}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        let page = "a\n<!-- x -->\nold\n<!-- y -->\nb\n";
        let marks = ["<!-- x -->", "<!-- y -->"];
        let new = between(page, marks, "| new |\n").unwrap();
        assert_eq!(new, "a\n<!-- x -->\n| new |\n<!-- y -->\nb\n");
        assert_eq!(between(&new, marks, "old\n").unwrap(), page);
        assert!(between("no marks", marks, "").is_err());
    }
}
