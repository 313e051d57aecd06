//! From an error to words and an exit code.

use std::io;
use std::process::ExitCode;

use anyhow::Error;
use cloister_config::ConfigError;
use cloister_data::{DataError, PartitionError};
use cloister_nn::ModelError;
use cloister_robust::RobustError;
use cloister_sim::SimError;

use crate::output;

/// The arguments, taken together, make no sense.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// The job was stopped by Ctrl-C and can be resumed; everything about it has been said already.
#[derive(Debug)]
pub(crate) struct Stopped;

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("stopped")
    }
}

impl std::error::Error for Stopped {}

/// Says what went wrong and gives the exit code.
pub(crate) fn report(error: &Error) -> ExitCode {
    if is_broken_pipe(error) {
        // Whoever read our output has seen enough.
        return ExitCode::SUCCESS;
    }
    if !error.is::<Stopped>() {
        output::error(&words(error));
    }
    ExitCode::from(if is_usage(error) { 2 } else { 1 })
}

/// The error and what caused it, each once: many an error quotes its cause in its own words.
fn words(error: &Error) -> String {
    error.chain().fold(String::new(), |mut text, cause| {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            if !text.is_empty() {
                text += ": ";
            }
            text += &cause;
        }
        text
    })
}

fn is_broken_pipe(error: &Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

/// Whether other arguments or another config would help.
fn is_usage(error: &Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<Usage>()
            || cause.is::<ConfigError>()
            || cause.is::<ModelError>()
            || cause.is::<PartitionError>()
            || cause.downcast_ref().is_some_and(is_data_setting)
            || cause.downcast_ref().is_some_and(is_usage_of_sim)
            || cause.downcast_ref().is_some_and(is_wrong_rule)
    })
}

/// Whether another rule, or another parameter of it, would do.
fn is_wrong_rule(error: &RobustError) -> bool {
    matches!(
        error,
        RobustError::TooFewRows { .. }
            | RobustError::Parameter { .. }
            | RobustError::NoTrustedUpdate
    )
}

fn is_data_setting(error: &DataError) -> bool {
    matches!(
        error,
        DataError::Setting { .. } | DataError::UnknownDataset { .. }
    )
}

/// The simulator's errors are transparent: what they wrap is not in the chain.
fn is_usage_of_sim(error: &SimError) -> bool {
    match error {
        SimError::Data(error) => is_data_setting(error),
        SimError::Partition(_)
        | SimError::Model(_)
        | SimError::Config(_)
        | SimError::IsSweep { .. }
        | SimError::NoSweep => true,
        _ => false,
    }
}
