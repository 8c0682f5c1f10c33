//! An image to plot on: its pixels, its font, its colours.

use std::sync::LazyLock;

use candle_vision::image::{FONT_FILE, RgbImage, class_color, is_in_bundled_font};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::fonts;
use crate::error::{Context as _, Error, Result};

/// Pixels drawn per pixel of the image, along each axis: the mean of them smooths all edges.
const OVERSAMPLING: u32 = 2;
/// Where `plotters` puts the baseline below the top of a text, as a part of its height.
const BASELINE: f64 = 0.5;
/// Height of the font's capitals and digits, as a part of the text's height.
const CAPITAL: f64 = 0.626;
/// Colour of text and frames.
pub(super) const INK: RGBColor = RGBColor(38, 38, 38);
/// Colour of the lines behind the curves.
pub(super) const GRID: RGBColor = RGBColor(225, 225, 225);

static FAMILY: LazyLock<Result<&'static str, String>> = LazyLock::new(|| {
    let family = "sans-serif";
    let registered = register_font(family, FontStyle::Normal, FONT_FILE).map(|()| family);
    registered.map_err(|_| "the bundled font cannot be read".to_owned())
});

/// The system's font for letters that the bundled one lacks, which has to be found before this is looked at.
static OTHER_FAMILY: LazyLock<Option<&'static str>> = LazyLock::new(|| {
    let family = "system";
    register_font(family, FontStyle::Normal, fonts::font()?.file).ok().map(|()| family)
});

/// A part of the image. Positions and lengths are in pixels of the image from the part's left top corner.
pub(super) struct Canvas<'a> {
    area: DrawingArea<BitMapBackend<'a>, Shift>,
}

/// Where a text lies from its position.
#[derive(Debug, Clone, Copy)]
pub(super) enum Align {
    /// Its left end, at half the height of its capitals, is at the position.
    Left,
    /// Its middle is at the position.
    Centre,
    /// Its right end, at half the height of its capitals, is at the position.
    Right,
    /// Centred, with the top of its capitals at the position.
    Below,
    /// Turned a quarter against the clock, with its end at the position.
    Rising,
    /// Turned a quarter against the clock, with its middle at the position.
    RisingCentre,
}

/// Draws an image of `[width, height]` on white.
pub(super) fn paint(size: [u32; 2], draw: impl FnOnce(&Canvas<'_>) -> Result<()>) -> Result<RgbImage> {
    let [width, height] = size.map(|side| side * OVERSAMPLING);
    let mut pixels = vec![255; width as usize * height as usize * 3];
    let area = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
    let canvas = Canvas { area };
    draw(&canvas)?;
    drawn(canvas.area.present())?;
    drop(canvas);
    let side = OVERSAMPLING as usize;
    let mut levels = Vec::with_capacity(size[0] as usize * size[1] as usize * 3);
    for rows in pixels.chunks_exact(width as usize * 3 * side) {
        let mut sums = vec![0_u32; size[0] as usize * 3];
        for row in rows.chunks_exact(width as usize * 3) {
            for (sums, block) in sums.chunks_exact_mut(3).zip(row.chunks_exact(3 * side)) {
                for (index, &level) in block.iter().enumerate() {
                    sums[index % 3] += u32::from(level);
                }
            }
        }
        let count = OVERSAMPLING * OVERSAMPLING;
        levels.extend(sums.into_iter().map(|sum| ((sum + count / 2) / count) as u8));
    }
    RgbImage::from_raw(size[0], size[1], levels).context("the pixels do not fill the image")
}

impl Canvas<'_> {
    /// A line through points, `width` thick.
    pub(super) fn line(&self, points: impl IntoIterator<Item = [f64; 2]>, color: RGBColor, width: f64) -> Result<()> {
        let style = color.stroke_width(scaled(width).max(1) as u32);
        let points: Vec<(i32, i32)> = points.into_iter().map(|[x, y]| (scaled(x), scaled(y))).collect();
        drawn(self.area.draw(&PathElement::new(points, style)))
    }

    /// A filled rectangle `[left, top, right, bottom)`.
    pub(super) fn rectangle(&self, [x1, y1, x2, y2]: [f64; 4], color: RGBColor) -> Result<()> {
        let corners = [(scaled(x1), scaled(y1)), (scaled(x2), scaled(y2))];
        drawn(self.area.draw(&Rectangle::new(corners, color.filled())))
    }

    /// A filled disc.
    pub(super) fn disc(&self, [x, y]: [f64; 2], radius: f64, color: RGBColor) -> Result<()> {
        drawn(self.area.draw(&Circle::new((scaled(x), scaled(y)), scaled(radius), color.filled())))
    }

    /// One line of text, `height` high from the lowest to the highest stroke of the font.
    pub(super) fn text(&self, text: &str, [x, y]: [f64; 2], height: f64, align: Align, color: RGBColor) -> Result<()> {
        let (horizontal, transform) = match align {
            Align::Left => (HPos::Left, FontTransform::None),
            Align::Centre | Align::Below => (HPos::Center, FontTransform::None),
            Align::Right => (HPos::Right, FontTransform::None),
            Align::Rising => (HPos::Right, FontTransform::Rotate270),
            Align::RisingCentre => (HPos::Center, FontTransform::Rotate270),
        };
        let top = match align {
            Align::Below => height * (CAPITAL - BASELINE),
            _ => height * (CAPITAL / 2. - BASELINE),
        };
        let place = match align {
            Align::Rising | Align::RisingCentre => [x + top, y],
            _ => [x, y + top],
        };
        let font = font(text, height)?.transform(transform);
        let style = TextStyle::from(font).color(&color).pos(Pos::new(horizontal, VPos::Top));
        drawn(self.area.draw_text(text, &style, (scaled(place[0]), scaled(place[1]))))
    }
}

/// Width of a text `height` high.
pub(super) fn text_width(text: &str, height: f64) -> Result<f64> {
    let (width, _) = drawn(font(text, height)?.box_size(text))?;
    Ok(f64::from(width) / f64::from(OVERSAMPLING))
}

/// The text, its end replaced by an ellipsis where it is wider than `width`.
pub(super) fn cut(text: &str, height: f64, width: f64) -> Result<String> {
    // No name that is shown is longer; measuring takes time for each character.
    const MOST: usize = 200;
    let is_long = text.chars().nth(MOST).is_some();
    let mut kept: String = text.chars().take(MOST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if !is_long && text_width(&kept, height)? <= width {
        return Ok(kept);
    }
    while kept.pop().is_some() {
        let candidate = format!("{}…", kept.trim_end());
        if text_width(&candidate, height)? <= width {
            return Ok(candidate);
        }
    }
    Ok(String::new())
}

/// The colour of a class's curve: that of its boxes, darkened until it shows on white.
pub(super) fn curve_color(class: usize) -> RGBColor {
    const BRIGHTEST: f64 = 160.;
    let [r, g, b] = class_color(class).map(f64::from);
    let brightness = 0.299 * r + 0.587 * g + 0.114 * b;
    let [r, g, b] = [r, g, b].map(|level| (level * (BRIGHTEST / brightness).min(1.)).round() as u8);
    RGBColor(r, g, b)
}

/// The font that a text is drawn in: the bundled one where it has all the letters, or there is no other.
fn font(text: &str, height: f64) -> Result<FontDesc<'static>> {
    let needs_other = text.chars().any(|c| !c.is_control() && !is_in_bundled_font(c));
    let other = if needs_other && fonts::font().is_some() { *OTHER_FAMILY } else { None };
    let family = match other {
        Some(family) => family,
        None => FAMILY.as_ref().map_err(|problem| Error::Invalid(problem.clone()))?,
    };
    Ok((family, height * f64::from(OVERSAMPLING)).into_font())
}

/// What the library that draws gives.
fn drawn<T, E: std::error::Error + Send + Sync + 'static>(drawn: Result<T, E>) -> Result<T> {
    drawn.map_err(|error| Error::Plot(Box::new(error)))
}

fn scaled(length: f64) -> i32 {
    (length * f64::from(OVERSAMPLING)).round() as i32
}
