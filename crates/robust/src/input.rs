//! Checks of what a round brings, before anything is computed.

use std::collections::BTreeSet;

use crate::aggregator::{AggregatorState, Input};
use crate::config::{AggregationConfig, Rule};
use crate::error::{RobustError, check_length};
use crate::scalar::Scalar;

/// Checks lengths, weights and clients. Values are checked where they are read first.
///
/// # Errors
/// [`RobustError`] with what is wrong.
pub(crate) fn check_input<T: Scalar>(
    config: &AggregationConfig,
    state: &AggregatorState<T>,
    input: &Input<'_, T>,
    out: usize,
) -> Result<(), RobustError> {
    let columns = input.rows.first().map_or(0, |row| row.len());
    for (row, values) in input.rows.iter().enumerate() {
        check_length(|| format!("row {row}"), columns, values.len())?;
    }
    check_length(|| "the output".to_owned(), columns, out)?;
    if let Some(weights) = input.weights {
        check_length(|| "weights".to_owned(), input.rows.len(), weights.len())?;
        check_weights(config.rule, weights)?;
    }
    if let Some(clients) = input.clients {
        check_length(|| "clients".to_owned(), input.rows.len(), clients.len())?;
        let mut seen = BTreeSet::new();
        if let Some(&twice) = clients.iter().find(|&&client| !seen.insert(client)) {
            return Err(RobustError::Parameter {
                name: "clients",
                value: f64::from(twice),
                allowed: "there once".to_owned(),
            });
        }
    }
    if config.rule == Rule::Fltrust {
        let trusted = input.trusted.ok_or(RobustError::NoTrustedUpdate)?;
        check_length(|| "the trusted update".to_owned(), columns, trusted.len())?;
        check_usable("trusted", trusted)?;
    }
    if config.rule == Rule::CentredClipping
        && let Some(previous) = &state.previous
    {
        check_length(|| "the previous result".to_owned(), columns, previous.len())?;
        check_usable("previous", previous)?;
    }
    if config.rule == Rule::Foolsgold {
        for (client, history) in &state.histories {
            let what = || format!("the history of client {client}");
            check_length(what, columns, history.len())?;
        }
    }
    Ok(())
}

fn check_weights(rule: Rule, weights: &[f64]) -> Result<(), RobustError> {
    let wrong = |value: f64, allowed: String| {
        Err(RobustError::Parameter {
            name: "weights",
            value,
            allowed,
        })
    };
    if rule != Rule::Mean {
        let allowed = format!(
            "left out with {}, which takes all rows as equals",
            rule.name()
        );
        return wrong(weights.len() as f64, allowed);
    }
    let negative = weights.iter().find(|w| !(w.is_finite() && **w >= 0.0));
    if let Some(&weight) = negative {
        return wrong(weight, "finite and not below 0".to_owned());
    }
    let sum: f64 = weights.iter().sum();
    if !(sum.is_finite() && sum > 0.0) {
        return wrong(sum, "a finite sum above 0".to_owned());
    }
    Ok(())
}

/// Checks a vector that is not one of the rows.
fn check_usable<T: Scalar>(name: &'static str, values: &[T]) -> Result<(), RobustError> {
    match values.iter().find(|value| value.magnitude() >= T::REFUSED) {
        Some(&value) => Err(RobustError::Parameter {
            name,
            value: value.into(),
            allowed: "finite in every column".to_owned(),
        }),
        None => Ok(()),
    }
}

/// The first value among the rows that cannot be used.
pub(crate) fn first_unusable<T: Scalar>(rows: &[&[T]]) -> RobustError {
    for (row, values) in rows.iter().enumerate() {
        let unusable = |value: &T| value.magnitude() >= T::REFUSED;
        if let Some(column) = values.iter().position(unusable) {
            return RobustError::NotFinite {
                row,
                column,
                value: values[column].into(),
            };
        }
    }
    // Only a sum of usable values can have been too large.
    RobustError::NotFinite {
        row: 0,
        column: 0,
        value: f64::INFINITY,
    }
}
