//! Lines of text on an image, in the bundled font and, for letters that it lacks, in another.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};
use image::RgbImage;

/// DejaVu Sans Bold, Latin to Cyrillic, as a TrueType file; its licence lies beside it.
pub const FONT_FILE: &[u8] = include_bytes!("../../assets/DejaVuSans-Bold-subset.ttf");

/// Height of the bundled font's capitals, from the highest to the lowest point of all its letters as 1.
pub(super) const CAPITALS: f32 = 1493. / 2384.;

static FONT: LazyLock<Typeface<'static>> =
    LazyLock::new(|| Typeface::new(FONT_FILE).expect("the bundled font is valid"));

/// A font for letters that the bundled one lacks.
#[derive(Debug, Clone)]
pub struct Typeface<'a>(FontRef<'a>);

impl<'a> Typeface<'a> {
    /// The font of a TrueType or OpenType file, the first of a collection; `None` where the bytes are none.
    #[must_use]
    pub fn new(file: &'a [u8]) -> Option<Self> {
        FontRef::try_from_slice(file).ok().map(Self)
    }

    /// Whether it draws a character: by an outline, or as a space.
    #[must_use]
    pub fn has(&self, character: char) -> bool {
        let id = self.0.glyph_id(character);
        id.0 != 0 && (character.is_whitespace() || self.0.outline(id).is_some())
    }

    /// Size of the letters that stand `height` high in the bundled font.
    fn scale(&self, height: f32) -> PxScale {
        let em = |font: &FontRef<'_>| font.height_unscaled() / font.units_per_em().unwrap_or(1000.);
        PxScale::from(height * em(&self.0) / em(&FONT.0))
    }
}

/// Whether the bundled font draws a character.
#[must_use]
pub fn is_in_bundled_font(character: char) -> bool {
    FONT.has(character)
}

/// Draws a line of text, its letters `height` pixels from the highest to the lowest, from the top left corner `[left, top]`
/// on, those that the bundled font lacks from `other`. What lies outside the image is cut off.
pub fn draw_text(
    image: &mut RgbImage,
    text: &str,
    [left, top]: [f32; 2],
    height: f32,
    color: [u8; 3],
    other: Option<&Typeface<'_>>,
) {
    Line::new(text, height, other).write(image, [left, top], color);
}

/// A line of text, laid out in a strip.
pub(super) struct Line<'a> {
    glyphs: Vec<(Glyph, &'a FontRef<'a>)>,
    /// Pixels from the strip's left to its right.
    pub(super) width: f32,
}

impl<'a> Line<'a> {
    /// Lays text out in a strip `height` high.
    pub(super) fn new(text: &str, height: f32, other: Option<&'a Typeface<'a>>) -> Self {
        let baseline = FONT.0.as_scaled(PxScale::from(height)).ascent();
        let mut line = Self { glyphs: Vec::new(), width: 0. };
        let mut last = None;
        for character in text.chars() {
            let other = other.filter(|other| !FONT.has(character) && other.has(character));
            let typeface: &Typeface<'a> = other.unwrap_or(&FONT);
            let font = typeface.0.as_scaled(typeface.scale(height));
            let id = font.glyph_id(character);
            let neighbour = last.filter(|(_, was_other)| *was_other == other.is_some());
            line.width += neighbour.map_or(0., |(last, _)| font.kern(last, id));
            let place = point(line.width, baseline);
            line.glyphs.push((id.with_scale_and_position(font.scale(), place), &typeface.0));
            line.width += font.h_advance(id);
            last = Some((id, other.is_some()));
        }
        line
    }

    /// Draws the strip with its top left corner at `[left, top]`.
    pub(super) fn write(self, image: &mut RgbImage, [left, top]: [f32; 2], ink: [u8; 3]) {
        for (mut glyph, font) in self.glyphs {
            glyph.position += point(left, top);
            let Some(outline) = font.outline_glyph(glyph) else { continue };
            let origin = outline.px_bounds().min;
            outline.draw(|x, y, coverage| {
                let (x, y) = (origin.x + x as f32, origin.y + y as f32);
                if x >= 0.0 && y >= 0.0 && (x as u32) < image.width() && (y as u32) < image.height() {
                    let pixel = image.get_pixel_mut(x as u32, y as u32);
                    for (level, ink) in pixel.0.iter_mut().zip(ink) {
                        let full = f32::from(ink) - f32::from(*level);
                        *level = (f32::from(*level) + full * coverage.min(1.0)).round() as u8;
                    }
                }
            });
        }
    }
}
