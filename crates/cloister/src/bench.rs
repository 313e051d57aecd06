//! `cloister bench`: the figures that the docs quote, measured on this machine.

use anyhow::{Result, bail};
use serde::Serialize;

use crate::args::BenchArgs;

mod aggregate;
mod clock;
mod data;
mod dp_sgd;
mod leak;
mod net;
mod privacy;
mod secagg;
mod simulate;
mod train;

/// What can be measured, with one line on each.
pub(crate) const NAMES: [(&str, &str); 9] = [
    (
        "train",
        "milliseconds of a training step, by model, batch and threads",
    ),
    (
        "simulate",
        "100 clients x 5 rounds of the 784-128-10 MLP, and the share that is not training",
    ),
    (
        "aggregate",
        "milliseconds of the robust rules, beside one read of the rows and their products",
    ),
    (
        "dp-sgd",
        "milliseconds of a training step with clipped per-example gradients, and with noise",
    ),
    (
        "leak",
        "evaluations of a gradient inversion a second of one processor, by model and batch",
    ),
    (
        "privacy",
        "milliseconds of questions to the accountants, beside their targets",
    ),
    (
        "secagg",
        "masks, secret sharing and whole sessions of secure aggregation, client by client",
    ),
    (
        "data",
        "megabytes of a large table that are inspected, fitted and prepared in a second, and the memory that it takes",
    ),
    (
        "net",
        "rounds of a director with many envoys over mutual TLS, and a large model there and back",
    ),
];

/// The measured figures; those not asked for are left out.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    version: &'static str,
    /// Instruction set that the kernels chose.
    kernels: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    train: Vec<train::Row>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    simulate: Vec<simulate::Figures>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    aggregate: Vec<aggregate::Row>,
    #[serde(rename = "dp-sgd", skip_serializing_if = "Vec::is_empty")]
    dp_sgd: Vec<dp_sgd::Row>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    leak: Vec<leak::Row>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    privacy: Vec<privacy::Row>,
    #[serde(flatten)]
    secagg: secagg::Tables,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    data: Vec<data::Row>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    net: Vec<net::Row>,
}

/// Runs the named benches, or all; `quick` leaves out cases that take long or much memory.
pub(crate) fn run(args: &BenchArgs) -> Result<Report> {
    let (names, quick) = (&args.names, args.quick);
    if let Some(name) = names
        .iter()
        .find(|name| NAMES.iter().all(|(known, _)| known != name))
    {
        let known: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
        bail!(
            "no bench is called '{name}'; there are {}",
            known.join(", ")
        );
    }
    let wanted = |name: &str| names.is_empty() || names.iter().any(|other| other == name);
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION"),
        kernels: format!("{:?}", cloister_nn::kernels::Level::current()).to_lowercase(),
        ..Report::default()
    };
    if wanted("train") {
        report.train = train::measure()?;
    }
    if wanted("simulate") {
        for threads in [1, 2] {
            report.simulate.push(simulate::measure(threads)?);
        }
    }
    if wanted("aggregate") {
        report.aggregate = aggregate::measure(quick)?;
    }
    if wanted("dp-sgd") {
        report.dp_sgd = dp_sgd::measure(quick)?;
    }
    if wanted("leak") {
        report.leak = leak::measure(quick)?;
    }
    if wanted("privacy") {
        report.privacy = privacy::measure(quick)?;
    }
    if wanted("secagg") {
        report.secagg = secagg::measure(&args.secagg, quick)?;
    }
    if wanted("data") {
        report.data = data::measure(args.data.megabytes, args.data.table.as_deref(), quick)?;
    }
    if wanted("net") {
        report.net = net::measure(quick)?;
    }
    Ok(report)
}
