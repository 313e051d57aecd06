//! A federation of four hospitals, each with its own folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cloister_config::Experiment;
use cloister_host::to_hex;
use cloister_net::envoy::Envoy;
use cloister_net::experiment::{Answer, Charter, Closing, Contract, Member, Offer, State};
use cloister_net::pki::{self, PrivateKey};
use cloister_net::plan::{Plan, digest};
use cloister_net::transport::{Body, Parcel, ParcelKind, Receipt};
use cloister_protocol::message::LayoutDigest;
use cloister_protocol::{
    ClientId, Purpose, Server, ServerEvent, ServerOutput, ServerSettings, Streams,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// A day in the winter of 2025.
pub(crate) const NOW: u64 = 1_765_000_000;

/// The owners of heart-disease, in the order of the data.
pub(crate) fn owners() -> Vec<String> {
    let data = cloister_data::load(&cloister_data::DataConfig::bundled("heart-disease"), 1);
    data.unwrap().train.sites().unwrap().names.clone()
}

/// The rounds and the training that most tests use, and a model.
pub(crate) const SMALL: &str = "[data]\ndataset = \"heart-disease\"\npartition = { kind = \"natural\" }\n\
    [federation]\nrounds = 3\n[model]\nkind = \"logistic\"\n\
    [train]\nepochs = 1\nbatch_size = 16\nlearning_rate = 0.05\n";

pub(crate) fn experiment(text: &str) -> Experiment {
    let parsed = cloister_config::parse(text.to_owned(), Path::new("t.toml"), &[], None);
    parsed.unwrap().experiment
}

/// A federation with its folders.
pub(crate) struct House {
    pub(crate) around: tempfile::TempDir,
    pub(crate) sites: Vec<String>,
}

impl House {
    /// Four hospitals, whose `envoy.toml` ends with `policy`.
    pub(crate) fn new(policy: &str) -> Self {
        let around = tempfile::tempdir().unwrap();
        let sites: Vec<String> = (0..4).map(|place| format!("site-{place}")).collect();
        let federation = pki::Federation {
            name: "clinics".parse().unwrap(),
            sites: sites.iter().map(|site| site.parse().unwrap()).collect(),
            operators: vec!["olga".parse().unwrap()],
            hosts: Vec::new(),
            days: 30,
        };
        pki::init(&around.path().join("clinics"), &federation, NOW).unwrap();
        let house = Self { around, sites };
        for (place, owner) in owners().iter().enumerate() {
            house.configure(place, owner, policy);
        }
        house
    }

    pub(crate) fn configure(&self, place: usize, owner: &str, policy: &str) {
        let text = format!(
            "federation = \"clinics\"\nsite = \"site-{place}\"\n\
             director = \"localhost:8443\"\n\
             [data.heart-disease]\npartition = {{ kind = \"natural\" }}\n\
             share = {{ client = \"{owner}\", clients = 4, seed = 1 }}\n{policy}"
        );
        fs::write(self.dir(place).join("envoy.toml"), text).unwrap();
    }

    pub(crate) fn dir(&self, place: usize) -> PathBuf {
        let sites = self.around.path().join("clinics/sites");
        sites.join(&self.sites[place])
    }

    pub(crate) fn open(&self, place: usize) -> Envoy {
        Envoy::open(&self.dir(place)).unwrap()
    }

    pub(crate) fn certificate(&self, path: &str) -> Vec<u8> {
        let path = self.around.path().join("clinics").join(path);
        CertificateDer::from_pem_file(path).unwrap().to_vec()
    }

    pub(crate) fn ca(&self) -> Vec<u8> {
        self.certificate("authority/ca.pem")
    }

    pub(crate) fn director(&self) -> Vec<u8> {
        self.certificate("director/cert.pem")
    }

    pub(crate) fn offer(&self, id: u64, experiment: &Experiment) -> Offer {
        let data = cloister_data::load(&experiment.data, experiment.seed).unwrap();
        let shape = data.train.shape();
        Offer {
            federation: "clinics".to_owned(),
            experiment: id,
            operator: "olga".to_owned(),
            config: experiment.resolved_toml().unwrap(),
            data: Contract {
                dataset: "heart-disease".to_owned(),
                shape: [shape.channels, shape.height, shape.width],
                classes: data.train.classes().to_vec(),
            },
            sites: self.sites.clone(),
            minimum: 0,
        }
    }

    /// The charter of sites that have accepted with so many examples.
    pub(crate) fn charter(&self, offer: &Offer, examples: &[u64]) -> Charter {
        let members = examples.iter().enumerate().map(|(place, examples)| Member {
            site: self.sites[place].clone(),
            client: place as u32,
            examples: *examples,
            certificate: to_hex(
                &self.certificate(&format!("sites/{}/cert.pem", self.sites[place])),
            ),
        });
        Charter {
            experiment: offer.experiment,
            config_sha256: digest(offer.config.as_bytes()),
            members: members.collect(),
            director: to_hex(&self.director()),
        }
    }

    /// Offers and charters to all envoys, which accept; the charter.
    pub(crate) fn begin(&self, envoys: &[Envoy], offer: &Offer) -> Charter {
        let examples: Vec<u64> = envoys
            .iter()
            .map(|envoy| match answered(envoy, offer) {
                Answer::Accept { examples, .. } => examples,
                Answer::Decline { reason } => panic!("{reason}"),
            })
            .collect();
        let charter = self.charter(offer, &examples);
        for envoy in envoys {
            assert_eq!(chartered(self, envoy, &charter), None);
        }
        charter
    }
}

pub(crate) fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

pub(crate) fn bytes_of(body: &Body) -> Vec<u8> {
    match body {
        Body::Memory(bytes) => bytes.to_vec(),
        Body::File(path) => fs::read(path).unwrap(),
    }
}

/// Empties an outbox, with receipts.
pub(crate) fn sent(envoy: &Envoy) -> Vec<(Parcel, Vec<u8>)> {
    let pending = envoy.outbox().unwrap();
    let sent = pending.iter().map(|one| {
        let bytes = bytes_of(&one.body);
        assert_eq!(bytes.len() as u64, one.parcel.bytes);
        envoy.receipt(&one.parcel, &Receipt::Taken).unwrap();
        (one.parcel.clone(), bytes)
    });
    sent.collect()
}

/// What an envoy answers to an offer.
pub(crate) fn answered(envoy: &Envoy, offer: &Offer) -> Answer {
    envoy.offer(&json(offer), NOW).unwrap();
    let sent = sent(envoy);
    let [(parcel, bytes)] = sent.as_slice() else {
        panic!("{sent:?}");
    };
    assert_eq!(
        (parcel.kind, parcel.number, parcel.part),
        (ParcelKind::Answer, 0, 0)
    );
    serde_json::from_slice(bytes).unwrap()
}

/// Why an envoy declines an offer.
pub(crate) fn declined(envoy: &Envoy, offer: &Offer) -> String {
    match answered(envoy, offer) {
        Answer::Decline { reason } => reason,
        accept => panic!("{accept:?}"),
    }
}

/// Why an envoy takes its acceptance back at the sight of a charter; `None` if it does not.
pub(crate) fn chartered(house: &House, envoy: &Envoy, charter: &Charter) -> Option<String> {
    let (ca, director) = (house.ca(), house.director());
    envoy.charter(&json(charter), &ca, &director, NOW).unwrap();
    let sent = sent(envoy);
    let [(parcel, bytes)] = sent.as_slice() else {
        panic!("{sent:?}");
    };
    match parcel.kind {
        ParcelKind::Done => None,
        _ => match serde_json::from_slice(bytes).unwrap() {
            Answer::Decline { reason } => {
                assert_eq!(parcel.part, 1);
                Some(reason)
            }
            accept => panic!("{accept:?}"),
        },
    }
}

pub(crate) fn closing(id: u64, rounds: u32) -> Closing {
    Closing {
        experiment: id,
        state: State::Finished,
        reason: String::new(),
        rounds,
        model_sha256: String::new(),
    }
}

/// A director in miniature.
pub(crate) struct Desk {
    pub(crate) server: Server,
    pub(crate) id: u64,
    pub(crate) numbers: Vec<u64>,
    pub(crate) now: Duration,
    pub(crate) refused: Vec<String>,
    folder: PathBuf,
}

impl Desk {
    pub(crate) fn new(
        house: &House,
        offer: &Offer,
        charter: &Charter,
        experiment: &Experiment,
    ) -> Self {
        let plan = Plan::new(experiment.clone(), offer.data.clone()).unwrap();
        let examples: Vec<u64> = charter.members.iter().map(|one| one.examples).collect();
        let settings = ServerSettings {
            federation: experiment.federation.clone(),
            train: experiment.train.clone(),
            server: experiment.server.clone(),
            aggregation: experiment.aggregation.clone(),
            privacy: plan.privacy(&examples).unwrap(),
            secure: plan.secure(charter, &house.ca(), NOW).unwrap(),
        };
        let streams = Streams::new(experiment.seed);
        let global = plan
            .model
            .initial_parameters(&mut streams.stream(Purpose::Initialise, 0, 0));
        let layout = LayoutDigest::of(plan.model.layout());
        let mut server = Server::new(settings, layout, global, streams).unwrap();
        for member in &charter.members {
            server
                .enroll(ClientId(member.client), member.examples)
                .unwrap();
        }
        let key = house.around.path().join("clinics/director/key.pem");
        server.use_identity(PrivateKey::read(&key).unwrap().secagg());
        Self {
            server,
            id: offer.experiment,
            numbers: vec![0; charter.members.len()],
            now: Duration::from_secs(NOW),
            refused: Vec::new(),
            folder: house.around.path().to_owned(),
        }
    }

    /// What the server wants delivered: to whom, number, and the file.
    pub(crate) fn calls(&mut self) -> Vec<(usize, u64, PathBuf)> {
        let mut calls = Vec::new();
        while let Some(output) = self.server.poll_output() {
            match output {
                ServerOutput::Send { to, message } => {
                    let place = to.0 as usize;
                    self.numbers[place] += 1;
                    let number = self.numbers[place];
                    let file = self.folder.join(format!("{place}-{number}.bin"));
                    fs::write(&file, message.encode()).unwrap();
                    calls.push((place, number, file));
                }
                ServerOutput::Event(ServerEvent::Refused { reason, .. }) => {
                    self.refused.push(reason.to_string());
                }
                ServerOutput::Event(ServerEvent::RoundEnded(report)) => {
                    assert_eq!(report.abandoned, None);
                }
                _ => {}
            }
        }
        calls
    }

    pub(crate) fn take(&mut self, place: usize, envoy: &Envoy) {
        for (parcel, bytes) in sent(envoy) {
            assert_eq!(parcel.experiment, self.id);
            if parcel.kind == ParcelKind::Message {
                let from = ClientId(place as u32);
                self.server.receive_bytes(from, &bytes, self.now);
            }
        }
    }

    /// One round; `between` comes after each message.
    pub(crate) fn round(
        &mut self,
        envoys: &mut [Envoy],
        mut between: impl FnMut(usize, &mut Envoy),
    ) {
        self.server.begin_round(self.now).unwrap();
        loop {
            let calls = self.calls();
            if calls.is_empty() {
                assert!(
                    !self.server.in_round(),
                    "the round waits: {:?}",
                    self.refused
                );
                return;
            }
            for (place, number, file) in calls {
                let envoy = &mut envoys[place];
                envoy.message(self.id, number, &file, self.now).unwrap();
                between(place, envoy);
                self.take(place, envoy);
                between(place, envoy);
            }
        }
    }
}

/// Opens an envoy again, as after a kill.
pub(crate) fn reopen(house: &House, place: usize, envoy: &mut Envoy) {
    // Its memory must be let go of before it is opened again: another takes its place for a moment.
    let dir = house.dir(place);
    let spare = house.around.path().join(format!("spare-{place}"));
    if !spare.exists() {
        copy(
            &dir,
            &spare,
            &["ca.pem", "cert.pem", "key.pem", "envoy.toml"],
        );
    }
    *envoy = Envoy::open(&spare).unwrap();
    *envoy = Envoy::open(&dir).unwrap();
}

pub(crate) fn copy(from: &Path, to: &Path, names: &[&str]) {
    fs::create_dir_all(to).unwrap();
    for name in names {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
}
