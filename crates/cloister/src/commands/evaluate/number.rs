//! `cloister evaluate` of a model that answers with a number.

use anyhow::{Result, bail};
use cloister_host::{Groups, NumberJudging, metrics};
use cloister_nn::metrics::{Bootstrap, Measures};
use cloister_nn::parallel;
use cloister_report::record::HeadlineMetric;
use serde_json::json;

use super::{Loaded, columns, name};
use crate::args::EvaluateArgs;
use crate::commands::trained::Trained;
use crate::failure::Usage;
use crate::output;

pub(super) fn run(args: &EvaluateArgs, trained: &Trained, loaded: &Loaded) -> Result<()> {
    if args.threshold.is_some() {
        bail!(Usage(
            "--threshold is for models of classes, this one answers with a number".to_owned()
        ));
    }
    let test = &loaded.data.test;
    let Some(target) = test.target() else {
        bail!("{} has no number to be predicted", test.name());
    };
    let model = trained.model(test.shape(), test.classes().len())?;
    let tally = parallel::numbers_of(
        &model.model,
        &model.parameters,
        test.features(),
        (&target.values, target.scale.deviation),
        args.threads.count(),
        trained.streams().evaluation(),
    );
    let columns = columns(&loaded.raw, &trained.experiment, &args.subgroup)?;
    let subgroups = args.subgroup.iter().zip(&columns);
    let judging = NumberJudging {
        test: &tally,
        bootstrap: Bootstrap {
            replicates: args.replicates,
            level: args.level,
            ..Bootstrap::default()
        },
        sites: test.sites().map(|sites| Groups {
            names: &sites.names,
            of_row: &sites.of_row,
        }),
        subgroups: subgroups
            .map(|(name, grouped)| (name.clone(), grouped.groups()))
            .collect(),
    };
    let (evaluation, quality) = judging.judge(&trained.streams());
    let name = name(args, test);
    let predicted = test.classes().first();
    if args.json {
        return output::print_json(&json!({
            "model": trained.path,
            "data": name,
            "target": predicted,
            "metrics": evaluation,
            "quality": quality,
        }));
    }
    let figures = metrics(&Measures::Number(evaluation));
    output::print(&format!(
        "{name}: {} examples, {}\n\n{}",
        output::grouped(quality.examples),
        predicted.map_or("", String::as_str),
        quality.text(&figures, HeadlineMetric::R2),
    ))
}
