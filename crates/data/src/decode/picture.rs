//! One PNG or JPEG.

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use crate::error::{DataError, Place};

/// Longest side of a picture.
const MAX_SIDE: u32 = 8192;

/// What a picture's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureSize {
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
    /// Whether it has colour; otherwise it is grey.
    pub colour: bool,
}

/// A reader of PNG or JPEG content (nothing else is accepted), which refuses sides above 8,192 pixels.
fn reader<'a>(file: &str, content: &'a [u8]) -> Result<ImageReader<Cursor<&'a [u8]>>, DataError> {
    let format = image::guess_format(content).ok();
    let Some(format @ (ImageFormat::Png | ImageFormat::Jpeg)) = format else {
        return Err(DataError::malformed(
            file,
            Place::File,
            "neither a PNG nor a JPEG",
        ));
    };
    let mut reader = ImageReader::with_format(Cursor::new(content), format);
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    reader.limits(limits);
    Ok(reader)
}

fn damaged(file: &str, error: &image::ImageError) -> DataError {
    DataError::malformed(file, Place::File, format!("damaged picture: {error}"))
}

/// Reads the header only.
///
/// # Errors
/// [`DataError::Malformed`] if the content is neither a PNG nor a JPEG, is damaged, or has a side above 8,192 pixels.
pub fn picture_size(file: &str, content: &[u8]) -> Result<PictureSize, DataError> {
    let decoder = reader(file, content)?
        .into_decoder()
        .map_err(|error| damaged(file, &error))?;
    let (width, height) = decoder.dimensions();
    Ok(PictureSize {
        height: height as usize,
        width: width as usize,
        colour: decoder.color_type().has_color(),
    })
}

/// Decodes the pixels, 8 bits each, channel by channel (CHW): red, green and blue planes, or one grey plane.
/// Transparency is dropped.
///
/// # Errors
/// As [`picture_size`].
pub fn picture(file: &str, content: &[u8], colour: bool) -> Result<Vec<u8>, DataError> {
    let decoded: DynamicImage = reader(file, content)?
        .decode()
        .map_err(|error| damaged(file, &error))?;
    if !colour {
        return Ok(decoded.into_luma8().into_raw());
    }
    let interleaved = decoded.into_rgb8().into_raw();
    Ok((0..3)
        .flat_map(|channel| interleaved.iter().skip(channel).step_by(3).copied())
        .collect())
}
