//! Where a variational bottleneck stands in a model, and how large it may be.

use super::Stack;
use crate::bottleneck::Sampling;
use crate::config::BottleneckConfig;
use crate::error::ModelError;
use crate::layers::Layer;

/// What the names of the tensors begin with.
pub(super) const PREFIX: &str = "bottleneck.";
const ENCODER: &str = "bottleneck.encoder";
const DECODER: &str = "bottleneck.decoder";

impl Stack<'_> {
    /// What is wrong with it whatever the model.
    pub(super) fn check_bottleneck(&self) -> Result<(), ModelError> {
        let (latent, beta) = match self.bottleneck {
            None => return Ok(()),
            Some(BottleneckConfig::Precode { latent, beta, .. }) => (*latent, *beta),
            Some(BottleneckConfig::Convolutional { latent, beta, .. }) => {
                (latent.unwrap_or(1), *beta)
            }
        };
        match latent > 0 && beta.is_finite() && beta >= 0.0 {
            true => Ok(()),
            false => Err(ModelError::Bottleneck { latent, beta }),
        }
    }

    /// Refuses one that found no place, or outgrows the `model` around it.
    pub(super) fn check_bottleneck_size(&self, model: &'static str) -> Result<(), ModelError> {
        let (place, default, may_outgrow) = match self.bottleneck {
            None => return Ok(()),
            Some(BottleneckConfig::Precode {
                place, may_outgrow, ..
            }) => (place, "fc1", *may_outgrow),
            Some(BottleneckConfig::Convolutional {
                place, may_outgrow, ..
            }) => (place, "conv1", *may_outgrow),
        };
        let Some(added) = self.bottleneck_parameters else {
            return Err(ModelError::BottleneckPlace {
                model,
                place: place.as_deref().unwrap_or(default).to_owned(),
                kind: self.bottleneck.map_or("", BottleneckConfig::kind),
            });
        };
        let host = self.parameters - added;
        match added > host && !may_outgrow {
            true => Err(ModelError::BottleneckOutgrows { added, host }),
            false => Ok(()),
        }
    }

    /// PRECODE, if it is to stand before the linear layer of that name.
    pub(super) fn bottleneck_before(
        &mut self,
        name: &str,
        is_last: bool,
    ) -> Result<(), ModelError> {
        let Some(BottleneckConfig::Precode {
            latent,
            beta,
            place,
            ..
        }) = self.bottleneck
        else {
            return Ok(());
        };
        if !place.as_ref().map_or(is_last, |place| place == name) {
            return Ok(());
        }
        let (before, outside) = (self.parameters, self.shape);
        self.bare_linear(ENCODER, latent.saturating_mul(2), None)?;
        self.sampling(*latent, *beta);
        self.bare_linear(DECODER, outside.len(), None)?;
        self.shape = outside;
        self.bottleneck_parameters = Some(self.parameters - before);
        Ok(())
    }

    /// The convolutional variant, if it is to stand behind the last convolution.
    pub(super) fn bottleneck_behind_convolution(&mut self) -> Result<(), ModelError> {
        let Some(BottleneckConfig::Convolutional {
            latent,
            beta,
            place,
            ..
        }) = self.bottleneck
        else {
            return Ok(());
        };
        let name = format!("conv{}", self.convolutions);
        if name != place.as_deref().unwrap_or("conv1") {
            return Ok(());
        }
        let (before, outside) = (self.parameters, self.shape);
        let latent = latent.unwrap_or(outside.channels.div_ceil(2));
        self.bottleneck_convolution(ENCODER, latent.saturating_mul(2), 5)?;
        self.sampling(latent, *beta);
        self.bottleneck_convolution(DECODER, outside.channels, 1)?;
        self.bottleneck_parameters = Some(self.parameters - before);
        Ok(())
    }

    /// A same-padded convolution without bias.
    fn bottleneck_convolution(
        &mut self,
        name: &str,
        channels: usize,
        kernel: usize,
    ) -> Result<(), ModelError> {
        let shape = self.conv_shape(channels, kernel, kernel / 2)?;
        let sizes = [channels, shape.in_channels, kernel, kernel];
        let parameters = self.kernels(name, sizes, None, false)?;
        self.push_convolution(shape, None, parameters);
        Ok(())
    }

    /// What draws `latent` numbers or channels from twice as many.
    fn sampling(&mut self, latent: usize, beta: f32) {
        let plane = self.shape.len() / (2 * latent);
        self.layers.push(Layer::Sampling(Sampling {
            latent,
            plane,
            beta,
        }));
        // Numbers behind a linear encoder lie in a row, channels in planes.
        match self.shape.channels {
            1 => self.shape.width /= 2,
            _ => self.shape.channels /= 2,
        }
    }
}
