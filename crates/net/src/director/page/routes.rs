//! What is where.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use cloister_report::html::run_page;
use cloister_report::record::{RecordError, RunRecord, file_name};

use super::super::worker::words;
use super::guard::{REPORT_POLICY, guard};
use super::{Hall, live, metrics, overview, single};
use crate::experiment::Id;
use crate::store::StoreError;

/// Colours and type of a run's report, so that both are of one house; then what only this page has.
const STYLE: &str = concat!(
    include_str!("../../../../report/templates/style.css"),
    include_str!("../../../templates/page.css")
);
const SCRIPT: &str = include_str!("../../../templates/live.js");
const ICON: &str = include_str!("../../../templates/icon.svg");

const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// Nothing of that name.
    #[error("there is no such page or experiment")]
    Unknown,
    /// The run has no report yet.
    #[error("the report comes with the first round")]
    NoReport,
    /// The store does not answer.
    #[error("the store does not answer")]
    Store(#[from] StoreError),
    /// The run folder cannot be read.
    #[error("the run folder cannot be read")]
    Record(#[from] RecordError),
    /// A page could not be put together.
    #[error("the page cannot be put together")]
    Page(#[from] askama::Error),
    /// A defect of the program.
    #[error("the page could not be made: this is a defect")]
    Defect,
}

impl Trouble {
    fn status(&self) -> StatusCode {
        match self {
            Self::Unknown | Self::NoReport | Self::Store(StoreError::Unknown(_)) => {
                StatusCode::NOT_FOUND
            }
            Self::Store(_) | Self::Record(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Page(_) | Self::Defect => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

#[derive(Template)]
#[template(path = "message.html")]
struct Message {
    title: String,
    words: String,
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let status = self.status();
        let message = Message {
            title: format!("{status}"),
            words: super::words::sentence(&words(&self)),
        };
        match message.render() {
            Ok(page) => (status, [(header::CONTENT_TYPE, HTML)], page).into_response(),
            Err(_) => status.into_response(),
        }
    }
}

/// All routes.
pub(super) fn router(hall: Arc<Hall>) -> Router {
    Router::new()
        .route("/", get(federation))
        .route("/experiments/{id}", get(experiment))
        .route("/experiments/{id}/report", get(report))
        .route("/live", get(live::stream))
        .route("/status.json", get(status))
        .route("/healthz", get(health))
        .route("/metrics", get(scrape))
        .route("/style.css", fixed("text/css; charset=utf-8", STYLE))
        .route("/live.js", fixed("text/javascript; charset=utf-8", SCRIPT))
        .route("/favicon.ico", fixed("image/svg+xml", ICON))
        .fallback(|| async { Trouble::Unknown })
        .with_state(hall)
        .layer(from_fn(guard))
}

fn fixed(kind: &'static str, text: &'static str) -> axum::routing::MethodRouter<Arc<Hall>> {
    get(move || async move { ([(header::CONTENT_TYPE, kind)], text) })
}

/// Puts a page together where a disk may be waited for, and only so many at once.
async fn made(
    hall: Arc<Hall>,
    kind: &'static str,
    make: impl FnOnce(&Hall) -> Result<String, Trouble> + Send + 'static,
) -> Response {
    let own = Arc::clone(&hall);
    // It is never closed.
    let _place = hall.renders.acquire().await;
    let page = tokio::task::spawn_blocking(move || make(&own)).await;
    match page.unwrap_or(Err(Trouble::Defect)) {
        Ok(page) => ([(header::CONTENT_TYPE, kind)], page).into_response(),
        Err(trouble) => trouble.into_response(),
    }
}

fn number(text: &str) -> Result<Id, Trouble> {
    text.parse().map_err(|_| Trouble::Unknown)
}

async fn federation(State(hall): State<Arc<Hall>>) -> Response {
    made(hall, HTML, overview::page).await
}

async fn experiment(State(hall): State<Arc<Hall>>, Path(id): Path<String>) -> Response {
    made(hall, HTML, move |hall| single::page(hall, number(&id)?)).await
}

async fn report(State(hall): State<Arc<Hall>>, Path(id): Path<String>) -> Response {
    let mut response = made(hall, HTML, move |hall| run_report(hall, number(&id)?)).await;
    if response.status() == StatusCode::OK {
        let policy = header::HeaderValue::from_static(REPORT_POLICY);
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// The report that the run has left, or one of what is there so far.
fn run_report(hall: &Hall, id: Id) -> Result<String, Trouble> {
    let name = hall.desk.store.experiment(id)?.name;
    let folder = hall.desk.store.run_folder(id);
    if let Ok(page) = std::fs::read_to_string(folder.join(file_name::REPORT)) {
        return Ok(page);
    }
    match RunRecord::read(&folder) {
        Ok(record) if record.rounds.is_empty() => Err(Trouble::NoReport),
        Ok(mut record) => {
            // A run without a summary is called as its folder is.
            record.folder = name.into();
            Ok(run_page(&record)?)
        }
        Err(RecordError::NotARun { .. }) => Err(Trouble::NoReport),
        Err(error) => Err(error.into()),
    }
}

async fn status(State(hall): State<Arc<Hall>>) -> Response {
    made(hall, "application/json", |hall| {
        serde_json::to_string(&hall.status()).map_err(|_| Trouble::Defect)
    })
    .await
}

async fn scrape(State(hall): State<Arc<Hall>>) -> Response {
    made(hall, metrics::CONTENT_TYPE, |hall| {
        let until = hall.desk.credentials.leaf().until;
        Ok(metrics::text(&hall.status(), until))
    })
    .await
}

/// Whether the store answers, and its folders are there.
async fn health(State(hall): State<Arc<Hall>>) -> Response {
    let asked = tokio::task::spawn_blocking(move || {
        let store = &hall.desk.store;
        match store.experiment(0) {
            // Experiments are counted from 1.
            Ok(_) | Err(StoreError::Unknown(_)) => {}
            Err(error) => return Err(words(&error)),
        }
        let folder = store.folder(0);
        let folder = folder.parent().unwrap_or(&folder);
        match folder.read_dir() {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("cannot read {}: {error}", folder.display())),
        }
    });
    let kind = [(header::CONTENT_TYPE, TEXT)];
    match asked.await {
        Ok(Ok(())) => (StatusCode::OK, kind, "ok\n".to_owned()).into_response(),
        Ok(Err(words)) => (StatusCode::SERVICE_UNAVAILABLE, kind, words + "\n").into_response(),
        Err(_) => Trouble::Defect.into_response(),
    }
}
