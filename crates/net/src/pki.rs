//! Keys and certificates: who is who in a deployment.
//!
//! A federation has one authority, which signs with Ed25519. It certifies a director, sites and operators, each with an
//! Ed25519 key of its own, so that the key of a site's certificate also signs its messages of secure aggregation and the
//! roster of [`Authority::roster`] follows from the certificates. Who somebody is stands in the certificate, as a URI among the
//! subject's alternative names (RFC 5280, section 4.2.1.6): `cloister://FEDERATION/director`, `.../site/NAME` or
//! `.../operator/NAME`; see [`Identity`] and [`Leaf::of`].
//!
//! One key signs certificates, TLS handshakes and rosters, a director's also its audit log. What is signed never coincides:
//! a certificate begins with the DER tag 0x30, a handshake of TLS 1.3 with 64 blanks (RFC 8446, section 4.4.3), what secure
//! aggregation signs with `flsa1-sig`, and a line of the audit log with `cloister-audit-v1`.
//!
//! The folders: [`init`] makes all of a federation at once; [`enroll`], [`Authority::sign`] and [`install`] certify a
//! site whose private key never leaves it. Time is in seconds since 1970 and passed in everywhere.

mod authority;
mod certificate;
mod enrolment;
mod error;
mod files;
mod key;
mod kit;
mod name;
mod register;
mod roster;

pub use authority::{Authority, Issued};
pub use certificate::{Leaf, Use, is_for, verify};
pub use enrolment::{Installed, Request, enroll, install, renewal};
pub use error::PkiError;
pub use key::{Fingerprint, PrivateKey, PublicKey};
pub use kit::{Federation, init};
pub use name::{Host, Identity, Name, NameError, Role};
pub use register::{Denial, DenyList, Record, Register, Standing, Status};
pub use roster::SignedRoster;

/// Days that a certificate of a director, site or operator is valid for where nothing else is asked for.
pub const DEFAULT_DAYS: u16 = 30;

/// The names of files in the folders of a federation.
pub mod file_name {
    /// The folder of the authority.
    pub const AUTHORITY: &str = "authority";
    /// The folder of the director's kit.
    pub const DIRECTOR: &str = "director";
    /// The folder of the sites' kits.
    pub const SITES: &str = "sites";
    /// The folder of the operators' kits.
    pub const OPERATORS: &str = "operators";
    /// The authority's certificate.
    pub const CA: &str = "ca.pem";
    /// The authority's private key.
    pub const CA_KEY: &str = "ca-key.pem";
    /// What was issued: one [`Record`](super::Record) a line.
    pub const ISSUED: &str = "issued.jsonl";
    /// The issued certificates, each with the authority's behind it.
    pub const ANSWERS: &str = "issued";
    /// What is denied: one [`Denial`](super::Denial) a line.
    pub const DENIED: &str = "denied.jsonl";
    /// Held by whoever writes into the authority's folder.
    pub const LOCK: &str = "lock";
    /// A certificate.
    pub const CERTIFICATE: &str = "cert.pem";
    /// A private key.
    pub const KEY: &str = "key.pem";
    /// A request for a certificate.
    pub const REQUEST: &str = "request.pem";
    /// The director's config.
    pub const DIRECTOR_CONFIG: &str = "director.toml";
    /// A site's config.
    pub const ENVOY_CONFIG: &str = "envoy.toml";
}

/// `2026-11-21 20:05 UTC`
pub fn date(seconds: u64) -> String {
    let time = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok());
    match time {
        Some(time) => format!(
            "{:04}-{:02}-{:02} {:02}:{:02} UTC",
            time.year(),
            u8::from(time.month()),
            time.day(),
            time.hour(),
            time.minute()
        ),
        None => format!("second {seconds}"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates_read_well() {
        assert_eq!(super::date(0), "1970-01-01 00:00 UTC");
        assert_eq!(super::date(1_795_291_551), "2026-11-21 20:05 UTC");
        assert_eq!(super::date(u64::MAX), format!("second {}", u64::MAX));
    }
}
