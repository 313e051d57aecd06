//! What a simulation shows while it goes: a bar on a terminal, a line a round elsewhere, or JSON events.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cloister_privacy::rounded_up;
use cloister_report::record::{Event, HeadlineMetric, RoundOutcome, RoundRow, Summary, event_kind};
use cloister_sim::{Prepared, SimEvent};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::output::{self, bytes, grouped, percent};

/// How a run is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Not at all.
    Quiet,
    /// One JSON event a line on stdout.
    Json,
    /// A bar or lines on stderr.
    Words,
}

/// Takes the events of a run, or a sweep, and shows them.
pub(crate) struct Progress {
    mode: Mode,
    bar: Option<ProgressBar>,
    on_terminal: bool,
    rounds: u32,
    /// Whether AUROC says more than accuracy: for two classes.
    binary: bool,
    /// Bytes up and down so far.
    traffic: u64,
    shown: Option<RoundRow>,
    /// Set to end the run when nobody reads its events any more.
    stop: Arc<AtomicBool>,
    failure: Option<io::Error>,
}

impl Progress {
    pub(crate) fn new(mode: Mode, stop: Arc<AtomicBool>) -> Self {
        Self {
            mode,
            bar: None,
            on_terminal: io::stderr().is_terminal(),
            rounds: 0,
            binary: false,
            traffic: 0,
            shown: None,
            stop,
            failure: None,
        }
    }

    /// Says that the data has two classes, so that AUROC is shown.
    pub(crate) fn binary(mut self, binary: bool) -> Self {
        self.binary = binary;
        self
    }

    /// As [`Self::binary`], when that is known later.
    pub(crate) fn set_binary(&mut self, binary: bool) {
        self.binary = binary;
    }

    /// Shows a line of an experiment's record, and a refusal in words.
    pub(crate) fn tell(&mut self, event: &Event) {
        match self.mode {
            Mode::Words => self.record(event),
            Mode::Quiet | Mode::Json => self.show(&SimEvent::Record(event)),
        }
    }

    fn record(&self, event: &Event) {
        let who = event.client.as_deref().map(|client| format!("{client}: "));
        let who = who.unwrap_or_default();
        let what = match event.kind.as_str() {
            event_kind::ANOMALY => "anomaly: ",
            _ => "",
        };
        self.line(&format!(
            "round {}: {what}{who}{}",
            event.round, event.message
        ));
    }

    /// Says something of the command itself, to people.
    pub(crate) fn say_line(&self, text: &str) {
        if self.mode == Mode::Words {
            self.line(text);
        }
    }

    /// Shows an event.
    pub(crate) fn show(&mut self, event: &SimEvent<'_>) {
        match self.mode {
            Mode::Quiet => {}
            Mode::Json => self.write(&to_json(event)),
            Mode::Words => self.say(event),
        }
    }

    /// Writes an event of the command itself, in JSON mode.
    pub(crate) fn event(&mut self, event: &Value) {
        if self.mode == Mode::Json {
            self.write(event);
        }
    }

    /// Takes the bar off the screen.
    ///
    /// # Errors
    /// If an event could not be written.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.failure.take().map_or(Ok(()), Err)
    }

    fn write(&mut self, event: &Value) {
        if self.failure.is_some() {
            return;
        }
        let mut stdout = io::stdout().lock();
        if let Err(error) = writeln!(stdout, "{event}").and_then(|()| stdout.flush()) {
            self.failure = Some(error);
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    fn say(&mut self, event: &SimEvent<'_>) {
        match event {
            SimEvent::Prepared(prepared) => self.begin(prepared),
            SimEvent::Round(row) => self.round(row),
            SimEvent::Record(event) if event.kind == event_kind::ANOMALY => self.record(event),
            SimEvent::BaselineStarted { name: "unattacked" } => {
                self.line("the same run without the attack, to compare with");
            }
            SimEvent::BaselineStarted { name } => {
                self.line(&format!("training the {name} baseline"));
            }
            SimEvent::CellFinished {
                done,
                of,
                label,
                result,
            } => {
                let result = match result {
                    Ok(summary) => headline(summary),
                    Err(error) => format!("failed: {error}"),
                };
                let width = of.to_string().len();
                self.line(&format!("run {done:>width$}/{of}  {label}  {result}"));
                self.advance(*of as u64, *done as u64, "runs");
            }
            _ => {}
        }
    }

    fn begin(&mut self, prepared: &Prepared<'_>) {
        self.rounds = prepared.rounds;
        self.line(&format!(
            "{}: {} ({} training and {} test examples), {} clients, {} rounds, {} with {} parameters",
            prepared.name,
            prepared.dataset,
            grouped(prepared.train as u64),
            grouped(prepared.test as u64),
            grouped(prepared.clients as u64),
            prepared.rounds,
            prepared.model,
            grouped(prepared.parameters as u64),
        ));
        for note in prepared.notes {
            self.line(&format!("note: {note}"));
        }
        if prepared.done > 0 {
            self.line(&format!("going on after round {}", prepared.done));
        }
        self.advance(
            u64::from(prepared.rounds),
            u64::from(prepared.done),
            "rounds",
        );
    }

    fn round(&mut self, row: &RoundRow) {
        self.traffic += row.bytes_up + row.bytes_down;
        if row.test_loss.is_some() {
            self.shown = Some(row.clone());
        }
        if self.on_terminal {
            let figures = self
                .shown
                .as_ref()
                .map(|row| self.figures(row))
                .unwrap_or_default();
            if let Some(bar) = &self.bar {
                bar.set_message(format!("{figures}  {}", bytes(self.traffic)));
            }
            if let Some(trouble) = trouble(row) {
                self.line(&format!("round {}: {trouble}", row.round));
            }
            self.advance(u64::from(self.rounds), u64::from(row.round), "rounds");
            return;
        }
        let width = self.rounds.to_string().len();
        let trouble = trouble(row)
            .map(|text| format!("  {text}"))
            .unwrap_or_default();
        self.line(&format!(
            "round {:>width$}/{}{}  {}{trouble}",
            row.round,
            self.rounds,
            self.figures(row),
            bytes(self.traffic),
        ));
    }

    /// Loss, accuracy and, for two classes, AUROC of a round, or R2 and error of a number, each after two blanks.
    fn figures(&self, row: &RoundRow) -> String {
        let mut text = String::new();
        if let Some(loss) = row.test_loss {
            text += &format!("  loss {loss:.4}");
        }
        if let Some(accuracy) = row.test_accuracy {
            text += &format!("  accuracy {}", percent(accuracy));
        }
        if let Some(auroc) = row.test_auroc.filter(|_| self.binary) {
            text += &format!("  auroc {auroc:.4}");
        }
        if let Some(r2) = row.test_r2 {
            text += &format!("  r2 {r2:.4}");
        }
        if let Some(error) = row.test_rmse {
            text += &format!("  rmse {}", short(error));
        }
        if let Some(epsilon) = row.epsilon {
            text += &format!("  epsilon {}", rounded_up(epsilon));
        }
        if let Some(recall) = row.source_recall {
            text += &format!("  source recall {}", percent(recall));
        }
        if let Some(success) = row.attack_success {
            text += &format!("  trigger works {}", percent(success));
        }
        text
    }

    /// A line that stays, above the bar.
    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => output::note(text),
        }
    }

    fn advance(&mut self, of: u64, done: u64, what: &str) {
        if !self.on_terminal {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new(of);
            let template =
                format!("{{bar:24}} {{pos}}/{{len}} {what}{{msg}}  {{elapsed}} gone, {{eta}} left");
            // The template is a constant but for a word: it cannot be wrong, and a bar in another style would do.
            if let Ok(style) = ProgressStyle::with_template(&template) {
                bar.set_style(style.progress_chars("=> "));
            }
            // Rounds of before a resume took no time of this process.
            bar.set_position(done);
            bar.reset_eta();
            bar
        });
        bar.set_position(done);
    }
}

/// What went wrong in a round.
fn trouble(row: &RoundRow) -> Option<String> {
    let mut parts = Vec::new();
    if row.outcome == RoundOutcome::Abandoned {
        parts.push(format!("abandoned with {} good replies", row.accepted));
    }
    for (count, what) in [
        (row.refused, "refused"),
        (row.dropped, "dropped"),
        (row.late, "late"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// The figures of a run that are judged first.
pub(crate) fn headline(summary: &Summary) -> String {
    let figures = &summary.final_;
    let mut text = figures_of(summary.metric, figures.accuracy, figures.auroc, figures.r2);
    if let (Some(rmse), Some(mae)) = (figures.rmse, figures.mae) {
        text += &format!(", rmse {}, mae {}", short(rmse), short(mae));
    }
    text
}

/// An error in the target's unit: four digits.
fn short(error: f64) -> String {
    if !error.is_normal() {
        return error.to_string();
    }
    let whole = error.abs().log10().floor() as i32 + 1;
    let decimals = (4 - whole).clamp(0, 12) as usize;
    format!("{error:.decimals$}")
}

/// Accuracy, after AUROC where that is the headline; R2 of a number.
pub(crate) fn figures_of(
    metric: HeadlineMetric,
    accuracy: Option<f64>,
    auroc: Option<f64>,
    r2: Option<f64>,
) -> String {
    let auroc = auroc.filter(|_| metric == HeadlineMetric::Auroc);
    let figures: Vec<String> = [
        auroc.map(|value| format!("auroc {value:.4}")),
        accuracy.map(|value| format!("accuracy {}", percent(value))),
        r2.map(|value| format!("r2 {value:.4}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    match figures.is_empty() {
        true => "not measured".into(),
        false => figures.join(", "),
    }
}

fn to_json(event: &SimEvent<'_>) -> Value {
    match event {
        SimEvent::Prepared(prepared) => json!({
            "event": "prepared",
            "name": prepared.name,
            "dataset": prepared.dataset,
            "train": prepared.train,
            "test": prepared.test,
            "clients": prepared.clients,
            "rounds": prepared.rounds,
            "done": prepared.done,
            "model": prepared.model,
            "parameters": prepared.parameters,
            "notes": prepared.notes,
        }),
        SimEvent::Round(row) => tagged("round", row),
        SimEvent::Record(event) => tagged("record", event),
        SimEvent::BaselineStarted { name } => json!({ "event": "baseline", "name": name }),
        SimEvent::Finished(summary) => tagged("finished", summary),
        SimEvent::CellFinished {
            done,
            of,
            label,
            result,
        } => {
            let (summary, error) = match result {
                Ok(summary) => (Some(summary), None),
                Err(error) => (None, Some(error)),
            };
            json!({
                "event": "run", "done": done, "of": of, "label": label, "summary": summary, "error": error,
            })
        }
        _ => json!({ "event": "other" }),
    }
}

/// The fields of `value` and the event's name.
fn tagged(name: &str, value: &impl serde::Serialize) -> Value {
    let mut value = serde_json::to_value(value).unwrap_or_else(|error| {
        // Records are plain structs with string keys: serde_json has no reason to refuse one.
        json!({ "error": error.to_string() })
    });
    if let Value::Object(fields) = &mut value {
        fields.insert("event".into(), name.into());
    }
    value
}
