//! `cloister aggregate`

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use cloister_data::decode::{NpyFloats, NpyValues, npy, npy_bytes, npy_floats};
use cloister_report::record::write_atomic;
use cloister_robust::{
    AggregationConfig, Aggregator, Before, Input, RobustError, Rule, Scalar, Start, Verdict,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::args::{AggregateArgs, RuleArgs};
use crate::failure::Usage;
use crate::output;

pub(crate) fn run(args: &AggregateArgs) -> Result<()> {
    let config = config(&args.rule)?;
    config.check_parameters()?;
    let (shape, values) = read(&args.input)?;
    let &[n, d] = &shape[..] else {
        bail!(
            "{} has the shape {shape:?}, expected two dimensions: one row a vector",
            args.input.display()
        );
    };
    // Before the other files are read, and before a row without values hides it.
    config.check_rows(n)?;
    let (verdict, out) = match values {
        NpyFloats::F32(values) => {
            let trusted = trusted(args, d, |values| match values {
                NpyFloats::F32(values) => Some(values),
                NpyFloats::F64(_) => None,
            })?;
            let (verdict, out) = aggregate(args, &config, &values, (n, d), trusted.as_deref())?;
            (verdict, NpyFloats::F32(out))
        }
        NpyFloats::F64(values) => {
            let trusted = trusted(args, d, |values| match values {
                NpyFloats::F64(values) => Some(values),
                NpyFloats::F32(_) => None,
            })?;
            let (verdict, out) = aggregate(args, &config, &values, (n, d), trusted.as_deref())?;
            (verdict, NpyFloats::F64(out))
        }
    };
    write_atomic(&args.out, &npy_bytes(&out))?;
    if args.json {
        return output::print_json(&document(&config, &verdict, (n, d), &args.out));
    }
    output::print(&describe(&config, &verdict, (n, d)))?;
    output::note(&format!("wrote {}", args.out.display()));
    Ok(())
}

/// The table `[aggregation]` that the flags stand for.
fn config(args: &RuleArgs) -> Result<AggregationConfig> {
    let rule = Rule::ALL.into_iter().find(|rule| rule.name() == args.rule);
    let before = args.before.iter().map(|name| {
        let all = [Before::Nnm, Before::Bucketing, Before::Clip, Before::Arc];
        let step = all.into_iter().find(|step| step.name() == name);
        step.ok_or_else(|| Usage(format!("no step is called '{name}'")).into())
    });
    Ok(AggregationConfig {
        rule: rule.ok_or_else(|| Usage(format!("no rule is called '{}'", args.rule)))?,
        byzantine: args.byzantine,
        before: before.collect::<Result<_>>()?,
        selected: args.selected,
        trim: args.trim,
        smoothing: args.smoothing,
        iterations: args.iterations,
        start: args.start.as_deref().map(|start| match start {
            "zero" => Start::Zero,
            _ => Start::Mean,
        }),
        radius: args.radius,
        noise: args.noise,
        bucket_size: args.bucket_size,
        clip_norm: args.clip_norm,
        sample: args.sample,
        drop_factor: args.drop_factor,
        sign_step: args.sign_step,
        ..AggregationConfig::default()
    })
}

fn read(path: &Path) -> Result<(Vec<usize>, NpyFloats)> {
    Ok(npy_floats(&path.display().to_string(), &bytes(path)?)?)
}

fn bytes(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The server's own update, of the same type as the rows.
fn trusted<T>(
    args: &AggregateArgs,
    d: usize,
    same_type: impl Fn(NpyFloats) -> Option<Vec<T>>,
) -> Result<Option<Vec<T>>> {
    let Some(path) = &args.trusted else {
        return Ok(None);
    };
    let (shape, values) = read(path)?;
    if shape != [d] && shape != [1, d] {
        bail!(
            "{} has the shape {shape:?}, expected [{d}] as the rows of {}",
            path.display(),
            args.input.display()
        );
    }
    match same_type(values) {
        Some(values) => Ok(Some(values)),
        None => bail!(
            "{} and {} are not of the same type; save both as '<f4' or both as '<f8'",
            path.display(),
            args.input.display()
        ),
    }
}

/// One weight a row: numbers of any type.
fn weights(args: &AggregateArgs, n: usize) -> Result<Option<Vec<f64>>> {
    let Some(path) = &args.weights else {
        return Ok(None);
    };
    let array = npy(&path.display().to_string(), &bytes(path)?)?;
    if array.shape != [n] {
        bail!(
            "{} has the shape {:?}, expected [{n}]: one weight a row",
            path.display(),
            array.shape
        );
    }
    Ok(Some(match array.values {
        NpyValues::Bytes(bytes) => bytes.into_iter().map(f64::from).collect(),
        NpyValues::Numbers(numbers) => numbers,
    }))
}

fn aggregate<T: Scalar>(
    args: &AggregateArgs,
    config: &AggregationConfig,
    values: &[T],
    (n, d): (usize, usize),
    trusted: Option<&[T]>,
) -> Result<(Verdict, Vec<T>)> {
    let rows: Vec<&[T]> = (0..n).map(|row| &values[row * d..(row + 1) * d]).collect();
    let weights = weights(args, n)?;
    let input = Input {
        weights: weights.as_deref(),
        trusted,
        threads: args.threads.count(),
        ..Input::new(&rows)
    };
    let mut out = vec![T::default(); d];
    let verdict = Aggregator::new(config.clone())?
        .aggregate(&input, &mut ChaCha8Rng::seed_from_u64(args.seed), &mut out)
        .map_err(|error| {
            let of_file = matches!(error, RobustError::NotFinite { .. });
            let error = anyhow::Error::new(error);
            match of_file {
                true => error.context(args.input.display().to_string()),
                false => error,
            }
        })?;
    Ok((verdict, out))
}

fn document(
    config: &AggregationConfig,
    verdict: &Verdict,
    (n, d): (usize, usize),
    out: &Path,
) -> Value {
    let rows: Vec<Value> = verdict
        .rows
        .iter()
        .map(|row| json!({"kept": row.kept, "weight": row.weight, "score": row.score}))
        .collect();
    let selected: Vec<usize> = (0..n).filter(|&row| verdict.rows[row].kept).collect();
    json!({
        "rule": config.rule,
        "byzantine": config.byzantine,
        "before": config.before,
        "n": n,
        "d": d,
        "score": config.rule.score_meaning(),
        "rows": rows,
        "selected": selected,
        "out": out,
    })
}

fn describe(config: &AggregationConfig, verdict: &Verdict, (n, d): (usize, usize)) -> String {
    let kept = verdict.rows.iter().filter(|row| row.kept).count();
    let steps: Vec<&str> = config
        .before
        .iter()
        .map(|step| step.name())
        .chain([config.rule.name()])
        .collect();
    let mut text = format!(
        "{} of {n} rows x {} columns, byzantine = {}: {kept} kept\n",
        steps.join(", then "),
        output::grouped(d as u64),
        config.byzantine,
    );
    if let Some(meaning) = config.rule.score_meaning() {
        text += &format!("score: {meaning}\n");
    }
    let mut table = output::table(&["row", "kept", "weight", "score"]);
    let number = |value: Option<f64>| value.map_or_else(|| "-".into(), significant);
    for (at, row) in verdict.rows.iter().enumerate() {
        table.add_row([
            at.to_string(),
            if row.kept { "yes" } else { "no" }.to_owned(),
            number(row.weight),
            number(row.score),
        ]);
    }
    output::align_right(&mut table, 0);
    text + "\n" + &output::lines(&table)
}

/// Four digits that count.
fn significant(value: f64) -> String {
    let magnitude = value.abs();
    if value == 0.0 || (1e-3..1e6).contains(&magnitude) {
        let digits = 3 - magnitude.max(1e-3).log10().floor() as i32;
        format!("{value:.*}", digits.clamp(0, 6) as usize)
    } else {
        format!("{value:.3e}")
    }
}
