//! `cloister config schema | check | show`

use std::path::Path;

use anyhow::{Result, bail};
use cloister_config::{ConfigError, Experiment};
use cloister_host::Place;
use cloister_protocol::{CohortOdds, most_replies};
use cloister_robust::AggregationConfig;

use crate::args::ConfigCommand;
use crate::commands::load;
use crate::failure::Usage;
use crate::output;

pub(crate) fn run(command: &ConfigCommand) -> Result<()> {
    match command {
        ConfigCommand::Schema => output::print_json(&cloister_config::schema()),
        ConfigCommand::Check { configs, overrides } => {
            let overrides = overrides.arguments();
            let mut wrong = 0;
            for config in configs {
                match check(config, &overrides) {
                    Ok(text) => output::print(&text)?,
                    // The last one is the command's own error, which is said once, by main.
                    Err(error) if configs.len() == 1 => return Err(error),
                    Err(error) if error.is::<ConfigError>() => {
                        output::error(&error.to_string());
                        wrong += 1;
                    }
                    Err(error) => return Err(error),
                }
            }
            match wrong {
                0 => Ok(()),
                _ => bail!(Usage(format!(
                    "{wrong} of {} configs are wrong",
                    configs.len()
                ))),
            }
        }
        ConfigCommand::Show { config, json } => {
            let loaded = load(&config.config, &config.overrides.arguments())?;
            match json {
                true => output::print_json(&loaded.experiment),
                false => {
                    let resolved = loaded.experiment.resolved_toml()?;
                    let trust = trust(&loaded.experiment)?;
                    output::print(&format!("{resolved}\n{trust}"))
                }
            }
        }
    }
}

/// Who can see what, as comments: the output stays a config.
fn trust(experiment: &Experiment) -> Result<String> {
    const WIDTH: usize = 110;
    let mut lines = vec!["# Who can see what".to_owned()];
    let sums = cloister_sim::planned_sums(experiment)?;
    for sentence in cloister_host::trust(experiment, sums.as_ref(), Place::Simulation) {
        let mut line = "# -".to_owned();
        for word in sentence.split(' ') {
            if line.len() + word.len() >= WIDTH {
                lines.push(std::mem::replace(&mut line, "#  ".to_owned()));
            }
            line.push(' ');
            line.push_str(word);
        }
        lines.push(line);
    }
    Ok(lines.join("\n"))
}

fn check(config: &Path, overrides: &[String]) -> Result<String> {
    let loaded = load(config, overrides)?;
    let runs = match loaded.experiment.sweep {
        None => String::new(),
        Some(_) => format!(", a sweep of {} runs", loaded.cells().len()),
    };
    let name = &loaded.experiment.name;
    let mut lines = vec![format!("{}: ok ({name}{runs})", config.display())];
    for cell in loaded.cells() {
        lines.extend(odds(&cell.experiment).filter(|line| !lines.contains(line)));
    }
    Ok(lines.join("\n"))
}

/// How likely the cohort of a round is to hold more malicious clients than the rule is told to withstand.
fn odds(experiment: &Experiment) -> Option<String> {
    const RARE: f64 = 1e-6;
    let clients = experiment.population()?;
    let attack = experiment.attack.as_ref();
    // Canaries are no liars.
    let attack = attack.filter(|attack| attack.kind.name() != "canary")?;
    let malicious = attack.malicious(clients);
    let aggregation = &experiment.aggregation;
    // Whatever it is told, the plain mean withstands nobody.
    let byzantine = match aggregation.is_plain_mean() {
        true => 0,
        false => aggregation.byzantine,
    };
    let odds = CohortOdds::new(&experiment.federation, clients, malicious);
    let chance = odds.more_than(byzantine);
    let rounds = f64::from(experiment.federation.rounds);
    let what = match byzantine {
        0 => "one or more of them".to_owned(),
        _ => format!("more than byzantine = {byzantine} of them"),
    };
    let mut line = format!(
        "  {malicious} malicious of {clients} clients, cohorts of {:.0}: {what} with chance {} a round, in {:.1} of \
         {rounds} rounds",
        odds.cohort,
        significant(chance),
        chance * rounds
    );
    if aggregation.is_plain_mean() {
        return Some(line);
    }
    let enough = odds.sufficient(RARE);
    if chance > RARE {
        line.push_str(&format!("; byzantine = {enough} makes it at most 1e-6"));
        let wanted = AggregationConfig {
            byzantine: enough,
            trim: None,
            ..aggregation.clone()
        };
        let replies = most_replies(&experiment.federation, clients);
        if let Err(error) = wanted.check_rows(replies as usize) {
            line.push_str(&format!(", but {error}"));
        }
    }
    Some(line)
}

/// A chance with two significant digits.
fn significant(chance: f64) -> String {
    match chance {
        chance if chance <= 0.0 => "0".to_owned(),
        chance if chance < 1e-4 => format!("{chance:.1e}"),
        chance => {
            let digits = 1.0 - chance.log10().floor();
            format!("{chance:.0$}", digits.clamp(1.0, 8.0) as usize)
        }
    }
}
