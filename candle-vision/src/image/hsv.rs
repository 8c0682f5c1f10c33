//! Hue, saturation and value of 8-bit RGB, as `cv2.cvtColor` with `COLOR_RGB2HSV` and `COLOR_HSV2RGB`.
//!
//! Hue counts half degrees, 0 to 179; saturation and value 0 to 255. Bit-equal with OpenCV 5.0 on x86 with AVX2: there,
//! fractions of levels are cut off on the way back, but rounded in the last `width % 32` pixels of a row.

use image::RgbImage;

/// 1.0 with 12 fractional bits.
const ONE: f32 = 4096.;
/// Pixels that are converted together.
const BLOCK: usize = 256;
type Channel = [u8; BLOCK];

/// New hues, saturations and values, by the old ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HsvLut {
    /// By hue; an entry of 180 or more is that many half degrees.
    pub hue: [u8; 256],
    /// By saturation.
    pub saturation: [u8; 256],
    /// By value.
    pub value: [u8; 256],
}

/// Hue, saturation and value of a colour.
#[must_use]
#[inline(always)]
pub fn hsv_from_rgb([r, g, b]: [u8; 3]) -> [u8; 3] {
    let [r, g, b] = [r, g, b].map(i32::from);
    let value = r.max(g).max(b);
    let range = value - r.min(g).min(b);
    // Quotients are rounded to whole numbers of 12 fractional bits.
    let quotient = |whole: f32, by: i32| (whole * ONE / by.max(1) as f32).round_ties_even() as i32;
    let rounded = |product: i32| (product + (1 << 11)) >> 12;
    let saturation = rounded(range * quotient(255., value));
    let sixths = if value == r {
        g - b
    } else if value == g {
        b - r + 2 * range
    } else {
        r - g + 4 * range
    };
    let hue = rounded(sixths * quotient(30., range));
    [if hue < 0 { hue + 180 } else { hue } as u8, saturation as u8, value as u8]
}

/// The colour of a hue, saturation and value.
#[must_use]
#[inline(always)]
pub fn rgb_from_hsv([hue, saturation, value]: [u8; 3]) -> [u8; 3] {
    let sixths = f32::from(hue) * (6. / 180.);
    let [saturation, value] = [saturation, value].map(|level| f32::from(level) * (1. / 255.));
    let sector = sixths.trunc();
    let part = sixths - sector;
    let low = value * (1. - saturation);
    let falling = value * (-saturation).mul_add(part, 1.);
    let rising = value * (-saturation).mul_add(1. - part, 1.);
    // Which sixth of the circle; the seventh is the first again.
    let sector = if sector < 6. { sector } else { sector - 6. };
    // Selections, so that a loop over this becomes vectors.
    let is = |sixth: f32| sector == sixth;
    let select = |condition: bool, yes: f32, no: f32| if condition { yes } else { no };
    let r = select(is(0.) | is(5.), value, select(is(1.), falling, select(is(4.), rising, low)));
    let g = select(is(1.) | is(2.), value, select(is(3.), falling, select(is(0.), rising, low)));
    let b = select(is(3.) | is(4.), value, select(is(5.), falling, select(is(2.), rising, low)));
    [r, g, b].map(|level| (level * 255.) as u8)
}

/// Replaces the hue, saturation and value of each pixel by what the tables say.
pub fn map_hsv(image: &mut RgbImage, tables: &HsvLut) {
    pulp::Arch::new().dispatch(Map { pixels: image.as_chunks_mut::<3>().0, tables });
}

struct Map<'a> {
    pixels: &'a mut [[u8; 3]],
    tables: &'a HsvLut,
}

impl pulp::NullaryFnOnce for Map<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { pixels, tables } = self;
        for pixels in pixels.chunks_mut(BLOCK) {
            let [mut first, mut second, mut third] = [[0; BLOCK]; 3];
            for (((pixel, r), g), b) in pixels.iter().zip(&mut first).zip(&mut second).zip(&mut third) {
                [*r, *g, *b] = *pixel;
            }
            each(&mut first, &mut second, &mut third, hsv_from_rgb);
            each(&mut first, &mut second, &mut third, |[hue, saturation, value]| {
                let [hue, saturation, value] = [hue, saturation, value].map(usize::from);
                [tables.hue[hue], tables.saturation[saturation], tables.value[value]]
            });
            each(&mut first, &mut second, &mut third, rgb_from_hsv);
            for (((pixel, r), g), b) in pixels.iter_mut().zip(&first).zip(&second).zip(&third) {
                *pixel = [*r, *g, *b];
            }
        }
    }
}

/// Replaces the triples of three channels.
#[inline(always)]
fn each(first: &mut Channel, second: &mut Channel, third: &mut Channel, change: impl Fn([u8; 3]) -> [u8; 3]) {
    for ((first, second), third) in first.iter_mut().zip(second).zip(third) {
        [*first, *second, *third] = change([*first, *second, *third]);
    }
}

#[cfg(test)]
#[path = "hsv_tests.rs"]
mod tests;
