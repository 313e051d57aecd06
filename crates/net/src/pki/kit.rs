//! A whole federation at once: the authority, and a kit for everybody in it.

use std::path::Path;

use super::authority::{Authority, Wish};
use super::certificate::{self_signed, to_pem};
use super::register::Register;
use super::{Fingerprint, Host, Name, PkiError, PrivateKey, Role, file_name, files};

/// A federation to be made.
#[derive(Clone, Debug)]
pub struct Federation {
    /// Its name.
    pub name: Name,
    /// The names of its sites.
    pub sites: Vec<Name>,
    /// The names of its operators.
    pub operators: Vec<Name>,
    /// Where the director is found, besides `localhost` and 127.0.0.1.
    pub hosts: Vec<Host>,
    /// For how many days certificates are valid.
    pub days: u16,
}

/// Makes the folder `dir`: the authority with its key, the director's kit, and a kit for each site and operator. The
/// fingerprint of the authority's key.
///
/// # Errors
/// [`PkiError::SameName`], [`PkiError::NotEmpty`], [`PkiError::Outlasts`]; a file that cannot be written. Then nothing
/// is there of it.
pub fn init(dir: &Path, federation: &Federation, now: u64) -> Result<Fingerprint, PkiError> {
    refuse_same(&federation.sites)?;
    refuse_same(&federation.operators)?;
    files::create_folder_with(dir, |dir| {
        let authority = new_authority(dir, &federation.name, now)?;
        let mut hosts = Host::local().to_vec();
        for host in &federation.hosts {
            if !hosts.contains(host) {
                hosts.push(host.clone());
            }
        }
        let folder = dir.join(file_name::DIRECTOR);
        let kit = |folder: &Path, role, hosts| {
            let days = federation.days;
            new_kit(folder, &authority, role, hosts, days, now)
        };
        let address = hosts.get(2).map_or("127.0.0.1", Host::as_str).to_owned();
        kit(&folder, Role::Director, hosts)?;
        let config = director_config(&federation.name);
        files::create(&folder.join(file_name::DIRECTOR_CONFIG), config.as_bytes())?;

        let sites = dir.join(file_name::SITES);
        files::create_folder(&sites)?;
        for site in &federation.sites {
            let folder = sites.join(site.as_str());
            kit(&folder, Role::Site(site.clone()), Vec::new())?;
            let config = envoy_config(&federation.name, site, &address);
            files::create(&folder.join(file_name::ENVOY_CONFIG), config.as_bytes())?;
        }
        let operators = dir.join(file_name::OPERATORS);
        files::create_folder(&operators)?;
        for operator in &federation.operators {
            let folder = operators.join(operator.as_str());
            kit(&folder, Role::Operator(operator.clone()), Vec::new())?;
            let director = with_port(&address);
            let config = crate::operator::template(&federation.name, operator, &director);
            files::create(&folder.join(crate::operator::FILE), config.as_bytes())?;
        }
        Ok(authority.register.fingerprint())
    })
}

fn refuse_same(names: &[Name]) -> Result<(), PkiError> {
    for (place, name) in names.iter().enumerate() {
        let name = name.as_str();
        let same = |earlier: &&Name| earlier.as_str().eq_ignore_ascii_case(name);
        if let Some(earlier) = names[..place].iter().find(same) {
            return Err(PkiError::SameName(earlier.to_string(), name.to_owned()));
        }
    }
    Ok(())
}

fn new_authority(dir: &Path, name: &Name, now: u64) -> Result<Authority, PkiError> {
    let folder = dir.join(file_name::AUTHORITY);
    files::create_folder(&folder)?;
    files::create_folder(&folder.join(file_name::ANSWERS))?;
    let key = PrivateKey::generate()?;
    let certificate = to_pem("CERTIFICATE", &self_signed(name, &key, now)?)?;
    files::create(&folder.join(file_name::CA), certificate.as_bytes())?;
    key.create(&folder.join(file_name::CA_KEY))?;
    let register = Register::open(dir)?;
    Ok(Authority { register, key })
}

/// A folder with the authority's certificate, a key and its certificate.
fn new_kit(
    folder: &Path,
    authority: &Authority,
    role: Role,
    hosts: Vec<Host>,
    days: u16,
    now: u64,
) -> Result<(), PkiError> {
    files::create_folder(folder)?;
    let key = PrivateKey::generate()?;
    key.create(&folder.join(file_name::KEY))?;
    let wish = Wish {
        role,
        key: key.public(),
        hosts,
        days,
        renew: false,
    };
    let issued = authority.issue(wish, now)?;
    let authority = authority.pem()?;
    files::create(&folder.join(file_name::CA), authority.as_bytes())?;
    let leaf = issued.pem.strip_suffix(&authority).unwrap_or(&issued.pem);
    files::create(&folder.join(file_name::CERTIFICATE), leaf.as_bytes())
}

fn director_config(federation: &Name) -> String {
    format!(
        "\
# The director of the federation {federation}. Beside this file are its certificate (cert.pem), the authority's (ca.pem) and its
# private key (key.pem), which must be readable by the director alone. Paths are relative to this folder.

federation = \"{federation}\"

{DIRECTOR_KEYS}"
    )
}

const DIRECTOR_KEYS: &str = "\
# Where envoys and operators call. The certificate names the hosts under which they may find it.
listen = \"0.0.0.0:8443\"

# The page with experiments and sites, /healthz and /metrics. For this machine only: it asks for no password.
page = \"127.0.0.1:8444\"

# Experiments, models, the audit log.
# state = \"state\"

# Experiments that are trained at the same time, and threads to work on.
# concurrent = 1
# threads = 2

# The data sets that experiments may name, one table each: what the examples at the sites look like ...
# [data.fraud]
# shape = [1, 1, 30]                  # channels, height, width; columns of a table
# classes = [\"honest\", \"fraud\"]

# ... or examples of the director's own to see it from. Their test part measures the model of each round.
# [data.heart-disease]
# test = {}                            # any key of an experiment's [data]; without path, a set inside the binary
# seed = 1
";

/// Where a director listens unless its config says otherwise.
fn with_port(host: &str) -> String {
    match host.contains(':') {
        true => format!("[{host}]:8443"),
        false => format!("{host}:8443"),
    }
}

/// The config of a site: what must stand in it, and the rest as comments.
pub(crate) fn envoy_config(federation: &Name, site: &Name, director: &str) -> String {
    let director = with_port(director);
    format!(
        "\
# The envoy of the site {site} in the federation {federation}. What stands here decides what this site takes part in; nobody
# else can. Beside this file are the site's certificate (cert.pem), the authority's (ca.pem) and the site's private key (key.pem),
# which must stay on this machine and be readable by the envoy alone. Paths are relative to this folder.

federation = \"{federation}\"
site = \"{site}\"

# Where the director is. The envoy calls it, and never the other way round: no port of this site need be open.
director = \"{director}\"

# Threads to mask updates on.
# threads = 2

{ENVOY_DATA}
{ENVOY_POLICY}"
    )
}

const ENVOY_DATA: &str = "\
# The site's examples, by the name that experiments use. Every key of an experiment's [data] may stand here. Without any
# table [data.NAME], the site takes part in nothing.
# [data.heart-disease]
# path = \"data/heart.csv\"
# label = \"num\"

# Of data of which this machine has the whole (a demonstration, a class): the rows of one client, as a simulation deals them.
# [data.heart-disease]
# partition = { kind = \"natural\" }
# share = { client = \"cleveland\", clients = 4, seed = 1 }
";

const ENVOY_POLICY: &str = "\
# What the site takes part in. What is left out is not limited; a cohort has at least 3 members unless this says otherwise.
# [policy]
# models = [\"logistic\", \"mlp\"]
# datasets = [\"heart-disease\"]
# operators = [\"olga\"]
# minimum_cohort = 3
# secure_aggregation = \"required\"       # the director sees sums of updates only; or \"optional\"
# recording = \"allow\"                   # the director may keep transcripts of rounds, or \"refuse\"; left out: of masked updates only
# mechanisms = [\"dp-sgd\"]               # one of these must be on
# max_rounds = 1000
# max_parameters = 10000000

# What follows when a model looks made to carry examples out: \"refuse\" to train it, \"warn\", or \"off\".
# [guard]
# mode = \"refuse\"

# What all experiments on a data set may cost together; they are on record in the folder ledger/.
# [policy.budget]
# epsilon = 8.0
# delta = 1e-5
";
