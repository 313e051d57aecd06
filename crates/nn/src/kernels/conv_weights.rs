//! Where the weights of a correlation lie: those of a convolution, or of its gradient with respect to the input.

use super::conv::ConvShape;

/// Where the weight of (output, tap) lies: `segments` runs of `run` taps each, at
/// `start + output * output_stride + segment * segment_stride`, in reverse where `reversed`.
#[derive(Clone, Copy)]
pub(super) struct Weights {
    pub(super) start: *const f32,
    pub(super) output_stride: usize,
    pub(super) segments: usize,
    pub(super) segment_stride: usize,
    pub(super) run: usize,
    pub(super) reversed: bool,
}

impl Weights {
    /// The weight of an output for the first tap of the first input.
    #[inline(always)]
    pub(super) fn of(&self, output: usize) -> *const f32 {
        let first = if self.reversed { self.run - 1 } else { 0 };
        self.start.wrapping_add(output * self.output_stride + first)
    }

    /// From the first tap of an input to that of the next, of `inputs`.
    #[inline(always)]
    pub(super) fn input_stride(&self, inputs: usize) -> isize {
        if self.reversed {
            self.segment_stride as isize
        } else {
            (self.run / inputs) as isize
        }
    }

    /// From one tap to the next.
    #[inline(always)]
    pub(super) fn step(&self) -> isize {
        if self.reversed { -1 } else { 1 }
    }

    pub(super) fn forward(s: &ConvShape, start: *const f32) -> Self {
        let taps = s.in_channels * s.kernel * s.kernel;
        Weights {
            start,
            output_stride: taps,
            segments: 1,
            segment_stride: 0,
            run: taps,
            reversed: false,
        }
    }

    pub(super) fn input_gradient(s: &ConvShape, start: *const f32) -> Self {
        let run = s.kernel * s.kernel;
        Weights {
            start,
            output_stride: run,
            segments: s.out_channels,
            segment_stride: s.in_channels * run,
            run,
            reversed: true,
        }
    }
}
