//! Reproductions of published figures: run by hand, results committed.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::quickstart::run;

const CONFIGS: &str = "configs/papers";
const RESULTS: &str = "docs/results/papers.md";

/// What a config's leading comment says of the figure: `# paper: ...`, `# target: metric >= value`.
struct Claim {
    path: PathBuf,
    paper: String,
    target: f64,
}

/// Runs the named configs, or all, and writes the table.
pub(crate) fn reproduce(names: &[String]) -> Result<()> {
    ensure!(
        std::env::var_os("CLOISTER_DATA").is_some(),
        "set CLOISTER_DATA to the folder that holds mnist/ and the others"
    );
    let mut table = String::from(
        "| config | paper | target | rounds to target | final accuracy | up per reply | seconds |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for claim in claims(names)? {
        let name = stem(&claim.path);
        let folder = format!("runs/papers/{name}");
        let _ = fs::remove_dir_all(&folder);
        let config = claim.path.display().to_string();
        run(
            "cargo",
            &[
                "run",
                "--release",
                "--quiet",
                "--",
                "simulate",
                &config,
                "--out",
                &folder,
            ],
        )?;
        writeln!(table, "{}", row(&claim, &name, Path::new(&folder))?)?;
        fs::create_dir_all("docs/results")?;
        fs::write(RESULTS, page(&table))?;
    }
    Ok(())
}

fn page(table: &str) -> String {
    format!(
        "# Published figures, reproduced\n\n\
         Made by `CLOISTER_DATA=... cargo xtask papers` with version {} on {} threads. One seed a row; the curves lie \
         in the run folders. What each paper reports stands in the config's head.\n\n{table}",
        env!("CARGO_PKG_VERSION"),
        std::thread::available_parallelism().map_or(1, usize::from),
    )
}

fn claims(names: &[String]) -> Result<Vec<Claim>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(CONFIGS)
        .with_context(|| format!("{CONFIGS}: run from the root of the checkout"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    paths.retain(|path| {
        path.extension().is_some_and(|ending| ending == "toml")
            && (names.is_empty() || names.contains(&stem(path)))
    });
    paths.sort();
    ensure!(!paths.is_empty(), "{CONFIGS} has no config of that name");
    paths.into_iter().map(claim).collect()
}

fn claim(path: PathBuf) -> Result<Claim> {
    let text = fs::read_to_string(&path)?;
    let line = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix("# ")?.strip_prefix(key))
            .map(|rest| rest.trim().to_owned())
            .with_context(|| format!("{} has no comment `# {key} ...`", path.display()))
    };
    Ok(Claim {
        paper: line("paper:")?,
        target: line("target:")?.parse()?,
        path,
    })
}

fn row(claim: &Claim, name: &str, folder: &Path) -> Result<String> {
    let summary: Value = serde_json::from_slice(&fs::read(folder.join("summary.json"))?)?;
    let rounds = fs::read_to_string(folder.join("rounds.csv"))?;
    let reached = first_round(&rounds, claim.target)?;
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    Ok(format!(
        "| {name} | {} | {:.3} | {} | {:.4} | {:.2} bytes a parameter | {:.0} |",
        claim.paper,
        claim.target,
        reached.map_or_else(|| "not reached".to_owned(), |round| round.to_string()),
        number(&summary["final"]["accuracy"]),
        number(&summary["communication"]["bytes_per_parameter"]),
        number(&summary["seconds"]),
    ))
}

/// The first round whose test accuracy is at least `target`.
fn first_round(csv: &str, target: f64) -> Result<Option<u32>> {
    let mut lines = csv.lines();
    let header: Vec<&str> = lines
        .next()
        .context("rounds.csv is empty")?
        .split(',')
        .collect();
    let column = |name: &str| {
        header
            .iter()
            .position(|column| *column == name)
            .with_context(|| format!("rounds.csv has no column {name}"))
    };
    let (round, accuracy) = (column("round")?, column("test_accuracy")?);
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        let reached = cells
            .get(accuracy)
            .and_then(|cell| cell.parse::<f64>().ok())
            .is_some_and(|value| value >= target);
        if reached {
            return Ok(Some(cells.get(round).context("short row")?.parse()?));
        }
    }
    Ok(None)
}

fn stem(path: &Path) -> String {
    path.file_stem()
        .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_round_at_target() {
        let csv = "round,test_accuracy,x\n1,0.5,\n2,,\n3,0.97,\n4,0.98,\n";
        assert_eq!(first_round(csv, 0.97).unwrap(), Some(3));
        assert_eq!(first_round(csv, 0.99).unwrap(), None);
        assert!(first_round("a,b\n", 0.5).is_err());
    }
}
