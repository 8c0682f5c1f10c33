//! Changes of each level by itself, through a table of 256 entries per channel: PIL's `ImageOps`, to the bit.

use image::RgbImage;

/// The level that each level becomes.
type Table = [u8; 256];

/// Stretches each channel's levels over 0..255: `ImageOps.autocontrast`. A channel of one level stays.
pub fn auto_contrast(image: &mut RgbImage) {
    let tables = histograms(image).map(|histogram| {
        let lowest = histogram.iter().position(|&count| count > 0);
        let highest = histogram.iter().rposition(|&count| count > 0);
        let (Some(low), Some(high)) = (lowest, highest) else { return identity() };
        if high <= low {
            return identity();
        }
        let scale = 255. / (high - low) as f64;
        let offset = -(low as f64) * scale;
        std::array::from_fn(|level| (level as f64 * scale + offset) as u8)
    });
    look_up(image, &tables);
}

/// Gives each channel a flat histogram: `ImageOps.equalize`.
pub fn equalize(image: &mut RgbImage) {
    let tables = histograms(image).map(|histogram| {
        let total: u64 = histogram.iter().sum();
        let last = histogram.iter().rev().find(|&&count| count > 0).copied().unwrap_or(0);
        let step = (total - last) / 255;
        if step == 0 {
            return identity();
        }
        let mut sum = step / 2;
        histogram.map(|count| {
            let level = sum / step;
            sum += count;
            // The quotient passes 255 where the division above left a remainder; PIL clips what it puts in a table.
            level.min(255) as u8
        })
    });
    look_up(image, &tables);
}

/// Replaces each level by 255 less it: `ImageOps.invert`.
pub fn invert(image: &mut RgbImage) {
    image.iter_mut().for_each(|level| *level = 255 - *level);
}

/// Keeps the `bits` highest bits, 0 (a black image) to 8 (all): `ImageOps.posterize`, which Pillow 13 refuses to do
/// with 0 bits.
pub fn posterize(image: &mut RgbImage, bits: u8) {
    let mask = 0xFFu8.checked_shl(8 - u32::from(bits.min(8))).unwrap_or(0);
    image.iter_mut().for_each(|level| *level &= mask);
}

/// Inverts the levels from `threshold` (0 to 256) on: `ImageOps.solarize`.
pub fn solarize(image: &mut RgbImage, threshold: u16) {
    image.iter_mut().for_each(|level| {
        if u16::from(*level) >= threshold {
            *level = 255 - *level;
        }
    });
}

/// Adds to the levels below `threshold`: timm's `SolarizeAdd`.
pub fn solarize_add(image: &mut RgbImage, add: u8, threshold: u8) {
    image.iter_mut().for_each(|level| {
        if *level < threshold {
            *level = level.saturating_add(add);
        }
    });
}

fn identity() -> Table {
    std::array::from_fn(|level| level as u8)
}

/// How many pixels have each level, per channel.
fn histograms(image: &RgbImage) -> [[u64; 256]; 3] {
    let mut counts = [[0; 256]; 3];
    for pixel in image.as_chunks::<3>().0 {
        for (counts, &level) in counts.iter_mut().zip(pixel) {
            counts[usize::from(level)] += 1;
        }
    }
    counts
}

fn look_up(image: &mut RgbImage, tables: &[Table; 3]) {
    for pixel in image.as_chunks_mut::<3>().0 {
        for (level, table) in pixel.iter_mut().zip(tables) {
            *level = table[usize::from(*level)];
        }
    }
}
