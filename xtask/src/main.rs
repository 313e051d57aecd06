//! Chores of the workspace: `cargo xtask`.

use std::process::ExitCode;

mod flagships;
mod papers;
mod quickstart;

const HELP: &str = "\
cargo xtask COMMAND

  check                     everything that CI runs
  quickstart-check FOLDER   whether a quickstart run left a complete record and reached its accuracy
  papers [NAME...]          the reproductions of configs/papers, into docs/results/papers.md; needs CLOISTER_DATA
  flagships [NAME...]       the federations of configs/flagships that have not run yet, and the tables of docs/results/flagships.md;
                            needs CLOISTER_DATA
  flagships-table FOLDER    the tables alone, of the runs in a folder
";

#[allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program"
)]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.split_first() {
        Some((command, rest)) if command == "check" && rest.is_empty() => {
            quickstart::run("bash", &[".ci/run"])
        }
        Some((command, [folder])) if command == "quickstart-check" => quickstart::check(folder),
        Some((command, names)) if command == "flagships" => flagships::measure(names),
        Some((command, [folder])) if command == "flagships-table" => {
            flagships::table(std::path::Path::new(folder))
        }
        Some((command, names)) if command == "papers" => papers::reproduce(names),
        _ => {
            print!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
