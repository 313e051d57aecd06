//! The envoy: offers and charters in, answers out.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cloister_host::to_hex;
use cloister_protocol::PrivacyPlan;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::de::DeserializeOwned;

use super::memory::{Held, HeldCharter, Memory, Pending};
use super::policy::{Terms, cut, recorded};
use super::rounds::Running;
use super::{
    Account, Budget, EnvoyConfig, EnvoyError, Examples, LocalData, SiteLedger, outward, releases_of,
};
use crate::experiment::{Answer, Charter, Closing, Id, MAX_DOCUMENT, Member, Offer};
use crate::pki::{Leaf, Name, PkiError, PrivateKey, Role, Use, file_name, verify};
use crate::plan::{self, Plan, digest, from_hex};
use crate::transport::{Parcel, ParcelKind, Receipt};

/// The answer to an offer, and the word that a charter was taken.
const FIRST: u32 = 0;
/// The answer that takes an acceptance back, and the word that a closing was taken.
pub(super) const SECOND: u32 = 1;

/// The folder of the ledgers.
const LEDGER: &str = "ledger";

/// Called whenever something new lies in the outbox.
type Wake = Arc<dyn Fn() + Send + Sync>;

/// Told what whoever runs the site should read.
type Say = Arc<dyn Fn(&str) + Send + Sync>;

/// An experiment that an envoy knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExperimentWork {
    /// Its number.
    pub id: Id,
    /// The data set.
    pub dataset: String,
    /// The operator.
    pub operator: String,
    /// How it stands here, in words.
    pub standing: String,
    /// The last round that was answered.
    pub round: u32,
    /// Messages in work.
    pub working: usize,
}

/// What of a data set was spent.
#[derive(Clone, Debug, PartialEq)]
pub struct DatasetStatus {
    /// Its name.
    pub name: String,
    /// The budget; `None` if there is none.
    pub budget: Option<Budget>,
    /// The loss so far at the budget's delta; infinite for training without noise, `None` without a budget, or where it cannot
    /// be told.
    pub epsilon: Option<f64>,
}

/// How an envoy stands, for its log.
#[derive(Clone, Debug, PartialEq)]
pub struct EnvoyStatus {
    /// Experiments that are not over.
    pub experiments: Vec<ExperimentWork>,
    /// The site's data sets.
    pub datasets: Vec<DatasetStatus>,
    /// Parcels that wait for a receipt.
    pub pending: usize,
}

/// A site's envoy. All methods may be called from several threads.
pub struct Envoy {
    pub(super) config: EnvoyConfig,
    pub(super) key: PrivateKey,
    pub(super) data: LocalData,
    pub(super) memory: Memory,
    pub(super) ledger: SiteLedger,
    pub(super) running: Mutex<BTreeMap<Id, Arc<Running>>>,
    /// One document at a time: what one accepts, the budget of the next must know.
    documents: Mutex<()>,
    wake: Mutex<Option<Wake>>,
    say: Mutex<Option<Say>>,
}

impl fmt::Debug for Envoy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envoy")
            .field("site", &self.config.site)
            .finish_non_exhaustive()
    }
}

impl Envoy {
    /// Opens the folder of a site. Secure sums that the last end interrupted are given up, and the director is told so.
    ///
    /// # Errors
    /// [`EnvoyError`] for a config, a key, a certificate, a memory or a ledger that cannot be used.
    pub fn open(dir: &Path) -> Result<Self, EnvoyError> {
        let config = EnvoyConfig::read(dir)?;
        let key = PrivateKey::read(&dir.join(file_name::KEY))?;
        check_certificate(&config, &key)?;
        let memory = Memory::open(dir)?;
        let marks = memory.marks()?.into_iter().collect();
        let envoy = Self {
            data: LocalData::new(config.data.clone()),
            ledger: SiteLedger::open(&dir.join(LEDGER), marks)?,
            key,
            memory,
            config,
            running: Mutex::default(),
            documents: Mutex::default(),
            wake: Mutex::default(),
            say: Mutex::default(),
        };
        for (id, _) in envoy.memory.experiments()? {
            envoy.give_up_session(id)?;
        }
        Ok(envoy)
    }

    /// The site's name.
    pub fn name(&self) -> &Name {
        &self.config.site
    }

    /// The site's config.
    pub fn config(&self) -> &EnvoyConfig {
        &self.config
    }

    /// Lets `wake` be called whenever something new lies in the outbox. It must not call the envoy.
    pub fn on_outbox(&self, wake: impl Fn() + Send + Sync + 'static) {
        *lock(&self.wake) = Some(Arc::new(wake));
    }

    /// Lets `say` be told, line by line, what whoever runs the site should read. It must not call the envoy.
    pub fn on_word(&self, say: impl Fn(&str) + Send + Sync + 'static) {
        *lock(&self.say) = Some(Arc::new(say));
    }

    pub(super) fn say(&self, line: &str) {
        let say = lock(&self.say).clone();
        if let Some(say) = say {
            say(line);
        }
    }

    pub(super) fn notify(&self) {
        let wake = lock(&self.wake).clone();
        if let Some(wake) = wake {
            wake();
        }
    }

    /// Takes an [`Offer`]: the policy's answer goes into the outbox. The same offer again gets the same answer.
    ///
    /// # Errors
    /// [`EnvoyError::Document`] for bytes that are no offer; [`EnvoyError::Differs`] for another offer of an experiment that has begun;
    /// [`EnvoyError::Data`] for examples that cannot be read, which declines the offer, too. A memory or ledger that fails leaves the offer
    /// unanswered.
    pub fn offer(&self, bytes: &[u8], _now: u64) -> Result<(), EnvoyError> {
        let _one = lock(&self.documents);
        let (offer, text): (Offer, _) = document("an offer", bytes)?;
        let experiment = offer.experiment;
        if let Some(held) = self.memory.held(experiment)? {
            if held.offer == text {
                self.memory
                    .say_again(experiment, ParcelKind::Answer, FIRST)?;
                if held.withdrawn.is_some() {
                    self.memory
                        .say_again(experiment, ParcelKind::Answer, SECOND)?;
                }
                self.notify();
                return Ok(());
            }
            if held.charter.is_some() {
                let what = "the offer";
                return Err(EnvoyError::Differs { experiment, what });
            }
            self.memory.forget_offer(experiment)?;
        }
        let is_over = self.memory.history(experiment, &digest(bytes))?.is_some();
        let judged = match is_over {
            true => Ok(Err(format!("experiment {experiment} is over at this site"))),
            false => self.judge(&offer),
        };
        let (verdict, trouble) = match judged {
            Ok(verdict) => (verdict, None),
            Err(error @ EnvoyError::Data { .. }) => (Err(outward(&error)), Some(error)),
            Err(error) => return Err(error),
        };
        let answer = verdict.unwrap_or_else(|reason| Answer::Decline { reason });
        let held = Held {
            offer: text.to_owned(),
            answer: answer.clone(),
            charter: None,
            withdrawn: None,
        };
        self.memory.hold(experiment, &held, Some(&answer), FIRST)?;
        self.notify();
        trouble.map_or(Ok(()), Err)
    }

    /// The answer to an offer, or why it is declined.
    fn judge(&self, offer: &Offer) -> Result<Result<Answer, String>, EnvoyError> {
        let site = self.config.site.as_str();
        if offer.federation != self.config.federation.as_str() {
            return Ok(Err(format!(
                "this site is in the federation '{}', the offer is of '{}'",
                self.config.federation,
                cut(&offer.federation)
            )));
        }
        if !offer.sites.iter().any(|name| name == site) {
            return Ok(Err(format!("'{site}' is not among the sites of the offer")));
        }
        let plan = match self.plan(offer)? {
            Ok(plan) => plan,
            Err(reason) => return Ok(Err(reason)),
        };
        let examples = match self.fitting(offer)? {
            Ok(examples) => examples,
            Err(reason) => return Ok(Err(reason)),
        };
        let own = examples.rows().len() as u64;
        // How many the others have is not known yet; the charter says.
        let members = vec![own; offer.sites.len()];
        let verdict = self.terms(offer.experiment, &plan, &members, own, false)?;
        let count = recorded(&plan.experiment);
        if verdict.is_ok() && count > 0 {
            let seen = match plan.experiment.secure_aggregation {
                Some(_) => "masked updates and their sums",
                None => "this site's updates in the clear",
            };
            self.say(&format!(
                "experiment {}: the director keeps transcripts of {count} of {} rounds, with {seen}",
                offer.experiment, plan.experiment.federation.rounds
            ));
        }
        Ok(verdict.map(|_| Answer::Accept {
            examples: own,
            layout: to_hex(&plan.layout.0),
        }))
    }

    /// What both sides build of an offer, or why this site has nothing to do with it. Reads no data.
    pub(super) fn plan(&self, offer: &Offer) -> Result<Result<Plan, String>, EnvoyError> {
        let experiment = match plan::read(&offer.config) {
            Ok((experiment, _)) => experiment,
            Err(error) => return Ok(Err(error.to_string())),
        };
        if experiment.data.dataset.as_deref() != Some(offer.data.dataset.as_str()) {
            return Ok(Err(format!(
                "the offer is for '{}', its config for another data set",
                cut(&offer.data.dataset)
            )));
        }
        if let Err(reason) = self.config.policy.screen(offer, &experiment) {
            return Ok(Err(reason));
        }
        if !self.data.names().any(|name| name == offer.data.dataset) {
            return Ok(Err(format!(
                "this site has no data set '{}'",
                cut(&offer.data.dataset)
            )));
        }
        let plan = Plan::new(experiment, offer.data.clone());
        Ok(plan.map_err(|error| error.to_string()))
    }

    /// The site's examples for an offer, or why they are not what it needs.
    pub(super) fn fitting(
        &self,
        offer: &Offer,
    ) -> Result<Result<Arc<Examples>, String>, EnvoyError> {
        let Some(examples) = self.data.examples(&offer.data.dataset)? else {
            return Ok(Err(format!(
                "this site has no data set '{}'",
                cut(&offer.data.dataset)
            )));
        };
        Ok(examples.fit(&offer.data).map(|()| examples))
    }

    /// The privacy plan among members with so many examples, if the policy takes part.
    pub(super) fn terms(
        &self,
        experiment: Id,
        plan: &Plan,
        members: &[u64],
        own: u64,
        has_begun: bool,
    ) -> Result<Result<Option<PrivacyPlan>, String>, EnvoyError> {
        let privacy = match plan.privacy(members) {
            Ok(privacy) => privacy,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let policy = &self.config.policy;
        let spent = match policy.budget {
            Some(_) if !has_begun => self.promised(experiment, &plan.contract.dataset, own)?,
            _ => Account::default(),
        };
        let terms = Terms {
            plan,
            privacy: privacy.as_ref(),
            members: members.len() as u32,
            own,
            spent: &spent,
        };
        let verdict = match has_begun {
            true => policy.judge_size(&terms),
            false => policy.judge(&terms),
        };
        Ok(verdict.map(|()| privacy))
    }

    /// What a data set has released, and will release in the experiments that were accepted, but for one.
    fn promised(&self, but: Id, dataset: &str, own: u64) -> Result<Account, EnvoyError> {
        let mut account = self.ledger.account(dataset)?;
        for (id, held) in self.memory.experiments()? {
            let accepted = matches!(held.answer, Answer::Accept { .. }) && held.withdrawn.is_none();
            let (offer, _): (Offer, _) = document("a stored offer", held.offer.as_bytes())?;
            if id == but || !accepted || offer.data.dataset != dataset {
                continue;
            }
            // One that the policy does not take any more is never trained again either.
            let Ok(plan) = self.plan(&offer)? else {
                continue;
            };
            let (members, last) = match &held.charter {
                Some(held) => {
                    let (charter, _): (Charter, _) =
                        document("a stored charter", held.document.as_bytes())?;
                    let last = self.ledger.last_round(dataset, &held.tag)?;
                    (examples_of(&charter), last)
                }
                None => (vec![own; offer.sites.len()], 0),
            };
            let source = |source| EnvoyError::Plan {
                experiment: id,
                source,
            };
            let privacy = plan.privacy(&members).map_err(source)?;
            let rounds = plan.experiment.federation.rounds;
            let left = rounds.saturating_sub(last).into();
            account = account.with(&releases_of(privacy.as_ref(), own, left, last, rounds)?);
        }
        Ok(account)
    }

    /// Takes a [`Charter`] that came over a connection with the director whose certificate is `director`; `authority` is the federation's
    /// certificate, both in DER, `now` is in seconds since 1970. If it does not fit the accepted offer or the policy, the acceptance is taken back:
    /// the reason goes into the outbox, as the site's second answer. Else a word that it is taken.
    ///
    /// # Errors
    /// [`EnvoyError::Document`]; [`EnvoyError::Unknown`] for an experiment that was not offered; [`EnvoyError::Differs`] for a second, different
    /// charter.
    pub fn charter(
        &self,
        bytes: &[u8],
        authority: &[u8],
        director: &[u8],
        now: u64,
    ) -> Result<(), EnvoyError> {
        let _one = lock(&self.documents);
        let (charter, text): (Charter, _) = document("a charter", bytes)?;
        let experiment = charter.experiment;
        let held = self.memory.held(experiment)?;
        let mut held = held.ok_or(EnvoyError::Unknown(experiment))?;
        let again = |kind, part| self.memory.say_again(experiment, kind, part);
        match (&held.charter, &held.withdrawn, &held.answer) {
            (Some(known), ..) if known.document == text => again(ParcelKind::Done, FIRST)?,
            (Some(_), ..) => {
                let what = "the charter";
                return Err(EnvoyError::Differs { experiment, what });
            }
            (None, Some(_), _) => again(ParcelKind::Answer, SECOND)?,
            (None, None, Answer::Decline { .. }) => again(ParcelKind::Answer, FIRST)?,
            (None, None, Answer::Accept { .. }) => {
                let taken = HeldCharter {
                    document: text.to_owned(),
                    authority: to_hex(authority),
                    accepted: now,
                    tag: tag(experiment)?,
                };
                held.charter = Some(taken);
                let admitted = self
                    .introduced(&held.offer, &charter, authority, director, now)
                    .map_or_else(
                        |reason| Ok(Err(reason)),
                        |()| self.build(experiment, &held, now, false),
                    )?;
                match admitted {
                    Ok(running) => {
                        self.memory.hold(experiment, &held, None, FIRST)?;
                        let mut all = lock(&self.running);
                        all.entry(experiment).or_insert_with(|| Arc::new(running));
                    }
                    Err(reason) => {
                        held.charter = None;
                        held.withdrawn = Some(reason.clone());
                        let answer = Answer::Decline { reason };
                        self.memory.hold(experiment, &held, Some(&answer), SECOND)?;
                    }
                }
            }
        }
        self.notify();
        Ok(())
    }

    /// Whether a charter is of the offer, of this director, and has this site once, with its own key.
    fn introduced(
        &self,
        offer: &str,
        charter: &Charter,
        authority: &[u8],
        director: &[u8],
        now: u64,
    ) -> Result<(), String> {
        let refuse = |reason: &str| Err(format!("charter: {reason}"));
        let Ok(offer) = serde_json::from_str::<Offer>(offer) else {
            return refuse("its offer cannot be read any more");
        };
        if charter.config_sha256 != digest(offer.config.as_bytes()) {
            return refuse("it is of another config than the one that this site has accepted");
        }
        let ascending = |pair: &[Member]| pair[0].client < pair[1].client;
        if !charter.members.windows(2).all(ascending) {
            return refuse("its members are not in the order of their client numbers, each once");
        }
        let words = |error: PkiError| format!("charter: {error}");
        let leaf = |hex: &str, usage| {
            let der = from_hex(hex).ok_or("charter: a certificate is not hex")?;
            verify(&der, authority, usage, now).map_err(words)
        };
        let named = leaf(&charter.director, Use::Server)?;
        let connected = verify(director, authority, Use::Server, now).map_err(words)?;
        if named.key != connected.key || named.identity != connected.identity {
            return refuse("it names another director than the one that this site talks to");
        }
        let mut own = 0;
        for member in &charter.members {
            let name = cut(&member.site);
            if !offer.sites.contains(&member.site) {
                return refuse(&format!("'{name}' was not among the sites of the offer"));
            }
            let leaf = leaf(&member.certificate, Use::Client)?;
            let is_named =
                matches!(&leaf.identity.role, Role::Site(site) if site.as_str() == member.site);
            if !is_named || leaf.identity.federation != self.config.federation {
                return refuse(&format!(
                    "the certificate of '{name}' is of {}",
                    leaf.identity
                ));
            }
            if member.site == self.config.site.as_str() {
                own += 1;
                if leaf.key != self.key.public() {
                    return refuse("the certificate of this site is not its own");
                }
            }
        }
        match own {
            1 => Ok(()),
            0 => refuse("this site is not in it"),
            _ => refuse("this site is in it twice"),
        }
    }

    /// Takes a [`Closing`]: what is not needed any more is forgotten, the ledger and a line of history stay. Rounds in which the
    /// site was not called are charged where the accounting has it so.
    ///
    /// # Errors
    /// [`EnvoyError::Document`]; a memory or ledger that fails.
    pub fn closing(&self, bytes: &[u8]) -> Result<(), EnvoyError> {
        let _one = lock(&self.documents);
        let (closing, text): (Closing, _) = document("a closing", bytes)?;
        let experiment = closing.experiment;
        let held = self.memory.held(experiment)?;
        let mut mark = None;
        if let Some(held) = held.as_ref().filter(|held| held.charter.is_some()) {
            // One that cannot be built any more, for a changed config say, is closed without.
            if let Ok(Ok(running)) = self.build(experiment, held, 0, true) {
                let rounds = running.plan.experiment.federation.rounds;
                self.ledger
                    .settle(running.charged(), closing.rounds.min(rounds))?;
                let dataset = running.plan.contract.dataset.clone();
                mark = self.ledger.mark(&dataset).map(|mark| (dataset, mark));
            }
        }
        let ended = held.map(|held| digest(held.offer.as_bytes()));
        let mark = mark
            .as_ref()
            .map(|(dataset, mark)| (dataset.as_str(), mark));
        let ended = ended.as_ref().map(|offer| (offer.as_str(), text));
        if let Some(running) = lock(&self.running).remove(&experiment) {
            running.retire();
        }
        self.memory.close(experiment, ended, mark, SECOND)?;
        self.notify();
        Ok(())
    }

    /// What waits to be sent, in order.
    ///
    /// # Errors
    /// [`EnvoyError::Memory`].
    pub fn outbox(&self) -> Result<Vec<Pending>, EnvoyError> {
        Ok(self.memory.outbox()?)
    }

    /// The director's receipt for a parcel: taken or refused, it is not sent again unless it is asked for again.
    ///
    /// # Errors
    /// [`EnvoyError::Memory`].
    pub fn receipt(&self, parcel: &Parcel, receipt: &Receipt) -> Result<(), EnvoyError> {
        match receipt {
            Receipt::Taken | Receipt::Repeated | Receipt::Refused(_) => {
                Ok(self.memory.acknowledged(parcel)?)
            }
        }
    }

    /// How the envoy stands.
    ///
    /// # Errors
    /// [`EnvoyError::Memory`], [`EnvoyError::Ledger`].
    pub fn status(&self) -> Result<EnvoyStatus, EnvoyError> {
        let mut experiments = Vec::new();
        for (id, held) in self.memory.experiments()? {
            let (offer, _): (Offer, _) = document("a stored offer", held.offer.as_bytes())?;
            let standing = match (&held.answer, &held.withdrawn, &held.charter) {
                (Answer::Decline { reason }, ..) => format!("declined: {reason}"),
                (_, Some(reason), _) => format!("taken back: {reason}"),
                (_, _, Some(_)) => "under way".to_owned(),
                _ => "accepted, not begun".to_owned(),
            };
            let running = lock(&self.running).get(&id).cloned();
            experiments.push(ExperimentWork {
                id,
                dataset: offer.data.dataset,
                operator: offer.operator,
                standing,
                round: self.memory.answered(id)?,
                working: running.map_or(0, |running| running.working()),
            });
        }
        let budget = self.config.policy.budget;
        let mut datasets = Vec::new();
        for name in self.data.names() {
            let account = self.ledger.account(name)?;
            datasets.push(DatasetStatus {
                name: name.to_owned(),
                budget,
                epsilon: budget.and_then(|budget| account.epsilon(budget.delta).ok()),
            });
        }
        Ok(EnvoyStatus {
            experiments,
            datasets,
            pending: self.memory.outbox()?.len(),
        })
    }

    /// The longest message of an experiment: no more is to be fetched.
    ///
    /// # Errors
    /// [`EnvoyError::Unknown`], and whatever keeps the experiment from going on.
    pub fn longest_message(&self, experiment: Id, now: Duration) -> Result<u64, EnvoyError> {
        Ok(self.started(experiment, now)?.longest())
    }
}

/// A certificate that is not of this site, or not of this key, would be noticed by others only.
fn check_certificate(config: &EnvoyConfig, key: &PrivateKey) -> Result<(), EnvoyError> {
    let path = &config.folder.join(file_name::CERTIFICATE);
    let pem = fs::read(path).map_err(EnvoyError::file("read", path))?;
    let der = CertificateDer::from_pem_slice(&pem);
    let der = der.map_err(|_| PkiError::broken(path, "not a certificate in PEM"))?;
    let leaf = Leaf::of(&der)?;
    let is_own = leaf.identity.role == Role::Site(config.site.clone())
        && leaf.identity.federation == config.federation;
    if !is_own {
        let reason = format!(
            "it is of {}, the config is of the site {} in {}",
            leaf.identity, config.site, config.federation
        );
        return Err(PkiError::misfit(path, reason).into());
    }
    match leaf.key == key.public() {
        true => Ok(()),
        false => Err(PkiError::misfit(path, "it is of another key than the one beside it").into()),
    }
}

/// Reads a document, and gives it with its text.
pub(super) fn document<'a, T: DeserializeOwned>(
    what: &'static str,
    bytes: &'a [u8],
) -> Result<(T, &'a str), EnvoyError> {
    let refused = |reason: String| EnvoyError::Document {
        what,
        bytes: bytes.len(),
        reason,
    };
    if bytes.len() > MAX_DOCUMENT {
        return Err(refused(format!("longer than {MAX_DOCUMENT}")));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| refused(error.to_string()))?;
    let document = serde_json::from_str(text).map_err(|error| refused(error.to_string()))?;
    Ok((document, text))
}

/// The examples of the members.
pub(super) fn examples_of(charter: &Charter) -> Vec<u64> {
    charter
        .members
        .iter()
        .map(|member| member.examples)
        .collect()
}

/// Names a site's part in an experiment: no other has the same, also if a director counts from 1 again.
fn tag(experiment: Id) -> Result<String, EnvoyError> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| PkiError::Randomness(error.to_string()))?;
    Ok(format!("{experiment}-{}", to_hex(&random)))
}

/// What a lock guards is whole between its uses, whatever happened to who held it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
