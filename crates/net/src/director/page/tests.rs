//! The page over a desk with experiments in all states, of which none is at work.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode};
use cloister_report::record::{AnomalyFlag, Event, RoundRow, RunWriter};
use serde_json::json;
use tower::ServiceExt;

use super::super::config::DirectorConfig;
use super::super::run_folder::line;
use super::*;
use crate::clock::unix_now;
use crate::experiment::{Answer, Charter, Contract, Member};
use crate::pki::{Federation, Use, init};
use crate::store::{AnswerRecord, Closed, ExperimentRecord, Store};
use crate::transport::Credentials;

const HOSTILE: &str = "<script>alert(1)</script>\"'&";
const CONFIG: &str = "name = \"digits\"\nseed = 1\n[data]\ndataset = \"digits\"\n\
                      [federation]\nclients = 3\nrounds = 20\n[model]\nkind = \"mlp\"\nhidden = [64]\n\
                      [privacy]\nmechanism = \"central-gaussian\"\nepsilon = 3.0\ndelta = 1e-3\n";

pub(super) struct Around {
    dir: tempfile::TempDir,
    pub(super) desk: Arc<Desk>,
}

impl Around {
    /// A director with an experiment that is offered, one that runs and one that has failed.
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let federation = Federation {
            name: "clinics".parse().unwrap(),
            sites: ["northgate", "harbour", "saint-luke"]
                .map(|site| site.parse().unwrap())
                .to_vec(),
            operators: vec!["olga".parse().unwrap()],
            hosts: Vec::new(),
            days: 30,
        };
        init(&dir.path().join("f"), &federation, unix_now()).unwrap();
        let folder = dir.path().join("f/director");
        std::fs::write(folder.join("director.toml"), "federation = \"clinics\"\n").unwrap();
        let config = DirectorConfig::read(&folder).unwrap();
        std::fs::create_dir_all(&config.state).unwrap();
        seed(&Store::open(&config.state, &config.federation).unwrap());
        let credentials = Arc::new(Credentials::load(&folder, Use::Server).unwrap());
        let desk = Desk::open(&config, credentials, Box::new(|_| {})).unwrap();
        let attending = |days: u64, software: &str| crate::director::books::Presence {
            attending: true,
            seen: Some(unix_now()),
            software: software.to_owned(),
            until: Some(unix_now() + days * 86_400 + 60),
            ..Default::default()
        };
        {
            let mut presence = desk.presence();
            presence.insert("northgate".into(), attending(300, "cloister 0.1.0"));
            presence.insert("harbour".into(), attending(3, HOSTILE));
        }
        if let Some(figures) = desk.books().figures.get_mut(&2) {
            figures.waiting = "round 13: waiting for saint-luke".into();
        }
        Self {
            dir,
            desk: Arc::new(desk),
        }
    }

    fn app(&self) -> Router {
        let (_, stopping) = watch::channel(false);
        routes::router(Arc::new(Hall::new(Arc::clone(&self.desk), stopping)))
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let (response, text) = asked(self.app(), "GET", path, "localhost:8444").await;
        (response.status(), text)
    }

    fn state(&self) -> std::path::PathBuf {
        self.dir.path().join("f/director/state")
    }
}

async fn asked(app: Router, method: &str, path: &str, host: &str) -> (Response<()>, String) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", host);
    let response = app.oneshot(request.body(Body::empty()).unwrap()).await;
    let (parts, body) = response.unwrap().into_parts();
    let bytes = to_bytes(body, 1 << 22).await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    (Response::from_parts(parts, ()), text)
}

fn record(name: &str) -> ExperimentRecord {
    ExperimentRecord {
        id: 0,
        name: name.to_owned(),
        operator: "olga".to_owned(),
        submitted: unix_now() - 4_000,
        config: CONFIG.to_owned(),
        contract: Contract {
            dataset: "digits".to_owned(),
            shape: [1, 8, 8],
            classes: (0..10).map(|class| class.to_string()).collect(),
        },
        sites: ["northgate", "harbour", "saint-luke"]
            .map(str::to_owned)
            .to_vec(),
        minimum: 2,
        rounds: 20,
        state: State::Offered,
        reason: String::new(),
        answers: BTreeMap::new(),
        charter: None,
        run: String::new(),
    }
}

fn reply(store: &Store, id: Id, site: &str, answer: Answer) {
    let told = line("answer", &json!({"site": site, "answer": answer})).unwrap();
    let stored = AnswerRecord {
        answer,
        certificate: String::new(),
        when: unix_now(),
    };
    store.answer(id, site, stored).unwrap();
    store.tell(id, &[told]).unwrap();
}

fn accept(examples: u64) -> Answer {
    Answer::Accept {
        examples,
        layout: "00".to_owned(),
    }
}

/// The row of a round, as a training that goes well writes it.
pub(super) fn row(round: u32) -> RoundRow {
    let far = f64::from(round);
    RoundRow {
        round,
        train_loss: Some(2.3 * (-far / 6.0).exp() + 0.2),
        test_accuracy: Some(0.95 - 0.8 * (-far / 4.0).exp()),
        epsilon: Some(0.4 * far.sqrt()),
        cohort: 2,
        accepted: 2,
        refused: u32::from(round == 4),
        bytes_up: 5_200,
        bytes_down: 10_400,
        ..RoundRow::default()
    }
}

pub(super) fn rounds(store: &Store, id: Id, rounds: u32) {
    let charter = Charter {
        experiment: id,
        config_sha256: String::new(),
        members: vec![Member {
            site: "northgate".to_owned(),
            client: 0,
            examples: 7,
            certificate: String::new(),
        }],
        director: String::new(),
    };
    store.charter(id, &charter).unwrap();
    let mut writer = RunWriter::create(&store.run_folder(id), CONFIG).unwrap();
    for round in 1..=rounds {
        let row = row(round);
        let mut lines = Vec::new();
        if round == 4 {
            let event = Event::refused(
                round,
                "harbour",
                "not-finite",
                format!("parameter 7 is {HOSTILE}"),
            );
            writer.event(&event).unwrap();
            lines.push(line("event", &event).unwrap());
        }
        if round == 5 {
            let flag = AnomalyFlag {
                rule: "norm".to_owned(),
                value: 9.5,
                threshold: 6.0,
                ..AnomalyFlag::default()
            };
            let event = flag.event(
                round,
                Some("harbour".to_owned()),
                format!("far too long {HOSTILE}"),
            );
            writer.event(&event).unwrap();
            lines.push(line("event", &event).unwrap());
        }
        lines.push(line("round", &row).unwrap());
        writer.round(&row).unwrap();
        store
            .begin_round(id, round, Duration::from_secs(1), None)
            .unwrap();
        let told = serde_json::to_string(&row).unwrap();
        let closed = Closed {
            round,
            state: b"state",
            row: &told,
            lines,
        };
        store.close_round(id, closed).unwrap();
    }
}

fn seed(store: &Store) {
    let submit = |number: u8, name: &str| store.submit(&[number; 16], record(name)).unwrap().0;
    let (failed, running, offered) = (
        submit(1, "pilot"),
        submit(2, "digits-dp"),
        submit(3, "retina"),
    );
    rounds(store, failed, 5);
    store
        .set_state(failed, State::Failed, "fewer than 2 replies in round 6")
        .unwrap();
    reply(store, running, "northgate", accept(1_203));
    reply(
        store,
        running,
        "harbour",
        Answer::Decline {
            reason: HOSTILE.repeat(100),
        },
    );
    rounds(store, running, 12);
    reply(store, offered, "northgate", accept(800));
}

#[tokio::test]
async fn each_route_answers() {
    let around = Around::new();
    for (path, status) in [
        ("/", 200),
        ("/experiments/1", 200),
        ("/experiments/2", 200),
        ("/experiments/3", 200),
        ("/experiments/4", 404),
        ("/experiments/x", 404),
        ("/experiments/18446744073709551615", 404),
        ("/experiments/2/report", 200),
        ("/experiments/3/report", 404),
        ("/experiments/9/report", 404),
        ("/status.json", 200),
        ("/healthz", 200),
        ("/metrics", 200),
        ("/style.css", 200),
        ("/live.js", 200),
        ("/nothing", 404),
    ] {
        let (found, text) = around.get(path).await;
        assert_eq!(found.as_u16(), status, "{path}: {text}");
    }
    let (_, page) = around.get("/").await;
    for words in [
        "clinics",
        "2 of 3",
        "digits-dp",
        "round 13: waiting for saint-luke",
        "waiting for the answer of harbour, saint-luke",
        "fewer than 2 replies in round 6",
        "12 of 20 rounds",
        "Certificates end within a week: harbour.",
        "Accuracy <b>91.0\u{a0}%</b>",
        "with 1,203\u{a0}examples",
        "1.39 <small>of 3 at \u{3b4} = 1e-3",
    ] {
        assert!(page.contains(words), "{words} is missing in {page}");
    }
    let (_, page) = around.get("/experiments/2").await;
    assert!(
        page.contains("round 12: 0.511") && page.contains("1.39"),
        "{page}"
    );
    for words in [
        "id=\"anomalies\"",
        "far too long &#60;script",
        "1 in all; newest first",
    ] {
        assert!(page.contains(words), "{words} is missing in {page}");
    }
    let (_, report) = around.get("/experiments/2/report").await;
    assert!(report.contains("digits-dp") && report.contains("harbour"));
}

#[tokio::test]
async fn text_of_others_is_escaped_and_cut() {
    let around = Around::new();
    for path in ["/", "/experiments/2", "/experiments/2/report"] {
        let (_, page) = around.get(path).await;
        assert!(!page.contains("<script>alert"), "{path}");
    }
    let (_, page) = around.get("/").await;
    assert!(page.contains("&#60;script&#62;alert(1)"), "{page}");
    assert!(page.matches("alert(1)").count() < 10, "a reason is cut");
    let (_, page) = around.get("/experiments/2").await;
    assert!(page.contains("parameter 7 is &#60;script"));
}

#[tokio::test]
async fn a_name_of_another_machine_is_turned_away() {
    let around = Around::new();
    for (host, status) in [
        ("localhost", 200),
        ("LOCALHOST:9000", 200),
        ("127.0.0.1:8444", 200),
        ("[::1]:8444", 200),
        ("evil.example", 421),
        ("localhost.evil.example:8444", 421),
        ("127.0.0.1.evil.example", 421),
        ("10.0.0.1", 421),
        ("[::2]", 421),
        ("[::1", 421),
        ("localhost:", 421),
        ("localhost:80:80", 421),
        ("", 421),
    ] {
        let (response, text) = asked(around.app(), "GET", "/status.json", host).await;
        assert_eq!(response.status().as_u16(), status, "{host}");
        assert_eq!(text.contains("clinics"), status == 200, "{host}");
    }
    let without = Request::builder().uri("/").body(Body::empty()).unwrap();
    let response = around.app().oneshot(without).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let (absolute, _) = asked(around.app(), "GET", "http://evil.example/", "localhost").await;
    assert_eq!(absolute.status(), StatusCode::MISDIRECTED_REQUEST);
}

#[tokio::test]
async fn it_only_reads_and_tells_browsers_to_stay() {
    let around = Around::new();
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let (response, _) = asked(around.app(), method, "/", "localhost").await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()["allow"], "GET, HEAD");
    }
    let (head, text) = asked(around.app(), "HEAD", "/", "localhost").await;
    assert_eq!((head.status(), text.as_str()), (StatusCode::OK, ""));
    for path in ["/", "/metrics", "/nothing", "/experiments/2/report"] {
        let (response, text) = asked(around.app(), "GET", path, "localhost").await;
        let fields = response.headers();
        assert_eq!(fields["cache-control"], "no-store");
        assert_eq!(fields["x-content-type-options"], "nosniff");
        assert_eq!(fields["referrer-policy"], "no-referrer");
        let policy = fields["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src"));
        if !path.ends_with("report") {
            assert!(!policy.contains("unsafe"));
            assert!(!text.contains("style=\"") && !text.contains("<style"));
        }
    }
}

#[tokio::test]
async fn metrics_are_metrics_and_name_no_site() {
    let around = Around::new();
    let (response, text) = asked(around.app(), "GET", "/metrics", "localhost").await;
    assert_eq!(response.headers()["content-type"], metrics::CONTENT_TYPE);
    for name in ["northgate", "harbour", "saint-luke", "digits-dp", "olga"] {
        assert!(!text.contains(name), "{name} is in {text}");
    }
    let mut kinds = BTreeMap::new();
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(kinds.insert(name, kind).is_none(), "{name} twice");
            continue;
        }
        if line.starts_with("# HELP ") {
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let value: f64 = value.parse().unwrap();
        let name = series.split('{').next().unwrap();
        assert!(kinds.contains_key(name), "{name} before its type");
        assert_eq!(name.ends_with("_total"), kinds[name] == "counter");
        assert!(samples.insert(series, value).is_none(), "{series} twice");
    }
    for (series, value) in [
        ("cloister_sites_attending", 2.0),
        ("cloister_sites_known", 3.0),
        ("cloister_experiments{state=\"running\"}", 1.0),
        ("cloister_experiments{state=\"queued\"}", 0.0),
        ("cloister_rounds_completed_total", 17.0),
        ("cloister_replies_refused_total", 2.0),
        ("cloister_bytes_up_total", 17.0 * 5_200.0),
        ("cloister_experiment_round{experiment=\"2\"}", 12.0),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series}");
    }
    assert!(!text.contains("experiment=\"1\""), "it does not run");
}

#[tokio::test]
async fn ill_health_is_told() {
    let around = Around::new();
    assert_eq!(
        around.get("/healthz").await,
        (StatusCode::OK, "ok\n".into())
    );
    let (there, gone) = (
        around.state().join("experiments"),
        around.state().join("gone"),
    );
    std::fs::rename(&there, &gone).unwrap();
    let (status, words) = around.get("/healthz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(words.contains("cannot read"), "{words}");
    std::fs::rename(&gone, &there).unwrap();
    assert_eq!(around.get("/healthz").await.0, StatusCode::OK);
}

#[test]
fn what_is_new_is_read_once_and_a_wait_goes_on() {
    let around = Around::new();
    let (_, stopping) = watch::channel(false);
    let hall = Hall::new(Arc::clone(&around.desk), stopping);
    let before = hall.chronicle(2).unwrap();
    assert_eq!((before.points.len(), before.recent.len()), (12, 3));
    let told: Vec<String> = (0..60)
        .map(|place| line("event", &Event::new(13, "late", place.to_string())).unwrap())
        .chain([line("round", &row(13)).unwrap(), "{\"later\":1}".into()])
        .collect();
    around.desk.store.tell(2, &told).unwrap();
    let after = hall.chronicle(2).unwrap();
    assert_eq!((after.points.len(), after.recent.len()), (13, 50));
    assert_eq!(before.points.len(), 12);

    let mut status = around.desk.status();
    hall.notice(&status);
    let since = hall.waits_since(2).unwrap();
    let mut wait = |later: u64, reason: &str| {
        status.now = since + later;
        status.experiments[1].reason = reason.to_owned();
        hall.notice(&status);
        hall.waits_since(2).unwrap() - since
    };
    assert_eq!(wait(9, "round 13: waiting for harbour"), 0);
    assert_eq!(wait(10, "round 14: waiting for harbour"), 10);
    assert_eq!(hall.waits_since(1), None);
}

#[test]
fn templates_fetch_nothing_from_elsewhere() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.replace("http://www.w3.org/2000/svg", "");
        assert!(
            !text.contains("//") || path.extension().is_some_and(|end| end == "js"),
            "{}",
            path.display()
        );
        assert!(
            !text.contains("http:") && !text.contains("https:"),
            "{}",
            path.display()
        );
    }
}
