//! `cloister envoy`, `cloister envoy enroll | install`

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use cloister_net::clock::unix_now;
use cloister_net::pki::{self, Fingerprint, Name, PkiError};

use crate::commands::director::{runtime, stopped};
use crate::failure::Usage;
use crate::output;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub(crate) struct EnvoyArgs {
    #[command(subcommand)]
    command: Option<EnvoyCommand>,
    /// Serve the site of this folder, which has its key, certificate and envoy.toml
    #[arg(long, value_name = "DIR", required = true)]
    dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EnvoyCommand {
    /// Make a key at a site, and a request for a certificate; the key never leaves the folder
    Enroll(EnrollArgs),
    /// Put the authority's answer in its place, after checking that it fits
    Install(InstallArgs),
}

#[derive(Debug, Args)]
pub(crate) struct EnrollArgs {
    /// The folder to make
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The site's name, as the federation knows it
    #[arg(long, value_name = "NAME")]
    site: Name,
    /// The folder is there: ask again for the key in it
    #[arg(long)]
    renew: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InstallArgs {
    /// The folder of the key
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The file that `cloister federation sign` or `renew` has made
    #[arg(value_name = "CERT")]
    certificate: PathBuf,
    /// The fingerprint of the federation's authority, as its operator tells it
    #[arg(long, value_name = "F")]
    authority: Option<Fingerprint>,
}

pub(crate) fn run(args: &EnvoyArgs) -> Result<()> {
    match (&args.command, &args.dir) {
        (Some(EnvoyCommand::Enroll(args)), _) => enroll(args),
        (Some(EnvoyCommand::Install(args)), _) => install(args),
        (None, Some(dir)) => {
            runtime()?.block_on(cloister_net::envoy::attend(dir, output::log, stopped()))?;
            output::log("stopped; what was begun goes on when the envoy is started again");
            Ok(())
        }
        (None, None) => Err(Usage("give --dir, or one of the commands".to_owned()).into()),
    }
}

fn enroll(args: &EnrollArgs) -> Result<()> {
    let fingerprint = match args.renew {
        true => pki::renewal(&args.dir, &args.site)?,
        false => pki::enroll(&args.dir, &args.site).map_err(|error| match error {
            PkiError::NotEmpty(_) => anyhow::Error::from(Usage(format!(
                "{error}: --renew, to ask again for the key in it"
            ))),
            error => error.into(),
        })?,
    };
    output::note(&format!(
        "send {} to the federation's operator, and tell them by another way, as on the telephone, the fingerprint:",
        args.dir.join(pki::file_name::REQUEST).display()
    ));
    output::print(&fingerprint.to_string())
}

fn install(args: &InstallArgs) -> Result<()> {
    let known = args.dir.join(pki::file_name::CA).exists();
    let installed = pki::install(
        &args.dir,
        &args.certificate,
        args.authority.as_ref(),
        unix_now(),
    )?;
    output::note(&format!(
        "{} has a certificate until {} in {}",
        installed.leaf.identity,
        pki::date(installed.leaf.until),
        args.dir.display(),
    ));
    if !known && args.authority.is_none() {
        output::warning(&format!(
            "nobody has vouched for the authority: compare its fingerprint with the federation's operator\n{}",
            installed.authority
        ));
    }
    Ok(())
}
