//! `cloister bench data`: a large table, inspected in one pass, fitted and prepared, beside one read of its bytes.

use std::fs::File;
use std::hint::black_box;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Context, Result};
use cloister_data::{ColumnRef, DataConfig, DataError, InspectOptions, inspect_with, open_large};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::clock::{Stopwatch, peak_memory_mib};

/// Megabytes of the table, and with `--quick`.
const MEGABYTES: u64 = 1_000;
const QUICK: u64 = 100;
const REPEATS: usize = 3;

/// One way to read the table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    what: &'static str,
    megabytes: f64,
    rows: usize,
    threads: usize,
    /// Median of the wall time, and the least and the most.
    seconds: f64,
    range_seconds: [f64; 2],
    /// Megabytes a second, by the median.
    rate: f64,
    /// Largest resident memory of the process so far, where the system tells.
    peak_mib: Option<f64>,
}

/// Makes a table of `megabytes` (1,000 without), and measures.
pub(crate) fn measure(
    megabytes: Option<u64>,
    keep: Option<&Path>,
    quick: bool,
) -> Result<Vec<Row>> {
    let megabytes = megabytes.unwrap_or(if quick { QUICK } else { MEGABYTES });
    let folder = tempfile::tempdir()?;
    let path = match keep {
        Some(path) => path.to_owned(),
        None => folder.path().join("records.csv"),
    };
    let rows = generate(&path, megabytes * 1_000_000)
        .with_context(|| format!("cannot write {}", path.display()))?;
    let megabytes = std::fs::metadata(&path)?.len() as f64 / 1e6;
    let row = |what, threads, seconds: Vec<f64>| Row {
        what,
        megabytes,
        rows,
        threads,
        seconds: seconds[seconds.len() / 2],
        range_seconds: [seconds[0], seconds[seconds.len() - 1]],
        rate: megabytes / seconds[seconds.len() / 2],
        peak_mib: peak_memory_mib(),
    };
    let lines = timed(|| {
        let counted = lines(&path)?;
        anyhow::ensure!(
            counted == rows + 1,
            "{counted} lines were read of {} written",
            rows + 1
        );
        Ok(())
    })?;
    let mut measured = vec![row("count lines", 1, lines)];
    for threads in [1, 2] {
        let options = InspectOptions {
            stream_from: 0,
            threads,
        };
        let config = DataConfig {
            label: Some(ColumnRef::Name("label".to_owned())),
            ..DataConfig::at(&path)
        };
        let seconds = timed(|| {
            let found = inspect_with(&config, &options)?;
            anyhow::ensure!(
                found.train.rows == rows,
                "{} of {rows} rows were read",
                found.train.rows
            );
            Ok(())
        })?;
        measured.push(row("inspect", threads, seconds));
    }
    for threads in [1, 2] {
        let (fit, prepare) = prepared(&path, rows, threads)?;
        measured.push(row("fit", threads, fit));
        measured.push(row("prepare", threads, prepare));
    }
    Ok(measured)
}

/// Wall times of fitting a pipeline in passes over the file, and of making features of all rows by it.
fn prepared(path: &Path, rows: usize, threads: usize) -> Result<(Vec<f64>, Vec<f64>)> {
    let identifiers = ["flow", "start"].map(|name| ColumnRef::Name(name.to_owned()));
    let config = DataConfig {
        label: Some(ColumnRef::Name("label".to_owned())),
        drop: identifiers.into(),
        ..DataConfig::at(path)
    };
    let table = open_large(&config, 1, 0, threads)?.context("nothing was opened")?;
    let mut pipeline = None;
    let fit = timed(|| {
        pipeline = Some(table.fit()?);
        Ok(())
    })?;
    let pipeline = pipeline.context("nothing was fitted")?;
    let prepare = timed(|| {
        let mut counted = 0;
        table.prepare(&pipeline, |_, features, _| {
            black_box(features);
            counted += 1;
            Ok::<(), DataError>(())
        })?;
        anyhow::ensure!(counted == rows, "{counted} of {rows} rows were prepared");
        Ok(())
    })?;
    Ok((fit, prepare))
}

/// Sorted wall times in seconds.
fn timed(mut once: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    let mut seconds = Vec::new();
    for _ in 0..REPEATS {
        let watch = Stopwatch::start();
        once()?;
        seconds.push(watch.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds)
}

/// Line ends of a file, as `wc -l` counts them.
fn lines(path: &Path) -> Result<usize> {
    let mut file = File::open(path)?;
    let mut block = vec![0; 1 << 18];
    let mut lines = 0;
    loop {
        let read = file.read(&mut block)?;
        if read == 0 {
            return Ok(lines);
        }
        lines += block[..read].iter().filter(|byte| **byte == b'\n').count();
    }
}

/// Writes records as of network flows: whole numbers, decimals, codes, an identifier, missing cells. The same bytes for
/// the same size. Returns the rows.
fn generate(path: &Path, bytes: u64) -> Result<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let header = "flow,start,protocol,service,source_port,target_port,packets,bytes,duration,rate,mean_size,flags,score,label\n";
    out.write_all(header.as_bytes())?;
    let (mut written, mut rows) = (header.len() as u64, 0);
    let mut line = Vec::new();
    while written < bytes {
        line.clear();
        record(&mut line, rows, &mut rng)?;
        out.write_all(&line)?;
        written += line.len() as u64;
        rows += 1;
    }
    out.flush()?;
    Ok(rows)
}

fn record(line: &mut Vec<u8>, row: usize, rng: &mut impl Rng) -> Result<()> {
    let packets = 1 + (rng.random::<f64>().powi(4) * 2_000.0) as u64;
    let bytes = packets * rng.random_range(40..1_500);
    let duration = rng.random::<f64>().powi(3) * 60.0 + 1e-4;
    let attack = rng.random::<f64>() < 0.1;
    let (day, second) = (row / 86_400 % 28 + 1, row % 86_400);
    let clock = (second / 3600, second / 60 % 60, second % 60);
    write!(
        line,
        "f{row:09},2024-02-{day:02} {:02}:{:02}:{:02},",
        clock.0, clock.1, clock.2
    )?;
    let protocol = ["tcp", "udp", "icmp"][rng.random_range(0..3)];
    let service =
        ["http", "dns", "smtp", "ssh", "ftp_data", "private", "ecr_i"][rng.random_range(0..7)];
    write!(
        line,
        "{protocol},{service},{},{},",
        rng.random_range(1024..65_536),
        rng.random_range(1..1024)
    )?;
    write!(
        line,
        "{packets},{bytes},{duration:.4},{:.3},",
        bytes as f64 / duration
    )?;
    match rng.random::<f64>() < 0.05 {
        true => line.push(b'?'),
        false => write!(line, "{:.2}", bytes as f64 / packets as f64)?,
    }
    let score = rng.random::<f64>() + f64::from(u8::from(attack));
    let label = if attack { "attack" } else { "normal" };
    writeln!(line, ",{},{score:.6},{label}", rng.random_range(0..64))?;
    Ok(())
}
