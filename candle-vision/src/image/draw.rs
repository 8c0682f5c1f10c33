//! Boxes with their labels on a picture.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};
use image::RgbImage;

/// DejaVu Sans Bold, Latin to Cyrillic, as a TrueType file; its licence lies beside it.
pub const FONT_FILE: &[u8] = include_bytes!("../../assets/DejaVuSans-Bold-subset.ttf");

static FONT: LazyLock<FontRef<'static>> =
    LazyLock::new(|| FontRef::try_from_slice(FONT_FILE).expect("the bundled font is valid"));

/// Colours that neighbours in the list tell apart and that carry black or white text.
const PALETTE: [[u8; 3]; 20] = [
    [230, 57, 70],
    [42, 157, 244],
    [255, 183, 3],
    [46, 160, 67],
    [155, 81, 224],
    [0, 180, 180],
    [251, 111, 36],
    [214, 51, 132],
    [139, 195, 74],
    [63, 81, 181],
    [255, 235, 59],
    [121, 85, 72],
    [0, 230, 155],
    [244, 143, 177],
    [13, 71, 161],
    [205, 220, 57],
    [136, 14, 79],
    [128, 203, 255],
    [191, 128, 64],
    [0, 105, 92],
];

const BLACK: [u8; 3] = [0; 3];
const WHITE: [u8; 3] = [255; 3];
/// Relative luminance at which black and white text contrast equally (WCAG 2.1).
const EVEN_LUMINANCE: f32 = 0.179;

/// A box to draw.
#[derive(Debug, Clone, PartialEq)]
pub struct BoxLabel {
    /// [x1, y1, x2, y2] in pixels.
    pub xyxy: [f32; 4],
    /// Selects the colour.
    pub class_id: usize,
    /// Text of the plate; empty for none. Characters that the font lacks show as its missing-glyph box.
    pub text: String,
}

/// The colour of a class as [red, green, blue]; the same in every picture.
#[must_use]
pub fn class_color(class_id: usize) -> [u8; 3] {
    PALETTE[class_id % PALETTE.len()]
}

/// Draws boxes and label plates, the first on top. Lines and text grow with the picture; plates stay inside it.
pub fn draw_boxes(picture: &mut RgbImage, boxes: &[BoxLabel]) {
    if picture.is_empty() {
        return;
    }
    let sides = (picture.width() + picture.height()) as f32;
    let line = (sides / 2.0 * 0.003).round().max(2.0);
    let text_height = (line * 6.0).max(12.0);
    for shown in boxes.iter().rev().filter(|shown| shown.xyxy.iter().all(|value| value.is_finite())) {
        let color = class_color(shown.class_id);
        outline(picture, shown.xyxy, line, color);
        if !shown.text.is_empty() {
            plate(picture, shown, line, text_height, color);
        }
    }
}

/// A frame whose line lies half outside the box.
fn outline(picture: &mut RgbImage, [x1, y1, x2, y2]: [f32; 4], line: f32, color: [u8; 3]) {
    let (outer, inner) = (line / 2.0, line / 2.0);
    let (left, top, right, bottom) = (x1 - outer, y1 - outer, x2 + outer, y2 + outer);
    fill(picture, [left, top, right, y1 + inner], color);
    fill(picture, [left, y2 - inner, right, bottom], color);
    fill(picture, [left, top, x1 + inner, bottom], color);
    fill(picture, [x2 - inner, top, right, bottom], color);
}

/// The label above the box's top left corner; below the corner where there is no room above; inside the picture.
fn plate(picture: &mut RgbImage, shown: &BoxLabel, line: f32, text_height: f32, color: [u8; 3]) {
    let (glyphs, text_width) = layout(&shown.text, text_height);
    let margin = line;
    let (width, height) = ((text_width + 2.0 * margin).ceil(), text_height.ceil());
    let [x1, y1, ..] = shown.xyxy;
    let left = (x1 - line / 2.0).round().min(picture.width() as f32 - width).max(0.0);
    let above = (y1 - line / 2.0 - height).round();
    let top = if above >= 0.0 { above } else { (y1 - line / 2.0).round() };
    let top = top.min(picture.height() as f32 - height).max(0.0);
    fill(picture, [left, top, left + width, top + height], color);
    write(picture, glyphs, [left + margin, top], text_color(color));
}

/// Draws a line of text, its letters `height` pixels from the highest to the lowest, from the top left corner `[left, top]`
/// on. What lies outside the picture is cut off.
pub fn draw_text(picture: &mut RgbImage, text: &str, [left, top]: [f32; 2], height: f32, color: [u8; 3]) {
    write(picture, layout(text, height).0, [left, top], color);
}

/// Draws glyphs that stand in a strip whose top left corner is at `[left, top]`.
fn write(picture: &mut RgbImage, glyphs: Vec<Glyph>, [left, top]: [f32; 2], ink: [u8; 3]) {
    for mut glyph in glyphs {
        glyph.position += point(left, top);
        let Some(outline) = FONT.outline_glyph(glyph) else { continue };
        let origin = outline.px_bounds().min;
        outline.draw(|x, y, coverage| {
            let (x, y) = (origin.x + x as f32, origin.y + y as f32);
            if x >= 0.0 && y >= 0.0 && (x as u32) < picture.width() && (y as u32) < picture.height() {
                let pixel = picture.get_pixel_mut(x as u32, y as u32);
                for (level, ink) in pixel.0.iter_mut().zip(ink) {
                    *level =
                        (f32::from(*level) + (f32::from(ink) - f32::from(*level)) * coverage.min(1.0)).round() as u8;
                }
            }
        });
    }
}

/// Glyphs of one line in a strip `height` high, and its width.
fn layout(text: &str, height: f32) -> (Vec<Glyph>, f32) {
    let font = FONT.as_scaled(PxScale::from(height));
    let mut x = 0.0;
    let mut last = None;
    let mut glyphs = Vec::new();
    for character in text.chars() {
        let id = font.glyph_id(character);
        x += last.map_or(0.0, |last| font.kern(last, id));
        glyphs.push(id.with_scale_and_position(height, point(x, font.ascent())));
        x += font.h_advance(id);
        last = Some(id);
    }
    (glyphs, x)
}

/// Black or white, whichever contrasts more with the plate.
fn text_color(plate: [u8; 3]) -> [u8; 3] {
    let [r, g, b] = plate.map(|level| (f32::from(level) / 255.0).powf(2.2));
    if 0.2126 * r + 0.7152 * g + 0.0722 * b > EVEN_LUMINANCE { BLACK } else { WHITE }
}

/// Fills the part of a rectangle [x1, y1, x2, y2) that lies inside the picture.
fn fill(picture: &mut RgbImage, [x1, y1, x2, y2]: [f32; 4], color: [u8; 3]) {
    let clip = |value: f32, side: u32| value.round().clamp(0.0, side as f32) as u32;
    let (width, height) = picture.dimensions();
    for y in clip(y1, height)..clip(y2, height) {
        for x in clip(x1, width)..clip(x2, width) {
            picture.put_pixel(x, y, image::Rgb(color));
        }
    }
}

#[cfg(test)]
#[path = "draw_tests.rs"]
mod tests;
