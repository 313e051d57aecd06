//! The thread that trains one experiment: it alone drives its server, and what arrives at once shares one wait for the disk.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::DirectorError;
use super::board::Board;
use super::books::Figures;
use super::desk::Desk;
use super::hosted::{Arrived, Hosted, Setup, Step, lock};
use crate::clock::unix_time;
use crate::experiment::{Id, State};
use crate::store::ExperimentRecord;
use crate::transport::{Fault, FaultKind, Receipt};

/// Parcels that are made durable together.
const BATCH: usize = 256;
/// How long until what failed for want of room, say, is tried again.
const AGAIN: Duration = Duration::from_secs(3);
/// The longest wait for a message; then the clock is looked at.
const LONGEST: Duration = Duration::from_secs(3600);

/// What the thread is told.
#[derive(Debug)]
pub(crate) enum Order {
    /// A parcel is there.
    Parcel(Arrived, SyncSender<Result<Receipt, Fault>>),
    /// A site has nothing to say to a message.
    Done(u32, u64),
    /// A client is not waited for any more.
    Lose(u32),
    /// The experiment ends now, in this state.
    End(State, String),
    /// The director stops; the experiment goes on when it starts again.
    Stop,
}

/// An experiment that is being trained, as the rest of the director sees it.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) board: Arc<Mutex<Board>>,
    pub(crate) orders: Sender<Order>,
    /// The client numbers of its sites.
    pub(crate) clients: BTreeMap<String, u32>,
    /// The longest message that a site may send.
    pub(crate) longest: u64,
    pub(crate) thread: Option<JoinHandle<()>>,
}

/// Starts the thread of an experiment that has a charter.
pub(crate) fn start(
    desk: Arc<Desk>,
    record: ExperimentRecord,
    setup: Setup,
    longest: u64,
) -> Running {
    let (orders, inbox) = channel();
    let board = Arc::new(Mutex::new(Board::default()));
    let members = record.charter.iter().flat_map(|charter| &charter.members);
    let clients = members
        .map(|member| (member.site.clone(), member.client))
        .collect();
    let worker = Worker {
        desk,
        id: record.id,
        record,
        setup,
        board: Arc::clone(&board),
        inbox,
    };
    Running {
        board,
        orders,
        clients,
        longest,
        thread: Some(std::thread::spawn(move || worker.run())),
    }
}

struct Worker {
    desk: Arc<Desk>,
    id: Id,
    record: ExperimentRecord,
    setup: Setup,
    board: Arc<Mutex<Board>>,
    inbox: Receiver<Order>,
}

/// How the work on an experiment stopped.
enum Stopped {
    /// It is over.
    Over(State, String, String),
    /// The director stops.
    ByDirector,
}

impl Worker {
    fn run(self) {
        loop {
            match self.work() {
                Ok(Stopped::ByDirector) => return,
                Ok(Stopped::Over(state, reason, model)) => {
                    return self.desk.ended(self.id, state, &reason, &model);
                }
                Err(error) if is_lasting(&error) => {
                    return self.give_up(State::Failed, &words(&error));
                }
                Err(error) => {
                    if let Some((state, _)) = self.desk.wanted_end(self.id) {
                        // It cannot be opened, so it ends without a model.
                        return self.give_up(state, &words(&error));
                    }
                    // All that was acknowledged is on the disk: taking it up again from there is all there is to do.
                    let trouble = format!("{}; trying again", words(&error));
                    self.desk.log(&format!("experiment {}: {trouble}", self.id));
                    self.desk.figures(self.id, Figures::trouble(&trouble));
                    if !self.pause(&trouble) {
                        return;
                    }
                }
            }
        }
    }

    /// Ends an experiment that cannot be opened.
    fn give_up(&self, state: State, reason: &str) {
        self.desk.log(&format!("experiment {}: {reason}", self.id));
        if let Err(error) = self.setup.store.set_state(self.id, state, reason) {
            self.desk
                .log(&format!("experiment {}: {}", self.id, words(&error)));
        }
        self.desk.ended(self.id, state, reason, "");
    }

    /// Waits before the next try; false if the director stops.
    fn pause(&self, trouble: &str) -> bool {
        let until = unix_time().saturating_add(AGAIN);
        loop {
            let left = until.saturating_sub(unix_time());
            match self.inbox.recv_timeout(left.min(AGAIN)) {
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
                Ok(Order::Parcel(_, reply)) => {
                    // Nobody waits for an answer that nobody reads.
                    let _ = reply.send(Err(Fault::new(FaultKind::Unavailable, trouble)));
                }
                Ok(Order::End(state, reason)) => {
                    self.desk.remember_end(self.id, state, reason);
                    return true;
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return true,
            }
        }
    }

    fn work(&self) -> Result<Stopped, DirectorError> {
        let (setup, board) = (self.setup.clone(), Arc::clone(&self.board));
        let mut hosted = Hosted::open(setup, &self.record, board, unix_time())?;
        if let Some((state, reason)) = self.desk.wanted_end(self.id) {
            return end(hosted, state, reason);
        }
        loop {
            let until = match hosted.step(unix_time())? {
                Step::Over => {
                    self.desk.figures(self.id, Figures::of(&hosted));
                    return end(hosted, State::Finished, String::new());
                }
                Step::Wait(until) => until,
            };
            let changed = lock(&self.board).take_changed();
            self.desk.wake_sites(changed.iter().map(String::as_str));
            self.desk.figures(self.id, Figures::of(&hosted));
            let wait = until.map_or(LONGEST, |until| until.saturating_sub(unix_time()));
            let order = match self.inbox.recv_timeout(wait.min(LONGEST)) {
                Ok(order) => order,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return Ok(Stopped::ByDirector),
            };
            if let Some(stopped) = self.obey(&mut hosted, order)? {
                return match stopped {
                    Stopped::Over(state, reason, _) => end(hosted, state, reason),
                    other => Ok(other),
                };
            }
        }
    }

    /// Obeys an order, and those that wait behind it.
    fn obey(&self, hosted: &mut Hosted, first: Order) -> Result<Option<Stopped>, DirectorError> {
        let mut parcels = Vec::new();
        let mut replies = Vec::new();
        let mut next = Some(first);
        let mut stopped = None;
        while let Some(order) = next.take() {
            match order {
                Order::Parcel(arrived, reply) => {
                    parcels.push(arrived);
                    replies.push(reply);
                }
                Order::Done(client, number) => hosted.done(client, number),
                Order::Lose(client) => hosted.lose(client, unix_time())?,
                Order::End(state, reason) => {
                    stopped = Some(Stopped::Over(state, reason, String::new()));
                }
                Order::Stop => stopped = Some(Stopped::ByDirector),
            }
            if parcels.len() < BATCH && stopped.is_none() {
                next = self.inbox.try_recv().ok();
            }
        }
        if parcels.is_empty() {
            return Ok(stopped);
        }
        let taken = hosted.take(parcels, unix_time());
        let outcomes: Vec<Result<Receipt, Fault>> = match &taken {
            Ok(receipts) => receipts.iter().cloned().map(Ok).collect(),
            Err(error) => {
                let fault = Fault::new(FaultKind::Unavailable, words(error));
                vec![Err(fault); replies.len()]
            }
        };
        for (reply, outcome) in replies.into_iter().zip(outcomes) {
            let _ = reply.send(outcome);
        }
        taken.map(|_| stopped)
    }
}

fn end(hosted: Hosted, state: State, reason: String) -> Result<Stopped, DirectorError> {
    let model = hosted.finish(state, &reason)?;
    Ok(Stopped::Over(state, reason, model))
}

/// Whether trying again cannot help.
fn is_lasting(error: &DirectorError) -> bool {
    matches!(
        error,
        DirectorError::Plan(_) | DirectorError::Protocol(_) | DirectorError::Privacy(_)
    )
}

/// An error with what caused it.
pub(crate) fn words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words += &format!(": {error}");
        cause = error.source();
    }
    words
}
