//! `cloister audit-log verify`

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use cloister_net::audit::{self, Verified};
use cloister_net::pki;

use crate::output;

#[derive(Debug, Subcommand)]
pub(crate) enum AuditLogCommand {
    /// Check that no line of a director's audit log was changed, inserted, moved or taken out
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The audit log
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The authority's certificate, so that the log is known to be the director's
    #[arg(long, value_name = "PEM")]
    ca: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: &AuditLogCommand) -> Result<()> {
    let AuditLogCommand::Verify(args) = command;
    let ca = args.ca.as_deref().map(audit::authority).transpose()?;
    let verified = audit::verify(&args.file, ca.as_deref())?;
    if args.json {
        return output::print_json(&verified);
    }
    say(&verified);
    output::print(&verified.head)
}

/// The hash of the last line goes to stdout, for whoever keeps it.
fn say(verified: &Verified) {
    output::note(&format!(
        "federation {}: {} lines from {} to {}, none changed",
        verified.federation,
        verified.lines,
        pki::date(verified.first),
        pki::date(verified.last),
    ));
    for key in &verified.keys {
        output::note(&format!(
            "from line {} on signed by the key\n{}",
            key.line, key.fingerprint
        ));
    }
    if !verified.certified {
        output::warning(
            "whether the keys are the director's was not checked: give --ca, or compare the fingerprints",
        );
    }
    for line in &verified.gaps {
        output::warning(&format!(
            "line {line} tells of one before it that a crash had cut off"
        ));
    }
    output::note(
        "lines missing at the end do not show by themselves: compare the hash of the last line with one that \
         was kept elsewhere; it is",
    );
}
