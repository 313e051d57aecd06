//! `cloister config schema | check | show`

use std::path::Path;

use anyhow::{Result, bail};
use cloister_config::ConfigError;

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
                false => output::print(&loaded.experiment.resolved_toml()?),
            }
        }
    }
}

fn check(config: &Path, overrides: &[String]) -> Result<String> {
    let loaded = load(config, overrides)?;
    let runs = match loaded.experiment.sweep {
        None => String::new(),
        Some(_) => format!(", a sweep of {} runs", loaded.cells().len()),
    };
    let name = &loaded.experiment.name;
    Ok(format!("{}: ok ({name}{runs})", config.display()))
}
