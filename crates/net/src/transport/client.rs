//! The side of envoys and operators.

mod backoff;
mod dial;
mod transfer;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

pub use self::backoff::Backoff;
use self::dial::{Address, dial};
use super::proto::envoys_client::EnvoysClient;
use super::proto::operators_client::OperatorsClient;
use super::server::PING;
use super::wire::MESSAGE;
use super::{Credentials, Errands, Fault, FaultKind, Submission, Submitted, fault, proto};

/// Bytes that the director may send on a call before we read them.
const STREAM_WINDOW: u32 = 1 << 20;

/// The same, over all calls.
const CONNECTION_WINDOW: u32 = 2 << 20;

/// After so long without errands, which come four times in it, the director is gone.
const SILENCE: Duration = Duration::from_secs(45);

/// How long an answer to a small request may take.
const ANSWER: Duration = Duration::from_secs(75);

/// A connection to a director. Clones share it. Where it breaks, the calls under way fail with [`FaultKind::Unreachable`], and
/// the next call dials again.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    /// The certificate that the director showed last, DER.
    director: Arc<Mutex<Vec<u8>>>,
    /// Between two chunks.
    pub(self) idle: Duration,
}

impl Client {
    /// Dials `director`, `HOST:PORT`. It is trusted if its certificate says that it is the director of our federation at
    /// this host. Comes back when it has let us in.
    ///
    /// # Errors
    /// [`FaultKind::Invalid`] for an address that is none; [`FaultKind::Unreachable`]; [`FaultKind::NotAuthentic`] with which
    /// side could not prove what.
    pub async fn connect(director: &str, credentials: Arc<Credentials>) -> Result<Self, Fault> {
        let address = Arc::new(Address::parse(director)?);
        let endpoint = Endpoint::from_shared(address.uri())
            .map_err(|error| fault::of_error(&error))?
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .keep_alive_while_idle(true);
        let director = Arc::new(Mutex::new(Vec::new()));
        let shown = Arc::clone(&director);
        let connector = tower::service_fn(move |_| {
            let (address, credentials) = (Arc::clone(&address), Arc::clone(&credentials));
            let shown = Arc::clone(&shown);
            async move {
                let io = dial(address, credentials).await?;
                let tls = io.get_ref().get_ref().1;
                if let Some(certificate) = tls.peer_certificates().and_then(<[_]>::first) {
                    *shown.lock().unwrap_or_else(PoisonError::into_inner) = certificate.to_vec();
                }
                Ok::<_, Fault>(TokioIo::new(io))
            }
        });
        let channel = endpoint.connect_with_connector(connector).await;
        Ok(Self {
            channel: channel.map_err(|error| fault::of_error(&error))?,
            director,
            idle: Duration::from_secs(60),
        })
    }

    /// The certificate that the director showed when we dialled last, DER.
    pub fn director_certificate(&self) -> Vec<u8> {
        let shown = self.director.lock();
        shown.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn envoys(&self) -> EnvoysClient<Channel> {
        EnvoysClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE)
    }

    fn operators(&self) -> OperatorsClient<Channel> {
        OperatorsClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE)
    }

    /// Attends as a site: the director knows that we are there and tells us what to do. `software` is our program's name and
    /// version.
    ///
    /// # Errors
    /// [`Fault`]
    pub async fn attend(&self, software: &str) -> Result<Attendance, Fault> {
        let request = proto::AttendRequest {
            software: software.to_owned(),
        };
        let mut envoys = self.envoys();
        let errands = answered(envoys.attend(request)).await?;
        Ok(Attendance { errands })
    }

    /// Puts an experiment into the queue. The same [`Submission::request`] submits once, however often it is sent.
    ///
    /// # Errors
    /// [`FaultKind::Invalid`] with what is wrong with it; [`Fault`].
    pub async fn submit(&self, submission: Submission) -> Result<Submitted, Fault> {
        let request = proto::SubmitRequest::from(submission);
        let mut operators = self.operators();
        Ok(answered(operators.submit(request)).await?.into())
    }

    /// What there is: [`crate::experiment::Status`] as JSON.
    ///
    /// # Errors
    /// [`Fault`]
    pub async fn status(&self) -> Result<String, Fault> {
        let mut operators = self.operators();
        let reply = answered(operators.status(proto::StatusRequest {})).await?;
        Ok(reply.json)
    }

    /// Gives the lines of an experiment's story after the first `after` to `each`, with their numbers, until it ends.
    ///
    /// # Errors
    /// [`FaultKind::Unknown`]; [`FaultKind::Unreachable`] if the connection broke: follow again after the last line.
    pub async fn follow(
        &self,
        experiment: u64,
        after: u64,
        mut each: impl FnMut(u64, &str),
    ) -> Result<(), Fault> {
        let request = proto::FollowRequest { experiment, after };
        let mut operators = self.operators();
        let mut lines = answered(operators.follow(request)).await?;
        while let Some(line) = lines
            .message()
            .await
            .map_err(|status| fault::of_status(&status))?
        {
            each(line.number, &line.json);
        }
        Ok(())
    }

    /// Ends an experiment, once for each `request`.
    ///
    /// # Errors
    /// [`FaultKind::Unknown`]; [`FaultKind::Invalid`] for one that has ended; [`Fault`].
    pub async fn cancel(
        &self,
        request: [u8; 16],
        experiment: u64,
        reason: &str,
    ) -> Result<(), Fault> {
        let request = proto::CancelRequest {
            request: request.to_vec().into(),
            experiment,
            reason: reason.to_owned(),
        };
        let mut operators = self.operators();
        answered(operators.cancel(request)).await.map(drop)
    }

    /// Writes a file of an experiment's run folder to `into`, whole or not at all; for an empty name the list of them. How
    /// many bytes it has. A connection that breaks is dialled again a few times.
    ///
    /// # Errors
    /// [`FaultKind::Unknown`]; [`Fault`].
    pub async fn collect(&self, experiment: u64, file: &str, into: &Path) -> Result<u64, Fault> {
        transfer::collect(self, experiment, file, into).await
    }
}

/// Waits for the answer to a request, but not forever.
async fn answered<T>(
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, Fault> {
    match timeout(ANSWER, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(fault::of_status(&status)),
        Err(_) => Err(silent(ANSWER)),
    }
}

fn silent(patience: Duration) -> Fault {
    let seconds = patience.as_secs();
    let message = format!("the director has said nothing for {seconds} seconds");
    Fault::new(FaultKind::Unreachable, message)
}

/// A site that attends. It has left when this is dropped.
#[derive(Debug)]
pub struct Attendance {
    errands: Streaming<proto::Errands>,
}

impl Attendance {
    /// What waits for us now, when it has changed and now and then when it has not; `None` when the director has ended the
    /// attendance. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`FaultKind::Unreachable`] if the connection broke, or nothing came for 45 seconds.
    pub async fn next(&mut self) -> Result<Option<Errands>, Fault> {
        match timeout(SILENCE, self.errands.message()).await {
            Ok(Ok(errands)) => errands.map(Errands::try_from).transpose(),
            Ok(Err(status)) => Err(fault::of_status(&status)),
            Err(_) => Err(silent(SILENCE)),
        }
    }
}
