//! Which label becomes which.

use cloister_data::Dataset;
use cloister_nn::Model;
use rand::Rng;

use crate::error::AttackError;

/// Examples that pass through the network at once.
const CHUNK: usize = 256;

/// The class that `wanted` names: a class of that name, else the class of that number.
pub(crate) fn class(
    key: &'static str,
    wanted: Option<&str>,
    data: &Dataset,
) -> Result<Option<usize>, AttackError> {
    let Some(wanted) = wanted else {
        return Ok(None);
    };
    let classes = data.classes();
    let number = || wanted.parse().ok().filter(|number| *number < classes.len());
    let named = classes.iter().position(|class| class == wanted);
    named
        .or_else(number)
        .map(Some)
        .ok_or_else(|| AttackError::Class {
            key,
            class: wanted.to_owned(),
            dataset: data.name().to_owned(),
            classes: classes.len(),
        })
}

/// Label flipping that does not depend on the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LabelMap {
    /// Classes, C.
    pub(crate) classes: u32,
    /// The class that is changed; all if `None`.
    pub(crate) source: Option<u32>,
    /// What it is changed to; class c becomes C - 1 - c if `None`.
    pub(crate) target: Option<u32>,
}

impl LabelMap {
    /// What becomes of `label`.
    pub(crate) fn apply(self, label: u32) -> u32 {
        if self.source.is_some_and(|source| source != label) {
            return label;
        }
        self.target
            .unwrap_or((self.classes - 1).saturating_sub(label))
    }
}

/// For each of `rows`, the class that the model with these `parameters` finds least likely (Shejwalkar and Houmansadr
/// 2021, dynamic label flipping); the lowest of equals. What the model draws, it draws from `rng`.
pub(crate) fn least_likely(
    model: &Model,
    parameters: &[f32],
    data: &Dataset,
    rows: &[u32],
    rng: &mut impl Rng,
) -> Vec<u32> {
    let mut labels = Vec::with_capacity(rows.len());
    let mut workspace = model.workspace(CHUNK.min(rows.len()));
    let mut inputs = Vec::new();
    for chunk in rows.chunks(CHUNK) {
        inputs.clear();
        for &row in chunk {
            inputs.extend_from_slice(data.row(row as usize));
        }
        workspace.draw_noise(rng, chunk.len());
        let logits = model.logits(parameters, &inputs, chunk.len(), &mut workspace);
        labels.extend(logits.chunks_exact(model.outputs()).map(least));
    }
    labels
}

fn least(logits: &[f32]) -> u32 {
    match logits {
        // One logit is the log-odds of class 1.
        [log_odds] => u32::from(*log_odds < 0.0),
        _ => {
            let least = logits.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1));
            least.map_or(0, |(class, _)| class as u32)
        }
    }
}

#[cfg(test)]
mod tests {
    use cloister_data::ExampleShape;
    use cloister_nn::{InputShape, ModelConfig};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn labels_turn_as_they_are_told() {
        let map = |source, target| LabelMap {
            classes: 4,
            source,
            target,
        };
        let all = |map: LabelMap| (0..4).map(|label| map.apply(label)).collect::<Vec<_>>();
        assert_eq!(all(map(None, None)), [3, 2, 1, 0]);
        assert_eq!(all(map(Some(1), Some(3))), [0, 3, 2, 3]);
        assert_eq!(all(map(Some(0), None)), [3, 1, 2, 3]);
        assert_eq!(all(map(None, Some(2))), [2, 2, 2, 2]);
    }

    #[test]
    fn classes_go_by_name_then_by_number() {
        let names = ["1", "cat", "0"].map(str::to_owned).to_vec();
        let data = Dataset::new(
            "pets",
            ExampleShape::flat(1),
            vec![0.0],
            vec![0],
            names,
            None,
        )
        .unwrap();
        let find = |wanted| class("source", Some(wanted), &data);
        assert_eq!(find("cat").unwrap(), Some(1));
        assert_eq!(find("1").unwrap(), Some(0));
        assert_eq!(find("2").unwrap(), Some(2));
        assert_eq!(class("source", None, &data).unwrap(), None);
        assert_eq!(
            find("3").unwrap_err().to_string(),
            "source '3' is neither a class of 'pets' nor a number below 3"
        );
    }

    #[test]
    fn the_least_likely_class_has_the_lowest_logit() {
        assert_eq!(least(&[0.5, -1.0, -1.0]), 1);
        assert_eq!((least(&[0.5]), least(&[-0.5])), (0, 1));
        let input = InputShape {
            channels: 1,
            height: 1,
            width: 1,
        };
        let config: ModelConfig = serde_json::from_str(r#"{"kind": "logistic"}"#).unwrap();
        let model = Model::build(&config, input, 3).unwrap();
        // Logits are w x + b: with w = (1, 0, -1) the least likely class is 2 for x > 0 and 0 for x < 0.
        let parameters = [1.0, 0.0, -1.0, 0.0, 0.0, 0.0];
        let names = ["a", "b", "c"].map(str::to_owned).to_vec();
        let features: Vec<f32> = (0..600)
            .map(|i| if i % 3 == 0 { 2.0 } else { -2.0 })
            .collect();
        let data = Dataset::new(
            "line",
            ExampleShape::flat(1),
            features,
            vec![0; 600],
            names,
            None,
        );
        let rows: Vec<u32> = (0..600).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let got = least_likely(&model, &parameters, &data.unwrap(), &rows, &mut rng);
        assert!(
            got.iter()
                .enumerate()
                .all(|(i, class)| *class == if i % 3 == 0 { 2 } else { 0 })
        );
    }
}
