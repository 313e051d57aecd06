//! Connections of the page: how many, how long, how much.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::super::desk::Desk;
use super::{Hall, live, routes};

/// Connections at the same time; who comes later waits.
const CONNECTIONS: usize = 64;
/// Time for the head of a call, also of the next one on a connection that is kept.
const HEAD: Duration = Duration::from_secs(10);
/// Bytes of it.
const HEAD_BYTES: usize = 16 << 10;
/// Its fields.
const FIELDS: usize = 64;
/// The life of a connection. A live page connects again.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// How long a call under way may go on when the director stops.
const GRACE: Duration = Duration::from_secs(2);

/// Serves the page until `stop`.
pub(in super::super) async fn serve(
    listener: TcpListener,
    desk: Arc<Desk>,
    stop: impl Future<Output = ()> + Send,
) {
    let (stopping, stopped) = watch::channel(false);
    let hall = Arc::new(Hall::new(desk, stopped.clone()));
    let app = routes::router(Arc::clone(&hall));
    let mut connections = JoinSet::new();
    tokio::select! {
        () = accept(&listener, &app, &stopped, &mut connections) => {}
        () = live::keep_noticing(hall) => {}
        () = stop => {}
    }
    // Nobody else listens to it once the last connection is gone.
    let _ = stopping.send(true);
    let all = async { while connections.join_next().await.is_some() {} };
    // Those that take longer end with the set.
    let _ = timeout(GRACE, all).await;
}

async fn accept(
    listener: &TcpListener,
    app: &Router,
    stopped: &watch::Receiver<bool>,
    connections: &mut JoinSet<()>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((tcp, _)) => {
                let (app, stopped) = (app.clone(), stopped.clone());
                connections.spawn(async move {
                    attend(tcp, app, stopped).await;
                    drop(place);
                });
            }
            // Too many open files, or a connection that is gone already: others may end meanwhile.
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn attend(tcp: TcpStream, app: Router, mut stopped: watch::Receiver<bool>) {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .max_headers(FIELDS);
    let connection = builder.serve_connection(TokioIo::new(tcp), TowerToHyperService::new(app));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // A browser that hangs up is no news.
        _ = connection.as_mut() => return,
        () = sleep(LONGEST) => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(GRACE, connection).await;
}
