//! A service that remembers what it was told.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use cloister_net::pki::{Leaf, Name};
use cloister_net::transport::{
    Admission, Body, Errand, Errands, Fault, FaultKind, Paper, Parcel, Receipt, Service, Story,
    Submission, Submitted,
};
use tokio::sync::watch;

/// Most bytes of a parcel.
pub(crate) const MOST: u64 = 64 << 20;

pub(crate) struct Fake {
    pub(crate) folder: tempfile::TempDir,
    changes: watch::Sender<u64>,
    state: Mutex<State>,
}

#[derive(Default)]
pub(crate) struct State {
    /// `+a` when the site arrived, `-a` when it left.
    pub(crate) comings: Vec<String>,
    pub(crate) software: String,
    pub(crate) errands: Vec<Errand>,
    pub(crate) papers: BTreeMap<Paper, Body>,
    pub(crate) delivered: Vec<(String, Parcel, Vec<u8>)>,
    pub(crate) settled: Vec<Parcel>,
    /// What `deliver` answers once.
    pub(crate) answer: Option<Result<Receipt, Fault>>,
    /// Where parcels go instead of the folder.
    pub(crate) elsewhere: Option<PathBuf>,
    pub(crate) submissions: Vec<Submission>,
    pub(crate) story: Story,
    pub(crate) cancelled: Vec<(u64, String)>,
    pub(crate) turned_away: Vec<String>,
    pub(crate) panics: bool,
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            changes: watch::Sender::new(0),
            state: Mutex::default(),
        }
    }
}

impl Fake {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|error| error.into_inner())
    }

    pub(crate) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Lets a paper wait for all sites.
    pub(crate) fn offer(&self, errand: &Errand, bytes: &[u8]) {
        let mut state = self.state();
        state.errands.push(errand.clone());
        let body = Body::Memory(bytes.into());
        state.papers.insert(errand.paper, body);
        drop(state);
        self.changed();
    }

    /// The partial files.
    pub(crate) fn partial(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .filter(|path| path.extension().is_some_and(|end| end == "part"))
            .collect()
    }

    pub(crate) fn partial_bytes(&self) -> u64 {
        let lengths = self.partial().into_iter();
        lengths
            .map(|path| path.metadata().map_or(0, |meta| meta.len()))
            .sum()
    }

    pub(crate) fn has_turned_away(&self, words: &str) -> bool {
        let state = self.state();
        state.turned_away.iter().any(|line| line.contains(words))
    }
}

impl Service for Fake {
    fn arrived(&self, site: &Name, leaf: &Leaf, certificate: &[u8], software: &str) {
        assert_eq!(Leaf::of(certificate).unwrap(), *leaf);
        let mut state = self.state();
        state.comings.push(format!("+{site}"));
        state.software = software.to_owned();
    }

    fn left(&self, site: &Name) {
        self.state().comings.push(format!("-{site}"));
    }

    fn errands(&self, _site: &Name) -> Errands {
        let state = self.state();
        assert!(!state.panics, "asked to");
        Errands {
            now: 1,
            errands: state.errands.clone(),
            waiting: "for b".into(),
        }
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn paper(&self, _site: &Name, paper: &Paper) -> Result<Body, Fault> {
        let found = self.state().papers.get(paper).cloned();
        found.ok_or_else(|| Fault::new(FaultKind::Unknown, "that paper does not wait"))
    }

    fn admit(&self, _site: &Name, parcel: &Parcel) -> Result<Admission, Fault> {
        let state = self.state();
        assert!(!state.panics, "asked to");
        if state.settled.contains(parcel) {
            return Ok(Admission::Settled(Receipt::Repeated));
        }
        if parcel.bytes > MOST {
            return Err(Fault::new(FaultKind::TooMuch, "too large a parcel"));
        }
        let folder = state.elsewhere.clone();
        Ok(Admission::Into(
            folder.unwrap_or_else(|| self.folder.path().to_owned()),
        ))
    }

    fn deliver(&self, site: &Name, parcel: &Parcel, body: PathBuf) -> Result<Receipt, Fault> {
        let mut state = self.state();
        if let Some(answer) = state.answer.take() {
            return answer;
        }
        let bytes = std::fs::read(&body).unwrap();
        std::fs::remove_file(body).unwrap();
        let entry = (site.to_string(), parcel.clone(), bytes);
        state.delivered.push(entry);
        state.settled.push(parcel.clone());
        Ok(Receipt::Taken)
    }

    fn submit(&self, operator: &Name, submission: Submission) -> Result<Submitted, Fault> {
        assert_eq!(operator.as_str(), "ops");
        if submission.config.is_empty() {
            return Err(Fault::new(FaultKind::Invalid, "config, line 1:\n  nothing"));
        }
        self.state().submissions.push(submission);
        Ok(Submitted {
            experiment: 7,
            notes: vec!["faults: left out".into()],
        })
    }

    fn status(&self, operator: &Name) -> Result<String, Fault> {
        Ok(format!("{{\"for\":\"{operator}\"}}"))
    }

    fn story(&self, experiment: u64, after: u64, most: usize) -> Result<Story, Fault> {
        if experiment != 7 {
            return Err(Fault::new(FaultKind::Unknown, "there is no experiment 8"));
        }
        let state = self.state();
        let rest = state.story.lines.iter().skip(after as usize);
        let lines: Vec<String> = rest.take(most).cloned().collect();
        let to_end = after as usize + lines.len() == state.story.lines.len();
        Ok(Story {
            ended: state.story.ended && to_end,
            lines,
        })
    }

    fn cancel(
        &self,
        _operator: &Name,
        request: [u8; 16],
        experiment: u64,
        reason: &str,
    ) -> Result<(), Fault> {
        assert_eq!(request, [9; 16]);
        let entry = (experiment, reason.to_owned());
        self.state().cancelled.push(entry);
        Ok(())
    }

    fn collect(&self, _operator: &Name, _experiment: u64, file: &str) -> Result<Body, Fault> {
        match file {
            "" => Ok(Body::Memory(b"model.safetensors\n".as_slice().into())),
            "model.safetensors" => Ok(Body::File(self.folder.path().join("model"))),
            _ => Err(Fault::new(FaultKind::Unknown, "there is no such file")),
        }
    }

    fn turned_away(&self, who: &str, reason: &str) {
        let line = format!("{who}: {reason}");
        self.state().turned_away.push(line);
    }
}
