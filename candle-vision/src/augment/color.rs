//! Brightness, contrast, saturation, sharpness and hue, as PIL's `ImageEnhance` and torchvision's `adjust_hue` on PIL
//! images, to the bit.
//!
//! The first four blend the image with one that lacks the quality: black, even grey, grey, smooth. A factor of 0 gives
//! that image, 1 the original, and more exaggerates. Levels are f32 in between, and truncated.

use image::RgbImage;

/// Blends with black: `ImageEnhance.Brightness`.
pub fn brightness(image: &mut RgbImage, factor: f32) {
    let table: [u8; 256] = std::array::from_fn(|level| blend(0, level as u8, factor));
    image.iter_mut().for_each(|level| *level = table[usize::from(*level)]);
}

/// Blends with the mean of the image's luma: `ImageEnhance.Contrast`.
pub fn contrast(image: &mut RgbImage, factor: f32) {
    let pixels = image.as_chunks::<3>().0;
    if pixels.is_empty() {
        return;
    }
    let sum: u64 = pixels.iter().map(|&pixel| u64::from(luma(pixel))).sum();
    let mean = (sum as f64 / pixels.len() as f64 + 0.5) as u8;
    let table: [u8; 256] = std::array::from_fn(|level| blend(mean, level as u8, factor));
    image.iter_mut().for_each(|level| *level = table[usize::from(*level)]);
}

/// Blends with the image in grey: `ImageEnhance.Color`.
pub fn saturation(image: &mut RgbImage, factor: f32) {
    for pixel in image.as_chunks_mut::<3>().0 {
        let grey = luma(*pixel);
        *pixel = pixel.map(|level| blend(grey, level, factor));
    }
}

/// The image in grey, in three equal channels: torchvision's `to_grayscale(num_output_channels=3)`.
pub fn grayscale(image: &mut RgbImage) {
    for pixel in image.as_chunks_mut::<3>().0 {
        *pixel = [luma(*pixel); 3];
    }
}

/// Blends with the image after PIL's 3x3 `SMOOTH` filter, which leaves the border as it is: `ImageEnhance.Sharpness`.
pub fn sharpness(image: &mut RgbImage, factor: f32) {
    const SIDE: f32 = 1. / 13.;
    const CENTER: f32 = 5. / 13.;
    let (width, height) = (image.width() as usize, image.height() as usize);
    if width < 3 || height < 3 {
        return;
    }
    let row_bytes = width * 3;
    let mut smooth = image.as_raw().clone();
    for y in 1..height - 1 {
        let [above, row, below] = [y - 1, y, y + 1].map(|y| &image.as_raw()[y * row_bytes..][..row_bytes]);
        let out = &mut smooth[y * row_bytes..][3..row_bytes - 3];
        for (x, out) in out.iter_mut().enumerate() {
            let sum = |row: &[u8], center: f32| {
                f32::from(row[x]) * SIDE + f32::from(row[x + 3]) * center + f32::from(row[x + 6]) * SIDE
            };
            // In PIL's order: from the last row up, onto the half that rounds.
            *out = (0.5 + sum(below, SIDE) + sum(row, CENTER) + sum(above, SIDE)) as u8;
        }
    }
    image.iter_mut().zip(&smooth).for_each(|(level, &smooth)| *level = blend(smooth, *level, factor));
}

/// Turns hues by `shift` of a circle, in [-0.5, 0.5]: torchvision's `adjust_hue`, on PIL's HSV of 8 bits.
pub fn hue(image: &mut RgbImage, shift: f64) {
    let turn = (shift * 255.) as i32 as u8;
    for pixel in image.as_chunks_mut::<3>().0 {
        let [hue, saturation, value] = hsv_from_rgb(*pixel);
        *pixel = rgb_from_hsv([hue.wrapping_add(turn), saturation, value]);
    }
}

/// ITU-R 601-2 luma in 16-bit fixed point: PIL's `convert("L")`.
fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19_595 + u32::from(g) * 38_470 + u32::from(b) * 7_471 + 0x8000) >> 16) as u8
}

/// PIL's `Image.blend`: `from` at 0, `to` at 1.
#[inline]
fn blend(from: u8, to: u8, factor: f32) -> u8 {
    let difference = i16::from(to) - i16::from(from);
    // The cast truncates, and clips where the factor is beyond 0..1.
    (f32::from(from) + factor * f32::from(difference)) as u8
}

/// PIL's `convert("HSV")`: each of 8 bits, truncated; precision as it has it, f32 with steps in f64.
fn hsv_from_rgb([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (high, low) = (r.max(g).max(b), r.min(g).min(b));
    if high == low {
        return [0, 0, high];
    }
    let range = f32::from(high - low);
    let saturation = range / f32::from(high);
    let [red, green, blue] = [r, g, b].map(|level| f32::from(high - level) / range);
    let hue = if r == high {
        blue - green
    } else if g == high {
        (2. + f64::from(red) - f64::from(blue)) as f32
    } else {
        (4. + f64::from(green) - f64::from(red)) as f32
    };
    let turned = f64::from(hue) / 6. + 1.;
    let hue = (if turned >= 1. { turned - 1. } else { turned }) as f32;
    [(f64::from(hue) * 255.) as u8, (f64::from(saturation) * 255.) as u8, high]
}

/// PIL's conversion of 8-bit HSV to RGB.
fn rgb_from_hsv([hue, saturation, value]: [u8; 3]) -> [u8; 3] {
    if saturation == 0 {
        return [value; 3];
    }
    let position = f64::from(hue) * 6. / 255.;
    let sector = position as u8;
    let fraction = (position - f64::from(sector)) as f32;
    let saturation = (f64::from(saturation) / 255.) as f32;
    let level = |share: f64| {
        let exact = f64::from(value) * (1. - share);
        let whole = exact as u8;
        whole + u8::from(exact - f64::from(whole) >= 0.5)
    };
    let low = level(f64::from(saturation));
    let falling = level(f64::from(saturation * fraction));
    let rising = level(f64::from(saturation) * (1. - f64::from(fraction)));
    match sector % 6 {
        0 => [value, rising, low],
        1 => [falling, value, low],
        2 => [low, value, rising],
        3 => [low, falling, value],
        4 => [rising, low, value],
        _ => [value, low, falling],
    }
}
