//! `cloister demo`: a whole federation on this machine, as it would stand at three hospitals.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args;
use cloister_net::director::Director;
use cloister_net::pki::{self, Federation, Use};
use cloister_net::transport::{Client, Credentials, Submission};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::commands::director::{runtime, stopped};
use crate::commands::operator::follow;
use crate::failure::Usage;
use crate::output;

/// The hospitals of the bundled set that take part.
const SITES: [&str; 3] = ["cleveland", "hungarian", "va"];
/// What is trained.
const EXPERIMENT: &str = include_str!("demo/experiment.toml");

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// A folder to keep all of it in [default: a temporary one, gone afterwards]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The port of the page, on this machine only [default: any that is free]
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 0,
        hide_default_value = true
    )]
    port: u16,
    /// End when the experiment has, instead of keeping the page open
    #[arg(long)]
    once: bool,
}

pub(crate) fn run(args: &DemoArgs) -> Result<()> {
    let temporary;
    let dir = match &args.dir {
        Some(dir) if dir.exists() => {
            bail!(Usage(format!(
                "{} is there already; give another --dir",
                dir.display()
            )));
        }
        Some(dir) => dir.clone(),
        None => {
            temporary = tempfile::tempdir().context("cannot make a temporary folder")?;
            temporary.path().join("demo")
        }
    };
    runtime()?.block_on(demonstrate(args, &dir))
}

async fn demonstrate(args: &DemoArgs, dir: &Path) -> Result<()> {
    output::note("a federation with keys and certificates of its own ...");
    make(dir, args.port)?;
    let (end, ended) = watch::channel(false);
    let director = Director::bind(&dir.join(pki::file_name::DIRECTOR), |_| {}).await?;
    let calls = director.address()?;
    let page = director.page_address()?;
    let mut parts = JoinSet::new();
    let mut stop = ended.clone();
    parts.spawn(async move {
        let ended = async move {
            // An end that nobody can announce any more has come.
            let _ = stop.wait_for(|ended| *ended).await;
        };
        director.run(ended).await.context("the director")
    });
    for site in SITES {
        let folder = dir.join(pki::file_name::SITES).join(site);
        place(&folder.join(pki::file_name::ENVOY_CONFIG), calls)?;
        let mut stop = ended.clone();
        parts.spawn(async move {
            let ended = async move {
                let _ = stop.wait_for(|ended| *ended).await;
            };
            let served = cloister_net::envoy::attend(&folder, |_| {}, ended).await;
            served.with_context(|| format!("the envoy of {site}"))
        });
    }
    if let Some(page) = page {
        output::note(&format!(
            "a director and the envoys of {} are up; watch them at http://{page}",
            SITES.join(", ")
        ));
    }
    let outcome = tokio::select! {
        done = train(dir, calls) => done,
        () = stopped() => Ok(()),
        Some(part) = parts.join_next() => match part {
            Ok(Ok(())) => bail!("a part of the demonstration ended too early"),
            Ok(Err(error)) => Err(error),
            Err(error) => Err(error.into()),
        },
    };
    if outcome.is_ok() && !args.once {
        if let Some(page) = page {
            output::note(&format!(
                "the page stays at http://{page} until Ctrl-C; the report is one click away"
            ));
        }
        stopped().await;
    }
    // Nobody listens if all have ended by themselves.
    let _ = end.send(true);
    while parts.join_next().await.is_some() {}
    outcome
}

/// The federation's folders.
fn make(dir: &Path, port: u16) -> Result<()> {
    let name = |text: &str| text.parse::<pki::Name>();
    let sites: Result<Vec<_>, _> = SITES.iter().map(|site| name(site)).collect();
    let federation = Federation {
        name: name("demo")?,
        sites: sites?,
        operators: vec![name("you")?],
        hosts: Vec::new(),
        days: pki::DEFAULT_DAYS,
    };
    pki::init(dir, &federation, cloister_net::clock::unix_now())?;
    let director = dir
        .join(pki::file_name::DIRECTOR)
        .join(pki::file_name::DIRECTOR_CONFIG);
    let config = format!(
        "federation = \"demo\"\nlisten = \"127.0.0.1:0\"\npage = \"127.0.0.1:{port}\"\n\n[data.heart-disease]\ntest = {{}}\n"
    );
    std::fs::write(&director, config)
        .with_context(|| format!("cannot write {}", director.display()))?;
    for site in SITES {
        let config = dir
            .join(pki::file_name::SITES)
            .join(site)
            .join(pki::file_name::ENVOY_CONFIG);
        let words = format!(
            "federation = \"demo\"\nsite = \"{site}\"\ndirector = \"DIRECTOR\"\n\n[data.heart-disease]\npartition = {{ kind = \"natural\" }}\nshare = {{ client = \"{site}\" }}\n"
        );
        std::fs::write(&config, words)
            .with_context(|| format!("cannot write {}", config.display()))?;
    }
    Ok(())
}

/// Tells an envoy where the director is, now that it is known.
fn place(config: &Path, director: SocketAddr) -> Result<()> {
    let words = std::fs::read_to_string(config)?;
    Ok(std::fs::write(
        config,
        words.replace("DIRECTOR", &director.to_string()),
    )?)
}

async fn train(dir: &Path, director: SocketAddr) -> Result<()> {
    let kit = dir.join(pki::file_name::OPERATORS).join("you");
    let credentials = Arc::new(Credentials::load(&kit, Use::Client)?);
    let client = Client::connect(&director.to_string(), credentials).await?;
    let submission = Submission {
        request: cloister_net::operator::request()?,
        config: EXPERIMENT.to_owned(),
        sites: SITES.map(str::to_owned).to_vec(),
        minimum: 0,
    };
    let submitted = client.submit(submission).await?;
    follow(&client, submitted.experiment, false).await
}
