//! What schedules begin with: sites that have their charter, and a director that has an experiment to train.

use std::fs;
use std::path::{Path, PathBuf};

use cloister_host::to_hex;
use cloister_secagg::Identity;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tempfile::TempDir;

use crate::envoy::Envoy;
use crate::experiment::{Answer, Charter, Contract, Member, Offer, State};
use crate::pki::{self, Name, PrivateKey};
use crate::plan::{digest, read};
use crate::store::{AnswerRecord, ExperimentRecord, Store};
use crate::transport::{Body, Receipt};

/// A day in the winter of 2025.
const NOW: u64 = 1_765_000_000;
/// Virtual time begins two days after the certificates do.
pub(super) const BEGIN: u64 = (NOW + 2 * 86_400) * 1000;
/// Examples of a site.
const ROWS: usize = 40;
/// Rounds of every experiment.
pub(super) const ROUNDS: u32 = 3;

/// Whose releases a director's ledger has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spent {
    Nothing,
    ByRound,
    BySite,
}

/// An experiment of which schedules are made.
#[derive(Debug)]
pub(super) struct Mixture {
    pub(super) name: &'static str,
    pub(super) sites: usize,
    /// `[federation]` beside the rounds, and the tables behind `[train]`.
    federation: &'static str,
    more: &'static str,
    pub(super) deadline: bool,
    pub(super) masked: bool,
    pub(super) spent: Spent,
}

impl Mixture {
    const fn plain(name: &'static str, sites: usize, more: &'static str) -> Self {
        Self {
            name,
            sites,
            federation: "",
            more,
            deadline: false,
            masked: false,
            spent: Spent::Nothing,
        }
    }

    const fn hurried(self) -> Self {
        Self {
            federation: "deadline = 60\n",
            deadline: true,
            ..self
        }
    }

    /// Whether two runs over the same updates end in the same bits.
    pub(super) fn is_exact(&self) -> bool {
        self.spent == Spent::Nothing
    }
}

const MEDIAN: &str = "[aggregation]\nrule = \"median\"\n";
const TOP_K: &str = "client_momentum = 0.5\n[communication]\nupdate = \"top-k\"\nkeep = 0.4\n";
const MASKED: &str = "[secure_aggregation]\nminimum_cohort = 3\n";
const CENTRAL: &str = "[aggregation]\nweights = \"uniform\"\n[privacy]\nmechanism = \"central-gaussian\"\n\
    noise_multiplier = 4.0\ndelta = 1e-5\n";
const DP_SGD: &str =
    "[privacy]\nmechanism = \"dp-sgd\"\nnoise_multiplier = 1.5\ndelta = 1e-5\nclip = 1.0\n";
const COINS: &str = "fraction = 0.7\nsampling = \"poisson\"\n";

const fn central(federation: &'static str) -> Mixture {
    Mixture {
        federation,
        spent: Spent::ByRound,
        ..Mixture::plain("central-gaussian", 3, CENTRAL)
    }
}

const fn masked() -> Mixture {
    Mixture {
        masked: true,
        ..Mixture::plain("masked", 3, MASKED)
    }
}

const fn dp_sgd() -> Mixture {
    Mixture {
        spent: Spent::BySite,
        ..Mixture::plain("dp-sgd", 2, DP_SGD)
    }
}

pub(super) const MIXTURES: [Mixture; 12] = [
    Mixture::plain("mean", 2, ""),
    Mixture::plain("mean, deadline", 4, "").hurried(),
    Mixture::plain("median", 3, MEDIAN),
    Mixture::plain("median, deadline", 3, MEDIAN).hurried(),
    masked(),
    masked().hurried(),
    central(""),
    central(COINS),
    central("").hurried(),
    dp_sgd(),
    Mixture::plain("top-k", 3, TOP_K),
    Mixture::plain("top-k, deadline", 2, TOP_K).hurried(),
];

/// Where folders cost the least.
fn scratch() -> TempDir {
    let shared = Path::new("/dev/shm");
    let made = match shared.is_dir() {
        true => tempfile::tempdir_in(shared),
        false => tempfile::tempdir(),
    };
    made.or_else(|_| tempfile::tempdir()).unwrap()
}

/// Copies a folder with all that is in it.
pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let place = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &place),
            false => drop(fs::copy(entry.path(), place).unwrap()),
        }
    }
}

pub(super) fn bytes_of(body: &Body) -> Vec<u8> {
    match body {
        Body::Memory(bytes) => bytes.to_vec(),
        Body::File(path) => fs::read(path).unwrap(),
    }
}

/// The state of all folders when the first round is about to begin.
pub(super) struct Template {
    pub(super) mixture: &'static Mixture,
    around: TempDir,
    pub(super) id: u64,
    pub(super) names: Vec<String>,
    pub(super) charter: Vec<u8>,
    pub(super) authority: Vec<u8>,
    pub(super) certificate: Vec<u8>,
    pub(super) identity: Identity,
    pub(super) federation: Name,
}

impl Template {
    pub(super) fn new(mixture: &'static Mixture) -> Self {
        let around = scratch();
        let names: Vec<String> = (0..mixture.sites)
            .map(|site| format!("site-{site}"))
            .collect();
        let clinics = around.path().join("clinics");
        let federation: Name = "clinics".parse().unwrap();
        let members = pki::Federation {
            name: federation.clone(),
            sites: names.iter().map(|site| site.parse().unwrap()).collect(),
            operators: vec!["olga".parse().unwrap()],
            hosts: Vec::new(),
            days: 30,
        };
        pki::init(&clinics, &members, NOW).unwrap();
        let der = |path: &str| {
            CertificateDer::from_pem_file(clinics.join(path))
                .unwrap()
                .to_vec()
        };
        let key = PrivateKey::read(&clinics.join("director/key.pem")).unwrap();
        let mut template = Self {
            mixture,
            id: 1,
            charter: Vec::new(),
            authority: der("authority/ca.pem"),
            certificate: der("director/cert.pem"),
            identity: key.secagg(),
            federation,
            names,
            around,
        };
        template.begin();
        template
    }

    pub(super) fn site(&self, place: usize) -> PathBuf {
        self.around
            .path()
            .join("clinics/sites")
            .join(&self.names[place])
    }

    fn state(&self) -> PathBuf {
        self.around.path().join("state")
    }

    /// Folders of its own for a schedule.
    pub(super) fn settle(&self) -> TempDir {
        let folder = scratch();
        copy(&self.state(), &folder.path().join("director-0"));
        for place in 0..self.names.len() {
            copy(
                &self.site(place),
                &folder.path().join(format!("site-{place}-0")),
            );
        }
        folder
    }

    /// Offer, answers, charter.
    fn begin(&mut self) {
        let offer = self.offer();
        let mut members = Vec::new();
        let mut answers = Vec::new();
        for place in 0..self.names.len() {
            self.configure(place);
            let envoy = Envoy::open(&self.site(place)).unwrap();
            envoy
                .offer(&serde_json::to_vec(&offer).unwrap(), NOW)
                .unwrap();
            let pending = envoy.outbox().unwrap().remove(0);
            envoy.receipt(&pending.parcel, &Receipt::Taken).unwrap();
            let answer: Answer = serde_json::from_slice(&bytes_of(&pending.body)).unwrap();
            let Answer::Accept { examples, .. } = answer else {
                panic!("{answer:?}");
            };
            let path = self.site(place).join("cert.pem");
            let certificate = to_hex(&CertificateDer::from_pem_file(path).unwrap());
            members.push(Member {
                site: self.names[place].clone(),
                client: place as u32,
                examples,
                certificate: certificate.clone(),
            });
            answers.push(AnswerRecord {
                answer,
                certificate,
                when: NOW,
            });
        }
        let charter = Charter {
            experiment: self.id,
            config_sha256: digest(offer.config.as_bytes()),
            members,
            director: to_hex(&self.certificate),
        };
        self.charter = serde_json::to_vec(&charter).unwrap();
        for place in 0..self.names.len() {
            let envoy = Envoy::open(&self.site(place)).unwrap();
            envoy
                .charter(&self.charter, &self.authority, &self.certificate, NOW)
                .unwrap();
            let pending = envoy.outbox().unwrap().remove(0);
            envoy.receipt(&pending.parcel, &Receipt::Taken).unwrap();
        }
        let store = Store::open(&self.state(), &self.federation).unwrap();
        store.submit(&[7; 16], self.record(&offer)).unwrap();
        for (name, answer) in self.names.iter().zip(answers) {
            store.answer(self.id, name, answer).unwrap();
        }
        store.charter(self.id, &charter).unwrap();
    }

    fn record(&self, offer: &Offer) -> ExperimentRecord {
        ExperimentRecord {
            id: 0,
            name: self.mixture.name.to_owned(),
            operator: "olga".to_owned(),
            submitted: NOW,
            config: offer.config.clone(),
            contract: offer.data.clone(),
            sites: self.names.clone(),
            minimum: self.names.len() as u32,
            rounds: ROUNDS,
            state: State::Offered,
            reason: String::new(),
            answers: Default::default(),
            charter: None,
            run: String::new(),
        }
    }

    fn offer(&self) -> Offer {
        let Mixture {
            federation, more, ..
        } = self.mixture;
        let text = format!(
            "[data]\ndataset = \"tiny\"\npath = \"tiny.csv\"\n[federation]\nrounds = {ROUNDS}\n{federation}\
             [model]\nkind = \"logistic\"\n\
             [train]\nepochs = 1\nbatch_size = 16\nlearning_rate = 0.05\n{more}"
        );
        let (experiment, _) = read(&text).unwrap();
        Offer {
            federation: self.federation.to_string(),
            experiment: self.id,
            operator: "olga".to_owned(),
            config: experiment.resolved_toml().unwrap(),
            data: Contract {
                dataset: "tiny".to_owned(),
                shape: [1, 1, 4],
                classes: vec!["no".to_owned(), "yes".to_owned()],
            },
            sites: self.names.clone(),
            minimum: 0,
        }
    }

    /// The config of a site and its few examples.
    fn configure(&self, place: usize) {
        let name = &self.names[place];
        let text = format!(
            "federation = \"clinics\"\nsite = \"{name}\"\ndirector = \"localhost:8443\"\n\
             [data.tiny]\npath = \"tiny.csv\"\nlabel = \"label\"\n[policy]\nminimum_cohort = 1\n"
        );
        fs::write(self.site(place).join("envoy.toml"), text).unwrap();
        let mut table = "a,b,c,d,label\n".to_owned();
        for row in 0..ROWS + 4 * place {
            let cell = |column: usize| (row * (7 + 2 * column) + 3 * place + column) % 23;
            let is_yes = cell(0) + cell(1) > cell(2) + 10;
            let label = if is_yes { "yes" } else { "no" };
            let cells: Vec<String> = (0..4).map(|column| format!("{}.5", cell(column))).collect();
            table += &format!("{},{label}\n", cells.join(","));
        }
        fs::write(self.site(place).join("tiny.csv"), table).unwrap();
    }
}
