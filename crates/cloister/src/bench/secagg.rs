//! `cloister bench secagg`: masks, secret sharing, and whole sessions of secure aggregation.

mod clock;
mod masks;
mod session;
mod sharing;

use anyhow::{Result, ensure};
use cloister_secagg::message::Kind;
use cloister_secagg::{LEAST_COHORT, MOST_LANES, MOST_MEMBERS};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use serde::Serialize;

use self::session::{Case, Measured, neighbours};
use super::clock::quantile;
use crate::args::SecaggArgs;
use crate::output;

/// The tables.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Tables {
    #[serde(rename = "secagg-masks", skip_serializing_if = "Vec::is_empty")]
    masks: Vec<masks::Row>,
    #[serde(rename = "secagg-sharing", skip_serializing_if = "Vec::is_empty")]
    sharing: Vec<sharing::Row>,
    #[serde(rename = "secagg-clients", skip_serializing_if = "Vec::is_empty")]
    clients: Vec<ClientRow>,
    #[serde(rename = "secagg-server", skip_serializing_if = "Vec::is_empty")]
    server: Vec<ServerRow>,
    #[serde(rename = "secagg-bytes", skip_serializing_if = "Vec::is_empty")]
    bytes: Vec<ByteRow>,
    /// Sessions that would have taken too long.
    #[serde(rename = "secagg-left-out", skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<LeftOut>,
}

/// Which session a row is of.
#[derive(Clone, Debug, Serialize)]
struct Which {
    /// M: the server may lie, complete graph. S: it follows the protocol, sparse graph.
    mode: &'static str,
    clients: u32,
    parameters: usize,
    /// Gone before they send their vector.
    dropouts: u32,
    /// Bits.
    lanes: u8,
}

/// CPU time of one client.
#[derive(Clone, Debug, Serialize)]
struct ClientRow {
    #[serde(flatten)]
    which: Which,
    threshold: u32,
    neighbours: u32,
    /// Medians over the clients of all repeats: public keys, all agreements and shares, until the masks are ready.
    keys_ms: f64,
    /// Pair keys, masks, hash and signature of the vector.
    masking_ms: f64,
    masking_quartiles_ms: [f64; 2],
    masking_ms_per_mask: f64,
    /// What it acknowledges, reveals, and checks at the end.
    reveal_ms: f64,
    /// Clients that were measured: all of a session, none of them cut short.
    measured: usize,
    /// "cpu", or "wall" where the system does not tell CPU time.
    clock: &'static str,
}

/// CPU time of the server, medians over the repeats.
#[derive(Clone, Debug, Serialize)]
struct ServerRow {
    #[serde(flatten)]
    which: Which,
    threads: usize,
    keys_ms: f64,
    adding_ms_per_vector: f64,
    answers_ms: f64,
    /// Restoring the secrets and taking off the masks.
    unmask_ms: f64,
    unmask_wall_ms: f64,
    masks: u64,
    /// In a sparse graph the number of masks is the expected one.
    unmask_ms_per_mask: f64,
    server_cpu_s: f64,
    all_clients_cpu_s: f64,
    /// From the first message to the result, all clients on as many threads.
    wall_s: f64,
    /// Of all clients and the server together; at least what the process has kept of sessions before.
    peak_memory_mib: Option<f64>,
    /// The server's one vector; a second is held for a moment at the end.
    vector_mib: f64,
    /// Sums that were compared with the plain sum, all of them equal.
    exact: usize,
}

/// The longest message of each kind.
#[derive(Clone, Debug, Serialize)]
struct ByteRow {
    #[serde(flatten)]
    which: Which,
    advertise: usize,
    shares: usize,
    masked: usize,
    ack: usize,
    reveal: usize,
    up: usize,
    up_per_parameter: f64,
    params: usize,
    roster: usize,
    deliver: usize,
    survivors: usize,
    acks: usize,
    result: usize,
    down: usize,
}

#[derive(Clone, Debug, Serialize)]
struct LeftOut {
    #[serde(flatten)]
    which: Which,
    /// What it would take, by a rough estimate.
    cpu_s: f64,
}

const CLIENTS: [u32; 3] = [10, 100, 1000];
const PARAMETERS: [usize; 2] = [100_000, 1_000_000];
const DROPOUTS: [f64; 2] = [0.0, 0.2];
const ALL_CLIENTS: [u32; 5] = [10, 50, 100, 500, 1000];
const ALL_PARAMETERS: [usize; 3] = [100_000, 1_000_000, 10_000_000];
const ALL_DROPOUTS: [f64; 3] = [0.0, 0.1, 0.3];
/// Larger cohorts are measured with a sparse graph as well.
const MOST_COMPLETE: u32 = 200;
/// Sessions of more CPU seconds are left out unless they were asked for.
const LONG: f64 = 40.0;
/// Shorter ones are run three times.
const SHORT: f64 = 2.0;
const SEED: u64 = 5;

/// Measures what was asked for; `quick` two small sessions.
pub(crate) fn measure(args: &SecaggArgs, quick: bool) -> Result<Tables> {
    let threads = args.threads.max(1);
    let mut rng = ChaCha20Rng::seed_from_u64(SEED);
    let mut tables = Tables::default();
    let cases = cases(args, quick)?;
    if !args.sessions_only {
        tables.masks = masks::measure(quick, &mut rng)?;
        tables.sharing = sharing::measure(quick, &mut rng)?;
    }
    for case in cases {
        let params = case.params()?;
        let seconds = case.estimate(&params);
        if seconds > LONG && !args.is_explicit() {
            let which = which(&case, (f64::from(case.clients) * case.dropouts) as u32);
            tables.left_out.push(LeftOut {
                which,
                cpu_s: seconds,
            });
            continue;
        }
        let repeats = if seconds < SHORT && !quick { 3 } else { 1 };
        if seconds > SHORT {
            output::note(&format!("{case}: about {seconds:.0} s of CPU"));
        }
        let mut runs = Vec::new();
        for _ in 0..repeats {
            runs.push(case.run(threads, &mut rng)?);
        }
        tables.add(&case, threads, &runs);
    }
    Ok(tables)
}

fn cases(args: &SecaggArgs, quick: bool) -> Result<Vec<Case>> {
    let chosen = |given: &[u32], all: &[u32], some: &[u32]| match (given, args.full, quick) {
        ([], _, true) => some[..1].to_vec(),
        ([], true, _) => all.to_vec(),
        ([], false, _) => some.to_vec(),
        (given, ..) => given.to_vec(),
    };
    let clients = chosen(&args.clients, &ALL_CLIENTS, &CLIENTS);
    let narrow = |list: &[usize]| list.iter().map(|d| *d as u32).collect::<Vec<u32>>();
    let parameters = chosen(
        &args.parameters,
        &narrow(&ALL_PARAMETERS),
        &narrow(&PARAMETERS),
    );
    let dropouts = match (args.dropouts.as_slice(), args.full) {
        ([], true) => ALL_DROPOUTS.to_vec(),
        ([], false) => DROPOUTS.to_vec(),
        (given, _) => given.to_vec(),
    };
    for n in &clients {
        let fits = *n >= LEAST_COHORT && *n as usize <= MOST_MEMBERS;
        ensure!(
            fits,
            "--clients must be from {LEAST_COHORT} to {MOST_MEMBERS}, found {n}"
        );
    }
    for d in &parameters {
        let fits = (1..=MOST_LANES).contains(&(*d as usize));
        ensure!(
            fits,
            "--parameters must be from 1 to {MOST_LANES}, found {d}"
        );
    }
    for share in &dropouts {
        let fits = (0.0..=0.5).contains(share);
        ensure!(fits, "--dropouts must be from 0 to 0.5, found {share}");
    }
    Ok(crossed(args, &clients, &parameters, &dropouts))
}

/// All sessions, in an order in which peaks of memory are each one's own.
fn crossed(args: &SecaggArgs, clients: &[u32], parameters: &[u32], dropouts: &[f64]) -> Vec<Case> {
    let mut cases = Vec::new();
    for (row, &clients) in clients.iter().enumerate() {
        for &d in parameters {
            for (column, &dropouts) in dropouts.iter().enumerate() {
                let complete = Case {
                    clients,
                    parameters: d as usize,
                    dropouts,
                    sparse: false,
                    lanes: 32,
                };
                // Half the width once for each length, in a small cohort.
                let first = (row, column) == (0, 0) && clients <= MOST_COMPLETE;
                if first && args.wants_complete() {
                    let lanes = 16;
                    cases.push(Case { lanes, ..complete });
                }
                if args.wants_complete() {
                    cases.push(complete);
                }
                if clients > MOST_COMPLETE && args.wants_sparse() {
                    let sparse = true;
                    cases.push(Case { sparse, ..complete });
                }
            }
        }
    }
    cases
}

fn which(case: &Case, dropouts: u32) -> Which {
    Which {
        mode: if case.sparse { "S" } else { "M" },
        clients: case.clients,
        parameters: case.parameters,
        dropouts,
        lanes: case.lanes,
    }
}

impl Tables {
    fn add(&mut self, case: &Case, threads: usize, runs: &[Measured]) {
        let Some(first) = runs.first() else {
            return;
        };
        let which = which(case, first.dropped);
        self.clients.push(client_row(which.clone(), first, runs));
        self.server
            .push(server_row(which.clone(), threads, first, runs));
        self.bytes.push(byte_row(which, first));
    }
}

/// Sorted milliseconds.
fn ms(seconds: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut times: Vec<f64> = seconds.map(|seconds| seconds * 1e3).collect();
    times.sort_by(f64::total_cmp);
    times
}

fn client_row(which: Which, first: &Measured, runs: &[Measured]) -> ClientRow {
    let all = |of: fn(&Measured) -> &Vec<f64>| ms(runs.iter().flat_map(of).copied());
    let keys = all(|run| &run.keys);
    let masking = all(|run| &run.masking);
    let reveal = all(|run| &run.reveal);
    let masking_ms = quantile(&masking, 0.5);
    ClientRow {
        which,
        threshold: first.params.threshold,
        neighbours: neighbours(&first.params),
        keys_ms: quantile(&keys, 0.5),
        masking_ms,
        masking_quartiles_ms: [quantile(&masking, 0.25), quantile(&masking, 0.75)],
        masking_ms_per_mask: masking_ms / f64::from(first.client_masks),
        reveal_ms: quantile(&reveal, 0.5),
        measured: keys.len(),
        clock: clock::kind(),
    }
}

fn server_row(which: Which, threads: usize, first: &Measured, runs: &[Measured]) -> ServerRow {
    let median = |of: &dyn Fn(&Measured) -> f64| quantile(&ms(runs.iter().map(of)), 0.5);
    let unmask_ms = median(&|run| run.server.unmask);
    let vectors = f64::from(first.params.members() - first.dropped);
    let server = |run: &Measured| {
        let cost = &run.server;
        cost.keys + cost.adding + cost.answers + cost.unmask
    };
    let clients = |run: &Measured| {
        let parts = [&run.keys, &run.masking, &run.reveal];
        parts.into_iter().flatten().sum::<f64>()
    };
    let peak = runs.iter().filter_map(|run| run.peak_mib);
    ServerRow {
        which,
        threads,
        keys_ms: median(&|run| run.server.keys),
        adding_ms_per_vector: median(&|run| run.server.adding) / vectors,
        answers_ms: median(&|run| run.server.answers),
        unmask_ms,
        unmask_wall_ms: median(&|run| run.server.unmask_wall),
        masks: first.server_masks,
        unmask_ms_per_mask: unmask_ms / first.server_masks as f64,
        server_cpu_s: median(&server) / 1e3,
        all_clients_cpu_s: median(&clients) / 1e3,
        wall_s: median(&|run| run.wall) / 1e3,
        peak_memory_mib: peak.reduce(f64::max),
        vector_mib: first.params.layout().len() as f64 / f64::from(1 << 20),
        exact: runs.len(),
    }
}

fn byte_row(which: Which, run: &Measured) -> ByteRow {
    let length = |of: Kind| {
        let all = [&run.up, &run.down].map(|lengths| lengths.get(&(of as u8)).copied());
        all.into_iter().flatten().max().unwrap_or(0)
    };
    let up: usize = run.up.values().sum();
    ByteRow {
        up_per_parameter: up as f64 / which.parameters as f64,
        which,
        advertise: length(Kind::Advertise),
        shares: length(Kind::Shares),
        masked: length(Kind::Masked),
        ack: length(Kind::Ack),
        reveal: length(Kind::Reveal),
        up,
        params: length(Kind::Params),
        roster: length(Kind::Roster),
        deliver: length(Kind::Deliver),
        survivors: length(Kind::Survivors),
        acks: length(Kind::Acks),
        result: length(Kind::Result),
        down: run.down.values().sum(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Args, Command};

    fn args(words: &[&str]) -> SecaggArgs {
        let words = ["cloister", "bench", "secagg"].iter().chain(words);
        match Args::try_parse_from(words).unwrap().command {
            Command::Bench(args) => args.secagg,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_session_of_each_mode_is_exact_and_sends_what_its_lanes_take() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for (clients, dropouts, sparse, lanes) in [
            (10, 0.3, false, 32),
            (10, 0.0, false, 16),
            (60, 0.1, true, 32),
        ] {
            let case = Case {
                clients,
                parameters: 1000,
                dropouts,
                sparse,
                lanes,
            };
            let measured = case.run(2, &mut rng).unwrap();
            let gone = (f64::from(clients) * dropouts) as u32;
            assert_eq!(measured.dropped, gone);
            assert_eq!(measured.masking.len() as u32, clients - gone);
            let body = usize::from(lanes) / 8 * 1000;
            let message = measured.up[&(Kind::Masked as u8)];
            assert!((body..body + 300).contains(&message), "{message}");
            // Nobody who keeps no signed view of the survivors acknowledges it.
            assert_eq!(measured.up.contains_key(&(Kind::Ack as u8)), !sparse);
        }
    }

    #[test]
    fn a_session_that_loses_too_many_is_an_error() {
        let case = Case {
            clients: 10,
            parameters: 10,
            dropouts: 0.4,
            sparse: false,
            lanes: 32,
        };
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let error = case.run(1, &mut rng).unwrap_err().to_string();
        assert!(error.contains("failed"), "{error}");
    }

    #[test]
    fn lists_are_crossed_and_checked() {
        let some = args(&[
            "--clients",
            "10,300",
            "--parameters",
            "7",
            "--dropouts",
            "0,0.1",
        ]);
        // One of half the width; then two, and twice two.
        assert_eq!(cases(&some, false).unwrap().len(), 7);
        let sparse = args(&[
            "--clients",
            "10,300",
            "--parameters",
            "7",
            "--graph",
            "sparse",
        ]);
        assert!(
            cases(&sparse, false)
                .unwrap()
                .iter()
                .all(|case| case.sparse)
        );
        assert_eq!(cases(&args(&["--full"]), false).unwrap().len(), 3 + 45 + 18);
        for bad in [
            ["--clients", "2"],
            ["--parameters", "0"],
            ["--dropouts", "0.6"],
            ["--dropouts", "NaN"],
        ] {
            assert!(cases(&args(&bad), false).is_err(), "{bad:?}");
        }
    }
}
