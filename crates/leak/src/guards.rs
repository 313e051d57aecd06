//! A malicious server's models: what they would carry out, and whether a client's guard stops them first.

use cloister_protocol::guard::inspect;
use cloister_redteam::inversion::malicious::{
    Imprint, Traps, plant_imprint, plant_traps, read_imprint,
};
use cloister_redteam::inversion::score;
use cloister_report::record::leakage::GuardRow;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::picture::is_image;
use crate::plan::first_is_linear;
use crate::subject::Subject;

/// Examples in the batch on which a planted model is tried.
const BATCH: usize = 8;

/// Puts each kind of malicious model that fits the run's before the guard. Where a model begins with a linear layer the imprint
/// is also read from the gradient of a batch, with the guard off, so that it is known to be worth stopping.
pub(crate) fn guard_rows(subject: &Subject, seed: u64) -> Vec<GuardRow> {
    let model = subject.model();
    let honest = subject.federation().initial_parameters();
    let mut rows = vec![row(subject, "the run's own first model", &honest, None)];
    if let Ok(last) = subject.final_model() {
        rows.push(row(subject, "the run's own last model", &last, None));
    }
    let test = &subject.federation().data.test;
    if first_is_linear(model.layout()) {
        let mut imprinted = honest.clone();
        if plant_imprint(model, &mut imprinted, test.features(), Imprint::default()).is_ok() {
            let carried = carried(subject, &imprinted);
            rows.push(row(
                subject,
                "imprint (Robbing the Fed)",
                &imprinted,
                carried,
            ));
        }
        let mut trapped = honest.clone();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        if plant_traps(model, &mut trapped, Traps::default(), &mut rng).is_ok() {
            rows.push(row(subject, "trap weights", &trapped, None));
        }
    }
    let mut fished = honest;
    if fish(model.layout(), model.outputs(), &mut fished) {
        rows.push(row(subject, "fishing head", &fished, None));
    }
    rows
}

fn row(subject: &Subject, attack: &str, parameters: &[f32], carried: Option<String>) -> GuardRow {
    let findings = inspect(subject.model().layout(), parameters);
    let refuses = findings.iter().find(|finding| finding.rule.refuses());
    let mut finding = match refuses.or(findings.first()) {
        Some(finding) => finding.to_string(),
        None => "nothing".to_owned(),
    };
    if let Some(carried) = carried {
        finding = format!("{finding}; with the guard off {carried}");
    }
    GuardRow {
        attack: attack.to_owned(),
        flagged: refuses.is_some(),
        finding,
    }
}

/// The head of a fishing server (Wen et al. 2022): one class's row and bias scaled so far up that only its examples matter.
fn fish(layout: &cloister_nn::Layout, outputs: usize, parameters: &mut [f32]) -> bool {
    let head = layout
        .tensors()
        .iter()
        .rfind(|tensor| tensor.shape.len() == 2);
    let Some(head) = head.filter(|_| outputs > 1) else {
        return false;
    };
    let columns = head.shape[1];
    for weight in &mut parameters[head.range()][..columns] {
        *weight *= 1000.0;
    }
    true
}

/// How many images of a batch the imprint carries out.
fn carried(subject: &Subject, parameters: &[f32]) -> Option<String> {
    let model = subject.model();
    let rows: Vec<u32> = (0..BATCH.min(subject.federation().data.train.len()) as u32).collect();
    let (inputs, labels) = subject.examples(&rows);
    let mut gradient = vec![0.0; parameters.len()];
    let mut workspace = model.workspace(labels.len());
    workspace.draw_noise(&mut ChaCha8Rng::seed_from_u64(0), labels.len());
    model.gradient(parameters, &inputs, &labels, &mut workspace, &mut gradient);
    let candidates = read_imprint(model, &gradient, subject.space()).ok()?;
    if !is_image(subject.shape()) || candidates.is_empty() {
        return None;
    }
    let space = subject.space();
    let mut found: Vec<f32> = candidates
        .iter()
        .flat_map(|candidate| space.to_pixels(&candidate.input))
        .collect();
    let truth = space.to_pixels(&inputs);
    found.resize(found.len().max(truth.len()), 0.0);
    let scores = score::score_images(&truth, &found, subject.shape()).ok()?;
    let exact = scores.iter().filter(|score| score.psnr >= 35.0).count();
    Some(format!(
        "{exact} of {} images come back exactly",
        labels.len()
    ))
}
