//! Pictures: truth, floor and reconstruction side by side.

use super::super::page::Strip;
use super::inversion::place;
use super::{band_chip, decibels, figure};
use crate::format;
use crate::record::leakage::{Band, InversionRow, Leakage, png_size};

/// Pictures on a page.
const MOST_STRIPS: usize = 24;

/// How large a column of a picture, and the whole of it, become on the screen, in CSS pixels.
const PANEL: u32 = 96;
const HEIGHT: u32 = 480;

/// The pictures that the rows name, each once.
pub(super) fn strips(leakage: &Leakage) -> Vec<Strip> {
    let mut shown: Vec<(&str, Vec<&InversionRow>)> = Vec::new();
    for row in &leakage.report.inversions {
        let Some(name) = row.picture.as_deref() else {
            continue;
        };
        match shown.iter_mut().find(|(known, _)| *known == name) {
            Some((_, rows)) => rows.push(row),
            None => shown.push((name, vec![row])),
        }
    }
    shown
        .into_iter()
        .filter_map(|(name, rows)| strip(leakage.pictures.get(name)?, &rows))
        .take(MOST_STRIPS)
        .collect()
}

fn strip(png: &[u8], rows: &[&InversionRow]) -> Option<Strip> {
    let (wide, high) = png_size(png)?;
    let first = rows.first()?;
    let panels: Vec<String> = first
        .panels
        .iter()
        .take(12)
        .map(|name| format::shortened(name, 30))
        .collect();
    let columns = panels.len().max(1) as u32;
    let scale = scale((wide / columns).max(1), high);
    let (width, height) = (wide.saturating_mul(scale), high.saturating_mul(scale));
    let own = if first.what_if { "" } else { " (this run)" };
    let what = if panels.is_empty() {
        "the examples".to_owned()
    } else {
        panels.join(", ")
    };
    let found: Vec<String> = rows
        .iter()
        .map(|row| format!("{}: {}", row.attack, row.band.words()))
        .collect();
    Some(Strip {
        heading: format!("Defence: {}{own}", format::shortened(&first.defence, 60)),
        over: place(first),
        panels,
        data: base64(png),
        width,
        height,
        alt: format::shortened(&format!("Side by side: {what}. {}.", found.join("; ")), 300),
        captions: rows
            .iter()
            .map(|row| (band_chip(row.band), caption(row)))
            .collect(),
        note: if first.floor.is_nan() {
            String::new()
        } else {
            format!("The floor is at {}.", decibels(first.floor))
        },
    })
}

/// The factor by which pixels grow: whole, so that all are equally large.
fn scale(panel: u32, high: u32) -> u32 {
    (PANEL / panel).min(HEIGHT / high.max(1)).max(1)
}

fn caption(row: &InversionRow) -> String {
    let adaptive = row.adaptive_to.as_ref().map_or_else(String::new, |to| {
        format!(", adaptive to {}", format::shortened(to, 40))
    });
    let name = format!("{}{adaptive}", format::shortened(&row.attack, 40));
    if row.band == Band::NotRun || row.psnr.worst.is_nan() {
        return name;
    }
    format!(
        "{name}: {}, worst {}; SSIM {}, worst {}",
        decibels(row.psnr.median),
        decibels(row.psnr.worst),
        figure(row.ssim.median, 2),
        figure(row.ssim.worst, 2)
    )
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place > group.len() {
                '='
            } else {
                char::from(letter)
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vectors of RFC 4648, section 10, and all bits.
    #[test]
    fn base64_is_that_of_the_standard() {
        let known = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (bytes, text) in known {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xbf]), "+/+/");
    }

    #[test]
    fn pixels_grow_by_whole_factors_and_pictures_stay_on_the_screen() {
        assert_eq!(
            [
                scale(28, 28),
                scale(28, 28 * 4),
                scale(32, 32 * 16),
                scale(500, 500)
            ],
            [3, 3, 1, 1]
        );
    }
}
