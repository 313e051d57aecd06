//! Pages that follow what happens.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;

use super::Hall;

/// A page is told at most once in that time.
const PAUSE: Duration = Duration::from_millis(500);
/// Even when nothing happens, so that what it says of times stays true, and that a page that is gone shows.
const PULSE: Duration = Duration::from_secs(10);
/// After which a browser that lost the stream asks for it again.
const RETRY: Duration = Duration::from_secs(2);
/// How often it is looked at what experiments wait for.
const LOOK: Duration = Duration::from_secs(2);

/// Something has changed: an event that says no more than that.
pub(super) async fn stream(State(hall): State<Arc<Hall>>) -> Response {
    let Ok(place) = Arc::clone(&hall.streams).try_acquire_owned() else {
        let words = "as many live pages are open as the director serves";
        return (StatusCode::SERVICE_UNAVAILABLE, words).into_response();
    };
    let (tell, told) = mpsc::channel::<Result<Event, Infallible>>(1);
    let mut changes = hall.desk.subscribe();
    let mut stopping = hall.stopping.clone();
    tokio::spawn(async move {
        let _place = place;
        let following = async {
            loop {
                let event = Event::default().data("changed").retry(RETRY);
                if tell.send(Ok(event)).await.is_err() {
                    return;
                }
                sleep(PAUSE).await;
                tokio::select! {
                    changed = changes.changed() => if changed.is_err() { return },
                    () = sleep(PULSE) => {}
                }
            }
        };
        tokio::select! {
            () = following => {}
            () = tell.closed() => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    });
    Sse::new(ReceiverStream::new(told)).into_response()
}

/// Sees to it that it is known since when experiments wait, also while nobody looks.
pub(super) async fn keep_noticing(hall: Arc<Hall>) {
    let mut changes = hall.desk.subscribe();
    loop {
        let own = Arc::clone(&hall);
        // A panic has been printed; the next look may go better.
        let _ = tokio::task::spawn_blocking(move || own.status()).await;
        sleep(LOOK).await;
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}
