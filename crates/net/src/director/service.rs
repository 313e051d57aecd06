//! The calls that reach a director, and what it answers.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use serde_json::json;
use tokio::sync::watch;

use super::board::round_of;
use super::desk::{Desk, count, milliseconds, unavailable};
use super::hosted::{Arrived, lock as lock_board};
use super::worker::{Order, words};
use crate::clock::unix_now;
use crate::experiment::{Answer, Id, MAX_DOCUMENT, State};
use crate::pki::{Leaf, Name};
use crate::plan::{Plan, read};
use crate::store::ExperimentRecord;
use crate::transport::{
    Admission, Body, Errand, Errands, Fault, FaultKind, Paper, PaperKind, Parcel, ParcelKind,
    Receipt, Service, Story, Submission, Submitted,
};

/// Sites may be asked only so many at once.
const MAX_SITES: usize = 10_000;

/// A [`Desk`] that is called from outside.
#[derive(Clone)]
pub(crate) struct Counter(pub(crate) Arc<Desk>);

fn invalid(message: impl Into<String>) -> Fault {
    Fault::new(FaultKind::Invalid, message)
}

fn unknown(message: impl Into<String>) -> Fault {
    Fault::new(FaultKind::Unknown, message)
}

impl Service for Counter {
    fn arrived(&self, site: &Name, leaf: &Leaf, certificate: &[u8], software: &str) {
        let mut presence = self.0.presence();
        let known = presence.entry(site.as_str().to_owned()).or_default();
        let is_new = known.serial != leaf.serial;
        known.attending = true;
        known.seen = Some(unix_now());
        known.software = software.chars().take(100).collect();
        known.certificate = certificate.to_vec();
        known.serial = leaf.serial.clone();
        known.until = Some(leaf.until);
        drop(presence);
        if is_new {
            let about = json!({"serial": leaf.serial});
            self.0.note(&leaf.identity.to_string(), "arrived", about);
        }
        self.0.log(&format!("{site} attends"));
        self.0.changed();
    }

    fn left(&self, site: &Name) {
        if let Some(known) = self.0.presence().get_mut(site.as_str()) {
            known.attending = false;
            known.seen = Some(unix_now());
        }
        self.0.log(&format!("{site} left"));
        self.0.changed();
    }

    fn errands(&self, site: &Name) -> Errands {
        let site = site.as_str();
        let mut books = self.0.books();
        let ids: Vec<Id> = books.records.keys().copied().collect();
        let mut errands = Vec::new();
        let mut waiting = Vec::new();
        for id in ids {
            let paper = papers(&mut books, id, site, &self.0.federation);
            // Nobody can work on a message of an experiment whose charter it does not have.
            let chartered = paper.is_none();
            errands.extend(paper);
            if let Some(running) = books.running.get(&id) {
                if chartered {
                    errands.extend(lock_board(&running.board).errands(id, site));
                }
                if let Some(figures) = books.figures.get(&id) {
                    waiting.push(format!("experiment {id}: {}", figures.waiting));
                }
            }
        }
        if waiting.is_empty() {
            waiting.push("no experiment is running".to_owned());
        }
        Errands {
            now: milliseconds(),
            errands,
            waiting: waiting.join("; "),
        }
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }

    fn site_changes(&self, site: &Name) -> watch::Receiver<u64> {
        self.0.subscribe_site(site.as_str())
    }

    fn paper(&self, site: &Name, paper: &Paper) -> Result<Body, Fault> {
        let (id, site) = (paper.experiment, site.as_str());
        let mut books = self.0.books();
        let record = books.records.get(&id);
        let is_theirs = record.is_some_and(|record| record.sites.iter().any(|one| one == site));
        if !is_theirs {
            return Err(unknown(format!(
                "there is no experiment {id} for this site"
            )));
        }
        let shared = match paper.kind {
            PaperKind::Offer => books.offer(id, &self.0.federation),
            PaperKind::Charter => books.charter(id),
            PaperKind::Closing => books.closing(id),
            PaperKind::Message => {
                let running = books.running.get(&id);
                let running =
                    running.ok_or_else(|| unknown(format!("experiment {id} is not running")))?;
                return lock_board(&running.board).paper(site, paper.number);
            }
        };
        match shared {
            Some(shared) => Ok(Body::Memory(shared.bytes)),
            None => Err(unknown(format!("experiment {id} has no such paper"))),
        }
    }

    fn admit(&self, site: &Name, parcel: &Parcel) -> Result<Admission, Fault> {
        let (id, site) = (parcel.experiment, site.as_str());
        let record = self.0.record(id)?;
        if !record.sites.iter().any(|one| one == site) {
            return Err(unknown(format!(
                "there is no experiment {id} for this site"
            )));
        }
        let most = match parcel.kind {
            ParcelKind::Done => 0,
            ParcelKind::Answer => MAX_DOCUMENT as u64,
            ParcelKind::Message => {
                let books = self.0.books();
                let running = books
                    .running
                    .get(&id)
                    .filter(|running| running.clients.contains_key(site));
                let Some(running) = running else {
                    return Ok(Admission::Settled(not_running(&record)));
                };
                if !lock_board(&running.board).was_sent(site, parcel.number) {
                    let round = round_of(parcel.number);
                    return Ok(Admission::Settled(Receipt::Refused(format!(
                        "round {round} is over"
                    ))));
                }
                running.longest
            }
        };
        if parcel.bytes > most {
            return Err(Fault::new(
                FaultKind::TooMuch,
                format!("{} bytes are announced, {most} may come", parcel.bytes),
            ));
        }
        Ok(Admission::Into(self.0.store.incoming(id)))
    }

    fn deliver(&self, site: &Name, parcel: &Parcel, body: PathBuf) -> Result<Receipt, Fault> {
        let (id, site) = (parcel.experiment, site.as_str());
        match parcel.kind {
            ParcelKind::Done => {
                // It had no bytes to keep.
                let _ = std::fs::remove_file(body);
                self.done(id, site, parcel);
                Ok(Receipt::Taken)
            }
            ParcelKind::Answer => {
                let bytes = std::fs::read(&body).map_err(|error| unavailable(&error))?;
                let receipt = match serde_json::from_slice::<Answer>(&bytes) {
                    Ok(answer) => self.0.answered(site, id, answer)?,
                    Err(error) => Receipt::Refused(format!("not an answer: {error}")),
                };
                let _ = std::fs::remove_file(body);
                Ok(receipt)
            }
            ParcelKind::Message => self.message(id, site, parcel, body),
        }
    }

    fn submit(&self, operator: &Name, submission: Submission) -> Result<Submitted, Fault> {
        let (record, notes) = self.examine(operator, &submission)?;
        let (id, is_new) = self
            .0
            .store
            .submit(&submission.request, record)
            .map_err(|error| unavailable(&error))?;
        if is_new {
            let stored = self
                .0
                .store
                .experiment(id)
                .map_err(|error| unavailable(&error))?;
            let about = json!({"experiment": id, "name": stored.name, "config_sha256": crate::plan::digest(stored.config.as_bytes()), "sites": stored.sites});
            self.0
                .note(&self.operator_uri(operator), "submitted", about);
            self.0.log(&format!(
                "experiment {id} ({}) of {operator}: {} sites are asked",
                stored.name,
                stored.sites.len()
            ));
            self.0.books().records.insert(id, stored);
            self.0.wake_all();
        }
        Ok(Submitted {
            experiment: id,
            notes,
        })
    }

    fn status(&self, _: &Name) -> Result<String, Fault> {
        serde_json::to_string(&self.0.status())
            .map_err(|error| Fault::new(FaultKind::Internal, error.to_string()))
    }

    fn story(&self, experiment: u64, after: u64, most: usize) -> Result<Story, Fault> {
        let record = self.0.record(experiment)?;
        let lines = self
            .0
            .store
            .story(experiment, after, most)
            .map_err(|error| unavailable(&error))?;
        Ok(Story {
            ended: record.state.is_over() && lines.len() < most,
            lines,
        })
    }

    fn cancel(
        &self,
        operator: &Name,
        _request: [u8; 16],
        experiment: u64,
        reason: &str,
    ) -> Result<(), Fault> {
        let record = self.0.record(experiment)?;
        let words = match reason.trim() {
            "" => format!("cancelled by {operator}"),
            reason => format!(
                "cancelled by {operator}: {}",
                reason.chars().take(500).collect::<String>()
            ),
        };
        match record.state {
            // A repeated request finds it done.
            State::Cancelled => return Ok(()),
            State::Running => self.0.order_end(experiment, State::Cancelled, words),
            State::Offered | State::Queued => {
                if !self.0.end_unbegun(experiment, State::Cancelled, &words) {
                    // It has begun in this moment.
                    self.0.order_end(experiment, State::Cancelled, words);
                }
            }
            over => {
                return Err(invalid(format!(
                    "experiment {experiment} has {}",
                    super::desk::ending(over, &record.reason)
                )));
            }
        }
        self.0.note(
            &self.operator_uri(operator),
            "cancelled",
            json!({"experiment": experiment, "reason": reason}),
        );
        Ok(())
    }

    fn collect(&self, operator: &Name, experiment: u64, file: &str) -> Result<Body, Fault> {
        let is_own = self.0.record(experiment)?.operator == operator.as_str();
        let folder = self.0.store.run_folder(experiment);
        if file.is_empty() {
            let mut names = list(&folder);
            if is_own {
                names.extend(transcripts(&folder));
            }
            return Ok(Body::Memory(names.join("\n").into_bytes().into()));
        }
        let transcript = file.strip_prefix(TRANSCRIPT_PREFIX);
        if transcript.is_some() && !is_own {
            return Err(invalid(
                "transcripts are for the operator who submitted the experiment".to_owned(),
            ));
        }
        let mut parts = Path::new(transcript.unwrap_or(file)).components();
        let (Some(Component::Normal(_)), None) = (parts.next(), parts.next()) else {
            return Err(invalid(format!(
                "'{file}' is not the name of a file of the run"
            )));
        };
        let path = folder.join(file);
        if !path.is_file() {
            return Err(unknown(format!(
                "experiment {experiment} has no file '{file}'"
            )));
        }
        self.0.note(
            &self.operator_uri(operator),
            "collected",
            json!({"experiment": experiment, "file": file}),
        );
        Ok(Body::File(path))
    }

    fn turned_away(&self, who: &str, reason: &str) {
        count(&self.0.turned_away);
        self.0.log(&format!("turned away {who}: {reason}"));
    }
}

impl Counter {
    fn operator_uri(&self, operator: &Name) -> String {
        format!(
            "cloister://{}/operator/{operator}",
            self.0.federation.as_str()
        )
    }

    fn done(&self, id: Id, site: &str, parcel: &Parcel) {
        let number = parcel.number;
        let mut books = self.0.books();
        if number == 0 {
            // Part 0 is the word on the charter, part 1 that on the closing: a late word on the charter says nothing of the end.
            let record = books.records.get(&id);
            if record.is_some_and(|record| record.state.is_over()) == (parcel.part > 0) {
                books.dealt(id, site);
            }
        } else if let Some(running) = books.running.get(&id)
            && let Some(client) = running.clients.get(site)
        {
            let _ = running.orders.send(Order::Done(*client, number));
        }
        drop(books);
        self.0.wake_sites(std::iter::once(site));
    }

    fn message(
        &self,
        id: Id,
        site: &str,
        parcel: &Parcel,
        body: PathBuf,
    ) -> Result<Receipt, Fault> {
        let (reply, answer) = sync_channel(1);
        {
            let books = self.0.books();
            let running = books.running.get(&id);
            let Some((running, client)) =
                running.and_then(|running| Some((running, *running.clients.get(site)?)))
            else {
                drop(books);
                let _ = std::fs::remove_file(body);
                return Ok(not_running(&self.0.record(id)?));
            };
            let arrived = Arrived {
                client,
                number: parcel.number,
                part: parcel.part,
                sha256: parcel.sha256,
                bytes: parcel.bytes,
                file: body,
            };
            let sent = running.orders.send(Order::Parcel(arrived, reply));
            sent.map_err(|_| {
                Fault::new(
                    FaultKind::Unavailable,
                    "the experiment is being taken up again",
                )
            })?;
        }
        let gone = || {
            Fault::new(
                FaultKind::Unavailable,
                "the experiment is being taken up again",
            )
        };
        answer.recv().map_err(|_| gone())?
    }

    /// What a submission amounts to, before anybody is told of it.
    fn examine(
        &self,
        operator: &Name,
        submission: &Submission,
    ) -> Result<(ExperimentRecord, Vec<String>), Fault> {
        let refused = |error: &dyn std::error::Error| invalid(words(error));
        let (experiment, notes) = read(&submission.config).map_err(|error| refused(&error))?;
        let dataset = experiment.data.dataset.clone().unwrap_or_default();
        let known = self.0.data.get(&dataset).map_err(|error| refused(&error))?;
        let Some((contract, _)) = known else {
            return Err(invalid(format!(
                "data.dataset: the federation has no '{dataset}'; director.toml has {}",
                self.0.data.names()
            )));
        };
        let mut sites = submission.sites.clone();
        if sites.is_empty() {
            sites = self.0.presence().keys().cloned().collect();
        }
        let names: std::collections::BTreeSet<&String> = sites.iter().collect();
        if names.len() != sites.len() {
            return Err(invalid("a site is named twice"));
        }
        if let Some(wrong) = sites.iter().find(|site| site.parse::<Name>().is_err()) {
            return Err(invalid(format!("'{wrong}' is not the name of a site")));
        }
        let asked = sites.len() as u32;
        match asked {
            0 => {
                return Err(invalid(
                    "no site has attended yet; name the sites with --sites",
                ));
            }
            asked if asked as usize > MAX_SITES => {
                return Err(invalid(format!(
                    "{asked} sites are named, at most {MAX_SITES} can be"
                )));
            }
            _ => {}
        }
        if let Some(clients) = experiment
            .federation
            .clients
            .filter(|clients| *clients != asked)
        {
            return Err(invalid(format!(
                "federation.clients is {clients}, and {asked} sites are asked: {}; give --set federation.clients={asked}, or other --sites",
                sites.join(", ")
            )));
        }
        if submission.minimum > asked {
            return Err(invalid(format!(
                "{} sites must accept, and {asked} are asked",
                submission.minimum
            )));
        }
        let rounds = experiment.federation.rounds;
        let plan = Plan::new(experiment, contract.clone()).map_err(|error| refused(&error))?;
        let minimum = if submission.minimum == 0 {
            asked
        } else {
            submission.minimum
        };
        plan.sums(minimum).map_err(|error| refused(&error))?;
        let config = plan
            .experiment
            .resolved_toml()
            .map_err(|error| refused(&error))?;
        let record = ExperimentRecord {
            id: 0,
            name: plan.experiment.name.clone(),
            operator: operator.as_str().to_owned(),
            submitted: unix_now(),
            config,
            contract,
            sites,
            minimum,
            rounds,
            state: State::Offered,
            reason: String::new(),
            answers: Default::default(),
            charter: None,
            run: String::new(),
        };
        Ok((record, notes))
    }
}

/// The papers that wait for a site in an experiment, messages aside.
fn papers(
    books: &mut super::books::Books,
    id: Id,
    site: &str,
    federation: &Name,
) -> Option<Errand> {
    let record = books.records.get(&id)?;
    let asked = record.sites.iter().any(|one| one == site);
    let member = |record: &ExperimentRecord| {
        let members = record.charter.iter().flat_map(|charter| &charter.members);
        members.into_iter().any(|member| member.site == site)
    };
    let paper = |kind| Paper {
        experiment: id,
        kind,
        number: 0,
    };
    match record.state {
        State::Offered if asked && !record.answers.contains_key(site) => {
            Some(books.offer(id, federation)?.errand(paper(PaperKind::Offer)))
        }
        State::Running if member(record) && books.wants_charter(id, site) => {
            Some(books.charter(id)?.errand(paper(PaperKind::Charter)))
        }
        state
            if state.is_over()
                && record.answers.contains_key(site)
                && books.wants_closing(id, site) =>
        {
            Some(books.closing(id)?.errand(paper(PaperKind::Closing)))
        }
        _ => None,
    }
}

/// What a message of an experiment that is not running gets.
fn not_running(record: &ExperimentRecord) -> Receipt {
    Receipt::Refused(format!("experiment {} is not running", record.id))
}

/// How the transcripts of a run are called.
const TRANSCRIPT_PREFIX: &str = "transcript/";

/// The transcripts in a run folder: what is in them only whoever submitted the experiment may see.
fn transcripts(folder: &Path) -> Vec<String> {
    let rounds = cloister_host::recorded_rounds(folder).unwrap_or_default();
    let names = rounds.into_iter().filter_map(|round| {
        let path = cloister_host::transcript_path(folder, round);
        let name = path.file_name()?.to_str()?;
        Some(format!("{TRANSCRIPT_PREFIX}{name}"))
    });
    names.collect()
}

/// The files of a run folder.
fn list(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let mut names: Vec<String> = files
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}
