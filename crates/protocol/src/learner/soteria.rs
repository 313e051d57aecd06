//! Soteria (Sun et al. 2021, arXiv 2012.06043): the last linear layer learns nothing from the units that show most of the input.

use cloister_nn::Model;

use super::draws::Draws;
use super::{CHUNK, ModelLearner, Scratch};

impl ModelLearner<'_> {
    /// Withholds in each step the last linear layer's gradient for this share of the units before it: those with the largest
    /// |r| / |dr/dx|, summed over the batch. `None` withholds nothing. Without effect on training that hides each example.
    pub fn withholding(mut self, soteria: Option<f64>) -> Self {
        self.soteria = soteria;
        self
    }

    /// Takes out of the step's gradient what is withheld; the batch is `scratch.order[from..to]`.
    pub(super) fn withhold(
        &mut self,
        parameters: &[f32],
        from: usize,
        to: usize,
        draws: &mut Draws<'_>,
    ) {
        let Some(share) = self.soteria else {
            return;
        };
        let units = self.model.representation_len();
        let count = ((share * units as f64) as usize).min(units);
        if count == 0 {
            return;
        }
        let mut shown = vec![0.0_f64; units];
        for start in (from..to).step_by(CHUNK) {
            let end = to.min(start + CHUNK);
            self.gather(start, end);
            self.add_sensitivity(parameters, end - start, draws, &mut shown);
        }
        let mut order: Vec<usize> = (0..units).collect();
        // Of equal ones the first: the same bits anywhere.
        order.sort_by(|a, b| shown[*b].total_cmp(&shown[*a]).then(a.cmp(b)));
        clear_columns(
            self.model,
            &mut self.scratch.gradient,
            units,
            &order[..count],
        );
    }

    /// Adds what each unit shows of the gathered examples.
    fn add_sensitivity(
        &mut self,
        parameters: &[f32],
        batch: usize,
        draws: &mut Draws<'_>,
        shown: &mut [f64],
    ) {
        let units = shown.len();
        let Scratch {
            tangent,
            inputs,
            sensitivity,
            ..
        } = &mut self.scratch;
        if tangent
            .as_ref()
            .is_none_or(|(capacity, _)| *capacity < batch)
        {
            *tangent = None;
        }
        let model = self.model;
        let (_, workspace) = tangent.get_or_insert_with(|| (batch, model.tangent_workspace(batch)));
        sensitivity.clear();
        sensitivity.resize(batch * units, 0.0);
        workspace.draw_noise(draws, batch);
        model.representation_sensitivity(parameters, inputs, workspace, sensitivity);
        for row in sensitivity.chunks_exact(units) {
            for (sum, value) in shown.iter_mut().zip(row) {
                *sum += f64::from(*value);
            }
        }
    }
}

/// Sets the gradient of the last linear layer's weights to zero in these columns.
fn clear_columns(model: &Model, gradient: &mut [f32], units: usize, columns: &[usize]) {
    let tensors = model.layout().tensors().iter();
    let mut linear = tensors.filter(|tensor| tensor.shape.len() == 2);
    let Some(last) = linear.next_back() else {
        return;
    };
    for row in gradient[last.range()].chunks_exact_mut(units) {
        for column in columns {
            row[*column] = 0.0;
        }
    }
}
