//! `cloister federation init | sign | renew | revoke | list`

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, Subcommand};
use cloister_net::clock::unix_now;
use cloister_net::pki::{
    self, Authority, DEFAULT_DAYS, Federation, Fingerprint, Host, Identity, Issued, Name, PkiError,
    Register, Request, Role, Status,
};
use serde_json::json;

use crate::failure::Usage;
use crate::output;

#[derive(Debug, Subcommand)]
pub(crate) enum FederationCommand {
    /// Make a federation: an authority, and a kit with a key and a certificate for everybody
    Init(InitArgs),
    /// Answer a site's request for a certificate, after comparing its fingerprint
    Sign(SignArgs),
    /// Certify the newest key of a name for longer
    Renew(RenewArgs),
    /// Deny all certificates of a name
    Revoke(RevokeArgs),
    /// Who has which certificate until when, and who is denied
    List {
        /// The folder of the federation
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The folder to make
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The sites; further ones can be enrolled later
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', required = true)]
    sites: Vec<Name>,
    /// The federation's name [default: that of the folder]
    #[arg(long, value_name = "NAME")]
    name: Option<Name>,
    /// Those who may submit experiments
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    operators: Vec<Name>,
    /// A DNS name or IP address of the director, besides localhost and 127.0.0.1; may be given several times
    #[arg(long, value_name = "HOST")]
    director_host: Vec<Host>,
    #[command(flatten)]
    days: Days,
}

#[derive(Debug, Args)]
struct Days {
    /// Days that certificates are valid for
    #[arg(long, value_name = "N", default_value_t = DEFAULT_DAYS,
        value_parser = clap::value_parser!(u16).range(1..))]
    days: u16,
}

#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// The folder of the federation
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The request that `cloister envoy enroll` has made
    #[arg(value_name = "REQUEST")]
    request: PathBuf,
    /// The fingerprint as the site tells it, by another way than the request came [default: asks on a terminal]
    #[arg(long, value_name = "F")]
    fingerprint: Option<Fingerprint>,
    /// The site has a certificate that is valid, and this is to follow it
    #[arg(long)]
    renew: bool,
    #[command(flatten)]
    days: Days,
}

#[derive(Debug, Args)]
pub(crate) struct RenewArgs {
    /// The folder of the federation
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// director, operator/NAME, site/NAME, or NAME for a site
    #[arg(value_name = "NAME")]
    name: Role,
    #[command(flatten)]
    days: Days,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// The folder of the federation
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// director, operator/NAME, site/NAME, or NAME for a site
    #[arg(value_name = "NAME")]
    name: Role,
    /// Why, for the deny list
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

pub(crate) fn run(command: &FederationCommand) -> Result<()> {
    let now = unix_now();
    match command {
        FederationCommand::Init(args) => init(args, now),
        FederationCommand::Sign(args) => sign(args, now),
        FederationCommand::Renew(args) => {
            let authority = Authority::open(&args.dir)?;
            let issued = authority
                .renew(&args.name, args.days.days, now)
                .map_err(usage)?;
            say_issued(&issued, &authority)
        }
        FederationCommand::Revoke(args) => revoke(args, now),
        FederationCommand::List { dir, json } => list(dir, *json, now),
    }
}

fn init(args: &InitArgs, now: u64) -> Result<()> {
    let name = match &args.name {
        Some(name) => name.clone(),
        None => name_of(&args.dir)?,
    };
    let federation = Federation {
        name,
        sites: args.sites.clone(),
        operators: args.operators.clone(),
        hosts: args.director_host.clone(),
        days: args.days.days,
    };
    let authority = pki::init(&args.dir, &federation, now).map_err(usage)?;
    let dir = args.dir.display();
    output::note(&format!(
        "federation {}: {} sites, {} operators, certificates for {} days\n\
         {dir}/authority stays with you, offline if it can; carry {dir}/director, {dir}/sites/NAME and \
         {dir}/operators/NAME to their places and delete them here\n\
         the authority's fingerprint, for the sites to compare:",
        federation.name,
        federation.sites.len(),
        federation.operators.len(),
        federation.days,
    ));
    output::print(&authority.to_string())
}

/// The name of the folder, if a federation can be called so.
fn name_of(dir: &Path) -> Result<Name> {
    let name = dir.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.parse().ok()).ok_or_else(|| {
        let reason = format!("{} is no name for a federation: give --name", dir.display());
        Usage(reason).into()
    })
}

fn sign(args: &SignArgs, now: u64) -> Result<()> {
    let authority = Authority::open(&args.dir)?;
    let request = Request::read(&args.request)?;
    let told = match args.fingerprint {
        Some(told) => told,
        None => ask(&request)?,
    };
    let issued = authority.sign(&request, &told, args.renew, args.days.days, now);
    let issued = issued.map_err(|error| match error {
        PkiError::Living { .. } => {
            Usage(format!("{error}: --renew, if the site has asked for it")).into()
        }
        error => usage(error),
    })?;
    say_issued(&issued, &authority)
}

/// Asks whether the fingerprint of the request is what the site has told.
fn ask(request: &Request) -> Result<Fingerprint> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let reason = "give --fingerprint: this is no terminal to ask on";
        return Err(Usage(reason.into()).into());
    }
    let print = request.key.fingerprint();
    output::note(&format!(
        "request of the site {}, its key's fingerprint:\n{print}",
        request.site
    ));
    let mut stderr = io::stderr();
    write!(stderr, "has the site told you the same? [yes/no] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    match answer.trim() {
        "yes" => Ok(print),
        _ => anyhow::bail!("nothing was signed: the answer was not 'yes'"),
    }
}

/// Where the answer lies goes to stdout.
fn say_issued(issued: &Issued, authority: &Authority) -> Result<()> {
    output::note(&format!(
        "{} has a certificate until {}, serial number {}\n\
         carry this file to it, for `cloister envoy install`; the authority's fingerprint is\n{}",
        issued.record.name,
        pki::date(issued.record.until),
        issued.record.serial,
        authority.register().fingerprint(),
    ));
    output::print(&issued.path.display().to_string())
}

fn revoke(args: &RevokeArgs, now: u64) -> Result<()> {
    let register = Register::open(&args.dir)?;
    let name = Identity {
        federation: register.federation().clone(),
        role: args.name.clone(),
    };
    let count = register.revoke(&name, &args.reason, now)?;
    let list = args.dir.join(pki::file_name::AUTHORITY);
    output::note(&format!(
        "{name} is denied: {count} certificates, in {}",
        list.join(pki::file_name::DENIED).display()
    ));
    Ok(())
}

fn list(dir: &Path, json: bool, now: u64) -> Result<()> {
    let register = Register::open(dir)?;
    let standings = register.standings(now)?;
    if json {
        return output::print_json(&json!({
            "federation": register.federation(),
            "authority": { "fingerprint": register.fingerprint(), "until": register.until() },
            "certificates": standings,
        }));
    }
    output::note(&format!(
        "federation {}, its authority until {}, fingerprint\n{}",
        register.federation(),
        pki::date(register.until()),
        register.fingerprint(),
    ));
    let mut table = output::table(&["name", "status", "until", "serial number", "why"]);
    for standing in standings {
        let record = standing.record;
        let status = match standing.status {
            Status::Valid => "valid",
            Status::Expired => "expired",
            Status::Denied => "denied",
        };
        let why = match standing.denial {
            Some(denial) => denial.reason.escape_debug().to_string(),
            None => String::new(),
        };
        table.add_row([
            record.name.role.to_string(),
            status.into(),
            pki::date(record.until),
            record.serial,
            why,
        ]);
    }
    output::print(&output::lines(&table))
}

/// Other arguments would do.
fn usage(error: PkiError) -> anyhow::Error {
    if error.is_usage() {
        return Usage(error.to_string()).into();
    }
    error.into()
}
