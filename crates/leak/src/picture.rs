//! Pictures of what came back, beside the truth.

use cloister_nn::InputShape;
use image::{ImageFormat, Rgb, RgbImage};

use crate::error::LeakError;

/// Least side of an image in a picture, in screen pixels: small images are enlarged by whole factors.
const LEAST_SIDE: u32 = 56;
/// Screen pixels between images.
const GAP: u32 = 4;

/// Whether examples of that shape are images.
pub(crate) fn is_image(shape: InputShape) -> bool {
    shape.height > 1 && shape.width > 1
}

/// A PNG with an image a line and a panel a column, each panel `[n, channels, height, width]` in pixels from 0 to 1. Grey
/// unless there are three channels.
///
/// # Errors
/// [`LeakError::Picture`].
pub fn strip(shape: InputShape, panels: &[Vec<f32>]) -> Result<Vec<u8>, LeakError> {
    let (width, height) = (shape.width as u32, shape.height as u32);
    let factor = LEAST_SIDE.div_ceil(width.min(height)).max(1);
    let (cell_x, cell_y) = (width * factor + GAP, height * factor + GAP);
    let len = shape.len();
    let lines = panels.iter().map(|panel| panel.len() / len).max();
    // Every column is as wide as the others, gap included.
    let mut canvas = RgbImage::from_pixel(
        (panels.len() as u32 * cell_x).max(1),
        (lines.unwrap_or(0) as u32 * cell_y).max(1),
        Rgb([255, 255, 255]),
    );
    for (column, images) in panels.iter().enumerate() {
        for (line, image) in images.chunks_exact(len).enumerate() {
            let (left, top) = (column as u32 * cell_x, line as u32 * cell_y);
            for y in 0..height * factor {
                for x in 0..width * factor {
                    let colour = colour(shape, image, x / factor, y / factor);
                    canvas.put_pixel(left + x, top + y, colour);
                }
            }
        }
    }
    let mut png = std::io::Cursor::new(Vec::new());
    canvas
        .write_to(&mut png, ImageFormat::Png)
        .map_err(|error| LeakError::Picture(error.to_string()))?;
    Ok(png.into_inner())
}

fn colour(shape: InputShape, image: &[f32], x: u32, y: u32) -> Rgb<u8> {
    let plane = shape.height * shape.width;
    let at = y as usize * shape.width + x as usize;
    let byte = |channel: usize| (image[channel * plane + at] * 255.0).round() as u8;
    match shape.channels {
        3 => Rgb([byte(0), byte(1), byte(2)]),
        _ => Rgb([byte(0); 3]),
    }
}
