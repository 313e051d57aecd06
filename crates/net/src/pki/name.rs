//! Names, and who they stand for.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use rustls_pki_types::ServerName;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The longest name: as long as a certificate's common name may be (RFC 5280, appendix A.1).
const LONGEST: usize = 64;

/// What goes before a federation's name in the URI of an [`Identity`].
const SCHEME: &str = "cloister://";

/// The name of a federation, a site or an operator: 1 to 64 letters, digits, `-`, `_` and `.` of ASCII, the first a
/// letter or digit and the last no dot, so that it can be the name of a folder anywhere and is never taken for a flag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Why a text is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is no {what}: {reason}")]
pub struct NameError {
    what: &'static str,
    text: String,
    reason: &'static str,
}

impl NameError {
    fn new(what: &'static str, text: &str, reason: &'static str) -> Self {
        // A hostile name must not fill the screen or steer the terminal.
        let text = text.chars().take(80).flat_map(char::escape_debug).collect();
        Self { what, text, reason }
    }
}

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let refused = |reason| Err(NameError::new("name", text, reason));
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if text.is_empty() || text.len() > LONGEST {
            return refused("it must have 1 to 64 characters");
        }
        if !text.bytes().all(allowed) {
            return refused("only letters, digits, '-', '_' and '.' of ASCII may be in it");
        }
        if !text.starts_with(|first: char| first.is_ascii_alphanumeric()) || text.ends_with('.') {
            return refused("it must begin with a letter or digit and not end with a dot");
        }
        if text == "director" {
            return refused("that is what the director is called");
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What somebody is in a federation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The director: there is one.
    Director,
    /// A site, beside its own data.
    Site(Name),
    /// A person or program that may submit experiments.
    Operator(Name),
}

impl FromStr for Role {
    type Err = NameError;

    /// `director`, `site/NAME`, `operator/NAME`, or `NAME` for a site.
    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split_once('/') {
            None if text == "director" => Ok(Self::Director),
            None => Ok(Self::Site(text.parse()?)),
            Some(("site", name)) => Ok(Self::Site(name.parse()?)),
            Some(("operator", name)) => Ok(Self::Operator(name.parse()?)),
            Some(_) => Err(NameError::new(
                "name",
                text,
                "expected NAME, site/NAME, operator/NAME or director",
            )),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Director => f.write_str("director"),
            Self::Site(name) => write!(f, "site/{name}"),
            Self::Operator(name) => write!(f, "operator/{name}"),
        }
    }
}

/// Who somebody is: a federation and a role in it, written `cloister://FEDERATION/ROLE`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Identity {
    /// The federation.
    pub federation: Name,
    /// What they are in it.
    pub role: Role,
}

impl Identity {
    /// The name in rosters of secure aggregation: SHA-256 of the URI, cut to 16 bytes.
    pub fn roster_name(&self) -> [u8; 16] {
        let hash: [u8; 32] = Sha256::digest(self.to_string()).into();
        let mut name = [0; 16];
        name.copy_from_slice(&hash[..16]);
        name
    }

    /// The last part: the name of a site or operator, or `director`.
    pub fn short(&self) -> &str {
        match &self.role {
            Role::Director => "director",
            Role::Site(name) | Role::Operator(name) => name.as_str(),
        }
    }
}

impl FromStr for Identity {
    type Err = NameError;

    /// Reads the URI strictly: one spelling for each identity.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let parts: Option<Vec<&str>> = text
            .strip_prefix(SCHEME)
            .map(|rest| rest.split('/').collect());
        let (federation, role) = match parts.as_deref() {
            Some([federation, "director"]) => (federation, Role::Director),
            Some([federation, "site", name]) => (federation, Role::Site(name.parse()?)),
            Some([federation, "operator", name]) => (federation, Role::Operator(name.parse()?)),
            _ => {
                let reason = "expected cloister://FEDERATION/ROLE";
                return Err(NameError::new("identity", text, reason));
            }
        };
        Ok(Self {
            federation: federation.parse()?,
            role,
        })
    }
}

impl TryFrom<String> for Identity {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Identity> for String {
    fn from(identity: Identity) -> Self {
        identity.to_string()
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.federation, self.role)
    }
}

/// Where the director is found: a DNS name or an IP address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Host(String);

impl Host {
    /// The names under which a director finds itself.
    pub fn local() -> [Self; 2] {
        ["localhost", "127.0.0.1"].map(|text| Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address, if it is none of the names.
    pub fn address(&self) -> Option<IpAddr> {
        self.0.parse().ok()
    }
}

impl FromStr for Host {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match ServerName::try_from(text) {
            Ok(_) if !text.ends_with('.') => Ok(Self(text.to_ascii_lowercase())),
            _ => Err(NameError::new(
                "host",
                text,
                "expected a DNS name or an IP address, without a port",
            )),
        }
    }
}

impl TryFrom<String> for Host {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Host> for String {
    fn from(host: Host) -> Self {
        host.0
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_safe_as_folders() {
        for good in ["a", "hospital-a", "7", "A.b_c-D", &"x".repeat(64)] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            ".",
            "..",
            ".a",
            "a.",
            "-a",
            "_a",
            "a/b",
            "../a",
            "a\\b",
            "a b",
            "a\0",
            "ä",
            "a%2e",
            "a\n",
            "director",
            &"x".repeat(65),
        ] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
        let error = "a\u{1b}[2J".parse::<Name>().unwrap_err().to_string();
        assert!(!error.contains('\u{1b}'), "{error}");
    }

    #[test]
    fn an_identity_has_one_spelling() {
        for text in [
            "cloister://f/director",
            "cloister://f/site/a",
            "cloister://f/operator/a",
        ] {
            assert_eq!(text.parse::<Identity>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "cloister://",
            "cloister://f",
            "cloister://f/",
            "cloister:///director",
            "cloister://f/director/",
            "cloister://f/site",
            "cloister://f/site/",
            "cloister://f/site/a/b",
            "cloister://f/site/..",
            "cloister://f/Site/a",
            "Cloister://f/site/a",
            "cloister://f/site/a ",
            "cloister://f//site/a",
            "cloister://f/site/a?x",
            "cloister://f/site/%61",
            "https://f/site/a",
            "cloister://f/authority",
            "cloister://u@f/director",
        ] {
            assert!(bad.parse::<Identity>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_name_in_a_roster_is_that_of_the_identity() {
        let identity: Identity = "cloister://f/site/a".parse().unwrap();
        let hash: [u8; 32] = Sha256::digest("cloister://f/site/a").into();
        assert_eq!(identity.roster_name(), hash[..16]);
    }

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for good in ["director.example.org", "10.0.0.1", "::1", "localhost"] {
            assert_eq!(good.parse::<Host>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "a b",
            "https://x",
            "x:443",
            "x.",
            "*.example.org",
            "ä.de",
        ] {
            assert!(bad.parse::<Host>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_parses_is_written_the_same(text in "\\PC{0,40}|cloister://[a-c./]{0,12}") {
            if let Ok(identity) = text.parse::<Identity>() {
                prop_assert_eq!(identity.to_string(), text);
            }
        }
    }
}
