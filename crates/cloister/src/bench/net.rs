//! `cloister bench net`: a director in a process of its own, and envoys that answer at once without training.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cloister_host::to_hex;
use cloister_net::clock::{unix_now, unix_time};
use cloister_net::experiment::{Answer, MAX_DOCUMENT, Offer, Status};
use cloister_net::pki::{self, Federation, Use};
use cloister_net::plan::Plan;
use cloister_net::transport::measure::copy_over_tls;
use cloister_net::transport::{
    Body, Client, Credentials, Errand, Fault, FaultKind, Paper, PaperKind, Parcel, ParcelKind,
    Submission,
};
use cloister_protocol::message::{ClientMessage, LayoutDigest, TrainReply};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::commands::runtime;

/// Messages that the envoys of the bench have in their hands at once: they share this process's memory.
const HANDS: usize = 8;

/// One row of the table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    envoys: usize,
    parameters: usize,
    rounds: u32,
    /// Wall time of a round, the first left out where there are several.
    seconds_per_round: f64,
    /// Model to all, and updates back, a second.
    megabytes_per_second: f64,
    /// The same bytes over as many connections of TLS alone.
    tls_alone_megabytes_per_second: f64,
    /// Most memory that the director ever had.
    director_peak_mib: f64,
    /// Before any envoy had called.
    director_idle_mib: f64,
    /// What is above that and above five copies of the model, a connection.
    kib_per_connection: f64,
}

/// What is measured.
struct Case {
    envoys: usize,
    columns: usize,
    hidden: Option<usize>,
    rounds: u32,
}

pub(crate) fn measure(quick: bool) -> Result<Vec<Row>> {
    let many = if quick { 100 } else { 1000 };
    let cases = [
        Case {
            envoys: many,
            columns: 784,
            hidden: Some(126),
            rounds: 5,
        },
        Case {
            envoys: 4,
            columns: 13_107_199,
            hidden: None,
            rounds: 2,
        },
    ];
    cases
        .iter()
        .map(|case| runtime()?.block_on(run(case)))
        .collect()
}

/// A director that is ended with the bench.
struct Director(Child);

impl Drop for Director {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Director {
    /// A figure of `/proc/PID/status` in MiB; 0 where there is none.
    fn memory(&self, field: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.and_then(|line| {
            line.trim_start_matches(':')
                .split_whitespace()
                .next()?
                .parse::<f64>()
                .ok()
        });
        kib.unwrap_or(0.0) / 1024.0
    }
}

async fn run(case: &Case) -> Result<Row> {
    let folder = tempfile::tempdir()?;
    let dir = folder.path().join("bench");
    let port = free_port()?;
    let sites: Vec<String> = (0..case.envoys)
        .map(|place| format!("site-{place:04}"))
        .collect();
    make(&dir, &sites, case, port)?;
    let director = Director(
        Command::new(std::env::current_exe()?)
            .args(["director", "--dir"])
            .arg(dir.join(pki::file_name::DIRECTOR))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?,
    );
    let address = format!("127.0.0.1:{port}");
    let operator = Arc::new(Credentials::load(&dir.join("operators/you"), Use::Client)?);
    let client = connect(&address, operator).await?;
    let idle = director.memory("VmRSS");
    let bytes = Arc::new(AtomicU64::new(0));
    let hands = Arc::new(Semaphore::new(HANDS));
    let mut envoys = JoinSet::new();
    for site in &sites {
        let kit = dir.join(pki::file_name::SITES).join(site);
        let envoy = Light {
            credentials: Arc::new(Credentials::load(&kit, Use::Client)?),
            address: address.clone(),
            papers: folder.path().join(site),
            hands: Arc::clone(&hands),
            bytes: Arc::clone(&bytes),
            layout: None,
        };
        envoys.spawn(envoy.serve());
    }
    let submission = Submission {
        request: cloister_net::operator::request()?,
        config: config(case),
        sites,
        minimum: 0,
    };
    let id = client.submit(submission).await?.experiment;
    let mut begun = Vec::new();
    loop {
        if let Some(done) = envoys.try_join_next() {
            done?.context("an envoy of the bench")?;
        }
        let status: Status = serde_json::from_str(&client.status().await?)?;
        let Some(experiment) = status.experiments.iter().find(|one| one.id == id) else {
            bail!("the experiment is gone");
        };
        while begun.len() <= experiment.round as usize {
            begun.push((unix_time(), bytes.load(Ordering::Relaxed)));
        }
        if experiment.state.is_over() {
            let state = cloister_net::experiment::State::Finished;
            ensure!(experiment.state == state, "{}", experiment.reason);
            ensure!(
                experiment.refused == 0,
                "{} replies were refused",
                experiment.refused
            );
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let peak = director.memory("VmHWM");
    envoys.abort_all();
    row(case, &dir, &begun, idle, peak).await
}

/// The figures; `begun` has when each round was done, and the bytes that had travelled by then.
async fn row(
    case: &Case,
    dir: &Path,
    begun: &[(Duration, u64)],
    idle: f64,
    peak: f64,
) -> Result<Row> {
    let (Some((first, before)), Some((last, after))) = (begun.get(1), begun.last()) else {
        bail!("fewer than two rounds");
    };
    let seconds = (*last - *first).as_secs_f64();
    let rounds = begun.len() as f64 - 2.0;
    let moved = (after - before) as f64;
    let server = Credentials::load(&dir.join(pki::file_name::DIRECTOR), Use::Server)?;
    let client = Credentials::load(&dir.join("operators/you"), Use::Client)?;
    let connections = case.envoys.min(16);
    let start = unix_time();
    copy_over_tls(
        &server,
        &client,
        connections,
        (moved / rounds) as u64 / connections as u64,
    )
    .await?;
    let alone = (unix_time() - start).as_secs_f64();
    let parameters = parameters(case);
    let model = 4.0 * parameters as f64 / f64::from(1 << 20);
    Ok(Row {
        envoys: case.envoys,
        parameters,
        rounds: case.rounds,
        seconds_per_round: seconds / rounds,
        megabytes_per_second: moved / seconds / 1e6,
        tls_alone_megabytes_per_second: moved / rounds / alone / 1e6,
        director_peak_mib: peak,
        director_idle_mib: idle,
        kib_per_connection: 1024.0 * (peak - idle - 5.0 * model).max(0.0) / case.envoys as f64,
    })
}

fn parameters(case: &Case) -> usize {
    match case.hidden {
        Some(hidden) => (case.columns + 1) * hidden + (hidden + 1) * 10,
        None => (case.columns + 1) * 2,
    }
}

fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?.port())
}

fn config(case: &Case) -> String {
    let model = match case.hidden {
        Some(hidden) => format!("kind = \"mlp\"\nhidden = [{hidden}]"),
        None => "kind = \"logistic\"".to_owned(),
    };
    format!(
        "name = \"bench\"\n[data]\ndataset = \"bench\"\npath = \"at-the-sites\"\n[federation]\nclients = {}\nrounds = {}\n\
         [model]\n{model}\n",
        case.envoys, case.rounds
    )
}

/// The federation's folders.
fn make(dir: &Path, sites: &[String], case: &Case, port: u16) -> Result<()> {
    let names: Result<Vec<pki::Name>, _> = sites.iter().map(|site| site.parse()).collect();
    let federation = Federation {
        name: "bench".parse()?,
        sites: names?,
        operators: vec!["you".parse()?],
        hosts: Vec::new(),
        days: pki::DEFAULT_DAYS,
    };
    pki::init(dir, &federation, unix_now())?;
    let classes: Vec<String> = (0..if case.hidden.is_some() { 10 } else { 2 })
        .map(|class| format!("\"{class}\""))
        .collect();
    let config = format!(
        "federation = \"bench\"\nlisten = \"127.0.0.1:{port}\"\n[data.bench]\nshape = [1, 1, {}]\nclasses = [{}]\n",
        case.columns,
        classes.join(", ")
    );
    let path = dir
        .join(pki::file_name::DIRECTOR)
        .join(pki::file_name::DIRECTOR_CONFIG);
    Ok(std::fs::write(path, config)?)
}

/// Dials until the director is up.
async fn connect(address: &str, credentials: Arc<Credentials>) -> Result<Client> {
    for _ in 0..600 {
        match Client::connect(address, Arc::clone(&credentials)).await {
            Ok(client) => return Ok(client),
            Err(fault) if fault.kind == FaultKind::Unreachable => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(fault) => return Err(fault.into()),
        }
    }
    bail!("the director at {address} does not come up")
}

/// An envoy that accepts everything and answers with a small update that it did not train.
struct Light {
    credentials: Arc<Credentials>,
    address: String,
    papers: PathBuf,
    hands: Arc<Semaphore>,
    bytes: Arc<AtomicU64>,
    layout: Option<(LayoutDigest, usize)>,
}

impl Light {
    async fn serve(mut self) -> Result<()> {
        let client = connect(&self.address, Arc::clone(&self.credentials)).await?;
        let mut attendance = client.attend("bench").await?;
        let mut done = std::collections::BTreeSet::new();
        while let Some(errands) = attendance.next().await? {
            for errand in errands.errands {
                if !done.insert(errand.paper) {
                    continue;
                }
                match self.run(&client, &errand).await {
                    // Its round was over before this envoy came to it.
                    Err(error)
                        if error
                            .downcast_ref::<Fault>()
                            .is_some_and(|fault| fault.kind == FaultKind::Unknown) => {}
                    other => other?,
                }
            }
        }
        Ok(())
    }

    async fn run(&mut self, client: &Client, errand: &Errand) -> Result<()> {
        let Paper {
            experiment,
            kind,
            number,
        } = errand.paper;
        let deliver = |kind, body: Vec<u8>| {
            let parcel = Parcel {
                experiment,
                kind,
                number,
                part: 0,
                bytes: body.len() as u64,
                sha256: Sha256::digest(&body).into(),
            };
            let body = Body::Memory(body.into());
            async move { client.deliver(&parcel, &body).await.map(drop) }
        };
        match kind {
            PaperKind::Offer => {
                let bytes = client.fetch_bytes(errand, MAX_DOCUMENT as u64).await?;
                let offer: Offer = serde_json::from_slice(&bytes)?;
                let plan = Plan::of(&offer.config, &offer.data)?;
                self.layout = Some((plan.layout, plan.parameters()));
                let layout = to_hex(&plan.layout.0);
                let answer = Answer::Accept {
                    examples: 100,
                    layout,
                };
                deliver(ParcelKind::Answer, serde_json::to_vec(&answer)?).await?;
            }
            PaperKind::Charter | PaperKind::Closing => {
                deliver(ParcelKind::Done, Vec::new()).await?
            }
            PaperKind::Message => {
                let _hand = self.hands.acquire().await?;
                client.fetch(errand, &self.papers).await?;
                std::fs::remove_file(&self.papers)?;
                let (layout, parameters) = self.layout.context("a message before an offer")?;
                let reply = ClientMessage::Reply(TrainReply {
                    round: u32::try_from(number >> 20)?,
                    layout,
                    examples: 100,
                    loss: Some(0.5),
                    update: vec![1e-3; parameters],
                });
                let bytes = reply.encode();
                let length = bytes.len() as u64;
                deliver(ParcelKind::Message, bytes).await?;
                self.bytes
                    .fetch_add(errand.bytes + length, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}
