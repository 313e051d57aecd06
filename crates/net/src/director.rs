//! A director: the long-lived process that hosts the server of experiments.
//!
//! ```text
//! envoys, operators -- transport -- service -- desk -- worker (a thread an experiment) -- hosted -- protocol::Server
//!                                                \                                         \
//!                                                 page, metrics                              store, run folder, ledger
//! ```
//!
//! An experiment is offered to sites, begins when enough have accepted, and goes on round by round. What the director
//! acknowledges is on its disk before: killed at any instant and started again, it takes up every round where it was.

mod board;
mod books;
mod config;
mod data;
mod desk;
mod error;
#[cfg(test)]
mod faults;
mod hosted;
mod page;
mod queue;
mod run_folder;
mod service;
mod status;
mod worker;

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub use config::{DataEntry, DirectorConfig};
pub use error::DirectorError;

use crate::pki::Use;
use crate::transport::{Credentials, Limits, serve};
use desk::Desk;
use service::Counter;

/// How often the director looks at what changes by time alone.
const TEND: Duration = Duration::from_secs(1);

/// A director whose ports are bound.
pub struct Director {
    desk: Arc<Desk>,
    credentials: Arc<Credentials>,
    calls: TcpListener,
    page: Option<TcpListener>,
    limits: Limits,
}

impl Director {
    /// Opens the director of the folder `dir` and binds its ports; `log` is told what happens, line by line.
    ///
    /// # Errors
    /// [`DirectorError`]: a config, key or certificate that is wrong, a store that another director has, a port that is taken.
    pub async fn bind(
        dir: &Path,
        log: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<Self, DirectorError> {
        let config = DirectorConfig::read(dir)?;
        let credentials = Arc::new(Credentials::load(dir, Use::Server)?);
        let own = credentials.leaf().identity;
        if own.federation != config.federation {
            return Err(DirectorError::Config {
                path: dir.join(crate::pki::file_name::DIRECTOR_CONFIG),
                reason: format!(
                    "federation is '{}', and the certificate is of {own}",
                    config.federation
                ),
            });
        }
        // The ports first: a second director on the same folder must not get as far as the store.
        let calls = listen("calls", config.listen).await?;
        let page = match config.page {
            Some(address) => Some(listen("the page", address).await?),
            None => None,
        };
        let desk = Desk::open(&config, Arc::clone(&credentials), Box::new(log))?;
        Ok(Self {
            desk: Arc::new(desk),
            credentials,
            calls,
            page,
            limits: Limits::default(),
        })
    }

    /// Other limits than [`Limits::default`].
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Where envoys and operators call.
    ///
    /// # Errors
    /// [`DirectorError::System`].
    pub fn address(&self) -> Result<SocketAddr, DirectorError> {
        address(&self.calls)
    }

    /// Where the page is, if there is one.
    ///
    /// # Errors
    /// [`DirectorError::System`].
    pub fn page_address(&self) -> Result<Option<SocketAddr>, DirectorError> {
        self.page.as_ref().map(address).transpose()
    }

    /// Works until `stop`; experiments under way go on when the director is started again.
    ///
    /// # Errors
    /// [`DirectorError::Serve`] if calls cannot be answered any more.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) -> Result<(), DirectorError> {
        let desk = Arc::clone(&self.desk);
        let resumed = Arc::clone(&desk);
        blocking(move || resumed.resume()).await;
        let tended = Arc::clone(&desk);
        let tending = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(TEND);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let desk = Arc::clone(&tended);
                blocking(move || desk.tend()).await;
            }
        });
        let (page_stop, page_stopped) = oneshot::channel::<()>();
        let page = self.page.map(|listener| {
            tokio::spawn(page::serve(listener, Arc::clone(&desk), async move {
                // It stops too when nobody is left to tell it.
                let _ = page_stopped.await;
            }))
        });
        let counter = Arc::new(Counter(Arc::clone(&desk)));
        let served = serve(self.calls, self.credentials, counter, self.limits, stop).await;
        tending.abort();
        drop(page_stop);
        if let Some(page) = page {
            // A panic of it has been printed.
            let _ = page.await;
        }
        blocking(move || desk.stop()).await;
        Ok(served?)
    }
}

/// Does what may wait for a disk.
async fn blocking(work: impl FnOnce() + Send + 'static) {
    // A panic has been printed, and ends this piece of work alone.
    let _ = tokio::task::spawn_blocking(work).await;
}

async fn listen(what: &str, address: SocketAddr) -> Result<TcpListener, DirectorError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| DirectorError::System {
            what: format!("listen for {what} on {address}"),
            source,
        })
}

fn address(listener: &TcpListener) -> Result<SocketAddr, DirectorError> {
    listener
        .local_addr()
        .map_err(|source| DirectorError::System {
            what: "ask for the port".to_owned(),
            source,
        })
}
