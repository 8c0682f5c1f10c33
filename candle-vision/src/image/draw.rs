//! Boxes with their labels on an image.

use image::RgbImage;

use super::text::{CAPITALS, Line, Typeface};

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
pub struct DrawnBox {
    /// [x1, y1, x2, y2] in pixels.
    pub xyxy: [f32; 4],
    /// Selects the colour.
    pub class_id: usize,
    /// Text of the plate; empty for none. Characters that no font has show as the bundled one's missing-glyph box.
    pub text: String,
}

/// How boxes are drawn.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Pen<'a> {
    /// Pixels of a line, from 1; text grows with it. `None` for [`line_width`] of the image.
    pub line_width: Option<u32>,
    /// A font for letters that the bundled one lacks.
    pub font: Option<&'a Typeface<'a>>,
}

impl<'a> Pen<'a> {
    /// A pen as wide as the image asks for, with the bundled font.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Pixels of a line, from 1; text grows with it.
    #[must_use]
    pub fn line_width(self, line_width: impl Into<Option<u32>>) -> Self {
        Self { line_width: line_width.into(), ..self }
    }

    /// A font for letters that the bundled one lacks.
    #[must_use]
    pub fn font(self, font: impl Into<Option<&'a Typeface<'a>>>) -> Self {
        Self { font: font.into(), ..self }
    }
}

/// Height of a label's capitals per pixel of its line. Measured by `tests/oracle/annotate.py` of Ultralytics 8.4.190 on
/// OpenCV 5: 13, 20, 34, 54 and 74 pixels at lines of 2, 3, 5, 8 and 11.
const CAPITALS_PER_LINE: f32 = 6.75;

/// Width of the lines on an image: Ultralytics' rule, 0.003 of the mean of its sides, at least 2. Its mean counts the three
/// channels in.
#[must_use]
pub fn line_width([height, width]: [u32; 2]) -> u32 {
    let sides = f64::from(height) + f64::from(width) + 3.;
    (sides / 2. * 0.003).round_ties_even().max(2.) as u32
}

/// The colour of a class as [red, green, blue]; the same in every image.
#[must_use]
pub fn class_color(class_id: usize) -> [u8; 3] {
    PALETTE[class_id % PALETTE.len()]
}

/// Draws boxes and label plates, the first on top. Plates stay inside the image.
pub fn draw_boxes(image: &mut RgbImage, boxes: &[DrawnBox], pen: &Pen<'_>) {
    if image.is_empty() {
        return;
    }
    let line = pen.line_width.unwrap_or_else(|| line_width([image.height(), image.width()])) as f32;
    let text_height = line * CAPITALS_PER_LINE / CAPITALS;
    for shown in boxes.iter().rev().filter(|shown| shown.xyxy.iter().all(|value| value.is_finite())) {
        let color = class_color(shown.class_id);
        outline(image, shown.xyxy, line, color);
        if !shown.text.is_empty() {
            plate(image, shown, line, Line::new(&shown.text, text_height, pen.font), text_height);
        }
    }
}

/// A frame whose line lies half outside the box.
fn outline(image: &mut RgbImage, [x1, y1, x2, y2]: [f32; 4], line: f32, color: [u8; 3]) {
    let (outer, inner) = (line / 2.0, line / 2.0);
    let (left, top, right, bottom) = (x1 - outer, y1 - outer, x2 + outer, y2 + outer);
    fill(image, [left, top, right, y1 + inner], color);
    fill(image, [left, y2 - inner, right, bottom], color);
    fill(image, [left, top, x1 + inner, bottom], color);
    fill(image, [x2 - inner, top, right, bottom], color);
}

/// The label above the box's top left corner; below the corner where there is no room above; inside the image.
fn plate(image: &mut RgbImage, shown: &DrawnBox, line: f32, text: Line<'_>, text_height: f32) {
    let (margin, color) = (line, class_color(shown.class_id));
    let (width, height) = ((text.width + 2.0 * margin).ceil(), text_height.ceil());
    let [x1, y1, ..] = shown.xyxy;
    let left = (x1 - line / 2.0).round().min(image.width() as f32 - width).max(0.0);
    let above = (y1 - line / 2.0 - height).round();
    let top = if above >= 0.0 { above } else { (y1 - line / 2.0).round() };
    let top = top.min(image.height() as f32 - height).max(0.0);
    fill(image, [left, top, left + width, top + height], color);
    text.write(image, [left + margin, top], text_color(color));
}

/// Black or white, whichever contrasts more with the plate.
fn text_color(plate: [u8; 3]) -> [u8; 3] {
    let [r, g, b] = plate.map(|level| (f32::from(level) / 255.0).powf(2.2));
    if 0.2126 * r + 0.7152 * g + 0.0722 * b > EVEN_LUMINANCE { BLACK } else { WHITE }
}

/// Fills the part of a rectangle [x1, y1, x2, y2) that lies inside the image.
fn fill(image: &mut RgbImage, [x1, y1, x2, y2]: [f32; 4], color: [u8; 3]) {
    let clip = |value: f32, side: u32| value.round().clamp(0.0, side as f32) as u32;
    let (width, height) = image.dimensions();
    for y in clip(y1, height)..clip(y2, height) {
        for x in clip(x1, width)..clip(x2, width) {
            image.put_pixel(x, y, image::Rgb(color));
        }
    }
}

#[cfg(test)]
#[path = "draw_tests.rs"]
mod tests;
